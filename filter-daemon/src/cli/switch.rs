//! `bcp38 observe` and `bcp38 enforce`: the operator's hand on the switch. Off is one store into a pinned word, before
//! anything else is asked or said: it needs no daemon. On goes through the daemon, after the tables it relies on.
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args as ClapArgs;
use filter_core::{Class, Mode};
use filter_engine::Permit;
use filter_loader::{DEFAULT_PIN_DIR, Error as LoaderError, Named, Switch};
use serde_json::Value;

use super::advise::{self, Wanted};
use super::client::Daemon as Client;
use super::{Failure, load, warn};
use crate::config::Daemon;
use crate::control::{self, ControlError, DEFAULT_SOCKET, Request, TIMEOUT};
use crate::runtime::MAX_TRIAL;
use crate::state::{DEFAULT_STATE_FILE, StateFile};

/// How long `observe` waits for a daemon that hangs, once the switch is off.
const DAEMON_WITHIN: Duration = Duration::from_secs(2);

/// What to switch, and where the filter is.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The peer, or the interface
    #[arg(value_name = "PEER|INTERFACE", required_unless_present = "all")]
    name: Option<String>,
    /// The whole filter, above every peer and interface
    #[arg(long, conflicts_with = "name")]
    all: bool,
    /// The configuration, which names control socket and pin directory
    #[arg(long, value_name = "FILE", conflicts_with_all = ["socket", "pin_dir", "state_file"])]
    config: Option<PathBuf>,
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Where the filter is pinned
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_DIR)]
    pin_dir: PathBuf,
    /// Where what is switched is kept for reboots
    #[arg(long, value_name = "PATH", default_value = DEFAULT_STATE_FILE)]
    state_file: PathBuf,
}

/// What to drop for again.
#[derive(Debug, ClapArgs)]
pub struct EnforceArgs {
    #[command(flatten)]
    args: Args,
    /// Only these classes, of those that the configuration enforces: bogons, families, malformed, sources, destinations of
    /// a peer; lan, unknown, malformed of an interface
    #[arg(
        long,
        value_name = "CLASS,...",
        value_delimiter = ',',
        value_parser = class,
        conflicts_with = "all"
    )]
    only: Vec<Class>,
    /// Of a peer, not of an interface: everything is as before after this time (10m), unless `bcp38 confirm PEER` comes
    #[arg(long, value_name = "TIME", conflicts_with = "all", value_parser = duration)]
    confirm_within: Option<Duration>,
    /// Even if it would have dropped more than 1 % of the peer's packets of the last hour, or that is not known
    #[arg(long)]
    force: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let within =
        crate::config::duration::parse(text).filter(|it| it.as_secs() > 0 && *it <= MAX_TRIAL);
    within.ok_or_else(|| "write 1s to 1d".to_owned())
}

fn class(name: &str) -> Result<Class, String> {
    let names = || Class::ALL.map(Class::name).join(", ");
    Class::from_name(name).ok_or_else(|| format!("there are {}", names()))
}

impl Args {
    fn places(&self) -> Result<Daemon, Failure> {
        match &self.config {
            Some(file) => Ok(load(file)?.daemon),
            None => Ok(Daemon {
                socket: self.socket.clone(),
                pin_dir: self.pin_dir.clone(),
                state_file: self.state_file.clone(),
            }),
        }
    }

    /// The daemon behind them.
    fn daemon(&self) -> Client {
        Client::of(self.config.clone(), self.socket.clone())
    }

    fn request(&self, mode: Mode, only: &[Class]) -> Request {
        match &self.name {
            Some(name) => Request::SetMode {
                peer: name.clone(),
                mode,
                only: only.to_vec(),
            },
            None => Request::SetModeOfAll { mode },
        }
    }

    /// For the time after a reboot, when the words in the data plane are gone.
    fn remember(&self, state_file: &Path, named: Option<Named>) {
        let remembered = StateFile::new(state_file).change(DAEMON_WITHIN, |switched| {
            let (Some(name), Some(named)) = (&self.name, named) else {
                switched.all_off = true;
                return;
            };
            if matches!(named, Named::Peer | Named::Both) {
                switched.set_peer(name, Permit::observe());
            }
            if matches!(named, Named::Interface | Named::Both) {
                switched.set_interface(name, Permit::observe());
            }
        });
        if let Err(error) = remembered {
            warn(format!("switched off until the next reboot only: {error}"));
        }
    }
}

/// Nothing is dropped any more, at once, whether or not a daemon runs.
///
/// # Errors
/// If neither the pinned word nor a daemon could be reached.
pub fn observe(args: &Args) -> Result<(), Failure> {
    let places = args.places()?;
    let stored = Switch::open(&places.pin_dir).and_then(|switch| match &args.name {
        Some(name) => switch.observe(name).map(Some),
        None => {
            switch.observe_all();
            Ok(None)
        }
    });
    let mut out = anstream::stdout().lock();
    if let Ok(named) = &stored {
        let name = args.name.as_deref().unwrap_or("the whole filter");
        writeln!(out, "{name}: {}", said(*named))?;
        out.flush()?;
        args.remember(&places.state_file, *named);
    }
    let timeout = if stored.is_ok() {
        DAEMON_WITHIN
    } else {
        2 * TIMEOUT
    };
    let answer = control::ask_within(&places.socket, &args.request(Mode::Observe, &[]), timeout);
    match (stored, answer) {
        (_, Ok(changed)) => Ok(print_answer(&mut out, args, Mode::Observe, &changed)?),
        (Ok(_), Err(error)) => {
            let name = args.name.as_deref().unwrap_or("--all");
            let daemon = args.daemon();
            let again = daemon.command(&format!("bcp38 enforce {name}"));
            let error = daemon.addressed(&error.to_string());
            warn(format!(
                "the daemon did not answer ({error}); what is switched off stays off until `{again}`"
            ));
            Ok(())
        }
        (Err(LoaderError::UnknownName { .. }), Err(ControlError::Refused(error))) => {
            Err(Failure::usage(error))
        }
        (Err(error @ LoaderError::UnknownName { .. }), Err(_)) => Err(Failure::usage(error)),
        (Err(LoaderError::Privileges), Err(_)) => Err(Failure::failed(MAY_NOT)),
        (Err(error), Err(_)) => Err(Failure::failed(error)),
    }
}

