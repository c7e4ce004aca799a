//! One source of routes: one table of one family of one session as one feed tells it, with its state and the
//! routes it holds. Knows nothing of peers, admission or other sources.
use std::collections::{HashMap, HashSet, VecDeque, hash_map};
use std::sync::Arc;
use std::time::Duration;

use filter_core::{Family, Prefix};

use super::directory::Owner;
use super::doubt::Doubts;
use super::key::RouteKey;
use super::kind::Kind;
use super::ledger::Moment;
use super::pace::{Pace, is_few};
use super::state::{Cue, State};
use crate::route::{Community, FeedId, Origin, PeerId, Table};

/// Routes of one source; beyond it the source never counts as complete.
pub const MAX_ROUTES: usize = 4_000_000;
/// A session that came up this long after its feed did is told mid-life: its End-of-RIB may come before its
/// routes (BIRD) or never (FRR), so only quiet shows that it is complete.
pub const MID_LIFE: Duration = Duration::from_secs(2);
/// Mid-life, nothing is complete sooner than this: FRR holds routes back for five seconds while route maps load.
pub const SETTLE: Duration = Duration::from_secs(15);
/// A feed that tells much at once keeps its tables from being taken as complete by quiet for this long: FRR walks
/// all tables in one order, so a small one may have its first route at the start and its last at the end.
pub const BUSY: Duration = Duration::from_secs(60);
/// Withdrawals this shortly before a feed was lost are a router's that shuts down (GoBGP), not a peer's.
pub const LAST_WORDS: Duration = Duration::from_secs(5);
/// So many of them are remembered; a table that lost more just before its feed is not relied on.
pub const MAX_LAST_WORDS: usize = 1 << 20;

/// Names a source. Sources that tell the same table stand side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey {
    /// Whose routes.
    pub origin: Origin,
    /// Which table.
    pub table: Table,
    /// Which family.
    pub family: Family,
    /// Who tells.
    pub feed: FeedId,
}

impl SourceKey {
    /// Is it the same table, as another feed may tell it?
    #[must_use]
    pub fn same_table(&self, other: &Self) -> bool {
        (self.origin, self.table, self.family) == (other.origin, other.table, other.family)
    }
}

/// Whom a route concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// Everyone its source does.
    All,
    /// One member of a route server's LAN.
    Only(PeerId),
    /// Nobody we know.
    Nobody,
    /// Whom its communities name.
    Scoped,
}

/// [`Whom`], with the communities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub whom: Whom,
    pub communities: Option<Arc<[Community]>>,
}

/// What is remembered of a route.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Which telling of the table it was last part of.
    epoch: u32,
    /// When it was first told, in seconds.
    since: u32,
    whom: Whom,
}

/// A withdrawal that may be the feed's last word.
#[derive(Clone, Copy, Debug)]
struct LastWord {
    at: Moment,
    key: RouteKey,
    whom: Whom,
}

/// A route that is no more, and whom it concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub prefix: Prefix,
    pub scope: Scope,
}

/// What an announcement changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// The route was not known.
    New,
    /// Nothing but that it is part of this telling too.
    Same,
    /// It concerns others than before.
    Replaced(Scope),
    /// There are too many.
    Overflow,
}

/// Why a table is to be taken as complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The feed says so.
    Said,
    /// A newer count, or time, has resolved a doubt.
    Resolved,
    /// Nothing happened for so long that it must be.
    Quiet,
}

/// See the file's head.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub kind: Kind,
    pub owner: Owner,
    family: Family,
    state: State,
    since: Duration,
    started: Duration,
    /// Told from the start, and not known to be complete since.
    telling: bool,
    mid_life: bool,
    /// Anything of the table itself was told, ever; and since its feed is connected.
    heard: bool,
    reported: bool,
    /// It was taken as complete because it was quiet, and had no route: the first one begins the table.
    silent: bool,
    /// A feed that need not be believed without it said that the table is complete.
    ended: bool,
    /// What comes is known to be wrong, until the feed says that it is not.
    lost: bool,
    /// Its session is down and its hold over, but its feed tells on: the routes are kept and do not count.
    muted: bool,
    epoch: u32,
    /// Routes of this telling.
    fresh: usize,
    routes: HashMap<RouteKey, Entry>,
    communities: HashMap<RouteKey, Arc<[Community]>>,
    has_paths: bool,
    last_change: Duration,
    pace: Pace,
    pub doubts: Doubts,
    hold_until: Option<Duration>,
    last_words: VecDeque<LastWord>,
    /// Some were more than are remembered: if the feed is lost now, nobody knows what it told.
    words_forgotten: Option<Duration>,
    max_routes: usize,
    max_last_words: usize,
}

