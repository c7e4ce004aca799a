//! The coverage budget: sources that cover most of a family's space check nothing. Knows no peer.
use filter_core::Family;
use filter_core::layout::Families;
use filter_core::set::PrefixSet;

/// No one peer's sources may cover more than this share of its family's space: a full table covers about 72 %
/// of IPv4 and far less of IPv6.
pub const COVERAGE_PERCENT: u128 = 85;

/// The first of the peer's families whose sources cover too much.
pub(super) fn over_budget(sources: &PrefixSet, families: Families) -> Option<Family> {
    Family::ALL
        .into_iter()
        .filter(|&family| families.contains(family))
        .find(|&family| {
            // In units of 2^64 of left-aligned bits, so that the sum fits.
            let covered: u128 = sources
                .family(family)
                .as_slice()
                .iter()
                .map(|&(first, last)| ((last - first) >> 64) + 1)
                .sum();
            let space: u128 = match family {
                Family::Ipv4 => 1 << 64,
                Family::Ipv6 => 1 << 61, // 2000::/3
            };
            covered > space / 100 * COVERAGE_PERCENT
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(texts: &[&str], families: &[Family]) -> Option<Family> {
        let prefixes = texts
            .iter()
            .map(|text| text.parse::<filter_core::Prefix>().unwrap());
        over_budget(
            &prefixes.collect(),
            Families::new(|family| families.contains(&family)),
        )
    }

    #[test]
    fn at_its_edges() {
        let both = &Family::ALL;
        // 13/16 is 81 %, 7/8 is 87 %.
        let four = ["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/4"];
        assert_eq!(over(&four, both), None);
        assert_eq!(
            over(&[&four[..], &["208.0.0.0/4"]].concat(), both),
            Some(Family::Ipv4)
        );
        assert_eq!(
            over(&["2000::/4", "3000::/5", "3800::/6"], both),
            Some(Family::Ipv6)
        );
        assert_eq!(over(&["2000::/4", "3000::/5"], both), None);
        assert_eq!(
            over(&["0.0.0.0/0"], &[Family::Ipv6]),
            None,
            "not its family"
        );
        assert_eq!(over(&[], both), None);
    }
}
