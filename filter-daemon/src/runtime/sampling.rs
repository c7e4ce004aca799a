//! Sampled violations: who announces the source, whose the destination is, who points default at us.
use filter_core::layout::Sample;
use filter_core::{Address, Reason};

use super::Runtime;
use super::journal::{Flow, Violation};
use crate::route::PeerId;
use crate::violation::{self, DestinationStory, MAX_NAMED, SourceStory};

/// Samples looked at in one turn; the rest waits in the ring.
const MAX_PER_TURN: usize = 256;

impl Runtime {
    pub(super) fn take_samples(&mut self) {
        for _ in 0..MAX_PER_TURN {
            let Some(sample) = self.samples.next_sample() else {
                return;
            };
            self.take_sample(&sample);
        }
    }

    fn take_sample(&mut self, sample: &Sample) {
        let peer = self
            .peers
            .iter()
            .position(|peer| peer.slot.number() == sample.slot)
            .map(|index| PeerId(index as u32));
        let flow = violation::addresses(sample)
            .map(|(source, destination)| self.flow(peer, source, destination));
        if let (Some(id), Some(flow)) = (peer, &flow) {
            self.watch_destination(id, sample, flow);
        }
        let interface = self
            .links
            .iter()
            .find(|(_, link)| link.ifindex == sample.ifindex);
        let interface = interface
            .and_then(|(&id, _)| self.config.interface(id))
            .map_or_else(String::new, |i| i.name.clone());
        let violation = Violation {
            peer,
            interface,
            reason: sample.reason.name(),
            dropped: sample.dropped,
            length: sample.length,
            flow,
        };
        self.journal.violation(&self.config, &violation);
    }

    /// Pointing default: sustained traffic to addresses that are not ours.
    fn watch_destination(&mut self, id: PeerId, sample: &Sample, flow: &Flow) {
        if flow.destination_story != DestinationStory::NotOurs {
            return;
        }
        let bytes = self.destination_bytes(id);
        let now = self.now();
        let watch = &mut self.peers[id.0 as usize].watch;
        if let Some(finding) = watch.sample(now, flow.destination, bytes, sample.length) {
            self.journal.default_pointing(&self.config, id, finding);
        }
    }

    /// Bytes a peer has sent to destinations we do not advertise to it, ever.
    pub(super) fn destination_bytes(&self, id: PeerId) -> u64 {
        let Ok(counters) = self.filter.counters(self.peers[id.0 as usize].slot) else {
            return 0;
        };
        let reasons = [Reason::DestinationUnannounced, Reason::BothUnannounced]
            .map(|reason| counters.get(reason));
        reasons
            .iter()
            .map(|fates| fates.passed.bytes + fates.dropped.bytes)
            .sum()
    }

    /// Who announces the source, whose the destination is, as the kernel's tables have it now.
    pub(super) fn flow(&self, peer: Option<PeerId>, source: Address, destination: Address) -> Flow {
        let have = |id: PeerId| self.sync.have(self.peers[id.0 as usize].slot);
        let own = peer.and_then(have);
        let source_story = if own.is_some_and(|have| have.sources.contains(source)) {
            SourceStory::Advertised
        } else {
            let others = self
                .config
                .peer_ids()
                .filter(|&(id, _)| have(id).is_some_and(|have| have.sources.contains(source)));
            let names: Vec<String> = others
                .take(MAX_NAMED)
                .map(|(_, peer)| peer.name.clone())
                .collect();
            if names.is_empty() {
                SourceStory::Nobody
            } else {
                SourceStory::AdvertisedBy(names)
            }
        };
        let advertised = own.is_some_and(|have| have.destinations.contains(destination));
        let ours = self.withheld.ours.contains(destination);
        let destination_story = match (advertised, ours) {
            (true, _) => DestinationStory::Advertised,
            (false, true) => DestinationStory::OursNotAdvertised,
            (false, false) => DestinationStory::NotOurs,
        };
        Flow {
            source,
            destination,
            source_story,
            destination_story,
        }
    }
}
