//! The compiled tables in the kernel: an arena of 64-byte lines in our memory and the program's at once.
//!
//! Publishing a peer writes what is new of its sets to free lines (`sets`), then its record (`staged`), then stores one
//! word: the slot's. A packet reads that word once, so it sees the old sets or the new ones. Lines of the old ones are used again
//! only after a grace period (`epochs`) in which every packet that may still read them has ended.
//!
//! There is one writer; the map's first line names this program and its schema, so foreign or damaged state is refused and never
//! adopted.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aya::maps::MapData;
use filter_core::layout::record::{self, Published};
use filter_core::layout::{SCHEMA, map};
use filter_core::set::Ranges;
use filter_core::table::{self, CHUNK_BYTES, CHUNK_LINES, LINE_WORDS, Line};

use crate::error::Error;
use crate::tables::{Fault, Memory, PeerTables, TableStore};

#[cfg(feature = "test-hooks")]
mod damage;
mod epochs;
mod extent;
mod free;
mod manifest;
mod memory;
#[cfg(feature = "test-hooks")]
mod poison;
mod room;
mod sets;
mod staged;

use extent::Extent;
use memory::Mapped;
use sets::{Sets, Stored};
use staged::Staged;

#[cfg(feature = "test-hooks")]
pub use poison::poison_in_use;

const MAGIC: u64 = 0x6263_7033_3861_7265;

/// What a slot's word leads to.
#[derive(Debug)]
struct Slot {
    record: Extent,
    /// What record and sets take up, lines that others share too.
    lines: usize,
    generation: u32,
    sets: [Arc<Stored>; record::SETS],
}

/// The maps that an arena is made of.
pub(crate) struct Maps<'a> {
    pub tables: &'a MapData,
    pub slots: &'a MapData,
    pub departed: &'a MapData,
}

/// See the file's head.
pub(crate) struct Arena {
    sets: Sets,
    live: HashMap<u32, Slot>,
    /// Slots an earlier process left, whose sets are known by place only.
    adopted: HashMap<u32, (u32, Vec<Extent>)>,
    staged: Option<Staged>,
    #[cfg(feature = "test-hooks")]
    damage: Option<crate::hooks::Damage>,
    #[cfg(feature = "test-hooks")]
    is_damaged: bool,
}

impl Arena {
    /// Takes over the maps: what an earlier process left in them stays in force, but for what it showed in the
    /// self-test's slot, and what it watched for.
    pub(crate) fn new(maps: &Maps<'_>, shown: u32) -> Result<Self, Error> {
        let mapped = Mapped::new(maps.tables, maps.slots, maps.departed)?;
        let mut arena = Self {
            sets: Sets::new(mapped)?,
            live: HashMap::new(),
            adopted: HashMap::new(),
            staged: None,
            #[cfg(feature = "test-hooks")]
            damage: None,
            #[cfg(feature = "test-hooks")]
            is_damaged: false,
        };
        arena.sets.free.take(HEADER);
        arena.adopt(shown)?;
        Ok(arena)
    }

    /// Reads the header line and every slot's record. Lines of records in force are marked as used.
    fn adopt(&mut self, shown: u32) -> Result<(), Error> {
        let ours = header(self.sets.memory.chunks());
        match self.sets.memory.read(HEADER.chunk, 0..1).as_slice() {
            [found] if *found == ours => {}
            [found] if *found == [0; LINE_WORDS] => {
                self.sets.memory.write(HEADER, &[ours]);
                return Ok(());
            }
            _ => {
                return Err(foreign(
                    "its first line is not the header of this version's arena",
                ));
            }
        }
        self.show(shown, None);
        let slots = self.sets.memory.slot_count();
        (slots..2 * slots).for_each(|departed| self.show(departed, None));
        for slot in 0..self.sets.memory.slot_count() {
            let word = self.sets.memory.slot(slot).load(Ordering::Acquire);
            let Some(published) = Published::from_word(word) else {
                continue;
            };
            let (generation, extents) = self
                .in_force(slot, published)
                .ok_or_else(|| foreign(&format!("the record of slot {slot} is damaged")))?;
            for &extent in &extents {
                self.sets.free.take_shared(extent);
            }
            self.adopted.insert(slot, (generation, extents));
        }
        Ok(())
    }

    /// The generation of a slot's record and all lines that it leads to; `None` if anything is damaged.
    fn in_force(&self, slot: u32, published: Published) -> Option<(u32, Vec<Extent>)> {
        let record = record_extent(published.place());
        let words = self.lines_of(record)?;
        let words: &[u64; record::WORDS] = words.as_flattened().try_into().ok()?;
        let places = record::places(words).filter(|_| record::slot(words) == slot)?;
        let mut extents = vec![record];
        for place in places {
            let head = Extent {
                chunk: place.chunk,
                line: place.line,
                lines: place.lines.into(),
            };
            let lines = self.lines_of(head)?;
            extents.push(head);
            if place.manifest_lines > 0 {
                let manifest = lines.get(..usize::from(place.manifest_lines))?;
                let piece = |(line, lines): (u16, u16)| Extent {
                    chunk: place.chunk,
                    line,
                    lines: lines.into(),
                };
                extents.extend(manifest::read(manifest)?.into_iter().map(piece));
            }
        }
        extents.retain(|extent| extent.lines > 0);
        let sound = extents.iter().all(|&extent| self.is_within(extent));
        sound.then(|| (record::generation(words), extents))
    }

