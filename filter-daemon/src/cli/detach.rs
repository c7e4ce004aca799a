//! `bcp38 detach`: removes the filter from an interface, or from all of them, with or without a running daemon, and every
//! pin once no interface is left. Touches nothing that is not ours.
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use filter_loader::{
    DEFAULT_PIN_DIR, detach_pinned, left_interfaces, pinned_interfaces, remove_unused_pins,
};

use super::{Failure, load, warn};
use crate::control::{self, ControlError, DEFAULT_SOCKET, Request};

/// Where to detach.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The interface
    #[arg(required_unless_present = "all")]
    interface: Option<String>,
    /// Every interface the filter is attached to, and everything it ever pinned
    #[arg(long, conflicts_with = "interface")]
    all: bool,
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
/// If nothing of ours is attached to the interface that was named, or the kernel refuses.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (socket, pin_dir) = match &args.config {
        Some(file) => {
            let daemon = load(file)?.daemon;
            (daemon.socket, daemon.pin_dir)
        }
        None => (args.socket.clone(), args.pin_dir.clone()),
    };
    let Some(interface) = &args.interface else {
        return detach_all(&socket, &pin_dir);
    };
    if detach(&socket, &pin_dir, interface)? {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "nothing of ours is attached to `{interface}` (looked in {}): see `ip link` for other xdp programs, `bpftool net` for those at tc",
        pin_dir.display()
    )))
}

/// What is pinned first, then what was left without a pin. Nothing that cannot be detached, or read, keeps anything else
/// attached; the first of what went wrong is the answer.
fn detach_all(socket: &Path, pin_dir: &Path) -> Result<(), Failure> {
    let one = |interface: String| detach(socket, pin_dir, &interface).map(drop);
    let (pinned, mut done) = match pinned_interfaces(pin_dir) {
        Ok(pinned) => (pinned, Ok(())),
        Err(error) => (Vec::new(), Err(error.into())),
    };
    for interface in pinned {
        done = done.and(one(interface));
    }
    for left in left_interfaces(pin_dir) {
        done = done.and(left.map_err(Failure::from).and_then(one));
    }
    let removed = match remove_unused_pins(pin_dir) {
        Err(filter_loader::Error::SecondWriter { .. }) => {
            warn(
                "a daemon runs and keeps its maps: stop it, then `bcp38 detach --all` removes them",
            );
            Ok(())
        }
        removed => removed.map(drop).map_err(Failure::from),
    };
    done.and(removed)
}

/// `false` if nothing of ours was attached there.
fn detach(socket: &Path, pin_dir: &Path, interface: &str) -> Result<bool, Failure> {
    let request = Request::Detach {
        interface: interface.to_owned(),
    };
    match control::ask(socket, &request) {
        Ok(_) => Ok(true),
        Err(ControlError::NotRunning { .. }) => Ok(detach_pinned(pin_dir, interface)?),
        Err(error) => Err(Failure::failed(error)),
    }
}
