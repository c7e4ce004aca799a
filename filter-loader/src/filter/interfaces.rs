//! The interfaces of a filter: their records, what is attached to them, and how all of it goes again.
//! Never knows a peer's table.
use std::collections::{BTreeMap, BTreeSet};

use aya::maps::{Array, HashMap, MapData};
use filter_core::layout::{
    MAX_INTERFACES, NEAR_IFINDEX, PeerKey, SlotStation, Wanted, from_interface_entry,
    interface_entry, map,
};
use filter_core::packet::Vlans;

use super::{Filter, SELF_TEST, TEST_IFINDEX, name_hash};
use crate::attach::{self, AttachMode, Attached, Hook, HookKind};
use crate::device::{Device, InterfaceSpec};
use crate::error::Error;
use crate::object::Shell;
use crate::occupant::programs_at_tc;
use crate::pin::{PinDir, pinned_interfaces};

impl Filter {
    /// Attaches to an interface, after its record is in place. Taking over an earlier process's link counts
    /// as attaching.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`], [`Error::NotEthernet`], [`Error::Busy`], [`Error::Attach`] and map errors.
    pub fn attach(&mut self, spec: &InterfaceSpec, mode: AttachMode) -> Result<Attached, Error> {
        let device = Device::find(&spec.name)?;
        self.record(&device, spec, mode)?;
        self.hook(&device, &spec.name, mode)
    }

    /// As [`Filter::attach`], to a device that may have another name by now, and that has these members if it is a bond:
    /// they lead to its record before a packet can come in on one.
    ///
    /// # Errors
    /// As [`Filter::attach`] and [`Filter::set_members`]; nothing is attached then.
    pub fn attach_to(
        &mut self,
        device: &Device,
        spec: &InterfaceSpec,
        members: &[u32],
        mode: AttachMode,
    ) -> Result<Attached, Error> {
        self.record(device, spec, mode)?;
        self.set_members(&spec.name, members)?;
        self.hook(device, &spec.name, mode)
    }

    /// Writes the record of an interface that is to be attached.
    fn record(
        &mut self,
        device: &Device,
        spec: &InterfaceSpec,
        mode: AttachMode,
    ) -> Result<(), Error> {
        device.check(mode)?;
        if !self.is_known(device, &spec.name)? {
            self.at_tc.remove(&spec.name);
            // A link pinned under this name would be that of a device renamed since, or of another namespace.
            self.pins
                .as_ref()
                .map_or(Ok(()), |pins| pins.detach(&spec.name))?;
        }
        self.set_interface(device.ifindex, spec)
    }

    fn hook(&mut self, device: &Device, name: &str, mode: AttachMode) -> Result<Attached, Error> {
        if let Some(held) = self.hooks.get(name).map(|hook| &hook.attached)
            && self.pins.is_none()
            && held.kind.is_tc()
            && programs_at_tc(device.ifindex).is_some_and(|all| all.contains(&held.program))
        {
            return Ok(held.clone()); // once more, it would be there twice
        }
        let adopted = attach::adopt(&mut self.hands(), device, name);
        let hook = match adopted {
            Some(hook) => hook,
            None => {
                let fresh = self.attach_new(device, name, mode)?;
                fresh.keep(device, name, self.pins.as_ref(), false)?
            }
        };
        self.count_at(device.ifindex, name, hook.attached.kind)?;
        Ok(self.hold(name, hook))
    }

