//! What keeps a peer from being enforced, and what its state is called: names and sentences, no decision.
use std::fmt;

use filter_core::{Family, Mode};

use super::Side;
use crate::status::Obstacle;

/// What keeps a peer from being enforced. The first one found is named.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// No feed has reported this side yet.
    NotReceived(Side, Family),
    /// An Adj-RIB is being received.
    Loading(Side, Family),
    /// The router counts other prefixes than the feed reported.
    CountMismatch(Side, Family),
    /// An Adj-RIB lost most of its routes at once, and a second transfer has not confirmed it yet.
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
    /// The program is not on these interfaces. Set by the engine, which looks at devices; never by the lifecycle.
    NotAttached(String),
    /// The data plane's lease has ended, so that it only observes. As above.
    LeaseEnded,
    /// Frames of devices without a record came in lately. As above.
    NoRecord,
    /// The driver hides VLAN tags from the program; the command that shows them. As above.
    TagsHidden(String),
    /// No MAC is known for it, so that no packet is. As above.
    NoStation,
    /// An operator switched the peer off, in the data plane's own word. As above.
    NotAllowed,
    /// An operator switched everything off, and not this peer. As above.
    AllOff,
}

impl Missing {
    /// Which of the documented obstacles it is.
    #[must_use]
    pub const fn obstacle(&self) -> Obstacle {
        match self {
            Self::NotReceived(..) => Obstacle::NotReceived,
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
            Self::NotAllowed => Obstacle::NotAllowed,
            Self::AllOff => Obstacle::AllOff,
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReceived(side, family) => {
                write!(f, "no feed has reported its {family} {side} yet")
            }
            Self::Loading(side, family) => {
                write!(f, "its {family} {side} are still being received")
            }
            Self::CountMismatch(side, family) => write!(
                f,
                "the router counts other {family} {side} than the feed reported"
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
            Self::NotAllowed => f.write_str("an operator switched it off"),
            Self::AllOff => f.write_str("`bcp38 observe --all` is in force"),
        }
    }
}

/// The name of what a peer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Everything is there; its mode is `observe`, or an operator switched it, or everything, off.
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
    /// Every state, in the order of `docs/lifecycle.md`.
    pub const ALL: [Self; 6] = [
        Self::Observing,
        Self::Enforcing,
        Self::Partly,
        Self::Syncing,
        Self::Holding,
        Self::Degraded,
    ];

    /// From the mode wanted, what is missing, and whether any class that relies on routes is granted.
    #[must_use]
    pub const fn new(mode: Mode, missing: Option<&Missing>, is_partly: bool) -> Self {
        match missing {
            None => match mode {
                Mode::Observe => Self::Observing,
                Mode::Enforce => Self::Enforcing,
            },
            Some(
                Missing::NotReceived(..)
                | Missing::Loading(..)
                | Missing::Empty(..)
                | Missing::SessionDown(..),
            ) if is_partly => Self::Partly,
            Some(Missing::NotReceived(..) | Missing::Loading(..) | Missing::Empty(..)) => {
                Self::Syncing
            }
            Some(Missing::SessionDown(..)) => Self::Holding,
            Some(Missing::NotAllowed | Missing::AllOff) => Self::Observing,
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
