//! `status`: what the engine does now, with what only the daemon knows: its version, and what its feeds are called. The
//! form is documented in docs/status.md; the command line makes a table of it.
use std::collections::BTreeMap;
use std::time::Duration;

use filter_engine::{Engine, FeedStatus, PeerStatus, Status};
use filter_feeds::lag::Polled;
use filter_lifecycle::route::PeerId;
use serde::Serialize;
use serde_json::Value;

use super::feeding::Feeding;
use super::history::{History, Rates};
use super::recorded::Recording;
use super::routes::RouteJournal;
use super::trials::Trials;
use crate::config::{Config, Feed};
use crate::logging;

/// The whole of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    uptime_seconds: u64,
    log_lines_lost: u64,
    records_lost: u64,
    records_problems: Vec<String>,
    feeds: Vec<FeedReport>,
    #[serde(flatten)]
    engine: Status,
    /// In place of the engine's own list, which is empty here: what is written last under a name counts.
    peers: Vec<PeerReport>,
}

/// One peer: what the engine knows, its rates, and what is on trial.
#[derive(Debug, Serialize)]
struct PeerReport {
    #[serde(flatten)]
    status: PeerStatus,
    rates: Option<Rates>,
    trial_seconds_left: Option<u64>,
    /// When its valid prefixes changed last, seconds since 1970; none if they have not since the daemon started.
    last_change: Option<f64>,
}

/// What a status is made of.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) now: Duration,
    pub(super) config: &'a Config,
    pub(super) engine: &'a Engine,
    pub(super) feeding: &'a Feeding,
    pub(super) history: &'a History,
    pub(super) trials: &'a Trials,
    pub(super) routes: &'a RouteJournal,
    pub(super) recording: &'a Recording,
}

/// One feed.
#[derive(Debug, Serialize)]
struct FeedReport {
    number: usize,
    kind: &'static str,
    name: String,
    up: bool,
    seconds: Option<u64>,
    why: Option<String>,
    /// Sessions with a TCP MD5 password; only `shadow` feeds have them.
    #[serde(skip_serializing_if = "Option::is_none")]
    passwords_set: Option<usize>,
    /// Only of feeds that poll, after the first poll.
    #[serde(skip_serializing_if = "Option::is_none")]
    poll: Option<Poll>,
    /// What the feed skipped, by kind.
    left_out: Value,
}

/// The last poll of a feed. What was announced since it began is not known.
#[derive(Debug, Serialize)]
struct Poll {
    seconds_ago: u64,
    took_seconds: f64,
    every_seconds: u64,
}

impl Poll {
    fn of(polled: Polled) -> Self {
        Self {
            seconds_ago: polled.began.elapsed().as_secs(),
            took_seconds: polled.took.as_secs_f64(),
            every_seconds: polled.every.as_secs(),
        }
    }
}

impl Report {
    pub(super) fn of(parts: Parts<'_>) -> Self {
        let Parts {
            now,
            config,
            feeding,
            ..
        } = parts;
        let mut engine = parts.engine.status(now);
        let feeds = std::mem::take(&mut engine.feeds);
        let peers = std::mem::take(&mut engine.peers).into_iter();
        let ids: BTreeMap<&str, PeerId> = config
            .spec
            .peer_ids()
            .map(|(id, it)| (it.name.as_str(), id))
            .collect();
        let trial_left = |name: &str| {
            let id = *ids.get(name)?;
            parts.trials.seconds_left(now, parts.engine, id, name)
        };
        let last_change = |name: &str| parts.routes.last_change(*ids.get(name)?);
        let peers = peers.map(|status| PeerReport {
            last_change: last_change(&status.name),
            rates: parts.history.rates(&status.name),
            trial_seconds_left: trial_left(&status.name),
            status,
        });
        let feeds = config.feeds.iter().zip(feeds).enumerate();
        let report = |(number, (feed, status)): (usize, (&Feed, FeedStatus))| FeedReport {
            number,
            kind: feed.kind(),
            name: feed.name(&config.spec),
            up: status.up,
            seconds: status.age.map(|age| age.as_secs()),
            why: status.why,
            passwords_set: passwords_set(feed),
            poll: feeding.polled(number).map(Poll::of),
            left_out: feeding.left_out(number),
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: now.as_secs(),
            log_lines_lost: logging::lost(),
            records_lost: parts.recording.lost(),
            records_problems: parts.recording.problems(),
            peers: peers.collect(),
            feeds: feeds.map(report).collect(),
            engine,
        }
    }
}

fn passwords_set(feed: &Feed) -> Option<usize> {
    let Feed::Shadow { sessions, .. } = feed else {
        return None;
    };
    let with_password = sessions.iter().filter(|each| each.password.is_some());
    Some(with_password.count())
}
