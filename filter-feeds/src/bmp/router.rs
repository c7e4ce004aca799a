//! One router's BMP connection: its messages in, route events out. Pure: no sockets, time is an argument. Keeps no
//! routes, so its memory does not depend on what the router sends; bounded by [`MAX_SESSIONS`].
//!
//! As long as the length in the common header holds, whatever a message holds costs at most the session it is about:
//! its route is withdrawn, its table lost, or it counts as down. That is counted, and reported once for each session.
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::counts::{Counts, LeftOut};
use super::life::Life;
use super::quirks::{Daemon, PathIdModes, Reading, Unreadable};
use crate::wire::WireError;
use crate::wire::bgp::{PathIds, Update};
use crate::wire::bmp::{
    self, DownReason, Established, Gauge, Initiation, Message, Monitored, PeerHeader, PeerKind,
    PeerUp, Statistics,
};
use filter_core::{Asn, Family};
use filter_lifecycle::route::{AdjRib, DownCause, Origin, RouteEvent, Session};

/// Sessions one router may report.
pub const MAX_SESSIONS: usize = 4096;
/// No routes for this long: the router has told what it has.
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
/// Nothing counts as silent before this time, however short the interval.
pub const MIN_IDLE: Duration = Duration::from_secs(10);
/// Statistics that come less often than this are none to go by.
pub const MAX_INTERVAL: Duration = Duration::from_secs(3600);
/// A router that tells of no session for this long is worth a warning.
pub const NO_SESSION_WARNING: Duration = Duration::from_secs(30);

/// The stand-in for numbers that do not fit two octets (RFC 6793): the OPEN has the real one.
const AS_TRANS: Asn = Asn::new(23456);

/// Why a connection is closed. The router will connect again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Closed {
    /// Bytes that are not BMP.
    #[error("malformed BMP: {0}; the connection is closed for the router to start over")]
    Malformed(#[from] WireError),
    /// RFC 7854 section 4.3 has an Initiation come first.
    #[error("the first BMP message is no initiation; check what connects to the listener")]
    NoInitiation,
    /// The router said goodbye.
    #[error("the router ended the connection (termination reason {})", reason.map_or_else(|| "none".into(), |reason| reason.to_string()))]
    Terminated {
        /// RFC 7854 section 4.5.
        reason: Option<u16>,
    },
    /// See FEEDS: BIRD 3.
    #[error(
        "BIRD 3 leaves sessions out of its BMP stream; feed from its control socket (kind = \"bird\") instead"
    )]
    Bird3,
    /// Nothing came for longer than the idle limit.
    #[error(
        "the router sent nothing for {} s, longer than its idle limit; its tables are kept as the last known",
        .0.as_secs()
    )]
    Idle(Duration),
    /// A known bug of the router that a new connection heals.
    #[error("{0}; the connection is closed to be told everything again")]
    Heal(&'static str),
}

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
    opened: Instant,
    identity: Option<(Daemon, String)>,
    memory: Memory,
    sessions: HashMap<Session, Life>,
    heal: Option<Heal>,
    last_route: Instant,
    heard: Instant,
    /// How often the router sends its statistics, as far as it has shown.
    interval: Option<Duration>,
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
    /// The router has told who it is.
    Identified,
    /// A session is no longer up.
    Down(Session),
}

