//! `status`: what is in force and what is missing, and waiting for it; and what each way of not reaching a daemon says.
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use filter_core::Mode;
use tests::lab::{Package, require};

use super::{OURS, Ran, SPOOFED, Scene, Suite, WITHIN, program, wait_for};

#[test]
fn status_shows_what_is_in_force_and_waits_for_it() {
    if !require("operator", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let daemon = scene.start();
    scene.run(&["status", "--wait", "--timeout", "60s"]).good();
    let text = scene.run(&["status"]).good();
    assert!(text.contains("p1") && text.contains("feed 0 bmp"), "{text}");
    assert!(text.contains("feed 1 frr"), "{text}");

    daemon.set_mode("p1", Mode::Enforce);
    let waited = scene.run(&[
        "status",
        "--wait",
        "in-force",
        "--peer",
        "p1",
        "--timeout",
        "60s",
    ]);
    let text = waited.good();
    let expected = "bogons, families, malformed, sources, destinations";
    let row = text.lines().find(|line| line.starts_with("p1")).unwrap();
    assert!(
        expected.split(", ").all(|class| row.contains(class)),
        "{row}"
    );
    assert!(!text.contains("p2"), "{text}");

    // Packets a second, once the counters were read twice.
    let packet = ("p1", SPOOFED, OURS);
    scene
        .traffic
        .expect(&daemon, packet, "source-unannounced", true);
    wait_for("the rates", WITHIN, || {
        let status = scene.run(&["status", "--json"]).lines().pop().unwrap();
        (status["peers"][0]["rates"]["dropped"].as_f64()? > 0.0).then_some(())
    });

    let top = scene.run(&["top", "--sort", "name"]).good();
    let rows: Vec<&str> = top
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(rows, ["peer", "p1", "p2"], "{top}");

    let unknown = scene.run(&["status", "--peer", "p11"]);
    assert_eq!(unknown.code, Some(2));
    assert!(
        unknown
            .err
            .contains("unknown peer `p11`: did you mean `p1`"),
        "{}",
        unknown.err
    );
    let late = scene.run(&["status", "--wait", "in-force", "--timeout", "1s"]);
    assert_eq!(late.code, Some(0), "only p1 wants anything: {}", late.err);
    daemon.stop();
    let away = scene.run(&["status", "--wait", "--timeout", "1s"]);
    assert_eq!(away.code, Some(1));
    assert!(away.err.contains("not so in time"), "{}", away.err);
}

#[test]
fn who_may_not_open_the_socket_is_told_that_and_not_to_start_a_daemon() {
    if !require("operator", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let daemon = scene.start();
    let file = scene.site.write(&scene.config());
    let directory = file.parent().unwrap();
    let socket = directory.join("ctl");
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    let socket = socket.to_str().unwrap();
    let mut command = program(&["status", "--socket", socket]);
    command.uid(65_534).gid(65_534);
    let denied = Ran::of(&command.output().unwrap());
    assert_eq!(denied.code, Some(1), "{}", denied.err);
    assert!(
        denied.err.contains("this user may not open it"),
        "{}",
        denied.err
    );
    assert!(!denied.err.contains("start it"), "{}", denied.err);
    let file = file.to_str().unwrap();
    for arguments in [
        &["events"][..],
        &["violations", "--follow"],
        &["capture", "-w", "-", "--since", "1h"],
        &["observe", "p1"],
    ] {
        let mut command = program(&[arguments, &["--config", file]].concat());
        command.uid(65_534).gid(65_534);
        let denied = Ran::of(&command.output().unwrap());
        assert_eq!(denied.code, Some(1), "{arguments:?}: {}", denied.err);
        assert_eq!(denied.out, "", "{arguments:?}");
        let is_said = ["this user may not open it", "this user may open neither"]
            .iter()
            .any(|why| denied.err.contains(why));
        assert!(is_said, "{arguments:?}: {}", denied.err);
    }
    let elsewhere = format!("{socket}.other");
    let missing = Ran::of(
        &program(&["status", "--socket", &elsewhere])
            .output()
            .unwrap(),
    );
    assert_eq!(missing.code, Some(1));
    assert!(
        missing.err.contains("no daemon answers on"),
        "{}",
        missing.err
    );
    daemon.stop();
}
