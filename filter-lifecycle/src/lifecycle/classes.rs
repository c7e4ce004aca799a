//! What each peer is granted, class by class and family by family, and which of its sides are known. Once complete a
//! side stays known, whatever its peer does to itself: it may shrink, empty, freeze. Only our own ignorance ends it: a
//! feed that is lost for longer than `stale_hold`. Never looks at routes, and never at what the data plane does.
use std::time::Duration;

use filter_core::layout::{Families, Known};
use filter_core::{Class, Classes, Family, Mode, Prefix};

use super::kind::Kind;
use super::source::SETTLE;
use super::{Lifecycle, Missing, Side, SourceKey, State};
use crate::route::PeerId;

/// One class of one peer, of one family where it has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassStatus {
    /// Which class.
    pub class: Class,
    /// Which family; none for classes that have no families.
    pub family: Option<Family>,
    /// The peer's mode is `enforce`, its `enforce` names the class, and the peer uses the family.
    pub wanted: bool,
    /// The class may be in force as far as the routes go.
    pub granted: bool,
    /// What keeps it from being in force, if the peer uses it.
    pub missing: Option<Missing>,
    /// For how long that has been missing.
    pub since: Option<Duration>,
    /// How long until it is expected to be there at the latest, where time alone brings it.
    pub expected: Option<Duration>,
}

/// Whether one side of one family is known, and since when what is missing has been.
#[derive(Clone, Debug, Default)]
pub(super) struct Knowledge {
    pub known: bool,
    missing: Option<Missing>,
    since: Duration,
}

impl Lifecycle {
    /// The classes that the peer's operator wants: none while its mode is `observe`.
    #[must_use]
    pub fn wanted(&self, id: PeerId) -> Classes {
        let enforces = self.peers[id.0 as usize].mode == Mode::Enforce;
        self.configured(id).when(enforces)
    }

    /// The classes that `enforce` means for this peer.
    #[must_use]
    pub fn configured(&self, id: PeerId) -> Classes {
        let spec = &self.spec.peers[id.0 as usize];
        let unused = Family::ALL
            .into_iter()
            .filter(|&family| !spec.families.contains(family));
        unused.fold(spec.enforce.within(Classes::PEER), |classes, family| {
            let of_family = Classes::bogons(family)
                .with(Classes::sources(family))
                .with(Classes::destinations(family));
            classes.without(of_family)
        })
    }

    /// The classes that may be in force: of those that are wanted, the ones that need no routes, and of each side and
    /// family that is known the one that relies on it. No side, family or peer holds back another.
    #[must_use]
    pub fn granted(&self, now: Duration, id: PeerId) -> Classes {
        self.wanted(id).within(self.grantable(now, id))
    }

    /// What may be in force if it is wanted.
    fn grantable(&self, now: Duration, id: PeerId) -> Classes {
        let free = Classes::BOGONS | Classes::FAMILIES | Classes::MALFORMED;
        let peer = &self.peers[id.0 as usize];
        let relies = !peer.crowded && !self.is_unpublished_too_long(now, id);
        Side::ALL.into_iter().fold(free, |all, side| {
            Family::ALL.into_iter().fold(all, |all, family| {
                let known = peer.knowledge[side as usize][family as usize].known;
                all.with(class_of(side, family).when(relies && known))
            })
        })
    }

    /// Every class of the peer.
    #[must_use]
    pub fn class_status(&self, now: Duration, id: PeerId) -> Vec<ClassStatus> {
        let (wanted, configured) = (self.wanted(id), self.configured(id));
        let granted = self.granted(now, id);
        let each = Classes::PEER.iter().map(|(class, family)| {
            let bit = Classes::of_family(class, family.unwrap_or(Family::Ipv4));
            let side = match class {
                Class::Sources => Some(Side::Sources),
                Class::Destinations => Some(Side::Destinations),
                _ => None,
            };
            let waits = side
                .zip(family)
                .filter(|_| configured.contains(bit))
                .and_then(|(side, family)| self.waits(now, id, side, family));
            let (missing, since, expected) = waits.map_or((None, None, None), |waits| {
                (Some(waits.missing), Some(waits.since), waits.expected)
            });
            ClassStatus {
                class,
                family,
                wanted: wanted.contains(bit),
                granted: granted.contains(bit),
                missing,
                since,
                expected,
            }
        });
        each.collect()
    }

