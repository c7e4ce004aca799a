//! The questions before a table goes live, and their answers: packets, each with the reason and the fate that the
//! policy gives it.
//!
//! The answers come from the ranges that were asked to be published, by the verdict of `filter_core` over a plain
//! search in them: never from the table that is tested. The questions follow the change: both sides of every boundary
//! that came or went, what lies outside the old sets and the new ones, some edges of each set, ARP, neighbour
//! discovery, and every session address of the peer to every address of ours. Asking them is [`crate::Filter`]'s.
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

use filter_core::layout::{Interface, Network, Rules, record};
use filter_core::packet::{ETHERTYPE_ARP, Mac, NEXT_HEADER_ICMPV6, Vlans};
use filter_core::set::{PrefixSet, Range, Ranges};
use filter_core::verdict::{self, Listed, Membership, Policy};
use filter_core::{Address, Classes, Family, Reason, frame};

use crate::device::InterfaceSpec;
use crate::error::Error;
use crate::tables::PeerTables;

/// Source MAC of the packets: locally administered, and only looked up on the loopback device.
pub(crate) const SOURCE: Mac = Mac::from_bits(0x02bc_3800_0001);

/// Boundaries that one publish has asked, each from both sides; of more, a random choice of as many. At about a
/// microsecond a question, the first publish of a full table is asked for some tenth of a second, and an announcement
/// for nothing that could be noticed.
pub const MAX_BOUNDARIES: usize = 65_536;

/// Sessions that one publish has asked: pairs of a peer's address and one of ours.
pub const MAX_SESSIONS: usize = 1_024;

/// Our own MAC, where nothing is known of the interface.
const OWN: Mac = Mac::from_bits(0x0200_0000_0001);

/// Ranges of a set that are looked at whatever changed: the first, the last, and some between.
const RANGES: usize = 4;

const BROADCAST: Mac = Mac::from_bits(0xffff_ffff_ffff);
const UDP: u8 = 17;
const NEIGHBOUR_SOLICITATION: u8 = 135;

/// Between which addresses a peer's BGP sessions run: each of theirs with each of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// The peer's session addresses.
    pub theirs: Vec<IpAddr>,
    /// Our addresses that they may talk to.
    pub ours: Vec<IpAddr>,
}

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Arp,
    NeighbourSolicitation,
    /// Of a session: must pass.
    Session(Address, Address),
    Udp(Address, Address),
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arp => f.write_str("arp"),
            Self::NeighbourSolicitation => f.write_str("neighbour solicitation"),
            Self::Session(from, to) | Self::Udp(from, to) => write!(f, "{from} > {to}"),
        }
    }
}

/// What must become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fate {
    pub reason: Reason,
    pub is_dropped: bool,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = if self.is_dropped { "dropped" } else { "passed" };
        write!(f, "{}, {action}", self.reason)
    }
}

/// A packet and its fate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub packet: Packet,
    pub expected: Fate,
}

/// Where the packets come in.
pub(crate) struct Place {
    pub record: Interface,
    pub network: Network,
    frames: Frames,
}

impl Place {
    /// An interface, as frames without tags find it; one of which nothing is known if the peer has no station yet.
    pub(crate) fn new(spec: Option<&InterfaceSpec>) -> Result<Self, Error> {
        let unknown = InterfaceSpec::new("", OWN);
        let spec = spec.unwrap_or(&unknown);
        let untagged = spec.networks.get(&Vlans::NONE);
        let network = untagged.and_then(|network| network.record().ok());
        Ok(Self {
            record: spec.record()?,
            network: network.unwrap_or_default(),
            frames: Frames::new(spec.macs.first().copied().unwrap_or(OWN)),
        })
    }

    /// Does a session between these addresses run on this link? A peer may have others on another exchange or VLAN.
    fn is_here(&self, from: Address, to: Address) -> bool {
        let is_near = self.network.is_lan(from) || self.network.is_subnet(from);
        self.network.is_own_address(to) && (is_near || is_link_local(from))
    }

    /// Its frames, to be filled in.
    pub(crate) fn frames(&self) -> Frames {
        self.frames.clone()
    }
}

/// fe80::/10: on every link.
const fn is_link_local(address: Address) -> bool {
    matches!(address.family, Family::Ipv6) && address.hi >> 54 == 0xfe80 >> 6
}

/// A frame of each sort, whose addresses are replaced from packet to packet.
#[derive(Clone)]
pub(crate) struct Frames {
    arp: Vec<u8>,
    solicitation: Vec<u8>,
    udp: [Vec<u8>; 2],
}

impl Frames {
    fn new(own: Mac) -> Self {
        let udp = |any: IpAddr| {
            let packet = frame::packet(any, any, UDP, 64, &frame::udp(b"self-test"));
            frame::ethernet(own, SOURCE, frame::ethertype(any), &packet)
        };
        Self {
            arp: frame::ethernet(BROADCAST, SOURCE, ETHERTYPE_ARP, &[0; 28]),
            solicitation: neighbour_solicitation(own),
            udp: [udp([0; 4].into()), udp([0; 16].into())],
        }
    }

