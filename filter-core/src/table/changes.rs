//! Tests of sets that change in place, piece by piece, against the ranges of each version.
use super::shapes::{self, Random};
use super::tests::{BASE, InChunk, addresses_per_shape, check_in, place};
use super::*;
use crate::address::{Address, Family};
use crate::prefix::Prefix;
use crate::set::{PrefixSet, Range, Ranges};
use proptest::prelude::*;

/// A set in a chunk, changed piece by piece: what a loader does, without giving lines back.
struct Changing {
    ranges: Ranges,
    layout: Layout,
    table: usize,
    chunk: InChunk,
}

impl Changing {
    /// `None` if the set is too small to be compiled in pieces.
    fn new(ranges: &Ranges) -> Option<Self> {
        let set = compile(ranges).unwrap();
        Some(Self {
            ranges: ranges.clone(),
            layout: set.layout(ranges)?,
            table: BASE + set.head_line_count() - set.layout(ranges)?.table_lines(),
            chunk: place(ranges),
        })
    }

    /// Only what differs is written, to lines that were not used before. Returns how many pieces that were.
    fn change(&mut self, ranges: &Ranges) -> Option<usize> {
        let Change { long, pieces } = self.layout.change(&self.ranges, ranges)?;
        let chunk = &mut self.chunk.chunk;
        let old = self.table..self.table + self.layout.table_lines();
        let mut table = chunk[old].to_vec();
        for (number, piece) in &pieces {
            let (nodes, lines) = piece.place(chunk.len() as u16);
            table[self.layout.piece_lines(*number)].copy_from_slice(&nodes);
            chunk.extend(lines);
        }
        let has_long_list = !long.is_empty();
        chunk.extend(long);
        self.table = chunk.len();
        chunk.extend(table);
        assert!(chunk.len() <= CHUNK_LINES);
        self.chunk.descriptor = self.layout.descriptor(self.table, has_long_list);
        self.ranges = ranges.clone();
        Some(pieces.len())
    }
}

#[test]
fn a_change_compiles_only_the_pieces_it_lies_in() {
    let mut random = Random(11);
    for (family, count) in [(Family::Ipv4, 60_000), (Family::Ipv6, 40_000)] {
        let prefixes = shapes::full_table(family, count, 12);
        let all: PrefixSet = prefixes.iter().copied().collect();
        let mut changing = Changing::new(all.family(family)).unwrap();
        let pieces = compile(all.family(family)).unwrap().pieces().len();
        assert!(pieces >= 16, "{pieces}");
        for _ in 0..30 {
            let one = *random.pick(&prefixes).unwrap();
            let flipped = [one].into_iter().collect::<PrefixSet>();
            let now = match random.below(2) {
                0 => changing.ranges.subtract(flipped.family(family)),
                _ => changing.ranges.union(flipped.family(family)),
            };
            assert!(changing.change(&now).unwrap() <= 2, "{one}");
            let (first, last) = one.range();
            for bits in [first.wrapping_sub(1), first, last, last.wrapping_add(1)] {
                let address = Address::from_bits(family, bits);
                assert_eq!(
                    changing.chunk.contains(address),
                    now.contains(address.bits()),
                    "{one}"
                );
            }
        }
        check_in(&changing.chunk, family, &changing.ranges);
        assert_eq!(changing.change(&changing.ranges.clone()), Some(0));
    }
}

