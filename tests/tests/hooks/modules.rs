//! Devices that are modules of their own: GRE with and without Ethernet, WireGuard, a bond, a VLAN device. Where the running
//! kernel has no such module, that is said; the guests of `cargo xtask kernel-tests` have all of them, and must run them.
use std::net::UdpSocket;
use std::process::Command;

use tests::kernel::say;
use tests::lab::{Namespace, require, wait_for};

use super::stage::{
    GOOD, ITS_MAC, OUR_MAC, OURS, PACKETS, SPOOFED, Stage, WITHIN, config, counted, interface, lan,
    until_enforced, words,
};
use super::wireguard::{self, PEER, ROUTER};

/// Names the modules that must be there, set in guests.
const REQUIRED: &str = "FILTER_REQUIRE_MODULES";
const PORT: &str = "kind = \"port\"\nhook = \"auto\"\n";

/// Can this kernel make such a device? If not, the test says so and has to return.
fn has(test: &str, device: &str) -> bool {
    if !require(test, &[]) {
        return false;
    }
    let apart = Namespace::quiet("modules").unwrap();
    words(&apart, "link add below0 type veth peer name below1");
    let line = format!("-n {} link add {device}", apart.name());
    let made = Command::new("ip").args(line.split(' ')).output().unwrap();
    let error = String::from_utf8_lossy(&made.stderr).into_owned();
    let is_required = std::env::var_os(REQUIRED).is_some_and(|value| value == "1");
    assert!(made.status.success() || !is_required, "{device}: {error}");
    if !made.status.success() {
        say(&format!(
            "{test}: not on this kernel, which has no such module ({}): `cargo xtask kernel-tests` runs it",
            error.trim()
        ));
    }
    made.status.success()
}

/// Two ends of a tunnel over a link of their own: `ixp0` at the router, `eth0` at the peer.
fn tunnel(stage: &Stage, kind: &str) {
    stage.plug("under0", "02:00:00:00:01:01", "under0", "02:00:00:00:01:02");
    for (namespace, own, other, device, mac) in [
        (&stage.router, 1, 2, "ixp0", OUR_MAC),
        (&stage.peer, 2, 1, "eth0", ITS_MAC),
    ] {
        let address = match kind {
            "gretap" => format!(" address {mac}"),
            _ => String::new(),
        };
        for line in [
            "link set lo up".to_owned(),
            format!("addr add 10.9.9.{own}/24 dev under0"),
            format!(
                "link add {device}{address} type {kind} local 10.9.9.{own} remote 10.9.9.{other}"
            ),
            format!("link set {device} up"),
        ] {
            words(namespace, &line);
        }
    }
}

/// What comes through a tunnel without Ethernet to the router's own socket: everything while the peer is observed; once it is
/// enforced, all good packets and no spoofed one.
fn only_good_ones_reach_a_socket(stage: &Stage) {
    for line in [
        "addr add 192.0.2.1/32 peer 192.0.2.11/32 dev ixp0",
        &format!("addr add {OURS}/32 dev lo"),
        "route add default dev ixp0",
    ] {
        words(&stage.router, line);
    }
    for line in [
        "addr add 192.0.2.11/32 peer 192.0.2.1/32 dev eth0",
        &format!("addr add {GOOD}/32 dev lo"),
        &format!("addr add {SPOOFED}/32 dev lo"),
        &format!("route add {OURS}/32 dev eth0"),
    ] {
        words(&stage.peer, line);
    }
    let sink = stage.router.run(|| UdpSocket::bind((OURS, 9)).unwrap());
    sink.set_nonblocking(true).unwrap();
    let observing = config(PORT, "").replace("\"enforce\"", "\"observe\"");
    let daemon = stage.site.start(&observing);
    let attached = interface(&daemon);
    assert_eq!(attached["hook"], "tc", "{attached:#}");
    assert_eq!(attached["hook_why"], "the device has no ethernet header");
    daemon.until_state("p", "observing");
    let judged = || ["permitted", "source-unannounced"].map(|reason| counted(&daemon, reason).0);
    // What it observes is known before it is in the kernel: until then packets are `unjudged`. Nor is it said that the first ones
    // arrive, as long as the outer network is not known.
    wait_for("packets to be judged by the peer's table", WITHIN, || {
        _ = arrived(stage, &sink);
        judged().iter().all(|&packets| packets > 0).then_some(())
    });
    let [good, spoofed] = judged();
    assert_eq!(arrived(stage, &sink), [PACKETS, PACKETS]);
    daemon.set_mode("p", filter_core::Mode::Enforce);
    until_enforced(&daemon);
    assert_eq!(arrived(stage, &sink), [PACKETS, 0]);
    let packets = PACKETS as u64;
    // With the last one of each time.
    let permitted = (good + 2 * packets + 2, 0);
    assert_eq!(counted(&daemon, "permitted"), permitted);
    let unannounced = (spoofed + packets, packets);
    assert_eq!(counted(&daemon, "source-unannounced"), unannounced);
    daemon.stop();
}

