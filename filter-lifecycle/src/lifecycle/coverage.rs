//! The coverage budget: sources that cover most of a family's space check nothing, and ones that suddenly cover many times
//! what they did are a leak. Knows no peer.
use std::collections::VecDeque;
use std::time::Duration;

use filter_core::set::{PrefixSet, Ranges};
use filter_core::{Address, Family, Prefix};

use super::measure::Counts;

/// No one peer's sources may cover more than this share of its family's space: a full table covers about 72 %
/// of IPv4 and far less of IPv6.
pub const COVERAGE_PERCENT: u128 = 85;
/// Sources jump if they cover so many times as much as they did for [`JUMP_STANDS`] within [`JUMP_MEMORY`], …
pub const JUMP_TIMES: u128 = 16;
/// … and more than one part of so many of the family's space: a /8 of IPv4, a /11 of IPv6.
pub const JUMP_PART: u128 = 256;
/// How long the largest sources are remembered that a jump is measured against.
pub const JUMP_MEMORY: Duration = Duration::from_secs(24 * 3600);
/// What a jump is measured against stood for at least this long.
pub const JUMP_STANDS: Duration = Duration::from_secs(3600);
/// Growth within this time is taken together.
const APART: Duration = Duration::from_secs(60);
/// What ended is remembered in steps of this.
const STEP: Duration = Duration::from_secs(3600);
/// Of growth that has not stood for long enough, steps of this are kept across a restart: what grew between two of them
/// has to stand from then on.
const KEPT_APART: Duration = Duration::from_secs(600);

/// A family's space in units of 2^64 of left-aligned bits.
const fn space(family: Family) -> u128 {
    match family {
        Family::Ipv4 => 1 << 64,
        Family::Ipv6 => 1 << 61, // 2000::/3
    }
}

