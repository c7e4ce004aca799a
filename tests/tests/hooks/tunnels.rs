//! Where small networks peer: a device without an Ethernet header, and an exchange over VXLAN.
use std::net::UdpSocket;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tests::lab::{Bcp38, BirdRouter, Package, Release, require, wait_for};
use tests::tap::Tap;

use super::Ends;
use super::stage::{
    GOOD, ITS_MAC, OUR_MAC, OURS, PACKETS, SPOOFED, Stage, WITHIN, config, counted, interface, lan,
    until_enforced, words,
};

const ROUTER: &str = "192.0.2.1";
const PEER: &str = "192.0.2.11";
const PORT: u16 = 9; // where `filter_core::frame::udp` sends to

/// The router's stack, where the filter lets packets through to.
fn sink(stage: &Stage) -> UdpSocket {
    let socket = stage.router.run(|| UdpSocket::bind((OURS, PORT)).unwrap());
    socket
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    socket
}

fn received(socket: &UdpSocket) -> usize {
    let mut buffer = [0; 64];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()
}

/// Sends packets over the tunnel. How many reach the router's own socket?
fn arrive(stage: &mut Stage, tun: &Tap, socket: &UdpSocket, daemon: &Bcp38, source: &str) -> usize {
    let total = |daemon: &Bcp38| {
        let counters = daemon.peer("p")["counters"].clone();
        let reasons = counters.as_object().unwrap().values();
        let fates = reasons.flat_map(|fates| [fates["passed"].clone(), fates["dropped"].clone()]);
        fates
            .map(|fate| fate["packets"].as_u64().unwrap())
            .sum::<u64>()
    };
    let before = total(daemon);
    for _ in 0..PACKETS {
        tun.send(&stage.packet(source, OURS));
    }
    // All are judged before the device's descriptor takes the next write.
    wait_for("all to be counted", WITHIN, || {
        (total(daemon) == before + PACKETS as u64).then_some(())
    });
    received(socket)
}

#[test]
fn a_tun_device_is_a_port_without_macs() {
    if !require("hooks tun", &[]) {
        return;
    }
    let mut stage = Stage::apart();
    let tun = stage.router.run(|| Tap::bare("ixp0"));
    for line in [
        "link set lo up",
        "link set ixp0 up",
        "addr add 192.0.2.1/31 dev ixp0",
        &format!("addr add {OURS}/32 dev lo"),
        "route add default dev ixp0",
    ] {
        words(&stage.router, line);
    }
    let socket = sink(&stage);
    let port = "kind = \"port\"\nhook = \"auto\"\n";
    let observing = config(port, "").replace("\"enforce\"", "\"observe\"");
    let daemon = stage.site.start(&observing);
    let attached = interface(&daemon);
    assert_eq!(attached["hook"], "tc", "{attached:#}");
    assert_eq!(attached["hook_why"], "the device has no ethernet header");
    daemon.until_state("p", "observing");
    // What it observes is known before it is in the kernel: until then packets are `unjudged`.
    let judged = || counted(&daemon, "source-unannounced").0;
    wait_for("packets to be judged by the peer's table", WITHIN, || {
        tun.send(&stage.packet(SPOOFED, OURS));
        (judged() > 0).then_some(())
    });
    let (before, _) = (judged(), received(&socket));
    // Observed, spoofed packets reach us: what drops them below is the filter.
    assert_eq!(arrive(&mut stage, &tun, &socket, &daemon, SPOOFED), PACKETS);
    daemon.set_mode("p", filter_core::Mode::Enforce);
    until_enforced(&daemon);
    assert_eq!(arrive(&mut stage, &tun, &socket, &daemon, GOOD), PACKETS);
    assert_eq!(arrive(&mut stage, &tun, &socket, &daemon, SPOOFED), 0);
    let packets = PACKETS as u64;
    assert_eq!(counted(&daemon, "permitted"), (packets, 0));
    let spoofed = counted(&daemon, "source-unannounced");
    assert_eq!(spoofed, (before + packets, packets));
    let samples = daemon.violations();
    assert!(!samples.is_empty(), "violations are sampled");
    daemon.stop();
}

#[test]
fn what_needs_an_ethernet_header_is_refused_on_a_tun_device() {
    if !require("hooks tun refusals", &[]) {
        return;
    }
    let stage = Stage::apart();
    let _tun = stage.router.run(|| Tap::bare("ixp0"));
    words(&stage.router, "link set ixp0 up");
    let refused = |interface: &str| {
        let started = stage.site.try_start(
            &config(interface, ""),
            filter_daemon::runtime::AtExit::Detach,
        );
        started.map(drop).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&lan("auto")),
        "interface `ixp0` has no ethernet header: take `kind = \"lan\"` away; it is a `port` of one peer, without macs and tags"
    );
    let xdp = refused("kind = \"port\"\nhook = \"xdp-native\"\n");
    assert!(
        xdp.contains("(hardware type 65534, none: tun, wireguard)"),
        "{xdp}"
    );
}

/// Both ends' BIRD; the router's keeps what the filter is to know.
fn birds(stage: &Stage) -> [BirdRouter; 2] {
    let conf = |own: &str, (asn, its_asn): (u32, u32), announces: &str| {
        let other = if own == ROUTER { PEER } else { ROUTER };
        format!(
            "router id {own};\nprotocol device {{}}\n\
             protocol static own {{ ipv4; route {announces} blackhole; }}\n\
             protocol bgp session {{ local {own} as {asn}; neighbor {other} as {its_asn}; connect delay time 1;\n\
             connect retry time 1; ipv4 {{ import table on; export table on; import all; export all; }}; }}\n"
        )
    };
    [
        (&stage.router, conf(ROUTER, (64500, 64501), "44.1.0.0/16")),
        (&stage.peer, conf(PEER, (64501, 64500), "45.146.194.0/23")),
    ]
    .map(|(namespace, conf)| BirdRouter::start_with(Release::System, namespace, &conf))
}

