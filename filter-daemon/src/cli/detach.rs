//! `bcp38 detach`: removes the filter from an interface, with or without a running daemon, and every pin once
//! no interface is left. Touches nothing that is not ours.
use std::path::PathBuf;

use clap::Args as ClapArgs;
use filter_loader::{DEFAULT_PIN_DIR, detach_pinned};

use super::{Failure, load};
use crate::control::{self, ControlError, DEFAULT_SOCKET, Request};

/// Where to detach.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The interface
    interface: String,
    /// The configuration, which names control socket and pin directory
    #[arg(long, value_name = "FILE", conflicts_with_all = ["socket", "pin_dir"])]
    config: Option<PathBuf>,
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Where the filter is pinned
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_DIR)]
    pin_dir: PathBuf,
}

/// Asks the daemon if one runs; else removes what an earlier one left.
///
/// # Errors
/// If nothing of ours is attached there, or the kernel refuses.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (socket, pin_dir) = match &args.config {
        Some(file) => {
            let daemon = load(file)?.daemon;
            (daemon.socket, daemon.pin_dir)
        }
        None => (args.socket.clone(), args.pin_dir.clone()),
    };
    match control::ask(
        &socket,
        &Request::Detach {
            interface: args.interface.clone(),
        },
    ) {
        Ok(_) => Ok(()),
        Err(ControlError::NotRunning { .. }) => match detach_pinned(&pin_dir, &args.interface)? {
            true => Ok(()),
            false => Err(Failure::usage(format!(
                "nothing of ours is attached to `{}` (looked in {}): see `ip link` for other xdp programs",
                args.interface,
                pin_dir.display()
            ))),
        },
        Err(error) => Err(Failure::failed(error)),
    }
}
