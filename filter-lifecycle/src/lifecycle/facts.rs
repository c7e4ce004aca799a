//! What the specification has of sessions, peers and route servers, ready to be asked: who owns a session, whom an
//! Adj-RIB or a route concerns, which prefix is admitted. Set once, never changed; knows no time and no route it is
//! not given.
use std::net::IpAddr;
use std::sync::Arc;

use filter_core::set::PrefixSet;
use filter_core::{Asn, Family, Prefix};

use super::directory::{Directory, Owner};
use super::kind::{self, Kind};
use super::routes::{Scope, Whom};
use super::source::SourceKey;
use super::{Refusal, Side, session_of};
use crate::admission::{Provenance, admit};
use crate::policy::Withheld;
use crate::route::{FeedId, Origin, PathHead, PeerId, Route, Session};
use crate::spec::{self, OnStale, Reach, Spec, Timers};

/// See the file's head.
#[derive(Debug)]
pub(super) struct Facts {
    spec: Arc<Spec>,
    directory: Directory,
    withheld: Withheld,
    /// By feed.
    kinds: Vec<Kind>,
    /// By peer and [`Side`]: does a feed, besides prefixes by hand, always report it?
    dynamic: Vec<[bool; 2]>,
}

impl Facts {
    pub(super) fn new(spec: Arc<Spec>) -> Self {
        let directory = Directory::new(&spec);
        let dynamic = |peer: &spec::Peer| {
            Side::ALL.map(|side| kind::has_dynamic_feed(&spec, &directory, peer, side))
        };
        let dynamic = spec.peers.iter().map(dynamic).collect();
        let feeds = 0..spec.feeds.len();
        let kinds = feeds.map(|index| Kind::of(&spec, FeedId(index as u16)));
        Self {
            withheld: Withheld::of(&spec),
            kinds: kinds.collect(),
            dynamic,
            directory,
            spec,
        }
    }

    pub(super) const fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    pub(super) fn timers(&self) -> &Timers {
        &self.spec.timers
    }

