//! The switch: what is in force for a slot, apart from its tables. Two words a slot, ANDed: `wanted`, which only the
//! daemon writes, and `allowed`, the operator's; and one `allowed` for the whole filter above all others. Read only
//! when a packet is a violation. Also the clock that enforcement is leased by. Never knows why something is wanted.
use crate::classes::Classes;

/// The slot whose `allowed` word is the whole filter's: slot 0 is no interface's and no peer's.
pub const WHOLE_FILTER: u32 = 0;

/// Bit 31 of a `wanted` word: the slot stays enforced when the lease ends.
const KEEP: u32 = 1 << 31;
/// Bit 31 of an `allowed` word: it is allowed on trial, for a time only. It lies in the word so that the store that switches
/// off ends the trial too. The program never reads it.
pub const ON_TRIAL: u32 = 1 << 31;

/// What becomes of a slot when the lease ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaseEnd {
    /// Violations pass and are counted.
    #[default]
    Observe,
    /// What is in force stays so.
    Keep,
}

/// A `wanted` word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Wanted(u32);

impl Wanted {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// These classes.
    #[must_use]
    pub const fn new(classes: Classes, end: LeaseEnd) -> Self {
        match end {
            LeaseEnd::Observe => Self(classes.bits()),
            LeaseEnd::Keep => Self(classes.bits() | KEEP),
        }
    }

    /// As it lies in the map.
    #[must_use]
    #[inline(always)]
    pub const fn from_word(word: u32) -> Self {
        Self(word)
    }

    /// As it lies in the map.
    #[must_use]
    pub const fn word(self) -> u32 {
        self.0
    }

    /// The classes.
    #[must_use]
    #[inline(always)]
    pub const fn classes(self) -> Classes {
        Classes::from_bits(self.0)
    }

    /// Does it ask for the lease?
    #[must_use]
    #[inline(always)]
    pub const fn needs_lease(self) -> bool {
        self.0 & KEEP == 0
    }

    /// What is in force under these `allowed` words, the slot's and the whole filter's, if the lease runs as
    /// `is_leased` says, which is asked only if it matters.
    #[must_use]
    #[inline(always)]
    pub fn in_force(self, allowed: Classes, all: Classes, is_leased: impl Fn() -> bool) -> Classes {
        let classes = self.classes().within(allowed).within(all);
        if classes.is_empty() || (self.needs_lease() && !is_leased()) {
            return Classes::NONE;
        }
        classes
    }
}

/// The lease word that never ends.
pub const FOREVER: u64 = u64::MAX;

/// Fractions of a tick that token buckets reckon in: a power of two, so that a tick is a shift.
pub const TICK_FRACTION_BITS: u32 = 20;

/// How a token bucket fills: one due time (the generic cell rate algorithm), in fractions of a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Between two tokens; 0 if there is none at all.
    pub interval: u64,
    /// How far the due time may lie ahead.
    pub ahead: u64,
}

impl Rate {
    /// So many tokens a second, and so many at once at most, on a clock of ticks of this length.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32, tick_ns: u64) -> Self {
        if per_second == 0 {
            return Self {
                interval: 0,
                ahead: 0,
            };
        }
        let second = (1_000_000_000 << TICK_FRACTION_BITS) / tick_ns;
        let interval = second / per_second as u64;
        let interval = if interval == 0 { 1 } else { interval };
        let ahead = interval * (burst as u64).saturating_sub(1);
        let tick = 1 << TICK_FRACTION_BITS;
        // The clock stands still for a tick: what becomes due in one must fit.
        let ahead = if ahead < tick { tick } else { ahead };
        Self { interval, ahead }
    }

    /// The due time after a token is taken now; `None` if there is none to take. `now` in ticks.
    #[must_use]
    #[inline(always)]
    pub const fn take(self, due: u64, now: u64) -> Option<u64> {
        let now = now << TICK_FRACTION_BITS;
        let at = if due > now { due } else { now };
        if self.interval == 0 || at > now + self.ahead {
            return None;
        }
        Some(at + self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_in_force_that_any_word_forbids() {
        let some = Classes::BOGONS | Classes::FAMILIES;
        let wanted = Wanted::new(some, LeaseEnd::Observe);
        let all = Classes::ALL;
        assert_eq!(wanted.in_force(all, all, || true), some);
        assert_eq!(
            wanted.in_force(Classes::FAMILIES, all, || true),
            Classes::FAMILIES
        );
        assert_eq!(wanted.in_force(Classes::NONE, all, || true), Classes::NONE);
        assert_eq!(wanted.in_force(all, Classes::NONE, || true), Classes::NONE);
        assert_eq!(wanted.in_force(all, all, || false), Classes::NONE);
        let kept = Wanted::new(some, LeaseEnd::Keep);
        assert_eq!(kept.in_force(all, all, || false), some);
        assert_eq!(kept.in_force(Classes::NONE, all, || true), Classes::NONE);
        assert_eq!(kept.classes(), some);
        assert_eq!(Wanted::from_word(kept.word()), kept);
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate::new(10, 10, 4_000_000); // 250 Hz: a token every 25 ticks
        let (mut due, mut taken) = (0, 0);
        for now in 1_000..1_000 + 250 {
            while let Some(next) = rate.take(due, now) {
                due = next;
                taken += 1;
            }
        }
        assert_eq!(taken, 10 + 9);
        assert_eq!(Rate::new(0, 10, 4_000_000).take(0, 5), None);
    }

    #[test]
    fn a_rate_of_many_a_tick_is_not_cut_by_the_ticks_length() {
        let rate = Rate::new(100_000, 1, 10_000_000); // 100 Hz: a thousand a tick
        let (mut due, mut taken) = (0, 0u64);
        for now in 1_000..1_100 {
            while let Some(next) = rate.take(due, now) {
                due = next;
                taken += 1;
            }
        }
        assert!((100_000..=101_001).contains(&taken), "{taken}");
    }
}
