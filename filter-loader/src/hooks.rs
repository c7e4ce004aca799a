//! What tests need to show that they can fail, and to run packets beside the writer. Never part of the product:
//! only the feature `test-hooks` has it.
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

pub use crate::arena::poison_in_use;
use crate::error::{Error, chain};
use crate::filter::Filter;
use crate::object;

/// Runs packets through the filter's program while another thread publishes.
#[derive(Debug)]
pub struct Prober(OwnedFd);

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
/// XDP_PASS.
const PASS: u32 = 2;

impl Prober {
    /// Runs the frame this often; was it dropped the last time?
    ///
    /// # Errors
    /// What the kernel says.
    pub fn run(&self, frame: &[u8], repeat: u32) -> Result<bool, Error> {
        let mut attr = TestRunAttr {
            prog_fd: self.0.as_raw_fd() as u32,
            retval: 0,
            data_size_in: frame.len() as u32,
            data_size_out: 0,
            data_in: frame.as_ptr() as u64,
            data_out: 0,
            repeat,
            duration: 0,
        };
        // SAFETY: the attribute is as long as said and lives through the call, which reads `data_size_in` bytes of
        // the frame and writes `retval` and `duration`.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                TEST_RUN,
                &raw mut attr,
                size_of::<TestRunAttr>(),
            )
        };
        if result == 0 {
            return Ok(attr.retval != PASS);
        }
        Err(Error::os("cannot run a packet")(
            std::io::Error::last_os_error(),
        ))
    }
}

impl Filter {
    /// A second handle on the loaded program.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn prober(&mut self) -> Result<Prober, Error> {
        let program = object::program(&mut self.ebpf, self.program)?;
        let fd = program.fd().map_err(|error| Error::Load(chain(&error)))?;
        Ok(Prober(
            fd.as_fd()
                .try_clone_to_owned()
                .map_err(Error::os("cannot share the program"))?,
        ))
    }
}
