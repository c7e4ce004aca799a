//! A feed that reports other AS numbers than configured for several peers at once: it speaks of another router, or the
//! configuration does. Either way nothing is known from it any more, as if it were lost.
use std::collections::BTreeSet;
use std::time::Duration;

use super::source::SETTLE;
use super::{Event, Lifecycle};
use crate::route::FeedId;

/// Peers and route servers with another AS than the configured one, at the same time, from which on a feed counts as lost.
pub const FOREIGN_PEERS: usize = 3;

impl Lifecycle {
    /// After one more session of this feed came up with another AS.
    pub(super) fn suspect(&mut self, now: Duration, feed: FeedId) {
        let peers = self.foreign_peers(feed);
        let state = &mut self.feeds[usize::from(feed.0)];
        if peers < FOREIGN_PEERS || state.foreign_since.is_some() {
            return;
        }
        state.foreign_since = Some(now);
        self.tell(Event::ForeignFeed { feed, peers });
        self.unsettle_feed(feed);
    }

    /// Ends it for feeds that report fewer such peers than that. A feed that has just connected has not named all of its
    /// sessions yet: it gets no new `stale_hold` by reconnecting.
    pub(super) fn end_suspicions(&mut self, now: Duration) {
        let is_over = |life: &Self, feed: FeedId| {
            let state = life.feed_state(feed);
            let settled = state.up_since.is_some_and(|since| now >= since + SETTLE);
            state.foreign_since.is_some() && settled && life.foreign_peers(feed) < FOREIGN_PEERS
        };
        let feeds = (0..self.feeds.len() as u16).map(FeedId);
        let over: Vec<FeedId> = feeds.filter(|feed| is_over(self, *feed)).collect();
        for feed in over {
            self.feeds[usize::from(feed.0)].foreign_since = None;
            self.tell(Event::ForeignFeedOver(feed));
            self.unsettle_feed(feed);
        }
    }

    /// How many peers and route servers have another AS by this feed, if that is why it counts as lost.
    #[must_use]
    pub fn foreign(&self, feed: FeedId) -> Option<usize> {
        let state = self.feeds.get(usize::from(feed.0))?;
        state.foreign_since.map(|_| self.foreign_peers(feed))
    }

    fn foreign_peers(&self, feed: FeedId) -> usize {
        let strangers = self.strangers.keys().filter(|(of, _)| *of == feed);
        let owners = strangers.filter_map(|(_, session)| self.directory.owner(*session));
        owners.collect::<BTreeSet<_>>().len()
    }

    pub(super) fn unsettle_feed(&mut self, feed: FeedId) {
        for key in self.keys(|key| key.feed == feed) {
            self.unsettle(key);
        }
    }
}
