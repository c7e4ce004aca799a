//! The push feeds against live daemons: shadow sessions from BIRD and FRR, a BMP stream from FRR. After each step
//! the tables told equal the lab's ground truth.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use filter_core::{Asn, Family, Prefix};
use filter_daemon::feeds::bmp::{BmpConfig, BmpFeed};
use filter_daemon::feeds::shadow::{ShadowFeed, ShadowSession};
use filter_daemon::feeds::{Feed, MAX_WAITING_BATCHES, Outlet, Stop};
use filter_daemon::route::{Batch, DownCause, FeedId, RouteEvent, Session, Table};
use tests::captures::Folded;
use tests::lab::{Accepted, Advertised, FrrOptions, Namespace, Package, Peer, Peering, require};

/// How long any daemon may take; FRR before 10 is believed after a second connection only.
const WITHIN: Duration = Duration::from_secs(90);

type Key = (Session, Table, Family);
type Truth = BTreeMap<Key, BTreeSet<Prefix>>;

/// A feed whose sockets are in R's namespace, and what it said folded up.
struct Watched {
    batches: Receiver<Batch>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    folded: Folded,
}

impl Watched {
    fn start(feed: impl Feed + 'static) -> Self {
        let (sender, batches) = sync_channel(MAX_WAITING_BATCHES);
        let stop = Stop::default();
        let outlet = Outlet::new(FeedId(0), sender, stop.clone());
        let thread = std::thread::spawn(move || Box::new(feed).run(&outlet));
        let folded = Folded::default();
        Self {
            batches,
            stop,
            thread: Some(thread),
            folded,
        }
    }

    /// Folds until `condition` holds.
    fn until(&mut self, what: &str, condition: impl Fn(&Folded) -> Result<(), String>) {
        let end = Instant::now() + WITHIN;
        while let Err(why) = condition(&self.folded) {
            assert!(Instant::now() < end, "waited in vain for {what}: {why}");
            if let Ok(batch) = self.batches.recv_timeout(Duration::from_millis(100)) {
                self.folded.apply(&batch.events);
            }
        }
    }

    fn until_truth(&mut self, what: &str, truth: &Truth) {
        self.until(what, |folded| {
            for ((session, table, family), expected) in truth {
                let held = folded.tables.get(&(*session, *table)).into_iter().flatten();
                let held = held.map(|(prefix, _)| *prefix);
                let held: BTreeSet<_> = held.filter(|prefix| prefix.family() == *family).collect();
                if held != *expected {
                    return Err(format!(
                        "{session:?} {table:?} {family} is {held:?}, not {expected:?}"
                    ));
                }
                if !folded.ends.contains(&(*session, *table, *family)) {
                    return Err(format!("{session:?} {table:?} {family} has no end"));
                }
            }
            Ok(())
        });
    }

    fn until_feed_down(&mut self) {
        self.until("the feed to be down", |folded| match folded.events.last() {
            Some(RouteEvent::FeedDown { .. }) => Ok(()),
            last => Err(format!("{last:?}")),
        });
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(
                joined.is_ok() || std::thread::panicking(),
                "the feed panicked"
            );
        }
    }
}

fn session(peer: &Peer, family: Family) -> Session {
    Session::global(peer.address(family))
}

/// A shadow of one session at 127.0.`net`.`host`, from 127.0.3.`host`.
fn loopback(net: u8, host: u8, mirrors: Session, table: Table) -> ShadowSession {
    let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, net, host)), 1790);
    let remote = IpAddr::V4(Ipv4Addr::new(127, 0, 3, host));
    ShadowSession {
        table,
        ..ShadowSession::new(listen, remote, Asn::new(64999), mirrors)
    }
}

fn shadows_in(namespace: &Namespace, shadows: Vec<ShadowSession>) -> ShadowFeed {
    namespace.run(|| ShadowFeed::new(shadows)).unwrap()
}

