//! The enforcement lease: until when the program may drop. Renewed each second by whoever keeps the tables
//! true; when it runs out the program itself falls back to observing. Measured on the program's own clock.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use filter_core::layout::{FOREVER, map};
use memmap2::MmapRaw;

use crate::clock::Clock;
use crate::error::Error;
use crate::mapped;

/// The lease word, mapped into our memory, and the clock it is held against.
#[derive(Debug)]
pub struct Lease {
    word: MmapRaw,
    clock: Clock,
}

impl Lease {
    pub(crate) fn map(data: &aya::maps::MapData, clock: Clock) -> Result<Self, Error> {
        Ok(Self {
            word: mapped::raw(data, size_of::<u64>(), map::LEASE)?,
            clock,
        })
    }

    /// Enforcement stands for this long from now.
    ///
    /// # Errors
    /// If the clock cannot be read.
    pub fn renew(&self, time: Duration) -> Result<(), Error> {
        self.word()
            .store(self.clock.after(time)?, Ordering::Release);
        Ok(())
    }

    /// Enforcement stands until the lease is set again.
    pub fn keep(&self) {
        self.word().store(FOREVER, Ordering::Release);
    }

    /// Enforcement ends now, but for slots that are kept.
    pub fn end(&self) {
        self.word().store(0, Ordering::Release);
    }

    /// How much is left on the program's clock: `None` for ever, zero if it ran out.
    ///
    /// # Errors
    /// If the clock cannot be read.
    pub fn remaining(&self) -> Result<Option<Duration>, Error> {
        match self.word().load(Ordering::Acquire) {
            FOREVER => Ok(None),
            until => Ok(Some(self.clock.until(until)?)),
        }
    }

    /// The clock that it is held against.
    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: the mapping is at least one page, page-aligned, shared, and lives as long as self; the kernel
        // side only reads this word, whole.
        unsafe { AtomicU64::from_ptr(self.word.as_mut_ptr().cast()) }
    }
}
