//! Feeds and the sessions they report: which feed is connected and how much it reports, which session is up, which one
//! has a neighbour with another AS number than the configured one. Knows no Adj-RIB and no peer.
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use filter_core::{Asn, Family};

use super::ends::Ends;
use super::fold::family_of;
use super::pace::Pace;
use super::source::{MID_LIFE, SETTLE};
use crate::route::{FeedId, Session};

/// Sessions whose state is remembered at once; of others graceful restart is not known.
pub const MAX_SESSIONS: usize = 65_536;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Feeds {
    each: Vec<FeedState>,
    sessions: HashMap<(FeedId, Session), SessionState>,
    /// Our address of each session that came up. It stays while the session is down or its feed connects anew: the
    /// filter must let the session come back.
    locals: HashMap<(FeedId, Session), IpAddr>,
    /// Sessions that are up with another AS than the configured one.
    strangers: HashMap<(FeedId, Session), Asn>,
}

#[derive(Debug, Default)]
struct FeedState {
    up_since: Option<Duration>,
    lost_at: Option<Duration>,
    /// Since when it reports other neighbours than the configured ones, several at once.
    foreign_since: Option<Duration>,
    /// It was lost for longer than `stale_hold` when last looked at.
    was_late: bool,
    pace: Pace,
    /// By router; a router none of whose sessions ended lately is not in it.
    ends: HashMap<u64, Ends>,
}

/// What one feed reports of one session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SessionState {
    pub up: bool,
    pub restart_time: Option<Duration>,
    /// The families it exchanges, by [`Family`](filter_core::Family), if the feed reports them.
    pub families: Option<[bool; 2]>,
    /// Which of the feed's routers it is a session of.
    pub router: u64,
}

impl FeedState {
    /// Since when nothing is known from it.
    fn ignorant_since(&self) -> Option<Duration> {
        let since = [self.lost_at, self.foreign_since];
        since.into_iter().flatten().min()
    }
}

impl Feeds {
    /// So many feeds, none of which ever connected.
    pub(super) fn new(count: usize) -> Self {
        Self {
            each: std::iter::repeat_with(FeedState::default)
                .take(count)
                .collect(),
            sessions: HashMap::new(),
            locals: HashMap::new(),
            strangers: HashMap::new(),
        }
    }

    /// Is there such a feed?
    pub(super) fn has(&self, feed: FeedId) -> bool {
        usize::from(feed.0) < self.each.len()
    }

    fn state(&self, feed: FeedId) -> &FeedState {
        &self.each[usize::from(feed.0)] // checked on the way in
    }

    /// The feed is connected: it reports every session anew.
    pub(super) fn connected(&mut self, now: Duration, feed: FeedId) {
        let state = &mut self.each[usize::from(feed.0)];
        (state.up_since, state.lost_at) = (Some(now), None);
        self.sessions.retain(|(of, _), _| *of != feed);
        self.strangers.retain(|(of, _), _| *of != feed);
    }

    /// The feed is lost.
    pub(super) fn lost(&mut self, now: Duration, feed: FeedId) {
        let state = &mut self.each[usize::from(feed.0)];
        (state.up_since, state.lost_at) = (None, state.lost_at.or(Some(now)));
    }

    pub(super) fn is_connected(&self, feed: FeedId) -> bool {
        self.state(feed).up_since.is_some()
    }

    /// Since when the feed is lost.
    pub(super) fn lost_at(&self, feed: FeedId) -> Option<Duration> {
        self.state(feed).lost_at
    }

    /// Did it connect so long ago that what comes up now comes up mid-life?
    pub(super) fn is_mid_life(&self, now: Duration, feed: FeedId) -> bool {
        let since = self.state(feed).up_since;
        since.is_none_or(|since| now > since + MID_LIFE)
    }

    /// A route of the feed's initial dump is new.
    pub(super) fn changed(&mut self, now: Duration, feed: FeedId) {
        self.each[usize::from(feed.0)].pace.change(now);
    }

    /// Is the feed sending whole Adj-RIBs?
    pub(super) fn is_busy(&self, now: Duration, feed: FeedId) -> bool {
        self.state(feed).pace.is_busy(now)
    }

    /// The feeds from which nothing has been known for `hold` now, each of them once.
    pub(super) fn newly_late(&mut self, now: Duration, hold: Duration) -> Vec<FeedId> {
        let mut late = Vec::new();
        for (feed, state) in (0..).map(FeedId).zip(&mut self.each) {
            let is_late = state.ignorant_since().is_some_and(|at| now >= at + hold);
            if is_late && !state.was_late {
                late.push(feed);
            }
            state.was_late = is_late;
        }
        late
    }

    /// Is the feed connected, and for how long has it been so or not?
    pub(super) fn status(&self, now: Duration, feed: FeedId) -> (bool, Option<Duration>) {
        let Some(state) = self.each.get(usize::from(feed.0)) else {
            return (false, None);
        };
        let since = state.up_since.or(state.lost_at);
        let age = since.map(|since| now.saturating_sub(since));
        (state.up_since.is_some(), age)
    }