#[test]
fn a_change_that_does_not_suit_the_table_is_refused() {
    let prefixes = shapes::full_table(Family::Ipv4, 20_000, 13);
    let ranges = prefixes.iter().copied().collect::<PrefixSet>().ipv4;
    let half = Ranges::new(ranges.as_slice()[..ranges.as_slice().len() / 2].to_vec());
    let less = Ranges::new(half.as_slice()[1..].to_vec());
    let layout = compile(&ranges).unwrap().layout(&ranges).unwrap();
    assert!(layout.change(&ranges, &half).is_some());
    assert_eq!(layout.change(&ranges, &less), None, "too few");
    for outside in [
        "1.0.0.0/24",
        "255.255.255.0/24",
        "0.0.0.0/32",
        "224.0.0.0/3",
    ] {
        let outside: PrefixSet = [outside.parse().unwrap()].into_iter().collect();
        assert_eq!(layout.change(&ranges, &ranges.union(&outside.ipv4)), None);
    }
    let few = Ranges::new(ranges.as_slice()[..50].to_vec());
    assert_eq!(compile(&few).unwrap().layout(&few), None);
}

/// The table's last slot answers for every address outside the table. A prefix that ends where that slot begins once
/// made a leaf of it, and then every address below the table was a member.
#[test]
fn a_prefix_that_ends_where_the_table_does_admits_nobody_else() {
    let slash24 = |number: u128| (number << 104, ((number + 1) << 104) - 1);
    let mut random = Random(3);
    let mut networks = vec![60 << 16 | 6];
    networks.extend((0..3000).map(|_| {
        let span = (89 << 16) - (60 << 16 | 16);
        u128::from((60 << 16 | 16) + random.below(span)) & !1
    }));
    networks.extend((1..60).map(|i| (89 << 16 | 252 << 8) + 6 * i));
    let before = Ranges::new(networks.iter().copied().map(slash24).collect());
    let added = Ranges::new(vec![slash24(89 << 16 | 255 << 8 | 255)]);
    let after = before.union(&added);

    let mut changing = Changing::new(&before).unwrap();
    let [_, last_slot, _] = span_edges(changing.chunk.descriptor);
    assert_eq!(last_slot, Some(90 << 120), "the case is the one meant");
    assert_eq!(changing.change(&after), None, "must be compiled anew");
    check_in(&place(&after), Family::Ipv4, &after);
}

/// First bits of the table, of its last slot, and after its last slot; `None` beyond the address space.
fn span_edges(descriptor: SetDescriptor) -> [Option<u128>; 3] {
    let (base, last) = (descriptor.base(), descriptor.last());
    let key = |slot: u64| u128::from(slot) << descriptor.node().shift();
    [base, base + last, base + last + 1]
        .map(|slot| u64::try_from(key(slot)).ok())
        .map(|key| key.map(|key| u128::from(key) << 64))
}

/// After any sequence of changes in place, each version answers like its ranges: inside the table, at both of its
/// edges and outside, in sets that touch both ends of the address space, one or none, and in their complements.
///
/// Quick by default; 10^7 lookups a family with `TABLE_TEST_ADDRESSES=10000000`.
#[test]
fn any_sequence_of_changes_agrees_with_its_ranges_inside_and_outside() {
    for family in Family::ALL {
        let mut tried = Tried::default();
        for seed in 0.. {
            if tried.lookups >= addresses_per_shape() {
                break;
            }
            change_at_random(family, seed, &mut tried);
        }
        // What is always compiled anew proves nothing about changes in place.
        assert!(tried.in_place > 100, "{family} {tried:?}");
        assert!(tried.anew > 100, "{family} {tried:?}");
        assert!(tried.outside_flipped > 0, "{family} {tried:?}");
    }
}

/// What the property test went through.
#[derive(Debug, Default)]
struct Tried {
    lookups: usize,
    /// Changes that were made in place.
    in_place: usize,
    /// Changes that the layout refused.
    anew: usize,
    /// Changes in place after which addresses outside the table are of another kind than before.
    outside_flipped: usize,
}

const CHANGES: usize = 24;