/// Sends good and spoofed packets, and a last good one. How many of each were received when that one was? Nothing overtakes
/// in a tunnel.
fn arrived(stage: &Stage, sink: &UdpSocket) -> [usize; 2] {
    let from = |source| stage.peer.run(|| UdpSocket::bind((source, 0)).unwrap());
    let (good, spoofed) = (from(GOOD), from(SPOOFED));
    for sender in [&good, &spoofed] {
        for _ in 0..PACKETS {
            sender.send_to(b"numbered", (OURS, 9)).unwrap();
        }
    }
    good.send_to(b"the last", (OURS, 9)).unwrap();
    let mut received = Vec::new();
    wait_for("the last packet", WITHIN, || {
        let mut packet = [0; 64];
        while let Ok((length, source)) = sink.recv_from(&mut packet) {
            if packet[..length] == *b"the last" {
                return Some(());
            }
            received.push(source.ip().to_string());
        }
        None
    });
    [GOOD, SPOOFED].map(|source| received.iter().filter(|from| *from == source).count())
}

#[test]
fn a_gre_tunnel_is_a_port_without_macs() {
    if !has("hooks gre", "g0 type gre local 10.9.9.1 remote 10.9.9.2") {
        return;
    }
    let stage = Stage::apart();
    tunnel(&stage, "gre");
    only_good_ones_reach_a_socket(&stage);
}

/// The good packets come through, the spoofed ones do not, at this hook.
fn filters(stage: &mut Stage, interface_lines: &str) {
    words(&stage.router, "addr add 192.0.2.1/24 dev ixp0");
    let daemon = stage.site.start(&config(interface_lines, ""));
    until_enforced(&daemon);
    let attached = interface(&daemon);
    assert_eq!(attached["hook"], "tc", "{attached:#}");
    stage.only_good_ones_arrive(&daemon, ("eth0", "ixp0"));
    daemon.stop();
}

#[test]
fn an_exchange_over_gretap_is_filtered_at_tc() {
    if !has(
        "hooks gretap",
        "g0 type gretap local 10.9.9.1 remote 10.9.9.2",
    ) {
        return;
    }
    let mut stage = Stage::apart();
    tunnel(&stage, "gretap");
    filters(&mut stage, &lan("tc"));
}

#[test]
fn a_bond_is_filtered_whichever_member_the_frames_come_in_on() {
    if !has("hooks bond", "b0 type bond mode active-backup") {
        return;
    }
    let mut stage = Stage::apart();
    stage.plug("m0", "02:00:00:00:01:01", "eth0", ITS_MAC);
    for line in [
        &format!("link add ixp0 address {OUR_MAC} type bond mode active-backup"),
        "link set m0 down",
        "link set m0 master ixp0",
        "link set ixp0 up",
    ] {
        words(&stage.router, line);
    }
    filters(&mut stage, &lan("tc"));
}

#[test]
fn a_wireguard_tunnel_is_a_port_without_macs() {
    if !has("hooks wireguard", "w0 type wireguard") {
        return;
    }
    let stage = Stage::apart();
    stage.plug("under0", "02:00:00:00:01:01", "under0", "02:00:00:00:01:02");
    for (namespace, device, own, other) in [
        (&stage.router, "ixp0", ROUTER, PEER),
        (&stage.peer, "eth0", PEER, ROUTER),
    ] {
        for line in [
            "link set lo up".to_owned(),
            format!("addr add {}/24 dev under0", own.below),
            format!("link add {device} type wireguard"),
        ] {
            words(namespace, &line);
        }
        namespace.run(|| wireguard::join(device, own, other));
        words(namespace, &format!("link set {device} up"));
    }
    only_good_ones_reach_a_socket(&stage);
}

/// The peer is behind a tag: the router's VLAN device has the address, the filter is on the device below.
#[test]
fn a_peer_behind_a_real_vlan_device_is_judged_by_its_tag() {
    if !has("hooks 8021q", "link below0 name v0 type vlan id 100") {
        return;
    }
    let mut stage = Stage::new();
    for (namespace, device) in [(&stage.router, "ixp0"), (&stage.peer, "eth0")] {
        words(
            namespace,
            &format!("link add link {device} name tagged0 type vlan id 100"),
        );
        words(namespace, "link set tagged0 up");
    }
    words(&stage.router, "addr del 192.0.2.1/24 dev ixp0");
    words(&stage.router, "addr add 192.0.2.1/24 dev tagged0");
    let tagged =
        config(&lan("tc"), "").replace("interface = \"ixp0\"", "interface = \"ixp0\"\nvlan = 100");
    let daemon = stage.site.start(&tagged);
    until_enforced(&daemon);
    stage.only_good_ones_arrive(&daemon, ("tagged0", "tagged0"));
    // Without the tag no peer is configured: `other-vlan`.
    assert_eq!(stage.arrive(SPOOFED), PACKETS);
    daemon.stop();
}
