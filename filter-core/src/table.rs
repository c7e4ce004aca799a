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
//!  descriptor, 64 bits, in the peer's record          table: a node for each slot of 2^shift addresses
//!  ┌──────┬───────┬──────┬──────┐                    ┌─────┬─────┬─────┬─────┬─────┬─────┬─────┬─────┐
//!  │ line │ shift │ base │ last │──────────────────▶ │ no  │  A  │  A  │ yes │  B  │ no  │  C  │ no  │
//!  └──────┴───────┴──────┴──────┘                    └─────┴──┬──┴──┬──┴─────┴──┬──┴─────┴──┬──┴─────┘
//!  slot = min((address >> shift) − base, last)                │     │           │           │
//!                                            ┌────────────────┴─────┘           │           │
//!                       sparse slots share A ▼         crowded: index lines B   ▼           │
//!                       ┌───────────────────────┐      ┌───────┬──────────────────┐         │
//!                       │ leaf: 8 words of      │      │ child │ 7 words of       │         │
//!                       │ boundaries, ascending │      └───┬───┴──────────────────┘         │
//!                       └───────────────────────┘          ▼ child + number passed          │
//!                       odd number passed: member          ┌──────┬──────┬──────┬───        │
//!                                                          │ leaf │ leaf │ leaf │ …         │
//!                                                          └──────┴──────┴──────┴───        │
//!                                   very crowded: a table C of its own, once, without base  ▼
//!                                   ┌─────┬─────┬─────┬──── (address >> shift) mod 2^width ───
//!                                   │ no  │  D  │  E  │ …   leaves and index lines as above
//!                                   └─────┴─────┴─────┴────
//!
//!  descriptor   62 has a table   61 has a long list   60–43 last   42–22 base   21–16 shift   15–0 line
//!               without a table, the low half is the node of the only leaf
//!  node         30 table   29 index line   28–25 width   24 flip   23–22 lanes   21–16 shift   15–0 line
//!  lanes        0: none   1: 1 × 63 bits a word   2: 2 × 31 bits   3: 4 × 15 bits
//! ```
//!
//! * A boundary is stored as the few bits that addresses coming to its line can differ in: `address >> shift`, cut
//!   to the lane. So a line holds 8, 16 or 32 of them, and nearly everywhere 15 bits do for the global IPv4 table.
//!   The spare bit on top of each lane catches the borrow of a subtraction: a line is compared in eight wide ones,
//!   without a branch.
//! * The node says how to read the line it points to. That is known before the line arrives, so the address is
//!   prepared while the cache misses. `flip` is the answer below the line's first boundary.
//! * A set that fits one leaf has no table: its descriptor is the node. The empty set and the default route need
//!   no line at all, and the descriptor 0 is the empty set.
//! * The table has about one slot per range and covers only the span that the set uses; the last slot answers for
//!   everything outside. However the boundaries crowd, there are at most [`MAX_STEPS`] index lines to a leaf.
//!
//! IPv4 and IPv6 differ in nothing: all this is about the top 64 bits of a left-aligned address. A /64 that is a
//! member in part counts as none there; the exact 128-bit boundaries of all such /64s lie sorted in front of the
//! line that the descriptor names, and after them their number and a filter of 64 bits. That *long list* is searched, by
//! halves, for addresses that the walk has refused and the filter has not: a permitted packet pays for it only where it
//! needs it.
//!
//! Line numbers are those of one *chunk*, the 4 MiB a kernel map value may have at most (`KMALLOC_MAX_SIZE` in 5.15
//! and 6.1): 16 bits name a line, and a masked offset cannot leave the value. Whatever the content, a lookup ends,
//! and in bounds.
mod lookup;
mod node;

#[cfg(feature = "std")]
mod answers;
#[cfg(feature = "std")]
mod boundaries;
#[cfg(test)]
mod changes;
#[cfg(feature = "std")]
mod compile;
#[cfg(any(test, feature = "shapes"))]
pub mod shapes;
#[cfg(test)]
mod tests;

pub use lookup::{Lookup, contains, contains_both};
pub use node::{SetDescriptor, Words};

#[cfg(feature = "std")]
pub use answers::Answers;
#[cfg(feature = "std")]
pub use compile::{Change, CompiledSet, Layout, PIECE_SLOTS, Piece, Placed, TableError, compile};

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
/// Index lines above a leaf, at most: with the widest lanes, eight children each over leaves of eight boundaries
/// make 2^21, and a chunk holds less than 2^19 of those.
pub const MAX_STEPS: u32 = 6;