    fn lines_of(&self, extent: Extent) -> Option<Vec<Line>> {
        let first = usize::from(extent.line);
        let read = |extent: Extent| {
            self.sets
                .memory
                .read(extent.chunk, first..first + extent.lines as usize)
        };
        self.is_within(extent).then(|| read(extent))
    }

    fn is_within(&self, extent: Extent) -> bool {
        usize::from(extent.chunk) < self.sets.memory.chunks()
            && usize::from(extent.line) + extent.lines as usize <= CHUNK_LINES
    }

    fn release_all(&mut self, sets: impl IntoIterator<Item = Arc<Stored>>) {
        sets.into_iter().for_each(|set| self.sets.release(set));
    }

    /// What a slot had before goes.
    fn let_go(&mut self, slot: u32, before: Option<Slot>) {
        if let Some(before) = before {
            self.sets.retire(before.record);
            self.release_all(before.sets);
        }
        for extent in self
            .adopted
            .remove(&slot)
            .into_iter()
            .flat_map(|(_, extents)| extents)
        {
            if self.sets.free.last_share(extent) {
                self.sets.retire(extent);
            }
        }
    }

    /// Fills the lines a slot is using: what reusing them too early would do.
    #[cfg(feature = "test-hooks")]
    fn poison_slot(&self, slot: u32) {
        let sets = self.live.get(&slot).map(|live| &live.sets);
        sets.into_iter()
            .flatten()
            .for_each(|set| self.sets.poison(set));
    }
}

impl TableStore for Arena {
    fn stage(
        &mut self,
        slot: u32,
        shown: Option<u32>,
        table: &PeerTables<'_>,
    ) -> Result<(), Error> {
        self.discard_staged();
        self.make(slot, shown, table)
    }

    fn check(&self, table: &PeerTables<'_>, changed: &[Ranges; record::SETS]) -> Result<(), Fault> {
        self.check_staged(table, changed)
    }

    fn commit(&mut self) -> Result<(), Error> {
        self.commit_staged();
        Ok(())
    }

    fn discard(&mut self) {
        self.discard_staged();
    }

    #[cfg(feature = "test-hooks")]
    fn damage(&mut self, damage: Option<crate::hooks::Damage>) {
        self.damage = damage;
    }

    #[cfg(feature = "test-hooks")]
    fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    fn retire(&mut self, slot: u32) -> Result<(), Error> {
        self.show(slot, None);
        let before = self.live.remove(&slot);
        self.let_go(slot, before);
        self.sets.settle();
        Ok(())
    }

    fn departed_slot(&self, slot: u32) -> Option<u32> {
        Some(self.sets.memory.slot_count() + slot)
    }

    fn place(&self, slot: u32) -> Option<u32> {
        let record = self.live.get(&slot)?.record;
        Some(u32::from(record.chunk) << 16 | u32::from(record.line))
    }

    fn generation(&self, slot: u32) -> Option<u32> {
        let live = self.live.get(&slot).map(|live| live.generation);
        live.or_else(|| self.adopted.get(&slot).map(|&(generation, _)| generation))
    }

    fn memory(&self) -> Memory {
        let lines = self.sets.memory.chunks() * CHUNK_LINES;
        let retiring = self.sets.retiring();
        let used = lines - self.sets.free.lines() - retiring;
        let bytes = |lines: usize| (lines * table::LINE_BYTES) as u64;
        Memory {
            used: bytes(used),
            retiring: bytes(retiring),
            largest_free: bytes(self.sets.free.largest()),
            capacity: bytes(lines),
        }
    }
}

/// The arena's first line: never a record, so place 0 can mean "none".
const HEADER: Extent = Extent {
    chunk: 0,
    line: 0,
    lines: 1,
};

fn header(chunks: usize) -> Line {
    let mut line = [
        MAGIC,
        u64::from(SCHEMA),
        chunks as u64,
        CHUNK_BYTES as u64,
        0,
        0,
        0,
        0,
    ];
    line[7] = record::checksum(&line[..7]);
    line
}

fn record_extent(place: u32) -> Extent {
    Extent {
        chunk: (place >> 16) as u16,
        line: place as u16,
        lines: record::LINES as u32,
    }
}

fn foreign(why: &str) -> Error {
    Error::ForeignState {
        path: map::TABLES.into(),
        why: why.to_owned(),
    }
}
