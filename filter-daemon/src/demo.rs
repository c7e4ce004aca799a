//! `bcp38 demo`: a router and two peers on one LAN in network namespaces, real frames, the real daemon, and the
//! verdict of each. Leaves nothing behind. Without the privileges the same packets are judged in user space.
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use filter_core::{Family, Prefix};
use serde_json::Value;

use crate::config::{Config, toml_string};
use crate::control::{self, Request};
use crate::records;
use crate::runtime::{AtExit, Handle, RunOptions, Runtime};
use filter_lifecycle::policy::{Link, Routes};

mod show;

use filter_lifecycle::spec::HookChoice;
use lab::bmp::{Direction, Neighbour, Router};
use lab::packets::{self, ICRC_MAC, Packet, ROUTER_MAC, V6ONLY_MAC};
use lab::{Lan, Namespace, NetError, Wire as Port};
use show::Screen;

/// What can go wrong with a demo.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The network could not be made.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The daemon could not run.
    #[error(transparent)]
    Run(#[from] crate::runtime::RunError),
    /// The daemon did not answer.
    #[error(transparent)]
    Control(#[from] control::ControlError),
    /// The screen is gone, or the stand-in router cannot connect.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Something did not happen in time.
    #[error("waited {} s for {what}", TIMEOUT.as_secs())]
    Timeout {
        /// What was tried.
        what: &'static str,
    },
    /// A packet met another verdict than the demo is about.
    #[error("packet {number}: expected {expected}, got {got}: this is a bug")]
    Surprise {
        /// Which packet.
        number: usize,
        /// What was expected.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// The demo's own configuration does not parse.
    #[error("the demo's configuration: {0}")]
    Config(String),
}

/// How long anything may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Where the stand-in router's BMP goes, inside the router's namespace.
const BMP_LISTENER: &str = "127.0.0.1:11019";

/// The demo's configuration, also shown to the reader.
const CONFIG: &str = include_str!("demo/demo.toml");

/// Runs it; with network namespaces and the program at this hook if they can be had here, else in user space, with the
/// reason.
///
/// # Errors
/// [`DemoError`].
pub fn run(out: &mut dyn Write, hook: HookChoice) -> Result<(), DemoError> {
    let mut screen = Screen::new(out);
    let why = match stage(hook) {
        Ok((world, daemon)) => return on_the_wire(&mut screen, world, daemon),
        Err(why) => why,
    };
    screen.line(&format!(
        "no network namespaces and no filter in the kernel here: {why}"
    ))?;
    screen.line("the same packets, judged in user space by the same code:")?;
    in_user_space(&mut screen)
}

/// What the demo on the wire needs; or why that cannot be had: no root, no `ip`, a container without the capabilities.
fn stage(hook: HookChoice) -> Result<(World, Daemon), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("this is not root".to_owned());
    }
    let world = World::build().map_err(|error| error.to_string())?;
    let daemon = world
        .start_daemon(hook)
        .map_err(|error| error.to_string())?;
    Ok((world, daemon))
}

/// Without a kernel: the same policy as `replay` compiles, the same verdict.
fn in_user_space(screen: &mut Screen<'_>) -> Result<(), DemoError> {
    let nowhere = Path::new("/nonexistent");
    let config = configuration(nowhere, nowhere, HookChoice::default())?;
    let mut links = std::collections::BTreeMap::new();
    for (index, interface) in config.spec.interfaces.iter().enumerate() {
        let link =
            Link::new(interface, 1, None).map_err(|error| DemoError::Config(error.to_string()))?;
        links.insert(filter_lifecycle::spec::InterfaceId(index as u16), link);
    }
    let mut routes = std::collections::BTreeMap::new();
    for peer in PEERS {
        if let Some((id, _)) = config.spec.peer_named(peer.name) {
            let list = |texts: &[&str]| texts.iter().filter_map(|text| text.parse().ok()).collect();
            routes.insert(
                id,
                Routes {
                    sources: list(peer.received),
                    destinations: list(peer.advertised),
                },
            );
        }
    }
    let peering = filter_engine::peering::compile(&config.spec, &routes, &links)
        .map_err(|error| DemoError::Config(error.to_string()))?;
    screen.heading("What each packet is, with mode observe")?;
    for (index, packet) in packets::all().iter().enumerate() {
        let got = peering
            .judge(1, packet.frame.as_slice())
            .verdict
            .reason
            .name();
        screen.packet(index + 1, packet, got, None)?;
        expect(index + 1, packet, got)?;
    }
    screen.line(
        "where it may, this demo sends them over a veth pair through the program in the kernel: sudo bcp38 demo",
    )?;
    Ok(())
}

