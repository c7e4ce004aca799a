//! `bcp38 macs`: from where a peer's frames come, and the operator's decision that a MAC is its.
use std::io::Write;

use clap::{Args as ClapArgs, Subcommand};
use filter_core::packet::Mac;

use super::{Failure, client, table, warn};
use crate::control::Request;

/// Which peer.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The peer
    peer: String,
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    daemon: client::Daemon,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What to do about them.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// From now on frames from this MAC are the peer's, as if it stood under its `macs`
    Accept {
        /// The MAC
        mac: Mac,
    },
}

/// Shows them, or accepts one.
///
/// # Errors
/// If no daemon answers, or it refuses.
pub fn run(args: &Args) -> Result<(), Failure> {
    let peer = args.peer.clone();
    let request = match &args.action {
        None => Request::Macs { peer },
        Some(Action::Accept { mac }) => Request::AcceptMac { peer, mac: *mac },
    };
    let answer = args.daemon.ask(&request)?;
    let mut out = anstream::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{answer}")?);
    }
    match &args.action {
        None => Ok(table::macs(&mut out, &answer)?),
        Some(Action::Accept { mac }) => {
            if let Some(why) = answer["not_kept"].as_str() {
                warn(format!("it will not outlast a restart: {why}"));
            }
            Ok(writeln!(out, "{mac} is {}'s", args.peer)?)
        }
    }
}
