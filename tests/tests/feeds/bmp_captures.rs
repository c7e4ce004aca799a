//! Every recorded BMP stream, folded and compared with what another decoder says and with what the lab configured.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use filter_core::Prefix;
use filter_feeds::bmp::counts::LeftOut;
use filter_feeds::bmp::router::{Closed, Memory};
use filter_lifecycle::route::AdjRib::{self, InPostPolicy, InPrePolicy, OutPostPolicy};
use filter_lifecycle::route::{DownCause, Origin, RouteEvent, Session};
use tests::captures::{Folded, capture, captures, decoded, fold, fold_capture, prefixes, session};

/// What one line of another decoder, or one of our events, says about a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Announce(Session, AdjRib, Prefix),
    Withdraw(Session, AdjRib, Prefix),
    EndOfRib(Session, AdjRib),
}

/// The value after `key` in a line of the decoder.
fn field<'a>(line: &'a str, key: &str) -> &'a str {
    let (_, rest) = line.split_once(key).unwrap_or_else(|| panic!("{line}"));
    rest.split([' ', '[']).next().unwrap()
}

/// What another decoder says about the neighbours' routes, message by message.
fn said_by_another_decoder(text: &str) -> Vec<Said> {
    let mut said = Vec::new();
    for line in text
        .lines()
        .filter(|line| line.contains("RouteMonitoring ptype=0"))
    {
        let session = session(field(line, "peer="));
        if session.address.is_unspecified() {
            continue;
        }
        let flags = u8::from_str_radix(field(line, "flags="), 16).unwrap();
        let rib = match flags & 0x50 {
            0 => InPrePolicy,
            0x40 => InPostPolicy,
            0x50 => OutPostPolicy,
            _ => continue,
        };
        let (_, body) = line.split_once(" :: ").unwrap();
        if body.starts_with("EoR") {
            said.push(Said::EndOfRib(session, rib));
            continue;
        }
        let mut words = body.split(' ').peekable();
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        while let Some(word) = words.next() {
            let into = match word {
                "WD" => &mut gone,
                "NLRI" => &mut come,
                "MP_UNREACH" => {
                    assert_eq!(words.next(), Some("afi2/1"));
                    &mut gone
                }
                "MP_REACH" => {
                    assert_eq!(words.next(), Some("afi2/1"));
                    assert!(words.next().unwrap().starts_with("NH("));
                    words.next();
                    &mut come
                }
                _ => continue,
            };
            let list = words.next().unwrap().split(',');
            into.extend(list.map(|text| text.parse::<Prefix>().unwrap()));
        }
        said.extend(
            gone.into_iter()
                .map(|prefix| Said::Withdraw(session, rib, prefix)),
        );
        said.extend(
            come.into_iter()
                .map(|prefix| Said::Announce(session, rib, prefix)),
        );
    }
    said
}

/// What we say about them.
fn said_by_us(folded: &Folded) -> Vec<Said> {
    let of = |origin: &Origin| match origin {
        Origin::Session(session) => *session,
        Origin::Peer(_) => panic!("a configured peer from a BMP stream"),
    };
    let said = folded.events.iter().filter_map(|event| match event {
        RouteEvent::Announce { origin, rib, route } => {
            Some(Said::Announce(of(origin), *rib, route.prefix))
        }
        RouteEvent::Withdraw {
            origin,
            rib,
            prefix,
            ..
        } => Some(Said::Withdraw(of(origin), *rib, *prefix)),
        RouteEvent::EndOfRib { origin, rib, .. } => Some(Said::EndOfRib(of(origin), *rib)),
        _ => None,
    });
    said.collect()
}

