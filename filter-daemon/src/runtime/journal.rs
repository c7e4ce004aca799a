//! Events with numbers, times and severities: logged, recorded, and the last of them kept for `bcp38 events`; and, apart
//! from them, sampled violations. Never decides what is one.
use std::collections::VecDeque;
use std::sync::Arc;

use filter_core::Reason;
use filter_core::layout::{MAX_OWN_ADDRESSES, MAX_OWN_MACS, MAX_SUBNETS};
use filter_engine::Notice;
use filter_lifecycle::Event;
use filter_lifecycle::route::PeerId;
use filter_lifecycle::stations::StationEvent;
use filter_lifecycle::violation::DefaultPointing;
use serde::Serialize;

use super::violations::{Violations, now};
use crate::config::Config;
use crate::records::{Kind, Recorder, ViolationRecord};

mod fields;
mod severity;

use fields::{Fields, fields, peer};
use severity::Severity;

/// Events that are kept in memory.
pub const MAX_ENTRIES: usize = 10_000;

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    number: u64,
    /// Seconds since 1970.
    time: f64,
    severity: Severity,
    event: &'static str,
    /// In one line.
    text: String,
    #[serde(flatten)]
    fields: Fields,
}

/// What happened, in order; violations apart.
#[derive(Debug, Default)]
pub struct Journal {
    events: VecDeque<Entry>,
    last: u64,
    violations: Violations,
    recorder: Option<Arc<Recorder>>,
}

/// The numbers of the last records of an earlier daemon.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastNumbers {
    pub events: u64,
    pub violations: u64,
}

impl Journal {
    /// Goes on after what an earlier daemon recorded.
    pub(super) fn new(last: LastNumbers, recorder: Option<Arc<Recorder>>) -> Self {
        Self {
            last: last.events,
            violations: Violations::new(last.violations, recorder.clone()),
            recorder,
            ..Self::default()
        }
    }

    /// A notice of the engine.
    pub fn notice(&mut self, config: &Config, notice: &Notice) {
        match notice {
            Notice::Lifecycle(event) => self.event(config, event),
            Notice::Station(event) => self.station(config, event),
            Notice::Violation(violation) => self.violations.take(config, violation),
            Notice::DefaultPointing(id, finding) => self.default_pointing(config, *id, *finding),
            Notice::Attached { interface, hook } => self.attached(interface, hook),
            Notice::Detached { interface, why } => self.lost(interface, why),
            Notice::NotAsConfigured { interface, why } => {
                self.note("not-as-configured", &format!("{interface}: {why}"));
            }
            Notice::LeftOut {
                interface,
                left_out,
            } => self.left_out(interface, left_out),
            Notice::TagsHidden { interface, command } => {
                self.tags_hidden(interface, command.as_deref());
            }
            Notice::Alarm {
                interface,
                reason,
                begins,
            } => self.alarm(interface.as_deref(), *reason, *begins),
            Notice::NotLookedUp(error) => log::warn!("{error}: trying again"),
            Notice::DevicesLost(error) => log::warn!("{error}: opening it anew"),
            Notice::LeaseEnded => {
                let text = "nothing is enforced before the feeds have sent everything anew";
                self.note("lease-ended", text);
            }
            Notice::PublishFailed(id, error) => {
                let peer = config.spec.peer(*id);
                let name = peer.map_or("?", |peer| peer.name.as_str());
                self.note("publish-failed", &format!("{name}: {error}"));
            }
            Notice::StationsFailed(error) => self.note("stations-failed", &error.to_string()),
            Notice::KernelFailed(error) => log::error!("{error}"),
            Notice::NeighboursLost(error) => log::warn!("{error}: opening it anew"),
        }
    }

    /// A lifecycle event.
    fn event(&mut self, config: &Config, event: &Event) {
        let (fields, text) = fields(config, event);
        self.push(event.name(), &text, fields);
    }

    /// A lifecycle event in one line.
    #[must_use]
    pub fn describe(config: &Config, event: &Event) -> String {
        fields(config, event).1
    }

    /// A peer sends us what it should send elsewhere.
    fn default_pointing(&mut self, config: &Config, id: PeerId, finding: DefaultPointing) {
        let fields = Fields::Pointing {
            peer: peer(config, id),
            bytes: finding.bytes,
            blocks: finding.blocks,
            seconds: finding.duration.as_secs(),
        };
        let text = format!(
            "{} sends to addresses that are not ours: {} bytes to {} blocks in {} s",
            config.spec.peer(id).map_or("?", |peer| peer.name.as_str()),
            finding.bytes,
            finding.blocks,
            finding.duration.as_secs()
        );
        self.push("default-pointing", &text, fields);
    }

    /// A peer's MAC.
    fn station(&mut self, config: &Config, event: &StationEvent) {
        let name = |id: PeerId| config.spec.peer(id).map_or("?", |peer| peer.name.as_str());
        let (event, fields, text) = match *event {
            StationEvent::Learned { peer: id, mac } => (
                "mac-learned",
                Fields::Mac {
                    peer: peer(config, id),
                    mac,
                },
                format!("{} sends from {mac}", name(id)),
            ),
            StationEvent::Seeded { peer: id, mac } => (
                "mac-seeded",
                Fields::Mac {
                    peer: peer(config, id),
                    mac,
                },
                format!("{} sends from {mac}, as its exchange says", name(id)),
            ),
            StationEvent::Moved {
                mac,
                from,
                to,
                kept,
            } => {
                let fate = if kept {
                    "it stays where it was"
                } else {
                    "it counts as the latter's"
                };
                (
                    "mac-moved",
                    Fields::MacMoved {
                        mac,
                        from: peer(config, from),
                        to: peer(config, to),
                        kept,
                    },
                    format!(
                        "{mac}, of {}, is said to be {}'s: {fate}",
                        name(from),
                        name(to)
                    ),
                )
            }
        };
        self.push(event, &text, fields);
    }

