//! Two feeds that tell the same table: a poll beside a stream. What only one of them has stays valid, because each
//! holds its own; what differs twice in a row is told. Decides nothing.
use std::collections::{BTreeSet, HashSet};

use filter_core::Prefix;

use super::kind::Kind;
use super::source::Source;
use super::{Event, Lifecycle, SourceKey, State, session_of};
use crate::route::FeedId;

/// Prefixes named as examples of a disagreement.
pub const MAX_EXAMPLES: usize = 5;
/// Prefixes that differ and are remembered until the next poll; two feeds that differ in more differ enough.
pub const MAX_DIFFERENCES: usize = 10_000;

/// How a poll differed from what another feed told, last time.
#[derive(Debug, Default)]
pub(super) struct Difference {
    last: HashSet<Prefix>,
    told: bool,
}

impl Lifecycle {
    /// A poll was told in full: is it what another feed tells? What is under way differs once.
    pub(super) fn compare(&mut self, key: SourceKey) {
        let Some(session) = session_of(key.origin) else {
            return;
        };
        let feeds = (0..self.feeds.len() as u16)
            .map(FeedId)
            .filter(|feed| *feed != key.feed);
        let beside = feeds
            .filter_map(|feed| self.sources.get(&SourceKey { feed, ..key }))
            .filter(|source| source.state() == State::Synced && source.is_heard());
        // The stream, if there is one; and always the same one.
        let other = beside.min_by_key(|source| source.kind == Kind::Poll);
        let (Some(other), Some(source)) = (other, self.sources.get(&key)) else {
            return;
        };
        let now = differing(source, other);
        let difference = self.differences.entry(key).or_default();
        let twice: BTreeSet<Prefix> = now.intersection(&difference.last).copied().collect();
        difference.last = now;
        let tell = !twice.is_empty() && !difference.told;
        difference.told = !twice.is_empty();
        if tell {
            self.tell(Event::FeedDisagreement {
                session,
                rib: key.rib,
                prefixes: twice.len(),
                examples: twice.into_iter().take(MAX_EXAMPLES).collect(),
            });
        }
    }
}

/// The first [`MAX_DIFFERENCES`] in order, so that the next poll finds the same.
fn differing(one: &Source, other: &Source) -> HashSet<Prefix> {
    let mut differing: Vec<Prefix> = only_in(one, other).chain(only_in(other, one)).collect();
    differing.sort_unstable();
    differing.truncate(MAX_DIFFERENCES);
    differing.into_iter().collect()
}

fn only_in<'a>(one: &'a Source, other: &'a Source) -> impl Iterator<Item = Prefix> + 'a {
    one.routes
        .prefixes()
        .filter(|&prefix| !other.routes.has(prefix))
}
