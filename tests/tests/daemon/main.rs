//! The daemon with the feeds `bmp` and `frr` of a real FRR, real peers, real frames: what the RIB says decides
//! what becomes of packets on the wire, at once for what is announced, after the hold for what is withdrawn, and
//! never wrongly in between.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::net::SocketAddr;
use std::time::Duration;

use filter_core::Family;
use tests::lab::{Bcp38, FrrOptions, FrrRouter, Peering, Site, Traffic, wait_for};

mod flow;
mod learned;
mod lifetime;
mod retold;
mod secrets;

/// How long the lab's daemons may take.
const WITHIN: Duration = Duration::from_secs(60);
/// `withdraw_hold` here.
const HOLD: Duration = Duration::from_secs(3);
/// `peer_down_hold` here.
const DOWN_HOLD: Duration = Duration::from_secs(4);
/// `lease` here: the shortest there is.
const LEASE: Duration = Duration::from_secs(5);
/// `stale_hold` here.
const STALE_HOLD: Duration = Duration::from_secs(20);

/// A source that P1 announces, and another that no peer does.
const P1_SOURCE: &str = "198.51.100.7";
const SPOOFED: &str = "9.9.9.9";
/// Destinations that R announces to P1, to P1 only, and to no peer.
const OURS: &str = "100.64.0.1";
const OURS_TO_P1: &str = "100.64.1.1";
const ELSEWHERE: &str = "100.64.7.1";

/// The lab, FRR in it, the daemon beside FRR.
struct Scene {
    traffic: Traffic,
    frr: FrrRouter,
    site: Site,
    lab: Peering,
}

impl Scene {
    /// Every session is established and has sent its routes; no daemon yet.
    fn new() -> Self {
        let lab = Peering::new();
        let bmp: SocketAddr = "127.0.0.1:11019".parse().unwrap();
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

    /// The configuration; `more` goes into P1's section.
    fn config(&self, more: &str) -> String {
        let mac = |peer: &tests::lab::Peer| peer.namespace().mac("eth0");
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

[[peer]]
name = "p1"
asn = 64501
interface = "eth0"
addresses = ["192.0.2.11", "2001:db8:ff::11"]
macs = ["{p1}"]
{more}

[[peer]]
name = "p2"
asn = 4200000002
interface = "eth0"
addresses = ["192.0.2.12", "2001:db8:ff::12"]
macs = ["{p2}"]

[[feed]]
kind = "bmp"
listen = "127.0.0.1:11019"

[[feed]]
kind = "frr"
socket = "{frr}"
interval = 1

[timers]
withdraw_hold = {hold}
peer_down_hold = {down_hold}
lease = {lease}
stale_hold = {stale_hold}

[limits]
max_peers = 16
table_memory_mib = 8
"#,
            p1 = mac(&self.lab.p1),
            p2 = mac(&self.lab.p2),
            frr = self.frr.socket().display(),
            hold = HOLD.as_secs(),
            down_hold = DOWN_HOLD.as_secs(),
            lease = LEASE.as_secs(),
            stale_hold = STALE_HOLD.as_secs(),
        )
    }

    /// Starts the daemon and waits until everything is received.
    fn start(&mut self) -> Bcp38 {
        let daemon = self.site.start(&self.config(""));
        for peer in ["p1", "p2"] {
            daemon.until("it to be known and published", peer, |status| {
                status["state"] == "observing" && status["publish_pending"] == false
            });
        }
        self.traffic.reset(&daemon);
        daemon
    }

    /// A child that another thread of this process is just about to run holds the link until it is.
    fn until_detached(&self) {
        wait_for("the program to be detached", WITHIN, || {
            let shown = self.lab.router.ip(&["link", "show", "dev", "eth0"]);
            (!shown.contains("xdp")).then_some(())
        });
    }

    /// Stops the daemon, takes everything down, and looks for what is left.
    fn end(self, daemon: Bcp38) {
        let request = filter_daemon::control::Request::Detach {
            interface: "eth0".to_owned(),
        };
        daemon.ask(&request).unwrap();
        self.until_detached();
        daemon.stop();
        let detacher = self
            .site
            .try_start(&self.config(""), filter_daemon::runtime::AtExit::Detach)
            .unwrap();
        detacher.stop();
        assert!(!self.site.pins().exists(), "pins are left behind");
        self.until_detached();
    }
}
