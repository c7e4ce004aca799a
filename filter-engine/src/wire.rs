//! What comes in over the wire, as the data plane counts it: the proof that the program sees frames at all, and the two alarms
//! of frames that are counted and not judged. Only reads counters, and never more often than it says.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use filter_core::Reason;

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
    /// Frames of peers that are on other interfaces too are not among them.
    pub(crate) is_partial: bool,
}

/// Frames of devices without a record, ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unrecorded {
    pub(crate) all: u64,
    /// By the device's index, as far as there is room.
    pub(crate) by_device: BTreeMap<u32, u64>,
}

impl Unrecorded {
    /// Of devices that there is no room for.
    fn of_others(&self) -> u64 {
        self.all.saturating_sub(self.by_device.values().sum())
    }
}

/// An alarm that begins, or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) interface: Option<String>,
    pub(crate) reason: Reason,
    pub(crate) begins: bool,
}

#[derive(Debug, Default)]
struct Interface {
    attached: bool,
    /// What had come in when the program was attached, or when the counters became those of other peers.
    before: Option<u64>,
    /// Was a frame counted since the program was attached? None if that cannot be known.
    seen: Option<bool>,
    /// The window that runs: since when, and what had come in by then.
    window: Option<(Duration, Seen)>,
    /// Most of the last window was not for us.
    not_for_us: bool,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct WireWatch {
    /// By name.
    interfaces: BTreeMap<String, Interface>,
    look_at: Duration,
    unrecorded: Option<Unrecorded>,
    /// By interface, none for frames that may be any interface's: until when the alarm lasts.
    unrecorded_until: BTreeMap<Option<String>, Duration>,
}

impl WireWatch {
    /// Another specification: interfaces that it does not have are forgotten, and whose frames are counted for the others
    /// may have changed. What was seen on those, and their alarms, stay.
    pub(crate) fn keep_only(&mut self, names: &BTreeSet<&str>) {
        self.interfaces
            .retain(|name, _| names.contains(name.as_str()));
        for known in self.interfaces.values_mut() {
            (known.before, known.window) = (None, None);
        }
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
    pub(crate) fn wants(&self, now: Duration, name: &str, attached: bool) -> bool {
        let known = self.interfaces.get(name);
        known.is_none_or(|known| {
            let ended = |(since, _): &(Duration, Seen)| now >= *since + WINDOW;
            known.attached != attached
                || attached && known.seen != Some(true)
                || known.window.as_ref().is_none_or(ended)
        })
    }

    /// What an interface's counters show now; none if they cannot be read.
    pub(crate) fn look(
        &mut self,
        now: Duration,
        name: &str,
        attached: bool,
        seen: Option<Seen>,
    ) -> Option<Change> {
        let known = self.interfaces.entry(name.to_owned()).or_default();
        known.count(attached, seen);
        let is_alarming = known.judge(now, seen?)?;
        let was = std::mem::replace(&mut known.not_for_us, is_alarming);
        (was != is_alarming).then(|| Change {
            interface: Some(name.to_owned()),
            reason: Reason::NotForUs,
            begins: is_alarming,
        })
    }

    /// Frames of devices without a record, ever: of each device of which they are known, and of all together. `interface` says
    /// whose device one is; frames of which that is not known may be any interface's.
    pub(crate) fn look_at_unrecorded(
        &mut self,
        now: Duration,
        frames: Unrecorded,
        interface: impl Fn(u32) -> Option<String>,
    ) -> Vec<Change> {
        // What an earlier process saw is not new.
        let before = self
            .unrecorded
            .replace(frames.clone())
            .unwrap_or_else(|| frames.clone());
        let mut grew = BTreeSet::new();
        for (device, count) in &frames.by_device {
            if before.by_device.get(device) < Some(count) {
                grew.insert(interface(*device));
            }
        }
        if frames.of_others() > before.of_others() {
            grew.insert(None);
        }
        let change = |interface, begins| Change {
            interface,
            reason: Reason::NoRecord,
            begins,
        };
        let mut changes = Vec::new();
        for interface in grew {
            let until = now + NO_RECORD;
            if self
                .unrecorded_until
                .insert(interface.clone(), until)
                .is_none()
            {
                changes.push(change(interface, true));
            }
        }
        self.unrecorded_until.retain(|interface, until| {
            let lasts = now < *until;
            if !lasts {
                changes.push(change(interface.clone(), false));
            }
            lasts
        });
        changes
    }

    /// Did frames pass unjudged lately that came in on this interface, or may have, because their device had no record?
    pub(crate) fn has_unrecorded(&self, name: &str) -> bool {
        let mut interfaces = self.unrecorded_until.keys();
        interfaces.any(|each| each.as_deref().is_none_or(|each| each == name))
    }

    /// Was a frame counted since the program was attached here? None if that cannot be known.
    pub(crate) fn frame_seen(&self, name: &str) -> Option<bool> {
        self.interfaces.get(name)?.seen
    }

    /// Was most of the last window not for us?
    pub(crate) fn is_not_for_us(&self, name: &str) -> bool {
        let known = self.interfaces.get(name);
        known.is_some_and(|known| known.not_for_us)
    }
}

impl Interface {
    /// Has a frame come in since the program was attached?
    fn count(&mut self, attached: bool, seen: Option<Seen>) {
        if attached != self.attached {
            (self.attached, self.before, self.seen) = (attached, None, Some(false));
        }
        if !attached || self.seen == Some(true) {
            return;
        }
        let Some(seen) = seen else {
            self.seen = None;
            return;
        };
        let before = *self.before.get_or_insert(seen.all);
        self.seen = match seen.all > before {
            true => Some(true),
            // Another peer's frames may have come in here all the same.
            false => (!seen.is_partial).then_some(false),
        };
    }

