//! The interfaces of a filter: their records, what is attached to them, and how all of it goes again.
//! Never knows a peer's table.
use aya::maps::Array;
use filter_core::layout::{Interface, MAX_IFINDEX, MAX_INTERFACES, PeerKey, map};

use super::{Filter, SELF_TEST, name_hash};
use crate::attach::{self, AttachMode, Attached, XdpKind};
use crate::device::{Device, InterfaceSpec};
use crate::error::Error;
use crate::object::{self};
use crate::pin::PinDir;

impl Filter {
    /// Attaches to an interface, after its record is in place. Taking over an earlier process's link counts
    /// as attaching.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`], [`Error::NotEthernet`], [`Error::Busy`], [`Error::Attach`] and map errors.
    pub fn attach(&mut self, spec: &InterfaceSpec, mode: AttachMode) -> Result<Attached, Error> {
        let device = Device::find(&spec.name)?;
        device.check()?;
        if !self.is_known(&device)? {
            // A link pinned under this name would be that of a device renamed since, or of another namespace.
            self.pins
                .as_ref()
                .map_or(Ok(()), |pins| pins.remove_link(&device.name))?;
        }
        self.set_interface(device.ifindex, spec)?;
        let program = object::program(&mut self.ebpf, self.program)?;
        let hook = attach::attach(program, &device, mode, self.pins.as_ref())?;
        let attached = Attached {
            ifindex: hook.ifindex,
            kind: hook.kind,
        };
        self.hooks.insert(spec.name.clone(), hook);
        Ok(attached)
    }

    /// Did this name have this index when its record was last written?
    fn is_known(&mut self, device: &Device) -> Result<bool, Error> {
        let Some(slot) = self.interface_slot(&device.name) else {
            return Ok(false);
        };
        let slots: Array<_, u32> = self.map_mut(map::INTERFACE_SLOTS)?;
        let entry = slots
            .get(&device.ifindex, 0)
            .map_err(Error::map(map::INTERFACE_SLOTS))?;
        Ok(entry & 0xffff == slot)
    }

    /// Writes or replaces what the program knows of the interface with this index. A packet sees the old
    /// record or the new one.
    ///
    /// # Errors
    /// [`Error::InterfaceRecord`], [`Error::TooManyInterfaces`], map errors.
    pub fn set_interface(&mut self, ifindex: u32, spec: &InterfaceSpec) -> Result<(), Error> {
        if ifindex > MAX_IFINDEX {
            return Err(Error::IfindexTooLarge {
                name: spec.name.clone(),
                index: ifindex,
            });
        }
        let record = spec.record()?;
        let slot = self
            .take_slot(&spec.name, 1..SELF_TEST)
            .ok_or_else(|| Error::TooManyInterfaces(spec.name.clone()))??;
        let mut slots: Array<_, u32> = self.map_mut(map::INTERFACE_SLOTS)?;
        let now = slots
            .get(&ifindex, 0)
            .map_err(Error::map(map::INTERFACE_SLOTS))?;
        // Each interface has two places for its record; the one that is not in use is written, then named.
        let place = if now >> 16 == slot {
            slot + MAX_INTERFACES
        } else {
            slot
        };
        let mut records: Array<_, [u64; Interface::WORDS]> = self.map_mut(map::INTERFACES)?;
        records
            .set(place, record.0, 0)
            .map_err(Error::map(map::INTERFACES))?;
        slots = self.map_mut(map::INTERFACE_SLOTS)?;
        slots
            .set(ifindex, place << 16 | slot, 0)
            .map_err(Error::map(map::INTERFACE_SLOTS))?;
        self.specs.insert(ifindex, spec.clone());
        Ok(())
    }

    /// Detaches from an interface and forgets its record, its counters and its peers' stations there.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`] if it is not attached; [`Error::Pin`], map errors.
    pub fn detach(&mut self, name: &str) -> Result<(), Error> {
        let hook = self
            .hooks
            .remove(name)
            .ok_or_else(|| Error::UnknownInterface(name.to_owned()))?;
        if let Some(pins) = &self.pins {
            pins.remove_link(name)?;
        }
        let ifindex = hook.ifindex;
        drop(hook);
        let mut slots: Array<_, u32> = self.map_mut(map::INTERFACE_SLOTS)?;
        slots
            .set(ifindex, 0, 0)
            .map_err(Error::map(map::INTERFACE_SLOTS))?;
        let held = self.stations();
        let gone: Vec<PeerKey> = held
            .filter(|(station, _)| station.ifindex == ifindex)
            .map(|(station, _)| station.key())
            .collect();
        self.stations.remove(&gone)?;
        self.specs.remove(&ifindex);
        self.release(name)
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
        let own = self
            .hooks
            .iter()
            .filter(|(_, hook)| hook.kind != XdpKind::Adopted);
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
    pub fn interfaces(&self) -> impl Iterator<Item = (&str, Attached)> {
        self.hooks.iter().map(|(name, hook)| {
            (
                name.as_str(),
                Attached {
                    ifindex: hook.ifindex,
                    kind: hook.kind,
                },
            )
        })
    }

    pub(super) fn interface_slot(&self, name: &str) -> Option<u32> {
        let hash = name_hash(name);
        let mut interfaces = self.names.range(..MAX_INTERFACES);
        interfaces
            .find(|&(_, &held)| held == hash)
            .map(|(&slot, _)| slot)
    }
}
