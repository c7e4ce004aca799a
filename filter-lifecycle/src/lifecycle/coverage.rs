//! The coverage budget: sources that cover most of a family's space check nothing. Knows no peer.
use filter_core::Family;
use filter_core::set::{PrefixSet, Ranges};

/// No one peer's sources may cover more than this share of its family's space: a full table covers about 72 %
/// of IPv4 and far less of IPv6.
pub const COVERAGE_PERCENT: u128 = 85;

/// Do they cover too much of this family's space?
fn is_over(sources: &Ranges, family: Family) -> bool {
    // In units of 2^64 of left-aligned bits, so that the sum fits.
    let covered: u128 = sources
        .as_slice()
        .iter()
        .map(|&(first, last)| ((last - first) >> 64) + 1)
        .sum();
    let space: u128 = match family {
        Family::Ipv4 => 1 << 64,
        Family::Ipv6 => 1 << 61, // 2000::/3
    };
    covered > space / 100 * COVERAGE_PERCENT
}

/// Takes back what a family grew by since it was last good, if it covers too much now; what left it leaves. A family
/// that was never good, or empty, stays as it is: it still drops the rest. Returns which families cover too much.
pub(super) fn freeze(sources: &mut PrefixSet, good: &PrefixSet) -> [bool; 2] {
    Family::ALL.map(|family| {
        let (ranges, good) = match family {
            Family::Ipv4 => (&mut sources.ipv4, &good.ipv4),
            Family::Ipv6 => (&mut sources.ipv6, &good.ipv6),
        };
        let is_over = is_over(ranges, family);
        if is_over && !good.is_empty() {
            *ranges = ranges.intersect(good);
        }
        is_over
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> PrefixSet {
        texts
            .iter()
            .map(|text| text.parse::<filter_core::Prefix>().unwrap())
            .collect()
    }

    fn over(texts: &[&str]) -> [bool; 2] {
        freeze(&mut set(texts), PrefixSet::empty())
    }

    #[test]
    fn at_its_edges() {
        // 13/16 is 81 %, 7/8 is 87 %.
        let four = ["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/4"];
        assert_eq!(over(&four), [false, false]);
        assert_eq!(over(&[&four[..], &["208.0.0.0/4"]].concat()), [true, false]);
        assert_eq!(over(&["2000::/4", "3000::/5", "3800::/6"]), [false, true]);
        assert_eq!(over(&["2000::/4", "3000::/5"]), [false, false]);
        assert_eq!(over(&[]), [false, false]);
    }

    #[test]
    fn growth_freezes_and_withdrawals_go_on() {
        let good = set(&["45.0.0.0/8", "46.0.0.0/8", "2001:db8::/32"]);
        let mut wide = set(&[
            "45.0.0.0/8",
            "0.0.0.0/3",
            "64.0.0.0/2",
            "128.0.0.0/1",
            "2001:db9::/32",
        ]);
        assert_eq!(freeze(&mut wide, &good), [true, false]);
        assert_eq!(wide, set(&["45.0.0.0/8", "2001:db9::/32"]));
    }
}
