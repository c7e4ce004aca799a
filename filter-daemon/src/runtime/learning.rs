//! The thread that follows the neighbour table of the attached interfaces and of the VLAN devices on them. Never
//! decides whose a MAC is.
use std::io;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use filter_core::packet::Vlans;

use crate::neighbours::{NeighbourError, Neighbours};
use filter_feeds::{Stop, Stopped};
use filter_lifecycle::neighbour::NeighbourEvent;
use filter_lifecycle::stations::Places;

/// What the thread says.
#[derive(Debug)]
pub(super) enum Learned {
    /// The links that are followed from now on.
    Places(Places),
    /// What happened on them.
    Events(Vec<NeighbourEvent>),
}

/// Messages that may wait for the run loop.
pub(super) const MAX_WAITING: usize = 64;
/// How soon the thread sees that it is to stop.
const LOOK: Duration = Duration::from_millis(100);
/// How often it looks for new VLAN devices.
const PLACES_AGE: Duration = Duration::from_secs(5);
/// After an error.
const RETRY: Duration = Duration::from_secs(1);
/// The calling thread's own namespace: `/proc/net` is that of the process's first thread.
const VLAN_DEVICES: &str = "/proc/thread-self/net/vlan/config";

/// Starts it, in this thread's namespace.
pub(super) fn start(
    interfaces: Vec<(String, u32)>,
    told: SyncSender<Learned>,
    stop: Stop,
) -> io::Result<JoinHandle<()>> {
    let follow = move || {
        while let Err(Follow::Failed(error)) = follow(&interfaces, &told, &stop) {
            log::warn!("{error}: opening it anew");
            if stop.sleep(RETRY).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("neighbours".to_owned())
        .spawn(follow)
}

/// Why the table is not followed any more.
enum Follow {
    Stopped,
    Failed(NeighbourError),
}

impl From<Stopped> for Follow {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<NeighbourError> for Follow {
    fn from(error: NeighbourError) -> Self {
        Self::Failed(error)
    }
}

fn follow(
    interfaces: &[(String, u32)],
    told: &SyncSender<Learned>,
    stop: &Stop,
) -> Result<(), Follow> {
    loop {
        let followed = places(interfaces);
        let mut neighbours = Neighbours::open(followed.keys().copied())?;
        tell(told, stop, Learned::Places(followed.clone()))?;
        let mut looked = Instant::now();
        while looked.elapsed() < PLACES_AGE || places(interfaces) == followed {
            if looked.elapsed() >= PLACES_AGE {
                looked = Instant::now();
            }
            let events = neighbours.next(LOOK)?;
            if !events.is_empty() {
                tell(told, stop, Learned::Events(events))?;
            } else if stop.is_stopped() {
                return Err(Follow::Stopped);
            }
        }
    }
}

/// Waits while the run loop is busy.
fn tell(told: &SyncSender<Learned>, stop: &Stop, mut message: Learned) -> Result<(), Stopped> {
    loop {
        match told.try_send(message) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(unsent)) => message = unsent,
            Err(TrySendError::Disconnected(_)) => return Err(Stopped),
        }
        stop.sleep(Duration::from_millis(1))?;
    }
}

/// The attached interfaces themselves, and the VLAN devices on them.
fn places(interfaces: &[(String, u32)]) -> Places {
    let devices = std::fs::read_to_string(VLAN_DEVICES).unwrap_or_default(); // no such file: no VLAN device
    let devices = vlan_devices(&devices);
    let mut places: Places = interfaces
        .iter()
        .map(|&(_, ifindex)| (ifindex, (ifindex, Vlans::default())))
        .collect();
    for (name, inner, parent) in &devices {
        let grandparent = devices.iter().find(|(name, ..)| name == parent);
        let (vlans, base) = match grandparent {
            Some((_, outer, base)) => (
                Vlans {
                    outer: *outer,
                    inner: *inner,
                },
                base,
            ),
            None => (
                Vlans {
                    outer: *inner,
                    inner: 0,
                },
                parent,
            ),
        };
        let attached = interfaces.iter().find(|(name, _)| name == base);
        let index = nix::net::if_::if_nametoindex(name.as_str());
        if let (Some(&(_, attached)), Ok(index)) = (attached, index) {
            places.insert(index, (attached, vlans));
        }
    }
    places
}

/// Name, VLAN and lower device of each line `eth0.100 | 100 | eth0`.
fn vlan_devices(text: &str) -> Vec<(String, u16, String)> {
    let line = |line: &str| {
        let mut fields = line.split('|').map(str::trim);
        let (name, vlan, lower) = (fields.next()?, fields.next()?, fields.next()?);
        Some((name.to_owned(), vlan.parse().ok()?, lower.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlan_devices_are_read_as_the_kernel_lists_them() {
        let text = "VLAN Dev name    | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n\
                    ixp0.100       | 100  | ixp0\nqinq           | 7  | ixp0.100\n";
        let device = |name: &str, vlan, lower: &str| (name.to_owned(), vlan, lower.to_owned());
        assert_eq!(
            vlan_devices(text),
            [
                device("ixp0.100", 100, "ixp0"),
                device("qinq", 7, "ixp0.100")
            ]
        );
    }
}
