//! Why an Adj-RIB is not taken as complete although there is evidence for it: most of its routes are gone, it is empty
//! and the router counts routes in it, or there are too many. Another count that differs is reported and changes
//! nothing: routers count otherwise than they send. Knows no routes, only how many there are.
use std::time::Duration;

use super::pace::QUIET;

/// A table that lost more than this share of its routes at once waits for confirmation.
pub const SHRINK_PERCENT: usize = 50;
/// Tables smaller than this may shrink as they like, if their feed sent them in full.
pub const SHRINK_MIN: usize = 8;
/// An unconfirmed shrink is believed after this long.
pub const SHRINK_PATIENCE: Duration = Duration::from_secs(300);

/// Why a complete table is not taken as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The router counts another number of prefixes.
    Count {
        /// What the feed reported.
        received: u64,
        /// What the router counts.
        counted: u64,
    },
    /// Most of its routes are gone.
    Shrink {
        /// Routes before.
        had: usize,
        /// Routes after.
        has: usize,
    },
    /// More routes than [`super::MAX_ROUTES`].
    Overflow,
}

/// Why a table is to be taken as complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The feed sent its end: End-of-RIB, or a whole snapshot.
    Said,
    /// A newer count, or time, has resolved a doubt.
    Resolved,
    /// Nothing happened for so long that it must be.
    Quiet,
}

/// What speaks against one source.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubts {
    overflow: bool,
    shrink: Option<Shrink>,
    count: Option<Count>,
    mismatch: Option<Doubt>,
    /// What spoke against the table before it was sent from the start: against the last known one it still does.
    former: Option<Doubt>,
}

#[derive(Clone, Copy, Debug)]
struct Shrink {
    had: usize,
    has: usize,
    since: Duration,
    /// The transfer that shrank. Another one that shrank too confirms it.
    epoch: u32,
}

/// The router's last count, and how the table stood to it.
#[derive(Clone, Copy, Debug)]
struct Count {
    prefixes: u64,
    /// Since when the router counts that.
    since: Duration,
    /// A route came or went after it: it is no evidence about the table as it is now.
    lags: bool,
    /// Routes of the transfer then, and whether they were that many prefixes.
    received: usize,
    agreed: bool,
}

impl Count {
    /// Does it agree with this many routes? Some routers count paths, some prefixes, so equal numbers are not
    /// needed if nothing has changed since they agreed otherwise.
    const fn agrees(&self, received: usize) -> bool {
        received as u64 == self.prefixes || self.agreed && received == self.received
    }
}

impl Doubts {
    /// Does the router count no prefixes, and has nothing changed since?
    pub(super) fn counts_none(&self) -> bool {
        self.count
            .is_some_and(|count| count.prefixes == 0 && !count.lags)
    }

    pub(super) fn current(&self) -> Option<Doubt> {
        if self.overflow {
            return Some(Doubt::Overflow);
        }
        let shrink = self
            .shrink
            .map(|Shrink { had, has, .. }| Doubt::Shrink { had, has });
        self.mismatch.or(shrink)
    }

    /// May quiet complete the table? A shrink is judged again: what was missing may have been received meanwhile.
    pub(super) const fn allows_quiet(&self) -> bool {
        !self.overflow
    }

    /// May time alone change anything?
    pub(super) fn wants_tick(&self) -> bool {
        self.count.is_some() || self.current().is_some()
    }

    /// What speaks against the table as it was before it is sent from the start.
    pub(super) fn of_last_known(&self) -> Option<Doubt> {
        self.current().or(self.former)
    }

    /// The table is sent from the start: a shrink is remembered for the next transfer to confirm, the rest for as
    /// long as the table is only the last known.
    pub(super) fn restart(&mut self) {
        self.former = self.of_last_known();
        self.overflow = false;
        self.count = None;
        self.mismatch = None;
    }

