//! Sets of addresses as sorted ranges, and the two sets of a peer: S'(p), the sources it may
//! use, and D'(p), the destinations it may reach.
//!
//! Exact: a hole is cut out bit by bit, nothing is rounded. Never knows where a prefix came from or why.
use std::sync::{Arc, LazyLock};

use crate::address::{Address, Family};
use crate::cover::Cover;
use crate::prefix::Prefix;

/// First and last address of a range: inclusive, left-aligned bits.
pub type Range = (u128, u128);

/// Addresses of one family as sorted, disjoint, non-adjacent inclusive ranges of left-aligned bits.
/// An IPv4 range ends with its 96 padding bits set (see [`Prefix::range`]).
///
/// A clone shares the list, so that what is wanted, what the kernel has and what the arena stores are one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Arc<Vec<Range>>);

impl Ranges {
    /// The union of any ranges, in any order.
    #[must_use]
    pub fn new(mut ranges: Vec<Range>) -> Self {
        ranges.sort_unstable();
        Self::ascending(ranges)
    }

    /// The union of ranges that come in ascending order of their first address.
    #[must_use]
    pub fn ascending(ranges: impl IntoIterator<Item = Range>) -> Self {
        let mut merged: Vec<Range> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        merged.shrink_to_fit();
        Self(Arc::new(merged))
    }

    /// The ranges, ascending.
    #[must_use]
    pub fn as_slice(&self) -> &[Range] {
        &self.0
    }

    /// Is there no member?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Do these left-aligned bits lie in a range?
    #[must_use]
    pub fn contains(&self, bits: u128) -> bool {
        let after = self.0.partition_point(|&(first, _)| first <= bits);
        after > 0 && bits <= self.0[after - 1].1
    }

    /// Members of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::ascending(merge(self.as_slice(), other.as_slice()))
    }

    /// Members of this one that are not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        Self(Arc::new(subtract(self.as_slice(), other.as_slice())))
    }

    /// Members of both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        self.subtract(&self.subtract(other))
    }

    /// Members of exactly one of the two. What both lists begin and end with is passed over in bulk, so that a small
    /// change of a large set costs little more than reading it.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Self::default();
        }
        let (left, right) = unlike(self.as_slice(), other.as_slice());
        Self::ascending(merge(&subtract(left, right), &subtract(right, left)))
    }

    /// The same members, but within `windows` those of `inside`, which has none elsewhere. Only what lies between
    /// the first window and the last is looked at; what comes out the same is the same list.
    #[must_use]
    pub fn patch(&self, windows: &Self, inside: &Self) -> Self {
        let (Some(&(start, _)), Some(&(_, end))) = (windows.0.first(), windows.0.last()) else {
            return self.clone();
        };
        // Neighbours that touch a window may grow together with what comes into it.
        let from = self
            .0
            .partition_point(|range| range.1.saturating_add(1) < start);
        let to = self
            .0
            .partition_point(|range| range.0 <= end.saturating_add(1));
        let before = &self.0[from..to];
        let kept = subtract(before, windows.as_slice());
        let after = Self::ascending(merge(&kept, inside.as_slice()));
        if after.as_slice() == before {
            return self.clone();
        }
        Self(Arc::new(
            [&self.0[..from], after.as_slice(), &self.0[to..]].concat(),
        ))
    }

    /// Does a range hold both ends of this one?
    #[must_use]
    pub fn covers(&self, (first, last): Range) -> bool {
        let after = self.0.partition_point(|range| range.0 <= first);
        after > 0 && last <= self.0[after - 1].1
    }
}

/// Ranges compared at a time.
const STRIDE: usize = 64;

