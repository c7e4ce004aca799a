//! A router and one peer, a daemon on the router with prefixes by hand, and packets from the one to the other.
use std::net::IpAddr;
use std::time::Duration;

use filter_core::frame;
use filter_core::packet::Mac;
use serde_json::Value;
use tests::lab::{Bcp38, Namespace, Site, Wire, wait_for};

pub const WITHIN: Duration = Duration::from_secs(20);
pub const OURS: &str = "44.1.0.1";
pub const GOOD: &str = "45.146.194.7";
pub const SPOOFED: &str = "9.9.9.9";
pub const OUR_MAC: &str = "02:00:00:00:00:01";
pub const ITS_MAC: &str = "02:00:00:00:00:11";
/// Sent at a time.
pub const PACKETS: usize = 20;
const UDP: u8 = 17;
const ARP: u16 = 0x0806;

/// A configuration with this interface; the peer is known by its MAC, or is alone on a port.
pub fn config(interface: &str, more: &str) -> String {
    let macs = match interface.contains("\"lan\"") {
        true => format!("macs = [\"{ITS_MAC}\"]\n"),
        false => String::new(),
    };
    format!(
        r#"
[router]
asn = 64500
prefixes = ["44.1.0.0/16"]

[[interface]]
name = "ixp0"
{interface}

[[peer]]
name = "p"
asn = 64501
interface = "ixp0"
addresses = ["192.0.2.11"]
{macs}mode = "enforce"
families = ["ipv4"]

[[feed]]
kind = "static"
peer = "p"
advertised_by_peer = ["45.146.194.0/23"]
advertised_to_peer = ["44.1.0.0/16"]

{more}

[limits]
max_peers = 16
table_memory_mib = 8
"#
    )
}

/// An exchange's LAN at this hook.
pub fn lan(hook: &str) -> String {
    format!("kind = \"lan\"\nlan = [\"192.0.2.0/24\"]\nhook = \"{hook}\"\n")
}

/// See the file's head.
pub struct Stage {
    pub router: Namespace,
    pub peer: Namespace,
    pub site: Site,
    number: u32,
}

impl Stage {
    /// Nothing is between them yet.
    pub fn apart() -> Self {
        let router = Namespace::quiet("router").unwrap();
        let peer = Namespace::quiet("peer").unwrap();
        let site = Site::new(&router);
        Self {
            router,
            peer,
            site,
            number: 0,
        }
    }

    /// A veth pair between them: `ixp0` and `eth0`.
    pub fn new() -> Self {
        let stage = Self::apart();
        stage.plug("ixp0", OUR_MAC, "eth0", ITS_MAC);
        let address = ["addr", "add", "192.0.2.1/24", "dev", "ixp0"];
        stage.router.ip(&address);
        stage
    }

    /// A veth pair of these names and MACs, up.
    pub fn plug(&self, near: &str, its_mac: &str, far: &str, far_mac: &str) {
        let pair = format!(
            "link add {near} address {its_mac} type veth peer name {far} address {far_mac} netns {}",
            self.peer.name()
        );
        words(&self.router, &pair);
        words(&self.router, &format!("link set {near} up"));
        words(&self.peer, &format!("link set {far} up"));
        wait_for("the carrier", WITHIN, || {
            let shown = self.router.ip(&["link", "show", "dev", near]);
            shown.contains("LOWER_UP").then_some(())
        });
    }

    /// Sends packets from this source to the router. How many come through, behind tc?
    pub fn arrive(&mut self, source: &str) -> usize {
        self.arrive_between("eth0", "ixp0", source)
    }

    /// As [`Stage::arrive`], from and to these devices.
    pub fn arrive_between(&mut self, far: &str, near: &str, source: &str) -> usize {
        let sender = self.peer.run(|| Wire::open(far).unwrap());
        let sink = self.router.run(|| Wire::behind_tc(near).unwrap());
        let first = self.number;
        let sent: Vec<Vec<u8>> = (0..PACKETS).map(|_| self.frame(source)).collect();
        sent.iter().for_each(|frame| sender.send(frame));
        // Nothing overtakes on a wire, and ARP always passes: what is not there by then was dropped.
        let body = first.to_be_bytes().repeat(7);
        let marker = frame::ethernet(mac(OUR_MAC), mac(ITS_MAC), ARP, &body);
        sender.send(&marker);
        let mut arrived = Vec::new();
        wait_for("the marker", WITHIN, || {
            arrived.extend(sink.waiting());
            arrived.contains(&marker).then_some(())
        });
        arrived.iter().filter(|frame| sent.contains(frame)).count()
    }

    /// Of the peer's packets between these devices the good ones come through and count, and the spoofed ones do not. None was
    /// sent before.
    pub fn only_good_ones_arrive(&mut self, daemon: &Bcp38, (far, near): (&str, &str)) {
        assert_eq!(self.arrive_between(far, near, GOOD), PACKETS);
        let spoofed = self.arrive_between(far, near, SPOOFED);
        assert_eq!(spoofed, 0, "{:#}", daemon.status());
        let packets = PACKETS as u64;
        assert_eq!(counted(daemon, "permitted"), (packets, 0));
        assert_eq!(counted(daemon, "source-unannounced"), (0, packets));
    }

    /// A frame from the peer to the router, unlike any other.
    pub fn frame(&mut self, source: &str) -> Vec<u8> {
        let packet = self.packet(source, OURS);
        frame::ethernet(mac(OUR_MAC), mac(ITS_MAC), 0x0800, &packet)
    }

    /// An IPv4 packet unlike any other.
    pub fn packet(&mut self, source: &str, destination: &str) -> Vec<u8> {
        self.number += 1;
        let payload = format!("number {:08}", self.number);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let datagram = frame::udp(payload.as_bytes());
        frame::packet(address(source), address(destination), UDP, 64, &datagram)
    }
}

/// Runs `ip` with these words.
pub fn words(namespace: &Namespace, words: &str) {
    namespace.ip(&words.split(' ').collect::<Vec<_>>());
}

pub fn mac(text: &str) -> Mac {
    text.parse().unwrap()
}

/// The status of the interface.
pub fn interface(daemon: &Bcp38) -> Value {
    daemon.status()["interfaces"][0].clone()
}

/// Classes that need no table are in force before the others are: all have to be.
pub fn until_enforced(daemon: &Bcp38) {
    daemon.until("the peer to be enforced", "p", |peer| {
        let classes = peer["classes"].as_array().unwrap();
        let is_whole = classes
            .iter()
            .all(|class| class["in_force"] == class["wanted"]);
        is_whole && peer["mode_in_force"] == "enforce" && peer["state"] == "enforcing"
    });
}

/// Packets of the peer for this reason, passed and dropped.
pub fn counted(daemon: &Bcp38, reason: &str) -> (u64, u64) {
    let counters = daemon.peer("p")["counters"][reason].clone();
    let packets = |fate: &str| counters[fate]["packets"].as_u64().unwrap_or(0);
    (packets("passed"), packets("dropped"))
}
