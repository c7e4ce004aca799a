//! Why a packet got the fate it got, and the one match that turns a reason into an action.
//! Never decides which reason applies: that is [`crate::verdict`].
use core::fmt;

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
    /// ICMPv6 133–137 with hop limit 255 (RFC 4861).
    NeighbourDiscovery = 4,
    /// LAN or link-local source to a link-local destination.
    LinkLocal = 5,
    /// LAN or link-local source to our own address: BGP, BFD, ping.
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

/// What an interface makes of frames that are neither ARP nor IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NonIp {
    /// They pass (LACP, STP, LLDP, MPLS). The default.
    #[default]
    Pass = 0,
    /// They are violations.
    Violation = 1,
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
    pub const ALL: [Self; 16] = [
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
    ];

    /// The fate of a packet with this reason: the whole fail-open, fail-closed policy on one screen.
    ///
    /// `mode` is the peer's if the peer is known, else the interface's `unknown_peer` mode.
    #[must_use]
    #[inline(always)]
    pub const fn action(self, mode: Mode, non_ip: NonIp) -> Action {
        match (self, mode, non_ip) {
            (
                Self::NotForUs
                | Self::Arp
                | Self::NeighbourDiscovery
                | Self::LinkLocal
                | Self::PeeringLan
                | Self::Permitted
                | Self::IcmpError,
                Mode::Observe | Mode::Enforce,
                NonIp::Pass | NonIp::Violation,
            )
            | (Self::NonIp, Mode::Observe | Mode::Enforce, NonIp::Pass) => Action::Pass,
            (Self::NonIp, Mode::Observe, NonIp::Violation) => Action::PassViolation,
            (Self::NonIp, Mode::Enforce, NonIp::Violation) => Action::Drop,
            (
                Self::Malformed
                | Self::UnknownPeer
                | Self::FamilyNotPeered
                | Self::SourceBogon
                | Self::SourceOurs
                | Self::BothUnannounced
                | Self::SourceUnannounced
                | Self::DestinationUnannounced,
                Mode::Observe,
                NonIp::Pass | NonIp::Violation,
            ) => Action::PassViolation,
            (
                Self::Malformed
                | Self::UnknownPeer
                | Self::FamilyNotPeered
                | Self::SourceBogon
                | Self::SourceOurs
                | Self::BothUnannounced
                | Self::SourceUnannounced
                | Self::DestinationUnannounced,
                Mode::Enforce,
                NonIp::Pass | NonIp::Violation,
            ) => Action::Drop,
        }
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
    fn observing_never_drops_and_enforcing_drops_just_the_violations() {
        for reason in Reason::ALL {
            for non_ip in [NonIp::Pass, NonIp::Violation] {
                let observed = reason.action(Mode::Observe, non_ip);
                let enforced = reason.action(Mode::Enforce, non_ip);
                assert!(!observed.is_drop(), "{reason}");
                assert_eq!(observed.is_violation(), enforced.is_drop(), "{reason}");
            }
        }
    }
}