    /// The packet as it lies on the wire, but for the IPv4 header's checksum, which no filter looks at.
    pub(crate) fn frame(&mut self, packet: Packet) -> &[u8] {
        let (from, to) = match packet {
            Packet::Arp => return &self.arp,
            Packet::NeighbourSolicitation => return &self.solicitation,
            Packet::Session(from, to) | Packet::Udp(from, to) => (from, to),
        };
        let frame = &mut self.udp[from.family as usize];
        match from.family {
            Family::Ipv4 => {
                frame[26..30].copy_from_slice(&from.hi.to_be_bytes()[..4]);
                frame[30..34].copy_from_slice(&to.hi.to_be_bytes()[..4]);
            }
            Family::Ipv6 => {
                frame[22..38].copy_from_slice(&from.bits().to_be_bytes());
                frame[38..54].copy_from_slice(&to.bits().to_be_bytes());
            }
        }
        frame
    }
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

/// The two lists that every peer shares.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    pub bogons: PrefixSet,
    /// `[router] prefixes`.
    pub ours: PrefixSet,
}

/// What a publish changes, set by set in the order of a record.
pub(crate) struct Change {
    /// Addresses that become members, or cease to be.
    pub changed: [Ranges; record::SETS],
    /// From the first to the last member, before or after.
    spans: [Option<Range>; record::SETS],
}

impl Change {
    /// From what is live to the table.
    pub(crate) fn new(live: Option<&[Ranges; record::SETS]>, table: &PeerTables<'_>) -> Self {
        let none = <[Ranges; record::SETS]>::default();
        let before = live.unwrap_or(&none);
        let sets = table.sets();
        Self {
            changed: std::array::from_fn(|set| before[set].difference(sets[set])),
            spans: std::array::from_fn(|set| {
                let both = [before[set].as_slice(), sets[set].as_slice()];
                let first = both
                    .iter()
                    .filter_map(|ranges| Some(ranges.first()?.0))
                    .min();
                let last = both
                    .iter()
                    .filter_map(|ranges| Some(ranges.last()?.1))
                    .max();
                first.zip(last)
            }),
        }
    }

    /// Both sides of every boundary that came or went, or of as many as are asked; and what lies outside.
    fn addresses(&self, set: usize, random: &mut Random) -> Vec<Address> {
        let ranges = self.changed[set].as_slice();
        let all: usize = self
            .changed
            .iter()
            .map(|set| 2 * set.as_slice().len())
            .sum();
        let boundary = |index: usize| {
            let (first, last) = ranges[index / 2];
            match index % 2 {
                0 => [Some(first), first.checked_sub(1)],
                _ => [Some(last), last.checked_add(1)],
            }
        };
        let count = 2 * ranges.len();
        let mut asked: Vec<Option<u128>> = if all <= MAX_BOUNDARIES {
            (0..count).flat_map(boundary).collect()
        } else {
            let share = count * MAX_BOUNDARIES / all;
            let chosen = (0..share).map(|_| random.below(count));
            chosen.flat_map(boundary).collect()
        };
        if let Some((first, last)) = self.spans[set] {
            asked.extend([first.checked_sub(1), last.checked_add(1)]);
            asked.extend([
                first.checked_sub(random.wide() % first.max(1)),
                last.checked_add(random.wide() % (u128::MAX - last).max(1)),
            ]);
        }
        let family = family_of(set);
        let asked = asked.into_iter().flatten();
        asked.map(|bits| Address::from_bits(family, bits)).collect()
    }
}

const fn family_of(set: usize) -> Family {
    Family::ALL[set / 2]
}

/// Numbers that no peer can foresee: what is not asked cannot be chosen.
struct Random(RandomState, u64);

impl Random {
    fn new() -> Self {
        Self(RandomState::new(), 0)
    }

    fn word(&mut self) -> u64 {
        self.1 += 1;
        let mut hasher = self.0.build_hasher();
        hasher.write_u64(self.1);
        hasher.finish()
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.word() % limit.max(1) as u64) as usize
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.word()) << 64 | u128::from(self.word())
    }
}

/// All that the answers follow from.
pub(crate) struct Policies<'a> {
    pub place: &'a Place,
    pub table: &'a PeerTables<'a>,
    pub lists: &'a Lists,
    /// The classes in force in the self-test's slot.
    pub in_force: Classes,
}

