//! What tests need to show that they can fail, and to run packets beside the writer. Never part of the product:
//! only the feature `test-hooks` has it.
use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};

pub use crate::arena::poison_in_use;
use crate::error::Error;
use crate::filter::Filter;
use crate::object::Shell;
use crate::{object, testrun};

/// Runs packets through the filter's program while another thread publishes.
#[derive(Debug)]
pub struct Prober(Shell, OwnedFd);

impl Prober {
    /// Runs the frame this often; was it dropped the last time?
    ///
    /// # Errors
    /// What the kernel says.
    pub fn run(&self, frame: &[u8], repeat: u32) -> Result<bool, Error> {
        let answer = testrun::run(self.1.as_fd(), frame, &mut [], repeat)?;
        Ok(self.0.is_drop(answer))
    }
}

/// `struct xdp_md` (include/uapi/linux/bpf.h) of a test run with so many bytes of a longer frame in the first buffer.
pub(crate) fn context(linear: Option<u32>, length: usize) -> Option<[u8; 24]> {
    let linear = linear.filter(|&linear| (linear as usize) < length)?;
    let mut context = [0; 24];
    context[4..8].copy_from_slice(&linear.to_ne_bytes()); // `data_end`
    Some(context)
}

impl Filter {
    /// A second handle on the loaded program.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn prober(&mut self) -> Result<Prober, Error> {
        let shell = self.tested_at;
        let fd = object::descriptor(&mut self.ebpf, self.programs.name(shell))?;
        Ok(Prober(shell, fd))
    }
}

thread_local! {
    static WITHOUT_TCX: Cell<bool> = const { Cell::new(false) };
    static SWAPS_SIDES: Cell<bool> = const { Cell::new(false) };
    static XDP_REFUSED: Cell<bool> = const { Cell::new(false) };
    static SPLIT_REFUSED: Cell<bool> = const { Cell::new(false) };
    static CLSACT_REFUSED: Cell<bool> = const { Cell::new(false) };
}

/// From now on every filter of this thread stages tables with their destinations as their sources: no publish passes its
/// self-test.
pub fn swap_sides(swap: bool) {
    SWAPS_SIDES.set(swap);
}

pub(crate) fn swaps_sides() -> bool {
    SWAPS_SIDES.get()
}

/// From now on this thread finds no tcx, as before Linux 6.6.
pub fn without_tcx(without: bool) {
    WITHOUT_TCX.set(without);
}

/// From now on no device takes a program in XDP from this thread.
pub fn refuse_xdp(refused: bool) {
    XDP_REFUSED.set(refused);
}

pub(crate) fn is_xdp_refused() -> bool {
    XDP_REFUSED.get()
}

/// From now on the kernel takes no program from this thread that hands frames in several buffers over to another, as where its
/// compiler for the processor has no such jumps.
pub fn refuse_split(refused: bool) {
    SPLIT_REFUSED.set(refused);
}

pub(crate) fn is_split_refused() -> bool {
    SPLIT_REFUSED.get()
}

/// From now on this thread finds no `clsact`, as on a kernel that is built without.
pub fn refuse_clsact(refused: bool) {
    CLSACT_REFUSED.set(refused);
}

pub(crate) fn is_clsact_refused() -> bool {
    CLSACT_REFUSED.get()
}

/// Removes the filter of `clsact` that runs this program on a device, behind the back of the filter whose it is. Did it run there?
///
/// # Errors
/// What the kernel answered.
pub fn remove_clsact_filter(ifindex: u32, program: u32) -> std::io::Result<bool> {
    crate::clsact::remove_from(ifindex, program)
}

pub(crate) fn is_without_tcx() -> bool {
    WITHOUT_TCX.get()
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
