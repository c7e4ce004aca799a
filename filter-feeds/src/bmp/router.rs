//! One router's BMP connection: its messages in, route events out. Pure: no sockets, time is an argument. Keeps no
//! routes, so its memory does not depend on what the router sends; bounded by [`MAX_SESSIONS`].
//!
//! As long as the length in the common header holds, whatever a message holds costs at most the session it is about:
//! its route is withdrawn, its table lost, or it counts as down. That is counted, and reported once for each session.
mod closed;
mod routes;
mod sessions;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::counts::{Counts, LeftOut};
use super::life::Life;
use super::quirks::{Daemon, PathIdModes};
use crate::printed::Printed;
use crate::wire::WireError;
use crate::wire::bmp::{self, Initiation, Message, PeerHeader, PeerKind};
use filter_lifecycle::route::{DownCause, RouteEvent, Session, Vrf};

pub use closed::Closed;

/// Sessions one router may report.
pub const MAX_SESSIONS: usize = 4096;
/// No routes for this long: the router has sent what it has.
pub const QUIET: Duration = Duration::from_secs(5);
/// A session is this old before we believe in quiet: FRR waits 5 s for its route-maps.
pub const SETTLE: Duration = Duration::from_secs(15);
/// A router that never is quiet is reconnected all the same after this time.
pub const MAX_UNQUIET: Duration = Duration::from_secs(60);
/// A connection that was made anew to hear everything again is that old before it is made anew once more for the same
/// reason.
pub const TELL_AGAIN: Duration = Duration::from_secs(3600);
/// Silent for that many of the router's own statistics intervals, a session has ended, or the router is gone.
pub const SILENT_INTERVALS: u32 = 3;
/// A session of which the router never sent statistics is over after as many intervals of silence: daemons count every
/// session that is up. A router that was seen to leave out one that lives ends none this way.
pub const UNCOUNTED_INTERVALS: u32 = 10;
/// Nothing counts as silent before this time, however short the interval.
pub const MIN_IDLE: Duration = Duration::from_secs(10);
/// Statistics that come less often than this are none to go by.
pub const MAX_INTERVAL: Duration = Duration::from_secs(3600);
/// A router that reports no session for this long is worth a warning.
pub const NO_SESSION_WARNING: Duration = Duration::from_secs(30);

/// What a router that connects again is remembered by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// How its sessions' tables carry path identifiers.
    pub modes: HashMap<Session, PathIdModes>,
    /// This connection is the one that heals.
    pub healed: bool,
}

/// The state of one connection.
#[derive(Clone, Debug)]
pub struct Router {
    number: u64,
    /// The instances whose routes are read; all if none is named.
    instances: Option<BTreeSet<Option<Vrf>>>,
    opened: Instant,
    identity: Option<(Daemon, String)>,
    memory: Memory,
    sessions: HashMap<Session, Life>,
    heal: Option<Heal>,
    last_route: Instant,
    heard: Instant,
    /// How often the router sends its statistics: the longest time between two of one session.
    interval: Option<Duration>,
    /// Something came of a session long after the router should have counted it.
    counts_some: bool,
    warned: bool,
    warned_unknown: bool,
    warned_nameless: bool,
    warned_limit: bool,
    /// What was left out since they were last drained.
    pub counts: Counts,
}

#[derive(Clone, Copy, Debug)]
struct Heal {
    since: Instant,
    why: &'static str,
}

/// What the listener has to know of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// Nothing.
    Nothing,
    /// The router has sent its Initiation.
    Identified,
    /// A session is no longer up.
    Down(Session),
}

