//! Which prefixes one side of one peer holds, and on whose word: a count of holders per prefix, so that one
//! session's withdraw never removes another's permit. Adds count at once, removals after the hold.
//! Never knows who the holders are or why they hold.
use std::collections::HashMap;
use std::time::Duration;

use filter_core::{Family, Prefix};

/// One side of one peer.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: HashMap<Prefix, Entry>,
    /// Prefixes with holders, per family: what max-prefix counts.
    held: [u32; 2],
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    holders: u32,
    /// When it leaves, once nobody holds it.
    leaves_at: Duration,
}

/// Did the set of valid prefixes change?
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It did.
    Changed,
    /// It did not: one holder more or less, or a removal that waits.
    Same,
}

impl Ledger {
    /// One holder more.
    pub fn add(&mut self, prefix: Prefix) -> Change {
        let mut change = Change::Same;
        let entry = self.entries.entry(prefix).or_insert_with(|| {
            change = Change::Changed;
            Entry {
                holders: 0,
                leaves_at: Duration::ZERO,
            }
        });
        if entry.holders == 0 {
            self.held[prefix.family() as usize] += 1;
        }
        entry.holders += 1;
        change
    }

    /// One holder less. The last one leaves the prefix valid until `leaves_at`; `true` if it was the last.
    pub fn remove(&mut self, prefix: Prefix, leaves_at: Duration) -> bool {
        let Some(entry) = self
            .entries
            .get_mut(&prefix)
            .filter(|entry| entry.holders > 0)
        else {
            return false;
        };
        entry.holders -= 1;
        entry.leaves_at = leaves_at;
        if entry.holders > 0 {
            return false;
        }
        self.held[prefix.family() as usize] -= 1;
        true
    }

    /// The time of a removal has come: gone, unless somebody holds it again or the hold was renewed.
    pub fn expire(&mut self, prefix: Prefix, now: Duration) -> Change {
        match self.entries.get(&prefix) {
            Some(entry) if entry.holders == 0 && entry.leaves_at <= now => {
                self.entries.remove(&prefix);
                Change::Changed
            }
            _ => Change::Same,
        }
    }

    /// Everything that is valid now, in no order: held, or waiting to leave.
    pub fn prefixes(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.entries.keys().copied()
    }

    /// How many prefixes of a family somebody holds.
    #[must_use]
    pub fn held(&self, family: Family) -> u32 {
        self.held[family as usize]
    }

    /// How many are valid: held, or waiting to leave.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is nothing valid?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn one_withdraw_never_removes_anothers_permit() {
        let mut ledger = Ledger::default();
        let prefix: Prefix = "192.0.2.0/24".parse().unwrap();
        assert_eq!(ledger.add(prefix), Change::Changed);
        assert_eq!(ledger.add(prefix), Change::Same);
        assert!(!ledger.remove(prefix, at(30)));
        assert_eq!(ledger.expire(prefix, at(99)), Change::Same);
        assert!(ledger.remove(prefix, at(130)));
        assert!(!ledger.remove(prefix, at(140)), "nobody holds it");
        assert_eq!((ledger.len(), ledger.held(Family::Ipv4)), (1, 0));
        assert_eq!(ledger.expire(prefix, at(129)), Change::Same);
        assert_eq!(ledger.expire(prefix, at(130)), Change::Changed);
        assert!(ledger.is_empty());
    }

    #[test]
    fn coming_back_within_the_hold_is_no_change() {
        let mut ledger = Ledger::default();
        let prefix: Prefix = "2001:db8::/32".parse().unwrap();
        assert_eq!(ledger.add(prefix), Change::Changed);
        assert!(ledger.remove(prefix, at(30)));
        assert_eq!(ledger.add(prefix), Change::Same);
        assert_eq!(ledger.expire(prefix, at(30)), Change::Same);
        assert_eq!(ledger.prefixes().collect::<Vec<_>>(), [prefix]);
    }
}
