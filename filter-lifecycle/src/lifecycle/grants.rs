//! What each peer is granted, class by class and family by family, and which of its sides are known. Once complete a
//! side stays known, whatever its peer does to itself: it may shrink, empty, freeze. Only our own ignorance ends it: a
//! feed that is lost for longer than `stale_hold`. Never looks at routes, and never at what the data plane does.
use std::time::Duration;

use filter_core::layout::{Families, Known};
use filter_core::{Class, Classes, Family, Mode, Prefix};

use super::evidence::View;
use super::facts::Facts;
use super::kind::Kind;
use super::source::{SETTLE, Source};
use super::{Missing, PeerState, Side, State};
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

/// See the file's head.
#[derive(Debug)]
pub(super) struct Grants {
    peers: Vec<Grant>,
}

/// What is remembered of one peer.
#[derive(Debug, Default)]
struct Grant {
    /// What its operator wants.
    mode: Mode,
    /// By [`Side`] and [`Family`].
    knowledge: [[Knowledge; 2]; 2],
    /// Why its table is not in the kernel, and since when.
    unpublished: Option<(String, Duration)>,
    /// Was that too long when last looked at?
    was_late: bool,
    /// What was last reported of it.
    reported: Option<(PeerState, Option<Missing>)>,
}

/// Whether one side of one family is known, and since when what is missing has been.
#[derive(Clone, Debug, Default)]
struct Knowledge {
    known: bool,
    missing: Option<Missing>,
    since: Duration,
}

/// What became of a peer when it was looked at.
#[must_use]
#[derive(Debug)]
pub(super) struct Settled {
    /// What is judged, or granted, changed.
    pub changed: bool,
    /// Its state, if it is another one than was last reported.
    pub state: Option<(PeerState, Option<Missing>)>,
}

impl Grants {
    /// Each peer in its configured mode, with nothing known of it.
    pub(super) fn new(facts: &Facts) -> Self {
        let grant = |id| Grant {
            mode: facts.peer(id).mode,
            ..Grant::default()
        };
        Self {
            peers: facts.peers().map(grant).collect(),
        }
    }

    fn peer(&self, id: PeerId) -> &Grant {
        &self.peers[id.0 as usize]
    }

    fn peer_mut(&mut self, id: PeerId) -> &mut Grant {
        &mut self.peers[id.0 as usize]
    }

    fn knowledge(&self, id: PeerId, side: Side, family: Family) -> &Knowledge {
        &self.peer(id).knowledge[side as usize][family as usize]
    }

    /// The mode that the operator wants for the peer.
    pub(super) fn mode(&self, id: PeerId) -> Mode {
        self.peer(id).mode
    }

    pub(super) fn set_mode(&mut self, id: PeerId, mode: Mode) {
        self.peer_mut(id).mode = mode;
    }

    /// The peer's tables were published, or could not be.
    pub(super) fn published(&mut self, now: Duration, id: PeerId, result: Result<(), String>) {
        let peer = self.peer_mut(id);
        let since = peer.unpublished.as_ref().map_or(now, |(_, since)| *since);
        peer.unpublished = result.err().map(|why| (why, since));
    }

    /// The peers whose tables have now been unpublished for too long, or are not any more.
    pub(super) fn newly_late(&mut self, now: Duration, hold: Duration) -> Vec<PeerId> {
        let mut changed = Vec::new();
        for (id, peer) in (0..).map(PeerId).zip(&mut self.peers) {
            let is_late = peer.is_late(now, hold);
            if is_late != std::mem::replace(&mut peer.was_late, is_late) {
                changed.push(id);
            }
        }
        changed
    }