    fn left_out(&mut self, interface: &str, left_out: &[String]) {
        let text = match left_out {
            [] => format!("{interface}: there is room for all of our macs and addresses again"),
            [..] => format!(
                "{interface}: no room for {}: at most {MAX_OWN_MACS} macs, and of each family and vlan {MAX_OWN_ADDRESSES} addresses and {MAX_SUBNETS} subnets outside `lan`",
                left_out.join(", ")
            ),
        };
        self.note("left-out", &text);
    }

    fn tags_hidden(&mut self, interface: &str, command: Option<&str>) {
        let (name, text) = match command {
            Some(command) => (
                "tags-hidden",
                format!(
                    "{interface}: the driver hides vlan tags from the program, so that only malformed frames are judged: `{command}`"
                ),
            ),
            None => (
                "tags-seen",
                format!("{interface}: the program sees vlan tags again"),
            ),
        };
        self.note(name, &text);
    }

    fn alarm(&mut self, interface: Option<&str>, reason: Reason, begins: bool) {
        let (begun, over, what) = match reason {
            Reason::NoRecord => (
                "no-record-alarm",
                "no-record-over",
                "frames come in from a device that has no record, and pass: a new member of a bond, or a device that came back",
            ),
            _ => (
                "not-for-us-alarm",
                "not-for-us-over",
                "more than half of what came in over the last minute is for none of our macs, and passes",
            ),
        };
        let place = interface.map_or(String::new(), |interface| format!("{interface}: "));
        match begins {
            true => self.note(begun, &format!("{place}{what}")),
            false => self.note(over, &format!("{place}not any more: {what}")),
        }
    }

    /// The program is on an interface.
    fn attached(&mut self, interface: &str, hook: &'static str) {
        let text = format!("{interface} ({hook})");
        self.violations.attached(interface, hook);
        let fields = Fields::Interface {
            interface: interface.to_owned(),
            hook: Some(hook),
            why: None,
        };
        self.push("attached", &text, fields);
    }

    /// The program is not on an interface.
    fn lost(&mut self, interface: &str, why: &str) {
        let text = format!("{interface}: {why}: nothing is filtered there until it is attached");
        let fields = Fields::Interface {
            interface: interface.to_owned(),
            hook: None,
            why: Some(why.to_owned()),
        };
        self.push("not-attached", &text, fields);
    }

    /// Somebody answered for a peer.
    pub(super) fn acknowledged(&mut self, peer: &str, note: &str) {
        let fields = Fields::Acknowledged {
            peer: peer.to_owned(),
            note: note.to_owned(),
        };
        self.push("acknowledged", &format!("{peer}: {note}"), fields);
    }

    /// An event of the daemon itself.
    pub fn note(&mut self, name: &'static str, text: &str) {
        self.push(name, text, Fields::None {});
    }

    /// Events after this number, oldest first; all of them if the number is of another life of the records.
    #[must_use]
    pub fn after(&self, number: u64) -> Vec<&Entry> {
        let number = if number > self.last { 0 } else { number };
        let skip = self.events.partition_point(|it| it.number <= number);
        self.events.range(skip..).collect()
    }

    /// Violations after this number, oldest first.
    #[must_use]
    pub fn violations_after(&self, number: u64) -> Vec<&ViolationRecord> {
        self.violations.after(number)
    }

    fn push(&mut self, event: &'static str, text: &str, fields: Fields) {
        self.last += 1;
        let severity = Severity::of(event, &fields);
        log::log!(severity.level(), "{event}: {text}");
        let entry = Entry {
            number: self.last,
            time: now(),
            severity,
            event,
            text: text.to_owned(),
            fields,
        };
        if let Some(recorder) = &self.recorder {
            recorder.record(Kind::Events, &entry);
        }
        if self.events.len() >= MAX_ENTRIES {
            self.events.pop_front();
        }
        self.events.push_back(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(entries: &[&Entry]) -> Option<(u64, u64, usize)> {
        let (first, last) = (entries.first()?, entries.last()?);
        Some((first.number, last.number, entries.len()))
    }

    #[test]
    fn the_oldest_events_go_first_beyond_the_limit() {
        let mut journal = Journal::default();
        for _ in 0..MAX_ENTRIES {
            journal.note("test", "");
        }
        let all = MAX_ENTRIES as u64;
        assert_eq!(numbers(&journal.after(0)), Some((1, all, MAX_ENTRIES)));
        journal.note("test", "");
        assert_eq!(numbers(&journal.after(0)), Some((2, all + 1, MAX_ENTRIES)));
        assert_eq!(numbers(&journal.after(all)), Some((all + 1, all + 1, 1)));
        assert_eq!(numbers(&journal.after(all + 1)), None);
        assert_eq!(
            numbers(&journal.after(all + 2)),
            Some((2, all + 1, MAX_ENTRIES))
        );
    }
}
