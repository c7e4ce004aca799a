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

/// A mistake in a staged table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// In what.
    pub part: Part,
    /// In which line of those, counted round.
    pub pick: u64,
    /// What becomes of the line.
    pub how: How,
}

/// The parts of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Leaves, index lines and nested tables.
    Leaves,
    /// The table that a set starts with.
    Root,
    /// Boundaries within /64s.
    LongList,
    /// The list of a set's pieces.
    Manifest,
    /// The peer's record.
    Record,
    /// The families and known sides in the slot's word.
    Word,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Leaves,
        Self::Root,
        Self::LongList,
        Self::Manifest,
        Self::Record,
        Self::Word,
    ];
}

/// What a damage does to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Every bit is inverted.
    Line,
    /// Every bit of one word.
    Word(u8),
    /// One bit.
    Bit(u16),
}