/// What the stand-in router reports of a peer.
struct DemoPeer {
    name: &'static str,
    asn: u32,
    sessions: &'static [&'static str],
    received: &'static [&'static str],
    advertised: &'static [&'static str],
}

const PEERS: &[DemoPeer] = &[
    DemoPeer {
        name: "icrc",
        asn: 57965,
        sessions: &["203.0.113.10", "2001:db8:ffff::10"],
        received: &["45.146.194.0/24", "45.146.195.0/24", "2a13:47c0:146::/48"],
        advertised: &["198.51.100.0/24", "2001:db8:100::/40"],
    },
    DemoPeer {
        name: "v6only",
        asn: 214_312,
        sessions: &["2001:db8:ffff::20"],
        received: &["2a09:54c6:e010::/44"],
        advertised: &["2001:db8:100::/40"],
    },
];

/// Namespaces, frames, daemon.
#[expect(clippy::too_many_lines, reason = "the demo's story, in its order")]
fn on_the_wire(screen: &mut Screen<'_>, world: World, daemon: Daemon) -> Result<(), DemoError> {
    screen.heading("A router and two peers on one LAN, in network namespaces")?;
    screen.line(&format!("router ixp0 {ROUTER_MAC}; icrc (AS57965) {ICRC_MAC}; v6only (AS214312, IPv6 only) {V6ONLY_MAC}"))?;
    let mut router = world.announce_all()?;
    daemon.wait_for("both peers to be complete", |status| {
        peers(status)
            .iter()
            .filter(|peer| peer["state"] == "observing" && peer["publish_pending"] == false)
            .count()
            == PEERS.len()
    })?;
    let status = daemon.status()?;
    let interface = &status["interfaces"][0];
    let [hook, why] = ["hook", "hook_why"].map(|key| interface[key].as_str().unwrap_or_default());
    screen.line(&format!("the filter is on ixp0 at {hook}: {why}"))?;
    screen.line("the router sent over BMP what each peer advertises and what it advertises to each; tables are live")?;
    let wire = world.open_wire()?;

    screen.heading("Mode observe: every verdict, nothing dropped")?;
    for (index, packet) in packets::all().iter().enumerate() {
        let seen = wire.send(&daemon, packet)?;
        screen.packet(index + 1, packet, &seen.reason, Some(seen.arrived))?;
        expect(index + 1, packet, &seen.reason)?;
    }

    screen.heading(
        "Mode enforce for icrc: the spoofed packet does not arrive any more, the good one does",
    )?;
    control::ask(
        &daemon.socket,
        &Request::SetMode {
            peer: "icrc".to_owned(),
            mode: filter_core::Mode::Enforce,
            only: Vec::new(),
        },
    )?;
    daemon.wait_for("icrc to be enforced", |status| {
        peers(status)
            .iter()
            .any(|peer| peer["name"] == "icrc" && peer["mode_in_force"] == "enforce")
    })?;
    for (number, packet) in [packets::good(), packets::spoofed()].iter().enumerate() {
        let seen = wire.send(&daemon, packet)?;
        screen.packet(number + 1, packet, &seen.reason, Some(seen.arrived))?;
        expect(number + 1, packet, &seen.reason)?;
    }

    screen.heading(
        "icrc withdraws 45.146.194.0/24, live: the same good packet becomes a violation",
    )?;
    let icrc = neighbours(&PEERS[0]);
    for neighbour in icrc.iter().filter(|neighbour| neighbour.address.is_ipv4()) {
        router.withdraw(*neighbour, Direction::Received, prefix("45.146.194.0/24"))?;
    }
    let spoofed_now = Packet {
        expected: "source-unannounced",
        ..packets::good()
    };
    let begin = Instant::now();
    loop {
        let seen = wire.send(&daemon, &spoofed_now)?;
        if seen.reason == spoofed_now.expected {
            let after = begin.elapsed().as_secs_f64();
            screen.packet(1, &spoofed_now, &seen.reason, Some(seen.arrived))?;
            screen.line(&format!("effective {after:.1} s after the withdraw: `withdraw_hold` is 2 s here, so that packets on their way still pass"))?;
            break;
        }
        if begin.elapsed() > TIMEOUT {
            return Err(DemoError::Timeout {
                what: "the withdraw to take effect",
            });
        }
        thread::sleep(Duration::from_millis(100));
    }
    let explained = Request::Explain {
        peer: "icrc".to_owned(),
        source: addr("45.146.194.1"),
        destination: addr("198.51.100.10"),
    };
    screen.explained(&control::ask(&daemon.socket, &explained)?)?;
    daemon.stop()?;
    drop(wire);
    drop(world);
    screen.line("cleaned up: filter detached, pins, namespaces and sockets removed")?;
    Ok(())
}

