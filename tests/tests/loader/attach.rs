//! Attaching, and what then happens to frames on the wire.
use std::collections::BTreeMap;

use filter_core::layout::{MAX_FAR_INDICES, MAX_TAGGED_NETWORKS, NEAR_IFINDEX};
use filter_core::packet::Vlans;
use filter_core::{Mode, Reason};
use filter_loader::{AttachMode, Device, Engine, Error, HookKind, InterfaceSpec, TEST_IFINDEX};
use tests::kernel::{Feature, engines, require_kernel};
use tests::netns::{has_xdp, ip};
use tests::rig::{self, GOOD, NEAR, Pair, Pins, SPOOFED, TEST_NAME, build, counted, just};

/// Five spoofed frames, then a good one: what comes through says what became of the spoofed ones.
fn five_spoofed_frames(engine: Engine, how: AttachMode, kind: HookKind, mode: Mode) {
    let pair = Pair::new(1500);
    let mut filter = rig::load(&rig::options(engine));
    let (peer, attached) = rig::guard(&mut filter, how, mode);
    assert_eq!(attached.kind, kind);
    assert!(has_xdp(NEAR));
    for _ in 0..5 {
        pair.far.send(&build(SPOOFED));
    }
    let enforced = mode == Mode::Enforce;
    for _ in 0..if enforced { 0 } else { 5 } {
        assert_eq!(pair.near.receive(), build(SPOOFED), "{how:?}, {mode}");
    }
    pair.passes(GOOD);
    let (spoofed, good) = (build(SPOOFED).len(), build(GOOD).len());
    let expected = [
        (Reason::SourceUnannounced, enforced, 5, spoofed),
        (Reason::Permitted, false, 1, good),
    ];
    assert_eq!(counted(&filter, peer, 6), just(&expected));
    assert_eq!(filter.interface_counters(NEAR).unwrap(), just(&[]));
    filter.detach_all().unwrap();
    assert!(!has_xdp(NEAR));
    pair.passes(SPOOFED);
}

#[test]
fn spoofed_frames_on_the_wire_meet_the_mode() {
    if require_kernel("spoofed_frames_on_the_wire_meet_the_mode") {
        for mode in [Mode::Observe, Mode::Enforce] {
            for &engine in engines("spoofed_frames_on_the_wire_meet_the_mode") {
                five_spoofed_frames(engine, AttachMode::Native, HookKind::XdpNative, mode);
            }
            let (how, kind) = (AttachMode::Generic, HookKind::XdpGeneric);
            five_spoofed_frames(Engine::Tables, how, kind, mode);
        }
    }
}

#[test]
fn a_dropped_filter_detaches() {
    if require_kernel("a_dropped_filter_detaches") {
        let pair = Pair::new(1500);
        let mut filter = rig::load(&rig::options(Engine::Tables));
        rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
        drop(filter);
        assert!(!has_xdp(NEAR));
        pair.passes(SPOOFED);
    }
}

#[test]
fn jumbo_frames_are_judged_and_counted_whole() {
    if !require_kernel("jumbo_frames_are_judged_and_counted_whole") {
        return;
    }
    // Before 5.18 native XDP refuses such a device, and generic is what is left.
    let (first, native) = if Feature::Frags.is_here() {
        (AttachMode::Native, HookKind::XdpNative)
    } else {
        (AttachMode::Auto, HookKind::XdpGeneric)
    };
    for (how, kind) in [(first, native), (AttachMode::Generic, HookKind::XdpGeneric)] {
        let pair = Pair::new(9_000);
        let mut filter = rig::load(&rig::options(Engine::Tables));
        if native != HookKind::XdpNative {
            assert_eq!(refused(&mut filter), TOO_LONG);
        }
        let (peer, attached) = rig::guard(&mut filter, how, Mode::Enforce);
        assert_eq!(attached.kind, kind);
        let mut expected = just(&[]);
        for len in [5_000, 8_192, 9_014] {
            pair.far.send(&build(&format!("{SPOOFED} / pad {len}")));
            pair.passes(&format!("{GOOD} / pad {len}"));
            expected.count(Reason::SourceUnannounced, true, len as u64);
            expected.count(Reason::Permitted, false, len as u64);
        }
        assert_eq!(counted(&filter, peer, 6), expected, "{how:?}");
        filter.detach_all().unwrap();
    }
}

