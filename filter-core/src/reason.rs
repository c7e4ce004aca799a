//! Why a packet got the fate it got, what it broke, and the one match that turns that into an action.
//! Never decides which reason applies: that is [`crate::verdict`].
use core::fmt;

use crate::address::Family;
use crate::classes::Classes;

/// Every way out of the verdict; `docs/spec.md` has them by row. The discriminant is the counter index and part of the
/// data-plane layout: append, never renumber, and raise [`crate::layout::SCHEMA`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Reason {
    /// Too short or contradictory to be judged.
    Malformed = 0,
    /// Unicast to another station's MAC: flooded or promiscuous.
    NotForUs = 1,
    /// Ethertype 0x0806 (RFC 826).
    Arp = 2,
    /// Neither ARP, IPv4 nor IPv6.
    NonIp = 3,
    /// ICMPv6 135 and 136 with hop limit 255 (RFC 4861).
    NeighbourDiscovery = 4,
    /// On the link, to a destination of link scope.
    LinkLocal = 5,
    /// On the link, to our own address or another one of the LAN: BGP, BFD, ping.
    PeeringLan = 6,
    /// No peer for this interface, VLAN and source MAC.
    UnknownPeer = 7,
    /// An IP version this peer is not configured for.
    FamilyNotPeered = 8,
    /// Source advertised by the peer, destination advertised to it.
    Permitted = 9,
    /// An ICMP error about a packet we could have sent to the peer.
    IcmpError = 10,
    /// Source in the IANA special-purpose registries.
    SourceBogon = 11,
    /// Source in our own prefixes.
    SourceOurs = 12,
    /// The peer does not advertise the source, and we do not advertise the destination to it.
    BothUnannounced = 13,
    /// The peer does not advertise the source.
    SourceUnannounced = 14,
    /// We do not advertise the destination to this peer.
    DestinationUnannounced = 15,
    /// The interface has no record: nothing is known, nothing is judged.
    NoRecord = 16,
    /// Ethertypes 0x8809 (slow protocols, LACP) and 0x888e (802.1X): the link itself depends on them.
    LinkControl = 17,
    /// On the link, ICMPv6 133 or 134 (RFC 4861).
    RouterAdvertisement = 18,
    /// On the link, ICMPv6 137 or ICMP type 5.
    Redirect = 19,
    /// On the link, protocols that routers speak among themselves: OSPF, mDNS, VRRP, DHCP, …
    LanMulticast = 20,
    /// Tags under which no peer is configured: an inside VLAN on the same trunk.
    OtherVlan = 21,
    /// A side that would have to be known is not.
    Unjudged = 22,
}

/// What a peer's or an interface's violations meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Mode {
    /// Compute the verdict, count, sample, pass. The default.
    #[default]
    Observe = 0,
    /// Violations are dropped.
    Enforce = 1,
}

/// What an interface makes of what has no business on a peering LAN: the class `lan`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LanRules {
    /// It passes and is no violation. The default of a `port`.
    Pass = 0,
    /// It is counted and sampled as a violation. The default of a `lan`.
    #[default]
    Observe = 1,
    /// It is dropped.
    Enforce = 2,
}

impl LanRules {
    /// The name in configuration and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

impl fmt::Display for LanRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What happens to the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Action {
    /// The packet goes on, within the policy.
    Pass,
    /// A violation that goes on, because it is only observed.
    PassViolation,
    /// A violation that is dropped.
    Drop,
}

impl Action {
    /// A packet is dropped if and only if any class it breaks is in force: the whole fail-open, fail-closed policy.
    #[must_use]
    #[inline(always)]
    pub const fn of(broken: Classes, in_force: Classes) -> Self {
        match (broken.is_empty(), broken.meets(in_force)) {
            (true, _) => Self::Pass,
            (false, false) => Self::PassViolation,
            (false, true) => Self::Drop,
        }
    }

    /// Was the packet a violation, whatever became of it?
    #[must_use]
    #[inline(always)]
    pub const fn is_violation(self) -> bool {
        matches!(self, Self::PassViolation | Self::Drop)
    }

    /// Is the packet dropped?
    #[must_use]
    #[inline(always)]
    pub const fn is_drop(self) -> bool {
        matches!(self, Self::Drop)
    }
}

impl Reason {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in index order.
    pub const ALL: [Self; 23] = [
        Self::Malformed,
        Self::NotForUs,
        Self::Arp,
        Self::NonIp,
        Self::NeighbourDiscovery,
        Self::LinkLocal,
        Self::PeeringLan,
        Self::UnknownPeer,
        Self::FamilyNotPeered,
        Self::Permitted,
        Self::IcmpError,
        Self::SourceBogon,
        Self::SourceOurs,
        Self::BothUnannounced,
        Self::SourceUnannounced,
        Self::DestinationUnannounced,
        Self::NoRecord,
        Self::LinkControl,
        Self::RouterAdvertisement,
        Self::Redirect,
        Self::LanMulticast,
        Self::OtherVlan,
        Self::Unjudged,
    ];

