//! Events, and sampled violations beside them, with numbers and times: the last of each kept for `bcp38 events` and
//! `bcp38 violations`. A flood of violations costs older violations, never an event.
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use filter_core::layout::{MAX_OWN_ADDRESSES, MAX_OWN_MACS, MAX_SUBNETS};
use filter_core::packet::Mac;
use filter_core::{Mode, Prefix, Reason};
use filter_engine::{Notice, Violation};
use filter_lifecycle::json::{text, texts};
use filter_lifecycle::route::{FeedId, PeerId, Session};
use filter_lifecycle::stations::StationEvent;
use filter_lifecycle::violation::{DefaultPointing, DestinationStory, SourceStory};
use filter_lifecycle::{Event, FOREIGN_PEERS};
use serde::Serialize;

use crate::config::{Config, Feed};

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

/// What a script may want to know of it, by the kind of the event.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Fields {
    None {},
    Feed {
        feed: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    Session {
        peer: Option<String>,
        session: String,
    },
    Source {
        session: Option<String>,
        rib: &'static str,
        family: &'static str,
        state: &'static str,
    },
    PeerState {
        peer: Option<String>,
        state: &'static str,
        missing: Option<String>,
    },
    AsnMismatch {
        feed: Option<&'static str>,
        session: String,
        told: u32,
        configured: u32,
    },
    UnknownSession {
        feed: Option<&'static str>,
        session: String,
        address: IpAddr,
    },
    Refused {
        peer: Option<String>,
        #[serde(serialize_with = "text")]
        prefix: Prefix,
        why: &'static str,
    },
    Limit {
        peer: Option<String>,
        family: &'static str,
        prefixes: u32,
        limit: u32,
    },
    PeerFamily {
        peer: Option<String>,
        family: &'static str,
    },
    PeerNextHop {
        peer: Option<String>,
        next_hop: IpAddr,
        #[serde(serialize_with = "text")]
        prefix: Prefix,
    },
    SessionNextHop {
        session: String,
        next_hop: IpAddr,
        #[serde(serialize_with = "text")]
        prefix: Prefix,
    },
    Shrink {
        session: Option<String>,
        family: &'static str,
        had: usize,
        has: usize,
    },
    Count {
        session: Option<String>,
        told: u64,
        counted: u64,
    },
    Disagreement {
        session: String,
        prefixes: usize,
        #[serde(serialize_with = "texts")]
        examples: Vec<Prefix>,
    },
    Mode {
        peer: Option<String>,
        #[serde(serialize_with = "text")]
        mode: Mode,
    },
    Violation {
        peer: Option<String>,
        interface: String,
        reason: &'static str,
        dropped: bool,
        length: u32,
        #[serde(flatten)]
        flow: Option<FlowFields>,
    },
    Pointing {
        peer: Option<String>,
        bytes: u64,
        blocks: usize,
        seconds: u64,
    },
    Mac {
        peer: Option<String>,
        #[serde(serialize_with = "text")]
        mac: Mac,
    },
    MacMoved {
        #[serde(serialize_with = "text")]
        mac: Mac,
        from: Option<String>,
        to: Option<String>,
        kept: bool,
    },
    Interface {
        interface: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        hook: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
}

/// The addresses of a packet, and what is known of them.
#[derive(Clone, Debug, Serialize)]
struct FlowFields {
    source: String,
    destination: String,
    story: String,
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
                self.tags_hidden(interface, command.as_deref())
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

fn peer(config: &Config, id: PeerId) -> Option<String> {
    config.spec.peer(id).map(|peer| peer.name.clone())
}

fn feed(config: &Config, id: FeedId) -> Option<&'static str> {
    let feed = config.feeds.get(usize::from(id.0));
    feed.map(Feed::kind)
}

fn session(session: Option<Session>) -> Option<String> {
    session.map(|session| session.to_string())
}

/// The fields of an event, and the event in one line.
#[expect(clippy::too_many_lines, reason = "one arm for each event")]
fn fields(config: &Config, event: &Event) -> (Fields, String) {
    let name = |id: PeerId| config.spec.peer(id).map_or("?", |peer| peer.name.as_str());
    match event {
        Event::FeedUp(id) => (
            Fields::Feed {
                feed: feed(config, *id),
                why: None,
            },
            format!("feed {} is connected", id.0),
        ),
        Event::FeedDown(id, why) => (
            Fields::Feed {
                feed: feed(config, *id),
                why: Some(why.clone()),
            },
            format!("feed {}: {why}", id.0),
        ),
        Event::SessionUp(id, s) | Event::SessionDown(id, s) => (
            Fields::Session {
                peer: peer(config, *id),
                session: s.to_string(),
            },
            format!("{} {s}", name(*id)),
        ),
        Event::SourceState {
            session: s,
            rib,
            family,
            state,
        } => (
            Fields::Source {
                session: session(*s),
                rib: rib.name(),
                family: family.name(),
                state: state.name(),
            },
            format!(
                "{} {rib} {family}: {state}",
                s.map_or("static".to_owned(), |s| s.to_string())
            ),
        ),
        Event::PeerState(id, state, missing) => {
            let why = missing.as_ref().map(ToString::to_string);
            let text = why.as_ref().map_or(String::new(), |why| format!(": {why}"));
            (
                Fields::PeerState {
                    peer: peer(config, *id),
                    state: state.name(),
                    missing: why,
                },
                format!("{} is {}{text}", name(*id), state.name()),
            )
        }
        Event::AsnMismatch {
            feed: id,
            session: s,
            told,
            configured,
        } => (
            Fields::AsnMismatch {
                feed: feed(config, *id),
                session: s.to_string(),
                told: told.get(),
                configured: configured.get(),
            },
            format!(
                "the router reports {s} as AS{told}, configured is AS{configured}: its routes do not count"
            ),
        ),
        Event::ForeignFeed { feed: id, peers } => (
            Fields::Feed {
                feed: feed(config, *id),
                why: None,
            },
            format!(
                "feed {}: {peers} peers at once have another AS than the configured one: it counts as lost until fewer than {FOREIGN_PEERS} have; is it another router\'s?",
                id.0
            ),
        ),
        Event::ForeignFeedOver(id) => (
            Fields::Feed {
                feed: feed(config, *id),
                why: None,
            },
            format!("feed {} counts again", id.0),
        ),
        Event::UnknownSession(id, s) => (
            Fields::UnknownSession {
                feed: feed(config, *id),
                session: s.to_string(),
                address: s.address,
            },
            format!("{s} belongs to no configured peer or route server"),
        ),
        Event::PrefixRefused(id, prefix, why) => (
            Fields::Refused {
                peer: peer(config, *id),
                prefix: *prefix,
                why: why.name(),
            },
            format!("{} announces {prefix}: {why}", name(*id)),
        ),
        Event::MaxPrefixExceeded {
            peer: id,
            family,
            prefixes,
            limit,
        } => (
            Fields::Limit {
                peer: peer(config, *id),
                family: family.name(),
                prefixes: *prefixes,
                limit: *limit,
            },
            format!(
                "{} announces {prefixes} {family} prefixes, {limit} are allowed: the last good ones count until it fits, or, if there were none, what is received",
                name(*id)
            ),
        ),
        Event::CoverageExceeded(id, family) => (
            Fields::PeerFamily {
                peer: peer(config, *id),
                family: family.name(),
            },
            format!(
                "the {family} sources of {} cover too much of the address space: they stop growing",
                name(*id)
            ),
        ),
        Event::CoverageCleared(id, family) => (
            Fields::PeerFamily {
                peer: peer(config, *id),
                family: family.name(),
            },
            format!(
                "the {family} sources of {} cover no more than they may again",
                name(*id)
            ),
        ),
        Event::MaxPrefixCleared(id, family) => (
            Fields::PeerFamily {
                peer: peer(config, *id),
                family: family.name(),
            },
            format!("{} {family} is within its limit again", name(*id)),
        ),
        Event::NextHopRewritten(id, hop, prefix) => (
            Fields::PeerNextHop {
                peer: peer(config, *id),
                next_hop: *hop,
                prefix: *prefix,
            },
            format!(
                "{} announces {prefix} with next hop {hop}, which is not its own",
                name(*id)
            ),
        ),
        Event::NextHopUnknown(s, hop, prefix) => (
            Fields::SessionNextHop {
                session: s.to_string(),
                next_hop: *hop,
                prefix: *prefix,
            },
            format!("route server {s} announces {prefix} with next hop {hop}, no member we know"),
        ),
        Event::ShrinkRefused {
            session: s,
            family,
            had,
            has,
            ..
        } => (
            Fields::Shrink {
                session: session(*s),
                family: family.name(),
                had: *had,
                has: *has,
            },
            format!("{family} shrank from {had} to {has} routes at once: waiting for confirmation"),
        ),
        Event::CountMismatch {
            session: s,
            told,
            counted,
            ..
        } => (
            Fields::Count {
                session: session(*s),
                told: *told,
                counted: *counted,
            },
            format!("the feed reported {told} prefixes, the router counts {counted}"),
        ),
        Event::FeedDisagreement {
            session: s,
            prefixes,
            examples,
            ..
        } => {
            let named: Vec<String> = examples.iter().map(ToString::to_string).collect();
            let text = format!(
                "two feeds differ by {prefixes} prefixes for {s}: {}",
                named.join(", ")
            );
            (
                Fields::Disagreement {
                    session: s.to_string(),
                    prefixes: *prefixes,
                    examples: examples.clone(),
                },
                text,
            )
        }
        Event::ModeChanged(id, mode) => (
            Fields::Mode {
                peer: peer(config, *id),
                mode: *mode,
            },
            format!("{}: {mode}", name(*id)),
        ),
    }
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
            reason: Reason::SourceUnannounced,
            dropped: true,
            length: 60,
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
