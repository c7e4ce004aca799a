//! The verdict, row by row: the first row that matches gives the reason, and what the packet breaks. `docs/spec.md` has
//! the rows by number.
//!
//! Pure over two traits: where the frame's bytes lie ([`Bytes`]) and what the policy's sets say ([`Policy`]).
//! It never counts, samples, drops or knows the time.
use crate::address::{Address, Family};
use crate::classes::Classes;
use crate::layout::{Interface, Known, Network, Rules};
use crate::packet::{
    self, Bytes, ETHERTYPE_ARP, ETHERTYPE_EAPOL, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_SLOW,
    Ip, Mac, Malformed, NEXT_HEADER_DESTINATION, NEXT_HEADER_HOP_BY_HOP, NEXT_HEADER_ICMPV6,
    NEXT_HEADER_ROUTING, PROTOCOL_ICMP, PROTOCOL_IGMP, Routing, Vlans,
};
use crate::reason::{Action, Reason};

/// What the verdict asks, for packets of one interface. One value serves one packet: whatever it reads of a
/// peer comes from one generation of that peer's table.
pub trait Policy {
    /// A handle to one peer's table.
    type Peer: Copy;

    /// The interface the packet came in on.
    fn interface(&self) -> &Interface;
    /// The network of frames with these tags, if anybody is configured there.
    fn network(&self, vlans: Vlans) -> Option<&Network>;
    /// The peer behind these tags and this source MAC.
    fn peer(&self, vlans: Vlans, source: Mac) -> Option<Self::Peer>;
    /// The peer's families and known sides.
    fn rules(&self, peer: Self::Peer) -> Rules;
    /// Is the source in S'(p), and the destination in D'(p)? Asked together so the two walks can overlap.
    fn membership(&self, peer: Self::Peer, source: Address, destination: Address) -> Membership;
    /// Is the address in S'(p)? Where nothing is asked about another.
    #[inline(always)]
    fn is_source(&self, peer: Self::Peer, address: Address) -> bool {
        self.membership(peer, address, address).source
    }
    /// Which of the two lists that all peers share hold the address?
    fn listed(&self, address: Address) -> Listed;
    /// May another ICMP error to this peer's account pass now? The one question that has a memory.
    fn admits_icmp_error(&self, peer: Self::Peer, too_big: bool) -> bool;
    /// A frame that has a peer is of the link itself (rows 7 to 12), from this address, which is of no link scope. For a policy
    /// that remembers when a peer's session addresses were last heard: the verdict is the same.
    #[inline(always)]
    fn note_on_link<B: Bytes + ?Sized>(&self, _frame: &B, _source: Address) {}
    /// The classes in force for the peer. Asked only of a packet that breaks one of a peer's.
    fn peer_in_force(&self, peer: Self::Peer) -> Classes;
    /// The classes in force on the interface. Asked only of a packet that breaks one of an interface's, or that has
    /// no peer.
    fn interface_in_force(&self) -> Classes;
}

/// Which of a peer's two sets cover a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The source is in S'(p).
    pub source: bool,
    /// The destination is in D'(p).
    pub destination: bool,
}

/// Which of the shared lists hold an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The bogons, less the exceptions.
    pub bogon: bool,
    /// `[router] prefixes`.
    pub ours: bool,
}

/// What the policy says about one packet.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict<P> {
    /// The row that decided.
    pub reason: Reason,
    /// What the packet breaks; none if it is no violation.
    pub broken: Classes,
    /// The peer the packet counts for; the interface if `None`.
    pub peer: Option<P>,
}

/// A verdict and what follows from it.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement<P> {
    /// The row that the packet meets, and its peer.
    pub verdict: Verdict<P>,
    /// What happens.
    pub action: Action,
}

impl<P> Judgement<P> {
    /// Row 0: the interface has no record.
    #[inline(always)]
    pub const fn no_record() -> Self {
        Self {
            verdict: Verdict {
                reason: Reason::NoRecord,
                broken: Classes::NONE,
                peer: None,
            },
            action: Action::Pass,
        }
    }
}

/// The verdict on a frame and what follows from it: what every engine calls, for an interface that has a record.
#[doc(alias = "bcp38")]
#[doc(alias = "urpf")]
#[doc(alias = "filter")]
#[inline(always)]
pub fn judge<B: Bytes + ?Sized, P: Policy>(frame: &B, policy: &P) -> Judgement<P::Peer> {
    let mut verdict = decide(frame, policy);
    if verdict.broken.is_empty() {
        return Judgement {
            verdict,
            action: Action::Pass,
        };
    }
    if verdict.broken == Classes::LAN && policy.interface().passes_lan() {
        verdict.broken = Classes::NONE;
        return Judgement {
            verdict,
            action: Action::Pass,
        };
    }
    let is_interfaces = verdict.broken.meets(Classes::LAN | Classes::UNKNOWN);
    let in_force = match verdict.peer {
        Some(peer) if !is_interfaces => policy.peer_in_force(peer),
        _ => policy.interface_in_force(),
    };
    Judgement {
        action: Action::of(verdict.broken, in_force),
        verdict,
    }
}

