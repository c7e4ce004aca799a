//! What limits froze, by the peers' names: what nothing but is to count after a restart or a reload, until the feeds have
//! shown that the peer is within its limits. Never decides what is frozen.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use filter_core::{Family, Prefix};
use filter_lifecycle::route::PeerId;
use filter_lifecycle::{Coverage, KeptCoverage, Measure};
use filter_loader::PeerSlot;

use crate::Engine;

/// Prefixes that are kept of all peers together that `max_prefixes` froze, as many of those that their coverage did, and as
/// many of all others; and measures of all peers. Peers with few come first; what of a peer does not fit is not kept.
pub const MAX_FROZEN: usize = 65_536;

/// By peer: its last good sources.
pub type Frozen = BTreeMap<String, Vec<Prefix>>;

/// By peer: what growth of its sources is measured against.
pub type Measures = BTreeMap<String, Vec<Measure>>;

impl Engine {
    /// What `max_prefixes` froze, to be kept with [`Engine::switched`].
    #[must_use]
    pub fn frozen(&self) -> Frozen {
        self.as_fits(|id| self.lifecycle.frozen(id).into_iter().collect())
    }

    /// What is frozen because of how much it covers, to be kept likewise.
    #[must_use]
    pub fn too_wide(&self) -> Frozen {
        self.as_fits(|id| self.lifecycle.too_wide(id))
    }

    /// The last good sources of what nothing froze: what it freezes to, if it covers too much after a restart.
    #[must_use]
    pub fn good_sources(&self) -> Frozen {
        let peers = self.fitted.spec().peer_ids();
        // Counted first: of tables that do not fit no list is made.
        let mut counted: Vec<(usize, PeerId, &str)> = peers
            .map(|(id, peer)| (self.lifecycle.good_ranges(id), id, peer.name.as_str()))
            .filter(|(ranges, ..)| *ranges > 0)
            .collect();
        counted.sort_unstable();
        let mut room = MAX_FROZEN;
        let fits = counted.into_iter().take_while(|(ranges, ..)| {
            let left = room.checked_sub(*ranges);
            room = left.unwrap_or(0);
            left.is_some()
        });
        let good = fits.map(|(_, id, name)| (name.to_owned(), self.lifecycle.good_sources(id)));
        as_fits(good.collect())
    }

    /// What growth of each peer's sources is measured against, to be kept likewise.
    #[must_use]
    pub fn measures(&self, now: Duration) -> Measures {
        let peers = self.fitted.spec().peer_ids();
        let each = peers.map(|(id, peer)| (peer.name.clone(), self.lifecycle.measures(now, id)));
        as_fits(each.filter(|(_, measures)| !measures.is_empty()).collect())
    }

    /// Of each peer and family the most that growth is measured against, as a power of two: another one is worth keeping.
    #[must_use]
    pub fn measured_steps(&self, now: Duration) -> Vec<[Option<u32>; 2]> {
        let peers = self.fitted.spec().peer_ids();
        let most = peers.map(|(id, _)| self.lifecycle.most_stood(now, id));
        most.map(|most| most.map(u128::checked_ilog2)).collect()
    }

    fn as_fits(&self, good: impl Fn(PeerId) -> Vec<Prefix>) -> Frozen {
        let peers = self.fitted.spec().peer_ids();
        let good = peers.map(|(id, peer)| (peer.name.clone(), good(id)));
        as_fits(good.filter(|(_, good)| !good.is_empty()).collect())
    }

    /// An operator says that what a peer grew to is right, however much it covers. Returns the families of which that is
    /// true: none, if none was frozen for it.
    pub fn accept_growth(&mut self, id: PeerId) -> Vec<Family> {
        self.lifecycle.accept_growth(id)
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
            let found = self.fitted.spec().peer_named(&name).map(|(id, _)| id);
            if let Some(id) = found.filter(|id| !replaced.contains(&self.slots.of(*id))) {
                self.lifecycle.restore_coverage(id, coverage);
            }
        }
    }

    /// What an earlier process kept of [`Engine::frozen`], [`Engine::too_wide`], [`Engine::good_sources`] and
    /// [`Engine::measures`] stays so, of peers that are the same still.
    pub(crate) fn recall_frozen(&mut self, now: Duration, replaced: &BTreeSet<PeerSlot>) {
        let frozen = std::mem::take(&mut self.switched.frozen);
        self.restore_frozen(&frozen, replaced);
        let mut kept: BTreeMap<String, KeptCoverage> = BTreeMap::new();
        for (name, frozen) in std::mem::take(&mut self.switched.too_wide) {
            kept.entry(name).or_default().frozen = frozen;
        }
        for (name, good) in std::mem::take(&mut self.switched.good_sources) {
            kept.entry(name).or_default().good = good;
        }
        for (name, measures) in std::mem::take(&mut self.switched.measures) {
            kept.entry(name).or_default().measures = measures;
        }
        let kept = kept.into_iter();
        let coverages = kept.map(|(name, kept)| (name, Coverage::recalled(now, kept)));
        self.restore_coverages(coverages.collect(), replaced);
    }

    /// What was frozen before stays so, of peers that are the same still.
    pub(crate) fn restore_frozen(&mut self, frozen: &Frozen, replaced: &BTreeSet<PeerSlot>) {
        for (name, good) in frozen {
            let found = self.fitted.spec().peer_named(name).map(|(id, _)| id);
            if let Some(id) = found.filter(|id| !replaced.contains(&self.slots.of(*id))) {
                self.lifecycle.restore_frozen(id, good.iter().copied());
            }
        }
    }
}

/// Those that fit, the smallest first: a peer with many costs no other its freeze.
fn as_fits<T>(mut peers: Vec<(String, Vec<T>)>) -> BTreeMap<String, Vec<T>> {
    peers.sort_by_key(|(_, good)| good.len());
    let mut room = MAX_FROZEN;
    let fits = |(_, good): &(String, Vec<T>)| {
        let left = room.checked_sub(good.len());
        room = left.unwrap_or(0);
        left.is_some()
    };
    peers.into_iter().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_with_many_costs_no_other_its_freeze() {
        let prefix: Prefix = "10.0.0.0/8".parse().unwrap();
        let peer = |name: &str, prefixes| (name.to_owned(), vec![prefix; prefixes]);
        let kept = |peers| as_fits(peers).into_keys().collect::<Vec<_>>();
        let (a, b, c) = (
            peer("a", MAX_FROZEN),
            peer("b", 1),
            peer("c", MAX_FROZEN - 1),
        );
        assert_eq!(kept(vec![a.clone(), b, c]), ["b", "c"]);
        assert_eq!(kept(vec![a]), ["a"]);
    }
}
