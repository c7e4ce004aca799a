//! The fold from finished polls into [`RouteEvent`]s. Pure: no clock, no router. Never lets a table that cannot be
//! read any more stand as it was.
use std::collections::{BTreeMap, BTreeSet};

use filter_core::Family;

use super::{Counted, Reading, RibReading, SessionReading, State};
use crate::skipped::Skipped;
use filter_lifecycle::route::{AdjRib, DownCause, LossCause, Origin, Route, RouteEvent, Session};

/// What was reported since the feed came up, to report changes only.
#[derive(Debug, Default)]
pub(super) struct Known {
    up: bool,
    states: BTreeMap<Session, State>,
    reported: BTreeSet<(Session, AdjRib, Family)>,
    warned: BTreeSet<(Session, AdjRib, Family)>,
    unreadable: BTreeSet<Session>,
    skipped: Skipped,
}

impl Known {
    /// Nothing reported yet. What is left out is counted there.
    pub(super) fn new(skipped: Skipped) -> Self {
        Self {
            skipped,
            ..Self::default()
        }
    }

    /// The feed is lost: the next reading starts anew.
    pub(super) fn lost(&mut self) {
        self.up = false;
        self.states.clear();
        self.reported.clear();
    }

    /// Turns a finished poll into events and remembers it. What cannot be read of one session is that session's loss.
    pub(super) fn fold(&mut self, reading: Reading, source: &str) -> Vec<RouteEvent> {
        let mut events = Vec::new();
        if !std::mem::replace(&mut self.up, true) {
            events.push(RouteEvent::FeedUp);
        }
        let mut gone: BTreeSet<Session> = self.states.keys().copied().collect();
        for session in reading.sessions {
            gone.remove(&session.session);
            self.unreadable.remove(&session.session);
            self.fold_session(session, source, &mut events);
        }
        for (session, why) in reading.unreadable {
            gone.remove(&session);
            self.skipped.add("unreadable-neighbour", 1);
            if self.unreadable.insert(session) {
                log::warn!("{source}: what it says of {session} cannot be read: {why}");
                self.reported.retain(|(reported, ..)| *reported != session);
                events.push(RouteEvent::RibLost {
                    origin: Origin::Session(session),
                    rib: None,
                    cause: LossCause::Feed,
                    why,
                });
            }
        }
        for session in gone {
            let down = State::Down(DownCause::Deconfigured);
            self.fold_state(session, down, &mut events);
            self.states.remove(&session);
        }
        events
    }

    fn fold_session(
        &mut self,
        reading: SessionReading,
        source: &str,
        events: &mut Vec<RouteEvent>,
    ) {
        let session = reading.session;
        self.fold_state(session, reading.state, events);
        let origin = Origin::Session(session);
        for RibReading {
            rib,
            family,
            routes,
        } in reading.ribs
        {
            let key = (session, rib, family);
            match routes {
                Ok(mut routes) => {
                    tidy(&mut routes);
                    self.reported.insert(key);
                    self.warned.remove(&key);
                    let routes = routes.into();
                    events.push(RouteEvent::Snapshot {
                        origin,
                        rib,
                        family,
                        routes,
                    });
                }
                Err(why) => {
                    self.skipped.add("unreadable-rib", 1);
                    if self.warned.insert(key) {
                        log::warn!("{source}: {rib} {family} of {}: {why}", session.address);
                    }
                    // It was read before: believing the old one for ever would be wrong.
                    if self.reported.remove(&key) {
                        events.push(RouteEvent::RibLost {
                            origin,
                            rib: Some(rib),
                            cause: LossCause::Feed,
                            why,
                        });
                    }
                }
            }
        }
        for Counted {
            rib,
            family,
            prefixes,
        } in reading.counts
        {
            events.push(RouteEvent::Count {
                origin,
                rib,
                family,
                prefixes,
            });
        }
    }

    /// Reports a change of state; a session that was re-established since the last poll is reported as down and up.
    fn fold_state(&mut self, session: Session, state: State, events: &mut Vec<RouteEvent>) {
        let before = self.states.get(&session);
        let was_up = matches!(before, Some(State::Up { .. }));
        match &state {
            State::Up {
                asn,
                restart_time,
                families,
                local,
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
                    router: 0,
                    session,
                    asn: *asn,
                    restart_time: *restart_time,
                    families: *families,
                    local: *local,
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
            self.reported.retain(|(reported, ..)| *reported != session);
        }
        self.states.insert(session, state);
    }
}

/// Sorts, drops what was listed twice, and numbers paths apart that came with the same number.
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
