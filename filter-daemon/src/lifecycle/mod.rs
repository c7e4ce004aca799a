//! When a peer may be enforced, and with which tables: the product's conscience.
//!
//! Folds [`RouteEvent`]s into what is wanted per peer. Each *source* (one table of one family of one session as
//! one feed tells it) has a state ([`state`]) and its routes ([`source`]); each peer has two ledgers that count
//! who holds a prefix ([`ledger`]); [`directory`] says whose a session is. Announcements count at once,
//! withdrawals after `withdraw_hold`; a lost feed never empties a table.
//!
//! Pure: time is an argument, nothing is read or written. Never publishes: [`Lifecycle::take_dirty`] says whose
//! tables changed, [`Lifecycle::wanted`] what they are to be.
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use filter_core::set::PrefixSet;
use filter_core::{Family, Mode, Prefix};

use crate::admission::{Provenance, admit};
use crate::config::{Config, Feed, OnStale};
use crate::policy::Withheld;
use crate::route::{DownCause, FeedId, Origin, PeerId, Route, RouteEvent, Session, Table};

pub mod directory;
mod event;
mod ledger;
mod peer;
mod source;
mod state;
mod status;

pub use crate::admission::Refusal;
pub use directory::{Directory, Owner};
pub use event::Event;
pub use ledger::{Change, Ledger};
pub use peer::{MAX_REFUSED_LISTED, Missing, PeerState};
pub use source::{
    Doubt, Entry, MAX_ROUTES, MID_LIFE, QUIET, SETTLE, SHRINK_MIN, SHRINK_PATIENCE, SHRINK_PERCENT,
    Source, SourceKey,
};
pub use state::{Cue, State};
pub use status::{PeerStatus, SourceStatus, Told};

use peer::Peer;
use source::Announced;

/// How often [`Lifecycle::tick`] wants to be called: no hold ends later than this after its time.
pub const TICK: Duration = Duration::from_millis(250);
/// Sources kept at once; more are refused and counted.
pub const MAX_SOURCES: usize = 65_536;
/// Unknown session addresses that are told of once each; more are only counted.
pub const MAX_UNKNOWN: usize = 1024;
/// Events waiting to be taken; more push the oldest out, counted.
pub const MAX_EVENTS: usize = 4096;
/// Prefixes named as examples of a disagreement.
pub const MAX_EXAMPLES: usize = 5;
/// Next hops per peer that are told of once each.
const MAX_NEXT_HOPS: usize = 64;

/// Which of a peer's two sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// S(p): what it advertises to us.
    Sources,
    /// D(p): what we advertise to it.
    Destinations,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sources, Self::Destinations];

    /// The side a table feeds.
    #[must_use]
    pub const fn of(table: Table) -> Self {
        match table {
            Table::AdjInPre | Table::AdjInPost => Self::Sources,
            Table::AdjOut => Self::Destinations,
        }
    }

    /// The name in status and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Destinations => "destinations",
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// What a peer's data plane shall be now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedSets {
    /// Admitted routes of S(p).
    pub sources: Vec<Prefix>,
    /// Routes of D(p).
    pub destinations: Vec<Prefix>,
    /// `enforce` only if everything it needs is there.
    pub mode: Mode,
}

