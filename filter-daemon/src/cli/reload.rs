//! `bcp38 reload`: has the daemon read its configuration again, and answers with what became of it. The daemon refuses what
//! it cannot take in force before it touches anything.
use std::io::Write;

use clap::Args as ClapArgs;

use super::{Failure, client, warn};
use crate::control::Request;

/// Which daemon.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    daemon: client::Daemon,
}

/// Exit code 0: the configuration is in force. Otherwise the former one stays.
///
/// # Errors
/// Usage with the daemon's reason if it refuses; failed if no daemon answers.
pub fn run(args: &Args) -> Result<(), Failure> {
    let reloaded = args.daemon.ask(&Request::Reload)?;
    for warning in reloaded["warnings"].as_array().into_iter().flatten() {
        warn(warning.as_str().unwrap_or_default());
    }
    let file = reloaded["reloaded"].as_str().unwrap_or_default();
    Ok(writeln!(anstream::stdout(), "in force: {file}")?)
}
