//! FRR in the middle, BIRD peers beside it, and a place for the daemon on FRR's router: what the tests of the daemon and of the
//! operator's commands share. Knows the network, and no expectation.
use std::net::SocketAddr;
use std::time::Duration;

use filter_core::Family;

use super::{Bcp38, FrrOptions, FrrRouter, Peer, Peering, Site, Traffic, wait_for};

/// How long the lab's daemons may take.
pub const WITHIN: Duration = Duration::from_secs(60);

/// The lab, FRR in it, a place for the daemon beside FRR.
#[derive(Debug)]
pub struct FrrScene {
    /// Frames of the peers.
    pub traffic: Traffic,
    /// The router.
    pub frr: FrrRouter,
    /// Where the daemon keeps its things.
    pub site: Site,
    /// The network.
    pub lab: Peering,
}

/// What one suite's configuration has beside the network's.
#[derive(Clone, Copy, Debug)]
pub struct Sections<'a> {
    /// Lines of the interface.
    pub interface: &'a str,
    /// Lines of P1.
    pub p1: &'a str,
    /// Timers and limits.
    pub rest: &'a str,
}

impl FrrScene {
    /// Every session is established and has sent its routes; no daemon yet.
    ///
    /// # Panics
    /// If that takes too long.
    #[must_use]
    pub fn new() -> Self {
        let lab = Peering::new();
        let bmp = SocketAddr::from(([127, 0, 0, 1], 11019));
        let frr = lab.frr(&FrrOptions {
            bmp: Some(bmp),
            ..FrrOptions::default()
        });
        for peer in [&lab.p1, &lab.p2] {
            for family in Family::ALL {
                wait_for("the session", WITHIN, || {
                    peer.is_established(family).then_some(())
                });
            }
        }
        wait_for("P1's routes", WITHIN, || {
            let shown = frr.vtysh(&["show bgp ipv4 unicast neighbors 192.0.2.11 received-routes"]);
            shown.contains("198.51.100.0").then_some(())
        });
        let peers = [("p1", lab.p1.namespace()), ("p2", lab.p2.namespace())];
        Self {
            traffic: Traffic::new(&lab.router, &peers),
            site: Site::new(&lab.router),
            frr,
            lab,
        }
    }

    /// The network's configuration, with a suite's own sections.
    #[must_use]
    pub fn config_with(&self, sections: Sections<'_>) -> String {
        let mac = |peer: &Peer| peer.namespace().mac("eth0");
        let Sections {
            interface,
            p1,
            rest,
        } = sections;
        format!(
            r#"
[router]
asn = 64500
prefixes = ["100.64.0.0/23", "2001:db8:a::/48", "2001:db8:b::/48"]
bogon_exceptions = ["100.64.0.0/10", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"]

[[interface]]
name = "eth0"
kind = "lan"
lan = ["192.0.2.0/24", "2001:db8:ff::/64"]
{interface}

[[peer]]
name = "p1"
asn = 64501
interface = "eth0"
addresses = ["192.0.2.11", "2001:db8:ff::11"]
macs = ["{mac1}"]
{p1}

[[peer]]
name = "p2"
asn = 4200000002
interface = "eth0"
addresses = ["192.0.2.12", "2001:db8:ff::12"]
macs = ["{mac2}"]

[[feed]]
kind = "bmp"
listen = "127.0.0.1:11019"

[[feed]]
kind = "frr"
socket = "{frr}"
interval = 1

{rest}
"#,
            mac1 = mac(&self.lab.p1),
            mac2 = mac(&self.lab.p2),
            frr = self.frr.socket().display(),
        )
    }

    /// Starts the daemon with this configuration and waits until every side is known and published.
    ///
    /// # Panics
    /// If it does not start, or that takes too long.
    pub fn start_with(&mut self, config: &str) -> Bcp38 {
        let daemon = self.site.start(config);
        for peer in ["p1", "p2"] {
            daemon.until("it to be known and published", peer, |status| {
                status["state"] == "observing" && status["publish_pending"] == false
            });
        }
        self.traffic.reset(&daemon);
        daemon
    }
}

impl Default for FrrScene {
    fn default() -> Self {
        Self::new()
    }
}
