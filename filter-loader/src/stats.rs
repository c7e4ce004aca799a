//! Counters: packets and bytes per slot × reason × {passed, dropped}, summed over the CPUs.
//! Only reads: nothing ever resets them.
use std::fmt;
use std::ops::{AddAssign, Sub};

use aya::maps::{MapData, PerCpuArray};
use filter_core::Reason;
use filter_core::layout::{counter_index, map};

use crate::error::Error;

/// One counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Frames.
    pub packets: u64,
    /// Their lengths on the wire without checksum, in bytes.
    pub bytes: u64,
}

impl AddAssign for Counter {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

impl Sub for Counter {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            packets: self.packets - earlier.packets,
            bytes: self.bytes - earlier.bytes,
        }
    }
}

/// What passed and what was dropped for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// Passed, within the policy or only observed.
    pub passed: Counter,
    /// Dropped.
    pub dropped: Counter,
}

impl Fates {
    /// Packets, whatever became of them.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.passed.packets + self.dropped.packets
    }
}

/// All counters of one peer or interface.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters([Fates; Reason::COUNT]);

impl Counters {
    /// The counters of one reason.
    #[must_use]
    pub fn get(&self, reason: Reason) -> Fates {
        self.0[reason as usize]
    }

    /// Packets of one reason, whatever became of them.
    #[must_use]
    pub fn packets(&self, reason: Reason) -> u64 {
        self.get(reason).packets()
    }

    /// Counts one packet, for engines in user space.
    pub fn count(&mut self, reason: Reason, dropped: bool, bytes: u64) {
        let fates = &mut self.0[reason as usize];
        let counter = if dropped {
            &mut fates.dropped
        } else {
            &mut fates.passed
        };
        *counter += Counter { packets: 1, bytes };
    }

    /// Those that are not zero.
    pub fn nonzero(&self) -> impl Iterator<Item = (Reason, Fates)> + '_ {
        Reason::ALL
            .into_iter()
            .map(|reason| (reason, self.get(reason)))
            .filter(|(_, fates)| *fates != Fates::default())
    }

    /// Everything together.
    #[must_use]
    pub fn total(&self) -> Fates {
        self.0.iter().fold(Fates::default(), |mut sum, fates| {
            sum.passed += fates.passed;
            sum.dropped += fates.dropped;
            sum
        })
    }

    /// What was added since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = *self;
        for (fates, before) in difference.0.iter_mut().zip(&earlier.0) {
            fates.passed = fates.passed - before.passed;
            fates.dropped = fates.dropped - before.dropped;
        }
        difference
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.nonzero().map(|(reason, fates)| (reason.name(), fates)))
            .finish()
    }
}

/// Reads the counters of one slot.
pub(crate) fn read(map: &PerCpuArray<&MapData, [u64; 2]>, slot: u32) -> Result<Counters, Error> {
    let mut counters = Counters::default();
    for reason in Reason::ALL {
        counters.0[reason as usize] = read_one(map, slot, reason)?;
    }
    Ok(counters)
}

/// Reads those of one reason.
pub(crate) fn read_one(
    map: &PerCpuArray<&MapData, [u64; 2]>,
    slot: u32,
    reason: Reason,
) -> Result<Fates, Error> {
    let one = |dropped| -> Result<Counter, Error> {
        let values = map
            .get(&counter_index(slot, reason, dropped), 0)
            .map_err(Error::map(map::COUNTERS))?;
        let mut sum = Counter::default();
        values
            .iter()
            .for_each(|&[packets, bytes]| sum += Counter { packets, bytes });
        Ok(sum)
    };
    Ok(Fates {
        passed: one(false)?,
        dropped: one(true)?,
    })
}
