//! Whose a route is, and what it adds to and takes from peers: owners of sessions, members of route servers,
//! admission, `max_prefixes`, next hops. Never decides when a route comes or goes.
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use filter_core::{Family, Prefix};

use super::kind::Kind;
use super::ledger::{Change, Moment};
use super::peer::{Limited, MAX_NEXT_HOPS, Peer};
use super::routes::{Gone, Scope, Whom};
use super::source::Source;
use super::{
    Directory, Event, Lifecycle, MAX_SOURCES, MAX_UNKNOWN, Owner, Refusal, Side, SourceKey, State,
    session_of,
};
use crate::admission::{Provenance, admit};
use crate::route::{FeedId, Origin, PeerId, Route, Session};
use crate::spec::{Reach, Spec};

/// The peers one route concerns, without memory for the one that most concern.
#[derive(Debug, Default)]
pub(super) struct Targets {
    one: Option<PeerId>,
    many: Vec<PeerId>,
}

impl Targets {
    fn one(id: Option<PeerId>) -> Self {
        Self {
            one: id,
            ..Self::default()
        }
    }

    pub(super) fn contains(&self, id: PeerId) -> bool {
        self.one == Some(id) || self.many.contains(&id)
    }
}

impl IntoIterator for Targets {
    type Item = PeerId;
    type IntoIter = std::iter::Chain<std::option::IntoIter<PeerId>, std::vec::IntoIter<PeerId>>;

    fn into_iter(self) -> Self::IntoIter {
        self.one.into_iter().chain(self.many)
    }
}

impl Lifecycle {
    /// The source, made and linked to its peers if it is new and anybody wants it, now that something of its
    /// table is told.
    pub(super) fn opened(&mut self, now: Duration, key: SourceKey) -> Option<&mut Source> {
        if !self.sources.get(&key).is_some_and(Source::is_heard) {
            self.open(now, key)?;
            let source = self.sources.get_mut(&key)?;
            let was = source.state();
            source.hear_first(now);
            let state = source.state();
            self.changed(key, was, state);
        }
        self.sources.get_mut(&key)
    }

    /// The source, made and linked to its peers if it is new and anybody wants it.
    pub(super) fn open(&mut self, now: Duration, key: SourceKey) -> Option<()> {
        if self.sources.contains_key(&key) {
            return Some(());
        }
        let owner = match key.origin {
            Origin::Peer(id) => Some(Owner::Peer(id)),
            Origin::Session(session) => self.directory.owner(session),
        };
        let (Some(owner), concerned) = (owner, self.concerned(key)) else {
            if let Some(session) = session_of(key.origin) {
                self.unknown_session(key.feed, session);
            }
            return None;
        };
        let session = session_of(key.origin);
        let kind = self.kind(key.feed);
        // What is told of a session that is said to be down is too late.
        let said = session.and_then(|session| self.sessions.get(&(key.feed, session)));
        if concerned.is_empty() || kind.tells_sessions() && said.is_some_and(|said| !said.up) {
            return None;
        }
        // A family that a session does not exchange is no table of it, whatever the feed says.
        if said
            .and_then(|said| said.families)
            .is_some_and(|families| !families[key.family as usize])
        {
            return None;
        }
        if self.sources.len() >= MAX_SOURCES {
            if self.refused_sources == 0 {
                log::error!(
                    "the feeds report more than {MAX_SOURCES} Adj-RIBs: the rest is not read"
                );
            }
            self.refused_sources += 1;
            for id in concerned {
                self.peers[id.0 as usize].crowded = true;
                self.unsettled.insert(id);
            }
            return None;
        }
        for id in concerned {
            self.peers[id.0 as usize].keys.insert(key);
            self.unsettled.insert(id);
        }
        let mid_life = self.feed_state(key.feed).is_mid_life(now);
        let mut source = Source::new(kind, owner, key.family, now, mid_life);
        if !kind.tells_sessions() && session.is_some_and(|session| self.is_down(session)) {
            source.session_down(now, now);
        }
        let state = source.state();
        self.sources.insert(key, source);
        self.changed(key, State::Unknown, state);
        Some(())
    }

