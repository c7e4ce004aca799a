//! Two feeds that report the same Adj-RIB: a poll beside a stream. What only one of them has stays valid, because each
//! holds its own; what differs twice in a row is reported. Decides nothing.
use std::collections::{BTreeSet, HashSet};

use filter_core::Prefix;

use super::State;
use super::kind::Kind;
use super::source::Source;

/// Prefixes named as examples of a disagreement.
pub const MAX_EXAMPLES: usize = 5;
/// Prefixes that differ and are remembered until the next poll; two feeds that differ in more differ enough.
pub const MAX_DIFFERENCES: usize = 10_000;

/// How a poll differed from what another feed reported, last time.
#[derive(Debug, Default)]
pub(super) struct Difference {
    last: HashSet<Prefix>,
    reported: bool,
}

/// Prefixes that only one of two feeds reported, over two polls.
#[derive(Debug)]
pub(super) struct Disagreement {
    pub prefixes: usize,
    pub examples: Vec<Prefix>,
}

impl Difference {
    /// Takes note of how a poll differed. What is under way differs once; what differs twice is returned, once.
    pub(super) fn seen(&mut self, differing: HashSet<Prefix>) -> Option<Disagreement> {
        let twice: BTreeSet<Prefix> = differing.intersection(&self.last).copied().collect();
        self.last = differing;
        let was_reported = std::mem::replace(&mut self.reported, !twice.is_empty());
        (!twice.is_empty() && !was_reported).then(|| Disagreement {
            prefixes: twice.len(),
            examples: twice.into_iter().take(MAX_EXAMPLES).collect(),
        })
    }
}

/// How the poll differs from what another feed reports; none if no other feed has the Adj-RIB in full.
pub(super) fn compare<'a>(
    poll: &Source,
    others: impl Iterator<Item = &'a Source>,
) -> Option<HashSet<Prefix>> {
    let complete = others.filter(|source| source.state() == State::Synced && source.is_heard());
    // The stream, if there is one; and always the same one.
    let other = complete.min_by_key(|source| source.kind() == Kind::Poll)?;
    let mut differing: Vec<Prefix> = only_in(poll, other).chain(only_in(other, poll)).collect();
    // The first in order, so that the next poll finds the same.
    differing.sort_unstable();
    differing.truncate(MAX_DIFFERENCES);
    Some(differing.into_iter().collect())
}

fn only_in<'a>(one: &'a Source, other: &'a Source) -> impl Iterator<Item = Prefix> + 'a {
    one.routes()
        .prefixes()
        .filter(|&prefix| !other.routes().has(prefix))
}
