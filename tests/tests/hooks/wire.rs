//! Real frames at tc: what XDP never sees, or sees otherwise.
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::Ends;
use filter_core::layout::LinkLayer;
use filter_core::packet::{Mac, Vlans};
use filter_core::{Mode, Reason};
use filter_loader::{
    AttachMode, Device, Engine, Filter, HookKind, InterfaceSpec, Options, PeerSlot, Station,
    detach_pinned, hooks, pinned_interfaces, programs_at_tc,
};
use tests::kernel::Feature;
use tests::lab::Wire;
use tests::netns::{Namespace, has_xdp, ip};
use tests::require_kernel;
use tests::rig::{self, GOOD, NEAR, Pair, Pins, SPOOFED, build, counted, just};
use tests::tap::{Offload, Tap};

const TAP: &str = "tap0";

#[test]
fn at_tc_spoofed_frames_are_dropped_and_counted() {
    if !require_kernel("at_tc_spoofed_frames_are_dropped_and_counted") {
        return;
    }
    for mode in [Mode::Observe, Mode::Enforce] {
        let pair = Pair::new(1500);
        let behind = Wire::behind_tc(NEAR).unwrap();
        let mut filter = rig::load(&rig::options(Engine::Tables));
        let (peer, attached) = rig::guard(&mut filter, AttachMode::Tc, mode);
        assert_eq!(attached.kind, HookKind::Tc);
        assert_eq!(
            programs_at_tc(attached.ifindex).unwrap(),
            [attached.program]
        );
        assert!(!has_xdp(NEAR));
        let enforced = mode == Mode::Enforce;
        for _ in 0..5 {
            pair.far.send(&build(SPOOFED));
        }
        pair.far.send(&build(GOOD));
        for _ in 0..if enforced { 0 } else { 5 } {
            assert_eq!(behind.receive(), build(SPOOFED));
        }
        assert_eq!(behind.receive(), build(GOOD));
        let (spoofed, good) = (build(SPOOFED).len(), build(GOOD).len());
        let expected = [
            (Reason::SourceUnannounced, enforced, 5, spoofed),
            (Reason::Permitted, false, 1, good),
        ];
        assert_eq!(counted(&filter, peer, 6), just(&expected));
        assert_eq!(filter.interface_counters(NEAR).unwrap(), just(&[]));
        filter.detach_all().unwrap();
        assert_eq!(programs_at_tc(attached.ifindex).unwrap(), [0; 0]);
    }
}

/// Frames that no test run takes: the kernel makes packets of whole headers only.
#[test]
fn frames_that_are_cut_are_malformed_at_tc() {
    if !require_kernel("frames_that_are_cut_are_malformed_at_tc") {
        return;
    }
    let pair = Pair::new(1500);
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let (peer, _) = rig::guard(&mut filter, AttachMode::Tc, Mode::Enforce);
    let ipv6 = "eth src=icrc dst=us / ipv6 2a13:47c0:146::1 > 2001:db8:100::1 udp";
    let mut expected = just(&[]);
    for (text, lens) in [(GOOD, [14, 15, 20, 33]), (ipv6, [14, 15, 34, 53])] {
        for len in lens {
            let frame = build(&format!("{text} / cut {len}"));
            pair.far.send(&frame);
            expected.count(Reason::Malformed, true, frame.len() as u64);
        }
    }
    assert_eq!(counted(&filter, peer, 8), expected);
    filter.detach_all().unwrap();
}

/// The interface knows these tags, and the peer sends with them.
fn tag(filter: &mut Filter, peer: PeerSlot, ifindex: u32, vlans: Vlans) {
    let mut spec = InterfaceSpec::of_device(NEAR).unwrap();
    spec.network_mut(vlans);
    filter.set_interface(ifindex, &spec).unwrap();
    let station = Station {
        vlans,
        ..rig::station(ifindex, "icrc")
    };
    filter.set_stations(peer, &[station]).unwrap();
}

