//! From the kernel's devices to what an interface's record must be: own MACs, own addresses and subnets
//! of the device and of everything stacked on it, under which tags each receives, and where neighbours are known. Pure:
//! facts come in, one device at a time; never asks the kernel, never decides what is attached.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use filter_core::packet::{Mac, Vlans};
use filter_core::{Address, Prefix};

/// What a device is to the one it stands on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceKind {
    /// Receives the frames with this tag of the device below.
    Vlan(u16),
    /// Receives frames of the device below that are for its own MAC (macvlan, macvtap, ipvlan), or carries a
    /// hardware's queue of them (VRRP daemons use them).
    Stacked,
    /// Receives what its members receive (bond, team).
    Bond,
    /// Receives what its ports receive (bridge, Open vSwitch).
    Bridge,
    /// Anything else. What such a device stands on says nothing of the frames it receives: a veth names its other end,
    /// a tunnel its underlay, a VRF takes no frames at all.
    #[default]
    Other,
}

/// The XDP program on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its number in the kernel.
    pub id: u32,
    /// Where it sits.
    pub hook: Hook,
}

/// Where a program sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// In the driver, before a packet buffer is made.
    XdpNative,
    /// In the network stack, after it.
    XdpGeneric,
    /// In the hardware.
    XdpOffload,
}

impl Hook {
    /// The name in status and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XdpNative => "xdp-native",
            Self::XdpGeneric => "xdp-generic",
            Self::XdpOffload => "xdp-offload",
        }
    }
}

/// What one device is, as the kernel reports it now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its other names.
    pub altnames: Vec<String>,
    /// Its own MAC; none for a device without.
    pub mac: Option<Mac>,
    /// What it is.
    pub kind: DeviceKind,
    /// The device of this namespace that it stands on.
    pub lower: Option<u32>,
    /// The bridge, bond or VRF it is a port or member of.
    pub master: Option<u32>,
    /// The program on it.
    pub program: Option<Program>,
}

/// What an interface's record must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// The device's own MAC first, then those of all that is stacked on it and of its unicast filter.
    pub macs: Vec<Mac>,
    /// Each address with the tags under which it receives, and its subnet.
    pub addresses: BTreeMap<(Vlans, IpAddr), Prefix>,
    /// The devices whose neighbours' frames come in here, and under which tags.
    pub places: BTreeMap<u32, Vlans>,
    /// The members of a bond: the program runs with their index.
    pub members: Vec<u32>,
}

/// All devices of one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    devices: BTreeMap<u32, Device>,
    addresses: BTreeMap<u32, BTreeMap<IpAddr, u8>>,
    /// Further MACs a device takes in frames for: its unicast filter.
    filters: BTreeMap<u32, BTreeSet<Mac>>,
}

impl Devices {
    /// A device is there, or is otherwise than it was. Returns whether that is new.
    pub fn set(&mut self, index: u32, device: Device) -> bool {
        let former = self.devices.get(&index);
        let is_new = former != Some(&device);
        if is_new {
            self.devices.insert(index, device);
        }
        is_new
    }

    /// A device is gone, and its addresses with it. Returns whether it was there.
    pub fn remove(&mut self, index: u32) -> bool {
        self.addresses.remove(&index);
        self.filters.remove(&index);
        self.devices.remove(&index).is_some()
    }

    /// An address is a device's. Returns whether that is new.
    pub fn add_address(&mut self, index: u32, address: IpAddr, length: u8) -> bool {
        let of_device = self.addresses.entry(index).or_default();
        of_device.insert(address, length) != Some(length)
    }

    /// An address is not a device's any more. Returns whether it was.
    pub fn remove_address(&mut self, index: u32, address: IpAddr) -> bool {
        let of_device = self.addresses.get_mut(&index);
        of_device.is_some_and(|addresses| addresses.remove(&address).is_some())
    }

    /// Every address is to be said anew. Returns whether there was one.
    pub fn clear_addresses(&mut self) -> bool {
        let was = !self.addresses.is_empty();
        self.addresses.clear();
        was
    }

