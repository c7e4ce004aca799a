//! The commands that ask a running daemon: `status`, `explain`, `events`, `violations`.
//! They only show its answers.
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Args as ClapArgs;
use filter_lifecycle::spec::HookChoice;
use serde_json::Value;

use super::{Failure, load, table};
use crate::control::{self, ControlError, DEFAULT_SOCKET, Request};

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
    pub(super) fn socket(&self) -> Result<PathBuf, Failure> {
        match &self.config {
            Some(file) => Ok(load(file)?.daemon.socket),
            None => Ok(self.socket.clone()),
        }
    }

    pub(super) fn ask(&self, request: &Request) -> Result<Value, Failure> {
        control::ask(&self.socket()?, request).map_err(|error| match error {
            ControlError::Refused(_) => Failure::usage(error),
            _ => Failure::failed(error),
        })
    }
}

/// `bcp38 status`.
#[derive(Debug, ClapArgs)]
pub struct Status {
    #[command(flatten)]
    daemon: Daemon,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Peers, feeds and interfaces.
///
/// # Errors
/// If no daemon answers.
pub fn status(args: &Status) -> Result<(), Failure> {
    let status = args.daemon.ask(&Request::Status)?;
    let mut out = anstream::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{status}")?);
    }
    Ok(table::status(&mut out, &status)?)
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
    #[command(flatten)]
    daemon: Daemon,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What would become of a packet, and why.
///
/// # Errors
/// If no daemon answers, or it knows no such peer.
pub fn explain(args: &Explain) -> Result<(), Failure> {
    let request = Request::Explain {
        peer: args.peer.clone(),
        source: args.source,
        destination: args.destination,
    };
    let explained = args.daemon.ask(&request)?;
    let mut out = anstream::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{explained}")?);
    }
    Ok(table::explained(&mut out, &explained)?)
}

/// `bcp38 events`, `bcp38 violations`.
#[derive(Debug, ClapArgs)]
pub struct Events {
    /// Go on until interrupted
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    daemon: Daemon,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// How often new events are asked for.
const FOLLOW: Duration = Duration::from_millis(500);

/// What happened.
///
/// # Errors
/// If no daemon answers.
pub fn events(args: &Events) -> Result<(), Failure> {
    list(args, |after| Request::Events { after })
}

/// Sampled packets that broke the policy.
///
/// # Errors
/// If no daemon answers.
pub fn violations(args: &Events) -> Result<(), Failure> {
    list(args, |after| Request::Violations { after })
}

fn list(args: &Events, request: fn(u64) -> Request) -> Result<(), Failure> {
    let mut after = 0;
    loop {
        let entries = args.daemon.ask(&request(after))?;
        let mut out = anstream::stdout().lock();
        for entry in entries.as_array().into_iter().flatten() {
            after = entry["number"].as_u64().unwrap_or(after);
            if args.json {
                writeln!(out, "{entry}")?;
            } else {
                table::event(&mut out, entry)?;
            }
        }
        out.flush()?;
        drop(out);
        if !args.follow {
            return Ok(());
        }
        thread::sleep(FOLLOW);
    }
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