/// Both lists without what they begin and end with alike, to whole strides.
fn unlike<'a>(left: &'a [Range], right: &'a [Range]) -> (&'a [Range], &'a [Range]) {
    let pairs = left.chunks_exact(STRIDE).zip(right.chunks_exact(STRIDE));
    let alike = STRIDE * pairs.take_while(|(l, r)| l == r).count();
    let (left, right) = (&left[alike..], &right[alike..]);
    let pairs = left.rchunks_exact(STRIDE).zip(right.rchunks_exact(STRIDE));
    let alike = STRIDE * pairs.take_while(|(l, r)| l == r).count();
    (&left[..left.len() - alike], &right[..right.len() - alike])
}

/// Two ascending lists as one.
fn merge<'a>(mut left: &'a [Range], mut right: &'a [Range]) -> impl Iterator<Item = Range> + 'a {
    core::iter::from_fn(move || {
        let from = match (left.first(), right.first()) {
            (Some(l), Some(r)) if r < l => &mut right,
            (Some(_), _) => &mut left,
            (None, _) => &mut right,
        };
        let (&first, rest) = from.split_first()?;
        *from = rest;
        Some(first)
    })
}

/// What is left of ascending ranges without the holes.
fn subtract(ranges: &[Range], mut holes: &[Range]) -> Vec<Range> {
    let mut left = Vec::with_capacity(ranges.len());
    for &(mut first, last) in ranges {
        while holes.first().is_some_and(|hole| hole.1 < first) {
            holes = &holes[1..];
        }
        let mut open = true;
        for &(hole_first, hole_last) in holes.iter().take_while(|hole| hole.0 <= last) {
            if first < hole_first {
                left.push((first, hole_first - 1));
            }
            if hole_last >= last {
                open = false;
                break;
            }
            first = hole_last + 1;
        }
        if open {
            left.push((first, last));
        }
    }
    left
}

/// Addresses of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixSet {
    /// The IPv4 members.
    pub ipv4: Ranges,
    /// The IPv6 members.
    pub ipv6: Ranges,
}

impl PrefixSet {
    /// No member at all.
    #[must_use]
    pub fn empty() -> &'static Self {
        static EMPTY: LazyLock<PrefixSet> = LazyLock::new(PrefixSet::default);
        &EMPTY
    }

    /// The members of one family.
    #[must_use]
    pub fn family(&self, family: Family) -> &Ranges {
        match family {
            Family::Ipv4 => &self.ipv4,
            Family::Ipv6 => &self.ipv6,
        }
    }

    /// Is there no member of either family?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ipv4.is_empty() && self.ipv6.is_empty()
    }

    /// Is the address a member?
    #[must_use]
    pub fn contains(&self, address: Address) -> bool {
        self.family(address.family).contains(address.bits())
    }

    /// Is every address of the prefix a member?
    #[must_use]
    pub fn covers(&self, prefix: Prefix) -> bool {
        self.family(prefix.family()).covers(prefix.range())
    }

    /// Members of either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self {
            ipv4: self.ipv4.union(&other.ipv4),
            ipv6: self.ipv6.union(&other.ipv6),
        }
    }

    /// Members of this set that are not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        Self {
            ipv4: self.ipv4.subtract(&other.ipv4),
            ipv6: self.ipv6.subtract(&other.ipv6),
        }
    }

    /// Members of both sets.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self {
            ipv4: self.ipv4.intersect(&other.ipv4),
            ipv6: self.ipv6.intersect(&other.ipv6),
        }
    }

    /// See [`Ranges::patch`].
    #[must_use]
    pub fn patch(&self, windows: &Self, inside: &Self) -> Self {
        Self {
            ipv4: self.ipv4.patch(&windows.ipv4, &inside.ipv4),
            ipv6: self.ipv6.patch(&windows.ipv6, &inside.ipv6),
        }
    }
}

impl FromIterator<Prefix> for PrefixSet {
    fn from_iter<I: IntoIterator<Item = Prefix>>(prefixes: I) -> Self {
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for prefix in prefixes {
            match prefix.family() {
                Family::Ipv4 => ipv4.push(prefix.range()),
                Family::Ipv6 => ipv6.push(prefix.range()),
            }
        }
        Self {
            ipv4: Ranges::new(ipv4),
            ipv6: Ranges::new(ipv6),
        }
    }
}

