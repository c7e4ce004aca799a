//! The prefixes of one peer that are not admitted: why, and how many of its routes hold each. Bounded in what it
//! reports; never decides what is admitted.
use std::collections::{HashMap, HashSet, hash_map};
use std::time::Duration;

use filter_core::Prefix;

use super::Refusal;

/// Refused prefixes a peer's status lists; all are counted.
pub const MAX_REFUSED_LISTED: usize = 100;
/// Refused prefixes of one peer that are reported as events in [`REFUSED_PERIOD`].
pub const MAX_REFUSED_EVENTS: usize = 100;
/// How long a refused prefix that was reported is not reported again.
pub const REFUSED_PERIOD: Duration = Duration::from_secs(3600);

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// With the number of routes of each.
    prefixes: HashMap<Prefix, (Refusal, u32)>,
    reported: HashSet<Prefix>,
    reported_since: Duration,
}

impl Refused {
    /// A route of this prefix more. Returns whether it is to be reported.
    pub(super) fn add(&mut self, now: Duration, prefix: Prefix, refusal: Refusal) -> bool {
        match self.prefixes.entry(prefix) {
            hash_map::Entry::Occupied(mut known) => {
                known.get_mut().1 += 1;
                return false;
            }
            hash_map::Entry::Vacant(vacant) => vacant.insert((refusal, 1)),
        };
        if now >= self.reported_since + REFUSED_PERIOD {
            self.reported.clear();
            self.reported_since = now;
        }
        self.reported.len() < MAX_REFUSED_EVENTS && self.reported.insert(prefix)
    }

    /// A route of this prefix less.
    pub(super) fn remove(&mut self, prefix: Prefix) {
        if let hash_map::Entry::Occupied(mut known) = self.prefixes.entry(prefix) {
            known.get_mut().1 -= 1;
            if known.get().1 == 0 {
                known.remove();
            }
        }
    }

    pub(super) fn why(&self, prefix: Prefix) -> Option<Refusal> {
        self.prefixes.get(&prefix).map(|&(refusal, _)| refusal)
    }

    pub(super) fn len(&self) -> usize {
        self.prefixes.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Prefix, Refusal)> + '_ {
        self.prefixes
            .iter()
            .map(|(&prefix, &(refusal, _))| (prefix, refusal))
    }
}
