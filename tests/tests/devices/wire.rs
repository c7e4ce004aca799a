//! What the program sees of the wire, and what status says where it does not see it: frames without a record, tags that a
//! driver hides, addresses that have no room, hooks that are taken.
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use aya::maps::{Array, HashMap, Map, MapData};
use filter_core::layout::{MAX_UNRECORDED, map};
use tests::lab::{Site, Wire, require, wait_for};

use super::scene::{
    FOLLOWED, GOOD_FLOW, ITS_MAC, LAN, SPOOFED_FLOW, Scene, WITHIN, config, is_enforced,
};

const ADDRESS: &str = "192.0.2.1/24";
const PACKETS: usize = 20;

#[test]
fn a_frame_was_seen_or_none_has_come_yet_and_status_says_which() {
    if !require("devices frame seen", &[]) {
        return;
    }
    let mut scene = Scene::new(LAN, ADDRESS);
    assert_eq!(frame_seen(&scene), false);
    for _ in 0..2 {
        assert_eq!(scene.arrive(ITS_MAC, GOOD_FLOW), PACKETS);
        wait_for("a frame to be seen", WITHIN, || {
            (scene.interface("ixp0")["frame_seen"] == true).then_some(())
        });
        // What the process before has seen proves nothing of this one's hook.
        scene = scene.restart(&config(LAN), |_, _| {});
        assert_eq!(frame_seen(&scene), false);
    }
}

/// Once the daemon has looked.
fn frame_seen(scene: &Scene) -> serde_json::Value {
    wait_for("the daemon to look at the counters", WITHIN, || {
        let seen = scene.interface("ixp0")["frame_seen"].clone();
        (!seen.is_null()).then_some(seen)
    })
}

/// What the program knows of the device's index.
fn entry(scene: &Scene, change: impl FnOnce(u32) -> u32) -> u32 {
    let ifindex = scene.interface("ixp0")["ifindex"].as_u64().unwrap() as u32;
    let map = MapData::from_pin(scene.link_pin("ixp0").with_file_name("if_slots")).unwrap();
    let mut map: Array<_, u32> = Map::Array(map).try_into().unwrap();
    let before = map.get(&ifindex, 0).unwrap();
    map.set(ifindex, change(before), 0).unwrap();
    before
}

#[test]
fn while_frames_have_no_record_nothing_is_called_in_force() {
    if !require("devices no record", &[]) {
        return;
    }
    let mut scene = Scene::new(LAN, ADDRESS);
    assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), 0);
    let before = entry(&scene, |_| 0);
    let begin = Instant::now();
    assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), PACKETS);
    let peer = scene
        .daemon
        .until("the alarm", "p", |peer| !is_enforced(peer));
    assert!(begin.elapsed() < FOLLOWED + Duration::from_secs(1));
    assert_eq!(peer["classes"][0]["missing"], "no-record", "{peer:#}");
    assert_ne!(peer["state"], "enforcing");
    assert_eq!(scene.interface("ixp0")["alarms"][0], "no-record");
    scene.daemon.until_event("no-record-alarm", |_| true);
    entry(&scene, |_| before);
    assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), 0);
    scene.until_enforced();
    assert!(begin.elapsed() >= Duration::from_secs(9));
    scene.daemon.until_event("no-record-over", |_| true);
}

/// Another peer at another interface.
const OTHER: &str = r#"
[[interface]]
name = "ixp1"
kind = "port"

[[peer]]
name = "q"
asn = 64502
interface = "ixp1"
addresses = ["198.51.100.2"]
mode = "enforce"
families = ["ipv4"]

[[feed]]
kind = "static"
peer = "q"
advertised_by_peer = ["45.146.196.0/23"]
advertised_to_peer = ["44.1.0.0/16"]
"#;

