//! One router's BMP connection: its messages in, route events out. Pure: no sockets, time is an argument. Keeps no
//! routes, so its memory does not depend on what the router sends; bounded by [`MAX_SESSIONS`].
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::counts::{Counts, LeftOut};
use super::life::Life;
use super::quirks::{Daemon, PathIdModes, Reading, Unreadable};
use crate::wire::WireError;
use crate::wire::bgp::{PathIds, Update};
use crate::wire::bmp::{
    self, DownReason, Gauge, Initiation, Message, PeerHeader, PeerKind, PeerUp, Statistics,
};
use filter_lifecycle::route::{DownCause, Origin, RouteEvent, Session, Table};

/// Sessions one router may report.
pub const MAX_SESSIONS: usize = 4096;
/// No routes for this long: the router has told what it has.
pub const QUIET: Duration = Duration::from_secs(5);
/// A session is this old before we believe in quiet: FRR waits 5 s for its route-maps.
pub const SETTLE: Duration = Duration::from_secs(15);
/// A router that never is quiet is reconnected all the same after this time.
pub const MAX_UNQUIET: Duration = Duration::from_secs(60);
/// A connection that was made to hear everything again is that old before it is made anew for the same reason: some
/// routers count otherwise for ever.
pub const TELL_AGAIN: Duration = Duration::from_secs(3600);
/// A router that tells of no session for this long is worth a warning.
pub const NO_SESSION_WARNING: Duration = Duration::from_secs(30);

/// Why a connection is closed. The router will connect again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Closed {
    /// Bytes that are not BMP.
    #[error("malformed BMP: {0}; the connection is closed for the router to start over")]
    Malformed(#[from] WireError),
    /// RFC 7854 section 4.3 has an Initiation come first.
    #[error("the first BMP message is no initiation; check what connects to the station")]
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
    /// More than [`MAX_SESSIONS`].
    #[error("more than {MAX_SESSIONS} sessions; monitor only the peers that are filtered")]
    TooManySessions,
    /// Two routers of one feed report a session of the same name.
    #[error(
        "session {} is already reported by another router of this feed; give each router a feed of its own", .0
    )]
    Claimed(Session),
    /// Path identifiers were read as the router no longer sends them, or not read for want of evidence.
    #[error(
        "how {0:?} carries path identifiers became clear only now; it is read again from the start"
    )]
    Reread(Table),
    /// A known bug of the router that a new connection heals.
    #[error("{0}; the connection is closed to be told everything again")]
    Heal(&'static str),
}

/// What a router that connects again is remembered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// How its views carry path identifiers.
    pub modes: PathIdModes,
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
    warned: bool,
    warned_unknown: bool,
    /// Views read with too little evidence on this connection; fatal once there is some.
    undetermined: [bool; 3],
    /// What was left out since they were last drained.
    pub counts: Counts,
}

#[derive(Clone, Copy, Debug)]
struct Heal {
    since: Instant,
    why: &'static str,
}

