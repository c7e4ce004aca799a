//! What freezes the growth of one peer's sources: `max_prefixes`, by session and route-server member, and the share of the
//! address space that they all cover. Withdrawals go on. Knows the peer's prefixes only as it is given them; reports
//! nothing.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use filter_core::layout::Families;
use filter_core::set::PrefixSet;
use filter_core::{Family, Prefix};

use super::coverage::{self, Largest};
use super::portion::Portion;
use super::source::SourceKey;
use crate::route::FeedId;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Of families with `max_prefixes`: what each session, and its part of each route server's, has. By the Adj-RIB.
    portions: BTreeMap<SourceKey, Portion>,
    /// What was good when an earlier process, or specification, froze them.
    restored: BTreeSet<Prefix>,
    coverage: Coverage,
    /// By family: was an Adj-RIB complete for the first time since S'(p) was published? Then there is nothing yet that a jump
    /// could be measured against.
    is_first: [bool; 2],
    /// Which families of S'(p) cover too much of the address space.
    too_wide: [bool; 2],
}

/// What growth of a peer's sources is measured against: to be kept where another specification is taken in force.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// The Adj-RIBs that were complete once.
    completed: BTreeSet<SourceKey>,
    /// S'(p) as it was last to be published.
    published: PrefixSet,
    /// By family: the most that was covered within the last day.
    largest: [Largest; 2],
}

impl Limits {
    /// What one of its sessions, or its part of a route server's, has, whichever feeds report it.
    pub(super) fn portion(&mut self, key: SourceKey) -> &mut Portion {
        let key = of_any_feed(key);
        let of_family = |prefix: &Prefix| prefix.family() == key.family;
        let portion = self.portions.entry(key);
        portion.or_insert_with(|| match self.restored.iter().any(of_family) {
            true => Portion::restored(),
            false => Portion::default(),
        })
    }

    /// Was nothing of the family frozen before, or was this good then?
    pub(super) fn was_good(&self, prefix: Prefix) -> bool {
        let mut of_family = self
            .restored
            .iter()
            .filter(|each| each.family() == prefix.family());
        of_family.next().is_none() || self.restored.contains(&prefix)
    }

    /// These were the last good sources when they froze, before this process or specification.
    pub(super) fn restore(&mut self, good: impl IntoIterator<Item = Prefix>) {
        self.restored = good.into_iter().collect();
    }

    /// The last good sources of what is frozen of a family; those from before as long as nothing has replaced them.
    pub(super) fn good(&self, family: Family, limit: u32) -> BTreeSet<Prefix> {
        let mut portions = self.portions(family).peekable();
        let is_restoring = portions.peek().is_none() || portions.any(Portion::is_restoring);
        let restored = self.restored.iter().copied();
        let restored = restored.filter(|prefix| is_restoring && prefix.family() == family);
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

    /// An Adj-RIB is complete. Returns whether that is the first time.
    pub(super) fn completed(&mut self, key: SourceKey) -> bool {
        let is_first = self.coverage.completed.insert(of_any_feed(key));
        self.is_first[key.family as usize] |= is_first;
        is_first
    }

    /// Takes back what a family of S'(p) grew by since it was last published, if it covers too much of the address
    /// space, or, if it is `known`, much more than it ever did within the last day. Returns the families for which that
    /// began, or ended.
    pub(super) fn cover(
        &mut self,
        now: Duration,
        known: Families,
        sources: &mut PrefixSet,
    ) -> Vec<(Family, bool)> {
        let was = self.too_wide;
        let is_first = std::mem::take(&mut self.is_first);
        self.too_wide = Family::ALL.map(|family| {
            let may_jump = known.contains(family) && !is_first[family as usize];
            let largest = self.coverage.largest[family as usize].within_a_day(now);
            let largest = Some(largest).filter(|_| may_jump);
            coverage::freeze(sources, &self.coverage.published, family, largest)
        });
        for family in Family::ALL {
            self.coverage.largest[family as usize].set(now, coverage::covered(sources, family));
        }
        self.coverage.published = sources.clone();
        let changed = |family: &Family| was[*family as usize] != self.too_wide[*family as usize];
        let changed = Family::ALL.into_iter().filter(changed);
        changed
            .map(|family| (family, self.is_too_wide(family)))
            .collect()
    }

    /// Do the family's sources cover too much of the address space?
    pub(super) const fn is_too_wide(&self, family: Family) -> bool {
        self.too_wide[family as usize]
    }
}

/// Feeds that report the same Adj-RIB speak of one session.
const fn of_any_feed(key: SourceKey) -> SourceKey {
    SourceKey {
        feed: FeedId(0),
        ..key
    }
}
