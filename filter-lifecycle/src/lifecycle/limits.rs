//! What freezes the growth of one peer's sources: `max_prefixes`, by session and route-server member, and the share of the
//! address space that they all cover. Withdrawals go on. Knows the peer's prefixes only as it is given them; reports
//! nothing.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use filter_core::layout::Families;
use filter_core::set::PrefixSet;
use filter_core::{Address, Family, Prefix};

use super::coverage::{self, Stood};
use super::measure::{KeptCoverage, Measure};
use super::portion::Portion;
use super::source::SourceKey;
use crate::route::FeedId;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Of families with `max_prefixes`: what each session, and its part of each route server's, has. By the Adj-RIB.
    portions: BTreeMap<SourceKey, Portion>,
    /// By family: what was good when an earlier process, or specification, froze them.
    restored: [BTreeSet<Prefix>; 2],
    coverage: Coverage,
    /// By family: what the coverage of S'(p) was measured against.
    measured: [Option<u128>; 2],
}

/// What growth of a peer's sources is measured against: to be kept where another specification is taken in force.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// By family: does S'(p) cover too much of the address space?
    too_wide: [bool; 2],
    /// By family: was this side known when S'(p) was published? Before, there is nothing that a jump could be measured
    /// against.
    was_known: [bool; 2],
    /// S'(p) as it was last to be published; where it was known once, as it was last published while it was known.
    published: PrefixSet,
    /// By family: the most that was covered for long enough within the last day.
    stood: [Stood; 2],
}

impl Limits {
    /// What one of its sessions, or its part of a route server's, has, whichever feeds report it.
    pub(super) fn portion(&mut self, key: SourceKey) -> &mut Portion {
        let key = of_any_feed(key);
        let was_frozen = !self.restored[key.family as usize].is_empty();
        let portion = self.portions.entry(key);
        portion.or_insert_with(|| match was_frozen {
            true => Portion::restored(),
            false => Portion::default(),
        })
    }

    /// Was nothing of the family frozen before, or was this good then?
    pub(super) fn was_good(&self, prefix: Prefix) -> bool {
        let restored = &self.restored[prefix.family() as usize];
        restored.is_empty() || restored.contains(&prefix)
    }

    /// These were the last good sources when they froze, before this process or specification.
    pub(super) fn restore(&mut self, good: impl IntoIterator<Item = Prefix>) {
        self.restored = Default::default();
        for prefix in good {
            self.restored[prefix.family() as usize].insert(prefix);
        }
    }

    /// The last good sources of what is frozen of a family; those from before as long as nothing has replaced them.
    pub(super) fn good(&self, family: Family, limit: u32) -> BTreeSet<Prefix> {
        let mut portions = self.portions(family).peekable();
        let is_restoring = portions.peek().is_none() || portions.any(Portion::is_restoring);
        let restored = self.restored[family as usize]
            .iter()
            .copied()
            .filter(|_| is_restoring);
        let portions = self.portions(family);
        let good = portions.flat_map(|portion| portion.good(family, limit));
        good.chain(restored).collect()
    }

    fn portions(&self, family: Family) -> impl Iterator<Item = &Portion> {
        let of_family = self
            .portions
            .iter()
            .filter(move |(key, _)| key.family == family);
        of_family.map(|(_, portion)| portion)
    }

    /// Does growth of a session of the family wait?
    pub(super) fn is_frozen(&self, family: Family, limit: Option<u32>) -> bool {
        limit.is_some_and(|limit| self.portions(family).any(|each| each.is_frozen(limit)))
    }

    /// Is a session of the family over `max_prefixes`?
    pub(super) fn is_over(&self, family: Family, limit: Option<u32>) -> bool {
        limit.is_some_and(|limit| self.portions(family).any(|each| each.is_over(limit)))
    }

    /// What growth is measured against.
    pub(super) const fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Growth is measured against what it was measured against before.
    pub(super) fn restore_coverage(&mut self, coverage: Coverage) {
        self.coverage = coverage;
    }

