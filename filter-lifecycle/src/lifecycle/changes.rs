//! What became of valid prefixes, and by whom, for whoever keeps a journal of it. A side of a peer that changes much at once,
//! as when a table is received, is counted instead: a full table costs no more than some hundred prefixes do. Decides nothing.
use std::collections::HashMap;
use std::time::Duration;

use filter_core::Prefix;

use super::Side;
use crate::route::{FeedId, PeerId, Session};

/// Changes of one side of one peer that are named at once; further ones are counted.
pub const MAX_CHANGES: u32 = 256;
/// So many more are named each second.
pub const CHANGES_PER_SECOND: u32 = 8;
/// Changes that wait to be taken; further ones are counted.
pub const MAX_WAITING_CHANGES: usize = 65_536;
/// How often counted changes are reported while they go on.
const REPORT: Duration = Duration::from_secs(1);

/// Something that became of the valid prefixes of a side of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteChange {
    /// When it changed, by the lifecycle's clock.
    pub at: Duration,
    /// The peer whose prefix it is.
    pub peer: PeerId,
    /// Which side.
    pub side: Side,
    /// What.
    pub what: Changed,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// One prefix.
    Prefix {
        /// Which.
        prefix: Prefix,
        /// How.
        how: How,
        /// The feed and session that reported it; none if time did it.
        by: Option<(FeedId, Option<Session>)>,
    },
    /// So many changes since then that are not named.
    Many {
        /// When the first of them was.
        since: Duration,
        /// How many.
        count: u64,
    },
}

/// How a prefix changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is valid: a first route of it is announced, or was received.
    Announced,
    /// Its last route was withdrawn, or its session ended. It is valid until its hold is over.
    Withdrawn,
    /// Its last route was not there any more when its table was received again. It is valid until its hold is over.
    Vanished,
    /// Its hold is over: it is not valid any more.
    Left,
    /// It is valid again, because packets of it were dropped although nothing had withdrawn it.
    Revived,
}

impl How {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Announced,
        Self::Withdrawn,
        Self::Vanished,
        Self::Left,
        Self::Revived,
    ];

    /// The name in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Withdrawn => "withdrawn",
            Self::Vanished => "vanished",
            Self::Left => "left",
            Self::Revived => "revived",
        }
    }

    /// Is the prefix valid after it?
    #[must_use]
    pub const fn is_valid(self) -> bool {
        !matches!(self, Self::Left)
    }

    /// Was it valid before?
    #[must_use]
    pub const fn was_valid(self) -> bool {
        !matches!(self, Self::Announced | Self::Revived)
    }
}

/// What may still be named of one side of one peer, and what was only counted.
#[derive(Debug)]
struct Budget {
    left: u32,
    filled: Duration,
    since: Duration,
    counted: u64,
}

impl Budget {
    fn fill(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.filled).as_secs();
        let more = u32::try_from(seconds).unwrap_or(u32::MAX);
        let more = more.saturating_mul(CHANGES_PER_SECOND);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(MAX_CHANGES);
            self.filled = now;
        }
    }

    /// What was counted, if anything was.
    fn counted(&mut self) -> Option<Changed> {
        let (since, count) = (self.since, std::mem::take(&mut self.counted));
        (count > 0).then_some(Changed::Many { since, count })
    }
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Changes {
    waiting: Vec<RouteChange>,
    sides: HashMap<(PeerId, Side), Budget>,
    /// Those of which something was counted and is not reported yet.
    counting: Vec<(PeerId, Side)>,
}

impl Changes {
    pub(super) fn push(&mut self, now: Duration, (peer, side): (PeerId, Side), what: Changed) {
        let budget = self.sides.entry((peer, side)).or_insert(Budget {
            left: MAX_CHANGES,
            filled: now,
            since: now,
            counted: 0,
        });
        budget.fill(now);
        if budget.left == 0 || self.waiting.len() >= MAX_WAITING_CHANGES {
            if budget.counted == 0 {
                budget.since = now;
                self.counting.push((peer, side));
            }
            budget.counted += 1;
            return;
        }
        budget.left -= 1;
        let each = budget.counted().into_iter().chain([what]);
        self.waiting.extend(each.map(|what| RouteChange {
            at: now,
            peer,
            side,
            what,
        }));
    }

    /// Everything since the last call, oldest first; what is being counted only once it is due.
    pub(super) fn take(&mut self, now: Duration) -> Vec<RouteChange> {
        self.take_counted(now, REPORT)
    }

    /// Everything since the last call, with what is being counted.
    pub(super) fn take_all(&mut self, now: Duration) -> Vec<RouteChange> {
        self.take_counted(now, Duration::ZERO)
    }

    fn take_counted(&mut self, now: Duration, report: Duration) -> Vec<RouteChange> {
        let mut taken = std::mem::take(&mut self.waiting);
        self.counting.retain(|&(peer, side)| {
            let Some(budget) = self.sides.get_mut(&(peer, side)) else {
                return false;
            };
            let is_due = now.saturating_sub(budget.since) >= report;
            if is_due && let Some(what) = budget.counted() {
                taken.push(RouteChange {
                    at: now,
                    peer,
                    side,
                    what,
                });
            }
            budget.counted > 0
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: (PeerId, Side) = (PeerId(0), Side::Sources);

    fn announced() -> Changed {
        Changed::Prefix {
            prefix: "9.9.9.0/24".parse().unwrap(),
            how: How::Announced,
            by: None,
        }
    }

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_table_is_counted_and_not_named_and_no_other_side_with_it() {
        let mut changes = Changes::default();
        for _ in 0..1_000_000 {
            changes.push(at(0), SIDE, announced());
        }
        let other = (PeerId(1), Side::Destinations);
        changes.push(at(0), other, announced());
        let taken = changes.take(at(999));
        assert_eq!(taken.len(), MAX_CHANGES as usize + 1);
        assert!(taken.iter().all(|it| it.what == announced()));
        changes.push(at(999), other, announced());
        let many = Changed::Many {
            since: at(0),
            count: 1_000_000 - u64::from(MAX_CHANGES),
        };
        let taken = changes.take(at(1000));
        let taken: Vec<_> = taken.iter().map(|it| (it.at, &it.what)).collect();
        assert_eq!(taken, [(at(999), &announced()), (at(1000), &many)]);
        assert_eq!(changes.take(at(5000)), []);
        changes.push(at(5000), SIDE, announced());
        for _ in 0..MAX_CHANGES {
            changes.push(at(5000), SIDE, announced());
        }
        let named = changes.take(at(5000)).len();
        assert_eq!(
            changes.take_all(at(5000)).len(),
            1,
            "and is counted: {named} were named"
        );
    }

    #[test]
    fn what_was_counted_is_reported_before_what_is_named_again() {
        let mut changes = Changes::default();
        for _ in 0..MAX_CHANGES {
            changes.push(at(0), SIDE, announced());
        }
        changes.push(at(500), SIDE, announced());
        changes.push(at(1000), SIDE, announced());
        let taken = changes.take(at(1000));
        let last: Vec<_> = taken.iter().rev().take(2).map(|it| &it.what).collect();
        let many = Changed::Many {
            since: at(500),
            count: 1,
        };
        assert_eq!(last, [&announced(), &many]);
        assert_eq!(taken.len(), MAX_CHANGES as usize + 2);
    }
}
