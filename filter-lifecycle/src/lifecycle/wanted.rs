//! What every peer's tables shall hold: routes are added to and taken from the peers that they concern, through
//! admission and `max_prefixes`, and leave after their hold. Never decides when a route comes or goes, and never what a
//! peer is granted.
use std::time::Duration;

use filter_core::{Family, Prefix};

use super::facts::Facts;
use super::holds::{Holds, Place};
use super::kind::Kind;
use super::ledger::{Change, Expiry, Moment};
use super::limits::Limited;
use super::outbox::Outbox;
use super::peer::Peer;
use super::pending::Pending;
use super::routes::{Gone, Scope};
use super::source::SourceKey;
use super::sources::Sources;
use super::{Event, Owner, Side};
use crate::route::PeerId;

/// Holds ended by one tick: 1.06 million at once would keep every peer waiting for 200 ms.
pub const MAX_EXPIRED: usize = 65_536;

/// The prefixes of every peer, and those that leave.
#[derive(Debug)]
pub(super) struct Wanted {
    peers: Vec<Peer>,
    holds: Holds,
}

impl Wanted {
    /// So many peers without a prefix.
    pub(super) fn new(peers: usize) -> Self {
        Self {
            peers: std::iter::repeat_with(Peer::default).take(peers).collect(),
            holds: Holds::default(),
        }
    }

    pub(super) fn peer(&self, id: PeerId) -> &Peer {
        &self.peers[id.0 as usize]
    }

    /// For what a peer's prefixes are compiled to; routes come and go through [`Counting`].
    pub(super) fn peer_mut(&mut self, id: PeerId) -> &mut Peer {
        &mut self.peers[id.0 as usize]
    }

    /// Ends holds, so many at once that nothing else waits for long: late is harmless.
    pub(super) fn expire(&mut self, now: Duration, pending: &mut Pending) {
        let now = Moment::until(now);
        for place in self.holds.over(now, MAX_EXPIRED) {
            let Place { peer, side, prefix } = place;
            let (expiry, change) = self.peer_mut(peer).expire(side, prefix, now);
            if change == Change::Changed {
                pending.publish(peer);
            }
            match expiry {
                Expiry::Gone => pending.settle(peer),
                Expiry::Later(departure) => self.holds.add(departure, place),
                Expiry::Stays => {}
            }
        }
    }
}

/// A source, as what its routes concern is looked up by.
#[derive(Clone, Copy, Debug)]
pub(super) struct From {
    pub key: SourceKey,
    pub owner: Owner,
}

/// Adds routes to peers and takes them away, with the parts that this touches.
pub(super) struct Counting<'a> {
    pub now: Duration,
    pub facts: &'a Facts,
    /// Asked only whether a peer's Adj-RIBs are being received.
    pub sources: &'a Sources,
    pub wanted: &'a mut Wanted,
    pub pending: &'a mut Pending,
    pub outbox: &'a mut Outbox,
}

impl Counting<'_> {
    /// A route counts for whom it concerns.
    pub(super) fn add(&mut self, from: From, prefix: Prefix, scope: &Scope) {
        self.count_in(from, prefix, scope, Some(prefix));
    }

    /// Routes count that did before. They are no reason to freeze what is there.
    pub(super) fn add_again(&mut self, from: From, routes: &[Gone]) {
        for route in routes {
            self.count_in(from, route.prefix, &route.scope, None);
        }
    }

    fn count_in(&mut self, from: From, prefix: Prefix, scope: &Scope, newest: Option<Prefix>) {
        let From { key, owner } = from;
        let by_hand = self.facts.kind(key.feed) == Kind::ByHand;
        let side = Side::of(key.rib);
        for id in self.facts.targets(key, owner, scope) {
            let peer = &mut self.wanted.peers[id.0 as usize];
            match self.facts.admit(id, side, prefix, by_hand) {
                Err(refusal) => {
                    if peer.refuse(self.now, prefix, refusal) {
                        self.outbox.push(Event::PrefixRefused(id, prefix, refusal));
                    }
                }
                Ok(()) => {
                    let was_empty = !peer.has_any(side, key.family);
                    if peer.add(side, prefix, by_hand) == Change::Changed {
                        self.pending.publish(id);
                    }
                    if was_empty {
                        self.pending.settle(id);
                    }
                }
            }
            if side == Side::Sources && newest.is_some() {
                self.limit(id, prefix.family(), newest);
            }
        }
    }

    /// A route does not count any more for whom it concerned, after the hold.
    pub(super) fn remove(&mut self, from: From, gone: &Gone, hold: Duration) {
        let From { key, owner } = from;
        let by_hand = self.facts.kind(key.feed) == Kind::ByHand;
        let (side, prefix) = (Side::of(key.rib), gone.prefix);
        for id in self.facts.targets(key, owner, &gone.scope) {
            let peer = &mut self.wanted.peers[id.0 as usize];
            if self.facts.admit(id, side, prefix, by_hand).is_err() {
                peer.forget_refused(prefix);
            } else {
                let leaves_at = Moment::at_or_after(self.now + hold);
                if let Some(departure) = peer.remove(side, prefix, by_hand, leaves_at) {
                    let place = Place {
                        peer: id,
                        side,
                        prefix,
                    };
                    self.wanted.holds.add(departure, place);
                }
            }
            if side == Side::Sources {
                self.limit(id, prefix.family(), None);
            }
        }
    }

    /// Freezes or thaws the peer's sources of a family by `max_prefixes`.
    fn limit(&mut self, id: PeerId, family: Family, newest: Option<Prefix>) {
        let Some(limit) = *self.facts.peer(id).max_prefixes.get(family) else {
            return;
        };
        let limited = self.wanted.peer_mut(id).limit(family, limit, newest);
        if limited != Limited::Unchanged {
            self.pending.publish(id);
            self.pending.settle(id);
        }
        if let Limited::Thawed { was_reported } = limited {
            if !self.sources.are_loading(id, Side::Sources, family) {
                self.wanted.peer_mut(id).completed(family);
            }
            if was_reported {
                self.outbox.push(Event::MaxPrefixCleared(id, family));
            }
        }
        self.report_limit(id, family, limit);
    }

    /// While an Adj-RIB is received anew, what it replaces still counts: only when all are complete is it too much.
    fn report_limit(&mut self, id: PeerId, family: Family, limit: u32) {
        if !self.wanted.peer(id).limits().is_unreported(family)
            || self.sources.are_loading(id, Side::Sources, family)
        {
            return;
        }
        let prefixes = self.wanted.peer_mut(id).report_limit(family);
        self.outbox.push(Event::MaxPrefixExceeded {
            peer: id,
            family,
            prefixes,
            limit,
        });
    }

    /// An Adj-RIB is complete: what is too much now is too much, and what is good is good.
    pub(super) fn completed(&mut self, key: SourceKey) {
        let is_heard = self.sources.get(key).is_some_and(|each| each.is_heard());
        if Side::of(key.rib) != Side::Sources
            || self.facts.kind(key.feed) == Kind::ByHand
            || !is_heard
        {
            return;
        }
        for id in self.facts.concerned(key) {
            if let Some(limit) = *self.facts.peer(id).max_prefixes.get(key.family) {
                self.report_limit(id, key.family, limit);
                self.wanted.peer_mut(id).completed(key.family);
            }
        }
    }
}