fn change_at_random(family: Family, seed: u64, tried: &mut Tried) {
    let mut random = Random(seed << 8 | u64::from(family.bits()));
    let first = random_set(&mut random, family);
    let Some(mut changing) = Changing::new(&first) else {
        return;
    };
    for step in 0..CHANGES {
        let edit = random_edit(&mut random, family, &changing);
        let now = match random.below(3) {
            0 => changing.ranges.union(&edit),
            1 => changing.ranges.subtract(&edit),
            _ => changing
                .ranges
                .subtract(&edit)
                .union(&edit.subtract(&changing.ranges)),
        };
        let was_member_outside = changing.ranges.contains(u128::MAX);
        if changing.change(&now).is_some() {
            tried.in_place += 1;
            tried.outside_flipped += usize::from(was_member_outside != now.contains(u128::MAX));
        } else {
            tried.anew += 1;
            // A loader compiles it anew; every other time go on from the old set, or few sequences grow long.
            match Changing::new(&now) {
                Some(anew) if random.below(2) == 0 => changing = anew,
                _ => continue,
            }
        }
        for bits in random_probes(&mut random, family, &changing, &edit) {
            let address = Address::from_bits(family, bits);
            assert_eq!(
                changing.chunk.contains(address),
                changing.ranges.contains(address.bits()),
                "{address}, {family}, seed {seed}, step {step}"
            );
            tried.lookups += 1;
        }
    }
}

/// The granularity of prefix edges: what is announced, and what splits a /64.
fn random_unit(random: &mut Random, family: Family) -> u32 {
    let units: &[u32] = match family {
        Family::Ipv4 => &[96, 104, 104],
        Family::Ipv6 => &[64, 80, 80, 60],
    };
    random.pick(units).copied().unwrap_or(104)
}

/// Enough random boundaries for some pieces, anywhere: at the start of the space, its end or between.
fn random_set(random: &mut Random, family: Family) -> Ranges {
    let unit = random_unit(random, family);
    let count = 1040 + random.below(1500) as usize;
    let width_bits = (unit + 13 + random.below(14) as u32).min(127);
    let width = 1u128 << width_bits;
    let start = match random.below(4) {
        0 => 0,
        1 => u128::MAX - width + 1,
        _ => random.wide() % (u128::MAX - width),
    };
    let point = |random: &mut Random| (start + random.wide() % width) >> unit << unit;
    let mut boundaries: Vec<u128> = (0..count).map(|_| point(random)).collect();
    boundaries.sort_unstable();
    boundaries.dedup();
    if random.below(2) == 0 {
        boundaries.insert(0, 0); // members below the first boundary
    }
    let pairs = boundaries.chunks(2);
    Ranges::new(
        pairs
            .filter(|pair| pair.len() == 1 || pair[0] < pair[1])
            .map(|pair| (pair[0], pair.get(1).map_or(u128::MAX, |&end| end - 1)))
            .collect(),
    )
}

/// One or two blocks with an edge where it matters: at an edge of the table, of a slot, of a member, of the space.
fn random_edit(random: &mut Random, family: Family, changing: &Changing) -> Ranges {
    let edges = span_edges(changing.chunk.descriptor);
    if random.below(6) == 0 {
        return outside(edges);
    }
    let blocks = (0..=random.below(2)).map(|_| random_block(random, family, changing));
    Ranges::new(blocks.collect())
}

/// All addresses outside the table.
fn outside([first, last_slot, _]: [Option<u128>; 3]) -> Ranges {
    let below = first
        .and_then(|first| first.checked_sub(1))
        .map(|end| (0, end));
    let above = last_slot.map(|start| (start, u128::MAX));
    Ranges::new(below.into_iter().chain(above).collect())
}

