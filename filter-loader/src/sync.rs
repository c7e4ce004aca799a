//! Keeps what the kernel has in step with what is wanted, per peer. Planning is pure and apart from applying:
//! `have` advances only when the kernel has taken it, so a failed publish is tried again and the old table
//! stays. Never knows why something is wanted.
use std::collections::BTreeMap;
use std::time::Duration;

use filter_core::Family;
use filter_core::layout::{Known, Rules};
use filter_core::set::PrefixSet;

use crate::error::Error;
use crate::filter::Filter;
use crate::slot::PeerSlot;
use crate::tables::PeerTables;

/// First wait after a failed publish; doubled each time.
pub const FIRST_RETRY: Duration = Duration::from_millis(500);
/// Longest wait between two tries.
pub const LAST_RETRY: Duration = Duration::from_secs(60);

/// What a peer's data plane shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Which families it is configured for, and which of its sides are known.
    pub rules: Rules,
    /// S'(p).
    pub sources: PrefixSet,
    /// D'(p).
    pub destinations: PrefixSet,
}

/// What has to be done to get from what the kernel has to what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: identical input writes nothing.
    Keep,
    /// The sets stay, only the rules change.
    Rules,
    /// The sets are replaced.
    Sets,
}

/// The step from `have` to `want`.
#[must_use]
pub fn plan(want: &Wanted, have: Option<&Wanted>) -> Step {
    match have {
        Some(have) if have == want => Step::Keep,
        Some(have) if have.sources == want.sources && have.destinations == want.destinations => {
            Step::Rules
        }
        _ => Step::Sets,
    }
}

/// What came of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// What was done.
    pub step: Step,
    /// The generation that is live now.
    pub generation: u32,
}

/// A peer whose last publish failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirty {
    /// Why, in one line.
    pub why: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next (the caller's clock).
    pub retry_at: Duration,
}

#[derive(Debug, Default)]
struct Peer {
    have: Option<Wanted>,
    generation: u32,
    dirty: Option<Dirty>,
}

