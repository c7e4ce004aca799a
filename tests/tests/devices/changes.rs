//! One test a change.
use std::time::Duration;

use super::scene::{
    FOLLOWED, Flow, GOOD, GOOD_FLOW, LAN, SPOOFED_FLOW, Scene, is_enforced, our_mac,
};
use tests::lab::{detach_link, require, wait_for};

const ADDRESS: &str = "192.0.2.1/24";
const WITHIN: Duration = Duration::from_secs(20);

fn to(destination: &'static str) -> Flow {
    Flow {
        source: GOOD,
        destination,
    }
}

#[test]
fn an_address_added_after_the_start_is_ours_labelled_or_not() {
    if !require("devices address", &[]) {
        return;
    }
    let mut scene = Scene::new(LAN, ADDRESS);
    let added = ["addr", "add", "198.18.0.1/24", "dev", "ixp0"];
    let labelled = [
        "addr",
        "add",
        "198.18.1.1/24",
        "dev",
        "ixp0",
        "label",
        "ixp0:bgp",
    ];
    for (what, arguments, address) in [
        ("added", added.as_slice(), "198.18.0.1"),
        ("labelled", labelled.as_slice(), "198.18.1.1"),
    ] {
        scene.router.ip(arguments);
        let outcome = scene.stream("ixp0", our_mac(), to(address), SPOOFED_FLOW);
        outcome.assert_safe(what, FOLLOWED);
    }
    // And no longer once it is gone: what goes there is a violation again.
    scene
        .router
        .ip(&["addr", "del", "198.18.0.1/24", "dev", "ixp0"]);
    wait_for("the address to be nobody's", WITHIN, || {
        let request = filter_daemon::control::Request::Explain {
            peer: "p".to_owned(),
            source: GOOD.parse().unwrap(),
            destination: "198.18.0.1".parse().unwrap(),
        };
        let explained = scene.daemon.ask(&request).unwrap();
        (explained["reason"] == "destination-unannounced").then_some(())
    });
}

#[test]
fn a_port_of_two_addresses_needs_no_lan() {
    if !require("devices port", &[]) {
        return;
    }
    let port = "[[interface]]\nname = \"ixp0\"\nkind = \"port\"\n";
    let mut scene = Scene::new(port, "198.18.0.6/31");
    // Its router's own address, which it announces to no peer: all that is on the link is those two.
    let bgp = Flow {
        source: "198.18.0.7",
        destination: "198.18.0.6",
    };
    let outcome = scene.stream("ixp0", our_mac(), bgp, SPOOFED_FLOW);
    outcome.assert_safe("a /31", Duration::ZERO);
    // A second one comes later.
    scene
        .router
        .ip(&["addr", "add", "198.18.0.10/31", "dev", "ixp0"]);
    let bgp = Flow {
        source: "198.18.0.11",
        destination: "198.18.0.10",
    };
    let outcome = scene.stream("ixp0", our_mac(), bgp, SPOOFED_FLOW);
    outcome.assert_safe("a second /31", FOLLOWED);
}

#[test]
fn another_mac_of_the_device_is_ours_at_once() {
    if !require("devices mac", &[]) {
        return;
    }
    let mut scene = Scene::new(LAN, ADDRESS);
    let mac = "02:00:00:00:00:77";
    scene.router.ip(&["link", "set", "ixp0", "address", mac]);
    let outcome = scene.stream("ixp0", mac.parse().unwrap(), GOOD_FLOW, SPOOFED_FLOW);
    outcome.assert_safe("another mac", Duration::ZERO);
}

#[test]
fn a_port_of_a_bridge_has_the_bridges_addresses() {
    if !require("devices bridge", &[]) {
        return;
    }
    let mut scene = Scene::new(LAN, ADDRESS);
    for words in [
        "link add br0 type bridge",
        "link set br0 up",
        "link set ixp0 master br0",
        "addr add 198.18.0.1/24 dev br0",
    ] {
        scene.router.ip(&words.split(' ').collect::<Vec<_>>());
    }
    let outcome = scene.stream("ixp0", our_mac(), to("198.18.0.1"), SPOOFED_FLOW);
    outcome.assert_safe("a bridge", FOLLOWED);
}

#[test]
fn what_is_on_a_macvlan_device_is_ours() {
    if !require("devices macvlan", &[]) {
        return;
    }
    let mut scene = Scene::new(LAN, ADDRESS);
    for words in [
        "link add vrrp4 link ixp0 address 00:00:5e:00:01:04 type macvlan mode bridge",
        "addr add 198.18.0.254/32 dev vrrp4",
        "link set vrrp4 up",
    ] {
        scene.router.ip(&words.split(' ').collect::<Vec<_>>());
    }
    let outcome = scene.stream("ixp0", our_mac(), to("198.18.0.254"), SPOOFED_FLOW);
    outcome.assert_safe("a macvlan device", FOLLOWED);
}

