//! What a router sends about a session that is up: its routes, and how many it counts. What cannot be read costs the one
//! Adj-RIB it is about.
use std::time::Instant;

use filter_core::Family;
use filter_lifecycle::route::{AdjRib, Origin, RouteEvent, Session};

use super::{MAX_INTERVAL, Router, TELL_AGAIN};
use crate::bmp::counts::LeftOut;
use crate::bmp::quirks::{Daemon, Reading, Unreadable};
use crate::wire::WireError;
use crate::wire::bgp::{PathIds, Update};
use crate::wire::bmp::{self, Gauge, Monitored, PeerHeader, Statistics};

impl Router {
    pub(super) fn statistics(
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
                self.interval = self.interval.max(Some(interval));
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

    /// Route monitoring: only what a peer needs is read.
    pub(super) fn monitored(
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
        match self.sessions.get(&session) {
            Some(life) if life.up.is_some() => self.lives(session, now),
            Some(_) => return self.counts.add(LeftOut::UnknownSession, 1),
            None => return self.unknown(session),
        }
        if !self.is_read(session) {
            return;
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

    /// An UPDATE whose prefixes cannot be read: the Adj-RIB is not known any more.
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
}

const fn count(session: Session, rib: AdjRib, family: Option<Family>, prefixes: u64) -> RouteEvent {
    RouteEvent::Count {
        origin: Origin::Session(session),
        rib,
        family,
        prefixes,
    }
}
