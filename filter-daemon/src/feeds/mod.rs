//! RIB sources, one file each. A feed runs on its own thread, turns what a router says into
//! [`RouteEvent`]s and hands them over in batches; it never sees peers, sets or tables, and never blocks
//! anything but itself: the hand-over is bounded, so a router that floods us is read slowly.
pub mod bird;
pub mod bmp;
mod build;
mod child;
pub mod frr;
pub mod gobgp;
mod json;
pub mod mrt;
pub mod openbgpd;
pub mod poll;
pub mod shadow;
pub mod static_;
mod unix;
mod updates;

#[cfg(test)]
mod fixture_tests;

use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::route::{Batch, FeedId, RouteEvent};

pub use build::build;

/// Batches that may wait between feeds and the run loop before feeds are slowed down.
pub const MAX_WAITING_BATCHES: usize = 64;
/// Events a feed may put in one batch.
pub const MAX_BATCH_EVENTS: usize = 4096;
/// A feed looks at least this often whether it shall stop: the read timeout of its sockets.
pub const STOP_CHECK: Duration = Duration::from_millis(200);

/// One RIB source.
pub trait Feed: Send {
    /// Runs until told to stop: connects, reads, reconnects with back-off. Sends [`RouteEvent::FeedUp`] at each
    /// start of a connection (or first finished poll) and [`RouteEvent::FeedDown`] at each loss.
    fn run(self: Box<Self>, outlet: &Outlet);
}

/// The daemon is shutting down or the feed was removed: the feed returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the feed was told to stop")]
pub struct Stopped;

/// Tells feeds to stop, and lets them sleep until then.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Tells everyone who holds a clone.
    pub fn stop(&self) {
        *self
            .0
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = true;
        self.0.1.notify_all();
    }

    /// Were we told to stop?
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self
            .0
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits for the time given, or for [`Stop::stop`].
    ///
    /// # Errors
    /// [`Stopped`] if told to stop before or meanwhile.
    pub fn sleep(&self, time: Duration) -> Result<(), Stopped> {
        let stopped = self
            .0
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let waited = self
            .0
            .1
            .wait_timeout_while(stopped, time, |stopped| !*stopped);
        let (stopped, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        if *stopped { Err(Stopped) } else { Ok(()) }
    }
}

/// Where a feed puts its events.
#[derive(Clone, Debug)]
pub struct Outlet {
    feed: FeedId,
    batches: SyncSender<Batch>,
    stop: Stop,
}

impl Outlet {
    /// For one feed.
    #[must_use]
    pub const fn new(feed: FeedId, batches: SyncSender<Batch>, stop: Stop) -> Self {
        Self {
            feed,
            batches,
            stop,
        }
    }

    /// What tells this feed to stop.
    #[must_use]
    pub const fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Hands events over; waits while [`MAX_WAITING_BATCHES`] are waiting. An empty batch is not sent.
    ///
    /// # Errors
    /// [`Stopped`] if told to stop, or if nobody listens any more.
    pub fn send(&self, events: Vec<RouteEvent>) -> Result<(), Stopped> {
        if events.is_empty() {
            return Ok(());
        }
        let mut batch = Batch {
            feed: self.feed,
            events,
        };
        loop {
            match self.batches.try_send(batch) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(unsent)) => batch = unsent,
                Err(TrySendError::Disconnected(_)) => return Err(Stopped),
            }
            self.stop.sleep(Duration::from_millis(1))?;
        }
    }
}

/// Is it a read that just had nothing yet?
fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}
