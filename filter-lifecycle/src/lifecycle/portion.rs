//! What one session, or one member's part of a route server's, advertises of a family, against `max_prefixes`: which of its
//! prefixes count, and which wait because there are too many. Knows no peer, no hold and no other session.
use std::collections::HashMap;

use filter_core::{Family, Prefix};

use super::key::RouteKey;

/// See the file's head. 32 bytes for each prefix, of peers with `max_prefixes` only.
#[derive(Debug, Default)]
pub(super) struct Portion {
    prefixes: HashMap<RouteKey, Held>,
    /// Prefixes that count, and that wait.
    counting: usize,
    waiting: usize,
    /// It was complete, and within the limit: what it has is a last good table.
    was_complete: bool,
    /// It is received for the first time after it was frozen: what was not good then waits, in whatever order it comes.
    restores: bool,
    /// An event has reported that it is over the limit.
    reported: bool,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    /// Several with ADD-PATH.
    routes: u32,
    standing: Standing,
}

/// How a prefix stands to the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It counts.
    Counts,
    /// It would be growth beyond the limit.
    Waits,
    /// It is not admitted, and fills the limit all the same.
    Refused,
}

/// A route that is received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub prefix: Prefix,
    pub is_admitted: bool,
    /// It was announced now: what counted before is no growth.
    pub is_new: bool,
    /// Nothing was frozen before, or this was good then.
    pub was_good: bool,
}

impl Portion {
    /// One of a family that was frozen in an earlier process, or by an earlier specification, which reported that: its
    /// end is to be reported, so that nothing is kept of it for the next process.
    pub(super) fn restored() -> Self {
        Self {
            restores: true,
            reported: true,
            ..Self::default()
        }
    }

    /// A route more.
    pub(super) fn add(&mut self, received: Received, limit: u32) -> Standing {
        let Received {
            prefix,
            is_admitted,
            is_new,
            was_good,
        } = received;
        let is_full = self.prefixes.len() >= limit as usize && self.has_good();
        let is_growth = is_new && (is_full || self.restores && !was_good);
        let held = self
            .prefixes
            .entry(RouteKey::new(prefix, 0))
            .or_insert_with(|| {
                let standing = match (is_admitted, is_growth) {
                    (false, _) => Standing::Refused,
                    (true, false) => Standing::Counts,
                    (true, true) => Standing::Waits,
                };
                self.counting += usize::from(standing == Standing::Counts);
                self.waiting += usize::from(standing == Standing::Waits);
                Held {
                    routes: 0,
                    standing,
                }
            });
        held.routes += 1;
        held.standing
    }

    /// Is there a last good table? An emptied one is none.
    const fn has_good(&self) -> bool {
        self.was_complete && self.counting > 0
    }

    /// A route less. Returns how its prefix stood.
    pub(super) fn remove(&mut self, prefix: Prefix) -> Option<Standing> {
        let key = RouteKey::new(prefix, 0);
        let held = self.prefixes.get_mut(&key)?;
        let standing = held.standing;
        held.routes -= 1;
        if held.routes == 0 {
            self.prefixes.remove(&key);
            self.counting -= usize::from(standing == Standing::Counts);
            self.waiting -= usize::from(standing == Standing::Waits);
        }
        Some(standing)
    }

    /// What waited counts once all of it fits, or nothing is left that counts: the prefixes, and how many routes each has.
    pub(super) fn release(&mut self, family: Family, limit: u32) -> Vec<(Prefix, u32)> {
        let keeps = self.restores || self.is_over(limit) && self.counting > 0;
        if self.waiting == 0 || keeps {
            return Vec::new();
        }
        // What was good is gone: nothing is left that more than the limit could be growth of.
        self.was_complete &= !self.is_over(limit);
        self.counting += std::mem::take(&mut self.waiting);
        let held = self.prefixes.iter_mut();
        let waiting = held.filter(|(_, held)| held.standing == Standing::Waits);
        let mut released: Vec<(Prefix, u32)> = waiting
            .map(|(key, held)| {
                held.standing = Standing::Counts;
                (key.prefix(family), held.routes)
            })
            .collect();
        released.sort_unstable();
        released
    }

    /// Does it have more prefixes than it may?
    pub(super) fn is_over(&self, limit: u32) -> bool {
        self.prefixes.len() > limit as usize
    }

    /// Does growth wait?
    pub(super) fn is_frozen(&self, limit: u32) -> bool {
        self.waiting > 0 || self.is_over(limit) && self.has_good()
    }

    /// Is it received for the first time after it was frozen?
    pub(super) const fn is_restoring(&self) -> bool {
        self.restores
    }

