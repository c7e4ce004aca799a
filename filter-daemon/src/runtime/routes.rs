//! The journal of routes: what became of valid prefixes goes to the records, counted for each side of each peer, so that
//! whoever reads them knows where one is missing. Never waits, and keeps no route.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use filter_engine::Engine;
use filter_lifecycle::route::PeerId;
use filter_lifecycle::{Changed, RouteChange, Side};
use serde::Serialize;

use crate::config::{Config, Feed};
use crate::records::{ENDED, Kind, Recorder, RouteRecord};
use crate::when;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct RouteJournal {
    began: u64,
    number: u64,
    sides: BTreeMap<(PeerId, Side), SideCount>,
    recorder: Option<Arc<Recorder>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct SideCount {
    changes: u64,
    last: Option<f64>,
}

/// What a reader of the records compares them with.
#[derive(Debug, Serialize)]
pub(super) struct Reach {
    began: u64,
    sources: u64,
    destinations: u64,
}

impl RouteJournal {
    pub(super) fn new(recorder: Option<Arc<Recorder>>) -> Self {
        Self {
            began: micros(when::now()),
            recorder,
            ..Self::default()
        }
    }

    /// Another configuration: every route is received anew.
    pub(super) fn begin_anew(&mut self) {
        *self = Self::new(self.recorder.take());
    }

    /// Takes what changed since the last turn.
    pub(super) fn work(&mut self, now: Duration, config: &Config, engine: &mut Engine) {
        let changes = engine.take_route_changes(now);
        self.take_all(now, config, &changes);
    }

    /// As [`RouteJournal::work`], with what is still being counted: afterwards the counts are those of now.
    pub(super) fn catch_up(&mut self, now: Duration, config: &Config, engine: &mut Engine) {
        let changes = engine.take_all_route_changes(now);
        self.take_all(now, config, &changes);
    }

    /// Records how many changes there were of each side, before the daemon or its configuration goes: until then all of them
    /// are known to whoever has so many.
    pub(super) fn end(&mut self, now: Duration, config: &Config, engine: &mut Engine) {
        self.catch_up(now, config, engine);
        for (id, peer) in config.spec.peer_ids() {
            for side in Side::ALL {
                let changes = self.sides.get(&(id, side)).map_or(0, |it| it.changes);
                let record = RouteRecord {
                    change: changes,
                    how: ENDED.to_owned(),
                    ..self.record_of(&peer.name, side, when::now())
                };
                self.write(&record);
            }
        }
    }

    fn take_all(&mut self, now: Duration, config: &Config, changes: &[RouteChange]) {
        if changes.is_empty() {
            return;
        }
        let wall = when::now();
        let time = |at: Duration| wall - now.saturating_sub(at).as_secs_f64();
        for change in changes {
            self.take(config, change, time);
        }
    }

    fn take(&mut self, config: &Config, change: &RouteChange, time: impl Fn(Duration) -> f64) {
        let RouteChange {
            at,
            peer: id,
            side,
            what,
        } = change;
        let count = self.sides.entry((*id, *side)).or_default();
        count.changes += 1;
        count.last = Some(time(*at));
        let change = count.changes;
        let Some(peer) = config.spec.peer(*id) else {
            return;
        };
        let empty = RouteRecord {
            change,
            ..self.record_of(&peer.name, *side, time(*at))
        };
        let record = match what {
            Changed::Many { since, count } => RouteRecord {
                since: Some(time(*since)),
                count: Some(*count),
                ..empty
            },
            Changed::Prefix { prefix, how, by } => RouteRecord {
                how: how.name().to_owned(),
                prefix: Some(prefix.to_string()),
                feed: by.and_then(|(feed, _)| {
                    let feed = config.feeds.get(usize::from(feed.0));
                    feed.map(|feed: &Feed| feed.kind().to_owned())
                }),
                session: by.and_then(|(_, session)| session.map(|it| it.to_string())),
                ..empty
            },
        };
        self.write(&record);
    }

    /// The next record of a side, with nothing in it yet.
    fn record_of(&mut self, peer: &str, side: Side, time: f64) -> RouteRecord {
        self.number += 1;
        RouteRecord {
            number: self.number,
            time,
            began: self.began,
            peer: peer.to_owned(),
            side: side.name().to_owned(),
            change: 0,
            how: "many".to_owned(),
            prefix: None,
            feed: None,
            session: None,
            since: None,
            count: None,
        }
    }

    fn write(&self, record: &RouteRecord) {
        if let Some(recorder) = &self.recorder {
            recorder.record(Kind::Routes, record);
        }
    }

    /// How far the records should reach, of one peer.
    pub(super) fn reach(&self, id: PeerId) -> Reach {
        let changes = |side| self.sides.get(&(id, side)).map_or(0, |it| it.changes);
        Reach {
            began: self.began,
            sources: changes(Side::Sources),
            destinations: changes(Side::Destinations),
        }
    }

    /// When the valid prefixes of a peer changed last, seconds since 1970.
    pub(super) fn last_change(&self, id: PeerId) -> Option<f64> {
        let of_side = |side| self.sides.get(&(id, side)).and_then(|it| it.last);
        let each = Side::ALL.into_iter().filter_map(of_side);
        each.reduce(f64::max)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "microseconds since 1970"
)]
fn micros(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}