#[test]
fn another_decoder_says_the_same_in_the_same_order() {
    let mut routes = 0;
    for name in captures() {
        // The other decoder does not know path identifiers; and BIRD 3 is refused.
        if name.starts_with("addpath-bird")
            || name.starts_with("addpath-gobgp")
            || name == "bird-3.1.7/bmp.c2.0"
        {
            continue;
        }
        let folded = fold_capture(&name);
        let (mut ours, mut theirs) = (
            said_by_us(&folded),
            said_by_another_decoder(&decoded(&name)),
        );
        if name.contains("frr-8") {
            // A table of which only withdrawals were received is lost until the first announcement; then its
            // End-of-RIB is reported again.
            ours.retain(|said| !matches!(said, Said::EndOfRib(..)));
            theirs.retain(|said| !matches!(said, Said::EndOfRib(..)));
        }
        assert_eq!(ours, theirs, "{name}");
        assert!(folded.lost.is_empty(), "{name}: {:?}", folded.lost);
        assert_eq!(folded.counts.of(LeftOut::UnknownSession), 0, "{name}");
        assert_eq!(folded.counts.of(LeftOut::ForeignFamily), 0, "{name}");
        assert_eq!(folded.counts.of(LeftOut::RepeatedAttribute), 0, "{name}");
        routes += ours.len();
    }
    assert!(routes > 800, "only {routes} compared");
}

/// The lab's tables, by neighbour: before and after import policy.
const LAB: [(&str, &[&str], &[&str]); 4] = [
    (
        "192.0.2.11",
        &["198.51.100.0/24", "203.0.113.0/24", "10.10.0.0/16"],
        &["198.51.100.0/24", "203.0.113.0/24"],
    ),
    (
        "192.0.2.12",
        &["198.18.0.0/16", "203.0.113.0/24"],
        &["198.18.0.0/16", "203.0.113.0/24"],
    ),
    (
        "2001:db8:ff::11",
        &["2001:db8:1::/48", "2001:db8:cafe::/48"],
        &["2001:db8:1::/48"],
    ),
    (
        "2001:db8:ff::12",
        &["2001:db8:2::/48"],
        &["2001:db8:2::/48"],
    ),
];

/// Tables that differ from the lab's, and what they hold instead.
fn differing(name: &str) -> Vec<(&'static str, AdjRib, BTreeSet<Prefix>)> {
    let mut differing = Vec::new();
    for (address, pre, post) in LAB {
        let mut expect = |rib, lab: &[&str], folded: &Folded| {
            let held = folded.prefixes(address, rib);
            if held != prefixes(lab) {
                differing.push((address, rib, held));
            }
        };
        let folded = fold_capture(name);
        expect(InPrePolicy, pre, &folded);
        expect(InPostPolicy, post, &folded);
    }
    differing
}

#[test]
fn the_tables_are_the_labs() {
    for name in [
        "bird-2.19.2/bmp.c1.0",
        "bird-2.19.2/bmp.c2.0",
        "frr-10.3/bmp.c1.0",
        "frr-10.3/bmp.c2.0",
        "gr-frr-10.3/bmp.0",
        "pol-frr-10.3/bmp.0",
        "pol-bird-2.19.2/bmp.0",
        "gobgp-3.10/bmp.c1.0",
        "gobgp-3.36/bmp.c1.0",
        "gr-bird-2.19.2/b.0",
        "addpath-bird-2.19.2/bmp.0",
        "addpath-frr-10.3/bmp.0",
    ] {
        assert_eq!(differing(name), [], "{name}");
    }
}

/// The bugs that make a reconnect and a poll necessary are really in the streams.
#[test]
fn what_daemons_get_wrong() {
    let without = |name: &str| -> Vec<(&str, AdjRib)> {
        let differing = differing(name).into_iter();
        differing.map(|(address, rib, _)| (address, rib)).collect()
    };
    // Rejected routes are withdrawn before policy, IPv6 is missing after it.
    assert_eq!(
        without("frr-8.4.4/bmp.c1.0"),
        [
            ("192.0.2.11", InPrePolicy),
            ("2001:db8:ff::11", InPrePolicy),
            ("2001:db8:ff::11", InPostPolicy),
            ("2001:db8:ff::12", InPostPolicy)
        ]
    );
    // After a graceful restart the view after policy stays empty; a new connection (b.0, above) heals it.
    assert_eq!(
        without("gr-bird-2.19.2/a.0"),
        [
            ("192.0.2.11", InPostPolicy),
            ("2001:db8:ff::11", InPostPolicy)
        ]
    );
    // One of four sessions is never reported.
    assert_eq!(
        without("bird-3.1.7/bmp.c1.0"),
        [("192.0.2.11", InPrePolicy), ("192.0.2.11", InPostPolicy)]
    );
}