/// On a veth pair tags are beside the frame: in XDP they would not be seen.
#[test]
fn tags_beside_the_frame_tell_peers_apart_at_tc() {
    if !require_kernel("tags_beside_the_frame_tell_peers_apart_at_tc") {
        return;
    }
    let single = Vlans {
        outer: 100,
        inner: 0,
    };
    let double = Vlans {
        outer: 100,
        inner: 200,
    };
    for (tags, vlans, link) in [
        (" / vlan 100", single, LinkLayer::Stripped),
        (
            " / vlan 100 tpid=0x88a8 / vlan 200",
            double,
            LinkLayer::Stripped,
        ),
        (" / vlan 0 / vlan 100", single, LinkLayer::Ethernet),
    ] {
        let pair = Pair::new(1500);
        let mut filter = rig::load(&rig::options(Engine::Tables));
        let mut samples = filter.take_samples().unwrap();
        let (peer, attached) = rig::guard(&mut filter, AttachMode::Tc, Mode::Enforce);
        tag(&mut filter, peer, attached.ifindex, vlans);
        let [good, spoofed] =
            [GOOD, SPOOFED].map(|text| build(&text.replace(" / ipv4", &format!("{tags} / ipv4"))));
        pair.far.send(&good);
        pair.far.send(&spoofed);
        let expected = [
            (Reason::Permitted, false, 1, good.len()),
            (Reason::SourceUnannounced, true, 1, spoofed.len()),
        ];
        assert_eq!(counted(&filter, peer, 2), just(&expected), "{tags}");
        assert!(samples.wait(Duration::from_secs(10)));
        let sample = samples.next_sample().unwrap();
        let received = (sample.vlans, sample.link, sample.length as usize);
        assert_eq!(received, (vlans, link, spoofed.len()), "{tags}");
        // Behind the MACs, without the first tag.
        let rest = &spoofed[16..];
        assert_eq!(sample.data[12..][..rest.len()], *rest, "{tags}");
        filter.detach_all().unwrap();
    }
}

/// A TAP device of ours, guarded at tc.
fn tap(filter: &mut Filter) -> (Tap, PeerSlot) {
    let tap = Tap::ethernet(TAP);
    ip(&format!("link set {TAP} address 02:00:00:00:00:01"));
    ip(&format!("link set {TAP} up"));
    let peer = rig::publish(filter, Mode::Enforce);
    let spec = InterfaceSpec::of_device(TAP).unwrap();
    let attached = filter.attach(&spec, AttachMode::Tc).unwrap();
    filter
        .set_stations(peer, &[rig::station(attached.ifindex, "icrc")])
        .unwrap();
    filter.lease().keep();
    (tap, peer)
}

#[test]
fn headers_beside_the_linear_part_are_read() {
    if !require_kernel("headers_beside_the_linear_part_are_read") {
        return;
    }
    const LONG: usize = 6_000;
    const ETHERNET: u16 = 14;
    let _namespace = Namespace::enter();
    // Every violation is sampled.
    let mut filter = rig::load(&Options {
        samples_per_second: 1_000_000,
        ..rig::options(Engine::Tables)
    });
    let mut samples = filter.take_samples().unwrap();
    let (tap, peer) = tap(&mut filter);
    let (good6, spoofed6) = (
        "eth src=icrc dst=us / ipv6 2a13:47c0:146::1 > 2001:db8:100::1 udp",
        "eth src=icrc dst=us / ipv6 2a09::9 > 2001:db8:100::1 udp",
    );
    let mut expected = just(&[]);
    for (text, reason) in [
        (GOOD, Reason::Permitted),
        (SPOOFED, Reason::SourceUnannounced),
        // What an error quotes lies further in.
        (
            "eth src=icrc dst=us / ipv4 8.8.8.8 > 198.51.100.1 / icmp 3 4 / ipv4 198.51.100.1 > 45.146.194.1 udp",
            Reason::SourceUnannounced, // too long for an error
        ),
        (spoofed6, Reason::BothUnannounced),
        (good6, Reason::BothUnannounced),
    ] {
        let frame = build(&format!("{text} / pad {LONG}"));
        for linear in [ETHERNET, ETHERNET + 6, ETHERNET + 21, ETHERNET + 60] {
            tap.send_as(&frame, Offload { linear, segment: 0 });
            let dropped = reason != Reason::Permitted;
            expected.count(reason, dropped, frame.len() as u64);
            let total = expected.total();
            let packets = total.passed.packets + total.dropped.packets;
            assert_eq!(
                counted(&filter, peer, packets),
                expected,
                "{text}, {linear}"
            );
            if dropped {
                assert!(samples.wait(Duration::from_secs(10)));
                let sample = samples.next_sample().unwrap();
                assert_eq!(sample.data[..], frame[..sample.data.len()]);
                assert_eq!(sample.length as usize, frame.len());
            }
        }
    }
    filter.detach_all().unwrap();
}

