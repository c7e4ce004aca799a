//! `report`: what a peer's NOC is sent.
use serde_json::Value;
use tests::lab::{Directory, Package, require};

use super::{OURS, P1_SOURCE, SPOOFED, Scene, Suite, WITHIN, browser, wait_for};

#[test]
fn a_report_holds_what_was_seen_and_one_of_a_peer_that_behaves_says_so() {
    if !require("operator", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let daemon = scene.start();
    scene
        .traffic
        .expect(&daemon, ("p1", P1_SOURCE, OURS), "permitted", false);
    for _ in 0..3 {
        scene
            .traffic
            .expect(&daemon, ("p1", SPOOFED, OURS), "source-unannounced", false);
    }
    scene
        .run(&["report", "--peer", "p1", "--acknowledge", "ticket <7>"])
        .good();
    let directory = Directory::new("report");
    let out = directory.path().to_str().unwrap();
    let (html, json) = wait_for("the samples to be recorded", WITHIN, || {
        let files = scene.run(&["report", "--peer", "p1", "--out", out]).good();
        let [html, json] = files.lines().collect::<Vec<_>>()[..] else {
            panic!("{files}");
        };
        let read = |path: &str| std::fs::read_to_string(path).unwrap();
        let report: Value = serde_json::from_str(&read(json)).unwrap();
        let samples = report["samples"].as_array().unwrap().len();
        let is_noted = !report["acknowledgements"].as_array().unwrap().is_empty();
        (samples == 3 && is_noted).then(|| (html.to_owned(), report))
    });
    if let Some((shown, complaints)) = browser::open(&html) {
        assert_eq!(complaints, [""; 0]);
        for element in ["<svg", "<rect", "9.9.9.0/24", "ticket &lt;7&gt;"] {
            assert!(shown.contains(element), "{element}: {shown}");
        }
        let (_, line) = shown.split_once("<line").unwrap();
        let (_, inside) = line.split_once('>').unwrap();
        assert!(inside.starts_with("</line>"), "it hides the chart: {shown}");
    }
    let html = std::fs::read_to_string(html).unwrap();
    let reason = &json["reasons"][0];
    assert_eq!(reason["reason"], "source-unannounced", "{json:#}");
    assert_eq!(
        (&reason["passed"], &reason["dropped"]),
        (&3.into(), &0.into())
    );
    assert_eq!(json["sources"][0]["prefix"], "9.9.9.0/24");
    assert_eq!(json["acknowledgements"][0]["note"], "ticket <7>");
    for shown in [
        "<svg",
        "source-unannounced",
        "9.9.9.0/24",
        "AS64501",
        "ticket &lt;7&gt;",
    ] {
        assert!(html.contains(shown), "{shown}");
    }
    assert!(!html.contains(SPOOFED), "a third party's address");

    let clean = scene.run(&["report", "--peer", "p2", "--out", out]).good();
    assert!(clean.contains("p2 broke nothing"), "{clean}");
    daemon.stop();
}
