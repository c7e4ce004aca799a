//! One peer: its two ledgers, what is refused and frozen, and what its state is called. Knows no feed and no
//! session, and never decides what is missing.
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use filter_core::set::{PrefixSet, Ranges};
use filter_core::{Address, Family, Mode, Prefix};

use super::address_set::{AddressSet, Valid};
use super::classes::Knowledge;
use super::ledger::{Change, Departure, Expiry, Ledger, Moment};
use super::source::SourceKey;
use super::{Refusal, Side};
use crate::status::Obstacle;

/// What keeps a peer from being enforced. The first one found is named.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// No feed has told this table yet.
    NeverTold(Side, Family),
    /// A table is being told.
    Loading(Side, Family),
    /// The router counts other than the feed told.
    CountMismatch(Side, Family),
    /// A table lost most of its routes at once and nobody confirmed it yet.
    ShrinkUnconfirmed(Side, Family),
    /// Every session that carried this table is down.
    SessionDown(Side, Family),
    /// The feed has been away for longer than `stale_hold`.
    FeedLost(Side, Family),
    /// The table is complete and empty.
    Empty(Side, Family),
    /// There are more Adj-RIBs than the daemon keeps.
    TooManyRibs,
    /// The table was not published, or its self-test failed.
    NotPublished(String),
    /// The program is not on these interfaces. Only who looks at devices knows: the lifecycle never says so.
    NotAttached(String),
    /// The data plane's lease has ended, so that it only observes. As above.
    LeaseEnded,
    /// Frames of devices without a record came in lately. As above.
    NoRecord,
    /// The driver hides VLAN tags from the program; the command that shows them. As above.
    TagsHidden(String),
    /// No MAC is known for it, so that no packet is. As above.
    NoStation,
}

impl Missing {
    /// Which of the documented obstacles it is.
    #[must_use]
    pub const fn obstacle(&self) -> Obstacle {
        match self {
            Self::NeverTold(..) => Obstacle::NotReceived,
            Self::Loading(..) => Obstacle::Loading,
            Self::CountMismatch(..) => Obstacle::CountMismatch,
            Self::ShrinkUnconfirmed(..) => Obstacle::ShrinkUnconfirmed,
            Self::SessionDown(..) => Obstacle::SessionDown,
            Self::FeedLost(..) => Obstacle::FeedLost,
            Self::Empty(..) => Obstacle::Empty,
            Self::TooManyRibs => Obstacle::TooManyRibs,
            Self::NotPublished(_) => Obstacle::NotPublished,
            Self::NotAttached(_) => Obstacle::NotAttached,
            Self::LeaseEnded => Obstacle::LeaseEnded,
            Self::NoRecord => Obstacle::NoRecord,
            Self::TagsHidden(_) => Obstacle::TagsHidden,
            Self::NoStation => Obstacle::NoStation,
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverTold(side, family) => write!(f, "no feed has told its {family} {side} yet"),
            Self::Loading(side, family) => write!(f, "its {family} {side} are still being told"),
            Self::CountMismatch(side, family) => write!(
                f,
                "the router counts other {family} {side} than the feed told"
            ),
            Self::ShrinkUnconfirmed(side, family) => write!(
                f,
                "most of its {family} {side} vanished at once, unconfirmed"
            ),
            Self::SessionDown(side, family) => {
                write!(f, "every session that carries its {family} {side} is down")
            }
            Self::FeedLost(side, family) => write!(f, "the feed of its {family} {side} is lost"),
            Self::Empty(side, family) => write!(f, "it has no {family} {side}"),
            Self::TooManyRibs => {
                f.write_str("the feeds report more Adj-RIBs than the daemon keeps")
            }
            Self::NotPublished(why) => write!(f, "its table is not in the kernel: {why}"),
            Self::NotAttached(interfaces) => {
                write!(f, "the program is not on {interfaces}")
            }
            Self::LeaseEnded => f.write_str("the lease has ended: the program only observes"),
            Self::NoRecord => f.write_str(
                "frames came in from a device that has no record: they passed, whatever they were",
            ),
            Self::TagsHidden(command) => write!(
                f,
                "the driver hides vlan tags from the program, so that only malformed frames can be judged: `{command}`"
            ),
            Self::NoStation => {
                f.write_str("no mac of its is known: add `macs`, or its `addresses`")
            }
        }
    }
}

