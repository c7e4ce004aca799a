//! Brings what was learned of the peers' MACs into the kernel, and tells of it. Reads the exchanges' member exports
//! when the daemon starts and when it reloads; never lets one that is no good stop either.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use filter_core::Mode;
use filter_loader::Station;

use super::Runtime;
use super::learning::Learned;
use crate::neighbours::ixf;
use crate::route::PeerId;
use crate::stations::Facts;

impl Runtime {
    /// Takes in what the neighbour table said since last asked.
    pub(super) fn take_neighbours(&mut self, now: Duration) {
        let mut changed = false;
        while let Ok(learned) = self.neighbours.try_recv() {
            let facts = Facts {
                config: &self.config,
                links: &self.links,
                enforced: &BTreeSet::new(),
            };
            match learned {
                Learned::Places(places) => self.stations.set_places(places),
                Learned::Events(events) => {
                    for event in &events {
                        changed |= self.stations.learn(&facts, event);
                    }
                }
            }
        }
        if changed || self.misplaced.is_some_and(|retry_at| retry_at <= now) {
            self.replace_stations(now);
        }
    }

    /// As [`Runtime::place_stations`]; tried again later if it fails.
    pub(super) fn replace_stations(&mut self, now: Duration) {
        match self.place_stations() {
            Ok(()) => self.misplaced = None,
            Err(error) => {
                if self.misplaced.is_none() {
                    self.journal.note("stations-failed", &error.to_string());
                }
                self.misplaced = Some(now + Duration::from_secs(1));
            }
        }
    }

    /// From where each peer's frames come, as configured and as learned.
    pub(super) fn place_stations(&mut self) -> Result<(), filter_loader::Error> {
        let enforced = self.enforced();
        let facts = Facts {
            config: &self.config,
            links: &self.links,
            enforced: &enforced,
        };
        let (wanted, events) = self.stations.settle(&facts);
        for event in &events {
            self.journal.station(&self.config, event);
        }
        let slots = wanted
            .into_iter()
            .map(|(station, id)| (station, self.peers[id.0 as usize].slot));
        self.filter.assign_stations(&slots.collect())
    }

    /// Reads the member exports anew.
    pub(super) fn read_exports(&mut self) {
        let mut exports = BTreeMap::new();
        for interface in &self.config.interfaces {
            let Some(path) = &interface.ixf else {
                continue;
            };
            let read = ixf::read(path);
            if let Err(error) = &read {
                let text = format!(
                    "interface {}: {error}; what it had seeded stays",
                    interface.name
                );
                log::warn!("{text}");
                self.journal.note("ixf-refused", &text);
            }
            exports.insert(interface.name.clone(), read.ok());
        }
        self.stations.seed(exports);
    }

    /// What an earlier process, or configuration, had learned.
    pub(super) fn inherit_stations(&mut self) {
        let slots: BTreeMap<_, PeerId> = (0..)
            .map(PeerId)
            .zip(&self.peers)
            .map(|(id, peer)| (peer.slot, id))
            .collect();
        let held = self.filter.stations();
        let held: Vec<(Station, PeerId)> = held
            .filter_map(|(station, slot)| Some((station, *slots.get(&slot)?)))
            .collect();
        self.stations.inherit(held);
    }

    /// Peers that are enforced, or will be as soon as they may.
    fn enforced(&self) -> BTreeSet<PeerId> {
        let now = self.now();
        let ids = self.config.peer_ids().map(|(id, _)| id);
        ids.filter(|&id| {
            let have = self.sync.have(self.peers[id.0 as usize].slot);
            have.is_some_and(|have| have.mode == Mode::Enforce)
                || self.lifecycle.status(now, id).mode == Mode::Enforce
        })
        .collect()
    }
}
