//! Waiting until every packet that is being judged now has been judged: an RCU grace period. XDP programs run
//! inside RCU read-side sections, so after one no packet can read what was unpublished before.
use std::io;

use crate::error::Error;

/// Commands of membarrier(2), include/uapi/linux/membarrier.h.
const QUERY: libc::c_int = 0;
const GLOBAL: libc::c_int = 1;

/// How this kernel waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grace(());

impl Grace {
    /// Finds out whether the kernel can.
    ///
    /// MEMBARRIER_CMD_GLOBAL is `synchronize_rcu()` (kernel/sched/membarrier.c). It is not offered with
    /// `nohz_full`, where a CPU in user space does not take part.
    pub(crate) fn new() -> Result<Self, Error> {
        let commands = membarrier(QUERY).map_err(Error::os("cannot ask for membarrier"))?;
        if commands & GLOBAL == 0 {
            let why = io::Error::other(
                "the kernel offers no MEMBARRIER_CMD_GLOBAL: boot without nohz_full",
            );
            return Err(Error::os("cannot wait for packets in flight")(why));
        }
        Ok(Self(()))
    }

    /// Returns once every packet that may have read what was unpublished before the call is through.
    pub(crate) fn wait(&self) -> Result<(), Error> {
        membarrier(GLOBAL).map_err(Error::os("cannot wait for packets in flight"))?;
        Ok(())
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
