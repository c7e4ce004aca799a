//! Work that may hang (a file on a disk that does not answer), on a thread of its own: the run loop waits for it only so
//! long. Never decides what becomes of it.
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use filter_core::layout::MAX_INTERFACES;

/// Threads that have not ended: each interface's member export, and the few other files. Beyond that nothing is started.
const MAX_UNFINISHED: usize = MAX_INTERFACES as usize + 16;

/// Threads that have not ended yet.
static UNFINISHED: AtomicUsize = AtomicUsize::new(0);

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfinished {
    /// It takes too long.
    #[error("no answer within {} s: see whether its disk or server answers", .0.as_secs_f32())]
    Hangs(Duration),
    /// Too many hang already.
    #[error(
        "not tried: {MAX_UNFINISHED} earlier reads and writes still hang; see whether their disk or server answers"
    )]
    TooMany,
    /// No thread for it.
    #[error("not tried: cannot start a thread: {0}; try again")]
    NoThread(#[from] io::Error),
    /// The work itself panicked.
    #[error("an error of the program; see the log")]
    Failed,
}

/// Held by each test that starts work here: one of them takes all there may be.
#[cfg(test)]
pub(super) static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Counts a thread until it ends.
struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        UNFINISHED.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Work on its thread.
pub(super) struct Started<T> {
    at: Instant,
    result: Receiver<T>,
}

/// Starts the work, and does not wait for it.
pub(super) fn start<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Started<T>, Unfinished> {
    let counted = UNFINISHED.fetch_add(1, Ordering::AcqRel);
    let counter = Counted;
    if counted >= MAX_UNFINISHED {
        return Err(Unfinished::TooMany);
    }
    let (sender, result) = sync_channel(1);
    let thread = thread::Builder::new().name("file".to_owned());
    thread.spawn(move || {
        let _counter = counter;
        _ = sender.try_send(work()); // too late: the run loop went on
    })?;
    Ok(Started {
        at: Instant::now(),
        result,
    })
}

impl<T> std::fmt::Debug for Started<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started").finish_non_exhaustive()
    }
}

impl<T> Started<T> {
    /// Its result, if it has ended.
    pub(super) fn result(&self) -> Option<Result<T, Unfinished>> {
        match self.result.try_recv() {
            Ok(result) => Some(Ok(result)),
            Err(TryRecvError::Disconnected) => Some(Err(Unfinished::Failed)),
            Err(TryRecvError::Empty) => None,
        }
    }

    /// Its result, if it takes no longer than that since it was started.
    pub(super) fn within(self, time: Duration) -> Result<T, Unfinished> {
        let left = time.saturating_sub(self.at.elapsed());
        self.result.recv_timeout(left).map_err(|error| match error {
            RecvTimeoutError::Timeout => Unfinished::Hangs(time),
            RecvTimeoutError::Disconnected => Unfinished::Failed,
        })
    }
}

/// Does the work, if it takes no longer than that.
pub(super) fn within<T: Send + 'static>(
    time: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unfinished> {
    start(work)?.within(time)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);
    const BRIEF: Duration = Duration::from_millis(100);

    #[test]
    fn what_hangs_is_given_up_in_time_and_only_so_many_may_hang() {
        let _alone = ALONE
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        assert_eq!(within(SOON, || 7).unwrap(), 7);
        assert!(matches!(
            within(SOON, || panic!("as this test wants it")),
            Err::<(), _>(Unfinished::Failed)
        ));
        let (mut hanging, mut started) = (Vec::new(), Vec::new());
        let begin = Instant::now();
        // Threads of earlier tests may not have ended yet.
        let error = loop {
            let (until, over) = channel::<()>();
            match start(move || over.recv()) {
                Ok(work) => started.push(work),
                Err(error) => break error,
            }
            hanging.push(until);
        };
        assert!(matches!(error, Unfinished::TooMany), "{error}");
        assert!(started.len() + 8 > MAX_UNFINISHED && started.len() <= MAX_UNFINISHED);
        // They share one time: it is not spent anew on each.
        for work in started {
            let error = work.within(BRIEF).unwrap_err();
            assert!(matches!(error, Unfinished::Hangs(BRIEF)), "{error}");
        }
        assert!(begin.elapsed() >= BRIEF && begin.elapsed() < SOON);
        drop(hanging);
        let end = Instant::now() + SOON;
        while !matches!(within(SOON, || 7), Ok(7)) {
            assert!(Instant::now() < end, "nothing is read any more");
            thread::yield_now();
        }
    }
}
