//! What freezes the growth of one peer's sources: `max_prefixes` per family, and the share of the address space they
//! cover. A frozen family keeps its last good prefixes, and withdrawals go on. Knows the peer's prefixes only as it is
//! given them; reports nothing.
use std::collections::BTreeMap;

use filter_core::set::PrefixSet;
use filter_core::{Family, Prefix};

use super::coverage;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// By family: the last good sources, once they went over `max_prefixes`.
    frozen: [Option<Frozen>; 2],
    /// By family: were the sources ever complete?
    was_complete: [bool; 2],
    /// S'(p) as it was last to be published, and which families of it cover too much of the address space.
    published: PrefixSet,
    too_wide: [bool; 2],
}

/// The last good sources of a family.
#[derive(Debug)]
struct Frozen {
    /// With whether no route holds the prefix any more, so that it leaves when its hold is over.
    good: BTreeMap<Prefix, bool>,
    /// Was there a good prefix when it froze? Without any, what is received counts: it still drops the rest.
    was_good: bool,
    /// Has an event reported it?
    reported: bool,
}

/// What became of a family at its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limited {
    /// What it was.
    Unchanged,
    /// It froze.
    Froze,
    /// It thawed; had its freezing been reported?
    Thawed { was_reported: bool },
}

/// How a prefix that leaves concerns a frozen family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    /// The family is not frozen, or has no last good prefixes: what is received counts.
    AsReceived,
    /// It was one of the last good prefixes, and is not any more.
    Good,
    /// It counts still, or did not count.
    Not,
}

impl Limits {
    /// The last good sources of a family that is over its limit, if there were any.
    pub(super) fn good(&self, family: Family) -> Option<&BTreeMap<Prefix, bool>> {
        let frozen = self.frozen[family as usize].as_ref()?;
        frozen.was_good.then_some(&frozen.good)
    }

    /// Is the family over `max_prefixes`?
    pub(super) const fn is_over(&self, family: Family) -> bool {
        self.frozen[family as usize].is_some()
    }

    /// Freezes or thaws a family. `sources` are its prefixes, each with whether a route holds it; what was there before
    /// `newest` is good, if the sources were ever complete.
    pub(super) fn check(
        &mut self,
        family: Family,
        is_over: bool,
        newest: Option<Prefix>,
        sources: impl Iterator<Item = (Prefix, bool)>,
    ) -> Limited {
        let any = self.was_complete[family as usize];
        match (is_over, &mut self.frozen[family as usize]) {
            (true, frozen @ None) => {
                let good = sources.filter(|(prefix, _)| any && Some(*prefix) != newest);
                let good: BTreeMap<Prefix, bool> =
                    good.map(|(prefix, held)| (prefix, !held)).collect();
                *frozen = Some(Frozen {
                    was_good: !good.is_empty(), // an emptied set is no last good table
                    good,
                    reported: false,
                });
                Limited::Froze
            }
            (false, frozen @ Some(_)) => Limited::Thawed {
                was_reported: frozen.take().is_some_and(|frozen| frozen.reported),
            },
            (true, Some(_)) | (false, None) => Limited::Unchanged,
        }
    }

    /// Is there a freeze of the family that was not reported yet?
    pub(super) fn is_unreported(&self, family: Family) -> bool {
        let frozen = self.frozen[family as usize].as_ref();
        frozen.is_some_and(|frozen| !frozen.reported)
    }

    /// The freeze of the family was reported.
    pub(super) const fn reported(&mut self, family: Family) {
        if let Some(frozen) = &mut self.frozen[family as usize] {
            frozen.reported = true;
        }
    }

    /// The family's sources are complete: within the limit they are good.
    pub(super) const fn completed(&mut self, family: Family) {
        self.was_complete[family as usize] |= self.frozen[family as usize].is_none();
    }

    /// The hold of a prefix that no route holds is over.
    pub(super) fn leave(&mut self, prefix: Prefix) -> Leaves {
        match &mut self.frozen[prefix.family() as usize] {
            Some(frozen) if frozen.was_good => {
                if frozen.good.get(&prefix) != Some(&true) {
                    return Leaves::Not;
                }
                frozen.good.remove(&prefix);
                Leaves::Good
            }
            _ => Leaves::AsReceived,
        }
    }

    /// Takes back what a family of S'(p) grew by since it was last published, if it covers too much of the address
    /// space. Returns the families for which that began, or ended.
    pub(super) fn cover(&mut self, sources: &mut PrefixSet) -> Vec<(Family, bool)> {
        let was = self.too_wide;
        self.too_wide = coverage::freeze(sources, &self.published);
        self.published = sources.clone();
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