    /// Its prefixes, counted or not.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.prefixes.len()).unwrap_or(u32::MAX)
    }

    /// It is complete: within the limit it is good, and so is what is left of what was good before.
    pub(super) fn completed(&mut self, limit: u32) {
        let is_restored = std::mem::take(&mut self.restores) && self.counting > 0;
        self.was_complete |= !self.is_over(limit) || is_restored;
    }

    /// The prefixes that count, if growth waits: its last good table.
    pub(super) fn good(&self, family: Family, limit: u32) -> impl Iterator<Item = Prefix> + '_ {
        let counting = |held: &Held| held.standing == Standing::Counts;
        let is_frozen = self.is_frozen(limit);
        let all = self.prefixes.iter().filter(move |_| is_frozen);
        all.filter(move |(_, held)| counting(held))
            .map(move |(key, _)| key.prefix(family))
    }

    /// It is looked at whether it is over the limit. Returns whether that is to be reported: each once.
    pub(super) fn report(&mut self, limit: u32) -> Option<Report> {
        match (self.is_over(limit), self.reported) {
            (true, false) => {
                self.reported = true;
                Some(Report::Exceeded)
            }
            (false, true) => {
                self.reported = false;
                Some(Report::Cleared)
            }
            (true, true) | (false, false) => None,
        }
    }
}

/// What there is to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// It is over the limit.
    Exceeded,
    /// It is not any more.
    Cleared,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(number: u32) -> Prefix {
        format!("10.{number}.0.0/16").parse().unwrap()
    }

    fn new(number: u32) -> Received {
        Received {
            prefix: prefix(number),
            is_admitted: true,
            is_new: true,
            was_good: true,
        }
    }

    /// A complete one with a limit of two and as many prefixes.
    fn full() -> Portion {
        let mut portion = Portion::default();
        for number in 1..=2 {
            assert_eq!(portion.add(new(number), 2), Standing::Counts);
        }
        portion.completed(2);
        portion
    }

    #[test]
    fn growth_waits_until_all_of_it_fits() {
        let mut portion = full();
        for _ in 0..2 {
            assert_eq!(portion.add(new(3), 2), Standing::Waits);
        }
        assert_eq!(portion.add(new(1), 2), Standing::Counts, "another path");
        assert_eq!(portion.report(2), Some(Report::Exceeded));
        assert_eq!(portion.report(2), None);
        assert_eq!(portion.release(Family::Ipv4, 2), []);
        assert_eq!(portion.remove(prefix(2)), Some(Standing::Counts));
        assert!(portion.is_frozen(2));
        assert_eq!(portion.release(Family::Ipv4, 2), [(prefix(3), 2)]);
        assert_eq!(portion.release(Family::Ipv4, 2), []);
        assert_eq!(portion.report(2), Some(Report::Cleared));
        assert_eq!(portion.remove(prefix(3)), Some(Standing::Counts));
        assert_eq!(portion.remove(prefix(9)), None);
    }

    #[test]
    fn an_emptied_table_is_no_last_good_one() {
        let mut portion = full();
        for number in 3..6 {
            assert_eq!(portion.add(new(number), 2), Standing::Waits);
        }
        portion.remove(prefix(1));
        assert_eq!(portion.release(Family::Ipv4, 2), []);
        portion.remove(prefix(2));
        assert_eq!(portion.release(Family::Ipv4, 2).len(), 3);
        assert!(portion.is_over(2) && !portion.is_frozen(2));
    }

    #[test]
    fn without_a_last_good_table_everything_counts() {
        let mut portion = Portion::default();
        for number in 1..5 {
            assert_eq!(portion.add(new(number), 2), Standing::Counts);
        }
        portion.completed(2);
        assert_eq!(portion.add(new(5), 2), Standing::Counts);
        let mut portion = full();
        let before = Received {
            is_new: false,
            ..new(3)
        };
        assert_eq!(portion.add(before, 2), Standing::Counts);
        let refused = Received {
            is_admitted: false,
            ..new(4)
        };
        assert_eq!(portion.add(refused, 2), Standing::Refused);
        assert_eq!(portion.len(), 4);
        assert!(portion.is_frozen(2));
    }
    #[test]
    fn a_freeze_is_restored_in_whatever_order_it_is_received() {
        let other = |number| Received {
            was_good: false,
            ..new(number)
        };
        for (good, others, waits) in [(1, 2, true), (1, 1, false), (0, 3, false)] {
            let mut portion = Portion::restored();
            for number in 0..others {
                assert_eq!(portion.add(other(number), 2), Standing::Waits);
            }
            for number in 10..10 + good {
                assert_eq!(portion.add(new(number), 2), Standing::Counts);
            }
            assert_eq!(
                portion.release(Family::Ipv4, 2),
                [],
                "before it is complete"
            );
            portion.completed(2);
            let released = portion.release(Family::Ipv4, 2).len();
            assert_eq!(released, if waits { 0 } else { others as usize });
            assert_eq!(portion.good(Family::Ipv4, 2).count(), usize::from(waits));
        }
    }
}
