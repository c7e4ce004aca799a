//! What a BMP listener is configured with, and its defaults. Never opens a socket.
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use filter_core::{Family, Prefix};
use filter_lifecycle::route::Vrf;

use crate::shadow::Password;

/// Routers that may be connected at once, unless configured otherwise.
pub const DEFAULT_MAX_ROUTERS: usize = 16;

/// One listener.
#[derive(Clone, Debug)]
pub struct BmpConfig {
    /// Where routers connect.
    pub listen: SocketAddr,
    /// Who may connect; default [`loopback`].
    pub allow: Vec<Prefix>,
    /// How many may be connected at once; default [`DEFAULT_MAX_ROUTERS`].
    pub max_routers: usize,
    /// A router that sends nothing for this long is lost. Default: three of its own statistics intervals, and as
    /// long as it sends none, whatever TCP says.
    pub idle: Option<Duration>,
    /// TCP MD5 password (RFC 2385) that routers must connect with.
    pub password: Option<Password>,
    /// The routing instances whose routes are read, none for the global one. Default: all.
    pub instances: Option<BTreeSet<Option<Vrf>>>,
}

impl BmpConfig {
    /// A listener with the defaults.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            allow: loopback(),
            max_routers: DEFAULT_MAX_ROUTERS,
            idle: None,
            password: None,
            instances: None,
        }
    }
}

/// This host alone.
#[must_use]
pub fn loopback() -> Vec<Prefix> {
    let network = |host: IpAddr, length| Prefix::new(host.into(), length).ok();
    let v4 = network(Ipv4Addr::LOCALHOST.into(), 8);
    let v6 = network(Ipv6Addr::LOCALHOST.into(), 128);
    v4.into_iter().chain(v6).collect()
}

/// Can a connection from there arrive at a socket that listens here?
pub(super) const fn may_reach(listen: SocketAddr, from: Prefix) -> bool {
    matches!(
        (listen, from.family()),
        (SocketAddr::V6(_), _) | (SocketAddr::V4(_), Family::Ipv4)
    )
}
