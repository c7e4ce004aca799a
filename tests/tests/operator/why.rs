//! `prefixes` and `explain`: what counts, what does not and why, and what would make a packet pass.
use serde_json::Value;
use tests::lab::{Package, require};

use super::{OURS, SPOOFED, Scene, WITHIN, wait_for};

fn of<'a>(prefixes: &'a Value, side: &str, prefix: &str) -> Option<&'a Value> {
    let all = prefixes[side]["prefixes"].as_array()?;
    all.iter().find(|it| it["prefix"] == prefix)
}

#[test]
fn prefixes_have_their_standing_and_explain_names_what_is_refused_or_held() {
    if !require("operator", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let daemon = scene.start();
    let prefixes = |scene: &Scene| {
        scene
            .run(&["prefixes", "p1", "--json"])
            .lines()
            .pop()
            .unwrap()
    };
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

    // A withdrawn one is held, and then was valid until lately.
    scene.lab.p1.announce("198.18.9.0/24");
    wait_for("the new prefix", WITHIN, || {
        let found = prefixes(&scene);
        let found = of(&found, "sources", "198.18.9.0/24")?;
        (found["standing"] == "valid").then_some(())
    });
    scene.lab.p1.withdraw("198.18.9.0/24");
    wait_for("its hold", WITHIN, || {
        let found = prefixes(&scene);
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

    let text = scene
        .run(&["explain", "--peer", "p1", SPOOFED, OURS])
        .good();
    assert!(
        text.contains("source-unannounced") && text.contains("passes if"),
        "{text}"
    );
    let unknown = scene.run(&["prefixes", "p9"]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.err);
    daemon.stop();
}
