//! The compiled table: is this address in that set, in a few cache lines, the same code in the kernel and in
//! user space. It knows addresses, nothing of peers, and it never allocates or panics while it looks.
//!
//! # The idea
//!
//! A set is the ascending list of its *boundaries*, the addresses at which membership flips. An address is a
//! member if the number of boundaries at or below it is odd. So neither prefixes nor values are stored: the list
//! is cut into lines of 64 bytes, and the rest of the structure finds the one line that matters.
//!
//! ```text
//!   descriptor (64 bits, in the peer's record)
//!   ┌────────┬────────┬────────┬────────┐        table: one node per slot of 2^shift addresses
//!   │ line   │ shift  │ base   │ last   │─────▶ ┌────┬────┬────┬────┬────┬────┬────┐
//!   └────────┴────────┴────────┴────────┘       │ ░░ │ A  │ A  │ ██ │ B  │ ░░ │ C  │
//!   slot = min((address >> shift) − base, last) └────┴─┬──┴─┬──┴────┴─┬──┴────┴─┬──┘
//!   ░░ nobody  ██ everybody: no line at all            └─┬──┘         │         │
//!                 neighbouring slots share a leaf ───────┘            │         │
//!            ┌───────────────────────────┐   ┌────────────────────────▼──┐      │ a crowded slot has
//!     leaf A │ 8 × 63, 16 × 31 or 32 ×  │   │ leaf B                    │      ▼ index lines above its leaves
//!            │ 15 bits, sorted; the odd  │   └───────────────────────────┘ ┌──────────┬──────────────┐
//!            │ number passed = a member  │                         index C │ 1st child│ 7 × 63 | 31 |15 bits
//!            └───────────────────────────┘                                 └────┬─────┴──────────────┘
//!                                                 child = 1st child + number passed: ┌▼─────┬──────┬───
//!                                                                                    │ leaf │ leaf │ …
//!
//!   node (32 bits)  31 index line?  24 flip  23–22 lanes  21–16 shift  15–0 line
//!   descriptor      a node if bit 63 is clear, else   63 table  62 long list  61–44 last  43–22 base  21–16 shift  15–0 line
//! ```
//!
//! * A boundary is stored as the few bits in which the addresses that come to its line differ: `(address >>
//!   shift)`, cut to the lane. A line then holds 8, 16 or 32 of them, and a global IPv4 table needs 15 bits nearly
//!   everywhere. The spare bit on top of each lane catches the borrow of one wide subtraction, so a line is
//!   compared in eight of them, without a branch.
//! * The node says how to read the line it points to. That is known before the line arrives, so the address is
//!   prepared while the cache misses.
//! * `flip` is the answer below the line's first boundary.
//! * A set that fits one leaf has no table: its descriptor is the node. The empty set and the default route need
//!   no line at all, and the descriptor 0 is the empty set.
//! * The table is as large as the set deserves and covers only the span the set uses. Adversarial clustering costs
//!   index lines, logarithmically few: at most [`MAX_STEPS`] deep for any set that fits a chunk.
//!
//! IPv4 and IPv6 differ in nothing but the width: everything above is about the top 64 bits of a left-aligned
//! address. A /64 that is a member in part counts as none there, and descriptor bit 62 says that the exact 128-bit
//! boundaries of all such /64s lie, sorted, in the lines before the table: a binary search that only addresses
//! the fast path has refused ever pay for.
//!
//! Line numbers are those of one *chunk*, the 4 MiB a kernel map value may have at most (`KMALLOC_MAX_SIZE` in
//! 5.15 and 6.1), so they need 16 bits and a masked offset can never leave the value: whatever the content, a
//! lookup ends, in bounds.
mod lookup;
mod node;

#[cfg(feature = "std")]
mod compile;
#[cfg(any(test, feature = "shapes"))]
pub mod shapes;
#[cfg(test)]
mod tests;

pub use lookup::{contains, contains_both};
pub use node::{SetDescriptor, Words};

#[cfg(feature = "std")]
pub use compile::{CompiledSet, TableError, compile};

/// The unit of the layout: one cache line.
pub type Line = [u64; LINE_WORDS];

/// 64-bit words in a line.
pub const LINE_WORDS: usize = 8;
/// Bytes in a line.
pub const LINE_BYTES: usize = LINE_WORDS * 8;
/// Lines in a chunk: what 16 bits can number.
pub const CHUNK_LINES: usize = 1 << 16;
/// Bytes in a chunk: the largest value of a kernel map, and where a compiled set must fit.
pub const CHUNK_BYTES: usize = CHUNK_LINES * LINE_BYTES;
/// Words in a chunk. A power of two: an index is made safe with `& (CHUNK_WORDS − 1)`.
pub const CHUNK_WORDS: usize = CHUNK_BYTES / 8;
/// Index lines between table and leaf, at most: eight children each over eight boundaries a leaf reach 2^21,
/// and a chunk holds fewer than 2^19 of those.
pub const MAX_STEPS: u32 = 6;
