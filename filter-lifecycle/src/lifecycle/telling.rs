//! What feeds tell, as it changes sources: feeds and sessions that come and go, routes, ends of tables, counts.
//! Whose a route is decides [`super::attribution`], what a source makes of it [`super::source`].
use std::sync::Arc;
use std::time::Duration;

use filter_core::Prefix;

use super::attribution::scope;
use super::doubt::Evidence;
use super::kind::Kind;
use super::routes::{Announced, Gone, MAX_ROUTES};
use super::source::Source;
use super::{
    Doubt, Event, Lifecycle, MAX_SESSIONS, Owner, STRANGER_HOLD, SessionState, SourceKey, State,
    session_of,
};
use crate::route::{AdjRib, DownCause, FeedId, Origin, Route, RouteEvent, Session};
use crate::spec::OnStale;
use filter_core::{Asn, Family};

impl Lifecycle {
    pub(super) fn feed_up(&mut self, now: Duration, feed: FeedId) {
        let state = &mut self.feeds[usize::from(feed.0)];
        (state.up_since, state.lost_at) = (Some(now), None);
        let peer_down_hold = self.spec.timers.peer_down_hold;
        for key in self.keys(|key| key.feed == feed) {
            self.with(key, |source| source.feed_back(now, peer_down_hold));
        }
        self.sessions.retain(|(of, _), _| *of != feed);
        self.strangers.retain(|(of, _), _| *of != feed);
        self.tell(Event::FeedUp(feed));
    }

    pub(super) fn feed_down(&mut self, now: Duration, feed: FeedId, why: &str) {
        let state = &mut self.feeds[usize::from(feed.0)];
        (state.up_since, state.lost_at) = (None, state.lost_at.or(Some(now)));
        for key in self.keys(|key| key.feed == feed) {
            self.lose(now, key);
            let until = self.stale_until(now, key);
            self.with(key, |source| source.spare(now, until));
        }
        self.tell(Event::FeedDown(feed, why.to_owned()));
    }

    /// Until when what a lost feed carried counts.
    fn stale_until(&self, now: Duration, key: SourceKey) -> Duration {
        let peers = self.concerned(key).into_iter();
        let mut peers = peers.map(|id| &self.spec.peers[id.0 as usize]);
        if peers.any(|peer| peer.on_stale == OnStale::Keep) {
            return Duration::MAX;
        }
        now + self.spec.timers.stale_hold
    }

    /// Of one table, or of all of a session. A table nobody has told of yet is lost too, so that what comes of it
    /// is not taken as complete; and in the family of the session's own addresses it is waited for.
    pub(super) fn rib_lost(
        &mut self,
        now: Duration,
        feed: FeedId,
        origin: Origin,
        rib: Option<AdjRib>,
        why: &str,
    ) {
        let which = rib.map_or("every Adj-RIB", AdjRib::name);
        log::debug!("feed {}: {which} of {origin} is lost: {why}", feed.0);
        let key = |rib, family| SourceKey {
            origin,
            rib,
            family,
            feed,
        };
        if let Some(rib) = rib {
            for family in Family::ALL {
                self.open(now, key(rib, family));
            }
            if let Origin::Session(session) = origin {
                self.opened(now, key(rib, family_of(session)));
            }
        }
        let lost = |key: &SourceKey| rib.is_none_or(|rib| key.rib == rib);
        for key in self.keys(|key| key.feed == feed && key.origin == origin && lost(key)) {
            self.lose(now, key);
        }
    }

    fn lose(&mut self, now: Duration, key: SourceKey) {
        let mut revived = Vec::new();
        self.with(key, |source| revived = source.feed_lost(now));
        self.add_again(now, key, revived);
    }

    /// A session came up; with the configured neighbour, or with another.
    pub(super) fn session_came_up(
        &mut self,
        now: Duration,
        (feed, session): (FeedId, Session),
        asn: Option<Asn>,
        state: SessionState,
    ) {
        let Some(owner) = self.directory.owner(session) else {
            return self.unknown_session(feed, session);
        };
        let configured = match owner {
            Owner::Peer(id) => self.spec.peers[id.0 as usize].asn,
            Owner::RouteServer(index) => self.spec.route_servers[index].asn,
        };
        match asn.filter(|asn| *asn != configured) {
            Some(told) => self.estrange(now, (feed, session), told, configured),
            None => {
                self.strangers.remove(&(feed, session));
                self.session_up(now, (feed, session), owner, state);
            }
        }
    }

