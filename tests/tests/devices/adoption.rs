//! What the next process, or the next configuration, takes over, and what it must not: each with packets and a receiver that
//! counts them.
use std::time::Duration;

use filter_core::Mode;
use filter_daemon::control::Request;
use serde_json::Value;
use tests::lab::{Namespace, Site, require, wait_for, without_routes};

use super::scene::{
    Flow, GOOD_FLOW, ITS_MAC, LAN, OURS, SPOOFED_FLOW, Scene, WITHIN, config, is_enforced, our_mac,
};

const ADDRESS: &str = "192.0.2.1/24";
const PACKETS: usize = 20;
const OTHER_MAC: &str = "02:00:00:00:00:22";
const BOGON_FLOW: Flow = Flow {
    source: "10.0.0.1",
    destination: OURS,
};

fn nothing(_: &Site, _: &Namespace) {}

/// A peer by the same name with another AS, address and MAC.
fn replaced(config: &str) -> String {
    config
        .replace("asn = 64501", "asn = 64502")
        .replace("192.0.2.11", "192.0.2.22")
        .replace(ITS_MAC, OTHER_MAC)
}

fn has_xdp(namespace: &Namespace, device: &str) -> bool {
    namespace
        .ip(&["link", "show", "dev", device])
        .contains("xdp")
}

fn counted(scene: &Scene) -> Value {
    scene.daemon.peer("p")["counters"].clone()
}

#[test]
fn a_restart_adopts_the_table_of_the_same_peer_and_of_no_other() {
    if !require("devices adoption", &[]) {
        return;
    }
    let config = config(LAN);
    let mut scene = Scene::new(LAN, ADDRESS).restart(&without_routes(&config), nothing);
    assert_eq!(scene.daemon.peer("p")["adopted"], true);
    assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), 0, "the same peer");
    assert_eq!(scene.arrive(ITS_MAC, GOOD_FLOW), PACKETS);

    let mut scene = scene.restart(&replaced(&without_routes(&config)), nothing);
    let peer = scene.daemon.peer("p");
    assert_eq!(peer["adopted"], false, "{peer:#}");
    for source in peer["classes"].as_array().unwrap() {
        let relies = source["class"] == "sources" || source["class"] == "destinations";
        assert!(!relies || source["in_force"] == false, "{source}");
    }
    // Nothing is known of it: what needs no routes is in force, and nothing else.
    assert_eq!(scene.arrive(OTHER_MAC, SPOOFED_FLOW), PACKETS);
    assert_eq!(scene.arrive(OTHER_MAC, GOOD_FLOW), PACKETS);
    assert_eq!(scene.arrive(OTHER_MAC, BOGON_FLOW), 0);
    assert_eq!(
        scene.arrive(ITS_MAC, SPOOFED_FLOW),
        PACKETS,
        "nobody's any more"
    );
    let counters = counted(&scene);
    assert_eq!(
        counters["permitted"],
        Value::Null,
        "the other's: {counters:#}"
    );
}

#[test]
fn a_reload_adopts_the_table_of_the_same_peer_and_of_no_other() {
    if !require("devices adoption", &[]) {
        return;
    }
    let config = config(LAN);
    let mut scene = Scene::new(LAN, ADDRESS);
    scene.reload(&without_routes(&config), "reloaded");
    assert_eq!(scene.daemon.peer("p")["adopted"], true);
    assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), 0, "the same peer");
    scene.reload(&replaced(&without_routes(&config)), "reloaded");
    assert_eq!(scene.daemon.peer("p")["adopted"], false);
    assert_eq!(scene.arrive(OTHER_MAC, SPOOFED_FLOW), PACKETS);
    assert_eq!(scene.arrive(OTHER_MAC, GOOD_FLOW), PACKETS);
    assert_eq!(scene.arrive(OTHER_MAC, BOGON_FLOW), 0);
    assert_eq!(
        scene.arrive(ITS_MAC, SPOOFED_FLOW),
        PACKETS,
        "nobody's any more"
    );
}

