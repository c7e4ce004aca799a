//! One side of one peer, prefix by prefix: what is received and from whom, what is admitted, what is refused and why, what
//! only a hold keeps. For operators who ask; changes nothing.
use std::collections::BTreeMap;
use std::time::Duration;

use filter_core::{Address, Family, Prefix};

use super::evidence::View;
use super::{Refusal, Side, Told, session_of};
use crate::route::PeerId;

/// Prefixes of one side that are listed; whoever wants more asks for a part of them.
pub const MAX_LISTED: usize = 10_000;

/// How a prefix stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is valid, and a route or the operator holds it.
    Valid,
    /// It is valid until its hold is over.
    Held(Duration),
    /// It is received and not admitted.
    Refused(Refusal),
    /// It is received, and does not count, or not in whole: its session is over a limit or has another AS, or the sources
    /// cover too much of the address space.
    NotCounted,
}

/// One prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPrefix {
    /// Which.
    pub prefix: Prefix,
    /// How it stands.
    pub standing: Standing,
    /// The routes of it.
    pub routes: Vec<Told>,
}

/// A side, or the part of it that was asked for, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// At most [`MAX_LISTED`].
    pub prefixes: Vec<ListedPrefix>,
    /// Are there more?
    pub has_more: bool,
}

impl View<'_> {
    /// The prefixes of a side of a peer that lie within this one, if one is given.
    pub(super) fn listing(self, id: PeerId, side: Side, within: Option<Prefix>) -> Listing {
        let is_asked = |prefix: Prefix| within.is_none_or(|within| within.covers(prefix));
        let mut found: BTreeMap<Prefix, Vec<Told>> = BTreeMap::new();
        let mut has_more = false;
        let both = Family::ALL.map(|family| self.received(id, side, family, is_asked));
        for told in both.into_iter().flatten() {
            if found.len() >= MAX_LISTED && !found.contains_key(&told.prefix) {
                has_more = true;
                continue;
            }
            found.entry(told.prefix).or_default().push(told);
        }
        let peer = self.wanted.peer(id);
        for prefix in peer.all(side).filter(|&prefix| is_asked(prefix)) {
            if found.len() >= MAX_LISTED && !found.contains_key(&prefix) {
                has_more = true;
                break;
            }
            found.entry(prefix).or_default();
        }
        let prefixes = found.into_iter().map(|(prefix, routes)| ListedPrefix {
            prefix,
            standing: self.stands(id, side, prefix),
            routes,
        });
        Listing {
            prefixes: prefixes.collect(),
            has_more,
        }
    }

    /// How one prefix of a side stands.
    fn stands(self, id: PeerId, side: Side, prefix: Prefix) -> Standing {
        let peer = self.wanted.peer(id);
        let withheld = self.facts.withheld();
        if side == Side::Sources
            && peer.has(side, prefix)
            && peer.limits().withholds_some_of(prefix, withheld)
        {
            return Standing::NotCounted;
        }
        if let Some(left) = peer.hold_left(self.now, side, prefix) {
            return Standing::Held(left);
        }
        if peer.has(side, prefix) {
            return Standing::Valid;
        }
        let refused = peer.refused().why(prefix).filter(|_| side == Side::Sources);
        refused.map_or(Standing::NotCounted, Standing::Refused)
    }

    /// The routes of a side and family, admitted or not.
    pub(super) fn received(
        self,
        id: PeerId,
        side: Side,
        family: Family,
        is_asked: impl Fn(Prefix) -> bool,
    ) -> Vec<Told> {
        let mut told = Vec::new();
        for key in self.sources.of_side(id, side, family) {
            let Some(source) = self.sources.get(key) else {
                continue;
            };
            for (route, since) in source.counting() {
                let targets = |scope| self.facts.targets(key, source.owner(), scope);
                if is_asked(route.prefix) && targets(&route.scope).contains(id) {
                    told.push(Told {
                        prefix: route.prefix,
                        feed: key.feed,
                        session: session_of(key.origin),
                        rib: key.rib,
                        age: self.now.saturating_sub(since),
                    });
                }
            }
        }
        told
    }

    /// The longest prefix of a side that covers this address and does not count, or counts only until its hold is over.
    pub(super) fn odd(self, id: PeerId, side: Side, address: Address) -> Option<ListedPrefix> {
        let covers = |prefix: Prefix| prefix.contains(address);
        let mut received: BTreeMap<Prefix, Vec<Told>> = BTreeMap::new();
        for told in self.received(id, side, address.family, covers) {
            received.entry(told.prefix).or_default().push(told);
        }
        if let Some(prefix) = self.wanted.peer(id).covering(side, address) {
            received.entry(prefix).or_default();
        }
        let listed = received.into_iter().map(|(prefix, routes)| ListedPrefix {
            prefix,
            standing: self.stands(id, side, prefix),
            routes,
        });
        let odd = listed.filter(|it| it.standing != Standing::Valid);
        odd.max_by_key(|it| it.prefix.len())
    }
}
