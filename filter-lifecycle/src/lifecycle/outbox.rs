//! Events that wait to be taken, and what was reported once and is not reported again. Bounded; decides nothing.
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;

use super::facts::{StrangeFirstAs, StrangeHop};
use super::{Event, Owner};
use crate::route::{FeedId, PeerId, Session};

/// Events waiting to be taken; more push the oldest out, counted.
pub const MAX_EVENTS: usize = 4096;
/// Session addresses of no peer that are reported once each; more are only counted.
pub const MAX_UNKNOWN: usize = 1024;
/// Next hops of one peer, or of one route server, that are reported once each.
pub const MAX_NEXT_HOPS: usize = 64;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    events: VecDeque<Event>,
    lost: u64,
    unknown: HashSet<(FeedId, Session)>,
    unknown_count: u64,
    next_hops: HashMap<Owner, HashSet<IpAddr>>,
    /// By route server: the members that routes of others led to.
    first_ases: HashSet<(usize, PeerId)>,
}

impl Outbox {
    pub(super) fn push(&mut self, event: Event) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
            self.lost += 1;
        }
        self.events.push_back(event);
    }

    /// A feed reports a session that belongs to no peer and no route server.
    pub(super) fn unknown_session(&mut self, feed: FeedId, session: Session) {
        self.unknown_count += 1;
        if self.unknown.len() < MAX_UNKNOWN && self.unknown.insert((feed, session)) {
            self.push(Event::UnknownSession(feed, session));
        }
    }

    /// A route's next hop is not as it must be.
    pub(super) fn strange_next_hop(&mut self, strange: StrangeHop) {
        let StrangeHop {
            owner,
            session,
            hop,
            prefix,
        } = strange;
        let reported = self.next_hops.entry(owner).or_default();
        if reported.len() >= MAX_NEXT_HOPS || !reported.insert(hop) {
            return;
        }
        self.push(match owner {
            Owner::Peer(id) => Event::NextHopRewritten(id, hop, prefix),
            Owner::RouteServer(_) => Event::NextHopUnknown(session, hop, prefix),
        });
    }

    /// A route server's route leads to a member that did not announce it. Once for each member.
    pub(super) fn strange_first_as(&mut self, strange: StrangeFirstAs) {
        let StrangeFirstAs {
            server,
            session,
            member,
            prefix,
        } = strange;
        if self.first_ases.insert((server, member)) {
            self.push(Event::FirstAsDiffers(session, member, prefix));
        }
    }

    /// Everything since the last call, oldest first.
    pub(super) fn take(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }

    /// Events that were pushed out unread.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    /// Events about sessions of no peer, so far.
    pub(super) const fn unknown_sessions(&self) -> u64 {
        self.unknown_count
    }
}