    /// The AS at a configured address is another: nothing it tells counts, and nothing grows by it. What was known
    /// before stays for [`STRANGER_HOLD`].
    fn estrange(&mut self, now: Duration, at: (FeedId, Session), told: Asn, configured: Asn) {
        let (feed, session) = at;
        if self.strangers.len() >= MAX_SESSIONS && !self.strangers.contains_key(&at) {
            return;
        }
        let known = self.strangers.insert(at, told);
        self.remember(
            at,
            SessionState {
                up: false,
                ..SessionState::default()
            },
        );
        let until = now + STRANGER_HOLD;
        let origin = Origin::Session(session);
        let up_elsewhere = self.is_up(session);
        let follows = |key: &SourceKey| !up_elsewhere && !self.kind(key.feed).tells_sessions();
        for key in self.keys(|key| key.origin == origin && (key.feed == feed || follows(key))) {
            self.with(key, |source| source.estrange(now, until));
        }
        if known != Some(told) {
            self.tell(Event::AsnMismatch {
                feed,
                session,
                told,
                configured,
            });
            self.suspect(now, feed);
        }
    }

    /// Is it told of a session whose neighbour is not the configured one?
    pub(super) fn is_strangers(&self, feed: FeedId, event: &RouteEvent) -> bool {
        let (RouteEvent::Announce { origin, .. }
        | RouteEvent::Withdraw { origin, .. }
        | RouteEvent::EndOfRib { origin, .. }
        | RouteEvent::Snapshot { origin, .. }
        | RouteEvent::RibLost { origin, .. }
        | RouteEvent::Count { origin, .. }) = event
        else {
            return false;
        };
        session_of(*origin).is_some_and(|session| self.strangers.contains_key(&(feed, session)))
    }

    fn session_up(
        &mut self,
        now: Duration,
        (feed, session): (FeedId, Session),
        owner: Owner,
        state: SessionState,
    ) {
        let before = self.remember((feed, session), state);
        let mid_life = before.is_some() || self.feed_state(feed).is_mid_life(now);
        let origin = Origin::Session(session);
        let exchanged = |family: Family| state.families.is_none_or(|all| all[family as usize]);
        let until = now
            + self
                .spec
                .timers
                .peer_down_hold
                .max(self.spec.timers.withdraw_hold);
        for key in self.keys(|key| key.feed == feed && key.origin == origin) {
            let mut revived = Vec::new();
            self.with(key, |source| {
                if exchanged(key.family) {
                    source.session_up(now, mid_life);
                    revived = source.revive(now);
                } else {
                    source.session_down(now, until);
                }
            });
            self.add_again(now, key, revived);
        }
        self.expect(now, feed, session);
        for key in self.keys(|key| key.origin == origin && !self.kind(key.feed).tells_sessions()) {
            self.resume(now, key);
        }
        if let Owner::Peer(peer) = owner {
            self.tell(Event::SessionUp(peer, session));
        }
    }

    /// A session that is up will be told of: until it is, or has been silent for long enough, its tables load.
    fn expect(&mut self, now: Duration, feed: FeedId, session: Session) {
        for rib in [AdjRib::InPrePolicy, AdjRib::InPostPolicy] {
            let key = SourceKey {
                origin: Origin::Session(session),
                rib,
                family: family_of(session),
                feed,
            };
            self.open(now, key);
        }
    }

    fn resume(&mut self, now: Duration, key: SourceKey) {
        let connected = self.feed_state(key.feed).up_since.is_some();
        let mut unmuted = Vec::new();
        self.with(key, |source| {
            if source.resume(now, connected) {
                unmuted = source.routes.iter().map(|(gone, _)| gone).collect();
            }
        });
        self.add_again(now, key, unmuted);
    }

