//! How long ago a polling feed last asked its router, and how long the answer took: what was announced since is not known.
//! Readable while the feed runs. Never decides when to poll.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// See the file's head. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Lag(Arc<Mutex<Option<Polled>>>);

/// The last poll that was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polled {
    /// When it began: what was announced later may be missing in it.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
    /// From the start of one poll to the start of the next, unless one is asked for.
    pub every: Duration,
}

impl Lag {
    /// The last poll; none before the first.
    #[must_use]
    pub fn last(&self) -> Option<Polled> {
        *self.lock()
    }

    pub(super) fn polled(&self, last: Polled) {
        *self.lock() = Some(last);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Polled>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
