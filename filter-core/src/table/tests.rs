//! The compiled table against the sorted ranges it was made from, on sets of every shape.
use super::shapes::{self, Random};
use super::*;
use crate::address::{Address, Family};
use crate::prefix::Prefix;
use crate::set::{PrefixSet, Ranges};
use crate::verdict::Membership;
use proptest::prelude::*;

/// A compiled set in the middle of a chunk full of garbage.
pub(super) struct InChunk {
    pub(super) chunk: Vec<Line>,
    pub(super) descriptor: SetDescriptor,
}

/// The line of the chunk where sets are placed.
pub(super) const BASE: usize = 3;

pub(super) fn place(ranges: &Ranges) -> InChunk {
    let placed = compile(ranges).unwrap().place(BASE).unwrap();
    let mut chunk = vec![[0xdead_beef_dead_beef; LINE_WORDS]; BASE];
    chunk.extend_from_slice(&placed.lines);
    chunk.push([0x0bad_cafe_0bad_cafe; LINE_WORDS]);
    InChunk {
        chunk,
        descriptor: placed.descriptor,
    }
}

impl InChunk {
    pub(super) fn contains(&self, address: Address) -> bool {
        let ask = Lookup {
            words: self.chunk.as_slice(),
            set: self.descriptor,
            address,
        };
        let one = contains(ask);
        let both = Membership {
            source: one,
            destination: one,
        };
        assert_eq!(contains_both(ask, ask), both, "{address}");
        one
    }
}

/// How many random addresses a shape is asked, a small one a tenth: 10^7 in the long run, with
/// `TABLE_TEST_ADDRESSES=10000000`.
pub(super) fn addresses_per_shape() -> usize {
    let variable = std::env::var("TABLE_TEST_ADDRESSES");
    variable.map_or(100_000, |text| text.parse().unwrap())
}

/// Every boundary and its neighbours (of a large set, some thousands), random addresses, and random bits near members.
fn check(family: Family, ranges: &Ranges) {
    check_in(&place(ranges), family, ranges);
}

pub(super) fn check_in(placed: &InChunk, family: Family, ranges: &Ranges) {
    let ask = |bits: u128| {
        let address = Address::from_bits(family, bits);
        assert_eq!(
            placed.contains(address),
            ranges.contains(address.bits()),
            "{address}"
        );
    };
    let step = if addresses_per_shape() > 100_000 {
        1
    } else {
        ranges.as_slice().len() / 20_000 + 1
    };
    for &(first, last) in ranges.as_slice().iter().step_by(step) {
        let one = 1u128 << (128 - family.bits());
        for edge in [first, last] {
            [edge.wrapping_sub(one), edge, edge.wrapping_add(one)]
                .into_iter()
                .for_each(ask);
        }
    }
    [0, u128::MAX, 1 << 127, (1 << 127) - 1]
        .into_iter()
        .for_each(ask);
    let mut random = Random(7);
    let few = ranges.as_slice().len() < 100;
    for i in 0..addresses_per_shape() / if few { 10 } else { 1 } {
        ask(match (i % 2, random.pick(ranges.as_slice())) {
            (0, Some(&(first, _))) => first ^ random.wide() >> random.below(128),
            _ => random.wide(),
        });
    }
}

fn check_prefixes(prefixes: &[Prefix]) {
    let set: PrefixSet = prefixes.iter().copied().collect();
    for family in Family::ALL {
        if prefixes.iter().any(|prefix| prefix.family() == family) {
            check(family, set.family(family));
        }
    }
}

fn check_texts(texts: &[&str]) {
    check_prefixes(
        &texts
            .iter()
            .map(|text| text.parse().unwrap())
            .collect::<Vec<_>>(),
    );
}

#[test]
fn no_address_and_every_address_need_no_line() {
    for family in Family::ALL {
        check(family, &Ranges::default());
        let every_address = Ranges::new(vec![(0, u128::MAX)]);
        check(family, &every_address);
        let placed = compile(&every_address).unwrap().place(CHUNK_LINES).unwrap();
        assert_eq!(placed.lines, Vec::<Line>::new());
    }
    assert_eq!(
        compile(&Ranges::default())
            .unwrap()
            .place(7)
            .unwrap()
            .descriptor,
        SetDescriptor::EMPTY
    );
}

#[test]
fn a_few_prefixes_are_one_line() {
    for texts in [
        &["45.146.194.0/23"] as &[_],
        &["45.146.194.0/23", "198.51.100.7/32"],
        &[
            "45.146.194.0/23",
            "193.0.0.0/21",
            "10.0.0.0/8",
            "0.0.0.0/7",
            "203.0.113.254/31",
        ],
        &["2a13:47c0:146::/48"],
        &[
            "2a13:47c0:146::/48",
            "2a09:54c6:e010::/44",
            "fe80::/10",
            "::/127",
        ],
    ] {
        check_texts(texts);
        let set: PrefixSet = texts
            .iter()
            .map(|text| text.parse::<Prefix>().unwrap())
            .collect();
        let ranges = if set.ipv4.is_empty() {
            &set.ipv6
        } else {
            &set.ipv4
        };
        assert!(compile(ranges).unwrap().line_count() <= 2, "{texts:?}");
    }
}

