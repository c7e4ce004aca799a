//! Waiting until every packet that is being judged now has been judged: an RCU grace period. XDP programs run
//! inside RCU read-side sections, so after one no packet can read what was unpublished before.
//!
//! One takes some ten milliseconds, which publishing must not wait for: a thread waits, and says up to which *epoch*
//! what was unpublished is read by nobody any more.
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::error::Error;

/// Commands of membarrier(2), include/uapi/linux/membarrier.h.
const QUERY: libc::c_int = 0;
const GLOBAL: libc::c_int = 1;

/// See the file's head.
#[derive(Debug)]
pub(super) struct Grace {
    /// What is unpublished now belongs to it.
    epoch: u64,
    /// One waits to be begun: more would bring nothing.
    ask: SyncSender<u64>,
    over: Arc<AtomicU64>,
}

impl Grace {
    /// Finds out whether the kernel can, and starts the thread. It ends when this is dropped.
    ///
    /// MEMBARRIER_CMD_GLOBAL is `synchronize_rcu()` (kernel/sched/membarrier.c). It is not offered with
    /// `nohz_full`, where a CPU in user space does not take part.
    pub(super) fn new() -> Result<Self, Error> {
        let commands = membarrier(QUERY).map_err(Error::os("cannot ask for membarrier"))?;
        if commands & GLOBAL == 0 {
            let why = io::Error::other(
                "the kernel offers no MEMBARRIER_CMD_GLOBAL: boot without nohz_full",
            );
            return Err(Error::os("cannot wait for packets in flight")(why));
        }
        let (ask, asked) = sync_channel(1);
        let over = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&over);
        std::thread::Builder::new()
            .name("grace".to_owned())
            .spawn(move || follow(&asked, &told))
            .map_err(Error::os("cannot start the thread that waits for packets"))?;
        Ok(Self {
            epoch: 1,
            ask,
            over,
        })
    }

    /// The epoch of what is unpublished now.
    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Up to this epoch nobody reads what was unpublished.
    pub(super) fn over(&self) -> u64 {
        self.over.load(Ordering::Acquire)
    }

    /// Has what was unpublished so far waited for, without waiting here. If a request waits already, the next one
    /// takes this along.
    pub(super) fn begin(&mut self) {
        if self.ask.try_send(self.epoch).is_ok() {
            self.epoch += 1;
        }
    }

    /// Returns once every packet that may have read what was unpublished before the call is through.
    pub(super) fn wait(&mut self) -> Result<(), Error> {
        membarrier(GLOBAL).map_err(Error::os("cannot wait for packets in flight"))?;
        self.over.fetch_max(self.epoch, Ordering::AcqRel);
        self.epoch += 1;
        Ok(())
    }
}

fn follow(asked: &Receiver<u64>, over: &AtomicU64) {
    while let Ok(epoch) = asked.recv() {
        // If it fails, who needs the lines will wait itself and say why.
        if membarrier(GLOBAL).is_ok() {
            over.fetch_max(epoch, Ordering::AcqRel);
        }
    }
}

fn membarrier(command: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: three integers; the call reads and writes no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    match libc::c_int::try_from(result) {
        Ok(answer) if answer >= 0 => Ok(answer),
        _ => Err(io::Error::last_os_error()),
    }
}
