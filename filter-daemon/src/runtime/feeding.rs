//! The feeds of the configuration in force: built, started, asked to poll, stopped; what they send, and what is known of
//! them. Never decides what becomes of a route.
use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use filter_feeds::lag::Polled;
use filter_feeds::trigger::Trigger;
use filter_lifecycle::route::{Batch, FeedId};
use serde_json::{Value, json};

use super::RunError;
use super::supervision::{Ended, Supervision};
use crate::config::{Config, Feed};
use crate::feeds;

/// A feed that is about to be started.
pub(super) struct Built {
    /// None if the address it listens on is not free yet.
    feed: Option<Box<dyn filter_feeds::Feed>>,
    trigger: Trigger,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Feeding {
    threads: Supervision,
    batches: Receiver<Batch>,
    /// What asks each feed to poll now.
    triggers: Vec<Trigger>,
}

impl Feeding {
    /// No feed yet.
    pub(super) fn none() -> Self {
        let (threads, batches) = Supervision::new();
        Self {
            threads,
            batches,
            triggers: Vec::new(),
        }
    }

    /// Makes the feeds of a configuration, but for those that one of the former configuration keeps from listening: they are
    /// made when that has ended.
    ///
    /// # Errors
    /// A feed that cannot be made: it listens on an address that is not free, or not ours.
    pub(super) fn build(config: &Config, taken: &[SocketAddr]) -> Result<Vec<Built>, RunError> {
        let build = |feed: &Feed| {
            let trigger = Trigger::default();
            let waits = taken.iter().any(|&former| feed.contends_with(former));
            let built = match waits {
                true => Ok(None),
                false => feeds::build(config, feed, &trigger).map(Some),
            };
            match built {
                Ok(feed) => Ok(Built { feed, trigger }),
                Err(why) => Err(RunError::Feed {
                    kind: feed.kind(),
                    why,
                }),
            }
        };
        config.feeds.iter().map(build).collect()
    }

    /// Starts the feeds that [`Feeding::build`] made of this configuration.
    pub(super) fn start(&mut self, config: &Config, built: Vec<Built>) {
        self.triggers.clear();
        for (built, spec) in built.into_iter().zip(&config.feeds) {
            let Built { feed, trigger } = built;
            let feed = feed.map_or_else(|| feeds::build(config, spec, &trigger), Ok);
            self.triggers.push(trigger);
            self.threads.start(feed);
        }
    }

    /// Stops the feeds. What they still send arrives nowhere.
    pub(super) fn end(&mut self) {
        let (none, batches) = Supervision::new();
        self.batches = batches; // a feed that waits for room sees that its channel is gone
        std::mem::replace(&mut self.threads, none).end();
    }

    /// Starts those that do not run again, and returns what is new about them.
    pub(super) fn tend(&mut self, now: Duration, config: &Config) -> Vec<Ended> {
        let triggers = &self.triggers;
        let build = |index: usize| feeds::build(config, &config.feeds[index], &triggers[index]);
        self.threads.tend(now, &build)
    }

    /// The next batch, if one comes within this time.
    pub(super) fn receive(&self, time: Duration) -> Option<Batch> {
        self.batches.recv_timeout(time).ok()
    }

    /// The next batch, if one is there.
    pub(super) fn received(&self) -> Option<Batch> {
        self.batches.try_recv().ok()
    }

    /// Asks every feed that polls. Each of them polls for a tenth of its time at most, however often it is asked.
    pub(super) fn poll_now(&self) {
        self.triggers.iter().for_each(Trigger::poll_now);
    }

    /// What is polled is asked for once more. A connection that others share is never closed for a count.
    pub(super) fn poll_again(&self, feed: FeedId) {
        if let Some(trigger) = self.triggers.get(usize::from(feed.0)) {
            trigger.poll_now();
        }
    }

    /// The last poll of a feed, if it polls.
    pub(super) fn polled(&self, index: usize) -> Option<Polled> {
        self.threads.polled(index)
    }

    /// The time between two polls of a feed: as configured, or longer if its router answers slowly.
    pub(super) fn polls_every(&self, config: &Config, id: FeedId) -> Option<Duration> {
        let index = usize::from(id.0);
        let polled = self.polled(index).map(|last| last.every);
        polled.or_else(|| config.feeds.get(index)?.interval())
    }

    /// What a feed left out so far.
    pub(super) fn left_out(&self, index: usize) -> Value {
        json!(self.threads.skipped(index).all())
    }
}
