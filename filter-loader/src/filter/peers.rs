//! The peers of a filter: their slots and where their frames come from. Never knows what is in a table.
use std::collections::{BTreeMap, BTreeSet};

use filter_core::layout::{
    Families, Known, MAX_INTERFACES, PeerKey, Rules, SlotStation, Station, Wanted, map,
};
use filter_core::set::PrefixSet;

use super::{Filter, SELF_TEST, name_hash};
use crate::error::Error;
use crate::slot::{Identity, PeerSlot};
use crate::tables::PeerTables;

impl Filter {
    /// A slot for the peer of this name: the one it had before, or a fresh one with counters at zero.
    ///
    /// # Errors
    /// [`Error::TooManyPeers`], map errors.
    pub fn add_peer(&mut self, name: &str) -> Result<PeerSlot, Error> {
        let limit = self.max_slots - MAX_INTERFACES;
        let full = || Error::TooManyPeers {
            name: name.to_owned(),
            limit,
        };
        let slot = self
            .take_slot(name, MAX_INTERFACES..self.max_slots)
            .ok_or_else(full)??;
        name.clone_into(&mut self.tested.entry(slot).or_default().name);
        Ok(PeerSlot(slot))
    }

    /// Says who the peer of this slot is. If an earlier process, or specification, meant another by its name, nothing of
    /// that one is left: not what is wanted for it, and not its table; its counters stay if the two are one network. Its
    /// stations stay until others are set. What the operator allows goes by the name, and stays. Returns whether it was
    /// another.
    ///
    /// # Errors
    /// Map errors.
    pub fn identify(&mut self, peer: PeerSlot, identity: Identity) -> Result<bool, Error> {
        let meta = self.meta()?;
        let [name, word] = meta.get(&peer.0, 0).map_err(Error::map(map::META))?;
        let before = Identity::from_word(word);
        if before == identity {
            return Ok(false);
        }
        self.switch.want(peer.0, Wanted::NONE);
        self.forget_watch(peer)?;
        self.tables.retire(peer.0)?;
        self.tested.entry(peer.0).or_default().retire();
        if !before.is_same_network(identity) {
            self.clear_counters(peer.0)?;
        }
        self.meta()?
            .set(peer.0, [name, identity.word()], 0)
            .map_err(Error::map(map::META))?;
        Ok(word != 0)
    }

    /// Has a peer of this name a slot already, with all that was kept under it?
    #[must_use]
    pub fn knows_peer(&self, name: &str) -> bool {
        let hash = name_hash(name);
        let mut peers = self.names.range(MAX_INTERFACES..);
        peers.any(|(_, &held)| held == hash)
    }

    /// Gives back the slots of all peers but those of these names, and returns them.
    ///
    /// # Errors
    /// Map errors.
    pub fn keep_only_peers(&mut self, names: &[&str]) -> Result<Vec<PeerSlot>, Error> {
        let kept: Vec<u64> = names.iter().map(|name| name_hash(name)).collect();
        let peers = self.names.range(MAX_INTERFACES..);
        let gone: Vec<PeerSlot> = peers
            .filter(|(_, held)| !kept.contains(held))
            .map(|(&slot, _)| PeerSlot(slot))
            .collect();
        for &peer in &gone {
            self.remove_peer(peer)?;
        }
        Ok(gone)
    }

    /// Forgets a peer: first what is wanted for it, then its stations, then its table, then its name.
    ///
    /// # Errors
    /// Map errors.
    pub fn remove_peer(&mut self, peer: PeerSlot) -> Result<(), Error> {
        self.switch.want(peer.0, Wanted::NONE);
        self.set_stations(peer, &[])?;
        self.forget_watch(peer)?;
        self.tables.retire(peer.0)?;
        self.tested.remove(&peer.0);
        self.names.remove(&peer.0);
        self.meta()?
            .set(peer.0, [0, 0], 0)
            .map_err(Error::map(map::META))
    }

    /// Peers of an earlier process that none of these names belongs to.
    #[must_use]
    pub fn orphans(&self, known: &[PeerSlot]) -> Vec<PeerSlot> {
        let peers = self
            .names
            .range(MAX_INTERFACES..)
            .map(|(&slot, _)| PeerSlot(slot));
        peers.filter(|slot| !known.contains(slot)).collect()
    }