/// As a reboot: nothing that was pinned is left.
fn reboot(site: &Site, router: &Namespace) {
    std::fs::remove_dir_all(site.pins()).unwrap();
    wait_for("the program to be detached", WITHIN, || {
        (!has_xdp(router, "ixp0")).then_some(())
    });
}

#[test]
fn what_an_operator_switched_survives_restart_reboot_and_reload() {
    if !require("devices switched", &[]) {
        return;
    }
    let watched = config(LAN).replace("mode = \"enforce\"", "mode = \"observe\"");
    let mut scene = Scene::new(LAN, ADDRESS);
    scene.reload(&watched, "reloaded");
    assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), PACKETS);
    // On, against the configuration.
    scene.daemon.set_mode("p", Mode::Enforce);
    for how in ["restart", "reboot", "reload"] {
        match how {
            "restart" => scene = scene.restart(&watched, nothing),
            "reboot" => scene = scene.restart(&watched, reboot),
            _ => _ = scene.reload(&watched, "reloaded"),
        }
        let peer = scene
            .daemon
            .until("the peer to be enforced", "p", is_enforced);
        assert_eq!(
            (&peer["mode"], &peer["mode_configured"]),
            (&"enforce".into(), &"observe".into()),
            "{how}"
        );
        assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), 0, "{how}");
        assert_eq!(scene.arrive(ITS_MAC, GOOD_FLOW), PACKETS, "{how}");
    }
    // Off, against the configuration.
    let enforced = config(LAN);
    scene.daemon.set_mode("p", Mode::Observe);
    for how in ["reload", "restart", "reboot"] {
        match how {
            "restart" => scene = scene.restart(&enforced, nothing),
            "reboot" => scene = scene.restart(&enforced, reboot),
            _ => _ = scene.reload(&enforced, "reloaded"),
        }
        let peer = scene.daemon.until("the table", "p", |peer| {
            peer["publish_pending"] == false && peer["adopted"] == false
        });
        assert_eq!(
            (
                &peer["mode"],
                &peer["mode_configured"],
                &peer["mode_in_force"]
            ),
            (&"observe".into(), &"enforce".into(), &"observe".into()),
            "{how}"
        );
        assert_eq!(peer["classes"][0]["allowed"], false, "{how}");
        assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), PACKETS, "{how}");
    }
    // Everything off.
    scene.daemon.set_mode("p", Mode::Enforce);
    let mode = Mode::Observe;
    scene.daemon.ask(&Request::SetModeOfAll { mode }).unwrap();
    let mut scene = scene.restart(&enforced, reboot);
    assert_eq!(scene.daemon.status()["allowed"], false);
    assert_eq!(scene.arrive(ITS_MAC, BOGON_FLOW), PACKETS);
    let mode = Mode::Enforce;
    scene.daemon.ask(&Request::SetModeOfAll { mode }).unwrap();
    scene.until_enforced();
    assert_eq!(scene.arrive(ITS_MAC, BOGON_FLOW), 0);
}

