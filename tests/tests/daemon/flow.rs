//! What is announced and withdrawn, live, and what becomes of packets.
use std::time::{Duration, Instant};

use filter_core::{Family, Mode};
use filter_daemon::control::Request;
use tests::lab::{Package, require, wait_for};

use super::{
    DOWN_HOLD, ELSEWHERE, HOLD, OURS, OURS_TO_P1, P1_SOURCE, SPOOFED, Scene, Suite, WITHIN,
};

/// Until a change at a router must be in the kernel: FRR's route-map delay and a poll on a busy machine.
const SOON: Duration = Duration::from_secs(20);

#[test]
#[expect(clippy::too_many_lines, reason = "one history, in its order")]
fn what_the_rib_says_decides_at_once_or_after_the_hold() {
    if !require("daemon", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let daemon = scene.start();
    let traffic = &mut scene.traffic;
    let good = ("p1", P1_SOURCE, OURS);
    let spoofed = ("p1", SPOOFED, OURS);

    // Observed: everything passes, everything is counted by its reason.
    traffic.expect(&daemon, good, "permitted", false);
    traffic.expect(
        &daemon,
        ("p1", "2001:db8:1::7", "2001:db8:a::1"),
        "permitted",
        false,
    );
    traffic.expect(&daemon, spoofed, "source-unannounced", false);
    traffic.expect(
        &daemon,
        ("p1", P1_SOURCE, ELSEWHERE),
        "destination-unannounced",
        false,
    );
    traffic.expect(
        &daemon,
        ("p1", SPOOFED, ELSEWHERE),
        "both-unannounced",
        false,
    );
    traffic.expect(&daemon, ("p1", "10.10.0.1", OURS), "source-bogon", false);
    traffic.expect(&daemon, ("p1", "100.64.0.9", OURS), "source-ours", false);
    // Both announce 203.0.113.0/24, whoever's route is best; 100.64.1.0/24 goes to P1 only.
    for peer in ["p1", "p2"] {
        traffic.expect(&daemon, (peer, "203.0.113.1", OURS), "permitted", false);
    }
    traffic.expect(
        &daemon,
        ("p2", P1_SOURCE, OURS),
        "source-unannounced",
        false,
    );
    traffic.expect(
        &daemon,
        ("p2", "198.18.0.1", OURS_TO_P1),
        "destination-unannounced",
        false,
    );

    // Enforced: what was a violation is dropped, for P1 only.
    daemon.set_mode("p1", Mode::Enforce);
    traffic.expect(&daemon, good, "permitted", false);
    traffic.expect(&daemon, spoofed, "source-unannounced", true);
    traffic.expect(
        &daemon,
        ("p1", "2001:db8:2::1", "2001:db8:a::1"),
        "source-unannounced",
        true,
    );
    traffic.expect(&daemon, ("p2", SPOOFED, OURS), "source-unannounced", false);

    // Announced: permitted at once.
    scene.lab.p1.announce("198.18.7.0/24");
    let new = ("p1", "198.18.7.7", OURS);
    traffic.until(&daemon, new, ("source-unannounced", "permitted"), SOON);

    // Withdrawn: a violation, but not before the hold is over.
    let begin = Instant::now();
    scene.lab.p1.withdraw("198.18.7.0/24");
    traffic.until(
        &daemon,
        new,
        ("permitted", "source-unannounced"),
        HOLD + SOON,
    );
    assert!(
        begin.elapsed() >= HOLD,
        "withdrawn after {:?}",
        begin.elapsed()
    );

    // R stops to advertise: no longer a destination, after the hold.
    let to_p1 = ("p1", P1_SOURCE, OURS_TO_P1);
    traffic.expect(&daemon, to_p1, "permitted", false);
    let begin = Instant::now();
    scene.frr.configure(&[
        "router bgp 64500",
        "address-family ipv4 unicast",
        "no network 100.64.1.0/24",
    ]);
    traffic.until(
        &daemon,
        to_p1,
        ("permitted", "destination-unannounced"),
        HOLD + SOON,
    );
    assert!(
        begin.elapsed() >= HOLD,
        "withdrawn after {:?}",
        begin.elapsed()
    );
    traffic.expect(&daemon, good, "permitted", false);
    traffic.assert_account(&daemon);
    scene.end(daemon);
}

#[test]
fn a_session_that_goes_down_opens_nothing_and_costs_no_good_packet_during_its_hold() {
    if !require("daemon", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let daemon = scene.start();
    let traffic = &mut scene.traffic;
    let (good, spoofed) = (("p1", P1_SOURCE, OURS), ("p1", SPOOFED, OURS));
    daemon.set_mode("p1", Mode::Enforce);
    traffic.expect(&daemon, spoofed, "source-unannounced", true);
    let stream = traffic.stream(scene.lab.p1.namespace(), good);

    let begin = Instant::now();
    scene.lab.p1.session_down(Family::Ipv4);
    daemon.until_event("session-down", |_| true);
    assert!(begin.elapsed() < DOWN_HOLD, "too slow to see it held");
    assert!(traffic.end(&daemon, stream, "permitted") > 0);
    traffic.expect(&daemon, spoofed, "source-unannounced", true);

    // The hold is over: the sets are empty, and in force.
    traffic.until(
        &daemon,
        good,
        ("permitted", "both-unannounced"),
        DOWN_HOLD + SOON,
    );
    assert!(begin.elapsed() >= DOWN_HOLD);
    traffic.expect(&daemon, spoofed, "both-unannounced", true);
    assert_eq!(
        daemon.peer("p1")["state"],
        "enforcing",
        "{:#?}",
        daemon.story()
    );

    // Up again: what it held when it ended counts at once, of each feed as soon as it has the session: BMP before polls.
    scene.lab.p1.session_up(Family::Ipv4);
    let before = ["both-unannounced", "destination-unannounced"];
    traffic.until_after(&daemon, good, &before, "permitted", 2 * WITHIN);
    traffic.until(
        &daemon,
        spoofed,
        ("both-unannounced", "source-unannounced"),
        SOON,
    );
    scene.end(daemon);
}

#[test]
fn a_prefix_split_in_two_never_stops_the_stream() {
    if !require("daemon", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let daemon = scene.start();
    scene.lab.p1.announce("198.18.6.0/23");
    let inside = ("p1", "198.18.7.7", OURS);
    let traffic = &mut scene.traffic;
    traffic.until(&daemon, inside, ("source-unannounced", "permitted"), SOON);
    daemon.set_mode("p1", Mode::Enforce);
    let spoofed = ("p1", SPOOFED, OURS);
    traffic.expect(&daemon, spoofed, "source-unannounced", true);

    let stream = traffic.stream(scene.lab.p1.namespace(), inside);
    scene
        .lab
        .p1
        .replace("198.18.6.0/23", &["198.18.6.0/24", "198.18.7.0/24"]);
    let explain = Request::Explain {
        peer: "p1".to_owned(),
        source: inside.1.parse().unwrap(),
        destination: inside.2.parse().unwrap(),
    };
    let known = |prefix: &str| {
        wait_for(prefix, HOLD + SOON, || {
            let routes = daemon.ask(&explain).unwrap()["source_routes"]
                .clone()
                .as_array()
                .unwrap()
                .clone();
            (!routes.is_empty() && routes.iter().all(|route| route["prefix"] == prefix))
                .then_some(())
        });
    };
    known("198.18.7.0/24");
    std::thread::sleep(HOLD + Duration::from_secs(1)); // the old prefix's hold ends under the stream
    scene.lab.p1.replace("198.18.7.0/24", &["198.18.6.0/23"]);
    known("198.18.6.0/23");
    std::thread::sleep(HOLD + Duration::from_secs(1)); // and so does the new one's
    let sent = traffic.end(&daemon, stream, "permitted");
    assert!(sent > 1000, "only {sent} packets");
    scene.end(daemon);
}

/// With polls only, and none due for ten minutes: the packet itself has the new prefix asked for.
#[test]
fn a_packet_of_a_prefix_announced_between_two_polls_starts_one() {
    if !require("daemon", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let bmp = "[[feed]]\nkind = \"bmp\"\nlisten = \"127.0.0.1:11019\"\n";
    let config = scene.config("");
    assert!(config.contains(bmp));
    let polled = config
        .replace(bmp, "")
        .replace("interval = 1\n", "interval = 600\n");
    let daemon = scene.site.start(&polled);
    daemon.until("it to be known and published", "p1", |status| {
        status["state"] == "observing" && status["publish_pending"] == false
    });
    scene.traffic.reset(&daemon);
    daemon.set_mode("p1", Mode::Enforce);
    let spoofed = ("p1", SPOOFED, OURS);
    scene
        .traffic
        .expect(&daemon, spoofed, "source-unannounced", true);
    // Sessions that came up are polled more often for half a minute.
    wait_for("the polls to be far apart", 2 * WITHIN, || {
        let status = daemon.ask(&Request::Status).unwrap();
        let poll = &status["feeds"][0]["poll"];
        (poll["seconds_ago"].as_u64() > Some(8)).then_some(())
    });
    scene.lab.p1.announce("198.18.6.0/23");
    let new = ("p1", "198.18.7.7", OURS);
    let change = ("source-unannounced", "permitted");
    scene.traffic.until(&daemon, new, change, SOON);
    scene
        .traffic
        .expect(&daemon, spoofed, "source-unannounced", true);
    scene.end(daemon);
}
