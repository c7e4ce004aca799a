//! A live status has the fields its document names, and no others.
use std::collections::BTreeSet;

use filter_lifecycle::status::Obstacle;
use serde_json::Value;
use tests::lab::require;

use super::scene::{GOOD_FLOW, LAN, SPOOFED_FLOW, Scene, our_mac};

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/status.md");
    std::fs::read_to_string(path).unwrap()
}

/// The words in code quotes in the first column of the tables of a section.
fn first_column(section: &str) -> BTreeSet<String> {
    let document = document();
    let (_, rest) = document.split_once(&format!("\n## {section}\n")).unwrap();
    let rest = rest.split("\n## ").next().unwrap();
    let rows = rest.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split(" |").next());
    let words = cells.flat_map(|cell| cell.split(", "));
    words
        .map(|word| word.trim_matches('`').to_owned())
        .collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_documented_obstacles_are_those_there_are() {
    let documented = first_column("Classes");
    let fields: BTreeSet<String> = [
        "class",
        "family",
        "wanted",
        "allowed",
        "in_force",
        "lacks",
        "since_seconds",
        "expected_seconds",
        "missing",
    ]
    .map(str::to_owned)
    .into();
    let obstacles: BTreeSet<String> = documented.difference(&fields).cloned().collect();
    assert_eq!(
        obstacles,
        Obstacle::ALL.map(|each| each.as_str().to_owned()).into()
    );
}

#[test]
fn a_live_status_is_as_documented() {
    if !require("devices status", &[]) {
        return;
    }
    let mut scene = Scene::new(LAN, "192.0.2.1/24");
    scene.stream("ixp0", our_mac(), GOOD_FLOW, SPOOFED_FLOW);
    let status = scene.daemon.status();
    assert_eq!(status["schema"], filter_engine::SCHEMA);
    assert_eq!(keys(&status), first_column("The object"));
    let interface = &status["interfaces"][0];
    assert_eq!(keys(interface), first_column("An interface"));
    let mut feed = first_column("A feed");
    assert!(feed.remove("passwords_set"), "only of shadow feeds");
    assert!(feed.remove("poll"), "only of feeds that poll");
    assert_eq!(keys(&status["feeds"][0]), feed);
    assert_eq!(status["feeds"][0]["name"], "p");
    let peer = &status["peers"][0];
    assert_eq!(keys(peer), first_column("A peer"));
    let station = keys(&peer["stations"][0]);
    let expected = [
        "interface",
        "ifindex",
        "mac",
        "vlan",
        "inner_vlan",
        "known_by",
        "last_seen_seconds",
        "last_session_frame_seconds",
    ];
    assert_eq!(station, expected.map(str::to_owned).into());
    assert_eq!(peer["stations"][0]["interface"], "ixp0");
    let is_seen = |peer: &Value| peer["stations"][0]["last_seen_seconds"].is_u64();
    scene.daemon.until("its frames to be seen", "p", is_seen);
    for classes in [&peer["classes"], &interface["classes"]] {
        let class = &classes[0];
        let fields = [
            "class",
            "family",
            "wanted",
            "allowed",
            "in_force",
            "missing",
            "lacks",
            "since_seconds",
            "expected_seconds",
        ];
        assert_eq!(keys(class), fields.map(str::to_owned).into());
    }
    let class = &peer["classes"][2];
    assert_eq!(
        (&class["class"], &class["family"]),
        (&"sources".into(), &"ipv4".into())
    );
    assert_eq!(
        (&class["wanted"], &class["in_force"], &class["missing"]),
        (&true.into(), &true.into(), &Value::Null)
    );
    let counted = &peer["counters"]["source-unannounced"];
    assert_eq!(counted["passed"]["packets"], 0);
    assert!(
        counted["dropped"]["packets"].as_u64().unwrap() > 0,
        "{counted}"
    );
    assert_eq!(
        keys(&counted["dropped"]),
        ["packets", "bytes"].map(str::to_owned).into()
    );
}
