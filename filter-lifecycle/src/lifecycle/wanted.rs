//! What every peer's tables shall hold: routes are added to and taken from the peers that they concern, through
//! admission and `max_prefixes`, and leave after their hold. Never decides when a route comes or goes, and never what a
//! peer is granted.
use std::time::Duration;

use filter_core::{Family, Prefix};

use super::changes::{Changed, How};
use super::facts::Facts;
use super::holds::{Holds, Place};
use super::kind::Kind;
use super::ledger::{Change, Expiry, Holder, Left, Moment};
use super::outbox::Outbox;
use super::peer::Peer;
use super::pending::Pending;
use super::portion::{Received, Report, Standing};
use super::routes::{Gone, Scope};
use super::source::SourceKey;
use super::sources::Sources;
use super::{Event, Owner, Side, session_of};
use crate::route::PeerId;

/// Holds ended by one tick: 1.06 million at once would keep every peer waiting for 200 ms.
pub const MAX_EXPIRED: usize = 65_536;

/// The prefixes of every peer, and those that leave.
#[derive(Debug)]
pub(super) struct Wanted {
    peers: Vec<Peer>,
    holds: Holds,
    /// When it was looked at last.
    now: Duration,
}

impl Wanted {
    /// So many peers without a prefix.
    pub(super) fn new(peers: usize) -> Self {
        Self {
            peers: std::iter::repeat_with(Peer::default).take(peers).collect(),
            holds: Holds::default(),
            now: Duration::ZERO,
        }
    }

    pub(super) fn peer(&self, id: PeerId) -> &Peer {
        &self.peers[id.0 as usize]
    }

    /// For what a peer's prefixes are compiled to; routes come and go through [`Counting`].
    pub(super) fn peer_mut(&mut self, id: PeerId) -> &mut Peer {
        &mut self.peers[id.0 as usize]
    }

    /// When it was looked at last.
    pub(super) const fn now(&self) -> Duration {
        self.now
    }

    /// It is looked at now.
    pub(super) const fn look(&mut self, now: Duration) {
        self.now = now;
    }

    /// A packet of the peer was dropped for what left this side and family. Returns what is valid again until then because of
    /// it: see [`Peer::trip`].
    pub(super) fn trip(
        &mut self,
        now: Duration,
        peer: PeerId,
        (side, family): (Side, Family),
        until: Duration,
    ) -> Vec<Prefix> {
        let until = Moment::at_or_after(until);
        let back = self.peer_mut(peer).trip(now, (side, family), until);
        for &(prefix, departure) in &back {
            let place = Place { peer, side, prefix };
            self.holds.add(departure, place);
        }
        back.into_iter().map(|(prefix, _)| prefix).collect()
    }

