//! Every source of routes by its key, and which peers each of them concerns. Knows what a source is worth, never what
//! its routes are for.
use std::collections::{BTreeSet, HashMap};

use filter_core::Family;

use super::reconcile::{Difference, Disagreement, compare};
use super::source::{Source, SourceKey};
use super::{Side, State};
use crate::route::{FeedId, PeerId};

/// Sources kept at once. More are refused and counted, and whom they concern is not enforced.
pub const MAX_SOURCES: usize = 65_536;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Sources {
    by_key: HashMap<SourceKey, Source>,
    /// By peer: the sources that concern it.
    of_peers: Vec<BTreeSet<SourceKey>>,
    /// By peer: did a source that concerns it find no place?
    crowded: Vec<bool>,
    refused: u64,
    differences: HashMap<SourceKey, Difference>,
}

/// A source's state before and after a change.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub was: State,
    pub is: State,
}

impl Sources {
    pub(super) fn new(peers: usize) -> Self {
        Self {
            by_key: HashMap::new(),
            of_peers: vec![BTreeSet::new(); peers],
            crowded: vec![false; peers],
            refused: 0,
            differences: HashMap::new(),
        }
    }

    pub(super) fn has(&self, key: SourceKey) -> bool {
        self.by_key.contains_key(&key)
    }

    pub(super) fn get(&self, key: SourceKey) -> Option<&Source> {
        self.by_key.get(&key)
    }

    /// For changes that leave a source's state alone; see [`Sources::with`].
    pub(super) fn get_mut(&mut self, key: SourceKey) -> Option<&mut Source> {
        self.by_key.get_mut(&key)
    }

    /// Changes a source, if there is one.
    pub(super) fn with(
        &mut self,
        key: SourceKey,
        change: impl FnOnce(&mut Source),
    ) -> Option<Transition> {
        let source = self.by_key.get_mut(&key)?;
        let was = source.state();
        change(source);
        Some(Transition {
            was,
            is: source.state(),
        })
    }

    /// Is there no place for another?
    pub(super) fn is_full(&self) -> bool {
        self.by_key.len() >= MAX_SOURCES
    }

    /// Takes a source in that concerns these peers.
    pub(super) fn insert(&mut self, key: SourceKey, source: Source, concerned: &[PeerId]) {
        for id in concerned {
            self.of_peers[id.0 as usize].insert(key);
        }
        self.by_key.insert(key, source);
    }

    /// Counts a source that finds no place, for the peers that it concerns. Returns whether it is the first.
    pub(super) fn refuse(&mut self, concerned: &[PeerId]) -> bool {
        for id in concerned {
            self.crowded[id.0 as usize] = true;
        }
        self.refused += 1;
        self.refused == 1
    }

    /// Sources that found no place.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// Did a source that concerns the peer find no place?
    pub(super) fn are_crowded(&self, id: PeerId) -> bool {
        self.crowded[id.0 as usize]
    }

    /// The keys of these sources, in an order that does not depend on hashes.
    pub(super) fn keys(&self, which: impl Fn(&SourceKey) -> bool) -> Vec<SourceKey> {
        let mut keys: Vec<SourceKey> = self.by_key.keys().copied().filter(which).collect();
        keys.sort_unstable();
        keys
    }

    /// The sources that time alone may change.
    pub(super) fn waiting(&self) -> Vec<SourceKey> {
        let mut waiting: Vec<SourceKey> = self
            .by_key
            .iter()
            .filter(|(_, source)| source.wants_tick())
            .map(|(&key, _)| key)
            .collect();
        waiting.sort_unstable();
        waiting
    }

    /// The keys of the sources that concern the peer: of the same Adj-RIB they stand together.
    pub(super) fn of_peer(&self, id: PeerId) -> impl Iterator<Item = SourceKey> + '_ {
        self.of_peers[id.0 as usize].iter().copied()
    }

    /// Those of one side and family.
    pub(super) fn of_side(
        &self,
        id: PeerId,
        side: Side,
        family: Family,
    ) -> impl Iterator<Item = SourceKey> + '_ {
        self.of_peer(id)
            .filter(move |key| Side::of(key.rib) == side && key.family == family)
    }

    /// The same Adj-RIB by each other feed.
    pub(super) fn beside(
        &self,
        key: SourceKey,
        feeds: impl Iterator<Item = FeedId>,
    ) -> impl Iterator<Item = &Source> {
        feeds
            .filter(move |feed| *feed != key.feed)
            .filter_map(move |feed| self.get(SourceKey { feed, ..key }))
    }

    /// A poll has received an Adj-RIB in full: does another of these feeds report something else, for the second time?
    pub(super) fn compare(
        &mut self,
        key: SourceKey,
        feeds: impl Iterator<Item = FeedId>,
    ) -> Option<Disagreement> {
        let differing = {
            let beside = self.beside(key, feeds);
            compare(self.get(key)?, beside)?
        };
        self.differences.entry(key).or_default().seen(differing)
    }
}