    /// What else each device takes in frames for. Returns whether that is new.
    pub fn set_filters(&mut self, filters: BTreeMap<u32, BTreeSet<Mac>>) -> bool {
        let is_new = filters != self.filters;
        self.filters = filters;
        is_new
    }

    /// A device by its index.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&Device> {
        self.devices.get(&index)
    }

    /// A device by its name, or by another name of it.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<u32> {
        let by = |is_it: &dyn Fn(&Device) -> bool| {
            let mut devices = self.devices.iter();
            devices
                .find(|(_, each)| is_it(each))
                .map(|(&index, _)| index)
        };
        by(&|each| each.name == name)
            .or_else(|| by(&|each| each.altnames.iter().any(|alt| alt == name)))
    }

    /// The indices of all devices.
    pub fn indices(&self) -> impl Iterator<Item = u32> + '_ {
        self.devices.keys().copied()
    }

    /// What the record of an interface on this device must be; none if there is no such device.
    #[must_use]
    pub fn own(&self, index: u32) -> Option<Own> {
        let device = self.devices.get(&index)?;
        let mut own = Own::default();
        let mut waiting = VecDeque::from([(index, Vlans::default())]);
        while let Some((index, vlans)) = waiting.pop_front() {
            if own.places.contains_key(&index) {
                continue;
            }
            own.places.insert(index, vlans);
            self.take_in(&mut own, index, vlans);
            waiting.extend(self.above(index, vlans));
        }
        if device.kind == DeviceKind::Bond {
            let members = self
                .devices
                .iter()
                .filter(|(_, each)| each.master == Some(index));
            own.members = members.map(|(&member, _)| member).collect();
        }
        Some(own)
    }

    fn take_in(&self, own: &mut Own, index: u32, vlans: Vlans) {
        let mac = self.devices.get(&index).and_then(|device| device.mac);
        let filters = self.filters.get(&index).into_iter().flatten();
        for mac in mac.into_iter().chain(filters.copied()) {
            if !mac.is_group() && mac.bits() != 0 && !own.macs.contains(&mac) {
                own.macs.push(mac);
            }
        }
        for (&address, &length) in self.addresses.get(&index).into_iter().flatten() {
            own.addresses
                .insert((vlans, address), subnet(address.into(), length));
        }
    }

    /// The devices that receive frames of this one, and under which tags.
    fn above(&self, index: u32, vlans: Vlans) -> Vec<(u32, Vlans)> {
        let master = self.devices.get(&index).and_then(|device| device.master);
        let master = master.filter(|master| {
            let kind = self.devices.get(master).map(|device| device.kind);
            matches!(kind, Some(DeviceKind::Bond | DeviceKind::Bridge))
        });
        let stacked = self
            .devices
            .iter()
            .filter(|(_, each)| each.lower == Some(index))
            .filter_map(|(&upper, each)| match each.kind {
                DeviceKind::Vlan(id) => Some((upper, inside(vlans, id)?)),
                DeviceKind::Stacked => Some((upper, vlans)),
                DeviceKind::Bond | DeviceKind::Bridge | DeviceKind::Other => None,
            });
        stacked
            .chain(master.map(|master| (master, vlans)))
            .collect()
    }
}

/// The subnet of an address with a prefix length.
fn subnet(address: Address, length: u8) -> Prefix {
    let bits = u128::from(address.hi) << 64 | u128::from(address.lo);
    let mask = u128::MAX
        .checked_shl(128 - u32::from(length.min(128)))
        .unwrap_or(0);
    let network = Address {
        hi: ((bits & mask) >> 64) as u64,
        lo: (bits & mask) as u64,
        ..address
    };
    Prefix::new(network, length).unwrap_or_else(|_| Prefix::host(address))
}

/// Adds a tag; none if that makes more than the two that a station has.
const fn inside(vlans: Vlans, id: u16) -> Option<Vlans> {
    match (vlans.outer, vlans.inner) {
        (0, _) => Some(Vlans {
            outer: id,
            inner: 0,
        }),
        (outer, 0) => Some(Vlans { outer, inner: id }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
