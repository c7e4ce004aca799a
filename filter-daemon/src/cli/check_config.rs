//! `bcp38 check-config`: parse, warn of what is odd, print what is in effect. Touches no device and no socket.
use std::io::Write;
use std::path::PathBuf;

use crate::cli::{Failure, warn};
use crate::config::Config;

/// What to check.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file
    pub file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// [`Failure::Usage`] with file, line and value of the first thing that cannot be right.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (config, warnings) = Config::load(&args.file)?;
    for warning in &warnings {
        warn(warning);
    }
    let mut out = std::io::stdout().lock();
    write!(out, "{config}")?;
    out.flush()?;
    Ok(())
}
