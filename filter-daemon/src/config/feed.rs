//! The RIB sources a configuration can name. Settings only: the feeds themselves are in [`crate::feeds`].
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use filter_core::{Asn, Prefix};

use crate::route::{PeerId, Table};

/// `[[feed]]`: one RIB source, by `kind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// `static`: prefixes by hand.
    Static {
        /// `peer` they are of. Required.
        peer: PeerId,
        /// `advertised_by_peer`. Default: none, but one of the two lists must be given.
        advertised_by_peer: Vec<Prefix>,
        /// `advertised_to_peer`. Default: none.
        advertised_to_peer: Vec<Prefix>,
    },
    /// `bmp`: a station routers connect to (RFC 7854).
    Bmp {
        /// `listen`. Required.
        listen: SocketAddr,
        /// `max_routers` connected at once. Default 16.
        max_routers: u16,
    },
    /// `mrt`: a RIB dump (RFC 6396) in a file.
    Mrt {
        /// `path` of the file. Required.
        path: PathBuf,
    },
    /// `frr`: bgpd is asked over its vty socket.
    Frr {
        /// `socket`: the path of `bgpd.vty`. Default `/var/run/frr/bgpd.vty`.
        socket: PathBuf,
        /// `interval` of the polls. Default 60 s.
        interval: Duration,
    },
    /// `bird`: the daemon is asked over its control socket.
    Bird {
        /// `socket`. Default `/run/bird/bird.ctl`.
        socket: PathBuf,
        /// `interval` of the polls. Default 60 s.
        interval: Duration,
    },
    /// `openbgpd`: asked through `bgpctl`.
    OpenBgpd {
        /// `command`: the client's name or path. Default `bgpctl`.
        command: PathBuf,
        /// `socket`: the daemon's control socket. Default: the client's.
        socket: Option<PathBuf>,
        /// `interval` of the polls. Default 60 s.
        interval: Duration,
    },
    /// `gobgp`: asked through its client.
    GoBgp {
        /// `command`: the client's name or path. Default `gobgp`.
        command: PathBuf,
        /// `server`: where gobgpd listens. Default: the client's.
        server: Option<SocketAddr>,
        /// `interval` of the polls. Default 60 s.
        interval: Duration,
    },
    /// `shadow`: passive BGP sessions that the router feeds with a peer's own policy.
    Shadow {
        /// `listen`. Required.
        listen: SocketAddr,
        /// `asn` the router is told to connect to; not the router's own, so that the session is eBGP. Required.
        asn: Asn,
        /// `sessions = [{ address = …, session = …, table = … }]`. At least one.
        sessions: Vec<ShadowSession>,
    },
}

/// One session of a `shadow` feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShadowSession {
    /// `address` the router connects from. Required.
    pub address: IpAddr,
    /// `session`: the peer's session address whose policy it has. Required.
    pub session: IpAddr,
    /// `table`: `adj-out` (what we advertise to the peer, the default), `adj-in-pre` or `adj-in-post`.
    pub table: Table,
}

impl Feed {
    /// Its `kind`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Static { .. } => "static",
            Self::Bmp { .. } => "bmp",
            Self::Mrt { .. } => "mrt",
            Self::Frr { .. } => "frr",
            Self::Bird { .. } => "bird",
            Self::OpenBgpd { .. } => "openbgpd",
            Self::GoBgp { .. } => "gobgp",
            Self::Shadow { .. } => "shadow",
        }
    }
}
