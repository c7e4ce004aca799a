//! When a peer may be enforced, and with which tables: the product's conscience.
//!
//! Folds [`RouteEvent`]s into what is wanted per peer. Each *source* (one table of one family of one session as
//! one feed tells it) has a state (`state`) and its routes (`source`), told and lost as `telling` says and
//! completed on the evidence of `doubt` and `pace`; each peer has two ledgers that count who holds a prefix
//! (`ledger`); [`directory`] and `attribution` say whose a route is, `evidence` what keeps a side from being complete,
//! `classes` what is granted. Announcements count at once, withdrawals after `withdraw_hold`; a lost feed never empties a table.
//!
//! Pure: time is an argument, nothing is read or written. Never publishes: [`Lifecycle::take_dirty`] says whose
//! tables changed, [`Lifecycle::sources`], [`Lifecycle::destinations`], [`Lifecycle::known`] and
//! [`Lifecycle::granted`] what is to be.
//!
//! Memory: a route costs 40 bytes in its source, in hash tables that are between 44 and 88 % full, and its prefix 36
//! in the ledger of each peer it concerns, in trees whose nodes are at least half full: 137 MB for 1.06 million routes
//! of one peer, 136 bytes a route. A withdrawal costs 40 bytes more for its hold and 36 for [`LAST_WORDS`]. Tables do
//! not give memory back.
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use filter_core::set::PrefixSet;
use filter_core::{Address, Asn, Classes, Family, Mode, Prefix};

use crate::policy::Withheld;
use crate::route::{FeedId, Origin, PeerId, RouteEvent, Session};
use crate::spec::Spec;

mod address_set;
mod attribution;
mod classes;
mod coverage;
pub mod directory;
mod doubt;
mod event;
mod evidence;
mod foreign;
mod key;
mod kind;
mod ledger;
mod pace;
mod peer;
mod reconcile;
mod routes;
mod side;
mod source;
mod state;
mod status;
mod telling;

pub use crate::admission::Refusal;
pub use classes::ClassStatus;
pub use coverage::COVERAGE_PERCENT;
pub use directory::{Directory, Owner};
pub use doubt::{Doubt, SHRINK_MIN, SHRINK_PATIENCE, SHRINK_PERCENT};
pub use event::Event;
pub use foreign::FOREIGN_PEERS;
pub use pace::{BUSY_CHANGES, QUIET, QUIET_PERCENT};
pub use peer::{
    MAX_NEXT_HOPS, MAX_REFUSED_LISTED, MAX_REFUSED_TOLD, Missing, PeerState, REFUSED_PERIOD,
};
pub use reconcile::{MAX_DIFFERENCES, MAX_EXAMPLES};
pub use routes::{LAST_WORDS, MAX_LAST_WORDS, MAX_ROUTES};
pub use side::Side;
pub use source::{BUSY, MAX_LEFT, MID_LIFE, REVIVAL, SETTLE, SourceKey};
pub use state::{Cue, State};
pub use status::{PeerStatus, RefusedPrefix, SourceStatus, Told};

use kind::Kind;
use ledger::{Change, Departure, Expiry, Moment};
use pace::Pace;
use peer::Peer;
use reconcile::Difference;
use source::Source;

/// How often [`Lifecycle::tick`] wants to be called: no hold ends later than two of these after its time, unless
/// more than [`MAX_EXPIRED`] do at once.
pub const TICK: Duration = Duration::from_millis(250);
/// Holds ended by one tick: 1.06 million at once would keep everybody waiting for 200 ms.
pub const MAX_EXPIRED: usize = 65_536;
/// Sources kept at once. More are refused and counted, and whom they concern is not enforced.
pub const MAX_SOURCES: usize = 65_536;
/// Sessions whose state is remembered at once; of others graceful restart is not known.
pub const MAX_SESSIONS: usize = 65_536;
/// What was known from a session before it came up with another AS than the configured one stays this long.
pub const STRANGER_HOLD: Duration = Duration::from_secs(24 * 3600);
/// Unknown session addresses that are told of once each; more are only counted.
pub const MAX_UNKNOWN: usize = 1024;
/// Events waiting to be taken; more push the oldest out, counted.
pub const MAX_EVENTS: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct FeedState {
    kind: Kind,
    up_since: Option<Duration>,
    lost_at: Option<Duration>,
    /// Since when it reports other neighbours than the configured ones, several at once.
    foreign_since: Option<Duration>,
    /// It was lost for longer than `stale_hold` when last looked at.
    was_late: bool,
    pace: Pace,
}

