//! What every feed produces, whatever daemon spoke: the one language between feeds and the lifecycle.
//! No bytes, no text, no daemon names beyond this point.
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use filter_core::{Asn, Family, Prefix};

/// One configured `[[feed]]`, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(transparent))]
pub struct FeedId(pub u16);

/// One configured `[[peer]]`, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u32);

/// A BGP session of the router, as feeds name it: the neighbour's address, which another VRF may have too, and the
/// VRF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Session {
    /// The neighbour's address.
    pub address: IpAddr,
    /// The routing instance; none is the global one.
    pub vrf: Option<Vrf>,
}

impl Session {
    /// A session of the global routing instance. An IPv4-mapped address is the IPv4 address.
    #[must_use]
    pub const fn global(address: IpAddr) -> Self {
        Self::of(address, None)
    }

    /// A session of this instance. An IPv4-mapped address is the IPv4 address.
    #[must_use]
    pub const fn of(address: IpAddr, vrf: Option<Vrf>) -> Self {
        let address = address.to_canonical();
        Self { address, vrf }
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        match self.vrf {
            Some(vrf) => write!(f, " in vrf {vrf}"),
            None => Ok(()),
        }
    }
}

/// A routing instance other than the global one, by its peer distinguisher (RFC 7854 section 4.2): the VRF's route
/// distinguisher (RFC 4364 section 4.2), or a number of the router's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vrf(pub u64);

/// Not a [`Vrf`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a vrf: write its route distinguisher like \"64500:1\" or \"192.0.2.1:1\", or the router's own number for it like 7 or \"0x7\""
)]
pub struct VrfError;

impl FromStr for Vrf {
    type Err = VrfError;

    /// `asn:number` (types 0 and 2), `address:number` (type 1), or the whole distinguisher as one number.
    fn from_str(text: &str) -> Result<Self, VrfError> {
        let number = |text: &str| digits(text, 10).ok_or(VrfError);
        let Some((administrator, assigned)) = text.split_once(':') else {
            let hex = text.strip_prefix("0x");
            let whole = hex.map_or_else(|| digits(text, 10), |hex| digits(hex, 16));
            return whole.map(Self).ok_or(VrfError);
        };
        let assigned = number(assigned)?;
        let (kind, administrator, bits) = match administrator.parse::<Ipv4Addr>() {
            Ok(address) => (1, u64::from(address.to_bits()), 16),
            Err(_) => match number(administrator)? {
                short @ 0..=0xffff => (0, short, 32),
                long @ 0..=0xffff_ffff => (2, long, 16),
                _ => return Err(VrfError),
            },
        };
        if assigned >> bits != 0 {
            return Err(VrfError);
        }
        Ok(Self(kind << 48 | administrator << bits | assigned))
    }
}

/// Digits and nothing else: `from_str_radix` takes signs.
fn digits(text: &str, radix: u32) -> Option<u64> {
    let is_number = text.chars().all(|c| c.is_digit(radix));
    u64::from_str_radix(text, radix).ok().filter(|_| is_number)
}

impl fmt::Display for Vrf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(whole) = *self;
        let administrator = (whole >> 16) as u32;
        let short = whole as u16;
        match whole >> 48 {
            0 if whole >> 32 == 0 => whole.fmt(f),
            0 => write!(f, "{}:{}", whole >> 32, whole as u32),
            1 => write!(f, "{}:{short}", Ipv4Addr::from_bits(administrator)),
            2 if administrator > 0xffff => write!(f, "{administrator}:{short}"),
            _ => write!(f, "{whole:#x}"),
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

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(session) => session.fmt(f),
            Self::Peer(id) => write!(f, "configured peer {}", id.0),
        }
    }
}

/// Which Adj-RIB of the router a route stands in (RFC 4271 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AdjRib {
    /// Adj-RIB-In before import policy: what the peer advertises.
    InPrePolicy,
    /// Adj-RIB-In after import policy: what of it we accepted.
    InPostPolicy,
    /// Adj-RIB-Out after export policy: what we advertise to the peer.
    OutPostPolicy,
}

impl AdjRib {
    /// The name in configuration, JSON and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InPrePolicy => "adj-rib-in-pre-policy",
            Self::InPostPolicy => "adj-rib-in-post-policy",
            Self::OutPostPolicy => "adj-rib-out-post-policy",
        }
    }
}

impl fmt::Display for AdjRib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One route, as far as the filter cares.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// The destination block.
    pub prefix: Prefix,
    /// ADD-PATH path identifier (RFC 7911), 0 without. Several paths keep a prefix alive.
    pub path: u32,
    /// NEXT_HOP, if the feed reports it.
    pub next_hop: Option<IpAddr>,
    /// Who its AS_PATH begins with, if the feed reports it.
    pub path_head: Option<PathHead>,
    /// Its communities, if the feed reports them: how our own announcement to a route server is scoped.
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
            path_head: None,
            communities: None,
        }
    }
}

