//! How what a feed reports, and the time that passes, change the parts of the lifecycle: everything but what a peer is
//! granted, which follows from it. Here: the dispatch of events, and how a source is opened and changed; `sessions` has
//! feeds and sessions, `foreign` feeds that speak of another router, `ribs` routes, ends of Adj-RIBs and counts, `time` what a tick does.
use std::net::IpAddr;
use std::time::Duration;

use super::directory::Owner;
use super::facts::Facts;
use super::feeds::{Feeds, SessionState};
use super::outbox::Outbox;
use super::pending::Pending;
use super::routes::Gone;
use super::source::{Source, SourceKey};
use super::sources::{MAX_SOURCES, Sources, Transition};
use super::wanted::{Counting, From, Wanted};
use super::{Event, State, session_of};
use crate::route::{AdjRib, FeedId, Origin, RouteEvent, Session};
use filter_core::Family;

pub use foreign::FOREIGN_PEERS;
pub(super) use foreign::foreign_peers;

mod foreign;
mod ribs;
mod sessions;
mod time;

/// The parts that an event may change, at one time.
pub(super) struct Fold<'a> {
    pub now: Duration,
    pub facts: &'a Facts,
    pub feeds: &'a mut Feeds,
    pub sources: &'a mut Sources,
    pub wanted: &'a mut Wanted,
    pub pending: &'a mut Pending,
    pub outbox: &'a mut Outbox,
}

/// One Adj-RIB of one session or peer, as one feed reports it, of whatever family.
#[derive(Clone, Copy, Debug)]
struct Reported {
    feed: FeedId,
    origin: Origin,
    rib: AdjRib,
}

impl Reported {
    const fn of(self, family: Family) -> SourceKey {
        let Self { feed, origin, rib } = self;
        SourceKey {
            origin,
            rib,
            family,
            feed,
        }
    }
}

