//! `events`, `violations` and `capture`: what happened, with who and what, also across a restart of the daemon.
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{SystemTime, UNIX_EPOCH};

use tests::lab::{Package, require};

use super::{ELSEWHERE, OURS, P1_SOURCE, SPOOFED, Scene, Suite, WITHIN, wait_for};

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs_f64()
}

#[test]
fn violations_name_their_sender_and_are_captured_with_comments() {
    if !require("operator", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let daemon = scene.start();
    for (peer, source, destination, reason) in [
        ("p1", SPOOFED, OURS, "source-unannounced"),
        ("p2", P1_SOURCE, ELSEWHERE, "both-unannounced"),
    ] {
        let packet = (peer, source, destination);
        scene.traffic.expect(&daemon, packet, reason, false);
    }
    let mac = scene.lab.p1.namespace().mac("eth0").to_string();
    let of_p1 = wait_for("the violation", WITHIN, || {
        let found = scene.run(&["violations", "--peer", "p1", "--json"]).lines();
        found.first().cloned()
    });
    assert_eq!(of_p1["source_mac"], mac);
    assert_eq!(of_p1["source"], SPOOFED);
    assert_eq!(of_p1["destination_port"], 9);
    assert_eq!(of_p1["protocol"], 17);
    assert_eq!(of_p1["reason"], "source-unannounced");
    assert_eq!(of_p1["dropped"], false);
    assert_eq!(of_p1["destination_is"], "advertised");
    let of_p2 = scene.run(&["violations", "--peer", "p2", "--json"]).lines();
    assert_eq!(of_p2[0]["source_announced_by"][0], "p1", "{of_p2:#?}");
    let table = scene.run(&["violations"]).good();
    let line = table.lines().find(|line| line.contains(SPOOFED)).unwrap();
    assert!(line.contains(&mac) && line.contains("passed"), "{line}");

    // Restarted, the daemon still has them, and counts on.
    daemon.stop();
    let sent = scene.traffic.probe(("p2", P1_SOURCE, "100.64.0.9")).send();
    assert_eq!(sent, 1, "the filter observes without the daemon");
    let seen_by = now();
    let daemon = scene.start();
    let meanwhile = wait_for("what was sent meanwhile", WITHIN, || {
        let found = scene.run(&["violations", "--peer", "p2", "--json"]).lines();
        found
            .into_iter()
            .find(|it| it["destination"] == "100.64.0.9")
    });
    // It is of then, when nobody knew what it is asked about now.
    assert!(
        meanwhile["time"].as_f64().unwrap() <= seen_by,
        "{meanwhile}"
    );
    assert_eq!(meanwhile["destination_is"], "not-known");
    let story = meanwhile["story"].as_str().unwrap();
    assert!(
        story.starts_with("who advertises the source was not known yet"),
        "{story}"
    );
    let again = scene.run(&["violations", "--peer", "p1", "--json"]).lines();
    assert_eq!(again[0], of_p1);
    let packet = ("p1", SPOOFED, OURS);
    scene
        .traffic
        .expect(&daemon, packet, "source-unannounced", false);
    let second = wait_for("the second violation", WITHIN, || {
        let found = scene.run(&["violations", "--peer", "p1", "--json"]).lines();
        found.get(1).cloned()
    });
    assert!(second["number"].as_u64() > of_p1["number"].as_u64());

    is_captured_with_comments(&scene);
}

/// P1's two violations, as a capture that tshark reads.
fn is_captured_with_comments(scene: &Scene) {
    let directory = tests::lab::Directory::new("capture");
    let file = directory.path().join("x.pcapng");
    let file = file.to_str().unwrap();
    scene
        .run(&["capture", "-w", file, "--since", "1h", "--peer", "p1"])
        .good();
    let mut capture = filter_daemon::capture::Capture::open(file.as_ref()).unwrap();
    for _ in 0..2 {
        let packet = capture.next_packet().unwrap().unwrap();
        assert_eq!(
            packet.original,
            packet.bytes.len(),
            "a short packet is sampled whole"
        );
    }
    assert_eq!(capture.next_packet().unwrap(), None);
    let shown = tshark(&[
        "-r",
        file,
        "-T",
        "fields",
        "-e",
        "ip.src",
        "-e",
        "frame.comment",
    ]);
    let Some(shown) = shown else { return };
    assert_eq!(shown.lines().count(), 2, "{shown}");
    for line in shown.lines() {
        assert!(line.starts_with(SPOOFED), "{line}");
        assert!(
            line.contains("source-unannounced passed, peer p1"),
            "{line}"
        );
    }
}

/// None if there is no tshark, which is said.
fn tshark(arguments: &[&str]) -> Option<String> {
    let output = match Command::new("tshark").args(arguments).output() {
        Ok(output) => output,
        Err(error) => {
            let required = std::env::var_os(tests::lab::REQUIRE).is_some_and(|value| value == "1");
            assert!(!required, "no tshark: {error}: install the package tshark");
            eprintln!("SKIPPED: looking at the capture with tshark: {error}");
            return None;
        }
    };
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The lines a process writes.
fn lines(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[test]
fn events_are_followed_across_a_restart_and_none_is_missed() {
    if !require("operator", &[Package::Frr, Package::Bird]) {
        return;
    }
    let mut scene = Scene::new();
    let daemon = scene.start();
    let mut command = scene.program(&["events", "--follow", "--json"]);
    let mut follower = command.stdout(Stdio::piped()).spawn().unwrap();
    let followed = lines(follower.stdout.take().unwrap());
    let mut seen = Vec::new();
    let mut until = |name: &str| loop {
        let line = followed
            .recv_timeout(WITHIN)
            .unwrap_or_else(|_| panic!("no {name}"));
        let Ok(event) = serde_json::from_str::<serde_json::Value>(&line) else {
            continue; // the harness's own
        };
        let is_it = event["event"] == name;
        seen.push(event["number"].as_u64().unwrap());
        if is_it {
            return;
        }
    };
    until("attached");
    daemon.stop();
    until("stopping");
    let daemon = scene.start();
    until("attached");
    scene.lab.p1.session_down(filter_core::Family::Ipv4);
    until("session-down");
    follower.kill().unwrap();
    follower.wait().unwrap();
    let last = *seen.last().unwrap();
    assert_eq!(
        seen,
        (1..=last).collect::<Vec<_>>(),
        "none twice, none missed"
    );

    let warned = scene.run(&["events", "--warnings", "--json"]).lines();
    assert!(
        warned.iter().all(|event| event["severity"] != "info"),
        "{warned:#?}"
    );
    let down = scene.run(&["events", "--type", "session-down", "--peer", "p1", "--json"]);
    assert_eq!(down.lines()[0]["peer"], "p1");
    unknown_names_are_refused(&scene);
    daemon.stop();
    let away = scene.run(&["events", "--json"]);
    assert!(away.err.contains("no daemon"), "{}", away.err);
    assert!(away.lines().len() as u64 >= last);

    // What cannot be read is not the same as nothing.
    let records = scene.site.state_file().with_extension("records");
    let other = "{\"bcp38\":\"events\",\"version\":7}\n";
    std::fs::write(records.join("events.jsonl"), other).unwrap();
    let unread = scene.run(&["events", "--json"]);
    assert_eq!((unread.code, unread.out.as_str()), (Some(1), ""));
    assert!(unread.err.contains("version 7"), "{}", unread.err);
}

fn unknown_names_are_refused(scene: &Scene) {
    for (arguments, advice) in [
        (
            ["events", "--type", "session-dwn"],
            "did you mean `session-down`?",
        ),
        (
            ["violations", "--reason", "source-bogn"],
            "did you mean `source-bogon`?",
        ),
        (["events", "--peer", "p11"], "did you mean `p1`?"),
        (["violations", "--peer", "nobody"], "unknown peer `nobody`"),
    ] {
        let refused = scene.run(&arguments);
        assert_eq!(
            (refused.code, refused.out.as_str()),
            (Some(2), ""),
            "{arguments:?}"
        );
        assert!(refused.err.contains(advice), "{}", refused.err);
    }
    let directory = tests::lab::Directory::new("unknown");
    let file = directory.path().join("x.pcapng");
    let shown = file.to_str().unwrap();
    let refused = scene.run(&["capture", "-w", shown, "--since", "1h", "--peer", "nobody"]);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert!(!file.exists(), "nothing is written");
}
