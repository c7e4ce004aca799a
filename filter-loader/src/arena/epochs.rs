//! Grace periods in the background: one takes some ten milliseconds, so a thread waits, and says up to which *epoch*
//! what was unpublished is read by no packet any more. Knows nothing of what was unpublished.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::error::Error;
use crate::grace::Grace;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Epochs {
    grace: Grace,
    /// What is unpublished now belongs to it.
    now: u64,
    /// One waits to be begun: more would bring nothing. None once this is dropped.
    ask: Option<SyncSender<u64>>,
    over: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Epochs {
    /// Starts the thread. It ends, and is waited for, when this is dropped: two grace periods at most.
    pub(super) fn new() -> Result<Self, Error> {
        let grace = Grace::new()?;
        let (ask, asked) = sync_channel(1);
        let over = Arc::new(AtomicU64::new(0));
        let reached = Arc::clone(&over);
        let waits = grace.clone();
        let thread = std::thread::Builder::new()
            .name("grace".to_owned())
            .spawn(move || follow(&waits, &asked, &reached))
            .map_err(Error::os("cannot start the thread that waits for packets"))?;
        Ok(Self {
            grace,
            now: 1,
            ask: Some(ask),
            over,
            thread: Some(thread),
        })
    }

    /// The epoch of what is unpublished now.
    pub(super) const fn now(&self) -> u64 {
        self.now
    }

    /// Up to this epoch no packet reads what was unpublished.
    pub(super) fn over(&self) -> u64 {
        self.over.load(Ordering::Acquire)
    }

    /// Has what was unpublished so far waited for, without waiting here. If a request waits already, the next one
    /// takes this along.
    pub(super) fn end(&mut self) {
        let asked = self.ask.as_ref().map(|ask| ask.try_send(self.now));
        if matches!(asked, Some(Ok(()))) {
            self.now += 1;
        }
    }

    /// Waits until no packet reads what was unpublished so far.
    pub(super) fn wait(&mut self) -> Result<(), Error> {
        self.grace.wait()?;
        self.over.fetch_max(self.now, Ordering::AcqRel);
        self.now += 1;
        Ok(())
    }
}

impl Drop for Epochs {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            _ = thread.join(); // one that panicked has said so
        }
    }
}

fn follow(grace: &Grace, asked: &Receiver<u64>, over: &AtomicU64) {
    while let Ok(epoch) = asked.recv() {
        // If it fails, who needs the lines will wait itself and say why.
        if grace.wait().is_ok() {
            over.fetch_max(epoch, Ordering::AcqRel);
        }
    }
}