/// The namespaces and the LAN; all of it goes when this is dropped.
struct World {
    router: Namespace,
    icrc: Namespace,
    v6only: Namespace,
    lan: Lan,
}

impl World {
    fn build() -> Result<Self, DemoError> {
        let world = Self {
            router: Namespace::quiet("router")?,
            icrc: Namespace::quiet("icrc")?,
            v6only: Namespace::quiet("v6only")?,
            lan: Lan::quiet()?,
        };
        world.lan.join(&world.router, "ixp0", ROUTER_MAC)?;
        world.lan.join(&world.icrc, "eth0", ICRC_MAC)?;
        world.lan.join(&world.v6only, "eth0", V6ONLY_MAC)?;
        let router = world.router.name();
        let address = ["addr", "add", "203.0.113.1/24", "dev", "ixp0"];
        lab::ip(["-n", router].into_iter().chain(address))?;
        Ok(world)
    }

    /// The daemon, on a thread inside the router's namespace.
    fn start_daemon(&self, hook: HookChoice) -> Result<Daemon, DemoError> {
        let id = std::process::id();
        let socket = PathBuf::from(format!("/run/bcp38-demo-{id}.sock"));
        let pins = PathBuf::from(format!("/sys/fs/bpf/bcp38-demo-{id}"));
        let config = configuration(&socket, &pins, hook)?;
        let handle = Handle::default();
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let namespace = self.router.path();
        let thread = thread::Builder::new().name("daemon".to_owned()).spawn({
            let handle = handle.clone();
            move || -> Result<(), DemoError> {
                lab::enter(&namespace)?;
                let options = RunOptions {
                    at_exit: AtExit::Detach,
                    config_file: None,
                };
                match Runtime::start(config, options, handle) {
                    Ok(runtime) => {
                        _ = started.send(true);
                        Ok(runtime.run()?)
                    }
                    Err(error) => {
                        _ = started.send(false);
                        Err(error.into())
                    }
                }
            }
        })?;
        let daemon = Daemon {
            socket,
            handle,
            thread: Some(thread),
        };
        match start.recv() {
            Ok(true) => Ok(daemon),
            Ok(false) | Err(_) => {
                daemon.stop()?;
                Err(DemoError::Timeout {
                    what: "the daemon to start",
                })
            }
        }
    }

    /// The stand-in router sends all its routes.
    fn announce_all(&self) -> Result<Router, DemoError> {
        let listener: SocketAddr = BMP_LISTENER
            .parse()
            .map_err(|_| DemoError::Config(BMP_LISTENER.to_owned()))?;
        let connect = || {
            Router::connect(
                listener,
                "router",
                filter_core::Asn::new(64500),
                addr("203.0.113.1"),
            )
        };
        let mut router = self.router.try_run(connect)??;
        for peer in PEERS {
            for neighbour in neighbours(peer) {
                router.peer_up(neighbour)?;
            }
        }
        for peer in PEERS {
            for neighbour in neighbours(peer) {
                let family = if neighbour.address.is_ipv4() {
                    Family::Ipv4
                } else {
                    Family::Ipv6
                };
                let of_family = |texts: &[&str]| -> Vec<Prefix> {
                    texts
                        .iter()
                        .map(|text| prefix(text))
                        .filter(|p| p.family() == family)
                        .collect()
                };
                for (direction, texts) in [
                    (Direction::Received, peer.received),
                    (Direction::Advertised, peer.advertised),
                ] {
                    router.announce(neighbour, direction, &of_family(texts))?;
                    router.end_of_rib(neighbour, direction, family)?;
                }
            }
        }
        Ok(router)
    }

    fn open_wire(&self) -> Result<Wire, DemoError> {
        Ok(Wire {
            icrc: self.icrc.try_run(|| Port::open("eth0"))??,
            v6only: self.v6only.try_run(|| Port::open("eth0"))??,
            sink: self.router.try_run(|| Port::behind_tc("ixp0"))??,
        })
    }
}

/// The daemon under demonstration.
struct Daemon {
    socket: PathBuf,
    handle: Handle,
    thread: Option<thread::JoinHandle<Result<(), DemoError>>>,
}

impl Daemon {
    fn status(&self) -> Result<Value, DemoError> {
        Ok(control::ask(&self.socket, &Request::Status)?)
    }