#[test]
fn only_the_named_classes_are_in_force_and_stay_so() {
    if !require("devices only", &[]) {
        return;
    }
    let mut scene = Scene::new(LAN, ADDRESS);
    let only = |only: &[filter_core::Class]| Request::SetMode {
        peer: "p".to_owned(),
        mode: Mode::Enforce,
        only: only.to_vec(),
    };
    use filter_core::Class::{Bogons, Lan, Malformed};
    let refused = scene.daemon.ask(&only(&[Lan])).unwrap_err().to_string();
    assert_eq!(
        refused,
        "`lan` is a class of an interface, for frames of no peer: name the interface instead; `lan_rules = \"enforce\"` of the interface enforces `lan`, `unknown_peer = \"enforce\"` enforces `unknown` and `malformed`"
    );
    scene.daemon.ask(&only(&[Bogons, Malformed])).unwrap();
    for how in ["now", "restart", "reboot"] {
        match how {
            "restart" => scene = scene.restart(&config(LAN), nothing),
            "reboot" => scene = scene.restart(&config(LAN), reboot),
            _ => {}
        }
        scene.until_enforced();
        assert_eq!(scene.arrive(ITS_MAC, BOGON_FLOW), 0, "{how}");
        assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), PACKETS, "{how}");
        assert_eq!(scene.arrive(ITS_MAC, GOOD_FLOW), PACKETS, "{how}");
        let classes = scene.daemon.peer("p")["classes"].clone();
        for class in classes.as_array().unwrap() {
            let named = class["class"] == "bogons" || class["class"] == "malformed";
            assert_eq!(class["allowed"], named, "{how}: {class}");
        }
    }
    scene.daemon.ask(&only(&[])).unwrap();
    scene.daemon.until("sources to be in force", "p", |peer| {
        peer["classes"][2]["in_force"] == true
    });
    assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), 0);
}

/// The peer's announcements, and a leak of many times as much.
fn leaking(config: &str) -> String {
    let leak: String = (1..60)
        .filter(|first| ![10, 44, 45].contains(first))
        .map(|first| format!(", \"{first}.0.0.0/8\""))
        .collect();
    config.replace(
        "\"45.146.194.0/23\"]",
        &format!("\"45.146.194.0/23\"{leak}]"),
    )
}

/// A peer that waits for a restart of the daemon, or for a reboot, may not announce more than one that does not; and another of
/// the same name is measured against nothing of it.
#[test]
fn growth_over_a_restart_is_measured_against_what_stood_before() {
    if !require("devices growth over a restart", &[]) {
        return;
    }
    let leaking = leaking(&config(LAN));
    let too_wide = |scene: &Scene| scene.daemon.peer("p")["too_wide"].clone();
    let mut scene = Scene::new(LAN, ADDRESS);
    // An earlier daemon's file, which has no such field, is as good as none.
    scene = scene.restart(&config(LAN), |site, _| {
        let earlier = "{\"schema\": 1, \"switched\": {\"all_off\": false}}";
        std::fs::write(site.state_file(), earlier).unwrap();
    });
    scene.until_enforced();
    assert_eq!(scene.daemon.events_named("state-unreadable").len(), 0);
    for meanwhile in [nothing, reboot] {
        scene = scene.restart(&leaking, meanwhile);
        scene.daemon.until_event("coverage-exceeded", |_| true);
        scene.until_enforced();
        assert_eq!(too_wide(&scene), serde_json::json!(["ipv4"]));
        assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), 0);
        assert_eq!(scene.arrive(ITS_MAC, GOOD_FLOW), PACKETS);
        scene = scene.restart(&config(LAN), nothing);
        scene.until_enforced();
        assert_eq!(too_wide(&scene), serde_json::json!([]));
        assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), 0);
        assert_eq!(scene.arrive(ITS_MAC, GOOD_FLOW), PACKETS);
    }
    let mut scene = scene.restart(&replaced(&leaking), nothing);
    scene.until_enforced();
    assert_eq!(too_wide(&scene), serde_json::json!([]));
    assert_eq!(scene.arrive(OTHER_MAC, SPOOFED_FLOW), PACKETS);
}

#[test]
fn a_state_file_that_is_no_good_is_told_and_stops_nothing() {
    if !require("devices state", &[]) {
        return;
    }
    let mut scene = Scene::new(LAN, ADDRESS);
    for (text, why) in [
        ("{\"schema\": 2}", "its schema is 2, not 1"),
        ("{\"sch", "EOF while parsing"),
    ] {
        scene = scene.restart(&config(LAN), |site, _| {
            std::fs::write(site.state_file(), text).unwrap();
        });
        let received = scene.daemon.until_event("state-unreadable", |_| true);
        assert!(
            received["text"].as_str().unwrap().contains(why),
            "{received}"
        );
        scene.until_enforced();
        assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), 0);
    }
    // What is switched next makes it good again.
    scene.daemon.set_mode("p", Mode::Observe);
    let scene = scene.restart(&config(LAN), reboot);
    assert_eq!(scene.daemon.peer("p")["mode"], "observe");
    assert_eq!(scene.daemon.events_named("state-unreadable").len(), 0);
}

