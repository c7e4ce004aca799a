//! The interfaces of a filter: their records, and how they go again with all that is attached to them.
//! Never knows a peer's table.
use std::collections::{BTreeMap, BTreeSet};

use aya::maps::{Array, HashMap, MapData};
use filter_core::layout::{
    MAX_INTERFACES, NEAR_IFINDEX, PeerKey, SlotStation, Wanted, from_interface_entry,
    interface_entry, map,
};
use filter_core::packet::Vlans;

use super::{Filter, SELF_TEST, TEST_IFINDEX, name_hash};
use crate::attach::Attached;
use crate::device::{Device, InterfaceSpec};
use crate::error::Error;
use crate::object::Shell;
use crate::pin::{PinDir, attached_in};

impl Filter {
    /// The index of the device that an earlier process attached under this name, and the number of the program there; none
    /// if no link is left of it.
    #[must_use]
    pub fn left_on(&self, name: &str) -> Option<(u32, u32)> {
        let ifindex = *self.indices.get(&self.interface_slot(name)?)?;
        let program = self.pins.as_ref()?.program_of(name)?;
        Some((ifindex, program))
    }

    /// Has an interface of this name a slot already, with all that was kept under it?
    #[must_use]
    pub fn knows_interface(&self, name: &str) -> bool {
        self.interface_slot(name).is_some()
    }

    /// Lets go of every interface but these, also of what an earlier process left, attached or not.
    ///
    /// # Errors
    /// [`Error::Pin`], map errors: the first that occurs; the rest is still let go.
    pub fn keep_only(&mut self, names: &[&str]) -> Result<(), Error> {
        let pinned = match &self.pins {
            Some(pins) => attached_in(pins.path())?,
            None => Vec::new(),
        };
        let hooked: Vec<String> = self.hooks.keys().cloned().collect();
        let gone: BTreeSet<String> = pinned
            .into_iter()
            .chain(hooked)
            .chain(self.formers()?)
            .filter(|name| !names.contains(&name.as_str()))
            .collect();
        let mut done: Vec<Result<(), Error>> = gone.iter().map(|name| self.let_go(name)).collect();
        let kept: Vec<u64> = names.iter().map(|name| name_hash(name)).collect();
        let interfaces = self.names.range(..SELF_TEST);
        let orphans: Vec<u32> = interfaces
            .filter(|(_, held)| !kept.contains(held))
            .map(|(&slot, _)| slot)
            .collect();
        done.extend(orphans.into_iter().map(|slot| self.forget_interface(slot)));
        done.push(self.remove_left_filters(names));
        done.into_iter().collect()
    }

    /// Detaches the program from an interface, whether this process attached it or an earlier one.
    fn let_go(&mut self, name: &str) -> Result<(), Error> {
        // What cannot be taken off is still held, and can be tried once more.
        self.let_go_of_former(name)?;
        if let Some(hook) = self.hooks.get(name) {
            hook.take_off()?;
        }
        if let Some(pins) = &self.pins {
            pins.detach(name)?;
        }
        self.hooks.remove(name);
        self.at_tc.remove(name);
        match self.interface_slot(name) {
            Some(slot) => self.forget_interface(slot),
            None => Ok(()),
        }
    }

    /// Did this name have this index when its record was last written?
    pub(super) fn is_known(&mut self, device: &Device, name: &str) -> Result<bool, Error> {
        let Some(slot) = self.interface_slot(name) else {
            return Ok(false);
        };
        let (_, held) = from_interface_entry(self.entry(device.ifindex)?);
        Ok(held == slot)
    }

    /// Writes or replaces what the program knows of the interface with this index. A packet sees the old
    /// record or the new one.
    ///
    /// # Errors
    /// [`Error::InterfaceRecord`], [`Error::TooManyInterfaces`], [`Error::TooManyTags`],
    /// [`Error::TooManyFarIndices`], map errors.
    pub fn set_interface(&mut self, ifindex: u32, spec: &InterfaceSpec) -> Result<(), Error> {
        let record = spec
            .record()?
            .counted_at_tc(self.is_at_tc(ifindex, &spec.name));
        let mut networks = spec.network_records()?;
        let slot = self
            .take_slot(&spec.name, 1..SELF_TEST)
            .ok_or_else(|| Error::TooManyInterfaces(spec.name.clone()))??;
        let (now, _) = from_interface_entry(self.entry(ifindex)?);
        // Each interface has two places for its records; the one that is not in use is written, then named.
        let place = if now == slot {
            slot + MAX_INTERFACES
        } else {
            slot
        };
        let untagged = networks.remove(&Vlans::NONE).unwrap_or_default();
        self.write_records(place, &record, &untagged)?;
        self.set_tagged(slot, &spec.name, &networks)?;
        // Also for the members of a bond, before the place they lead to is written again.
        let mut leading = self.leading_to(slot);
        leading.insert(ifindex);
        for index in leading {
            self.lead(index, interface_entry(place, slot), &spec.name)?;
        }
        self.set_index(slot, ifindex)?;
        self.specs.insert(ifindex, spec.clone());
        Ok(())
    }

