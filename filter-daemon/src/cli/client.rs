//! How commands reach a running daemon; and `explain`, which only shows its answer.
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use filter_lifecycle::spec::HookChoice;
use serde_json::Value;

use super::recorded::failure;
use super::{Failure, explain_at, load, table};
use crate::control::{self, DEFAULT_SOCKET, Request};
use crate::records;
use crate::state::DEFAULT_STATE_FILE;
use crate::when;

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
    /// The one that listens there.
    pub(super) const fn at(socket: PathBuf) -> Self {
        Self {
            socket,
            config: None,
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
        control::ask(&self.socket()?, request).map_err(failure)
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