const TOO_LONG: &str = "cannot attach to interface `near`: native: `bpf_link_create` failed: Numerical result out of range (os error 34)";

/// What the near end says to a filter that wants it natively.
fn refused(filter: &mut filter_loader::Filter) -> String {
    let spec = InterfaceSpec::of_device(NEAR).unwrap();
    let refused = filter.attach(&spec, AttachMode::Native);
    refused.expect_err("no such frames before 5.18").to_string()
}

#[test]
fn frames_for_other_stations_pass_and_are_counted_apart() {
    if require_kernel("frames_for_other_stations_pass_and_are_counted_apart") {
        let pair = Pair::new(1500);
        let mut filter = rig::load(&rig::options(Engine::Tables));
        let (peer, _) = rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
        let flooded = SPOOFED.replace("dst=us", "dst=other");
        pair.passes(&flooded);
        let expected = just(&[(Reason::NotForUs, false, 1, build(&flooded).len())]);
        assert_eq!(counted(&filter, peer, 1), expected);
        filter.detach_all().unwrap();
    }
}

#[test]
fn tags_on_the_wire_tell_peers_apart() {
    if require_kernel("tags_on_the_wire_tell_peers_apart") {
        let pair = Pair::new(1500);
        let mut filter = rig::load(&rig::options(Engine::Tables));
        let (peer, attached) = rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
        let mut tagged = rig::station(attached.ifindex, "icrc");
        tagged.vlans.outer = 100;
        let mut spec = InterfaceSpec::of_device(NEAR).unwrap();
        spec.network_mut(tagged.vlans);
        filter.set_interface(attached.ifindex, &spec).unwrap();
        filter.set_stations(peer, &[tagged]).unwrap();
        let in_vlan = GOOD.replace(" / ipv4", " / vlan 100 / ipv4");
        pair.far.send(&build(&in_vlan));
        pair.passes(GOOD); // no peer's now, and observed
        let len = build(&in_vlan).len();
        assert_eq!(
            counted(&filter, peer, 1),
            just(&[(Reason::Permitted, false, 1, len)])
        );
        let expected = just(&[(Reason::UnknownPeer, false, 1, build(GOOD).len())]);
        assert_eq!(filter.interface_counters(NEAR).unwrap(), expected);
        filter.detach_all().unwrap();
    }
}

#[test]
fn interfaces_come_and_go_without_using_up_slots() {
    if !require_kernel("interfaces_come_and_go_without_using_up_slots") {
        return;
    }
    let _pair = Pair::new(1500);
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let mut name = NEAR.to_owned();
    for round in 0..70 {
        let next = format!("if{round}");
        ip(&format!("link set {name} down"));
        ip(&format!("link set {name} name {next}"));
        name = next;
        let spec = InterfaceSpec::of_device(&name).unwrap();
        filter.attach(&spec, AttachMode::Generic).unwrap();
        assert_eq!(filter.interface_counters(&name).unwrap(), just(&[]));
        filter.detach(&name).unwrap();
    }
}

#[test]
fn nothing_is_left_behind() {
    if !require_kernel("nothing_is_left_behind") {
        return;
    }
    let (namespace, pinned) = {
        let (pair, pins) = (Pair::new(1500), Pins::new());
        let mut filter = rig::load(&pins.options());
        rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
        let here = (pair.namespace(), pins.path().to_owned());
        assert!(here.0.exists() && here.1.join("link-near").exists() && has_xdp(NEAR));
        filter.detach_all().unwrap();
        assert!(!has_xdp(NEAR));
        here
    };
    assert!(!namespace.exists(), "{}", namespace.display());
    assert!(!pinned.exists(), "{}", pinned.display());
}

