//! Looks at the counters now and then: for the rates that `status` shows, and for the records, minute by minute and hour by
//! hour. Reads as seldom as it takes; the records' own thread writes.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use filter_core::Family;
use filter_engine::{Counted, Engine};
use serde::Serialize;

use crate::records::{ByReason, CounterRecord, Kind, Recorder, UnknownSides};
use crate::when;

/// How often the counters are read.
const EVERY: Duration = Duration::from_secs(10);
/// Reading them takes at most one part in so many of the run loop's time.
const SHARE: u32 = 1000;

/// Packets a second of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Rates {
    /// Over so many seconds.
    seconds: f64,
    /// Passed, within the policy.
    passed: f64,
    /// Passed, although they broke it.
    would_drop: f64,
    /// Dropped.
    dropped: f64,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct History {
    next: Duration,
    /// The two times it was read last.
    last: Option<CounterRecord>,
    before: Option<CounterRecord>,
    /// Which minute and hour were recorded last.
    minute: u64,
    hour: u64,
    recorder: Option<Arc<Recorder>>,
}

impl History {
    pub(super) fn new(recorder: Option<Arc<Recorder>>) -> Self {
        Self {
            recorder,
            ..Self::default()
        }
    }

    /// Reads the counters, if it is time to.
    pub(super) fn work(&mut self, now: Duration, engine: &Engine) {
        if now < self.next {
            return;
        }
        let begin = Instant::now();
        let record = read(engine);
        self.next = now + EVERY.max(begin.elapsed() * SHARE);
        self.take(record);
    }

    fn take(&mut self, record: CounterRecord) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds since 1970"
        )]
        let minute = record.time as u64 / 60;
        if let Some(recorder) = &self.recorder {
            if minute != self.minute {
                recorder.record(Kind::Minutes, &record);
            }
            if minute / 60 != self.hour {
                recorder.record(Kind::Hours, &record);
            }
        }
        (self.minute, self.hour) = (minute, minute / 60);
        self.before = self.last.replace(record);
    }

    /// Of a peer, over the time between the last two looks; none before.
    pub(super) fn rates(&self, peer: &str) -> Option<Rates> {
        let (before, last) = (self.before.as_ref()?, self.last.as_ref()?);
        let seconds = last.time - before.time;
        if seconds <= 0.0 {
            return None; // the clock was set
        }
        let counts = last.peers.get(peer)?.since(before.peers.get(peer)?);
        let (total, broke) = (counts.total(), counts.violations());
        #[expect(clippy::cast_precision_loss, reason = "packets in some seconds fit")]
        let rate = |packets: u64| packets as f64 / seconds;
        Some(Rates {
            seconds,
            passed: rate(total.passed.saturating_sub(broke.passed)),
            would_drop: rate(broke.passed),
            dropped: rate(total.dropped),
        })
    }
}

fn read(engine: &Engine) -> CounterRecord {
    CounterRecord {
        time: when::now(),
        peers: by_name(engine.peer_counters()),
        interfaces: by_name(engine.interface_counters()),
        unknown: unknown(engine),
    }
}

/// The peers of which a side is not known in a family of theirs.
fn unknown(engine: &Engine) -> BTreeMap<String, UnknownSides> {
    let peers = engine.fitted().spec().peer_ids();
    let sides = peers.map(|(id, peer)| {
        let (known, families) = (engine.known(id), peer.families);
        let lacks = |has: &dyn Fn(Family) -> bool| {
            let mut its = Family::ALL.into_iter().filter(|&it| families.contains(it));
            its.any(|family| !has(family))
        };
        let unknown = UnknownSides {
            sources: lacks(&|family| known.source(family)),
            destinations: lacks(&|family| known.destination(family)),
        };
        (peer.name.clone(), unknown)
    });
    sides
        .filter(|(_, unknown)| *unknown != UnknownSides::default())
        .collect()
}

fn by_name(counted: impl Iterator<Item = Counted>) -> BTreeMap<String, ByReason> {
    let each = counted.filter_map(|it| Some((it.name, ByReason::from(&it.counters?))));
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(time: f64, permitted: u64, spoofed: u64, dropped: u64) -> CounterRecord {
        let counts = ByReason(
            [
                ("permitted".to_owned(), [permitted, 0, 0, 0].into()),
                ("source-bogon".to_owned(), [spoofed, 0, dropped, 0].into()),
            ]
            .into(),
        );
        CounterRecord {
            time,
            peers: [("p1".to_owned(), counts)].into(),
            ..CounterRecord::default()
        }
    }

    #[test]
    fn rates_are_of_the_last_two_looks() {
        let mut history = History::default();
        assert_eq!(history.rates("p1"), None);
        history.take(record(100.0, 10, 0, 0));
        assert_eq!(history.rates("p1"), None);
        history.take(record(110.0, 30, 10, 5));
        let expected = Rates {
            seconds: 10.0,
            passed: 2.0,
            would_drop: 1.0,
            dropped: 0.5,
        };
        assert_eq!(history.rates("p1"), Some(expected));
        assert_eq!(history.rates("p2"), None);
        history.take(record(105.0, 30, 10, 5));
        assert_eq!(history.rates("p1"), None, "the clock was set back");
    }

    #[test]
    fn each_minute_and_each_hour_is_recorded_once() {
        let place = std::env::temp_dir().join(format!("bcp38-history-{}", std::process::id()));
        let recorder = Arc::new(Recorder::start(&place).unwrap());
        let mut history = History::new(Some(recorder));
        for time in [7195.0, 7199.0, 7201.0, 7255.0, 7265.0] {
            history.take(record(time, 1, 0, 0));
        }
        drop(history);
        let times = |kind| {
            let mut times = Vec::new();
            let read = crate::records::read(&place, kind, |it: CounterRecord| times.push(it.time));
            read.unwrap();
            times
        };
        assert_eq!(times(Kind::Minutes), [7195.0, 7201.0, 7265.0]);
        assert_eq!(times(Kind::Hours), [7195.0, 7201.0]);
        std::fs::remove_dir_all(&place).unwrap();
    }
}