#[test]
fn a_device_that_comes_back_is_filtered_within_a_second_and_its_absence_is_said() {
    if !require("devices created anew", &[]) {
        return;
    }
    let mut scene = Scene::new(LAN, ADDRESS);
    scene.router.ip(&["link", "del", "ixp0"]);
    let gone = scene
        .daemon
        .until("the device to be missed", "p", |peer| !is_enforced(peer));
    assert_ne!(gone["state"], "enforcing");
    for class in gone["classes"].as_array().unwrap() {
        assert_eq!(class["in_force"], false, "{class}");
        // What the peer does not use, as IPv6 here, is missing nothing.
        if class["wanted"] == true {
            assert_eq!(class["missing"], "not-attached", "{class}");
        }
    }
    let interface = scene.interface("ixp0");
    assert_eq!(
        (
            interface["attached"].as_bool(),
            interface["ifindex"].as_u64()
        ),
        (Some(false), None)
    );
    scene
        .daemon
        .until_event("not-attached", |event| event["interface"] == "ixp0");

    scene.plug(ADDRESS);
    let outcome = scene.stream("ixp0", our_mac(), GOOD_FLOW, SPOOFED_FLOW);
    outcome.assert_safe("created anew", Duration::ZERO);
    assert_eq!(scene.daemon.events_named("attached").len(), 2);
}

#[test]
fn a_renamed_device_stays_filtered() {
    if !require("devices renamed", &[]) {
        return;
    }
    let mut scene = Scene::new(LAN, ADDRESS);
    scene.router.ip(&["link", "set", "ixp0", "down"]);
    scene
        .router
        .ip(&["link", "set", "ixp0", "name", "peering7"]);
    scene.router.ip(&["link", "set", "peering7", "up"]);
    let outcome = scene.stream("peering7", our_mac(), GOOD_FLOW, SPOOFED_FLOW);
    outcome.assert_safe("renamed", Duration::from_millis(500));
    assert_eq!(scene.interface("ixp0")["attached"], true);
    scene
        .router
        .ip(&["addr", "add", "198.18.0.1/24", "dev", "peering7"]);
    let outcome = scene.stream("peering7", our_mac(), to("198.18.0.1"), SPOOFED_FLOW);
    outcome.assert_safe("an address under the new name", FOLLOWED);
}

#[test]
fn a_program_that_somebody_took_off_is_put_back_within_a_second_and_that_is_said() {
    if !require("devices detached", &[]) {
        return;
    }
    let mut scene = Scene::new(LAN, ADDRESS);
    detach_link(&scene.router, &scene.link_pin("ixp0"));
    let outcome = scene.stream("ixp0", our_mac(), GOOD_FLOW, SPOOFED_FLOW);
    outcome.assert_safe("detached by somebody", Duration::ZERO);
    scene
        .daemon
        .until_event("not-attached", |event| event["interface"] == "ixp0");
}

#[test]
fn a_missing_interface_keeps_no_other_unprotected_and_is_protected_when_it_comes() {
    if !require("devices missing", &[]) {
        return;
    }
    let two = format!("{LAN}\n[[interface]]\nname = \"pni0\"\nkind = \"port\"\n");
    let mut scene = Scene::new(&two, ADDRESS);
    let outcome = scene.stream("ixp0", our_mac(), GOOD_FLOW, SPOOFED_FLOW);
    outcome.assert_safe("beside a missing one", Duration::ZERO);
    let missing = scene.interface("pni0");
    assert_eq!(missing["attached"], false);
    assert_eq!(missing["why"], "there is no such device");
    let pair = "link add pni0 type veth peer name far";
    scene.router.ip(&pair.split(' ').collect::<Vec<_>>());
    wait_for("the other interface to be attached", WITHIN, || {
        (scene.interface("pni0")["attached"] == true).then_some(())
    });
    assert!(scene.interface("pni0")["hook"].is_string());
}

#[test]
fn what_an_operator_detached_is_left_alone_and_not_called_enforced() {
    if !require("devices released", &[]) {
        return;
    }
    let scene = Scene::new(LAN, ADDRESS);
    let request = filter_daemon::control::Request::Detach {
        interface: "ixp0".to_owned(),
    };
    scene.daemon.ask(&request).unwrap();
    let peer = scene.daemon.peer("p");
    assert!(!is_enforced(&peer), "{peer:#}");
    let missing = peer["missing"].as_str().unwrap();
    assert_eq!(missing, "the program is not on `ixp0`");
    std::thread::sleep(2 * FOLLOWED); // nothing is to happen
    assert_eq!(scene.interface("ixp0")["why"], "an operator detached it");
}
