//! Events with numbers and times, the last of them kept for `bcp38 events`.
use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use filter_engine::{Notice, Violation};
use filter_lifecycle::Event;
use filter_lifecycle::route::{FeedId, PeerId, Session};
use filter_lifecycle::stations::StationEvent;
use filter_lifecycle::violation::{DefaultPointing, DestinationStory, SourceStory};
use serde_json::{Map, Value, json};

use super::status::xdp_name;
use crate::config::Config;

/// Entries that are kept.
pub const MAX_ENTRIES: usize = 10_000;

/// Everything that is told, in order.
#[derive(Debug, Default)]
pub struct Journal {
    entries: VecDeque<Value>,
    last: u64,
}

impl Journal {
    /// What the engine has to say.
    pub fn notice(&mut self, config: &Config, notice: &Notice) {
        match notice {
            Notice::Lifecycle(event) => self.event(config, event),
            Notice::Station(event) => self.station(config, event),
            Notice::Violation(violation) => self.violation(config, violation),
            Notice::DefaultPointing(id, finding) => self.default_pointing(config, *id, *finding),
            Notice::Attached { interface, kind } => {
                self.note("attached", &format!("{interface} ({})", xdp_name(*kind)));
            }
            Notice::LeaseEnded => {
                let text = "nothing is enforced before the feeds have told everything anew";
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
        let mut fields = Map::new();
        fields.insert(
            "peer".into(),
            violation.peer.map_or(Value::Null, |id| peer(config, id)),
        );
        fields.insert("interface".into(), violation.interface.clone().into());
        fields.insert("reason".into(), violation.reason.name().into());
        fields.insert("dropped".into(), violation.dropped.into());
        fields.insert("length".into(), violation.length.into());
        let mut text = violation.reason.name().to_owned();
        if let Some(flow) = &violation.flow {
            let story = describe(config, &flow.source_story, flow.destination_story);
            fields.insert("source".into(), flow.source.to_string().into());
            fields.insert("destination".into(), flow.destination.to_string().into());
            fields.insert("story".into(), story.clone().into());
            text = format!("{text} {} > {}: {story}", flow.source, flow.destination);
        }
        self.push("violation", &text, fields);
    }

    /// A peer sends us what it should send elsewhere.
    fn default_pointing(&mut self, config: &Config, id: PeerId, finding: DefaultPointing) {
        let mut fields = Map::new();
        fields.insert("peer".into(), peer(config, id));
        fields.insert("bytes".into(), finding.bytes.into());
        fields.insert("blocks".into(), finding.blocks.into());
        fields.insert("seconds".into(), finding.duration.as_secs().into());
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
                json!({ "peer": peer(config, id), "mac": mac.to_string() }),
                format!("{} sends from {mac}", name(id)),
            ),
            StationEvent::Seeded { peer: id, mac } => (
                "mac-seeded",
                json!({ "peer": peer(config, id), "mac": mac.to_string() }),
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
                    json!({ "mac": mac.to_string(), "from": peer(config, from), "to": peer(config, to), "kept": kept }),
                    format!(
                        "{mac}, of {}, is said to be {}'s: {fate}",
                        name(from),
                        name(to)
                    ),
                )
            }
        };
        log::info!("{event}: {text}");
        if let Value::Object(fields) = fields {
            self.push(event, &text, fields);
        }
    }

    /// Something the daemon itself has to say.
    pub fn note(&mut self, name: &'static str, text: &str) {
        log::info!("{name}: {text}");
        self.push(name, text, Map::new());
    }

    /// Entries after this number, oldest first.
    #[must_use]
    pub fn after(&self, number: u64) -> Vec<Value> {
        let skip = self.entries.len().saturating_sub(
            usize::try_from(self.last.saturating_sub(number)).unwrap_or(usize::MAX),
        );
        self.entries.iter().skip(skip).cloned().collect()
    }

    fn push(&mut self, name: &str, text: &str, fields: Map<String, Value>) {
        self.last += 1;
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut entry =
            json!({ "number": self.last, "time": time.as_secs_f64(), "event": name, "text": text });
        if let Value::Object(entry) = &mut entry {
            entry.extend(fields);
        }
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
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

fn peer(config: &Config, id: PeerId) -> Value {
    config
        .spec
        .peer(id)
        .map_or(Value::Null, |peer| peer.name.clone().into())
}

fn feed(config: &Config, id: FeedId) -> Value {
    config
        .feeds
        .get(usize::from(id.0))
        .map_or(Value::Null, |feed| feed.kind().into())
}

fn session(session: Option<Session>) -> Value {
    session.map_or(Value::Null, |session| session.to_string().into())
}

/// The fields of an event, and the event in one line.
fn fields(config: &Config, event: &Event) -> (Map<String, Value>, String) {
    let name = |id: PeerId| config.spec.peer(id).map_or("?", |peer| peer.name.as_str());
    let (value, text) = match event {
        Event::FeedUp(id) => (
            json!({ "feed": feed(config, *id) }),
            format!("feed {} is connected", id.0),
        ),
        Event::FeedDown(id, why) => (
            json!({ "feed": feed(config, *id), "why": why }),
            format!("feed {}: {why}", id.0),
        ),
        Event::SessionUp(id, s) | Event::SessionDown(id, s) => (
            json!({ "peer": peer(config, *id), "session": session(Some(*s)) }),
            format!("{} {s}", name(*id)),
        ),
        Event::SourceState {
            session: s,
            table,
            family,
            state,
        } => (
            json!({ "session": session(*s), "table": format!("{table:?}"), "family": family.name(), "state": state.name() }),
            format!(
                "{} {table:?} {family}: {state}",
                s.map_or("static".to_owned(), |s| s.to_string())
            ),
        ),
        Event::PeerState(id, state, missing) => {
            let why = missing.as_ref().map(ToString::to_string);
            let text = why.as_ref().map_or(String::new(), |why| format!(": {why}"));
            (
                json!({ "peer": peer(config, *id), "state": state.name(), "missing": why }),
                format!("{} is {}{text}", name(*id), state.name()),
            )
        }
        Event::AsnMismatch {
            feed: id,
            session: s,
            told,
            configured,
        } => (
            json!({ "feed": feed(config, *id), "session": session(Some(*s)), "told": told.get(), "configured": configured.get() }),
            format!(
                "the router says that {s} is AS{told}, configured is AS{configured}: its routes do not count"
            ),
        ),
        Event::UnknownSession(id, s) => (
            json!({ "feed": feed(config, *id), "session": session(Some(*s)), "address": s.address.to_string() }),
            format!("{s} belongs to no configured peer or route server"),
        ),
        Event::PrefixRefused(id, prefix, why) => (
            json!({ "peer": peer(config, *id), "prefix": prefix.to_string(), "why": why.name() }),
            format!("{} announces {prefix}: {why}", name(*id)),
        ),
        Event::MaxPrefixExceeded {
            peer: id,
            family,
            prefixes,
            limit,
        } => (
            json!({ "peer": peer(config, *id), "family": family.name(), "prefixes": prefixes, "limit": limit }),
            format!(
                "{} announces {prefixes} {family} prefixes, {limit} are allowed: frozen at the last good ones",
                name(*id)
            ),
        ),
        Event::CoverageExceeded(id, family) => (
            json!({ "peer": peer(config, *id), "family": family.name() }),
            format!(
                "the {family} sources of {} cover too much of the address space: they stop growing",
                name(*id)
            ),
        ),
        Event::CoverageCleared(id, family) => (
            json!({ "peer": peer(config, *id), "family": family.name() }),
            format!(
                "the {family} sources of {} cover no more than they may again",
                name(*id)
            ),
        ),
        Event::MaxPrefixCleared(id, family) => (
            json!({ "peer": peer(config, *id), "family": family.name() }),
            format!("{} {family} is within its limit again", name(*id)),
        ),
        Event::NextHopRewritten(id, hop, prefix) => (
            json!({ "peer": peer(config, *id), "next_hop": hop.to_string(), "prefix": prefix.to_string() }),
            format!(
                "{} announces {prefix} with next hop {hop}, which is not its own",
                name(*id)
            ),
        ),
        Event::NextHopUnknown(s, hop, prefix) => (
            json!({ "session": session(Some(*s)), "next_hop": hop.to_string(), "prefix": prefix.to_string() }),
            format!("route server {s} announces {prefix} with next hop {hop}, no member we know"),
        ),
        Event::ShrinkRefused {
            session: s,
            family,
            had,
            has,
            ..
        } => (
            json!({ "session": session(*s), "family": family.name(), "had": had, "has": has }),
            format!("{family} shrank from {had} to {has} routes at once: waiting for confirmation"),
        ),
        Event::CountMismatch {
            session: s,
            told,
            counted,
            ..
        } => (
            json!({ "session": session(*s), "told": told, "counted": counted }),
            format!("the feed told {told} prefixes, the router counts {counted}"),
        ),
        Event::FeedDisagreement {
            session: s,
            prefixes,
            examples,
            ..
        } => {
            let examples: Vec<String> = examples.iter().map(ToString::to_string).collect();
            let text = format!(
                "two feeds differ by {prefixes} prefixes for {s}: {}",
                examples.join(", ")
            );
            (
                json!({ "session": session(Some(*s)), "prefixes": prefixes, "examples": examples }),
                text,
            )
        }
        Event::ModeChanged(id, mode) => (
            json!({ "peer": peer(config, *id), "mode": mode.name() }),
            format!("{}: {mode}", name(*id)),
        ),
    };
    match value {
        Value::Object(fields) => (fields, text),
        _ => (Map::new(), text),
    }
}
