//! The two packed words of the layout, [`SetDescriptor`] and `Node`, and how memory is read. Bit positions are
//! named here and nowhere else.
use super::{LINE_WORDS, Line};

/// Where a chunk's words lie: a kernel map value, a memory map, a vector.
///
/// Implementations must answer for every index, with anything at all if it is out of range: the content decides
/// where a walk goes, and corrupt content must not turn into a fault.
pub trait Words {
    /// The word at this index, below [`super::CHUNK_WORDS`] for sound content.
    fn word(&self, index: u32) -> u64;

    /// The eight words of a line.
    #[inline(always)]
    fn line(&self, number: u16) -> Line {
        let first = u32::from(number) * LINE_WORDS as u32;
        core::array::from_fn(|i| self.word(first + i as u32))
    }

    /// The 32-bit half word at this index; even indices are the low halves.
    #[inline(always)]
    fn half(&self, index: u32) -> u32 {
        (self.word(index / 2) >> (index % 2 * 32)) as u32
    }
}

impl Words for [u64] {
    #[inline(always)]
    fn word(&self, index: u32) -> u64 {
        self.get(index as usize).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn line(&self, number: u16) -> Line {
        let first = usize::from(number) * LINE_WORDS;
        let line = self.get(first..first + LINE_WORDS);
        line.and_then(|line| line.try_into().ok())
            .unwrap_or_default()
    }
}

impl Words for [Line] {
    #[inline(always)]
    fn word(&self, index: u32) -> u64 {
        let index = index as usize;
        self.get(index / LINE_WORDS)
            .map_or(0, |line| line[index % LINE_WORDS])
    }

    #[inline(always)]
    fn line(&self, number: u16) -> Line {
        self.get(usize::from(number)).copied().unwrap_or_default()
    }
}

const LINE: u32 = 0xffff;
const SHIFT_AT: u32 = 16;
const LANES_AT: u32 = 22;
const FLIP_AT: u32 = 24;
const WIDTH_AT: u32 = 25;
// No flag is a sign bit, here and in the descriptor. To ask for the sign is to compare the whole word, and the
// verifier then knows a range of it on either side of the branch, finds no two states alike and walks everything
// below once for each: 31,800 instructions for a pair of lookups instead of 6,900.
const INDEX_AT: u32 = 29;
const TABLE_AT: u32 = 30;

/// A pointer to a leaf, a table or an index line, and how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node(pub u32);

impl Node {
    /// The line number within the chunk.
    #[inline(always)]
    pub const fn line(self) -> u16 {
        (self.0 & LINE) as u16
    }

    /// The answer for an address that has passed an even number of the leaf's boundaries.
    #[inline(always)]
    pub const fn flip(self) -> u32 {
        self.0 >> FLIP_AT & 1
    }

    /// Does it point to neither a table nor an index line?
    #[inline(always)]
    pub const fn is_leaf(self) -> bool {
        self.0 & (1 << INDEX_AT | 1 << TABLE_AT) == 0
    }

    /// Does it point to an index line?
    #[inline(always)]
    pub const fn is_index(self) -> bool {
        self.0 >> INDEX_AT & 1 != 0
    }

    /// Does it point to a table?
    #[inline(always)]
    pub const fn is_table(self) -> bool {
        self.0 >> TABLE_AT & 1 != 0
    }

    /// `child` if this is an index line, else this one again: a leaf loops to itself. No branch: which of the two
    /// it is would be a coin toss to the predictor.
    #[inline(always)]
    pub const fn or_child(self, child: u32) -> Self {
        self.or(child, INDEX_AT)
    }

    /// `entry` if this is a table, else this one again.
    #[inline(always)]
    pub const fn or_entry(self, entry: u32) -> Self {
        self.or(entry, TABLE_AT)
    }

    #[inline(always)]
    const fn or(self, other: u32, bit: u32) -> Self {
        let everywhere = ((self.0 << (31 - bit)) as i32 >> 31) as u32;
        Self(self.0 ^ (self.0 ^ other) & everywhere)
    }

    /// The key's slot in a table.
    #[inline(always)]
    pub const fn slot(self, key: u64) -> u32 {
        let slots = 1u32 << (self.0 >> WIDTH_AT & 15);
        (key >> self.shift()) as u32 & slots.wrapping_sub(1)
    }

    /// How the address is compared with the line.
    #[inline(always)]
    pub const fn lanes(self) -> Lanes {
        LANES[(self.0 >> LANES_AT & 3) as usize]
    }

    /// The address bits above this many are the ones that are compared.
    #[inline(always)]
    pub const fn shift(self) -> u32 {
        self.0 >> SHIFT_AT & 63
    }
}

#[cfg(feature = "std")]
impl Node {
    /// Every address is a member (`true`) or none: no line is needed.
    pub const fn constant(flip: bool) -> Self {
        Self((flip as u32) << FLIP_AT)
    }

    /// A leaf at this line of the set.
    pub const fn leaf(line: usize, window: Window, flip: bool) -> Self {
        let how = window.shift << SHIFT_AT | window.lanes << LANES_AT;
        Self(line as u32 & LINE | how | (flip as u32) << FLIP_AT)
    }

    /// The widest table there can be, as a number of key bits.
    pub const MAX_WIDTH: u32 = 15;

    /// A table of 2^`width` slots of 2^`shift` addresses at this line of the set.
    pub const fn table(line: usize, shift: u32, width: u32) -> Self {
        Self(line as u32 & LINE | shift << SHIFT_AT | width << WIDTH_AT | 1 << TABLE_AT)
    }

    /// A table's width.
    pub const fn width(self) -> u32 {
        self.0 >> WIDTH_AT & 15
    }