impl Peer {
    /// Takes out of the table that is live what is not wanted any more, as far as there is room to write what is left: set by
    /// set, as each makes room for the next.
    fn shrink(&mut self, filter: &mut Filter, slot: PeerSlot, want: &Wanted) {
        for set in SETS {
            let Some(have) = &self.have else {
                return;
            };
            let less = without_growth(want, have, set);
            if plan(&less, Some(have)) == Step::Keep {
                continue;
            }
            let generation = self.generation.wrapping_add(1).max(1);
            let table = PeerTables {
                rules: less.rules,
                generation,
                sources: &less.sources,
                destinations: &less.destinations,
            };
            // What fails here fails as the whole did, and is tried again with it.
            if filter.publish(slot, &table).is_ok() {
                self.have = Some(less);
                self.generation = generation;
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Sources,
    Destinations,
}

/// A side's set of a family.
type Set = (Side, Family);

const SETS: [Set; 4] = [
    (Side::Sources, Family::Ipv4),
    (Side::Sources, Family::Ipv6),
    (Side::Destinations, Family::Ipv4),
    (Side::Destinations, Family::Ipv6),
];

/// What is there, and of one set only what is wanted too. A side that was not known is not judged by what is there of it.
fn without_growth(want: &Wanted, have: &Wanted, (side, family): Set) -> Wanted {
    let known = want.rules.known.bits() & have.rules.known.bits();
    let mut less = Wanted {
        rules: Rules {
            families: want.rules.families,
            known: Known::from_bits(known),
        },
        ..have.clone()
    };
    let (less_of, want_of) = match side {
        Side::Sources => (&mut less.sources, &want.sources),
        Side::Destinations => (&mut less.destinations, &want.destinations),
    };
    match family {
        Family::Ipv4 => less_of.ipv4 = less_of.ipv4.intersect(&want_of.ipv4),
        Family::Ipv6 => less_of.ipv6 = less_of.ipv6.intersect(&want_of.ipv6),
    }
    less
}

/// What the kernel has, and what is still to be done.
#[derive(Debug, Default)]
pub struct Sync {
    peers: BTreeMap<PeerSlot, Peer>,
}

impl Sync {
    /// Brings one peer to what is wanted. `now` is any steady clock.
    ///
    /// # Errors
    /// What the loader says; the old table stays live and the peer is [`Dirty`] until a later call succeeds. Where what is
    /// wanted is too large, what is not wanted any more leaves the old table all the same, as far as there is room.
    pub fn apply(
        &mut self,
        filter: &mut Filter,
        slot: PeerSlot,
        want: Wanted,
        now: Duration,
    ) -> Result<Published, Error> {
        let peer = self.peers.entry(slot).or_default();
        let step = plan(&want, peer.have.as_ref());
        let generation = match step {
            Step::Keep => peer.generation,
            Step::Rules | Step::Sets => peer.generation.wrapping_add(1).max(1),
        };
        let table = PeerTables {
            rules: want.rules,
            generation,
            sources: &want.sources,
            destinations: &want.destinations,
        };
        let done = match step {
            Step::Keep => filter.test_again(slot, &table),
            Step::Rules | Step::Sets => filter.publish(slot, &table),
        };
        match done {
            Ok(()) => {
                *peer = Peer {
                    have: Some(want),
                    generation,
                    dirty: None,
                };
                Ok(Published { step, generation })
            }
            Err(error) => {
                if matches!(error, Error::TableTooLarge { .. }) {
                    peer.shrink(filter, slot, &want);
                }
                let attempts = peer
                    .dirty
                    .as_ref()
                    .map_or(1, |dirty| dirty.attempts.saturating_add(1));
                peer.dirty = Some(Dirty {
                    why: error.to_string(),
                    attempts,
                    retry_at: now + retry_delay(attempts),
                });
                Err(error)
            }
        }
    }

    /// An earlier process left a table of this generation in force; what is in it is not known.
    pub fn adopt(&mut self, slot: PeerSlot, generation: u32) {
        self.peers.insert(
            slot,
            Peer {
                generation,
                ..Peer::default()
            },
        );
    }

    /// The peer is gone.
    pub fn forget(&mut self, slot: PeerSlot) {
        self.peers.remove(&slot);
    }

    /// The generation that is live, 0 if none.
    #[must_use]
    pub fn generation(&self, slot: PeerSlot) -> u32 {
        self.peers.get(&slot).map_or(0, |peer| peer.generation)
    }

    /// What the kernel has.
    #[must_use]
    pub fn have(&self, slot: PeerSlot) -> Option<&Wanted> {
        self.peers.get(&slot)?.have.as_ref()
    }

    /// Why the peer is dirty, if it is.
    #[must_use]
    pub fn dirty(&self, slot: PeerSlot) -> Option<&Dirty> {
        self.peers.get(&slot)?.dirty.as_ref()
    }

    /// Did its last publish fail, and is its next try still to come?
    #[must_use]
    pub fn is_backing_off(&self, slot: PeerSlot, now: Duration) -> bool {
        self.dirty(slot).is_some_and(|dirty| now < dirty.retry_at)
    }

    /// Dirty peers whose time has come.
    #[must_use]
    pub fn due(&self, now: Duration) -> Vec<PeerSlot> {
        let dirty = self
            .peers
            .iter()
            .filter_map(|(&slot, peer)| Some((slot, peer.dirty.as_ref()?)));
        dirty
            .filter(|(_, dirty)| dirty.retry_at <= now)
            .map(|(slot, _)| slot)
            .collect()
    }
}

/// Doubling from [`FIRST_RETRY`] up to [`LAST_RETRY`].
fn retry_delay(attempts: u32) -> Duration {
    let doubled = 1u32
        .checked_shl(attempts.saturating_sub(1))
        .and_then(|factor| FIRST_RETRY.checked_mul(factor));
    doubled.map_or(LAST_RETRY, |delay| delay.min(LAST_RETRY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(known: Known, sources: &[&str]) -> Wanted {
        let sources = sources
            .iter()
            .map(|text| text.parse::<filter_core::Prefix>().unwrap())
            .collect();
        Wanted {
            rules: Rules {
                known,
                ..Rules::default()
            },
            sources,
            ..Wanted::default()
        }
    }

    #[test]
    fn identical_input_writes_nothing_however_it_was_spelt() {
        let have = wanted(Known::ALL, &["10.0.0.0/24"]);
        let same = wanted(Known::ALL, &["10.0.0.0/25", "10.0.0.128/25"]);
        assert_eq!(plan(&same, Some(&have)), Step::Keep);
        let rules = wanted(Known::NONE, &["10.0.0.0/24"]);
        assert_eq!(plan(&rules, Some(&have)), Step::Rules);
        let sets = wanted(Known::ALL, &["10.0.0.0/25"]);
        assert_eq!(plan(&sets, Some(&have)), Step::Sets);
        assert_eq!(plan(&Wanted::default(), None), Step::Sets);
    }

    #[test]
    fn a_peer_backs_off_until_its_next_try_is_due() {
        let mut sync = Sync::default();
        let (slot, at) = (PeerSlot(7), Duration::from_millis);
        assert!(!sync.is_backing_off(slot, at(0)));
        let dirty = Dirty {
            why: String::new(),
            attempts: 1,
            retry_at: at(500),
        };
        sync.peers.insert(
            slot,
            Peer {
                dirty: Some(dirty),
                ..Peer::default()
            },
        );
        for (now, backs_off) in [(0, true), (499, true), (500, false)] {
            assert_eq!(sync.is_backing_off(slot, at(now)), backs_off, "{now}");
            assert_eq!(sync.due(at(now)).is_empty(), backs_off, "{now}");
        }
    }

    #[test]
    fn retries_back_off_to_a_limit() {
        assert_eq!(retry_delay(1), FIRST_RETRY);
        assert_eq!(retry_delay(2), 2 * FIRST_RETRY);
        assert_eq!(retry_delay(8), LAST_RETRY);
        assert_eq!(retry_delay(u32::MAX), LAST_RETRY);
    }
}