    /// Are packets that pass counted at tc?
    fn is_at_tc(&self, ifindex: u32, name: &str) -> bool {
        match ifindex {
            TEST_IFINDEX => self.tested_at != Shell::Xdp,
            _ => self.at_tc.contains(name),
        }
    }

    /// Says which devices' frames come in with an index of their own and belong to this interface all the same: the
    /// members of a bond. Others that were said before lead nowhere any more.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`] if it has no record, [`Error::TooManyFarIndices`], map errors.
    pub fn set_members(&mut self, name: &str, members: &[u32]) -> Result<(), Error> {
        let unknown = || Error::UnknownInterface(name.to_owned());
        let slot = self.interface_slot(name).ok_or_else(unknown)?;
        let ifindex = *self.indices.get(&slot).ok_or_else(unknown)?;
        let entry = self.entry(ifindex)?;
        for &member in members {
            self.lead(member, entry, name)?;
        }
        for index in self.leading_to(slot) {
            if index != ifindex && !members.contains(&index) {
                self.set_entry(index, 0)?;
            }
        }
        Ok(())
    }

    fn lead(&mut self, index: u32, entry: u32, name: &str) -> Result<(), Error> {
        let set = self.set_entry(index, entry);
        set.map(drop).map_err(|error| match error {
            Error::Map { map, .. } if map == map::FAR_INTERFACES => Error::TooManyFarIndices {
                name: name.to_owned(),
                index,
            },
            error => error,
        })
    }

    /// The indices that lead to an interface's record.
    fn leading_to(&self, slot: u32) -> BTreeSet<u32> {
        let leading = self.leading.iter().filter(|&(_, &held)| held == slot);
        leading.map(|(&index, _)| index).collect()
    }

    /// What an earlier process left of indices and tags.
    pub(super) fn adopt_interfaces(&mut self, pins: Option<&PinDir>) -> Result<(), Error> {
        let tagged: Result<BTreeMap<u64, u32>, _> = self.tags()?.iter().collect();
        self.tagged = tagged.map_err(Error::map(map::TAGS))?;
        let mut indices = BTreeMap::new();
        let meta = self.meta()?;
        for slot in 1..SELF_TEST {
            let [name, index] = meta.get(&slot, 0).map_err(Error::map(map::META))?;
            if name != 0 && index != 0 {
                indices.insert(slot, index as u32);
            }
        }
        if let Some(pins) = pins {
            pins.remove_next_links()?;
            let links = attached_in(pins.path())?.into_iter();
            self.at_tc = links.filter(|name| pins.is_at_tc(name)).collect();
        }
        self.leading = match indices.is_empty() {
            true => BTreeMap::new(),
            false => self.read_leading()?,
        };
        self.indices = indices;
        Ok(())
    }

    /// Every index that leads to a record.
    fn read_leading(&mut self) -> Result<BTreeMap<u32, u32>, Error> {
        let near: Array<_, u32> = self.map_mut(map::INTERFACE_SLOTS)?;
        let mut leading = BTreeMap::new();
        for (index, entry) in (0..).zip(near.iter()) {
            let entry = entry.map_err(Error::map(map::INTERFACE_SLOTS))?;
            leading.insert(index, entry);
        }
        let far: HashMap<_, u32, u32> = self.hash_mut(map::FAR_INTERFACES)?;
        for entry in far.iter() {
            let (index, entry) = entry.map_err(Error::map(map::FAR_INTERFACES))?;
            leading.insert(index, entry);
        }
        leading.retain(|&index, entry| *entry != 0 && index != TEST_IFINDEX);
        let slots = leading.into_iter();
        Ok(slots
            .map(|(index, entry)| (index, from_interface_entry(entry).1))
            .collect())
    }

    /// Notes the index of an interface for the next process; an index it had before leads nowhere any more.
    fn set_index(&mut self, slot: u32, ifindex: u32) -> Result<(), Error> {
        match self.indices.insert(slot, ifindex) {
            Some(same) if same == ifindex => return Ok(()),
            Some(before) => {
                self.set_entry(before, 0)?;
                self.specs.remove(&before);
            }
            None => {}
        }
        let mut meta = self.meta()?;
        let [name, _] = meta.get(&slot, 0).map_err(Error::map(map::META))?;
        meta.set(slot, [name, u64::from(ifindex)], 0)
            .map_err(Error::map(map::META))
    }

