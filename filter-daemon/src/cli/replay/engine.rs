//! The two engines of `replay`: the verdict in this process, and the same frame through the loaded XDP program.
//! Which prefix covers an address is always looked up here: the kernel knows membership only.
use std::collections::BTreeMap;

use filter_core::packet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ip};
use filter_core::userspace::Peering;
use filter_core::{Family, Prefix, Reason};
use filter_loader::{
    Counters, Filter, InterfaceSpec, LeaseEnd, Options, PeerSlot, PeerTables, TEST_IFINDEX, Target,
    Wanted,
};

use super::cut::Cut;
use crate::cli::Failure;
use crate::config::Config;

/// The kernel takes no shorter frame (ETH_HLEN).
pub(super) const LEAST_RUN: usize = packet::ETHERNET_LEN;
/// What is run of a longer frame: one page of linear data is what every driver and kernel takes, and all headers
/// lie in it.
const MOST_RUN: usize = 2048;

/// What a packet is called that breaks the policy only by what the capture cut.
pub(super) const TRUNCATED: &str = "truncated";

/// One judged packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    /// Its peer's place.
    pub(super) peer: Option<usize>,
    pub(super) reason: Reason,
    pub(super) is_violation: bool,
    pub(super) is_dropped: bool,
    /// It breaks the policy only by what the capture cut, as far as is known.
    pub(super) is_truncated: bool,
    /// The headers, if they could be read.
    pub(super) ip: Option<Ip>,
    pub(super) source_prefix: Option<Prefix>,
    pub(super) destination_prefix: Option<Prefix>,
}

impl Judged {
    /// By the verdict code in this process.
    pub(super) fn in_user_space(peering: &Peering, ifindex: u32, frame: Cut<'_>) -> Self {
        let ip = ip(frame.bytes);
        let judgement = peering.judge(ifindex, &frame);
        let action = judgement.action;
        let verdict = judgement.verdict;
        let is_truncated = action.is_violation() && frame.may_be_otherwise(verdict.reason);
        Self {
            is_truncated,
            ..Self::new(
                peering,
                verdict.peer,
                verdict.reason,
                action.is_violation() && !is_truncated,
                action.is_drop() && !is_truncated,
                ip,
            )
        }
    }

    /// Its reason, or that it is not known.
    pub(super) const fn name(&self) -> &'static str {
        match self.is_truncated {
            true => TRUNCATED,
            false => self.reason.name(),
        }
    }

    fn new(
        peering: &Peering,
        peer: Option<usize>,
        reason: Reason,
        is_violation: bool,
        is_dropped: bool,
        ip: Option<Ip>,
    ) -> Self {
        let sides = peer
            .filter(|_| asks_the_sets(reason))
            .zip(ip)
            .map(|(peer, ip)| (&peering.peers[peer], ip));
        Self {
            peer,
            reason,
            is_violation,
            is_dropped,
            is_truncated: false,
            ip,
            source_prefix: sides.and_then(|(peer, ip)| peer.source.covering(ip.source)),
            destination_prefix: sides
                .and_then(|(peer, ip)| peer.destination.covering(ip.destination)),
        }
    }
}

/// Is it one of rows 15 to 22, which look at S' and D'?
const fn asks_the_sets(reason: Reason) -> bool {
    match reason {
        Reason::Permitted
        | Reason::IcmpError
        | Reason::SourceBogon
        | Reason::SourceOurs
        | Reason::BothUnannounced
        | Reason::SourceUnannounced
        | Reason::DestinationUnannounced
        | Reason::Unjudged => true,
        Reason::Malformed
        | Reason::NotForUs
        | Reason::Arp
        | Reason::NonIp
        | Reason::NeighbourDiscovery
        | Reason::LinkLocal
        | Reason::PeeringLan
        | Reason::UnknownPeer
        | Reason::FamilyNotPeered
        | Reason::NoRecord
        | Reason::LinkControl
        | Reason::RouterAdvertisement
        | Reason::Redirect
        | Reason::LanMulticast
        | Reason::OtherVlan => false,
    }
}

fn ip(frame: &[u8]) -> Option<Ip> {
    let payload = packet::payload(frame).ok()?;
    let family = match payload.ethertype {
        ETHERTYPE_IPV4 => Family::Ipv4,
        ETHERTYPE_IPV6 => Family::Ipv6,
        _ => return None,
    };
    packet::ip(frame, family, payload.offset).ok()
}

