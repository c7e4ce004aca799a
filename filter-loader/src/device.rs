//! What a network device is: its index, its hardware type, its addresses. Reads only.
use std::collections::BTreeMap;
use std::net::IpAddr;

use filter_core::layout::{Interface, Network, TooMany, Traits};
use filter_core::packet::{Mac, Vlans};
use filter_core::{Address, Prefix};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{if_indextoname, if_nametoindex};

use crate::attach::{AttachMode, EARLY, prefers_tc};
use crate::error::Error;

/// ARPHRD_ETHER of include/uapi/linux/if_arp.h: frames start with an Ethernet header.
const ARPHRD_ETHER: u16 = 1;
/// ARPHRD_NONE: no link-layer header at all (tun, wireguard).
const ARPHRD_NONE: u16 = 0xfffe;

/// A device of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name, as the configuration has it.
    pub name: String,
    /// What the kernel calls it now.
    pub own_name: String,
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
    /// [`Error::UnknownInterface`], or what the kernel answered.
    pub fn find(name: &str) -> Result<Self, Error> {
        let index = if_nametoindex(name).map_err(|_| Error::UnknownInterface(name.to_owned()))?;
        Self::at(index, name)
    }

    /// Looks a device up by its index; `name` is what the configuration calls it, which may be another name of it, or one
    /// it had before.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`], or what the system call says.
    pub fn at(ifindex: u32, name: &str) -> Result<Self, Error> {
        let unknown = || Error::UnknownInterface(name.to_owned());
        let own = if_indextoname(ifindex).map_err(|_| unknown())?;
        let own = own.to_string_lossy();
        // Devices without a hardware address have no link-level entry in the list of addresses.
        let (mut kind, mut mac) = (ARPHRD_NONE, Mac::from_bits(0));
        let mut addresses = Vec::new();
        for entry in getifaddrs().map_err(Error::os("cannot list interfaces"))? {
            let Some(address) = entry.address else {
                continue;
            };
            if let Some(link) = address.as_link_addr() {
                if u32::try_from(link.ifindex()) == Ok(ifindex) {
                    kind = link.hatype();
                    mac = Mac::from_bytes(link.addr().unwrap_or_default());
                }
            } else if entry.interface_name == own {
                let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
                let v6 = address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
                addresses.extend(v4.or(v6));
            }
        }
        Ok(Self {
            name: name.to_owned(),
            own_name: own.into_owned(),
            ifindex,
            kind,
            mac,
            addresses,
        })
    }

    /// The hook that [`AttachMode::Auto`] takes here if the driver does not refuse it and nothing else is there.
    #[must_use]
    pub fn auto_hook(&self) -> &'static str {
        match prefers_tc(self) {
            Some(_) => AttachMode::Tc.name(),
            None => AttachMode::Native.name(),
        }
    }

    /// Why that one.
    #[must_use]
    pub fn auto_hook_because(&self) -> String {
        prefers_tc(self).unwrap_or_else(|| EARLY.to_owned())
    }

    /// Do its frames start with an Ethernet header?
    #[must_use]
    pub const fn is_ethernet(&self) -> bool {
        self.kind == ARPHRD_ETHER
    }

    /// May the program be attached here, at this hook? At tc a device may be one whose packets start with the IP header.
    ///
    /// # Errors
    /// [`Error::NotEthernet`], [`Error::UnknownLinkType`].
    pub fn check(&self, mode: AttachMode) -> Result<(), Error> {
        if self.is_ethernet() {
            return Ok(());
        }
        let (name, kind) = (self.name.clone(), self.kind);
        match (mode, link_type(kind)) {
            (_, None) => Err(Error::UnknownLinkType { name, kind }),
            (AttachMode::Native | AttachMode::Generic, Some(of)) => Err(Error::NotEthernet {
                name,
                kind,
                link_type: of.name,
            }),
            (_, Some(of)) if !of.is_bare => Err(Error::NotEthernet {
                name,
                kind,
                link_type: of.name,
            }),
            _ => Ok(()),
        }
    }
}

/// A hardware type other than Ethernet.
struct LinkType {
    name: &'static str,
    /// Do packets come with the IP header first, as far as the network stack goes?
    is_bare: bool,
}

