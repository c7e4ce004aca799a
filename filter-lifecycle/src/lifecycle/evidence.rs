//! What keeps a peer from being enforced: the first thing that is missing, from the standing of every table that
//! matters for it. Changes nothing.
use std::time::Duration;

use filter_core::layout::{Families, Known};
use filter_core::{Family, Prefix};

use super::kind::Kind;
use super::source::{SETTLE, Source};
use super::telling::family_of;
use super::{Doubt, Lifecycle, Missing, Side, SourceKey, State, session_of};
use crate::route::{FeedId, Origin, PeerId, Table};
use crate::spec::{Attachment, OnStale, RouteServer};

/// What one source, or the sources that tell one table, are worth. Ordered: of several that tell the same table
/// the best counts, of several tables the worst that blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing speaks for it or against it.
    Silent,
    /// Its session is down.
    Held,
    /// What is told cannot be relied on.
    Blocks(Missing),
    /// Complete and fresh.
    Usable,
}

impl Standing {
    const fn rank(&self) -> u8 {
        match self {
            Self::Silent => 0,
            Self::Held => 1,
            Self::Blocks(_) => 2,
            Self::Usable => 3,
        }
    }

    fn or(self, other: Self) -> Self {
        if other.rank() > self.rank() {
            other
        } else {
            self
        }
    }
}

impl Lifecycle {
    /// The first thing that keeps the peer from being enforced.
    #[must_use]
    pub fn missing(&self, now: Duration, id: PeerId) -> Option<Missing> {
        let (peer, spec) = (&self.peers[id.0 as usize], &self.spec.peers[id.0 as usize]);
        let families = || {
            Family::ALL
                .into_iter()
                .filter(|&f| spec.families.contains(f))
        };
        if peer.crowded {
            return Some(Missing::TooManyTables);
        }
        let tables = families().flat_map(|family| Side::ALL.map(|side| (side, family)));
        for (side, family) in tables.clone() {
            if let Some(missing) = self.missing_table(now, id, side, family) {
                return Some(missing);
            }
        }
        for (side, family) in tables {
            let frozen = &peer.frozen[family as usize];
            if side == Side::Sources && frozen.as_ref().is_some_and(|frozen| !frozen.any) {
                return Some(Missing::NoGoodTable(family));
            }
            let extras: &[Prefix] = match side {
                Side::Sources => &spec.extra_sources,
                Side::Destinations => &spec.extra_destinations,
            };
            let extra = extras.iter().any(|prefix| prefix.family() == family);
            if peer.len_of(side, family) == 0 && !extra {
                return Some(Missing::Empty(side, family));
            }
        }
        if let Some(family) = peer.over_budget {
            return Some(Missing::CoverageBudget(family));
        }
        if peer.breaker.tripped {
            return Some(Missing::BreakerTripped);
        }
        peer.unpublished.clone().map(Missing::NotPublished)
    }

    /// The sides of the peer that were told to their end: nothing is judged by the others.
    #[must_use]
    pub fn known(&self, now: Duration, id: PeerId) -> Known {
        let families = |side| {
            Families::new(|family| {
                let missing = self.missing_table(now, id, side, family);
                !matches!(missing, Some(Missing::NeverTold(..) | Missing::Loading(..)))
            })
        };
        Known::new(families(Side::Sources), families(Side::Destinations))
    }

    /// May a table of this side that nobody has told yet still come? Not once feeds say of every session that could
    /// carry it that it is down, or that the router does not have it.
    #[must_use]
    pub fn is_awaited(&self, id: PeerId, side: Side, family: Family) -> bool {
        let Some(peer) = self.spec.peer(id) else {
            return false;
        };
        let table = match side {
            Side::Sources => peer.view.table(),
            Side::Destinations => Table::AdjOut,
        };
        let own = peer.attachments.iter().flat_map(Attachment::sessions);
        let servers = self.spec.route_servers.iter();
        let mut sessions = own.chain(servers.flat_map(RouteServer::sessions));
        sessions.any(|session| {
            let key = SourceKey {
                origin: Origin::Session(session),
                table,
                family,
                feed: FeedId(0), // whom a table concerns does not depend on who tells it
            };
            self.concerned(key).contains(&id) && !self.is_down(session)
        })
    }

