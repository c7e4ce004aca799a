//! The breaker: what left one peer's sides although nothing withdrew it may have left by a mistake of ours. If packets from
//! there, or to there, are dropped soon after, it comes back for a while. Never because of how much is dropped: what the
//! peer never announced, or withdrew, is not in here.
use std::collections::VecDeque;
use std::time::Duration;

use filter_core::set::PrefixSet;
use filter_core::{Address, Family, Prefix};

use super::Side;

/// A packet that is dropped this long after its address left is evidence, and none later.
pub const BREAKER_WINDOW: Duration = Duration::from_secs(600);
/// How long what left is valid again.
pub const BREAKER_HOLD: Duration = Duration::from_secs(900);
/// So often a day for each side and family of a peer.
pub const BREAKER_TRIPS: usize = 3;
/// What the data plane watches for is taken back together, up to this late.
pub const BREAKER_LATE: Duration = Duration::from_secs(60);
/// The day.
pub const BREAKER_DAY: Duration = Duration::from_secs(24 * 3600);
/// Prefixes of one peer that vanished and are watched; its own oldest go first.
pub const MAX_VANISHED: usize = 65_536;

/// See the file's head.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    /// In the order in which they left.
    vanished: VecDeque<Vanished>,
    /// By side and family: when it tripped within the last day.
    trips: [[VecDeque<Duration>; 2]; 2],
    /// What vanished is another than was told last.
    changed: bool,
}

/// What the data plane is to watch for: what vanished from either side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Departed {
    /// Packets from there are evidence.
    pub sources: PrefixSet,
    /// Packets to there are.
    pub destinations: PrefixSet,
}

#[derive(Clone, Copy, Debug)]
struct Vanished {
    at: Duration,
    side: Side,
    prefix: Prefix,
}

impl Default for Breaker {
    /// Nothing vanished yet; that is to be told, as something else may be watched for still.
    fn default() -> Self {
        Self {
            vanished: VecDeque::new(),
            trips: Default::default(),
            changed: true,
        }
    }
}

impl Breaker {
    /// A prefix left, and nothing withdrew it.
    pub(super) fn vanished(&mut self, now: Duration, side: Side, prefix: Prefix) {
        self.forget_old(now);
        if self.vanished.len() >= MAX_VANISHED {
            self.vanished.pop_front();
        }
        self.vanished.push_back(Vanished {
            at: now,
            side,
            prefix,
        });
        self.changed = true;
    }

    /// Is what vanished first no evidence any more, and has it been for so long that this is worth telling?
    pub(super) fn lapse(&mut self, now: Duration) -> bool {
        let is_over = |each: &Vanished| now >= each.at + BREAKER_WINDOW;
        let is_late = |each: &Vanished| now >= each.at + BREAKER_WINDOW + BREAKER_LATE;
        let lapses =
            self.vanished.front().is_some_and(is_late) || self.vanished.back().is_some_and(is_over);
        if lapses {
            self.forget_old(now);
        }
        lapses
    }

