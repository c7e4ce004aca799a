//! The arena's maps in our memory: chunks of lines, the slots' words, and the words of what departed from their sets. The only place of the arena that touches
//! mapped memory. Never knows what a line holds.
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapData;
use filter_core::layout::map;
use filter_core::table::{CHUNK_BYTES, CHUNK_WORDS, LINE_WORDS, Line, Words};
use memmap2::MmapRaw;

use super::extent::Extent;
use crate::error::Error;
use crate::mapped;

/// See the file's head.
pub(super) struct Mapped {
    lines: MmapRaw,
    slots: MmapRaw,
    departed: MmapRaw,
    chunks: usize,
    slot_count: u32,
}

impl Mapped {
    /// Maps them.
    pub(super) fn new(
        tables: &MapData,
        slots: &MapData,
        departed: &MapData,
    ) -> Result<Self, Error> {
        let entries = |data: &MapData, name| {
            let info = data.info().map_err(Error::map(name))?;
            Ok::<_, Error>(info.max_entries())
        };
        let chunks = entries(tables, map::TABLES)? as usize;
        let slot_count = entries(slots, map::SLOTS)?;
        Ok(Self {
            lines: mapped::raw(tables, chunks * CHUNK_BYTES, map::TABLES)?,
            slots: mapped::raw(slots, slot_count as usize * 8, map::SLOTS)?,
            departed: mapped::raw(departed, slot_count as usize * 8, map::DEPARTED)?,
            chunks,
            slot_count,
        })
    }

    pub(super) const fn chunks(&self) -> usize {
        self.chunks
    }

    pub(super) const fn slot_count(&self) -> u32 {
        self.slot_count
    }

    /// The word that a packet reads first. Numbers beyond the slots' are those of what departed from the sets of each.
    pub(super) fn slot(&self, slot: u32) -> &AtomicU64 {
        debug_assert!(slot < 2 * self.slot_count);
        let index = (slot % self.slot_count) as usize;
        let words = match slot < self.slot_count {
            true => &self.slots,
            false => &self.departed,
        };
        // SAFETY: both maps have this many slots, the mappings cover all of them, are aligned to a page and live as
        // long as self; the program only reads, whole words.
        unsafe { AtomicU64::from_ptr(words.as_mut_ptr().cast::<u64>().add(index)) }
    }

    /// Plain stores: no packet reads these lines until a slot's store releases them. What does not fit the extent is
    /// not written.
    pub(super) fn write(&self, extent: Extent, lines: &[Line]) {
        debug_assert!(lines.len() <= extent.lines as usize);
        let first = usize::from(extent.line) * LINE_WORDS;
        let words = lines.as_flattened().iter();
        for (i, &word) in words.enumerate().take(extent.lines as usize * LINE_WORDS) {
            self.word(extent.chunk, first + i)
                .store(word, Ordering::Relaxed);
        }
    }

    /// Lines of a chunk.
    pub(super) fn read(&self, chunk: u16, lines: Range<usize>) -> Vec<Line> {
        let word = |i| self.word(chunk, i).load(Ordering::Relaxed);
        let line = |line| std::array::from_fn(|i| word(line * LINE_WORDS + i));
        lines.map(line).collect()
    }

    /// A chunk, for a lookup.
    pub(super) fn chunk(&self, number: u16) -> Chunk<'_> {
        let first = self.word(number, 0);
        // SAFETY: the chunk's first word was brought within the mapping, which holds whole chunks and lives as long as
        // self; the words are only ever accessed as atomics.
        Chunk(unsafe { std::slice::from_raw_parts(first, CHUNK_WORDS) })
    }

    fn word(&self, chunk: u16, index: usize) -> &AtomicU64 {
        let index = usize::from(chunk) % self.chunks * CHUNK_WORDS + index % CHUNK_WORDS;
        // SAFETY: both indices were brought within the mapping just above; it is aligned to a page and lives as
        // long as self; the program only reads, whole words.
        unsafe { AtomicU64::from_ptr(self.lines.as_mut_ptr().cast::<u64>().add(index)) }
    }
}

/// One chunk as a lookup reads it.
#[derive(Clone, Copy)]
pub(super) struct Chunk<'a>(&'a [AtomicU64]);

impl Words for Chunk<'_> {
    fn word(&self, index: u32) -> u64 {
        let word = self.0.get(index as usize);
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn line(&self, number: u16) -> Line {
        let first = usize::from(number) * LINE_WORDS;
        let line = self.0.get(first..first + LINE_WORDS).unwrap_or_default();
        let mut words = line.iter().map(|word| word.load(Ordering::Relaxed));
        std::array::from_fn(|_| words.next().unwrap_or(0))
    }
}