/// The driver runs XDP before it makes a packet's buffer, but not for super-frames: those it hands on to generic XDP.
#[test]
fn auto_takes_native_xdp_on_a_tap_that_has_no_super_frames() {
    if !require_kernel("auto_takes_native_xdp_on_a_tap_that_has_no_super_frames")
        || !Feature::Tcx.is_here()
    {
        return;
    }
    for (open, expected, why) in [
        (
            Tap::plain as fn(&str) -> Tap,
            HookKind::XdpNative,
            "the driver runs xdp before a packet's buffer is made",
        ),
        (
            Tap::ethernet,
            HookKind::Tc,
            "xdp runs when a super-frame's buffer is made already, and the device's other end may send those (vnet_hdr)",
        ),
    ] {
        let _namespace = Namespace::enter();
        let _tap = open(TAP);
        ip(&format!("link set {TAP} up"));
        let mut filter = rig::load(&rig::options(Engine::Tables));
        let spec = InterfaceSpec::of_device(TAP).unwrap();
        let attached = filter.attach(&spec, AttachMode::Auto).unwrap();
        assert_eq!((attached.kind, attached.why.as_str()), (expected, why));
        let device = Device::find(TAP).unwrap();
        let is_tc = device.auto_hook() == AttachMode::Tc.name();
        assert_eq!(is_tc, expected.is_tc());
        filter.detach_all().unwrap();
    }
}

#[test]
fn super_frames_count_as_their_segments() {
    if !require_kernel("super_frames_count_as_their_segments") {
        return;
    }
    const HEADERS: usize = 54;
    let _namespace = Namespace::enter();
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let (tap, peer) = tap(&mut filter);
    let (mut packets, mut bytes) = (0, 0);
    for (payload, segment) in [
        (3_500, 1_000),
        (3_000, 1_000),
        (3_001, 1_000),
        (40_000, 1_448),
    ] {
        let mut frame = build(&format!("{GOOD} / pad {}", HEADERS + payload));
        let total = (HEADERS + payload - 14) as u16;
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame[23] = 6; // TCP
        frame[46] = 5 << 4; // words of its header
        let linear = HEADERS as u16;
        let segment_len = segment as u16;
        tap.send_as(
            &frame,
            Offload {
                linear,
                segment: segment_len,
            },
        );
        let segments = payload.div_ceil(segment);
        packets += segments as u64;
        bytes += (payload + segments * HEADERS) as u64;
        let counters = counted(&filter, peer, packets);
        let passed = counters.get(Reason::Permitted).passed;
        assert_eq!(
            (passed.packets, passed.bytes),
            (packets, bytes),
            "{payload}"
        );
    }
    filter.detach_all().unwrap();
}

