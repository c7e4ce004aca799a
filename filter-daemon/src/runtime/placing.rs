//! Brings what was learned of the peers' MACs into the kernel, and tells of it. Reads the exchanges' member exports
//! when the daemon starts and when it reloads; never lets one that is no good stop either.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::peering::{loader_station, station};
use filter_core::Mode;
use filter_lifecycle::stations::Station;

use super::Runtime;
use super::learning::Learned;
use filter_feeds::ixf;
use filter_lifecycle::route::PeerId;
use filter_lifecycle::stations::Facts;

impl Runtime {
    /// Takes in what the neighbour table said since last asked.
    pub(super) fn take_neighbours(&mut self, now: Duration) {
        let mut changed = false;
        while let Ok(learned) = self.neighbours.try_recv() {
            let facts = Facts {
                spec: &self.config.spec,
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
            spec: &self.config.spec,
            links: &self.links,
            enforced: &enforced,
        };
        let (wanted, events) = self.stations.settle(&facts);
        for event in &events {
            self.journal.station(&self.config, event);
        }
        let slots = wanted
            .into_iter()
            .map(|(station, id)| (loader_station(station), self.peers[id.0 as usize].slot));
        self.filter.assign_stations(&slots.collect())
    }

    /// Reads the member exports anew.
    pub(super) fn read_exports(&mut self) {
        let mut exports = BTreeMap::new();
        for (&id, path) in &self.config.exports {
            let interface = self.config.spec.interface(id);
            let name = interface.map_or("?", |interface| &interface.name);
            let read = ixf::read(path);
            if let Err(error) = &read {
                let text = format!("interface {name}: {error}; what it had seeded stays");
                log::warn!("{text}");
                self.journal.note("ixf-refused", &text);
            }
            exports.insert(name.to_owned(), read.ok());
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
            .filter_map(|(held, slot)| Some((self::station(held), *slots.get(&slot)?)))
            .collect();
        self.stations.inherit(held);
    }

    /// Peers that are enforced, or will be as soon as they may.
    fn enforced(&self) -> BTreeSet<PeerId> {
        let now = self.now();
        let ids = self.config.spec.peer_ids().map(|(id, _)| id);
        ids.filter(|&id| {
            let have = self.sync.have(self.peers[id.0 as usize].slot);
            have.is_some_and(|have| have.mode == Mode::Enforce)
                || self.lifecycle.status(now, id).mode == Mode::Enforce
        })
        .collect()
    }
}
