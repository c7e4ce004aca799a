//! The one topology: router R (AS64500) and its peers P1 (AS64501) and P2 (AS4200000002) on a LAN, a session per
//! family each. R refuses 10.0.0.0/8 and 2001:db8:cafe::/48 from anyone and exports different prefixes to each.
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use filter_core::{Family, Prefix};

use super::router::{BirdRouter, FrrOptions, FrrRouter, GoBgpRouter, OpenBgpdRouter};
use super::{Lan, Namespace, Peer, PeerConfig, Release, Speaker};

/// R's AS number.
pub const R_ASN: u32 = 64500;
/// R's addresses on the LAN.
pub const R_ADDRESSES: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(192, 0, 2, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1),
);

/// P1's place: AS number, the host part of its addresses.
pub const P1: (u32, u8) = (64501, 11);
/// P2's place.
pub const P2: (u32, u8) = (4_200_000_002, 12);

/// What R advertises to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertised;

impl Advertised {
    /// To P1.
    pub const TO_P1: [&'static str; 4] = [
        "100.64.0.0/24",
        "100.64.1.0/24",
        "2001:db8:a::/48",
        "2001:db8:b::/48",
    ];
    /// To P2.
    pub const TO_P2: [&'static str; 2] = ["100.64.0.0/24", "2001:db8:a::/48"];

    /// Those of one family.
    ///
    /// # Panics
    /// If one is no prefix.
    #[must_use]
    pub fn of(all: &[&str], family: Family) -> BTreeSet<Prefix> {
        let all = all.iter().map(|text| text.parse::<Prefix>().unwrap());
        all.filter(|prefix| prefix.family() == family).collect()
    }
}

/// What of a peer's announcements R accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted;

impl Accepted {
    /// R's import policy.
    ///
    /// # Panics
    /// Never: its own prefixes are prefixes.
    #[must_use]
    pub fn of(announced: &BTreeSet<Prefix>) -> BTreeSet<Prefix> {
        let refused =
            ["10.0.0.0/8", "2001:db8:cafe::/48"].map(|text| text.parse::<Prefix>().unwrap());
        let is_refused = |prefix: Prefix| refused.iter().any(|bad| bad.covers(prefix));
        announced
            .iter()
            .copied()
            .filter(|prefix| !is_refused(*prefix))
            .collect()
    }
}

/// The lab. Start a router in it; everything ends when it is dropped.
#[derive(Debug)]
pub struct Peering {
    /// P1: 10.10.0.0/16 (refused), 198.51.100.0/24, 203.0.113.0/24, 2001:db8:1::/48, 2001:db8:cafe::/48 (refused).
    pub p1: Peer,
    /// P2: 198.18.0.0/16, 203.0.113.0/24, 2001:db8:2::/48.
    pub p2: Peer,
    /// Where R runs; its interface is `eth0`.
    pub router: Namespace,
    /// The wire.
    pub lan: Lan,
    /// The release that R's daemon is from.
    pub release: Release,
}

impl Peering {
    /// Builds it and starts the peers.
    ///
    /// # Panics
    /// If something does not start.
    #[must_use]
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// Builds it; R's daemon will be of this release.
    ///
    /// # Panics
    /// If something does not start.
    #[must_use]
    pub fn of(release: Release) -> Self {
        Self {
            release,
            ..Self::new()
        }
    }

    /// Builds it with peers configured otherwise.
    ///
    /// # Panics
    /// If something does not start.
    #[must_use]
    pub fn with(change: impl Fn(&mut PeerConfig)) -> Self {
        let lan = Lan::new();
        let router = Namespace::new("r");
        lan.plug(&router, "eth0", &["192.0.2.1/24", "2001:db8:ff::1/64"]);
        let peer = |name, (asn, host): (u32, u8), announces: &[&str]| {
            let namespace = Namespace::new(name);
            namespace.solicit_no_router();
            let v4 = Ipv4Addr::new(192, 0, 2, host);
            // Written alike: ::11 and .11.
            let v6: Ipv6Addr = format!("2001:db8:ff::{host}").parse().unwrap();
            lan.plug(
                &namespace,
                "eth0",
                &[&format!("{v4}/24"), &format!("{v6}/64")],
            );
            let announces = announces.iter().map(|text| text.parse().unwrap()).collect();
            let extra = String::new();
            let mut config = PeerConfig {
                name,
                asn,
                v4,
                v6,
                announces,
                restart_time: None,
                extra,
                append: String::new(),
            };
            change(&mut config);
            Peer::start(config, namespace, Speaker::ROUTER)
        };
        let p1 = peer(
            "p1",
            P1,
            &[
                "10.10.0.0/16",
                "198.51.100.0/24",
                "203.0.113.0/24",
                "2001:db8:1::/48",
                "2001:db8:cafe::/48",
            ],
        );
        let p2 = peer(
            "p2",
            P2,
            &["198.18.0.0/16", "203.0.113.0/24", "2001:db8:2::/48"],
        );
        Self {
            p1,
            p2,
            router,
            lan,
            release: Release::System,
        }
    }

    /// One more member of the LAN, with nothing running in it: 192.0.2.`host` and 2001:db8:ff::`host` on `eth0`.
    ///
    /// # Panics
    /// If it cannot be plugged in.
    #[must_use]
    pub fn member(&self, name: &str, host: u8) -> Namespace {
        let namespace = Namespace::new(name);
        namespace.solicit_no_router();
        let addresses = [
            format!("192.0.2.{host}/24"),
            format!("2001:db8:ff::{host}/64"),
        ];
        self.lan.plug(
            &namespace,
            "eth0",
            &addresses.each_ref().map(String::as_str),
        );
        namespace
    }

    /// Runs FRR as R.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn frr(&self, options: &FrrOptions) -> FrrRouter {
        FrrRouter::start(self.release, &self.router, options)
    }

    /// Runs BIRD as R.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn bird(&self) -> BirdRouter {
        self.bird_with(str::to_owned)
    }

    /// Runs BIRD as R with what `change` makes of its configuration.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn bird_with(&self, change: impl FnOnce(&str) -> String) -> BirdRouter {
        BirdRouter::start(self.release, &self.router, change)
    }

    /// Runs GoBGP as R; it connects over BMP if it is given a listener.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn gobgp(&self, bmp: Option<SocketAddr>) -> GoBgpRouter {
        GoBgpRouter::start(self.release, &self.router, bmp)
    }

    /// Runs OpenBGPD as R.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn openbgpd(&self) -> OpenBgpdRouter {
        OpenBgpdRouter::start(self.release, &self.router)
    }
}

impl Default for Peering {
    fn default() -> Self {
        Self::new()
    }
}