    /// Everyone whose enforcement depends on this source: a member needs its route server's table complete too.
    /// Empty if nobody uses it: another view, another family, or a session nobody has.
    pub(super) fn concerned(&self, key: SourceKey) -> Vec<PeerId> {
        let mut concerned = match key.origin {
            Origin::Peer(peer) => vec![peer],
            Origin::Session(session) => match self.directory.owner(session) {
                Some(Owner::Peer(peer)) => vec![peer],
                Some(Owner::RouteServer(index)) => {
                    let server = &self.spec.route_servers[index];
                    let members = self.directory.members(server).iter().copied();
                    match (Side::of(key.rib), &server.our_routes_reach) {
                        (Side::Destinations, Reach::None) => Vec::new(),
                        (Side::Destinations, Reach::Listed(asns)) => members
                            .filter(|id| asns.contains(&self.spec.peers[id.0 as usize].asn))
                            .collect(),
                        (Side::Destinations, Reach::All | Reach::Communities)
                        | (Side::Sources, _) => members.collect(),
                    }
                }
                None => Vec::new(),
            },
        };
        concerned.retain(|id| self.uses(*id, key));
        concerned
    }

    /// Does the peer's policy look at this table?
    fn uses(&self, id: PeerId, key: SourceKey) -> bool {
        let Some(peer) = self.spec.peer(id) else {
            return false;
        };
        let view = Side::of(key.rib) == Side::Destinations
            || matches!(key.origin, Origin::Peer(_))
            || peer.view.rib() == key.rib;
        view && peer.families.contains(key.family)
    }

    pub(super) fn unknown_session(&mut self, feed: FeedId, session: Session) {
        self.unknown_count += 1;
        if self.unknown.len() < MAX_UNKNOWN && self.unknown.insert((feed, session)) {
            self.tell(Event::UnknownSession(feed, session));
        }
    }

    /// The peers a route of this source concerns.
    pub(super) fn targets(&self, key: SourceKey, owner: Owner, scope: &Scope) -> Targets {
        let index = match (owner, scope.whom) {
            // A peer's own source is there only because the peer looks at it.
            (Owner::Peer(peer), _) => return Targets::one(Some(peer)),
            (Owner::RouteServer(_), Whom::Only(peer)) => {
                return Targets::one(Some(peer).filter(|id| self.uses(*id, key)));
            }
            (Owner::RouteServer(_), Whom::Nobody) => return Targets::default(),
            (Owner::RouteServer(index), Whom::All | Whom::Scoped) => index,
        };
        let server = &self.spec.route_servers[index];
        let communities = scope.communities.as_deref();
        let mut many = self.directory.served(&self.spec, server, communities);
        many.retain(|id| self.uses(*id, key));
        Targets { one: None, many }
    }

    /// A route counts for whom it concerns.
    pub(super) fn add(
        &mut self,
        now: Duration,
        place: (SourceKey, Owner),
        prefix: Prefix,
        scope: &Scope,
    ) {
        self.count_in(now, place, prefix, scope, Some(prefix));
    }

    /// Routes count that did before. They are no reason to freeze what is there.
    pub(super) fn add_again(&mut self, now: Duration, key: SourceKey, routes: Vec<Gone>) {
        let Some(source) = self.sources.get(&key).filter(|source| !source.is_muted()) else {
            return;
        };
        let owner = source.owner;
        for route in &routes {
            self.count_in(now, (key, owner), route.prefix, &route.scope, None);
        }
    }