    /// The first thing that keeps a class of the peer's from being in force.
    #[must_use]
    pub fn missing(&self, now: Duration, id: PeerId) -> Option<Missing> {
        let configured = self.configured(id);
        let sides = Family::ALL
            .into_iter()
            .flat_map(|family| Side::ALL.map(|side| (side, family)));
        let mut used = sides.filter(|&(side, family)| configured.contains(class_of(side, family)));
        used.find_map(|(side, family)| self.waits(now, id, side, family))
            .map(|waits| waits.missing)
    }

    /// The sides of the peer that are known: nothing is judged by the others.
    #[must_use]
    pub fn known(&self, id: PeerId) -> Known {
        let knowledge = &self.peers[id.0 as usize].knowledge;
        let families =
            |side: Side| Families::new(|family| knowledge[side as usize][family as usize].known);
        Known::new(families(Side::Sources), families(Side::Destinations))
    }

    /// What the class of this side and family waits for.
    fn waits(&self, now: Duration, id: PeerId, side: Side, family: Family) -> Option<Waits> {
        let peer = &self.peers[id.0 as usize];
        let knowledge = &peer.knowledge[side as usize][family as usize];
        if peer.crowded {
            return Some(Waits::forever(Missing::TooManyRibs, Duration::ZERO));
        }
        if knowledge.known {
            let (why, at) = peer.unpublished.as_ref()?;
            let missing = Missing::NotPublished(why.clone());
            return Some(Waits::forever(missing, now.saturating_sub(*at)));
        }
        let missing = self.unknown(now, id, side, family)?;
        Some(Waits {
            since: now.saturating_sub(knowledge.since),
            expected: self.expected(now, id, side, family, &missing),
            missing,
        })
    }

    /// Why a side that is not known is not.
    fn unknown(&self, now: Duration, id: PeerId, side: Side, family: Family) -> Option<Missing> {
        let missing = self.missing_table(now, id, side, family);
        missing.or_else(|| {
            let empty = !self.has_prefixes(id, side, family)
                && !self.is_empty_for_sure(now, id, side, family);
            empty.then_some(Missing::Empty(side, family))
        })
    }

    fn has_prefixes(&self, id: PeerId, side: Side, family: Family) -> bool {
        let spec = &self.spec.peers[id.0 as usize];
        let extras: &[Prefix] = match side {
            Side::Sources => &spec.extra_sources,
            Side::Destinations => &spec.extra_destinations,
        };
        self.peers[id.0 as usize].len_of(side, family) > 0
            || extras.iter().any(|prefix| prefix.family() == family)
    }

    /// A side that is empty the first time is believed only after `settle_max`, and if the router counts no prefixes in
    /// every table of it.
    fn is_empty_for_sure(&self, now: Duration, id: PeerId, side: Side, family: Family) -> bool {
        let settle_max = self.spec.timers.settle_max;
        let mut sources = self
            .keys_of(id, side, family)
            .filter_map(|key| self.sources.get(key))
            .filter(|source| source.kind != Kind::ByHand && source.state() == State::Synced)
            .peekable();
        sources.peek().is_some()
            && sources
                .all(|source| now >= source.started() + settle_max && source.doubts.counts_none())
    }