    /// The same, `distance` lines further on.
    pub const fn moved(self, distance: u16) -> Self {
        let line = self.line().wrapping_add(distance) as u32;
        Self(self.0 & !LINE | line)
    }

    /// The same line read as an index line.
    pub const fn index(self) -> Self {
        Self(self.0 | 1 << INDEX_AT)
    }
}

/// How a word is divided: `width` − 1 bits for a boundary and one on top that a comparison borrows from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes {
    /// The lowest bit of every lane; multiplying with it copies a value into all lanes.
    pub ones: u64,
    /// The value bits of the lowest lane.
    pub value: u64,
    /// The top bit of every lane.
    pub tops: u64,
}

impl Lanes {
    const fn new(ones: u64, width: u32) -> Self {
        let top = 1 << (width - 1);
        Self {
            ones,
            value: top - 1,
            tops: ones * top,
        }
    }
}

/// By the two bits of a node. The first compares nothing: the flip alone is the answer.
pub(super) const LANES: [Lanes; 4] = [
    Lanes::new(0, 1),
    Lanes::new(1, 64),
    Lanes::new(0x0000_0001_0000_0001, 32),
    Lanes::new(0x0001_0001_0001_0001, 16),
];

/// Which address bits a line's boundaries hold.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Bits below the lane's lowest.
    pub shift: u32,
    /// The index into [`LANES`].
    pub lanes: u32,
}

#[cfg(feature = "std")]
impl Window {
    /// The narrowest that distinguishes boundaries with `zeros` trailing zero bits when they, and every address that
    /// comes here, differ in the low `bits` bits only. If that takes all 64 no lane has them: it holds nothing.
    pub const fn new(bits: u32, zeros: u32) -> Self {
        let shift = if zeros < 63 { zeros } else { 63 };
        let lanes = match bits.saturating_sub(shift) {
            0..=15 => 3,
            16..=31 => 2,
            32..=63 => 1,
            _ => 0,
        };
        Self { shift, lanes }
    }

    /// Boundaries per word: 0, 1, 2 or 4.
    const fn per_word(self) -> usize {
        1 << self.lanes >> 1
    }

    /// Boundaries in a leaf.
    pub const fn leaf_capacity(self) -> usize {
        LINE_WORDS * self.per_word()
    }

    /// Separators in an index line, whose first word is the pointer to its children.
    pub const fn index_capacity(self) -> usize {
        (LINE_WORDS - 1) * self.per_word()
    }

    /// Sorted boundaries as words of lanes. Unused lanes hold just the top bit, which no address passes.
    pub fn pack(self, boundaries: &[u64], words: &mut [u64]) {
        let Lanes { value, tops, .. } = LANES[self.lanes as usize];
        let width = 64 / self.per_word();
        words.fill(tops);
        for (word, boundaries) in words.iter_mut().zip(boundaries.chunks(self.per_word())) {
            for (lane, &boundary) in boundaries.iter().enumerate() {
                let bits = (boundary >> self.shift & value) | (value + 1);
                *word ^= bits << (lane * width);
            }
        }
    }
}

const BASE_AT: u32 = 22;
const BASE_BITS: u32 = 21;
const LAST_AT: u32 = BASE_AT + BASE_BITS;
const LAST_BITS: u32 = 18;
const LONG_LIST_AT: u32 = 61;
const HAS_TABLE_AT: u32 = 62;

/// One compiled set within its chunk: all a lookup needs besides the chunk itself.
///
/// Replacing it by another is one 64-bit store. Zero is the empty set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct SetDescriptor(pub u64);

impl SetDescriptor {
    /// The set without members.
    pub const EMPTY: Self = Self(0);

    /// Is there a table? If not, the low half is the node of the only leaf.
    #[inline(always)]
    pub(super) const fn has_table(self) -> bool {
        self.0 >> HAS_TABLE_AT & 1 != 0
    }

    /// Are there prefixes longer than /64?
    #[inline(always)]
    pub(super) const fn has_long_list(self) -> bool {
        self.0 >> LONG_LIST_AT & 1 != 0
    }

    /// The node, where there is no table; its line and shift are the table's where there is one.
    #[inline(always)]
    pub(super) const fn node(self) -> Node {
        Node(self.0 as u32)
    }

    /// The number of the first slot.
    #[inline(always)]
    pub(super) const fn base(self) -> u64 {
        self.0 >> BASE_AT & ((1 << BASE_BITS) - 1)
    }

    /// The index of the last slot, which also stands for every address outside the table.
    #[inline(always)]
    pub(super) const fn last(self) -> u64 {
        self.0 >> LAST_AT & ((1 << LAST_BITS) - 1)
    }
}

#[cfg(feature = "std")]
impl SetDescriptor {
    /// Slots are never smaller than this many bits: their numbers must fit the base.
    pub(super) const MIN_SHIFT: u32 = 64 - BASE_BITS;
    /// Slots a table can have.
    pub(super) const MAX_SLOTS: u64 = 1 << LAST_BITS;

    /// Of a set that is one node.
    pub(super) const fn of_node(node: Node) -> Self {
        Self(node.0 as u64)
    }

    /// Of a set with a table that starts at this line.
    pub(super) const fn of_table(line: usize, shift: u32, base: u64, last: u64) -> Self {
        let place = line as u64 & LINE as u64 | (shift as u64) << SHIFT_AT;
        Self(place | base << BASE_AT | last << LAST_AT | 1 << HAS_TABLE_AT)
    }

    /// The same set, with a long list that ends where this line begins.
    pub(super) const fn with_long_list(self, line: usize) -> Self {
        Self(self.0 & !(LINE as u64) | line as u64 & LINE as u64 | 1 << LONG_LIST_AT)
    }
}
