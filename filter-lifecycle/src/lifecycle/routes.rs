//! The routes of one source, and which transfer of its Adj-RIB each was last part of. Knows when routes come and go,
//! never why, and never what follows from it.
use std::collections::{HashMap, HashSet, VecDeque, hash_map};
use std::sync::Arc;
use std::time::Duration;

use filter_core::{Family, Prefix};

use super::former::Transfers;
use super::key::RouteKey;
use super::ledger::Moment;
use crate::route::{Community, PeerId};

/// Routes of one source; beyond it the source never counts as complete.
pub const MAX_ROUTES: usize = 4_000_000;
/// Withdrawals this shortly before a feed was lost are a router's that shuts down (GoBGP), not a peer's.
pub const LAST_WORDS: Duration = Duration::from_secs(5);
/// So many of them are remembered; a table that lost more just before its feed is not relied on.
pub const MAX_LAST_WORDS: usize = 1 << 20;

/// Whom a route concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// Everyone its source does.
    All,
    /// One member of a route server's LAN.
    Only(PeerId),
    /// No peer.
    NoMember,
    /// Whom its communities name.
    Scoped,
}

/// [`Whom`], with the communities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub whom: Whom,
    pub communities: Option<Arc<[Community]>>,
}

/// What is remembered of a route.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The transfer that it was last part of.
    epoch: u32,
    /// When it was first announced, in seconds.
    since: u32,
    whom: Whom,
}

/// A withdrawal that may be the last that its feed sent.
#[derive(Clone, Copy, Debug)]
struct LastWord {
    at: Moment,
    key: RouteKey,
    whom: Whom,
}

/// A route that is no more, and whom it concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub prefix: Prefix,
    pub scope: Scope,
}

/// What an announcement changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// The route was not known.
    New,
    /// Nothing but that it is part of this transfer too.
    Same,
    /// It concerns others than before.
    Replaced(Scope),
    /// There are too many.
    Overflow,
}

/// See the file's head.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    family: Family,
    /// The transfer that goes on, and how many routes it has so far.
    epoch: u32,
    fresh: usize,
    entries: HashMap<RouteKey, Entry>,
    communities: HashMap<RouteKey, Arc<[Community]>>,
    has_paths: bool,
    last_words: VecDeque<LastWord>,
    /// When there were more than are remembered: if the feed is lost soon after, its last routes are not known.
    words_forgotten: Option<Duration>,
    max_routes: usize,
    max_last_words: usize,
}

impl Routes {
    pub(super) fn new(family: Family) -> Self {
        Self {
            family,
            epoch: 1, // what is taken back is of the one before
            fresh: 0,
            entries: HashMap::new(),
            communities: HashMap::new(),
            has_paths: false,
            last_words: VecDeque::new(),
            words_forgotten: None,
            max_routes: MAX_ROUTES,
            max_last_words: MAX_LAST_WORDS,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Routes of this transfer.
    pub(super) const fn fresh(&self) -> usize {
        self.fresh
    }

    /// Routes of the transfer before, that were not received again in this one.
    pub(super) fn of_last_transfer(&self) -> usize {
        let last = self.epoch.wrapping_sub(1);
        let entries = self.entries.values();
        entries.filter(|entry| entry.epoch == last).count()
    }

    /// Its prefixes, one for each path, with whom they concern and the second they were first announced in.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Gone, Duration)> + '_ {
        self.iter_of(|_| true)
    }

    /// Those that were last received in such a transfer.
    pub(super) fn iter_of(
        &self,
        which: impl Fn(u32) -> bool,
    ) -> impl Iterator<Item = (Gone, Duration)> {
        self.by_transfer(which).map(|(_, route)| route)
    }

    /// As [`Routes::iter_of`], each with the transfer that it was last received in.
    pub(super) fn by_transfer(
        &self,
        which: impl Fn(u32) -> bool,
    ) -> impl Iterator<Item = (u32, (Gone, Duration))> {
        let entries = self
            .entries
            .iter()
            .filter(move |(_, entry)| which(entry.epoch));
        entries.map(|(key, entry)| {
            let since = Duration::from_secs(entry.since.into());
            (entry.epoch, (self.described(*key, entry.whom), since))
        })
    }

    /// Those that were last received in these transfers.
    pub(super) fn of(&self, transfers: Transfers) -> Vec<Gone> {
        let routes = self.iter_of(|transfer| transfers.contain(transfer));
        routes.map(|(gone, _)| gone).collect()
    }

    /// Forgets those that were last received in these transfers.
    pub(super) fn take_of(&mut self, transfers: Transfers) -> Vec<Gone> {
        let gone = self.extract(|transfer| transfers.contain(transfer));
        gone.into_iter().map(|(gone, _)| gone).collect()
    }

    /// Its prefixes, one for each path.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.entries.keys().map(|key| key.prefix(self.family))
    }