    /// What grew and covers too much counts from now on, and further growth is measured against it: an operator says so.
    /// Returns the families of which that is true.
    pub(super) fn accept_growth(&mut self) -> Vec<Family> {
        let mut wide = Family::ALL.to_vec();
        wide.retain(|&family| self.is_too_wide(family));
        for &family in &wide {
            self.coverage.forget(family);
        }
        wide
    }

    /// The last good sources of the families whose growth is frozen because of how much they cover.
    pub(super) fn narrow(&self) -> Vec<Prefix> {
        let wide = Family::ALL
            .into_iter()
            .filter(|&family| self.coverage.is_frozen(family));
        wide.flat_map(|family| coverage::prefixes(&self.coverage.published, family))
            .collect()
    }

    /// The last good sources of the other families that are known: they freeze to these if they jump.
    pub(super) fn good_sources(&self) -> Vec<Prefix> {
        let families = self.families_that_fit();
        families
            .flat_map(|family| coverage::prefixes(&self.coverage.published, family))
            .collect()
    }

    /// No fewer prefixes than this are in them.
    pub(super) fn good_ranges(&self) -> usize {
        let families = self.families_that_fit();
        families
            .map(|family| coverage::ranges(&self.coverage.published, family))
            .map(|ranges| ranges.as_slice().len())
            .sum()
    }

    fn families_that_fit(&self) -> impl Iterator<Item = Family> {
        let Coverage {
            too_wide,
            was_known,
            ..
        } = self.coverage;
        Family::ALL
            .into_iter()
            .filter(move |&family| was_known[family as usize] && !too_wide[family as usize])
    }

    /// Takes back what a family of S'(p) grew by since it was last published, if it covers too much of the address
    /// space, or, if it is `known`, much more than it did for long enough within the last day; not what is `always` in it.
    /// Until it is known again a freeze goes on. Returns the families for which one began, or ended.
    pub(super) fn cover(
        &mut self,
        now: Duration,
        known: Families,
        (sources, always): (&mut PrefixSet, &PrefixSet),
    ) -> Vec<(Family, bool)> {
        let was = self.coverage.too_wide;
        for family in Family::ALL {
            let is_known = known.contains(family);
            let stood = self.coverage.stood(now, family).filter(|_| is_known);
            self.measured[family as usize] = stood;
            let goes_on = !is_known && self.coverage.is_frozen(family);
            let is_too_wide = goes_on || coverage::is_too_wide(sources, family, stood);
            self.coverage.too_wide[family as usize] = is_too_wide;
            if is_too_wide {
                coverage::freeze(sources, &self.coverage.published, always, family);
            }
            self.coverage
                .publish(now, (family, known.contains(family)), sources);
        }
        let changed = |family: &Family| was[*family as usize] != self.is_too_wide(*family);
        let changed = Family::ALL.into_iter().filter(changed);
        changed
            .map(|family| (family, self.is_too_wide(family)))
            .collect()
    }

    /// May time have made room for what covers too much?
    pub(super) fn has_room(&mut self, now: Duration) -> bool {
        Family::ALL.into_iter().any(|family| {
            self.is_too_wide(family)
                && self.measured[family as usize].is_some()
                && self.measured[family as usize] != self.coverage.stood(now, family)
        })
    }

    /// Does this address not count, although it is advertised, because the family's sources cover too much?
    pub(super) fn withholds(&self, address: Address) -> bool {
        self.is_too_wide(address.family) && !self.coverage.published.contains(address)
    }

    /// Does any address of this prefix not count for that reason, apart from those that never do?
    pub(super) fn withholds_some_of(&self, prefix: Prefix, never: &PrefixSet) -> bool {
        let family = prefix.family();
        let published = coverage::ranges(&self.coverage.published, family);
        let all: PrefixSet = std::iter::once(prefix).collect();
        let may_count = all.subtract(never);
        let mut may_count = coverage::ranges(&may_count, family).as_slice().iter();
        self.is_too_wide(family) && may_count.any(|&range| !published.covers(range))
    }

