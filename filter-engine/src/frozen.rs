//! What limits froze, by the peers' names: what nothing but is to count after a restart or a reload, until the feeds have
//! shown that the peer is within its limits. Never decides what is frozen.
use std::collections::{BTreeMap, BTreeSet};

use filter_core::Prefix;
use filter_lifecycle::Coverage;
use filter_loader::PeerSlot;

use crate::Engine;

/// Prefixes that are kept of all frozen peers together; a peer whose last good sources do not fit is not kept.
pub const MAX_FROZEN: usize = 65_536;

/// By peer: its last good sources.
pub type Frozen = BTreeMap<String, Vec<Prefix>>;

impl Engine {
    /// What limits have frozen, to be kept with [`Engine::switched`].
    #[must_use]
    pub fn frozen(&self) -> Frozen {
        let mut room = MAX_FROZEN;
        let mut frozen = Frozen::new();
        for (id, peer) in self.fitted.spec().peer_ids() {
            let good = self.lifecycle.frozen(id);
            if !good.is_empty() && good.len() <= room {
                room -= good.len();
                frozen.insert(peer.name.clone(), good.into_iter().collect());
            }
        }
        frozen
    }

    /// What growth of each peer's sources is measured against.
    pub(crate) fn coverages(&self) -> BTreeMap<String, Coverage> {
        let peers = self.fitted.spec().peer_ids();
        peers
            .map(|(id, peer)| (peer.name.clone(), self.lifecycle.coverage(id)))
            .collect()
    }

    /// That stays so, of peers that are the same still.
    pub(crate) fn restore_coverages(
        &mut self,
        coverages: BTreeMap<String, Coverage>,
        replaced: &BTreeSet<PeerSlot>,
    ) {
        for (name, coverage) in coverages {
            let found = self.fitted.spec().peer_named(&name);
            let found = found.map(|(id, _)| id);
            if let Some(id) = found.filter(|id| !replaced.contains(&self.slots.of(*id))) {
                self.lifecycle.restore_coverage(id, coverage);
            }
        }
    }

    /// What was frozen before stays so, of peers that are the same still.
    pub(crate) fn restore_frozen(&mut self, frozen: &Frozen, replaced: &BTreeSet<PeerSlot>) {
        for (name, good) in frozen {
            let found = self.fitted.spec().peer_named(name);
            let found = found.map(|(id, _)| id);
            if let Some(id) = found.filter(|id| !replaced.contains(&self.slots.of(*id))) {
                self.lifecycle.restore_frozen(id, good.iter().copied());
            }
        }
    }
}