/// BIRD's side: one protocol per shadow, with the peer's export filter, or with what came from the peer.
fn bird_shadows(conf: &str) -> String {
    let mut conf = conf.to_owned();
    conf.push_str(
        "template bgp shadow { multihop; connect delay time 1; connect retry time 1; error wait time 1,1; }\n",
    );
    for (net, host, channel) in [
        (
            1,
            11,
            "ipv4 { import none; export filter exp_p1_4; next hop self; }",
        ),
        (
            1,
            12,
            "ipv4 { import none; export filter exp_p2_4; next hop self; }",
        ),
        (
            1,
            13,
            "ipv6 { import none; export filter exp_p1_6; next hop address 2001:db8:ff::1; }",
        ),
        (
            1,
            14,
            "ipv6 { import none; export filter exp_p2_6; next hop address 2001:db8:ff::1; }",
        ),
        (
            2,
            21,
            "ipv4 { import none; add paths tx; export where proto = \"p1_4\"; }",
        ),
        (
            2,
            22,
            "ipv4 { import none; add paths tx; export where proto = \"p2_4\"; }",
        ),
        (
            2,
            23,
            "ipv6 { import none; add paths tx; export where proto = \"p1_6\"; next hop address 2001:db8:ff::1; }",
        ),
        (
            2,
            24,
            "ipv6 { import none; add paths tx; export where proto = \"p2_6\"; next hop address 2001:db8:ff::1; }",
        ),
    ] {
        conf.push_str(&format!(
            "protocol bgp sh_{host} from shadow {{ local 127.0.3.{host} as 64500; \
             neighbor 127.0.{net}.{host} port 1790 as 64999; {channel}; }}\n"
        ));
    }
    conf
}

/// What R tells each peer and what it accepted from it, over BIRD's eight shadows.
fn bird_truth(lab: &Peering) -> Truth {
    let mut truth = Truth::new();
    for (peer, sent) in [
        (&lab.p1, &Advertised::TO_P1[..]),
        (&lab.p2, &Advertised::TO_P2[..]),
    ] {
        for family in Family::ALL {
            let session = session(peer, family);
            truth.insert(
                (session, Table::AdjOut, family),
                Advertised::of(sent, family),
            );
            let accepted = Accepted::of(&peer.announced(family));
            truth.insert((session, Table::AdjInPost, family), accepted);
        }
    }
    truth
}

#[test]
fn shadows_of_bird_tell_both_directions() {
    if !require("shadows_of_bird_tell_both_directions", &[Package::Bird]) {
        return;
    }
    let mut lab = Peering::new();
    let [p1_4, p1_6] = Family::ALL.map(|family| session(&lab.p1, family));
    let [p2_4, p2_6] = Family::ALL.map(|family| session(&lab.p2, family));
    let feed = shadows_in(
        &lab.router,
        vec![
            loopback(1, 11, p1_4, Table::AdjOut),
            loopback(1, 12, p2_4, Table::AdjOut),
            loopback(1, 13, p1_6, Table::AdjOut),
            loopback(1, 14, p2_6, Table::AdjOut),
            loopback(2, 21, p1_4, Table::AdjInPost),
            loopback(2, 22, p2_4, Table::AdjInPost),
            loopback(2, 23, p1_6, Table::AdjInPost),
            loopback(2, 24, p2_6, Table::AdjInPost),
        ],
    );
    let refresher = feed.refresher();
    let mut watched = Watched::start(feed);
    let mut bird = lab.bird();
    bird.reconfigure(bird_shadows);
    watched.until_truth("cold start", &bird_truth(&lab));
    assert_eq!(watched.folded.events[0], RouteEvent::FeedUp);

    lab.p1.withdraw("203.0.113.0/24");
    lab.p1.announce("198.51.100.128/25");
    watched.until_truth("a withdraw and an announcement", &bird_truth(&lab));

    // The same again, between marks: nothing changes, nothing is lost.
    let snapshots = |folded: &Folded| {
        let all = folded.events.iter();
        all.filter(|event| matches!(event, RouteEvent::Snapshot { .. }))
            .count()
    };
    let before = snapshots(&watched.folded);
    refresher.refresh();
    watched.until("eight more snapshots", |folded| {
        match snapshots(folded) - before {
            8.. => Ok(()),
            more => Err(format!("{more}")),
        }
    });
    watched.until_truth("a route refresh", &bird_truth(&lab));

    // The peer's export policy is the shadow's.
    let narrow = "if proto = \"own4\" && net = 100.64.0.0/24 then";
    bird.reconfigure(|conf| bird_shadows(&conf.replace(narrow, "if proto = \"own4\" then")));
    let mut truth = bird_truth(&lab);
    let wider = Advertised::of(&Advertised::TO_P1, Family::Ipv4);
    truth.insert((p2_4, Table::AdjOut, Family::Ipv4), wider);
    watched.until_truth("an edited export policy", &truth);

    bird.daemon().kill();
    watched.until_feed_down();
    watched.until_truth("nothing: a lost feed takes no routes", &truth);
}

