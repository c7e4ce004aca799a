//! The gate before a table goes live: packets whose reason is known go through the loaded program against the very
//! sets that are to be published, and must come out with that reason.
//!
//! What is known comes from the ranges the table was compiled from, by the same verdict over a plain search: a
//! mistake of the compiler, the arena or the program shows as a difference. Counts on a slot of its own, never on a
//! peer's. Chooses packets and names differences; running them is [`crate::Filter`]'s.
use std::net::IpAddr;

use filter_core::frame;
use filter_core::layout::{Interface, Network, Rules};
use filter_core::packet::{ETHERTYPE_ARP, Mac, NEXT_HEADER_ICMPV6, Vlans};
use filter_core::set::{PrefixSet, Ranges};
use filter_core::verdict::{self, Listed, Membership, Policy};
use filter_core::{Address, Classes, Family, Reason};

use crate::device::InterfaceSpec;
use crate::tables::PeerTables;

/// Source MAC of the packets: locally administered, and only looked up on the loopback device.
pub(crate) const SOURCE: Mac = Mac::from_bits(0x02bc_3800_0001);

/// Our own MAC, where nothing is known of the interface.
const OWN: Mac = Mac::from_bits(0x0200_0000_0001);

/// Ranges of a set that are looked at: the first, the last, and some between.
const RANGES: usize = 4;

const BROADCAST: Mac = Mac::from_bits(0xffff_ffff_ffff);
const UDP: u8 = 17;
const NEIGHBOUR_SOLICITATION: u8 = 135;

/// One packet and what must be said of it.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    /// Its addresses, or what it is.
    pub what: String,
    pub frame: Vec<u8>,
    pub expected: Reason,
}

/// What the self-test knows besides the table.
pub(crate) struct Known<'a> {
    pub interface: &'a InterfaceSpec,
    pub record: &'a Interface,
    pub network: &'a Network,
    pub lists: &'a Lists,
}

/// The two lists that every peer shares.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    pub bogons: PrefixSet,
    /// `[router] prefixes`.
    pub ours: PrefixSet,
}

/// The packets for this table: ARP, ND, a session, and for each family pairs of addresses around the edges of
/// both sets.
pub(crate) fn probes(known: &Known<'_>, table: &PeerTables<'_>) -> Vec<Probe> {
    let policy = Reference { known, table };
    let mut probes = Vec::new();
    let mut add = |what: String, frame: Vec<u8>| {
        let expected = verdict::judge(frame.as_slice(), &policy).verdict.reason;
        probes.push(Probe {
            what,
            frame,
            expected,
        });
    };
    let own = known.interface.macs.first().copied().unwrap_or(OWN);
    add(
        "arp".to_owned(),
        frame::ethernet(BROADCAST, SOURCE, ETHERTYPE_ARP, &[0; 28]),
    );
    add(
        "neighbour solicitation".to_owned(),
        neighbour_solicitation(own),
    );
    for (source, destination) in sessions(known.interface) {
        add(
            format!("session {source} > {destination}"),
            udp(own, source, destination),
        );
    }
    for family in Family::ALL {
        let (from, to) = (
            edges(family, table.sources.family(family)),
            edges(family, table.destinations.family(family)),
        );
        for (source, destination) in pairs(&from, &to) {
            add(
                format!("{source} > {destination}"),
                udp(own, source.into(), destination.into()),
            );
        }
    }
    probes
}

/// An interface of which nothing is known.
pub(crate) fn bare() -> InterfaceSpec {
    InterfaceSpec::new("", OWN)
}

/// Members and non-members of a set, at its edges.
struct Edges {
    inside: Vec<Address>,
    outside: Vec<Address>,
}

fn edges(family: Family, ranges: &Ranges) -> Edges {
    let ranges = ranges.as_slice();
    let step = (ranges.len() / RANGES).max(1);
    let chosen = ranges
        .iter()
        .step_by(step)
        .take(RANGES)
        .chain(ranges.last());
    let mut edges = Edges {
        inside: Vec::new(),
        outside: Vec::new(),
    };
    for &(first, last) in chosen {
        edges
            .inside
            .extend([first, last].map(|bits| Address::from_bits(family, bits)));
        let around = [first.checked_sub(1), last.checked_add(1)]
            .into_iter()
            .flatten();
        edges
            .outside
            .extend(around.map(|bits| Address::from_bits(family, bits)));
    }
    // An empty set has no edges, a full one nothing outside: any address still has a verdict.
    let anywhere = Address::from_bits(family, 0x2a00_0808 << 96);
    if edges.inside.is_empty() {
        edges.inside.push(anywhere);
    }
    if edges.outside.is_empty() {
        edges.outside.push(anywhere);
    }
    edges
}

/// Every chosen address of each set once with a member and once with a non-member of the other.
fn pairs(from: &Edges, to: &Edges) -> Vec<(Address, Address)> {
    let cycle = |list: &[Address], index: usize| list[index % list.len()];
    let mut pairs = Vec::new();
    for (sources, destinations) in [
        (&from.inside, &to.inside),
        (&from.outside, &to.inside),
        (&from.inside, &to.outside),
        (&from.outside, &to.outside),
    ] {
        for index in 0..sources.len().max(destinations.len()) {
            pairs.push((cycle(sources, index), cycle(destinations, index)));
        }
    }
    pairs
}