/// What a peer may do, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Everything is there; its mode is `observe`.
    Observing,
    /// Every class that is wanted is granted.
    Enforcing,
    /// Sources or destinations of a family are granted, and others not.
    Partly,
    /// No side is complete yet: only the classes that need no routes are granted.
    Syncing,
    /// Its sessions went down before any side was complete: only the classes that need no routes are granted.
    Holding,
    /// Something is wrong on our side.
    Degraded,
}

impl PeerState {
    /// From the mode wanted, what is missing, and whether any class that relies on routes is granted.
    #[must_use]
    pub const fn new(mode: Mode, missing: Option<&Missing>, is_partly: bool) -> Self {
        match missing {
            None => match mode {
                Mode::Observe => Self::Observing,
                Mode::Enforce => Self::Enforcing,
            },
            Some(
                Missing::NeverTold(..)
                | Missing::Loading(..)
                | Missing::Empty(..)
                | Missing::SessionDown(..),
            ) if is_partly => Self::Partly,
            Some(Missing::NeverTold(..) | Missing::Loading(..) | Missing::Empty(..)) => {
                Self::Syncing
            }
            Some(Missing::SessionDown(..)) => Self::Holding,
            Some(
                Missing::CountMismatch(..)
                | Missing::ShrinkUnconfirmed(..)
                | Missing::FeedLost(..)
                | Missing::TooManyRibs
                | Missing::NotPublished(_)
                | Missing::NotAttached(_)
                | Missing::LeaseEnded
                | Missing::NoRecord
                | Missing::TagsHidden(_)
                | Missing::NoStation,
            ) => Self::Degraded,
        }
    }

    /// The name in status and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observing => "observing",
            Self::Enforcing => "enforcing",
            Self::Partly => "partly",
            Self::Syncing => "syncing",
            Self::Holding => "holding",
            Self::Degraded => "degraded",
        }
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Refused prefixes a peer's status lists; all are counted.
pub const MAX_REFUSED_LISTED: usize = 100;
/// Refused prefixes of one peer that are told of as events in [`REFUSED_PERIOD`].
pub const MAX_REFUSED_TOLD: usize = 100;
/// How long a refused prefix that was told of is not told of again.
pub const REFUSED_PERIOD: Duration = Duration::from_secs(3600);
/// Next hops per neighbour that are told of once each.
pub const MAX_NEXT_HOPS: usize = 64;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub mode: Mode,
    pub ledgers: [Ledger; 2],
    pub addresses: [AddressSet; 2],
    pub refused: Refused,
    /// The last good sources of a family that went over its `max_prefixes`.
    pub frozen: [Option<Frozen>; 2],
    /// Were the sources of a family ever complete?
    pub was_complete: [bool; 2],
    /// Sources of routes that matter for this peer.
    pub keys: BTreeSet<SourceKey>,
    /// Some could not be kept.
    pub crowded: bool,
    /// Does a feed, besides prefixes by hand, always tell this side?
    pub dynamic: [bool; 2],
    pub next_hops: HashSet<IpAddr>,
    /// What is known of each side and family.
    pub knowledge: [[Knowledge; 2]; 2],
    /// S'(p) as it was last to be published, and which families of it cover too much of the address space.
    pub good_sources: PrefixSet,
    pub too_wide: [bool; 2],
    /// Why its table is not in the kernel, since when, and whether that was too long when last looked at.
    pub unpublished: Option<(String, Duration)>,
    pub was_late: bool,
    /// What was last told of it.
    pub told: Option<(PeerState, Option<Missing>)>,
}

/// Prefixes that are not admitted: why, and on how many words.
#[derive(Debug, Default)]
pub(super) struct Refused {
    prefixes: HashMap<Prefix, (Refusal, u32)>,
    of_family: [u32; 2],
    told: HashSet<Prefix>,
    told_since: Duration,
}

