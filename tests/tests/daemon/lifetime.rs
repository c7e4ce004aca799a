//! The daemon's own end: killed, restarted, reloaded. What is in force stays in force for as long as it may.
use std::time::{Duration, Instant};

use filter_core::Mode;
use tests::lab::{Package, require, wait_for};

use super::{LEASE, OURS, P1_SOURCE, SPOOFED, STALE_HOLD, Scene, Suite, WITHIN};

#[test]
fn a_killed_daemon_filters_until_the_lease_ends_and_its_successor_takes_over() {
    if !require("daemon", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let config = scene.config("mode = \"enforce\"");
    let first = scene.site.start(&config);
    first.until_state("p1", "enforcing");
    first.until("the mode to be in force", "p1", |peer| {
        peer["mode_in_force"] == "enforce"
    });
    scene.traffic.reset(&first);
    let (good, spoofed) = (("p1", P1_SOURCE, OURS), ("p1", SPOOFED, OURS));
    let traffic = &mut scene.traffic;
    traffic.expect(&first, good, "permitted", false);
    traffic.expect(&first, spoofed, "source-unannounced", true);
    let generation = first.peer("p1")["generation"].as_u64().unwrap();

    // Gone. No daemon answers: the wire itself must show it.
    let died = Instant::now();
    first.stop();
    assert!(traffic.passes(good, "permitted"), "the program is gone");
    assert!(
        !traffic.passes(spoofed, "source-unannounced"),
        "not enforced any more"
    );
    wait_for("the lease to end", LEASE + WITHIN, || {
        traffic.passes(spoofed, "source-unannounced").then_some(())
    });
    assert!(
        died.elapsed() >= LEASE - Duration::from_secs(2),
        "{:?}",
        died.elapsed()
    );
    assert!(traffic.passes(good, "permitted"));

    // The successor adopts. As long as its feeds say nothing the old table stays, and what an ended lease stopped
    // is not enforced again.
    let stream = traffic.stream(scene.lab.p1.namespace(), good);
    let deaf = config
        .replace("11019", "11018")
        .replace("bgpd.vty", "nobody.vty");
    let second = scene.site.start(&deaf);
    second.until_event("feed-down", |_| true);
    let peer = second.peer("p1");
    assert_eq!(
        (
            &peer["adopted"],
            &peer["generation"],
            &peer["mode_in_force"]
        ),
        (&true.into(), &generation.into(), &"enforce".into()),
        "the classes that need no routes are in force again"
    );
    let end = Instant::now() + Duration::from_secs(2); // the lease would have been renewed twice
    while Instant::now() < end {
        assert!(
            traffic.passes(spoofed, "source-unannounced"),
            "an ended lease came back"
        );
    }

    // Everything is received: enforced again, and the counters went on all the time.
    second.rewrite(&scene.site, &config);
    second.reload();
    second.until("the mode to be in force", "p1", |peer| {
        peer["adopted"] == false && peer["mode_in_force"] == "enforce"
    });
    assert!(traffic.end(&second, stream, "permitted") > 0);
    traffic.expect(&second, spoofed, "source-unannounced", true);
    assert!(second.peer("p1")["generation"].as_u64().unwrap() > generation);
    scene.end(second);
}

#[test]
fn a_quick_restart_is_not_seen_on_the_wire() {
    if !require("daemon", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let config = scene.config("mode = \"enforce\"");
    let first = scene.site.start(&config);
    first.until("the mode to be in force", "p1", |peer| {
        peer["mode_in_force"] == "enforce"
    });
    scene.traffic.reset(&first);
    let (good, spoofed) = (("p1", P1_SOURCE, OURS), ("p1", SPOOFED, OURS));
    let stream = scene.traffic.stream(scene.lab.p1.namespace(), good);
    first.stop();
    let second = scene.site.start(&config);
    let passed = scene.traffic.passes(spoofed, "source-unannounced");
    assert!(!passed, "enforcement stopped at a restart");
    second.until("the mode to be in force", "p1", |peer| {
        peer["adopted"] == false && peer["mode_in_force"] == "enforce"
    });
    assert!(scene.traffic.end(&second, stream, "permitted") > 0);
    scene.end(second);
}

#[test]
fn a_reload_keeps_packets_flowing_and_an_operators_word() {
    if !require("daemon", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let daemon = scene.start();
    daemon.set_mode("p1", Mode::Enforce);
    let (good, spoofed) = (("p1", P1_SOURCE, OURS), ("p1", SPOOFED, OURS));
    scene
        .traffic
        .expect(&daemon, spoofed, "source-unannounced", true);
    let stream = scene.traffic.stream(scene.lab.p1.namespace(), good);

    // Not a young daemon any more: no time limit of a start may be taken from its start.
    wait_for("the daemon to age", 2 * STALE_HOLD, || {
        let uptime = daemon.status()["uptime_seconds"].as_u64();
        (uptime > Some(STALE_HOLD.as_secs())).then_some(())
    });

    // One more source for P1.
    daemon.rewrite(
        &scene.site,
        &scene.config("extra_sources = [\"8.8.8.0/24\"]"),
    );
    daemon.reload();
    daemon.until_event("reloaded", |_| true);
    daemon.until("the mode to be in force", "p1", |peer| {
        peer["adopted"] == false && peer["mode_in_force"] == "enforce"
    });
    assert!(scene.traffic.end(&daemon, stream, "permitted") > 0);
    scene
        .traffic
        .expect(&daemon, ("p1", "8.8.8.8", OURS), "permitted", false);
    scene
        .traffic
        .expect(&daemon, spoofed, "source-unannounced", true);

    // A file that cannot be right leaves everything as it is.
    daemon.rewrite(&scene.site, "nonsense = true");
    daemon.reload();
    let refused = daemon.until_event("reload-refused", |_| true);
    assert!(
        refused["text"].as_str().unwrap().contains("nonsense"),
        "{refused}"
    );
    scene
        .traffic
        .expect(&daemon, ("p1", "8.8.8.8", OURS), "permitted", false);
    scene
        .traffic
        .expect(&daemon, spoofed, "source-unannounced", true);
    scene.end(daemon);
}