    fn expected(
        &self,
        now: Duration,
        id: PeerId,
        side: Side,
        family: Family,
        missing: &Missing,
    ) -> Option<Duration> {
        if !matches!(missing, Missing::Loading(..)) {
            return None;
        }
        let started = self
            .keys_of(id, side, family)
            .filter_map(|key| self.sources.get(key))
            .filter(|source| source.is_telling())
            .map(super::source::Source::started)
            .max()?;
        let settles = [SETTLE, self.spec.timers.settle_max].map(|time| started + time);
        settles
            .into_iter()
            .filter(|at| *at > now)
            .map(|at| at.saturating_sub(now))
            .min()
    }

    fn keys_of(&self, id: PeerId, side: Side, family: Family) -> impl Iterator<Item = &SourceKey> {
        let keys = self.peers[id.0 as usize].keys.iter();
        keys.filter(move |key| Side::of(key.rib) == side && key.family == family)
    }

    /// Takes note of what is known now. Returns whether that changes what is judged, or granted.
    pub(super) fn learn(&mut self, now: Duration, id: PeerId) -> bool {
        let mut changed = false;
        for (side, family) in Side::ALL
            .into_iter()
            .flat_map(|side| Family::ALL.map(|family| (side, family)))
        {
            let was = self.peers[id.0 as usize].knowledge[side as usize][family as usize].known;
            let known = match self.missing_table(now, id, side, family) {
                Some(Missing::FeedLost(..)) => false,
                // Of its own accord a peer makes nothing unknown.
                Some(_) => was,
                None => was || self.unknown(now, id, side, family).is_none(),
            };
            let missing = if known {
                None
            } else {
                self.unknown(now, id, side, family)
            };
            let knowledge =
                &mut self.peers[id.0 as usize].knowledge[side as usize][family as usize];
            if knowledge.known != known || knowledge.missing != missing {
                changed |= knowledge.known != known;
                *knowledge = Knowledge {
                    known,
                    missing,
                    since: now,
                };
            }
        }
        changed
    }

    fn is_unpublished_too_long(&self, now: Duration, id: PeerId) -> bool {
        let unpublished = self.peers[id.0 as usize].unpublished.as_ref();
        unpublished.is_some_and(|(_, at)| now >= *at + self.spec.timers.stale_hold)
    }

    /// Peers whose grants change only because time has passed.
    pub(super) fn unsettle_late(&mut self, now: Duration) {
        let hold = self.spec.timers.stale_hold;
        for (id, peer) in (0..).map(PeerId).zip(&mut self.peers) {
            let late = peer
                .unpublished
                .as_ref()
                .is_some_and(|(_, at)| now >= *at + hold);
            if late != peer.was_late {
                peer.was_late = late;
                self.dirty.insert(id);
                self.unsettled.insert(id);
            }
        }
        let mut lost = Vec::new();
        for (feed, state) in (0..).map(crate::route::FeedId).zip(&mut self.feeds) {
            let late = state.ignorant_since().is_some_and(|at| now >= at + hold);
            if late && !state.was_late {
                lost.push(feed);
            }
            state.was_late = late;
        }
        for feed in lost {
            self.unsettle_feed(feed);
        }
        // An empty side is believed when time has passed.
        let unknown = |peer: &super::peer::Peer| {
            let all = peer.knowledge.iter().flatten();
            all.clone()
                .any(|each| matches!(each.missing, Some(Missing::Empty(..))))
        };
        let waiting = (0..).map(PeerId).zip(&self.peers);
        let waiting = waiting.filter(|(_, peer)| unknown(peer)).map(|(id, _)| id);
        self.unsettled.extend(waiting);
    }
}

/// What a class waits for, for how long it has, and will at most.
struct Waits {
    missing: Missing,
    since: Duration,
    expected: Option<Duration>,
}

impl Waits {
    const fn forever(missing: Missing, since: Duration) -> Self {
        Self {
            missing,
            since,
            expected: None,
        }
    }
}

/// The class that relies on a side.
const fn class_of(side: Side, family: Family) -> Classes {
    match side {
        Side::Sources => Classes::sources(family),
        Side::Destinations => Classes::destinations(family),
    }
}
