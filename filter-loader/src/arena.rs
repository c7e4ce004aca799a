//! The compiled tables in the kernel: an arena of 64-byte lines in our memory and the program's at once.
//!
//! Publishing a peer writes its sets to free lines, then its record, then stores one word: the slot's. A packet
//! reads that word once, so it sees the old sets or the new ones. Lines of the old ones are used again only
//! after a grace period ([`crate::grace`]) in which every packet that may still read them has ended.
//!
//! Equal sets are stored once: at an exchange we advertise the same to hundreds of peers. There is one writer;
//! the map's first line says whose it is, so foreign or damaged state is refused and never adopted.
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapData;
use filter_core::Family;
use filter_core::layout::record::{self, Published};
use filter_core::layout::{SCHEMA, map};
use filter_core::set::Ranges;
use filter_core::table::{self, CHUNK_BYTES, CHUNK_LINES, CHUNK_WORDS, LINE_WORDS, Line};
use memmap2::MmapRaw;

use crate::error::Error;
use crate::free::FreeLines;
use crate::grace::Grace;
#[cfg(feature = "test-hooks")]
use crate::hooks;
use crate::mapped;
use crate::tables::{Memory, Table, Tables};

/// Lines in limbo that make a grace period worth its wait: an eighth of the arena.
const LIMBO_SHARE: usize = 8;
/// Lines of one set: what a record's 16 bits can count.
const MAX_SET_LINES: usize = u16::MAX as usize;
const MAGIC: u64 = 0x6263_7033_3861_7265;

/// A run of lines in one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Extent {
    pub chunk: u16,
    pub line: u16,
    pub lines: u32,
}

/// What names a set's content: two keyed 64-bit hashes of its ranges, and its family. Keys are random, so
/// nobody can make two sets meet.
type Fingerprint = (Family, u64, u64);

/// A set in the arena and how many slots use it.
#[derive(Debug)]
struct Shared {
    extent: Extent,
    descriptor: u64,
    users: u32,
}

#[derive(Clone, Debug)]
struct Slot {
    record: Extent,
    generation: u32,
    sets: [Fingerprint; record::SETS],
}

/// See the file's head.
pub(crate) struct Arena {
    memory: MmapRaw,
    slots: MmapRaw,
    chunks: usize,
    slot_count: u32,
    free: FreeLines,
    limbo: Vec<Extent>,
    limbo_lines: usize,
    grace: Grace,
    shared: HashMap<Fingerprint, Shared>,
    live: HashMap<u32, Slot>,
    /// Slots an earlier process left, whose sets are known by place only.
    adopted: HashMap<u32, (u32, Vec<Extent>)>,
    keys: [RandomState; 2],
}

impl Arena {
    /// Takes over the maps: what an earlier process left in them stays in force.
    pub(crate) fn new(tables: &MapData, slots: &MapData) -> Result<Self, Error> {
        let entries = |data: &MapData, name| {
            data.info()
                .map(|info| info.max_entries())
                .map_err(Error::map(name))
        };
        let (chunks, slot_count) = (
            entries(tables, map::TABLES)? as usize,
            entries(slots, map::SLOTS)?,
        );
        let mut arena = Self {
            memory: mapped::raw(tables, chunks * CHUNK_BYTES, map::TABLES)?,
            slots: mapped::raw(slots, slot_count as usize * 8, map::SLOTS)?,
            chunks,
            slot_count,
            free: FreeLines::new(chunks),
            limbo: Vec::new(),
            limbo_lines: 0,
            grace: Grace::new()?,
            shared: HashMap::new(),
            live: HashMap::new(),
            adopted: HashMap::new(),
            keys: [RandomState::new(), RandomState::new()],
        };
        arena.free.take(HEADER);
        arena.adopt()?;
        Ok(arena)
    }

