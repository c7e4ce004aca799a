//! The command line: one file per command, and the one place that turns an error into an exit code.
//! Commands print results on stdout and everything else on stderr; none of them decides a verdict.
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError};

pub mod advise;
pub mod capture;
pub mod check_config;
pub mod client;
pub mod confirm;
pub mod detach;
pub mod doctor;
pub mod events;
mod explain_at;
pub mod init;
pub mod macs;
pub mod prefixes;
mod recorded;
pub mod reload;
pub mod replay;
pub mod report;
pub mod run;
pub mod status;
pub mod switch;
mod table;
pub mod top;
pub mod violations;

/// The peering policy, enforced: every packet a peer sends us must come from a prefix that peer currently
/// advertises to us and go to a prefix we currently advertise to that peer.
#[derive(Debug, Parser)]
#[command(
    name = "bcp38",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage or configuration."
)]
pub struct Cli {
    /// What is logged: error, warn, info, debug or trace; the variable BCP38_LOG takes module=level pairs too
    #[arg(long, global = true, value_name = "LEVEL", value_parser = ["error", "warn", "info", "debug", "trace"])]
    log_level: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print a first configuration from what this host and its routing daemons show; it only observes
    Init(init::Args),
    /// Parse a configuration and print what is in effect, defaults included
    CheckConfig(check_config::Args),
    /// Run the packets of a capture through the verdict; needs no privileges
    Replay(replay::Args),
    /// Attach the filter, follow the feeds, serve; SIGHUP reloads, SIGTERM leaves the filter attached
    Run(run::Args),
    /// Peers, feeds and interfaces of the running daemon
    Status(status::Args),
    /// The peers live: what each sends, and what of it breaks the policy
    Top(top::Args),
    /// What would become of a packet from a peer, and why
    Explain(client::Explain),
    /// What happened: feeds, sessions, peers, devices, operators
    Events(events::Args),
    /// Sampled packets that broke the policy
    Violations(violations::Args),
    /// Write sampled violations as pcapng, with peer and reason as comments
    Capture(capture::Args),
    /// What a peer announces and what we announce to it: what counts, and why not
    Prefixes(prefixes::Args),
    /// From where a peer's frames come, and what shows it; `accept MAC` adds one
    Macs(macs::Args),
    /// May a peer be enforced? What it would have cost, and the command that does what is safe
    Advise(advise::Args),
    /// Only watch a peer, an interface or everything: violations pass and are counted; works without a daemon
    Observe(switch::Args),
    /// Drop violations again, once everything that needs to be known is
    Enforce(switch::EnforceArgs),
    /// Let what `enforce --confirm-within` switched on stay
    Confirm(confirm::Args),
    /// Evidence for a peer's NOC, as an HTML file and as JSON
    Report(report::Args),
    /// What keeps the filter from doing what is wanted, why it matters, and what mends it
    Doctor(doctor::Args),
    /// Have the daemon read its configuration again; prints whether it is in force now, or why not
    Reload(reload::Args),
    /// Remove the filter from an interface
    Detach(detach::Args),
    /// See a spoofed packet dropped, in network namespaces of its own (root), or judged in user space
    Demo(client::DemoArgs),
}

/// Why a command did not do what it should: decides the exit code.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The operator has to change the command or the configuration: exit code 2.
    Usage(String),
    /// It was tried and failed: exit code 1.
    Failed(String),
    /// Whoever read our output has enough: no message, exit code 0.
    OutputClosed,
}

impl Failure {
    /// Usage: a wrong name on the command line, a configuration that does not fit the command.
    pub fn usage(error: impl Display) -> Self {
        Self::Usage(error.to_string())
    }

    /// Anything else.
    pub fn failed(error: impl Display) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

/// Errors of writing results; those of reading are [`Failure::failed`] with the file's name.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(format!(
                "cannot write the output: {error}; make room for it"
            )),
        }
    }
}

impl From<filter_loader::Error> for Failure {
    fn from(error: filter_loader::Error) -> Self {
        Self::failed(error)
    }
}

impl Cli {
    /// What `--log-level` asks for: it stands above the environment.
    #[must_use]
    pub fn log_level(&self) -> Option<&str> {
        self.log_level.as_deref()
    }

    /// What is logged if nothing asks for anything else: the demo prints its own story.
    #[must_use]
    pub const fn default_log_level(&self) -> &'static str {
        match self.command {
            Command::Demo(_) => "warn",
            _ => "info",
        }
    }

    /// Runs the command and prints in one line on stderr what went wrong.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        let done = match &self.command {
            Command::Init(args) => init::run(args),
            Command::CheckConfig(args) => check_config::run(args),
            Command::Replay(args) => replay::run(args),
            Command::Run(args) => run::run(args),
            Command::Status(args) => status::run(args),
            Command::Top(args) => top::run(args),
            Command::Explain(args) => client::explain(args),
            Command::Events(args) => events::run(args),
            Command::Violations(args) => violations::run(args),
            Command::Capture(args) => capture::run(args),
            Command::Prefixes(args) => prefixes::run(args),
            Command::Macs(args) => macs::run(args),
            Command::Advise(args) => advise::run(args),
            Command::Observe(args) => switch::observe(args),
            Command::Enforce(args) => switch::enforce(args),
            Command::Report(args) => report::run(args),
            Command::Doctor(args) => doctor::run(args),
            Command::Confirm(args) => confirm::run(args),
            Command::Reload(args) => reload::run(args),
            Command::Detach(args) => detach::run(args),
            Command::Demo(args) => client::demo(args),
        };
        match done {
            Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
            Err(Failure::Failed(message)) => report(&message, 1),
            Err(Failure::Usage(message)) => report(&message, 2),
        }
    }
}

fn report(message: &str, code: u8) -> ExitCode {
    anstream::eprintln!("{ERROR}error:{ERROR:#} {message}");
    ExitCode::from(code)
}

const ERROR: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();
const WARNING: anstyle::Style = anstyle::AnsiColor::Yellow.on_default().bold();

/// One line about something that does not stop the command.
fn warn(message: impl Display) {
    anstream::eprintln!("{WARNING}warning:{WARNING:#} {message}");
}

/// Reads a configuration; its warnings are `check-config`'s to print.
fn load(path: &Path) -> Result<Config, Failure> {
    let (config, _) = Config::load(path)?;
    Ok(config)
}