#[test]
fn path_identifiers_are_read_as_each_daemon_sends_them() {
    let bird = fold_capture("addpath-bird-2.19.2/bmp.0");
    let p1 = session("192.0.2.11");
    let paths = |folded: &Folded, rib| -> Vec<(String, u32)> {
        let held = &folded.ribs[&(p1, rib)];
        held.iter()
            .map(|(prefix, path)| (prefix.to_string(), *path))
            .collect()
    };
    let two = |prefix: &str| [(prefix.to_owned(), 2), (prefix.to_owned(), 4)];
    let mut expected = vec![("10.10.0.0/16".to_owned(), 2)];
    expected.extend(two("198.51.100.0/24"));
    expected.extend(two("203.0.113.0/24"));
    assert_eq!(paths(&bird, InPrePolicy), expected);
    assert_eq!(paths(&bird, InPostPolicy), expected[1..]);

    let gobgp = fold_capture("addpath-gobgp-3.36/bmp.0");
    assert_eq!(paths(&gobgp, InPrePolicy), expected);
    assert!(gobgp.events.iter().any(|event| matches!(event,
        RouteEvent::Announce { rib: InPostPolicy, route, .. } if route.path == 0)));

    for name in captures() {
        let folded = fold_capture(&name);
        let default = folded
            .ribs
            .values()
            .flatten()
            .find(|(prefix, _)| prefix.len() == 0);
        assert_eq!(default, None, "{name}");
    }
}

/// What was learned of one session's path identifiers is that session's, and survives the connection; what turns out
/// to be wrong costs that table, never a wrong route and never the connection.
#[test]
fn path_identifiers_are_learned_session_by_session() {
    let (bird, gobgp) = ("addpath-bird-2.19.2/bmp.0", "addpath-gobgp-3.36/bmp.0");
    let learned = |name| fold(&capture(name), Memory::default()).1.memory(None);
    let p1 = session("192.0.2.11");
    let of = |memory: &Memory, rib| memory.modes.get(&p1).and_then(|modes| modes.of(rib));
    assert_eq!(of(&learned(bird), InPostPolicy), Some(true));
    assert_eq!(of(&learned(gobgp), InPrePolicy), Some(true));
    assert_eq!(of(&learned(gobgp), InPostPolicy), Some(false));
    for (name, wrong) in [(bird, learned(gobgp)), (gobgp, learned(bird))] {
        let (folded, _) = fold(&capture(name), wrong);
        let ended = matches!(folded.closed, None | Some(Closed::Terminated { .. }));
        assert!(ended, "{name}: {:?}", folded.closed);
        assert!(folded.lost.contains(&(p1, Some(InPostPolicy))), "{name}");
        let others = folded
            .lost
            .iter()
            .filter(|(of, _)| *of == session("192.0.2.12"));
        assert_eq!(others.count(), 0, "{name}: another session pays");
    }
}