#[test]
fn frames_without_a_record_concern_the_interface_they_came_in_on() {
    if !require("devices no record elsewhere", &[]) {
        return;
    }
    let mut scene = Scene::new(&format!("{LAN}{OTHER}"), ADDRESS);
    for line in [
        "link add ixp1 type veth peer name far1",
        "addr add 198.51.100.1/30 dev ixp1",
        "link set ixp1 up",
    ] {
        scene.router.ip(&line.split(' ').collect::<Vec<_>>());
    }
    let enforcing = |peer: &serde_json::Value| is_enforced(peer) && peer["state"] == "enforcing";
    scene
        .daemon
        .until("the other to be enforced", "q", enforcing);
    entry(&scene, |_| 0);
    assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), PACKETS);
    let gone = |peer: &serde_json::Value| !is_enforced(peer);
    scene.daemon.until("the alarm", "p", gone);
    assert!(enforcing(&scene.daemon.peer("q")), "none of its frames");
    assert_eq!(scene.interface("ixp1")["alarms"], serde_json::json!([]));
    let event = scene.daemon.until_event("no-record-alarm", |_| true);
    let text = event["text"].as_str().unwrap();
    assert!(text.starts_with("ixp0: frames come in"), "{text}");

    // Of a device that there is no room for it is not known whose its frames are.
    let pin = scene.link_pin("ixp0").with_file_name(map::UNRECORDED);
    let devices = Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap();
    let mut devices: HashMap<_, u32, u64> = devices.try_into().unwrap();
    let ifindex = scene.interface("ixp0")["ifindex"].as_u64().unwrap() as u32;
    devices.remove(&ifindex).unwrap();
    for device in 0..MAX_UNRECORDED {
        devices.insert(1_000_000 + device, 0, 0).unwrap();
    }
    assert!(devices.insert(1, 0, 0).is_err(), "it is full");
    assert_eq!(scene.arrive(ITS_MAC, SPOOFED_FLOW), PACKETS);
    scene.daemon.until("the alarm of all", "q", gone);
}

/// As `ethtool -K DEVICE txvlan off`.
fn show_tags(device: &str) {
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    const SET_FLAGS: u32 = 0x26;
    let mut value = [SET_FLAGS, 0u32];
    // SAFETY: an ifreq of zeroes is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // SAFETY: the request and the two words it points to live through the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn where_tags_are_hidden_only_malformed_is_in_force_until_they_are_seen() {
    if !require("devices hidden tags", &[]) {
        return;
    }
    let tagged = r#"
[[peer]]
name = "tagged"
asn = 64502
interface = "ixp0"
vlan = 100
addresses = ["192.0.2.12"]
macs = ["02:00:00:00:00:12"]
"#;
    // Both ends are in sight: what the other one does with tags can be read.
    let scene = Scene::new(LAN, ADDRESS);
    scene
        .peer
        .ip(&["link", "set", "eth0", "netns", scene.router.name()]);
    scene.router.ip(&["link", "set", "eth0", "up"]);
    wait_for("the carrier", WITHIN, || {
        let shown = scene.router.ip(&["link", "show", "dev", "ixp0"]);
        shown.contains("LOWER_UP").then_some(())
    });
    let mut scene = scene;
    let far = scene.router.run(|| Wire::open("eth0").unwrap());
    assert_eq!(
        scene.arrive_by(&far, ITS_MAC, SPOOFED_FLOW),
        0,
        "no tag matters yet"
    );

    scene.reload(&format!("{}{tagged}", config(LAN)), "reloaded");
    let hidden = |class: &serde_json::Value| {
        let is_malformed = class["class"] == "malformed";
        match class["wanted"] == true {
            true if is_malformed => class["in_force"] == true,
            true => class["in_force"] == false && class["missing"] == "tags-hidden",
            false => true,
        }
    };
    let peer = scene
        .daemon
        .until("only malformed to be in force", "p", |peer| {
            peer["classes"].as_array().unwrap().iter().all(hidden)
        });
    let missing = peer["missing"].as_str().unwrap();
    assert!(
        missing.ends_with("`ethtool -K eth0 txvlan off`"),
        "{missing}"
    );
    assert_ne!(peer["state"], "enforcing");
    assert_eq!(scene.arrive_by(&far, ITS_MAC, SPOOFED_FLOW), PACKETS);
    assert_eq!(scene.arrive_by(&far, ITS_MAC, GOOD_FLOW), PACKETS);
    let event = scene.daemon.until_event("tags-hidden", |_| true);
    assert!(
        event["text"]
            .as_str()
            .unwrap()
            .contains("ethtool -K eth0 txvlan off")
    );

    scene.router.run(|| show_tags("eth0"));
    scene.daemon.until("sources to be in force", "p", |peer| {
        peer["classes"][2]["in_force"] == true && peer["state"] == "enforcing"
    });
    assert_eq!(scene.arrive_by(&far, ITS_MAC, SPOOFED_FLOW), 0);
    assert_eq!(scene.arrive_by(&far, ITS_MAC, GOOD_FLOW), PACKETS);
    scene.daemon.until_event("tags-seen", |_| true);
}

