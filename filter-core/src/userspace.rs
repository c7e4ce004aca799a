//! The policy in user space: what `replay`, `explain` and the tests judge packets by, with the same
//! [`judge`](crate::verdict::judge) the kernel runs. Never the packet path of a router.
use std::collections::{BTreeMap, BTreeSet};

use crate::Address;
use crate::classes::Classes;
use crate::layout::{ANY_MAC, Families, Interface as Record, Known, Network, Rules, Station};
use crate::packet::{Bytes, Mac, Vlans};
use crate::set::{ExplainedSet, PrefixSet};
use crate::verdict::{self, Judgement, Listed, Membership, Policy, Verdict};

/// One peer's part of the policy.
#[derive(Debug, Default)]
pub struct Peer {
    /// Its families and known sides.
    pub rules: Rules,
    /// The classes in force for it.
    pub in_force: Classes,
    /// S'(p).
    pub source: ExplainedSet,
    /// D'(p).
    pub destination: ExplainedSet,
}

/// One interface's part of the policy.
#[derive(Clone, Debug)]
pub struct Interface {
    /// The same record the program reads.
    pub record: Record,
    /// The network behind each pair of tags; other tags are other people's VLANs.
    pub networks: BTreeMap<Vlans, Network>,
    /// The classes in force on it.
    pub in_force: Classes,
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
    /// The interfaces by index.
    pub interfaces: BTreeMap<u32, Interface>,
    /// The peer of each station, as its place in `peers`.
    pub stations: BTreeMap<Station, usize>,
    /// Stations that two peers claim: frames from there are not judged, and have no peer.
    pub contested: BTreeSet<Station>,
}

/// Whose frames are judged: a peer's, by its place, or of [`Peering::contested`].
type Sender = Option<usize>;

impl Peering {
    /// Judges one frame as if it had come in on this interface. The peer comes back as its place in `peers`. There is
    /// no time here: as many ICMP errors pass as come.
    pub fn judge<B: Bytes + ?Sized>(&self, ifindex: u32, frame: &B) -> Judgement<usize> {
        let Some(interface) = self.interfaces.get(&ifindex) else {
            return Judgement::no_record();
        };
        let policy = OnInterface {
            peering: self,
            ifindex,
            interface,
        };
        let Judgement { verdict, action } = verdict::judge(frame, &policy);
        let verdict = Verdict {
            reason: verdict.reason,
            broken: verdict.broken,
            peer: verdict.peer.flatten(),
        };
        Judgement { verdict, action }
    }
}

/// What is known of a sender at a contested station.
const NOTHING_KNOWN: Rules = Rules {
    families: Families::ALL,
    known: Known::NONE,
};

struct OnInterface<'a> {
    peering: &'a Peering,
    ifindex: u32,
    interface: &'a Interface,
}

impl Policy for OnInterface<'_> {
    type Peer = Sender;

    fn interface(&self) -> &Record {
        &self.interface.record
    }

    fn network(&self, vlans: Vlans) -> Option<&Network> {
        self.interface.networks.get(&vlans)
    }

    fn peer(&self, vlans: Vlans, source: Mac) -> Option<Sender> {
        let of = |mac| {
            let station = Station {
                ifindex: self.ifindex,
                vlans,
                mac,
            };
            let known = self.peering.stations.get(&station).copied().map(Some);
            let is_contested = || self.peering.contested.contains(&station);
            known.or_else(|| is_contested().then_some(None))
        };
        let any = || {
            let is_port = self.interface.record.is_port();
            is_port.then(|| of(ANY_MAC)).flatten()
        };
        of(source).or_else(any)
    }

    fn rules(&self, sender: Sender) -> Rules {
        sender.map_or(NOTHING_KNOWN, |peer| self.peering.peers[peer].rules)
    }

    fn membership(&self, sender: Sender, source: Address, destination: Address) -> Membership {
        let peer = sender.map(|peer| &self.peering.peers[peer]);
        Membership {
            source: peer.is_some_and(|it| it.source.addresses().contains(source)),
            destination: peer.is_some_and(|it| it.destination.addresses().contains(destination)),
        }
    }

    fn listed(&self, address: Address) -> Listed {
        Listed {
            bogon: self.peering.bogons.contains(address),
            ours: self.peering.ours.contains(address),
        }
    }

    fn admits_icmp_error(&self, _sender: Sender, _too_big: bool) -> bool {
        true
    }

    fn peer_in_force(&self, sender: Sender) -> Classes {
        sender.map_or(self.interface.in_force, |peer| {
            self.peering.peers[peer].in_force
        })
    }

    fn interface_in_force(&self) -> Classes {
        self.interface.in_force
    }
}
