//! Sampled violations out of the ring buffer. Never blocks the program: a full ring loses samples, counted.
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use filter_core::layout::Sample;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The reading end of the sample ring.
pub struct Samples {
    ring: RingBuf<MapData>,
    foreign: u64,
}

impl Samples {
    pub(crate) fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring, foreign: 0 }
    }

    /// The next sample, if one is waiting. Records of another schema are counted, not returned.
    pub fn next_sample(&mut self) -> Option<Sample> {
        loop {
            let record = self.ring.next()?;
            match Sample::from_bytes(&record) {
                Some(sample) => return Some(sample),
                None => self.foreign += 1,
            }
        }
    }

    /// Records that could not be read.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Waits until a sample is there or the time is over; `true` if one may be there.
    pub fn wait(&self, time: Duration) -> bool {
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        matches!(poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], timeout), Ok(ready) if ready > 0)
    }
}

impl AsFd for Samples {
    /// Readable when a sample may be waiting.
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor belongs to the ring, which outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

impl std::fmt::Debug for Samples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Samples")
            .field("foreign", &self.foreign)
            .finish_non_exhaustive()
    }
}