/// As [`config`], fed by BIRD.
fn config_of(interface: &str, bird: &BirdRouter) -> String {
    let config = config(interface, "");
    let (before, rest) = config.split_once("[[feed]]").unwrap();
    let (_, after) = rest.split_once("[limits]").unwrap();
    let socket = bird.socket();
    format!(
        "{before}[[feed]]\nkind = \"bird\"\nsocket = {socket:?}\ninterval = 1\n\n[limits]{after}"
    )
}

fn is_established(bird: &BirdRouter) -> bool {
    bird.birdc(&["show", "protocols"]).contains("Established")
}

/// Small networks peer over tunnels (AS214312 does): what is announced over one decides what passes there, and the session
/// stays up.
#[test]
fn bgp_over_a_tun_device_decides_what_passes_there() {
    if !require("hooks bgp over tun", &[Package::Bird]) {
        return;
    }
    let mut stage = Stage::apart();
    let near = stage.router.run(|| Tap::bare("ixp0"));
    let far = stage.peer.run(|| Tap::bare("eth0"));
    for (namespace, device, own, other) in [
        (&stage.router, "ixp0", ROUTER, PEER),
        (&stage.peer, "eth0", PEER, ROUTER),
    ] {
        for line in [
            "link set lo up".to_owned(),
            format!("link set {device} up"),
            format!("addr add {own}/32 peer {other} dev {device}"),
        ] {
            words(namespace, &line);
        }
    }
    words(&stage.router, &format!("addr add {OURS}/32 dev lo"));
    words(&stage.router, "route add default dev ixp0");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&ended);
        scope.spawn(|| Tap::join(&near, &far, &ended));
        let [bird, _peers] = birds(&stage);
        let socket = sink(&stage);
        let port = "kind = \"port\"\nhook = \"auto\"\n";
        let daemon = stage.site.start(&config_of(port, &bird));
        assert_eq!(interface(&daemon)["hook"], "tc");
        until_enforced(&daemon);
        let packets = PACKETS as u64;
        // BGP's own packets were judged by a table without routes until the first was published.
        let (before, _) = counted(&daemon, "source-unannounced");
        for source in [GOOD, SPOOFED] {
            for _ in 0..PACKETS {
                near.send(&stage.packet(source, OURS));
            }
        }
        wait_for("all to be counted", WITHIN, || {
            (counted(&daemon, "source-unannounced") == (before, packets)).then_some(())
        });
        // Nothing overtakes on a wire: all that passed are there.
        assert_eq!(received(&socket), PACKETS);
        bird.birdc(&["reload", "in", "session"]);
        wait_for("the peer's answer to be permitted", WITHIN, || {
            let (passed, dropped) = counted(&daemon, "permitted");
            (passed > packets && dropped == 0).then_some(())
        });
        assert!(is_established(&bird));
        daemon.stop();
    });
}

/// The underlay of a virtual exchange, as bgp.exchange and others have them: VXLAN.
fn vxlan(stage: &Stage) {
    stage.plug("under0", "02:00:00:00:01:01", "under0", "02:00:00:00:01:02");
    for (namespace, own, other, device, mac) in [
        (&stage.router, 1, 2, "ixp0", OUR_MAC),
        (&stage.peer, 2, 1, "eth0", ITS_MAC),
    ] {
        for line in [
            format!("addr add 10.9.9.{own}/24 dev under0"),
            format!(
                "link add {device} address {mac} type vxlan id 42 dstport 4789 local 10.9.9.{own} remote 10.9.9.{other} dev under0"
            ),
            format!("link set {device} up"),
        ] {
            words(namespace, &line);
        }
    }
    words(&stage.router, &format!("addr add {ROUTER}/24 dev ixp0"));
}

#[test]
fn bgp_over_a_vxlan_exchange_decides_what_passes_there() {
    if !require("hooks bgp over vxlan", &[Package::Bird]) {
        return;
    }
    let mut stage = Stage::apart();
    vxlan(&stage);
    words(&stage.peer, &format!("addr add {PEER}/24 dev eth0"));
    let [bird, _peers] = birds(&stage);
    let daemon = stage.site.start(&config_of(&lan("auto"), &bird));
    assert_eq!(interface(&daemon)["hook"], "tc");
    until_enforced(&daemon);
    stage.only_good_ones_arrive(&daemon, ("eth0", "ixp0"));
    assert!(counted(&daemon, "peering-lan").0 > 0, "BGP itself passes");
    assert!(is_established(&bird));
    daemon.stop();
}

/// Two members of a virtual exchange, as bgp.exchange and others have them: VXLAN over an underlay.
#[test]
fn an_exchange_over_vxlan_is_filtered_at_tc() {
    if !require("hooks vxlan", &[]) {
        return;
    }
    let mut stage = Stage::apart();
    vxlan(&stage);
    let daemon = stage.site.start(&config(&lan("auto"), ""));
    until_enforced(&daemon);
    let attached = interface(&daemon);
    assert_eq!(attached["hook"], "tc", "{attached:#}");
    let why = attached["hook_why"].as_str().unwrap();
    assert!(why.starts_with("native xdp is refused: "), "{why}");
    stage.only_good_ones_arrive(&daemon, ("eth0", "ixp0"));
    daemon.stop();
}
