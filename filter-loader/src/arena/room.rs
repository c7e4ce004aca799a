//! What one peer's tables may take of the memory that all share: as much as there is, but for a part that is kept for each
//! other peer until it has it, and for the largest table of the others once more, as both generations are there while one is
//! replaced. So a peer that announces without end fills what nobody needs, and its own last table stays.
use filter_core::layout::{MAX_INTERFACES, record};
use filter_core::table::CHUNK_LINES;

use super::Arena;
use super::sets::{self, Stored};
use crate::error::Error;

/// One part of so many of the memory is kept, in equal shares, for peers with small tables.
const KEPT_PART: usize = 8;

impl Arena {
    /// Is there room for a table of so many lines beside what is kept for the other peers? One that is no larger than the one
    /// it replaces may use that for a while. What departed from a peer's sets has no share: it is watched for as long as there
    /// is room. To be asked once it is stored: what it replaces counts as long as it is in force.
    pub(super) fn check_room(&mut self, slot: u32, lines: usize) -> Result<(), Error> {
        let capacity = self.sets.memory.chunks() * CHUNK_LINES;
        let peers = MAX_INTERFACES..self.sets.memory.slot_count();
        let share = capacity / KEPT_PART / peers.len().max(1);
        let has_share = slot < peers.end;
        if has_share && (!peers.contains(&slot) || lines <= share.max(self.taken_by(slot))) {
            return Ok(());
        }
        let others: Vec<u32> = peers.filter(|&other| other != slot).collect();
        let taken: Vec<usize> = others.iter().map(|&other| self.taken_by(other)).collect();
        let shares: usize = taken.iter().map(|taken| share.saturating_sub(*taken)).sum();
        let kept = shares + taken.iter().max().unwrap_or(&0);
        // Each set is compiled into one run of lines. Half as much again, since tables that do not grow may split it up.
        let largest = others.iter().map(|&other| self.largest_set(other)).max();
        let run = (largest.unwrap_or(0) * 3 / 2).min(CHUNK_LINES);
        if self.has_free(kept, run) {
            return Ok(());
        }
        self.sets.reclaim()?;
        if self.has_free(kept, run) {
            return Ok(());
        }
        let free = &self.sets.free;
        Err(sets::too_large(format!(
            "beside its {lines} lines of 64 bytes {} of {capacity} would be free, the largest piece {}; {kept} of them, {run} in one piece, are kept for other peers: raise `table_memory_mib`",
            free.lines(),
            free.largest()
        )))
    }

    fn has_free(&self, lines: usize, run: usize) -> bool {
        self.sets.free.lines() >= lines && self.sets.free.largest() >= run
    }

    /// What the largest of a slot's sets takes up; of a table that an earlier process left, all of it.
    fn largest_set(&self, slot: u32) -> usize {
        let live = self.live.get(&slot);
        let largest = live.and_then(|live| live.sets.iter().map(|set| set.line_count()).max());
        largest.unwrap_or_else(|| self.taken_by(slot))
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
