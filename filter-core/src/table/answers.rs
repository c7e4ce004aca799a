//! Asks a compiled set back where it was changed: by the very lookup the program walks with, over the very words it
//! reads, against the ranges the set was asked to hold. Never knows how the set was compiled.
use super::boundaries::{Keys, is_cut, within};
use super::compile::PIECE_SLOTS;
use super::lookup::{Lookup, contains};
use super::node::{Lanes, Node, SetDescriptor, Words};
use super::{CHUNK_LINES, LINE_WORDS, MAX_STEPS};
use crate::address::{Address, Family};
use crate::set::{Range, Ranges};

/// One set in memory, and what it should hold.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a, W: ?Sized> {
    /// Where its lines lie.
    pub words: &'a W,
    /// The set.
    pub set: SetDescriptor,
    /// The family of its addresses.
    pub family: Family,
    /// Its members.
    pub ranges: &'a Ranges,
}

/// How far a walk over all lines below a node has come: damaged ones may lead in circles.
#[derive(Default)]
struct Walk {
    depth: u32,
    lines: usize,
}

impl<W: Words + ?Sized> Answers<'_, W> {
    /// The first address found about which the set is wrong. Asked are, in the pieces of the table that `changed` lies
    /// in, both sides of every boundary and both ends of every slot; both sides of every boundary within a /64; and
    /// the ends of the address space. A set without a table is one piece.
    #[must_use]
    pub fn wrong(&self, changed: &Ranges) -> Option<Address> {
        self.wrong_bits(changed)
            .map(|bits| Address::from_bits(self.family, bits))
    }

    fn wrong_bits(&self, changed: &Ranges) -> Option<u128> {
        let all = self.ranges.as_slice();
        let edges = changed.as_slice().iter().flat_map(|&(first, last)| {
            let outside = [first.checked_sub(1), last.checked_add(1)];
            [first, last]
                .into_iter()
                .chain(outside.into_iter().flatten())
        });
        let mut asked = [0, u128::MAX].into_iter().chain(edges);
        if let Some(bits) = asked.find(|&bits| self.is_wrong(bits)) {
            return Some(bits);
        }
        if self.set.has_long_list() {
            let cut = all.iter().filter(|&&range| is_cut(range) != (false, false));
            if let Some(bits) = self.wrong_edge(cut) {
                return Some(bits);
            }
        }
        if !self.set.has_table() {
            let edge = self.wrong_edge(all.iter());
            let node = self.set.node();
            return edge.or_else(|| {
                self.wrong_beside_lanes(node, (0, u64::MAX), all, &mut Walk::default())
            });
        }
        self.pieces(changed)
            .find_map(|first_slot| self.wrong_in_piece(first_slot))
    }

    /// The first slots of the pieces that these ranges lie in, and of the one that answers for what is outside.
    fn pieces<'b>(&'b self, changed: &'b Ranges) -> impl Iterator<Item = u64> + 'b {
        let mut next = 0;
        let changed = changed.as_slice().iter().flat_map(move |&(first, last)| {
            let from = self.piece_of(first).max(next);
            let to = self.piece_of(last);
            next = next.max(to + 1);
            from..=to
        });
        changed.map(|piece| piece * PIECE_SLOTS)
    }

    fn piece_of(&self, bits: u128) -> u64 {
        let slot = key(bits) >> self.set.node().shift();
        slot.saturating_sub(self.set.base()).min(self.set.last()) / PIECE_SLOTS
    }

    fn wrong_in_piece(&self, first: u64) -> Option<u128> {
        let shift = self.set.node().shift();
        let end = (first + PIECE_SLOTS).min(self.set.last() + 1);
        let keys = [first, end].map(|slot| u128::from(slot + self.set.base()) << shift);
        let [start, beyond] = keys.map(|key| u64::try_from(key).unwrap_or(u64::MAX));
        let ranges = within(self.ranges.as_slice(), (start, beyond));
        let edge = self.wrong_edge(ranges.iter());
        edge.or_else(|| (first..end).find_map(|slot| self.wrong_in_slot(slot, ranges)))
    }

    /// Both ends of a slot, and of the slots of its own table if it has one.
    fn wrong_in_slot(&self, slot: u64, ranges: &[Range]) -> Option<u128> {
        let (table, number) = (self.set.node(), slot + self.set.base());
        let at = u32::from(table.line()) * (2 * LINE_WORDS as u32) + slot as u32;
        let node = Node(self.words.half(at));
        if !node.is_table() {
            return self.wrong_end(number, table.shift(), node, ranges);
        }
        let width = node.width();
        if node.shift() + width != table.shift() {
            return Some(u128::from(number) << table.shift() << 64); // it does not cover its slot
        }
        let mut nested = number << width..=last_key(number, width);
        nested.find_map(|number| {
            let slot = node.slot(number << node.shift());
            let at = u32::from(node.line()) * (2 * LINE_WORDS as u32) + slot;
            let below = Node(self.words.half(at));
            self.wrong_end(number, node.shift(), below, ranges)
        })
    }

    fn wrong_end(&self, number: u64, shift: u32, node: Node, ranges: &[Range]) -> Option<u128> {
        // The last slot of a table may begin beyond the address space.
        let first = u64::try_from(u128::from(number) << shift).ok()?;
        let last = first | last_key(0, shift);
        let ends = [
            u128::from(first) << 64,
            u128::from(last) << 64 | u128::from(u64::MAX),
        ];
        let end = ends
            .into_iter()
            .find(|&bits| self.is_wrong_among(bits, ranges));
        end.or_else(|| self.wrong_beside_lanes(node, (first, last), ranges, &mut Walk::default()))
    }

    /// A key of these beside one at which the lines below a node flip, where the set does not: with both sides of every
    /// boundary asked, no stretch of keys is left whose answer is not known.
    fn wrong_beside_lanes(
        &self,
        node: Node,
        (first, last): Keys,
        ranges: &[Range],
        walk: &mut Walk,
    ) -> Option<u128> {
        let lanes = node.lanes();
        if lanes.ones != 0 && (first ^ last) >> node.shift() > lanes.value {
            return Some(u128::from(first) << 64); // the lanes do not distinguish all keys
        }
        let line = self.words.line(node.line());
        // A lookup takes what it comes to after so many steps for a leaf.
        let is_index = node.is_index() && walk.depth < MAX_STEPS;
        let words = &line[usize::from(is_index)..];
        let unit = 1 << node.shift();
        let mut used = 0;
        let raw = || words.iter().flat_map(|&word| lanes_of(word, lanes));
        // A lane with more than its top bit, which no line should have, borrows from the next one.
        let is_sound = raw().all(|lane| lane <= lanes.value);
        for lane in raw() {
            used += 1;
            let key = (lane & lanes.value) << node.shift();
            let key = first & !(lanes.value << node.shift()) | key;
            let is_known = is_sound && is_boundary(u128::from(key) << 64, ranges);
            if is_known || !(first..=last).contains(&key) {
                continue;
            }
            let mut beside = [key.checked_sub(unit), Some(key), key.checked_add(unit)]
                .into_iter()
                .flatten()
                .filter(|key| (first..=last).contains(key));
            let wrong = |&key: &u64| self.is_wrong_among(u128::from(key) << 64, ranges);
            if let Some(key) = beside.find(wrong) {
                return Some(u128::from(key) << 64);
            }
        }
        if !is_index {
            return None;
        }
        walk.lines += 1;
        if walk.lines > CHUNK_LINES {
            return Some(u128::from(first) << 64); // a circle
        }
        walk.depth += 1;
        let children = if is_sound { used } else { raw().count() as u32 };
        let wrong = (0..=children).find_map(|child| {
            let child = Node((line[0] as u32).wrapping_add(child));
            self.wrong_beside_lanes(child, (first, last), ranges, walk)
        });
        walk.depth -= 1;
        wrong
    }

    /// Is the answer another one than these ranges give, which are all that come near the address?
    fn is_wrong_among(&self, bits: u128, ranges: &[Range]) -> bool {
        let after = ranges.partition_point(|range| range.0 <= bits);
        let is_member = after > 0 && bits <= ranges[after - 1].1;
        self.is_member(bits) != is_member
    }

    /// An address beside either end of one of these ranges.
    fn wrong_edge<'b>(&self, mut ranges: impl Iterator<Item = &'b Range>) -> Option<u128> {
        ranges.find_map(|&(first, last)| {
            let outside = [first.checked_sub(1), last.checked_add(1)]
                .into_iter()
                .flatten();
            let mut inside = [first, last].into_iter();
            inside
                .find(|&bits| !self.is_member(bits))
                .or_else(|| outside.into_iter().find(|&bits| self.is_member(bits)))
        })
    }

    fn is_wrong(&self, bits: u128) -> bool {
        self.is_member(bits) != self.ranges.contains(bits)
    }

    fn is_member(&self, bits: u128) -> bool {
        contains(Lookup {
            words: self.words,
            set: self.set,
            address: Address::from_bits(self.family, bits),
        })
    }
}

