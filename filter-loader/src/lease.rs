//! The enforcement lease: until when the program may drop. Renewed each second by whoever keeps the tables
//! true; when it runs out the program itself falls back to observing.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use filter_core::layout::map;
use memmap2::MmapRaw;
use nix::time::{ClockId, clock_gettime};

use crate::error::Error;
use crate::mapped;

/// The lease word, mapped into our memory.
#[derive(Debug)]
pub struct Lease(MmapRaw);

/// The word that means "for ever".
const FOREVER: u64 = u64::MAX;

impl Lease {
    pub(crate) fn map(data: &aya::maps::MapData) -> Result<Self, Error> {
        Ok(Self(mapped::raw(data, size_of::<u64>(), map::LEASE)?))
    }

    /// Enforcement stands for this long from now.
    ///
    /// # Errors
    /// If the clock cannot be read.
    pub fn renew(&self, time: Duration) -> Result<(), Error> {
        let until = monotonic()?.saturating_add(time);
        self.word().store(
            u64::try_from(until.as_nanos()).unwrap_or(FOREVER),
            Ordering::Release,
        );
        Ok(())
    }

    /// Enforcement stands until the lease is set again (`on_lease_end = "keep"`).
    pub fn keep(&self) {
        self.word().store(FOREVER, Ordering::Release);
    }

    /// Enforcement ends now.
    pub fn end(&self) {
        self.word().store(0, Ordering::Release);
    }

    /// How much is left: `None` for ever, zero if it ran out.
    ///
    /// # Errors
    /// If the clock cannot be read.
    pub fn left(&self) -> Result<Option<Duration>, Error> {
        let until = self.word().load(Ordering::Acquire);
        if until == FOREVER {
            return Ok(None);
        }
        Ok(Some(
            Duration::from_nanos(until).saturating_sub(monotonic()?),
        ))
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: the mapping is at least one page, page-aligned, shared, and lives as long as self; the kernel
        // side only reads this word, whole.
        unsafe { AtomicU64::from_ptr(self.0.as_mut_ptr().cast()) }
    }
}

/// CLOCK_MONOTONIC, the clock of bpf_ktime_get_ns.
pub(crate) fn monotonic() -> Result<Duration, Error> {
    let now =
        clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(Error::os("cannot read the clock"))?;
    Ok(Duration::from(now))
}
