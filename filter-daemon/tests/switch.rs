//! Off always works: `bcp38 observe` beside a daemon that hangs, and without one, with numbered packets and a receiver that
//! counts them. The program itself runs here, as an operator starts it.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use filter_core::frame;
use filter_core::packet::ETHERTYPE_IPV4;
use lab::packets::{ICRC_MAC, ROUTER_MAC};
use lab::wire::{Wire, until};
use lab::{BPFFS, Directory, Namespace, require};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[path = "switch/never_blocked.rs"]
mod never_blocked;

/// Sent at a time, of each kind.
const PACKETS: u32 = 20;
/// So long a command may take at most beside a daemon that hangs.
const AT_MOST: Duration = Duration::from_secs(5);
const UDP: u8 = 17;
const GOOD: &str = "45.146.194.1";
const SPOOFED: &str = "8.8.8.8";
const OURS: &str = "198.51.100.10";

/// A router and a peer on one cable, and the daemon on the router.
struct Scene {
    router: Namespace,
    near: Wire,
    far: Wire,
    directory: Directory,
    pins: PathBuf,
    daemon: Child,
    number: u32,
    _peer: Namespace,
}

impl Scene {
    fn new() -> Self {
        Self::start(str::to_owned, Stdio::null())
    }

    /// With another configuration, and a log that goes there.
    fn start(edit: impl Fn(&str) -> String, log: Stdio) -> Self {
        let (router, peer) = (
            Namespace::quiet("router").unwrap(),
            Namespace::quiet("peer").unwrap(),
        );
        let cable = format!(
            "link add ixp0 address {ROUTER_MAC} type veth peer name far address {ICRC_MAC} netns {}",
            peer.name()
        );
        router.ip(&cable.split(' ').collect::<Vec<_>>());
        router.ip(&["address", "add", "203.0.113.1/24", "dev", "ixp0"]);
        router.ip(&["link", "set", "ixp0", "up"]);
        peer.ip(&["link", "set", "far", "up"]);
        let directory = Directory::new("switch");
        let pins = Path::new(BPFFS).join(router.name());
        let text = edit(&config(directory.path(), &pins));
        let config = directory.write("bcp38.toml", &text);
        let daemon = router.run(|| {
            let mut daemon = bcp38("run");
            daemon.arg("--config").arg(config).stderr(log);
            daemon.spawn().unwrap()
        });
        let mut scene = Self {
            near: router.run(|| Wire::behind_tc("ixp0").unwrap()),
            far: peer.run(|| Wire::on("far")),
            router,
            directory,
            pins,
            daemon,
            number: 0,
            _peer: peer,
        };
        until("spoofed packets to be dropped", || {
            scene.send() == (PACKETS, 0)
        });
        scene
    }

    /// Sends good and spoofed packets, and counts how many of each come through.
    fn send(&mut self) -> (u32, u32) {
        let frames = |source: &str, from: u32| -> Vec<Vec<u8>> {
            (from..from + PACKETS)
                .map(|number| numbered(source, number))
                .collect()
        };
        let (good, spoofed) = (
            frames(GOOD, self.number),
            frames(SPOOFED, self.number + PACKETS),
        );
        // The last one is good: once it is there, so are all others that come.
        let last = numbered(GOOD, self.number + 2 * PACKETS);
        self.number += 2 * PACKETS + 1;
        drop(self.near.waiting());
        for frame in spoofed.iter().chain(&good).chain([&last]) {
            self.far.send(frame);
        }
        let mut arrived = BTreeSet::new();
        while !arrived.contains(&last) {
            arrived.insert(self.near.receive());
        }
        let count =
            |sent: &[Vec<u8>]| sent.iter().filter(|frame| arrived.contains(*frame)).count() as u32;
        (count(&good), count(&spoofed))
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.daemon.id() as i32), signal).unwrap();
    }

    /// `bcp38 observe` or `enforce`.
    fn switch(&self, command: &str, what: &str) -> Output {
        let mut switch = bcp38(command);
        switch.args(what.split(' '));
        switch.arg("--socket").arg(self.socket());
        let state = self.directory.path().join("state.json");
        switch.arg("--state-file").arg(state);
        switch.arg("--pin-dir").arg(&self.pins).output().unwrap()
    }

    fn status(&self) -> String {
        let mut status = bcp38("status");
        said(&status.arg("--socket").arg(self.socket()).output().unwrap())
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("bcp38.sock")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        _ = self.daemon.kill();
        _ = self.daemon.wait();
        let detached = self.router.run(|| {
            let mut detach = bcp38("detach");
            detach.arg("ixp0").arg("--socket").arg(self.socket());
            detach.arg("--pin-dir").arg(&self.pins).output()
        });
        if !std::thread::panicking() {
            assert!(detached.unwrap().status.success());
            assert!(!self.pins.exists(), "pins are left");
        }
    }
}

