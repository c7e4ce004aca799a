//! Where small networks peer: a device without an Ethernet header, and an exchange over VXLAN.
use std::net::UdpSocket;
use std::time::Duration;

use tests::lab::{Bcp38, require, wait_for};
use tests::tap::Tap;

use super::stage::{
    GOOD, ITS_MAC, OUR_MAC, OURS, PACKETS, SPOOFED, Stage, WITHIN, config, counted, interface, lan,
    until_enforced, words,
};

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
    // Observed, spoofed packets reach us: what drops them below is the filter.
    assert_eq!(arrive(&mut stage, &tun, &socket, &daemon, SPOOFED), PACKETS);
    daemon.set_mode("p", filter_core::Mode::Enforce);
    until_enforced(&daemon);
    assert_eq!(arrive(&mut stage, &tun, &socket, &daemon, GOOD), PACKETS);
    assert_eq!(arrive(&mut stage, &tun, &socket, &daemon, SPOOFED), 0);
    let packets = PACKETS as u64;
    assert_eq!(counted(&daemon, "permitted"), (packets, 0));
    assert_eq!(counted(&daemon, "source-unannounced"), (packets, packets));
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

/// Two members of a virtual exchange, as bgp.exchange and others have them: VXLAN over an underlay.
#[test]
fn an_exchange_over_vxlan_is_filtered_at_tc() {
    if !require("hooks vxlan", &[]) {
        return;
    }
    let mut stage = Stage::apart();
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
    words(&stage.router, "addr add 192.0.2.1/24 dev ixp0");
    let daemon = stage.site.start(&config(&lan("auto"), ""));
    until_enforced(&daemon);
    let attached = interface(&daemon);
    assert_eq!(attached["hook"], "tc", "{attached:#}");
    let why = attached["hook_why"].as_str().unwrap();
    assert!(why.starts_with("native xdp is refused: "), "{why}");
    assert_eq!(stage.arrive(GOOD), PACKETS);
    assert_eq!(stage.arrive(SPOOFED), 0);
    let packets = PACKETS as u64;
    assert_eq!(counted(&daemon, "permitted"), (packets, 0));
    assert_eq!(counted(&daemon, "source-unannounced"), (0, packets));
    daemon.stop();
}
