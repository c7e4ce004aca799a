//! What `status` and `explain` show of the lifecycle: snapshots, nothing that changes anything.
use std::time::Duration;

use filter_core::{Address, Family, Mode, Prefix};

use super::{Lifecycle, MAX_REFUSED_LISTED, Missing, PeerState, Refusal, Side, State, session_of};
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
    /// Of which family.
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
    /// Which.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::text"))]
    pub prefix: Prefix,
    /// Why.
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
    /// Families frozen at their last good sources.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::json::texts"))]
    pub frozen: Vec<Family>,
    /// Families with more sources than `max_prefixes`, frozen or, without a last good table, as received.
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

/// Who told a route, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which route covers the address.
    pub prefix: Prefix,
    /// Who.
    pub feed: FeedId,
    /// Over which session, if not by hand.
    pub session: Option<Session>,
    /// Of which table.
    pub rib: AdjRib,
    /// How long ago it was first told.
    pub age: Duration,
}

impl Lifecycle {
    /// A peer's status.
    #[must_use]
    pub fn status(&self, now: Duration, id: PeerId) -> PeerStatus {
        let peer = &self.peers[id.0 as usize];
        let (state, missing) = self.state(now, id);
        let refused = peer.refused.iter();
        let mut refused_list: Vec<_> = refused
            .map(|(prefix, why)| RefusedPrefix { prefix, why })
            .collect();
        refused_list.sort_unstable();
        refused_list.truncate(MAX_REFUSED_LISTED);
        let ribs = peer.keys.iter().filter_map(|&key| {
            let source = self.sources.get(&key)?;
            Some(SourceStatus {
                feed: key.feed,
                session: session_of(key.origin),
                rib: key.rib,
                family: key.family,
                state: source.state(),
                age: now.saturating_sub(source.since()),
                routes: source.routes.len(),
                hold_left: source.hold_until().map(|until| until.saturating_sub(now)),
            })
        });
        PeerStatus {
            mode: peer.mode,
            state,
            missing,
            sources: peer.len(Side::Sources),
            destinations: peer.len(Side::Destinations),
            frozen: Family::ALL
                .into_iter()
                .filter(|&family| peer.is_frozen(Side::Sources, family))
                .collect(),
            over_limit: Family::ALL
                .into_iter()
                .filter(|&family| peer.frozen[family as usize].is_some())
                .collect(),
            too_wide: Family::ALL
                .into_iter()
                .filter(|&family| peer.too_wide[family as usize])
                .collect(),
            refused: peer.refused.len(),
            refused_list,
            ribs: ribs.collect(),
        }
    }

    /// The routes that make an address valid on one side of a peer, longest first.
    #[must_use]
    pub fn told(&self, now: Duration, id: PeerId, side: Side, address: Address) -> Vec<Told> {
        let mut told = Vec::new();
        let keys = self.peers[id.0 as usize].keys.iter();
        for &key in keys.filter(|key| Side::of(key.rib) == side && key.family == address.family) {
            let Some(source) = self.sources.get(&key) else {
                continue;
            };
            if source.is_muted() {
                continue;
            }
            for (route, since) in source.routes.iter() {
                let prefix = route.prefix;
                if !prefix.contains(address)
                    || !self.targets(key, source.owner, &route.scope).contains(id)
                {
                    continue;
                }
                let session = session_of(key.origin);
                told.push(Told {
                    prefix,
                    feed: key.feed,
                    session,
                    rib: key.rib,
                    age: now.saturating_sub(since),
                });
            }
        }
        told.sort_by_key(|told| {
            (
                std::cmp::Reverse(told.prefix.len()),
                told.feed,
                told.session,
            )
        });
        told
    }

    /// Is the feed connected, and for how long has it been so or not?
    #[must_use]
    pub fn feed(&self, now: Duration, feed: FeedId) -> (bool, Option<Duration>) {
        match self.feeds.get(feed.0 as usize) {
            Some(state) => match (state.up_since, state.lost_at) {
                (Some(since), _) => (true, Some(now.saturating_sub(since))),
                (None, Some(since)) => (false, Some(now.saturating_sub(since))),
                (None, None) => (false, None),
            },
            None => (false, None),
        }
    }

    /// Events about sessions nobody has, so far.
    #[must_use]
    pub const fn unknown_sessions(&self) -> u64 {
        self.unknown_count
    }
}
