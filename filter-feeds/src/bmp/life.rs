//! A session of a router, from Peer Up on, and what was received of its Adj-RIBs. Keeps no routes. Never decides how
//! bytes are read: it is given readable UPDATEs.
use std::time::Instant;

use super::quirks::PathIdModes;
use crate::updates::push_routes;
use crate::wire::WireError;
use crate::wire::bgp::{PathIds, Update};
use crate::wire::bmp::{Counted, PeerUp, Statistic};
use filter_core::Family;
use filter_lifecycle::route::{AdjRib, LossCause, Origin, RouteEvent, Session};

/// A session. Outlives its Peer Down, to know a restart from a first start.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// Its Peer Up, while it is up.
    pub up: Option<PeerUp>,
    /// It was lost with graceful restart.
    pub restarting: bool,
    /// What was received of its Adj-RIBs, by [`AdjRib`].
    pub ribs: [RibState; 3],
    /// How its tables carry path identifiers.
    pub modes: PathIdModes,
    /// Odd bytes about it were reported.
    pub reported: bool,
    /// When it came up.
    pub since: Instant,
    /// When something of it was received last.
    pub heard: Instant,
    /// Its statistics came last.
    pub counted: Option<Instant>,
    /// Routes of families that are not read were received: a total counts them too.
    pub has_foreign: bool,
    /// A count by family was received of an Adj-RIB: its total adds nothing.
    by_family: [bool; 3],
}

/// What was received of one Adj-RIB.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RibState {
    announced: bool,
    lost: bool,
    /// Only withdrawals were received of it.
    hidden: bool,
    end_of_rib: [bool; 2],
    /// An UPDATE of it could be read in two ways.
    pub undetermined: bool,
}

impl Life {
    /// Starts with nothing received. What was learned of a former life of the session is kept.
    pub(super) fn new(up: Option<PeerUp>, now: Instant, former: Option<&Self>) -> Self {
        Self {
            up,
            restarting: false,
            ribs: Default::default(),
            modes: former.map(|former| former.modes).unwrap_or_default(),
            reported: former.is_some_and(|former| former.reported),
            since: now,
            heard: now,
            counted: None,
            has_foreign: up.is_some_and(|up| up.sent.has_foreign_with(&up.received)),
            by_family: [false; 3],
        }
    }

    /// The family that a count of this table is of, both for a total of both; nothing if it does not count what the
    /// table holds. A count by family comes first; the total counts every family of the session, those that are not
    /// read too.
    pub(super) fn counts(&mut self, rib: AdjRib, statistic: Statistic) -> Option<Option<Family>> {
        let by_family = &mut self.by_family[rib as usize];
        match statistic.counted {
            Counted::Family(family) => {
                *by_family = true;
                Some(Some(family))
            }
            Counted::OtherFamily => {
                self.has_foreign = true;
                None
            }
            Counted::Total if *by_family || self.has_foreign => None,
            Counted::Total => {
                let up = self.up?;
                match up.sent.families_with(&up.received)? {
                    [true, false] => Some(Some(Family::Ipv4)),
                    [false, true] => Some(Some(Family::Ipv6)),
                    [_, _] => Some(None),
                }
            }
        }
    }
}

impl RibState {
    /// Is it known to be wrong?
    pub(super) const fn is_lost(&self) -> bool {
        self.lost || self.hidden
    }

    /// The events of one UPDATE, withdrawals first. `hides`: a table that only ever sees withdrawals is one whose
    /// routes the router hides. Returns whether there were routes.
    pub(super) fn emit(
        &mut self,
        session: Session,
        rib: AdjRib,
        (update, path_ids): (&Update<'_>, PathIds),
        hides: bool,
        events: &mut Vec<RouteEvent>,
    ) -> Result<bool, WireError> {
        let origin = Origin::Session(session);
        if let Some(family) = update.end_of_rib() {
            self.end_of_rib[family as usize] = true;
            if !self.is_lost() {
                events.push(end_of_rib(origin, rib, family));
            }
            return Ok(false);
        }
        let before = events.len();
        push_routes(origin, rib, (update, path_ids), events)?;
        let added = &events[before..];
        let announced = matches!(added.last(), Some(RouteEvent::Announce { .. }));
        let any = !added.is_empty();
        if announced && std::mem::take(&mut self.hidden) && !self.lost {
            self.show((origin, rib), before, events);
        }
        self.announced |= announced;
        if any && hides && !self.announced && !self.hidden {
            let why = "only withdrawals arrive; configure soft-reconfiguration inbound for it";
            self.report_lost(session, rib, why, events);
            self.hidden = true;
        }
        Ok(any)
    }

    /// Its routes are not hidden after all: what was reported as lost begins with those from `before` on, and an
    /// End-of-RIB before the first of them says only that. One that was kept back counts behind them.
    fn show(&self, (origin, rib): (Origin, AdjRib), before: usize, events: &mut Vec<RouteEvent>) {
        for family in Family::ALL {
            let end = end_of_rib(origin, rib, family);
            if self.end_of_rib[family as usize] {
                events.push(end.clone());
            }
            events.insert(before, end);
        }
    }

    /// The table is wrong until the session starts anew. Says so, once.
    pub(super) fn lose(
        &mut self,
        session: Session,
        rib: AdjRib,
        why: &str,
        events: &mut Vec<RouteEvent>,
    ) {
        self.report_lost(session, rib, why, events);
        self.lost = true;
    }

    fn report_lost(&self, session: Session, rib: AdjRib, why: &str, events: &mut Vec<RouteEvent>) {
        if self.is_lost() {
            return;
        }
        log::warn!("session {session}: {rib} is not usable: {why}");
        events.push(RouteEvent::RibLost {
            origin: Origin::Session(session),
            rib: Some(rib),
            cause: LossCause::Session,
            why: why.into(),
        });
    }
}

const fn end_of_rib(origin: Origin, rib: AdjRib, family: Family) -> RouteEvent {
    RouteEvent::EndOfRib {
        origin,
        rib,
        family,
    }
}
