//! A peer's record in the arena, and the word that publishes it. Never says what the sets hold.
//!
//! Two lines, of which the program reads the first:
//!
//! | words | content |
//! |---|---|
//! | 0 | generation (high half), counter slot (low half) |
//! | 1 | families and known sides: the bits of [`Rules`] |
//! | 2–5 | set descriptors: IPv4 sources, IPv4 destinations, IPv6 sources, IPv6 destinations |
//! | 6 | the sets' chunks, 16 bits each, in that order from the low end |
//! | 8–10 | the sets' first lines, line counts, and how many of those are manifests, 16 bits each: what a restarted loader marks as used |
//! | 15 | checksum of words 0–14 |
use core::num::NonZeroU64;

use super::{Family, Rules};

/// Lines of 64 bytes.
pub const LINES: usize = 2;
/// 64-bit words.
pub const WORDS: usize = 16;
/// Sets: a source and a destination set for each family.
pub const SETS: usize = 4;

const RULES_WORD: usize = 1;
const DESCRIPTORS: usize = 2;
const CHUNKS: usize = 6;
const FIRST_LINES: usize = 8;
const LINE_COUNTS: usize = 9;
const MANIFESTS: usize = 10;
const CHECKSUM: usize = 15;

/// A record without sets.
#[must_use]
pub const fn new(slot: u32, generation: u32, rules: Rules) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    words[0] = (generation as u64) << 32 | slot as u64;
    words[RULES_WORD] = rules.bits() as u64;
    words
}

/// Where a set lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its chunk.
    pub chunk: u16,
    /// The first line of its head.
    pub line: u16,
    /// Lines of its head.
    pub lines: u16,
    /// How many of them say which other lines it takes up.
    pub manifest_lines: u16,
}

/// Puts a set in.
pub const fn set(words: &mut [u64; WORDS], index: usize, descriptor: u64, place: Place) {
    words[DESCRIPTORS + index] = descriptor;
    words[CHUNKS] |= (place.chunk as u64) << (16 * index);
    words[FIRST_LINES] |= (place.line as u64) << (16 * index);
    words[LINE_COUNTS] |= (place.lines as u64) << (16 * index);
    words[MANIFESTS] |= (place.manifest_lines as u64) << (16 * index);
}

/// Writes the checksum: the last thing done to a record.
pub fn seal(words: &mut [u64; WORDS]) {
    words[CHECKSUM] = checksum(&words[..CHECKSUM]);
}

/// Where each set lies; `None` if the checksum is wrong.
#[must_use]
pub fn places(words: &[u64; WORDS]) -> Option<[Place; SETS]> {
    if words[CHECKSUM] != checksum(&words[..CHECKSUM]) {
        return None;
    }
    let part = |word: usize, index: usize| (words[word] >> (16 * index)) as u16;
    Some(core::array::from_fn(|i| Place {
        chunk: part(CHUNKS, i),
        line: part(FIRST_LINES, i),
        lines: part(LINE_COUNTS, i),
        manifest_lines: part(MANIFESTS, i),
    }))
}

/// FNV-1a over words: detects damage and foreign bytes, not malice; only root can write the map.
#[must_use]
pub fn checksum(words: &[u64]) -> u64 {
    words.iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| {
        (hash ^ word).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The generation.
#[must_use]
pub const fn generation(words: &[u64; WORDS]) -> u32 {
    (words[0] >> 32) as u32
}

/// The slot it was made for.
#[must_use]
pub const fn slot(words: &[u64; WORDS]) -> u32 {
    words[0] as u32
}

/// What the program reads: the record's first line.
pub type Head = [u64; 8];

/// Descriptor and chunk of the family's source set and destination set. By arithmetic: a branch on the family would be
/// one more for the program.
#[must_use]
#[inline(always)]
pub const fn head_sets(head: &Head, family: Family) -> [(u64, u16); 2] {
    let first = DESCRIPTORS + 2 * family as usize;
    let chunks = head[CHUNKS] >> (32 * family as u32);
    [
        (head[first], chunks as u16),
        (head[first + 1], (chunks >> 16) as u16),
    ]
}

/// A slot's word: where its record lies, and what the program asks about the peer before it asks about addresses.
/// So the record's line is fetched while the rest is decided, and storing the word replaces all of it at once.
///
/// | bits | content |
/// |---|---|
/// | 0–15 | the record's line in its chunk |
/// | 16–31 | its chunk |
/// | 32–33 | families |
/// | 34–37 | known sides: sources of IPv4 and IPv6, destinations of IPv4 and IPv6 |
/// | 38 | what left the peer's sets although nothing withdrew it is watched for: see [`super::Evidence`] |
/// | 40–63 | the slot itself |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Published(NonZeroU64);

const PUBLISHED_RULES: u32 = 32;
const PUBLISHED_WATCHED: u32 = 38;
const PUBLISHED_SLOT: u32 = 40;

impl Published {
    /// Of the record at this chunk and line; `None` for the arena's first line, which is no record's.
    #[must_use]
    pub const fn new((chunk, line): (u16, u16), slot: u32, rules: Rules) -> Option<Self> {
        if chunk == 0 && line == 0 {
            return None;
        }
        Self::from_word(
            line as u64
                | (chunk as u64) << 16
                | (rules.bits() as u64) << PUBLISHED_RULES
                | (slot as u64) << PUBLISHED_SLOT,
        )
    }

    /// As it lies in the map; 0 is "nothing".
    #[must_use]
    #[inline(always)]
    pub const fn from_word(word: u64) -> Option<Self> {
        match NonZeroU64::new(word) {
            Some(word) => Some(Self(word)),
            None => None,
        }
    }

    /// As it lies in the map.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0.get()
    }

    /// Chunk (high half) and line (low half) of the record.
    #[must_use]
    #[inline(always)]
    pub const fn place(self) -> u32 {
        self.0.get() as u32
    }

    /// What is asked about the peer before its addresses.
    #[must_use]
    #[inline(always)]
    pub const fn rules(self) -> Rules {
        Rules::from_bits((self.0.get() >> PUBLISHED_RULES) as u8)
    }

    /// Is what left the peer's sets watched for?
    #[must_use]
    #[inline(always)]
    pub const fn is_watched(self) -> bool {
        self.0.get() >> PUBLISHED_WATCHED & 1 != 0
    }

    /// The same, watched for or not.
    #[must_use]
    pub const fn watched(self, is_watched: bool) -> Self {
        let others = self.0.get() & !(1 << PUBLISHED_WATCHED);
        // With this bit set it is not zero, and without it it is as it was.
        match NonZeroU64::new(others | (is_watched as u64) << PUBLISHED_WATCHED) {
            Some(word) => Self(word),
            None => self,
        }
    }

    /// The slot.
    #[must_use]
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        (self.0.get() >> PUBLISHED_SLOT) as u32
    }
}