impl Router {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            opened: now,
            identity: None,
            memory: Memory::default(),
            sessions: HashMap::new(),
            heal: None,
            last_route: now,
            heard: now,
            interval: None,
            warned: false,
            warned_unknown: false,
            warned_nameless: false,
            warned_limit: false,
            counts: Counts::default(),
        }
    }

    /// Has the router told who it is?
    #[must_use]
    pub const fn is_identified(&self) -> bool {
        self.identity.is_some()
    }

    /// The sysName, once told.
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
        let learned = self.sessions.iter();
        let learned = learned.map(|(&session, life)| (session, life.modes));
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

    /// Sessions of which nothing has come for three statistics intervals, while the router speaks of others: they
    /// vanished without a Peer Down (GoBGP, of a neighbour that was deleted).
    pub fn end_silent(&mut self, now: Instant, events: &mut Vec<RouteEvent>) -> Vec<Session> {
        let Some(limit) = self.learned_limit() else {
            return Vec::new();
        };
        if now.duration_since(self.heard) >= limit / SILENT_INTERVALS {
            return Vec::new(); // the router as a whole is silent
        }
        let is_silent = |life: &Life| {
            life.up.is_some() && life.counted.is_some() && now.duration_since(life.heard) >= limit
        };
        let silent = self.sessions.iter().filter(|(_, life)| is_silent(life));
        let mut silent: Vec<Session> = silent.map(|(&session, _)| session).collect();
        silent.sort_unstable();
        for &session in &silent {
            log::warn!(
                "router {:?} sends no statistics about session {session} any more; it counts as removed",
                self.name()
            );
            self.sessions.remove(&session);
            let cause = DownCause::Deconfigured;
            events.push(RouteEvent::SessionDown { session, cause });
        }
        silent
    }

    /// Is it time to close the connection so that the router tells everything again?
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
                "router {:?} has told of no session for {} s; if it is BIRD 3, which leaves out those that were up \
                 before it connected, feed from its control socket instead",
                self.name(),
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

    /// A Peer Up. One that cannot be read leaves its session down.
    fn established(
        &mut self,
        daemon: Daemon,
        header: &PeerHeader,
        established: Established<'_>,
        now: Instant,
        events: &mut Vec<RouteEvent>,
        claim: &mut dyn FnMut(Session) -> bool,
    ) -> Result<Noted, Closed> {
        if self.is_foreign(header) {
            return Ok(Noted::Nothing);
        }
        match established.up() {
            Ok(up) => self.peer_up(daemon, header, up, now, events, claim)?,
            Err(error) => return Ok(self.unreadable_up(header.session, &error, now, events)),
        }
        Ok(Noted::Nothing)
    }

    fn unreadable_up(
        &mut self,
        session: Session,
        error: &WireError,
        now: Instant,
        events: &mut Vec<RouteEvent>,
    ) -> Noted {
        self.counts.add(LeftOut::UnreadableOpen, 1);
        if !self.has_room(session) {
            return Noted::Nothing;
        }
        let former = self.sessions.get(&session);
        let life = Life::new(None, now, former);
        self.sessions.insert(session, life);
        self.report(
            session,
            &format!("its Peer Up cannot be read ({error}): it counts as down"),
        );
        let cause = DownCause::Lost;
        events.push(RouteEvent::SessionDown { session, cause });
        Noted::Down(session)
    }

    /// Is there room for this session? Counts and reports it if not.
    fn has_room(&mut self, session: Session) -> bool {
        if self.sessions.len() < MAX_SESSIONS || self.sessions.contains_key(&session) {
            return true;
        }
        self.counts.add(LeftOut::TooManySessions, 1);
        if !std::mem::replace(&mut self.warned_limit, true) {
            log::warn!(
                "router {:?} reports more than {MAX_SESSIONS} sessions: {session} and others are left out; monitor \
                 only the peers that are filtered",
                self.name()
            );
        }
        false
    }

    fn peer_up(
        &mut self,
        daemon: Daemon,
        header: &PeerHeader,
        up: PeerUp,
        now: Instant,
        events: &mut Vec<RouteEvent>,
        claim: &mut dyn FnMut(Session) -> bool,
    ) -> Result<(), Closed> {
        if Daemon::is_bird3(header, &up) {
            return Err(Closed::Bird3);
        }
        let session = header.session;
        let known = self.sessions.get(&session);
        if known.is_some_and(|life| life.up == Some(up)) {
            self.counts.add(LeftOut::Duplicate, 1);
            return Ok(());
        }
        if !self.has_room(session) {
            return Ok(());
        }
        if !claim(session) {
            self.counts.add(LeftOut::Claimed, 1);
            log::warn!(
                "session {session} of router {:?} is already reported by another router of this feed and left out; \
                 give each router a feed of its own",
                self.name()
            );
            return Ok(());
        }
        self.start(daemon, session, up, now);
        let odd = up.sent.odd.saturating_add(up.received.odd);
        if odd != 0 {
            self.counts.add(LeftOut::OddCapability, odd.into());
            self.report(
                session,
                "its OPEN holds odd parameters or capabilities, which are passed over",
            );
        }
        self.last_route = now;
        let has_trans = header.asn == AS_TRANS;
        events.push(RouteEvent::SessionUp {
            session,
            asn: Some(if has_trans {
                up.received.asn
            } else {
                header.asn
            }),
            restart_time: restart_time(&up),
            families: up.sent.families_with(&up.received),
        });
        Ok(())
    }

    /// The session's life starts, with what the router's bugs make of it.
    fn start(&mut self, daemon: Daemon, session: Session, up: PeerUp, now: Instant) {
        let known = self.sessions.get(&session);
        let restarted = known.is_some_and(|life| life.restarting);
        // The first connection of such a router comes with sessions whose routes it may not have sorted out yet;
        // on the one that heals only those that come up later are told wrong.
        let later = known.is_some() || now.duration_since(self.opened) >= QUIET;
        let mut life = Life::new(Some(up), now, known);
        if known.is_none() {
            life.modes = self.memory.modes.get(&session).copied().unwrap_or_default();
        }
        self.sessions.insert(session, life);
        if daemon.needs_reconnect_after_up() && (later || !self.memory.healed) {
            self.heal_after(
                now,
                "FRRouting before 10 loses routes of sessions that come up",
            );
        } else if daemon.needs_reconnect_after_restart() && restarted {
            self.heal_after(now, "the router may have lost routes of a graceful restart");
        }
    }

    /// Something is odd about this session: said once, counted always.
    fn report(&mut self, session: Session, what: &str) {
        let name = self.identity.as_ref().map_or("", |(_, name)| name);
        let Some(life) = self.sessions.get_mut(&session) else {
            return;
        };
        if !std::mem::replace(&mut life.reported, true) {
            log::warn!("router {name:?}, session {session}: {what}");
        }
    }

    /// A message about nobody knows whom.
    fn nameless(&mut self, error: &WireError) {
        self.counts.add(LeftOut::Nameless, 1);
        if !std::mem::replace(&mut self.warned_nameless, true) {
            log::warn!(
                "router {:?} sends messages whose per-peer header cannot be read ({error}); they are ignored",
                self.name()
            );
        }
    }

    fn heal_after(&mut self, now: Instant, why: &'static str) {
        self.heal = Some(Heal { since: now, why });
    }

    fn peer_down(
        &mut self,
        header: &PeerHeader,
        reason: DownReason,
        events: &mut Vec<RouteEvent>,
    ) -> Noted {
        if self.is_foreign(header) {
            return Noted::Nothing;
        }
        let session = header.session;
        let Some(life) = self.sessions.get_mut(&session) else {
            self.counts.add(LeftOut::UnknownSession, 1);
            return Noted::Nothing;
        };
        let Some(up) = life.up.take() else {
            self.counts.add(LeftOut::Duplicate, 1);
            return Noted::Nothing;
        };
        let cause = reason.cause();
        life.restarting = cause == DownCause::Lost && restart_time(&up).is_some();
        if cause == DownCause::Deconfigured {
            self.sessions.remove(&session);
        }
        events.push(RouteEvent::SessionDown { session, cause });
        Noted::Down(session)
    }

    fn statistics(
        &mut self,
        daemon: Daemon,
        header: &PeerHeader,
        statistics: Statistics<'_>,
        now: Instant,
        events: &mut Vec<RouteEvent>,
    ) {
        if self.is_foreign(header) {
            return;
        }
        let session = header.session;
        let up = self.sessions.get_mut(&session);
        let Some(life) = up.filter(|life| life.up.is_some()) else {
            self.counts.add(LeftOut::UnknownSession, 1);
            return;
        };
        life.heard = now;
        if let Some(former) = life.counted.replace(now) {
            let interval = now.duration_since(former);
            if !interval.is_zero() && interval <= MAX_INTERVAL {
                self.interval = Some(interval);
            }
        }
        let mut left_out = 0;
        let mut totals = Vec::new();
        for statistic in statistics {
            let rib = statistic.and_then(|statistic| match statistic.gauge {
                Gauge::AdjIn => Some(AdjRib::InPrePolicy),
                Gauge::LocRib if daemon.counts_post_policy() => Some(AdjRib::InPostPolicy),
                Gauge::LocRib => None,
                Gauge::AdjOut => Some(AdjRib::OutPostPolicy),
            });
            let (Some(statistic), Some(rib)) = (statistic, rib) else {
                left_out += 1;
                continue;
            };
            if life.ribs[rib as usize].is_lost() {
                left_out += 1;
                continue;
            }
            match statistic.counted {
                // A total may stand before the counts by family that make it superfluous.
                bmp::Counted::Total => totals.push((rib, statistic)),
                _ => match life.counts(rib, statistic) {
                    Some(family) => events.push(count(session, rib, family, statistic.routes)),
                    None => left_out += 1,
                },
            }
        }
        for (rib, statistic) in totals {
            match life.counts(rib, statistic) {
                Some(family) => events.push(count(session, rib, family, statistic.routes)),
                None => left_out += 1,
            }
        }
        self.counts.add(LeftOut::Statistic, left_out);
    }

    /// Route monitoring: only what somebody needs is read.
    fn monitored(
        &mut self,
        daemon: Daemon,
        header: &PeerHeader,
        monitored: Monitored<'_>,
        now: Instant,
        events: &mut Vec<RouteEvent>,
    ) {
        if self.is_foreign(header) {
            return;
        }
        let Some(rib) = header.rib else {
            self.counts.add(LeftOut::AdjOutPre, 1);
            return;
        };
        let session = header.session;
        match self.sessions.get_mut(&session) {
            Some(life) if life.up.is_some() => life.heard = now,
            Some(_) => return self.counts.add(LeftOut::UnknownSession, 1),
            None => return self.unknown(session),
        }
        match monitored.update() {
            Ok((Some(update), trailing)) => {
                self.counts
                    .add(LeftOut::TrailingBytes, (trailing != 0).into());
                self.routes(daemon, (session, rib), &update, now, events);
            }
            Ok((None, _)) => self.counts.add(LeftOut::NoUpdate, 1),
            Err(error) => self.unreadable((session, rib), &error, events),
        }
    }

    fn routes(
        &mut self,
        daemon: Daemon,
        (session, rib): (Session, AdjRib),
        update: &Update<'_>,
        now: Instant,
        events: &mut Vec<RouteEvent>,
    ) {
        self.counts
            .add(LeftOut::ForeignFamily, update.foreign().into());
        self.counts
            .add(LeftOut::RepeatedAttribute, update.repeated().into());
        let Some(life) = self.sessions.get_mut(&session) else {
            return;
        };
        let Some(up) = life.up else {
            return;
        };
        life.has_foreign |= update.foreign() != 0;
        let negotiated = match rib {
            AdjRib::InPrePolicy | AdjRib::InPostPolicy => up.received.path_ids_to(&up.sent),
            AdjRib::OutPostPolicy => up.sent.path_ids_to(&up.received),
        };
        let why = match life.modes.reading(daemon, rib, negotiated, update) {
            Ok(Reading::As(path_ids)) => {
                return self.emit(daemon, (session, rib), (update, path_ids), now, events);
            }
            Err(Unreadable::Malformed(error)) => {
                return self.unreadable((session, rib), &error, events);
            }
            Err(Unreadable::ModeChanged) => {
                "only some of its UPDATEs carry path identifiers; do not negotiate add-path receive on this session"
            }
            Ok(Reading::Undetermined) => {
                life.ribs[rib as usize].undetermined = true;
                "path identifiers were negotiated and an UPDATE can be read with and without them"
            }
            Ok(Reading::DoubtfulDefault) => {
                "a default route may be a path identifier; do not negotiate add-path receive on this session"
            }
        };
        self.counts.add(LeftOut::Undetermined, 1);
        life.ribs[rib as usize].lose(session, rib, why, events);
    }

    /// The events of an UPDATE that can be read.
    fn emit(
        &mut self,
        daemon: Daemon,
        (session, rib): (Session, AdjRib),
        (update, path_ids): (&Update<'_>, PathIds),
        now: Instant,
        events: &mut Vec<RouteEvent>,
    ) {
        let Some(life) = self.sessions.get_mut(&session) else {
            return;
        };
        let is_known = life.modes.of(rib).is_some();
        let state = &mut life.ribs[rib as usize];
        let was_lost = is_known && std::mem::take(&mut state.undetermined);
        let hides = daemon.may_hide_routes(rib);
        match state.emit(session, rib, (update, path_ids), hides, events) {
            Ok(true) => self.last_route = now,
            Ok(false) if update.end_of_rib().is_none() && update.foreign() == 0 => {
                self.counts.add(LeftOut::NoRoutes, 1);
            }
            Ok(false) => {}
            Err(error) => return self.unreadable((session, rib), &error, events),
        }
        if let Some(flaw) = update.flaw() {
            self.counts.add(LeftOut::TreatedAsWithdrawn, 1);
            let what =
                format!("an UPDATE of {rib} has {flaw}: its routes are withdrawn (RFC 7606)");
            self.report(session, &what);
        }
        if was_lost {
            self.read_again(now);
        }
    }

    /// How a table of this router carries path identifiers became clear only after some of it could not be read. It
    /// is read again over a new connection, once an hour at most.
    fn read_again(&mut self, now: Instant) {
        let is_new = now.duration_since(self.opened) < TELL_AGAIN;
        if self.heal.is_none() && !(self.memory.healed && is_new) {
            self.heal_after(
                now,
                "how path identifiers are carried became clear only now",
            );
        }
    }

    /// An UPDATE whose prefixes cannot be told: the table is not known any more.
    fn unreadable(
        &mut self,
        (session, rib): (Session, AdjRib),
        error: &WireError,
        events: &mut Vec<RouteEvent>,
    ) {
        self.counts.add(LeftOut::UnreadableUpdate, 1);
        if let Some(life) = self.sessions.get_mut(&session) {
            let why = format!("an UPDATE of it cannot be read: {error}");
            life.ribs[rib as usize].lose(session, rib, &why, events);
        }
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

    /// Routes of a session that never came up: said once, counted always.
    fn unknown(&mut self, session: Session) {
        self.counts.add(LeftOut::UnknownSession, 1);
        if !std::mem::replace(&mut self.warned_unknown, true) {
            log::warn!(
                "router {:?} sends routes of session {session} without a peer up; they are ignored, reconnect the router",
                self.name()
            );
        }
    }
}

const fn count(session: Session, rib: AdjRib, family: Option<Family>, prefixes: u64) -> RouteEvent {
    RouteEvent::Count {
        origin: Origin::Session(session),
        rib,
        family,
        prefixes,
    }
}

/// The restart time that the neighbour asked for: none unless both sides do graceful restart and the neighbour
/// keeps forwarding in some family (RFC 4724 section 3).
fn restart_time(up: &PeerUp) -> Option<Duration> {
    let theirs = up.received.capabilities.graceful_restart?;
    up.sent.capabilities.graceful_restart?;
    theirs
        .families
        .contains(&true)
        .then_some(theirs.restart_time)
}