    /// The session is gone, and with it what was doubtful.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) const fn overflow(&mut self) {
        self.overflow = true;
    }

    /// A route came or went: counts are evidence in the order in which they arrive, whatever the time.
    pub(super) const fn changed(&mut self) {
        if let Some(count) = &mut self.count {
            count.lags = true;
        }
    }

    /// The router counts; `agrees` is whether the `received` routes of the transfer are that many prefixes. The same
    /// count again, of a table that did not change, is no newer evidence.
    pub(super) fn counted(
        &mut self,
        now: Duration,
        prefixes: u64,
        (received, agrees): (usize, bool),
    ) {
        let same = self
            .count
            .filter(|count| count.prefixes == prefixes && !count.lags);
        self.count = Some(Count {
            prefixes,
            since: same.map_or(now, |count| count.since),
            lags: false,
            received,
            agreed: agrees,
        });
    }

    /// Counts lag behind routes and routes behind counts: a count that differs says something about a table only if
    /// for [`QUIET`] nothing has changed. Returns whether there is a new difference.
    pub(super) fn judge_count(&mut self, now: Duration, received: usize) -> bool {
        let Some(count) = self.count else {
            return false;
        };
        let lags = count.lags || now < count.since + QUIET;
        if self.mismatch.is_some() || lags || count.agrees(received) {
            return false;
        }
        let counted = count.prefixes;
        self.mismatch = Some(Doubt::Count {
            received: received as u64,
            counted,
        });
        true
    }

    /// Has time, or a newer count, resolved the doubt?
    pub(super) fn may_retry(&self, now: Duration, (epoch, received): (u32, usize)) -> bool {
        match self.current() {
            Some(Doubt::Count { .. }) => self.count.is_some_and(|count| count.agrees(received)),
            Some(Doubt::Shrink { .. }) => self.shrink.is_some_and(|shrink| {
                shrink.epoch == epoch && now >= shrink.since + SHRINK_PATIENCE
            }),
            Some(Doubt::Overflow) | None => false,
        }
    }

    /// Is the table complete by this evidence? `had` counts what it still holds, `has` what was part
    /// of this transfer.
    pub(super) fn judge(
        &mut self,
        now: Duration,
        epoch: u32,
        counts: (usize, usize),
        evidence: Evidence,
    ) -> Result<(), Doubt> {
        self.judge_telling(now, epoch, counts, evidence)?;
        self.former = None;
        Ok(())
    }

    fn judge_telling(
        &mut self,
        now: Duration,
        epoch: u32,
        (had, has): (usize, usize),
        evidence: Evidence,
    ) -> Result<(), Doubt> {
        if self.overflow {
            return Err(Doubt::Overflow);
        }
        let agrees = self.count.is_some_and(|count| count.agrees(has));
        if agrees {
            self.mismatch = None;
        }
        if has == 0 {
            self.judge_count(now, has);
            if let Some(mismatch) = self.mismatch {
                return Err(mismatch);
            }
        }
        if agrees && self.count.is_some_and(|count| !count.lags) {
            self.shrink = None;
            return Ok(());
        }
        let guarded = had >= SHRINK_MIN || evidence == Evidence::Quiet && has == 0;
        let shrank = guarded && (had - has) * 100 > had * SHRINK_PERCENT;
        if !shrank {
            self.shrink = None;
            return Ok(());
        }
        let seen = Shrink {
            had,
            has,
            since: now,
            epoch,
        };
        let first = *self.shrink.get_or_insert(seen);
        let confirmed = first.epoch != epoch && evidence == Evidence::Said;
        let patient = first.epoch == epoch && now >= first.since + SHRINK_PATIENCE;
        if confirmed || patient {
            self.shrink = None;
            return Ok(());
        }
        if first.epoch != epoch {
            self.shrink = Some(seen); // quiet in a later transfer does not confirm it: wait again
        }
        Err(Doubt::Shrink {
            had: first.had,
            has: first.has,
        })
    }
}