impl Fold<'_> {
    /// Takes in one event of a feed.
    pub(super) fn event(&mut self, feed: FeedId, event: &RouteEvent) {
        if !self.feeds.has(feed) {
            return; // no such feed is configured
        }
        let reported = |origin: &Origin, rib: &AdjRib| Reported {
            feed,
            origin: *origin,
            rib: *rib,
        };
        match event {
            RouteEvent::FeedUp => self.feed_up(feed),
            RouteEvent::FeedDown { why } => self.feed_down(feed, why),
            RouteEvent::SessionUp {
                session,
                asn,
                restart_time,
                families,
                local,
                router,
            } => {
                let state = SessionState {
                    up: true,
                    restart_time: *restart_time,
                    families: *families,
                    router: *router,
                };
                self.session_came_up(feed, *session, *asn, state);
                self.came_up_at(feed, *session, local.filter(is_of_a_session));
            }
            RouteEvent::SessionDown { session, cause } => self.session_down(feed, *session, *cause),
            RouteEvent::Announce { origin, .. }
            | RouteEvent::Withdraw { origin, .. }
            | RouteEvent::EndOfRib { origin, .. }
            | RouteEvent::Snapshot { origin, .. }
            | RouteEvent::RibLost { origin, .. }
            | RouteEvent::Count { origin, .. }
                if self.is_estranged(feed, *origin) => {}
            RouteEvent::Announce { origin, rib, route } => {
                self.announce(reported(origin, rib).of(route.prefix.family()), route);
            }
            RouteEvent::Withdraw {
                origin,
                rib,
                prefix,
                path,
            } => self.withdraw(reported(origin, rib).of(prefix.family()), *prefix, *path),
            RouteEvent::EndOfRib {
                origin,
                rib,
                family,
            } => self.end_of_rib(reported(origin, rib).of(*family)),
            RouteEvent::Snapshot {
                origin,
                rib,
                family,
                routes,
            } => self.snapshot(reported(origin, rib).of(*family), routes),
            RouteEvent::RibLost {
                origin,
                rib,
                cause,
                why,
            } => self.rib_lost(feed, (*origin, *rib), (*cause, why)),
            RouteEvent::Count {
                origin,
                rib,
                family,
                prefixes,
            } => self.count(reported(origin, rib), *family, *prefixes),
        }
    }

    /// Is this of a session whose neighbour is not the configured one? Then nothing of it counts.
    fn is_estranged(&self, feed: FeedId, origin: Origin) -> bool {
        session_of(origin).is_some_and(|session| self.feeds.is_estranged(feed, session))
    }

    /// The source, made if it is new and concerns a peer, now that something of its Adj-RIB is reported.
    fn opened(&mut self, key: SourceKey) -> Option<&mut Source> {
        if !self.sources.get(key).is_some_and(Source::is_heard) {
            self.open(key)?;
            let now = self.now;
            self.with(key, |source| source.hear_first(now));
        }
        self.sources.get_mut(key)
    }

    /// The source, made if it is new and concerns a peer.
    fn open(&mut self, key: SourceKey) -> Option<()> {
        if self.sources.has(key) {
            return Some(());
        }
        let session = session_of(key.origin);
        let Some(owner) = self.facts.owner_of(key.origin) else {
            if let Some(session) = session {
                self.outbox.unknown_session(key.feed, session);
            }
            return None;
        };
        let concerned = self.facts.concerned(key);
        if concerned.is_empty() || !self.may_open(key) {
            return None;
        }
        self.pending.settle_all(concerned.iter().copied());
        if self.sources.is_full() {
            if self.sources.refuse(&concerned) {
                log::error!(
                    "the feeds report more than {MAX_SOURCES} Adj-RIBs: the rest is not read"
                );
            }
            return None;
        }
        let source = self.new_source(key, owner, session);
        let is = source.state();
        self.sources.insert(key, source, &concerned);
        let was = State::Unknown;
        self.changed(key, Transition { was, is });
        Some(())
    }

    /// Is it not of a session that is down, by the same feed, or of a family that the session does not exchange?
    fn may_open(&self, key: SourceKey) -> bool {
        let session = session_of(key.origin);
        let Some(state) = session.and_then(|session| self.feeds.session(key.feed, session)) else {
            return true;
        };
        let exchanges = |all: [bool; 2]| all[key.family as usize];
        let is_late = self.facts.kind(key.feed).tells_sessions() && !state.up;
        !is_late && state.families.is_none_or(exchanges)
    }

    fn new_source(&self, key: SourceKey, owner: Owner, session: Option<Session>) -> Source {
        let kind = self.facts.kind(key.feed);
        let mid_life = self.feeds.is_mid_life(self.now, key.feed);
        let mut source = Source::new(kind, owner, key.family, self.now, mid_life);
        if !kind.tells_sessions() && session.is_some_and(|session| self.feeds.is_down(session)) {
            source.session_down(self.now, Duration::ZERO);
        }
        source
    }

    /// Changes a source, if there is one.
    fn with(&mut self, key: SourceKey, change: impl FnOnce(&mut Source)) {
        if let Some(transition) = self.sources.with(key, change) {
            self.changed(key, transition);
        }
    }

    /// Changes a source in a way that makes routes count, or not count, any more.
    fn with_routes(
        &mut self,
        key: SourceKey,
        change: impl FnOnce(&mut Source) -> Vec<Gone>,
    ) -> Vec<Gone> {
        let mut routes = Vec::new();
        self.with(key, |source| routes = change(source));
        routes
    }

    fn changed(&mut self, key: SourceKey, Transition { was, is }: Transition) {
        self.unsettle(key);
        if was != is {
            self.outbox.push(Event::SourceState {
                session: session_of(key.origin),
                rib: key.rib,
                family: key.family,
                state: is,
            });
        }
    }

    /// What the peers that a source concerns are granted may change.
    fn unsettle(&mut self, key: SourceKey) {
        self.pending.settle_all(self.facts.concerned(key));
    }

    /// What the peers that a feed's sources concern are granted may change.
    fn unsettle_feed(&mut self, feed: FeedId) {
        for key in self.sources.keys(|key| key.feed == feed) {
            self.unsettle(key);
        }
    }

    /// Routes of a source that counted once count again, if it counts.
    fn add_again(&mut self, key: SourceKey, routes: &[Gone]) {
        let source = self.sources.get(key);
        if let Some(source) = source.filter(|source| !source.is_muted()) {
            let owner = source.owner();
            self.counting().add_again(From { key, owner }, routes);
        }
    }

    const fn counting(&mut self) -> Counting<'_> {
        Counting {
            now: self.now,
            facts: self.facts,
            sources: self.sources,
            wanted: self.wanted,
            pending: self.pending,
            outbox: self.outbox,
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

/// May a session of a peer have this address of ours? Others would admit what never comes from there.
fn is_of_a_session(local: &IpAddr) -> bool {
    let is_scoped = match local {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !is_scoped && !local.is_unspecified() && !local.is_loopback() && !local.is_multicast()
}
