//! The clock that the program itself reads: ticks of the kernel's timer (jiffies). A time namespace shifts this
//! process's clocks and not that one, so it is read by running a program of one line. Never waits.
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::time::{ClockId, clock_getres};

use crate::error::Error;
use crate::testrun;

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Clock {
    program: OwnedFd,
    tick: Duration,
}

/// The shortest frame the kernel runs a program on.
const FRAME: [u8; 14] = [0; 14];

impl Clock {
    /// Of the loaded program `bcp38_clock`.
    pub(crate) fn new(program: OwnedFd) -> Result<Self, Error> {
        Ok(Self {
            program,
            tick: tick()?,
        })
    }

    /// Ticks now.
    pub(crate) fn now(&self) -> Result<u64, Error> {
        let mut out = FRAME;
        testrun::run(self.program.as_fd(), &FRAME, &mut out, 1)?;
        let mut word = [0; 8];
        word.copy_from_slice(&out[..8]);
        Ok(u64::from_ne_bytes(word))
    }

    /// The tick that begins no earlier than this time from now.
    pub(crate) fn after(&self, time: Duration) -> Result<u64, Error> {
        let ticks = time.as_nanos().div_ceil(self.tick.as_nanos().max(1));
        let ticks = u64::try_from(ticks).unwrap_or(u64::MAX);
        // The current tick is partly over.
        Ok(self.now()?.saturating_add(ticks).saturating_add(1))
    }

    /// How long until this tick; zero if it is over.
    pub(crate) fn until(&self, tick: u64) -> Result<Duration, Error> {
        Ok(self.length(tick.saturating_sub(self.now()?)))
    }

    /// How long so many ticks are.
    pub(crate) fn length(&self, ticks: u64) -> Duration {
        let nanos = self.tick.as_nanos().saturating_mul(ticks.into());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The length of a tick. The kernel's coarse clocks advance once a tick, and their resolution is its length
/// (`KTIME_LOW_RES` in include/linux/hrtimer.h).
pub(crate) fn tick() -> Result<Duration, Error> {
    let resolution = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
        .map_err(Error::os("cannot read the length of a timer tick"))?;
    Ok(Duration::from(resolution).max(Duration::from_micros(1)))
}
