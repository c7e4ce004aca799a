//! Every counter, by the names of the specification, for whoever keeps a history. Only reads.
use filter_loader::Counters;

use crate::Engine;

/// The counters of a peer or an interface; none if they cannot be read.
#[derive(Clone, Debug)]
pub struct Counted {
    /// Its name.
    pub name: String,
    /// Since the filter was loaded.
    pub counters: Option<Counters>,
}

impl Engine {
    /// Of each peer, in the order of the specification.
    pub fn peer_counters(&self) -> impl Iterator<Item = Counted> + '_ {
        self.slots.iter().map(|(id, slot)| Counted {
            name: self.fitted.spec().peers[id.0 as usize].name.clone(),
            counters: self.filter.counters(slot).ok(),
        })
    }

    /// Of each interface, for frames of no peer.
    pub fn interface_counters(&self) -> impl Iterator<Item = Counted> + '_ {
        self.fitted.spec().interfaces.iter().map(|each| Counted {
            name: each.name.clone(),
            counters: self.filter.interface_counters(&each.name).ok(),
        })
    }
}