/// The types of include/uapi/linux/if_arp.h that routers meet.
const fn link_type(kind: u16) -> Option<LinkType> {
    let (name, is_bare) = match kind {
        ARPHRD_NONE => ("none: tun, wireguard", true),
        512 => ("ppp", true),
        519 => ("raw ip", true),
        768 => ("ip-in-ip tunnel", true),
        769 => ("ip6-in-ip6 tunnel", true),
        776 => ("sit", true),
        778 => ("gre", true),
        823 => ("ip6gre", true),
        32 => ("infiniband", false),
        772 => ("loopback", false),
        801..=803 => ("wireless monitor", false),
        _ => return None,
    };
    Some(LinkType { name, is_bare })
}

/// What the data plane shall know of an interface.
#[doc(alias = "netdev")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceSpec {
    /// The device's name.
    pub name: String,
    /// Our MACs on it.
    pub macs: Vec<Mac>,
    /// Kind `port`: one peer is behind it, whose MAC may be any, and no other addresses are on the link.
    pub is_port: bool,
    /// The class `lan` is none here: `lan_rules = "pass"`.
    pub passes_lan: bool,
    /// The network of frames with these tags. Other tags are other people's VLANs.
    pub networks: BTreeMap<Vlans, NetworkSpec>,
}

/// What the data plane shall know of the network behind some tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Our addresses on it.
    pub addresses: Vec<IpAddr>,
    /// The peering LAN.
    pub lan: Vec<Prefix>,
    /// Subnets of our addresses outside the LAN: on the link only for what goes to us.
    pub subnets: Vec<Prefix>,
}

impl NetworkSpec {
    /// The record the program reads.
    ///
    /// # Errors
    /// [`TooMany`] of something.
    pub fn record(&self) -> Result<Network, TooMany> {
        let mut record = Network::default();
        for &lan in &self.lan {
            record.add_lan(lan)?;
        }
        for &subnet in &self.subnets {
            record.add_subnet(subnet)?;
        }
        for &address in &self.addresses {
            record.add_own_address(Address::from(address))?;
        }
        Ok(record)
    }
}

impl InterfaceSpec {
    /// An interface with one MAC, and a network without addresses for frames without tags.
    #[must_use]
    pub fn new(name: &str, mac: Mac) -> Self {
        Self {
            name: name.to_owned(),
            macs: vec![mac],
            is_port: false,
            passes_lan: false,
            networks: [(Vlans::NONE, NetworkSpec::default())].into(),
        }
    }

    /// The device's own MAC and addresses, no LAN, everything else at its default.
    ///
    /// # Errors
    /// As [`Device::find`].
    pub fn of_device(name: &str) -> Result<Self, Error> {
        let device = Device::find(name)?;
        let mut spec = Self::new(&device.name, device.mac);
        spec.network_mut(Vlans::NONE).addresses = device.addresses;
        Ok(spec)
    }

    /// The network of frames with these tags, made if it is not there.
    pub fn network_mut(&mut self, vlans: Vlans) -> &mut NetworkSpec {
        self.networks.entry(vlans).or_default()
    }

    /// The record the program reads, whatever the tags.
    ///
    /// # Errors
    /// [`Error::InterfaceRecord`] if there are more MACs than fit.
    pub fn record(&self) -> Result<Interface, Error> {
        let traits = Traits {
            is_port: self.is_port,
            passes_lan: self.passes_lan,
            has_untagged: self.networks.contains_key(&Vlans::NONE),
        };
        Interface::new(&self.macs, traits).map_err(|what| self.overflow(what))
    }

    /// The records of its networks.
    ///
    /// # Errors
    /// [`Error::InterfaceRecord`] if one has more of something than fits.
    pub fn network_records(&self) -> Result<BTreeMap<Vlans, Network>, Error> {
        let record = |(&vlans, network): (&Vlans, &NetworkSpec)| {
            let record = network.record().map_err(|what| self.overflow(what))?;
            Ok((vlans, record))
        };
        self.networks.iter().map(record).collect()
    }

    fn overflow(&self, what: TooMany) -> Error {
        Error::InterfaceRecord {
            name: self.name.clone(),
            what,
        }
    }
}
