//! What a filter's packets left behind: counters and samples. Only reads.
use std::collections::BTreeMap;

use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};
use filter_core::Reason;
use filter_core::layout::map;

use super::Filter;
use crate::error::Error;
use crate::samples::Samples;
use crate::slot::PeerSlot;
use crate::stats::{self, Counters};

impl Filter {
    /// A peer's counters.
    ///
    /// # Errors
    /// Map errors.
    pub fn counters(&self, peer: PeerSlot) -> Result<Counters, Error> {
        self.read_counters(peer.0)
    }

    /// What came in on an interface and belongs to no peer.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`] if it was never set; map errors.
    pub fn interface_counters(&self, name: &str) -> Result<Counters, Error> {
        let slot = self.interface_slot(name);
        self.read_counters(slot.ok_or_else(|| Error::UnknownInterface(name.to_owned()))?)
    }

    /// What came in on interfaces the program runs on and knows nothing of: a device that came back, or a member that has just joined a bond.
    /// All of it passed.
    ///
    /// # Errors
    /// Map errors.
    pub fn unrecorded_counters(&self) -> Result<Counters, Error> {
        self.read_counters(0)
    }

    /// Packets of [`Filter::unrecorded_counters`], in two reads.
    ///
    /// # Errors
    /// Map errors.
    pub fn unrecorded(&self) -> Result<u64, Error> {
        let fates = stats::read_one(&self.counter_map()?, 0, Reason::NoRecord)?;
        Ok(fates.packets())
    }

    /// Packets of [`Filter::unrecorded_counters`] by the index of their device: of as many devices as there is room for.
    ///
    /// # Errors
    /// Map errors.
    pub fn unrecorded_by_device(&self) -> Result<BTreeMap<u32, u64>, Error> {
        let missing = || Error::Map {
            map: map::UNRECORDED,
            why: "the object has no such map".to_owned(),
        };
        let devices = self.ebpf.map(map::UNRECORDED).ok_or_else(missing)?;
        let devices: HashMap<_, u32, u64> =
            HashMap::try_from(devices).map_err(Error::map(map::UNRECORDED))?;
        let counted: Result<_, _> = devices.iter().collect();
        counted.map_err(Error::map(map::UNRECORDED))
    }

    pub(super) fn read_counters(&self, slot: u32) -> Result<Counters, Error> {
        stats::read(&self.counter_map()?, slot)
    }

    pub(super) fn counter_map(&self) -> Result<PerCpuArray<&MapData, [u64; 2]>, Error> {
        let missing = || Error::Map {
            map: map::COUNTERS,
            why: "the object has no such map".to_owned(),
        };
        let counters = self.ebpf.map(map::COUNTERS).ok_or_else(missing)?;
        PerCpuArray::try_from(counters).map_err(Error::map(map::COUNTERS))
    }

    /// The reading end of the samples; there is one.
    ///
    /// # Errors
    /// If it was taken before.
    pub fn take_samples(&mut self) -> Result<Samples, Error> {
        let missing = || Error::Map {
            map: map::SAMPLES,
            why: "already taken".to_owned(),
        };
        let ring = self.ebpf.take_map(map::SAMPLES).ok_or_else(missing)?;
        Ok(Samples::new(
            RingBuf::try_from(ring).map_err(Error::map(map::SAMPLES))?,
        ))
    }

    /// Samples lost because the reader did not empty the ring in time.
    ///
    /// # Errors
    /// Map errors.
    pub fn samples_lost(&self) -> Result<u64, Error> {
        let missing = || Error::Map {
            map: map::SAMPLES_LOST,
            why: "the object has no such map".to_owned(),
        };
        let lost = self.ebpf.map(map::SAMPLES_LOST).ok_or_else(missing)?;
        let lost: PerCpuArray<_, u64> =
            PerCpuArray::try_from(lost).map_err(Error::map(map::SAMPLES_LOST))?;
        Ok(lost
            .get(&0, 0)
            .map_err(Error::map(map::SAMPLES_LOST))?
            .iter()
            .sum())
    }
}
