//! Events, and sampled violations beside them, with numbers and times: the last of each kept for `bcp38 events` and
//! `bcp38 violations`. A flood of violations costs older violations, never an event.
use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use filter_core::Reason;
use filter_core::layout::{MAX_OWN_ADDRESSES, MAX_OWN_MACS, MAX_SUBNETS};
use filter_engine::{Notice, Violation};
use filter_lifecycle::Event;
use filter_lifecycle::route::PeerId;
use filter_lifecycle::stations::StationEvent;
use filter_lifecycle::violation::{DefaultPointing, DestinationStory, SourceStory};
use serde::Serialize;

use crate::config::Config;

mod fields;

use fields::{Fields, FlowFields, fields, peer};

/// Events that are kept.
pub const MAX_ENTRIES: usize = 10_000;
/// Violations that are kept.
pub const MAX_VIOLATIONS: usize = 10_000;

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    number: u64,
    /// Seconds since 1970.
    time: f64,
    event: &'static str,
    /// In one line.
    text: String,
    #[serde(flatten)]
    fields: Fields,
}

/// The last entries of one kind, numbered from 1.
#[derive(Debug)]
struct Store {
    entries: VecDeque<Entry>,
    last: u64,
    max: usize,
}

impl Store {
    const fn new(max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            last: 0,
            max,
        }
    }

    /// Entries after this number, oldest first.
    fn after(&self, number: u64) -> Vec<&Entry> {
        let skip = self.entries.len().saturating_sub(
            usize::try_from(self.last.saturating_sub(number)).unwrap_or(usize::MAX),
        );
        self.entries.iter().skip(skip).collect()
    }

    fn push(&mut self, event: &'static str, text: &str, fields: Fields) {
        self.last += 1;
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        if self.entries.len() >= self.max {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry {
            number: self.last,
            time: time.as_secs_f64(),
            event,
            text: text.to_owned(),
            fields,
        });
    }
}

/// What happened, in order; violations apart.
#[derive(Debug)]
pub struct Journal {
    events: Store,
    violations: Store,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            events: Store::new(MAX_ENTRIES),
            violations: Store::new(MAX_VIOLATIONS),
        }
    }
}

impl Journal {
    /// A notice of the engine.
    pub fn notice(&mut self, config: &Config, notice: &Notice) {
        match notice {
            Notice::Lifecycle(event) => self.event(config, event),
            Notice::Station(event) => self.station(config, event),
            Notice::Violation(violation) => self.violation(config, violation),
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
        log::info!("{}: {text}", event.name());
        self.push(event.name(), &text, fields);
    }

    /// A lifecycle event in one line.
    #[must_use]
    pub fn describe(config: &Config, event: &Event) -> String {
        fields(config, event).1
    }

    /// A sampled violation. Not logged: there may be thousands.
    fn violation(&mut self, config: &Config, violation: &Violation) {
        let reason: Reason = violation.reason;
        let mut text = reason.name().to_owned();
        let flow = violation.flow.as_ref().map(|flow| FlowFields {
            source: flow.source.to_string(),
            destination: flow.destination.to_string(),
            story: describe(config, &flow.source_story, flow.destination_story),
        });
        if let Some(flow) = &flow {
            text = format!(
                "{text} {} > {}: {}",
                flow.source, flow.destination, flow.story
            );
        }
        let fields = Fields::Violation {
            peer: violation.peer.and_then(|id| peer(config, id)),
            interface: violation.interface.clone(),
            reason: reason.name(),
            dropped: violation.dropped,
            length: violation.length,
            flow,
        };
        self.violations.push("violation", &text, fields);
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
        log::warn!("default-pointing: {text}");
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
        log::info!("{event}: {text}");
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
        log::info!("attached: {text}");
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
        log::warn!("not-attached: {text}");
        let fields = Fields::Interface {
            interface: interface.to_owned(),
            hook: None,
            why: Some(why.to_owned()),
        };
        self.push("not-attached", &text, fields);
    }

    /// An event of the daemon itself.
    pub fn note(&mut self, name: &'static str, text: &str) {
        log::info!("{name}: {text}");
        self.push(name, text, Fields::None {});
    }

    /// Events after this number, oldest first.
    #[must_use]
    pub fn after(&self, number: u64) -> Vec<&Entry> {
        self.events.after(number)
    }

    /// Violations after this number, oldest first.
    #[must_use]
    pub fn violations_after(&self, number: u64) -> Vec<&Entry> {
        self.violations.after(number)
    }

    fn push(&mut self, event: &'static str, text: &str, fields: Fields) {
        self.events.push(event, text, fields);
    }
}

/// Both stories of a packet in one line.
pub(super) fn describe(
    config: &Config,
    source: &SourceStory,
    destination: DestinationStory,
) -> String {
    let name = |id: &PeerId| config.spec.peer(*id).map_or("?", |peer| peer.name.as_str());
    let source = match source {
        SourceStory::Advertised => "source advertised by the peer".to_owned(),
        SourceStory::AdvertisedBy(others) => {
            let names: Vec<&str> = others.iter().map(name).collect();
            format!("source advertised by {}", names.join(", "))
        }
        SourceStory::Nobody => "source advertised by no peer".to_owned(),
    };
    let destination = match destination {
        DestinationStory::Advertised => "destination advertised to the peer",
        DestinationStory::OursNotAdvertised => "destination ours, not advertised to the peer",
        DestinationStory::NotOurs => "destination not ours",
    };
    format!("{source}; {destination}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
[router]
asn = 64500
[[interface]]
name = "ixp0"
kind = "port"
[[peer]]
name = "p1"
asn = 64501
interface = "ixp0"
addresses = ["192.0.2.11"]
"#;

    fn numbers(entries: &[&Entry]) -> Option<(u64, u64, usize)> {
        let (first, last) = (entries.first()?, entries.last()?);
        Some((first.number, last.number, entries.len()))
    }

    #[test]
    fn a_flood_of_violations_pushes_out_older_violations_and_no_event() {
        let (config, _) = Config::parse(CONFIG, "test").unwrap();
        let mut journal = Journal::default();
        journal.note("before", "the flood");
        let violation = Notice::Violation(Violation {
            peer: Some(PeerId(0)),
            interface: "ixp0".to_owned(),
            ifindex: 2,
            reason: Reason::SourceUnannounced,
            dropped: true,
            length: 60,
            header: Vec::new(),
            is_ethernet: true,
            flow: None,
        });
        let flood = MAX_VIOLATIONS as u64 + 1;
        for _ in 0..flood {
            journal.notice(&config, &violation);
        }
        journal.note("after", "the flood");
        assert_eq!(numbers(&journal.after(0)), Some((1, 2, 2)));
        assert_eq!(
            numbers(&journal.violations_after(0)),
            Some((2, flood, MAX_VIOLATIONS))
        );
        assert_eq!(
            numbers(&journal.violations_after(flood - 1)),
            Some((flood, flood, 1))
        );
        assert_eq!(numbers(&journal.violations_after(flood)), None);
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
    }
}
