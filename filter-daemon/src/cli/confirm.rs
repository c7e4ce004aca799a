//! `bcp38 confirm`: what `enforce --confirm-within` switched on stays.
use std::io::Write;

use clap::Args as ClapArgs;

use super::client::Daemon;
use super::{Failure, warn};
use crate::control::Request;

/// What to confirm.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The peer
    #[arg(value_name = "PEER")]
    peer: String,
    #[command(flatten)]
    daemon: Daemon,
}

/// Confirms a trial.
///
/// # Errors
/// If no daemon answers, or nothing of the peer is on trial.
pub fn run(args: &Args) -> Result<(), Failure> {
    let peer = args.peer.clone();
    let confirmed = args.daemon.ask(&Request::Confirm { peer })?;
    if let Some(why) = confirmed["not_kept"].as_str() {
        warn(format!("confirmed until the next reboot only: {why}"));
    }
    let mut out = anstream::stdout().lock();
    Ok(writeln!(out, "{}: stays enforced", args.peer)?)
}
