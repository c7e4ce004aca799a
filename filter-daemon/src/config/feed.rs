//! The RIB sources a configuration can name. Settings only: the feeds themselves are in `filter-feeds`.
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use filter_core::{Asn, Prefix};

use filter_feeds::shadow::Password;
use filter_lifecycle::route::{AdjRib, PeerId, Session, Vrf};
use filter_lifecycle::spec;

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
    /// `bmp`: a listener that routers connect to (the monitoring station of RFC 7854).
    Bmp {
        /// `listen`. Required.
        listen: SocketAddr,
        /// `allow`: addresses or prefixes that routers may connect from. Default: this host alone.
        allow: Vec<Prefix>,
        /// `max_routers` connected at once. Default 16.
        max_routers: u16,
        /// `idle`: a router that sends nothing for this long is lost. Default: three of its own statistics intervals.
        idle: Option<Duration>,
        /// `password`: TCP MD5 (RFC 2385), 1 to 80 bytes. Default: none.
        password: Option<Password>,
    },
    /// `mrt`: a RIB dump (RFC 6396) in a file.
    Mrt {
        /// `path` of the file. Required.
        path: PathBuf,
        /// `rib` that was dumped: `adj-rib-in-post-policy`, as most daemons dump it (the default), or `adj-rib-in-pre-policy`.
        rib: AdjRib,
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
        /// `asn` that the router has as its neighbour's; not the router's own, so that the session is eBGP. Required.
        asn: Asn,
        /// `sessions = [{ address = …, session = …, rib = …, password = … }]`. At least one.
        sessions: Vec<ShadowSession>,
    },
}

/// One session of a `shadow` feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowSession {
    /// `address` the router connects from. Required.
    pub address: IpAddr,
    /// `session`: the peer's session address whose policy it has. Required.
    pub session: IpAddr,
    /// `rib`: `adj-rib-out-post-policy` (what we advertise to the peer, the default), `adj-rib-in-pre-policy` or `adj-rib-in-post-policy`.
    pub rib: AdjRib,
    /// `route_distinguisher` of the peer's session. Default: the global instance.
    pub vrf: Option<Vrf>,
    /// `password`: TCP MD5 (RFC 2385), 1 to 80 bytes. Default: the feed's `password`, or none.
    pub password: Option<Password>,
}

impl ShadowSession {
    /// The peer's session whose policy it has.
    #[must_use]
    pub const fn mirrors(&self) -> Session {
        Session::of(self.session, self.vrf)
    }

    const fn carried(&self) -> spec::Carried {
        spec::Carried {
            session: self.mirrors(),
            rib: self.rib,
        }
    }
}

impl Feed {
    /// Does the router send what changes, when it does?
    #[must_use]
    pub const fn is_push(&self) -> bool {
        matches!(self, Self::Bmp { .. } | Self::Shadow { .. })
    }

    /// How often the router is asked, if it is.
    #[must_use]
    pub const fn interval(&self) -> Option<Duration> {
        match self {
            Self::Frr { interval, .. }
            | Self::Bird { interval, .. }
            | Self::OpenBgpd { interval, .. }
            | Self::GoBgp { interval, .. } => Some(*interval),
            Self::Static { .. } | Self::Bmp { .. } | Self::Mrt { .. } | Self::Shadow { .. } => None,
        }
    }

    /// What it can carry.
    #[must_use]
    pub fn carries(&self) -> spec::Feed {
        match self {
            Self::Static { .. } => spec::Feed::Static,
            Self::Bmp { .. } => spec::Feed::Stream,
            Self::Mrt { rib, .. } => spec::Feed::File { rib: *rib },
            Self::Frr { .. } | Self::Bird { .. } | Self::OpenBgpd { .. } | Self::GoBgp { .. } => {
                spec::Feed::Poll
            }
            Self::Shadow { sessions, .. } => spec::Feed::Shadow {
                carried: sessions.iter().map(ShadowSession::carried).collect(),
            },
        }
    }

    /// Whether another socket may keep it from listening where it listens: the same address, or any address on one side.
    #[must_use]
    pub fn contends_with(&self, other: SocketAddr) -> bool {
        self.listens().is_some_and(|own| {
            let is_any = own.ip().is_unspecified() || other.ip().is_unspecified();
            own.port() == other.port() && own.port() != 0 && (is_any || own.ip() == other.ip())
        })
    }

    /// Where it listens, if it does.
    #[must_use]
    pub const fn listens(&self) -> Option<SocketAddr> {
        match self {
            Self::Bmp { listen, .. } | Self::Shadow { listen, .. } => Some(*listen),
            _ => None,
        }
    }

    /// What it is called in status: what it reads, or whose prefixes it has.
    #[must_use]
    pub fn name(&self, spec: &spec::Spec) -> String {
        match self {
            Self::Static { peer, .. } => {
                let peer = spec.peer(*peer);
                peer.map_or_else(String::new, |peer| peer.name.clone())
            }
            Self::Bmp { listen, .. } => listen.to_string(),
            Self::Mrt { path, .. } => path.display().to_string(),
            Self::Frr { socket, .. } | Self::Bird { socket, .. } => socket.display().to_string(),
            Self::OpenBgpd {
                command, socket, ..
            } => socket.as_ref().unwrap_or(command).display().to_string(),
            Self::GoBgp {
                command, server, ..
            } => server.map_or_else(|| command.display().to_string(), |at| at.to_string()),
            Self::Shadow { sessions, .. } => {
                let mut addresses: Vec<_> = sessions.iter().map(|each| each.address).collect();
                addresses.dedup();
                let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                addresses.join(", ")
            }
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_contends_with_its_own_address_and_with_any() {
        let contends = |own: &str, other: &str| {
            let feed = Feed::Bmp {
                listen: own.parse().unwrap(),
                allow: Vec::new(),
                max_routers: 1,
                idle: None,
                password: None,
            };
            feed.contends_with(other.parse().unwrap())
        };
        assert!(contends("127.0.0.1:11019", "127.0.0.1:11019"));
        assert!(contends("127.0.0.1:11019", "0.0.0.0:11019"));
        assert!(contends("0.0.0.0:11019", "127.0.0.1:11019"));
        assert!(contends("[::]:11019", "127.0.0.1:11019"));
        assert!(!contends("127.0.0.1:11019", "127.0.0.2:11019"));
        assert!(!contends("0.0.0.0:11019", "127.0.0.1:11020"));
        assert!(!contends("127.0.0.1:0", "127.0.0.1:0"), "any free port");
    }
}