    /// Reads the header line and every slot's record. Lines of records in force are marked as used.
    fn adopt(&mut self) -> Result<(), Error> {
        let ours = header(self.chunks);
        match self.read(HEADER) {
            found if found == ours => {}
            found if found == [0; LINE_WORDS] => {
                self.write(HEADER, &[ours]);
                return Ok(());
            }
            _ => {
                return Err(foreign(
                    "its first line is not the header of this version's arena",
                ));
            }
        }
        for slot in 0..self.slot_count {
            let word = self.slot(slot).load(Ordering::Acquire);
            let Some(published) = Published::from_word(word) else {
                continue;
            };
            let extent = record_extent(published.place());
            let sound = usize::from(extent.chunk) < self.chunks
                && usize::from(extent.line) + record::LINES <= CHUNK_LINES;
            let words = if sound {
                self.record(extent)
            } else {
                [0; record::WORDS]
            };
            let sets = record::extents(&words).filter(|_| sound && record::slot(&words) == slot);
            let Some(sets) = sets else {
                return Err(foreign(&format!("the record of slot {slot} is damaged")));
            };
            let mut extents = vec![extent];
            extents.extend(sets.into_iter().filter(|&(_, _, lines)| lines > 0).map(
                |(chunk, line, lines)| Extent {
                    chunk,
                    line,
                    lines: lines.into(),
                },
            ));
            for &extent in &extents {
                self.free.take_shared(extent);
            }
            self.adopted
                .insert(slot, (record::generation(&words), extents));
        }
        Ok(())
    }

    fn record(&self, extent: Extent) -> [u64; record::WORDS] {
        let mut words = [0; record::WORDS];
        for (i, line) in words.chunks_exact_mut(LINE_WORDS).enumerate() {
            line.copy_from_slice(&self.read(Extent {
                line: extent.line + i as u16,
                lines: 1,
                ..extent
            }));
        }
        words
    }

    /// The set's place, compiled and written if nobody has it yet. One user more.
    fn share(&mut self, family: Family, ranges: &Ranges) -> Result<Fingerprint, Error> {
        let fingerprint = (
            family,
            self.keys[0].hash_one(ranges.as_slice()),
            self.keys[1].hash_one(ranges.as_slice()),
        );
        if let Some(shared) = self.shared.get_mut(&fingerprint) {
            shared.users += 1;
            return Ok(fingerprint);
        }
        let mut set = table::compile(ranges).map_err(|error| too_large(error.to_string()))?;
        if set.line_count() > MAX_SET_LINES {
            let lines = set.line_count();
            return Err(too_large(format!(
                "{lines} lines of 64 bytes, at most {MAX_SET_LINES} for one set: aggregate its prefixes"
            )));
        }
        let extent = self.allocate(set.line_count())?;
        if let Err(error) = set.place(usize::from(extent.line)) {
            self.free.give(extent);
            return Err(too_large(error.to_string()));
        }
        self.write(extent, set.lines());
        let shared = Shared {
            extent: Extent {
                lines: extent.lines,
                ..extent
            },
            descriptor: set.descriptor().0,
            users: 1,
        };
        self.shared.insert(fingerprint, shared);
        Ok(fingerprint)
    }

    /// One user less; the last one sends the set to limbo.
    fn release(&mut self, fingerprint: Fingerprint) {
        let Some(shared) = self.shared.get_mut(&fingerprint) else {
            return;
        };
        shared.users -= 1;
        if shared.users == 0 {
            let extent = shared.extent;
            self.shared.remove(&fingerprint);
            self.retire_lines(extent);
        }
    }

    fn retire_lines(&mut self, extent: Extent) {
        if extent.lines > 0 {
            self.limbo_lines += extent.lines as usize;
            self.limbo.push(extent);
        }
    }

