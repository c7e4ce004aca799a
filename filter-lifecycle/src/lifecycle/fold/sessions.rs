//! Feeds that connect and are lost, sessions that come up and go down, Adj-RIBs that a feed can no longer vouch for.
use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use filter_core::{Asn, Family};

use super::super::directory::Owner;
use super::super::feeds::SessionState;
use super::super::kind::Kind;
use super::super::source::{Holds, Source, SourceKey};
use super::super::{Event, STRANGER_HOLD, Side};
use super::{Fold, Reported, family_of};
use crate::route::{AdjRib, DownCause, FeedId, LossCause, Origin, Session};

impl Fold<'_> {
    pub(super) fn feed_up(&mut self, feed: FeedId) {
        let (now, peer_down_hold) = (self.now, self.facts.timers().peer_down_hold);
        self.feeds.connected(now, feed);
        for key in self.sources.keys(|key| key.feed == feed) {
            self.with(key, |source| source.feed_back(now, peer_down_hold));
        }
        self.outbox.push(Event::FeedUp(feed));
    }

    pub(super) fn feed_down(&mut self, feed: FeedId, why: &str) {
        let now = self.now;
        self.feeds.lost(now, feed);
        for key in self.sources.keys(|key| key.feed == feed) {
            self.lose(key);
            let until = self.stale_until(key);
            self.with(key, |source| source.spare(now, until));
        }
        self.outbox.push(Event::FeedDown(feed, why.to_owned()));
    }

    /// Until when what a lost feed carried counts.
    fn stale_until(&self, key: SourceKey) -> Duration {
        let mut peers = self.facts.concerned(key).into_iter();
        if peers.any(|id| self.facts.keeps_stale(id)) {
            return Duration::MAX;
        }
        self.now + self.facts.timers().stale_hold
    }

    /// One Adj-RIB is lost, or all of a session. One of which nothing was received yet is lost too, so that what comes
    /// of it is not taken as complete; and in the family of the session's own addresses it is waited for.
    pub(super) fn rib_lost(
        &mut self,
        feed: FeedId,
        (origin, rib): (Origin, Option<AdjRib>),
        (cause, why): (LossCause, &str),
    ) {
        let which = rib.map_or("every Adj-RIB", AdjRib::name);
        log::debug!("feed {}: {which} of {origin} is lost: {why}", feed.0);
        if let Some(rib) = rib {
            let reported = Reported { feed, origin, rib };
            for family in Family::ALL {
                self.open(reported.of(family));
            }
            if let Origin::Session(session) = origin {
                self.opened(reported.of(family_of(session)));
            }
        }
        let lost = |key: &SourceKey| {
            (key.feed, key.origin) == (feed, origin) && rib.is_none_or(|rib| key.rib == rib)
        };
        for key in self.sources.keys(lost) {
            match cause {
                LossCause::Feed => self.lose(key),
                LossCause::Session => self.end_unreadable(key),
            }
        }
    }

    /// What the session brings of this Adj-RIB cannot be read. What its neighbour advertises to us is then held, and
    /// gone, as when the session ends. What we advertise to it is not its to empty, nor to make unknown: that stays as
    /// far as it can be read.
    fn end_unreadable(&mut self, key: SourceKey) {
        let (now, hold) = (self.now, self.holds().peer_down);
        match Side::of(key.rib) {
            Side::Sources => self.with(key, |source| source.end_unreadable(now, hold)),
            Side::Destinations => self.with(key, Source::mark_unreadable),
        }
    }

    /// What comes of an Adj-RIB that could not be read can be read. Returns whether its table begins by that, as if its
    /// session came up.
    pub(super) fn readable_again(&mut self, key: SourceKey) -> bool {
        let source = self.sources.get(key);
        let Some(source) = source.filter(|source| source.is_unreadable()) else {
            return false;
        };
        let (now, holds, begins) = (self.now, self.holds(), source.is_over());
        let revived = self.with_routes(key, |source| source.readable_again(now, holds));
        self.add_again(key, &revived);
        begins
    }

    /// How long a former session's routes count.
    fn holds(&self) -> Holds {
        let timers = self.facts.timers();
        Holds {
            peer_down: timers.peer_down_hold.max(timers.withdraw_hold),
            settle_max: timers.settle_max,
        }
    }

    fn lose(&mut self, key: SourceKey) {
        let now = self.now;
        let revived = self.with_routes(key, |source| source.feed_lost(now));
        self.add_again(key, &revived);
    }

    /// A session came up; with the configured neighbour, or with another.
    pub(super) fn session_came_up(
        &mut self,
        feed: FeedId,
        session: Session,
        asn: Option<Asn>,
        state: SessionState,
    ) {
        let Some(owner) = self.facts.owner(session) else {
            return self.outbox.unknown_session(feed, session);
        };
        let configured = self.facts.asn(owner);
        match asn.filter(|asn| *asn != configured) {
            Some(other) => self.estrange(feed, session, other, configured),
            None => {
                self.feeds.reconcile(feed, session);
                self.session_up(feed, session, owner, state);
            }
        }
    }

    /// D'(p) holds our address of the session, unless its neighbour is another than the configured one.
    pub(super) fn came_up_at(&mut self, feed: FeedId, session: Session, local: Option<IpAddr>) {
        let Some(Owner::Peer(peer)) = self.facts.owner(session) else {
            return;
        };
        let is_its = !self.feeds.is_estranged(feed, session);
        if is_its && self.feeds.came_up_at(feed, session, local) {
            self.pending.publish(peer);
        }
    }

    /// The AS at a configured address is another: nothing of the session counts, and nothing grows by it. What was
    /// known before stays for [`STRANGER_HOLD`].
    fn estrange(&mut self, feed: FeedId, session: Session, asn: Asn, configured: Asn) {
        let Some(was_known) = self.feeds.estrange(feed, session, asn) else {
            return;
        };
        let state = SessionState::default(); // not up
        self.feeds.remember(feed, session, state);
        let now = self.now;
        for key in self.follow(feed, session) {
            self.with(key, |source| source.estrange(now, STRANGER_HOLD));
        }
        if !was_known {
            self.outbox.push(Event::AsnMismatch {
                feed,
                session,
                reported: asn,
                configured,
            });
            self.suspect(feed);
        }
    }

    fn session_up(&mut self, feed: FeedId, session: Session, owner: Owner, state: SessionState) {
        let before = self.feeds.remember(feed, session, state);
        let (now, holds) = (self.now, self.holds());
        let mid_life = before.is_some() || self.feeds.is_mid_life(now, feed);
        let exchanged = |family: Family| state.families.is_none_or(|all| all[family as usize]);
        let origin = Origin::Session(session);
        for key in self
            .sources
            .keys(|key| (key.feed, key.origin) == (feed, origin))
        {
            let revived = self.with_routes(key, |source| {
                if exchanged(key.family) {
                    source.session_up(now, mid_life, holds)
                } else {
                    source.session_down(now, holds.peer_down);
                    Vec::new()
                }
            });
            self.add_again(key, &revived);
        }
        self.expect(feed, session);
        let facts = self.facts;
        let follows =
            |key: &SourceKey| key.origin == origin && !facts.kind(key.feed).tells_sessions();
        for key in self.sources.keys(follows) {
            self.resume(key);
        }
        if let Owner::Peer(peer) = owner {
            self.outbox.push(Event::SessionUp(peer, session));
        }
    }

    /// Something will be reported of a session that is up: until it is, or has been quiet for long enough, its Adj-RIBs
    /// load.
    fn expect(&mut self, feed: FeedId, session: Session) {
        for rib in [AdjRib::InPrePolicy, AdjRib::InPostPolicy] {
            let origin = Origin::Session(session);
            self.open(Reported { feed, origin, rib }.of(family_of(session)));
        }
    }

    fn resume(&mut self, key: SourceKey) {
        let (now, is_connected) = (self.now, self.feeds.is_connected(key.feed));
        let unmuted = self.with_routes(key, |source| {
            if source.resume(now, is_connected) {
                source.routes().iter().map(|(gone, _)| gone).collect()
            } else {
                Vec::new()
            }
        });
        self.add_again(key, &unmuted);
    }

    pub(super) fn session_down(&mut self, feed: FeedId, session: Session, cause: DownCause) {
        let Some(owner) = self.facts.owner(session) else {
            return self.outbox.unknown_session(feed, session);
        };
        self.feeds.reconcile(feed, session);
        let known = self.feeds.session(feed, session);
        let restart_time = known.and_then(|state| state.restart_time);
        let timers = self.facts.timers();
        let hold = match (cause, restart_time) {
            // Graceful restart (RFC 4724): the peer keeps forwarding while it restarts.
            (DownCause::Lost, Some(time)) => time.min(timers.restart_max),
            _ => timers.peer_down_hold,
        };
        let (now, hold) = (self.now, hold.max(timers.withdraw_hold));
        let state = SessionState {
            up: false,
            restart_time,
            families: known.and_then(|state| state.families),
            router: known.map_or(0, |state| state.router),
        };
        self.feeds.remember(feed, session, state);
        let had_it = known.is_some_and(|state| state.up);
        if cause == DownCause::Deconfigured && had_it && self.facts.kind(feed) == Kind::Poll {
            self.end_elsewhere(feed, session);
        }
        for key in self.follow(feed, session) {
            self.with(key, |source| source.session_down(now, hold));
        }
        if had_it {
            self.ended((feed, state.router), session);
        }
        if known.is_none_or(|state| state.up)
            && let Owner::Peer(peer) = owner
        {
            self.outbox.push(Event::SessionDown(peer, session));
        }
    }

    /// A session ended that was up. Where most of a router's do so together, it is the router's doing, and their routes
    /// stay as long as those of a lost feed.
    fn ended(&mut self, (feed, router): (FeedId, u64), session: Session) {
        let facts = self.facts;
        let peers = |sessions: &mut dyn Iterator<Item = Session>| {
            let owners = sessions.filter_map(|session| facts.owner(session));
            owners.collect::<HashSet<_>>().len()
        };
        let stale_hold = facts.timers().stale_hold;
        let of_router = (feed, router);
        for session in self.feeds.ended(self.now, of_router, session, peers) {
            for key in self.follow(feed, session) {
                self.with(key, |source| source.lengthen(stale_hold));
            }
        }
    }

    /// The sources that end with a session, as this feed reports its end: its own, and those of feeds that report no
    /// sessions, unless another feed reports that it is up.
    fn follow(&self, feed: FeedId, session: Session) -> Vec<SourceKey> {
        let origin = Origin::Session(session);
        let is_up_elsewhere = self.feeds.is_up(session);
        let follows =
            |key: &SourceKey| !is_up_elsewhere && !self.facts.kind(key.feed).tells_sessions();
        self.sources
            .keys(|key| key.origin == origin && (key.feed == feed || follows(key)))
    }

    /// A poll found that the router no longer has a session that it had: a stream that still reports it as up will not
    /// report anything of it any more (GoBGP sends no Peer Down of a neighbour that was deleted).
    fn end_elsewhere(&mut self, feed: FeedId, session: Session) {
        let others: Vec<FeedId> = self
            .feeds
            .reports(session)
            .filter(|(other, is_up)| {
                *is_up && *other != feed && self.facts.kind(*other) == Kind::Stream
            })
            .map(|(other, _)| other)
            .collect();
        for other in others {
            self.session_down(other, session, DownCause::Deconfigured);
        }
    }
}
