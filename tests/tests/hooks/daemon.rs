//! The key `hook`, what `auto` takes, and what status has to say of it.
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tests::lab::{Site, Wire, require};

use super::Ends;
use super::stage::{
    GOOD, PACKETS, SPOOFED, Stage, config, counted, interface, lan, until_enforced,
};

#[test]
fn the_hook_is_changed_by_a_reload_and_every_packet_counted_once() {
    if !require("hooks reload", &[]) {
        return;
    }
    let mut stage = Stage::new();
    let daemon = stage.site.start(&config(&lan("auto"), ""));
    until_enforced(&daemon);
    let first = interface(&daemon);
    assert_eq!(first["hook"], "tc", "{first:#}");
    let why = first["hook_why"].as_str().unwrap();
    assert!(why.contains("`veth`"), "{why}");
    assert_eq!(first["ahead"], serde_json::json!([]));
    let mut sent = 0;
    for hook in [
        "auto",
        "xdp-native",
        "tc",
        "xdp-generic",
        "tc",
        "xdp-native",
        "auto",
    ] {
        let before = daemon.events_named("reloaded").len();
        daemon.rewrite(&stage.site, &config(&lan(hook), ""));
        daemon.reload();
        tests::lab::wait_for("the reload", super::stage::WITHIN, || {
            (daemon.events_named("reloaded").len() > before).then_some(())
        });
        until_enforced(&daemon);
        let now = interface(&daemon);
        let expected = if hook == "auto" { "tc" } else { hook };
        assert_eq!(now["hook"], expected, "{hook}: {now:#}");
        let why = now["hook_why"].as_str().unwrap();
        assert_eq!(why == "as configured", hook != "auto", "{hook}: {why}");
        assert_eq!(stage.arrive(GOOD), PACKETS, "{hook}");
        assert_eq!(stage.arrive(SPOOFED), 0, "{hook}");
        sent += PACKETS as u64;
        assert_eq!(counted(&daemon, "permitted"), (sent, 0), "{hook}");
        assert_eq!(counted(&daemon, "source-unannounced"), (0, sent), "{hook}");
    }
    daemon.stop();
}

/// Before Linux 6.6 it is a filter of `clsact` that is replaced in its place, with every reload.
#[test]
fn while_reloads_replace_the_program_at_tc_no_spoofed_packet_passes() {
    const RELOADS: usize = 5;
    if !require("hooks reloads at tc", &[]) {
        return;
    }
    let mut stage = Stage::new();
    let daemon = stage.site.start(&config(&lan("tc"), ""));
    until_enforced(&daemon);
    let sender = stage.peer.run(|| Wire::open("eth0").unwrap());
    let sink = stage.router.run(|| Wire::behind_tc("ixp0").unwrap());
    let (site, is_over) = (Site::new(&stage.router), AtomicBool::new(false));
    let site = &std::mem::replace(&mut stage.site, site);
    let sent = thread::scope(|scope| {
        let over = Ends(&is_over);
        let flood = scope.spawn(|| {
            let mut sent = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let frame = stage.frame(SPOOFED);
                sender.send(&frame);
                sent.push(frame);
                thread::sleep(Duration::from_micros(500));
            }
            sent
        });
        for times in 0..RELOADS {
            daemon.rewrite(site, &config(&lan("tc"), &format!("# reload {times}")));
            daemon.until_reloaded();
            until_enforced(&daemon);
        }
        drop(over);
        flood.join().unwrap()
    });
    assert_eq!(stage.arrive(GOOD), PACKETS);
    let arrived = sink.waiting();
    assert!(!sent.iter().any(|frame| arrived.contains(frame)));
    assert_eq!(
        counted(&daemon, "source-unannounced"),
        (0, sent.len() as u64)
    );
    assert_eq!(counted(&daemon, "permitted"), (PACKETS as u64, 0));
    assert_eq!(daemon.events_named("not-attached").len(), 0);
    daemon.stop();
}

/// Another filter has XDP: ours runs at tc beside it, and says whose program that is. A third one goes ahead at tc.
#[test]
fn other_programs_are_named_and_ours_runs_beside_them() {
    if !require("hooks others", &[]) {
        return;
    }
    let mut stage = Stage::new();
    let foreign = stage.site.start(&config(&lan("xdp-native"), ""));
    until_enforced(&foreign);
    let ours = Site::new(&stage.router);
    let daemon = ours.start(&config(&lan("auto"), ""));
    until_enforced(&daemon);
    let now = interface(&daemon);
    assert_eq!(now["hook"], "tc");
    let why = now["hook_why"].as_str().unwrap();
    assert!(
        why.starts_with("`bcp38` (program ") && why.ends_with("attached at xdp-native"),
        "{why}"
    );
    // What the other one lets through is judged here.
    assert_eq!(stage.arrive(GOOD), PACKETS);
    assert_eq!(counted(&daemon, "permitted"), (PACKETS as u64, 0));
    assert_eq!(stage.arrive(SPOOFED), 0);

    let third = Site::new(&stage.router);
    let ahead = third.start(&config(&lan("tc"), ""));
    until_enforced(&ahead);
    tests::lab::wait_for("the one ahead to be named", super::stage::WITHIN, || {
        let programs = interface(&daemon)["ahead"].clone();
        let programs = programs.as_array().unwrap();
        let [program] = programs.as_slice() else {
            return None;
        };
        program
            .as_str()
            .unwrap()
            .starts_with("`bcp38_tc` (program ")
            .then_some(())
    });
    assert_eq!(interface(&ahead)["ahead"], serde_json::json!([]));
    assert_eq!(stage.arrive(GOOD), PACKETS);
    assert_eq!(counted(&daemon, "permitted"), (2 * PACKETS as u64, 0));
    for daemon in [ahead, daemon, foreign] {
        daemon.stop();
    }
}

/// Both ends are in sight, and the sender keeps its tags beside the frame: in XDP they would be hidden.
#[test]
fn where_xdp_would_not_see_tags_auto_takes_tc_and_everything_is_in_force() {
    if !require("hooks tags", &[]) {
        return;
    }
    let tagged = r#"
[[peer]]
name = "tagged"
asn = 64502
interface = "ixp0"
vlan = 100
addresses = ["192.0.2.12"]
macs = ["02:00:00:00:00:12"]
"#;
    let stage = Stage::new();
    let far = ["link", "set", "eth0", "netns", stage.router.name()];
    stage.peer.ip(&far);
    stage.router.ip(&["link", "set", "eth0", "up"]);
    let daemon = stage.site.start(&config(&lan("auto"), tagged));
    until_enforced(&daemon);
    let now = interface(&daemon);
    assert_eq!(now["hook"], "tc");
    let why = now["hook_why"].as_str().unwrap();
    assert!(why.contains("tags"), "{why}");
    assert_eq!(daemon.events_named("tags-hidden").len(), 0);
    daemon.stop();
}

#[test]
fn a_link_at_tc_that_somebody_detaches_is_noticed_and_put_back() {
    if !require("hooks detached", &[]) {
        return;
    }
    let mut stage = Stage::new();
    let daemon = stage.site.start(&config(&lan("tc"), ""));
    until_enforced(&daemon);
    let pin = stage.site.pins().join("link-ixp0");
    tests::lab::detach_link(&stage.router, &pin);
    daemon.until_event("not-attached", |_| true);
    until_enforced(&daemon);
    assert_eq!(interface(&daemon)["hook"], "tc");
    assert_eq!(stage.arrive(GOOD), PACKETS);
    assert_eq!(stage.arrive(SPOOFED), 0);
    daemon.stop();
}