#[test]
fn a_peer_with_two_prefixes_and_our_address_stays_small() {
    let source = ["45.146.194.0/23", "2a13:47c0:146::/48"];
    let destination = [
        "198.51.100.0/24",
        "203.0.113.1/32",
        "2001:db8:100::/40",
        "2001:db8:ffff::1/128",
    ];
    let mut lines = 0;
    for texts in [&source as &[&str], &destination] {
        check_texts(texts);
        let set: PrefixSet = texts
            .iter()
            .map(|text| text.parse::<Prefix>().unwrap())
            .collect();
        lines += Family::ALL
            .map(|f| compile(set.family(f)).unwrap().line_count())
            .iter()
            .sum::<usize>();
    }
    assert!(lines <= 5, "{lines} lines"); // with its record of a line or two well below 1 KB
}

#[test]
fn single_hosts_and_the_ends_of_the_space() {
    check_texts(&["0.0.0.0/32"]);
    check_texts(&["255.255.255.255/32"]);
    check_texts(&["0.0.0.0/32", "255.255.255.255/32"]);
    check_texts(&["0.0.0.0/1", "192.0.2.1/32"]);
    check_texts(&["128.0.0.0/1", "1.2.3.4/32"]);
    check_texts(&["::/128"]);
    check_texts(&["::/64", "ffff:ffff:ffff:ffff::/64"]);
    check_texts(&["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"]);
    check_texts(&["ffff:ffff:ffff:ffff:ffff:ffff:ffff:8000/113", "::/66"]);
    check_texts(&["8000::/1", "7fff:ffff:ffff:ffff::/65"]);
    check_texts(&["2001:db8:0:1::/64"]);
}

#[test]
fn nested_and_adjacent() {
    check_texts(&[
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.2.0/24",
        "10.1.2.3/32",
        "11.0.0.0/8",
        "12.0.0.0/7",
    ]);
    check_texts(&[
        "2001:db8::/32",
        "2001:db8:1::/48",
        "2001:db8:1:2::/64",
        "2001:db8:1:2::3/128",
        "2001:db9::/32",
    ]);
}

#[test]
fn every_second_24_of_an_8_and_every_one() {
    let slash24 =
        |i: u32| Prefix::new(Address::from_v4((0x0a00_0000 | i << 8).to_be_bytes()), 24).unwrap();
    check_prefixes(&(0..1 << 16).map(slash24).collect::<Vec<_>>());
    check_prefixes(&(0..1 << 16).step_by(2).map(slash24).collect::<Vec<_>>());
}

#[test]
fn alternating_hosts() {
    let v4 = |i: u32| Prefix::host(Address::from_v4((0xc000_0200 + 2 * i).to_be_bytes()));
    let v6 = |i: u64| Prefix::host(Address::from_v6(0x2001_0db8_0000_0001, 2 * i + 1));
    let links =
        |i: u64| Prefix::new(Address::from_v6(0x2001_0db8_0000_0000 + 2 * i, 0), 64).unwrap();
    for count in [1, 5, 9, 33, 3000, 20_000] {
        check_prefixes(&(0..count).map(v4).collect::<Vec<_>>());
        check_prefixes(&(0..count.into()).map(v6).collect::<Vec<_>>());
        check_prefixes(&(0..count.into()).map(links).collect::<Vec<_>>());
    }
}

#[test]
fn prefixes_longer_than_64_among_others() {
    check_texts(&[
        "2001:db8::/32",
        "2001:db9:0:1::/65",
        "2001:db9:0:1:ffff::/80",
        "2001:db9:0:2:8000::/65", // ends where the next /64 begins
        "2001:db9:0:3::/64",
        "2001:db9:0:4::/66", // and begins where one ends
        "2001:db9:0:6::1/128",
        "2001:db9:0:6::3/128",
    ]);
    let mut prefixes = shapes::uniform(Family::Ipv6, 3000, 40..=128, 1);
    prefixes.extend(shapes::uniform(Family::Ipv6, 10, 1..=8, 2));
    check_prefixes(&prefixes);
}

#[test]
fn crowded_64s_cost_steps_that_are_bounded() {
    // Odd /64s over the whole space take the widest lanes; crowding them takes the most index lines.
    let crowd =
        |i: u64| Prefix::new(Address::from_v6(0x2001_0db8_0000_0001 + 2 * i, 0), 64).unwrap();
    let far = "ffff:ffff:ffff:ffff::/64".parse().unwrap();
    check_prefixes(&(0..150_000).map(crowd).chain([far]).collect::<Vec<_>>());
}

#[test]
fn uniform_prefixes_of_all_lengths() {
    check_prefixes(&shapes::uniform(Family::Ipv4, 30_000, 8..=32, 3));
    check_prefixes(&shapes::uniform(Family::Ipv6, 30_000, 16..=64, 4));
    check_prefixes(&shapes::uniform(Family::Ipv4, 300, 0..=4, 5));
}

