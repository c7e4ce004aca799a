//! MACs that are in no configuration: learned from the router's own neighbour table, live, per VLAN, or seeded from the
//! exchange's member export; what two peers claim is neither's until an operator decides.
use std::net::UdpSocket;

use filter_core::Mode;
use filter_daemon::control::Request;
use tests::lab::{Bcp38, Directory, Lan, Namespace, Site, Traffic, require};

use super::{OURS, P1_SOURCE, SPOOFED};

pub const CONFIG: &str = r#"
[router]
asn = 64500
prefixes = ["100.64.0.0/24"]
bogon_exceptions = ["100.64.0.0/10", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"]

[[interface]]
name = "eth0"
kind = "lan"
lan = ["192.0.2.0/24", "203.0.113.0/24"]

[[peer]]
name = "p1"
asn = 64501
interface = "eth0"
addresses = ["192.0.2.11"]
families = ["ipv4"]

[[peer]]
name = "p2"
asn = 64502
interface = "eth0"
addresses = ["192.0.2.12"]
families = ["ipv4"]

[[feed]]
kind = "static"
peer = "p1"
advertised_by_peer = ["198.51.100.0/24"]
advertised_to_peer = ["100.64.0.0/24"]

[[feed]]
kind = "static"
peer = "p2"
advertised_by_peer = ["198.18.0.0/16"]
advertised_to_peer = ["100.64.0.0/24"]

[limits]
max_peers = 16
table_memory_mib = 8
"#;

/// A router and two peers on a LAN, no BGP.
pub struct Place {
    traffic: Traffic,
    pub site: Site,
    router: Namespace,
    p1: Namespace,
    _p2: Namespace,
    _lan: Lan,
}

impl Place {
    pub fn new() -> Self {
        let lan = Lan::new();
        let plugged = |name: &str, host: u8| {
            let namespace = Namespace::new(name);
            lan.plug(&namespace, "eth0", &[&format!("192.0.2.{host}/24")]);
            namespace
        };
        let (router, p1, p2) = (plugged("r", 1), plugged("p1", 11), plugged("p2", 12));
        for member in [&router, &p1, &p2] {
            lan.until_forwarding(member);
        }
        Self {
            traffic: Traffic::new(&router, &[("p1", &p1), ("p2", &p2)]),
            site: Site::new(&router),
            router,
            p1,
            _p2: p2,
            _lan: lan,
        }
    }

    /// The router has something to say to an address, and so asks for its MAC.
    fn resolve(&self, address: &str) {
        self.router.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"hello", (address, 9)).unwrap();
        });
    }

    pub fn end(self, daemon: Bcp38, text: &str) {
        daemon.stop();
        let exit = filter_daemon::runtime::AtExit::Detach;
        self.site.try_start(text, exit).unwrap().stop();
        assert!(!self.site.pins().exists(), "pins are left behind");
    }
}

fn macs(daemon: &Bcp38, peer: &str) -> Vec<String> {
    let stations = daemon.peer(peer)["stations"].clone();
    let mut macs: Vec<String> = stations
        .as_array()
        .unwrap()
        .iter()
        .map(|station| station["mac"].as_str().unwrap().to_owned())
        .collect();
    macs.sort();
    macs
}