    fn count_in(
        &mut self,
        now: Duration,
        (key, owner): (SourceKey, Owner),
        prefix: Prefix,
        scope: &Scope,
        newest: Option<Prefix>,
    ) {
        let by_hand = self.kind(key.feed) == Kind::ByHand;
        let side = Side::of(key.rib);
        for id in self.targets(key, owner, scope) {
            match self.admitted(id, side, prefix, by_hand) {
                Err(refusal) => {
                    if self.peers[id.0 as usize].refused.add(now, prefix, refusal) {
                        self.tell(Event::PrefixRefused(id, prefix, refusal));
                    }
                }
                Ok(()) => {
                    let peer = &mut self.peers[id.0 as usize];
                    let was_empty = peer.ledger(side).len(key.family) == 0;
                    if peer.add(side, prefix, by_hand) == Change::Changed {
                        self.dirty.insert(id);
                    }
                    if was_empty {
                        self.unsettled.insert(id);
                    }
                }
            }
            if side == Side::Sources && newest.is_some() {
                self.limit(id, prefix.family(), newest);
            }
        }
    }

    /// A route does not count any more for whom it concerned, after the hold.
    pub(super) fn remove(
        &mut self,
        now: Duration,
        (key, owner): (SourceKey, Owner),
        gone: &Gone,
        hold: Duration,
    ) {
        let by_hand = self.kind(key.feed) == Kind::ByHand;
        let (side, prefix) = (Side::of(key.rib), gone.prefix);
        for id in self.targets(key, owner, &gone.scope) {
            let admitted = self.admitted(id, side, prefix, by_hand);
            let peer = &mut self.peers[id.0 as usize];
            if admitted.is_err() {
                peer.refused.remove(prefix);
            } else {
                let leaves_at = Moment::at_or_after(now + hold);
                let departure = peer.remove(side, prefix, by_hand, leaves_at);
                if let Some(departure) = departure {
                    self.depart(departure, id, side, prefix);
                }
            }
            if side == Side::Sources {
                self.limit(id, prefix.family(), None);
            }
        }
    }

    fn admitted(
        &self,
        id: PeerId,
        side: Side,
        prefix: Prefix,
        by_hand: bool,
    ) -> Result<(), Refusal> {
        if side == Side::Destinations {
            return Ok(());
        }
        // Prefixes by hand are exempt from the length bounds.
        let provenance = if by_hand {
            Provenance::Static
        } else {
            Provenance::Dynamic
        };
        let context = self.withheld.context(&self.spec.peers[id.0 as usize]);
        admit(prefix, &context, provenance)
    }

    fn limit(&mut self, id: PeerId, family: Family, newest: Option<Prefix>) {
        let Some(limit) = *self.spec.peers[id.0 as usize].max_prefixes.get(family) else {
            return;
        };
        match self.peers[id.0 as usize].limit(family, limit, newest) {
            Limited::Unchanged => {}
            Limited::Froze => {
                self.dirty.insert(id);
                self.unsettled.insert(id);
            }
            Limited::Thawed(told) => {
                self.dirty.insert(id);
                self.unsettled.insert(id);
                let whole = !self.is_being_told(&self.peers[id.0 as usize], family);
                self.peers[id.0 as usize].was_complete[family as usize] |= whole;
                if told {
                    self.tell(Event::MaxPrefixCleared(id, family));
                }
            }
        }
        self.tell_limit(id, family, limit);
    }

    /// While a table is told anew, what it replaces still counts: only when all are complete is it too much.
    fn tell_limit(&mut self, id: PeerId, family: Family, limit: u32) {
        let untold = |peer: &Peer| {
            let frozen = peer.frozen[family as usize].as_ref();
            frozen.is_some_and(|frozen| !frozen.told)
        };
        let peer = &self.peers[id.0 as usize];
        if !untold(peer) || self.is_being_told(peer, family) {
            return;
        }
        let prefixes = peer.advertised(family);
        if let Some(frozen) = &mut self.peers[id.0 as usize].frozen[family as usize] {
            frozen.told = true;
        }
        self.tell(Event::MaxPrefixExceeded {
            peer: id,
            family,
            prefixes,
            limit,
        });
    }

