//! What one peer's tables may take of the memory that all share: as much as there is, but for a part that is kept for each
//! other peer until it has it. So a peer that announces without end fills what nobody needs, and its own last table stays.
use filter_core::layout::{MAX_INTERFACES, record};
use filter_core::table::CHUNK_LINES;

use super::Arena;
use super::sets::{self, Stored};
use crate::error::Error;

/// One part of so many of the memory is kept, in equal shares, for peers with small tables.
const KEPT_PART: usize = 8;

impl Arena {
    /// Is there room for a table of so many lines beside what is kept for the other peers? One that is no larger than the one
    /// it replaces may use that for a while. To be asked once it is stored: what it replaces counts as long as it is in force.
    pub(super) fn check_room(&self, slot: u32, lines: usize) -> Result<(), Error> {
        let capacity = self.sets.memory.chunks() * CHUNK_LINES;
        let peers = MAX_INTERFACES..self.sets.memory.slot_count();
        let share = capacity / KEPT_PART / peers.len().max(1);
        if !peers.contains(&slot) || lines <= share.max(self.taken_by(slot)) {
            return Ok(());
        }
        let others = peers.filter(|&other| other != slot);
        let kept: usize = others
            .map(|peer| share.saturating_sub(self.taken_by(peer)))
            .sum();
        let free = self.sets.free.lines() + self.sets.retiring();
        if free >= kept {
            return Ok(());
        }
        Err(sets::too_large(format!(
            "beside its {lines} lines of 64 bytes {free} of {capacity} would be free, {kept} of them are kept for other peers: raise `table_memory_mib`"
        )))
    }

    /// What a slot's table takes up.
    fn taken_by(&self, slot: u32) -> usize {
        let live = self.live.get(&slot).map(|live| live.lines);
        let adopted = self.adopted.get(&slot).map(|(_, extents)| {
            let lines = extents.iter().map(|extent| extent.lines as usize);
            lines.sum()
        });
        live.or(adopted).unwrap_or(0)
    }
}

/// What a record and these sets take up.
pub(super) fn lines_of<'a>(sets: impl IntoIterator<Item = &'a Stored>) -> usize {
    let sets = sets.into_iter();
    record::LINES + sets.map(Stored::line_count).sum::<usize>()
}