impl Source {
    pub(super) fn new(
        kind: Kind,
        owner: Owner,
        family: Family,
        now: Duration,
        mid_life: bool,
    ) -> Self {
        let mut source = Self {
            kind,
            owner,
            family,
            state: State::Unknown,
            since: now,
            started: now,
            telling: true,
            mid_life: false,
            heard: false,
            reported: true,
            silent: false,
            ended: false,
            lost: false,
            muted: false,
            epoch: 0,
            fresh: 0,
            routes: HashMap::new(),
            communities: HashMap::new(),
            has_paths: false,
            last_change: now,
            pace: Pace::default(),
            doubts: Doubts::default(),
            hold_until: None,
            last_words: VecDeque::new(),
            words_forgotten: None,
            max_routes: MAX_ROUTES,
            max_last_words: MAX_LAST_WORDS,
        };
        source.start(now, mid_life);
        source
    }

    pub(super) const fn state(&self) -> State {
        self.state
    }

    /// Since when it is in its state.
    pub(super) const fn since(&self) -> Duration {
        self.since
    }

    /// Until when its routes are kept although its session is down.
    pub(super) const fn hold_until(&self) -> Option<Duration> {
        self.hold_until
    }

    pub(super) const fn is_telling(&self) -> bool {
        self.telling
    }

    /// Since when it is told from the start.
    pub(super) const fn started(&self) -> Duration {
        self.started
    }

    /// May time alone change anything about it?
    pub(super) fn wants_tick(&self) -> bool {
        self.telling
            || self.hold_until.is_some()
            || self.state == State::Stale
            || self.doubts.wants_tick()
    }

    /// Was anything of the table itself ever told? Mere silence shows nothing.
    pub(super) const fn is_heard(&self) -> bool {
        self.heard
    }

    /// Do its routes count?
    pub(super) const fn is_muted(&self) -> bool {
        self.muted
    }

    pub(super) fn len(&self) -> usize {
        self.routes.len()
    }

    /// Routes of this telling.
    pub(super) const fn fresh(&self) -> usize {
        self.fresh
    }

