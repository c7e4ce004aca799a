//! Damages a staged table on purpose, as a mistake of the compiler, the arena or the memory would. Never part of the
//! product: only the feature `test-hooks` has it.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use filter_core::table::Line;

use super::Arena;
use super::extent::Extent;
use super::sets::{Made, Stored};
use super::staged::Staged;
use crate::hooks::{How, Part};

impl Arena {
    /// Does what a [`crate::hooks::Damage`] says to what is staged, if the staged table has such a part that was written anew.
    pub(super) fn do_damage(&mut self) {
        self.is_damaged = false;
        let (Some(damage), Some(staged)) = (self.damage, &self.staged) else {
            return;
        };
        if let (Part::Word, Some(shown)) = (damage.part, staged.shown) {
            // Families and known sides.
            let word = self.sets.memory.slot(shown);
            word.fetch_xor(1 << (32 + damage.pick % 6), Ordering::AcqRel);
            self.is_damaged = true;
            return;
        }
        let lines = Self::lines(damage.part, staged);
        let Some(&line) = lines.get((damage.pick % lines.len().max(1) as u64) as usize) else {
            return;
        };
        let first = usize::from(line.line);
        let before = self.sets.memory.read(line.chunk, first..first + 1);
        let after: Vec<Line> = before
            .into_iter()
            .map(|line| damaged(line, damage.how))
            .collect();
        self.sets.memory.write(line, &after);
        self.is_damaged = true;
    }

    fn lines(part: Part, staged: &Staged) -> Vec<Extent> {
        if part == Part::Record {
            return each(staged.table.record);
        }
        let sets = staged.table.sets.iter().zip(&staged.made);
        sets.flat_map(|(set, made)| match made {
            Made::Before => Vec::new(),
            Made::Following(before) => of_set(part, set, Some(before)),
            Made::Anew => of_set(part, set, None),
        })
        .collect()
    }
}

/// The lines of a part of a set that it does not share with the one before.
fn of_set(part: Part, set: &Stored, before: Option<&Stored>) -> Vec<Extent> {
    let manifest = usize::from(set.manifest_lines);
    let table = set.table - usize::from(set.head.line);
    let Some(layout) = set.layout else {
        return match part {
            Part::Leaves => each(set.head),
            _ => Vec::new(),
        };
    };
    match part {
        Part::Leaves => {
            let shared = |piece: &Arc<Extent>| {
                before.is_some_and(|before| before.pieces.iter().any(|old| Arc::ptr_eq(old, piece)))
            };
            let new = set.pieces.iter().filter(|piece| !shared(piece));
            new.flat_map(|piece| each(**piece)).collect()
        }
        Part::Root => each(set.head.from(table).first(layout.table_lines())),
        Part::LongList => each(set.head.from(manifest).first(table - manifest)),
        Part::Manifest => each(set.head.first(manifest)),
        Part::Record | Part::Word => Vec::new(),
    }
}

fn each(extent: Extent) -> Vec<Extent> {
    let lines = 0..extent.lines as usize;
    lines.map(|line| extent.from(line).first(1)).collect()
}

fn damaged(mut line: Line, how: How) -> Line {
    match how {
        How::Line => line.iter_mut().for_each(|word| *word = !*word),
        How::Word(word) => line[usize::from(word) % line.len()] ^= u64::MAX,
        How::Bit(bit) => line[usize::from(bit) / 64 % line.len()] ^= 1 << (bit % 64),
    }
    line
}
