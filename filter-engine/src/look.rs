//! One look at this namespace's devices, for whoever explains a machine. The engine itself follows them live.
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use filter_lifecycle::devices::Devices;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::links::{LinkError, Links};

/// How long the kernel may take to list them.
const WITHIN: Duration = Duration::from_secs(2);

/// Every device, with its addresses, as the kernel lists them now.
///
/// # Errors
/// [`LinkError`].
pub fn devices() -> Result<Devices, LinkError> {
    let mut links = Links::open()?;
    let end = Instant::now() + WITHIN;
    while !links.is_listed() {
        let left = end.saturating_duration_since(Instant::now());
        let millis = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
        let mut readable = [PollFd::new(links.as_fd(), PollFlags::POLLIN)];
        match poll(&mut readable, PollTimeout::from(millis)) {
            Ok(0) => {
                let source = Errno::ETIMEDOUT;
                return Err(LinkError::Socket {
                    what: "list",
                    source,
                });
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(source) => {
                return Err(LinkError::Socket {
                    what: "poll",
                    source,
                });
            }
        }
        links.work()?;
    }
    Ok(links.into_devices())
}