    /// Is this a prefix of its? Cheap for tables without path identifiers.
    pub(super) fn has(&self, prefix: Prefix) -> bool {
        self.entries.contains_key(&RouteKey::new(prefix, 0))
            || self.has_paths && self.prefixes().any(|mine| mine == prefix)
    }

    /// Does this number fit the routes of this transfer? Some routers count paths, some prefixes.
    pub(super) fn agrees(&self, prefixes: u64) -> bool {
        let received = self.fresh as u64;
        if received == prefixes || !self.has_paths {
            return received == prefixes;
        }
        let fresh = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.epoch == self.epoch);
        let distinct: HashSet<RouteKey> = fresh
            .map(|(key, _)| RouteKey::new(key.prefix(self.family), 0))
            .collect();
        distinct.len() as u64 == prefixes
    }

    /// The transfer that goes on.
    pub(super) const fn transfer(&self) -> u32 {
        self.epoch
    }

    /// The Adj-RIB is sent from the start (again).
    pub(super) const fn next_transfer(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.fresh = 0;
    }

    /// A route was announced. One that was last received in a transfer whose routes do not count is new.
    pub(super) fn announce(
        &mut self,
        now: Duration,
        (prefix, path): (Prefix, u32),
        scope: &Scope,
        is_muted: impl Fn(u32) -> bool,
    ) -> Announced {
        let key = RouteKey::new(prefix, path);
        let len = self.entries.len();
        let entry = match self.entries.entry(key) {
            hash_map::Entry::Vacant(_) if len >= self.max_routes => return Announced::Overflow,
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(Entry {
                    epoch: self.epoch,
                    since: seconds(now),
                    whom: scope.whom,
                });
                if let Some(communities) = &scope.communities {
                    self.communities.insert(key, Arc::clone(communities));
                }
                self.has_paths |= path != 0;
                self.fresh += 1;
                return Announced::New;
            }
            hash_map::Entry::Occupied(known) => known.into_mut(),
        };
        self.fresh += usize::from(entry.epoch != self.epoch);
        let was_muted = is_muted(std::mem::replace(&mut entry.epoch, self.epoch));
        let whom = std::mem::replace(&mut entry.whom, scope.whom);
        let communities = match &scope.communities {
            Some(communities) => self.communities.insert(key, Arc::clone(communities)),
            None if whom == Whom::Scoped => self.communities.remove(&key),
            None => None,
        };
        if was_muted {
            return Announced::New;
        }
        if whom == scope.whom && communities == scope.communities {
            return Announced::Same;
        }
        Announced::Replaced(Scope { whom, communities })
    }

    /// A route was withdrawn. Returns what was remembered of it, and the transfer it was last part of. `may_be_last`: it
    /// is remembered for [`Routes::take_back`].
    pub(super) fn withdraw(
        &mut self,
        now: Duration,
        (prefix, path): (Prefix, u32),
        may_be_last: bool,
    ) -> Option<(Gone, u32)> {
        let key = RouteKey::new(prefix, path);
        let entry = self.entries.remove(&key)?;
        self.fresh -= usize::from(entry.epoch == self.epoch);
        let gone = self.described(key, entry.whom);
        if !may_be_last {
            self.forget_communities(key);
            return Some((gone, entry.epoch));
        }
        self.forget_words(now);
        if self.last_words.len() >= self.max_last_words {
            self.last_words.pop_front();
            self.words_forgotten = Some(now);
        }
        self.last_words.push_back(LastWord {
            at: Moment::until(now),
            key,
            whom: entry.whom,
        });
        Some((gone, entry.epoch))
    }

    /// Removes the routes that were not part of this transfer; each with the transfer it was last part of.
    pub(super) fn remove_former(&mut self) -> Vec<(Gone, u32)> {
        let transfer = self.epoch;
        self.extract(|of| of != transfer)
    }

    fn extract(&mut self, which: impl Fn(u32) -> bool) -> Vec<(Gone, u32)> {
        if self.fresh == self.entries.len() && !which(self.epoch) {
            return Vec::new();
        }
        let entries = self.entries.extract_if(|_, entry| which(entry.epoch));
        let gone: Vec<(RouteKey, Entry)> = entries.collect();
        let current = gone.iter().filter(|(_, entry)| entry.epoch == self.epoch);
        self.fresh -= current.count();
        let gone = gone.into_iter();
        gone.map(|(key, entry)| (self.take_described(key, entry.whom), entry.epoch))
            .collect()
    }

    /// Takes the last withdrawals back: they were not the peer's. What comes back is of a former transfer, so that
    /// it goes with the next complete table, unless that has it too. Beside them, whether there
    /// were more than are remembered.
    pub(super) fn take_back(&mut self, now: Duration) -> (Vec<Gone>, bool) {
        self.forget_words(now);
        let mut back = Vec::new();
        for LastWord { key, whom, .. } in std::mem::take(&mut self.last_words) {
            if let hash_map::Entry::Vacant(vacant) = self.entries.entry(key) {
                vacant.insert(Entry {
                    epoch: self.epoch.wrapping_sub(1),
                    since: seconds(now),
                    whom,
                });
                back.push(self.described(key, whom));
            }
        }
        let more = self
            .words_forgotten
            .is_some_and(|at| now <= at + LAST_WORDS);
        (back, more)
    }

    /// Forgets its routes; each with the transfer it was last part of.
    pub(super) fn clear(&mut self) -> Vec<(Gone, u32)> {
        let gone = self.extract(|_| true);
        self.entries = HashMap::new();
        self.communities = HashMap::new();
        self.last_words = VecDeque::new();
        gone
    }

    /// Forgets withdrawals that are too old to be the feed's last.
    fn forget_words(&mut self, now: Duration) {
        let oldest = Moment::until(now.saturating_sub(LAST_WORDS));
        while let Some(word) = self.last_words.front().filter(|word| word.at < oldest) {
            let key = word.key;
            self.last_words.pop_front();
            self.forget_communities(key);
        }
        if self.last_words.is_empty() {
            self.last_words = VecDeque::new(); // a full table's withdrawal is not kept in memory for ever
        }
    }

    fn forget_communities(&mut self, key: RouteKey) {
        if !self.communities.is_empty() && !self.entries.contains_key(&key) {
            self.communities.remove(&key);
        }
    }

    fn described(&self, key: RouteKey, whom: Whom) -> Gone {
        let communities = match whom {
            Whom::Scoped => self.communities.get(&key).cloned(),
            Whom::All | Whom::Only(_) | Whom::NoMember => None,
        };
        Gone {
            prefix: key.prefix(self.family),
            scope: Scope { whom, communities },
        }
    }

    fn take_described(&mut self, key: RouteKey, whom: Whom) -> Gone {
        let gone = self.described(key, whom);
        self.forget_communities(key);
        gone
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Scope = Scope {
        whom: Whom::All,
        communities: None,
    };

    fn prefix(number: u32) -> Prefix {
        format!("10.{number}.0.0/16").parse().unwrap()
    }

    fn announce(routes: &mut Routes, number: u32) -> Announced {
        routes.announce(Duration::ZERO, (prefix(number), 0), &ALL, |_| false)
    }

    fn filled(count: u32) -> Routes {
        let mut routes = Routes {
            max_routes: 3,
            max_last_words: 2,
            ..Routes::new(Family::Ipv4)
        };
        for number in 0..count {
            assert_eq!(announce(&mut routes, number), Announced::New);
        }
        routes
    }

    #[test]
    fn more_routes_than_there_may_be() {
        let mut routes = filled(3);
        assert_eq!(announce(&mut routes, 3), Announced::Overflow);
        assert_eq!(announce(&mut routes, 2), Announced::Same);
        assert_eq!((routes.len(), routes.fresh()), (3, 3));
    }

    #[test]
    fn last_words_are_taken_back_while_they_are_fresh() {
        let withdrawn = |at: u64, count: u32, lost: u64| {
            let mut routes = filled(3);
            for number in 0..count {
                routes.withdraw(Duration::from_secs(at), (prefix(number), 0), true);
            }
            let (back, more) = routes.take_back(Duration::from_secs(lost));
            assert_eq!(routes.len(), 3 - count as usize + back.len());
            assert_eq!(routes.fresh(), 3 - count as usize);
            (back.len(), more)
        };
        assert_eq!(withdrawn(10, 2, 15), (2, false));
        assert_eq!(withdrawn(10, 2, 16), (0, false));
        assert_eq!(withdrawn(10, 3, 10), (2, true), "more than are remembered");
        assert_eq!(withdrawn(10, 3, 16), (0, false));
    }

    #[test]
    fn what_was_not_told_again_is_former() {
        let mut routes = filled(3);
        routes.next_transfer();
        assert_eq!(announce(&mut routes, 1), Announced::Same);
        let mut gone: Vec<Prefix> = routes
            .remove_former()
            .iter()
            .map(|(gone, _)| gone.prefix)
            .collect();
        gone.sort_unstable();
        assert_eq!(gone, [prefix(0), prefix(2)]);
        assert_eq!((routes.len(), routes.fresh()), (1, 1));
        assert_eq!(routes.remove_former(), []);
    }

    #[test]
    fn memory_is_as_documented() {
        assert_eq!(size_of::<(RouteKey, Entry)>(), 40);
        assert_eq!(size_of::<LastWord>(), 36);
    }
}
