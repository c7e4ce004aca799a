//! A feed that reports other AS numbers than configured for several peers at once: it speaks of another router, or the
//! configuration does. Either way nothing is known from it any more, as if it were lost.
use std::collections::BTreeSet;

use super::super::Event;
use super::super::facts::Facts;
use super::super::feeds::Feeds;
use super::Fold;
use crate::route::FeedId;

/// Peers and route servers with another AS than the configured one, at the same time, from which on a feed counts as lost.
pub const FOREIGN_PEERS: usize = 3;

impl Fold<'_> {
    /// After one more session of this feed came up with another AS.
    pub(super) fn suspect(&mut self, feed: FeedId) {
        let peers = foreign_peers(self.facts, self.feeds, feed);
        if peers < FOREIGN_PEERS || self.feeds.foreign_since(feed).is_some() {
            return;
        }
        self.feeds.set_foreign(feed, Some(self.now));
        self.outbox.push(Event::ForeignFeed { feed, peers });
        self.unsettle_feed(feed);
    }

    /// Ends it for feeds that report fewer such peers than that. A feed that has just connected has not named all of its
    /// sessions yet: it gets no new `stale_hold` by reconnecting.
    pub(super) fn end_suspicions(&mut self) {
        for feed in self.facts.feeds() {
            let is_over = self.feeds.foreign_since(feed).is_some()
                && self.feeds.has_settled(self.now, feed)
                && foreign_peers(self.facts, self.feeds, feed) < FOREIGN_PEERS;
            if is_over {
                self.feeds.set_foreign(feed, None);
                self.outbox.push(Event::ForeignFeedOver(feed));
                self.unsettle_feed(feed);
            }
        }
    }
}

/// How many peers and route servers have another AS than the configured one by this feed.
pub(in super::super) fn foreign_peers(facts: &Facts, feeds: &Feeds, feed: FeedId) -> usize {
    let sessions = feeds.estranged(feed);
    let owners = sessions.filter_map(|session| facts.owner(session));
    owners.collect::<BTreeSet<_>>().len()
}