    /// Its prefixes, one for each path, with whom they concern and the second they were first told in.
    pub(super) fn routes(&self) -> impl Iterator<Item = (Gone, Duration)> + '_ {
        self.routes.iter().map(|(key, entry)| {
            let since = Duration::from_secs(entry.since.into());
            (self.described(*key, entry.whom), since)
        })
    }

    /// Its prefixes, one for each path.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.routes.keys().map(|key| key.prefix(self.family))
    }

    /// Is this a prefix of its? Cheap for tables without path identifiers.
    pub(super) fn has(&self, prefix: Prefix) -> bool {
        self.routes.contains_key(&RouteKey::new(prefix, 0))
            || self.has_paths && self.prefixes().any(|mine| mine == prefix)
    }

    /// Does this number fit the routes of this telling? Some routers count paths, some prefixes.
    pub(super) fn agrees(&self, prefixes: u64) -> bool {
        let told = self.fresh as u64;
        if told == prefixes || !self.has_paths {
            return told == prefixes;
        }
        let fresh = self
            .routes
            .iter()
            .filter(|(_, entry)| entry.epoch == self.epoch);
        let distinct: HashSet<RouteKey> = fresh
            .map(|(key, _)| RouteKey::new(key.prefix(self.family), 0))
            .collect();
        distinct.len() as u64 == prefixes
    }

    /// Its session came up: the table is told from the start, and routes that are not part of this telling go when
    /// it is complete.
    pub(super) fn start(&mut self, now: Duration, mid_life: bool) {
        self.restart(now);
        self.mid_life = mid_life && self.kind.needs_settling();
        self.reported = true;
        self.hold_until = None;
        self.cue(now, Cue::Started);
    }

    /// Its feed is connected again and tells everything from the start.
    pub(super) fn feed_back(&mut self, now: Duration) {
        self.restart(now);
        self.mid_life = false;
        self.reported = false;
        self.cue(now, Cue::FeedBack);
    }

    fn restart(&mut self, now: Duration) {
        self.next_epoch();
        self.started = now;
        self.last_change = now;
        self.pace.restart(now);
        self.telling = true;
        self.silent = false;
        self.ended = false;
        self.lost = false;
        self.doubts.restart();
    }

    fn next_epoch(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.fresh = 0;
    }

    /// A poll, or a refresh, begins: its routes replace those before, but the source is no less complete meanwhile.
    pub(super) fn begin_snapshot(&mut self) {
        self.hear();
        self.next_epoch();
    }

    /// Something of the table itself is told.
    pub(super) const fn hear(&mut self) {
        self.heard = true;
        self.reported = true;
    }

    /// The first of the table itself: a session that was silent so long that nothing was expected of it any more
    /// is told only now.
    pub(super) fn hear_first(&mut self, now: Duration) {
        self.hear();
        self.end_silence(now);
    }

    /// Was it taken as complete without a word and without a route?
    pub(super) const fn is_silent(&self) -> bool {
        self.silent
    }

    /// A route comes after a silence that was taken for an empty table: it is not, it is only told now.
    pub(super) fn end_silence(&mut self, now: Duration) {
        if self.silent {
            self.start(now, true);
        }
    }

    /// Its session went down: its routes are kept until then. A second word does not make the hold longer.
    pub(super) fn session_down(&mut self, now: Duration, hold_until: Duration) {
        if !matches!(self.state, State::Held | State::Down) {
            self.hold_until = Some(hold_until);
        }
        if self.kind.tells_sessions() {
            self.doubts.forget();
        }
        self.silent = false;
        self.cue(now, Cue::SessionDown);
    }

    /// Its session is up again and its table was told on meanwhile, if its feed is there. Returns whether its
    /// routes did not count and now do.
    pub(super) fn resume(&mut self, now: Duration, connected: bool) -> bool {
        self.hold_until = None;
        if matches!(self.state, State::Held | State::Down) {
            self.cue(
                now,
                if self.telling {
                    Cue::Started
                } else {
                    Cue::Resumed
                },
            );
            if self.lost || !connected {
                self.cue(now, Cue::FeedLost);
            }
        }
        std::mem::take(&mut self.muted)
    }

    /// Its feed was lost, or tells it wrong. Returns routes whose withdrawal was the feed's last word.
    pub(super) fn feed_lost(&mut self, now: Duration) -> Vec<Gone> {
        self.cue(now, Cue::FeedLost);
        self.lost = true;
        self.forget_words(now);
        if self
            .words_forgotten
            .is_some_and(|at| now <= at + LAST_WORDS)
        {
            self.doubts.overflow();
        }
        let mut revived = Vec::new();
        for LastWord { key, whom, .. } in std::mem::take(&mut self.last_words) {
            if let hash_map::Entry::Vacant(vacant) = self.routes.entry(key) {
                // Of a former telling: it goes with the next complete table, unless that has it too.
                vacant.insert(Entry {
                    epoch: self.epoch.wrapping_sub(1),
                    since: seconds(now),
                    whom,
                });
                revived.push(self.described(key, whom));
            }
        }
        revived
    }

    /// Of withdrawals that are too old to be last words.
    fn forget_words(&mut self, now: Duration) {
        let oldest = Moment::until(now.saturating_sub(LAST_WORDS));
        while let Some(word) = self.last_words.front().filter(|word| word.at < oldest) {
            let key = word.key;
            self.last_words.pop_front();
            self.forget_communities(key);
        }
        if self.last_words.is_empty() {
            self.last_words = VecDeque::new(); // a full table's withdrawal is not kept in memory for ever
        }
    }

    fn forget_communities(&mut self, key: RouteKey) {
        if !self.communities.is_empty() && !self.routes.contains_key(&key) {
            self.communities.remove(&key);
        }
    }

    fn cue(&mut self, now: Duration, cue: Cue) {
        let after = self.state.after(cue);
        if after != self.state {
            self.state = after;
            self.since = now;
        }
    }

    /// A route was told.
    pub(super) fn announce(
        &mut self,
        now: Duration,
        prefix: Prefix,
        path: u32,
        scope: &Scope,
    ) -> Announced {
        let key = RouteKey::new(prefix, path);
        let len = self.routes.len();
        let entry = match self.routes.entry(key) {
            hash_map::Entry::Vacant(_) if len >= self.max_routes => {
                self.doubts.overflow();
                return Announced::Overflow;
            }
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(Entry {
                    epoch: self.epoch,
                    since: seconds(now),
                    whom: scope.whom,
                });
                if let Some(communities) = &scope.communities {
                    self.communities.insert(key, Arc::clone(communities));
                }
                self.has_paths |= path != 0;
                self.fresh += 1;
                self.touch(now);
                return Announced::New;
            }
            hash_map::Entry::Occupied(known) => known.into_mut(),
        };
        self.fresh += usize::from(entry.epoch != self.epoch);
        entry.epoch = self.epoch;
        let whom = std::mem::replace(&mut entry.whom, scope.whom);
        let communities = match &scope.communities {
            Some(communities) => self.communities.insert(key, Arc::clone(communities)),
            None if whom == Whom::Scoped => self.communities.remove(&key),
            None => None,
        };
        if whom == scope.whom && communities == scope.communities {
            return Announced::Same;
        }
        self.touch(now);
        Announced::Replaced(Scope { whom, communities })
    }

    /// A route was withdrawn. Returns what was remembered of it.
    pub(super) fn withdraw(&mut self, now: Duration, prefix: Prefix, path: u32) -> Option<Gone> {
        let key = RouteKey::new(prefix, path);
        let entry = self.routes.remove(&key)?;
        self.fresh -= usize::from(entry.epoch == self.epoch);
        self.touch(now);
        let gone = self.described(key, entry.whom);
        if self.kind != Kind::Station {
            self.forget_communities(key);
            return Some(gone);
        }
        self.forget_words(now);
        if self.last_words.len() >= self.max_last_words {
            self.last_words.pop_front();
            self.words_forgotten = Some(now);
        }
        self.last_words.push_back(LastWord {
            at: Moment::until(now),
            key,
            whom: entry.whom,
        });
        Some(gone)
    }

    fn touch(&mut self, now: Duration) {
        self.last_change = now;
        self.pace.change(now);
    }

    fn described(&self, key: RouteKey, whom: Whom) -> Gone {
        let communities = match whom {
            Whom::Scoped => self.communities.get(&key).cloned(),
            Whom::All | Whom::Only(_) | Whom::Nobody => None,
        };
        Gone {
            prefix: key.prefix(self.family),
            scope: Scope { whom, communities },
        }
    }

    fn take_described(&mut self, key: RouteKey, whom: Whom) -> Gone {
        let gone = self.described(key, whom);
        self.forget_communities(key);
        gone
    }

    /// The router's own count of prefixes.
    pub(super) fn counted(&mut self, now: Duration, prefixes: u64) {
        let agrees = self.agrees(prefixes);
        self.doubts
            .counted(now, prefixes, self.last_change, (self.fresh, agrees));
    }

    /// End-of-RIB was told. Returns whether it is to be believed at once: it is if the table was told from the
    /// feed's start and had a route. BIRD says it before the first route, FRR while it waits for its route-maps
    /// (FEEDS section 5); then quiet decides.
    pub(super) const fn end_of_rib(&mut self) -> bool {
        self.hear();
        self.lost = false;
        self.ended = true;
        if self.telling && self.fresh == 0 && self.kind.needs_settling() {
            self.mid_life = true;
        }
        !(self.mid_life && self.telling)
    }

    /// A snapshot was told. Returns whether it is to be believed at once: a poll of a session that just came up
    /// is when the session has settled and the poll found what the one before did.
    pub(super) fn end_of_snapshot(&mut self, now: Duration, changed: usize) -> bool {
        self.lost = false;
        self.ended = true;
        if !self.mid_life || !self.telling {
            return true;
        }
        let gone = self.routes.len() - self.fresh;
        let settled = now >= self.started + SETTLE && is_few(changed + gone, self.routes.len());
        self.kind == Kind::Poll && settled
    }

    /// Has it been quiet for so long that it must be complete, although nobody said so, or said it too early?
    /// While its feed has much to tell, its turn may still come, but not for longer than [`BUSY`].
    pub(super) fn is_quiet(&self, now: Duration, feed_is_busy: bool) -> bool {
        let may_be_quiet =
            self.kind.quiet_is_enough() || !self.heard || self.kind == Kind::Shadow && self.ended;
        self.telling
            && !self.lost
            && self.reported
            && self.doubts.allows_quiet()
            && !matches!(self.state, State::Held | State::Down)
            && may_be_quiet
            && now >= self.started + SETTLE
            && (!feed_is_busy || now >= self.started + BUSY)
            && self.pace.is_quiet(now, self.routes.len())
    }

    /// Its feed has been back for long enough and has not named its session: the session is not up.
    pub(super) fn is_unreported(&self, now: Duration) -> bool {
        self.telling
            && !self.reported
            && !self.lost
            && self.kind.tells_sessions()
            && !matches!(self.state, State::Held | State::Down)
            && now >= self.started + SETTLE
    }

    /// Is there a doubt that time, or a newer count, has resolved?
    pub(super) fn may_retry(&self, now: Duration) -> bool {
        !self.lost && self.doubts.may_retry(now, self.fresh)
    }

    /// A count differs for so long that the routes that are missing cannot be under way any more.
    pub(super) fn doubts_count(&mut self, now: Duration) -> bool {
        !self.telling && self.doubts.judge_count(now, self.fresh, self.last_change)
    }

    /// The table is said or seen to be complete: the routes that were not part of this telling are removed and
    /// returned. In doubt nothing is, and the doubt comes back.
    pub(super) fn complete(
        &mut self,
        now: Duration,
        evidence: Evidence,
    ) -> Result<Vec<Gone>, super::Doubt> {
        let (had, has) = (self.routes.len(), self.fresh);
        self.doubts
            .judge(now, (self.epoch, self.last_change), (had, has), evidence)?;
        self.telling = false;
        self.mid_life = false;
        self.silent = evidence == Evidence::Quiet && has == 0;
        self.cue(now, Cue::Completed);
        if has == had {
            return Ok(Vec::new());
        }
        let epoch = self.epoch;
        let gone: Vec<(RouteKey, Entry)> = self
            .routes
            .extract_if(|_, entry| entry.epoch != epoch)
            .collect();
        self.touch(now);
        Ok(gone
            .into_iter()
            .map(|(key, entry)| self.take_described(key, entry.whom))
            .collect())
    }

    /// The hold is over: nothing of it counts any more. A feed that tells on keeps telling.
    pub(super) fn hold_over(&mut self, now: Duration) -> Vec<Gone> {
        self.cue(now, Cue::HoldOver);
        self.hold_until = None;
        if self.kind.tells_sessions() {
            return self.clear();
        }
        if std::mem::replace(&mut self.muted, true) {
            return Vec::new();
        }
        self.routes().map(|(gone, _)| gone).collect()
    }

    /// Forgets its routes.
    pub(super) fn clear(&mut self) -> Vec<Gone> {
        let routes = std::mem::take(&mut self.routes);
        self.fresh = 0;
        let gone = routes
            .into_iter()
            .map(|(key, entry)| self.take_described(key, entry.whom))
            .collect();
        self.communities = HashMap::new();
        self.last_words = VecDeque::new();
        if self.muted { Vec::new() } else { gone }
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
