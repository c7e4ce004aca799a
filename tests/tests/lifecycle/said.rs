//! The naive model of what one feed said of one session, and when: no states, no tellings, only times.
use std::collections::BTreeSet;
use std::time::Duration;

use filter_core::Prefix;
use filter_lifecycle::{LAST_WORDS, SETTLE, TICK};

use super::world::secs;

pub const WITHDRAW_HOLD: Duration = secs(30);
pub const DOWN_HOLD: Duration = secs(120);
pub const STALE_HOLD: Duration = secs(300);

/// What one feed said of one session.
#[derive(Debug, Default)]
pub struct Said {
    pub received: BTreeSet<Prefix>,
    /// Reported before the transfer that goes on, or before a loss: it may still count, and need not.
    pub former: BTreeSet<Prefix>,
    /// Told before its session ended, and no longer counted: it counts again when the session is back.
    pub remembered: BTreeSet<Prefix>,
    pub up_at: Option<Duration>,
    pub down_at: Option<Duration>,
    /// How much longer than [`DOWN_HOLD`] its hold is: its session ended with most others.
    pub longer: Duration,
    /// Until when what such a session had may count, whatever became of it since.
    pub former_until: Duration,
    /// The last time that the feed said that the table is complete.
    pub complete_at: Option<Duration>,
    /// It was complete before its session came up again, and what was received has counted since.
    pub was_complete: bool,
    /// The feed or the table was lost, and was not complete since.
    pub lost_at: Option<Duration>,
    /// What comes is known to be wrong, or nothing comes.
    pub wrong: bool,
    /// The feed is back and has reported nothing of it.
    pub silent_since: Option<Duration>,
    /// Anything was ever said of it.
    pub known: bool,
}

impl Said {
    /// Something is said of it: too late if it is the first and the session is down.
    pub fn come_up(&mut self, now: Duration, session_up: bool) {
        self.known |= session_up || self.down_at.is_none();
        if self.down_at.is_none() {
            self.up_at = self.up_at.or(self.silent_since).or(Some(now));
        }
    }

    /// Has its session been down for so long, or as much longer as its hold is?
    pub fn is_down_for(&self, now: Duration, time: Duration) -> bool {
        self.down_at
            .is_some_and(|at| now >= at + time + self.longer || !self.known)
    }

    /// Its session ended together with most others of its router.
    pub fn end_with_others(&mut self, now: Duration) {
        self.former_until = now + STALE_HOLD;
        if self.down_at.is_some() {
            self.longer = STALE_HOLD - DOWN_HOLD;
        }
    }

    /// May it be a reason for a prefix to be there?
    pub fn justifies(&self, now: Duration, prefix: Prefix) -> bool {
        let down_for = |time| self.is_down_for(now, time + 2 * TICK);
        self.received.contains(&prefix) && !down_for(DOWN_HOLD)
            || self.former.contains(&prefix)
                && (now < self.former_until + 2 * TICK || !down_for(DOWN_HOLD + WITHDRAW_HOLD))
    }

    /// A feed that is back and does not name a session for so long says that it is down; and when a hold is over
    /// nothing that was received is left.
    pub fn pass(&mut self, now: Duration) {
        if self.known && self.is_down_for(now, DOWN_HOLD + 2 * TICK) {
            self.remembered.extend(&self.former);
            self.remembered.append(&mut self.received);
            self.was_complete = false;
        }
        // What a late withdrawal removed from it has its own hold.
        if self.known && self.is_down_for(now, DOWN_HOLD + WITHDRAW_HOLD + 2 * TICK) {
            self.remembered.append(&mut self.former);
        }
        if let Some(down) = self
            .silent_since
            .map(|at| at + SETTLE)
            .filter(|at| *at <= now)
        {
            self.down_at = self.down_at.or(Some(down));
            self.silent_since = None;
        }
    }

    /// Complete and fresh: by End-of-RIB, or by quiet since the session came up; of a table that was
    /// lost, what it was before, for a while.
    pub fn is_known(&self, now: Duration) -> bool {
        let fresh = self.lost_at.is_none_or(|at| now <= at + STALE_HOLD);
        self.is_quiet(now) || self.complete_at.is_some() && fresh
    }

    pub fn is_quiet(&self, now: Duration) -> bool {
        !self.wrong && self.up_at.is_some_and(|at| now >= at + SETTLE)
    }

    /// What was received belongs to a former connection or life. What was complete when it was lost is the last known.
    pub fn restart(&mut self, now: Duration) {
        if self.is_quiet(now) && !self.received.is_empty() {
            (self.was_complete, self.lost_at) = (true, None);
        }
        self.former.append(&mut self.received);
        (self.up_at, self.wrong) = (None, false);
        if self.lost_at.is_none() {
            self.was_complete |= self.complete_at.take().is_some();
        }
    }

    pub fn lose(&mut self, now: Duration) {
        if self.is_quiet(now) {
            self.complete(now);
        }
        if self.was_complete {
            self.complete_at = self.complete_at.or(Some(now));
        }
        self.lost_at = self.lost_at.or(Some(now));
        self.wrong = true;
        self.silent_since = None;
        self.former.extend(&self.received);
    }

    /// A session that ended right before its feed was lost counts as down so much later that its hold ends with that
    /// of the loss.
    pub fn spare(&mut self, now: Duration) {
        let recent = |at: &Duration| now < *at + LAST_WORDS + 2 * TICK;
        if self.down_at.as_ref().is_some_and(recent) {
            (self.down_at, self.longer) = (Some(now + STALE_HOLD - DOWN_HOLD), Duration::ZERO);
        }
    }

    pub fn complete(&mut self, now: Duration) {
        self.complete_at = Some(now);
        (self.lost_at, self.wrong) = (None, false);
    }
}
