//! One peer: its two ledgers, what is refused, frozen and tripped, and what keeps it from being enforced.
//! Knows no feed and no session.
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use filter_core::{Family, Mode, Prefix};

use super::ledger::Ledger;
use super::source::SourceKey;
use super::{Refusal, Side};
use crate::config;

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
    /// The sources cover more of the address space than any one peer's should.
    CoverageBudget(Family),
    /// Too large a share of its packets was dropped; an operator must re-arm it.
    BreakerTripped,
    /// The table was not published, or its self-test failed.
    NotPublished(String),
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
            Self::CoverageBudget(family) => write!(
                f,
                "its {family} sources cover too much of the address space"
            ),
            Self::BreakerTripped => f.write_str("the breaker tripped: `bcp38 enforce` re-arms it"),
            Self::NotPublished(why) => write!(f, "its table is not in the kernel: {why}"),
        }
    }
}

/// What a peer may do, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Everything is there; its mode is `observe`.
    Observing,
    /// Violations are dropped.
    Enforcing,
    /// Tables are not complete yet: behaves as `observe`.
    Syncing,
    /// Its sessions are down and its tables kept for a while: behaves as `observe`.
    Holding,
    /// Something is wrong: behaves as `observe`.
    Degraded,
}

impl PeerState {
    /// From the mode wanted and what is missing.
    #[must_use]
    pub const fn new(mode: Mode, missing: Option<&Missing>) -> Self {
        match missing {
            None => match mode {
                Mode::Observe => Self::Observing,
                Mode::Enforce => Self::Enforcing,
            },
            Some(Missing::NeverTold(..) | Missing::Loading(..) | Missing::Empty(..)) => {
                Self::Syncing
            }
            Some(Missing::SessionDown(..)) => Self::Holding,
            Some(
                Missing::CountMismatch(..)
                | Missing::ShrinkUnconfirmed(..)
                | Missing::FeedLost(..)
                | Missing::CoverageBudget(_)
                | Missing::BreakerTripped
                | Missing::NotPublished(_),
            ) => Self::Degraded,
        }
    }

    /// The name in status and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observing => "observing",
            Self::Enforcing => "enforcing",
            Self::Syncing => "syncing",
            Self::Holding => "holding",
            Self::Degraded => "degraded",
        }
    }
}

/// Refused prefixes a peer's status lists; all are counted.
pub const MAX_REFUSED_LISTED: usize = 100;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub mode: Mode,
    pub source: Ledger,
    pub destination: Ledger,
    /// Not admitted: why, and on how many words.
    pub refused: HashMap<Prefix, (Refusal, u32)>,
    /// The last good sources of a family that went over its `max_prefixes`.
    pub frozen: [Option<BTreeSet<Prefix>>; 2],
    /// Sources of routes that matter for this peer.
    pub keys: BTreeSet<SourceKey>,
    pub breaker: Breaker,
    pub over_budget: Option<Family>,
    pub unpublished: Option<String>,
    /// What was last told of it.
    pub told: Option<(PeerState, Option<Missing>)>,
}

impl Peer {
    pub(super) fn ledger(&mut self, side: Side) -> &mut Ledger {
        match side {
            Side::Sources => &mut self.source,
            Side::Destinations => &mut self.destination,
        }
    }

    /// What the peer advertises of a family, admitted or not: what `max_prefixes` limits.
    pub(super) fn advertised(&self, family: Family) -> u32 {
        let refused = self
            .refused
            .keys()
            .filter(|prefix| prefix.family() == family)
            .count();
        self.source.held(family) + refused as u32
    }

    /// Freezes or thaws a family's sources. Returns `Some(true)` when it froze, `Some(false)` when it thawed.
    pub(super) fn limit(
        &mut self,
        family: Family,
        limit: Option<u32>,
        newest: Option<Prefix>,
    ) -> Option<bool> {
        let over = limit.is_some_and(|limit| self.advertised(family) > limit);
        let frozen = &mut self.frozen[family as usize];
        match (over, frozen.is_some()) {
            (true, false) => {
                let good = self
                    .source
                    .prefixes()
                    .filter(|p| p.family() == family && Some(*p) != newest);
                *frozen = Some(good.collect());
                Some(true)
            }
            (false, true) => {
                *frozen = None;
                Some(false)
            }
            _ => None,
        }
    }

    /// The admitted sources as they are to be enforced.
    pub(super) fn sources(&self) -> Vec<Prefix> {
        let live = self
            .source
            .prefixes()
            .filter(|prefix| self.frozen[prefix.family() as usize].is_none());
        live.chain(self.frozen.iter().flatten().flatten().copied())
            .collect()
    }

    /// Is there a source of this family to enforce?
    pub(super) fn has_sources(&self, family: Family) -> bool {
        match &self.frozen[family as usize] {
            Some(good) => !good.is_empty(),
            None => {
                self.source.held(family) > 0
                    || self
                        .source
                        .prefixes()
                        .any(|prefix| prefix.family() == family)
            }
        }
    }

    pub(super) fn has_destinations(&self, family: Family) -> bool {
        self.destination.held(family) > 0
            || self
                .destination
                .prefixes()
                .any(|prefix| prefix.family() == family)
    }
}

/// Watches the share of dropped packets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Breaker {
    window: Option<Window>,
    pub tripped: bool,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    start: Duration,
    packets: u64,
    dropped: u64,
}

impl Breaker {
    /// Takes the peer's counters as they are now; says what was dropped of how much when it trips.
    pub(super) fn traffic(
        &mut self,
        now: Duration,
        packets: u64,
        dropped: u64,
        limit: &config::Breaker,
    ) -> Option<(u64, u64)> {
        let window = *self.window.get_or_insert(Window {
            start: now,
            packets,
            dropped,
        });
        let (seen, lost) = (
            packets.saturating_sub(window.packets),
            dropped.saturating_sub(window.dropped),
        );
        let over = lost.saturating_mul(100) > seen.saturating_mul(u64::from(limit.percent));
        if !self.tripped && seen >= limit.packets && over {
            self.tripped = true;
            self.window = None;
            return Some((lost, seen));
        }
        if now.saturating_sub(window.start) >= limit.window {
            self.window = Some(Window {
                start: now,
                packets,
                dropped,
            });
        }
        None
    }

    pub(super) fn rearm(&mut self) {
        *self = Self::default();
    }
}
