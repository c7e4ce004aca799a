//! The coverage budget: sources that cover most of a family's space check nothing, and ones that suddenly cover many times
//! what they did are a leak. Knows no peer.
use std::collections::VecDeque;
use std::time::Duration;

use filter_core::Family;
use filter_core::set::{PrefixSet, Ranges};

/// No one peer's sources may cover more than this share of its family's space: a full table covers about 72 %
/// of IPv4 and far less of IPv6.
pub const COVERAGE_PERCENT: u128 = 85;
/// Sources jump if they cover so many times as much as they ever did within [`JUMP_MEMORY`], …
pub const JUMP_TIMES: u128 = 16;
/// … and more than one part of so many of the family's space: a /8 of IPv4, a /11 of IPv6.
pub const JUMP_PART: u128 = 256;
/// How long the largest sources are remembered that a jump is measured against.
pub const JUMP_MEMORY: Duration = Duration::from_secs(24 * 3600);
/// In steps of this.
const STEP: Duration = Duration::from_secs(3600);

/// A family's space in units of 2^64 of left-aligned bits.
const fn space(family: Family) -> u128 {
    match family {
        Family::Ipv4 => 1 << 64,
        Family::Ipv6 => 1 << 61, // 2000::/3
    }
}

const fn ranges(set: &PrefixSet, family: Family) -> &Ranges {
    match family {
        Family::Ipv4 => &set.ipv4,
        Family::Ipv6 => &set.ipv6,
    }
}

/// How much of a family's space they cover, in units in which the sum fits.
pub(super) fn covered(set: &PrefixSet, family: Family) -> u128 {
    let ranges = ranges(set, family).as_slice().iter();
    ranges
        .map(|&(first, last)| ((last - first) >> 64) + 1)
        .sum()
}

/// The most that was covered within the last day.
#[derive(Clone, Debug, Default)]
pub(super) struct Largest {
    now: u128,
    /// What was more than everything since, by when it ended, oldest first: of each hour the most, so 25 at most.
    ended: VecDeque<(Duration, u128)>,
}

impl Largest {
    /// From now on so much is covered.
    pub(super) fn set(&mut self, now: Duration, covered: u128) {
        let ends = std::mem::replace(&mut self.now, covered);
        if ends <= covered {
            return;
        }
        while self.ended.back().is_some_and(|(_, less)| *less <= ends) {
            self.ended.pop_back();
        }
        if self.ended.back().is_none_or(|(at, _)| now >= *at + STEP) {
            self.ended.push_back((now, ends));
        }
    }

    /// The most within the last day.
    pub(super) fn within_a_day(&mut self, now: Duration) -> u128 {
        while self
            .ended
            .front()
            .is_some_and(|(at, _)| *at + JUMP_MEMORY <= now)
        {
            self.ended.pop_front();
        }
        let ended = self.ended.front().map_or(0, |(_, covered)| *covered);
        ended.max(self.now)
    }
}

/// Takes back what a family grew by since it was last good, if it covers too much now; what left it leaves. A family
/// that was never good, or empty, stays as it is: it still drops the rest. `largest` is what it covered at most within the
/// last day, if a jump is to be looked for. Returns whether it covers too much.
pub(super) fn freeze(
    sources: &mut PrefixSet,
    good: &PrefixSet,
    family: Family,
    largest: Option<u128>,
) -> bool {
    let covers = covered(sources, family);
    let is_wide = covers > space(family) / 100 * COVERAGE_PERCENT;
    let is_jump = covers > space(family) / JUMP_PART
        && largest.is_some_and(|largest| largest > 0 && covers / JUMP_TIMES > largest);
    let good = ranges(good, family);
    if (is_wide || is_jump) && !good.is_empty() {
        let ranges = match family {
            Family::Ipv4 => &mut sources.ipv4,
            Family::Ipv6 => &mut sources.ipv6,
        };
        *ranges = ranges.intersect(good);
    }
    is_wide || is_jump
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> PrefixSet {
        texts
            .iter()
            .map(|text| text.parse::<filter_core::Prefix>().unwrap())
            .collect()
    }

    fn over(texts: &[&str]) -> [bool; 2] {
        Family::ALL.map(|family| freeze(&mut set(texts), PrefixSet::empty(), family, None))
    }

    #[test]
    fn at_its_edges() {
        // 13/16 is 81 %, 7/8 is 87 %.
        let four = ["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/4"];
        assert_eq!(over(&four), [false, false]);
        assert_eq!(over(&[&four[..], &["208.0.0.0/4"]].concat()), [true, false]);
        assert_eq!(over(&["2000::/4", "3000::/5", "3800::/6"]), [false, true]);
        assert_eq!(over(&["2000::/4", "3000::/5"]), [false, false]);
        assert_eq!(over(&[]), [false, false]);
    }

    #[test]
    fn growth_freezes_and_withdrawals_go_on() {
        let good = set(&["45.0.0.0/8", "46.0.0.0/8", "2001:db8::/32"]);
        let mut wide = set(&[
            "45.0.0.0/8",
            "0.0.0.0/3",
            "64.0.0.0/2",
            "128.0.0.0/1",
            "2001:db9::/32",
        ]);
        let frozen = Family::ALL.map(|family| freeze(&mut wide, &good, family, None));
        assert_eq!(frozen, [true, false]);
        assert_eq!(wide, set(&["45.0.0.0/8", "2001:db9::/32"]));
    }

    #[test]
    fn a_jump_is_many_times_the_largest_and_much() {
        let jumps = |before: &str, now: &[&str]| {
            let (good, mut sources) = (set(&[before]), set(now));
            let largest = covered(&good, Family::Ipv4);
            let jumps = freeze(&mut sources, &good, Family::Ipv4, Some(largest));
            assert_eq!(sources == set(now), !jumps);
            jumps
        };
        assert!(!jumps("10.0.0.0/24", &["10.0.0.0/8"]), "no more than a /8");
        assert!(jumps("10.0.0.0/24", &["10.0.0.0/8", "11.0.0.0/24"]));
        assert!(!jumps("10.0.0.0/8", &["0.0.0.0/4"]), "16 times");
        assert!(jumps("10.0.0.0/8", &["0.0.0.0/4", "16.0.0.0/8"]));
        let mut first = set(&["0.0.0.0/4", "16.0.0.0/8"]);
        let nothing = PrefixSet::empty();
        assert!(
            !freeze(&mut first, nothing, Family::Ipv4, Some(0)),
            "an emptied set"
        );
    }

    #[test]
    fn the_largest_of_the_last_day() {
        let hours = |hours: u64| Duration::from_secs(3600 * hours);
        let mut largest = Largest::default();
        assert_eq!(largest.within_a_day(hours(0)), 0);
        for (hour, covered) in [(1, 50), (30, 40), (40, 45), (41, 30), (42, 35)] {
            largest.set(hours(hour), covered);
        }
        for (hour, expected) in [(42, 50), (53, 50), (54, 45), (64, 45), (65, 35), (900, 35)] {
            assert_eq!(largest.within_a_day(hours(hour)), expected, "{hour}");
        }
        for minute in 0..10_000 {
            let now = hours(900) + Duration::from_secs(60 * minute);
            largest.set(now, u128::from(10_000 - minute));
            largest.within_a_day(now);
            assert!(largest.ended.len() <= 25);
        }
    }
}
