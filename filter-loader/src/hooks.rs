//! What tests need to show that they can fail, and to run packets beside the writer. Never part of the product:
//! only the feature `test-hooks` has it.
use std::os::fd::{AsFd, OwnedFd};

pub use crate::arena::poison_in_use;
use crate::error::{Error, chain};
use crate::filter::Filter;
use crate::{object, testrun};

/// Runs packets through the filter's program while another thread publishes.
#[derive(Debug)]
pub struct Prober(OwnedFd);

/// XDP_PASS.
const PASS: u32 = 2;

impl Prober {
    /// Runs the frame this often; was it dropped the last time?
    ///
    /// # Errors
    /// What the kernel says.
    pub fn run(&self, frame: &[u8], repeat: u32) -> Result<bool, Error> {
        Ok(testrun::run(self.0.as_fd(), frame, &mut [], repeat)? != PASS)
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