    /// Of two feeds that tell the same table one must be usable; of several tables, as of two sessions, all that
    /// are not down must be.
    fn missing_table(
        &self,
        now: Duration,
        id: PeerId,
        side: Side,
        family: Family,
    ) -> Option<Missing> {
        let keys = self.peers[id.0 as usize].keys.iter();
        let mut keys = keys
            .filter(|key| Side::of(key.table) == side && key.family == family)
            .peekable();
        let mut best = Standing::Silent;
        // The same table stands together: feeds come last in the order of keys.
        while let Some(first) = keys.next() {
            let mut table = self.standing(now, id, first);
            while let Some(other) = keys.next_if(|key| key.same_table(first)) {
                table = table.or(self.standing(now, id, other));
            }
            if let Standing::Blocks(missing) = table {
                return Some(missing);
            }
            best = best.or(table);
        }
        match best {
            Standing::Usable => None,
            Standing::Blocks(missing) => Some(missing),
            Standing::Held => Some(Missing::SessionDown(side, family)),
            Standing::Silent => Some(Missing::NeverTold(side, family)),
        }
    }

    fn standing(&self, now: Duration, id: PeerId, key: &SourceKey) -> Standing {
        let Some(source) = self.sources.get(key) else {
            return Standing::Silent;
        };
        let (side, family) = (Side::of(key.table), key.family);
        match source.state() {
            State::Held if source.is_kept() => return Standing::Usable,
            State::Held | State::Down => return Standing::Held,
            State::Unknown => return Standing::Silent,
            State::Loading | State::Synced | State::Stale => {}
        }
        let doubt = match source.state() {
            State::Stale => source.doubts.of_last_known(),
            _ => source.doubts.current(),
        };
        match doubt {
            // A table that is not empty is what its feed tells, whatever the router counts.
            Some(Doubt::Count { told: 1.., .. }) => {}
            Some(Doubt::Count { .. }) if source.state() != State::Loading => {}
            Some(Doubt::Count { .. } | Doubt::Overflow) => {
                return Standing::Blocks(Missing::CountMismatch(side, family));
            }
            Some(Doubt::Shrink { .. }) => {
                return Standing::Blocks(Missing::ShrinkUnconfirmed(side, family));
            }
            None => {}
        }
        match source.state() {
            State::Loading if is_unused(key, source) => Standing::Silent,
            State::Loading if awaited(source, now) => {
                Standing::Blocks(Missing::Loading(side, family))
            }
            State::Synced if source.is_heard() => {
                let supplement =
                    source.kind == Kind::ByHand && self.peers[id.0 as usize].dynamic[side as usize];
                if supplement {
                    Standing::Silent
                } else {
                    Standing::Usable
                }
            }
            State::Stale if source.is_heard() => {
                let fresh = now < source.since() + self.spec.timers.stale_hold;
                if fresh || self.spec.peers[id.0 as usize].on_stale == OnStale::Keep {
                    Standing::Usable
                } else {
                    Standing::Blocks(Missing::FeedLost(side, family))
                }
            }
            State::Unknown
            | State::Loading
            | State::Synced
            | State::Stale
            | State::Held
            | State::Down => Standing::Silent,
        }
    }
}

/// A table without a route, of a family that the session agreed on and never used, is not waited for; nor is one that
/// had no route when its feed was lost.
fn is_unused(key: &SourceKey, source: &Source) -> bool {
    let session = session_of(key.origin);
    let is_other = session.is_some_and(|session| family_of(session) != key.family);
    source.is_empty() && (is_other || source.is_lost())
}

/// A table of which nothing was told is waited for only until its session has settled.
fn awaited(source: &Source, now: Duration) -> bool {
    source.is_heard() || now < source.started() + SETTLE
}
