//! Counters as they were at some moment, and what was counted between two of them. Values are those since the filter was
//! loaded, so that a record that is lost costs only detail, and one after a reboot is known by being smaller.
use std::collections::BTreeMap;
use std::path::Path;

use filter_core::Reason;
use filter_lifecycle::Side;
use filter_loader::{Counters, Fates};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Kind, RecordsError, read};

/// Older records are not looked at.
pub const MAX_AGE: f64 = 7.0 * 86_400.0;

/// Packets and bytes of one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u64; 4]", into = "[u64; 4]")]
pub struct Count {
    /// Packets that passed.
    pub passed: u64,
    /// Their bytes.
    pub passed_bytes: u64,
    /// Packets that were dropped.
    pub dropped: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
}

impl From<[u64; 4]> for Count {
    fn from([passed, passed_bytes, dropped, dropped_bytes]: [u64; 4]) -> Self {
        Self {
            passed,
            passed_bytes,
            dropped,
            dropped_bytes,
        }
    }
}

impl From<Count> for [u64; 4] {
    fn from(count: Count) -> Self {
        [
            count.passed,
            count.passed_bytes,
            count.dropped,
            count.dropped_bytes,
        ]
    }
}

impl From<Fates> for Count {
    fn from(Fates { passed, dropped }: Fates) -> Self {
        Self {
            passed: passed.packets,
            passed_bytes: passed.bytes,
            dropped: dropped.packets,
            dropped_bytes: dropped.bytes,
        }
    }
}

impl Count {
    /// Whatever became of them.
    #[must_use]
    pub const fn packets(self) -> u64 {
        self.passed + self.dropped
    }

    /// Whatever became of them.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.passed_bytes + self.dropped_bytes
    }

    fn plus(self, other: Self) -> Self {
        let (a, b): ([u64; 4], [u64; 4]) = (self.into(), other.into());
        std::array::from_fn(|index| a[index].saturating_add(b[index])).into()
    }

    /// Counters only grow, unless counting begins anew.
    fn is_less(self, earlier: Self) -> bool {
        let (a, b): ([u64; 4], [u64; 4]) = (self.into(), earlier.into());
        a.iter().zip(&b).any(|(now, before)| now < before)
    }

    /// What was counted since; everything, if counting began anew meanwhile.
    fn since(self, earlier: Self) -> Self {
        if self.is_less(earlier) {
            return self;
        }
        let (a, b): ([u64; 4], [u64; 4]) = (self.into(), earlier.into());
        std::array::from_fn(|index| a[index] - b[index]).into()
    }
}

/// The counters of one peer or interface, by reason; only of those that occurred.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByReason(pub BTreeMap<String, Count>);

impl From<&Counters> for ByReason {
    fn from(counters: &Counters) -> Self {
        let each = counters.nonzero();
        Self(
            each.map(|(reason, fates)| (reason.name().to_owned(), fates.into()))
                .collect(),
        )
    }
}

impl ByReason {
    /// From an object `counters` of `status --json`.
    #[must_use]
    pub fn from_status(counters: &Value) -> Self {
        let each = counters
            .as_object()
            .into_iter()
            .flatten()
            .map(|(reason, fates)| {
                let number = |fate: &str, unit: &str| fates[fate][unit].as_u64().unwrap_or(0);
                let count = Count {
                    passed: number("passed", "packets"),
                    passed_bytes: number("passed", "bytes"),
                    dropped: number("dropped", "packets"),
                    dropped_bytes: number("dropped", "bytes"),
                };
                (reason.clone(), count)
            });
        Self(each.collect())
    }

    /// What was counted since.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let each = self.0.iter().map(|(reason, &count)| {
            let before = earlier.0.get(reason).copied().unwrap_or_default();
            (reason.clone(), count.since(before))
        });
        Self(
            each.filter(|(_, count)| *count != Count::default())
                .collect(),
        )
    }

    /// Did counting begin anew since?
    fn began_anew(&self, earlier: &Self) -> bool {
        earlier.0.iter().any(|(reason, before)| {
            let now = self.0.get(reason).copied().unwrap_or_default();
            now.is_less(*before)
        })
    }

    /// Both together.
    pub fn add(&mut self, more: &Self) {
        for (reason, &count) in &more.0 {
            let sum = self.0.entry(reason.clone()).or_default();
            *sum = sum.plus(count);
        }
    }

    /// Everything, whatever the reason.
    #[must_use]
    pub fn total(&self) -> Count {
        self.0
            .values()
            .fold(Count::default(), |sum, &it| sum.plus(it))
    }

    /// What broke the policy.
    #[must_use]
    pub fn violations(&self) -> Count {
        let is_violation =
            |reason: &str| Reason::from_name(reason).is_some_and(Reason::is_violation);
        let broke = self.0.iter().filter(|(reason, _)| is_violation(reason));
        broke.fold(Count::default(), |sum, (_, &it)| sum.plus(it))
    }
}