    /// Lines nobody reads. Waits for a grace period only if limbo is large or there is no other way.
    fn allocate(&mut self, lines: usize) -> Result<Extent, Error> {
        if lines == 0 {
            return Ok(Extent {
                chunk: 0,
                line: 0,
                lines: 0,
            });
        }
        if self.limbo_lines > self.chunks * CHUNK_LINES / LIMBO_SHARE {
            self.reclaim()?;
        }
        if let Some(extent) = self.free.allocate(lines) {
            return Ok(extent);
        }
        self.reclaim()?;
        self.free.allocate(lines).ok_or_else(|| {
            too_large(format!(
                "{lines} lines of 64 bytes are needed in one piece, {} of {} are free, the largest piece has {}: raise `arena_mib`",
                self.free.lines(),
                self.chunks * CHUNK_LINES,
                self.free.largest()
            ))
        })
    }

    /// Waits until no packet can read what is in limbo, and makes it free.
    fn reclaim(&mut self) -> Result<(), Error> {
        if self.limbo.is_empty() {
            return Ok(());
        }
        self.grace.wait()?;
        #[cfg(feature = "test-hooks")]
        self.limbo.iter().for_each(|&extent| self.poison(extent));
        self.limbo_lines = 0;
        for extent in self.limbo.drain(..) {
            self.free.give(extent);
        }
        Ok(())
    }

    /// Writes the record of these sets and makes it the slot's: the one store that publishes.
    fn install(
        &mut self,
        slot: u32,
        table: &Table<'_>,
        sets: [Fingerprint; record::SETS],
    ) -> Result<(), Error> {
        let record = self.allocate(record::LINES)?;
        let mut words = record::new(slot, table.generation, table.families, table.mode);
        for (index, fingerprint) in sets.iter().enumerate() {
            if let Some(shared) = self.shared.get(fingerprint) {
                let Extent { chunk, line, lines } = shared.extent;
                record::set(
                    &mut words,
                    index,
                    shared.descriptor,
                    (chunk, line, lines as u16),
                );
            }
        }
        record::seal(&mut words);
        let lines: Vec<Line> = words
            .chunks_exact(LINE_WORDS)
            .map(|line| line.try_into().unwrap_or([0; LINE_WORDS]))
            .collect();
        self.write(record, &lines);
        #[cfg(feature = "test-hooks")]
        if hooks::poisons_in_use() {
            self.poison_slot(slot);
        }
        let place = (record.chunk, record.line);
        let published = Published::new(place, slot, table.families, table.mode);
        self.slot(slot)
            .store(published.map_or(0, Published::word), Ordering::Release);
        let before = self.live.insert(
            slot,
            Slot {
                record,
                generation: table.generation,
                sets,
            },
        );
        self.let_go(slot, before);
        Ok(())
    }

    /// What a slot had before goes to limbo.
    fn let_go(&mut self, slot: u32, before: Option<Slot>) {
        if let Some(before) = before {
            self.retire_lines(before.record);
            for fingerprint in before.sets {
                self.release(fingerprint);
            }
        }
        if let Some((_, extents)) = self.adopted.remove(&slot) {
            for extent in extents {
                if self.free.last_share(extent) {
                    self.retire_lines(extent);
                }
            }
        }
    }

    /// Compiles what is wanted and publishes it; what could be made before an error is given back.
    fn replace(&mut self, slot: u32, table: &Table<'_>) -> Result<(), Error> {
        let mut sets = Vec::with_capacity(record::SETS);
        for family in Family::ALL {
            for set in [table.sources, table.destinations] {
                match self.share(family, set.family(family)) {
                    Ok(fingerprint) => sets.push(fingerprint),
                    Err(error) => {
                        sets.into_iter()
                            .for_each(|fingerprint| self.release(fingerprint));
                        return Err(error.of_slot(slot));
                    }
                }
            }
        }
        let sets: [Fingerprint; record::SETS] = match sets.try_into() {
            Ok(sets) => sets,
            Err(_) => return Err(too_large("four sets make a table".to_owned())),
        };
        self.install(slot, table, sets).map_err(|error| {
            sets.into_iter()
                .for_each(|fingerprint| self.release(fingerprint));
            error.of_slot(slot)
        })
    }

