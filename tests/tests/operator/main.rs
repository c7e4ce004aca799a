//! What an operator lives with, on the live lab: FRR in the middle, BIRD peers beside it, the daemon on FRR's router, real
//! frames, and the program's own commands, run as processes of their own.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::net::SocketAddr;
use std::process::{Command, ExitCode, Output};
use std::time::Duration;

use clap::Parser as _;
use filter_core::Family;
use filter_daemon::cli::Cli;
use serde_json::Value;
use tests::lab::{Bcp38, FrrOptions, FrrRouter, Peering, Site, Traffic, wait_for};

mod browser;
mod dare;
mod doctor;
mod proof;
mod records;
mod status;
mod why;

/// How long the lab's daemons may take.
const WITHIN: Duration = Duration::from_secs(60);
/// A source that P1 announces, and another that no peer does.
const P1_SOURCE: &str = "198.51.100.7";
const SPOOFED: &str = "9.9.9.9";
/// A destination that R announces to P1, and one that is not R's.
const OURS: &str = "100.64.0.1";
const ELSEWHERE: &str = "100.64.7.1";

/// Set for a process that is to be the program: its arguments, as JSON.
const ARGUMENTS: &str = "BCP38_TEST_ARGUMENTS";
/// Before it the test harness writes, behind it the program does.
const MARK: &str = "--- bcp38 ---\n";

/// Not a test of its own: the program, where [`bcp38`] starts this binary anew.
#[test]
fn the_program() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else {
        return;
    };
    let arguments: Vec<String> = serde_json::from_str(&arguments).unwrap();
    print!("{MARK}");
    let code = Cli::parse_from(arguments).run();
    let number = [0_u8, 1, 2]
        .into_iter()
        .find(|&it| ExitCode::from(it) == code);
    std::process::exit(number.map_or(3, i32::from));
}

/// What a command of the program did.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: &Output) -> Self {
        let out = String::from_utf8_lossy(&output.stdout);
        Self {
            code: output.status.code(),
            out: out.split_once(MARK).map_or("", |(_, out)| out).to_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Its output; it must have ended well.
    fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// As JSON, a value each line.
    fn lines(self) -> Vec<Value> {
        let out = self.good();
        out.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// This binary as the program with these arguments.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let arguments = [&["bcp38"], arguments].concat();
    command.args(["--exact", "the_program", "--nocapture", "--quiet"]);
    command.env(ARGUMENTS, serde_json::to_string(&arguments).unwrap());
    command
}

/// The lab, FRR in it, the daemon beside FRR.
struct Scene {
    traffic: Traffic,
    frr: FrrRouter,
    site: Site,
    lab: Peering,
}

impl Scene {
    /// Every session is established and its routes are there; no daemon yet.
    fn new() -> Self {
        let lab = Peering::new();
        let bmp: SocketAddr = "127.0.0.1:11019".parse().unwrap();
        let frr = lab.frr(&FrrOptions {
            bmp: Some(bmp),
            ..FrrOptions::default()
        });
        for peer in [&lab.p1, &lab.p2] {
            for family in Family::ALL {
                wait_for("the session", WITHIN, || {
                    peer.is_established(family).then_some(())
                });
            }
        }
        let peers = [("p1", lab.p1.namespace()), ("p2", lab.p2.namespace())];
        Self {
            traffic: Traffic::new(&lab.router, &peers),
            site: Site::new(&lab.router),
            frr,
            lab,
        }
    }

    fn config(&self) -> String {
        let mac = |peer: &tests::lab::Peer| peer.namespace().mac("eth0");
        format!(
            r#"
[router]
asn = 64500
prefixes = ["100.64.0.0/23", "2001:db8:a::/48", "2001:db8:b::/48"]
bogon_exceptions = ["100.64.0.0/10", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"]

[[interface]]
name = "eth0"
kind = "lan"
lan = ["192.0.2.0/24", "2001:db8:ff::/64"]
lan_rules = "pass"                  # the lab's hosts solicit routers when they like

[[peer]]
name = "p1"
asn = 64501
interface = "eth0"
addresses = ["192.0.2.11", "2001:db8:ff::11"]
macs = ["{p1}"]

[[peer]]
name = "p2"
asn = 4200000002
interface = "eth0"
addresses = ["192.0.2.12", "2001:db8:ff::12"]
macs = ["{p2}"]

[[feed]]
kind = "bmp"
listen = "127.0.0.1:11019"

[[feed]]
kind = "frr"
socket = "{frr}"
interval = 1

[timers]
withdraw_hold = 3
peer_down_hold = 4

[limits]
max_peers = 16
table_memory_mib = 8
samples_per_second = 100
"#,
            p1 = mac(&self.lab.p1),
            p2 = mac(&self.lab.p2),
            frr = self.frr.socket().display(),
        )
    }

    /// Starts the daemon and waits until every side is known and published.
    fn start(&mut self) -> Bcp38 {
        let daemon = self.site.start(&self.config());
        for peer in ["p1", "p2"] {
            daemon.until("it to be known and published", peer, |status| {
                status["state"] == "observing" && status["publish_pending"] == false
            });
        }
        self.traffic.reset(&daemon);
        daemon
    }

    /// As [`Scene::start`], where P1 is enforced.
    fn start_enforcing(&mut self) -> Bcp38 {
        let daemon = self.site.start(&self.config());
        daemon.until("it to be enforced", "p1", |status| {
            status["state"] == "enforcing" && status["mode_in_force"] == "enforce"
        });
        self.traffic.reset(&daemon);
        daemon
    }

    /// The command's arguments, and which daemon to ask.
    fn program(&self, arguments: &[&str]) -> Command {
        let file = self.site.write(&self.config());
        program(&[arguments, &["--config", file.to_str().unwrap()]].concat())
    }

    /// Runs a command of the program to its end, on the router.
    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(&self.config(), arguments)
    }

    /// As [`Scene::run`], with another configuration than the daemon's.
    fn run_with(&self, config: &str, arguments: &[&str]) -> Ran {
        let file = self.site.write(config);
        let arguments = [arguments, &["--config", file.to_str().unwrap()]].concat();
        let mut command = program(&arguments);
        Ran::of(&self.lab.router.run(|| command.output().unwrap()))
    }
}
