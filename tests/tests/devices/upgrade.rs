//! From a version with another data-plane schema to this one: its program filters until ours knows as much, and off works
//! all the while. Each with packets and a receiver that counts them.
use std::path::Path;
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use filter_core::layout::map;
use filter_core::{Mode, layout};
use filter_daemon::control::Request;
use filter_loader::Switch;
use serde_json::Value;
use tests::lab::{Namespace, Site, require, wait_for, without_routes};

use super::scene::{
    GOOD_FLOW, ITS_MAC, LAN, SPOOFED_FLOW, Scene, WITHIN, config, is_enforced, our_mac,
};
use super::schema_3;

const ADDRESS: &str = "192.0.2.1/24";
const PACKETS: usize = 20;
/// Of a version to come.
const OTHER: u32 = 77;

fn pinned(dir: &Path, name: &str) -> Map {
    Map::from_map_data(MapData::from_pin(dir.join(name)).unwrap()).unwrap()
}

fn becomes_another(site: &Site, _: &Namespace) {
    site.becomes(OTHER);
}

/// A daemon beside the program of another version's, which knows nothing yet.
fn beside_another() -> Scene {
    let scene = Scene::new(LAN, ADDRESS).restart(&without_routes(&config(LAN)), becomes_another);
    scene.daemon.until_event("former-kept", |_| true);
    scene
}

fn arrive(scene: &mut Scene) -> [usize; 2] {
    [GOOD_FLOW, SPOOFED_FLOW].map(|flow| scene.arrive(ITS_MAC, flow))
}

const FILTERED: [usize; 2] = [PACKETS, 0];
const ALL: [usize; 2] = [PACKETS, PACKETS];

#[test]
fn another_versions_program_filters_until_this_one_knows_as_much() {
    if !require("devices upgrade", &[]) {
        return;
    }
    let mut scene = beside_another();
    assert_eq!(arrive(&mut scene), FILTERED);
    // What of it is in force cannot be read, and is not guessed.
    let interface = scene.interface("ixp0");
    assert_eq!(interface["attached"], Value::Null, "{interface:#}");
    let why = interface["why"].as_str().unwrap();
    assert!(why.contains("of a version with schema 77 filters"), "{why}");
    let peer = scene.daemon.peer("p");
    let classes = peer["classes"].as_array().unwrap();
    assert!(
        classes.iter().all(|class| class["in_force"].is_null()),
        "{peer:#}"
    );
    assert_eq!(scene.daemon.events_named("not-attached").len(), 0);
    assert!(scene.site().former_pins().exists());

    // The feed reports everything: from the first packet to the last, each meets one of the two programs.
    scene.daemon.rewrite(scene.site(), &config(LAN));
    scene.daemon.reload();
    let outcome = scene.stream("ixp0", our_mac(), GOOD_FLOW, SPOOFED_FLOW);
    outcome.assert_safe("the upgrade", Duration::ZERO);
    outcome.assert_none_passed("the upgrade");
    scene.daemon.until_event("former-replaced", |_| true);
    assert!(
        !scene.site().former_pins().exists(),
        "the former pins are removed"
    );
    assert_eq!(scene.interface("ixp0")["attached"], true);
    let counters = scene.daemon.peer("p")["counters"].clone();
    assert!(counters["permitted"]["passed"]["packets"].as_u64() > Some(0));
    assert_eq!(arrive(&mut scene), FILTERED);
}

#[test]
fn off_works_beside_another_versions_program() {
    if !require("devices upgrade off", &[]) {
        return;
    }
    // By the daemon: the peer's word of either version.
    let mut scene = beside_another();
    scene.daemon.set_mode("p", Mode::Observe);
    assert_eq!(arrive(&mut scene), ALL);
    // Without one.
    let mut scene = beside_another();
    let pins = scene.pins().to_owned();
    Switch::open(&pins).unwrap().observe_all();
    assert_eq!(arrive(&mut scene), ALL);
    // Nothing stays of what is detached.
    let interface = "ixp0".to_owned();
    scene.daemon.ask(&Request::Detach { interface }).unwrap();
    let shown = scene.router.ip(&["link", "show", "dev", "ixp0"]);
    assert!(!shown.contains("xdp"), "{shown}");
    assert!(!scene.site().former_pins().exists());
}

/// The objects of schema 3 and what a daemon of that version left in their maps.
#[test]
fn the_program_of_schema_3_filters_until_this_one_knows_as_much() {
    if !require("devices upgrade from 3", &[]) {
        return;
    }
    let mut scene = Scene::starting_after(&without_routes(&config(LAN)), ADDRESS, schema_3::pin);
    let event = scene.daemon.until_event("former-kept", |_| true);
    let text = event["text"].as_str().unwrap();
    assert!(text.contains("of a version with schema 3"), "{text}");
    assert_eq!(arrive(&mut scene), FILTERED);
    scene.daemon.rewrite(scene.site(), &config(LAN));
    scene.daemon.reload();
    let outcome = scene.stream("ixp0", our_mac(), GOOD_FLOW, SPOOFED_FLOW);
    outcome.assert_safe("the upgrade", Duration::ZERO);
    outcome.assert_none_passed("the upgrade");
    scene.daemon.until_event("former-replaced", |_| true);
    assert!(!scene.site().former_pins().exists());
}