/// Good and spoofed frames all the while the program goes from hook to hook.
#[test]
fn from_hook_to_hook_every_packet_is_judged_and_counted_once() {
    const MOVES: usize = 24;
    /// So long packets flow at each hook: far more than are in flight while it changes.
    const SETTLED: Duration = Duration::from_millis(20);
    if !require_kernel("from_hook_to_hook_every_packet_is_judged_and_counted_once") {
        return;
    }
    let (pair, pins) = (Pair::new(1500), Pins::new());
    let behind = Wire::behind_tc(NEAR).unwrap();
    let mut filter = rig::load(&pins.options());
    let (peer, attached) = rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
    let (device, good, spoofed) = (Device::find(NEAR).unwrap(), build(GOOD), build(SPOOFED));
    let (far, is_over) = (&pair.far, &AtomicBool::new(false));
    let (mut arrived, sent) = thread::scope(|scope| {
        let over = Ends(is_over);
        let sender = scope.spawn(|| {
            let mut sent = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                far.send(&good);
                far.send(&spoofed);
                sent += 1;
                thread::sleep(Duration::from_micros(200));
            }
            sent
        });
        let mut arrived = Vec::new();
        for number in 0..MOVES {
            let (mode, kind) = match number % 4 {
                0 | 2 => (AttachMode::Tc, HookKind::Tc),
                1 => (AttachMode::Native, HookKind::XdpNative),
                _ => (AttachMode::Generic, HookKind::XdpGeneric),
            };
            let moved = filter.attach_otherwise(&device, NEAR, mode).unwrap();
            assert_eq!(moved.kind, kind);
            thread::sleep(SETTLED);
            let at_tc = programs_at_tc(attached.ifindex).unwrap();
            assert_eq!(has_xdp(NEAR), at_tc.is_empty(), "{mode:?}");
            arrived.extend(behind.waiting());
        }
        drop(over);
        (arrived, sender.join().unwrap())
    });
    pair.far.send(&good);
    tests::wire::until("the last frame", || {
        let more = behind.waiting();
        let is_last = !more.is_empty();
        arrived.extend(more);
        is_last
    });
    arrived.extend(behind.waiting());
    assert!(!arrived.contains(&spoofed), "a spoofed frame came through");
    assert!(arrived.contains(&good));
    let counters = filter.counters(peer).unwrap();
    let (good, bad) = (
        counters.get(Reason::Permitted),
        counters.get(Reason::SourceUnannounced),
    );
    println!("{sent} of each sent: {good:?}, {bad:?}");
    assert_eq!(counters.nonzero().count(), 2, "{counters:?}");
    assert_eq!(filter.interface_counters(NEAR).unwrap(), just(&[]));
    let (passed, dropped) = (good.passed.packets, bad.dropped.packets);
    assert_eq!((good.dropped.packets, bad.passed.packets), (0, 0));
    // Taking XDP off a veth device loses what is in its ring before the filter sees it, and a frame that is between both
    // hooks at the moment the count moves may be counted by both, or by none.
    let moves = MOVES as u64;
    assert!(
        dropped <= sent && dropped + 16 * moves >= sent,
        "{dropped} of {sent}"
    );
    assert!(
        passed.abs_diff(dropped) <= 2 * moves,
        "{passed} passed, {dropped} dropped"
    );
    filter.detach_all().unwrap();
}

/// Generic XDP copies a packet's buffer, and Linux forgets how long its Ethernet header is.
#[test]
fn behind_generic_xdp_frames_are_read_from_their_header() {
    if !require_kernel("behind_generic_xdp_frames_are_read_from_their_header") {
        return;
    }
    let pair = Pair::new(1500);
    let mut foreign = rig::load(&rig::options(Engine::Tables));
    rig::guard(&mut foreign, AttachMode::Generic, Mode::Observe);
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let (peer, attached) = rig::guard(&mut filter, AttachMode::Tc, Mode::Enforce);
    let tags = Vlans {
        outer: 100,
        inner: 200,
    };
    let mut expected = just(&[]);
    for len in [42, 43, 60, 1_500] {
        for (text, reason) in [
            (GOOD, Reason::Permitted),
            (SPOOFED, Reason::SourceUnannounced),
            // Whose first bytes are the ethertype of IPv4, where a header of Ethernet would have it.
            (
                "eth src=icrc dst=us / ipv4 8.0.9.9 > 198.51.100.1 udp",
                Reason::SourceUnannounced,
            ),
            (
                "eth src=icrc dst=us / ipv6 2a09:0:86dd::9 > 2001:db8:100::1 udp",
                Reason::BothUnannounced,
            ),
        ] {
            let frame = build(&format!("{text} / pad {len}"));
            pair.far.send(&frame);
            expected.count(reason, reason != Reason::Permitted, frame.len() as u64);
        }
    }
    assert_eq!(counted(&filter, peer, 16), expected);
    assert_eq!(filter.interface_counters(NEAR).unwrap(), just(&[]));
    tag(&mut filter, peer, attached.ifindex, tags);
    let spoofed = build(&SPOOFED.replace(" / ipv4", " / vlan 100 / vlan 200 / ipv4"));
    pair.far.send(&spoofed);
    expected.count(Reason::SourceUnannounced, true, spoofed.len() as u64);
    assert_eq!(counted(&filter, peer, 17), expected);
    filter.detach_all().unwrap();
    foreign.detach_all().unwrap();
}