impl Refused {
    /// One word more. Returns whether it is to be told of.
    pub(super) fn add(&mut self, now: Duration, prefix: Prefix, refusal: Refusal) -> bool {
        match self.prefixes.entry(prefix) {
            hash_map::Entry::Occupied(mut known) => {
                known.get_mut().1 += 1;
                return false;
            }
            hash_map::Entry::Vacant(vacant) => vacant.insert((refusal, 1)),
        };
        self.of_family[prefix.family() as usize] += 1;
        if now >= self.told_since + REFUSED_PERIOD {
            self.told.clear();
            self.told_since = now;
        }
        self.told.len() < MAX_REFUSED_TOLD && self.told.insert(prefix)
    }

    /// One word less.
    pub(super) fn remove(&mut self, prefix: Prefix) {
        if let hash_map::Entry::Occupied(mut known) = self.prefixes.entry(prefix) {
            known.get_mut().1 -= 1;
            if known.get().1 == 0 {
                known.remove();
                self.of_family[prefix.family() as usize] -= 1;
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.prefixes.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Prefix, Refusal)> + '_ {
        self.prefixes
            .iter()
            .map(|(&prefix, &(refusal, _))| (prefix, refusal))
    }
}

/// The last good sources of a family.
#[derive(Debug)]
pub(super) struct Frozen {
    /// With whether nobody held it any more, so that it leaves when its hold is over.
    pub good: BTreeMap<Prefix, bool>,
    /// The operator was told.
    pub told: bool,
    /// There was a good table.
    pub any: bool,
}

/// What became of a family at its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limited {
    /// What it was.
    Unchanged,
    /// It froze.
    Froze,
    /// It thawed; had its freezing been told?
    Thawed(bool),
}

impl Peer {
    pub(super) fn ledger(&self, side: Side) -> &Ledger {
        &self.ledgers[side as usize]
    }

    /// One word more for a prefix. Returns whether the side's valid prefixes changed.
    pub(super) fn add(&mut self, side: Side, prefix: Prefix, by_hand: bool) -> Change {
        let change = self.ledgers[side as usize].add(prefix, by_hand);
        if change == Change::Changed && !self.is_frozen(side, prefix.family()) {
            let len = self.len(side);
            self.addresses[side as usize].changed(prefix, len);
        }
        change
    }

    /// One word less; see [`Ledger::remove`].
    pub(super) fn remove(
        &mut self,
        side: Side,
        prefix: Prefix,
        by_hand: bool,
        leaves_at: Moment,
    ) -> Option<Departure> {
        self.ledgers[side as usize].remove(prefix, by_hand, leaves_at)
    }

    /// A prefix's time has come. Returns also whether that changes what is wanted.
    pub(super) fn expire(&mut self, side: Side, prefix: Prefix, now: Moment) -> (Expiry, Change) {
        let expiry = self.ledgers[side as usize].expire(prefix, now);
        if expiry != Expiry::Gone {
            return (expiry, Change::Same);
        }
        let len = self.len(side);
        let addresses = &mut self.addresses[side as usize];
        match (side, &mut self.frozen[prefix.family() as usize]) {
            (Side::Sources, Some(frozen)) if frozen.any => {
                let leaves = frozen.good.get(&prefix) == Some(&true);
                if !leaves || frozen.good.remove(&prefix).is_none() {
                    return (expiry, Change::Same);
                }
                addresses.all_changed();
            }
            (Side::Sources | Side::Destinations, _) => addresses.changed(prefix, len),
        }
        (expiry, Change::Changed)
    }

    /// S'(p) or D'(p) as it is now: what `withheld` has is no member, what `always` has is one.
    pub(super) fn addresses(
        &mut self,
        side: Side,
        withheld: &PrefixSet,
        always: &PrefixSet,
    ) -> PrefixSet {
        let mut addresses = std::mem::take(&mut self.addresses[side as usize]);
        let set = addresses.update(&Enforced { peer: self, side }, withheld, always);
        self.addresses[side as usize] = addresses;
        set
    }

