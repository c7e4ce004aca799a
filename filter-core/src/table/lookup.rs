//! The walk from a descriptor to an answer. It runs in the kernel, so: no index that could panic, no loop without
//! a constant bound, no 128-bit arithmetic, and few branches, each of which the verifier follows both ways.
use super::node::{Node, SetDescriptor, Words};
use super::{LINE_WORDS, Line, MAX_STEPS};
use crate::address::Address;
use crate::verdict::Membership;

/// One question: is the address in the set? The set must be of the address's family.
#[derive(Debug)]
pub struct Lookup<'a, W: ?Sized> {
    /// Where the set's lines lie.
    pub words: &'a W,
    /// The set.
    pub set: SetDescriptor,
    /// The address.
    pub address: Address,
}

impl<W: ?Sized> Clone for Lookup<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W: ?Sized> Copy for Lookup<'_, W> {}

/// Is the address in the set?
#[must_use]
#[inline(always)]
pub fn contains<W: Words + ?Sized>(lookup: Lookup<'_, W>) -> bool {
    let Lookup {
        words,
        set,
        address,
    } = lookup;
    let mut node = enter(words, set, address.hi);
    if node.is_table() {
        node = narrow(words, node, address.hi);
    }
    for _ in 0..MAX_STEPS {
        if !node.is_index() {
            break;
        }
        node = descend(words, node, address.hi);
    }
    settle(words, set, node, address)
}

/// Is the source in one set and the destination in another? Two walks in one loop, so that the cache misses of
/// one hide behind those of the other.
#[must_use]
#[inline(always)]
pub fn contains_both<S: Words + ?Sized, D: Words + ?Sized>(
    source: Lookup<'_, S>,
    destination: Lookup<'_, D>,
) -> Membership {
    let mut from = enter(source.words, source.set, source.address.hi);
    let mut to = enter(destination.words, destination.set, destination.address.hi);
    // Small sets, and sparse slots of large ones, are leaves at once.
    if !(from.is_leaf() & to.is_leaf()) {
        if from.is_table() | to.is_table() {
            from = narrow(source.words, from, source.address.hi);
            to = narrow(destination.words, to, destination.address.hi);
        }
        for _ in 0..MAX_STEPS {
            if !from.is_index() & !to.is_index() {
                break;
            }
            from = descend(source.words, from, source.address.hi);
            to = descend(destination.words, to, destination.address.hi);
        }
    }
    Membership {
        source: settle(source.words, source.set, from, source.address),
        destination: settle(destination.words, destination.set, to, destination.address),
    }
}

/// The node an address starts from: its slot's, or the descriptor's own.
#[inline(always)]
fn enter<W: Words + ?Sized>(words: &W, set: SetDescriptor, key: u64) -> Node {
    let node = set.node();
    if !set.has_table() {
        return node;
    }
    // Below the base this wraps around and, like everything beyond the end, lands in the last slot.
    let slot = (key >> node.shift())
        .wrapping_sub(set.base())
        .min(set.last());
    entry(words, node, slot as u32)
}

/// One step through a slot's own table; anything else stays where it is.
#[inline(always)]
fn narrow<W: Words + ?Sized>(words: &W, node: Node, key: u64) -> Node {
    node.or_entry(entry(words, node, node.slot(key)).0)
}

#[inline(always)]
fn entry<W: Words + ?Sized>(words: &W, table: Node, slot: u32) -> Node {
    Node(words.half(u32::from(table.line()) * (2 * LINE_WORDS as u32) + slot))
}

/// One step down from an index line; a leaf stays where it is.
#[inline(always)]
fn descend<W: Words + ?Sized>(words: &W, node: Node, key: u64) -> Node {
    let line = words.line(node.line());
    node.or_child((line[0] as u32).wrapping_add(rank(&line, node, key)))
}