/// AS numbers that a [`PathHead`] keeps: our own, a route server's, and the member's behind them.
pub const MAX_PATH_HEAD: usize = 3;

/// The AS numbers that an AS_PATH begins with (RFC 4271 section 5.1.2), each once however often it is prepended. An
/// AS_SET, and what stands behind it, is not part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathHead([Option<Asn>; MAX_PATH_HEAD]);

impl PathHead {
    /// From the AS numbers of the leading AS_SEQUENCE; the first [`MAX_PATH_HEAD`] different ones are kept.
    pub fn of(sequence: impl IntoIterator<Item = Asn>) -> Self {
        let mut head = Self::default();
        let mut kept = 0;
        for asn in sequence {
            if kept > 0 && head.0[kept - 1] == Some(asn) {
                continue;
            }
            let Some(place) = head.0.get_mut(kept) else {
                break;
            };
            *place = Some(asn);
            kept += 1;
        }
        head
    }

    /// The first AS behind these, each of which may or may not have put itself in front.
    #[must_use]
    pub fn behind(self, before: &[Asn]) -> Option<Asn> {
        let mut rest = self.0.into_iter().flatten().peekable();
        for asn in before {
            rest.next_if_eq(asn);
        }
        rest.next()
    }
}

/// One community of a route, as a route server reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Community {
    /// RFC 1997: two 16-bit halves.
    Standard(u16, u16),
    /// RFC 8092: global administrator and two local parts.
    Large(u32, u32, u32),
    /// RFC 4360 and RFC 5668, route targets of an AS only: the AS number and the value. Members with 32-bit numbers
    /// are named in the value.
    RouteTarget(u32, u32),
}

impl Community {
    /// An extended community from its eight bytes; none if it is no route target of an AS, for route servers are
    /// controlled by no others.
    #[must_use]
    pub const fn extended(bytes: [u8; 8]) -> Option<Self> {
        match bytes {
            // Two octets of AS number, four of value (RFC 4360 section 3.1).
            [0, 2, a, b, c, d, e, f] => {
                let asn = u16::from_be_bytes([a, b]) as u32;
                Some(Self::RouteTarget(asn, u32::from_be_bytes([c, d, e, f])))
            }
            // Four octets of AS number, two of value (RFC 5668 section 2).
            [2, 2, a, b, c, d, e, f] => {
                let value = u16::from_be_bytes([e, f]) as u32;
                Some(Self::RouteTarget(u32::from_be_bytes([a, b, c, d]), value))
            }
            _ => None,
        }
    }
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

/// Whose doing it is that what a feed reports of an Adj-RIB is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LossCause {
    /// The feed's own: the connection that it came over is lost while others remain, or a poll cannot read it.
    Feed,
    /// What the session itself brought, which its neighbour can bring about: bytes that cannot be read, or that hide routes.
    Session,
}

/// One thing a feed learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteEvent {
    /// The feed is connected and starts anew: what it reported before belongs to a former connection.
    FeedUp,
    /// The feed is lost. Never means that the peers' sessions are.
    FeedDown {
        /// What happened, for people.
        why: String,
    },
    /// A BGP session is established. Its routes follow; those of its former life are void once they have.
    SessionUp {
        /// The session.
        session: Session,
        /// The neighbour's AS number, if the feed reports it.
        asn: Option<Asn>,
        /// The longer of the restart times that the two sides asked for (RFC 4724), as far as the feed reports them, if
        /// graceful restart was negotiated.
        restart_time: Option<Duration>,
        /// The families it exchanges, by [`Family`], if the feed reports them.
        families: Option<[bool; 2]>,
        /// Our address of it, if the feed reports it: that of a multihop session may be on any device.
        local: Option<IpAddr>,
        /// Which of the routers that report over the feed it is a session of, by any number: what ends together is
        /// counted router by router.
        router: u64,
    },
    /// A BGP session is no longer established.
    SessionDown {
        /// The session.
        session: Session,
        /// How it ended.
        cause: DownCause,
    },
    /// A route was added or replaced.
    Announce {
        /// The session, or the configured peer, whose routes they are.
        origin: Origin,
        /// The Adj-RIB.
        rib: AdjRib,
        /// The route.
        route: Route,
    },
    /// A route was removed.
    Withdraw {
        /// The session, or the configured peer, whose routes they are.
        origin: Origin,
        /// The Adj-RIB.
        rib: AdjRib,
        /// Which block.
        prefix: Prefix,
        /// Which of its paths, 0 without ADD-PATH.
        path: u32,
    },
    /// The Adj-RIB of this family has been sent in full since the session or the feed came up (RFC 4724 section 2).
    EndOfRib {
        /// The session, or the configured peer, whose routes they are.
        origin: Origin,
        /// The Adj-RIB.
        rib: AdjRib,
        /// The family.
        family: Family,
    },
    /// The whole Adj-RIB of one family at one moment: a finished poll, a file, a configured list.
    Snapshot {
        /// The session, or the configured peer, whose routes they are.
        origin: Origin,
        /// The Adj-RIB.
        rib: AdjRib,
        /// Which family; every route is of it.
        family: Family,
        /// Everything in it.
        routes: Arc<[Route]>,
    },
    /// What the feed reports of this Adj-RIB is not complete, although the feed as a whole lives on. By the feed's own
    /// doing it is what [`RouteEvent::FeedDown`] means for everything, for one Adj-RIB: what was received before goes
    /// stale, is never taken as complete, and never means that the routes are gone. By what the session brought, it
    /// counts as if that session were down: a neighbour must not make anything unknown by the bytes it sends. Ends with
    /// the next [`RouteEvent::SessionUp`] of it, or [`RouteEvent::EndOfRib`] or [`RouteEvent::Snapshot`].
    RibLost {
        /// The session, or the configured peer, whose routes they are.
        origin: Origin,
        /// Which, or all of them.
        rib: Option<AdjRib>,
        /// Was it the feed's doing, or the session's?
        cause: LossCause,
        /// What happened, for people.
        why: String,
    },
    /// How many prefixes the router counts in the Adj-RIB: evidence independent of the routes.
    Count {
        /// The session, or the configured peer, whose routes they are.
        origin: Origin,
        /// The Adj-RIB.
        rib: AdjRib,
        /// Which family, or both together.
        family: Option<Family>,
        /// The router's number.
        prefixes: u64,
    },
}