    /// Fills the lines a slot is using: what reusing them too early would do.
    #[cfg(feature = "test-hooks")]
    fn poison_slot(&self, slot: u32) {
        let sets = self.live.get(&slot).map(|live| live.sets);
        for shared in sets.iter().flatten().filter_map(|set| self.shared.get(set)) {
            self.poison(shared.extent);
        }
    }

    /// Makes a use of freed lines show.
    #[cfg(feature = "test-hooks")]
    fn poison(&self, extent: Extent) {
        let garbage = vec![[hooks::POISON; LINE_WORDS]; extent.lines as usize];
        self.write(extent, &garbage);
    }

    fn slot(&self, slot: u32) -> &AtomicU64 {
        debug_assert!(slot < self.slot_count);
        // SAFETY: the map has this many slots (callers stay below), the mapping covers all of them, is aligned
        // to a page and lives as long as self; the program only reads, whole words.
        unsafe {
            AtomicU64::from_ptr(
                self.slots
                    .as_mut_ptr()
                    .cast::<u64>()
                    .add((slot % self.slot_count) as usize),
            )
        }
    }

    fn word(&self, chunk: u16, index: usize) -> &AtomicU64 {
        let index = usize::from(chunk) % self.chunks * CHUNK_WORDS + index % CHUNK_WORDS;
        // SAFETY: both indices were brought within the mapping just above; it is aligned to a page and lives as
        // long as self; the program only reads, whole words.
        unsafe { AtomicU64::from_ptr(self.memory.as_mut_ptr().cast::<u64>().add(index)) }
    }

    /// Plain stores: nobody reads these lines until the slot's store releases them.
    fn write(&self, extent: Extent, lines: &[Line]) {
        let first = usize::from(extent.line) * LINE_WORDS;
        for (i, &word) in lines.as_flattened().iter().enumerate() {
            self.word(extent.chunk, first + i)
                .store(word, Ordering::Relaxed);
        }
    }

    fn read(&self, extent: Extent) -> Line {
        let first = usize::from(extent.line) * LINE_WORDS;
        std::array::from_fn(|i| self.word(extent.chunk, first + i).load(Ordering::Relaxed))
    }
}

impl Tables for Arena {
    fn publish(&mut self, slot: u32, table: &Table<'_>) -> Result<(), Error> {
        self.replace(slot, table)
    }

    fn publish_rules(&mut self, slot: u32, table: &Table<'_>) -> Result<(), Error> {
        let Some(sets) = self.live.get(&slot).map(|live| live.sets) else {
            return self.replace(slot, table);
        };
        for fingerprint in sets {
            if let Some(shared) = self.shared.get_mut(&fingerprint) {
                shared.users += 1;
            }
        }
        self.install(slot, table, sets).map_err(|error| {
            sets.into_iter()
                .for_each(|fingerprint| self.release(fingerprint));
            error.of_slot(slot)
        })
    }

    fn retire(&mut self, slot: u32) -> Result<(), Error> {
        self.slot(slot).store(0, Ordering::Release);
        let before = self.live.remove(&slot);
        self.let_go(slot, before);
        Ok(())
    }

    fn generation(&self, slot: u32) -> Option<u32> {
        let live = self.live.get(&slot).map(|live| live.generation);
        live.or_else(|| self.adopted.get(&slot).map(|&(generation, _)| generation))
    }

    fn memory(&self) -> Memory {
        let lines = self.chunks * CHUNK_LINES;
        let used = lines - self.free.lines() - self.limbo_lines;
        Memory {
            used: (used * table::LINE_BYTES) as u64,
            retiring: (self.limbo_lines * table::LINE_BYTES) as u64,
            largest_free: (self.free.largest() * table::LINE_BYTES) as u64,
            capacity: (lines * table::LINE_BYTES) as u64,
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

fn too_large(why: String) -> Error {
    Error::TableTooLarge { slot: 0, why }
}
