//! What every feed produces, whatever daemon spoke: the one language between feeds and the lifecycle.
//! No bytes, no text, no daemon names beyond this point.
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use filter_core::{Asn, Family, Prefix};

/// One configured `[[feed]]`, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeedId(pub u16);

/// One configured `[[peer]]`, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u32);

/// A BGP session of the router, as feeds name it: the neighbour's address and, for VRFs, the peer
/// distinguisher of RFC 7854 section 4.2 (0 for the global instance).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Session {
    /// The neighbour's address.
    pub address: IpAddr,
    /// The BMP peer distinguisher.
    pub distinguisher: u64,
}

impl Session {
    /// A session of the global routing instance.
    #[must_use]
    pub const fn global(address: IpAddr) -> Self {
        Self {
            address,
            distinguisher: 0,
        }
    }
}

/// Whose routes an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// Those of a BGP session; the lifecycle finds the peer.
    Session(Session),
    /// Those of a configured peer (`static` feeds).
    Peer(PeerId),
}

/// Which of the router's tables a route stands in (RFC 4271 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Adj-RIB-In before import policy: what the peer advertises.
    AdjInPre,
    /// Adj-RIB-In after import policy: what of it we accepted.
    AdjInPost,
    /// Adj-RIB-Out after export policy: what we advertise to the peer.
    AdjOut,
}

/// One route, as far as the filter cares.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// The destination block.
    pub prefix: Prefix,
    /// ADD-PATH path identifier (RFC 7911), 0 without. Several paths keep a prefix alive.
    pub path: u32,
    /// NEXT_HOP, if the feed tells.
    pub next_hop: Option<IpAddr>,
    /// Its communities, if the feed tells: how our own announcement to a route server is scoped.
    pub communities: Option<Arc<[Community]>>,
}

impl Route {
    /// A route of which only the prefix is known.
    #[must_use]
    pub const fn bare(prefix: Prefix) -> Self {
        Self {
            prefix,
            path: 0,
            next_hop: None,
            communities: None,
        }
    }
}

/// One community of a route, as a route server reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Community {
    /// RFC 1997: two 16-bit halves.
    Standard(u16, u16),
    /// RFC 8092: global administrator and two local parts.
    Large(u32, u32, u32),
}

/// Why a session ended (RFC 7854 section 4.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DownCause {
    /// A NOTIFICATION was sent or received: the routes are gone.
    Notification,
    /// The connection was lost without one: with graceful restart, packets keep flowing.
    Lost,
    /// The router's operator removed the session, or the router no longer reports on it.
    Deconfigured,
}

/// One thing a feed learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteEvent {
    /// The feed is connected and starts anew: what it said before belongs to a former connection.
    FeedUp,
    /// The feed is lost. Never means that the peers are.
    FeedDown {
        /// What happened, for people.
        why: String,
    },
    /// A BGP session is established. Its routes follow; those of its former life are void once they have.
    SessionUp {
        /// Which one.
        session: Session,
        /// The neighbour's AS number, if the feed tells.
        asn: Option<Asn>,
        /// The restart time the neighbour asked for (RFC 4724), if graceful restart was negotiated.
        restart_time: Option<Duration>,
    },
    /// A BGP session is no longer established.
    SessionDown {
        /// Which one.
        session: Session,
        /// How it ended.
        cause: DownCause,
    },
    /// A route was added or replaced.
    Announce {
        /// Whose.
        origin: Origin,
        /// Where.
        table: Table,
        /// What.
        route: Route,
    },
    /// A route was removed.
    Withdraw {
        /// Whose.
        origin: Origin,
        /// Where.
        table: Table,
        /// Which block.
        prefix: Prefix,
        /// Which of its paths, 0 without ADD-PATH.
        path: u32,
    },
    /// The table of this family has been told in full since the session or the feed came up (RFC 4724 section 2).
    EndOfRib {
        /// Whose.
        origin: Origin,
        /// Which.
        table: Table,
        /// Which family.
        family: Family,
    },
    /// The whole table of one family at one moment: a finished poll, a file, a configured list.
    Snapshot {
        /// Whose.
        origin: Origin,
        /// Which.
        table: Table,
        /// Which family; every route is of it.
        family: Family,
        /// Everything in it.
        routes: Arc<[Route]>,
    },
    /// What the feed tells of this table is not complete, although the feed as a whole lives on: the connection it
    /// came over is lost while others remain, or what comes is known to be wrong. What [`RouteEvent::FeedDown`] says
    /// of everything, for one table: what was told before goes stale, is never taken for the table, and never means
    /// that the routes are gone. Ends with the next [`RouteEvent::EndOfRib`] or [`RouteEvent::Snapshot`] of it.
    TableLost {
        /// Whose.
        origin: Origin,
        /// Which, or all of them.
        table: Option<Table>,
        /// What happened, for people.
        why: String,
    },
    /// How many prefixes the router says the table holds: evidence independent of the routes.
    Count {
        /// Whose.
        origin: Origin,
        /// Which.
        table: Table,
        /// Which family, or both together.
        family: Option<Family>,
        /// The router's number.
        prefixes: u64,
    },
}

/// Events of one feed, in order. Feeds send batches so that a full table costs few hand-overs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Who.
    pub feed: FeedId,
    /// What, oldest first.
    pub events: Vec<RouteEvent>,
}
