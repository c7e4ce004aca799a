//! `advise`, `enforce` with its preview, `--confirm-within` and `confirm`: what is dared can be taken back.
use filter_core::Mode;
use tests::lab::{Bcp38, Package, require};

use super::{OURS, P1_SOURCE, SPOOFED, Scene, Suite, WITHIN, wait_for};

const GOOD: (&str, &str, &str) = ("p1", P1_SOURCE, OURS);
/// More than one in a hundred, whatever the routers send meanwhile.
const BADS: u64 = 20;
const BAD: (&str, &str, &str) = ("p1", SPOOFED, OURS);

fn mode(daemon: &Bcp38) -> String {
    let peer = daemon.peer("p1");
    peer["mode_in_force"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn advice_has_the_exact_numbers_and_enforce_refuses_what_would_cost_too_much() {
    if !require("operator", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let daemon = scene.start();
    for _ in 0..3 {
        scene.traffic.expect(&daemon, GOOD, "permitted", false);
    }
    for _ in 0..BADS {
        let traffic = &mut scene.traffic;
        traffic.expect(&daemon, BAD, "source-unannounced", false);
    }
    let mac = scene.lab.p1.namespace().mac("eth0").to_string();
    let advice = wait_for("the sample to be recorded", WITHIN, || {
        let advice = scene.run(&["advise", "p1", "--json"]).lines().pop()?;
        let classes = advice["classes"].as_array()?;
        let sources = classes.iter().find(|it| it["class"] == "sources")?.clone();
        (!sources["sources"].as_array()?.is_empty()).then_some((advice, sources))
    });
    let (advice, sources) = advice;
    assert_eq!(sources["packets"], BADS, "{advice:#}");
    assert_eq!(sources["reasons"]["source-unannounced"], BADS);
    assert_eq!(sources["sources"][0]["prefix"], "9.9.9.0/24");
    assert_eq!(sources["sources"][0]["macs"][0], mac);
    assert_eq!(sources["verdict"], "not-yet", "a day was not watched");
    let text = scene.run(&["advise", "p1"]).good();
    assert!(
        text.contains("verdict: not yet") && text.contains("9.9.9.0/24"),
        "{text}"
    );
    assert!(
        text.contains("--only malformed,families,bogons --confirm-within 10m"),
        "{text}"
    );

    let refused = scene.run(&["enforce", "p1"]);
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    assert!(refused.err.contains("more than 1 %"), "{}", refused.err);
    assert!(refused.out.contains("9.9.9.0/24"), "{}", refused.out);
    assert_eq!(mode(&daemon), "observe");
    scene.run(&["enforce", "p1", "--only", "bogons"]).good();
    scene.run(&["enforce", "p1", "--force"]).good();
    scene
        .traffic
        .expect(&daemon, BAD, "source-unannounced", true);
    let unknown = scene.run(&["advise", "p3"]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.err);
    let interface = scene.run(&["enforce", "eth0", "--confirm-within", "1m"]);
    assert_eq!(interface.code, Some(2), "{}", interface.out);
    let why = "`eth0` is an interface";
    assert!(interface.err.contains(why), "{}", interface.err);
    what_is_not_wanted_there_is_not_enforced(&scene);

    // Where the counters of before cannot be read, nothing is known, and nothing is dared unasked.
    let records = scene.site.state_file().with_extension("records");
    let other = "{\"bcp38\":\"minutes\",\"version\":7}\n";
    std::fs::write(records.join("minutes.jsonl"), other).unwrap();
    daemon.set_mode("p1", Mode::Observe);
    let refused = scene.run(&["enforce", "p1"]);
    assert_eq!(refused.code, Some(1), "{}", refused.out);
    assert!(refused.err.contains("is not known"), "{}", refused.err);
    assert_eq!(mode(&daemon), "observe");
    scene.run(&["enforce", "p1", "--force"]).good();
    daemon.stop();
}

fn what_is_not_wanted_there_is_not_enforced(scene: &Scene) {
    for (arguments, why) in [
        (
            &["enforce", "eth0"][..],
            "enforces nothing of frames of no peer",
        ),
        (
            &["enforce", "eth0", "--only", "sources"],
            "`sources` is a class of a peer",
        ),
        (
            &["enforce", "p1", "--force", "--only", "lan"],
            "`lan` is a class of an interface",
        ),
    ] {
        let refused = scene.run(arguments);
        assert_eq!(refused.code, Some(2), "{}", refused.out);
        assert!(refused.err.contains(why), "{}", refused.err);
    }
}

#[test]
fn what_is_not_confirmed_is_taken_back_and_what_is_stays() {
    if !require("operator", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let daemon = scene.start();
    let nothing = scene.run(&["confirm", "p1"]);
    assert_eq!(nothing.code, Some(2), "{}", nothing.err);

    // Not confirmed in time.
    scene
        .run(&["enforce", "p1", "--confirm-within", "2s"])
        .good();
    daemon.until_event("trial-rolled-back", |_| true);
    wait_for("it to observe again", WITHIN, || {
        (mode(&daemon) == "observe").then_some(())
    });

    // Confirmed, across a restart.
    let said = scene
        .run(&["enforce", "p1", "--confirm-within", "10m"])
        .good();
    let (_, confirm) = said.split_once("unless `bcp38 confirm --config ").unwrap();
    assert!(
        confirm.contains(" p1` comes; if the daemon dies before"),
        "{said}"
    );
    assert!(daemon.peer("p1")["trial_seconds_left"].as_u64().is_some());
    scene.run(&["confirm", "p1"]).good();
    assert!(daemon.peer("p1")["trial_seconds_left"].is_null());
    daemon.stop();
    let daemon = scene.start_enforcing();
    scene
        .traffic
        .expect(&daemon, BAD, "source-unannounced", true);

    // Not confirmed before the daemon stops: observed again, whatever comes back.
    daemon.set_mode("p1", Mode::Observe);
    scene
        .run(&["enforce", "p1", "--force", "--confirm-within", "10m"])
        .good();
    daemon.stop();
    let daemon = scene.start();
    assert_eq!(mode(&daemon), "observe");
    scene
        .traffic
        .expect(&daemon, BAD, "source-unannounced", false);
    daemon.stop();
}
