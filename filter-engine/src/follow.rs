//! Follows the neighbour table of the attached interfaces and of the VLAN devices on them, without ever waiting. Never
//! decides whose a MAC is.
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use filter_core::packet::Vlans;
use filter_lifecycle::neighbour::NeighbourEvent;
use filter_lifecycle::stations::Places;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::neighbours::{NeighbourError, Neighbours};

/// What is new.
#[derive(Debug)]
pub(crate) enum Learned {
    /// The links that are followed from now on.
    Places(Places),
    /// What happened on them.
    Event(NeighbourEvent),
}

/// Datagrams of the kernel taken in at once; the rest waits in the socket.
const MAX_AT_ONCE: usize = 64;
/// How often it looks for new VLAN devices.
const PLACES_AGE: Duration = Duration::from_secs(5);
/// After an error.
const RETRY: Duration = Duration::from_secs(1);
/// The calling thread's own namespace: `/proc/net` is that of the process's first thread.
const VLAN_DEVICES: &str = "/proc/thread-self/net/vlan/config";

/// The subscription, and the descriptor that is readable when it has something.
#[derive(Debug)]
pub(crate) struct Follower {
    epoll: Epoll,
    /// Names and indices of the attached interfaces.
    interfaces: Vec<(String, u32)>,
    places: Places,
    open: Option<Neighbours>,
    /// When to look for VLAN devices, or to open the subscription anew.
    look_at: Duration,
}

impl Follower {
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            interfaces: Vec::new(),
            places: Places::new(),
            open: None,
            look_at: Duration::ZERO,
        })
    }

    /// Follows these interfaces from now on; everything known is told anew.
    pub(crate) fn follow(&mut self, interfaces: Vec<(String, u32)>) {
        self.interfaces = interfaces;
        self.open = None;
        self.look_at = Duration::ZERO;
    }

    /// What is new. An error is returned along with what came before it; the subscription is opened anew later.
    pub(crate) fn work(&mut self, now: Duration) -> (Vec<Learned>, Result<(), NeighbourError>) {
        let mut learned = Vec::new();
        let worked = self.take(now, &mut learned);
        if worked.is_err() {
            self.open = None;
            self.look_at = now + RETRY;
        }
        (learned, worked)
    }

    fn take(&mut self, now: Duration, learned: &mut Vec<Learned>) -> Result<(), NeighbourError> {
        if now >= self.look_at {
            self.look_at = now + PLACES_AGE;
            let places = places(&self.interfaces);
            if self.open.is_none() || places != self.places {
                self.subscribe(&places)?;
                learned.push(Learned::Places(places.clone()));
                self.places = places;
            }
        }
        let Some(neighbours) = &mut self.open else {
            return Ok(());
        };
        for _ in 0..MAX_AT_ONCE {
            let Some(events) = neighbours.next_events()? else {
                break;
            };
            learned.extend(events.into_iter().map(Learned::Event));
        }
        Ok(())
    }

    fn subscribe(&mut self, places: &Places) -> Result<(), NeighbourError> {
        self.open = None; // closing the former one takes it out of the epoll set
        let neighbours = Neighbours::open(places.keys().copied())?;
        let readable = EpollEvent::new(EpollFlags::EPOLLIN, 0);
        self.epoll
            .add(neighbours.as_fd(), readable)
            .map_err(|source| NeighbourError::Socket {
                what: "epoll",
                source,
            })?;
        self.open = Some(neighbours);
        Ok(())
    }

    pub(crate) const fn look_at(&self) -> Duration {
        self.look_at
    }
}

impl AsFd for Follower {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
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