    /// What is to be watched for, if that changed since the last call.
    pub(super) fn take_departed(&mut self) -> Option<Departed> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let of = |side: Side| {
            let its = self.vanished.iter().filter(move |each| each.side == side);
            its.map(|each| each.prefix).collect()
        };
        Some(Departed {
            sources: of(Side::Sources),
            destinations: of(Side::Destinations),
        })
    }

    fn forget_old(&mut self, now: Duration) {
        while self
            .vanished
            .front()
            .is_some_and(|each| now >= each.at + BREAKER_WINDOW)
        {
            self.vanished.pop_front();
            self.changed = true;
        }
    }

    /// A packet from there, or to there, was dropped: is the address among what vanished?
    pub(super) fn is_evidence(&mut self, now: Duration, side: Side, address: Address) -> bool {
        self.forget_old(now);
        let mut vanished = self.vanished.iter();
        vanished.any(|each| each.side == side && each.prefix.contains(address))
    }

    /// A packet was dropped for what vanished from this side and family: all of that comes back, once. Returns it.
    pub(super) fn trip(&mut self, now: Duration, side: Side, family: Family) -> Vec<Prefix> {
        self.forget_old(now);
        let mine = |each: &Vanished| each.side == side && each.prefix.family() == family;
        if !self.vanished.iter().any(mine) || !self.may_trip(now, side, family) {
            return Vec::new();
        }
        self.trips[side as usize][family as usize].push_back(now);
        let (back, rest) = std::mem::take(&mut self.vanished)
            .into_iter()
            .partition::<VecDeque<_>, _>(mine);
        self.vanished = rest;
        self.changed = true;
        back.into_iter().map(|each| each.prefix).collect()
    }

    fn may_trip(&mut self, now: Duration, side: Side, family: Family) -> bool {
        let trips = &mut self.trips[side as usize][family as usize];
        while trips.front().is_some_and(|at| now >= *at + BREAKER_DAY) {
            trips.pop_front();
        }
        trips.len() < BREAKER_TRIPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn address(text: &str) -> Address {
        text.parse::<std::net::IpAddr>().unwrap().into()
    }

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    const INSIDE: &str = "10.1.2.3";

    impl Breaker {
        fn lost(&mut self, seconds: u64, side: Side, address: Address) -> Vec<Prefix> {
            match self.is_evidence(at(seconds), side, address) {
                true => self.trip(at(seconds), side, address.family),
                false => Vec::new(),
            }
        }
    }

    #[test]
    fn only_what_vanished_lately_trips_it_and_only_its_side_and_family() {
        let mut breaker = Breaker::default();
        for (seconds, side, text) in [
            (10, Side::Sources, "10.1.0.0/16"),
            (20, Side::Sources, "10.2.0.0/16"),
            (20, Side::Sources, "2001:db8::/32"),
            (20, Side::Destinations, "10.3.0.0/16"),
        ] {
            breaker.vanished(at(seconds), side, prefix(text));
        }
        for number in 0..1_000 {
            let never = Address::from_v4([8, 8, 8, number as u8]);
            assert_eq!(breaker.lost(30, Side::Sources, never), []);
        }
        assert_eq!(breaker.lost(30, Side::Destinations, address(INSIDE)), []);
        assert_eq!(
            breaker.clone().lost(610, Side::Sources, address(INSIDE)),
            [],
            "too late"
        );
        let both = [prefix("10.1.0.0/16"), prefix("10.2.0.0/16")];
        assert_eq!(breaker.lost(609, Side::Sources, address(INSIDE)), both);
        assert_eq!(
            breaker.lost(609, Side::Sources, address(INSIDE)),
            [],
            "once"
        );
        assert_eq!(
            breaker.lost(609, Side::Sources, address("2001:db8::1")),
            [prefix("2001:db8::/32")]
        );
    }

    /// What is watched for is told when it changes, and taken back together a little later than it is evidence.
    #[test]
    fn what_is_watched_for_is_what_vanished_lately() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.take_departed(), Some(Departed::default()));
        assert_eq!(breaker.take_departed(), None);
        let departed = |sources: &[&str], destinations: &[&str]| {
            let set = |texts: &[&str]| texts.iter().map(|text| prefix(text)).collect();
            Some(Departed {
                sources: set(sources),
                destinations: set(destinations),
            })
        };
        breaker.vanished(at(0), Side::Sources, prefix("10.1.0.0/16"));
        breaker.vanished(at(50), Side::Destinations, prefix("10.2.0.0/16"));
        breaker.vanished(at(100), Side::Sources, prefix("2001:db8::/32"));
        let all = departed(&["10.1.0.0/16", "2001:db8::/32"], &["10.2.0.0/16"]);
        assert_eq!(breaker.take_departed(), all);
        assert_eq!(breaker.take_departed(), None);
        assert!(!breaker.lapse(at(659)));
        assert_eq!(breaker.take_departed(), None);
        assert!(breaker.lapse(at(660)));
        assert_eq!(
            breaker.take_departed(),
            departed(&["2001:db8::/32"], &[]),
            "what is over by then goes with it"
        );
        assert!(breaker.lapse(at(700)), "the last one, at once");
        assert_eq!(breaker.take_departed(), departed(&[], &[]));
        assert!(!breaker.lapse(at(10_000)));
        breaker.vanished(at(10_000), Side::Sources, prefix("10.1.0.0/16"));
        breaker.trip(at(10_001), Side::Sources, Family::Ipv4);
        assert_eq!(breaker.take_departed(), departed(&[], &[]));
    }

    #[test]
    fn three_times_a_day() {
        let mut breaker = Breaker::default();
        let mut trips = |seconds: u64| {
            breaker.vanished(at(seconds), Side::Sources, prefix("10.1.0.0/16"));
            !breaker
                .lost(seconds, Side::Sources, address(INSIDE))
                .is_empty()
        };
        let tripped = [0, 1000, 2000, 3000].map(&mut trips);
        assert_eq!(tripped, [true, true, true, false]);
        let day = BREAKER_DAY.as_secs();
        assert_eq!(
            [day - 1, day, day + 1].map(&mut trips),
            [false, true, false]
        );
    }

    #[test]
    fn the_oldest_go_first() {
        let mut breaker = Breaker::default();
        for number in 0..=MAX_VANISHED as u32 {
            let host = Prefix::host(std::net::IpAddr::from(number.to_be_bytes()).into());
            breaker.vanished(at(1), Side::Sources, host);
        }
        assert_eq!(breaker.vanished.len(), MAX_VANISHED);
        assert_eq!(breaker.lost(2, Side::Sources, address("0.0.0.0")), []);
    }
}
