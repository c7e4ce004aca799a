//! Packets that are dropped for what left a peer's sets are evidence that no flood hides, and nothing else is.
use aya::maps::{Array, Map, MapData};
use filter_core::layout::{Evidence, map};
use filter_core::set::PrefixSet;
use filter_core::{Classes, Family, Mode, Prefix};
use filter_loader::{
    Engine, Error, Filter, LeaseEnd, Met, PeerSlot, PeerTables, Shell, Station, TEST_IFINDEX,
    Wanted,
};
use tests::kernel::{self, Feature, require_kernel};
use tests::rig::{self, GOOD, Pins, SPOOFED, build};

const LOST: &str = "eth src=icrc dst=us / ipv4 100.0.0.1 > 198.51.100.1 udp";
const LOST6: &str = "eth src=icrc dst=us / ipv6 2001:db8:9::1 > 2a0f:1::1 udp";
const TO_LOST: &str = "eth src=icrc dst=us / ipv4 45.146.194.1 > 101.0.0.1 udp";

fn filter() -> (Filter, PeerSlot) {
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let peer = rig::guard_test_runs(&mut filter, Mode::Enforce);
    filter.lease().keep();
    (filter, peer)
}

fn set(texts: &[&str]) -> PrefixSet {
    texts
        .iter()
        .map(|text| text.parse::<Prefix>().unwrap())
        .collect()
}

fn watch(filter: &mut Filter, peer: PeerSlot, sources: &[&str], destinations: &[&str]) {
    let (sources, destinations) = (set(sources), set(destinations));
    let departed = PeerTables {
        sources: &sources,
        destinations: &destinations,
        ..PeerTables::default()
    };
    filter.watch(peer, &departed).unwrap();
}

const ALL: [&str; 2] = ["100.0.0.0/16", "2001:db8:9::/48"];

fn met(peer: PeerSlot, family: Family, is_destination: bool) -> Met {
    Met {
        peer,
        family,
        is_destination,
    }
}

#[test]
fn a_packet_dropped_for_what_departed_is_evidence_once_taken() {
    if !require_kernel("a_packet_dropped_for_what_departed_is_evidence_once_taken") {
        return;
    }
    let (mut filter, peer) = filter();
    for frame in [GOOD, SPOOFED, LOST, LOST6, TO_LOST] {
        filter.run(&build(frame), 1).unwrap();
    }
    assert_eq!(filter.take_evidence(), [], "nothing is watched for");
    watch(&mut filter, peer, &ALL, &["101.0.0.0/16"]);
    for frame in [GOOD, SPOOFED] {
        filter.run(&build(frame), 10).unwrap();
    }
    assert_eq!(filter.take_evidence(), []);
    for (frame, family, is_destination) in [
        (LOST, Family::Ipv4, false),
        (LOST6, Family::Ipv6, false),
        (TO_LOST, Family::Ipv4, true),
    ] {
        for times in [1, 1000] {
            assert!(filter.run(&build(frame), times).unwrap().dropped);
            let expected = [met(peer, family, is_destination)];
            assert_eq!(filter.take_evidence(), expected, "{frame}");
            assert_eq!(filter.take_evidence(), []);
        }
    }
    watch(&mut filter, peer, &[], &[]);
    filter.run(&build(LOST), 1).unwrap();
    assert_eq!(filter.take_evidence(), []);
}

