//! What is reported to an operator, as types with names. Numbered and turned into sentences by the daemon, never here.
use std::net::IpAddr;

use filter_core::{Asn, Family, Prefix};

use super::{Missing, PeerState, Refusal, Side, State};
use crate::route::{AdjRib, FeedId, PeerId, Session};

/// Something an operator may want to know. Exhaustive, so that a match that makes sentences of events misses none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A feed is connected.
    FeedUp(FeedId),
    /// A feed is lost; tables stay for `stale_hold`.
    FeedDown(FeedId, String),
    /// A peer's session came up.
    SessionUp(PeerId, Session),
    /// A peer's session went down; its routes are held.
    SessionDown(PeerId, Session),
    /// One Adj-RIB of one family changed state.
    SourceState {
        /// The session; none for prefixes by hand.
        session: Option<Session>,
        /// The Adj-RIB.
        rib: AdjRib,
        /// The family.
        family: Family,
        /// What it is now.
        state: State,
    },
    /// What a peer may do changed.
    PeerState(PeerId, PeerState, Option<Missing>),
    /// A session came up with another AS than the configured one: nothing of it counts.
    AsnMismatch {
        /// The feed that reports it.
        feed: FeedId,
        /// Which session.
        session: Session,
        /// The AS of the router's neighbour.
        reported: Asn,
        /// The AS it should be.
        configured: Asn,
    },
    /// A feed reports other AS numbers than configured for several peers at once: it counts as lost.
    ForeignFeed {
        /// The feed.
        feed: FeedId,
        /// How many peers and route servers.
        peers: usize,
    },
    /// It does not any more.
    ForeignFeedOver(FeedId),
    /// A feed reports a session of no peer. Once for each.
    UnknownSession(FeedId, Session),
    /// A route is not admitted to the peer's sources. Once for each prefix.
    PrefixRefused(PeerId, Prefix, Refusal),
    /// More prefixes than `max_prefixes`: the sources are frozen at the last good ones.
    MaxPrefixExceeded {
        /// The peer.
        peer: PeerId,
        /// The family.
        family: Family,
        /// How many it advertises.
        prefixes: u32,
        /// How many it may.
        limit: u32,
    },
    /// The peer's sources of a family cover too much of the address space: they stop growing.
    CoverageExceeded(PeerId, Family),
    /// They do not any more.
    CoverageCleared(PeerId, Family),
    /// An operator says that what covers too much is right.
    GrowthAccepted(PeerId, Family),
    /// Within `max_prefixes` again.
    MaxPrefixCleared(PeerId, Family),
    /// A route's next hop is not its neighbour. Once for each next hop.
    NextHopRewritten(PeerId, IpAddr, Prefix),
    /// A route server's route has a next hop that is no peer's. Once for each next hop.
    NextHopUnknown(Session, IpAddr, Prefix),
    /// A route server's route has this member's next hop, and its AS_PATH begins with another AS: it does not count. Once
    /// for each member.
    FirstAsDiffers(Session, PeerId, Prefix),
    /// A complete table lost most of its routes at once: the old ones stay until it is confirmed.
    ShrinkRefused {
        /// The session; none for prefixes by hand.
        session: Option<Session>,
        /// The Adj-RIB.
        rib: AdjRib,
        /// The family.
        family: Family,
        /// Routes before.
        had: usize,
        /// Routes after.
        has: usize,
    },
    /// The router counts other prefixes than the feed reported.
    CountMismatch {
        /// Which feed.
        feed: FeedId,
        /// The session; none for prefixes by hand.
        session: Option<Session>,
        /// The Adj-RIB.
        rib: AdjRib,
        /// What the feed reported.
        received: u64,
        /// What the router counts.
        counted: u64,
    },
    /// Two feeds report different prefixes for the same Adj-RIB over two polls.
    FeedDisagreement {
        /// The session.
        session: Session,
        /// The Adj-RIB.
        rib: AdjRib,
        /// How many prefixes only one of them has.
        prefixes: usize,
        /// Examples of them.
        examples: Vec<Prefix>,
    },
    /// Addresses left a peer's tables although nothing withdrew them, and packets from there, or to there, were dropped:
    /// what left so is valid again for a while.
    Breaker {
        /// The peer.
        peer: PeerId,
        /// The side.
        side: Side,
        /// The family.
        family: Family,
        /// How many prefixes.
        prefixes: usize,
        /// Examples of them.
        examples: Vec<Prefix>,
    },
    /// An operator changed a peer's mode.
    ModeChanged(PeerId, filter_core::Mode),
}

impl Event {
    /// The name in JSON and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::FeedUp(..) => "feed-up",
            Self::FeedDown(..) => "feed-down",
            Self::SessionUp(..) => "session-up",
            Self::SessionDown(..) => "session-down",
            Self::SourceState { .. } => "source-state",
            Self::PeerState(..) => "peer-state",
            Self::AsnMismatch { .. } => "asn-mismatch",
            Self::ForeignFeed { .. } => "foreign-feed",
            Self::ForeignFeedOver(..) => "foreign-feed-over",
            Self::UnknownSession(..) => "unknown-session",
            Self::PrefixRefused(..) => "prefix-refused",
            Self::MaxPrefixExceeded { .. } => "max-prefix-exceeded",
            Self::MaxPrefixCleared(..) => "max-prefix-cleared",
            Self::NextHopRewritten(..) | Self::NextHopUnknown(..) => "next-hop-rewritten",
            Self::FirstAsDiffers(..) => "first-as-differs",
            Self::ShrinkRefused { .. } => "shrink-refused",
            Self::CountMismatch { .. } => "count-mismatch",
            Self::FeedDisagreement { .. } => "feed-disagreement",
            Self::CoverageExceeded(..) => "coverage-exceeded",
            Self::CoverageCleared(..) => "coverage-cleared",
            Self::GrowthAccepted(..) => "growth-accepted",
            Self::Breaker { .. } => "breaker",
            Self::ModeChanged(..) => "mode-changed",
        }
    }
}