fn bcp38(command: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_bcp38"));
    program.arg(command);
    program
}

fn numbered(source: &str, number: u32) -> Vec<u8> {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let payload = frame::udp(&number.to_be_bytes());
    let packet = frame::packet(address(source), address(OURS), UDP, 64, &payload);
    frame::ethernet(ROUTER_MAC, ICRC_MAC, ETHERTYPE_IPV4, &packet)
}

fn config(directory: &Path, pins: &Path) -> String {
    format!(
        r#"[router]
asn = 64500
prefixes = ["198.51.100.0/24"]
bogon_exceptions = ["198.51.100.0/24", "203.0.113.0/24"]

[[interface]]
name = "ixp0"
kind = "port"

[[peer]]
name = "icrc"
asn = 57965
interface = "ixp0"
addresses = ["203.0.113.10"]
macs = ["{ICRC_MAC}"]
families = ["ipv4"]
mode = "enforce"

[[feed]]
kind = "static"
peer = "icrc"
advertised_by_peer = ["45.146.194.0/23"]
advertised_to_peer = ["198.51.100.0/24"]

[limits]
max_peers = 16
table_memory_mib = 8

[daemon]
socket = "{}"
pin_dir = "{}"
state_file = "{}"
"#,
        directory.join("bcp38.sock").display(),
        pins.display(),
        directory.join("state.json").display()
    )
}

fn said(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn observe_needs_no_daemon_that_answers() {
    if !require("observe_needs_no_daemon_that_answers", &[]) {
        return;
    }
    let mut scene = Scene::new();
    scene.signal(Signal::SIGSTOP);
    assert_eq!(
        scene.send(),
        (PACKETS, 0),
        "a stopped daemon's filter filters"
    );
    let begin = Instant::now();
    let off = scene.switch("observe", "icrc");
    assert!(off.status.success(), "{}", said(&off));
    assert!(
        said(&off).contains("icrc: nothing it sends is dropped any more"),
        "{}",
        said(&off)
    );
    assert!(begin.elapsed() < AT_MOST, "{:?}", begin.elapsed());
    assert_eq!(scene.send(), (PACKETS, PACKETS));
    // It stays off when the daemon goes on, until an operator says otherwise.
    scene.signal(Signal::SIGCONT);
    until("the daemon to answer", || {
        scene.switch("observe", "icrc").stderr.is_empty()
    });
    assert_eq!(scene.send(), (PACKETS, PACKETS));
    let status = scene.status();
    assert!(
        status.contains(
            "not in force: bogons, sources, destinations, families, malformed: not-allowed for"
        ),
        "{status}"
    );
    let on = scene.switch("enforce", "icrc --force");
    assert!(on.status.success(), "{}", said(&on));
    until("spoofed packets to be dropped again", || {
        scene.send() == (PACKETS, 0)
    });
    let status = scene.status();
    let row = status.lines().find(|line| line.starts_with("icrc"));
    let classes = "  bogons, sources, destinations, families, malformed";
    assert!(row.is_some_and(|row| row.ends_with(classes)), "{status}");
}

#[test]
fn observe_works_when_the_daemon_is_dead() {
    if !require("observe_works_when_the_daemon_is_dead", &[]) {
        return;
    }
    let mut scene = Scene::new();
    scene.signal(Signal::SIGKILL);
    scene.daemon.wait().unwrap();
    assert_eq!(
        scene.send(),
        (PACKETS, 0),
        "a dead daemon's filter filters until its lease ends"
    );
    let wrong = scene.switch("observe", "irc");
    assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
    assert_eq!(scene.send(), (PACKETS, 0));
    let off = scene.switch("observe", "--all");
    assert!(off.status.success(), "{}", said(&off));
    assert_eq!(scene.send(), (PACKETS, PACKETS));
}
