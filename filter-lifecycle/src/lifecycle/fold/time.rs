//! What time alone changes: holds that end, Adj-RIBs that have gone quiet, doubts that have resolved, feeds that have
//! been lost for too long.
use std::time::Duration;

use super::super::State;
use super::super::doubt::Evidence;
use super::super::ledger::Left;
use super::super::routes::Gone;
use super::super::source::{Source, SourceKey};
use super::super::wanted::From;
use super::Fold;
use crate::route::{DownCause, Origin};

impl Fold<'_> {
    pub(in super::super) fn tick(&mut self) {
        for key in self.sources.waiting() {
            self.tick_source(key);
        }
        self.wanted.expire(self.now, self.pending);
        self.end_suspicions();
        let stale_hold = self.facts.timers().stale_hold;
        for feed in self.feeds.newly_late(self.now, stale_hold) {
            self.unsettle_feed(feed);
        }
    }

    fn tick_source(&mut self, key: SourceKey) {
        let (now, settle_max) = (self.now, self.facts.timers().settle_max);
        let is_connected = self.feeds.is_connected(key.feed);
        let is_busy = self.feeds.is_busy(now, key.feed);
        let Some(source) = self.sources.get_mut(key) else {
            return;
        };
        let lapsed = source.lapse(now, settle_max);
        if !lapsed.is_empty() {
            self.remove_all(key, &lapsed, (Duration::ZERO, Left::Withdrawn));
            self.unsettle(key);
        }
        let Some(source) = self.sources.get_mut(key) else {
            return;
        };
        if source.hold_until().is_some_and(|until| until <= now) {
            let gone = self.with_routes(key, |source| source.hold_over(now));
            self.remove_all(key, &gone, (Duration::ZERO, Left::Withdrawn));
        } else if is_connected && source.is_unreported(now) {
            if let Origin::Session(session) = key.origin {
                self.session_down(key.feed, session, DownCause::Deconfigured);
            }
        } else if is_connected && source.is_quiet(now, is_busy, settle_max) {
            self.complete(key, Evidence::Quiet);
        } else if source.may_retry(now) {
            self.complete(key, Evidence::Resolved);
        } else if source.doubts_count(now) {
            if let Some(doubt) = source.doubt() {
                self.report_doubt(key, doubt);
            }
            self.unsettle(key);
        } else if source.state() == State::Stale {
            self.expire_stale(key);
        } else if !source.is_heard() || source.lost_since().is_some() {
            self.unsettle(key); // how long it is waited for depends on the time alone
        }
    }

    /// A lost feed's routes go once another feed reports the same Adj-RIB; else the peer degrades, if it may.
    fn expire_stale(&mut self, key: SourceKey) {
        let timers = self.facts.timers();
        let source = self.sources.get(key);
        if source.is_none_or(|source| self.now < source.since() + timers.stale_hold) {
            return;
        }
        let is_elsewhere = self
            .sources
            .beside(key, self.facts.feeds())
            .any(|source| source.state() == State::Synced && source.is_heard());
        if is_elsewhere {
            let gone = self.with_routes(key, Source::clear);
            self.remove_all(key, &gone, (timers.withdraw_hold, Left::Vanished));
        }
        self.unsettle(key);
    }

    fn remove_all(&mut self, key: SourceKey, gone: &[Gone], (hold, left): (Duration, Left)) {
        let Some(owner) = self.facts.owner_of(key.origin) else {
            return;
        };
        let leaves_at = self.now + hold;
        let mut counting = self.counting();
        for gone in gone {
            counting.remove(From { key, owner }, gone, (leaves_at, left));
        }
    }
}