    /// A peer; every [`PeerId`] inside the lifecycle is one of the specification's.
    pub(super) fn peer(&self, id: PeerId) -> &spec::Peer {
        &self.spec.peers[id.0 as usize]
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> + use<> {
        (0..self.spec.peers.len() as u32).map(PeerId)
    }

    pub(super) fn feeds(&self) -> impl Iterator<Item = FeedId> + use<> {
        (0..self.spec.feeds.len() as u16).map(FeedId)
    }

    /// How this feed reports; it is one of the specification's.
    pub(super) fn kind(&self, feed: FeedId) -> Kind {
        self.kinds[usize::from(feed.0)]
    }

    /// What no announcement can claim.
    pub(super) const fn withheld(&self) -> &PrefixSet {
        &self.withheld.all
    }

    /// Does a feed, besides prefixes by hand, always report this side of the peer?
    pub(super) fn has_dynamic_feed(&self, id: PeerId, side: Side) -> bool {
        self.dynamic[id.0 as usize][side as usize]
    }

    /// Does the peer's operator want the last known tables for as long as a feed is lost?
    pub(super) fn keeps_stale(&self, id: PeerId) -> bool {
        self.peer(id).on_stale == OnStale::Keep
    }

    /// How many prefixes of a family each of the peer's sessions may advertise, if that is limited.
    pub(super) fn max_prefixes(&self, id: PeerId, family: Family) -> Option<u32> {
        *self.peer(id).max_prefixes.get(family)
    }

    pub(super) fn owner(&self, session: Session) -> Option<Owner> {
        self.directory.owner(session)
    }

    pub(super) fn owner_of(&self, origin: Origin) -> Option<Owner> {
        match origin {
            Origin::Peer(id) => Some(Owner::Peer(id)),
            Origin::Session(session) => self.owner(session),
        }
    }

    /// The AS number that the specification gives this owner.
    pub(super) fn asn(&self, owner: Owner) -> Asn {
        match owner {
            Owner::Peer(id) => self.peer(id).asn,
            Owner::RouteServer(index) => self.spec.route_servers[index].asn,
        }
    }

    /// Everyone whose enforcement depends on this source: a member needs its route server's Adj-RIB complete too.
    /// Empty if no peer uses it: another view, another family, or a session that belongs to no peer.
    pub(super) fn concerned(&self, key: SourceKey) -> Vec<PeerId> {
        let mut concerned = match self.owner_of(key.origin) {
            Some(Owner::Peer(peer)) => vec![peer],
            Some(Owner::RouteServer(index)) => self.members(index, Side::of(key.rib)),
            None => Vec::new(),
        };
        concerned.retain(|id| self.uses(*id, key));
        concerned
    }

    /// The members that routes from, or to, this route server can concern.
    fn members(&self, server: usize, side: Side) -> Vec<PeerId> {
        let server = &self.spec.route_servers[server];
        let members = self.directory.members(server).iter().copied();
        match (side, &server.our_routes_reach) {
            (Side::Destinations, Reach::None) => Vec::new(),
            (Side::Destinations, Reach::Listed(asns)) => members
                .filter(|&id| asns.contains(&self.peer(id).asn))
                .collect(),
            (Side::Destinations, Reach::All | Reach::Communities) | (Side::Sources, _) => {
                members.collect()
            }
        }
    }

    /// Does the peer's policy look at this Adj-RIB?
    fn uses(&self, id: PeerId, key: SourceKey) -> bool {
        let Some(peer) = self.spec.peer(id) else {
            return false;
        };
        let view = Side::of(key.rib) == Side::Destinations
            || matches!(key.origin, Origin::Peer(_))
            || peer.view.rib() == key.rib;
        view && peer.families.contains(key.family)
    }

    /// The peers a route of this source concerns.
    pub(super) fn targets(&self, key: SourceKey, owner: Owner, scope: &Scope) -> Targets {
        let index = match (owner, scope.whom) {
            // A peer's own source is there only because the peer looks at it.
            (Owner::Peer(peer), _) => return Targets::one(Some(peer)),
            (Owner::RouteServer(_), Whom::Only(peer)) => {
                return Targets::one(Some(peer).filter(|id| self.uses(*id, key)));
            }
            (Owner::RouteServer(_), Whom::NoMember) => return Targets::default(),
            (Owner::RouteServer(index), Whom::All | Whom::Scoped) => index,
        };
        let server = &self.spec.route_servers[index];
        let communities = scope.communities.as_deref();
        let mut many = self.directory.served(&self.spec, server, communities);
        many.retain(|id| self.uses(*id, key));
        Targets { one: None, many }
    }

    /// Whom a route concerns, as its source remembers it: communities only where they decide.
    pub(super) fn scope(&self, key: SourceKey, owner: Owner, route: &Route) -> Scope {
        let Owner::RouteServer(index) = owner else {
            return Scope {
                whom: Whom::All,
                communities: None,
            };
        };
        let server = &self.spec.route_servers[index];
        let (whom, communities) = match (Side::of(key.rib), &server.our_routes_reach) {
            (Side::Sources, _) => {
                let member = self
                    .member(index, route)
                    .filter(|id| self.begins_with(index, *id, route));
                (member.map_or(Whom::NoMember, Whom::Only), None)
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

    /// The member of the route server's LAN that the route's next hop is.
    fn member(&self, server: usize, route: &Route) -> Option<PeerId> {
        let server = &self.spec.route_servers[server];
        route
            .next_hop
            .and_then(|hop| self.directory.member(server, hop))
    }

    /// Is the first AS of a route server's route the member's? We and the route server may stand in front of it. Where the
    /// feed reports no AS_PATH the next hop alone decides.
    fn begins_with(&self, server: usize, member: PeerId, route: &Route) -> bool {
        let before = [self.spec.router.asn, self.spec.route_servers[server].asn];
        let is_its = |head: PathHead| head.behind(&before) == Some(self.peer(member).asn);
        route.path_head.is_none_or(is_its)
    }

    /// A route server's route that leads to a member and begins with another AS: it is none of the member's.
    pub(super) fn strange_first_as(
        &self,
        key: SourceKey,
        owner: Owner,
        route: &Route,
    ) -> Option<StrangeFirstAs> {
        let (Owner::RouteServer(server), Side::Sources) = (owner, Side::of(key.rib)) else {
            return None;
        };
        let member = self.member(server, route)?;
        if self.begins_with(server, member, route) {
            return None;
        }
        Some(StrangeFirstAs {
            server,
            session: session_of(key.origin)?,
            member,
            prefix: route.prefix,
        })
    }

    /// May this prefix stand in the peer's sources? Destinations are what we announce ourselves.
    pub(super) fn admit(
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
        admit(prefix, &self.withheld.context(self.peer(id)), provenance)
    }

    /// The next hop of a route of sources that is not as it must be: the neighbour, or for a route server on its LAN
    /// (RFC 4271 section 5.1.3). IPv6 link-local next hops are the neighbour's own.
    pub(super) fn strange_next_hop(
        &self,
        key: SourceKey,
        owner: Owner,
        route: &Route,
        scope: &Scope,
    ) -> Option<StrangeHop> {
        let (session, hop) = (session_of(key.origin)?, route.next_hop?);
        if Side::of(key.rib) != Side::Sources
            || hop == session.address
            || matches!(hop, IpAddr::V6(v6) if v6.is_unicast_link_local())
        {
            return None;
        }
        let is_strange = match owner {
            Owner::Peer(_) => self.owner(Session::of(hop, session.vrf)) != Some(owner),
            Owner::RouteServer(index) => {
                let interface = self.spec.route_servers[index].interface;
                let lan = self.spec.interface(interface).map_or(&[][..], |i| &i.lan);
                scope.whom == Whom::NoMember
                    && !lan.iter().any(|prefix| prefix.contains(hop.into()))
            }
        };
        is_strange.then_some(StrangeHop {
            owner,
            session,
            hop,
            prefix: route.prefix,
        })
    }
}

/// A route whose next hop is neither its neighbour nor a member of the LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StrangeHop {
    /// Whose session announced the route.
    pub owner: Owner,
    pub session: Session,
    pub hop: IpAddr,
    pub prefix: Prefix,
}

/// A route server's route whose next hop is a member's and whose first AS is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StrangeFirstAs {
    pub server: usize,
    pub session: Session,
    pub member: PeerId,
    pub prefix: Prefix,
}

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