impl FeedState {
    /// Since when nothing is known from it.
    fn ignorant_since(&self) -> Option<Duration> {
        let since = [self.lost_at, self.foreign_since];
        since.into_iter().flatten().min()
    }

    /// Did it connect so long ago that what comes up now comes up mid-life?
    fn is_mid_life(&self, now: Duration) -> bool {
        self.up_since.is_none_or(|since| now > since + MID_LIFE)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct SessionState {
    up: bool,
    restart_time: Option<Duration>,
    /// The families it exchanges, by [`Family`], if the feed tells.
    families: Option<[bool; 2]>,
}

/// See the module's head.
#[derive(Debug)]
pub struct Lifecycle {
    spec: Arc<Spec>,
    withheld: Withheld,
    directory: Directory,
    feeds: Vec<FeedState>,
    sessions: HashMap<(FeedId, Session), SessionState>,
    sources: HashMap<SourceKey, Source>,
    refused_sources: u64,
    peers: Vec<Peer>,
    leaving: BTreeMap<Moment, Vec<(PeerId, Side, Prefix)>>,
    dirty: BTreeSet<PeerId>,
    unsettled: BTreeSet<PeerId>,
    unknown: HashSet<(FeedId, Session)>,
    unknown_count: u64,
    /// Sessions that are up with another AS than the configured one.
    strangers: HashMap<(FeedId, Session), Asn>,
    /// By route server: next hops nobody has.
    next_hops: Vec<HashSet<IpAddr>>,
    differences: HashMap<SourceKey, Difference>,
    events: VecDeque<Event>,
    events_lost: u64,
}

impl Lifecycle {
    /// Nothing told yet: every peer is syncing, and dirty.
    #[must_use]
    pub fn new(spec: Arc<Spec>) -> Self {
        let directory = Directory::new(&spec);
        let peer = |peer: &crate::spec::Peer| Peer {
            mode: peer.mode,
            dynamic: Side::ALL.map(|side| kind::has_dynamic_feed(&spec, &directory, peer, side)),
            ..Peer::default()
        };
        let peers: Vec<Peer> = spec.peers.iter().map(peer).collect();
        let feeds = (0..spec.feeds.len()).map(|index| FeedState {
            kind: Kind::of(&spec, FeedId(index as u16)),
            up_since: None,
            lost_at: None,
            foreign_since: None,
            was_late: false,
            pace: Pace::default(),
        });
        let everyone: BTreeSet<PeerId> = directory::peers(&spec).map(|(id, _)| id).collect();
        Self {
            withheld: Withheld::of(&spec),
            feeds: feeds.collect(),
            sessions: HashMap::new(),
            sources: HashMap::new(),
            refused_sources: 0,
            peers,
            leaving: BTreeMap::new(),
            dirty: everyone.clone(),
            unsettled: everyone,
            unknown: HashSet::new(),
            unknown_count: 0,
            strangers: HashMap::new(),
            next_hops: vec![HashSet::new(); spec.route_servers.len()],
            differences: HashMap::new(),
            events: VecDeque::new(),
            events_lost: 0,
            directory,
            spec,
        }
    }

    /// Takes in one event of a feed. Call [`Lifecycle::settle`] after a batch.
    pub fn event(&mut self, now: Duration, feed: FeedId, event: &RouteEvent) {
        if usize::from(feed.0) >= self.feeds.len() {
            return; // no such feed is configured, so nobody wants what it says
        }
        if !self.strangers.is_empty() && self.is_strangers(feed, event) {
            return;
        }
        let key = |origin: &Origin, rib, family| SourceKey {
            origin: *origin,
            rib,
            family,
            feed,
        };
        match event {
            RouteEvent::FeedUp => self.feed_up(now, feed),
            RouteEvent::FeedDown { why } => self.feed_down(now, feed, why),
            RouteEvent::SessionUp {
                session,
                asn,
                restart_time,
                families,
            } => {
                let state = SessionState {
                    up: true,
                    restart_time: *restart_time,
                    families: *families,
                };
                self.session_came_up(now, (feed, *session), *asn, state);
            }
            RouteEvent::SessionDown { session, cause } => {
                self.session_down(now, feed, *session, *cause);
            }
            RouteEvent::Announce { origin, rib, route } => {
                self.announce(now, key(origin, *rib, route.prefix.family()), route);
            }
            RouteEvent::Withdraw {
                origin,
                rib,
                prefix,
                path,
            } => {
                self.withdraw(now, key(origin, *rib, prefix.family()), *prefix, *path);
            }
            RouteEvent::EndOfRib {
                origin,
                rib,
                family,
            } => {
                self.end_of_rib(now, key(origin, *rib, *family));
            }
            RouteEvent::Snapshot {
                origin,
                rib,
                family,
                routes,
            } => {
                self.snapshot(now, key(origin, *rib, *family), routes);
            }
            RouteEvent::RibLost { origin, rib, why } => {
                self.rib_lost(now, feed, *origin, *rib, why);
            }
            RouteEvent::Count {
                origin,
                rib,
                family,
                prefixes,
            } => match family {
                Some(family) => self.counted(now, key(origin, *rib, *family), *prefixes),
                None => self.counted_together(now, (feed, *origin, *rib), *prefixes),
            },
        }
    }

    /// Ends holds whose time has come and completes tables that have gone quiet.
    pub fn tick(&mut self, now: Duration) {
        let waiting = self
            .sources
            .iter()
            .filter(|(_, source)| source.wants_tick());
        let mut waiting: Vec<SourceKey> = waiting.map(|(&key, _)| key).collect();
        waiting.sort_unstable();
        for key in waiting {
            self.tick_source(now, key);
        }
        self.expire(now);
        self.end_suspicions(now);
        self.unsettle_late(now);
        self.settle(now);
    }

    /// Ends holds, so many at once that nothing else waits for long: late is harmless.
    fn expire(&mut self, now: Duration) {
        let now = Moment::until(now);
        let mut left = MAX_EXPIRED;
        while let Some(due) = self.leaving.first_entry().filter(|due| *due.key() <= now) {
            let (at, mut list) = due.remove_entry();
            let rest = list.split_off(list.len().min(left));
            left -= list.len();
            if !rest.is_empty() {
                self.leaving.insert(at, rest);
            }
            for (id, side, prefix) in list {
                self.expire_one(now, id, side, prefix);
            }
            if left == 0 {
                return;
            }
        }
    }

    fn expire_one(&mut self, now: Moment, id: PeerId, side: Side, prefix: Prefix) {
        let peer = &mut self.peers[id.0 as usize];
        let (expiry, change) = peer.expire(side, prefix, now);
        if change == Change::Changed {
            self.dirty.insert(id);
        }
        match expiry {
            Expiry::Gone => {
                self.unsettled.insert(id);
            }
            Expiry::Later(departure) => self.depart(departure, id, side, prefix),
            Expiry::Stays => {}
        }
    }

    fn depart(&mut self, Departure(at): Departure, id: PeerId, side: Side, prefix: Prefix) {
        self.leaving.entry(at).or_default().push((id, side, prefix));
    }

    /// Tells of peers whose state changed. A no-op if nothing did.
    pub fn settle(&mut self, now: Duration) {
        for id in std::mem::take(&mut self.unsettled) {
            if self.learn(now, id) {
                self.dirty.insert(id);
            }
            let (state, missing) = self.state(now, id);
            let peer = &mut self.peers[id.0 as usize];
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

    /// Does any peer's table wait to be taken?
    #[must_use]
    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Have this peer's tables changed since?
    #[must_use]
    pub fn is_dirty(&self, peer: PeerId) -> bool {
        self.dirty.contains(&peer)
    }

    /// What the peer may do, in a word, and the first thing that is missing.
    pub(crate) fn state(&self, now: Duration, id: PeerId) -> (PeerState, Option<Missing>) {
        let missing = self.missing(now, id);
        let relies = Classes::SOURCES | Classes::DESTINATIONS;
        let is_partly = self.granted(now, id).meets(relies);
        let mode = self.peers[id.0 as usize].mode;
        (PeerState::new(mode, missing.as_ref(), is_partly), missing)
    }

    /// The mode the operator wants for this peer.
    #[must_use]
    pub fn wanted_mode(&self, id: PeerId) -> Mode {
        self.peers[id.0 as usize].mode
    }

    /// S'(p): the admitted routes of S(p), less what nobody can claim, and the operator's extras. Works out anew only
    /// what changed since the last call. A family that covers too much of the address space stops growing.
    pub fn sources(&mut self, id: PeerId) -> PrefixSet {
        let extras = &self.spec.peers[id.0 as usize].extra_sources;
        let extras: PrefixSet = extras.iter().copied().collect();
        let peer = &mut self.peers[id.0 as usize];
        let mut sources = peer.addresses(Side::Sources, &self.withheld.all, &extras);
        let was = peer.too_wide;
        peer.too_wide = coverage::freeze(&mut sources, &peer.good_sources);
        peer.good_sources = sources.clone();
        let is = peer.too_wide;
        for family in Family::ALL {
            let place = family as usize;
            if was[place] != is[place] {
                self.tell(match is[place] {
                    true => Event::CoverageExceeded(id, family),
                    false => Event::CoverageCleared(id, family),
                });
            }
        }
        sources
    }

    /// D'(p): the routes of D(p), our own addresses where the peer is attached, and the operator's extras. Works out
    /// anew only what changed since the last call.
    pub fn destinations(&mut self, id: PeerId, own_addresses: &[Address]) -> PrefixSet {
        let extras = &self.spec.peers[id.0 as usize].extra_destinations;
        let own = own_addresses.iter().copied().map(Prefix::host);
        let always: PrefixSet = extras.iter().copied().chain(own).collect();
        self.peers[id.0 as usize].addresses(Side::Destinations, PrefixSet::empty(), &always)
    }

    /// The announced prefixes of a side that count, ascending by family.
    pub fn prefixes(&self, id: PeerId, side: Side) -> impl Iterator<Item = Prefix> + '_ {
        let peer = &self.peers[id.0 as usize];
        Family::ALL
            .into_iter()
            .flat_map(move |family| peer.enforced(side, family))
    }

    /// The longest of them that covers this address.
    #[must_use]
    pub fn covering(&self, id: PeerId, side: Side, address: Address) -> Option<Prefix> {
        self.peers[id.0 as usize].covering(side, address)
    }

    /// What came of publishing.
    pub fn published(&mut self, now: Duration, id: PeerId, result: Result<(), String>) {
        let peer = &mut self.peers[id.0 as usize];
        let since = peer.unpublished.as_ref().map_or(now, |(_, since)| *since);
        peer.unpublished = result.err().map(|why| (why, since));
        self.unsettled.insert(id);
    }

    /// An operator changes the mode.
    pub fn set_mode(&mut self, id: PeerId, mode: Mode) {
        let peer = &mut self.peers[id.0 as usize];
        peer.mode = mode;
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
    pub fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    fn feed_state(&self, feed: FeedId) -> &FeedState {
        &self.feeds[usize::from(feed.0)] // checked on the way in
    }

    fn keys(&self, which: impl Fn(&SourceKey) -> bool) -> Vec<SourceKey> {
        let mut keys: Vec<SourceKey> = self.sources.keys().copied().filter(which).collect();
        keys.sort_unstable(); // events in an order that does not depend on hashes
        keys
    }

    fn unsettle(&mut self, key: SourceKey) {
        let concerned = self.concerned(key);
        self.unsettled.extend(concerned);
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
