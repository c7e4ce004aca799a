//! `prefixes` and `explain`: what counts, what does not and why, and what would make a packet pass.
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::lab::{Package, require};

use super::{OURS, Ran, SPOOFED, Scene, Suite, WITHIN, wait_for};

fn of<'a>(prefixes: &'a Value, side: &str, prefix: &str) -> Option<&'a Value> {
    let all = prefixes[side]["prefixes"].as_array()?;
    all.iter().find(|it| it["prefix"] == prefix)
}

fn prefixes(scene: &Scene) -> Value {
    let shown = scene.run(&["prefixes", "p1", "--json"]);
    shown.lines().pop().unwrap()
}

/// A source of the prefix that comes and goes.
const GONE: &str = "198.18.9.1";
/// Where P1's session is: valid whatever it announces.
const SESSION: &str = "192.0.2.11";

/// Asks what would have become of a packet from there, so long ago.
fn then(scene: &Scene, source: &str, ago: Duration) -> Ran {
    let ago = format!("{}s", ago.as_secs_f64().round());
    let arguments = ["explain", "--peer", "p1", source, OURS, "--json", "--at"];
    scene.run(&[&arguments[..], &[&ago]].concat())
}

/// Returns a time in the middle of those at which the prefix was valid.
fn a_withdrawn_prefix_is_held_and_was_valid_until_lately(scene: &mut Scene) -> Instant {
    scene.lab.p1.announce("198.18.9.0/24");
    wait_for("the new prefix", WITHIN, || {
        let found = prefixes(scene);
        let found = of(&found, "sources", "198.18.9.0/24")?;
        (found["standing"] == "valid").then_some(())
    });
    let valid = Instant::now();
    scene.lab.p1.withdraw("198.18.9.0/24");
    wait_for("its hold", WITHIN, || {
        let found = prefixes(scene);
        let found = of(&found, "sources", "198.18.9.0/24")?;
        found["hold_seconds_left"].as_u64()
    });
    let left = wait_for("its end", WITHIN, || {
        let ran = scene.run(&["explain", "--peer", "p1", "198.18.9.1", OURS, "--json"]);
        let explained = ran.lines().pop().unwrap();
        explained["source_left"]["prefix"]
            .as_str()
            .map(str::to_owned)
    });
    assert_eq!(left, "198.18.9.0/24");
    valid + valid.elapsed() / 2
}

/// The prefix that came and went was valid then, by what the journal has of it.
fn was_valid_then(scene: &Scene, then_at: Instant) {
    let past = wait_for("the journal", WITHIN, || {
        let past = then(scene, GONE, then_at.elapsed()).lines().pop()?;
        past["sources"]["after"].is_object().then_some(past)
    });
    assert_eq!(past["reason"], "permitted", "{past:#}");
    let sources = &past["sources"];
    assert_eq!(sources["prefix"], "198.18.9.0/24", "{past:#}");
    assert_eq!(sources["after"]["how"], "left", "{past:#}");
    let before: Vec<&str> = sources["before"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["how"].as_str().unwrap())
        .collect();
    assert_eq!(before, ["announced", "withdrawn"], "{past:#}");
    assert_eq!(sources["before"][0]["session"], "192.0.2.11", "{past:#}");
    assert_eq!(past["state"]["state"], "observing", "{past:#}");
    let session = then(scene, SESSION, then_at.elapsed()).lines().pop();
    let session = session.unwrap();
    assert_eq!(session["reason"], "permitted", "{session:#}");
    assert_eq!(session["sources"]["prefix"], "192.0.2.11/32", "{session:#}");
}

#[test]
fn prefixes_have_their_standing_and_explain_names_what_is_refused_or_held() {
    if !require("operator", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let daemon = scene.start();
    let first = prefixes(&scene);
    let own = of(&first, "sources", "198.51.100.0/24").unwrap();
    assert_eq!(own["standing"], "valid", "{first:#}");
    assert!(!own["routes"].as_array().unwrap().is_empty(), "{own:#}");
    assert!(
        of(&first, "destinations", "100.64.0.0/24").is_some(),
        "{first:#}"
    );

    // Too long a prefix is received, and not admitted.
    scene.lab.p1.announce("198.18.7.0/25");
    let refused = wait_for("the refused prefix", WITHIN, || {
        of(&prefixes(&scene), "sources", "198.18.7.0/25").cloned()
    });
    assert_eq!(refused["standing"], "refused");
    let within = scene.run(&["prefixes", "p1", "198.18.0.0/15"]).good();
    assert!(
        within.contains("198.18.7.0/25") && !within.contains("198.51.100.0/24"),
        "{within}"
    );
    let explained = scene.run(&["explain", "--peer", "p1", "198.18.7.1", OURS, "--json"]);
    let explained = explained.lines().pop().unwrap();
    assert_eq!(
        explained["source_odd"]["prefix"], "198.18.7.0/25",
        "{explained:#}"
    );
    assert_eq!(explained["source_odd"]["standing"], "refused");
    let remedy = explained["remedy"].as_str().unwrap();
    assert!(
        remedy.contains("198.18.7.0/25") && remedy.contains("extra_sources"),
        "{remedy}"
    );

    let then_at = a_withdrawn_prefix_is_held_and_was_valid_until_lately(&mut scene);
    was_valid_then(&scene, then_at);

    let text = scene
        .run(&["explain", "--peer", "p1", SPOOFED, OURS])
        .good();
    assert!(
        text.contains("source-unannounced") && text.contains("passes if"),
        "{text}"
    );
    let unknown = scene.run(&["prefixes", "p9"]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.err);

    // Another daemon knows it still, and knows nothing of yesterday.
    daemon.stop();
    let daemon = scene.start();
    was_valid_then(&scene, then_at);
    let yesterday = then(&scene, GONE, Duration::from_secs(86_400));
    assert_eq!(yesterday.code, Some(1), "{}", yesterday.out);
    let why = "the journal does not reach back so far";
    assert!(yesterday.err.contains(why), "{}", yesterday.err);
    let changed = daemon.peer("p1")["last_change"].as_f64();
    assert!(changed.is_some_and(|at| at > 0.0));
    daemon.stop();
}

#[test]
fn a_capture_is_judged_by_the_running_daemons_tables() {
    if !require("operator", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let daemon = scene.start();
    scene
        .traffic
        .expect(&daemon, ("p1", SPOOFED, OURS), "source-unannounced", false);
    let directory = tests::lab::Directory::new("replay");
    let file = directory.path().join("x.pcapng");
    let file = file.to_str().unwrap();
    wait_for("the sample to be recorded", WITHIN, || {
        let ran = scene.run(&[
            "capture",
            "-w",
            file,
            "--since",
            "1h",
            "--reason",
            "source-unannounced",
        ]);
        ran.err.contains("1 packets written").then_some(())
    });
    let judged = scene
        .run(&["replay", "--daemon", "--json", "--interface", "eth0", file])
        .lines();
    assert_eq!(judged[0]["peer"], "p1", "{judged:#?}");
    assert_eq!(judged[0]["reason"], "source-unannounced");
    assert_eq!(judged[0]["destination_prefix"], "100.64.0.0/24");
    let offline = scene.run(&["replay", "--json", "--interface", "eth0", file]);
    assert!(offline.err.contains("the bmp feed"), "{}", offline.err);
    assert!(offline.err.contains("the frr feed"), "{}", offline.err);
    daemon.stop();
}
