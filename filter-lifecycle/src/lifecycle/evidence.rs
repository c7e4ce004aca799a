//! What keeps one side of one family of a peer from being complete, from the standing of every Adj-RIB of it. Changes
//! nothing, and remembers nothing: what was complete before, `grants` knows.
use std::time::Duration;

use filter_core::Family;

use super::facts::Facts;
use super::feeds::Feeds;
use super::fold::family_of;
use super::kind::Kind;
use super::source::{SETTLE, Source};
use super::sources::Sources;
use super::wanted::Wanted;
use super::{Doubt, Missing, Side, SourceKey, State, session_of};
use crate::route::{AdjRib, FeedId, Origin, PeerId, Session};
use crate::spec::{Attachment, RouteServer};

/// What one source, or the sources of one Adj-RIB, are worth. Ordered: of several sources of the same Adj-RIB
/// the best counts, of several tables the worst that blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// There is no evidence for it or against it.
    Silent,
    /// Its session was down when its feed was lost, too long ago to know anything of it.
    Lost,
    /// Its session is down.
    Held,
    /// What is received cannot be relied on.
    Blocks(Missing),
    /// Complete and fresh.
    Usable,
}

impl Standing {
    const fn rank(&self) -> u8 {
        match self {
            Self::Silent => 0,
            Self::Lost => 1,
            Self::Held => 2,
            Self::Blocks(_) => 3,
            Self::Usable => 4,
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

/// Everything that a grant is decided from, to be read at one time.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub now: Duration,
    pub facts: &'a Facts,
    pub feeds: &'a Feeds,
    pub sources: &'a Sources,
    pub wanted: &'a Wanted,
}

impl View<'_> {
    /// See [`Lifecycle::is_awaited`](super::Lifecycle::is_awaited).
    pub(super) fn is_awaited(self, id: PeerId, side: Side, family: Family) -> bool {
        let mut sessions = self.carriers(id, side, family).into_iter();
        sessions.any(|(session, _)| !self.feeds.is_down(session))
    }

    /// The sessions that carry this side of a peer: its own, and those of the route servers that serve it; with the key of
    /// the Adj-RIB, whichever feed reports it.
    fn carriers(self, id: PeerId, side: Side, family: Family) -> Vec<(Session, SourceKey)> {
        let spec = self.facts.spec();
        let Some(peer) = spec.peer(id) else {
            return Vec::new();
        };
        let rib = match side {
            Side::Sources => peer.view.rib(),
            Side::Destinations => AdjRib::OutPostPolicy,
        };
        let own = peer.attachments.iter().flat_map(Attachment::sessions);
        let servers = spec.route_servers.iter().flat_map(RouteServer::sessions);
        let sessions = own.chain(servers).map(|session| {
            let key = SourceKey {
                origin: Origin::Session(session),
                rib,
                family,
                feed: FeedId(0), // whom an Adj-RIB concerns does not depend on the feed
            };
            (session, key)
        });
        sessions
            .filter(|(_, key)| self.facts.concerned(*key).contains(&id))
            .collect()
    }

    /// Is a session up that carries our announcements to the peer, and of which no feed reports them? Then what we advertise
    /// to it is not known.
    fn has_unreported_exports(self, id: PeerId, family: Family) -> bool {
        let mut carriers = self.carriers(id, Side::Destinations, family).into_iter();
        carriers.any(|(session, key)| {
            let mut feeds = self.facts.feeds();
            let is_heard = |feed| {
                let source = self.sources.get(SourceKey { feed, ..key });
                source.is_some_and(Source::is_heard)
            };
            self.feeds.exchanges(session, family) && !feeds.any(is_heard)
        })
    }

    /// What keeps the side from being complete. Of two feeds that report the same Adj-RIB one must be usable; of several
    /// Adj-RIBs, as of two sessions, all that are not down must be; and of our announcements one of every session that is up
    /// must be reported, unless they are listed by hand.
    pub(super) fn incomplete(self, id: PeerId, side: Side, family: Family) -> Option<Missing> {
        let mut keys = self.sources.of_side(id, side, family).peekable();
        let mut best = Standing::Silent;
        let mut is_by_hand = false;
        // The same Adj-RIB stands together: feeds come last in the order of keys.
        while let Some(first) = keys.next() {
            let mut rib = self.standing(id, first);
            while let Some(other) = keys.next_if(|key| key.is_same_rib(&first)) {
                rib = rib.or(self.standing(id, other));
            }
            if let Standing::Blocks(missing) = rib {
                return Some(missing);
            }
            is_by_hand |= rib == Standing::Usable && session_of(first.origin).is_none();
            best = best.or(rib);
        }
        match best {
            Standing::Usable
                if side == Side::Destinations
                    && !is_by_hand
                    && self.has_unreported_exports(id, family) =>
            {
                Some(Missing::NotReceived(side, family))
            }
            Standing::Usable => None,
            Standing::Blocks(missing) => Some(missing),
            Standing::Held => Some(Missing::SessionDown(side, family)),
            Standing::Lost => Some(Missing::FeedLost(side, family)),
            Standing::Silent => Some(Missing::NotReceived(side, family)),
        }
    }

    fn standing(self, id: PeerId, key: SourceKey) -> Standing {
        let Some(source) = self.sources.get(key) else {
            return Standing::Silent;
        };
        let (side, family) = (Side::of(key.rib), key.family);
        let foreign = self.feeds.foreign_since(key.feed);
        if source.state() != State::Unknown && self.is_ignorant(id, foreign) {
            return Standing::Blocks(Missing::FeedLost(side, family));
        }
        match source.state() {
            State::Held if source.is_kept() => return Standing::Usable,
            State::Held | State::Down if self.is_lost(id, key) => return Standing::Lost,
            State::Held | State::Down => return Standing::Held,
            State::Unknown => return Standing::Silent,
            State::Loading | State::Synced | State::Stale => {}
        }
        let lost_since = match source.state() {
            State::Stale => Some(source.since()),
            State::Loading => source.lost_since(),
            _ => None,
        };
        // A table that was received again and has shrunk is not lost: it is believed, or confirmed, in time.
        let has_shrunk = !source.is_lost() && matches!(source.doubt(), Some(Doubt::Shrink { .. }));
        if source.is_heard() && !has_shrunk && self.is_ignorant(id, lost_since) {
            return Standing::Blocks(Missing::FeedLost(side, family));
        }
        let doubt = match source.state() {
            State::Stale => source.doubt_of_last_known(),
            _ => source.doubt(),
        };
        match doubt {
            // A table that is not empty is what its feed reports, whatever the router counts.
            Some(Doubt::Count { received: 1.., .. }) => {}
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
            State::Loading if awaited(source, self.now) => {
                Standing::Blocks(Missing::Loading(side, family))
            }
            State::Synced if source.is_heard() => {
                let supplement =
                    source.kind() == Kind::ByHand && self.facts.has_dynamic_feed(id, side);
                if supplement {
                    Standing::Silent
                } else {
                    Standing::Usable
                }
            }
            State::Stale if source.is_heard() => Standing::Usable,
            State::Unknown
            | State::Loading
            | State::Synced
            | State::Stale
            | State::Held
            | State::Down => Standing::Silent,
        }
    }

    /// Is the feed of this Adj-RIB away for so long that nothing is known of it?
    fn is_lost(self, id: PeerId, key: SourceKey) -> bool {
        self.is_ignorant(id, self.feeds.lost_at(key.feed))
    }

    /// Is what was lost then too old for this peer?
    fn is_ignorant(self, id: PeerId, lost: Option<Duration>) -> bool {
        let stale_hold = self.facts.timers().stale_hold;
        !self.facts.keeps_stale(id) && lost.is_some_and(|at| self.now >= at + stale_hold)
    }
}

/// A table without a route, of a family that the session agreed on and never used, is not waited for; nor is one that
/// had no route when its feed was lost.
fn is_unused(key: SourceKey, source: &Source) -> bool {
    let session = session_of(key.origin);
    let is_other = session.is_some_and(|session| family_of(session) != key.family);
    source.is_empty() && (is_other || source.is_lost())
}

/// An Adj-RIB of which nothing was received is waited for only until its session has settled.
fn awaited(source: &Source, now: Duration) -> bool {
    source.is_heard() || now < source.started() + SETTLE
}
