//! Who answers for an address on the wire: the kernel's neighbour table, both families, live by rtnetlink. Never waits.
//!
//! Knows no peers: which peer an address belongs to, and what to do about a MAC that two peers claim, is decided by
//! whoever reads the events. Never sends a neighbour solicitation, never writes to the kernel's table.
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use filter_core::packet::Mac;
use filter_lifecycle::neighbour::NeighbourEvent;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, NetlinkAddr, recvfrom, send};

use crate::netlink;
use wire::News;

/// Entries of the kernel's table we follow at most; its own limit for learned ones is 1024 by default.
pub const MAX_NEIGHBOURS: usize = 1 << 16;
/// The multicast group of neighbour changes (`RTMGRP_NEIGH`, linux/rtnetlink.h).
const GROUP_NEIGH: u32 = 1 << 2;
/// The kernel fills at most 32 KiB per dump message.
const BUFFER: usize = 64 << 10;

/// Why the table cannot be followed any more; open it anew.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NeighbourError {
    /// The socket failed.
    #[error("neighbour table: {what}: {source}")]
    Socket {
        /// Doing what.
        what: &'static str,
        /// What the kernel answered.
        source: Errno,
    },
    /// The kernel refused to list its table.
    #[error("neighbour table: the kernel will not list it: {0}")]
    Refused(String),
    /// The kernel sent what is no netlink message.
    #[error("neighbour table: {0}")]
    Malformed(String),
    /// More entries than anyone peers with.
    #[error("neighbour table: more than {MAX_NEIGHBOURS} entries; name the interfaces to follow")]
    TooMany,
}

/// A subscription to the kernel's neighbour table, of the network namespace it was opened in.
#[derive(Debug)]
pub struct Neighbours {
    socket: OwnedFd,
    links: BTreeSet<u32>,
    known: BTreeMap<(u32, IpAddr), Mac>,
    /// While the table is being listed: what was listed so far.
    listed: Option<BTreeSet<(u32, IpAddr)>>,
    interrupted: bool,
    /// A former listing still ran when this one was asked for.
    busy: bool,
    sequence: u32,
}

impl Neighbours {
    /// Subscribes, then asks for the whole table, so that nothing is missed in between. Only entries of the
    /// interfaces given count; of all interfaces if none is given.
    ///
    /// # Errors
    /// [`NeighbourError::Socket`] where netlink is not to be had.
    pub fn open(links: impl IntoIterator<Item = u32>) -> Result<Self, NeighbourError> {
        let socket = netlink::subscribe(GROUP_NEIGH)
            .map_err(|(what, source)| NeighbourError::Socket { what, source })?;
        let mut neighbours = Self {
            socket,
            links: links.into_iter().collect(),
            known: BTreeMap::new(),
            listed: None,
            interrupted: false,
            busy: false,
            sequence: 0,
        };
        neighbours.list()?;
        Ok(neighbours)
    }

    /// The next datagram's events, or none if nothing has happened. Never waits.
    ///
    /// # Errors
    /// [`NeighbourError`] when the table cannot be followed any more.
    pub fn next_events(&mut self) -> Result<Option<Vec<NeighbourEvent>>, NeighbourError> {
        let mut buffer = vec![0; BUFFER];
        match recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
            // Other processes may write to us; only the kernel is believed.
            Ok((_, Some(from))) if from.pid() != 0 => Ok(Some(Vec::new())),
            Ok((length, _)) => self
                .fold(buffer.get(..length).unwrap_or_default())
                .map(Some),
            Err(Errno::EAGAIN) => Ok(None),
            Err(Errno::EINTR) => Ok(Some(Vec::new())),
            // The kernel sent more than the socket holds: start over.
            Err(Errno::ENOBUFS) => self.list().map(|()| Some(Vec::new())),
            Err(source) => Err(NeighbourError::Socket {
                what: "receive",
                source,
            }),
        }
    }

    /// Everything known now.
    pub fn known(&self) -> impl Iterator<Item = (u32, IpAddr, Mac)> + '_ {
        let all = self.known.iter();
        all.map(|(&(link, address), &mac)| (link, address, mac))
    }

    /// Asks for the whole table.
    fn list(&mut self) -> Result<(), NeighbourError> {
        self.sequence = self.sequence.wrapping_add(1);
        self.listed = Some(BTreeSet::new());
        self.interrupted = false;
        let request = wire::list_request(self.sequence);
        match send(self.socket.as_raw_fd(), &request, MsgFlags::empty()) {
            Ok(_) => Ok(()),
            Err(source) => Err(NeighbourError::Socket {
                what: "request",
                source,
            }),
        }
    }

    fn fold(&mut self, datagram: &[u8]) -> Result<Vec<NeighbourEvent>, NeighbourError> {
        let mut events = Vec::new();
        for news in wire::parse(datagram).map_err(NeighbourError::Malformed)? {
            match news {
                News::Entry { link, address, mac } => {
                    self.entry(link, address, mac, &mut events)?
                }
                News::Interrupted => self.interrupted = true,
                // Of a former listing, given up since; if ours had to wait for it, ask again.
                News::Done { sequence } if sequence != self.sequence => {
                    if std::mem::take(&mut self.busy) {
                        self.list()?;
                    }
                }
                News::Done { .. } if self.interrupted => self.list()?,
                News::Done { .. } => self.done(&mut events),
                // The kernel lists one at a time.
                News::Busy => self.busy = true,
                News::Refused(why) => return Err(NeighbourError::Refused(why)),
            }
        }
        Ok(events)
    }

    fn entry(
        &mut self,
        link: u32,
        address: IpAddr,
        mac: Option<Mac>,
        events: &mut Vec<NeighbourEvent>,
    ) -> Result<(), NeighbourError> {
        if !self.links.is_empty() && !self.links.contains(&link) {
            return Ok(());
        }
        let key = (link, address);
        // Group and null addresses are no neighbour's own.
        let Some(mac) = mac.filter(|mac| !mac.is_group() && mac.bits() != 0) else {
            if self.known.remove(&key).is_some() {
                events.push(NeighbourEvent::Gone { link, address });
            }
            return Ok(());
        };
        if let Some(listed) = &mut self.listed {
            listed.insert(key);
        }
        if self.known.insert(key, mac) != Some(mac) {
            events.push(NeighbourEvent::Known { link, address, mac });
        }
        if self.known.len() > MAX_NEIGHBOURS {
            return Err(NeighbourError::TooMany);
        }
        Ok(())
    }

    /// The whole table was listed: what is not in it is gone.
    fn done(&mut self, events: &mut Vec<NeighbourEvent>) {
        let Some(listed) = self.listed.take() else {
            return;
        };
        self.known.retain(|key, _| {
            let stays = listed.contains(key);
            if !stays {
                events.push(NeighbourEvent::Gone {
                    link: key.0,
                    address: key.1,
                });
            }
            stays
        });
        events.push(NeighbourEvent::Complete);
    }
}

impl AsFd for Neighbours {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
