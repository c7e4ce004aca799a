//! Sampled violations out of the ring buffer. Never blocks the program: a full ring loses samples, counted.
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::OnceLock;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use filter_core::layout::Sample;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

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

/// How long ago the program's clock showed this ([`Sample::time_ns`]); zero if the clock cannot be read.
#[must_use]
pub fn age(time_ns: u64) -> Duration {
    /// How far this process's monotonic clock is ahead of the program's.
    static AHEAD: OnceLock<i128> = OnceLock::new();
    let ahead = AHEAD.get_or_init(namespace_offset);
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(|now| nanoseconds(now) - ahead);
    let age = now.map_or(0, |now| now - i128::from(time_ns));
    u64::try_from(age).map_or(Duration::ZERO, Duration::from_nanos)
}

/// What a time namespace adds to the monotonic clock (Linux 5.6, time_namespaces(7)): the program's knows nothing of it.
fn namespace_offset() -> i128 {
    let offsets = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    let monotonic = offsets.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let is_monotonic = words.next() == Some("monotonic");
        let [seconds, nanoseconds] = [words.next()?, words.next()?].map(str::parse::<i128>);
        is_monotonic.then_some(seconds.ok()? * 1_000_000_000 + nanoseconds.ok()?)
    });
    monotonic.unwrap_or(0)
}

fn nanoseconds(time: TimeSpec) -> i128 {
    i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec())
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
