//! One source of routes: one Adj-RIB of one family of one session as one feed reports it: its state, and when it is
//! taken as complete. Knows nothing of peers, admission or other sources.
use std::collections::HashSet;
use std::time::Duration;

use filter_core::{Family, Prefix};

use super::directory::Owner;
use super::doubt::{Doubt, Doubts, Evidence};
use super::former::Formers;
use super::kind::Kind;
use super::pace::{Pace, is_few};
use super::received::Received;
use super::routes::{Announced, Gone, Routes, Scope};
use super::state::{Cue, State};
use crate::route::{AdjRib, FeedId, Origin};

mod sessions;

/// A session that came up this long after its feed did is reported mid-life: its End-of-RIB may come before its
/// routes (BIRD) or never (FRR), so only quiet shows that it is complete.
pub const MID_LIFE: Duration = Duration::from_secs(2);
/// Mid-life, nothing is complete sooner than this: FRR holds routes back for five seconds while route maps load.
pub const SETTLE: Duration = Duration::from_secs(15);
/// A feed that sends much at once keeps its tables from being taken as complete by quiet for this long: FRR walks
/// all tables in one order, so a small one may have its first route at the start and its last at the end.
pub const BUSY: Duration = Duration::from_secs(60);

/// Withdrawn prefixes remembered of an Adj-RIB that is being received.
pub const MAX_LEFT: usize = 65_536;

/// Names a source. Sources of the same Adj-RIB stand side by side in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey {
    /// The session, or the peer, that the routes belong to.
    pub origin: Origin,
    /// Which Adj-RIB.
    pub rib: AdjRib,
    /// The family.
    pub family: Family,
    /// The feed that reports it.
    pub feed: FeedId,
}

impl SourceKey {
    /// Is it the same Adj-RIB, as another feed may report it?
    #[must_use]
    pub fn is_same_rib(&self, other: &Self) -> bool {
        (self.origin, self.rib, self.family) == (other.origin, other.rib, other.family)
    }
}

/// The timers that decide for how long former sessions' routes count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holds {
    pub peer_down: Duration,
    pub settle_max: Duration,
}

/// A route that is no more, and counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaving {
    pub gone: Gone,
    /// The hold that runs since it stopped being advertised, if that was before.
    pub held_until: Option<Duration>,
}

/// See the file's head.
#[derive(Clone, Debug)]
pub(super) struct Source {
    kind: Kind,
    owner: Owner,
    state: State,
    since: Duration,
    started: Duration,
    /// It is received from the start, and not known to be complete since.
    receiving: bool,
    mid_life: bool,
    /// Anything of the Adj-RIB itself was received, ever; and since its feed is connected.
    heard: bool,
    reported: bool,
    /// It was taken as complete because it was quiet, and had no route: the first one begins the table.
    silent: bool,
    /// The feed sent the end of the Adj-RIB; quiet of a shadow session is evidence only then.
    ended: bool,
    /// Routes that the last poll of this session found.
    polled: Option<usize>,
    /// What comes is known to be wrong, until the feed sends the Adj-RIB in full.
    lost: bool,
    /// What its session brings of it cannot be read, or not all of it.
    unreadable: bool,
    /// Since when it is not known whether its table is whole: it was lost, and not complete since.
    lost_since: Option<Duration>,
    /// Its feed knows no sessions, and the session is down and its hold over: the routes are kept and do not count.
    muted: bool,
    /// Its former sessions, if its feed reports them: their routes leave each after its own hold.
    formers: Formers,
    /// For how long it was received and not complete: a session that comes and goes does not put off for ever when it is.
    received: Received,
    /// When its session went down.
    ended_at: Duration,
    /// What was withdrawn during this transfer: announced again it is not new.
    left: HashSet<Prefix>,
    /// It was complete, not only for want of any route, and its routes have counted since.
    known: bool,
    /// It was taken as complete without a route, on whatever evidence, and has had none since: nothing is waited for.
    empty: bool,
    /// It is held although its neighbour turned out to be another: what was known of it stays in force.
    stranger: bool,
    routes: Routes,
    last_change: Duration,
    pace: Pace,
    doubts: Doubts,
    hold_until: Option<Duration>,
    /// That hold is as long as a lost feed's: see [`Source::spare`].
    spared: bool,
}

