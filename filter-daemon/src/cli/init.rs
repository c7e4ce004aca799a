//! `bcp38 init`: prints a first configuration from what is there, or writes it to a new file. Never replaces a file.
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::{Failure, warn};
use crate::init::{self, Found, Sockets, devices};

/// Where to look.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// FRR's vty socket; default: the usual place, if it is there
    #[arg(long, value_name = "SOCKET")]
    frr: Option<PathBuf>,
    /// BIRD's control socket; default: the usual place, if it is there
    #[arg(long, value_name = "SOCKET")]
    bird: Option<PathBuf>,
    /// The exchange's member export (IX-F JSON): LAN prefixes, MACs, route servers
    #[arg(long, value_name = "FILE")]
    ixf: Option<PathBuf>,
    /// Saved answers of PeeringDB's API (`ixpfx`, `net`): LAN prefixes, prefix limits
    #[arg(long, value_name = "FILE")]
    peeringdb: Vec<PathBuf>,
    /// The file to write, which must not be there yet; default: standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Looks and writes.
///
/// # Errors
/// A file or a daemon that was named and cannot be read; a file that is there already.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut found = Found {
        devices: devices::all().map_err(Failure::failed)?,
        ..Found::default()
    };
    if let Some(export) = &args.ixf {
        let absolute = std::path::absolute(export).map_err(Failure::failed)?;
        found.exchange.add_ixf(&absolute).map_err(Failure::usage)?;
    }
    for file in &args.peeringdb {
        found.exchange.add_peeringdb(file).map_err(Failure::usage)?;
    }
    let sockets = Sockets {
        frr: args.frr.clone(),
        bird: args.bird.clone(),
    };
    let mut warnings = Vec::new();
    found.routers = init::routers(&sockets, &mut warnings).map_err(Failure::failed)?;
    warnings.iter().for_each(warn);
    let text = init::text(&found);
    let Some(file) = &args.output else {
        return Ok(anstream::stdout().write_all(text.as_bytes())?);
    };
    let written = File::create_new(file).and_then(|mut new| new.write_all(text.as_bytes()));
    written.map_err(|error| {
        let file = file.display();
        Failure::failed(format!(
            "cannot write `{file}`: {error}; name another file, or remove this one"
        ))
    })
}
