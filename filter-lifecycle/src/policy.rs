//! From the configuration and each peer's routes to what packets are judged by. Pure: no device is looked at,
//! no time, no feed; what depends on those comes in as [`Link`]s and [`Routes`].
use std::collections::BTreeMap;
use std::net::IpAddr;

use filter_core::layout::{ANY_MAC, Station};
use filter_core::packet::{Mac, Vlans};
use filter_core::set::{ExplainedSet, PrefixSet};
use filter_core::{Address, Prefix, bogon};

use crate::admission::AdmissionContext;
use crate::route::PeerId;
use crate::spec::{Interface, InterfaceId, InterfaceKind, Peer, Spec};

/// What is known of a device in this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Its index.
    pub ifindex: u32,
    /// Its own MAC, and those of what is stacked on it.
    pub macs: Vec<Mac>,
    /// Its own addresses and those of what is stacked on it: the tags under which each receives, and its subnet.
    pub addresses: BTreeMap<(Vlans, IpAddr), Prefix>,
}

impl DeviceFacts {
    /// A device with one MAC and these addresses, whose subnets are not known.
    #[must_use]
    pub fn alone(ifindex: u32, mac: Mac, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let addresses = addresses.into_iter().map(|address| {
            let host = Prefix::host(Address::from(address));
            ((Vlans::default(), address), host)
        });
        Self {
            ifindex,
            macs: vec![mac],
            addresses: addresses.collect(),
        }
    }
}

/// A configured interface with all that the data plane needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index: the device's, or any other number that stands for it.
    pub ifindex: u32,
    /// Our MAC on it: the configured one, or else the device's.
    pub mac: Mac,
    /// All our MACs on it, that one first.
    pub macs: Vec<Mac>,
    /// Our addresses on it: the configured ones first.
    pub addresses: Vec<IpAddr>,
    /// The device's addresses by the tags under which each receives, with their subnets.
    pub networks: BTreeMap<(Vlans, IpAddr), Prefix>,
}

/// The configuration leaves out what can be read from a device, and there is no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "interface `{interface}`: no `{key}` in the configuration and no device of that name to read it from: add `{key}` to the interface"
)]
pub struct MissingFact {
    /// The interface.
    pub interface: String,
    /// The key to add.
    pub key: &'static str,
}

impl Link {
    /// Takes what is configured, and adds what the device has.
    ///
    /// # Errors
    /// [`MissingFact`] if neither has it.
    pub fn new(
        interface: &Interface,
        ifindex: u32,
        device: Option<&DeviceFacts>,
    ) -> Result<Self, MissingFact> {
        let missing = |key| MissingFact {
            interface: interface.name.clone(),
            key,
        };
        let macs = interface.mac.into_iter();
        let macs = distinct(macs.chain(device.into_iter().flat_map(|device| device.macs.clone())));
        // A device without an Ethernet header has none, and its frames name none.
        let none = device.map(|_| Mac::from_bits(0));
        let mac = macs.first().copied().or(none);
        let mac = mac.ok_or_else(|| missing("mac"))?;
        let configured = interface.addresses.as_deref();
        if device.is_none() && configured.is_none() {
            return Err(missing("addresses"));
        }
        let networks = device.map_or_else(BTreeMap::new, |device| device.addresses.clone());
        let addresses = configured.into_iter().flatten().copied();
        Ok(Self {
            ifindex,
            mac,
            macs: if macs.is_empty() { vec![mac] } else { macs },
            addresses: distinct(addresses.chain(networks.keys().map(|&(_, address)| address))),
            networks,
        })
    }

    /// The subnets of the device's addresses, but for those that are one address alone.
    #[must_use]
    pub fn subnets(&self) -> Vec<Prefix> {
        let subnets = self.networks.values().copied();
        distinct(subnets.filter(|&subnet| subnet != Prefix::host(subnet.address())))
    }
}