    /// Ends holds, and freezes that time has made room for. So many holds at once that nothing else waits for long: late is harmless.
    pub(super) fn expire(&mut self, now: Duration, pending: &mut Pending) {
        self.look(now);
        let at = now;
        for (id, peer) in (0..).map(PeerId).zip(&mut self.peers) {
            if peer.limits_mut().has_room(now) | peer.breaker_mut().lapse(now) {
                pending.publish(id);
            }
        }
        let now = Moment::until(now);
        for (due, place) in self.holds.over(now, MAX_EXPIRED) {
            let Place { peer, side, prefix } = place;
            let (expiry, change) = self.peer_mut(peer).expire(side, prefix, due, now);
            if change == Change::Changed {
                pending.publish(peer);
            }
            match expiry {
                Expiry::Gone(_) => {
                    pending.settle(peer);
                    let (how, by) = (How::Left, None);
                    let left = Changed::Prefix { prefix, how, by };
                    pending.changes.push(at, (peer, side), left);
                }
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
        self.count_in(from, prefix, scope, true);
    }

    /// Routes count that did before. They are no reason to freeze what is there.
    pub(super) fn add_again(&mut self, from: From, routes: &[Gone]) {
        for route in routes {
            self.count_in(from, route.prefix, &route.scope, false);
        }
    }

    fn count_in(&mut self, from: From, prefix: Prefix, scope: &Scope, is_new: bool) {
        let From { key, owner } = from;
        let by_hand = self.facts.kind(key.feed) == Kind::ByHand;
        let side = Side::of(key.rib);
        for id in self.facts.targets(key, owner, scope) {
            let admitted = self.facts.admit(id, side, prefix, by_hand);
            let standing = match self.limit_of(id, key) {
                Some(limit) => {
                    let limits = self.wanted.peer_mut(id).limits_mut();
                    let received = Received {
                        prefix,
                        is_admitted: admitted.is_ok(),
                        is_new,
                        was_good: limits.was_good(prefix),
                    };
                    limits.portion(key).add(received, limit)
                }
                None => Standing::Counts,
            };
            match admitted {
                Err(refusal) => {
                    if self.wanted.peer_mut(id).refuse(self.now, prefix, refusal) {
                        self.outbox.push(Event::PrefixRefused(id, prefix, refusal));
                    }
                }
                Ok(()) if standing == Standing::Counts => {
                    let holder = Holder { by_hand, is_new };
                    self.hold((id, key), prefix, holder);
                }
                Ok(()) => {}
            }
            self.limit(id, key);
        }
    }

    /// A prefix has one holder more.
    fn hold(&mut self, (id, key): (PeerId, SourceKey), prefix: Prefix, holder: Holder) {
        let side = Side::of(key.rib);
        let peer = self.wanted.peer_mut(id);
        let was_empty = peer.len_of(side, prefix.family()) == 0;
        if peer.add(side, prefix, holder) == Change::Changed {
            self.pending.publish(id);
            self.report_change((id, key), prefix, How::Announced);
        }
        if was_empty {
            self.pending.settle(id);
        }
    }

    /// A route does not count any more for whom it concerned, from then on.
    pub(super) fn remove(&mut self, from: From, gone: &Gone, (leaves_at, left): (Duration, Left)) {
        let From { key, owner } = from;
        let by_hand = self.facts.kind(key.feed) == Kind::ByHand;
        let (side, prefix) = (Side::of(key.rib), gone.prefix);
        for id in self.facts.targets(key, owner, &gone.scope) {
            let standing = match self.limit_of(id, key) {
                Some(_) => {
                    let portion = self.wanted.peer_mut(id).limits_mut().portion(key);
                    portion.remove(prefix)
                }
                None => Some(Standing::Counts),
            };
            let peer = self.wanted.peer_mut(id);
            if self.facts.admit(id, side, prefix, by_hand).is_err() {
                peer.forget_refused(prefix);
            } else if standing == Some(Standing::Counts) {
                let leaves_at = Moment::at_or_after(leaves_at);
                if let Some(departure) = peer.remove(side, prefix, by_hand, (leaves_at, left)) {
                    let place = Place {
                        peer: id,
                        side,
                        prefix,
                    };
                    self.wanted.holds.add(departure, place);
                }
                let peer = self.wanted.peer(id);
                if peer.hold_left(self.now, side, prefix).is_some() {
                    let how = match left {
                        Left::Withdrawn => How::Withdrawn,
                        Left::Vanished => How::Vanished,
                    };
                    self.report_change((id, key), prefix, how);
                }
            }
            self.limit(id, key);
        }
    }

    /// A feed changed whether a prefix is held.
    fn report_change(&mut self, (id, key): (PeerId, SourceKey), prefix: Prefix, how: How) {
        let by = Some((key.feed, session_of(key.origin)));
        let changed = Changed::Prefix { prefix, how, by };
        let side = Side::of(key.rib);
        self.pending.changes.push(self.now, (id, side), changed);
    }

    /// How many prefixes of this Adj-RIB may count for the peer, if that is limited.
    fn limit_of(&self, id: PeerId, key: SourceKey) -> Option<u32> {
        let is_by_hand = self.facts.kind(key.feed) == Kind::ByHand;
        let is_limited = Side::of(key.rib) == Side::Sources && !is_by_hand;
        self.facts
            .max_prefixes(id, key.family)
            .filter(|_| is_limited)
    }

    /// What waited for the limit counts if it may, and what begins or ends is reported.
    fn limit(&mut self, id: PeerId, key: SourceKey) {
        let Some(limit) = self.limit_of(id, key) else {
            return;
        };
        let portion = self.wanted.peer_mut(id).limits_mut().portion(key);
        for (prefix, routes) in portion.release(key.family, limit) {
            for _ in 0..routes {
                let holder = Holder {
                    by_hand: false,
                    is_new: true,
                };
                self.hold((id, key), prefix, holder);
            }
        }
        self.report_limit(id, key, limit);
    }

    /// Is the Adj-RIB being received, by any feed?
    fn is_loading(&self, key: SourceKey) -> bool {
        let beside = self.sources.beside(key, self.facts.feeds());
        let mut all = self.sources.get(key).into_iter().chain(beside);
        all.any(|source| source.is_heard() && source.is_receiving())
    }

    /// While the Adj-RIB is received anew, what it replaces still counts: only when it is complete is it too much.
    fn report_limit(&mut self, id: PeerId, key: SourceKey, limit: u32) {
        let is_loading = self.is_loading(key);
        let portion = self.wanted.peer_mut(id).limits_mut().portion(key);
        if is_loading && (portion.is_over(limit) || portion.is_restoring()) {
            return;
        }
        if !is_loading {
            portion.completed(limit);
        }
        let prefixes = portion.len();
        match portion.report(limit) {
            Some(Report::Exceeded) => self.outbox.push(Event::MaxPrefixExceeded {
                peer: id,
                family: key.family,
                prefixes,
                limit,
            }),
            Some(Report::Cleared) => self.outbox.push(Event::MaxPrefixCleared(id, key.family)),
            None => {}
        }
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
            if let Some(limit) = self.limit_of(id, key) {
                self.report_limit(id, key, limit);
            }
        }
    }
}
