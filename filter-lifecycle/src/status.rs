//! What status shows of enforcement, class by class: types and names. Never decides what is in force, and never reads it.
use std::fmt;
use std::time::Duration;

use filter_core::{Class, Family};

/// The one thing that keeps a class from being in force although it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Obstacle {
    /// An operator switched it off.
    NotAllowed,
    /// An operator switched everything off (`observe --all`), and not this class.
    AllOff,
    /// The program is not on an interface of the peer, or the interface is not there.
    NotAttached,
    /// Frames came in within the last ten seconds from devices that the program knows nothing of, and passed.
    NoRecord,
    /// The driver takes VLAN tags out of frames before the program sees them: only `malformed` can be judged.
    TagsHidden,
    /// No MAC of the peer is known, so no packet is taken for its.
    NoStation,
    /// The data plane's lease has ended.
    LeaseEnded,
    /// The tables could not be written, or failed their self-test.
    NotPublished,
    /// No feed has this Adj-RIB yet.
    NotReceived,
    /// An Adj-RIB is being received and not complete yet.
    Loading,
    /// An Adj-RIB is complete and empty.
    Empty,
    /// Every session that carries the Adj-RIB is down.
    SessionDown,
    /// The feed has been lost for longer than `stale_hold`.
    FeedLost,
    /// The router counts other prefixes than the feed has.
    CountMismatch,
    /// Most of an Adj-RIB is gone at once, and nothing confirms it yet.
    ShrinkUnconfirmed,
    /// The feeds have more Adj-RIBs than are kept.
    TooManyRibs,
    /// The data plane's switch could not be read.
    Unreadable,
}

impl Obstacle {
    /// All of them, for the document and its test.
    pub const ALL: [Self; 17] = [
        Self::NotAllowed,
        Self::AllOff,
        Self::NotAttached,
        Self::NoRecord,
        Self::TagsHidden,
        Self::NoStation,
        Self::LeaseEnded,
        Self::NotPublished,
        Self::NotReceived,
        Self::Loading,
        Self::Empty,
        Self::SessionDown,
        Self::FeedLost,
        Self::CountMismatch,
        Self::ShrinkUnconfirmed,
        Self::TooManyRibs,
        Self::Unreadable,
    ];

    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAllowed => "not-allowed",
            Self::AllOff => "all-off",
            Self::NotAttached => "not-attached",
            Self::NoRecord => "no-record",
            Self::TagsHidden => "tags-hidden",
            Self::NoStation => "no-station",
            Self::LeaseEnded => "lease-ended",
            Self::NotPublished => "not-published",
            Self::NotReceived => "not-received",
            Self::Loading => "loading",
            Self::Empty => "empty",
            Self::SessionDown => "session-down",
            Self::FeedLost => "feed-lost",
            Self::CountMismatch => "count-mismatch",
            Self::ShrinkUnconfirmed => "shrink-unconfirmed",
            Self::TooManyRibs => "too-many-ribs",
            Self::Unreadable => "unreadable",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One class of one peer or interface, of one family where it is switched for each.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ClassStatus {
    /// The class.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::text"))]
    pub class: Class,
    /// Of which family; none for classes that are switched for both at once.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::json::optional_text")
    )]
    pub family: Option<Family>,
    /// Do configuration, operator and lifecycle grant it?
    pub wanted: bool,
    /// Does the operator permit it?
    pub allowed: bool,
    /// Does the data plane drop for it now? None if that could not be read.
    pub in_force: Option<bool>,
    /// What is missing, if it is wanted and not in force.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::json::optional_text")
    )]
    pub missing: Option<Obstacle>,
    /// What it lacks beside the switch, in a sentence, whether it is wanted or not; none if it is in force.
    pub lacks: Option<String>,
    /// Since when `in_force` and `missing` are as they are.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "since_seconds", serialize_with = "crate::json::seconds")
    )]
    pub since: Duration,
    /// When it is expected to be in force, if that is known.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "expected_seconds",
            serialize_with = "crate::json::optional_seconds"
        )
    )]
    pub expected: Option<Duration>,
}
