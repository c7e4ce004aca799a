//! The verdict, row by row: the first row that matches gives the reason. `docs/spec.md` has the rows by number.
//!
//! Pure over two traits: where the frame's bytes lie ([`Bytes`]) and what the policy's sets say ([`Policy`]).
//! It never counts, samples, drops or knows the time.
use crate::address::{Address, Family};
use crate::packet::{
    self, Bytes, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ip, Mac, Malformed, Vlans,
};
use crate::reason::{Action, Mode, NonIp, Reason};

/// What the verdict asks, for packets of one interface. One value serves one packet: whatever it reads of a
/// peer comes from one generation of that peer's table.
pub trait Policy {
    /// A handle to one peer's table.
    type Peer: Copy;

    /// Is this the interface's own MAC?
    fn is_own_mac(&self, mac: Mac) -> bool;
    /// Is it one of our addresses on this interface?
    fn is_own_address(&self, address: Address) -> bool;
    /// Is it within the interface's configured `lan` prefixes?
    fn is_lan(&self, address: Address) -> bool;
    /// What the interface makes of frames that are neither ARP nor IP.
    fn non_ip(&self) -> NonIp;
    /// The peer behind these tags and this source MAC.
    fn peer(&self, vlans: Vlans, source: Mac) -> Option<Self::Peer>;
    /// Is the family among the peer's `families`?
    fn is_peered(&self, peer: Self::Peer, family: Family) -> bool;
    /// Is the source in S'(p), and the destination in D'(p)? Asked together so the two walks can overlap.
    fn membership(&self, peer: Self::Peer, source: Address, destination: Address) -> Membership;
    /// Is it in the bogon list, less the exceptions?
    fn is_bogon(&self, address: Address) -> bool;
    /// Is it within `[router] prefixes`?
    fn is_ours(&self, address: Address) -> bool;
    /// The peer's mode; without a peer, the interface's `unknown_peer` mode.
    fn mode(&self, peer: Option<Self::Peer>) -> Mode;
    /// Does the enforcement lease still run? Asked only before a drop.
    fn is_leased(&self) -> bool;
}

/// Which of a peer's two sets cover a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The source is in S'(p).
    pub source: bool,
    /// The destination is in D'(p).
    pub destination: bool,
}

/// What the policy says about one packet.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict<P> {
    /// The row that decided.
    pub reason: Reason,
    /// The peer the packet counts for; the interface if `None`.
    pub peer: Option<P>,
    /// Which VLANs it came in, as far as they could be read.
    pub vlans: Vlans,
}

/// A verdict and what follows from it.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement<P> {
    /// Why.
    pub verdict: Verdict<P>,
    /// Under which mode.
    pub mode: Mode,
    /// What happens.
    pub action: Action,
}

/// The verdict on a frame and what follows from it: what every engine calls.
#[doc(alias = "bcp38")]
#[doc(alias = "urpf")]
#[doc(alias = "filter")]
#[inline(always)]
pub fn judge<B: Bytes + ?Sized, P: Policy>(frame: &B, policy: &P) -> Judgement<P::Peer> {
    let verdict = decide(frame, policy);
    let mode = policy.mode(verdict.peer);
    let action = verdict.reason.action(mode, policy.non_ip());
    if action.is_drop() && !policy.is_leased() {
        let action = verdict.reason.action(Mode::Observe, policy.non_ip());
        return Judgement {
            verdict,
            mode: Mode::Observe,
            action,
        };
    }
    Judgement {
        verdict,
        mode,
        action,
    }
}

