//! Work that may hang (a file on a disk that does not answer), on a thread of its own: the run loop waits for it only so
//! long. Never decides what becomes of it.
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// Threads that hang at once. Beyond that nothing further is tried.
const MAX_HANGING: usize = 16;

/// Threads that have not ended yet.
static UNFINISHED: AtomicUsize = AtomicUsize::new(0);

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfinished {
    /// It takes too long.
    #[error("could not be read within {} s: see whether its disk or server answers", .0.as_secs_f32())]
    Hangs(Duration),
    /// Too many hang already.
    #[error(
        "not read: {MAX_HANGING} earlier reads still hang; see whether their disk or server answers"
    )]
    TooMany,
    /// No thread for it.
    #[error("not read: cannot start a thread: {0}; try again")]
    NoThread(#[from] io::Error),
    /// The work itself is wrong.
    #[error("not read: an error of the program; see the log")]
    Failed,
}

/// Counts a thread until it ends.
struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        UNFINISHED.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Does it, if it takes no longer than that.
pub(super) fn within<T: Send + 'static>(
    time: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unfinished> {
    let counted = UNFINISHED.fetch_add(1, Ordering::AcqRel);
    let counter = Counted;
    if counted >= MAX_HANGING {
        return Err(Unfinished::TooMany);
    }
    let (sender, result) = sync_channel(1);
    let thread = thread::Builder::new().name("read".to_owned());
    thread.spawn(move || {
        let _counter = counter;
        _ = sender.try_send(work()); // too late: the run loop went on
    })?;
    result.recv_timeout(time).map_err(|error| match error {
        RecvTimeoutError::Timeout => Unfinished::Hangs(time),
        RecvTimeoutError::Disconnected => Unfinished::Failed,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);
    const BRIEF: Duration = Duration::from_millis(100);

    #[test]
    fn what_hangs_is_given_up_in_time_and_only_so_many_may_hang() {
        assert_eq!(within(SOON, || 7).unwrap(), 7);
        assert!(matches!(
            within(SOON, || panic!("as this test wants it")),
            Err::<(), _>(Unfinished::Failed)
        ));
        let mut hanging = Vec::new();
        for _ in 0..MAX_HANGING {
            let (until, over) = channel::<()>();
            hanging.push(until);
            let begin = Instant::now();
            let error = within(BRIEF, move || over.recv()).unwrap_err();
            assert!(matches!(error, Unfinished::Hangs(BRIEF)), "{error}");
            assert!(begin.elapsed() >= BRIEF && begin.elapsed() < SOON);
        }
        let error = within(SOON, || 7).unwrap_err();
        assert!(matches!(error, Unfinished::TooMany), "{error}");
        drop(hanging);
        let end = Instant::now() + SOON;
        while !matches!(within(SOON, || 7), Ok(7)) {
            assert!(Instant::now() < end, "nothing is read any more");
            thread::yield_now();
        }
    }
}
