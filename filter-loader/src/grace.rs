//! Waiting until every packet that is being judged now has been judged: an RCU grace period. XDP programs run
//! inside RCU read-side sections, so after one no packet can read what was unpublished before.
//!
//! The kernel waits for one after each update of a map of maps, before it returns (`maybe_wait_bpf_programs` in
//! kernel/bpf/syscall.c), whatever its configuration. `membarrier(MEMBARRIER_CMD_GLOBAL)` waits for the same, but not on one
//! processor, and is not offered with `nohz_full`. It costs as much: on Linux 6.18 both took 16 ms (medians of 21, the
//! test below).
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use crate::bpf;
use crate::error::Error;

/// Commands and map types of include/uapi/linux/bpf.h.
const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const ARRAY: u32 = 2;
const ARRAY_OF_MAPS: u32 = 12;

/// The part of `union bpf_attr` that BPF_MAP_CREATE reads here.
#[repr(C)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
}

/// The part that BPF_MAP_UPDATE_ELEM reads.
#[repr(C)]
struct UpdateAttr {
    map_fd: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// How this kernel waits: a map of one map, which no program knows, so that only its update's wait matters.
#[derive(Clone, Debug)]
pub(crate) struct Grace(Arc<Maps>);

#[derive(Debug)]
struct Maps {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Grace {
    /// Makes the maps.
    pub(crate) fn new() -> Result<Self, Error> {
        let make = || {
            let inner = create(ARRAY, 0)?;
            let outer = create(ARRAY_OF_MAPS, inner.as_raw_fd() as u32)?;
            Ok(Maps { outer, inner })
        };
        let maps = make().map_err(Error::os::<io::Error>("cannot make a map of maps"))?;
        Ok(Self(Arc::new(maps)))
    }

    /// Returns once every packet that may have read what was unpublished before the call is through.
    pub(crate) fn wait(&self) -> Result<(), Error> {
        let (key, value) = (0u32, self.0.inner.as_raw_fd());
        let mut attr = UpdateAttr {
            map_fd: self.0.outer.as_raw_fd() as u32,
            key: &raw const key as u64,
            value: &raw const value as u64,
            flags: 0,
        };
        // SAFETY: key and value are as long as the map was made for, and live through the call, which only reads them.
        let done = unsafe { bpf::call(MAP_UPDATE, &mut attr) };
        done.map_err(Error::os("cannot wait for packets in flight"))?;
        Ok(())
    }
}

/// A map of one element of four bytes.
fn create(map_type: u32, inner_map_fd: u32) -> io::Result<OwnedFd> {
    let mut attr = CreateAttr {
        map_type,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        map_flags: 0,
        inner_map_fd,
    };
    // SAFETY: the attribute holds numbers and no pointers.
    let fd = unsafe { bpf::call(MAP_CREATE, &mut attr)? };
    // SAFETY: the call has just made this descriptor, and nothing else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const GLOBAL: libc::c_int = 1;
    const WAITS: usize = 21;

    fn median(mut wait: impl FnMut()) -> Duration {
        let mut took: Vec<Duration> = (0..WAITS)
            .map(|_| {
                let begin = Instant::now();
                wait();
                begin.elapsed()
            })
            .collect();
        took.sort();
        took[WAITS / 2]
    }

    /// In turns would hide nothing here: both are milliseconds of waiting. Prints both; needs root.
    #[test]
    fn a_map_of_maps_waits_as_long_as_membarrier() {
        let Ok(grace) = Grace::new() else {
            assert!(std::env::var_os("FILTER_REQUIRE_KERNEL").is_none());
            return;
        };
        let ours = median(|| grace.wait().unwrap());
        let theirs = median(|| {
            // SAFETY: three integers; the call reads and writes no memory of ours.
            _ = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
        });
        println!("map of maps {ours:?}, membarrier {theirs:?}");
        assert!(
            ours < 20 * theirs.max(Duration::from_millis(5)),
            "{ours:?} {theirs:?}"
        );
    }
}
