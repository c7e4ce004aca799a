//! Events, and sampled violations beside them, with numbers and times: the last of each kept for `bcp38 events` and
//! `bcp38 violations`. A flood of violations costs older violations, never an event.
use filter_core::Reason;
use filter_engine::{Flow, Notice, Violation};
use filter_lifecycle::route::PeerId;
use filter_lifecycle::violation::{DestinationStory, SourceStory};
use filter_lifecycle::{Event, RecentlyValid};
use log::Level;

use crate::config::Config;

mod devices;
mod fields;
mod peers;
mod store;

use fields::{Fields, FlowFields, fields, peer};
pub use store::Entry;
use store::Store;

/// Events that are kept.
pub const MAX_ENTRIES: usize = 10_000;
/// Violations that are kept.
pub const MAX_VIOLATIONS: usize = 10_000;

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
            Notice::Station(event) => self.record(peers::station(config, event)),
            Notice::Violation(violation) => self.violation(config, violation),
            Notice::DefaultPointing(id, finding) => {
                self.record(peers::default_pointing(config, *id, *finding));
            }
            Notice::Attached { interface, hook } => self.record(devices::attached(interface, hook)),
            Notice::Detached { interface, why } => self.record(devices::detached(interface, why)),
            Notice::NotAsConfigured { interface, why } => {
                self.note("not-as-configured", &format!("{interface}: {why}"));
            }
            Notice::LeftOut {
                interface,
                left_out,
            } => self.record(devices::left_out(interface, left_out)),
            Notice::TagsHidden { interface, command } => {
                self.record(devices::tags_hidden(interface, command.as_deref()));
            }
            Notice::Alarm {
                interface,
                reason,
                begins,
            } => self.record(devices::alarm(interface.as_deref(), *reason, *begins)),
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
        self.record(Noted {
            level: Level::Info,
            event: event.name(),
            text,
            fields,
        });
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
            story: describe(config, flow),
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

    /// What the texts of the other files make of a notice.
    fn record(&mut self, noted: Noted) {
        let Noted {
            level,
            event,
            text,
            fields,
        } = noted;
        log::log!(level, "{event}: {text}");
        self.events.push(event, &text, fields);
    }

    /// An event of the daemon itself.
    pub fn note(&mut self, name: &'static str, text: &str) {
        self.record(Noted::plain(name, text.to_owned()));
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
}

/// An event of its own, as it is logged and kept.
struct Noted {
    level: Level,
    event: &'static str,
    text: String,
    fields: Fields,
}

impl Noted {
    /// Without fields.
    const fn plain(event: &'static str, text: String) -> Self {
        Self {
            level: Level::Info,
            event,
            text,
            fields: Fields::None {},
        }
    }
}

/// Both stories of a packet in one line.
pub(super) fn describe(config: &Config, flow: &Flow) -> String {
    let name = |id: &PeerId| config.spec.peer(*id).map_or("?", |peer| peer.name.as_str());
    let source = match &flow.source_story {
        SourceStory::Advertised => "source advertised by the peer".to_owned(),
        SourceStory::AdvertisedBy(others) => {
            let names: Vec<&str> = others.iter().map(name).collect();
            format!("source advertised by {}", names.join(", "))
        }
        SourceStory::Nobody => "source advertised by no peer".to_owned(),
    };
    let destination = match flow.destination_story {
        DestinationStory::Advertised => "destination advertised to the peer",
        DestinationStory::OursNotAdvertised => "destination ours, not advertised to the peer",
        DestinationStory::NotOurs => "destination not ours",
    };
    let (source_left, destination_left) = (left(flow.source_left), left(flow.destination_left));
    format!("{source}{source_left}; {destination}{destination_left}")
}

fn left(recent: Option<RecentlyValid>) -> String {
    recent.map_or_else(String::new, |RecentlyValid { prefix, ago }| {
        format!(", valid until {} s ago ({prefix})", ago.as_secs())
    })
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