fn monotonic() -> Duration {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    Duration::from(now.unwrap())
}

/// Before schema 4 there was one word: the lease, in nanoseconds of the monotonic clock.
#[test]
fn the_lease_of_another_version_is_renewed_on_its_own_clock() {
    if !require("devices upgrade lease", &[]) {
        return;
    }
    for schema in [3, OTHER] {
        let scene = Scene::new(LAN, ADDRESS);
        let lease = |dir: &Path| {
            let words: Array<_, u64> = pinned(dir, map::LEASE).try_into().unwrap();
            words.get(&0, 0).unwrap()
        };
        let scene = scene.restart(&without_routes(&config(LAN)), |site, _| {
            site.becomes(schema);
            if schema < 4 {
                std::fs::remove_file(site.pins().join(map::ALLOWED)).unwrap();
                let until = (monotonic() + Duration::from_secs(20)).as_nanos();
                let mut lease: Array<_, u64> = pinned(site.pins(), map::LEASE).try_into().unwrap();
                lease.set(0, until as u64, 0).unwrap();
            }
        });
        let [own, former] = [scene.pins().to_owned(), scene.site().former_pins()];
        wait_for("the lease to be renewed", WITHIN, || {
            let [own, former] = [&own, &former].map(|dir| lease(dir));
            let now = monotonic().as_nanos() as u64;
            let ahead = Duration::from_nanos(former.saturating_sub(now));
            match schema {
                3 => (Duration::from_secs(30)..Duration::from_secs(3_600)).contains(&ahead),
                _ => former.abs_diff(own) < 1_000,
            }
            .then_some(())
        });
        if schema == 3 {
            // What an operator switches off of it is all of it: so its time is over.
            scene.daemon.set_mode("p", Mode::Observe);
            scene.daemon.until_event("former-replaced", |_| true);
        }
    }
}

#[test]
fn a_daemon_that_stops_before_puts_another_versions_pins_back() {
    if !require("devices upgrade stopped", &[]) {
        return;
    }
    let mut scene = beside_another();
    // The other version is started again.
    let mut back = false;
    scene = scene.restart(&without_routes(&config(LAN)), |site, _| {
        back = !site.former_pins().exists();
        site.becomes(layout::SCHEMA);
    });
    assert!(back, "the pins are where they were");
    assert_eq!(scene.daemon.peer("p")["adopted"], true);
    assert_eq!(arrive(&mut scene), FILTERED);
    assert!(is_enforced(&scene.daemon.peer("p")));
}

#[test]
fn another_versions_program_stays_no_longer_than_stale_hold() {
    if !require("devices upgrade stale", &[]) {
        return;
    }
    let impatient = format!(
        "{}\n[timers]\nstale_hold = \"2s\"\n",
        without_routes(&config(LAN))
    );
    let mut scene = Scene::new(LAN, ADDRESS).restart(&impatient, becomes_another);
    scene.daemon.until_event("former-replaced", |_| true);
    // Nothing is known of the peer: what needs no routes is in force, and said.
    assert_eq!(arrive(&mut scene), ALL);
    let peer = scene.daemon.peer("p");
    let sources = peer["classes"].as_array().unwrap().iter();
    let mut sources = sources.filter(|class| class["class"] == "sources");
    assert!(sources.all(|class| class["in_force"] == false), "{peer:#}");
}

#[test]
fn what_the_lease_had_let_go_is_not_brought_back() {
    if !require("devices upgrade lease ended", &[]) {
        return;
    }
    // The daemon was away for longer than the lease: what its tables say is old.
    let mut scene = Scene::new(LAN, ADDRESS).restart(&without_routes(&config(LAN)), |site, _| {
        let mut lease: Array<_, u64> = pinned(site.pins(), map::LEASE).try_into().unwrap();
        lease.set(0, 1, 0).unwrap();
        site.becomes(OTHER);
    });
    scene.daemon.until_event("lease-ended", |_| true);
    assert_eq!(arrive(&mut scene), ALL);
    assert_eq!(scene.daemon.events_named("former-kept").len(), 0);
    assert!(!scene.site().former_pins().exists());
    assert_eq!(scene.interface("ixp0")["attached"], true);
}

#[test]
fn what_an_operator_switched_off_stays_off_also_without_a_state_file() {
    if !require("devices upgrade switched", &[]) {
        return;
    }
    let scene = Scene::new(LAN, ADDRESS);
    scene.daemon.set_mode("p", Mode::Observe);
    let mut scene = scene.restart(&without_routes(&config(LAN)), |site, _| {
        std::fs::remove_file(site.state_file()).unwrap();
        site.becomes(OTHER);
    });
    scene.daemon.until_event("former-kept", |_| true);
    assert_eq!(arrive(&mut scene), ALL, "by the version before");
    scene.daemon.rewrite(scene.site(), &config(LAN));
    scene.daemon.reload();
    scene.daemon.until_event("former-replaced", |_| true);
    scene.daemon.until_state("p", "observing");
    assert_eq!(arrive(&mut scene), ALL, "by this one");
    scene.daemon.set_mode("p", Mode::Enforce);
    scene.until_enforced();
    assert_eq!(arrive(&mut scene), FILTERED);
}