#[test]
fn a_peer_is_known_by_the_macs_its_addresses_answer_at() {
    if !require("learned", &[]) {
        return;
    }
    let mut place = Place::new();
    let daemon = place.site.start(CONFIG);
    let good = ("p1", P1_SOURCE, OURS);
    daemon.until_state("p1", "observing");
    place.traffic.reset(&daemon);
    let fate = place.traffic.send(&daemon, good.0, good.1, good.2);
    assert_eq!(
        (fate.owner.as_str(), fate.reason.as_str()),
        ("eth0", "unknown-peer")
    );

    // The router resolves it: from now on it is P1.
    place.resolve("192.0.2.11");
    let first = place.p1.mac("eth0").to_string();
    daemon.until_event("mac-learned", |event| {
        event["mac"] == *first && event["peer"] == "p1"
    });
    place.traffic.expect(&daemon, good, "permitted", false);
    place
        .traffic
        .expect(&daemon, ("p1", SPOOFED, OURS), "source-unannounced", false);

    // It gets another router: the new MAC counts too, and the old one still does.
    place
        .p1
        .ip(&["link", "set", "eth0", "address", "02:00:00:00:aa:11"]);
    place.router.ip(&["neigh", "flush", "dev", "eth0"]);
    place.resolve("192.0.2.11");
    daemon.until_event("mac-learned", |event| event["mac"] == "02:00:00:00:aa:11");
    place.traffic.expect(&daemon, good, "permitted", false);
    place.traffic.add_sender("p1", &place.p1, "eth0");
    place.traffic.expect(&daemon, good, "permitted", false);
    let mut both = vec![first.clone(), "02:00:00:00:aa:11".to_owned()];
    both.sort();
    assert_eq!(macs(&daemon, "p1"), both);

    // A restart finds what was learned in force, even what the kernel has forgotten since, until it knows better.
    daemon.stop();
    let daemon = place.site.start(CONFIG);
    place.traffic.expect(&daemon, good, "permitted", false);
    assert_eq!(
        daemon.events_named("mac-learned"),
        [] as [serde_json::Value; 0]
    );
    place.end(daemon, CONFIG);
}

#[test]
fn a_mac_that_two_peers_claim_is_neithers_until_an_operator_decides() {
    if !require("contested", &[]) {
        return;
    }
    let mut place = Place::new();
    let daemon = place.site.start(CONFIG);
    for address in ["192.0.2.11", "192.0.2.12"] {
        place.resolve(address);
    }
    for peer in ["p1", "p2"] {
        daemon.until_event("mac-learned", |event| event["peer"] == peer);
        daemon.until_state(peer, "observing");
    }
    daemon.set_mode("p1", Mode::Enforce);
    place.traffic.reset(&daemon);
    let (good, spoofed) = (("p1", P1_SOURCE, OURS), ("p1", SPOOFED, OURS));
    place
        .traffic
        .expect(&daemon, spoofed, "source-unannounced", true);

    // P2's address answers at P1's MAC, and no session shows whose it is.
    let mac = place.p1.mac("eth0").to_string();
    let replace = format!("neigh replace 192.0.2.12 lladdr {mac} dev eth0 nud permanent");
    place.router.ip(&replace.split(' ').collect::<Vec<_>>());
    let contested = daemon.until_event("mac-contested", |event| event["mac"] == *mac);
    assert_eq!(
        (&contested["from"], &contested["to"]),
        (&"p1".into(), &"p2".into())
    );
    for (peer, source, destination) in [good, spoofed] {
        let fate = place.traffic.send(&daemon, peer, source, destination);
        assert_eq!(
            (fate.owner.as_str(), fate.reason.as_str()),
            ("eth0", "unjudged")
        );
    }
    assert_eq!(macs(&daemon, "p1"), [] as [String; 0]);
    let contested = &daemon.status()["interfaces"][0]["contested"];
    assert_eq!(contested[0]["mac"], *mac, "{contested}");

    // The operator knows whose it is.
    let accept = Request::AcceptMac {
        peer: "p1".to_owned(),
        mac: mac.parse().unwrap(),
    };
    daemon.ask(&accept).unwrap();
    daemon.until("the mac to be p1's", "p1", |status| {
        status["stations"][0]["known_by"] == "operator"
    });
    place.traffic.expect(&daemon, good, "permitted", false);
    place
        .traffic
        .expect(&daemon, spoofed, "source-unannounced", true);
    for (mac, why) in [
        (mac.parse().unwrap(), "is `p1`'s"),
        (place.router.mac("eth0"), "our own mac"),
    ] {
        let peer = "p2".to_owned();
        let refused = daemon.ask(&Request::AcceptMac { peer, mac });
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let listed = daemon.ask(&Request::Macs {
        peer: "p1".to_owned(),
    });
    assert_eq!(listed.unwrap()["stations"][0]["mac"], *mac);

    // That outlasts a restart.
    daemon.stop();
    let daemon = place.site.start(CONFIG);
    daemon.until("the mac to be p1's", "p1", |status| {
        status["stations"][0]["known_by"] == "operator"
    });
    place
        .traffic
        .expect(&daemon, spoofed, "source-unannounced", true);
    place.end(daemon, CONFIG);
}

/// A member export in which a MAC is that of one member.
fn export(asn: u32, address: &str, mac: &str) -> String {
    format!(
        r#"{{"version": "1.0", "member_list": [{{"asnum": {asn}, "connection_list": [{{"vlan_list":
        [{{"ipv4": {{"address": "{address}", "mac_addresses": ["{mac}"]}}}}]}}]}}]}}"#
    )
}