impl Router {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            number: 0,
            instances: None,
            opened: now,
            identity: None,
            memory: Memory::default(),
            sessions: HashMap::new(),
            heal: None,
            last_route: now,
            heard: now,
            interval: None,
            counts_some: false,
            warned: false,
            warned_unknown: false,
            warned_nameless: false,
            warned_limit: false,
            counts: Counts::default(),
        }
    }

    /// The same, which of its feed's connections it is.
    #[must_use]
    pub fn numbered(number: u64, now: Instant) -> Self {
        Self {
            number,
            ..Self::new(now)
        }
    }

    /// The same, which reads the routes of these instances alone; none is the global one.
    #[must_use]
    pub fn reading(self, instances: Option<BTreeSet<Option<Vrf>>>) -> Self {
        Self { instances, ..self }
    }

    /// Has the router sent its Initiation?
    #[must_use]
    pub const fn is_identified(&self) -> bool {
        self.identity.is_some()
    }

    /// The sysName, once received.
    #[must_use]
    pub fn name(&self) -> &str {
        self.identity.as_ref().map_or("", |(_, name)| name)
    }

    /// How often the router sends its statistics, once it has shown.
    #[must_use]
    pub const fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// Gives back what a former connection of this router left in [`Router::memory`].
    pub fn recall(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// What to remember when the connection ends for this reason.
    #[must_use]
    pub fn memory(&self, closed: Option<&Closed>) -> Memory {
        let learned = self
            .sessions
            .iter()
            .map(|(&session, life)| (session, life.modes));
        Memory {
            modes: learned
                .filter(|(_, modes)| *modes != PathIdModes::default())
                .collect(),
            healed: matches!(closed, Some(Closed::Heal(_))),
        }
    }

    /// Sessions that are up.
    pub fn sessions(&self) -> impl Iterator<Item = Session> {
        let up = self.sessions.iter().filter(|(_, life)| life.up.is_some());
        up.map(|(session, _)| *session)
    }

    /// Folds one whole message. `claim` is asked before a session is reported up.
    ///
    /// # Errors
    /// [`Closed`]: the connection is of no use any more. No event of the failing message was added.
    pub fn message(
        &mut self,
        message: &[u8],
        now: Instant,
        events: &mut Vec<RouteEvent>,
        claim: &mut dyn FnMut(Session) -> bool,
    ) -> Result<Noted, Closed> {
        let message = bmp::read(message)?;
        self.heard = now;
        let Some((daemon, _)) = self.identity else {
            let Message::Initiation(initiation) = message else {
                return Err(Closed::NoInitiation);
            };
            return self.identify(&initiation);
        };
        match message {
            Message::Initiation(_) => self.counts.add(LeftOut::Duplicate, 1),
            Message::RouteMonitoring(header, monitored) => {
                self.monitored(daemon, &header, monitored, now, events);
            }
            Message::Statistics(header, statistics) => {
                self.statistics(daemon, &header, statistics, now, events);
            }
            Message::PeerUp(header, established) => {
                return self.established(daemon, &header, established, now, events, claim);
            }
            Message::PeerDown(header, reason) => return Ok(self.peer_down(&header, reason, events)),
            Message::Termination { reason } => return Err(Closed::Terminated { reason }),
            Message::Mirroring => self.counts.add(LeftOut::Mirroring, 1),
            Message::Unknown => self.counts.add(LeftOut::UnknownType, 1),
            Message::Nameless(error) => self.nameless(&error),
        }
        Ok(Noted::Nothing)
    }

    /// Has the router been silent for longer than its limit: the one configured, or three of its own intervals?
    ///
    /// # Errors
    /// [`Closed::Idle`] if so.
    pub fn check_idle(&self, now: Instant, configured: Option<Duration>) -> Result<(), Closed> {
        let Some(limit) = configured.or_else(|| self.learned_limit()) else {
            return Ok(());
        };
        if now.duration_since(self.heard) < limit {
            return Ok(());
        }
        Err(Closed::Idle(limit))
    }

    /// Statistics are only sent about sessions that are up.
    fn learned_limit(&self) -> Option<Duration> {
        let counted = |life: &Life| life.up.is_some() && life.counted.is_some();
        let interval = self
            .interval
            .filter(|_| self.sessions.values().any(counted))?;
        Some((interval * SILENT_INTERVALS).max(MIN_IDLE))
    }

    /// Sessions of which nothing has come for three statistics intervals, while the router counts others: they vanished
    /// without a Peer Down (GoBGP, of a neighbour that was deleted). Before its first statistic a session is given ten.
    pub fn end_silent(&mut self, now: Instant, events: &mut Vec<RouteEvent>) -> Vec<Session> {
        let Some(limit) = self.learned_limit() else {
            return Vec::new();
        };
        let interval = limit / SILENT_INTERVALS;
        let up = || self.sessions.values().filter(|life| life.up.is_some());
        let last_count = up().filter_map(|life| life.counted).max();
        let counts = last_count.is_some_and(|at| now.duration_since(at) < limit);
        if !counts || now.duration_since(self.heard) >= interval {
            return Vec::new(); // it sends no statistics any more, or nothing at all
        }
        let uncounted_limit = interval * UNCOUNTED_INTERVALS;
        let is_silent = |life: &Life| {
            let silent = now.duration_since(life.heard);
            life.up.is_some()
                && match life.counted {
                    Some(_) => silent >= limit,
                    None => !self.counts_some && silent >= uncounted_limit,
                }
        };
        let mut silent: Vec<Session> = self
            .sessions
            .iter()
            .filter(|(_, life)| is_silent(life))
            .map(|(&session, _)| session)
            .collect();
        silent.sort_unstable();
        for &session in &silent {
            log::warn!(
                "router {} sends nothing about session {session}; it counts as removed",
                Printed(self.name())
            );
            self.sessions.remove(&session);
            let cause = DownCause::Deconfigured;
            events.push(RouteEvent::SessionDown { session, cause });
        }
        silent
    }

    /// Is it time to close the connection so that the router sends everything again?
    ///
    /// # Errors
    /// [`Closed::Heal`] if so.
    pub fn tick(&mut self, now: Instant) -> Result<(), Closed> {
        if let Some(heal) = self.heal {
            let age = now.duration_since(heal.since);
            let quiet = now.duration_since(self.last_route) >= QUIET && age >= SETTLE;
            if quiet || age >= MAX_UNQUIET {
                return Err(Closed::Heal(heal.why));
            }
        }
        let silent = self.sessions.is_empty()
            && self.identity.is_some()
            && now.duration_since(self.opened) >= NO_SESSION_WARNING;
        if silent && !self.warned {
            self.warned = true;
            log::warn!(
                "router {} has reported no session for {} s; if it is BIRD 3, which leaves out those that were up \
                 before it connected, feed from its control socket instead",
                Printed(self.name()),
                NO_SESSION_WARNING.as_secs()
            );
        }
        Ok(())
    }

    fn identify(&mut self, initiation: &Initiation<'_>) -> Result<Noted, Closed> {
        let daemon = Daemon::from_description(&String::from_utf8_lossy(initiation.description));
        if daemon == Daemon::Bird3 {
            return Err(Closed::Bird3);
        }
        let name = String::from_utf8_lossy(initiation.name).into_owned();
        self.identity = Some((daemon, name));
        Ok(Noted::Identified)
    }

    /// Something is odd about this session: said once, counted always.
    fn report(&mut self, session: Session, what: &str) {
        let name = self.identity.as_ref().map_or("", |(_, name)| name);
        let Some(life) = self.sessions.get_mut(&session) else {
            return;
        };
        if !std::mem::replace(&mut life.reported, true) {
            log::warn!("router {}, session {session}: {what}", Printed(name));
        }
    }

    /// A message whose session is not known.
    fn nameless(&mut self, error: &WireError) {
        self.counts.add(LeftOut::Nameless, 1);
        if !std::mem::replace(&mut self.warned_nameless, true) {
            log::warn!(
                "router {} sends messages whose per-peer header cannot be read ({error}); they are ignored",
                Printed(self.name())
            );
        }
    }

    /// Routes came of this session: if that is long after the router should have counted it, the router leaves out some.
    fn lives(&mut self, session: Session, now: Instant) {
        let Some(life) = self.sessions.get_mut(&session) else {
            return;
        };
        life.heard = now;
        let interval = self.interval.filter(|_| life.counted.is_none());
        let late = interval.map(|interval| life.since + interval * SILENT_INTERVALS);
        self.counts_some |= late.is_some_and(|late| now >= late);
    }

    fn heal_after(&mut self, now: Instant, why: &'static str) {
        self.heal = Some(Heal { since: now, why });
    }

    /// Is it about something that is no peer's? Counts it then.
    fn is_foreign(&mut self, header: &PeerHeader) -> bool {
        if header.kind == PeerKind::LocRib {
            self.counts.add(LeftOut::LocRib, 1);
            return true;
        }
        let own = header.session.address.is_unspecified();
        self.counts.add(LeftOut::LocallyOriginated, own.into());
        own
    }

    /// Is a peer or a route server in the session's instance? Counts a message of another one.
    fn is_read(&mut self, session: Session) -> bool {
        let instances = self.instances.as_ref();
        let read = instances.is_none_or(|instances| instances.contains(&session.vrf));
        self.counts.add(LeftOut::OtherVrf, (!read).into());
        read
    }

    /// Routes of a session that never came up: said once, counted always.
    fn unknown(&mut self, session: Session) {
        self.counts.add(LeftOut::UnknownSession, 1);
        if !std::mem::replace(&mut self.warned_unknown, true) {
            log::warn!(
                "router {} sends routes of session {session} without a peer up; they are ignored, reconnect the router",
                Printed(self.name())
            );
        }
    }
}
