//! `doctor`: finds what was broken on the lab, in the words of status and events, and its exit code says so.
use filter_core::Mode;
use serde_json::Value;
use tests::lab::{Package, require};

use super::{Ran, Scene, Suite, WITHIN, program, wait_for};

fn findings(ran: &Ran) -> Vec<Value> {
    let report: Value =
        serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}{}", ran.out, ran.err));
    assert_eq!(report["ok"] == true, ran.code == Some(0), "{report:#}");
    report["findings"].as_array().unwrap().clone()
}

fn of<'a>(found: &'a [Value], check: &str) -> Vec<&'a Value> {
    found.iter().filter(|it| it["check"] == check).collect()
}

#[test]
fn what_keeps_a_class_out_of_force_is_found_with_its_cause_and_exit_code() {
    if !require("operator", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let daemon = scene.start();
    daemon.set_mode("p1", Mode::Enforce);
    let well = wait_for("nothing to be out of force", WITHIN, || {
        let ran = scene.run(&["doctor", "--json"]);
        (ran.code == Some(0)).then_some(ran)
    });
    let found = findings(&well);
    assert!(
        found.iter().all(|it| it["keeps_out_of_force"] == false),
        "{found:#?}"
    );
    assert_eq!(of(&found, "max-prefixes").len(), 2, "{found:#?}");

    // An operator's hand: the class is out of force until it is taken back.
    scene.run(&["observe", "--all"]).good();
    let ran = scene.run(&["doctor", "--json"]);
    assert_eq!(ran.code, Some(1), "{}", ran.out);
    let found = findings(&ran);
    let off = of(&found, "switched-off");
    let fix = off[0]["fix"].as_str().unwrap();
    assert!(
        fix.starts_with("bcp38 enforce --config ") && fix.ends_with(".toml --all"),
        "{fix}"
    );
    assert_eq!(off[0]["keeps_out_of_force"], true);
    let class = of(&found, "class");
    assert_eq!(class[0]["subject"], "p1", "{found:#?}");
    assert_eq!(class[0]["fix"], fix, "{found:#?}");
    let wanted_by = "an operator switched it on with `enforce`";
    assert_eq!(class[0]["why"], wanted_by, "{found:#?}");
    let peer = daemon.peer("p1");
    assert_eq!(peer["state"], "observing", "{peer:#}");
    let enforced = scene.run(&["enforce", "p1", "--force"]).good();
    assert!(
        enforced.contains("p1: mode enforce, observing")
            && enforced.contains("`bcp38 observe --all` is in force"),
        "{enforced}"
    );
    let text = scene.run(&["doctor"]);
    assert!(text.out.contains(&format!("fix: {fix}")), "{}", text.out);
    assert!(
        text.err.contains("keep wanted classes out of force"),
        "{}",
        text.err
    );
    daemon.stop();
}

#[test]
fn a_daemon_that_is_not_there_and_a_neighbour_that_is_not_known_are_found() {
    if !require("operator", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let daemon = scene.start();
    // An address of P2's that nothing answers at.
    let config = scene
        .config()
        .replace("\"192.0.2.12\", ", "\"192.0.2.12\", \"192.0.2.77\", ");
    let found = findings(&scene.run_with(&config, &["doctor", "--json"]));
    let silent: Vec<&Value> = of(&found, "neighbour");
    let silent = silent.iter().find(|it| it["fix"] == "ping -c 1 192.0.2.77");
    assert_eq!(silent.unwrap()["subject"], "p2", "{found:#?}");
    daemon.stop();
    // Without a daemon nothing is kept out of force that nobody wants.
    let enforcing = scene
        .config()
        .replace("macs = [", "mode = \"enforce\"\nmacs = [");
    for (config, code) in [(scene.config(), 0), (enforcing, 1)] {
        let away = scene.run_with(&config, &["doctor", "--json"]);
        assert_eq!(away.code, Some(code));
        let found = findings(&away);
        assert_eq!(of(&found, "daemon").len(), 1, "{found:#?}");
    }
    let nowhere = Ran::of(
        &program(&["doctor", "--config", "/nowhere.toml"])
            .output()
            .unwrap(),
    );
    assert_eq!(nowhere.code, Some(2), "{}", nowhere.err);
}