#[test]
fn full_tables_fit_a_chunk_at_eight_bytes_a_prefix() {
    for (family, count) in [
        (Family::Ipv4, 1_000_000),
        (Family::Ipv6, 160_000),
        (Family::Ipv6, 230_000),
    ] {
        let prefixes = shapes::full_table(family, count, 6);
        assert_eq!(prefixes.len(), count);
        let set: PrefixSet = prefixes.into_iter().collect();
        let lines = compile(set.family(family)).unwrap().line_count();
        assert!(
            lines * LINE_BYTES <= 8 * count,
            "{family} {count}: {lines} lines"
        );
        assert!(lines < CHUNK_LINES / 2);
        check(family, set.family(family));
    }
}

#[test]
fn eight_hundred_peers_share_one_chunk() {
    let (mut chunk, mut peers, mut prefixes) = (Vec::<Line>::new(), Vec::new(), 0);
    for set in shapes::exchange(Family::Ipv4, 800, 20_000, 7) {
        prefixes += set.len();
        let ranges = set.into_iter().collect::<PrefixSet>().ipv4;
        let placed = compile(&ranges).unwrap().place(chunk.len()).unwrap();
        chunk.extend(placed.lines);
        peers.push((ranges, placed.descriptor));
    }
    assert!(
        chunk.len() * LINE_BYTES <= 8 * prefixes,
        "{} lines, {prefixes} prefixes",
        chunk.len()
    );
    let mut random = Random(8);
    for _ in 0..addresses_per_shape() {
        let near = |random: &mut Random| {
            let (ranges, set) = random.pick(&peers).unwrap();
            let bits =
                random.pick(ranges.as_slice()).unwrap().0 ^ random.wide() >> (4 + random.below(40));
            let lookup = Lookup {
                words: chunk.as_slice(),
                set: *set,
                address: Address::from_bits(Family::Ipv4, bits),
            };
            (ranges.contains(lookup.address.bits()), lookup)
        };
        let (source, from) = near(&mut random);
        let (destination, to) = near(&mut random);
        let expected = Membership {
            source,
            destination,
        };
        let (a, b) = (from.address, to.address);
        assert_eq!(contains_both(from, to), expected, "{a} > {b}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_numbers() {
    let hosts = (0..400_000).map(|i| (u128::from(i * 4u64) << 40, u128::from(i * 4u64) << 40));
    let Err(TableError::TooLarge { lines, limit }) = compile(&Ranges::new(hosts.collect())) else {
        panic!("400,000 hosts take 800,000 pairs of words");
    };
    assert!(lines > limit && limit == CHUNK_LINES);
    let set = compile(&PrefixSet::from_iter(["10.0.0.0/8".parse().unwrap()]).ipv4).unwrap();
    assert_eq!(
        set.place(CHUNK_LINES),
        Err(TableError::TooLarge { lines: 1, limit: 0 })
    );
    assert!(set.place(CHUNK_LINES - 1).is_ok());
}

#[test]
fn corrupt_content_ends_in_some_answer() {
    let mut random = Random(10);
    let chunk: Vec<Line> = (0..CHUNK_LINES)
        .map(|_| core::array::from_fn(|_| random.word()))
        .collect();
    for _ in 0..10_000 {
        let set = SetDescriptor(random.word());
        let address = Address::from_bits(Family::Ipv6, random.wide());
        let _ = contains(Lookup {
            words: chunk.as_slice(),
            set,
            address,
        });
        let _ = contains(Lookup {
            words: chunk[..100].as_flattened(),
            set,
            address,
        });
    }
}

/// Ranges crowded around a few points, so that slots, lanes and long lists meet at their edges.
fn crowded(family: Family) -> impl Strategy<Value = Ranges> {
    let pad = match family {
        Family::Ipv4 => u128::MAX >> 32,
        Family::Ipv6 => 0,
    };
    let point = (0u8..4, any::<u8>(), 0u32..128).prop_map(|(anchor, bits, shift)| {
        let anchor = [0, u128::MAX, 0x2001_0db8 << 96, 1 << 127][usize::from(anchor)];
        anchor ^ (u128::from(bits) << 120 >> shift)
    });
    let range = (point.clone(), point).prop_map(move |(a, b)| (a.min(b) & !pad, a.max(b) | pad));
    proptest::collection::vec(range, 0..60).prop_map(|ranges| {
        // Symmetric difference: overlaps become holes, or sixty ranges would be one.
        ranges.into_iter().fold(Ranges::default(), |all, one| {
            let one = Ranges::new(vec![one]);
            all.subtract(&one).union(&one.subtract(&all))
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn crowded_sets_agree_with_their_ranges(v4 in crowded(Family::Ipv4), v6 in crowded(Family::Ipv6)) {
        for (family, ranges) in [(Family::Ipv4, v4), (Family::Ipv6, v6)] {
            let placed = place(&ranges);
            let one = 1u128 << (128 - family.bits());
            for &(first, last) in ranges.as_slice() {
                for bits in [first.wrapping_sub(one), first, last, last.wrapping_add(one)] {
                    let address = Address::from_bits(family, bits);
                    prop_assert_eq!(placed.contains(address), ranges.contains(address.bits()), "{}", address);
                }
            }
        }
    }
}