/// A route that counts.
#[derive(Debug)]
pub(super) struct Counting {
    pub route: Gone,
    /// Since when.
    pub since: Duration,
    /// Until when, if its session has ended.
    pub hold_until: Option<Duration>,
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
            state: State::Unknown,
            since: now,
            started: now,
            receiving: true,
            mid_life: false,
            heard: false,
            reported: true,
            silent: false,
            ended: false,
            polled: None,
            lost: false,
            unreadable: false,
            lost_since: None,
            muted: false,
            formers: Formers::default(),
            received: Received::default(),
            ended_at: now,
            left: HashSet::new(),
            known: false,
            empty: false,
            stranger: false,
            routes: Routes::new(family),
            last_change: now,
            pace: Pace::default(),
            doubts: Doubts::default(),
            hold_until: None,
            spared: false,
        };
        source.start(now, mid_life);
        source
    }

    pub(super) const fn state(&self) -> State {
        self.state
    }

    /// How its feed reports.
    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Who its session, or its list of prefixes by hand, belongs to.
    pub(super) const fn owner(&self) -> Owner {
        self.owner
    }

    pub(super) const fn routes(&self) -> &Routes {
        &self.routes
    }

    /// What speaks against it now.
    pub(super) fn doubt(&self) -> Option<Doubt> {
        self.doubts.current()
    }

    /// What speaks against the last known table, while it is received from the start.
    pub(super) fn doubt_of_last_known(&self) -> Option<Doubt> {
        self.doubts.of_last_known()
    }

    /// Does the router count no prefixes in it?
    pub(super) fn counts_none(&self) -> bool {
        self.doubts.counts_none()
    }

    /// Since when it is in its state.
    pub(super) const fn since(&self) -> Duration {
        self.since
    }

    /// Until when its routes are kept although its session is down.
    pub(super) const fn hold_until(&self) -> Option<Duration> {
        self.hold_until
    }

    /// Since when it was lost, if it was not complete since.
    pub(super) const fn lost_since(&self) -> Option<Duration> {
        self.lost_since
    }

    pub(super) const fn is_receiving(&self) -> bool {
        self.receiving
    }

    /// Is it part of its feed's initial dump? What a session does later is its own affair.
    pub(super) const fn is_dumped(&self) -> bool {
        self.receiving && !self.mid_life
    }

    /// Since when it is received from the start.
    pub(super) const fn started(&self) -> Duration {
        self.started
    }

    /// May time alone change anything about it?
    pub(super) fn wants_tick(&self) -> bool {
        self.receiving
            || self.hold_until.is_some()
            || !self.formers.is_empty()
            || self.state == State::Stale
            || self.doubts.wants_tick()
    }

    /// Was anything of the Adj-RIB itself ever received? Mere silence shows nothing.
    pub(super) const fn is_heard(&self) -> bool {
        self.heard
    }

    /// Is what was known of it kept in force, because its neighbour turned out to be another?
    pub(super) const fn is_kept(&self) -> bool {
        self.stranger && self.known && matches!(self.state, State::Held)
    }

    /// Its feed knows no sessions: do its routes not count, because the session is down?
    pub(super) const fn is_muted(&self) -> bool {
        self.muted
    }

    /// The routes that count.
    pub(super) fn counting(&self) -> impl Iterator<Item = Counting> + '_ {
        let counts = move |transfer| !self.muted && !self.formers.is_muted(transfer);
        let counting = self.routes.by_transfer(counts);
        counting.map(|(transfer, (route, since))| Counting {
            route,
            since,
            hold_until: self.formers.hold_of(transfer),
        })
    }

    /// Is its session over? What is received of it then is late.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, State::Held | State::Down)
    }

    fn restart(&mut self, now: Duration) {
        self.routes.next_transfer();
        self.received.pause(now);
        self.started = now;
        self.last_change = now;
        self.pace.restart(now);
        self.receiving = true;
        self.left = HashSet::new();
        self.silent = false;
        self.ended = false;
        self.polled = None;
        self.lost = false;
        self.unreadable = false;
        self.doubts.restart();
    }

    /// A poll, or a refresh, begins: its routes replace those before, but the source is no less complete meanwhile.
    pub(super) fn begin_snapshot(&mut self) {
        self.hear();
        self.routes.next_transfer();
        self.cover_late();
    }

    /// Something of the Adj-RIB itself is received.
    pub(super) const fn hear(&mut self) {
        self.heard = true;
        self.reported = true;
    }

    /// The first of the Adj-RIB itself is received: a session that was silent so long that nothing was expected of it
    /// any more begins only now.
    pub(super) fn hear_first(&mut self, now: Duration) {
        self.hear();
        self.end_silence(now);
    }

    /// Was it taken as complete without a route, and has it had none since?
    pub(super) const fn is_empty(&self) -> bool {
        self.empty
    }

    /// Is what comes known to be wrong, or does nothing come?
    pub(super) const fn is_lost(&self) -> bool {
        self.lost
    }

    /// Can what its session brings of it not be read, or not all of it?
    pub(super) const fn is_unreadable(&self) -> bool {
        self.unreadable
    }

    /// Was it taken as complete by quiet alone, without a route?
    pub(super) const fn is_silent(&self) -> bool {
        self.silent
    }

    /// A silence that was taken for an empty table ends, with a route or with the feed: it was none, and is no last
    /// known table.
    pub(super) fn end_silence(&mut self, now: Duration) {
        if self.silent {
            self.start(now, true);
        }
    }

    fn cue(&mut self, now: Duration, cue: Cue) {
        let after = self.state.after(cue);
        if after != self.state {
            self.state = after;
            self.since = now;
        }
    }

    /// A route was announced.
    pub(super) fn announce(
        &mut self,
        now: Duration,
        (prefix, path): (Prefix, u32),
        scope: &Scope,
    ) -> Announced {
        if self.receiving && !self.is_over() {
            // Since its session came up: one that announces only right before it ends puts off nothing by that.
            self.received.go_on(self.started);
        }
        let formers = &self.formers;
        let is_muted = |transfer| formers.is_muted(transfer);
        let announced = self.routes.announce(now, (prefix, path), scope, is_muted);
        match announced {
            Announced::New => {
                self.empty = false;
                self.touch(now, self.receiving && !self.left.contains(&prefix));
            }
            Announced::Replaced(_) => {
                self.empty = false;
                self.touch(now, false);
            }
            Announced::Overflow => self.doubts.overflow(),
            Announced::Same => {}
        }
        announced
    }

    /// A route was withdrawn. Returns what was remembered of it, if it counted.
    pub(super) fn withdraw(&mut self, now: Duration, prefix: Prefix, path: u32) -> Option<Leaving> {
        let may_be_last = self.kind == Kind::Stream;
        let (gone, transfer) = self.routes.withdraw(now, (prefix, path), may_be_last)?;
        if self.receiving && self.left.len() < MAX_LEFT {
            self.left.insert(prefix);
        }
        self.touch(now, false);
        self.leaving(gone, transfer)
    }

    /// How a route that is no more leaves, if it counted.
    fn leaving(&self, gone: Gone, transfer: u32) -> Option<Leaving> {
        let counted = !self.muted && !self.formers.is_muted(transfer);
        counted.then(|| Leaving {
            held_until: self.formers.hold_of(transfer),
            gone,
        })
    }

    /// Something changed. Only prefixes that are new in this transfer show that it goes on.
    fn touch(&mut self, now: Duration, is_new: bool) {
        self.last_change = now;
        self.doubts.changed();
        if is_new {
            self.pace.change(now);
        }
    }

    /// The router's own count of prefixes.
    pub(super) fn counted(&mut self, now: Duration, prefixes: u64) {
        let agrees = self.routes.agrees(prefixes);
        self.doubts
            .counted(now, prefixes, (self.routes.fresh(), agrees));
    }

    /// End-of-RIB was received. Returns whether the Adj-RIB is complete by that: it is if it was sent from the feed's
    /// start and had a route. BIRD sends End-of-RIB before the first route, FRR while it waits for its route-maps; then
    /// quiet decides.
    pub(super) const fn end_of_rib(&mut self) -> bool {
        self.hear();
        self.lost = false;
        self.ended = true;
        if self.receiving && self.routes.fresh() == 0 && self.kind.needs_settling() {
            self.mid_life = true;
        }
        !(self.mid_life && self.receiving)
    }

    /// A snapshot was received. Returns whether the Adj-RIB is complete by that: a poll of a session that just came up
    /// is, once the session has settled and the poll found what the one before did. What a former session had is no part
    /// of that: it may never come again.
    pub(super) fn end_of_snapshot(&mut self, now: Duration) -> bool {
        self.lost = false;
        self.ended = true;
        let has = self.routes.fresh();
        let had = self.polled.replace(has);
        if !self.mid_life || !self.receiving {
            return true;
        }
        let found_the_same = had.is_some_and(|had| {
            let gone = self.routes.of_last_transfer();
            let came = has - has.min(had.saturating_sub(gone));
            is_few(came + gone, had.max(has))
        });
        self.kind == Kind::Poll && now >= self.started + SETTLE && found_the_same
    }

    /// Has it been quiet for so long that it must be complete, although its end was not sent, or sent too early? While
    /// its feed sends much, its turn may still come, but not for longer than [`BUSY`].
    pub(super) fn is_quiet(&self, now: Duration, feed_is_busy: bool, settle_max: Duration) -> bool {
        let may_be_quiet =
            self.kind.quiet_is_enough() || !self.heard || self.kind == Kind::Shadow && self.ended;
        self.receiving
            && !self.lost
            && !self.unreadable
            && self.reported
            && self.doubts.allows_quiet()
            && !self.is_over()
            && (self.is_late(now, settle_max)
                || may_be_quiet
                    && now >= self.started + SETTLE
                    && (!feed_is_busy || now >= self.started + BUSY)
                    && self.pace.is_quiet(now, self.routes.len()))
    }

    /// Has it been received for so long that what there is of it must do?
    fn is_late(&self, now: Duration, settle_max: Duration) -> bool {
        self.received.in_all(now) >= settle_max && self.routes.fresh() > 0
    }

    /// Its feed has been back for long enough and has not named its session: the session is not up.
    pub(super) fn is_unreported(&self, now: Duration) -> bool {
        self.receiving
            && !self.reported
            && !self.lost
            && self.kind.tells_sessions()
            && !self.is_over()
            && now >= self.started + SETTLE
    }

    /// Is there a doubt that time, or a newer count, has resolved?
    pub(super) fn may_retry(&self, now: Duration) -> bool {
        let last = (self.routes.transfer(), self.routes.fresh());
        !self.lost && self.reported && self.doubts.may_retry(now, last)
    }

    /// A count differs for so long that the routes that are missing cannot be under way any more.
    pub(super) fn doubts_count(&mut self, now: Duration) -> bool {
        !self.receiving && self.doubts.judge_count(now, self.routes.fresh())
    }

    /// The Adj-RIB is complete by this evidence: the routes that were not part of this transfer are removed and
    /// returned. In doubt nothing is, and the doubt comes back.
    pub(super) fn complete(
        &mut self,
        now: Duration,
        evidence: Evidence,
    ) -> Result<Vec<Leaving>, Doubt> {
        let (had, has) = (self.routes.len(), self.routes.fresh());
        self.doubts
            .judge(now, self.routes.transfer(), (had, has), evidence)?;
        self.receiving = false;
        self.left = HashSet::new();
        self.received = Received::default();
        self.lost_since = None;
        self.mid_life = false;
        self.silent = evidence == Evidence::Quiet && has == 0;
        self.cue(now, Cue::Completed);
        if self.state == State::Synced {
            // A stream that ends an empty table may not have begun it (BIRD).
            self.known |= has != 0 || self.kind != Kind::Stream && !self.silent;
            self.empty = !self.known;
        }
        let gone = self.routes.remove_former();
        if !gone.is_empty() {
            self.touch(now, false);
        }
        let leaving = gone
            .into_iter()
            .filter_map(|(gone, transfer)| self.leaving(gone, transfer))
            .collect();
        if !self.is_over() {
            self.formers.clear(); // else what it received last is a former session's
        }
        Ok(leaving)
    }

    /// Forgets its routes; returns those that counted.
    pub(super) fn clear(&mut self) -> Vec<Gone> {
        self.known = false;
        let gone = self.routes.clear().into_iter();
        let counted = gone
            .filter_map(|(gone, transfer)| self.leaving(gone, transfer))
            .map(|leaving| leaving.gone)
            .collect();
        self.formers.clear();
        counted
    }
}