    fn is_being_told(&self, peer: &Peer, family: Family) -> bool {
        let mine = |key: &&SourceKey| Side::of(key.rib) == Side::Sources && key.family == family;
        let mut sources = peer
            .keys
            .iter()
            .filter(mine)
            .filter_map(|key| self.sources.get(key));
        sources.any(|source| source.is_heard() && source.is_telling())
    }

    /// A table is complete: what is too much now is too much, and what is good is good.
    pub(super) fn completed(&mut self, key: SourceKey) {
        if Side::of(key.rib) != Side::Sources || self.kind(key.feed) == Kind::ByHand {
            return;
        }
        if self
            .sources
            .get(&key)
            .is_none_or(|source| !source.is_heard())
        {
            return;
        }
        for id in self.concerned(key) {
            let Some(limit) = *self.spec.peers[id.0 as usize].max_prefixes.get(key.family) else {
                continue;
            };
            self.tell_limit(id, key.family, limit);
            let peer = &mut self.peers[id.0 as usize];
            if peer.frozen[key.family as usize].is_none() {
                peer.was_complete[key.family as usize] = true;
            }
        }
    }

    /// NEXT_HOP must be the neighbour, or for a route server on its LAN (AS57965's policy; RFC 4271 section
    /// 5.1.3). IPv6 link-local next hops are the neighbour's own.
    pub(super) fn check_next_hop(
        &mut self,
        key: SourceKey,
        owner: Owner,
        route: &Route,
        scope: &Scope,
    ) {
        let (Some(session), Side::Sources, Some(hop)) =
            (session_of(key.origin), Side::of(key.rib), route.next_hop)
        else {
            return;
        };
        if hop == session.address || matches!(hop, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            return;
        }
        let strange = match owner {
            Owner::Peer(id) => {
                let address = hop;
                let hop = Session::of(address, session.vrf);
                self.directory.owner(hop) != Some(Owner::Peer(id))
            }
            Owner::RouteServer(index) => {
                let interface = self.spec.route_servers[index].interface;
                let lan = self.spec.interface(interface).map_or(&[][..], |i| &i.lan);
                scope.whom == Whom::Nobody && !lan.iter().any(|prefix| prefix.contains(hop.into()))
            }
        };
        let told = match owner {
            Owner::Peer(id) => &mut self.peers[id.0 as usize].next_hops,
            Owner::RouteServer(index) => &mut self.next_hops[index],
        };
        if !strange || told.len() >= MAX_NEXT_HOPS || !told.insert(hop) {
            return;
        }
        self.tell(match owner {
            Owner::Peer(id) => Event::NextHopRewritten(id, hop, route.prefix),
            Owner::RouteServer(_) => Event::NextHopUnknown(session, hop, route.prefix),
        });
    }

    /// Tables that were not taken in, because there are too many.
    #[must_use]
    pub const fn refused_sources(&self) -> u64 {
        self.refused_sources
    }
}

/// Whom a route concerns, as its source remembers it: communities only where they decide.
pub(super) fn scope(
    spec: &Spec,
    directory: &Directory,
    key: SourceKey,
    owner: Owner,
    route: &Route,
) -> Scope {
    let Owner::RouteServer(index) = owner else {
        return Scope {
            whom: Whom::All,
            communities: None,
        };
    };
    let server = &spec.route_servers[index];
    let (whom, communities) = match (Side::of(key.rib), &server.our_routes_reach) {
        (Side::Sources, _) => {
            let member = route.next_hop.and_then(|hop| directory.member(server, hop));
            (member.map_or(Whom::Nobody, Whom::Only), None)
        }
        (Side::Destinations, Reach::Communities) => {
            let none = || Arc::from([]);
            let communities = route.communities.clone().unwrap_or_else(none);
            (Whom::Scoped, Some(communities))
        }
        (Side::Destinations, Reach::All | Reach::None | Reach::Listed(_)) => (Whom::All, None),
    };
    Scope { whom, communities }
}
