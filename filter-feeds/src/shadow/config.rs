//! What shadow sessions are configured with, and why a feed of them cannot be made. Never opens a socket.
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use filter_core::Asn;
use filter_lifecycle::route::{AdjRib, Session};

use super::speaker::Role;

/// Routes one shadow may hold while an Adj-RIB is received, unless configured otherwise.
pub const DEFAULT_MAX_ROUTES: usize = 4_000_000;

/// One shadow session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowSession {
    /// Where the router connects: an address of its own per mirrored table, port 1790 for example.
    pub listen: SocketAddr,
    /// Where it connects from: what distinguishes sessions that share `listen`.
    pub remote: IpAddr,
    /// The router's AS number: a router with another is not the one that is mirrored. Default: any.
    pub router_as: Option<Asn>,
    /// Our AS number; another than the router's, for internal sessions have other export rules.
    pub local_as: Asn,
    /// Our BGP identifier; `None` takes the AS number's bits, which RFC 6286 allows.
    pub router_id: Option<Ipv4Addr>,
    /// The peer's session whose export policy this one has.
    pub mirrors: Session,
    /// Which of its tables this is: [`AdjRib::OutPostPolicy`], or [`AdjRib::InPostPolicy`] with ADD-PATH.
    pub rib: AdjRib,
    /// Does the router leave NEXT_HOP as it is (`next hop keep`)? If not, it is not passed on.
    pub next_hop_kept: bool,
    /// TCP MD5 password (RFC 2385).
    pub password: Option<Password>,
    /// Routes that may be held at once while the Adj-RIB is received.
    pub max_routes: usize,
}

impl ShadowSession {
    /// A shadow of what is advertised over `mirrors`, with the defaults.
    #[must_use]
    pub const fn new(listen: SocketAddr, remote: IpAddr, local_as: Asn, mirrors: Session) -> Self {
        Self {
            listen,
            remote,
            router_as: None,
            local_as,
            router_id: None,
            mirrors,
            rib: AdjRib::OutPostPolicy,
            next_hop_kept: false,
            password: None,
            max_routes: DEFAULT_MAX_ROUTES,
        }
    }

    pub(super) fn role(&self) -> Role {
        let router_id = Ipv4Addr::from_bits(self.local_as.get());
        Role {
            local_as: self.local_as,
            router_as: self.router_as,
            router_id: self.router_id.unwrap_or(router_id),
            mirrors: self.mirrors,
            rib: self.rib,
            next_hop_kept: self.next_hop_kept,
            max_routes: self.max_routes,
        }
    }
}

/// A password. Never shown: there is no way to print one, and [`fmt::Debug`] says only that it is set.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<[u8]>);

impl Password {
    /// The longest one the kernel takes (TCP_MD5SIG_MAXKEYLEN), in bytes.
    pub const MAX: usize = 80;

    /// None if it is empty or longer than [`Password::MAX`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (1..=Self::MAX)
            .contains(&bytes.len())
            .then(|| Self(bytes.into()))
    }

    /// For the kernel only.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(set)")
    }
}

/// Why a shadow feed cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShadowError {
    /// Two sessions with the same addresses.
    #[error("two shadow sessions at {listen} from {remote}; give each an address of its own")]
    Twice {
        /// Where both listen.
        listen: SocketAddr,
        /// Where both come from.
        remote: IpAddr,
    },
    /// The kernel does not let us listen.
    #[error("cannot listen at {listen} for shadow sessions: {error}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What it says.
        error: io::Error,
    },
    /// The kernel does not take the password.
    #[error("cannot set the TCP MD5 password of shadow session {remote}: {error}")]
    Password {
        /// The address of the other end.
        remote: IpAddr,
        /// What it says.
        error: io::Error,
    },
}
