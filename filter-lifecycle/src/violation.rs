//! What is known of a sampled violation beyond its reason: who announces the source, whose the destination is, and
//! whether a peer points default at us. Pure: samples, sets and time are arguments. Never changes a verdict.
use std::collections::BTreeSet;
use std::time::Duration;

use filter_core::layout::Sample;
use filter_core::packet::{self, Ip};
use filter_core::{Address, Family, Prefix};

use crate::route::PeerId;

/// The addresses of a sampled frame, if it holds an IP header.
#[must_use]
pub fn addresses(sample: &Sample) -> Option<(Address, Address)> {
    let payload = packet::payload(sample).ok()?;
    let family = match payload.ethertype {
        packet::ETHERTYPE_IPV4 => Family::Ipv4,
        packet::ETHERTYPE_IPV6 => Family::Ipv6,
        _ => return None,
    };
    let Ip {
        source,
        destination,
        ..
    } = packet::ip(sample, family, payload.offset).ok()?;
    Some((source, destination))
}

/// Who announces a violation's source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceStory {
    /// The peer itself advertises it.
    Advertised,
    /// Others do: at most [`MAX_NAMED`] of them.
    AdvertisedBy(Vec<PeerId>),
    /// None of our peers does.
    NoPeer,
    /// Not known: the routes of this peer, or of another, have not been received since the start.
    Unknown,
}

/// Whether a violation's destination is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationStory {
    /// We advertise it to this peer.
    Advertised,
    /// Ours, but not advertised to this peer.
    OursNotAdvertised,
    /// Not ours: the peer sends us what it should send elsewhere (transit theft, pointing default).
    NotOurs,
    /// Not known: what we advertise to this peer has not been received since the start.
    Unknown,
}

/// Other peers named in a story.
pub const MAX_NAMED: usize = 3;

/// How long a peer must keep sending to addresses that are not ours before it counts as pointing default at us.
pub const SUSTAINED: Duration = Duration::from_secs(10);
/// To how many different blocks it must send: one wrong host is not a default route.
pub const MIN_BLOCKS: usize = 3;
/// After this long without such a packet, it has stopped.
pub const QUIET: Duration = Duration::from_secs(60);
/// Distinct blocks that are remembered; more are counted as this many.
pub const MAX_BLOCKS: usize = 4096;

/// What a peer that points default has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultPointing {
    /// Bytes of all its packets to destinations we do not advertise to it, exact.
    pub bytes: u64,
    /// Distinct destination /24s and /48s among the samples.
    pub blocks: usize,
    /// From the first such packet to the last.
    pub duration: Duration,
}

/// Watches one peer for sustained traffic to addresses that are not ours.
#[derive(Clone, Debug, Default)]
pub struct PointingWatch {
    since: Option<Since>,
}

#[derive(Clone, Debug)]
struct Since {
    first: Duration,
    last: Duration,
    bytes_before: u64,
    blocks: BTreeSet<Prefix>,
    reported: bool,
}

impl PointingWatch {
    /// Nothing seen yet.
    pub const NOTHING: Self = Self { since: None };

    /// A sampled packet to an address that is not ours. `bytes` is the peer's exact counter of destination
    /// violations. Returns the finding once, when it becomes one.
    pub fn sample(
        &mut self,
        now: Duration,
        destination: Address,
        bytes: u64,
        length: u32,
    ) -> Option<DefaultPointing> {
        self.expire(now);
        let since = self.since.get_or_insert_with(|| Since {
            first: now,
            last: now,
            bytes_before: bytes.saturating_sub(u64::from(length)),
            blocks: BTreeSet::new(),
            reported: false,
        });
        since.last = now;
        if since.blocks.len() < MAX_BLOCKS {
            since.blocks.insert(block(destination));
        }
        let finding = since.finding(bytes);
        if since.reported || finding.duration < SUSTAINED || finding.blocks < MIN_BLOCKS {
            return None;
        }
        since.reported = true;
        Some(finding)
    }

    /// What is going on now, if the peer points default.
    #[must_use]
    pub fn current(&self, bytes: u64) -> Option<DefaultPointing> {
        self.since
            .as_ref()
            .filter(|since| since.reported)
            .map(|since| since.finding(bytes))
    }

    fn expire(&mut self, now: Duration) {
        if self
            .since
            .as_ref()
            .is_some_and(|since| now.saturating_sub(since.last) > QUIET)
        {
            self.since = None;
        }
    }
}

impl Since {
    fn finding(&self, bytes: u64) -> DefaultPointing {
        DefaultPointing {
            bytes: bytes.saturating_sub(self.bytes_before),
            blocks: self.blocks.len(),
            duration: self.last.saturating_sub(self.first),
        }
    }
}

/// The smallest block that is routed between networks.
fn block(address: Address) -> Prefix {
    let len = match address.family {
        Family::Ipv4 => 24,
        Family::Ipv6 => 48,
    };
    Prefix::new(address, len).unwrap_or(Prefix::host(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(a: u8, b: u8) -> Address {
        Address::from_v4([8, 8, a, b])
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn sustained_traffic_to_several_blocks_is_told_once() {
        let mut watch = PointingWatch::default();
        assert_eq!(watch.sample(at(0), v4(1, 1), 1100, 100), None);
        assert_eq!(watch.sample(at(4), v4(1, 2), 2000, 100), None);
        assert_eq!(watch.sample(at(8), v4(2, 1), 3000, 100), None);
        assert_eq!(watch.sample(at(9), v4(3, 1), 4000, 100), None);
        let reported = watch.sample(at(10), v4(3, 2), 5000, 100).unwrap();
        assert_eq!(
            reported,
            DefaultPointing {
                bytes: 4000,
                blocks: 3,
                duration: at(10)
            }
        );
        assert_eq!(watch.sample(at(11), v4(4, 1), 6000, 100), None);
        assert_eq!(
            watch.current(6000),
            Some(DefaultPointing {
                bytes: 5000,
                blocks: 4,
                duration: at(11)
            })
        );
    }

    #[test]
    fn one_wrong_host_is_no_default_route() {
        let mut watch = PointingWatch::default();
        for second in 0..100 {
            assert_eq!(
                watch.sample(at(second), v4(1, second as u8), second * 100, 100),
                None
            );
        }
    }

    #[test]
    fn a_quiet_minute_starts_anew() {
        let mut watch = PointingWatch::default();
        assert_eq!(watch.sample(at(0), v4(1, 1), 100, 100), None);
        assert_eq!(watch.sample(at(1), v4(2, 1), 200, 100), None);
        assert_eq!(watch.sample(at(62), v4(3, 1), 300, 100), None);
        assert_eq!(watch.current(300), None);
    }
}