/// What the station has to know of a message.
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
            warned: false,
            warned_unknown: false,
            undetermined: [false; 3],
            counts: Counts::default(),
        }
    }

    /// The sysName, once told.
    #[must_use]
    pub fn name(&self) -> &str {
        self.identity.as_ref().map_or("", |(_, name)| name)
    }

    /// Gives back what a former connection of this router left in [`Router::memory`].
    pub const fn recall(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// What to remember when the connection ends for this reason.
    #[must_use]
    pub const fn memory(&self, closed: Option<&Closed>) -> Memory {
        Memory {
            modes: self.memory.modes,
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
        let Some((daemon, _)) = self.identity else {
            let Message::Initiation(initiation) = message else {
                return Err(Closed::NoInitiation);
            };
            return self.identify(&initiation);
        };
        match message {
            Message::Initiation(_) => {}
            Message::RouteMonitoring(header, update) => {
                self.routes(daemon, &header, &update, now, events)?;
            }
            Message::Statistics(header, statistics) => {
                self.statistics(daemon, &header, statistics, events);
            }
            Message::PeerUp(header, up) => self.peer_up(daemon, &header, up, now, events, claim)?,
            Message::PeerDown(header, reason) => return Ok(self.peer_down(&header, reason, events)),
            Message::Termination { reason } => return Err(Closed::Terminated { reason }),
            Message::Mirroring => self.counts.add(LeftOut::Mirroring, 1),
        }
        Ok(Noted::Nothing)
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

    fn peer_up(
        &mut self,
        daemon: Daemon,
        header: &PeerHeader,
        up: PeerUp,
        now: Instant,
        events: &mut Vec<RouteEvent>,
        claim: &mut dyn FnMut(Session) -> bool,
    ) -> Result<(), Closed> {
        if self.is_foreign(header) {
            return Ok(());
        }
        if Daemon::is_bird3(header, &up) {
            return Err(Closed::Bird3);
        }
        let session = header.session;
        let known = self.sessions.get(&session);
        if known.is_some_and(|life| life.up == Some(up)) {
            self.counts.add(LeftOut::Duplicate, 1);
            return Ok(());
        }
        let restarted = known.is_some_and(|life| life.restarting);
        if known.is_none() && self.sessions.len() >= MAX_SESSIONS {
            return Err(Closed::TooManySessions);
        }
        if !claim(session) {
            return Err(Closed::Claimed(session));
        }
        // The first connection of such a router comes with sessions whose routes it may not have sorted out yet;
        // on the one that heals only those that come up later are told wrong.
        let later = known.is_some() || now.duration_since(self.opened) >= QUIET;
        if daemon.needs_reconnect_after_up() && (later || !self.memory.healed) {
            self.heal_after(
                now,
                "FRRouting before 10 loses routes of sessions that come up",
            );
        } else if daemon.needs_reconnect_after_restart() && restarted {
            self.heal_after(now, "the router may have lost routes of a graceful restart");
        }
        self.last_route = now;
        self.sessions.insert(session, Life::new(up));
        events.push(RouteEvent::SessionUp {
            session,
            asn: Some(header.asn),
            restart_time: restart_time(&up),
        });
        Ok(())
    }

    /// What was told is not what the router counts: it shall tell everything again, once things are quiet.
    pub fn tell_again(&mut self, now: Instant) {
        let is_new = now.duration_since(self.opened) < TELL_AGAIN;
        if self.heal.is_none() && !(self.memory.healed && is_new) {
            self.heal_after(now, "the router counts other routes than it told");
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
        events: &mut Vec<RouteEvent>,
    ) {
        if self.is_foreign(header) {
            return;
        }
        let up = self.sessions.get(&header.session);
        let Some(life) = up.filter(|life| life.up.is_some()) else {
            self.counts.add(LeftOut::UnknownSession, 1);
            return;
        };
        let before = events.len();
        for statistic in statistics {
            let table = match statistic.gauge {
                Gauge::AdjIn => Table::AdjInPre,
                Gauge::LocRib if daemon.counts_post_policy() => Table::AdjInPost,
                Gauge::LocRib => {
                    self.counts.add(LeftOut::Statistic, 1);
                    continue;
                }
                Gauge::AdjOut => Table::AdjOut,
            };
            if life.tables[table as usize].is_lost() {
                self.counts.add(LeftOut::Statistic, 1);
                continue;
            }
            events.push(RouteEvent::Count {
                origin: Origin::Session(header.session),
                table,
                family: statistic.family,
                prefixes: statistic.routes,
            });
        }
        if events.len() == before {
            self.counts.add(LeftOut::Statistic, 1);
        }
    }

    fn routes(
        &mut self,
        daemon: Daemon,
        header: &PeerHeader,
        update: &Update<'_>,
        now: Instant,
        events: &mut Vec<RouteEvent>,
    ) -> Result<(), Closed> {
        self.counts
            .add(LeftOut::ForeignFamily, update.foreign().into());
        self.counts
            .add(LeftOut::RepeatedAttribute, update.repeated().into());
        if self.is_foreign(header) {
            update.check(PathIds::NONE)?;
            return Ok(());
        }
        let Some(table) = header.table else {
            self.counts.add(LeftOut::AdjOutPre, 1);
            return Ok(());
        };
        let session = header.session;
        let Some(life) = self.sessions.get_mut(&session) else {
            self.unknown(session);
            return Ok(());
        };
        let Some(up) = &life.up else {
            self.counts.add(LeftOut::UnknownSession, 1);
            return Ok(());
        };
        let negotiated = match table {
            Table::AdjInPre | Table::AdjInPost => up.received.path_ids_to(&up.sent),
            Table::AdjOut => up.sent.path_ids_to(&up.received),
        };
        let reading = self.memory.modes.reading(daemon, table, negotiated, update);
        if self.undetermined[table as usize] && self.memory.modes.of(table).is_some() {
            return Err(Closed::Reread(table));
        }
        let lost = match reading {
            Err(Unreadable::Malformed(error)) => return Err(Closed::Malformed(error)),
            Err(Unreadable::ModeChanged) => return Err(Closed::Reread(table)),
            Ok(Reading::As(path_ids)) => {
                let state = &mut life.tables[table as usize];
                let hides = daemon.may_hide_routes(table);
                if state.emit(session, table, (update, path_ids), hides, events)? {
                    self.last_route = now;
                } else if update.end_of_rib().is_none() && update.foreign() == 0 {
                    self.counts.add(LeftOut::NoRoutes, 1);
                }
                return Ok(());
            }
            Ok(Reading::Undetermined) => {
                self.undetermined[table as usize] = true;
                "path identifiers were negotiated and an UPDATE can be read with and without them"
            }
            Ok(Reading::DoubtfulDefault) => {
                "a default route may be a path identifier; do not negotiate add-path receive on this session"
            }
        };
        self.counts.add(LeftOut::Undetermined, 1);
        life.tables[table as usize].lose(session, table, lost, events);
        Ok(())
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
