//! The policy in user space as an engine, and the compilation of a world that it shares with the kernel's.
//! Never decides anything itself.

use std::collections::BTreeSet;
use std::net::IpAddr;

use filter_core::layout::{Families, Known, Rules};
use filter_core::packet::{Mac, Vlans};
use filter_core::set::{ExplainedSet, PrefixSet};
use filter_core::userspace::{self, Peering};
use filter_core::{Address, Classes, Family, Prefix, bogon};
use filter_loader::{InterfaceSpec, NetworkSpec, Station, TEST_IFINDEX};

use crate::engines::{Engine, Tally};
use crate::world::{Peer, StationText, World};

/// The policy in user space.
pub struct Userspace {
    world: &'static World,
    peering: Peering,
    tally: Tally,
}

impl Userspace {
    /// For one world, observing.
    ///
    /// # Panics
    /// If the world's texts cannot be read.
    #[must_use]
    pub fn new(world: &'static World) -> Self {
        let (bogons, ours) = lists(world);
        let mut peering = Peering {
            bogons,
            ours,
            ..Peering::default()
        };
        for (place, peer) in world.peers.iter().enumerate() {
            let (source, destination) = sides(world, peer);
            peering.peers.push(userspace::Peer {
                rules: rules(peer),
                in_force: Classes::NONE,
                source,
                destination,
            });
            let owned = stations(peer.stations).into_iter();
            peering
                .stations
                .extend(owned.map(|station| (station, place)));
        }
        peering.contested.extend(stations(world.contested));
        if world.recorded {
            let spec = interface(world);
            let interface = userspace::Interface {
                record: spec.record().expect("few enough MACs"),
                networks: spec.network_records().expect("few enough addresses"),
                in_force: Classes::NONE,
            };
            peering.interfaces.insert(TEST_IFINDEX, interface);
        }
        Self {
            world,
            peering,
            tally: Tally::of(world),
        }
    }
}

impl Engine for Userspace {
    fn name(&self) -> String {
        "userspace".to_owned()
    }

    fn set_in_force(&mut self, classes: Classes) {
        for peer in &mut self.peering.peers {
            peer.in_force = classes.within(Classes::PEER);
        }
        for interface in self.peering.interfaces.values_mut() {
            interface.in_force = classes.within(Classes::INTERFACE);
        }
    }

    fn drops(&mut self, frame: &[u8]) -> bool {
        let judgement = self.peering.judge(TEST_IFINDEX, frame);
        let peer = judgement
            .verdict
            .peer
            .map(|place| self.world.peers[place].name);
        let dropped = judgement.action.is_drop();
        self.tally
            .count(peer, judgement.verdict.reason, dropped, frame);
        dropped
    }

    fn tally(&self) -> Tally {
        self.tally.clone()
    }
}

/// The bogons less the exceptions, and our prefixes.
pub(super) fn lists(world: &World) -> (PrefixSet, PrefixSet) {
    let ours = prefixes(world.ours).into_iter().collect();
    (bogon::bogons(&prefixes(world.bogon_exceptions)), ours)
}

/// S'(p) and D'(p).
pub(super) fn sides(world: &World, peer: &Peer) -> (ExplainedSet, ExplainedSet) {
    let (bogons, ours) = lists(world);
    let lans = world.networks.iter().flat_map(|each| prefixes(each.lan));
    let withheld = bogons.union(&ours).union(&lans.collect());
    let places: BTreeSet<(u16, u16)> = peer
        .stations
        .iter()
        .map(|&(outer, inner, _)| (outer, inner))
        .collect();
    let networks = world.networks.iter();
    let own: Vec<Address> = networks
        .filter(|network| places.contains(&network.vlans))
        .flat_map(|network| addresses(network.addresses))
        .map(Address::from)
        .collect();
    let sessions: Vec<Prefix> = addresses(peer.sessions)
        .into_iter()
        .map(|address| {
            let address = Address::from(address);
            Prefix::new(address, address.family.bits()).expect("a host")
        })
        .collect();
    (
        ExplainedSet::sources(
            &prefixes(peer.advertises),
            &withheld,
            &[prefixes(peer.extra_sources), sessions.clone()].concat(),
        ),
        ExplainedSet::destinations(
            &prefixes(peer.advertised),
            &own,
            &[prefixes(peer.extra_destinations), sessions].concat(),
        ),
    )
}

/// Families and known sides.
pub(super) fn rules(peer: &Peer) -> Rules {
    let families = |listed: &[u8]| {
        Families::new(|family| match family {
            Family::Ipv4 => listed.contains(&4),
            Family::Ipv6 => listed.contains(&6),
        })
    };
    Rules {
        families: families(peer.families),
        known: Known::new(families(peer.known.0), families(peer.known.1)),
    }
}

pub(super) fn stations(of: &[StationText]) -> Vec<Station> {
    let station = |&(outer, inner, mac): &StationText| Station {
        ifindex: TEST_IFINDEX,
        vlans: Vlans { outer, inner },
        mac: if mac == "*" {
            Station::ANY_MAC
        } else {
            mac.parse().expect("a MAC")
        },
    };
    of.iter().map(station).collect()
}

pub(super) fn interface(world: &World) -> InterfaceSpec {
    let macs = world.macs.iter().map(|mac| mac.parse().expect("a MAC"));
    let networks = world.networks.iter().map(|network| {
        let (outer, inner) = network.vlans;
        let spec = NetworkSpec {
            addresses: addresses(network.addresses),
            lan: prefixes(network.lan),
            subnets: prefixes(network.subnets),
        };
        (Vlans { outer, inner }, spec)
    });
    InterfaceSpec {
        macs: macs.collect(),
        is_port: world.is_port,
        passes_lan: world.passes_lan,
        networks: networks.collect(),
        ..InterfaceSpec::new("test0", Mac::from_bits(0))
    }
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect()
}

fn prefixes(texts: &[&str]) -> Vec<Prefix> {
    texts
        .iter()
        .map(|text| text.parse().expect("a prefix"))
        .collect()
}