/// How many separators of an index line are at or below the key.
#[inline(always)]
fn rank(&[_, a, b, c, d, e, f, g]: &Line, node: Node, key: u64) -> u32 {
    let (probe, tops) = probe(node, key);
    // One bit per lane, at the bottom of 16: the sums of seven words cannot meet.
    let passed = |word: u64| (probe.wrapping_sub(word) & tops) >> 15;
    let lanes = passed(a) + passed(b) + passed(c) + passed(d) + passed(e) + passed(f) + passed(g);
    let lanes = lanes + (lanes >> 32);
    (lanes + (lanes >> 16)) as u32 & 0xff
}

/// Is the number of boundaries at or below the key odd, counting those before the leaf?
#[inline(always)]
fn parity(&[a, b, c, d, e, f, g, h]: &Line, node: Node, key: u64) -> bool {
    let (probe, tops) = probe(node, key);
    // A word taken from the probe is the complement of the word plus the probe's, and eight complements leave a
    // parity as it is: the machine adds to what it has loaded, where it would have to copy the probe to subtract.
    let complement = !probe;
    let missed = |word: u64| complement.wrapping_add(word);
    let odd = missed(a) ^ missed(b) ^ missed(c) ^ missed(d);
    let odd = (odd ^ missed(e) ^ missed(f) ^ missed(g) ^ missed(h)) & tops;
    let odd = odd ^ odd >> 32;
    let odd = odd ^ odd >> 16;
    (odd >> 15) as u32 & 1 != node.flip()
}

/// The key in every lane with the top bit set: minus a boundary, that bit survives if the key is not below it.
#[inline(always)]
fn probe(node: Node, key: u64) -> (u64, u64) {
    let lanes = node.lanes();
    let value = key >> node.shift() & lanes.value;
    (value.wrapping_mul(lanes.ones) | lanes.tops, lanes.tops)
}

/// The answer of a leaf, or of the long list if the leaf says no and there is one.
#[inline(always)]
fn settle<W: Words + ?Sized>(words: &W, set: SetDescriptor, leaf: Node, address: Address) -> bool {
    parity(&words.line(leaf.line()), leaf, address.hi)
        || set.has_long_list() && is_in_long_list(words, set, address)
}

/// Bits of the longest long list's length: pairs of words in a chunk.
const LONG_LIST_BITS: u32 = (super::CHUNK_WORDS as u32 / 2).ilog2();

/// Exactly, to 128 bits: the parity of the boundaries at or below the address among those in /64s that are
/// members in part. They end two words before the line the descriptor names; there stands how many they are, and a
/// filter of the /64s they lie in, so that most addresses that are no members need no search.
///
/// No other branch depends on what is read: the verifier would follow both sides of each, 2^18 ways in all.
#[inline(always)]
fn is_in_long_list<W: Words + ?Sized>(words: &W, set: SetDescriptor, address: Address) -> bool {
    let end = (u32::from(set.node().line()) * LINE_WORDS as u32).wrapping_sub(2);
    if words.word(end.wrapping_add(1)) >> filter_bit(address.hi) & 1 == 0 {
        return false;
    }
    let count = words.word(end);
    let start = u64::from(end).wrapping_sub(count.wrapping_mul(2));
    let mut passed = 0;
    for bit in (0..LONG_LIST_BITS).rev() {
        let step = 1 << bit;
        let at = start.wrapping_add((passed + step - 1) * 2) as u32;
        let (hi, lo) = (words.word(at), words.word(at.wrapping_add(1)));
        let below = borrow(address.hi, hi, borrow(address.lo, lo, 0));
        let is_passed = 1 - (below | borrow(count, passed + step, 0));
        passed += is_passed << bit;
    }
    passed & 1 != 0
}

/// The bit of a /64 in the filter.
#[inline(always)]
pub(super) const fn filter_bit(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58
}

/// 1 if `a` − `b` − `borrowed` is negative, else 0, as the hardware's borrow flag has it.
#[inline(always)]
const fn borrow(a: u64, b: u64, borrowed: u64) -> u64 {
    let difference = a.wrapping_sub(b).wrapping_sub(borrowed);
    ((!a & b) | (!(a ^ b) & difference)) >> 63
}