/// All counters of one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CounterRecord {
    /// Seconds since 1970.
    pub time: f64,
    /// By the peer's name.
    pub peers: BTreeMap<String, ByReason>,
    /// By the interface's name: frames of no peer.
    pub interfaces: BTreeMap<String, ByReason>,
    /// By the peer's name: the sides that were not known then in each of its families. None where both were.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown: BTreeMap<String, UnknownSides>,
}

/// Sides of a peer by which nothing is judged, in some family of its.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownSides {
    /// What it announces to us.
    pub sources: bool,
    /// What we announce to it.
    pub destinations: bool,
}

impl UnknownSides {
    fn has(self, side: Side) -> bool {
        match side {
            Side::Sources => self.sources,
            Side::Destinations => self.destinations,
        }
    }

    const fn or(self, other: Self) -> Self {
        Self {
            sources: self.sources || other.sources,
            destinations: self.destinations || other.destinations,
        }
    }
}

/// The counters of one peer at one moment.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    /// Seconds since 1970.
    pub time: f64,
    /// Since the filter was loaded.
    pub counts: ByReason,
    /// The sides that were not known.
    pub unknown: UnknownSides,
}

/// When both sides were known.
impl From<(f64, ByReason)> for Moment {
    fn from((time, counts): (f64, ByReason)) -> Self {
        Self {
            time,
            counts,
            unknown: UnknownSides::default(),
        }
    }
}

/// A peer or an interface, whose counters are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of<'a> {
    /// A peer's, by its name.
    Peer(&'a str),
    /// Those of frames of no peer, by the interface's name.
    Interface(&'a str),
}

/// The counters of one peer or interface over time, oldest first.
#[derive(Clone, Debug, Default)]
pub struct PeerHistory {
    /// What was counted between two records that follow each other.
    pub steps: Vec<Step>,
}

/// Between two records.
#[derive(Clone, Debug)]
pub struct Step {
    /// When it began, seconds since 1970.
    pub from: f64,
    /// When it ended.
    pub to: f64,
    /// What was counted.
    pub counts: ByReason,
    /// The sides that were not known all of the time, as far as that shows.
    pub unknown: UnknownSides,
    /// Did counting begin anew meanwhile, or was nothing recorded for long? Then nothing shows what was known.
    pub is_gap: bool,
}

/// Between two records of a daemon that runs lies an hour at most, and the time it takes to read the counters.
const MAX_STEP: f64 = 2.0 * 3600.0;

impl Step {
    fn between(earlier: &Moment, later: &Moment) -> Self {
        let counts = later.counts.since(&earlier.counts);
        let unjudged = counts.0.contains_key(Reason::Unjudged.name());
        let while_unjudged = UnknownSides {
            sources: unjudged,
            destinations: unjudged,
        };
        Self {
            from: earlier.time,
            to: later.time,
            unknown: earlier.unknown.or(later.unknown).or(while_unjudged),
            is_gap: later.time - earlier.time > MAX_STEP
                || later.counts.began_anew(&earlier.counts),
            counts,
        }
    }
}

impl PeerHistory {
    /// Of one peer or interface, since then: minutes as far as they go back, hours before, and what the counters are now.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn read(
        directory: &Path,
        of: Of<'_>,
        since: f64,
        now: Option<(f64, ByReason)>,
    ) -> Result<Self, RecordsError> {
        let minutes = moments(directory, Kind::Minutes, of)?;
        let mut moments = moments(directory, Kind::Hours, of)?;
        let begin = minutes.first().map_or(f64::INFINITY, |it| it.time);
        moments.retain(|it| it.time < begin);
        moments.extend(minutes);
        let last = moments.last().map(|it| it.unknown);
        moments.extend(now.map(|(time, counts)| Moment {
            time,
            counts,
            unknown: last.unwrap_or_default(),
        }));
        Ok(Self::of(moments, since))
    }

    /// From what the counters were at some moments, oldest first. The first step is the one that `since` lies in.
    #[must_use]
    pub fn of(moments: Vec<impl Into<Moment>>, since: f64) -> Self {
        let mut moments: Vec<Moment> = moments.into_iter().map(Into::into).collect();
        let first = moments.partition_point(|it| it.time <= since);
        moments.drain(..first.saturating_sub(1));
        let step = |pair: &[Moment]| match pair {
            [earlier, later] => Some(Step::between(earlier, later)),
            _ => None,
        };
        Self {
            steps: moments.windows(2).filter_map(step).collect(),
        }
    }

    /// Everything that was counted.
    #[must_use]
    pub fn total(&self) -> ByReason {
        let mut total = ByReason::default();
        for step in &self.steps {
            total.add(&step.counts);
        }
        total
    }

    /// For how long a side was known, or, without one, counted, in seconds.
    #[must_use]
    pub fn seconds_known(&self, side: Option<Side>) -> f64 {
        let is_known =
            |step: &&Step| !step.is_gap && side.is_none_or(|side| !step.unknown.has(side));
        let known = self.steps.iter().filter(is_known);
        known.map(|step| step.to - step.from).sum()
    }

    /// For how long, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        match (self.steps.first(), self.steps.last()) {
            (Some(first), Some(last)) => last.to - first.from,
            _ => 0.0,
        }
    }
}

