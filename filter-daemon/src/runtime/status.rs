//! `status`: what the engine does now, with what only the daemon knows: its version, and what its feeds are called. The
//! form is documented in docs/status.md; the command line makes a table of it.
use filter_engine::{FeedStatus, PeerStatus, Status};
use serde::Serialize;
use serde_json::Value;

use super::Runtime;
use super::history::Rates;
use crate::config::Feed;
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

/// One peer: what the engine knows, and its rates.
#[derive(Debug, Serialize)]
struct PeerReport {
    #[serde(flatten)]
    status: PeerStatus,
    rates: Option<Rates>,
    trial_seconds_left: Option<u64>,
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
    /// What the feed skipped, by kind.
    left_out: Value,
}

impl Runtime {
    pub(super) fn status(&self) -> Report {
        let now = self.now();
        let mut engine = self.engine.status(now);
        let feeds = std::mem::take(&mut engine.feeds);
        let peers = std::mem::take(&mut engine.peers).into_iter();
        let feeds = self.config.feeds.iter().zip(feeds).enumerate();
        Report {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: now.as_secs(),
            log_lines_lost: logging::lost(),
            records_lost: self.records_lost(),
            records_problems: self.records_problems(),
            feeds: feeds
                .map(|(number, (feed, status))| self.feed_report(number, feed, status))
                .collect(),
            peers: peers
                .map(|status| PeerReport {
                    rates: self.history.rates(&status.name),
                    trial_seconds_left: self.trials.seconds_left(now, &status.name),
                    status,
                })
                .collect(),
            engine,
        }
    }

    fn feed_report(&self, number: usize, feed: &Feed, status: FeedStatus) -> FeedReport {
        let passwords_set = match feed {
            Feed::Shadow { sessions, .. } => {
                let with_password = sessions.iter().filter(|each| each.password.is_some());
                Some(with_password.count())
            }
            _ => None,
        };
        FeedReport {
            number,
            kind: feed.kind(),
            name: feed.name(&self.config.spec),
            up: status.up,
            seconds: status.age.map(|age| age.as_secs()),
            why: status.why,
            passwords_set,
            left_out: self.left_out(number),
        }
    }
}
