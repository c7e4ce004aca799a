//! What a network device is: its index, its hardware type, its addresses. Reads only.
use std::net::IpAddr;

use filter_core::layout::{Interface, MAX_IFINDEX};
use filter_core::packet::Mac;
use filter_core::{Address, Mode, NonIp, Prefix};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;

use crate::error::Error;

/// ARPHRD_ETHER of include/uapi/linux/if_arp.h: frames start with an Ethernet header.
const ARPHRD_ETHER: u16 = 1;
/// ARPHRD_NONE: no link-layer header at all (tun, wireguard).
const ARPHRD_NONE: u16 = 0xfffe;

/// A device of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// Its hardware type (ARPHRD); 65534 (none) for any device without a hardware address.
    pub kind: u16,
    /// Its own MAC.
    pub mac: Mac,
    /// Its IP addresses.
    pub addresses: Vec<IpAddr>,
}

impl Device {
    /// Looks a device up by name.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`], or what the system call says.
    pub fn find(name: &str) -> Result<Self, Error> {
        let mut found = None;
        let mut addresses = Vec::new();
        for entry in getifaddrs().map_err(Error::os("cannot list interfaces"))? {
            if entry.interface_name != name {
                continue;
            }
            let Some(address) = entry.address else {
                continue;
            };
            if let Some(link) = address.as_link_addr() {
                let mac = Mac::from_bytes(link.addr().unwrap_or_default());
                found = Some((
                    u32::try_from(link.ifindex()).unwrap_or(u32::MAX),
                    link.hatype(),
                    mac,
                ));
            } else if let Some(v4) = address.as_sockaddr_in() {
                addresses.push(IpAddr::V4(v4.ip()));
            } else if let Some(v6) = address.as_sockaddr_in6() {
                addresses.push(IpAddr::V6(v6.ip()));
            }
        }
        let (ifindex, kind, mac) = found
            .or_else(|| Self::without_mac(name))
            .ok_or_else(|| Error::UnknownInterface(name.to_owned()))?;
        Ok(Self {
            name: name.to_owned(),
            ifindex,
            kind,
            mac,
            addresses,
        })
    }

    /// Devices without a hardware address have no link-level entry in the list of addresses.
    fn without_mac(name: &str) -> Option<(u32, u16, Mac)> {
        let ifindex = if_nametoindex(name).ok()?;
        Some((ifindex, ARPHRD_NONE, Mac::from_bits(0)))
    }

    /// May the program be attached here?
    ///
    /// # Errors
    /// [`Error::NotEthernet`] or [`Error::IfindexTooLarge`].
    pub fn check(&self) -> Result<(), Error> {
        if self.kind != ARPHRD_ETHER {
            return Err(Error::NotEthernet {
                name: self.name.clone(),
                kind: self.kind,
            });
        }
        if self.ifindex > MAX_IFINDEX {
            return Err(Error::IfindexTooLarge {
                name: self.name.clone(),
                index: self.ifindex,
            });
        }
        Ok(())
    }
}

/// What the data plane shall know of an interface.
#[doc(alias = "netdev")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceSpec {
    /// The device's name.
    pub name: String,
    /// Our MAC on it.
    pub mac: Mac,
    /// Our addresses on it.
    pub addresses: Vec<IpAddr>,
    /// The peering LAN.
    pub lan: Vec<Prefix>,
    /// What becomes of frames that are neither ARP nor IP.
    pub non_ip: NonIp,
    /// The mode for packets of stations without a peer.
    pub unknown_peer: Mode,
    /// May a peer be registered for any source MAC (kind `port`)?
    pub any_mac: bool,
}

impl InterfaceSpec {
    /// The device's own MAC and addresses, no LAN, every mode at its default.
    ///
    /// # Errors
    /// As [`Device::find`].
    pub fn of_device(name: &str) -> Result<Self, Error> {
        let device = Device::find(name)?;
        Ok(Self {
            name: device.name,
            mac: device.mac,
            addresses: device.addresses,
            lan: Vec::new(),
            non_ip: NonIp::default(),
            unknown_peer: Mode::default(),
            any_mac: false,
        })
    }

    /// An interface of which nothing is known.
    pub(crate) fn bare() -> Self {
        Self {
            name: String::new(),
            mac: Mac::from_bits(0x0200_0000_0001),
            addresses: Vec::new(),
            lan: Vec::new(),
            non_ip: NonIp::default(),
            unknown_peer: Mode::default(),
            any_mac: false,
        }
    }

    /// The record the program reads.
    ///
    /// # Errors
    /// [`Error::InterfaceRecord`] if there are more LANs or addresses than fit.
    pub fn record(&self) -> Result<Interface, Error> {
        let mut record = Interface::new(self.mac, self.non_ip, self.unknown_peer, self.any_mac);
        let overflow = |what| Error::InterfaceRecord {
            name: self.name.clone(),
            what,
        };
        for &lan in &self.lan {
            record.add_lan(lan).map_err(overflow)?;
        }
        for &address in &self.addresses {
            record
                .add_own_address(Address::from(address))
                .map_err(overflow)?;
        }
        Ok(record)
    }
}
