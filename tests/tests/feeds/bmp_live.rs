//! The BMP listener against live daemons: FRR and GoBGP of two releases each, whose tables equal the lab's ground
//! truth after each step; and BIRD, which is refused or has no BMP.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::collections::BTreeSet;
use std::net::SocketAddr;

use filter_core::Family;
use filter_feeds::bmp::{BmpConfig, BmpFeed};
use filter_lifecycle::route::{AdjRib, DownCause, RouteEvent};
use tests::lab::{Accepted, Directory, FrrOptions, Package, Peering, Release, require_from};

use super::live::{Truth, Watched, session};

/// What each peer announces, and what of it R accepts.
fn truth_of(lab: &Peering) -> Truth {
    let mut truth = Truth::new();
    for peer in [&lab.p1, &lab.p2] {
        for family in Family::ALL {
            let announced = peer.announced(family);
            let session = session(peer, family);
            truth.insert(
                (session, AdjRib::InPostPolicy, family),
                Accepted::of(&announced),
            );
            truth.insert((session, AdjRib::InPrePolicy, family), announced);
        }
    }
    truth
}

/// A listener in R's namespace, and where it listens.
fn listener(lab: &Peering) -> (Watched, SocketAddr) {
    let config = BmpConfig::new("127.0.0.1:0".parse().unwrap());
    let feed = lab.router.run(|| BmpFeed::new(&config)).unwrap();
    let address = feed.local_addr().unwrap();
    (Watched::start(feed), address)
}

/// A session that is shut down and comes up again.
fn flap(watched: &mut Watched, lab: &Peering) {
    let p1 = session(&lab.p1, Family::Ipv4);
    lab.p1.session_down(Family::Ipv4);
    watched.until("the session to be down", |folded| {
        match folded.downs.last() {
            Some((session, _)) if *session == p1 => Ok(()),
            last => Err(format!("{last:?}")),
        }
    });
    assert!(!watched.folded.up.contains_key(&p1));
    lab.p1.session_up(Family::Ipv4);
}

fn frr(test: &str, release: Release) {
    if !require_from(test, release, &[Package::Frr], &[Package::Bird]) {
        return;
    }
    let lab = Peering::of(release);
    let (mut watched, address) = listener(&lab);
    let bmp = Some(address);
    let mut frr = lab.frr(&FrrOptions {
        bmp,
        ..FrrOptions::default()
    });
    let truth = truth_of(&lab);
    // FRR ends only the tables of sessions that were up when it connected: after the healing connection all are.
    let is_old = frr.vtysh(&["show version"]).contains("FRRouting 8.");
    let until = if is_old {
        Watched::until_truth
    } else {
        Watched::until_told
    };
    until(&mut watched, "cold start", &truth);

    let healed = watched.folded.events.iter().any(|event| {
        matches!(event, RouteEvent::FeedDown { why } if why.contains("FRRouting before 10"))
    });
    assert_eq!(
        healed, is_old,
        "only a second connection of FRR 8 is believed"
    );

    flap(&mut watched, &lab);
    let (_, cause) = watched.folded.downs.last().unwrap();
    assert_eq!(*cause, DownCause::Notification);
    until(&mut watched, "the session to be up again", &truth);

    frr.bgpd().kill();
    watched.until_feed_down();
    until(&mut watched, "nothing: a lost feed takes no routes", &truth);
}

#[test]
fn frr_8_heals_and_tells_sessions() {
    frr("frr_8_heals_and_tells_sessions", Release::System);
}

#[test]
fn frr_10_tells_sessions() {
    frr("frr_10_tells_sessions", Release::Debian13);
}

fn gobgp(test: &str, release: Release) {
    if !require_from(test, release, &[Package::GoBgp], &[Package::Bird]) {
        return;
    }
    let mut lab = Peering::of(release);
    let (mut watched, address) = listener(&lab);
    let mut gobgp = lab.gobgp(Some(address));
    watched.until_told("cold start", &truth_of(&lab));

    lab.p1.withdraw("198.51.100.0/24");
    lab.p1.announce("2001:db8:1:1::/64");
    watched.until_told("a withdraw and an announcement", &truth_of(&lab));

    flap(&mut watched, &lab);
    watched.until_told("the session to be up again", &truth_of(&lab));

    gobgp.daemon().kill();
    watched.until_feed_down();
    watched.until_told("nothing: a lost feed takes no routes", &truth_of(&lab));
}

#[test]
fn gobgp_3_10_tells_sessions() {
    gobgp("gobgp_3_10_tells_sessions", Release::System);
}

#[test]
fn gobgp_3_36_tells_sessions() {
    gobgp("gobgp_3_36_tells_sessions", Release::Debian13);
}

/// Debian builds BIRD 2 without BMP: then there is nothing to test, and this says when that changes.
#[test]
fn bird_2_of_debian_has_none() {
    for release in [Release::System, Release::Debian13] {
        if !require_from("bird_2_of_debian_has_none", release, &[Package::Bird], &[]) {
            return;
        }
        let directory = Directory::new("nobmp");
        let conf = directory.write("bird.conf", "router id 192.0.2.1;\nprotocol bmp { }\n");
        let parsed = release
            .client("/usr/sbin/bird")
            .arg("-p")
            .arg("-c")
            .arg(conf)
            .output();
        let complaint = String::from_utf8(parsed.unwrap().stderr).unwrap();
        assert!(complaint.contains("bird.conf:2:"), "{complaint}");
    }
}

/// BIRD 3 is closed as soon as a Peer Up shows it, said by name, and not one of its routes is believed. What shows it
/// is a session that BIRD opened itself: here all peers are passive.
#[test]
fn bird_3_is_refused_by_name() {
    let release = Release::Debian13Bird3;
    if !require_from(
        "bird_3_is_refused_by_name",
        release,
        &[Package::Bird],
        &[Package::Bird],
    ) {
        return;
    }
    let lab = Peering {
        release,
        ..Peering::with(|peer| peer.extra = "passive on;".to_owned())
    };
    let (mut watched, address) = listener(&lab);
    let bird = lab.bird();
    bird.reconfigure(|conf| {
        format!(
            "{conf}\nprotocol bmp {{ station address ip {} port {}; system name \"R\"; \
             monitoring rib in pre_policy; monitoring rib in post_policy; }}\n",
            address.ip(),
            address.port()
        )
    });
    // Only sessions that come up later are reported at all.
    watched.until("the first connection", |folded| {
        match folded.events.first() {
            Some(RouteEvent::FeedUp) => Ok(()),
            first => Err(format!("{first:?}")),
        }
    });
    lab.p1.session_down(Family::Ipv4);
    lab.p1.session_up(Family::Ipv4);
    watched.until("the refusal", |folded| {
        let mut downs = folded.events.iter();
        let refused = downs.any(|event| {
            matches!(event, RouteEvent::FeedDown { why } if why.contains("BIRD 3 leaves sessions out"))
        });
        if refused {
            Ok(())
        } else {
            Err(format!("{:?}", folded.events))
        }
    });
    assert!(watched.folded.ribs.values().all(BTreeSet::is_empty));
}