/// FRR's side of two shadows, one of them with a password.
fn frr_shadows() -> FrrOptions {
    let mut options = FrrOptions {
        global: "route-map DENY deny 10\n".into(),
        ..FrrOptions::default()
    };
    for (number, map) in [(1, "OUT-P1"), (2, "OUT-P2")] {
        options.router.push_str(&format!(
            " neighbor 10.255.1.{number} remote-as 64999\n \
             neighbor 10.255.1.{number} update-source 10.255.3.{number}\n \
             neighbor 10.255.1.{number} port 1790\n \
             neighbor 10.255.1.{number} ebgp-multihop 2\n \
             neighbor 10.255.1.{number} disable-connected-check\n \
             neighbor 10.255.1.{number} timers connect 1\n"
        ));
        let family = format!(
            "  neighbor 10.255.1.{number} activate\n  \
             neighbor 10.255.1.{number} route-map DENY in\n  \
             neighbor 10.255.1.{number} route-map {map} out\n"
        );
        options.ipv4.push_str(&family);
        options.ipv6.push_str(&family);
    }
    options
        .router
        .push_str(" neighbor 10.255.1.1 password secret\n");
    options
}

#[test]
fn shadows_of_frr_tell_what_it_advertises() {
    if !require(
        "shadows_of_frr_tell_what_it_advertises",
        &[Package::Frr, Package::Bird],
    ) {
        return;
    }
    let lab = Peering::new();
    for address in [
        "10.255.1.1/32",
        "10.255.1.2/32",
        "10.255.3.1/32",
        "10.255.3.2/32",
        "fd00:10:255:3::1/128",
    ] {
        lab.router.ip(&["addr", "add", address, "dev", "lo"]);
    }
    let shadow = |number: u8, mirrors, password: Option<&str>| ShadowSession {
        password: password.and_then(|text| filter_daemon::config::Password::new(text.as_bytes())),
        ..ShadowSession::new(
            SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 255, 1, number)), 1790),
            IpAddr::V4(Ipv4Addr::new(10, 255, 3, number)),
            Asn::new(64999),
            mirrors,
        )
    };
    let [p1, p2] = [&lab.p1, &lab.p2].map(|peer| session(peer, Family::Ipv4));
    let feed = shadows_in(
        &lab.router,
        vec![shadow(1, p1, Some("secret")), shadow(2, p2, None)],
    );
    let mut watched = Watched::start(feed);
    let mut frr = lab.frr(&frr_shadows());
    let truth = |to_p2: &[&str]| {
        let mut truth = Truth::new();
        for family in Family::ALL {
            truth.insert(
                (p1, Table::AdjOut, family),
                Advertised::of(&Advertised::TO_P1, family),
            );
            truth.insert((p2, Table::AdjOut, family), Advertised::of(to_p2, family));
        }
        truth
    };
    watched.until_truth("cold start", &truth(&Advertised::TO_P2));

    frr.configure(&["ip prefix-list OWN-P2 seq 10 permit 100.64.1.0/24"]);
    let wider = [&Advertised::TO_P2[..], &["100.64.1.0/24"]].concat();
    watched.until_truth("an edited export policy", &truth(&wider));

    frr.bgpd().kill();
    watched.until_feed_down();
}

#[test]
fn bmp_of_frr_heals_and_tells_sessions() {
    if !require(
        "bmp_of_frr_heals_and_tells_sessions",
        &[Package::Frr, Package::Bird],
    ) {
        return;
    }
    let lab = Peering::new();
    let config = BmpConfig::new("127.0.0.1:0".parse().unwrap());
    let feed = lab.router.run(|| BmpFeed::new(&config)).unwrap();
    let bmp = Some(feed.local_addr().unwrap());
    let mut watched = Watched::start(feed);
    let mut frr = lab.frr(&FrrOptions {
        bmp,
        ..FrrOptions::default()
    });
    let mut truth = Truth::new();
    for peer in [&lab.p1, &lab.p2] {
        for family in Family::ALL {
            let announced = peer.announced(family);
            let session = session(peer, family);
            truth.insert(
                (session, Table::AdjInPost, family),
                Accepted::of(&announced),
            );
            truth.insert((session, Table::AdjInPre, family), announced);
        }
    }
    watched.until_truth("cold start", &truth);

    let healed = watched.folded.events.iter().any(|event| {
        matches!(event, RouteEvent::FeedDown { why } if why.contains("FRRouting before 10"))
    });
    let is_old = frr.vtysh(&["show version"]).contains("FRRouting 8.");
    assert_eq!(
        healed, is_old,
        "only a second connection of FRR 8 is believed"
    );

    let p1 = session(&lab.p1, Family::Ipv4);
    lab.p1.session_down(Family::Ipv4);
    watched.until("the session to be down", |folded| {
        match folded.downs.last() {
            Some((session, DownCause::Notification)) if *session == p1 => Ok(()),
            last => Err(format!("{last:?}")),
        }
    });
    assert!(!watched.folded.up.contains_key(&p1));
    lab.p1.session_up(Family::Ipv4);
    watched.until_truth("the session to be up again", &truth);

    frr.bgpd().kill();
    watched.until_feed_down();
    watched.until_truth("nothing: a lost feed takes no routes", &truth);
}