    pub(super) fn is_frozen(&self, side: Side, family: Family) -> bool {
        side == Side::Sources && self.good(family).is_some()
    }

    /// The last good sources of a family that is over its limit. Without any, what is received counts.
    fn good(&self, family: Family) -> Option<&BTreeMap<Prefix, bool>> {
        let frozen = self.frozen[family as usize].as_ref()?;
        frozen.any.then_some(&frozen.good)
    }

    /// What feeds say the peer advertises of a family, admitted or not: what `max_prefixes` limits.
    pub(super) const fn advertised(&self, family: Family) -> u32 {
        self.ledgers[Side::Sources as usize].told(family) + self.refused.of_family[family as usize]
    }

    /// Freezes or thaws a family's sources. What was there before `newest` is good, if it ever was a whole table.
    pub(super) fn limit(&mut self, family: Family, limit: u32, newest: Option<Prefix>) -> Limited {
        let over = self.advertised(family) > limit;
        let any = self.was_complete[family as usize];
        match (over, &mut self.frozen[family as usize]) {
            (true, frozen @ None) => {
                self.addresses[Side::Sources as usize].all_changed();
                let sources = self.ledgers[Side::Sources as usize].prefixes(family);
                let good = sources.filter(|(prefix, _)| any && Some(*prefix) != newest);
                let good: BTreeMap<Prefix, bool> =
                    good.map(|(prefix, held)| (prefix, !held)).collect();
                *frozen = Some(Frozen {
                    told: false,
                    any: !good.is_empty(), // an emptied set is no last good table
                    good,
                });
                Limited::Froze
            }
            (false, frozen @ Some(_)) => {
                self.addresses[Side::Sources as usize].all_changed();
                Limited::Thawed(frozen.take().is_some_and(|frozen| frozen.told))
            }
            (true, Some(_)) | (false, None) => Limited::Unchanged,
        }
    }

    /// The prefixes of a side and family as they are to be enforced, ascending.
    pub(super) fn enforced(
        &self,
        side: Side,
        family: Family,
    ) -> Box<dyn Iterator<Item = Prefix> + '_> {
        match self.good(family) {
            Some(good) if side == Side::Sources => Box::new(good.keys().copied()),
            _ => Box::new(self.ledger(side).prefixes(family).map(|(prefix, _)| prefix)),
        }
    }

    /// The longest of them that covers this address.
    pub(super) fn covering(&self, side: Side, address: Address) -> Option<Prefix> {
        let host = Prefix::host(address);
        match self.good(address.family) {
            Some(good) if side == Side::Sources => {
                let good = good.keys().filter(|good| good.covers(host));
                good.max_by_key(|good| good.len()).copied()
            }
            _ => self.ledger(side).covering(host),
        }
    }

    /// How many prefixes of a side and family are to be enforced.
    pub(super) fn len_of(&self, side: Side, family: Family) -> usize {
        match self.good(family) {
            Some(good) if side == Side::Sources => good.len(),
            _ => self.ledger(side).len(family),
        }
    }

    /// How many prefixes of a side are to be enforced.
    pub(super) fn len(&self, side: Side) -> usize {
        Family::ALL
            .into_iter()
            .map(|family| self.len_of(side, family))
            .sum()
    }
}

/// One side's prefixes as they are to be enforced.
struct Enforced<'a> {
    peer: &'a Peer,
    side: Side,
}

impl Valid for Enforced<'_> {
    fn all(&self) -> PrefixSet {
        let ranges =
            |family| Ranges::ascending(self.peer.enforced(self.side, family).map(Prefix::range));
        PrefixSet {
            ipv4: ranges(Family::Ipv4),
            ipv6: ranges(Family::Ipv6),
        }
    }

    fn within(&self, prefix: Prefix) -> impl Iterator<Item = Prefix> {
        // Of a frozen family nothing is told prefix by prefix.
        let ledger = self.peer.ledger(self.side);
        let covered = ledger.covering(prefix).map(|_| prefix);
        let inside = covered.is_none().then(|| ledger.within(prefix));
        covered.into_iter().chain(inside.into_iter().flatten())
    }
}
