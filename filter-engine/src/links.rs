//! The kernel's devices and their addresses, live by rtnetlink, folded into
//! [`filter_lifecycle::devices::Devices`]. Never waits, never writes: a request is answered at once, a message that was
//! lost (`ENOBUFS`) is followed by a listing of everything.
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use filter_core::packet::Mac;
use filter_lifecycle::devices::Devices;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, NetlinkAddr, recvfrom, send};

mod wire;

use crate::netlink;
use wire::{News, Request};

/// The multicast groups of links and addresses (`RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV6_IFADDR` of
/// linux/rtnetlink.h).
const GROUPS: u32 = 1 | 0x10 | 0x100;
/// The kernel fills at most 32 KiB per listing message.
const BUFFER: usize = 64 << 10;

/// Why devices cannot be followed any more; open it anew.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The socket failed.
    #[error("devices: {what}: {source}")]
    Socket {
        /// Doing what.
        what: &'static str,
        /// What the kernel answered.
        source: Errno,
    },
    /// The kernel refused to list them.
    #[error("devices: the kernel will not list them: {0}")]
    Refused(String),
    /// The kernel sent what is no netlink message.
    #[error("devices: {0}")]
    Malformed(String),
}

/// What is being listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    Links,
    Addresses,
    Filters,
}

/// A subscription to one network namespace's devices.
#[derive(Debug)]
pub(crate) struct Links {
    socket: OwnedFd,
    devices: Devices,
    /// Listed under this number, what is seen meanwhile, and whether the listing has to be made again.
    listing: Option<(Listing, u32)>,
    /// Listings to come.
    waiting: Vec<Listing>,
    seen: BTreeSet<u32>,
    filters: BTreeMap<u32, BTreeSet<Mac>>,
    interrupted: bool,
    changed: bool,
    sequence: u32,
}

impl Links {
    /// Subscribes, then lists everything.
    pub(crate) fn open() -> Result<Self, LinkError> {
        let socket = netlink::subscribe(GROUPS)
            .map_err(|(what, source)| LinkError::Socket { what, source })?;
        let mut links = Self {
            socket,
            devices: Devices::default(),
            listing: None,
            waiting: Vec::new(),
            seen: BTreeSet::new(),
            filters: BTreeMap::new(),
            interrupted: false,
            changed: true,
            sequence: 0,
        };
        links.list_all()?;
        Ok(links)
    }

    /// As they are now, as far as the kernel's messages were taken in.
    pub(crate) const fn devices(&self) -> &Devices {
        &self.devices
    }

    /// Was everything listed at least once?
    pub(crate) fn is_listed(&self) -> bool {
        self.listing.is_none() && self.waiting.is_empty()
    }

    /// As they are now; nothing follows them any more.
    pub(crate) fn into_devices(self) -> Devices {
        self.devices
    }

    /// Takes in everything the kernel has said. Returns whether something is new.
    pub(crate) fn work(&mut self) -> Result<bool, LinkError> {
        let mut buffer = vec![0; BUFFER];
        loop {
            match recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
                // Other processes may write to us; only the kernel is believed.
                Ok((_, Some(from))) if from.pid() != 0 => {}
                Ok((length, _)) => self.fold(buffer.get(..length).unwrap_or_default())?,
                Err(Errno::EAGAIN) => return Ok(std::mem::take(&mut self.changed)),
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => self.list_all()?,
                Err(source) => {
                    let what = "receive";
                    return Err(LinkError::Socket { what, source });
                }
            }
        }
    }

    /// Asks for these devices anew: a program that comes or goes by a BPF link is not announced. The answers are there
    /// when this returns.
    pub(crate) fn look_at(&mut self, indices: &[u32]) -> Result<(), LinkError> {
        indices
            .iter()
            .try_for_each(|&index| self.send(Request::Link(index)))
    }

    /// Asks for the unicast filters: a macvlan device that went into another namespace is announced there only.
    pub(crate) fn look_at_filters(&mut self) -> Result<(), LinkError> {
        if !self.waiting.contains(&Listing::Filters) {
            self.waiting.push(Listing::Filters);
        }
        self.next_listing()
    }

    fn list_all(&mut self) -> Result<(), LinkError> {
        self.listing = None;
        self.waiting = vec![Listing::Filters, Listing::Addresses, Listing::Links];
        self.next_listing()
    }

    /// The kernel lists one thing at a time.
    fn next_listing(&mut self) -> Result<(), LinkError> {
        if self.listing.is_some() {
            return Ok(());
        }
        let Some(listing) = self.waiting.pop() else {
            return Ok(());
        };
        self.seen.clear();
        self.filters.clear();
        self.interrupted = false;
        self.send(match listing {
            Listing::Links => Request::Links,
            Listing::Addresses => Request::Addresses,
            Listing::Filters => Request::Filters,
        })?;
        self.listing = Some((listing, self.sequence));
        if listing == Listing::Addresses {
            // What is listed now replaces what was known; messages in between are folded in as they come.
            self.changed |= self.devices.clear_addresses();
        }
        Ok(())
    }

    fn send(&mut self, request: Request) -> Result<(), LinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request.bytes(self.sequence);
        match send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty()) {
            Ok(_) => Ok(()),
            Err(source) => Err(LinkError::Socket {
                what: "request",
                source,
            }),
        }
    }

    fn fold(&mut self, datagram: &[u8]) -> Result<(), LinkError> {
        for news in wire::parse(datagram).map_err(LinkError::Malformed)? {
            match news {
                News::Device(index, device) => {
                    self.seen.insert(index);
                    self.changed |= self.devices.set(index, device);
                }
                News::DeviceGone(index) => self.changed |= self.devices.remove(index),
                News::Address {
                    index,
                    address,
                    length,
                } => self.changed |= self.devices.add_address(index, address, length),
                News::AddressGone { index, address } => {
                    self.changed |= self.devices.remove_address(index, address);
                }
                News::Filter(index, mac) => {
                    self.filters.entry(index).or_default().insert(mac);
                }
                News::Interrupted => self.interrupted = true,
                News::Done(sequence) => self.done(sequence)?,
                News::Refused(sequence, why) => self.refused(sequence, why)?,
            }
        }
        Ok(())
    }

    fn done(&mut self, sequence: u32) -> Result<(), LinkError> {
        let Some((listing, _)) = self.listing.filter(|(_, number)| *number == sequence) else {
            return Ok(()); // of a listing that was given up
        };
        self.listing = None;
        if self.interrupted {
            self.waiting.push(listing);
        } else if listing == Listing::Links {
            let gone: Vec<u32> = self
                .devices
                .indices()
                .filter(|index| !self.seen.contains(index))
                .collect();
            for index in gone {
                self.changed |= self.devices.remove(index);
            }
        } else if listing == Listing::Filters {
            let filters = std::mem::take(&mut self.filters);
            self.changed |= self.devices.set_filters(filters);
        }
        self.next_listing()
    }

    /// A device that was asked for and is gone is no error; neither is a kernel that has no list of filters.
    fn refused(&mut self, sequence: u32, why: String) -> Result<(), LinkError> {
        match self.listing.filter(|(_, number)| *number == sequence) {
            None => Ok(()),
            Some((Listing::Filters, _)) => {
                self.listing = None;
                self.next_listing()
            }
            Some(_) => Err(LinkError::Refused(why)),
        }
    }
}

impl AsFd for Links {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