#[test]
fn addresses_beyond_the_records_room_are_named() {
    if !require("devices left out", &[]) {
        return;
    }
    let scene = Scene::new(LAN, ADDRESS);
    for last in 10..26 {
        let address = format!("192.0.2.{last}/24");
        scene.router.ip(&["addr", "add", &address, "dev", "ixp0"]);
    }
    let received = scene.daemon.until_event("left-out", |_| true);
    let text = received["text"].as_str().unwrap();
    assert!(
        text.starts_with("ixp0: no room for 192.0.2.25: at most 8 macs"),
        "{text}"
    );
    assert_eq!(
        scene.interface("ixp0")["left_out"],
        serde_json::json!(["192.0.2.25"])
    );
    assert!(is_enforced(&scene.daemon.peer("p")));
    scene
        .router
        .ip(&["addr", "del", "192.0.2.10/24", "dev", "ixp0"]);
    wait_for("room for all", WITHIN, || {
        (scene.interface("ixp0")["left_out"] == serde_json::json!([])).then_some(())
    });
}

#[test]
fn a_hook_that_is_taken_names_who_has_it_and_is_tried_again() {
    if !require("devices busy", &[]) {
        return;
    }
    let scene = Scene::new(LAN, ADDRESS);
    let other = Site::new(&scene.router);
    let second = other.start(&config(LAN).replace("64501", "64509"));
    let status = second.status();
    let interface = &status["interfaces"][0];
    let why = interface["why"].as_str().unwrap();
    let (program, advice) = why.split_once(" (program ").unwrap();
    assert_eq!(
        program,
        "interface `ixp0` already has an xdp program: `bcp38`"
    );
    let works = "attached in native mode by bpf link ";
    assert!(
        advice.contains(works) && advice.contains("`bpftool link detach id "),
        "{why}"
    );
    assert_eq!(interface["attached"], false);
    assert!(!is_enforced(&second.peer("p")));
    scene
        .daemon
        .ask(&filter_daemon::control::Request::Detach {
            interface: "ixp0".to_owned(),
        })
        .unwrap();
    second.until("the peer to be enforced", "p", is_enforced);
}

#[test]
fn unequal_queues_are_what_is_wrong_and_not_the_driver() {
    if !require("devices queues", &[]) {
        return;
    }
    let more =
        format!("{LAN}\n[[interface]]\nname = \"pni0\"\nkind = \"port\"\nhook = \"xdp-native\"\n");
    let scene = Scene::new(LAN, ADDRESS);
    let pair = "link add pni0 numrxqueues 1 numtxqueues 1 type veth peer name far numrxqueues 1 numtxqueues 4";
    scene.router.ip(&pair.split(' ').collect::<Vec<_>>());
    scene.reload(&config(&more), "reloaded");
    let interface = scene.interface("pni0");
    assert_eq!(interface["attached"], false);
    assert_eq!(
        interface["why"],
        "cannot attach to interface `pni0`: native: its other end sends on more queues than it receives on: give both ends as many (`ethtool --set-channels`)"
    );
    assert!(is_enforced(&scene.daemon.peer("p")) || scene.daemon.peer("p")["adopted"] == true);
}
