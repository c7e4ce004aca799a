//! From the configuration and each peer's routes to what packets are judged by. Pure: no device is looked at,
//! no time, no feed; what depends on those comes in as [`Link`]s and [`Routes`].
use std::collections::BTreeMap;
use std::net::IpAddr;

use filter_core::layout::{ANY_MAC, Station};
use filter_core::packet::Mac;
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
    /// Its own MAC.
    pub mac: Mac,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
}

/// A configured interface with all that the data plane needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index: the device's, or any other number that stands for it.
    pub ifindex: u32,
    /// Our MAC on it.
    pub mac: Mac,
    /// Our addresses on it.
    pub addresses: Vec<IpAddr>,
}

/// The configuration leaves open what only a device could tell, and there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "interface `{interface}`: no `{key}` in the configuration and no device of that name to read it from: add `{key}` to the interface"
)]
pub struct MissingFact {
    /// The interface.
    pub interface: String,
    /// The key that would tell.
    pub key: &'static str,
}

impl Link {
    /// Takes what is configured, and the rest from the device.
    ///
    /// # Errors
    /// [`MissingFact`] if neither says it.
    pub fn new(
        interface: &Interface,
        ifindex: u32,
        device: Option<&DeviceFacts>,
    ) -> Result<Self, MissingFact> {
        let missing = |key| MissingFact {
            interface: interface.name.clone(),
            key,
        };
        let mac = interface.mac.or(device.map(|device| device.mac));
        let addresses = interface.addresses.clone();
        let addresses = addresses.or_else(|| device.map(|device| device.addresses.clone()));
        Ok(Self {
            ifindex,
            mac: mac.ok_or_else(|| missing("mac"))?,
            addresses: addresses.ok_or_else(|| missing("addresses"))?,
        })
    }
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
    ExplainedSet::sources(&routes.sources, &withheld.all, &peer.extra_sources)
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
    ExplainedSet::destinations(&routes.destinations, &own, &peer.extra_destinations)
}

/// The stations the configuration itself names; learned MACs are added to them. A peer on a `port` without
/// `macs` has the wildcard.
#[must_use]
pub fn stations(spec: &Spec, links: &BTreeMap<InterfaceId, Link>) -> BTreeMap<Station, PeerId> {
    let mut stations = BTreeMap::new();
    for (id, peer) in spec.peer_ids() {
        for attachment in &peer.attachments {
            let (Some(link), Some(interface)) = (
                links.get(&attachment.interface),
                spec.interface(attachment.interface),
            ) else {
                continue;
            };
            let any = attachment.macs.is_empty() && interface.kind == InterfaceKind::Port;
            let macs = attachment.macs.iter().copied();
            for mac in macs.chain(any.then_some(ANY_MAC)) {
                let station = Station {
                    ifindex: link.ifindex,
                    vlans: attachment.vlans,
                    mac,
                };
                stations.insert(station, id);
            }
        }
    }
    stations
}