impl Policies<'_> {
    /// The questions that do not follow the change, or all of them, by their answers.
    pub(crate) fn questions(&self, sessions: &Sessions, change: Option<&Change>) -> Vec<Question> {
        let mut packets = vec![Packet::Arp, Packet::NeighbourSolicitation];
        // Off this link, that the family is not peered would be held against a session that runs elsewhere.
        let families = self.table.rules.families;
        let sessions = sessions_of(sessions)
            .filter(|&(from, to)| families.contains(from.family) || self.place.is_here(from, to))
            .map(|(from, to)| Packet::Session(from, to));
        packets.extend(sessions.take(MAX_SESSIONS));
        for family in Family::ALL {
            let set = 2 * family as usize;
            let sets = &self.table.sets()[set..set + 2];
            let [from, to] = [edges(family, sets[0]), edges(family, sets[1])];
            packets.extend(pairs(&from, &to));
            if let Some(change) = change {
                let mut random = Random::new();
                let asked = [set, set + 1].map(|set| change.addresses(set, &mut random));
                packets.extend(self.changed(&asked, from.inside[0], to.inside[0]));
            }
        }
        let mut frames = self.place.frames.clone();
        let ask = |packet| Question {
            packet,
            expected: self.fate(frames.frame(packet)),
        };
        let mut questions: Vec<Question> = packets.into_iter().map(ask).collect();
        questions.sort_by_key(|question| question.expected);
        questions
    }

    /// Each of these sources and destinations in a packet whose fate shows whether it is a member: a source and a
    /// destination together where the reason names both, else each with a member of the other set.
    fn changed(
        &self,
        [sources, destinations]: &[Vec<Address>; 2],
        from: Address,
        to: Address,
    ) -> Vec<Packet> {
        let known = self.table.rules.known;
        let names_both = known.source(from.family) && known.destination(from.family);
        let (open, named): (Vec<Address>, Vec<Address>) = sources.iter().partition(|&&source| {
            let listed = self.listed(source);
            names_both && (self.table.sources.contains(source) || !(listed.bogon || listed.ours))
        });
        let paired = if names_both { open.len() } else { 0 };
        let paired = open
            .iter()
            .zip(&destinations[..paired.min(destinations.len())]);
        let count = paired.len();
        let rest = open[count..]
            .iter()
            .chain(&named)
            .map(|&source| Packet::Udp(source, to));
        let late = destinations[count..]
            .iter()
            .map(|&destination| Packet::Udp(from, destination));
        let paired = paired.map(|(&source, &destination)| Packet::Udp(source, destination));
        paired.chain(rest).chain(late).collect()
    }

    fn fate(&self, frame: &[u8]) -> Fate {
        let judgement = verdict::judge(frame, self);
        Fate {
            reason: judgement.verdict.reason,
            is_dropped: judgement.action.is_drop(),
        }
    }
}

/// Members and non-members of a set, at its edges.
struct Edges {
    inside: Vec<Address>,
    outside: Vec<Address>,
}

fn edges(family: Family, ranges: &Ranges) -> Edges {
    let ranges = ranges.as_slice();
    let step = (ranges.len() / RANGES).max(1);
    let chosen = ranges.iter().step_by(step).take(RANGES);
    let address = |bits| Address::from_bits(family, bits);
    let mut edges = Edges {
        inside: Vec::new(),
        outside: Vec::new(),
    };
    for &(first, last) in chosen.chain(ranges.last()) {
        edges.inside.extend([first, last].map(address));
        let around = [first.checked_sub(1), last.checked_add(1)];
        edges
            .outside
            .extend(around.into_iter().flatten().map(address));
    }
    // An empty set has no edges, a full one nothing outside: any address still has a verdict.
    let anywhere = address(0x2a00_0808 << 96);
    if edges.inside.is_empty() {
        edges.inside.push(anywhere);
    }
    if edges.outside.is_empty() {
        edges.outside.push(anywhere);
    }
    edges
}

/// Every chosen address of each set once with a member and once with a non-member of the other.
fn pairs(from: &Edges, to: &Edges) -> Vec<Packet> {
    let cycle = |list: &[Address], index: usize| list[index % list.len()];
    let mut pairs = Vec::new();
    for (sources, destinations) in [
        (&from.inside, &to.inside),
        (&from.outside, &to.inside),
        (&from.inside, &to.outside),
        (&from.outside, &to.outside),
    ] {
        for index in 0..sources.len().max(destinations.len()) {
            pairs.push(Packet::Udp(
                cycle(sources, index),
                cycle(destinations, index),
            ));
        }
    }
    pairs
}

fn sessions_of(sessions: &Sessions) -> impl Iterator<Item = (Address, Address)> {
    let addresses = |list: &[IpAddr]| list.iter().copied().map(Address::from).collect::<Vec<_>>();
    let (theirs, ours) = (addresses(&sessions.theirs), addresses(&sessions.ours));
    theirs.into_iter().flat_map(move |from| {
        let ours = ours.clone().into_iter();
        let alike = ours.filter(move |to| to.family == from.family);
        alike.map(move |to| (from, to))
    })
}

/// The policy as the ranges have it.
impl Policy for Policies<'_> {
    type Peer = ();

    fn interface(&self) -> &Interface {
        &self.place.record
    }

    fn network(&self, _vlans: Vlans) -> Option<&Network> {
        Some(&self.place.network)
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
            bogon: self.lists.bogons.contains(address),
            ours: self.lists.ours.contains(address),
        }
    }

    fn admits_icmp_error(&self, _peer: (), _too_big: bool) -> bool {
        true
    }

    fn peer_in_force(&self, _peer: ()) -> Classes {
        self.in_force
    }

    fn interface_in_force(&self) -> Classes {
        self.in_force
    }
}

#[cfg(test)]
mod tests;