    /// Do the family's sources cover too much of the address space?
    pub(super) const fn is_too_wide(&self, family: Family) -> bool {
        self.coverage.too_wide[family as usize]
    }
}

impl Coverage {
    /// What an earlier process kept of it.
    #[must_use]
    pub fn recalled(now: Duration, kept: KeptCoverage) -> Self {
        let KeptCoverage {
            frozen,
            good,
            measures,
        } = kept;
        let frozen: PrefixSet = frozen.into_iter().collect();
        let good: PrefixSet = good.into_iter().collect();
        let mut recalled = Self::default();
        for family in Family::ALL {
            let is_frozen = coverage::covered(&frozen, family) > 0;
            let measures = measures.iter().filter(|each| each.family == family);
            let mut stood = Stood::recalled(now, measures.map(|each| (each.counts, each.covered)));
            let published = if is_frozen { &frozen } else { &good };
            let covered = coverage::covered(published, family);
            if stood.most(now) == 0 {
                stood.begin(now, covered);
            }
            recalled.too_wide[family as usize] = is_frozen;
            recalled.was_known[family as usize] = stood.most(now) > 0;
            recalled.stood[family as usize] = stood;
            recalled.set_published(family, published);
        }
        recalled
    }

    /// What growth is measured against, to be kept.
    pub(super) fn measures(&self, now: Duration) -> Vec<Measure> {
        let of_family = |family: Family| {
            let kept = self.stood[family as usize].kept(now).into_iter();
            kept.map(move |(counts, covered)| Measure {
                family,
                covered,
                counts,
            })
        };
        Family::ALL.into_iter().flat_map(of_family).collect()
    }

    /// By family: the most that counts now.
    pub(super) fn most(&self, now: Duration) -> [u128; 2] {
        Family::ALL.map(|family| self.stood[family as usize].most(now))
    }

    fn set_published(&mut self, family: Family, sources: &PrefixSet) {
        match family {
            Family::Ipv4 => self.published.ipv4 = sources.ipv4.clone(),
            Family::Ipv6 => self.published.ipv6 = sources.ipv6.clone(),
        }
    }

    /// Does growth of the family wait?
    const fn is_frozen(&self, family: Family) -> bool {
        self.too_wide[family as usize] && self.was_known[family as usize]
    }

    /// There is nothing that growth of the family could be measured against.
    fn forget(&mut self, family: Family) {
        self.set_published(family, PrefixSet::empty());
        self.was_known[family as usize] = false;
        self.stood[family as usize] = Stood::default();
    }

    /// The most that the family covered for long enough within the last day, if it was known before.
    fn stood(&mut self, now: Duration, family: Family) -> Option<u128> {
        let was_known = self.was_known[family as usize];
        was_known.then(|| self.stood[family as usize].within_a_day(now))
    }

    /// The family is published. What it covers while it is not known, although it was, is no measure: growth would go
    /// round the limit.
    fn publish(&mut self, now: Duration, (family, is_known): (Family, bool), sources: &PrefixSet) {
        let was_known = self.was_known[family as usize];
        if was_known && !is_known {
            return;
        }
        self.set_published(family, sources);
        let covered = coverage::covered(sources, family);
        let stood = &mut self.stood[family as usize];
        match (was_known, is_known) {
            (true, _) => stood.set(now, covered),
            (false, true) => stood.begin(now, covered),
            (false, false) => {}
        }
        self.was_known[family as usize] |= is_known;
    }
}

/// Feeds that report the same Adj-RIB speak of one session.
const fn of_any_feed(key: SourceKey) -> SourceKey {
    SourceKey {
        feed: FeedId(0),
        ..key
    }
}
