//! What the run loop asks of a polling feed: to poll now. Never waits for it.
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{STOP_CHECK, Stop, Stopped};

/// See the file's head. All requests that the feed has not taken yet are one.
#[derive(Clone, Debug, Default)]
pub struct Trigger(Arc<(Mutex<bool>, Condvar)>);

impl Trigger {
    /// Asks a polling feed for a poll now.
    pub fn poll_now(&self) {
        *self.lock() = true;
        self.0.1.notify_all();
    }

    /// Waits for the time given, or for [`Trigger::poll_now`], whichever comes first. Was it asked?
    pub(super) fn wait(&self, time: Duration, stop: &Stop) -> Result<bool, Stopped> {
        let end = Instant::now() + time;
        let mut asked = self.lock();
        loop {
            if stop.is_stopped() {
                return Err(Stopped);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || *asked {
                return Ok(std::mem::take(&mut *asked));
            }
            let waited = self.0.1.wait_timeout(asked, left.min(STOP_CHECK));
            asked = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