#[test]
fn sessions_end_for_the_reasons_the_lab_gave() {
    let ended = |name: &str| fold_capture(name).downs;
    let both = |cause| {
        HashSet::from([
            (session("192.0.2.11"), cause),
            (session("2001:db8:ff::11"), cause),
        ])
    };
    let as_set = |downs: Vec<(Session, DownCause)>| -> HashSet<(Session, DownCause)> {
        downs.into_iter().collect()
    };
    // Administratively down. FRR 8.4.4 says it twice, which is once.
    for name in [
        "frr-8.4.4/bmp.c2.0",
        "frr-10.3/bmp.c2.0",
        "bird-2.19.2/bmp.c2.0",
        "gobgp-3.10/bmp.c2.0",
    ] {
        let downs = ended(name);
        assert_eq!(downs.len(), 2, "{name}");
        assert_eq!(as_set(downs), both(DownCause::Notification), "{name}");
    }
    let counts = fold_capture("frr-8.4.4/bmp.c2.0").counts;
    assert_eq!(counts.of(LeftOut::Duplicate), 2);
    // Killed: FRR gives reason 2, BIRD and GoBGP reason 4.
    for name in [
        "gr-frr-8.4.4/bmp.0",
        "gr-frr-10.3/bmp.0",
        "gr-bird-2.19.2/bmp.0",
        "gr-gobgp-3.36/bmp.0",
    ] {
        let downs = ended(name);
        assert_eq!(as_set(downs), both(DownCause::Lost), "{name}");
    }
}

#[test]
fn restart_times_are_the_longer_of_the_two_sides() {
    let folded = fold_capture("gr-frr-10.3/bmp.0");
    // The router asks for 120 s. P1 asks for 60 s; P2 does graceful restart for no family: it helps others, but keeps nothing.
    let restart = Some(Duration::from_secs(120));
    assert_eq!(folded.up[&session("192.0.2.11")], restart);
    assert_eq!(folded.up[&session("2001:db8:ff::11")], restart);
    assert_eq!(folded.up[&session("192.0.2.12")], restart);
}

#[test]
fn statistics_count_what_they_say() {
    let frr = fold_capture("frr-10.3/bmp.c2.0");
    for (address, pre, post) in LAB {
        let session = session(address);
        assert_eq!(
            frr.received[&(session, InPrePolicy)],
            pre.len() as u64,
            "{address}"
        );
        assert_eq!(
            frr.received[&(session, InPostPolicy)],
            post.len() as u64,
            "{address}"
        );
    }
    // GoBGP's type 8 is not Adj-RIB-In post-policy (and wrong); it is not passed on.
    let gobgp = fold_capture("gobgp-3.36/bmp.c2.0");
    assert!(gobgp.received.keys().all(|(_, rib)| *rib == InPrePolicy));
    assert_eq!(gobgp.counts.of(LeftOut::Statistic), 24);
}

#[test]
fn pseudo_peers_and_loc_rib_are_left_out_and_counted() {
    for (name, own, loc_rib) in [
        ("frr-8.4.4/bmp.c2.0", 4, 0),
        ("frr-10.3/bmp.c2.0", 0, 29),
        ("gobgp-3.36/bmp.c2.0", 6, 27),
    ] {
        let counts = fold_capture(name).counts;
        assert_eq!(counts.of(LeftOut::LocallyOriginated), own, "{name}");
        assert_eq!(counts.of(LeftOut::LocRib), loc_rib, "{name}");
    }
    let counts = fold_capture("rustybgp-409836d/bmp.0").counts;
    assert_eq!(counts.of(LeftOut::AdjOutPre), 9);
}

#[test]
fn adj_rib_out_is_read_where_a_router_sends_it() {
    let rustybgp = fold_capture("rustybgp-409836d/bmp.0");
    let announced = rustybgp.events.iter().any(|event| matches!(event,
        RouteEvent::Announce { rib: OutPostPolicy, origin, .. } if *origin == Origin::Session(session("192.0.2.12"))));
    assert!(announced);
}

#[test]
fn bird_3_is_refused_where_it_can_be_told() {
    // Nothing in BIRD's sysDescr says so, but only BIRD 3 has no local port for a session it opened.
    assert_eq!(
        fold_capture("bird-3.1.7/bmp.c2.0").closed,
        Some(Closed::Bird3)
    );
    for name in captures()
        .into_iter()
        .filter(|name| name.contains("bird-2"))
    {
        assert_ne!(fold_capture(&name).closed, Some(Closed::Bird3), "{name}");
    }
    let text = Closed::Bird3.to_string();
    assert!(text.contains("control socket"), "{text}");
}