#[test]
fn a_member_export_seeds_macs_and_a_bad_one_takes_none() {
    if !require("seeded", &[]) {
        return;
    }
    let mut place = Place::new();
    let directory = Directory::new("ixf");
    let mac = place.p1.mac("eth0").to_string();
    let path = directory.write("export.json", &export(64501, "192.0.2.11", &mac));
    let config = CONFIG.replace(
        "kind = \"lan\"\n",
        &format!("kind = \"lan\"\nixf = {path:?}\n"),
    );
    let daemon = place.site.start(&config);
    let seeded = daemon.until_event("mac-seeded", |_| true);
    assert_eq!(
        (&seeded["peer"], &seeded["mac"]),
        (&"p1".into(), &mac.clone().into())
    );
    daemon.until_state("p1", "observing");
    daemon.set_mode("p1", Mode::Enforce);
    place.traffic.reset(&daemon);
    let (good, spoofed) = (("p1", P1_SOURCE, OURS), ("p1", SPOOFED, OURS));
    let reload = |text: &str| {
        directory.write("export.json", text);
        daemon.until_reloaded();
        daemon.until("enforcement", "p1", |status| {
            status["mode_in_force"] == "enforce"
        });
    };
    let mut holds = || {
        place.traffic.expect(&daemon, good, "permitted", false);
        place
            .traffic
            .expect(&daemon, spoofed, "source-unannounced", true);
    };
    holds();
    // It was not seen, and the exchange has it as P2's now: reported, and left where it was.
    reload(&export(64502, "192.0.2.12", &mac));
    let moved = daemon.until_event("mac-moved", |event| event["mac"] == *mac);
    assert_eq!(
        (&moved["from"], &moved["to"], &moved["kept"]),
        (&"p1".into(), &"p2".into(), &true.into())
    );
    holds();
    // As before, and then the file is broken: what it had said stays.
    reload(&export(64501, "192.0.2.11", &mac));
    for (broken, why) in [
        ("{", "EOF"),
        (&export(64501, "192.0.2.11", "02:00"), "which is none"),
    ] {
        reload(broken);
        daemon.until_event("ixf-refused", |event| {
            let text = event["text"].as_str().unwrap();
            text.contains(why) && text.contains("export.json")
        });
        holds();
    }
    // A restart finds it in force, whatever became of the file.
    std::fs::remove_file(&path).unwrap();
    daemon.stop();
    let daemon = place.site.start(&config);
    daemon.until_event("ixf-refused", |event| {
        event["text"].as_str().unwrap().contains("No such file")
    });
    // What was switched at run time survives too.
    daemon.until_state("p1", "enforcing");
    place.traffic.expect(&daemon, good, "permitted", false);
    assert_eq!(macs(&daemon, "p1"), [mac]);
    assert_eq!(
        daemon.events_named("mac-seeded"),
        [] as [serde_json::Value; 0]
    );
    place.end(daemon, &config);
}