#[test]
fn an_interface_taken_out_of_the_file_loses_its_program_at_the_start_and_at_a_reload() {
    if !require("devices taken out", &[]) {
        return;
    }
    let other = "\n[[interface]]\nname = \"pni0\"\nkind = \"port\"\nunknown_peer = \"enforce\"\n";
    let both = format!("{LAN}{other}");
    let scene = Scene::new(LAN, ADDRESS);
    let pair = "link add pni0 type veth peer name far";
    scene.router.ip(&pair.split(' ').collect::<Vec<_>>());
    scene.reload(&config(&both), "reloaded");
    assert!(has_xdp(&scene.router, "pni0"));
    scene.reload(&config(LAN), "reloaded");
    assert!(!has_xdp(&scene.router, "pni0") && has_xdp(&scene.router, "ixp0"));
    scene.reload(&config(&both), "reloaded");
    assert!(has_xdp(&scene.router, "pni0"));
    let mut scene = scene.restart(&config(LAN), nothing);
    assert!(!has_xdp(&scene.router, "pni0") && has_xdp(&scene.router, "ixp0"));
    assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), 0);
    assert_eq!(scene.arrive(ITS_MAC, GOOD_FLOW), PACKETS);
}

#[test]
fn a_refused_reload_touches_nothing() {
    if !require("devices refused reload", &[]) {
        return;
    }
    let mut scene = Scene::new(LAN, ADDRESS);
    let config = config(LAN);
    assert_eq!(scene.arrive(ITS_MAC, GOOD_FLOW), PACKETS);
    // Nothing of this survives a start either, so that a reload must not take it.
    let taken = scene
        .router
        .run(|| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let port = taken.local_addr().unwrap().port();
    let feed =
        |port| format!("{config}\n[[feed]]\nkind = \"bmp\"\nlisten = \"127.0.0.1:{port}\"\n");
    let peers: String = (0..16)
        .map(|number| {
            let asn = 64_600 + number;
            format!(
                "\n[[peer]]\nname = \"q{number}\"\nasn = {asn}\ninterface = \"ixp0\"\naddresses = [\"192.0.2.{}\"]\n",
                100 + number
            )
        })
        .collect();
    let without = config
        .replace("name = \"ixp0\"", "name = \"lo\"")
        .replace("interface = \"ixp0\"", "interface = \"lo\"");
    for (changed, why) in [
        (
            config.replace("asn = 64500", "asn = 64999"),
            "`asn` from `64500` to `64999`",
        ),
        (
            config.replace("max_peers = 16", "max_peers = 32"),
            "`max_peers`",
        ),
        (
            config.replace("table_memory_mib = 8", "table_memory_mib = 16"),
            "`table_memory_mib`",
        ),
        (
            config.replace(
                "max_peers = 16",
                "max_peers = 16\nicmp_errors_per_second = 7",
            ),
            "`icmp_errors_per_second` from `1000` to `7`",
        ),
        (format!("{config}{peers}"), "only 16 fit"),
        (feed(port), "cannot listen on"),
        (without, "has no ethernet header"),
    ] {
        let before = scene.daemon.status();
        let refused = scene.reload(&changed, "reload-refused");
        let text = refused["text"].as_str().unwrap();
        assert!(text.contains(why), "{text}");
        let after = scene.daemon.status();
        for (of, what) in [
            ("peers", "counters"),
            ("peers", "generation"),
            ("peers", "stations"),
            ("interfaces", "ifindex"),
            ("feeds", "up"),
        ] {
            assert_eq!(before[of][0][what], after[of][0][what], "{why}: {what}");
        }
        assert_eq!(after["peers"][0]["adopted"], false, "{why}");
        assert!(is_enforced(&after["peers"][0]), "{why}");
        assert_eq!(scene.daemon.events_named("detached").len(), 0);
    }
    assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), 0);
    assert_eq!(scene.arrive(ITS_MAC, GOOD_FLOW), PACKETS);
}