impl RouteEvent {
    /// The whole of one peer's Adj-RIB as these prefixes, of either family: what a configured list has to report.
    #[must_use]
    pub fn listed(
        peer: PeerId,
        rib: AdjRib,
        prefixes: impl IntoIterator<Item = Prefix>,
    ) -> [Self; 2] {
        let routes: BTreeSet<Route> = prefixes.into_iter().map(Route::bare).collect();
        Family::ALL.map(|family| {
            let of_family = routes
                .iter()
                .filter(|route| route.prefix.family() == family);
            Self::Snapshot {
                origin: Origin::Peer(peer),
                rib,
                family,
                routes: of_family.cloned().collect(),
            }
        })
    }
}

/// Events of one feed, in order. Feeds send batches so that a full table costs few hand-overs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The feed.
    pub feed: FeedId,
    /// What, oldest first.
    pub events: Vec<RouteEvent>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_announces_stands_behind_us_and_the_route_server() {
        let head = |ases: &[u32]| PathHead::of(ases.iter().copied().map(Asn::new));
        let before = [64500, 64511].map(Asn::new);
        for (path, first) in [
            (&[64501, 64501, 64502][..], Some(64501)),
            (&[64511, 64501], Some(64501)),
            (&[64500, 64500, 64511, 64501, 64502], Some(64501)),
            (&[64500, 64501], Some(64501)),
            (&[64511, 64500, 64501], Some(64500)), // not in that order
            (&[64511], None),
            (&[], None),
        ] {
            let first = first.map(Asn::new);
            assert_eq!(head(path).behind(&before), first, "{path:?}");
        }
        assert_eq!(head(&[1, 1, 2, 3, 4]), head(&[1, 2, 2, 3]));
    }

    #[test]
    fn vrfs_are_read_and_written_as_routers_do() {
        for (text, whole) in [
            ("0", 0),
            ("7", 7),
            ("4294967295", 0xffff_ffff),
            ("64500:1", 0x0000_fbf4_0000_0001),
            ("65535:4294967295", 0x0000_ffff_ffff_ffff),
            ("192.0.2.1:65535", 0x0001_c000_0201_ffff),
            ("65536:1", 0x0002_0001_0000_0001),
            ("4200000000:65535", 0x0002_fa56_ea00_ffff),
            ("0x2fbf40001", 0x0002_fbf4_0001), // the short number in the long form
            ("0xffffffffffffffff", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Vrf(whole)), "{text}");
            let printed = Vrf(whole).to_string();
            assert_eq!(printed.parse(), Ok(Vrf(whole)), "{printed}");
        }
        assert_eq!(Vrf(0x0000_fbf4_0000_0001).to_string(), "64500:1");
        assert_eq!(Vrf(0x0002_0000_fbf4_0001).to_string(), "0x20000fbf40001");
        assert_eq!("0:5".parse(), Ok(Vrf(5)));
        for bad in [
            "",
            ":",
            "1:",
            ":1",
            "a:1",
            "+1:1",
            "1:+1",
            "-1",
            "1:2:3",
            "0x",
            "0xg",
            "red",
            "64500:4294967296",
            "65536:65536",
            "192.0.2.1:65536",
            "4294967296:1",
            "::1",
            "18446744073709551616",
            "0x10000000000000000",
        ] {
            assert_eq!(bad.parse::<Vrf>(), Err(VrfError), "{bad}");
        }
    }
}
