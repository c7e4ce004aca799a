//! Nothing that stands still keeps the run loop waiting: a log that is not read, a full log disk, a member export or a state
//! file that hangs, a router's client that never ends, control clients that trickle. What is enforced meanwhile is asked with
//! numbered packets, for several of the shortest leases there may be.
use std::fs::File;
use std::io::{PipeReader, Write, pipe};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use serde_json::Value;

use super::*;

/// `lease` here, the shortest there is, and how many of them are watched.
const LEASE: Duration = Duration::from_secs(5);
const LEASES: u32 = 3;
/// What a new pipe holds (pipe(7)).
const PIPE_BYTES: usize = 65_536;
/// A regular file, so it seems, whose readers wait for as long as the kernel has nothing more to say.
const HANGS: &str = "/proc/kmsg";

/// With the shortest lease, and an interface that may have a member export.
fn on_a_lan(config: &str) -> String {
    let lan = "kind = \"lan\"\nlan = [\"203.0.113.0/24\"]";
    config.replace("kind = \"port\"", lan) + "[timers]\nlease = 5\n"
}

/// A log that is full from its first line on. Its reader is there and does not read.
fn unread() -> (PipeReader, Stdio) {
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(&[b'x'; PIPE_BYTES]).unwrap();
    (reader, writer.into())
}

impl Scene {
    fn status_json(&self) -> Value {
        let begin = Instant::now();
        let mut status = bcp38("status");
        let output = status.arg("--json").arg("--socket").arg(self.socket());
        let said = said(&output.output().unwrap());
        assert!(begin.elapsed() < AT_MOST, "{:?}", begin.elapsed());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    fn events(&self, name: &str) -> Vec<String> {
        let mut events = bcp38("events");
        let output = events.arg("--json").arg("--socket").arg(self.socket());
        let said = said(&output.output().unwrap());
        let events = said.lines().map(|line| {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        });
        let named = events.filter(|event| event["event"] == name);
        named.map(|event| event["text"].to_string()).collect()
    }

    /// For as long as some leases last, good packets pass, spoofed ones are dropped, and other clients are answered.
    fn stays_in_force(&mut self, mut meanwhile: impl FnMut()) {
        let end = Instant::now() + LEASES * LEASE;
        while Instant::now() < end {
            meanwhile();
            assert_eq!(self.send(), (PACKETS, 0), "the lease is not renewed");
            let left = self.status_json()["lease_seconds_left"].clone();
            assert!(left.as_u64() >= Some(1), "{left}");
        }
    }

    /// SIGTERM; the program's end waits for nothing either.
    fn ends(&mut self) {
        let begin = Instant::now();
        self.signal(Signal::SIGTERM);
        let ended = self.daemon.wait().unwrap();
        assert!(ended.success(), "{ended}");
        assert!(begin.elapsed() < AT_MOST, "{:?}", begin.elapsed());
    }
}

#[test]
fn nothing_that_stands_still_keeps_the_run_loop_waiting() {
    if !require("nothing_that_stands_still_keeps_the_run_loop_waiting", &[]) {
        return;
    }
    let (_reader, log) = unread();
    let mut scene = Scene::start(on_a_lan, log);
    // A reload, so that what hangs meets a filter that is in force.
    let client = scene.directory.write("bgpctl", "#!/bin/sh\nsleep 600\n");
    std::fs::set_permissions(&client, std::fs::Permissions::from_mode(0o700)).unwrap();
    let hanging = format!(
        "[[feed]]\nkind = \"openbgpd\"\ncommand = \"{}\"\nsocket = \"/nowhere\"\ninterval = 1\n",
        client.display()
    );
    let text = on_a_lan(&config(scene.directory.path(), &scene.pins)) + &hanging;
    let text = text.replace(
        "kind = \"lan\"",
        &format!("kind = \"lan\"\nixf = \"{HANGS}\""),
    );
    scene.directory.write("bcp38.toml", &text);
    scene.signal(Signal::SIGHUP);
    until("the reload", || scene.events("reloaded").len() == 1);
    let refused = scene.events("ixf-refused");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains(HANGS), "{refused:?}");
    assert!(refused[0].contains("no answer within"), "{refused:?}");

    let mut trickling: Vec<UnixStream> = (0..8)
        .map(|_| UnixStream::connect(scene.socket()).unwrap())
        .collect();
    scene.stays_in_force(|| {
        for client in &mut trickling {
            _ = client.write_all(b" "); // the daemon gives them up after their time
        }
    });
    scene.ends();
}

/// A FIFO without a writer: whoever opens it to read waits, as on a disk that hangs.
#[test]
fn a_state_file_that_hangs_costs_what_is_kept_for_reboots_and_nothing_else() {
    let test = "a_state_file_that_hangs_costs_what_is_kept_for_reboots_and_nothing_else";
    if !require(test, &[]) {
        return;
    }
    let mut scene = Scene::start(on_a_lan, Stdio::null());
    let state = scene.directory.path().join("state.json");
    assert!(!state.exists(), "nothing was switched yet");
    nix::unistd::mkfifo(&state, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let why = |scene: &Scene| {
        let begin = Instant::now();
        let enforced = said(&scene.switch("enforce", "icrc --force"));
        assert!(begin.elapsed() < AT_MOST, "{:?}", begin.elapsed());
        enforced
    };
    let first = why(&scene);
    assert!(first.contains("no answer within 1 s"), "{first}");
    let end = Instant::now() + LEASES * LEASE;
    while Instant::now() < end {
        let next = why(&scene);
        assert!(next.contains("an earlier write still hangs"), "{next}");
        assert_eq!(scene.send(), (PACKETS, 0), "the lease is not renewed");
    }
    // Once the disk answers, what is switched is written, and kept from then on.
    drop(File::options().write(true).open(&state).unwrap());
    until("the state file", || state.is_file());
    let kept = why(&scene);
    assert!(!kept.contains("next reboot only"), "{kept}");
    scene.ends();
}

#[test]
fn a_full_log_disk_costs_lines_that_are_counted_and_nothing_else() {
    if !require(
        "a_full_log_disk_costs_lines_that_are_counted_and_nothing_else",
        &[],
    ) {
        return;
    }
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut scene = Scene::start(on_a_lan, full.into());
    scene.stays_in_force(|| ());
    let lost = scene.status_json()["log_lines_lost"].clone();
    assert!(lost.as_u64() > Some(0), "{lost}");
    scene.ends();
}