#[derive(Clone, Copy, Debug, Default)]
struct FeedState {
    up_since: Option<Duration>,
    lost_at: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct SessionState {
    up: bool,
    restart_time: Option<Duration>,
}

/// See the module's head.
#[derive(Debug)]
pub struct Lifecycle {
    config: Arc<Config>,
    withheld: Withheld,
    directory: Directory,
    feeds: Vec<FeedState>,
    sessions: HashMap<(FeedId, Session), SessionState>,
    sources: HashMap<SourceKey, Source>,
    refused_sources: u64,
    peers: Vec<Peer>,
    leaving: BTreeMap<Duration, Vec<(PeerId, Side, Prefix)>>,
    dirty: BTreeSet<PeerId>,
    unsettled: BTreeSet<PeerId>,
    unknown: HashSet<(FeedId, IpAddr)>,
    unknown_count: u64,
    next_hops: HashSet<(Option<PeerId>, IpAddr)>,
    differences: HashMap<SourceKey, Difference>,
    events: VecDeque<Event>,
    events_lost: u64,
}

/// How a poll differed from what a push feed told, last time.
#[derive(Debug, Default)]
struct Difference {
    last: HashSet<Prefix>,
    told: bool,
}

impl Lifecycle {
    /// Nothing told yet: every peer is syncing, and dirty.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Self {
        let peers = config
            .peers
            .iter()
            .map(|peer| Peer {
                mode: peer.mode,
                ..Peer::default()
            })
            .collect();
        let everyone: BTreeSet<PeerId> = directory::peers(&config).map(|(id, _)| id).collect();
        Self {
            withheld: Withheld::of(&config),
            directory: Directory::new(&config),
            feeds: vec![FeedState::default(); config.feeds.len()],
            sessions: HashMap::new(),
            sources: HashMap::new(),
            refused_sources: 0,
            peers,
            leaving: BTreeMap::new(),
            dirty: everyone.clone(),
            unsettled: everyone,
            unknown: HashSet::new(),
            unknown_count: 0,
            next_hops: HashSet::new(),
            differences: HashMap::new(),
            events: VecDeque::new(),
            events_lost: 0,
            config,
        }
    }

    /// Takes in one event of a feed. Call [`Lifecycle::settle`] after a batch.
    pub fn event(&mut self, now: Duration, feed: FeedId, event: &RouteEvent) {
        match event {
            RouteEvent::FeedUp => self.feed_up(now, feed),
            RouteEvent::FeedDown { why } => self.feed_down(now, feed, why),
            RouteEvent::SessionUp {
                session,
                restart_time,
                ..
            } => self.session_up(now, feed, *session, *restart_time),
            RouteEvent::SessionDown { session, cause } => {
                self.session_down(now, feed, *session, *cause)
            }
            RouteEvent::Announce {
                origin,
                table,
                route,
            } => {
                let key = SourceKey {
                    feed,
                    origin: *origin,
                    table: *table,
                    family: route.prefix.family(),
                };
                self.announce(now, key, route);
            }
            RouteEvent::Withdraw {
                origin,
                table,
                prefix,
                path,
            } => {
                let key = SourceKey {
                    feed,
                    origin: *origin,
                    table: *table,
                    family: prefix.family(),
                };
                self.withdraw(now, key, *prefix, *path);
            }
            RouteEvent::EndOfRib {
                origin,
                table,
                family,
            } => {
                let key = SourceKey {
                    feed,
                    origin: *origin,
                    table: *table,
                    family: *family,
                };
                if self
                    .open(now, key)
                    .is_some_and(|source| source.believes_end_of_rib())
                {
                    self.complete(now, key);
                }
            }
            RouteEvent::Snapshot {
                origin,
                table,
                family,
                routes,
            } => {
                let key = SourceKey {
                    feed,
                    origin: *origin,
                    table: *table,
                    family: *family,
                };
                self.snapshot(now, key, routes);
            }
            RouteEvent::TableLost { origin, table, .. } => {
                let lost = |key: &SourceKey| {
                    key.origin == *origin && table.is_none_or(|table| key.table == table)
                };
                for key in self.keys(|key| key.feed == feed && lost(key)) {
                    self.with(key, |source| source.feed_lost(now));
                }
            }
            RouteEvent::Count {
                origin,
                table,
                family,
                prefixes,
            } => {
                if let Some(family) = family {
                    let key = SourceKey {
                        feed,
                        origin: *origin,
                        table: *table,
                        family: *family,
                    };
                    self.counted(now, key, *prefixes);
                }
            }
        }
    }

    /// Ends holds whose time has come and completes tables that have gone quiet.
    pub fn tick(&mut self, now: Duration) {
        while let Some(entry) = self
            .leaving
            .first_entry()
            .filter(|entry| *entry.key() <= now)
        {
            for (peer, side, prefix) in entry.remove() {
                if self.peers[peer.0 as usize].ledger(side).expire(prefix, now) == Change::Changed {
                    self.dirty.insert(peer);
                    self.unsettled.insert(peer);
                }
            }
        }
        let waiting: Vec<SourceKey> = self
            .sources
            .iter()
            .filter(|(_, s)| s.state() != State::Synced || s.doubt().is_some())
            .map(|(&key, _)| key)
            .collect();
        for key in waiting {
            let Some(source) = self.sources.get(&key) else {
                continue;
            };
            if source.hold_until().is_some_and(|until| until <= now) {
                self.drop_source(now, key);
            } else if (source.is_quiet(now) && self.is_told(key)) || source.may_retry(now) {
                self.complete(now, key);
            } else if source.state() == State::Stale {
                self.expire_stale(now, key);
            }
        }
        self.settle(now);
    }