    pub(super) fn session_down(
        &mut self,
        now: Duration,
        feed: FeedId,
        session: Session,
        cause: DownCause,
    ) {
        let Some(owner) = self.directory.owner(session) else {
            return self.unknown_session(feed, session);
        };
        self.strangers.remove(&(feed, session));
        let known = self.sessions.get(&(feed, session)).copied();
        let restart = known.and_then(|state| state.restart_time);
        let timers = &self.spec.timers;
        let hold = match (cause, restart) {
            // Graceful restart (RFC 4724): the peer keeps forwarding while it restarts.
            (DownCause::Lost, Some(time)) => time,
            _ => timers.peer_down_hold,
        };
        let until = now + hold.max(timers.withdraw_hold);
        let state = SessionState {
            up: false,
            restart_time: restart,
            families: known.and_then(|state| state.families),
        };
        self.remember((feed, session), state);
        let had_it = known.is_some_and(|state| state.up);
        if cause == DownCause::Deconfigured && had_it && self.kind(feed) == Kind::Poll {
            self.end_elsewhere(now, feed, session);
        }
        let origin = Origin::Session(session);
        // Feeds that know no sessions go by what others say, unless one says that it is up.
        let up_elsewhere = self.is_up(session);
        let follows = |key: &SourceKey| !up_elsewhere && !self.kind(key.feed).tells_sessions();
        for key in self.keys(|key| key.origin == origin && (key.feed == feed || follows(key))) {
            self.with(key, |source| source.session_down(now, until));
        }
        if known.is_none_or(|state| state.up)
            && let Owner::Peer(peer) = owner
        {
            self.tell(Event::SessionDown(peer, session));
        }
    }

    /// A poll found that the router no longer has a session that it had: a stream that still says it is up will not
    /// say any more of it (GoBGP sends no Peer Down of a neighbour that was deleted).
    fn end_elsewhere(&mut self, now: Duration, feed: FeedId, session: Session) {
        let others = (0..self.feeds.len() as u16).map(FeedId);
        let others: Vec<FeedId> = others
            .filter(|other| *other != feed && self.kind(*other) == Kind::Stream)
            .filter(|other| {
                self.sessions
                    .get(&(*other, session))
                    .is_some_and(|state| state.up)
            })
            .collect();
        for other in others {
            self.session_down(now, other, session, DownCause::Deconfigured);
        }
    }

    fn remember(&mut self, key: (FeedId, Session), state: SessionState) -> Option<SessionState> {
        if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(&key) {
            return None;
        }
        self.sessions.insert(key, state)
    }

    /// Does a feed say that it is up?
    fn is_up(&self, session: Session) -> bool {
        self.said_of(session).any(|up| up)
    }

    /// Do feeds speak of it, and none says that it is up?
    pub(super) fn is_down(&self, session: Session) -> bool {
        self.said_of(session).next().is_some() && !self.is_up(session)
    }