/// Where our MAC could be the start of an IPv6 header, a sender can make a frame's Ethernet header of the same bytes as the IPv6
/// header behind it.
#[test]
fn behind_generic_xdp_no_sender_can_hide_where_the_header_is() {
    const OUR_MAC: &str = "60:00:00:00:00:08";
    const ITS_MAC: [u8; 6] = [0x06, 0x40, 0x2a, 0x09, 0x00, 0x00];
    if !require_kernel("behind_generic_xdp_no_sender_can_hide_where_the_header_is") {
        return;
    }
    let pair = Pair::new(1500);
    ip(&format!("link set {NEAR} address {OUR_MAC}"));
    let mut foreign = rig::load(&rig::options(Engine::Tables));
    rig::guard(&mut foreign, AttachMode::Generic, Mode::Observe);
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let (peer, attached) = rig::guard(&mut filter, AttachMode::Tc, Mode::Enforce);
    let station = Station {
        mac: Mac::from_bytes(ITS_MAC),
        ..rig::station(attached.ifindex, "icrc")
    };
    filter.set_stations(peer, &[station]).unwrap();
    // Version 6, eight bytes of payload, TCP, hop limit 64, from 2a09:0:86dd::9 to 2001:db8:100::1.
    let ip_header = [
        &[0x60, 0, 0, 0, 0, 8, 6, 64][..],
        &[0x2a, 0x09, 0, 0, 0x86, 0xdd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
        &[0x20, 0x01, 0x0d, 0xb8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    ]
    .concat();
    let frame = [&ip_header[..14], &ip_header, &[0; 8]].concat();
    assert_eq!(frame[..14], frame[14..28]);
    pair.far.send(&frame);
    let expected = [(Reason::BothUnannounced, true, 1, frame.len())];
    assert_eq!(counted(&filter, peer, 1), just(&expected));
    assert_eq!(filter.interface_counters(NEAR).unwrap(), just(&[]));
    filter.detach_all().unwrap();
    foreign.detach_all().unwrap();
}

#[test]
fn a_pinned_program_at_tc_is_taken_over_in_its_place() {
    if !require_kernel("a_pinned_program_at_tc_is_taken_over_in_its_place") {
        return;
    }
    for without_tcx in [false, true] {
        hooks::without_tcx(without_tcx);
        taken_over();
    }
    hooks::without_tcx(false);
}

fn taken_over() {
    let (pair, pins) = (Pair::new(1500), Pins::new());
    let behind = Wire::behind_tc(NEAR).unwrap();
    let mut filter = rig::load(&pins.options());
    let (_, attached) = rig::guard(&mut filter, AttachMode::Tc, Mode::Enforce);
    drop(filter);
    assert_eq!(
        programs_at_tc(attached.ifindex).unwrap(),
        [attached.program]
    );
    pair.far.send(&build(SPOOFED));
    pair.far.send(&build(GOOD));
    assert_eq!(behind.receive(), build(GOOD), "nobody holds it but the pin");
    let mut next = rig::load(&pins.options());
    let spec = InterfaceSpec::of_device(NEAR).unwrap();
    let again = next.attach(&spec, AttachMode::Auto).unwrap();
    assert_eq!((again.kind, again.adopted), (HookKind::Tc, true));
    assert_ne!(again.program, attached.program);
    assert_eq!(
        programs_at_tc(again.ifindex).unwrap(),
        [again.program],
        "in its place"
    );
    let peer = next.add_peer("icrc").unwrap();
    let before = next.counters(peer).unwrap();
    pair.far.send(&build(GOOD));
    assert_eq!(behind.receive(), build(GOOD));
    let since = next.counters(peer).unwrap().since(&before);
    assert_eq!(since.get(Reason::Permitted).passed.packets, 1);
    // To XDP, and back, and gone: whatever kept it at tc goes each time.
    let device = Device::find(NEAR).unwrap();
    for (mode, is_at_tc) in [(AttachMode::Native, false), (AttachMode::Tc, true)] {
        let moved = next.attach_otherwise(&device, NEAR, mode).unwrap();
        let at_tc = programs_at_tc(again.ifindex).unwrap();
        assert_eq!(
            (at_tc.len(), has_xdp(NEAR)),
            (usize::from(is_at_tc), !is_at_tc)
        );
        assert_eq!(at_tc.contains(&moved.program), is_at_tc);
        assert_eq!(pinned_interfaces(pins.path()).unwrap(), [NEAR]);
    }
    drop(next);
    assert!(detach_pinned(pins.path(), NEAR).unwrap());
    assert_eq!(programs_at_tc(again.ifindex).unwrap(), [0; 0]);
    assert!(!pins.path().exists());
}
