//! What an entry of the journal holds besides its sentence, by the kind of the event, and the sentence and the fields of
//! each event of the lifecycle. Keeps nothing.
use std::net::IpAddr;

use filter_core::packet::Mac;
use filter_core::{Mode, Prefix};
use filter_lifecycle::json::{text, texts};
use filter_lifecycle::route::{FeedId, PeerId, Session};
use filter_lifecycle::spec::{Attachment, Peer};
use filter_lifecycle::{BREAKER_HOLD, Event, FOREIGN_PEERS};
use serde::Serialize;

use crate::config::{Config, Feed};

/// What a script may want to know of it, by the kind of the event.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Fields {
    None {},
    Peer {
        peer: String,
    },
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
        peer: Option<String>,
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
        peer: Option<String>,
        feed: Option<&'static str>,
        session: String,
        reported: u32,
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
    MemberPrefix {
        session: String,
        peer: Option<String>,
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
        peer: Option<String>,
        session: Option<String>,
        family: &'static str,
        had: usize,
        has: usize,
    },
    Count {
        peer: Option<String>,
        session: Option<String>,
        received: u64,
        counted: u64,
    },
    Disagreement {
        peer: Option<String>,
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
    Breaker {
        peer: Option<String>,
        side: &'static str,
        family: &'static str,
        prefixes: usize,
        #[serde(serialize_with = "texts")]
        examples: Vec<Prefix>,
    },
    Acknowledged {
        peer: String,
        note: String,
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

pub(super) fn peer(config: &Config, id: PeerId) -> Option<String> {
    config.spec.peer(id).map(|peer| peer.name.clone())
}

/// The peer a session is configured for; none of a route server's.
fn holder(config: &Config, session: Session) -> Option<String> {
    let mut peers = config.spec.peers.iter();
    let its = |peer: &&Peer| {
        let mut all = peer.attachments.iter().flat_map(Attachment::sessions);
        all.any(|it| it == session)
    };
    peers.find(its).map(|peer| peer.name.clone())
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
pub(super) fn fields(config: &Config, event: &Event) -> (Fields, String) {
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
                peer: s.and_then(|it| holder(config, it)),
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
            reported,
            configured,
        } => (
            Fields::AsnMismatch {
                peer: holder(config, *s),
                feed: feed(config, *id),
                session: s.to_string(),
                reported: reported.get(),
                configured: configured.get(),
            },
            format!(
                "the router reports {s} as AS{reported}, configured is AS{configured}: its routes do not count"
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
                "the {family} sources of {} cover too much of the address space: they stop growing; if it is right, `bcp38 prefixes {} --accept-growth`",
                name(*id),
                name(*id)
            ),
        ),
        Event::GrowthAccepted(id, family) => (
            Fields::PeerFamily {
                peer: peer(config, *id),
                family: family.name(),
            },
            format!(
                "the {family} sources of {} count as they are, however much they cover: an operator says so",
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
        Event::FirstAsDiffers(s, member, prefix) => (
            Fields::MemberPrefix {
                session: s.to_string(),
                peer: peer(config, *member),
                prefix: *prefix,
            },
            format!(
                "route server {s} announces {prefix} with the next hop of {} and another first AS: it does not count",
                name(*member)
            ),
        ),
        Event::ShrinkRefused {
            session: s,
            family,
            had,
            has,
            ..
        } => (
            Fields::Shrink {
                peer: s.and_then(|it| holder(config, it)),
                session: session(*s),
                family: family.name(),
                had: *had,
                has: *has,
            },
            format!("{family} shrank from {had} to {has} routes at once: waiting for confirmation"),
        ),
        Event::CountMismatch {
            session: s,
            received,
            counted,
            ..
        } => (
            Fields::Count {
                peer: s.and_then(|it| holder(config, it)),
                session: session(*s),
                received: *received,
                counted: *counted,
            },
            format!("the feed reported {received} prefixes, the router counts {counted}"),
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
                    peer: holder(config, *s),
                    session: s.to_string(),
                    prefixes: *prefixes,
                    examples: examples.clone(),
                },
                text,
            )
        }
        Event::Breaker {
            peer: id,
            side,
            family,
            prefixes,
            examples,
        } => (
            Fields::Breaker {
                peer: peer(config, *id),
                side: side.name(),
                family: family.name(),
                prefixes: *prefixes,
                examples: examples.clone(),
            },
            format!(
                "{}: {prefixes} {family} {side} were gone although nothing withdrew them, and packets were dropped for it, as of {}: valid again for {} s",
                name(*id),
                examples.first().map_or(String::new(), Prefix::to_string),
                BREAKER_HOLD.as_secs()
            ),
        ),
        Event::ModeChanged(id, mode) => (
            Fields::Mode {
                peer: peer(config, *id),
                mode: *mode,
            },
            format!("{}: {mode}", name(*id)),
        ),
    }
}