    /// Tells of peers whose state changed. A no-op if nothing did.
    pub fn settle(&mut self, now: Duration) {
        for id in std::mem::take(&mut self.unsettled) {
            let missing = self.missing(now, id);
            let peer = &mut self.peers[id.0 as usize];
            let state = PeerState::new(peer.mode, missing.as_ref());
            let changed = peer
                .told
                .as_ref()
                .is_none_or(|(was, why)| *was != state || *why != missing);
            if changed {
                peer.told = Some((state, missing.clone()));
                self.dirty.insert(id);
                self.tell(Event::PeerState(id, state, missing));
            }
        }
    }

    /// Peers whose wanted sets or mode may have changed since the last call.
    pub fn take_dirty(&mut self) -> BTreeSet<PeerId> {
        std::mem::take(&mut self.dirty)
    }

    /// What this peer's data plane shall be.
    #[must_use]
    pub fn wanted(&self, now: Duration, id: PeerId) -> WantedSets {
        let peer = &self.peers[id.0 as usize];
        let mode = if self.missing(now, id).is_none() {
            peer.mode
        } else {
            Mode::Observe
        };
        WantedSets {
            sources: peer.sources(),
            destinations: peer.destination.prefixes().collect(),
            mode,
        }
    }

    /// What came of publishing, and how much of the address space the published sources cover.
    pub fn published(&mut self, id: PeerId, result: Result<&PrefixSet, String>) {
        let over_budget = match &result {
            Ok(sources) => over_budget(sources),
            Err(_) => self.peers[id.0 as usize].over_budget,
        };
        let peer = &mut self.peers[id.0 as usize];
        peer.over_budget = over_budget;
        peer.unpublished = result.err();
        self.unsettled.insert(id);
    }

    /// Takes the counters of an enforced peer for the breaker: all its packets and the dropped ones, ever.
    pub fn traffic(&mut self, now: Duration, id: PeerId, packets: u64, dropped: u64) {
        let limit = self.config.limits.breaker;
        if let Some((dropped, packets)) = self.peers[id.0 as usize]
            .breaker
            .traffic(now, packets, dropped, &limit)
        {
            self.tell(Event::BreakerTripped {
                peer: id,
                dropped,
                packets,
            });
            self.unsettled.insert(id);
        }
    }

    /// An operator's word: changes the mode, and re-arms the breaker.
    pub fn set_mode(&mut self, id: PeerId, mode: Mode) {
        let peer = &mut self.peers[id.0 as usize];
        peer.mode = mode;
        peer.breaker.rearm();
        self.unsettled.insert(id);
        self.dirty.insert(id);
        self.tell(Event::ModeChanged(id, mode));
    }

    /// Events since the last call, oldest first.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }

    /// Events that were pushed out unread.
    #[must_use]
    pub const fn events_lost(&self) -> u64 {
        self.events_lost
    }