    /// The peers with a side that is empty and not known yet: it is believed when time has passed.
    pub(super) fn waiting(&self) -> impl Iterator<Item = PeerId> + '_ {
        let is_waiting = |peer: &Grant| {
            let mut all = peer.knowledge.iter().flatten();
            all.any(|each| matches!(each.missing, Some(Missing::Empty(..))))
        };
        let peers = (0..).map(PeerId).zip(&self.peers);
        peers
            .filter(move |(_, peer)| is_waiting(peer))
            .map(|(id, _)| id)
    }

    /// The classes that the peer's operator wants: none while its mode is `observe`.
    pub(super) fn wanted(&self, facts: &Facts, id: PeerId) -> Classes {
        configured(facts, id).when(self.mode(id) == Mode::Enforce)
    }

    /// The classes that may be in force: of those that are wanted, the ones that need no routes, and of each side and
    /// family that is known the one that relies on it. No side, family or peer holds back another.
    pub(super) fn granted(&self, view: View<'_>, id: PeerId) -> Classes {
        self.wanted(view.facts, id).within(self.grantable(view, id))
    }

    /// What may be in force if it is wanted.
    fn grantable(&self, view: View<'_>, id: PeerId) -> Classes {
        let free = Classes::BOGONS | Classes::FAMILIES | Classes::MALFORMED;
        let stale_hold = view.facts.timers().stale_hold;
        let is_late = self.peer(id).is_late(view.now, stale_hold);
        let relies = !view.sources.are_crowded(id) && !is_late;
        sides().fold(free, |all, (side, family)| {
            let is_known = self.knowledge(id, side, family).known;
            all.with(class_of(side, family).when(relies && is_known))
        })
    }

    /// The sides of the peer that are known: nothing is judged by the others.
    pub(super) fn known(&self, id: PeerId) -> Known {
        let families = |side: Side| Families::new(|family| self.knowledge(id, side, family).known);
        Known::new(families(Side::Sources), families(Side::Destinations))
    }

    /// Every class of the peer.
    pub(super) fn class_status(&self, view: View<'_>, id: PeerId) -> Vec<ClassStatus> {
        let (wanted, configured) = (self.wanted(view.facts, id), configured(view.facts, id));
        let granted = self.granted(view, id);
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
                .and_then(|(side, family)| self.waits(view, id, side, family));
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
    pub(super) fn missing(&self, view: View<'_>, id: PeerId) -> Option<Missing> {
        let configured = configured(view.facts, id);
        let by_family = Family::ALL
            .into_iter()
            .flat_map(|family| Side::ALL.map(|side| (side, family)));
        let mut used =
            by_family.filter(|&(side, family)| configured.contains(class_of(side, family)));
        let waits = used.find_map(|(side, family)| self.waits(view, id, side, family))?;
        Some(waits.missing)
    }

    /// The peer's state, and the first thing that is missing.
    pub(super) fn state(&self, view: View<'_>, id: PeerId) -> (PeerState, Option<Missing>) {
        let missing = self.missing(view, id);
        let relies = Classes::SOURCES | Classes::DESTINATIONS;
        let is_partly = self.granted(view, id).meets(relies);
        let state = PeerState::new(self.mode(id), missing.as_ref(), is_partly);
        (state, missing)
    }

    /// What the class of this side and family waits for.
    fn waits(&self, view: View<'_>, id: PeerId, side: Side, family: Family) -> Option<Waits> {
        if view.sources.are_crowded(id) {
            return Some(Waits::forever(Missing::TooManyRibs, Duration::ZERO));
        }
        let knowledge = self.knowledge(id, side, family);
        if knowledge.known {
            let (why, at) = self.peer(id).unpublished.as_ref()?;
            let missing = Missing::NotPublished(why.clone());
            return Some(Waits::forever(missing, view.now.saturating_sub(*at)));
        }
        let missing = unknown(view, id, side, family)?;
        Some(Waits {
            since: view.now.saturating_sub(knowledge.since),
            expected: expected(view, id, side, family, &missing),
            missing,
        })
    }

    /// Takes note of what is known of the peer now, and of its state.
    pub(super) fn settle(&mut self, view: View<'_>, id: PeerId) -> Settled {
        let changed = self.learn(view, id);
        let now = self.state(view, id);
        let peer = self.peer_mut(id);
        let is_new = peer.reported.as_ref() != Some(&now);
        if is_new {
            peer.reported = Some(now.clone());
        }
        Settled {
            changed: changed || is_new,
            state: is_new.then_some(now),
        }
    }

    /// Takes note of what is known now. Returns whether that changes what is judged, or granted.
    fn learn(&mut self, view: View<'_>, id: PeerId) -> bool {
        let mut changed = false;
        for (side, family) in sides() {
            let was = self.knowledge(id, side, family).known;
            let known = match view.incomplete(id, side, family) {
                Some(Missing::FeedLost(..)) => false,
                // Of its own accord a peer makes nothing unknown.
                Some(_) => was,
                None => was || unknown(view, id, side, family).is_none(),
            };
            let missing = if known {
                None
            } else {
                unknown(view, id, side, family)
            };
            let knowledge = &mut self.peer_mut(id).knowledge[side as usize][family as usize];
            if knowledge.known != known || knowledge.missing != missing {
                changed |= knowledge.known != known;
                *knowledge = Knowledge {
                    known,
                    missing,
                    since: view.now,
                };
            }
        }
        changed
    }
}