    fn wait_for(
        &self,
        what: &'static str,
        is_there: impl Fn(&Value) -> bool,
    ) -> Result<(), DemoError> {
        let begin = Instant::now();
        while begin.elapsed() < TIMEOUT {
            if is_there(&self.status()?) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(DemoError::Timeout { what })
    }

    fn stop(mut self) -> Result<(), DemoError> {
        self.handle.stop();
        match self.thread.take().map(thread::JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            _ = thread.join(); // the error that counts is the one that ended the demo
        }
        let state = state_file(&self.socket);
        for left in [state.with_extension("lock"), state] {
            _ = std::fs::remove_file(left); // there are none if nothing was switched
        }
        _ = std::fs::remove_dir_all(records::directory(&state_file(&self.socket))); // as above
    }
}

/// Both ends of the LAN.
struct Wire {
    icrc: Port,
    v6only: Port,
    sink: Port,
}

/// What became of a frame.
struct Seen {
    reason: String,
    arrived: bool,
}

impl Wire {
    /// Sends one frame and waits until the program has counted it.
    fn send(&self, daemon: &Daemon, packet: &Packet) -> Result<Seen, DemoError> {
        let before = counters(&daemon.status()?);
        _ = self.sink.waiting(); // what came in earlier
        let from = if packet.source_mac == V6ONLY_MAC {
            &self.v6only
        } else {
            &self.icrc
        };
        from.try_send(&packet.frame)?;
        let begin = Instant::now();
        while begin.elapsed() < TIMEOUT {
            let now = counters(&daemon.status()?);
            if let Some((key, _)) = now
                .iter()
                .find(|(key, count)| before.get(*key) != Some(count))
            {
                let (_, reason, fate) = key;
                return Ok(Seen {
                    reason: reason.clone(),
                    arrived: fate == "passed" && self.arrives(&packet.frame),
                });
            }
        }
        Err(DemoError::Timeout {
            what: "the packet to be counted",
        })
    }

    fn arrives(&self, frame: &[u8]) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(1) {
            let came = self.sink.waiting();
            if came.iter().any(|each| each.starts_with(frame)) {
                return true;
            }
            thread::sleep(Duration::from_millis(1));
        }
        false
    }
}

type CounterKey = (String, String, String);

/// Packets by owner, reason and fate.
fn counters(status: &Value) -> std::collections::BTreeMap<CounterKey, u64> {
    let mut counts = std::collections::BTreeMap::new();
    let lists = ["peers", "interfaces"]
        .into_iter()
        .filter_map(|list| status[list].as_array());
    for owner in lists.flatten() {
        for (reason, fates) in owner["counters"].as_object().into_iter().flatten() {
            for fate in ["passed", "dropped"] {
                let packets = fates[fate]["packets"].as_u64().unwrap_or(0);
                let key = (
                    owner["name"].as_str().unwrap_or_default().to_owned(),
                    reason.clone(),
                    fate.to_owned(),
                );
                if packets > 0 {
                    counts.insert(key, packets);
                }
            }
        }
    }
    counts
}

fn peers(status: &Value) -> &[Value] {
    status["peers"].as_array().map_or(&[], Vec::as_slice)
}

fn expect(number: usize, packet: &Packet, got: &str) -> Result<(), DemoError> {
    if got == packet.expected {
        return Ok(());
    }
    Err(DemoError::Surprise {
        number,
        expected: packet.expected,
        got: got.to_owned(),
    })
}

fn configuration(socket: &Path, pins: &Path, hook: HookChoice) -> Result<Config, DemoError> {
    let name = "name = \"ixp0\"\n";
    let config = CONFIG.replacen(name, &format!("{name}hook = \"{}\"\n", hook.name()), 1);
    let state = state_file(socket);
    let [socket, pins, state] =
        [socket, pins, &state].map(|path| toml_string(&path.to_string_lossy()));
    let daemon = format!("\n[daemon]\nsocket = {socket}\npin_dir = {pins}\nstate_file = {state}\n");
    let parsed = Config::parse(&format!("{config}{daemon}"), "demo.toml");
    parsed
        .map(|(config, _)| config)
        .map_err(|error| DemoError::Config(error.to_string()))
}

/// What operators switched, beside the control socket.
fn state_file(socket: &Path) -> PathBuf {
    socket.with_extension("json")
}

fn neighbours(peer: &DemoPeer) -> Vec<Neighbour> {
    peer.sessions
        .iter()
        .map(|session| Neighbour {
            address: addr(session),
            asn: filter_core::Asn::new(peer.asn),
        })
        .collect()
}

/// A constant of this file or of `packets`: a test reads every one of them.
fn addr(text: &str) -> IpAddr {
    text.parse()
        .unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}

/// As [`addr`].
fn prefix(text: &str) -> Prefix {
    text.parse().unwrap_or(Prefix::host(addr("0.0.0.0").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_meets_its_verdict_in_user_space() {
        let mut out = Vec::new();
        in_user_space(&mut Screen::new(&mut out)).unwrap();
        let text = String::from_utf8(out).unwrap();
        for packet in packets::all() {
            assert!(text.contains(packet.expected), "{text}");
        }
    }
}
