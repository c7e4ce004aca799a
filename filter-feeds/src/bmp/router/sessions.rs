//! Sessions of one router: how they come up and go down, and which of the router's bugs that touches. What is odd about one
//! costs that one.
use std::time::{Duration, Instant};

use filter_core::Asn;
use filter_lifecycle::route::{DownCause, RouteEvent, Session};

use super::{Closed, MAX_SESSIONS, Noted, QUIET, Router};
use crate::bmp::counts::LeftOut;
use crate::bmp::life::Life;
use crate::bmp::quirks::Daemon;
use crate::printed::Printed;
use crate::wire::WireError;
use crate::wire::bmp::{DownReason, Established, PeerHeader, PeerUp};

/// The stand-in for numbers that do not fit two octets (RFC 6793): the OPEN has the real one.
const AS_TRANS: Asn = Asn::new(23456);

impl Router {
    /// A Peer Up. One that cannot be read leaves its session down.
    pub(super) fn established(
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
                "router {} reports more than {MAX_SESSIONS} sessions: {session} and others are left out; monitor \
                 only the peers that are filtered",
                Printed(self.name())
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
                "session {session} of router {} is already reported by another router of this feed and left out; \
                 give each router a feed of its own",
                Printed(self.name())
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
            restart_time: longer_restart_time(&up),
            families: up.sent.families_with(&up.received),
            local: up.local_address,
            router: self.number,
        });
        Ok(())
    }

    /// The session's life starts, with what the router's bugs make of it.
    fn start(&mut self, daemon: Daemon, session: Session, up: PeerUp, now: Instant) {
        let known = self.sessions.get(&session);
        let restarted = known.is_some_and(|life| life.restarting);
        // The first connection of such a router comes with sessions whose routes it may not have sorted out yet;
        // on the one that heals only those that come up later are reported wrong.
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

    pub(super) fn peer_down(
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
}

/// The longer of the restart times that the two sides asked for: whichever of them restarts, the neighbour goes on sending
/// meanwhile. Only a side that keeps forwarding in some family asks.
fn longer_restart_time(up: &PeerUp) -> Option<Duration> {
    let both = [&up.sent, &up.received].map(|open| open.capabilities.graceful_restart);
    let [Some(ours), Some(theirs)] = both else {
        return None;
    };
    let asking = [ours, theirs]
        .into_iter()
        .filter(|side| side.families.contains(&true));
    asking.map(|side| side.restart_time).max()
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
