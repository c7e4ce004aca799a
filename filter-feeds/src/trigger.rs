//! What the run loop asks of a feed: to poll now, or to have a router tell everything again. Never waits for it.
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{STOP_CHECK, Stop, Stopped};
use filter_lifecycle::route::Session;

/// Sessions whose router is asked for at once; more ask again, as their tables stay wrong.
pub const MAX_ASKED: usize = 1024;

/// See the file's head. All asks that nobody has taken yet are one.
#[derive(Clone, Debug, Default)]
pub struct Trigger(Arc<(Mutex<Asked>, Condvar)>);

#[derive(Debug, Default)]
struct Asked {
    poll: bool,
    again: BTreeSet<Session>,
}

impl Trigger {
    /// Asks a polling feed for a poll now.
    pub fn poll_now(&self) {
        self.lock().poll = true;
        self.0.1.notify_all();
    }

    /// Asks a station to have the router of this session tell everything again.
    pub fn tell_again(&self, session: Session) {
        let mut asked = self.lock();
        if asked.again.len() < MAX_ASKED {
            asked.again.insert(session);
        }
    }

    /// Was it asked for one of these sessions? Asks once.
    pub(super) fn take_again(&self, mut sessions: impl Iterator<Item = Session>) -> bool {
        let mut asked = self.lock();
        !asked.again.is_empty() && sessions.any(|session| asked.again.remove(&session))
    }

    /// Waits for the time given, or for [`Trigger::poll_now`], whichever comes first.
    pub(super) fn wait(&self, time: Duration, stop: &Stop) -> Result<(), Stopped> {
        let end = Instant::now() + time;
        let mut asked = self.lock();
        loop {
            if stop.is_stopped() {
                return Err(Stopped);
            }
            let left = end.saturating_duration_since(Instant::now());
            if asked.poll || left.is_zero() {
                asked.poll = false;
                return Ok(());
            }
            let waited = self.0.1.wait_timeout(asked, left.min(STOP_CHECK));
            asked = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_again_is_for_one_router_and_bounded() {
        let session = |n: u16| Session::global([10, 0, (n >> 8) as u8, n as u8].into());
        let trigger = Trigger::default();
        (0..MAX_ASKED as u16 + 9).for_each(|n| trigger.tell_again(session(n)));
        assert!(
            !trigger.take_again([session(MAX_ASKED as u16)].into_iter()),
            "one too many"
        );
        assert!(trigger.take_again([session(9999), session(7)].into_iter()));
        assert!(!trigger.take_again([session(7)].into_iter()), "taken");
        assert!(trigger.take_again([session(8)].into_iter()));
    }
}