/// The addresses are read anew for it, wherever they lie, by each program in its own way.
#[test]
fn every_program_sees_evidence_and_so_does_one_after_another_table() {
    let test = "every_program_sees_evidence_and_so_does_one_after_another_table";
    if !require_kernel(test) {
        return;
    }
    let has_split = Feature::SplitRuns.is_here();
    if !has_split {
        kernel::say(&format!(
            "{test}: frames in several buffers need Linux 6.18"
        ));
    }
    let sees = |filter: &mut Filter, peer, what: &str| {
        for (frame, family, is_destination) in [
            (LOST, Family::Ipv4, false),
            (LOST6, Family::Ipv6, false),
            (TO_LOST, Family::Ipv4, true),
        ] {
            assert!(filter.run(&build(frame), 1).unwrap().dropped);
            let expected = [met(peer, family, is_destination)];
            assert_eq!(filter.take_evidence(), expected, "{what}: {frame}");
        }
    };
    let programs = [(Shell::Xdp, None), (Shell::Tc, None), (Shell::Bare, None)];
    let split = has_split.then_some((Shell::Xdp, Some(20)));
    for (shell, linear) in programs.into_iter().chain(split) {
        let what = format!("{shell:?}, first buffer {linear:?}");
        let (mut filter, peer) = filter();
        if shell == Shell::Bare {
            // A device without MACs: one peer is behind it.
            let mut port = rig::test_interface();
            port.is_port = true;
            filter.set_interface(TEST_IFINDEX, &port).unwrap();
            let any = Station {
                mac: Station::ANY_MAC,
                ..rig::station(TEST_IFINDEX, "icrc")
            };
            filter.set_stations(peer, &[any]).unwrap();
        }
        filter.test_at(shell);
        if let Some(linear) = linear {
            filter.test_split_at(linear);
        }
        watch(&mut filter, peer, &ALL, &["101.0.0.0/16"]);
        sees(&mut filter, peer, &what);
        // The table without what departed comes into force after it is watched for.
        rig::publish(&mut filter, Mode::Enforce);
        sees(&mut filter, peer, &what);
        watch(&mut filter, peer, &[], &[]);
        filter.run(&build(LOST), 1).unwrap();
        assert_eq!(filter.take_evidence(), [], "{what}");
    }
}

#[test]
fn a_flood_hides_no_evidence() {
    if !require_kernel("a_flood_hides_no_evidence") {
        return;
    }
    let (mut filter, peer) = filter();
    watch(&mut filter, peer, &ALL, &[]);
    filter.run(&build(SPOOFED), 100_000).unwrap();
    assert_eq!(filter.take_evidence(), []);
    for frame in [SPOOFED, LOST, SPOOFED] {
        let times = if frame == LOST { 1 } else { 100_000 };
        filter.run(&build(frame), times).unwrap();
    }
    assert_eq!(filter.take_evidence(), [met(peer, Family::Ipv4, false)]);
}

/// Only what is dropped for it: not what passes, not what is dropped for its other address, not another peer's.
#[test]
fn what_is_not_dropped_for_it_is_no_evidence() {
    if !require_kernel("what_is_not_dropped_for_it_is_no_evidence") {
        return;
    }
    let (mut filter, peer) = filter();
    // The source is valid still, by another prefix, and the packet is dropped for its destination.
    watch(&mut filter, peer, &["45.146.0.0/16"], &[]);
    assert!(filter.run(&build(TO_LOST), 1).unwrap().dropped);
    assert_eq!(filter.take_evidence(), []);
    watch(&mut filter, peer, &ALL, &[]);
    let destinations = Classes::destinations(Family::Ipv4);
    for classes in [Classes::NONE, destinations] {
        let wanted = Wanted::new(classes, LeaseEnd::Observe);
        filter.set_wanted(peer, wanted).unwrap();
        filter.run(&build(LOST), 1).unwrap();
        assert_eq!(filter.take_evidence(), []);
    }
    let other = filter.add_peer("other").unwrap();
    watch(&mut filter, peer, &[], &[]);
    watch(&mut filter, other, &ALL, &[]);
    let wanted = Wanted::new(Classes::ALL, LeaseEnd::Observe);
    filter.set_wanted(peer, wanted).unwrap();
    assert!(filter.run(&build(LOST), 1).unwrap().dropped);
    assert_eq!(filter.take_evidence(), []);
    // A slot that is another's has no evidence of the one before.
    watch(&mut filter, peer, &ALL, &[]);
    filter.run(&build(LOST), 1).unwrap();
    filter.remove_peer(peer).unwrap();
    assert_eq!(filter.take_evidence(), []);
}

/// What was met and not taken stays so while what is watched for is replaced, as by the next address that departs.
#[test]
fn evidence_outlives_another_departure() {
    if !require_kernel("evidence_outlives_another_departure") {
        return;
    }
    let (mut filter, peer) = filter();
    for next in [&["102.0.0.0/16"][..], &[]] {
        watch(&mut filter, peer, &ALL, &[]);
        filter.run(&build(LOST), 1).unwrap();
        watch(&mut filter, peer, next, &[]);
        assert_eq!(filter.take_evidence(), [met(peer, Family::Ipv4, false)]);
        filter.run(&build(LOST), 1).unwrap();
        assert_eq!(filter.take_evidence(), []);
    }
}

