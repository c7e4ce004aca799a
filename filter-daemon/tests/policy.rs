//! What a configuration and its routes compile to: S' and D' of SPEC section 2, stations, and what a missing
//! device means.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use filter_core::layout::{ANY_MAC, Station};
use filter_core::packet::Vlans;
use filter_core::{Address, Classes, Prefix};
use filter_daemon::config::Config;
use filter_daemon::snapshot::{self, Snapshot};
use filter_engine::peering::compile;
use filter_lifecycle::policy::{self, DeviceFacts, Link};
use filter_lifecycle::route::PeerId;
use filter_lifecycle::spec::InterfaceId;

const TEXT: &str = r#"
[router]
asn = 64500
prefixes = ["198.51.100.0/24"]
bogon_exceptions = ["198.51.100.0/24", "203.0.113.0/24"]

[[interface]]
name = "ixp0"
kind = "lan"
lan = ["203.0.113.0/24"]
mac = "02:00:00:00:00:01"
addresses = ["203.0.113.1"]

[[interface]]
name = "pni0"
kind = "port"

[[peer]]
name = "one"
asn = 57965
interface = "ixp0"
macs = ["02:00:00:00:00:10", "02:00:00:00:00:11"]
extra_sources = ["198.51.100.64/26", "192.168.7.0/24"]
extra_destinations = ["9.9.9.0/24"]
[[peer.attachment]]
interface = "pni0"
vlan = 7

[[peer]]
name = "two"
asn = 3333
interface = "pni0"
mode = "enforce"

[[feed]]
kind = "static"
peer = "one"
advertised_by_peer = ["198.51.0.0/16", "10.0.0.0/8", "0.0.0.0/0", "203.0.113.128/25", "198.51.100.0/25", "44.0.0.0/7"]
advertised_to_peer = ["198.51.100.0/24"]

[[feed]]
kind = "static"
peer = "one"
advertised_by_peer = ["203.0.112.0/23", "45.146.194.7/32"]
"#;

const ONE: PeerId = PeerId(0);
const TWO: PeerId = PeerId(1);

