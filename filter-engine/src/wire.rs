//! What comes in over the wire, as the data plane counts it: the proof that the program sees frames at all, and the two alarms
//! of frames that are counted and not judged. Only reads counters, and never more often than it says.
use std::collections::BTreeMap;
use std::time::Duration;

use filter_core::Reason;
use filter_lifecycle::spec::InterfaceId;

/// How often counters are read until a first frame was seen, and for `no-record`.
const LOOK: Duration = Duration::from_secs(1);
/// While `no-record` grew within this time, nothing is called in force.
pub(crate) const NO_RECORD: Duration = Duration::from_secs(10);
/// `not-for-us` is compared over this time.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);
/// More than this part of the traffic is an alarm.
const NOT_FOR_US_PERCENT: u64 = 50;
/// Fewer frames in a window say nothing.
const FEW: u64 = 100;

/// Frames that came in on an interface, ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) all: u64,
    pub(crate) not_for_us: u64,
}

/// An alarm that begins, or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) interface: Option<InterfaceId>,
    pub(crate) reason: Reason,
    pub(crate) begins: bool,
}

#[derive(Debug, Default)]
struct Interface {
    /// What had come in when the program was attached; none while it is not.
    attached_at: Option<u64>,
    /// A frame was counted since.
    seen: bool,
    /// The window that runs: since when, and what had come in by then.
    window: Option<(Duration, Seen)>,
    /// Most of the last window was not for us.
    not_for_us: bool,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct WireWatch {
    interfaces: BTreeMap<InterfaceId, Interface>,
    look_at: Duration,
    unrecorded: Option<u64>,
    /// Until then the alarm lasts.
    unrecorded_until: Option<Duration>,
}

impl WireWatch {
    /// Interfaces have other numbers now; what grew stays known.
    pub(crate) fn forget(&mut self) {
        self.interfaces.clear();
    }

    /// Is it time to look? Then it is not again for a while.
    pub(crate) fn is_due(&mut self, now: Duration) -> bool {
        let is_due = now >= self.look_at;
        if is_due {
            self.look_at = now + LOOK;
        }
        is_due
    }

    /// Must this interface's counters be read: for a first frame, or because its window is over?
    pub(crate) fn wants(&self, now: Duration, id: InterfaceId, attached: bool) -> bool {
        let known = self.interfaces.get(&id);
        known.is_none_or(|known| {
            let ended = |(since, _): &(Duration, Seen)| now >= *since + WINDOW;
            known.attached_at.is_some() != attached
                || attached && !known.seen
                || known.window.as_ref().is_none_or(ended)
        })
    }

    /// What an interface's counters say now.
    pub(crate) fn look(
        &mut self,
        now: Duration,
        id: InterfaceId,
        attached: bool,
        seen: Seen,
    ) -> Option<Change> {
        let known = self.interfaces.entry(id).or_default();
        match (attached, known.attached_at) {
            (false, _) => (known.attached_at, known.seen) = (None, false),
            (true, None) => (known.attached_at, known.seen) = (Some(seen.all), false),
            (true, Some(before)) => known.seen |= seen.all > before,
        }
        let Some((since, before)) = known.window else {
            known.window = Some((now, seen));
            return None;
        };
        if now < since + WINDOW {
            return None;
        }
        known.window = Some((now, seen));
        let all = seen.all.saturating_sub(before.all);
        let not_for_us = seen.not_for_us.saturating_sub(before.not_for_us);
        let is_alarming = all >= FEW && not_for_us * 100 > all * NOT_FOR_US_PERCENT;
        let was = std::mem::replace(&mut known.not_for_us, is_alarming);
        (was != is_alarming).then_some(Change {
            interface: Some(id),
            reason: Reason::NotForUs,
            begins: is_alarming,
        })
    }

    /// Frames of devices without a record, ever.
    pub(crate) fn look_at_unrecorded(&mut self, now: Duration, frames: u64) -> Option<Change> {
        let change = |begins| Change {
            interface: None,
            reason: Reason::NoRecord,
            begins,
        };
        // What an earlier process saw is not new.
        let before = self.unrecorded.replace(frames).unwrap_or(frames);
        let was = self.unrecorded_until.is_some();
        if frames > before {
            self.unrecorded_until = Some(now + NO_RECORD);
            return (!was).then(|| change(true));
        }
        let is_over = self.unrecorded_until.is_some_and(|until| now >= until);
        self.unrecorded_until = self.unrecorded_until.filter(|_| !is_over);
        is_over.then(|| change(false))
    }

    /// Did frames pass unjudged lately because their device had no record?
    pub(crate) const fn has_unrecorded(&self) -> bool {
        self.unrecorded_until.is_some()
    }

    /// Was a frame counted since the program was attached here?
    pub(crate) fn frame_seen(&self, id: InterfaceId) -> bool {
        self.interfaces.get(&id).is_some_and(|known| known.seen)
    }

    /// Was most of the last window not for us?
    pub(crate) fn is_not_for_us(&self, id: InterfaceId) -> bool {
        let known = self.interfaces.get(&id);
        known.is_some_and(|known| known.not_for_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: InterfaceId = InterfaceId(0);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn seen(all: u64, not_for_us: u64) -> Seen {
        Seen { all, not_for_us }
    }

    #[test]
    fn a_frame_is_seen_only_after_the_program_was_attached() {
        let mut watch = WireWatch::default();
        watch.look(at(0), ID, true, seen(7, 0));
        assert!(!watch.frame_seen(ID), "what an earlier process counted");
        watch.look(at(1), ID, true, seen(8, 0));
        assert!(watch.frame_seen(ID));
        watch.look(at(2), ID, false, seen(9, 0));
        assert!(!watch.frame_seen(ID));
        watch.look(at(3), ID, true, seen(9, 0));
        assert!(!watch.frame_seen(ID));
    }

    #[test]
    fn more_than_half_of_a_minute_not_for_us_is_an_alarm() {
        let mut watch = WireWatch::default();
        let mut look = |second, all, not_for_us| {
            let change = watch.look(at(second), ID, true, seen(all, not_for_us));
            change.map(|change| change.begins)
        };
        assert_eq!(look(0, 0, 0), None);
        assert_eq!(look(59, 1000, 1000), None, "the minute is not over");
        assert_eq!(look(60, 1000, 501), Some(true));
        assert_eq!(look(120, 2000, 1001), Some(false), "half is no alarm");
        assert_eq!(look(180, 2099, 1100), None, "too few to say anything");
    }

    #[test]
    fn no_record_is_an_alarm_for_ten_seconds_after_it_grew() {
        let mut watch = WireWatch::default();
        let mut look = |second, frames| {
            let change = watch.look_at_unrecorded(at(second), frames);
            (change.map(|change| change.begins), watch.has_unrecorded())
        };
        assert_eq!(look(0, 5), (None, false), "what an earlier process counted");
        assert_eq!(look(1, 6), (Some(true), true));
        assert_eq!(look(2, 7), (None, true));
        assert_eq!(look(11, 7), (None, true));
        assert_eq!(look(12, 7), (Some(false), false));
    }
}