    fn said_of(&self, session: Session) -> impl Iterator<Item = bool> + '_ {
        (0..self.feeds.len() as u16)
            .filter_map(move |feed| self.sessions.get(&(FeedId(feed), session)))
            .map(|state| state.up)
    }

    pub(super) fn kind(&self, feed: FeedId) -> Kind {
        self.feed_state(feed).kind
    }

    pub(super) fn announce(&mut self, now: Duration, key: SourceKey, route: &Route) {
        match self.sources.get_mut(&key) {
            Some(source) if source.is_heard() && !source.is_silent() => source.hear(),
            _ => {
                if self.opened(now, key).is_none() {
                    return;
                }
                self.with(key, |source| source.end_silence(now));
            }
        }
        self.take(now, key, route);
    }

    /// A route of an open source. Returns whether it changed it.
    fn take(&mut self, now: Duration, key: SourceKey, route: &Route) -> bool {
        let Some(source) = self.sources.get_mut(&key) else {
            return false;
        };
        if source.state() == State::Down && source.kind.tells_sessions() {
            return false; // too late: the session decides
        }
        let (owner, muted, doubted) = (source.owner, source.is_muted(), source.doubts.current());
        let was_empty = source.is_empty();
        let scope = scope(&self.spec, &self.directory, key, owner, route);
        let announced = source.announce(now, (route.prefix, route.path), &scope);
        if was_empty {
            self.unsettle(key); // it is waited for now
        }
        self.check_next_hop(key, owner, route, &scope);
        match announced {
            Announced::Same => return false,
            Announced::Overflow => {
                if doubted != Some(Doubt::Overflow) {
                    self.tell_doubt(key, Doubt::Overflow);
                    self.unsettle(key);
                }
                return false;
            }
            Announced::New => self.feeds[usize::from(key.feed.0)].pace.change(now),
            Announced::Replaced(_) => {}
        }
        if muted {
            return true;
        }
        self.add(now, (key, owner), route.prefix, &scope);
        // After the new: who is concerned as before never has a gap.
        if let Announced::Replaced(scope) = announced {
            let (prefix, hold) = (route.prefix, self.spec.timers.withdraw_hold);
            self.remove(now, (key, owner), &Gone { prefix, scope }, hold);
        }
        true
    }

    pub(super) fn withdraw(&mut self, now: Duration, key: SourceKey, prefix: Prefix, path: u32) {
        let hold = self.spec.timers.withdraw_hold;
        let Some(source) = self.opened(now, key) else {
            return;
        };
        source.hear();
        let (owner, muted) = (source.owner, source.is_muted());
        if let Some(gone) = source.withdraw(now, prefix, path)
            && !muted
        {
            self.remove(now, (key, owner), &gone, hold);
        }
    }

    pub(super) fn end_of_rib(&mut self, now: Duration, key: SourceKey) {
        if let Some(source) = self.opened(now, key)
            && source.end_of_rib()
        {
            self.complete(now, key, Evidence::Said);
        }
    }

    pub(super) fn snapshot(&mut self, now: Duration, key: SourceKey, routes: &Arc<[Route]>) {
        let Some(source) = self.opened(now, key) else {
            return;
        };
        source.begin_snapshot();
        let mut changed = 0;
        for route in routes
            .iter()
            .filter(|route| route.prefix.family() == key.family)
        {
            changed += usize::from(self.take(now, key, route));
        }
        let believed = self
            .sources
            .get_mut(&key)
            .is_some_and(|source| source.end_of_snapshot(now, changed));
        if believed {
            self.complete(now, key, Evidence::Said);
        }
        if self.kind(key.feed) == Kind::Poll {
            self.compare(key);
        }
    }

    pub(super) fn counted(&mut self, now: Duration, key: SourceKey, prefixes: u64) {
        if let Some(source) = self.sources.get_mut(&key) {
            source.counted(now, prefixes);
        }
    }

    /// Both families in one number. If it fits, it confirms both; if not, it speaks against a table that stands
    /// alone, and with two nobody could say which.
    pub(super) fn counted_together(
        &mut self,
        now: Duration,
        (feed, origin, rib): (FeedId, Origin, AdjRib),
        prefixes: u64,
    ) {
        let keys = Family::ALL.map(|family| SourceKey {
            origin,
            rib,
            family,
            feed,
        });
        let told = keys.map(|key| {
            self.sources
                .get(&key)
                .map(|source| source.routes.fresh() as u64)
        });
        let sum: u64 = told.iter().flatten().sum();
        for (key, told) in keys.into_iter().zip(told) {
            match told {
                Some(told) if sum == prefixes => self.counted(now, key, told),
                // The difference is laid to each: either may be the one.
                Some(told) => self.counted(now, key, (told + prefixes).saturating_sub(sum)),
                None => {}
            }
        }
    }

    /// The table is said, or seen, to be complete: what was not told again goes, after the hold.
    pub(super) fn complete(&mut self, now: Duration, key: SourceKey, evidence: Evidence) {
        let Some(source) = self.sources.get_mut(&key) else {
            return;
        };
        let (was, doubted) = (source.state(), source.doubts.current());
        let (owner, muted) = (source.owner, source.is_muted());
        let result = source.complete(now, evidence);
        let state = source.state();
        match result {
            Ok(gone) => {
                let hold = self.spec.timers.withdraw_hold;
                for gone in gone.iter().filter(|_| !muted) {
                    self.remove(now, (key, owner), gone, hold);
                }
                self.completed(key);
            }
            Err(doubt) if doubted != Some(doubt) => self.tell_doubt(key, doubt),
            Err(_) => {}
        }
        self.changed(key, was, state);
    }

    pub(super) fn tell_doubt(&mut self, key: SourceKey, doubt: Doubt) {
        let (session, rib, family) = (session_of(key.origin), key.rib, key.family);
        match doubt {
            Doubt::Shrink { had, has } => self.tell(Event::ShrinkRefused {
                session,
                rib,
                family,
                had,
                has,
            }),
            Doubt::Count { told, counted } => self.tell(Event::CountMismatch {
                feed: key.feed,
                session,
                rib,
                told,
                counted,
            }),
            Doubt::Overflow => log::error!(
                "more than {MAX_ROUTES} routes in one table of {:?}: it is never complete",
                key.origin
            ),
        }
    }

    pub(super) fn tick_source(&mut self, now: Duration, key: SourceKey) {
        let feed = *self.feed_state(key.feed);
        let (connected, busy) = (feed.up_since.is_some(), feed.pace.is_busy(now));
        let Some(source) = self.sources.get_mut(&key) else {
            return;
        };
        if source.hold_until().is_some_and(|until| until <= now) {
            let (owner, mut gone) = (source.owner, Vec::new());
            self.with(key, |source| gone = source.hold_over(now));
            for gone in &gone {
                self.remove(now, (key, owner), gone, Duration::ZERO);
            }
        } else if connected && source.is_unreported(now) {
            if let Origin::Session(session) = key.origin {
                self.session_down(now, key.feed, session, DownCause::Deconfigured);
            }
        } else if connected && source.is_quiet(now, busy, self.spec.timers.settle_max) {
            self.complete(now, key, Evidence::Quiet);
        } else if source.may_retry(now) {
            self.complete(now, key, Evidence::Resolved);
        } else if source.doubts_count(now) {
            if let Some(doubt) = source.doubts.current() {
                self.tell_doubt(key, doubt);
            }
            self.unsettle(key);
        } else if source.state() == State::Stale {
            self.expire_stale(now, key);
        } else if !source.is_heard() || source.lost_since().is_some() {
            self.unsettle(key); // how long it is waited for depends on the time alone
        }
    }

    /// A lost feed's routes go once another feed tells the same table; else the peer degrades, if it may.
    fn expire_stale(&mut self, now: Duration, key: SourceKey) {
        let stale_hold = self.spec.timers.stale_hold;
        let Some(source) = self.sources.get(&key) else {
            return;
        };
        if now < source.since() + stale_hold {
            return;
        }
        let (owner, mut gone) = (source.owner, Vec::new());
        let told_elsewhere = (0..self.feeds.len() as u16).any(|feed| {
            let feed = FeedId(feed);
            let other = self.sources.get(&SourceKey { feed, ..key });
            other.is_some_and(|source| source.state() == State::Synced && source.is_heard())
        });
        let hold = self.spec.timers.withdraw_hold;
        if told_elsewhere {
            self.with(key, |source| gone = source.clear());
        }
        for gone in &gone {
            self.remove(now, (key, owner), gone, hold);
        }
        self.unsettle(key);
    }

    fn with(&mut self, key: SourceKey, change: impl FnOnce(&mut Source)) {
        let Some(source) = self.sources.get_mut(&key) else {
            return;
        };
        let was = source.state();
        change(source);
        let state = source.state();
        self.changed(key, was, state);
    }

    pub(super) fn changed(&mut self, key: SourceKey, was: State, state: State) {
        self.unsettle(key);
        if was != state {
            self.tell(Event::SourceState {
                session: session_of(key.origin),
                rib: key.rib,
                family: key.family,
                state,
            });
        }
    }
}

/// The family that a session surely carries: that of its addresses.
pub(super) const fn family_of(session: Session) -> Family {
    match session.address {
        std::net::IpAddr::V4(_) => Family::Ipv4,
        std::net::IpAddr::V6(_) => Family::Ipv6,
    }
}
