//! The policy in user space: what `replay`, `explain` and the tests judge packets by, with the same
//! [`judge`](crate::verdict::judge) the kernel runs. Never the packet path of a router.
use std::collections::BTreeMap;

use crate::layout::{ANY_MAC, Families, Interface, Station};
use crate::packet::{Bytes, Mac, Vlans};
use crate::set::{ExplainedSet, PrefixSet};
use crate::verdict::{self, Judgement, Membership, Policy};
use crate::{Address, Family, Mode, NonIp};

/// One peer's part of the policy.
#[derive(Debug, Default)]
pub struct Peer {
    /// Which families it is configured for.
    pub families: Families,
    /// What its violations meet.
    pub mode: Mode,
    /// S'(p).
    pub source: ExplainedSet,
    /// D'(p).
    pub destination: ExplainedSet,
}

/// The whole policy: peers by number, interfaces by index.
#[derive(Debug, Default)]
pub struct Peering {
    /// The bogons, less the exceptions.
    pub bogons: PrefixSet,
    /// `[router] prefixes`.
    pub ours: PrefixSet,
    /// The peers; a station names one by its place here.
    pub peers: Vec<Peer>,
    /// The interfaces by index, the same record the program reads.
    pub interfaces: BTreeMap<u32, Interface>,
    /// The peer of each station, as its place in `peers`.
    pub stations: BTreeMap<Station, usize>,
}

impl Peering {
    /// Judges one frame as if it had come in on this interface; `None` if the interface is not configured.
    /// The peer comes back as its place in `peers`. The lease is taken to stand.
    pub fn judge<B: Bytes + ?Sized>(&self, ifindex: u32, frame: &B) -> Option<Judgement<usize>> {
        let interface = self.interfaces.get(&ifindex)?;
        Some(verdict::judge(
            frame,
            &OnInterface {
                peering: self,
                ifindex,
                interface,
            },
        ))
    }
}

struct OnInterface<'a> {
    peering: &'a Peering,
    ifindex: u32,
    interface: &'a Interface,
}

impl Policy for OnInterface<'_> {
    type Peer = usize;

    fn is_own_mac(&self, mac: Mac) -> bool {
        self.interface.is_own_mac(mac)
    }

    fn is_own_address(&self, address: Address) -> bool {
        self.interface.is_own_address(address)
    }

    fn is_lan(&self, address: Address) -> bool {
        self.interface.is_lan(address)
    }

    fn non_ip(&self) -> NonIp {
        self.interface.non_ip()
    }

    fn peer(&self, vlans: Vlans, source: Mac) -> Option<usize> {
        let of = |mac| {
            let station = Station {
                ifindex: self.ifindex,
                vlans,
                mac,
            };
            self.peering.stations.get(&station).copied()
        };
        let any = || self.interface.any_mac().then(|| of(ANY_MAC)).flatten();
        of(source).or_else(any)
    }

    fn is_peered(&self, peer: usize, family: Family) -> bool {
        self.peering.peers[peer].families.contains(family)
    }

    fn membership(&self, peer: usize, source: Address, destination: Address) -> Membership {
        let peer = &self.peering.peers[peer];
        Membership {
            source: peer.source.addresses().contains(source),
            destination: peer.destination.addresses().contains(destination),
        }
    }

    fn is_bogon(&self, address: Address) -> bool {
        self.peering.bogons.contains(address)
    }

    fn is_ours(&self, address: Address) -> bool {
        self.peering.ours.contains(address)
    }

    fn mode(&self, peer: Option<usize>) -> Mode {
        peer.map_or_else(
            || self.interface.unknown_peer(),
            |peer| self.peering.peers[peer].mode,
        )
    }

    fn is_leased(&self) -> bool {
        true
    }
}
