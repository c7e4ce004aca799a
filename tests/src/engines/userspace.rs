//! The policy in user space as an engine, and the compilation of a world that it shares with the kernel's.
//! Never decides anything itself.

use std::net::IpAddr;

use filter_core::layout::Families;
use filter_core::packet::{Mac, Vlans};
use filter_core::set::{ExplainedSet, PrefixSet};
use filter_core::userspace::{self, Peering};
use filter_core::{Address, Family, Mode, NonIp, Prefix, bogon};
use filter_loader::{InterfaceSpec, Station, TEST_IFINDEX};

use crate::engines::{Engine, Tally};
use crate::world::{Modes, Peer, World};

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
                families: families(peer),
                mode: Mode::Observe,
                source,
                destination,
            });
            let owned = stations(peer).into_iter();
            peering
                .stations
                .extend(owned.map(|station| (station, place)));
        }
        let record = interface(world, Mode::Observe)
            .record()
            .expect("few enough addresses");
        peering.interfaces.insert(TEST_IFINDEX, record);
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

    fn set_modes(&mut self, modes: Modes) {
        for peer in &mut self.peering.peers {
            peer.mode = modes.peers;
        }
        let record = interface(self.world, modes.unknown)
            .record()
            .expect("few enough addresses");
        self.peering.interfaces.insert(TEST_IFINDEX, record);
    }

    fn drops(&mut self, frame: &[u8]) -> bool {
        let judgement = self
            .peering
            .judge(TEST_IFINDEX, frame)
            .expect("a configured interface");
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
    let lan: PrefixSet = prefixes(world.lan).into_iter().collect();
    let withheld = bogons.union(&ours).union(&lan);
    let own: Vec<Address> = addresses(world).into_iter().map(Address::from).collect();
    (
        ExplainedSet::sources(
            &prefixes(peer.advertises),
            &withheld,
            &prefixes(peer.extra_sources),
        ),
        ExplainedSet::destinations(
            &prefixes(peer.advertised),
            &own,
            &prefixes(peer.extra_destinations),
        ),
    )
}

pub(super) fn families(peer: &Peer) -> Families {
    Families::new(|family| match family {
        Family::Ipv4 => peer.families.contains(&4),
        Family::Ipv6 => peer.families.contains(&6),
    })
}

pub(super) fn stations(peer: &Peer) -> Vec<Station> {
    let station = |&(outer, inner, mac): &(u16, u16, &str)| Station {
        ifindex: TEST_IFINDEX,
        vlans: Vlans { outer, inner },
        mac: if mac == "*" {
            Station::ANY_MAC
        } else {
            mac.parse().expect("a MAC")
        },
    };
    peer.stations.iter().map(station).collect()
}

pub(super) fn interface(world: &World, unknown_peer: Mode) -> InterfaceSpec {
    InterfaceSpec {
        name: "test0".to_owned(),
        mac: world.mac.parse::<Mac>().expect("a MAC"),
        addresses: addresses(world),
        lan: prefixes(world.lan),
        non_ip: if world.non_ip_violates {
            NonIp::Violation
        } else {
            NonIp::Pass
        },
        unknown_peer,
        any_mac: world.any_mac,
    }
}

fn addresses(world: &World) -> Vec<IpAddr> {
    world
        .addresses
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