/// Addresses, each with the prefix that explains why it is among them: a peer's sources, or its destinations.
#[doc(alias = "urpf")]
#[derive(Debug, Default)]
pub struct ExplainedSet {
    addresses: PrefixSet,
    cover: Cover,
}

impl ExplainedSet {
    /// S'(p) = (`routes` − `withheld`) ∪ `extras`, where `withheld` is bogons ∪ our prefixes ∪ LAN prefixes.
    /// The operator's extras win over what is withheld.
    #[must_use]
    pub fn sources(routes: &[Prefix], withheld: &PrefixSet, extras: &[Prefix]) -> Self {
        let announced: PrefixSet = routes.iter().copied().collect();
        Self {
            addresses: announced
                .subtract(withheld)
                .union(&extras.iter().copied().collect()),
            cover: routes.iter().chain(extras).copied().collect(),
        }
    }

    /// D'(p) = `routes` ∪ `own_addresses` ∪ `extras`.
    #[must_use]
    pub fn destinations(routes: &[Prefix], own_addresses: &[Address], extras: &[Prefix]) -> Self {
        let own = own_addresses.iter().map(|&address| Prefix::host(address));
        let all: Vec<Prefix> = routes.iter().chain(extras).copied().chain(own).collect();
        Self {
            addresses: all.iter().copied().collect(),
            cover: all.into_iter().collect(),
        }
    }

    /// The addresses.
    #[must_use]
    pub fn addresses(&self) -> &PrefixSet {
        &self.addresses
    }

