//! The network of the tutorials: a router with one peer behind `eth1`. Its routing daemon is started with a configuration from
//! outside; knows no filter.
use super::{BirdRouter, FrrRouter, Lan, Namespace, Peer, PeerConfig, Release, Speaker};

/// The router's device.
pub const DEVICE: &str = "eth1";

/// A router, AS 64500 at 203.0.113.1 with 198.51.100.0/24, and its peer, AS 57965 at 203.0.113.10.
#[derive(Debug)]
pub struct OnePeer {
    /// The peer, a BIRD; `eth0` is its device.
    pub peer: Peer,
    /// Where the router's daemon, and the filter, run.
    pub router: Namespace,
    _lan: Lan,
}

impl OnePeer {
    /// The peer announces these prefixes to whoever is the router.
    ///
    /// # Panics
    /// If something cannot be made, or the peer does not start.
    #[must_use]
    pub fn new(announces: &[&str]) -> Self {
        let lan = Lan::new();
        let (router, peer) = (Namespace::new("r"), Namespace::new("icrc"));
        for (namespace, device, address) in [
            (&router, DEVICE, "203.0.113.1/24"),
            (&peer, "eth0", "203.0.113.10/24"),
        ] {
            namespace.solicit_no_router();
            lan.plug(namespace, device, &[address]);
        }
        // What it is the router of: FRR announces no network that is not in its table.
        router.ip(&["route", "add", "blackhole", "198.51.100.0/24"]);
        let config = PeerConfig {
            name: "icrc",
            asn: 57965,
            v4: [203, 0, 113, 10].into(),
            v6: "2001:db8::10".parse().unwrap(),
            announces: announces.iter().map(|text| text.parse().unwrap()).collect(),
            restart_time: None,
            extra: String::new(),
            append: String::new(),
        };
        let towards = Speaker {
            asn: 64500,
            v4: [203, 0, 113, 1].into(),
            v6: "2001:db8::1".parse().unwrap(),
        };
        Self {
            peer: Peer::start(config, peer, towards),
            router,
            _lan: lan,
        }
    }

    /// FRR as the router.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn frr(&self, conf: &str) -> FrrRouter {
        FrrRouter::start_with(Release::System, &self.router, conf)
    }

    /// BIRD as the router.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn bird(&self, conf: &str) -> BirdRouter {
        BirdRouter::start_with(Release::System, &self.router, conf)
    }
}
