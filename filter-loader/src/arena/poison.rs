//! Garbage for lines that are given back: what a table shows if its lines are used again too early. Never part of the
//! product: only the feature `test-hooks` has it.
use std::sync::atomic::{AtomicBool, Ordering};

/// What freed lines are filled with: a table of it has no answer that could be right by chance.
pub(super) const POISON: u64 = 0x5a5a_5a5a_5a5a_5a5a;

static POISON_IN_USE: AtomicBool = AtomicBool::new(false);

/// Fills lines while they are still published, as an allocator without a grace period might: a mistake on purpose.
pub fn poison_in_use(poison: bool) {
    POISON_IN_USE.store(poison, Ordering::Relaxed);
}

pub(super) fn poisons_in_use() -> bool {
    POISON_IN_USE.load(Ordering::Relaxed)
}