/// A row's reason, and what it says is broken.
type Row = (Reason, Classes);

/// A row that needs no addresses.
#[inline(always)]
const fn row(reason: Reason) -> Row {
    (reason, reason.breaks(Family::Ipv4, Classes::NONE))
}

/// Which row applies. The numbers in the comments are the rows.
#[inline(always)]
fn decide<B: Bytes + ?Sized, P: Policy>(frame: &B, policy: &P) -> Verdict<P::Peer> {
    let of_nobody = |(reason, broken)| Verdict {
        reason,
        broken,
        peer: None,
    };
    let Ok(macs) = packet::mac_pair(frame) else {
        return of_nobody(row(Reason::Malformed)); // 1
    };
    let not_for_us =
        !macs.destination.is_group() && !policy.interface().is_own_mac(macs.destination);
    let Ok(payload) = packet::payload(frame) else {
        return of_nobody(if not_for_us {
            row(Reason::NotForUs) // 2
        } else {
            row(Reason::Malformed) // 3
        });
    };
    let peer = policy.peer(payload.vlans, macs.source);
    let verdict = |(reason, broken)| Verdict {
        reason,
        broken,
        peer,
    };
    if not_for_us {
        return verdict(row(Reason::NotForUs)); // 2
    }
    let Some(network) = policy.network(payload.vlans) else {
        return verdict(row(Reason::OtherVlan)); // 3a
    };
    let asked = Asked {
        frame,
        policy,
        network,
        peer,
    };
    verdict(match payload.ethertype {
        // Apart, so that each becomes code that knows its family.
        ETHERTYPE_IPV4 => match packet::ipv4(frame, payload.offset) {
            Ok(ip) => asked.ip(&ip),
            Err(Malformed) => row(Reason::Malformed), // 6
        },
        ETHERTYPE_IPV6 => match packet::ipv6(frame, payload.offset) {
            Ok(ip) => asked.ip(&ip),
            Err(Malformed) => row(Reason::Malformed), // 6
        },
        ETHERTYPE_ARP => row(Reason::Arp), // 4
        ETHERTYPE_SLOW | ETHERTYPE_EAPOL => row(Reason::LinkControl), // 4
        _ => row(Reason::NonIp),           // 5
    })
}

/// What rows 7 to 22 are asked about.
struct Asked<'a, B: ?Sized, P: Policy> {
    frame: &'a B,
    policy: &'a P,
    network: &'a Network,
    peer: Option<P::Peer>,
}

