//! Sampled violations: who announces the source, whose the destination is, who points default at us.
use std::time::Duration;

use filter_core::layout::{LinkLayer, Sample};
use filter_core::packet::{Mac, TPID_CUSTOMER};
use filter_core::{Address, Classes, Reason};
use filter_lifecycle::route::PeerId;
use filter_lifecycle::violation::{
    self, DefaultPointing, DestinationStory, MAX_NAMED, PointingWatch, SourceStory,
};
use filter_lifecycle::{Lifecycle, Side};
use filter_loader::sync::Wanted;
use filter_loader::{Filter, Samples};

use crate::fitted::Fitted;
use crate::notice::{Flow, Notice, Notices, Violation};
use crate::publish::Publisher;
use crate::slots::Slots;
use crate::strangers::Strangers;

/// Samples looked at in one call; the rest waits in the ring.
const MAX_AT_ONCE: usize = 256;

/// The ring of samples, and who is watched for pointing default.
#[derive(Debug)]
pub(crate) struct Sampler {
    samples: Samples,
    /// By [`PeerId`].
    watches: Vec<PointingWatch>,
    strangers: Strangers,
}

/// A peer's packet that was dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropped {
    pub(crate) peer: PeerId,
    pub(crate) source: Address,
    pub(crate) destination: Address,
}

/// What is known of the peers' sets, to explain samples with.
#[derive(Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub(crate) filter: &'a Filter,
    pub(crate) publisher: &'a Publisher,
    pub(crate) fitted: &'a Fitted,
    pub(crate) slots: &'a Slots,
    pub(crate) lifecycle: &'a Lifecycle,
}

impl Sampler {
    pub(crate) fn new(samples: Samples) -> Self {
        Self {
            samples,
            watches: Vec::new(),
            strangers: Strangers::default(),
        }
    }

    /// Another specification: so many peers, nothing seen yet of any.
    pub(crate) fn reset(&mut self, peers: usize) {
        self.watches = vec![PointingWatch::NOTHING; peers];
        self.strangers = Strangers::default();
    }

    /// Takes samples in. Returns the packets among them that peers lost.
    pub(crate) fn work(
        &mut self,
        now: Duration,
        sight: Sight<'_>,
        notices: &mut Notices,
    ) -> Vec<Dropped> {
        let mut dropped = Vec::new();
        for _ in 0..MAX_AT_ONCE {
            let Some(sample) = self.samples.next_sample() else {
                break;
            };
            dropped.extend(self.take(now, &sample, sight, notices));
        }
        dropped
    }

    fn take(
        &mut self,
        now: Duration,
        sample: &Sample,
        sight: Sight<'_>,
        notices: &mut Notices,
    ) -> Option<Dropped> {
        let peer = sight.slots.numbered(sample.slot);
        let flow = violation::addresses(sample).map(|addresses| sight.flow(now, peer, addresses));
        if let (Some(id), Some(flow)) = (peer, &flow)
            && let Some(finding) = self.watch(now, id, sample, flow, sight)
        {
            notices.push(Notice::DefaultPointing(id, finding));
        }
        let lost = flow.as_ref().filter(|_| sample.dropped);
        let lost = peer.zip(lost).map(|(peer, flow)| Dropped {
            peer,
            source: flow.source,
            destination: flow.destination,
        });
        if sample.reason == Reason::UnknownPeer
            && let (Some(mac), Some(flow)) = (source_mac(sample), &flow)
        {
            self.strangers.seen(mac, &flow.source_story);
        }
        let interface = sight.fitted.interface_name(sample.ifindex);
        notices.push(Notice::Violation(Violation {
            peer,
            interface: interface.unwrap_or_default().to_owned(),
            ifindex: sample.ifindex,
            vlans: sample.vlans,
            reason: sample.reason,
            dropped: sample.dropped,
            length: sample.length,
            time_ns: sample.time_ns,
            header: header(sample),
            is_ethernet: sample.link != LinkLayer::None,
            flow,
        }));
        lost
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

    /// MACs of no peer from which only sources came that this peer alone announces.
    pub(crate) fn unknown_macs(&self, id: PeerId) -> Vec<Mac> {
        self.strangers.of(id)
    }

    /// What is going on now, if the peer points default.
    pub(crate) fn pointing(&self, id: PeerId, sight: Sight<'_>) -> Option<DefaultPointing> {
        let watch = self.watches.get(id.0 as usize)?;
        watch.current(sight.destination_bytes(id))
    }
}

/// The frame's source MAC; none on a device without Ethernet.
fn source_mac(sample: &Sample) -> Option<Mac> {
    if sample.link == LinkLayer::None {
        return None;
    }
    let frame = sample.data.get(..sample.captured as usize)?;
    let mac = frame.get(6..12)?.try_into().ok()?;
    Some(Mac::from_bytes(mac))
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

    /// Who announces the source, whose the destination is, as the tables published last have it, and what was valid
    /// lately.
    pub(crate) fn flow(
        self,
        now: Duration,
        peer: Option<PeerId>,
        (source, destination): (Address, Address),
    ) -> Flow {
        let own = peer.map(|id| self.publisher.have(self.slots.of(id)));
        let left = |side, address| self.lifecycle.recently_valid(now, peer?, side, address);
        Flow {
            source,
            destination,
            source_story: self.source_story(own, source),
            destination_story: self.destination_story(own, destination),
            source_left: left(Side::Sources, source),
            destination_left: left(Side::Destinations, destination),
        }
    }

    /// `own` is what was published of the peer that sent it, if one did.
    fn source_story(self, own: Option<Option<&Wanted>>, source: Address) -> SourceStory {
        if own.flatten().is_some_and(|it| it.sources.contains(source)) {
            return SourceStory::Advertised;
        }
        let (mut others, mut is_known) = (Vec::new(), true);
        for (id, slot) in self.slots.iter() {
            match self.publisher.have(slot) {
                Some(table) if table.sources.contains(source) => others.push(id),
                Some(_) => {}
                None => is_known = false,
            }
        }
        others.truncate(MAX_NAMED);
        let knows_own = |table: &Wanted| table.rules.known.source(source.family);
        is_known &= own.is_none_or(|own| own.is_some_and(knows_own));
        match others[..] {
            [] if is_known => SourceStory::NoPeer,
            [] => SourceStory::Unknown,
            [_, ..] => SourceStory::AdvertisedBy(others),
        }
    }

    /// As [`Sight::source_story`].
    fn destination_story(
        self,
        own: Option<Option<&Wanted>>,
        destination: Address,
    ) -> DestinationStory {
        let is_ours = self.fitted.withheld().ours.contains(destination);
        let not_advertised = match is_ours {
            true => DestinationStory::OursNotAdvertised,
            false => DestinationStory::NotOurs,
        };
        match own {
            None => not_advertised,
            Some(Some(own)) if own.destinations.contains(destination) => {
                DestinationStory::Advertised
            }
            Some(Some(own)) if own.rules.known.destination(destination.family) => not_advertised,
            Some(_) => DestinationStory::Unknown,
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
