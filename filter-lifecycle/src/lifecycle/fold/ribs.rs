//! Routes that come and go, Adj-RIBs that are complete, and the router's own counts of them.
use std::sync::Arc;

use filter_core::{Family, Prefix};

use super::super::doubt::Evidence;
use super::super::kind::Kind;
use super::super::ledger::Left;
use super::super::routes::{Announced, Gone, MAX_ROUTES};
use super::super::source::{Leaving, SourceKey};
use super::super::sources::Transition;
use super::super::wanted::From;
use super::super::{Doubt, Event, State, session_of};
use super::{Fold, Reported};
use crate::route::Route;

impl Fold<'_> {
    pub(super) fn announce(&mut self, key: SourceKey, route: &Route) {
        match self.sources.get_mut(key) {
            Some(source) if source.is_heard() && !source.is_silent() => source.hear(),
            _ => {
                if self.opened(key).is_none() {
                    return;
                }
                let now = self.now;
                self.with(key, |source| source.end_silence(now));
            }
        }
        self.take(key, route);
    }

    /// A route of an open source.
    fn take(&mut self, key: SourceKey, route: &Route) {
        let Some(source) = self.sources.get_mut(key) else {
            return;
        };
        if source.state() == State::Down && source.kind().tells_sessions() {
            return; // too late: the session decides
        }
        let (owner, muted, doubted) = (source.owner(), source.is_muted(), source.doubt());
        let (was_empty, is_dumped) = (source.is_empty(), source.is_dumped());
        let scope = self.facts.scope(key, owner, route);
        let announced = source.announce(self.now, (route.prefix, route.path), &scope);
        if was_empty {
            self.unsettle(key); // it is waited for now
        }
        if let Some(strange) = self.facts.strange_next_hop(key, owner, route, &scope) {
            self.outbox.strange_next_hop(strange);
        }
        if let Some(strange) = self.facts.strange_first_as(key, owner, route) {
            self.outbox.strange_first_as(strange);
        }
        match announced {
            Announced::Same => return,
            Announced::Overflow => {
                if doubted != Some(Doubt::Overflow) {
                    self.report_doubt(key, Doubt::Overflow);
                    self.unsettle(key);
                }
                return;
            }
            Announced::New if is_dumped => self.feeds.changed(self.now, key.feed),
            Announced::New | Announced::Replaced(_) => {}
        }
        if muted {
            return;
        }
        let from = From { key, owner };
        let leaves_at = self.now + self.facts.timers().withdraw_hold;
        let mut counting = self.counting();
        counting.add(from, route.prefix, &scope);
        // After the new: who is concerned as before never has a gap.
        if let Announced::Replaced(scope) = announced {
            let prefix = route.prefix;
            let gone = Gone { prefix, scope };
            counting.remove(from, &gone, (leaves_at, Left::Withdrawn));
        }
    }

    pub(super) fn withdraw(&mut self, key: SourceKey, prefix: Prefix, path: u32) {
        let now = self.now;
        let Some(source) = self.opened(key) else {
            return;
        };
        source.hear();
        let owner = source.owner();
        if let Some(leaving) = source.withdraw(now, prefix, path) {
            self.leave(From { key, owner }, &leaving, Left::Withdrawn);
        }
    }

    /// A route is no more: it leaves after `withdraw_hold`, or when the hold is over that runs since its session ended.
    fn leave(&mut self, from: From, leaving: &Leaving, left: Left) {
        let hold = self.facts.timers().withdraw_hold;
        let leaves_at = leaving.held_until.unwrap_or(self.now + hold);
        self.counting()
            .remove(from, &leaving.gone, (leaves_at, left));
    }

    pub(super) fn end_of_rib(&mut self, key: SourceKey) {
        if self.readable_again(key) {
            return; // it says only that what follows can be read
        }
        let Some(source) = self.opened(key) else {
            return;
        };
        if source.end_of_rib() {
            self.complete(key, Evidence::Said);
        } else {
            self.unsettle(key); // it is not lost any more
        }
    }

    pub(super) fn snapshot(&mut self, key: SourceKey, routes: &Arc<[Route]>) {
        self.readable_again(key);
        let Some(source) = self.opened(key) else {
            return;
        };
        source.begin_snapshot();
        for route in routes
            .iter()
            .filter(|route| route.prefix.family() == key.family)
        {
            self.take(key, route);
        }
        let now = self.now;
        let source = self.sources.get_mut(key);
        if source.is_some_and(|source| source.end_of_snapshot(now)) {
            self.complete(key, Evidence::Said);
        } else {
            self.unsettle(key); // it is not lost any more
        }
        if self.facts.kind(key.feed) == Kind::Poll {
            self.compare(key);
        }
    }

    /// A poll was received in full: is it what another feed reports?
    fn compare(&mut self, key: SourceKey) {
        let (Some(session), feeds) = (session_of(key.origin), self.facts.feeds()) else {
            return;
        };
        if let Some(disagreement) = self.sources.compare(key, feeds) {
            self.outbox.push(Event::FeedDisagreement {
                session,
                rib: key.rib,
                prefixes: disagreement.prefixes,
                examples: disagreement.examples,
            });
        }
    }

    /// The router counts prefixes of one family, or of both together.
    pub(super) fn count(&mut self, reported: Reported, family: Option<Family>, prefixes: u64) {
        match family {
            Some(family) => self.counted(reported.of(family), prefixes),
            None => self.counted_together(reported, prefixes),
        }
    }

    fn counted(&mut self, key: SourceKey, prefixes: u64) {
        if let Some(source) = self.sources.get_mut(key) {
            source.counted(self.now, prefixes);
        }
    }

    /// Both families in one number. If it fits, it confirms both; if not, it speaks against an Adj-RIB that stands
    /// alone, and of two it is not known which is meant.
    fn counted_together(&mut self, reported: Reported, prefixes: u64) {
        let keys = Family::ALL.map(|family| reported.of(family));
        let routes = keys.map(|key| {
            let source = self.sources.get(key)?;
            Some(source.routes().fresh() as u64)
        });
        let sum: u64 = routes.iter().flatten().sum();
        for (key, routes) in keys.into_iter().zip(routes) {
            match routes {
                Some(routes) if sum == prefixes => self.counted(key, routes),
                // The difference is laid to each: either may be the one.
                Some(routes) => self.counted(key, (routes + prefixes).saturating_sub(sum)),
                None => {}
            }
        }
    }

    /// The Adj-RIB is complete, as its feed reports or as it is seen: what was not received again goes, after the hold.
    pub(super) fn complete(&mut self, key: SourceKey, evidence: Evidence) {
        let Some(source) = self.sources.get_mut(key) else {
            return;
        };
        let (was, doubted) = (source.state(), source.doubt());
        let owner = source.owner();
        let result = source.complete(self.now, evidence);
        let is = source.state();
        match result {
            Ok(gone) => {
                for leaving in &gone {
                    // What the end of its session explains did not vanish.
                    let left = match leaving.held_until {
                        Some(_) => Left::Withdrawn,
                        None => Left::Vanished,
                    };
                    self.leave(From { key, owner }, leaving, left);
                }
                self.counting().completed(key);
            }
            Err(doubt) if doubted != Some(doubt) => self.report_doubt(key, doubt),
            Err(_) => {}
        }
        self.changed(key, Transition { was, is });
    }

    pub(super) fn report_doubt(&mut self, key: SourceKey, doubt: Doubt) {
        let (session, rib, family) = (session_of(key.origin), key.rib, key.family);
        match doubt {
            Doubt::Shrink { had, has } => self.outbox.push(Event::ShrinkRefused {
                session,
                rib,
                family,
                had,
                has,
            }),
            Doubt::Count { received, counted } => self.outbox.push(Event::CountMismatch {
                feed: key.feed,
                session,
                rib,
                received,
                counted,
            }),
            Doubt::Overflow => {
                log::error!(
                    "more than {MAX_ROUTES} routes in {rib} of {}: it is never complete",
                    key.origin
                );
            }
        }
    }
}