/// A bond's program runs with the index of the member that a frame came in on.
#[test]
fn frames_of_a_bonds_member_are_the_bonds() {
    if !require_kernel("frames_of_a_bonds_member_are_the_bonds") {
        return;
    }
    // Far beyond the indices there are: its record is found all the same, and so is one that is found by the hash.
    for bond in [40_000, 3_000_000] {
        let pair = Pair::new(1500);
        let mut filter = rig::load(&rig::options(Engine::Tables));
        let (peer, attached) = rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
        let spec = InterfaceSpec::of_device(NEAR).unwrap();
        // The interface is another device now, and frames come in with the index of the one that has the program.
        filter.set_interface(bond, &spec).unwrap();
        pair.passes(GOOD);
        pair.passes(SPOOFED);
        assert_eq!(filter.unrecorded().unwrap(), 2);
        assert_eq!(counted(&filter, peer, 0), just(&[]));
        filter.set_members(NEAR, &[attached.ifindex]).unwrap();
        // Records are replaced in two places in turn: each is the member's too.
        for round in 1..=3 {
            filter.set_interface(bond, &spec).unwrap();
            pair.far.send(&build(SPOOFED));
            pair.passes(GOOD);
            let expected = [
                (Reason::SourceUnannounced, true, round, build(SPOOFED).len()),
                (Reason::Permitted, false, round, build(GOOD).len()),
            ];
            assert_eq!(counted(&filter, peer, 2 * round), just(&expected));
        }
        assert_eq!(filter.unrecorded().unwrap(), 2);
        // It leaves the bond.
        filter.set_members(NEAR, &[]).unwrap();
        pair.passes(SPOOFED);
        assert_eq!(filter.unrecorded().unwrap(), 3);
        let by_device = filter.unrecorded_by_device().unwrap();
        assert_eq!(by_device, BTreeMap::from([(attached.ifindex, 3)]));
        filter.detach_all().unwrap();
    }
}

/// No packet may come in on a member before it leads to the bond's record.
#[test]
fn a_bonds_members_lead_to_its_record_before_it_is_attached() {
    if !require_kernel("a_bonds_members_lead_to_its_record_before_it_is_attached") {
        return;
    }
    let _pair = Pair::new(1500);
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let (spec, device) = (
        InterfaceSpec::of_device(NEAR).unwrap(),
        Device::find(NEAR).unwrap(),
    );
    let far = NEAR_IFINDEX + 1;
    let too_many: Vec<u32> = (far..=far + MAX_FAR_INDICES).collect();
    let refused = filter.attach_to(&device, &spec, &too_many, AttachMode::Native);
    assert!(
        matches!(refused, Err(Error::TooManyFarIndices { index, .. }) if index == far + MAX_FAR_INDICES),
        "{refused:?}"
    );
    assert!(!has_xdp(NEAR), "it was attached before its members");
    let fit = &too_many[..too_many.len() - 1];
    filter
        .attach_to(&device, &spec, fit, AttachMode::Native)
        .unwrap();
    assert!(has_xdp(NEAR));
    filter.detach_all().unwrap();
}

#[test]
fn tags_that_go_make_room_for_those_that_come() {
    if !require_kernel("tags_that_go_make_room_for_those_that_come") {
        return;
    }
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let tagged = |first: u16, count: u32| {
        let mut spec = rig::test_interface();
        for outer in (first..).take(count as usize) {
            spec.network_mut(Vlans { outer, inner: 0 });
        }
        spec
    };
    let all = tagged(1, MAX_TAGGED_NETWORKS);
    filter.set_interface(TEST_IFINDEX, &all).unwrap();
    // Not one of them stays.
    let others = tagged(1_001, MAX_TAGGED_NETWORKS);
    filter.set_interface(TEST_IFINDEX, &others).unwrap();
    let refused = filter.set_interface(TEST_IFINDEX, &tagged(2_001, MAX_TAGGED_NETWORKS + 1));
    assert!(matches!(refused, Err(Error::TooManyTags(_))), "{refused:?}");
    // Refused as a whole: those it had are still there.
    let frame = |vlan: u16| build(&GOOD.replace(" / ipv4", &format!(" / vlan {vlan} / ipv4")));
    for (vlan, reason) in [
        (1, Reason::OtherVlan),
        (1_001, Reason::UnknownPeer),
        (2_001, Reason::OtherVlan),
    ] {
        let before = filter.interface_counters(TEST_NAME).unwrap();
        filter.run(&frame(vlan), 1).unwrap();
        let counted = filter.interface_counters(TEST_NAME).unwrap().since(&before);
        assert_eq!(
            counted,
            just(&[(reason, false, 1, frame(vlan).len())]),
            "vlan {vlan}"
        );
    }
}