impl<B: Bytes + ?Sized, P: Policy> Asked<'_, B, P> {
    /// Rows 7 to 22.
    #[inline(always)]
    fn ip(&self, ip: &Ip) -> Row {
        let is_discovery =
            packet::is_neighbour_discovery(self.frame, ip) && self.is_local(ip.destination);
        if is_discovery || self.is_on_link(ip) {
            if self.peer.is_some() && !is_link_source(ip.source) {
                self.policy.note_on_link(self.frame, ip.source);
            }
            return row(match is_discovery {
                true => Reason::NeighbourDiscovery, // 9
                false => self.on_link(ip),          // 7, 8, 10, 11, 12
            });
        }
        let Some(peer) = self.peer else {
            return row(Reason::UnknownPeer); // 13
        };
        let rules = self.policy.rules(peer);
        if !rules.families.contains(ip.source.family) {
            return row(Reason::FamilyNotPeered); // 14
        }
        let member = self.policy.membership(peer, ip.source, ip.destination);
        if member.source && member.destination {
            return row(Reason::Permitted); // 15
        }
        if self.is_answer_to_us(peer, rules.known, ip, member) {
            return row(Reason::IcmpError); // 16
        }
        self.blame(peer, ip, member)
    }

    /// Is the packet of this link only: from the LAN or a source of link scope, to us, to the LAN or to link scope?
    #[inline(always)]
    fn is_on_link(&self, ip: &Ip) -> bool {
        if is_link_source(ip.source) || self.network.is_lan(ip.source) {
            return is_link_scope(ip.destination)
                || self.network.is_own_address(ip.destination)
                || (!self.policy.interface().is_port() && self.network.is_lan(ip.destination));
        }
        self.network.is_subnet(ip.source) && self.network.is_own_address(ip.destination)
    }

    /// Is it our address, the LAN's or of link scope?
    #[inline(always)]
    fn is_local(&self, address: Address) -> bool {
        is_link_scope(address)
            || self.network.is_own_address(address)
            || self.network.is_lan(address)
    }

    /// Rows 7, 8, 10, 11 and 12.
    #[inline(always)]
    fn on_link(&self, ip: &Ip) -> Reason {
        match packet::routing(self.frame, ip) {
            Some(Routing::Advertisement) => return Reason::RouterAdvertisement, // 7
            Some(Routing::Redirect) => return Reason::Redirect,                 // 8
            None => {}
        }
        if self.is_among_routers(ip) {
            return Reason::LanMulticast; // 10
        }
        if is_link_scope(ip.destination) {
            Reason::LinkLocal // 11
        } else {
            Reason::PeeringLan // 12
        }
    }

    /// Row 10: extension headers that hide a router advertisement, and protocols that go to groups of the link.
    #[inline(always)]
    fn is_among_routers(&self, ip: &Ip) -> bool {
        let is_group = is_link_group(ip.destination);
        match ip.source.family {
            Family::Ipv4 => is_group && !matches!(ip.protocol, PROTOCOL_ICMP | PROTOCOL_IGMP),
            Family::Ipv6 => match ip.protocol {
                NEXT_HEADER_ICMPV6 => false,
                NEXT_HEADER_HOP_BY_HOP => !packet::is_listener_discovery(self.frame, ip),
                NEXT_HEADER_ROUTING | NEXT_HEADER_DESTINATION => true,
                _ => is_group,
            },
        }
    }

    /// Row 16: an ICMP error about a packet we could have sent to this peer. An unknown side counts as holding it.
    #[inline(always)]
    fn is_answer_to_us(&self, peer: P::Peer, known: Known, ip: &Ip, member: Membership) -> bool {
        let family = ip.source.family;
        if !member.destination && known.destination(family) {
            return false; // the quoted source has to be the destination
        }
        let Some(quoted) = packet::quoted(self.frame, ip) else {
            return false;
        };
        if quoted.source != ip.destination {
            return false;
        }
        if known.source(family) && !self.policy.is_source(peer, quoted.destination) {
            return false;
        }
        self.policy.admits_icmp_error(peer, quoted.too_big)
    }

    /// Rows 17 to 22: which promise the packet broke.
    #[inline(always)]
    fn blame(&self, peer: P::Peer, ip: &Ip, member: Membership) -> Row {
        let (known, source) = (self.policy.rules(peer).known, ip.source);
        let family = source.family;
        let from = Classes::sources(family).when(!member.source & known.source(family));
        let to =
            Classes::destinations(family).when(!member.destination & known.destination(family));
        let missed = from.with(to);
        let broken = |reason: Reason| (reason, reason.breaks(family, missed));
        if !member.source {
            let listed = self.policy.listed(source);
            if listed.bogon {
                return broken(Reason::SourceBogon); // 17
            }
            if listed.ours {
                return broken(Reason::SourceOurs); // 18
            }
        }
        broken(match (from.is_empty(), to.is_empty()) {
            (true, true) => Reason::Unjudged,                // 19
            (false, false) => Reason::BothUnannounced,       // 20
            (false, true) => Reason::SourceUnannounced,      // 21
            (true, false) => Reason::DestinationUnannounced, // 22
        })
    }
}

/// Sources that only make sense on the link itself, besides the LAN: fe80::/10 (RFC 4291 section 2.5.6),
/// 169.254.0.0/16 (RFC 3927) and the unspecified addresses (RFC 4291 section 2.5.2, RFC 1122 section 3.2.1.3).
#[inline(always)]
fn is_link_source(address: Address) -> bool {
    match address.family {
        Family::Ipv4 => address.hi >> 48 == 0xa9fe || address.hi == 0,
        Family::Ipv6 => address.hi >> 54 == 0xfe80 >> 6 || address.hi | address.lo == 0,
    }
}

/// Destinations no router forwards: those of [`is_link_group`], fe80::/10 and 169.254.0.0/16.
#[inline(always)]
fn is_link_scope(address: Address) -> bool {
    match address.family {
        Family::Ipv4 => address.hi >> 48 == 0xa9fe || is_link_group(address),
        Family::Ipv6 => address.hi >> 54 == 0xfe80 >> 6 || is_link_group(address),
    }
}

/// Groups of the link: ff01::/16 and ff02::/16 (RFC 4291 section 2.7), 224.0.0.0/24 (RFC 5771 section 4) and
/// 255.255.255.255 (RFC 919).
#[inline(always)]
fn is_link_group(address: Address) -> bool {
    match address.family {
        Family::Ipv4 => address.hi >> 40 == 0x00e0_0000 || address.hi >> 32 == 0xffff_ffff,
        Family::Ipv6 => matches!(address.hi >> 48, 0xff01 | 0xff02),
    }
}