/// Which row applies. The numbers in the comments are the rows.
#[inline(always)]
fn decide<B: Bytes + ?Sized, P: Policy>(frame: &B, policy: &P) -> Verdict<P::Peer> {
    let unknown = |reason| Verdict {
        reason,
        peer: None,
        vlans: Vlans::default(),
    };
    let Ok(macs) = packet::mac_pair(frame) else {
        return unknown(Reason::Malformed); // 1
    };
    let not_for_us = !macs.destination.is_group() && !policy.is_own_mac(macs.destination);
    let Ok(payload) = packet::payload(frame) else {
        return unknown(if not_for_us {
            Reason::NotForUs
        } else {
            Reason::Malformed
        }); // 2, 3
    };
    let peer = policy.peer(payload.vlans, macs.source);
    let verdict = |reason| Verdict {
        reason,
        peer,
        vlans: payload.vlans,
    };
    if not_for_us {
        return verdict(Reason::NotForUs); // 2
    }
    verdict(match payload.ethertype {
        ETHERTYPE_ARP => Reason::Arp, // 4
        // Apart, so that each becomes code that knows its family.
        ETHERTYPE_IPV4 => match packet::ipv4(frame, payload.offset) {
            Ok(ip) => decide_ip(frame, policy, peer, &ip),
            Err(Malformed) => Reason::Malformed, // 6
        },
        ETHERTYPE_IPV6 => match packet::ipv6(frame, payload.offset) {
            Ok(ip) => decide_ip(frame, policy, peer, &ip),
            Err(Malformed) => Reason::Malformed, // 6
        },
        _ => Reason::NonIp, // 5
    })
}

/// Rows 7 to 18.
#[inline(always)]
fn decide_ip<B: Bytes + ?Sized, P: Policy>(
    frame: &B,
    policy: &P,
    peer: Option<P::Peer>,
    ip: &Ip,
) -> Reason {
    if packet::is_neighbour_discovery(frame, ip) {
        return Reason::NeighbourDiscovery; // 7
    }
    if is_on_link(ip.source) || policy.is_lan(ip.source) {
        if is_link_scope(ip.destination) {
            return Reason::LinkLocal; // 8
        }
        if policy.is_own_address(ip.destination) {
            return Reason::PeeringLan; // 9
        }
    }
    let Some(peer) = peer else {
        return Reason::UnknownPeer; // 10
    };
    if !policy.is_peered(peer, ip.source.family) {
        return Reason::FamilyNotPeered; // 11
    }
    let member = policy.membership(peer, ip.source, ip.destination);
    if member.source && member.destination {
        return Reason::Permitted; // 12
    }
    if is_answer_to_us(frame, policy, peer, ip) {
        return Reason::IcmpError; // 13
    }
    blame(policy, ip.source, member)
}

/// Row 13: an ICMP error about a packet we could have sent to this peer.
#[inline(always)]
fn is_answer_to_us<B: Bytes + ?Sized, P: Policy>(
    frame: &B,
    policy: &P,
    peer: P::Peer,
    ip: &Ip,
) -> bool {
    let Some(quoted) = packet::quoted(frame, ip) else {
        return false;
    };
    if quoted.source != ip.destination {
        return false;
    }
    let member = policy.membership(peer, quoted.destination, quoted.source);
    member.source && member.destination
}

/// Rows 14 to 18: which promise the packet broke.
#[inline(always)]
fn blame<P: Policy>(policy: &P, source: Address, member: Membership) -> Reason {
    if policy.is_bogon(source) {
        return Reason::SourceBogon; // 14
    }
    if policy.is_ours(source) {
        return Reason::SourceOurs; // 15
    }
    match (member.source, member.destination) {
        (false, false) => Reason::BothUnannounced,   // 16
        (false, true) => Reason::SourceUnannounced,  // 17
        (true, _) => Reason::DestinationUnannounced, // 18
    }
}

/// Sources that only make sense on the link itself, besides the configured LAN: fe80::/10 (RFC 4291 section
/// 2.5.6), 169.254.0.0/16 (RFC 3927) and the unspecified IPv6 address (RFC 4291 section 2.5.2).
#[inline(always)]
fn is_on_link(address: Address) -> bool {
    match address.family {
        Family::Ipv4 => address.hi >> 48 == 0xa9fe,
        Family::Ipv6 => address.hi >> 54 == 0xfe80 >> 6 || address.hi | address.lo == 0,
    }
}

/// Destinations no router forwards: fe80::/10, ff01::/16 and ff02::/16 (RFC 4291 section 2.7), 169.254.0.0/16
/// and 224.0.0.0/24 (RFC 5771 section 4).
#[inline(always)]
fn is_link_scope(address: Address) -> bool {
    match address.family {
        Family::Ipv4 => address.hi >> 48 == 0xa9fe || address.hi >> 40 == 0x00e0_0000,
        Family::Ipv6 => {
            let first = address.hi >> 48;
            first & 0xffc0 == 0xfe80 || first == 0xff01 || first == 0xff02
        }
    }
}
