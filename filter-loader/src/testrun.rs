//! BPF_PROG_TEST_RUN by descriptor: runs a loaded program on a frame. Never chooses the frame.
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::bpf;
use crate::error::Error;

/// The part of `union bpf_attr` that BPF_PROG_TEST_RUN reads (include/uapi/linux/bpf.h).
#[repr(C)]
struct TestRunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

/// BPF_PROG_TEST_RUN.
const TEST_RUN: libc::c_int = 10;

/// Runs the program so often on the frame; what it returned last. The frame as the last run left it is in `out`, which
/// may be empty.
pub(crate) fn run(
    program: BorrowedFd<'_>,
    frame: &[u8],
    out: &mut [u8],
    repeat: u32,
) -> Result<u32, Error> {
    let mut attr = TestRunAttr {
        prog_fd: program.as_raw_fd() as u32,
        retval: 0,
        data_size_in: frame.len() as u32,
        data_size_out: out.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_out: if out.is_empty() {
            0
        } else {
            out.as_mut_ptr() as u64
        },
        repeat,
        duration: 0,
    };
    // SAFETY: the attribute is as long as said and lives through the call, which reads `data_size_in` bytes of the
    // frame, writes at most `data_size_out` of `out`, and fields of the attribute itself.
    let ran = unsafe { bpf::call(TEST_RUN, &mut attr) };
    ran.map_err(Error::os("cannot run a packet"))?;
    Ok(attr.retval)
}