/// A record that was cut costs detail only.
fn moments(directory: &Path, kind: Kind, of: Of<'_>) -> Result<Vec<Moment>, RecordsError> {
    let mut found = Vec::new();
    read(directory, kind, |mut record: CounterRecord| {
        let (counts, unknown) = match of {
            Of::Peer(name) => (record.peers.remove(name), record.unknown.remove(name)),
            Of::Interface(name) => (record.interfaces.remove(name), None),
        };
        if let Some(counts) = counts {
            found.push(Moment {
                time: record.time,
                counts,
                unknown: unknown.unwrap_or_default(),
            });
        }
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(permitted: u64, spoofed: u64) -> ByReason {
        let count = |packets: u64| Count::from([packets, 100 * packets, 0, 0]);
        let each = [("permitted", permitted), ("source-unannounced", spoofed)]
            .into_iter()
            .filter(|(_, packets)| *packets > 0);
        ByReason(
            each.map(|(name, packets)| (name.to_owned(), count(packets)))
                .collect(),
        )
    }

    #[test]
    fn steps_are_what_was_counted_and_a_reboot_begins_anew() {
        let moments = vec![
            (0.0, counts(10, 0)),
            (60.0, counts(20, 1)),
            (120.0, counts(20, 1)),
            (180.0, counts(5, 2)), // after a reboot
        ];
        let history = PeerHistory::of(moments.clone(), 0.0);
        let each: Vec<ByReason> = history.steps.iter().map(|it| it.counts.clone()).collect();
        assert_eq!(each, [counts(10, 1), counts(0, 0), counts(5, 1)]);
        assert_eq!(history.total(), counts(15, 2));
        assert_eq!(history.total().violations().packets(), 2);
        assert_eq!(history.total().total().bytes(), 1700);
        assert!((history.seconds() - 180.0).abs() < 1e-9);
        let known = history.seconds_known(None);
        assert!(
            (known - 120.0).abs() < 1e-9,
            "{known}: a reboot is not watched"
        );
        let last = PeerHistory::of(moments.clone(), 130.0);
        assert_eq!(last.steps.len(), 1, "the step that the time lies in");
        assert_eq!(PeerHistory::of(moments[..1].to_vec(), 0.0).steps.len(), 0);
        assert_eq!(PeerHistory::of(Vec::<Moment>::new(), 0.0).seconds(), 0.0);
    }

    #[test]
    fn time_in_which_a_side_was_not_known_is_not_watched() {
        let unjudged = |packets: u64| {
            let count = Count::from([packets, 0, 0, 0]);
            ByReason([(Reason::Unjudged.name().to_owned(), count)].into())
        };
        let moment = |minute: u32, sources, unjudged| Moment {
            time: f64::from(minute) * 60.0,
            counts: unjudged,
            unknown: UnknownSides {
                sources,
                destinations: false,
            },
        };
        let moments = vec![
            moment(0, true, unjudged(0)),
            moment(1, false, unjudged(0)), // known only since some time in it
            moment(2, false, unjudged(0)),
            moment(3, false, unjudged(1)), // a short time shows only by what could not be judged
            moment(4, true, unjudged(1)),
            moment(124, false, unjudged(1)), // two hours: as long as a step may be
            moment(245, false, unjudged(1)), // a daemon that was away
            moment(246, false, unjudged(1)),
        ];
        let history = PeerHistory::of(moments, 0.0);
        let minutes = |side| history.seconds_known(side) / 60.0;
        assert!((minutes(Some(Side::Sources)) - 2.0).abs() < 1e-9);
        assert!((minutes(Some(Side::Destinations)) - 124.0).abs() < 1e-9);
        assert!((minutes(None) - 125.0).abs() < 1e-9);
        assert!((history.seconds() / 60.0 - 246.0).abs() < 1e-9);
    }

    #[test]
    fn a_record_is_short_and_is_read_again() {
        let record = CounterRecord {
            time: 1.5,
            peers: [("p1".to_owned(), counts(1, 0))].into(),
            ..CounterRecord::default()
        };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(
            text,
            r#"{"time":1.5,"peers":{"p1":{"permitted":[1,100,0,0]}},"interfaces":{}}"#
        );
        assert_eq!(
            serde_json::from_str::<CounterRecord>(&text).unwrap(),
            record
        );
    }
}
