//! How commands reach a running daemon; and `explain`, which only shows its answer.
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use filter_lifecycle::spec::HookChoice;
use serde_json::Value;

use super::recorded::failure;
use super::{Failure, explain_at, load, table};
use crate::control::{self, ControlError, DEFAULT_SOCKET, Request};
use crate::records;
use crate::state::DEFAULT_STATE_FILE;
use crate::when;

/// The commands that take `--config` and `--socket` and are named in advice. Not `observe`: it is named for what it did.
const ASKING: [&str; 12] = [
    "advise",
    "capture",
    "confirm",
    "doctor",
    "enforce",
    "events",
    "explain",
    "macs",
    "prefixes",
    "reload",
    "status",
    "violations",
];

/// A path as a word of the shell.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |letter: char| letter.is_alphanumeric() || "._:@%+=,/-".contains(letter);
    match path.chars().all(is_plain) {
        true => path,
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

/// Which daemon to ask.
#[derive(Debug, ClapArgs)]
pub struct Daemon {
    /// Its control socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Its configuration, which names the control socket
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
}

impl Daemon {
    /// The one that the configuration names, or else the one that listens there.
    pub(super) const fn of(config: Option<PathBuf>, socket: PathBuf) -> Self {
        Self { socket, config }
    }

    /// The text, where each of our commands that stands in it between backticks asks this daemon, wherever it is run.
    pub(super) fn addressed(&self, text: &str) -> String {
        let last = text.matches('`').count();
        let parts = text.split('`').enumerate();
        let each = parts.map(|(index, part)| match index % 2 == 1 && index < last {
            true => self.command(part),
            false => part.to_owned(),
        });
        each.collect::<Vec<_>>().join("`")
    }

    /// A command with the options that lead to this daemon; other text as it is. They stand right behind the command's
    /// name, where each of them takes them.
    pub(super) fn command(&self, command: &str) -> String {
        let (before, ours) = match command.strip_prefix("sudo ") {
            Some(ours) => ("sudo ", ours),
            None => ("", command),
        };
        let options = self.options();
        let Some(rest) = ours.strip_prefix("bcp38 ").filter(|_| !options.is_empty()) else {
            return command.to_owned();
        };
        let (name, arguments) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
        match ASKING.contains(&name) {
            true => format!("{before}bcp38 {name}{options}{arguments}"),
            false => command.to_owned(),
        }
    }

    fn options(&self) -> String {
        match &self.config {
            Some(file) => format!(" --config {}", quoted(file)),
            None if self.socket != Path::new(DEFAULT_SOCKET) => {
                format!(" --socket {}", quoted(&self.socket))
            }
            None => String::new(),
        }
    }

    /// The configuration that was named.
    pub(super) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    pub(super) fn socket(&self) -> Result<PathBuf, Failure> {
        match &self.config {
            Some(file) => Ok(load(file)?.daemon.socket),
            None => Ok(self.socket.clone()),
        }
    }

    pub(super) fn ask(&self, request: &Request) -> Result<Value, Failure> {
        control::ask(&self.socket()?, request).map_err(|error| self.failure(error))
    }

    /// The command's error, with commands that reach this daemon.
    pub(super) fn failure(&self, error: ControlError) -> Failure {
        match failure(error) {
            Failure::Usage(why) => Failure::Usage(self.addressed(&why)),
            Failure::Failed(why) => Failure::Failed(self.addressed(&why)),
            other @ Failure::OutputClosed => other,
        }
    }

    /// The names of its peers; by its configuration, if it does not answer and that was named.
    pub(super) fn peers(&self) -> Option<Vec<String>> {
        if let Ok(status) = self.ask(&Request::Status) {
            let peers = table::array(&status, "peers").iter();
            return Some(peers.map(|it| table::text(it, "name").to_owned()).collect());
        }
        let config = load(self.config.as_ref()?).ok()?;
        let peers = config.spec.peers.iter();
        Some(peers.map(|it| it.name.clone()).collect())
    }

    /// Where its records are, if that is known without it.
    pub(super) fn records(&self) -> Option<PathBuf> {
        let state_file = match &self.config {
            Some(file) => load(file).ok()?.daemon.state_file,
            None if self.socket == Path::new(DEFAULT_SOCKET) => PathBuf::from(DEFAULT_STATE_FILE),
            None => return None,
        };
        Some(records::directory(&state_file))
    }
}

/// `bcp38 explain`.
#[derive(Debug, ClapArgs)]
pub struct Explain {
    /// The peer that would send the packet
    #[arg(long, value_name = "NAME")]
    peer: String,
    /// Its source address
    source: IpAddr,
    /// Its destination address
    destination: IpAddr,
    /// What would have become of it then: so long ago (10m), or a time (2026-11-20T03:12, 03:12)
    #[arg(long, value_name = "TIME", value_parser = when::parse, allow_hyphen_values = true)]
    at: Option<f64>,
    #[command(flatten)]
    daemon: Daemon,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What would become of a packet, and why.
///
/// # Errors
/// If no daemon answers, it knows no such peer, or what is asked of the past is not known.
pub fn explain(args: &Explain) -> Result<(), Failure> {
    let request = Request::Explain {
        peer: args.peer.clone(),
        source: args.source,
        destination: args.destination,
    };
    let explained = args.daemon.ask(&request)?;
    let mut out = anstream::stdout().lock();
    if let Some(at) = args.at {
        let past = explain_at::look(&args.daemon, &explained, at)?;
        return explain_at::show(&mut out, &past, args.json);
    }
    if args.json {
        return Ok(writeln!(out, "{explained}")?);
    }
    Ok(table::explained(&mut out, &explained)?)
}

/// `bcp38 demo`.
#[derive(Debug, ClapArgs)]
pub struct DemoArgs {
    /// Where the program sits: auto, xdp-native, xdp-generic or tc
    #[arg(long, value_parser = hook, default_value = "auto")]
    hook: HookChoice,
}

fn hook(text: &str) -> Result<HookChoice, String> {
    let mut all = HookChoice::ALL.into_iter();
    let found = all.find(|hook| hook.name() == text);
    found.ok_or_else(|| "use auto, xdp-native, xdp-generic or tc".to_owned())
}

/// Runs the demo.
///
/// # Errors
/// What the demo stumbled over.
pub fn demo(args: &DemoArgs) -> Result<(), Failure> {
    crate::demo::run(&mut io::stdout().lock(), args.hook).map_err(|error| match error {
        crate::demo::DemoError::Io(error) => error.into(),
        error => Failure::failed(error),
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn printed_commands_reach_the_daemon_that_was_asked() {
        let text = "see `bcp38 status`, or `ip link`; `bcp38 macs p1 accept 02:00:00:00:00:01` and `bcp38 check-config FILE`";
        let default = Daemon::of(None, PathBuf::from(DEFAULT_SOCKET));
        assert_eq!(default.addressed(text), text);
        let socket = Daemon::of(None, PathBuf::from("/tmp/b.sock"));
        assert_eq!(
            socket.addressed(text),
            "see `bcp38 status --socket /tmp/b.sock`, or `ip link`; \
             `bcp38 macs --socket /tmp/b.sock p1 accept 02:00:00:00:00:01` and `bcp38 check-config FILE`"
        );
        let config = Daemon::of(Some("/tmp/it's.toml".into()), PathBuf::new());
        assert_eq!(
            config.command("sudo bcp38 doctor"),
            r"sudo bcp38 doctor --config '/tmp/it'\''s.toml'"
        );
        assert_eq!(config.command("ip -d link show"), "ip -d link show");
        assert_eq!(
            config.addressed("an odd ` of `bcp38 status"),
            "an odd ` of `bcp38 status"
        );
    }

    #[test]
    fn what_is_appended_is_an_option_of_each_command() {
        let cli = Cli::command();
        for name in ASKING {
            let command = cli
                .find_subcommand(name)
                .unwrap_or_else(|| panic!("no {name}"));
            for option in ["config", "socket"] {
                let mut all = command.get_arguments();
                assert!(
                    all.any(|it| it.get_long() == Some(option)),
                    "{name} --{option}"
                );
            }
        }
    }
}