    /// The longest prefix that brought the address in; `None` if it is not among them.
    #[must_use]
    pub fn covering(&self, address: Address) -> Option<Prefix> {
        if self.addresses.contains(address) {
            self.cover.longest(address)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefixes(texts: &[&str]) -> Vec<Prefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn address(text: &str) -> Address {
        text.parse::<core::net::IpAddr>().unwrap().into()
    }

    #[test]
    fn adjacent_and_nested_prefixes_become_one_range() {
        let set: PrefixSet = prefixes(&[
            "10.0.0.0/25",
            "10.0.0.128/25",
            "10.0.0.64/26",
            "::/1",
            "8000::/1",
        ])
        .into_iter()
        .collect();
        assert_eq!(
            set.ipv4.as_slice(),
            ["10.0.0.0/24".parse::<Prefix>().unwrap().range()]
        );
        assert_eq!(set.ipv6.as_slice(), [(0, u128::MAX)]);
    }

    #[test]
    fn extras_win_over_what_is_withheld() {
        let withheld: PrefixSet = prefixes(&["10.0.0.0/8", "192.0.2.0/25"])
            .into_iter()
            .collect();
        let side = ExplainedSet::sources(
            &prefixes(&["10.1.0.0/16", "192.0.2.0/24"]),
            &withheld,
            &prefixes(&["10.1.2.0/24"]),
        );
        assert_eq!(
            side.covering(address("10.1.2.3")),
            prefixes(&["10.1.2.0/24"]).pop()
        );
        assert_eq!(side.covering(address("10.1.3.1")), None);
        assert_eq!(side.covering(address("192.0.2.127")), None);
        assert_eq!(
            side.covering(address("192.0.2.128")),
            prefixes(&["192.0.2.0/24"]).pop()
        );
    }

    #[test]
    fn destinations_hold_our_own_addresses() {
        let side = ExplainedSet::destinations(
            &prefixes(&["198.51.100.0/24"]),
            &[address("203.0.113.1"), address("2001:db8::1")],
            &[],
        );
        assert_eq!(
            side.covering(address("203.0.113.1")).unwrap().to_string(),
            "203.0.113.1/32"
        );
        assert_eq!(
            side.covering(address("2001:db8::1")).unwrap().to_string(),
            "2001:db8::1/128"
        );
        assert_eq!(side.covering(address("203.0.113.2")), None);
    }

    /// Prefixes crowded into a few bits, so that they nest, touch and collide; some at the ends of the space.
    fn crowded() -> impl Strategy<Value = Vec<Prefix>> {
        let one = (any::<bool>(), any::<u8>(), any::<bool>(), 0u8..=12).prop_map(
            |(v6, bits, top, len)| {
                let family = if v6 { Family::Ipv6 } else { Family::Ipv4 };
                let high = (u128::from(bits) << 4 | if top { 0xf } else { 0 }) << 116;
                let (bits, len) = if top {
                    (high | u128::MAX >> 12, family.bits() - len)
                } else {
                    (high, len)
                };
                Prefix::new(Address::from_bits(family, bits), len).unwrap()
            },
        );
        proptest::collection::vec(one, 0..12)
    }

    proptest! {
        #[test]
        fn compiled_sides_agree_with_a_per_address_oracle(routes in crowded(), holes in crowded(), extras in crowded()) {
            let withheld: PrefixSet = holes.iter().copied().collect();
            let side = ExplainedSet::sources(&routes, &withheld, &extras);
            for edge in routes.iter().chain(&holes).chain(&extras) {
                let (first, last) = edge.range();
                for bits in [first.wrapping_sub(1), first, last, last.wrapping_add(1)] {
                    let address = Address::from_bits(edge.family(), bits);
                    let any = |set: &[Prefix]| set.iter().any(|p| p.contains(address));
                    let expected = any(&routes) && !any(&holes) || any(&extras);
                    prop_assert_eq!(side.addresses().contains(address), expected, "{}", address);
                    prop_assert_eq!(side.covering(address).is_some(), expected, "{}", address);
                }
            }
        }

        #[test]
        fn a_patch_is_what_replacing_the_windows_gives(a in crowded(), windows in crowded(), b in crowded()) {
            let (a, windows, b): (PrefixSet, PrefixSet, PrefixSet) =
                (a.into_iter().collect(), windows.into_iter().collect(), b.into_iter().collect());
            let inside = b.intersect(&windows);
            prop_assert_eq!(a.patch(&windows, &inside), a.subtract(&windows).union(&inside));
            let same = a.patch(&windows, &a.intersect(&windows));
            prop_assert!(Arc::ptr_eq(&same.ipv4.0, &a.ipv4.0) && Arc::ptr_eq(&same.ipv6.0, &a.ipv6.0));
        }

        #[test]
        fn a_difference_is_what_only_one_has(a in crowded(), b in crowded(), many in 0u128..400) {
            // What both have, long enough for whole strides, before and after what they may differ in.
            let both = (0..many).map(|i| (i << 8, i << 8 | 1)).chain((0..many).map(|i| (u128::MAX - (i << 8 | 1), u128::MAX - (i << 8))));
            let set = |prefixes: &[Prefix]| {
                let ranges = prefixes.iter().filter(|p| p.family() == Family::Ipv6).map(|p| p.range());
                Ranges::new(ranges.chain(both.clone()).collect())
            };
            let (a, b) = (set(&a), set(&b));
            prop_assert_eq!(a.difference(&b), a.subtract(&b).union(&b.subtract(&a)));
            prop_assert!(a.difference(&a.clone()).is_empty());
        }

        #[test]
        fn ranges_stay_sorted_and_apart(a in crowded(), b in crowded()) {
            let (a, b): (PrefixSet, PrefixSet) = (a.into_iter().collect(), b.into_iter().collect());
            for set in [a.union(&b), a.subtract(&b), a.intersect(&b)] {
                for family in Family::ALL {
                    for pair in set.family(family).as_slice().windows(2) {
                        prop_assert!(pair[0].1 < pair[1].0 - 1);
                    }
                    prop_assert!(set.family(family).as_slice().iter().all(|r| r.0 <= r.1));
                }
            }
        }
    }
}