    /// What a packet with this reason breaks. `sides` are those of `sources` and `destinations` of its family that
    /// rows 17 to 22 found broken; a side that is not known is none of them.
    #[must_use]
    #[inline(always)]
    pub const fn breaks(self, family: Family, sides: Classes) -> Classes {
        match self {
            Self::NotForUs
            | Self::Arp
            | Self::NeighbourDiscovery
            | Self::LinkLocal
            | Self::PeeringLan
            | Self::Permitted
            | Self::IcmpError
            | Self::NoRecord
            | Self::LinkControl
            | Self::OtherVlan
            | Self::Unjudged => Classes::NONE,
            Self::NonIp | Self::RouterAdvertisement | Self::Redirect | Self::LanMulticast => {
                Classes::LAN
            }
            Self::UnknownPeer => Classes::UNKNOWN,
            Self::Malformed => Classes::MALFORMED
                .with(Classes::SOURCES)
                .with(Classes::DESTINATIONS),
            Self::FamilyNotPeered => Classes::FAMILIES
                .with(Classes::SOURCES)
                .with(Classes::DESTINATIONS),
            Self::SourceBogon | Self::SourceOurs => Classes::bogons(family).with(sides),
            Self::BothUnannounced | Self::SourceUnannounced | Self::DestinationUnannounced => sides,
        }
    }

    /// Does a packet with this reason break any class? Those of the class `lan` do unless the interface lets them pass.
    #[must_use]
    pub const fn is_violation(self) -> bool {
        let sides = Classes::SOURCES.with(Classes::DESTINATIONS);
        !self.breaks(Family::Ipv4, sides).is_empty()
    }

    /// Did the packet's addresses decide, by the peer's sets or the lists that all peers share: rows 17 to 22?
    #[must_use]
    #[inline(always)]
    pub const fn is_of_addresses(self) -> bool {
        matches!(
            self,
            Self::SourceBogon
                | Self::SourceOurs
                | Self::Unjudged
                | Self::BothUnannounced
                | Self::SourceUnannounced
                | Self::DestinationUnannounced
        )
    }

    /// The name in counters, JSON and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotForUs => "not-for-us",
            Self::Arp => "arp",
            Self::NonIp => "non-ip",
            Self::NeighbourDiscovery => "neighbour-discovery",
            Self::LinkLocal => "link-local",
            Self::PeeringLan => "peering-lan",
            Self::UnknownPeer => "unknown-peer",
            Self::FamilyNotPeered => "family-not-peered",
            Self::Permitted => "permitted",
            Self::IcmpError => "icmp-error",
            Self::SourceBogon => "source-bogon",
            Self::SourceOurs => "source-ours",
            Self::BothUnannounced => "both-unannounced",
            Self::SourceUnannounced => "source-unannounced",
            Self::DestinationUnannounced => "destination-unannounced",
            Self::NoRecord => "no-record",
            Self::LinkControl => "link-control",
            Self::RouterAdvertisement => "router-advertisement",
            Self::Redirect => "redirect",
            Self::LanMulticast => "lan-multicast",
            Self::OtherVlan => "other-vlan",
            Self::Unjudged => "unjudged",
        }
    }

    /// The reason of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// The reason of this counter index.
    #[must_use]
    pub fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Mode {
    /// The name in configuration and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_and_name_lead_back_to_the_reason() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert_eq!(Reason::from_index(index), Some(reason));
            assert_eq!(Reason::from_name(reason.name()), Some(reason));
        }
        assert_eq!(Reason::from_index(Reason::COUNT), None);
        assert_eq!(Reason::from_name("no-such-reason"), None);
    }

    #[test]
    fn a_packet_is_dropped_if_and_only_if_a_class_it_breaks_is_in_force() {
        for family in Family::ALL {
            let sides = Classes::sources(family).with(Classes::destinations(family));
            for reason in Reason::ALL {
                let broken = reason.breaks(family, sides);
                assert!(!Action::of(broken, Classes::NONE).is_drop(), "{reason}");
                let all = Action::of(broken, Classes::ALL);
                assert_eq!(all.is_drop(), !broken.is_empty(), "{reason}");
                assert_eq!(all.is_violation(), all.is_drop(), "{reason}");
                let rest = Classes::ALL.without(broken);
                assert!(!Action::of(broken, rest).is_drop(), "{reason}");
            }
        }
    }

    #[test]
    fn only_the_packets_own_family_is_held_against_its_addresses() {
        let (v4, v6) = (Family::Ipv4, Family::Ipv6);
        let bogon = Reason::SourceBogon.breaks(v4, Classes::sources(v4));
        assert!(!bogon.meets(Classes::bogons(v6) | Classes::sources(v6)));
        assert!(!bogon.meets(Classes::DESTINATIONS));
        let malformed = Reason::Malformed.breaks(v4, Classes::NONE);
        assert!(malformed.contains(Classes::SOURCES | Classes::DESTINATIONS));
    }
}
