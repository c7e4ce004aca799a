//! What an operator lives with, on the live lab: FRR in the middle, BIRD peers beside it, the daemon on FRR's router, real
//! frames, and the program's own commands, run as processes of their own.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::process::{Command, ExitCode, Output};
use std::time::Duration;

use clap::Parser as _;
use filter_daemon::cli::Cli;
use serde_json::Value;
use tests::lab::{Bcp38, FrrScene, Sections, wait_for};

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
type Scene = FrrScene;

/// What this suite does with the lab.
trait Suite: Sized {
    fn config(&self) -> String;

    /// Starts the daemon and waits until every side is known and published.
    fn start(&mut self) -> Bcp38;

    /// As [`Scene::start`], where P1 is enforced.
    fn start_enforcing(&mut self) -> Bcp38;

    /// The command's arguments, and which daemon to ask.
    fn program(&self, arguments: &[&str]) -> Command;

    /// Runs a command of the program to its end, on the router.
    fn run(&self, arguments: &[&str]) -> Ran;

    /// As [`Scene::run`], with another configuration than the daemon's.
    fn run_with(&self, config: &str, arguments: &[&str]) -> Ran;
}

impl Suite for FrrScene {
    fn config(&self) -> String {
        self.config_with(Sections {
            interface: "",
            p1: "",
            rest: r"
[timers]
withdraw_hold = 3
peer_down_hold = 4

[limits]
max_peers = 16
table_memory_mib = 8
samples_per_second = 100
",
        })
    }

    fn start(&mut self) -> Bcp38 {
        let config = self.config();
        self.start_with(&config)
    }

    fn start_enforcing(&mut self) -> Bcp38 {
        let daemon = self.site.start(&self.config());
        daemon.until("it to be enforced", "p1", |status| {
            status["state"] == "enforcing" && status["mode_in_force"] == "enforce"
        });
        self.traffic.reset(&daemon);
        daemon
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let file = self.site.write(&self.config());
        program(&[arguments, &["--config", file.to_str().unwrap()]].concat())
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(&self.config(), arguments)
    }

    fn run_with(&self, config: &str, arguments: &[&str]) -> Ran {
        let file = self.site.write(config);
        let arguments = [arguments, &["--config", file.to_str().unwrap()]].concat();
        let mut command = program(&arguments);
        Ran::of(&self.lab.router.run(|| command.output().unwrap()))
    }
}