/// The XDP program, loaded but attached nowhere.
pub(super) struct Kernel<'a> {
    filter: Filter,
    peering: &'a Peering,
    interface: String,
    slots: Vec<Slot>,
}

/// Somebody packets can count for, and the counters as they were last read.
struct Slot {
    /// A peer's place and slot; `None` is the interface.
    peer: Option<(usize, PeerSlot)>,
    counters: Counters,
}

impl<'a> Kernel<'a> {
    /// Loads the program and gives it the same policy.
    pub(super) fn load(
        config: &Config,
        peering: &'a Peering,
        spec: &InterfaceSpec,
    ) -> Result<Self, Failure> {
        let options = Options {
            max_peers: config.spec.limits.max_peers,
            table_memory_mib: config.spec.limits.table_memory_mib,
            samples_per_second: 0,
            engine: filter_loader::Engine::Tables,
            ..Options::default()
        };
        let mut filter = Filter::load(&options)?;
        filter.publish_lists(&PeerTables {
            sources: &peering.bogons,
            destinations: &peering.ours,
            ..PeerTables::default()
        })?;
        filter.set_interface(TEST_IFINDEX, spec)?;
        if let Some(interface) = peering.interfaces.get(&TEST_IFINDEX) {
            let wanted = Wanted::new(interface.in_force, LeaseEnd::Keep);
            filter.set_wanted(Target::Interface(&spec.name), wanted)?;
        }
        let mut slots = vec![Slot {
            peer: None,
            counters: filter.interface_counters(&spec.name)?,
        }];
        let mut stations = BTreeMap::new();
        for (place, (peer, named)) in peering.peers.iter().zip(&config.spec.peers).enumerate() {
            let slot = filter.add_peer(&named.name)?;
            filter.publish(
                slot,
                &PeerTables {
                    rules: peer.rules,
                    generation: 1,
                    sources: peer.source.addresses(),
                    destinations: peer.destination.addresses(),
                },
            )?;
            filter.set_wanted(slot, Wanted::new(peer.in_force, LeaseEnd::Keep))?;
            let owned = peering
                .stations
                .iter()
                .filter(|&(station, &owner)| station.ifindex == TEST_IFINDEX && owner == place);
            let before = stations.len();
            stations.extend(owned.map(|(&station, _)| (station, slot)));
            if stations.len() > before {
                let counters = filter.counters(slot)?;
                let peer = Some((place, slot));
                slots.push(Slot { peer, counters });
            }
        }
        filter.assign_stations(&stations, &peering.contested)?;
        Ok(Self {
            filter,
            peering,
            interface: spec.name.clone(),
            slots,
        })
    }

    /// Does the kernel take this frame?
    pub(super) const fn can_run(frame: &[u8]) -> bool {
        frame.len() >= LEAST_RUN
    }

    /// Runs the frame; what it was counted as is what the program decided.
    pub(super) fn judge(&mut self, frame: &[u8], in_user_space: Judged) -> Result<Judged, Failure> {
        let frame = &frame[..frame.len().min(MOST_RUN)];
        self.filter.run(frame, 1)?;
        // The peer that user space finds is looked at first; neither result is trusted alone.
        let expected = in_user_space.peer;
        self.slots
            .sort_by_key(|slot| slot.peer.map(|(place, _)| place) != expected);
        for slot in &mut self.slots {
            let now = match slot.peer {
                None => self.filter.interface_counters(&self.interface)?,
                Some((_, peer)) => self.filter.counters(peer)?,
            };
            let since = now.since(&slot.counters);
            slot.counters = now;
            let Some((reason, fates)) = since.nonzero().next() else {
                continue;
            };
            return Ok(Judged::new(
                self.peering,
                slot.peer.map(|(place, _)| place),
                reason,
                // What it breaks is not counted: the same reason breaks the same.
                in_user_space.reason == reason && in_user_space.is_violation
                    || in_user_space.reason != reason && fates.dropped.packets > 0,
                fates.dropped.packets > 0,
                in_user_space.ip,
            ));
        }
        Err(Failure::Failed(
            "the xdp program counted a packet nowhere: report this with the capture".to_owned(),
        ))
    }
}
