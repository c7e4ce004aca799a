//! What `status` and `explain` show of the lifecycle: snapshots, nothing that changes anything.
use std::time::Duration;

use filter_core::{Address, Family, Mode, Prefix};

use super::evidence::View;
use super::grants::Grants;
use super::refused::MAX_REFUSED_LISTED;
use super::{Missing, PeerState, Refusal, Side, State, session_of};
use crate::route::{AdjRib, FeedId, PeerId, Session};

/// One Adj-RIB of one family, as one feed has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct SourceStatus {
    /// The feed it comes from.
    pub feed: FeedId,
    /// The router's session; none for prefixes by hand.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::json::optional_text")
    )]
    pub session: Option<Session>,
    /// Which Adj-RIB.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::text"))]
    pub rib: AdjRib,
    /// The family.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::text"))]
    pub family: Family,
    /// Where it stands.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::text"))]
    pub state: State,
    /// For how long.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "seconds", serialize_with = "crate::json::seconds")
    )]
    pub age: Duration,
    /// Its routes.
    pub routes: usize,
    /// What is left of its hold.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "hold_seconds_left",
            serialize_with = "crate::json::optional_seconds"
        )
    )]
    pub hold_left: Option<Duration>,
}

/// A prefix that is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RefusedPrefix {
    /// The prefix.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::text"))]
    pub prefix: Prefix,
    /// The reason.
    #[cfg_attr(feature = "serde", serde(serialize_with = "refusal_name"))]
    pub why: Refusal,
}

#[cfg(feature = "serde")]
fn refusal_name<S: serde::Serializer>(why: &Refusal, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(why.name())
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PeerStatus {
    /// The mode its operator wants.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::text"))]
    pub mode: Mode,
    /// What it may do.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::text"))]
    pub state: PeerState,
    /// What keeps it from being enforced.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::json::optional_text")
    )]
    pub missing: Option<Missing>,
    /// Valid prefixes of S(p).
    pub sources: usize,
    /// Valid prefixes of D(p).
    pub destinations: usize,
    /// Families with a session, or a part of a route server's, whose growth beyond `max_prefixes` waits.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::texts"))]
    pub frozen: Vec<Family>,
    /// Families with a session that advertises more than `max_prefixes`, frozen or, without a last good table, as received.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::texts"))]
    pub over_limit: Vec<Family>,
    /// Families whose sources cover too much of the address space.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::texts"))]
    pub too_wide: Vec<Family>,
    /// Prefixes not admitted.
    pub refused: usize,
    /// The first [`MAX_REFUSED_LISTED`] of them.
    pub refused_list: Vec<RefusedPrefix>,
    /// Every source that matters for it.
    pub ribs: Vec<SourceStatus>,
}

/// A route that makes an address valid: its feed, its session, its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedRoute {
    /// Which route covers the address.
    pub prefix: Prefix,
    /// The feed that reports it.
    pub feed: FeedId,
    /// Over which session, if not by hand.
    pub session: Option<Session>,
    /// Of which table.
    pub rib: AdjRib,
    /// How long ago it was first announced.
    pub age: Duration,
    /// How long it counts still, if its session has ended.
    pub hold_left: Option<Duration>,
}

impl View<'_> {
    /// A peer's status.
    pub(super) fn status(self, grants: &Grants, id: PeerId) -> PeerStatus {
        let peer = self.wanted.peer(id);
        let (state, missing) = grants.state(self, id);
        let families = |which: &dyn Fn(Family) -> bool| {
            let mut families = Family::ALL.to_vec();
            families.retain(|&family| which(family));
            families
        };
        let limit = |family| self.facts.max_prefixes(id, family);
        let refused = peer.refused();
        let mut refused_list: Vec<_> = refused
            .iter()
            .map(|(prefix, why)| RefusedPrefix { prefix, why })
            .collect();
        refused_list.sort_unstable();
        refused_list.truncate(MAX_REFUSED_LISTED);
        PeerStatus {
            mode: grants.mode(id),
            state,
            missing,
            sources: peer.len(Side::Sources),
            destinations: peer.len(Side::Destinations),
            frozen: families(&|family| peer.limits().is_frozen(family, limit(family))),
            over_limit: families(&|family| peer.limits().is_over(family, limit(family))),
            too_wide: families(&|family| peer.limits().is_too_wide(family)),
            refused: refused.len(),
            refused_list,
            ribs: self.ribs(id),
        }
    }

    /// Every source that matters for a peer.
    pub(super) fn ribs(self, id: PeerId) -> Vec<SourceStatus> {
        let ribs = self.sources.of_peer(id).filter_map(|key| {
            let source = self.sources.get(key)?;
            Some(SourceStatus {
                feed: key.feed,
                session: session_of(key.origin),
                rib: key.rib,
                family: key.family,
                state: source.state(),
                age: self.now.saturating_sub(source.since()),
                routes: source.routes().len(),
                hold_left: source
                    .hold_until()
                    .map(|until| until.saturating_sub(self.now)),
            })
        });
        ribs.collect()
    }

    /// The routes that make an address valid on one side of a peer, longest first.
    pub(super) fn routes_over(self, id: PeerId, side: Side, address: Address) -> Vec<ListedRoute> {
        let covers = |prefix: Prefix| prefix.contains(address);
        let mut routes: Vec<ListedRoute> =
            self.received(id, side, address.family, covers).collect();
        routes.sort_by_key(|route| {
            let longest = std::cmp::Reverse(route.prefix.len());
            (longest, route.feed, route.session)
        });
        routes
    }
}