fn random_block(random: &mut Random, family: Family, changing: &Changing) -> Range {
    let unit = 1u128 << random_unit(random, family);
    let slot = 1u128 << (64 + changing.chunk.descriptor.node().shift());
    let edges = span_edges(changing.chunk.descriptor);
    let edge = match random.below(8) {
        0..3 => random.pick(&edges).copied().flatten(),
        3 => random.pick(&[0, u128::MAX - unit + 1]).copied(),
        4 => edges[0].map(|first| first.wrapping_add(slot.wrapping_mul(random.below(2000).into()))),
        _ => random.pick(changing.ranges.as_slice()).map(|range| range.0),
    };
    let edge = edge.unwrap_or(u128::MAX) & !(unit - 1);
    let size = match random.below(8) {
        0..5 => unit.saturating_mul(1 + u128::from(random.below(3))),
        5 => slot,
        6 => slot.saturating_mul(1 + u128::from(random.below(300))),
        _ => u128::MAX,
    };
    match random.below(2) {
        0 => (edge, edge.saturating_add(size - 1) | (unit - 1)),
        _ => (
            edge.saturating_sub(size) & !(unit - 1),
            edge.saturating_sub(1).max(unit - 1) | (unit - 1),
        ),
    }
}

/// Both sides of the edges of the table, of the edit and of some ranges; anywhere near members; anywhere at all.
fn random_probes(
    random: &mut Random,
    family: Family,
    changing: &Changing,
    edit: &Ranges,
) -> Vec<u128> {
    let one = 1u128 << (128 - family.bits());
    let edges = span_edges(changing.chunk.descriptor);
    let ranges = changing.ranges.as_slice();
    let some: Vec<Range> = (0..20)
        .filter_map(|_| random.pick(ranges))
        .copied()
        .chain(edit.as_slice().iter().copied())
        .collect();
    let ends = some
        .iter()
        .flat_map(|&(first, last)| [first, last.wrapping_add(1)])
        .chain(edges.into_iter().flatten())
        .chain([0]);
    let mut probes: Vec<u128> = ends.flat_map(|end| [end.wrapping_sub(one), end]).collect();
    for _ in 0..20 {
        let near = random.pick(ranges).map_or(0, |range| range.0);
        probes.push(near ^ random.wide() >> random.below(128));
        probes.push(random.wide());
        let [first, last_slot, _] = edges;
        if let Some(first) = first.filter(|&first| first > 0) {
            probes.push(random.wide() % first);
        }
        if let Some(last) = last_slot {
            probes.push(last + random.wide() % (u128::MAX - last));
        }
    }
    probes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    /// Holes, hosts and blocks in a set of some pieces, anywhere: each version answers like its ranges, or is refused.
    #[test]
    fn changed_sets_agree_with_their_ranges(edits in proptest::collection::vec(
        (any::<bool>(), any::<bool>(), any::<u64>(), 1u32..128), 1..12,
    )) {
        let grid = |family: Family, i: u128| match family {
            Family::Ipv4 => (0x0a00_0000 + (i << 11) + i % 7) << 96,
            Family::Ipv6 => (0x2001_0db8_0000_0000 + (i << 43) + i % 7) << 64,
        };
        for family in Family::ALL {
            let len = family.bits().min(64);
            let block = |i| Prefix::new(Address::from_bits(family, grid(family, i)), len).unwrap();
            let ranges = (0..4000).map(|i| block(i).range());
            let mut changing = Changing::new(&Ranges::new(ranges.collect())).unwrap();
            for &(add, near, at, len) in &edits {
                let base = grid(family, u128::from(at % 4000));
                let bits = base ^ u128::from(at) << if near { 32 } else { 64 };
                let len = (len as u8).min(family.bits());
                let edit = Prefix::new(Address::from_bits(family, bits), len).unwrap().range();
                let edit = Ranges::new(vec![edit]);
                let now = if add { changing.ranges.union(&edit) } else { changing.ranges.subtract(&edit) };
                if changing.change(&now).is_none() {
                    continue;
                }
                let one = 1u128 << (128 - family.bits());
                for &(first, last) in edit.as_slice().iter().chain(now.as_slice().iter().step_by(97)) {
                    for bits in [first.wrapping_sub(one), first, last, last.wrapping_add(one)] {
                        let address = Address::from_bits(family, bits);
                        prop_assert_eq!(changing.chunk.contains(address), now.contains(address.bits()), "{}", address);
                    }
                }
            }
        }
    }
}