pub(super) const fn ranges(set: &PrefixSet, family: Family) -> &Ranges {
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

/// The most that was covered for at least [`JUMP_STANDS`] within the last day: what a peer covers for a moment makes no
/// room for more.
#[derive(Clone, Debug, Default)]
pub(super) struct Stood {
    /// From when on what is covered will have stood for so long, and how much; ascending by both. Of those that have, only
    /// the last; of those that have not, no three within [`APART`].
    levels: Vec<(Duration, u128)>,
    /// What had stood and was more than everything since, by when it is forgotten, oldest first: of each hour the most, so 25
    /// at most.
    ended: VecDeque<(Duration, u128)>,
}

impl Stood {
    /// The first that counts: there is nothing before it that growth could be measured against.
    pub(super) fn begin(&mut self, now: Duration, covered: u128) {
        self.levels = vec![(now, covered)];
    }

    /// From now on so much is covered.
    pub(super) fn set(&mut self, now: Duration, covered: u128) {
        let mut stands_at = now + JUMP_STANDS;
        let mut ended = None;
        while let Some((at, more)) = self.levels.pop_if(|(_, more)| *more >= covered) {
            stands_at = at;
            if at <= now && more > covered {
                ended = ended.max(Some(more));
            }
        }
        if let Some(ended) = ended {
            self.end(now, ended);
        }
        if let [.., (before, _), _] = self.levels[..]
            && stands_at < before + APART
        {
            self.levels.pop();
        }
        self.levels.push((stands_at, covered));
        let stand = self.levels.partition_point(|(at, _)| *at <= now);
        self.levels.drain(..stand.saturating_sub(1));
    }

    fn end(&mut self, now: Duration, ended: u128) {
        self.remember(now + JUMP_MEMORY, ended);
    }

    /// Something that ended is remembered until then.
    fn remember(&mut self, until: Duration, ended: u128) {
        while self.ended.back().is_some_and(|(_, less)| *less <= ended) {
            self.ended.pop_back();
        }
        if self
            .ended
            .back()
            .is_none_or(|(before, _)| until >= *before + STEP)
        {
            self.ended.push_back((until, ended));
        }
    }

    /// The most within the last day.
    pub(super) fn within_a_day(&mut self, now: Duration) -> u128 {
        let is_old = |(until, _): &mut (Duration, u128)| *until <= now;
        while self.ended.pop_front_if(is_old).is_some() {}
        self.most(now)
    }

    /// The same, forgetting nothing.
    pub(super) fn most(&self, now: Duration) -> u128 {
        let mut ended = self.ended.iter().filter(|(until, _)| *until > now);
        let ended = ended.next().map_or(0, |(_, covered)| *covered);
        let mut standing = self.levels.iter().rev();
        let standing = standing.find(|(at, _)| *at <= now);
        ended.max(standing.map_or(0, |(_, covered)| *covered))
    }

    /// What is kept of it across a restart.
    pub(super) fn kept(&self, now: Duration) -> Vec<(Counts, u64)> {
        let fits = |covered: u128| u64::try_from(covered).unwrap_or(u64::MAX);
        let ended = self.ended.iter().filter(|(until, _)| *until > now);
        let ended = ended.map(|&(until, covered)| (Counts::For(until - now), fits(covered)));
        let standing = self.levels.partition_point(|(at, _)| *at <= now);
        let mut kept: Vec<_> = ended.collect();
        let mut last = None;
        for &(at, covered) in self.levels.iter().skip(standing.saturating_sub(1)) {
            let left = at.saturating_sub(now);
            if last.is_none_or(|last| left >= last + KEPT_APART) {
                kept.push((Counts::In(left), fits(covered)));
                last = Some(left);
            }
        }
        kept.retain(|(_, covered)| *covered > 0);
        kept
    }

    /// What was kept of it, so that nothing counts for longer, or later, than it can. The least that is covered counts at once:
    /// without it there would be no measure.
    pub(super) fn recalled(now: Duration, kept: impl IntoIterator<Item = (Counts, u64)>) -> Self {
        let mut recalled = Self::default();
        let (mut levels, mut ended) = (Vec::new(), Vec::new());
        for (counts, covered) in kept {
            match counts {
                Counts::In(left) => levels.push((left.min(JUMP_STANDS), u128::from(covered))),
                Counts::For(left) => ended.push((left.min(JUMP_MEMORY), u128::from(covered))),
            }
        }
        levels.sort_unstable();
        for (left, covered) in levels {
            match recalled.levels.last() {
                None => recalled.levels.push((now, covered)),
                Some(&(at, less)) if covered > less && now + left >= at + KEPT_APART => {
                    recalled.levels.push((now + left, covered));
                }
                Some(_) => {}
            }
        }
        ended.sort_unstable();
        for (left, covered) in ended {
            recalled.remember(now + left, covered);
        }
        recalled
    }
}

/// Does a family cover too much? `stood` is the most that it covered for long enough within the last day, if a jump is to
/// be looked for.
pub(super) fn is_too_wide(sources: &PrefixSet, family: Family, stood: Option<u128>) -> bool {
    let covers = covered(sources, family);
    let is_wide = covers > space(family) / 100 * COVERAGE_PERCENT;
    let is_jump = covers > space(family) / JUMP_PART
        && stood.is_some_and(|stood| stood > 0 && covers / JUMP_TIMES > stood);
    is_wide || is_jump
}

/// Takes back what a family grew by since it was last `good`, but for what is `always` in it; what left it leaves. A
/// family that was never good, or empty, stays as it is: it still drops the rest.
pub(super) fn freeze(
    sources: &mut PrefixSet,
    good: &PrefixSet,
    always: &PrefixSet,
    family: Family,
) {
    let (good, always) = (ranges(good, family), ranges(always, family));
    if good.is_empty() {
        return;
    }
    let ranges = match family {
        Family::Ipv4 => &mut sources.ipv4,
        Family::Ipv6 => &mut sources.ipv6,
    };
    *ranges = ranges.intersect(good).union(always);
}

/// The fewest prefixes that have these addresses, ascending.
pub(super) fn prefixes(set: &PrefixSet, family: Family) -> Vec<Prefix> {
    let mut prefixes = Vec::new();
    for &(mut first, last) in ranges(set, family).as_slice() {
        loop {
            // As many low bits as are zero in the first address, and as fit.
            let fit = (last - first).checked_add(1).map_or(128, u128::ilog2);
            let host = first.trailing_zeros().min(fit);
            let address = Address::from_bits(family, first);
            let prefix = u8::try_from(128 - host).map(|len| Prefix::new(address, len));
            prefixes.extend(prefix.ok().and_then(Result::ok));
            let size_less_one = 1u128.checked_shl(host).map_or(u128::MAX, |size| size - 1);
            if first + size_less_one >= last {
                break;
            }
            first += size_less_one + 1;
        }
    }
    prefixes
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
        Family::ALL.map(|family| is_too_wide(&set(texts), family, None))
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
        let mut always = set(&["129.0.0.0/24", "45.0.0.0/8"]);
        assert!(is_too_wide(&wide, Family::Ipv4, None));
        freeze(&mut wide, &good, &always, Family::Ipv4);
        assert_eq!(wide, set(&["45.0.0.0/8", "129.0.0.0/24", "2001:db9::/32"]));
        let mut first = set(&["0.0.0.0/1"]);
        always = first.clone();
        freeze(&mut first, PrefixSet::empty(), &always, Family::Ipv4);
        assert_eq!(first, set(&["0.0.0.0/1"]), "never good");
    }

    #[test]
    fn addresses_are_as_few_prefixes_as_have_them() {
        for texts in [
            &["0.0.0.0/0", "::/0"][..],
            &["10.0.0.0/8", "11.0.0.0/9", "11.128.0.1/32", "2001:db8::/32"],
            &["255.255.255.255/32", "ffff::/16", "::1/128"],
            &[],
        ] {
            let set = set(texts);
            let prefixes = Family::ALL.map(|family| prefixes(&set, family)).concat();
            let mut expected: Vec<Prefix> =
                texts.iter().map(|text| text.parse().unwrap()).collect();
            expected.sort_unstable_by_key(|prefix| (prefix.family(), prefix.range()));
            assert_eq!(prefixes, expected);
        }
        let range = set(&["10.0.0.3/32", "10.0.0.4/30", "10.0.0.8/32"]);
        let split = prefixes(&range, Family::Ipv4);
        assert_eq!(split.into_iter().collect::<PrefixSet>(), range);
    }

    #[test]
    fn a_jump_is_many_times_the_largest_and_much() {
        let jumps = |before: &str, now: &[&str]| {
            let (good, sources) = (set(&[before]), set(now));
            let stood = covered(&good, Family::Ipv4);
            is_too_wide(&sources, Family::Ipv4, Some(stood))
        };
        assert!(!jumps("10.0.0.0/24", &["10.0.0.0/8"]), "no more than a /8");
        assert!(jumps("10.0.0.0/24", &["10.0.0.0/8", "11.0.0.0/24"]));
        assert!(!jumps("10.0.0.0/8", &["0.0.0.0/4"]), "16 times");
        assert!(jumps("10.0.0.0/8", &["0.0.0.0/4", "16.0.0.0/8"]));
        let first = set(&["0.0.0.0/4", "16.0.0.0/8"]);
        assert!(
            !is_too_wide(&first, Family::Ipv4, Some(0)),
            "an emptied set"
        );
    }

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(3600 * hours)
    }

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn the_most_that_stood_within_the_last_day() {
        let mut stood = Stood::default();
        assert_eq!(stood.within_a_day(hours(0)), 0);
        for (hour, covered) in [(1, 50), (30, 40), (40, 45), (41, 30), (42, 35)] {
            stood.set(hours(hour), covered);
        }
        for (hour, expected) in [(42, 50), (53, 50), (54, 45), (64, 45), (65, 35), (900, 35)] {
            assert_eq!(stood.within_a_day(hours(hour)), expected, "{hour}");
        }
        for minute in 0..10_000 {
            let now = hours(900) + minutes(minute);
            stood.set(now, u128::from(10_000 - minute));
            stood.within_a_day(now);
            assert!(stood.ended.len() <= 25);
        }
    }

    #[test]
    fn what_is_covered_for_less_than_an_hour_counts_nothing() {
        let mut stood = Stood::default();
        stood.begin(hours(0), 1);
        assert_eq!(stood.within_a_day(hours(0)), 1);
        // It grows every minute; what it covered an hour ago is what stood.
        for minute in 1..=200 {
            stood.set(minutes(minute), u128::from(minute + 1));
            let expected = u128::from(minute.saturating_sub(60) + 1);
            assert_eq!(stood.within_a_day(minutes(minute)), expected);
        }
        // What stood before, and through a fall, is not what was above it.
        stood.set(minutes(201), 150);
        assert_eq!(stood.within_a_day(minutes(201)), 142);
        assert_eq!(stood.within_a_day(minutes(209)), 150);
        stood.set(minutes(210), 500);
        stood.set(minutes(269), 2);
        assert_eq!(stood.within_a_day(minutes(400)), 150);
    }

    /// Kept and recalled by a process whose clock begins anew, it is what it would have been; and of what it grew to within
    /// the last hour nothing counts sooner.
    #[test]
    fn what_is_kept_is_what_it_was() {
        let mut stood = Stood::default();
        stood.begin(hours(1), 50);
        for (hour, covered) in [(30, 40), (31, 30), (40, 35)] {
            stood.set(hours(hour), covered);
        }
        let now = hours(50);
        stood.set(now - minutes(30), 1000);
        stood.set(now - minutes(25), 2000);
        stood.set(now - minutes(10), 3000);
        let restarted = minutes(1);
        let mut recalled = Stood::recalled(restarted, stood.kept(now));
        for (minute, expected) in [
            (0, 50),
            (29, 50),
            (30, 1000),
            (49, 1000),
            (50, 3000),
            (10_000, 3000),
        ] {
            let most = recalled.within_a_day(restarted + minutes(minute));
            assert_eq!(most, expected, "{minute}");
        }
        stood.set(now, 35);
        let mut recalled = Stood::recalled(restarted, stood.kept(now));
        for hour in 0..30 {
            assert_eq!(
                recalled.within_a_day(restarted + hours(hour)),
                stood.within_a_day(now + hours(hour)),
                "{hour}"
            );
        }
    }

    /// What no process of ours would have written: nothing counts for longer than a day, or waits for longer than an hour, and it
    /// is not more than is ever kept.
    #[test]
    fn absurd_times_make_no_room_and_last_no_longer_than_any() {
        let far = Duration::from_secs(u64::MAX);
        let now = hours(1);
        let kept = [
            (Counts::In(far), 500),
            (Counts::In(far), 400),
            (Counts::For(far), 9000),
        ];
        let mut recalled = Stood::recalled(now, kept);
        for (hour, expected) in [(0, 9000), (23, 9000), (24, 500), (900, 500)] {
            assert_eq!(recalled.within_a_day(now + hours(hour)), expected, "{hour}");
        }
        let mut recalled = Stood::recalled(now, kept.into_iter().take(2));
        for (minute, expected) in [(0, 400), (59, 400), (60, 500)] {
            let most = recalled.within_a_day(now + minutes(minute));
            assert_eq!(most, expected, "{minute}");
        }
        let many = (0..10_000).flat_map(|second| {
            let time = Duration::from_secs(second * 10);
            [
                (Counts::In(time), second + 1),
                (Counts::For(time), 20_000 - second),
            ]
        });
        let recalled = Stood::recalled(now, many);
        assert!(recalled.levels.len() <= 7 && recalled.ended.len() <= 25);
        assert!(recalled.kept(now).len() <= 32);
        assert_eq!(Stood::recalled(now, []).most(now), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_late_by_a_minute_at_most() {
        let mut stood = Stood::default();
        for second in 0..20_000 {
            let now = Duration::from_secs(second);
            stood.set(now, u128::from(second));
            assert!(stood.levels.len() <= 124);
            let stands = stood.within_a_day(now);
            let exact = u128::from(second.saturating_sub(3600));
            assert!(
                (exact.saturating_sub(60)..=exact).contains(&stands),
                "{second}"
            );
        }
    }
}