    /// Was most of a window that has ended not for us? None while it runs.
    fn judge(&mut self, now: Duration, seen: Seen) -> Option<bool> {
        let Some((since, before)) = self.window else {
            self.window = Some((now, seen));
            return None;
        };
        if now < since + WINDOW {
            return None;
        }
        self.window = Some((now, seen));
        let all = seen.all.saturating_sub(before.all);
        let not_for_us = seen.not_for_us.saturating_sub(before.not_for_us);
        Some(all >= FEW && not_for_us * 100 > all * NOT_FOR_US_PERCENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "ixp0";

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn seen(all: u64, not_for_us: u64) -> Option<Seen> {
        Some(Seen {
            all,
            not_for_us,
            is_partial: false,
        })
    }

    #[test]
    fn a_frame_is_seen_only_after_the_program_was_attached() {
        let mut watch = WireWatch::default();
        let mut look = |second, attached, all| {
            watch.look(at(second), NAME, attached, seen(all, 0));
            watch.frame_seen(NAME)
        };
        assert_eq!(
            look(0, true, 7),
            Some(false),
            "what an earlier process counted"
        );
        assert_eq!(look(1, true, 8), Some(true));
        assert_eq!(look(2, false, 9), Some(false));
        assert_eq!(look(3, true, 9), Some(false));
    }

    #[test]
    fn what_the_counters_cannot_show_is_not_known() {
        let mut watch = WireWatch::default();
        assert_eq!(watch.frame_seen(NAME), None);
        watch.look(at(0), NAME, true, None);
        assert_eq!(watch.frame_seen(NAME), None, "they cannot be read");
        // A peer that is on another interface too has the only frames.
        let partial = seen(7, 0).map(|seen| Seen {
            is_partial: true,
            ..seen
        });
        watch.look(at(1), NAME, true, partial);
        assert_eq!(watch.frame_seen(NAME), None);
        watch.look(at(2), NAME, true, seen(8, 0));
        assert_eq!(watch.frame_seen(NAME), Some(true));
    }

    #[test]
    fn another_specification_keeps_what_was_seen_and_the_alarm() {
        let mut watch = WireWatch::default();
        watch.look(at(0), NAME, true, seen(0, 0));
        watch.look(at(60), NAME, true, seen(1000, 1000));
        watch.look(at(60), "gone", true, seen(0, 0));
        watch.keep_only(&BTreeSet::from([NAME, "new"]));
        assert_eq!(watch.frame_seen(NAME), Some(true));
        assert!(watch.is_not_for_us(NAME));
        assert_eq!(watch.frame_seen("gone"), None);
        // Counters of other peers: their past is no frame of now, and no window's.
        assert_eq!(watch.look(at(61), NAME, true, seen(9_000, 0)), None);
        assert_eq!(watch.look(at(120), NAME, true, seen(9_000, 0)), None);
        let over = watch.look(at(121), NAME, true, seen(9_000, 0)).unwrap();
        assert!(!over.begins);
        watch.look(at(122), "new", true, seen(5, 0));
        watch.keep_only(&BTreeSet::from(["new"]));
        watch.look(at(123), "new", true, seen(500, 0));
        assert_eq!(
            watch.frame_seen("new"),
            Some(false),
            "of a peer that is on it alone now"
        );
    }

    #[test]
    fn more_than_half_of_a_minute_not_for_us_is_an_alarm() {
        let mut watch = WireWatch::default();
        let mut look = |second, all, not_for_us| {
            let change = watch.look(at(second), NAME, true, seen(all, not_for_us));
            change.map(|change| change.begins)
        };
        assert_eq!(look(0, 0, 0), None);
        assert_eq!(look(59, 1000, 1000), None, "the minute is not over");
        assert_eq!(look(60, 1000, 501), Some(true));
        assert_eq!(look(120, 2000, 1001), Some(false), "half is no alarm");
        assert_eq!(look(180, 2099, 1100), None, "too few to say anything");
    }

    /// So many of each device, and of others.
    fn unrecorded(by_device: &[(u32, u64)], others: u64) -> Unrecorded {
        let by_device: BTreeMap<u32, u64> = by_device.iter().copied().collect();
        Unrecorded {
            all: by_device.values().sum::<u64>() + others,
            by_device,
        }
    }

    /// Devices below ten are the first interface's.
    fn interface(device: u32) -> Option<String> {
        (device < 10).then(|| NAME.to_owned())
    }

    const OTHER_NAME: &str = "ixp1";

    #[test]
    fn no_record_is_an_alarm_for_ten_seconds_after_it_grew() {
        let mut watch = WireWatch::default();
        let mut look = |second, frames| {
            let frames = unrecorded(&[(5, frames)], 0);
            let changes = watch.look_at_unrecorded(at(second), frames, interface);
            let begins: Vec<bool> = changes.iter().map(|change| change.begins).collect();
            let names = [NAME, OTHER_NAME].map(|name| watch.has_unrecorded(name));
            (begins, names)
        };
        let seen = look(0, 5);
        assert_eq!(
            seen,
            (vec![], [false; 2]),
            "what an earlier process counted"
        );
        assert_eq!(look(1, 6), (vec![true], [true, false]));
        assert_eq!(look(2, 7), (vec![], [true, false]));
        assert_eq!(look(11, 7), (vec![], [true, false]));
        assert_eq!(look(12, 7), (vec![false], [false; 2]));
    }

    #[test]
    fn frames_without_a_record_concern_all_whose_they_may_be() {
        let look = |frames| {
            let mut watch = WireWatch::default();
            watch.look_at_unrecorded(at(0), unrecorded(&[(5, 1), (11, 1)], 1), interface);
            let changes = watch.look_at_unrecorded(at(1), frames, interface);
            let of = changes.into_iter().map(|change| change.interface);
            let names = [NAME, OTHER_NAME].map(|name| watch.has_unrecorded(name));
            (of.collect::<Vec<_>>(), names)
        };
        let its = Some(NAME.to_owned());
        let none = look(unrecorded(&[(5, 1), (11, 1)], 1));
        assert_eq!(none, (vec![], [false; 2]));
        let known = look(unrecorded(&[(5, 1), (6, 1), (11, 1)], 1));
        assert_eq!(known, (vec![its.clone()], [true, false]));
        let unknown = look(unrecorded(&[(5, 1), (11, 2)], 1));
        assert_eq!(unknown, (vec![None], [true; 2]), "nobody knows the device");
        let without_room = look(unrecorded(&[(5, 2), (11, 1)], 2));
        assert_eq!(without_room, (vec![None, its], [true; 2]));
    }
}
