//! Which peers have to be looked at: those whose state may have changed, and those whose tables have; and what changed in
//! these. Decides nothing.
use std::collections::BTreeSet;

use super::changes::Changes;
use crate::route::PeerId;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Pending {
    /// Their tables, classes or mode may have changed.
    dirty: BTreeSet<PeerId>,
    /// What is known of them, and so what they are granted, may have changed.
    unsettled: BTreeSet<PeerId>,
    /// How the valid prefixes changed, to be taken.
    pub(super) changes: Changes,
}

impl Pending {
    /// Everything of these peers is new.
    pub(super) fn all(peers: impl Iterator<Item = PeerId>) -> Self {
        let peers: BTreeSet<PeerId> = peers.collect();
        Self {
            dirty: peers.clone(),
            unsettled: peers,
            changes: Changes::default(),
        }
    }

    /// The peer's tables, classes or mode changed.
    pub(super) fn publish(&mut self, id: PeerId) {
        self.dirty.insert(id);
    }

    /// What the peer is granted may change.
    pub(super) fn settle(&mut self, id: PeerId) {
        self.unsettled.insert(id);
    }

    /// What these peers are granted may change.
    pub(super) fn settle_all(&mut self, ids: impl IntoIterator<Item = PeerId>) {
        self.unsettled.extend(ids);
    }

    pub(super) fn take_unsettled(&mut self) -> BTreeSet<PeerId> {
        std::mem::take(&mut self.unsettled)
    }

    pub(super) fn take_dirty(&mut self) -> BTreeSet<PeerId> {
        std::mem::take(&mut self.dirty)
    }

    pub(super) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    pub(super) fn is_dirty(&self, id: PeerId) -> bool {
        self.dirty.contains(&id)
    }
}