    /// What the program knows of an index.
    fn entry(&mut self, ifindex: u32) -> Result<u32, Error> {
        if ifindex > NEAR_IFINDEX {
            let far: HashMap<_, u32, u32> = self.hash_mut(map::FAR_INTERFACES)?;
            return match far.get(&ifindex, 0) {
                Ok(entry) => Ok(entry),
                Err(aya::maps::MapError::KeyNotFound) => Ok(0),
                Err(error) => Err(Error::map(map::FAR_INTERFACES)(error)),
            };
        }
        let near: Array<_, u32> = self.map_mut(map::INTERFACE_SLOTS)?;
        near.get(&ifindex, 0)
            .map_err(Error::map(map::INTERFACE_SLOTS))
    }

    /// Says what the program is to know of an index, and returns what it knew.
    pub(super) fn set_entry(&mut self, ifindex: u32, entry: u32) -> Result<u32, Error> {
        let before = self.entry(ifindex)?;
        if ifindex > NEAR_IFINDEX {
            let mut far: HashMap<_, u32, u32> = self.hash_mut(map::FAR_INTERFACES)?;
            let set = match entry {
                0 if before == 0 => Ok(()),
                0 => far.remove(&ifindex),
                entry => far.insert(ifindex, entry, 0),
            };
            set.map_err(Error::map(map::FAR_INTERFACES))?;
        } else {
            let mut near: Array<_, u32> = self.map_mut(map::INTERFACE_SLOTS)?;
            near.set(ifindex, entry, 0)
                .map_err(Error::map(map::INTERFACE_SLOTS))?;
        }
        if entry == 0 {
            self.leading.remove(&ifindex);
        } else if ifindex != TEST_IFINDEX {
            self.leading.insert(ifindex, from_interface_entry(entry).1);
        }
        Ok(before)
    }

    pub(super) fn hash_mut<K: aya::Pod, V: aya::Pod>(
        &mut self,
        name: &'static str,
    ) -> Result<HashMap<&mut MapData, K, V>, Error> {
        let missing = || Error::Map {
            map: name,
            why: "the object has no such map".to_owned(),
        };
        HashMap::try_from(self.ebpf.map_mut(name).ok_or_else(missing)?).map_err(Error::map(name))
    }

    /// Detaches from an interface and forgets its record, its counters and its peers' stations there.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`] if it is not attached; [`Error::Pin`], map errors.
    pub fn detach(&mut self, name: &str) -> Result<(), Error> {
        if !self.hooks.contains_key(name) && !self.formers()?.iter().any(|each| each == name) {
            return Err(Error::UnknownInterface(name.to_owned()));
        }
        self.let_go(name)
    }

    /// The program knows nothing of the interface any more: what comes in there is `no-record`.
    fn forget_interface(&mut self, slot: u32) -> Result<(), Error> {
        for index in self.leading_to(slot) {
            self.set_entry(index, 0)?;
            self.specs.remove(&index);
        }
        let known = self.stations.known().keys();
        let gone: Vec<PeerKey> = known
            .filter(|key| SlotStation::from_key(key).slot == slot)
            .copied()
            .collect();
        self.stations.remove(&gone)?;
        self.tables.retire(slot)?;
        self.set_tagged(slot, "", &BTreeMap::new())?;
        self.switch.want(slot, Wanted::NONE);
        self.indices.remove(&slot);
        self.release(slot)
    }

    /// Detaches everywhere and removes every pin.
    ///
    /// # Errors
    /// The first that occurs; the rest is still removed.
    pub fn detach_all(mut self) -> Result<(), Error> {
        let formers = self.formers()?;
        let names: BTreeSet<String> = self.hooks.keys().cloned().chain(formers).collect();
        let results: Vec<_> = names.iter().map(|name| self.detach(name)).collect();
        let unpinned = self
            .pins
            .take()
            .map_or(Ok(()), |pins| pins.remove_if_unused());
        results.into_iter().chain([unpinned]).collect()
    }

    /// Takes back what this process did before it failed to start: interfaces it attached itself go, links it
    /// took over stay, and so does what was pinned before.
    ///
    /// # Errors
    /// The first that occurs; the rest is still undone.
    pub fn undo(&mut self) -> Result<(), Error> {
        let own: Vec<String> = self
            .hooks
            .iter()
            .filter(|(_, hook)| !hook.was_there)
            .map(|(name, _)| name.clone())
            .collect();
        let results: Vec<_> = own.iter().map(|name| self.detach(name)).collect();
        let unpinned = self
            .pins
            .as_ref()
            .filter(|pins| pins.is_new())
            .map_or(Ok(()), PinDir::remove_if_unused);
        results.into_iter().chain([unpinned]).collect()
    }

    /// The attached interfaces and how.
    pub fn interfaces(&self) -> impl Iterator<Item = (&str, &Attached)> {
        let hooks = self.hooks.iter();
        hooks.map(|(name, hook)| (name.as_str(), &hook.attached))
    }

    pub(crate) fn interface_slot(&self, name: &str) -> Option<u32> {
        let hash = name_hash(name);
        let mut interfaces = self.names.range(..MAX_INTERFACES);
        interfaces
            .find(|&(_, &held)| held == hash)
            .map(|(&slot, _)| slot)
    }
}