    /// Says from where a peer's frames come: adds first, then removes what is no longer listed.
    ///
    /// # Errors
    /// [`Error::StationTaken`] if another peer holds one of them, [`Error::NoRecord`] if its interface is not set:
    /// nothing is changed then; map errors.
    pub fn set_stations(&mut self, peer: PeerSlot, stations: &[Station]) -> Result<(), Error> {
        let wanted: Result<Vec<PeerKey>, Error> = stations
            .iter()
            .map(|station| self.key_of(station))
            .collect();
        let wanted = wanted?;
        for (station, key) in stations.iter().zip(&wanted) {
            if let Some(&owner) = self
                .stations
                .known()
                .get(key)
                .filter(|&&owner| owner >= MAX_INTERFACES && owner != peer.0)
            {
                return Err(Error::StationTaken {
                    mac: station.mac,
                    owner: PeerSlot(owner),
                });
            }
        }
        for key in &wanted {
            self.stations.insert(key, peer.0)?;
        }
        let held = self.stations.known().iter();
        let gone: Vec<PeerKey> = held
            .filter(|&(key, &owner)| owner == peer.0 && !wanted.contains(key))
            .map(|(key, _)| *key)
            .collect();
        self.stations.remove(&gone)
    }

    /// Says from where every peer's frames come, all at once: a station that changes from one peer to
    /// another has a peer all the while. `contested` ones are no peer's, and their frames are not judged: they count as
    /// `unjudged` on their interface.
    /// Stations of whoever is not listed go. Those on an interface that is not set yet are left out, and keep no other
    /// station waiting; returns how many: assign again once the interface is set.
    ///
    /// # Errors
    /// Map errors; [`Error::TableTooLarge`] if there is no room to say that frames of a contested station are not judged: it
    /// has no peer then, and all others are as they should be.
    pub fn assign_stations(
        &mut self,
        stations: &BTreeMap<Station, PeerSlot>,
        contested: &BTreeSet<Station>,
    ) -> Result<usize, Error> {
        let place = |station| self.key_of(station).ok();
        let unjudged: BTreeSet<PeerKey> = contested.iter().filter_map(place).collect();
        let placed = stations
            .iter()
            .filter_map(|(station, slot)| Some((place(station)?, slot.0)));
        let mut wanted: BTreeMap<PeerKey, u32> = placed.collect();
        let mut made = Ok(());
        for key in unjudged {
            let interface = SlotStation::from_key(&key).slot;
            match self.know_nothing(interface) {
                Ok(()) => _ = wanted.entry(key).or_insert(interface),
                Err(error) => made = Err(error), // what fills the memory costs no peer its stations
            }
        }
        let left_out = (stations.len() + contested.len()).saturating_sub(wanted.len());
        for (key, &slot) in &wanted {
            self.stations.insert(key, slot)?;
        }
        let held = self.stations.known().iter();
        let gone: Vec<PeerKey> = held
            .filter(|&(key, &slot)| slot != SELF_TEST && !wanted.contains_key(key))
            .map(|(key, _)| *key)
            .collect();
        self.stations.remove(&gone)?;
        made.map(|()| left_out)
    }

    /// The interface's own slot answers for stations whose peer is not known: of all families, and of neither side anything.
    fn know_nothing(&mut self, interface: u32) -> Result<(), Error> {
        if self.tables.generation(interface).is_some() {
            return Ok(());
        }
        let nothing = PrefixSet::default();
        let table = PeerTables {
            rules: Rules {
                families: Families::ALL,
                known: Known::NONE,
            },
            generation: 1,
            sources: &nothing,
            destinations: &nothing,
        };
        let staged = self.tables.stage(interface, None, &table);
        staged.map_err(|error| error.of("contested macs"))?;
        self.tables.commit()
    }

    /// From where each peer's frames come now, also as an earlier process left it; without those on interfaces that
    /// nothing leads to.
    pub fn stations(&self) -> impl Iterator<Item = (Station, PeerSlot)> {
        let all = self.stations.known().iter();
        let of_peers = all.filter(|&(_, &slot)| slot >= MAX_INTERFACES);
        of_peers.filter_map(|(key, &slot)| {
            let held = SlotStation::from_key(key);
            let ifindex = *self.indices.get(&held.slot)?;
            Some((held.on(ifindex), PeerSlot(slot)))
        })
    }

    /// The stations whose frames are not judged, because nobody knows which peer's they are.
    pub fn contested(&self) -> impl Iterator<Item = Station> {
        let all = self.stations.known().iter();
        all.filter_map(|(key, &slot)| {
            let held = SlotStation::from_key(key);
            let ifindex = *self.indices.get(&held.slot)?;
            (slot == held.slot).then(|| held.on(ifindex))
        })
    }

    /// The key of a station in the peer hash.
    pub(super) fn key_of(&self, station: &Station) -> Result<PeerKey, Error> {
        let mut indices = self.indices.iter();
        let found = indices.find(|&(_, &ifindex)| ifindex == station.ifindex);
        let (&slot, _) = found.ok_or(Error::NoRecord(station.ifindex))?;
        Ok(station.place(slot).key())
    }
}