fn distinct<T: PartialEq>(each: impl Iterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for one in each {
        if !distinct.contains(&one) {
            distinct.push(one);
        }
    }
    distinct
}

/// The address blocks no peer's announcement can claim.
#[derive(Clone, Debug)]
pub struct Withheld {
    /// The bogons, less the exceptions.
    pub bogons: PrefixSet,
    /// `[router] prefixes`.
    pub ours: PrefixSet,
    /// The LAN prefixes of every interface.
    pub lan: PrefixSet,
    /// All of them together.
    pub all: PrefixSet,
}

impl Withheld {
    /// Those of a configuration.
    #[must_use]
    pub fn of(spec: &Spec) -> Self {
        let bogons = bogon::bogons(&spec.router.bogon_exceptions);
        let ours: PrefixSet = spec.router.prefixes.iter().copied().collect();
        let lans = spec.interfaces.iter().flat_map(|each| &each.lan);
        let lan: PrefixSet = lans.copied().collect();
        let all = bogons.union(&ours).union(&lan);
        Self {
            bogons,
            ours,
            lan,
            all,
        }
    }

    /// What one peer's announcements are admitted by.
    #[must_use]
    pub fn context(&self, peer: &Peer) -> AdmissionContext<'_> {
        AdmissionContext {
            bounds: peer.prefix_bounds,
            ours: &self.ours,
            bogons: &self.bogons,
            lan: &self.lan,
        }
    }
}

/// What is currently announced between us and one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// S(p), admitted.
    pub sources: Vec<Prefix>,
    /// D(p).
    pub destinations: Vec<Prefix>,
}

/// S'(p).
#[must_use]
pub fn source_side(peer: &Peer, routes: &Routes, withheld: &Withheld) -> ExplainedSet {
    ExplainedSet::sources(&routes.sources, &withheld.all, &peer.always_sources())
}

/// D'(p); our own addresses are those on the interfaces the peer is attached to.
#[must_use]
pub fn destination_side(
    peer: &Peer,
    routes: &Routes,
    links: &BTreeMap<InterfaceId, Link>,
) -> ExplainedSet {
    let mut interfaces: Vec<InterfaceId> = peer
        .attachments
        .iter()
        .map(|attachment| attachment.interface)
        .collect();
    interfaces.sort_unstable();
    interfaces.dedup();
    let own: Vec<Address> = interfaces
        .iter()
        .filter_map(|id| links.get(id))
        .flat_map(|link| &link.addresses)
        .map(|&address| Address::from(address))
        .collect();
    ExplainedSet::destinations(&routes.destinations, &own, &peer.always_destinations())
}

/// The stations the configuration itself names; learned MACs are added to them. A peer on a `port` without
/// `macs` has the wildcard.
#[must_use]
pub fn stations(spec: &Spec, links: &BTreeMap<InterfaceId, Link>) -> BTreeMap<Station, PeerId> {
    let peers = spec.peer_ids();
    let each = peers
        .flat_map(|(id, peer)| stations_of(spec, links, peer).map(move |station| (station, id)));
    each.collect()
}

/// Those of one peer.
pub(crate) fn stations_of<'a>(
    spec: &'a Spec,
    links: &'a BTreeMap<InterfaceId, Link>,
    peer: &'a Peer,
) -> impl Iterator<Item = Station> + 'a {
    peer.attachments.iter().flat_map(|attachment| {
        let link = links.get(&attachment.interface);
        let interface = spec.interface(attachment.interface);
        let found = link.zip(interface).into_iter();
        found.flat_map(|(link, interface)| {
            let any = attachment.macs.is_empty() && interface.kind == InterfaceKind::Port;
            let macs = attachment.macs.iter().copied();
            macs.chain(any.then_some(ANY_MAC)).map(|mac| Station {
                ifindex: link.ifindex,
                vlans: attachment.vlans,
                mac,
            })
        })
    })
}