fn config() -> Config {
    match Config::parse(TEXT, "b.toml") {
        Ok((config, _)) => config,
        Err(error) => panic!("{error}"),
    }
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn device() -> DeviceFacts {
    let mac = "02:00:00:00:00:02".parse().unwrap();
    DeviceFacts::alone(9, mac, ["192.0.2.1".parse().unwrap()])
}

fn links(config: &Config) -> BTreeMap<InterfaceId, Link> {
    let ixp = Link::new(&config.spec.interfaces[0], 4, None).unwrap();
    let pni = Link::new(&config.spec.interfaces[1], 9, Some(&device())).unwrap();
    BTreeMap::from([(InterfaceId(0), ixp), (InterfaceId(1), pni)])
}

#[test]
fn what_is_configured_comes_first_and_what_the_device_has_is_added() {
    let config = config();
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let mac = |text: &str| text.parse().unwrap();
    let received = Link::new(&config.spec.interfaces[0], 9, Some(&device())).unwrap();
    assert_eq!(received.mac, mac("02:00:00:00:00:01"));
    assert_eq!(
        received.macs,
        [mac("02:00:00:00:00:01"), mac("02:00:00:00:00:02")]
    );
    assert_eq!(received.addresses, [ip("203.0.113.1"), ip("192.0.2.1")]);
    let read = Link::new(&config.spec.interfaces[1], 9, Some(&device())).unwrap();
    assert_eq!(
        (read.mac, read.addresses),
        (mac("02:00:00:00:00:02"), vec![ip("192.0.2.1")])
    );
    assert_eq!(
        Link::new(&config.spec.interfaces[1], 9, None)
            .unwrap_err()
            .to_string(),
        "interface `pni0`: no `mac` in the configuration and no device of that name to read it from: add `mac` to the interface"
    );
}

fn snapshot(config: &Config) -> Snapshot {
    snapshot::read(&Arc::new(config.clone())).unwrap()
}

#[test]
fn static_routes_are_admitted_one_by_one() {
    let Snapshot { routes, notes, .. } = snapshot(&config());
    let admitted = [
        "44.0.0.0/7",
        "45.146.194.7/32",
        "198.51.0.0/16",
        "203.0.112.0/23",
    ];
    assert_eq!(routes[&ONE].sources, admitted.map(prefix));
    assert_eq!(routes[&ONE].destinations, [prefix("198.51.100.0/24")]);
    let refused = [
        "0.0.0.0/0 is not admitted: it is a default route",
        "10.0.0.0/8 is not admitted: it is within the bogon list",
        "198.51.100.0/25 is not admitted: it is within our own prefixes",
        "203.0.113.128/25 is not admitted: it is within a peering lan",
    ];
    assert_eq!(notes, refused.map(|text| format!("peer \"one\": {text}")));
    assert!(!routes.contains_key(&TWO));
}

#[test]
fn what_is_withheld_is_cut_out_and_extras_win() {
    let config = config();
    let peering = compile(&config.spec, &snapshot(&config).routes, &links(&config)).unwrap();
    let one = &peering.peers[0];
    for (source, covering) in [
        ("198.51.99.255", Some("198.51.0.0/16")),
        ("198.51.100.0", None),                      // ours
        ("198.51.100.64", Some("198.51.100.64/26")), // ours, but an extra
        ("198.51.101.0", Some("198.51.0.0/16")),
        ("203.0.112.1", Some("203.0.112.0/23")),
        ("203.0.113.1", None),                   // the LAN
        ("192.168.7.1", Some("192.168.7.0/24")), // a bogon, but an extra
        ("10.0.0.1", None),
        ("8.8.8.8", None),
    ] {
        assert_eq!(
            one.source.covering(address(source)),
            covering.map(prefix),
            "{source}"
        );
    }
    for (destination, covering) in [
        ("198.51.100.1", Some("198.51.100.0/24")),
        ("203.0.113.1", Some("203.0.113.1/32")),
        ("192.0.2.1", Some("192.0.2.1/32")),
        ("9.9.9.9", Some("9.9.9.0/24")),
        ("203.0.113.2", None),
    ] {
        assert_eq!(
            one.destination.covering(address(destination)),
            covering.map(prefix),
            "{destination}"
        );
    }
    let two = &peering.peers[1];
    assert!(two.source.addresses().is_empty());
    assert_eq!(two.in_force, Classes::PEER);
    assert_eq!(
        two.destination.covering(address("203.0.113.1")),
        None,
        "not on that interface"
    );
    assert!(two.destination.covering(address("192.0.2.1")).is_some());
    assert!(peering.bogons.contains(address("192.0.2.1")));
    assert!(!peering.bogons.contains(address("203.0.113.1")));
    assert!(peering.ours.contains(address("198.51.100.9")));
}

#[test]
fn stations_are_those_configured_and_wildcards_on_ports() {
    let config = config();
    let tagged = Vlans { outer: 7, inner: 0 };
    let mac = |last: u8| format!("02:00:00:00:00:{last:02x}").parse().unwrap();
    let station = |ifindex, vlans, mac| Station {
        ifindex,
        vlans,
        mac,
    };
    assert_eq!(
        policy::stations(&config.spec, &links(&config)),
        BTreeMap::from([
            (station(4, Vlans::default(), mac(0x10)), ONE),
            (station(4, Vlans::default(), mac(0x11)), ONE),
            (station(9, tagged, ANY_MAC), ONE),
            (station(9, Vlans::default(), ANY_MAC), TWO),
        ])
    );
    let mut only_one = links(&config);
    only_one.remove(&InterfaceId(1));
    assert_eq!(policy::stations(&config.spec, &only_one).len(), 2);
    let peering = compile(&config.spec, &BTreeMap::new(), &only_one).unwrap();
    assert_eq!(peering.interfaces.keys().collect::<Vec<_>>(), [&4]);
    assert!(!peering.interfaces[&4].record.is_port());
}