impl Grant {
    /// Has its table been out of the kernel for so long?
    fn is_late(&self, now: Duration, hold: Duration) -> bool {
        let unpublished = self.unpublished.as_ref();
        unpublished.is_some_and(|(_, at)| now >= *at + hold)
    }
}

/// The classes that `enforce` means for this peer.
pub(super) fn configured(facts: &Facts, id: PeerId) -> Classes {
    let spec = facts.peer(id);
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

/// Why a side that is not known is not.
fn unknown(view: View<'_>, id: PeerId, side: Side, family: Family) -> Option<Missing> {
    view.incomplete(id, side, family).or_else(|| {
        let is_empty =
            !has_prefixes(view, id, side, family) && !is_empty_for_sure(view, id, side, family);
        is_empty.then_some(Missing::Empty(side, family))
    })
}

fn has_prefixes(view: View<'_>, id: PeerId, side: Side, family: Family) -> bool {
    let spec = view.facts.peer(id);
    let extras: &[Prefix] = match side {
        Side::Sources => &spec.extra_sources,
        Side::Destinations => &spec.extra_destinations,
    };
    view.wanted.peer(id).len_of(side, family) > 0
        || extras.iter().any(|prefix| prefix.family() == family)
}

/// A side that is empty the first time is believed only after `settle_max`, and if the router counts no prefixes in
/// every Adj-RIB of it.
fn is_empty_for_sure(view: View<'_>, id: PeerId, side: Side, family: Family) -> bool {
    let settle_max = view.facts.timers().settle_max;
    let keys = view.sources.of_side(id, side, family);
    let mut sources = keys
        .filter_map(|key| view.sources.get(key))
        .filter(|source| source.kind() != Kind::ByHand && source.state() == State::Synced)
        .peekable();
    sources.peek().is_some()
        && sources.all(|source| view.now >= source.started() + settle_max && source.counts_none())
}

/// How long until what is being received is expected to be complete, at the latest.
fn expected(
    view: View<'_>,
    id: PeerId,
    side: Side,
    family: Family,
    missing: &Missing,
) -> Option<Duration> {
    if !matches!(missing, Missing::Loading(..)) {
        return None;
    }
    let keys = view.sources.of_side(id, side, family);
    let started = keys
        .filter_map(|key| view.sources.get(key))
        .filter(|source| source.is_receiving())
        .map(Source::started)
        .max()?;
    let settles = [SETTLE, view.facts.timers().settle_max].map(|time| started + time);
    settles
        .into_iter()
        .filter(|at| *at > view.now)
        .map(|at| at.saturating_sub(view.now))
        .min()
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

fn sides() -> impl Iterator<Item = (Side, Family)> {
    Side::ALL
        .into_iter()
        .flat_map(|side| Family::ALL.map(|family| (side, family)))
}

/// The class that relies on a side.
const fn class_of(side: Side, family: Family) -> Classes {
    match side {
        Side::Sources => Classes::sources(family),
        Side::Destinations => Classes::destinations(family),
    }
}