const MAY_NOT: &str = "nothing is switched: this user may open neither the filter's switch nor the daemon's socket: run the command as root";

/// What the switch of a name covers.
const fn said(named: Option<Named>) -> &'static str {
    match named {
        None => "nothing is dropped any more, on any interface",
        Some(Named::Peer) => "nothing it sends is dropped any more",
        Some(Named::Interface) => {
            "nothing is dropped any more by its own rules (lan, unknown); its peers are as they were"
        }
        Some(Named::Both) => {
            "nothing the peer sends, and nothing by the interface's own rules, is dropped any more"
        }
    }
}

/// Violations are dropped, once everything that needs to be known is. Shows first what the last hour would have cost.
///
/// # Errors
/// If no daemon answers, it knows no such peer or interface, or the last hour would have cost too much.
pub fn enforce(wanted: &EnforceArgs) -> Result<(), Failure> {
    let EnforceArgs { args, only, .. } = wanted;
    let request = match (&args.name, wanted.confirm_within) {
        (Some(peer), Some(within)) => Request::Try {
            peer: peer.clone(),
            only: only.clone(),
            seconds: within.as_secs(),
        },
        _ => args.request(Mode::Enforce, only),
    };
    let daemon = args.daemon();
    let mut out = anstream::stdout().lock();
    if let Some(name) = &args.name {
        advise::preview(
            &mut out,
            &daemon,
            Wanted {
                name,
                only,
                is_forced: wanted.force,
            },
        )?;
    }
    let changed = daemon.ask(&request)?;
    Ok(print_answer(&mut out, args, Mode::Enforce, &changed)?)
}

/// What the daemon made of the command.
fn print_answer(
    out: &mut dyn Write,
    args: &Args,
    mode: Mode,
    changed: &Value,
) -> std::io::Result<()> {
    let name = args.name.as_deref().unwrap_or("the whole filter");
    let daemon = args.daemon();
    let missing = changed["missing"].as_str().map_or(String::new(), |why| {
        let status = daemon.command("bcp38 status");
        format!(": not every class is in force, because {why}; `{status}` shows which")
    });
    if let Some(why) = changed["not_kept"].as_str() {
        warn(format!("switched until the next reboot only: {why}"));
    }
    match changed["state"].as_str() {
        Some(state) => writeln!(out, "{name}: mode {mode}, {state}{missing}")?,
        None => writeln!(out, "{name}: mode {mode}{missing}")?,
    }
    if let Some(seconds) = changed["confirm_within_seconds"].as_u64() {
        let confirm = daemon.command(&format!("bcp38 confirm {name}"));
        writeln!(
            out,
            "  as before in {seconds} s, unless `{confirm}` comes; if the daemon dies before: when one starts again, or the lease ends"
        )?;
    }
    let polled = changed["polled"].as_array().into_iter().flatten();
    polled
        .map(cost)
        .try_for_each(|cost| writeln!(out, "{cost}"))
}

/// What it costs that a side is known only from polls.
fn cost(polled: &Value) -> String {
    let seconds = &polled["seconds"];
    let feed = polled["feed"].as_str().unwrap_or_default();
    let (side, packets, better) = match polled["side"].as_str() {
        Some("destinations") => (
            "destinations",
            "to a prefix that we have announced to it",
            "`shadow`",
        ),
        _ => (
            "sources",
            "from a prefix that it has announced",
            "`bmp` or `shadow`",
        ),
    };
    format!(
        "  its {side} are known only from the polls of `{feed}`: good packets {packets} since the last poll are dropped \
         for up to {seconds} s and the time a poll takes; a {better} feed knows it at once"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn enforce_says_what_polls_cost() {
        let args = Args {
            name: Some("p1".to_owned()),
            all: false,
            config: None,
            socket: PathBuf::new(),
            pin_dir: PathBuf::new(),
            state_file: PathBuf::new(),
        };
        let changed = json!({
            "peer": "p1", "mode": "enforce", "state": "enforcing", "missing": null,
            "polled": [
                { "side": "sources", "feed": "bird", "seconds": 60 },
                { "side": "destinations", "feed": "frr", "seconds": 30 },
            ],
        });
        let mut out = Vec::new();
        print_answer(&mut out, &args, Mode::Enforce, &changed).unwrap();
        let expected = "\
p1: mode enforce, enforcing
  its sources are known only from the polls of `bird`: good packets from a prefix that it has announced since the last poll are dropped for up to 60 s and the time a poll takes; a `bmp` or `shadow` feed knows it at once
  its destinations are known only from the polls of `frr`: good packets to a prefix that we have announced to it since the last poll are dropped for up to 30 s and the time a poll takes; a `shadow` feed knows it at once
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