/// From a neighbour on the LAN to each of our addresses.
fn sessions(interface: &InterfaceSpec) -> Vec<(IpAddr, IpAddr)> {
    let Some(network) = interface.networks.get(&Vlans::NONE) else {
        return Vec::new();
    };
    let neighbour = |own: IpAddr| {
        let mut lans = network.lan.iter();
        let lan = lans.find(|lan| lan.family() == Address::from(own).family)?;
        let (first, _) = lan.range();
        let host = first + (0x7f << (128 - u32::from(lan.family().bits())));
        Some((Address::from_bits(lan.family(), host).into(), own))
    };
    let own = network.addresses.iter();
    own.filter_map(|&own| neighbour(own)).collect()
}

fn udp(own: Mac, source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let packet = frame::packet(source, destination, UDP, 64, &frame::udp(b"self-test"));
    frame::ethernet(own, SOURCE, frame::ethertype(source), &packet)
}

fn neighbour_solicitation(own: Mac) -> Vec<u8> {
    let (source, target) = (
        IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 2]),
        IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 0, 1]),
    );
    let message = [&[NEIGHBOUR_SOLICITATION; 1][..], &[0; 23]].concat();
    let packet = frame::packet(source, target, NEXT_HEADER_ICMPV6, 255, &message);
    frame::ethernet(own, SOURCE, frame::ethertype(source), &packet)
}

/// The policy as the table's ranges have it.
struct Reference<'a> {
    known: &'a Known<'a>,
    table: &'a PeerTables<'a>,
}

impl Policy for Reference<'_> {
    type Peer = ();

    fn interface(&self) -> &Interface {
        self.known.record
    }

    fn network(&self, _vlans: Vlans) -> Option<&Network> {
        Some(self.known.network)
    }

    fn peer(&self, _vlans: Vlans, _source: Mac) -> Option<()> {
        Some(())
    }

    fn rules(&self, _peer: ()) -> Rules {
        self.table.rules
    }

    fn membership(&self, _peer: (), source: Address, destination: Address) -> Membership {
        Membership {
            source: self.table.sources.contains(source),
            destination: self.table.destinations.contains(destination),
        }
    }

    fn listed(&self, address: Address) -> Listed {
        Listed {
            bogon: self.known.lists.bogons.contains(address),
            ours: self.known.lists.ours.contains(address),
        }
    }

    fn admits_icmp_error(&self, _peer: (), _too_big: bool) -> bool {
        true
    }

    fn peer_in_force(&self, _peer: ()) -> Classes {
        Classes::ALL
    }

    fn interface_in_force(&self) -> Classes {
        Classes::ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filter_core::layout::{Families, Known as KnownSides};

    #[test]
    fn both_sides_of_every_chosen_edge_are_probed() {
        let set = |text: &str| -> PrefixSet {
            [text.parse::<filter_core::Prefix>().unwrap()]
                .into_iter()
                .collect()
        };
        let (sources, destinations) = (set("45.146.194.0/23"), set("198.51.100.0/24"));
        let table = PeerTables {
            rules: Rules {
                families: Families::new(|_| true),
                known: KnownSides::ALL,
            },
            sources: &sources,
            destinations: &destinations,
            ..PeerTables::default()
        };
        let mut interface = InterfaceSpec::new("x", Mac::from_bits(1));
        *interface.network_mut(Vlans::NONE) = crate::NetworkSpec {
            addresses: vec!["203.0.113.1".parse().unwrap()],
            lan: vec!["203.0.113.0/24".parse().unwrap()],
            ..crate::NetworkSpec::default()
        };
        let record = interface.record().unwrap();
        let network = interface.networks[&Vlans::NONE].record().unwrap();
        let lists = Lists::default();
        let known = Known {
            interface: &interface,
            record: &record,
            network: &network,
            lists: &lists,
        };
        let probes = probes(&known, &table);
        let reason = |what: &str| {
            probes
                .iter()
                .find(|probe| probe.what == what)
                .map(|probe| probe.expected)
        };
        assert_eq!(
            reason("45.146.194.0 > 198.51.100.0"),
            Some(Reason::Permitted)
        );
        assert_eq!(
            reason("45.146.195.255 > 198.51.100.255"),
            Some(Reason::Permitted)
        );
        assert_eq!(
            reason("45.146.193.255 > 198.51.100.0"),
            Some(Reason::SourceUnannounced)
        );
        assert_eq!(
            reason("45.146.195.255 > 198.51.101.0"),
            Some(Reason::DestinationUnannounced)
        );
        assert_eq!(
            reason("session 203.0.113.127 > 203.0.113.1"),
            Some(Reason::PeeringLan)
        );
        assert_eq!(reason("arp"), Some(Reason::Arp));
        assert_eq!(
            reason("neighbour solicitation"),
            Some(Reason::NeighbourDiscovery)
        );
        assert!(probes.len() < 64, "{}", probes.len());
    }
}