    /// The configuration it follows.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    fn feed_up(&mut self, now: Duration, feed: FeedId) {
        if let Some(state) = self.feeds.get_mut(feed.0 as usize) {
            *state = FeedState {
                up_since: Some(now),
                lost_at: None,
            };
        }
        for key in self.keys(|key| key.feed == feed) {
            self.with(key, |source| source.start(now, false));
        }
        self.sessions.retain(|(of, _), _| *of != feed);
        self.tell(Event::FeedUp(feed));
    }

    fn feed_down(&mut self, now: Duration, feed: FeedId, why: &str) {
        if let Some(state) = self.feeds.get_mut(feed.0 as usize) {
            *state = FeedState {
                up_since: None,
                lost_at: Some(now),
            };
        }
        for key in self.keys(|key| key.feed == feed) {
            self.with(key, |source| source.feed_lost(now));
        }
        self.tell(Event::FeedDown(feed, why.to_owned()));
    }

    fn session_up(
        &mut self,
        now: Duration,
        feed: FeedId,
        session: Session,
        restart_time: Option<Duration>,
    ) {
        let flapped = self
            .sessions
            .insert(
                (feed, session),
                SessionState {
                    up: true,
                    restart_time,
                },
            )
            .is_some();
        let mid_life = flapped || self.is_mid_life(now, feed);
        for key in self.keys(|key| key.feed == feed && key.origin == Origin::Session(session)) {
            self.with(key, |source| source.start(now, mid_life));
        }
        match self.directory.owner(session.address) {
            Some(Owner::Peer(peer)) => self.tell(Event::SessionUp(peer, session)),
            Some(Owner::RouteServer(_)) => {}
            None => self.unknown_session(feed, session.address),
        }
    }

    fn session_down(&mut self, now: Duration, feed: FeedId, session: Session, cause: DownCause) {
        let known = self.sessions.get(&(feed, session)).copied();
        let restart = known.and_then(|state| state.restart_time);
        let hold = match (cause, restart) {
            // Graceful restart (RFC 4724): the peer keeps forwarding while it restarts.
            (DownCause::Lost, Some(time)) => time,
            _ => self.config.timers.peer_down_hold,
        };
        self.sessions.insert(
            (feed, session),
            SessionState {
                up: false,
                restart_time: restart,
            },
        );
        for key in self.keys(|key| key.feed == feed && key.origin == Origin::Session(session)) {
            self.with(key, |source| source.session_down(now, now + hold));
        }
        if known.is_none_or(|state| state.up)
            && let Some(Owner::Peer(peer)) = self.directory.owner(session.address)
        {
            self.tell(Event::SessionDown(peer, session));
        }
    }

    fn announce(&mut self, now: Duration, key: SourceKey, route: &Route) {
        if !self.is_wanted(key) {
            return;
        }
        let Some(source) = self.open(now, key) else {
            return;
        };
        match source.announce(now, route) {
            Announced::New => {}
            Announced::Same | Announced::Overflow => return,
            Announced::Replaced(before) => {
                self.add(key, route);
                self.remove(
                    now,
                    key,
                    route.prefix,
                    &before,
                    self.config.timers.withdraw_hold,
                );
                return;
            }
        }
        self.add(key, route);
    }

    fn withdraw(&mut self, now: Duration, key: SourceKey, prefix: Prefix, path: u32) {
        let hold = self.config.timers.withdraw_hold;
        let entry = self
            .open(now, key)
            .and_then(|source| source.withdraw(now, prefix, path));
        if let Some(entry) = entry {
            self.remove(now, key, prefix, &entry, hold);
        }
    }

    fn snapshot(&mut self, now: Duration, key: SourceKey, routes: &Arc<[Route]>) {
        if !self.is_wanted(key) {
            return;
        }
        let Some(source) = self.open(now, key) else {
            return;
        };
        source.start_again(now);
        for route in routes.iter() {
            self.announce(now, key, route);
        }
        self.complete(now, key);
        self.compare(key);
    }

    fn counted(&mut self, now: Duration, key: SourceKey, prefixes: u64) {
        if !self.is_wanted(key) {
            return;
        }
        if let Some(source) = self.sources.get_mut(&key) {
            source.counted(now, prefixes);
        }
    }

    /// The table is said, or seen, to be complete: what was not told again goes, after the hold.
    fn complete(&mut self, now: Duration, key: SourceKey) {
        let Some(source) = self.sources.get_mut(&key) else {
            return;
        };
        let (was, doubted) = (source.state(), source.doubt());
        let result = source.complete(now);
        let state = source.state();
        match result {
            Ok(gone) => {
                let hold = self.config.timers.withdraw_hold;
                for (prefix, entry) in gone {
                    self.remove(now, key, prefix, &entry, hold);
                }
            }
            Err(doubt) if doubted != Some(doubt) => self.tell_doubt(key, doubt),
            Err(_) => {}
        }
        self.changed(key, was, state);
    }

    fn tell_doubt(&mut self, key: SourceKey, doubt: Doubt) {
        let (session, table, family) = (session_of(key.origin), key.table, key.family);
        match doubt {
            Doubt::Shrink { had, has } => self.tell(Event::ShrinkRefused {
                session,
                table,
                family,
                had,
                has,
            }),
            Doubt::Count { told, counted } => self.tell(Event::CountMismatch {
                session,
                table,
                told,
                counted,
            }),
            Doubt::Overflow => log::error!(
                "more than {MAX_ROUTES} routes in one table of {:?}: it is never complete",
                key.origin
            ),
        }
    }

    /// The hold is over: the source has no routes, and its peers none of them.
    fn drop_source(&mut self, now: Duration, key: SourceKey) {
        let Some(source) = self.sources.get_mut(&key) else {
            return;
        };
        let was = source.state();
        let gone = source.drop_routes(now);
        let state = source.state();
        for (prefix, entry) in gone {
            self.remove(now, key, prefix, &entry, Duration::ZERO);
        }
        self.changed(key, was, state);
    }

    /// A lost feed's routes go once another feed tells the same table; else the peer degrades, if it may.
    fn expire_stale(&mut self, now: Duration, key: SourceKey) {
        let expired = self
            .sources
            .get(&key)
            .is_some_and(|s| now >= s.since() + self.config.timers.stale_hold);
        if !expired {
            return;
        }
        let told_elsewhere = self.sources.iter().any(|(other, source)| {
            other.feed != key.feed
                && (other.origin, other.table, other.family) == (key.origin, key.table, key.family)
                && source.state() == State::Synced
        });
        if told_elsewhere {
            self.drop_source(now, key);
        } else {
            self.unsettle(key);
        }
    }

    /// A poll's table beside a push feed's: what differs twice in a row is a disagreement.
    fn compare(&mut self, key: SourceKey) {
        let Origin::Session(session) = key.origin else {
            return;
        };
        let mine = |other: &SourceKey| {
            (other.origin, other.table, other.family) == (key.origin, key.table, key.family)
        };
        let other = self
            .sources
            .iter()
            .find(|(k, s)| k.feed != key.feed && mine(k) && s.state() == State::Synced);
        let (Some((_, other)), Some(source)) = (other, self.sources.get(&key)) else {
            return;
        };
        let told: HashSet<Prefix> = other.routes().map(|(prefix, _)| prefix).collect();
        let polled: HashSet<Prefix> = source.routes().map(|(prefix, _)| prefix).collect();
        let now: HashSet<Prefix> = told.symmetric_difference(&polled).copied().collect();
        let difference = self.differences.entry(key).or_default();
        let twice: BTreeSet<Prefix> = now.intersection(&difference.last).copied().collect();
        difference.last = now;
        let tell = !twice.is_empty() && !difference.told;
        difference.told = !twice.is_empty();
        if tell {
            let examples = twice.iter().copied().take(MAX_EXAMPLES).collect();
            self.tell(Event::FeedDisagreement {
                session,
                table: key.table,
                prefixes: twice.len(),
                examples,
            });
        }
    }

    /// The peers a route of this source concerns.
    fn targets(
        &self,
        key: SourceKey,
        next_hop: Option<IpAddr>,
        communities: Option<&[crate::route::Community]>,
    ) -> Vec<PeerId> {
        let session = match key.origin {
            Origin::Peer(peer) => return vec![peer],
            Origin::Session(session) => session,
        };
        match (self.directory.owner(session.address), Side::of(key.table)) {
            (Some(Owner::Peer(peer)), _) => vec![peer],
            (Some(Owner::RouteServer(index)), Side::Sources) => {
                let server = &self.config.route_servers[index];
                next_hop
                    .and_then(|hop| self.directory.member(server, hop))
                    .into_iter()
                    .collect()
            }
            (Some(Owner::RouteServer(index)), Side::Destinations) => {
                self.directory
                    .served(&self.config, &self.config.route_servers[index], communities)
            }
            (None, _) => Vec::new(),
        }
    }

    fn add(&mut self, key: SourceKey, route: &Route) {
        let targets = self.targets(key, route.next_hop, route.communities.as_deref());
        self.check_next_hop(key, route, &targets);
        for id in targets {
            if Side::of(key.table) == Side::Sources {
                if self.config.peers[id.0 as usize].view.table() == key.table
                    || matches!(key.origin, Origin::Peer(_))
                {
                    self.add_source(id, key, route.prefix);
                }
            } else if self.peers[id.0 as usize].destination.add(route.prefix) == Change::Changed {
                self.dirty.insert(id);
                self.unsettled.insert(id);
            }
        }
    }

    fn add_source(&mut self, id: PeerId, key: SourceKey, prefix: Prefix) {
        let admitted = admit(
            prefix,
            &self.withheld.context(&self.config.peers[id.0 as usize]),
            provenance(&self.config, key),
        );
        let peer = &mut self.peers[id.0 as usize];
        if let Err(refusal) = admitted {
            let words = &mut peer.refused.entry(prefix).or_insert((refusal, 0)).1;
            *words += 1;
            if *words == 1 {
                self.tell(Event::PrefixRefused(id, prefix, refusal));
            }
        } else if peer.source.add(prefix) == Change::Changed {
            self.dirty.insert(id);
        }
        self.unsettled.insert(id);
        self.limit(id, prefix.family(), Some(prefix));
    }

    fn limit(&mut self, id: PeerId, family: Family, newest: Option<Prefix>) {
        let limit = *self.config.peers[id.0 as usize].max_prefixes.get(family);
        let peer = &mut self.peers[id.0 as usize];
        let prefixes = peer.advertised(family);
        match (peer.limit(family, limit, newest), limit) {
            (Some(true), Some(limit)) => self.tell(Event::MaxPrefixExceeded {
                peer: id,
                family,
                prefixes,
                limit,
            }),
            (Some(false), _) => {
                self.dirty.insert(id);
                self.tell(Event::MaxPrefixCleared(id, family));
            }
            _ => {}
        }
    }

    fn remove(
        &mut self,
        now: Duration,
        key: SourceKey,
        prefix: Prefix,
        entry: &Entry,
        hold: Duration,
    ) {
        let side = Side::of(key.table);
        for id in self.targets(key, entry.next_hop, entry.communities.as_deref()) {
            let table_matters = side == Side::Destinations
                || matches!(key.origin, Origin::Peer(_))
                || self.config.peers[id.0 as usize].view.table() == key.table;
            if !table_matters {
                continue;
            }
            let peer = &mut self.peers[id.0 as usize];
            let refused = if side == Side::Sources {
                peer.refused.get_mut(&prefix)
            } else {
                None
            };
            if let Some((_, words)) = refused {
                *words -= 1;
                if *words == 0 {
                    peer.refused.remove(&prefix);
                }
            } else if peer.ledger(side).remove(prefix, now + hold) {
                self.leaving
                    .entry(now + hold)
                    .or_default()
                    .push((id, side, prefix));
            }
            self.unsettled.insert(id);
            if side == Side::Sources {
                self.limit(id, prefix.family(), None);
            }
        }
    }

    /// NEXT_HOP must be the neighbour, or for a route server a member of its LAN (AS57965's policy; RFC 4271
    /// section 5.1.3). IPv6 link-local next hops are the neighbour's own.
    fn check_next_hop(&mut self, key: SourceKey, route: &Route, targets: &[PeerId]) {
        let (Origin::Session(session), Side::Sources, Some(hop)) =
            (key.origin, Side::of(key.table), route.next_hop)
        else {
            return;
        };
        if matches!(hop, IpAddr::V6(v6) if v6.is_unicast_link_local())
            || self.next_hops.len() >= MAX_NEXT_HOPS * (1 + self.peers.len())
        {
            return;
        }
        match self.directory.owner(session.address) {
            Some(Owner::Peer(id)) if self.directory.owner(hop) != Some(Owner::Peer(id)) => {
                if self.next_hops.insert((Some(id), hop)) {
                    self.tell(Event::NextHopRewritten(id, hop, route.prefix));
                }
            }
            Some(Owner::RouteServer(_)) if targets.is_empty() => {
                if self.next_hops.insert((None, hop)) {
                    self.tell(Event::NextHopUnknown(session, hop, route.prefix));
                }
            }
            _ => {}
        }
    }

    /// The first thing that keeps the peer from being enforced.
    fn missing(&self, now: Duration, id: PeerId) -> Option<Missing> {
        let (peer, config) = (
            &self.peers[id.0 as usize],
            &self.config.peers[id.0 as usize],
        );
        for family in Family::ALL
            .into_iter()
            .filter(|&family| config.families.contains(family))
        {
            for side in Side::ALL {
                if let Some(missing) = self.missing_table(now, id, side, family) {
                    return Some(missing);
                }
            }
        }
        for family in Family::ALL
            .into_iter()
            .filter(|&family| config.families.contains(family))
        {
            if !peer.has_sources(family)
                && !config.extra_sources.iter().any(|p| p.family() == family)
            {
                return Some(Missing::Empty(Side::Sources, family));
            }
            if !peer.has_destinations(family)
                && !config
                    .extra_destinations
                    .iter()
                    .any(|p| p.family() == family)
            {
                return Some(Missing::Empty(Side::Destinations, family));
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

    fn missing_table(
        &self,
        now: Duration,
        id: PeerId,
        side: Side,
        family: Family,
    ) -> Option<Missing> {
        let config = &self.config.peers[id.0 as usize];
        let mut usable = false;
        let (mut held, mut lost) = (false, false);
        let dynamic = self.has_dynamic_feed(side);
        for key in self.peers[id.0 as usize]
            .keys
            .iter()
            .filter(|key| Side::of(key.table) == side && key.family == family)
        {
            let Some(source) = self.sources.get(key) else {
                continue;
            };
            match source.doubt() {
                Some(Doubt::Count { .. } | Doubt::Overflow) => {
                    return Some(Missing::CountMismatch(side, family));
                }
                Some(Doubt::Shrink { .. }) => {
                    return Some(Missing::ShrinkUnconfirmed(side, family));
                }
                None => {}
            }
            let by_hand = provenance(&self.config, *key) == Provenance::Static;
            match source.state() {
                State::Loading => return Some(Missing::Loading(side, family)),
                State::Synced => usable |= !by_hand || !dynamic,
                State::Stale => {
                    let fresh = now < source.since() + self.config.timers.stale_hold;
                    usable |= fresh || config.on_stale == OnStale::Keep;
                    lost |= !fresh;
                }
                State::Held => held = true,
                State::Unknown | State::Down => {}
            }
        }
        match (usable, held, lost) {
            (true, _, _) => None,
            (false, true, _) => Some(Missing::SessionDown(side, family)),
            (false, false, true) => Some(Missing::FeedLost(side, family)),
            (false, false, false) => Some(Missing::NeverTold(side, family)),
        }
    }

    /// Is there a feed, besides prefixes by hand, that always tells this side? Then prefixes by hand are a
    /// supplement and no evidence. BMP routers rarely tell Adj-RIB-Out, so it is none for destinations.
    fn has_dynamic_feed(&self, side: Side) -> bool {
        self.config.feeds.iter().any(|feed| match feed {
            Feed::Static { .. } => false,
            Feed::Bmp { .. } | Feed::Mrt { .. } => side == Side::Sources,
            Feed::Shadow { sessions, .. } => sessions
                .iter()
                .any(|session| Side::of(session.table) == side),
            Feed::Frr { .. } | Feed::Bird { .. } | Feed::OpenBgpd { .. } | Feed::GoBgp { .. } => {
                true
            }
        })
    }

    /// Does anybody's view use this table?
    fn is_wanted(&self, key: SourceKey) -> bool {
        let session = match key.origin {
            Origin::Peer(peer) => return (peer.0 as usize) < self.peers.len(),
            Origin::Session(session) => session,
        };
        if key.table == Table::AdjOut {
            return self.directory.owner(session.address).is_some();
        }
        match self.directory.owner(session.address) {
            Some(Owner::Peer(id)) => self.config.peers[id.0 as usize].view.table() == key.table,
            Some(Owner::RouteServer(index)) => {
                let members = self.directory.members(&self.config.route_servers[index]);
                members
                    .iter()
                    .any(|id| self.config.peers[id.0 as usize].view.table() == key.table)
            }
            None => false,
        }
    }

    /// The source, made and linked to its peers if it is new.
    fn open(&mut self, now: Duration, key: SourceKey) -> Option<&mut Source> {
        if !self.sources.contains_key(&key) {
            if !self.is_wanted(key) {
                if let Origin::Session(session) = key.origin
                    && self.directory.owner(session.address).is_none()
                {
                    self.unknown_session(key.feed, session.address);
                }
                return None;
            }
            if self.sources.len() >= MAX_SOURCES {
                self.refused_sources += 1;
                return None;
            }
            for id in self.concerned(key) {
                self.peers[id.0 as usize].keys.insert(key);
                self.unsettled.insert(id);
            }
            let mid_life = self.is_mid_life(now, key.feed);
            self.sources
                .entry(key)
                .or_default()
                .ensure_started(now, mid_life);
        }
        self.sources.get_mut(&key)
    }

    /// Everyone whose enforcement depends on this source: a member needs its route server's table complete too.
    fn concerned(&self, key: SourceKey) -> Vec<PeerId> {
        let session = match key.origin {
            Origin::Peer(peer) => return vec![peer],
            Origin::Session(session) => session,
        };
        match self.directory.owner(session.address) {
            Some(Owner::Peer(peer)) => vec![peer],
            Some(Owner::RouteServer(index)) => self
                .directory
                .members(&self.config.route_servers[index])
                .to_vec(),
            None => Vec::new(),
        }
    }

    fn is_mid_life(&self, now: Duration, feed: FeedId) -> bool {
        let up_since = self
            .feeds
            .get(feed.0 as usize)
            .and_then(|feed| feed.up_since);
        up_since.is_none_or(|since| now > since + MID_LIFE)
    }

    /// Is the source's feed connected?
    fn is_told(&self, key: SourceKey) -> bool {
        self.feeds
            .get(key.feed.0 as usize)
            .is_some_and(|feed| feed.up_since.is_some())
    }

    fn unknown_session(&mut self, feed: FeedId, address: IpAddr) {
        self.unknown_count += 1;
        if self.unknown.len() < MAX_UNKNOWN && self.unknown.insert((feed, address)) {
            self.tell(Event::UnknownSession(feed, address));
        }
    }

    fn keys(&self, which: impl Fn(&SourceKey) -> bool) -> Vec<SourceKey> {
        self.sources.keys().copied().filter(which).collect()
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

    fn changed(&mut self, key: SourceKey, was: State, state: State) {
        self.unsettle(key);
        if was != state {
            self.tell(Event::SourceState {
                session: session_of(key.origin),
                table: key.table,
                family: key.family,
                state,
            });
        }
    }

    fn unsettle(&mut self, key: SourceKey) {
        for id in self.concerned(key) {
            self.unsettled.insert(id);
        }
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
            self.events_lost += 1;
        }
        self.events.push_back(event);
    }
}

fn session_of(origin: Origin) -> Option<Session> {
    match origin {
        Origin::Session(session) => Some(session),
        Origin::Peer(_) => None,
    }
}

/// Prefixes by hand are exempt from the length bounds.
fn provenance(config: &Config, key: SourceKey) -> Provenance {
    match config.feeds.get(key.feed.0 as usize) {
        Some(Feed::Static { .. }) => Provenance::Static,
        _ => Provenance::Dynamic,
    }
}

/// No one peer's sources may cover more than this share of its family's space: a full table covers about 72 %
/// of IPv4 and far less of IPv6.
pub const COVERAGE_PERCENT: u128 = 85;

fn over_budget(sources: &PrefixSet) -> Option<Family> {
    Family::ALL.into_iter().find(|&family| {
        // In units of 2^64 of left-aligned bits, so that the sum fits.
        let covered: u128 = sources
            .family(family)
            .as_slice()
            .iter()
            .map(|&(first, last)| ((last - first) >> 64) + 1)
            .sum();
        let space: u128 = match family {
            Family::Ipv4 => 1 << 64,
            Family::Ipv6 => 1 << 61, // 2000::/3
        };
        covered > space / 100 * COVERAGE_PERCENT
    })
}