    /// What the feed reports of the session, if it does.
    pub(super) fn session(&self, feed: FeedId, session: Session) -> Option<SessionState> {
        self.sessions.get(&(feed, session)).copied()
    }

    /// Our addresses of a session, as the feeds report them.
    pub(super) fn locals(&self, session: Session) -> impl Iterator<Item = IpAddr> + '_ {
        (0..self.each.len() as u16)
            .map(FeedId)
            .filter_map(move |feed| self.locals.get(&(feed, session)).copied())
    }

    /// A session came up at this address of ours, if the feed reports it. Returns whether that is another than before.
    pub(super) fn came_up_at(
        &mut self,
        feed: FeedId,
        session: Session,
        local: Option<IpAddr>,
    ) -> bool {
        let key = (feed, session);
        let has_room = self.locals.len() < MAX_SESSIONS || self.locals.contains_key(&key);
        let former = match local.filter(|_| has_room) {
            Some(local) => self.locals.insert(key, local),
            None => self.locals.remove(&key),
        };
        former != local
    }

    /// Takes note of a session's state; returns the one before.
    pub(super) fn remember(
        &mut self,
        feed: FeedId,
        session: Session,
        state: SessionState,
    ) -> Option<SessionState> {
        let key = (feed, session);
        if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(&key) {
            return None;
        }
        self.sessions.insert(key, state)
    }

    /// A session of a router ended, as this feed reports. Returns those that are thereby found to be the router's loss;
    /// `peers` counts whose some sessions are.
    pub(super) fn ended(
        &mut self,
        now: Duration,
        (feed, router): (FeedId, u64),
        session: Session,
        peers: impl Fn(&mut dyn Iterator<Item = Session>) -> usize,
    ) -> Vec<Session> {
        let of_feed = self.sessions.iter().filter(|((of, _), _)| *of == feed);
        let up = of_feed
            .filter(|(_, state)| state.up && state.router == router)
            .count();
        let ends = &mut self.each[usize::from(feed.0)].ends;
        ends.retain(|_, ends| ends.are_recent(now));
        let ends = ends.entry(router).or_default();
        ends.ended(now, session, up, peers)
    }

    /// Does a feed report that the session is up?
    pub(super) fn is_up(&self, session: Session) -> bool {
        self.reports(session).any(|(_, up)| up)
    }

    /// Is the session up by a feed, and does it exchange this family? One whose families are not reported exchanges that of
    /// its addresses.
    pub(super) fn exchanges(&self, session: Session, family: Family) -> bool {
        let states = (0..self.each.len() as u16)
            .map(FeedId)
            .filter_map(|feed| self.session(feed, session));
        let mut up = states.filter(|state| state.up);
        up.any(|state| match state.families {
            Some(all) => all[family as usize],
            None => family == family_of(session),
        })
    }

    /// Do feeds report the session, and none that it is up?
    pub(super) fn is_down(&self, session: Session) -> bool {
        self.reports(session).next().is_some() && !self.is_up(session)
    }

    /// The feeds that report the session, and whether it is up by them.
    pub(super) fn reports(&self, session: Session) -> impl Iterator<Item = (FeedId, bool)> + '_ {
        (0..self.each.len() as u16)
            .map(FeedId)
            .filter_map(move |feed| Some((feed, self.session(feed, session)?.up)))
    }

    /// The session is up with a neighbour of this AS number, which is not the configured one. None if there are too
    /// many such sessions; else whether that was known.
    pub(super) fn estrange(&mut self, feed: FeedId, session: Session, asn: Asn) -> Option<bool> {
        let key = (feed, session);
        if self.strangers.len() >= MAX_SESSIONS && !self.strangers.contains_key(&key) {
            return None;
        }
        Some(self.strangers.insert(key, asn) == Some(asn))
    }

    /// The session's neighbour is the configured one, or there is none.
    pub(super) fn reconcile(&mut self, feed: FeedId, session: Session) {
        self.strangers.remove(&(feed, session));
    }

    /// The sessions that are up, by this feed, with neighbours that are not the configured ones.
    pub(super) fn estranged(&self, feed: FeedId) -> impl Iterator<Item = Session> + '_ {
        let of_feed = self.strangers.keys().filter(move |(of, _)| *of == feed);
        of_feed.map(|(_, session)| *session)
    }

    /// Since when the feed reports other neighbours than the configured ones, several at once.
    pub(super) fn foreign_since(&self, feed: FeedId) -> Option<Duration> {
        self.each.get(usize::from(feed.0))?.foreign_since
    }

    pub(super) fn set_foreign(&mut self, feed: FeedId, since: Option<Duration>) {
        self.each[usize::from(feed.0)].foreign_since = since;
    }

    /// Has the feed been connected for long enough to have reported all of its sessions?
    pub(super) fn has_settled(&self, now: Duration, feed: FeedId) -> bool {
        let since = self.state(feed).up_since;
        since.is_some_and(|since| now >= since + SETTLE)
    }

    /// Is the session up with a neighbour that is not the configured one?
    pub(super) fn is_estranged(&self, feed: FeedId, session: Session) -> bool {
        !self.strangers.is_empty() && self.strangers.contains_key(&(feed, session))
    }
}
