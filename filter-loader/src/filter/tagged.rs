//! The records of interfaces and of the networks behind their tags, at places that no packet reads before they are named.
//! Never knows a peer's table.
use std::collections::{BTreeMap, BTreeSet};

use aya::maps::{Array, HashMap, MapData};
use filter_core::layout::{
    Interface, MAX_INTERFACES, MAX_TAGGED_NETWORKS, Network, from_tags_key, map, tags_key,
};
use filter_core::packet::Vlans;

use super::Filter;
use crate::error::Error;

impl Filter {
    /// The record of an interface, and of its frames without tags, at a place that no packet reads.
    pub(super) fn write_records(
        &mut self,
        place: u32,
        record: &Interface,
        untagged: &Network,
    ) -> Result<(), Error> {
        let mut records: Array<_, [u64; Interface::WORDS]> = self.map_mut(map::INTERFACES)?;
        records
            .set(place, record.0, 0)
            .map_err(Error::map(map::INTERFACES))?;
        self.write_network(place, untagged)
    }

    fn write_network(&mut self, place: u32, network: &Network) -> Result<(), Error> {
        let mut networks: Array<_, [u64; Network::WORDS]> = self.map_mut(map::NETWORKS)?;
        networks
            .set(place, network.0, 0)
            .map_err(Error::map(map::NETWORKS))
    }

    /// Writes the networks behind an interface's tags, after those of other tags went: they make room. Each has two places,
    /// as interfaces do. Nothing is changed if there is no room.
    pub(super) fn set_tagged(
        &mut self,
        slot: u32,
        name: &str,
        networks: &BTreeMap<Vlans, Network>,
    ) -> Result<(), Error> {
        let held: Vec<u64> = self
            .tagged
            .range(tags_key(slot, Vlans::NONE)..tags_key(slot + 1, Vlans::NONE))
            .map(|(&key, _)| key)
            .collect();
        let elsewhere = self.tagged.len() - held.len();
        if elsewhere + networks.len() > MAX_TAGGED_NETWORKS as usize {
            return Err(Error::TooManyTags(name.to_owned()));
        }
        for key in held {
            if !networks.contains_key(&from_tags_key(key).1) {
                self.tags()?.remove(&key).map_err(Error::map(map::TAGS))?;
                self.tagged.remove(&key);
            }
        }
        for (&vlans, network) in networks {
            let key = tags_key(slot, vlans);
            let first = 2 * MAX_INTERFACES;
            let place = match self.tagged.get(&key) {
                Some(&place) => (place - first) ^ 1,
                None => {
                    2 * self
                        .free_tags()
                        .ok_or_else(|| Error::TooManyTags(name.to_owned()))?
                }
            };
            self.write_network(first + place, network)?;
            self.tags()?
                .insert(key, first + place, 0)
                .map_err(Error::map(map::TAGS))?;
            self.tagged.insert(key, first + place);
        }
        Ok(())
    }

    /// A pair of places that no tags have.
    fn free_tags(&self) -> Option<u32> {
        let used: BTreeSet<u32> = self
            .tagged
            .values()
            .map(|place| (place - 2 * MAX_INTERFACES) / 2)
            .collect();
        (0..MAX_TAGGED_NETWORKS).find(|pair| !used.contains(pair))
    }

    pub(super) fn tags(&mut self) -> Result<HashMap<&mut MapData, u64, u32>, Error> {
        self.hash_mut(map::TAGS)
    }
}
