//! Sampled violations: who announces the source, whose the destination is, who points default at us.
use std::time::Duration;

use filter_core::layout::{LinkLayer, Sample};
use filter_core::packet::TPID_CUSTOMER;
use filter_core::{Address, Classes, Reason};
use filter_lifecycle::route::PeerId;
use filter_lifecycle::violation::{
    self, DefaultPointing, DestinationStory, MAX_NAMED, PointingWatch, SourceStory,
};
use filter_loader::{Filter, Samples};

use crate::fitted::Fitted;
use crate::notice::{Flow, Notice, Notices, Violation};
use crate::publish::Publisher;
use crate::slots::Slots;

/// Samples looked at in one call; the rest waits in the ring.
const MAX_AT_ONCE: usize = 256;

/// The ring of samples, and who is watched for pointing default.
#[derive(Debug)]
pub(crate) struct Sampler {
    samples: Samples,
    /// By [`PeerId`].
    watches: Vec<PointingWatch>,
}

/// What is known of the peers' sets, to explain samples with.
#[derive(Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub(crate) filter: &'a Filter,
    pub(crate) publisher: &'a Publisher,
    pub(crate) fitted: &'a Fitted,
    pub(crate) slots: &'a Slots,
}

impl Sampler {
    pub(crate) const fn new(samples: Samples) -> Self {
        Self {
            samples,
            watches: Vec::new(),
        }
    }

    /// Another specification: so many peers, nothing seen yet of any.
    pub(crate) fn reset(&mut self, peers: usize) {
        self.watches = vec![PointingWatch::NOTHING; peers];
    }

    pub(crate) fn work(&mut self, now: Duration, sight: Sight<'_>, notices: &mut Notices) {
        for _ in 0..MAX_AT_ONCE {
            let Some(sample) = self.samples.next_sample() else {
                return;
            };
            self.take(now, &sample, sight, notices);
        }
    }

    fn take(&mut self, now: Duration, sample: &Sample, sight: Sight<'_>, notices: &mut Notices) {
        let peer = sight.slots.numbered(sample.slot);
        let flow = violation::addresses(sample)
            .map(|(source, destination)| sight.flow(peer, source, destination));
        if let (Some(id), Some(flow)) = (peer, &flow)
            && let Some(finding) = self.watch(now, id, sample, flow, sight)
        {
            notices.push(Notice::DefaultPointing(id, finding));
        }
        let interface = sight.fitted.interface_name(sample.ifindex);
        notices.push(Notice::Violation(Violation {
            peer,
            interface: interface.unwrap_or_default().to_owned(),
            ifindex: sample.ifindex,
            reason: sample.reason,
            dropped: sample.dropped,
            length: sample.length,
            header: header(sample),
            is_ethernet: sample.link != LinkLayer::None,
            flow,
        }));
    }

    /// Pointing default: sustained traffic to addresses that are not ours.
    fn watch(
        &mut self,
        now: Duration,
        id: PeerId,
        sample: &Sample,
        flow: &Flow,
        sight: Sight<'_>,
    ) -> Option<DefaultPointing> {
        // What a peer sends on the link itself goes to no address of ours either.
        let breaks_destinations = sample.broken.meets(Classes::DESTINATIONS);
        if !breaks_destinations || flow.destination_story != DestinationStory::NotOurs {
            return None;
        }
        let bytes = sight.destination_bytes(id);
        let watch = self.watches.get_mut(id.0 as usize)?;
        watch.sample(now, flow.destination, bytes, sample.length)
    }

    /// What is going on now, if the peer points default.
    pub(crate) fn pointing(&self, id: PeerId, sight: Sight<'_>) -> Option<DefaultPointing> {
        let watch = self.watches.get(id.0 as usize)?;
        watch.current(sight.destination_bytes(id))
    }
}

/// The bytes of a sample as they were on the wire: a tag that was taken out is put back, without its priority.
fn header(sample: &Sample) -> Vec<u8> {
    let captured = sample.data.get(..sample.captured as usize);
    let mut header = captured.unwrap_or_default().to_vec();
    if sample.link == LinkLayer::Stripped && header.len() >= MACS {
        let [a, b] = TPID_CUSTOMER.to_be_bytes();
        let [c, d] = sample.vlans.outer.to_be_bytes();
        header.splice(MACS..MACS, [a, b, c, d]);
    }
    header
}

/// Bytes of both MACs: a tag follows them.
const MACS: usize = 12;

impl Sight<'_> {
    /// Bytes a peer has sent to destinations we do not advertise to it, ever.
    fn destination_bytes(self, id: PeerId) -> u64 {
        let Ok(counters) = self.filter.counters(self.slots.of(id)) else {
            return 0;
        };
        let reasons = [Reason::DestinationUnannounced, Reason::BothUnannounced]
            .map(|reason| counters.get(reason));
        reasons
            .iter()
            .map(|fates| fates.passed.bytes + fates.dropped.bytes)
            .sum()
    }

    /// Who announces the source, whose the destination is, as the tables published last have it.
    pub(crate) fn flow(self, peer: Option<PeerId>, source: Address, destination: Address) -> Flow {
        let sets = |id: PeerId| self.publisher.sets(self.slots.of(id));
        let own = peer.and_then(sets);
        let source_story = if own.is_some_and(|(sources, _)| sources.contains(source)) {
            SourceStory::Advertised
        } else {
            let ids = self.slots.iter().map(|(id, _)| id);
            let others =
                ids.filter(|&id| sets(id).is_some_and(|(sources, _)| sources.contains(source)));
            let others: Vec<PeerId> = others.take(MAX_NAMED).collect();
            if others.is_empty() {
                SourceStory::Nobody
            } else {
                SourceStory::AdvertisedBy(others)
            }
        };
        let advertised = own.is_some_and(|(_, destinations)| destinations.contains(destination));
        let ours = self.fitted.withheld().ours.contains(destination);
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

#[cfg(test)]
mod tests {
    use filter_core::layout::SAMPLE_BYTES;
    use filter_core::packet::Vlans;

    use super::*;

    #[test]
    fn a_tag_that_was_taken_out_is_put_back() {
        let mut data = [0; SAMPLE_BYTES];
        data[11] = 0x10;
        data[12..14].copy_from_slice(&[0x08, 0x00]);
        let sample = |link| Sample {
            time_ns: 0,
            ifindex: 1,
            slot: 1,
            length: 18,
            captured: 14,
            vlans: Vlans {
                outer: 100,
                inner: 0,
            },
            reason: Reason::SourceUnannounced,
            broken: Classes::NONE,
            dropped: false,
            link,
            data,
        };
        let tagged = [&data[..12], &[0x81, 0x00, 0, 100, 0x08, 0x00]].concat();
        assert_eq!(header(&sample(LinkLayer::Stripped)), tagged);
        for whole in [LinkLayer::Ethernet, LinkLayer::None] {
            assert_eq!(header(&sample(whole)), data[..14]);
        }
    }
}