    const fn hands(&mut self) -> attach::Hands<'_> {
        attach::Hands {
            ebpf: &mut self.ebpf,
            programs: self.programs,
            pins: self.pins.as_ref(),
        }
    }

    /// Attaches where nothing of ours is. Packets that pass are counted at tc before the program is there, if that is where
    /// it must go, so that none is missed.
    fn attach_new(
        &mut self,
        device: &Device,
        name: &str,
        mode: AttachMode,
    ) -> Result<attach::Fresh, Error> {
        let is_tc = match mode {
            AttachMode::Tc => true,
            AttachMode::Auto => attach::prefers_tc(device).is_some(),
            AttachMode::Native | AttachMode::Generic => false,
        };
        if is_tc {
            self.count_at(device.ifindex, name, HookKind::Tc)?;
        }
        attach::attach_new(&mut self.hands(), device, mode)
    }

    fn hold(&mut self, name: &str, hook: Hook) -> Attached {
        let (attached, is_filter) = (hook.attached.clone(), hook.is_filter());
        if let Some(former) = self.hooks.insert(name.to_owned(), hook) {
            self.take_off(name, former, is_filter);
        }
        attached
    }

    /// Takes the program off the hook where it was before it came to another, where a filter keeps it or a link does.
    fn take_off(&self, name: &str, former: Hook, is_filter: bool) {
        if let Some(pins) = &self.pins
            && former.is_filter() != is_filter
        {
            // Of a link the pin was replaced. What cannot be removed is found, and let go, by the next process.
            _ = match is_filter {
                true => pins.remove_link(name),
                false => pins.remove_filter(name),
            };
        }
        former.remove();
    }

    /// Says at which hook packets that pass are counted.
    fn count_at(&mut self, ifindex: u32, name: &str, kind: HookKind) -> Result<(), Error> {
        let is_new = match kind.is_tc() {
            true => self.at_tc.insert(name.to_owned()),
            false => self.at_tc.remove(name),
        };
        match self.specs.get(&ifindex).cloned() {
            Some(spec) if is_new => self.set_interface(ifindex, &spec),
            _ => Ok(()),
        }
    }

    /// Moves the program of an interface to another hook. Between XDP and tc it is on both for a moment, so that no packet
    /// goes by unjudged; between the two modes of XDP it is taken off and put there again, since a device has one of them.
    /// If the device refuses, it stays where it is, and the refusal is returned.
    ///
    /// # Errors
    /// As [`Filter::attach`].
    pub fn attach_otherwise(
        &mut self,
        device: &Device,
        name: &str,
        mode: AttachMode,
    ) -> Result<Attached, Error> {
        let unknown = || Error::UnknownInterface(name.to_owned());
        let hook = self.hooks.get(name).ok_or_else(unknown)?;
        let (now, was_there) = (hook.attached.kind, hook.was_there);
        let to_xdp = match mode {
            AttachMode::Native | AttachMode::Generic => true,
            AttachMode::Auto => attach::prefers_tc(device).is_none(),
            AttachMode::Tc => false,
        };
        let fresh = match (now, mode) {
            (HookKind::Tc, AttachMode::Tc) => return Ok(hook.attached.clone()),
            // Never twice at tc: a packet would be counted twice.
            (HookKind::Tc, AttachMode::Auto) => {
                match attach::try_early(&mut self.hands(), device)? {
                    Ok(fresh) => fresh,
                    Err(why) => return Ok(self.stays_for(name, why)?.clone()),
                }
            }
            (HookKind::Tc, _) => attach::attach_new(&mut self.hands(), device, mode)?,
            (now, mode) if to_xdp => {
                return self.change_xdp(device, name, mode, other_xdp(now, mode), was_there);
            }
            _ => attach::attach_new(&mut self.hands(), device, mode)?,
        };
        self.count_at(device.ifindex, name, fresh.kind())?;
        let hook = fresh.keep(device, name, self.pins.as_ref(), was_there)?;
        Ok(self.hold(name, hook))
    }

    /// It is where it was, for this reason.
    fn stays_for(&mut self, name: &str, why: String) -> Result<&Attached, Error> {
        let hook = self.hooks.get_mut(name);
        let hook = hook.ok_or_else(|| Error::UnknownInterface(name.to_owned()))?;
        hook.attached.why = why;
        Ok(&hook.attached)
    }

    fn change_xdp(
        &mut self,
        device: &Device,
        name: &str,
        mode: AttachMode,
        former: AttachMode,
        was_there: bool,
    ) -> Result<Attached, Error> {
        let hook = self.hooks.remove(name);
        if let Some(pins) = &self.pins {
            pins.remove_link(name)?;
        }
        drop(hook);
        let moved = attach::attach_new(&mut self.hands(), device, mode);
        let (fresh, refused) = match moved {
            Ok(fresh) => (fresh, Ok(())),
            Err(error) => (self.attach_new(device, name, former)?, Err(error)),
        };
        self.count_at(device.ifindex, name, fresh.kind())?;
        let hook = fresh.keep(device, name, self.pins.as_ref(), was_there)?;
        let attached = self.hold(name, hook);
        refused.map(|()| attached)
    }

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
            Some(pins) => pinned_interfaces(pins.path())?,
            None => Vec::new(),
        };
        let hooked: Vec<String> = self.hooks.keys().cloned().collect();
        let gone: BTreeSet<String> = pinned
            .into_iter()
            .chain(hooked)
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
        done.into_iter().collect()
    }

    /// Detaches the program from an interface, whether this process attached it or an earlier one.
    fn let_go(&mut self, name: &str) -> Result<(), Error> {
        let hook = self.hooks.remove(name);
        self.at_tc.remove(name);
        if let Some(pins) = &self.pins {
            pins.detach(name)?;
        }
        if let Some(hook) = hook {
            hook.remove();
        }
        match self.interface_slot(name) {
            Some(slot) => self.forget_interface(slot),
            None => Ok(()),
        }
    }

    /// Did this name have this index when its record was last written?
    fn is_known(&mut self, device: &Device, name: &str) -> Result<bool, Error> {
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
            let links = pinned_interfaces(pins.path())?.into_iter();
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
        if !self.hooks.contains_key(name) {
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
        let names: Vec<String> = self.hooks.keys().cloned().collect();
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
        let own = self.hooks.iter().filter(|(_, hook)| !hook.was_there);
        let own: Vec<String> = own.map(|(name, _)| name.clone()).collect();
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

/// Where in XDP a program is that cannot go where it is asked to: of one that was adopted, in the other of the two modes.
const fn other_xdp(now: HookKind, asked: AttachMode) -> AttachMode {
    match (now, asked) {
        (HookKind::XdpNative, _) | (HookKind::XdpAdopted, AttachMode::Generic) => {
            AttachMode::Native
        }
        _ => AttachMode::Generic,
    }
}