/// It takes no memory that others' tables need, and what does not fit is not watched for.
#[test]
fn what_does_not_fit_is_not_watched_for_and_costs_no_peer_its_table() {
    if !require_kernel("what_does_not_fit_is_not_watched_for") {
        return;
    }
    let (mut filter, peer) = filter();
    watch(&mut filter, peer, &ALL, &[]);
    let many = |count: u32| -> PrefixSet {
        let host = |number: u32| {
            let address = std::net::Ipv4Addr::from(number * 2 + (20 << 24));
            Prefix::host(std::net::IpAddr::from(address).into())
        };
        (0..count).map(host).collect()
    };
    let sources = many(2_000_000);
    let departed = PeerTables {
        sources: &sources,
        ..PeerTables::default()
    };
    let refused = filter.watch(peer, &departed);
    assert!(
        matches!(refused, Err(Error::TableTooLarge { .. })),
        "{refused:?}"
    );
    filter.run(&build(LOST), 1).unwrap();
    assert_eq!(filter.take_evidence(), []);
    assert!(!filter.run(&build(GOOD), 1).unwrap().dropped);
    // As much as every other peer may have is left to them.
    let other = filter.add_peer("other").unwrap();
    let (mut count, mut largest) = (1 << 20, None);
    while largest.is_none() {
        let sources = many(count);
        let departed = PeerTables {
            sources: &sources,
            ..PeerTables::default()
        };
        largest = filter.watch(other, &departed).ok().map(|()| count);
        count /= 2;
    }
    let small = many(100);
    for number in 0..6 {
        let name = format!("small{number}");
        let slot = filter.add_peer(&name).unwrap();
        let table = PeerTables {
            sources: &small,
            ..PeerTables::default()
        };
        filter.publish(slot, &table).unwrap();
    }
}

/// What an earlier process watched for is nobody's evidence.
#[test]
fn a_restart_watches_for_nothing() {
    if !require_kernel("a_restart_watches_for_nothing") {
        return;
    }
    let (_pair, pins) = (rig::Pair::new(1500), Pins::new());
    let native = filter_loader::AttachMode::Native;
    {
        let mut filter = rig::load(&pins.options());
        rig::guard(&mut filter, native, Mode::Enforce); // what is attached keeps the maps
        let peer = rig::guard_test_runs(&mut filter, Mode::Enforce);
        filter.lease().keep();
        watch(&mut filter, peer, &ALL, &[]);
        filter.run(&build(LOST), 1).unwrap();
    }
    let mut filter = rig::load(&pins.options());
    rig::guard(&mut filter, native, Mode::Enforce);
    let peer = rig::guard_test_runs(&mut filter, Mode::Enforce);
    filter.lease().keep();
    assert_eq!(filter.take_evidence(), []);
    assert!(filter.run(&build(LOST), 1).unwrap().dropped);
    assert_eq!(filter.take_evidence(), []);
    watch(&mut filter, peer, &ALL, &[]);
    filter.run(&build(LOST), 1).unwrap();
    assert_eq!(filter.take_evidence(), [met(peer, Family::Ipv4, false)]);
    filter.detach_all().unwrap();
}

/// What a process that ended had not taken is about places of records that are given to others now.
#[test]
fn evidence_that_nobody_took_is_none_after_a_restart() {
    if !require_kernel("evidence_that_nobody_took_is_none_after_a_restart") {
        return;
    }
    let (pair, pins) = (rig::Pair::new(1500), Pins::new());
    let native = filter_loader::AttachMode::Native;
    {
        let mut filter = rig::load(&pins.options());
        let (peer, _) = rig::guard(&mut filter, native, Mode::Enforce);
        filter.lease().keep();
        watch(&mut filter, peer, &ALL, &[]);
        pair.far.send(&build(LOST));
        pair.passes(GOOD); // so the one before it was dropped
    }
    let is_kept = || {
        let data = MapData::from_pin(pins.path().join(map::EVIDENCE)).unwrap();
        let all: Array<_, [u32; Evidence::WORDS]> = Map::Array(data).try_into().unwrap();
        all.iter()
            .any(|words| words.unwrap() != [0; Evidence::WORDS])
    };
    assert!(is_kept(), "or there is nothing to forget");
    let mut filter = rig::load(&pins.options());
    assert!(!is_kept());
    rig::guard(&mut filter, native, Mode::Enforce);
    filter.detach_all().unwrap();
}