const fn key(bits: u128) -> u64 {
    (bits >> 64) as u64
}

/// The values in the lanes of a word that are used: an unused one is just its top bit.
fn lanes_of(word: u64, lanes: Lanes) -> impl Iterator<Item = u64> {
    let count = lanes.ones.count_ones();
    let width = 64 / count.max(1);
    let each = (0..count).map(move |lane| word >> (lane * width) & (lanes.value << 1 | 1));
    each.filter(move |&lane| lane != lanes.value + 1)
}

/// Does membership flip at this address?
fn is_boundary(bits: u128, ranges: &[Range]) -> bool {
    let after = ranges.partition_point(|range| range.0 <= bits);
    let range = after.checked_sub(1).map(|before| ranges[before]);
    range.is_some_and(|(first, last)| first == bits || last.wrapping_add(1) == bits)
}

/// The last key of the slot of this number.
const fn last_key(number: u64, shift: u32) -> u64 {
    number << shift | ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::super::shapes::{self, Random};
    use super::super::tests::{BASE, place};
    use super::super::{Line, compile};
    use super::*;
    use crate::prefix::Prefix;
    use crate::set::PrefixSet;

    /// Whatever is asked of a set of this size finds what a damage did, or it did nothing.
    const DAMAGES: usize = 1_500;

    fn answers<'a>(
        chunk: &'a [Line],
        set: SetDescriptor,
        family: Family,
        ranges: &'a Ranges,
    ) -> Answers<'a, [Line]> {
        Answers {
            words: chunk,
            set,
            family,
            ranges,
        }
    }

    fn sets() -> Vec<(Family, Ranges)> {
        let mut sets = Vec::new();
        for family in Family::ALL {
            for count in [0, 1, 3, 30, 400, 6_000] {
                let prefixes = shapes::full_table(family, count, 5);
                let mut set: PrefixSet = prefixes.into_iter().collect();
                let long =
                    ["2001:db8::1/128", "2001:db8:0:1::8/127"].map(|text| text.parse::<Prefix>());
                if family == Family::Ipv6 && count % 4 == 0 {
                    set = set.union(&long.into_iter().flatten().collect());
                }
                sets.push((family, set.family(family).clone()));
            }
        }
        sets
    }

    fn everything() -> Ranges {
        Ranges::new(vec![(0, u128::MAX)])
    }

    /// An address that the damaged set is wrong about, sought apart from [`Answers`]: beside every boundary, and at
    /// random near members.
    fn wrong_somewhere(asked: &Answers<'_, [Line]>, random: &mut Random) -> Option<u128> {
        let edges =
            asked.ranges.as_slice().iter().flat_map(|&(first, last)| {
                [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
            });
        let near = asked.ranges.as_slice().iter().flat_map(|&(first, _)| {
            let mut bits = || u128::from(random.word()) << 64 >> random.below(56);
            [first ^ bits(), first ^ bits(), first ^ bits()]
        });
        edges.chain(near).find(|&bits| {
            let address = Address::from_bits(asked.family, bits);
            asked.is_wrong(address.bits())
        })
    }

    #[test]
    fn sound_sets_have_no_wrong_answer() {
        for (family, ranges) in sets() {
            let placed = place(&ranges);
            let asked = answers(&placed.chunk, placed.descriptor, family, &ranges);
            assert_eq!(asked.wrong(&everything()), None);
        }
    }

    #[test]
    fn every_damage_that_matters_is_found() {
        let mut random = Random(17);
        let (mut found, mut harmless) = (0, 0);
        for (family, ranges) in sets() {
            let placed = place(&ranges);
            let lines = compile(&ranges).unwrap().line_count();
            for _ in 0..DAMAGES * usize::from(lines > 0) {
                let mut chunk = placed.chunk.clone();
                let number = random.below(lines as u64) as usize;
                let line = &mut chunk[BASE + number];
                let before = *line;
                match random.below(3) {
                    0 => line.iter_mut().for_each(|word| *word = !*word),
                    1 => line[random.below(8) as usize] ^= u64::MAX,
                    _ => line[random.below(8) as usize] ^= 1 << random.below(64),
                }
                let after = *line;
                let asked = answers(&chunk, placed.descriptor, family, &ranges);
                match asked.wrong(&everything()) {
                    Some(_) => found += 1,
                    None => {
                        harmless += 1;
                        let missed = wrong_somewhere(&asked, &mut random);
                        assert_eq!(
                            missed,
                            None,
                            "{family}, {} ranges: line {number} of {lines}, {before:x?} is {after:x?}",
                            ranges.as_slice().len()
                        );
                    }
                }
            }
        }
        println!("{found} damages found, {harmless} did nothing");
        assert!(found > harmless, "{found} {harmless}");
    }
}
