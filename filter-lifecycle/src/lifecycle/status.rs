//! What `status` and `explain` show of the lifecycle: snapshots, nothing that changes anything.
use std::time::Duration;

use filter_core::{Address, Family, Mode, Prefix};

use super::{Lifecycle, MAX_REFUSED_LISTED, Missing, PeerState, Refusal, Side, SourceKey, State};
use crate::route::{FeedId, Origin, PeerId, Session, Table};

/// One source as a peer's status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// Which.
    pub key: SourceKey,
    /// Where it stands.
    pub state: State,
    /// For how long.
    pub age: Duration,
    /// Its routes.
    pub routes: usize,
    /// What is left of its hold.
    pub hold_left: Option<Duration>,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The mode its operator wants.
    pub mode: Mode,
    /// What it may do.
    pub state: PeerState,
    /// What keeps it from being enforced.
    pub missing: Option<Missing>,
    /// Valid prefixes of S(p).
    pub sources: usize,
    /// Valid prefixes of D(p).
    pub destinations: usize,
    /// Families frozen at their last good sources.
    pub frozen: Vec<Family>,
    /// Families with more sources than `max_prefixes`, frozen or, without a last good table, as received.
    pub over_limit: Vec<Family>,
    /// Families whose sources cover too much of the address space.
    pub too_wide: Vec<Family>,
    /// Prefixes not admitted.
    pub refused: usize,
    /// The first [`MAX_REFUSED_LISTED`] of them.
    pub refused_list: Vec<(Prefix, Refusal)>,
    /// Every source that matters for it.
    pub tables: Vec<SourceStatus>,
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
    pub table: Table,
    /// How long ago it was first told.
    pub age: Duration,
}

impl Lifecycle {
    /// A peer's status.
    #[must_use]
    pub fn status(&self, now: Duration, id: PeerId) -> PeerStatus {
        let peer = &self.peers[id.0 as usize];
        let (state, missing) = self.state(now, id);
        let mut refused_list: Vec<_> = peer.refused.iter().collect();
        refused_list.sort_unstable();
        refused_list.truncate(MAX_REFUSED_LISTED);
        let tables = peer.keys.iter().filter_map(|&key| {
            let source = self.sources.get(&key)?;
            Some(SourceStatus {
                key,
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
            tables: tables.collect(),
        }
    }

    /// The routes that make an address valid on one side of a peer, longest first.
    #[must_use]
    pub fn told(&self, now: Duration, id: PeerId, side: Side, address: Address) -> Vec<Told> {
        let mut told = Vec::new();
        let keys = self.peers[id.0 as usize].keys.iter();
        for &key in keys.filter(|key| Side::of(key.table) == side && key.family == address.family) {
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
                let session = match key.origin {
                    Origin::Session(session) => Some(session),
                    Origin::Peer(_) => None,
                };
                told.push(Told {
                    prefix,
                    feed: key.feed,
                    session,
                    table: key.table,
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