#[test]
fn an_adopted_generic_link_becomes_native_or_an_error_that_is_told() {
    if !require("devices native", &[]) {
        return;
    }
    let generic = format!("{LAN}hook = \"xdp-generic\"\n");
    let native = format!("{LAN}hook = \"xdp-native\"\n");
    let scene = Scene::new(&generic, ADDRESS);
    assert_eq!(scene.interface("ixp0")["hook"], "xdp-generic");
    let mut scene = scene.restart(&config(&native), nothing);
    assert_eq!(scene.interface("ixp0")["hook"], "xdp-native");
    let outcome = scene.stream("ixp0", our_mac(), GOOD_FLOW, SPOOFED_FLOW);
    outcome.assert_safe("native", Duration::ZERO);
    scene.reload(&config(&generic), "reloaded");
    assert_eq!(scene.interface("ixp0")["hook"], "xdp-generic");
    // A driver that refuses: frames of this size need buffers that it cannot make for native XDP.
    for (namespace, device) in [(&scene.router, "ixp0"), (&scene.peer, "eth0")] {
        namespace.ip(&["link", "set", device, "mtu", "65000"]);
    }
    scene.reload(&config(&native), "reloaded");
    let interface = scene.interface("ixp0");
    let why = interface["why"].as_str().unwrap_or_default();
    if interface["hook"] == "xdp-generic" {
        assert!(
            why.starts_with("the configuration asks for hook = \"xdp-native\": cannot attach to interface `ixp0`: native: "),
            "{interface}"
        );
        scene.daemon.until_event("not-as-configured", |_| true);
    } else {
        assert_eq!((&interface["hook"], why), (&"xdp-native".into(), ""));
    }
    assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), 0);
    assert_eq!(scene.arrive(ITS_MAC, GOOD_FLOW), PACKETS);
}

#[test]
fn a_device_renamed_while_the_daemon_was_stopped_stays_filtered_and_so_does_an_altname() {
    if !require("devices renamed while stopped", &[]) {
        return;
    }
    let mut scene = Scene::new(LAN, ADDRESS).restart(&config(LAN), |_, router| {
        for words in [
            "link set ixp0 down",
            "link set ixp0 name peering7",
            "link set peering7 up",
        ] {
            router.ip(&words.split(' ').collect::<Vec<_>>());
        }
    });
    let interface = scene.interface("ixp0");
    assert_eq!(
        (&interface["attached"], &interface["device"]),
        (&true.into(), &"peering7".into())
    );
    let outcome = scene.stream("peering7", our_mac(), GOOD_FLOW, SPOOFED_FLOW);
    outcome.assert_safe("renamed while stopped", Duration::ZERO);
    // An altname is a name.
    let altname = [
        "link", "property", "add", "dev", "peering7", "altname", "exchange",
    ];
    scene.router.ip(&altname);
    let config = config(LAN).replace("\"ixp0\"", "\"exchange\"");
    let mut scene = scene.restart(&config, nothing);
    scene.until_enforced();
    let interface = scene.interface("exchange");
    assert_eq!(
        (&interface["attached"], &interface["device"]),
        (&true.into(), &"peering7".into())
    );
    let outcome = scene.stream("peering7", our_mac(), GOOD_FLOW, SPOOFED_FLOW);
    outcome.assert_safe("an altname", Duration::ZERO);
}
