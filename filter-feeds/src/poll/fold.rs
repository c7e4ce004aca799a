//! The fold from finished polls into [`RouteEvent`]s. Pure: no clock, no router. Never lets a table that cannot be
//! read any more stand as it was.
use std::collections::{BTreeMap, BTreeSet};

use filter_core::Family;

use super::{Counted, PollError, Reading, SessionReading, State, TableReading};
use filter_lifecycle::route::{DownCause, Origin, Route, RouteEvent, Session, Table};

/// What was told since the feed came up, to tell changes.
#[derive(Debug, Default)]
pub(super) struct Known {
    up: bool,
    states: BTreeMap<Session, State>,
    told: BTreeSet<(Session, Table, Family)>,
    warned: BTreeSet<(Session, Table, Family)>,
}

impl Known {
    /// The feed is lost: the next reading starts anew.
    pub(super) fn lost(&mut self) {
        self.up = false;
        self.states.clear();
        self.told.clear();
    }

    /// Turns a finished poll into events and remembers it.
    pub(super) fn fold(
        &mut self,
        reading: Reading,
        source: &str,
    ) -> Result<Vec<RouteEvent>, PollError> {
        let mut events = Vec::new();
        if !std::mem::replace(&mut self.up, true) {
            events.push(RouteEvent::FeedUp);
        }
        let mut gone: BTreeSet<Session> = self.states.keys().copied().collect();
        for session in reading.sessions {
            gone.remove(&session.session);
            self.fold_session(session, source, &mut events)?;
        }
        for session in gone {
            let down = State::Down(DownCause::Deconfigured);
            self.fold_state(session, down, &mut events);
            self.states.remove(&session);
        }
        Ok(events)
    }

    fn fold_session(
        &mut self,
        reading: SessionReading,
        source: &str,
        events: &mut Vec<RouteEvent>,
    ) -> Result<(), PollError> {
        let session = reading.session;
        self.fold_state(session, reading.state, events);
        let origin = Origin::Session(session);
        for TableReading {
            table,
            family,
            routes,
        } in reading.tables
        {
            let key = (session, table, family);
            match routes {
                Ok(mut routes) => {
                    tidy(&mut routes);
                    self.told.insert(key);
                    self.warned.remove(&key);
                    let routes = routes.into();
                    events.push(RouteEvent::Snapshot {
                        origin,
                        table,
                        family,
                        routes,
                    });
                }
                Err(why) if self.told.contains(&key) => {
                    let session = session.address;
                    return Err(PollError::Vanished {
                        session,
                        table,
                        why,
                    });
                }
                Err(why) => {
                    if self.warned.insert(key) {
                        log::warn!("{source}: {table:?} {family} of {}: {why}", session.address);
                    }
                }
            }
        }
        for Counted {
            table,
            family,
            prefixes,
        } in reading.counts
        {
            events.push(RouteEvent::Count {
                origin,
                table,
                family,
                prefixes,
            });
        }
        Ok(())
    }

    /// Tells a change of state; an established session that was re-established since is told as down and up.
    fn fold_state(&mut self, session: Session, state: State, events: &mut Vec<RouteEvent>) {
        let before = self.states.get(&session);
        let was_up = matches!(before, Some(State::Up { .. }));
        match &state {
            State::Up {
                asn,
                restart_time,
                families,
                life,
            } => {
                if matches!(before, Some(State::Up { life: former, .. }) if former == life) {
                    return;
                }
                if was_up {
                    let cause = DownCause::Lost;
                    events.push(RouteEvent::SessionDown { session, cause });
                }
                events.push(RouteEvent::SessionUp {
                    session,
                    asn: *asn,
                    restart_time: *restart_time,
                    families: *families,
                });
            }
            State::Down(cause) => {
                if before.is_none() || was_up {
                    events.push(RouteEvent::SessionDown {
                        session,
                        cause: *cause,
                    });
                }
            }
        }
        if before != Some(&state) {
            self.told.retain(|(told, ..)| *told != session);
        }
        self.states.insert(session, state);
    }
}

/// Sorts, drops what was told twice, and numbers paths apart that came with the same number.
fn tidy(routes: &mut Vec<Route>) {
    routes.sort_unstable();
    routes.dedup();
    let mut last = None;
    for route in routes {
        if let Some((prefix, path)) = last
            && prefix == route.prefix
            && route.path <= path
        {
            route.path = path.saturating_add(1);
        }
        last = Some((route.prefix, route.path));
    }
}
