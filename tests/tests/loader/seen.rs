//! When frames came: from each station, in the quick copy and beyond it, and from each session address that is followed.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use filter_core::Mode;
use filter_core::layout::station::PLACES;
use filter_core::packet::Vlans;
use filter_loader::{
    Engine, Filter, Followed, Heard, InterfaceSpec, SENDERS_PER_STATION, Shell, Station,
    TEST_IFINDEX,
};
use tests::kernel::{engines, require_kernel};
use tests::rig::{self, GOOD, Pins, build, station};

use super::peers::in_one_line;

const ARP: &str = "eth src=icrc dst=broadcast / arp";
const NOT_FOR_US: &str = "eth src=icrc dst=other / ipv4 45.146.194.1 > 198.51.100.1 udp";
const BGP: &str = "eth src=icrc dst=us / ipv4 203.0.113.10 > 203.0.113.1 tcp";
const BGP6: &str = "eth src=icrc dst=us / ipv6 2001:db8:ffff::10 > 2001:db8:ffff::1 tcp";
const ADVERTISEMENT: &str =
    "eth src=icrc dst=us / ipv6 2001:db8:ffff::10 > 2001:db8:ffff::1 hops=255 / icmp6 134 0";
const SOLICITATION: &str =
    "eth src=icrc dst=us / ipv6 2001:db8:ffff::10 > 2001:db8:ffff::1 hops=255 / icmp6 135 0";
const V4: &str = "203.0.113.10";
const V6: &str = "2001:db8:ffff::10";
/// Peers the filter has room for, and so many stations for each.
const STATIONS: u32 = 8 * 4;

/// The interface of test runs, on a LAN.
fn lan(is_port: bool) -> InterfaceSpec {
    let mut spec = rig::test_interface();
    spec.is_port = is_port;
    for vlans in [Vlans::NONE, VLAN] {
        let network = spec.networks.entry(vlans).or_default();
        network.addresses = ["203.0.113.1", "2001:db8:ffff::1"]
            .map(|text| text.parse().unwrap())
            .into();
        network.lan = ["203.0.113.0/24", "2001:db8:ffff::/64"]
            .map(|text| text.parse().unwrap())
            .into();
    }
    spec
}

const VLAN: Vlans = Vlans {
    outer: 100,
    inner: 0,
};

fn filter(engine: Engine) -> (Filter, filter_loader::PeerSlot) {
    let mut filter = rig::load(&rig::options(engine));
    let peer = rig::guard_test_runs(&mut filter, Mode::Enforce);
    filter.set_interface(TEST_IFINDEX, &lan(false)).unwrap();
    filter.lease().keep();
    (filter, peer)
}

fn take_seen(filter: &mut Filter) -> Vec<Station> {
    let (seen, read) = filter.take_seen();
    read.unwrap();
    seen
}

fn here(name: &str) -> Station {
    station(TEST_IFINDEX, name)
}

/// A good frame, from there.
fn send_from(filter: &mut Filter, station: &Station) {
    let mut frame = build(GOOD);
    frame[6..12].copy_from_slice(&station.mac.bytes());
    filter.run(&frame, 1).unwrap();
}

fn followed(name: &str, address: &str, note: u64) -> Followed {
    Followed {
        station: here(name),
        address: address.parse().unwrap(),
        note,
    }
}

/// Of these addresses at these stations frames were heard.
fn heard(filter: &Filter) -> Vec<(Station, IpAddr)> {
    let heard = filter.heard().unwrap().into_iter();
    let mut some: Vec<_> = heard
        .filter(|it| it.ago.is_some())
        .map(|it| (it.of.station, it.of.address))
        .collect();
    some.sort();
    some
}

#[test]
fn a_station_is_seen_for_frames_since_the_last_look() {
    const TEST: &str = "a_station_is_seen_for_frames_since_the_last_look";
    if !require_kernel(TEST) {
        return;
    }
    for &engine in engines(TEST) {
        let (mut filter, _) = filter(engine);
        assert_eq!(take_seen(&mut filter), []);
        for frame in [GOOD, rig::SPOOFED, ARP, NOT_FOR_US, BGP] {
            filter.run(&build(frame), 1000).unwrap();
            assert_eq!(take_seen(&mut filter), [here("icrc")], "{frame}");
            assert_eq!(take_seen(&mut filter), [], "{frame}");
        }
        send_from(&mut filter, &here("nobody"));
        assert_eq!(take_seen(&mut filter), []);
    }
}

#[test]
fn stations_beyond_a_line_of_the_quick_copy_are_seen_all_the_same() {
    const TEST: &str = "stations_beyond_a_line_of_the_quick_copy_are_seen_all_the_same";
    if !require_kernel(TEST) {
        return;
    }
    for &engine in engines(TEST) {
        let (mut filter, icrc) = filter(engine);
        let other = filter.add_peer("other").unwrap();
        let stations = in_one_line(PLACES + 2);
        filter.set_stations(icrc, &stations).unwrap();
        for station in &stations {
            for _ in 0..2 {
                send_from(&mut filter, station);
            }
            assert_eq!(take_seen(&mut filter), [*station]);
            assert_eq!(take_seen(&mut filter), []);
        }
        // Whoever's they become: what was seen was seen.
        for station in &stations {
            send_from(&mut filter, station);
        }
        let owned: BTreeMap<Station, _> = stations.iter().map(|&it| (it, other)).collect();
        filter.assign_stations(&owned, &BTreeSet::new()).unwrap();
        let seen = BTreeSet::from_iter(take_seen(&mut filter));
        assert_eq!(seen, stations.iter().copied().collect());
        // What is placed anew starts unseen, whoever had the place before.
        stations.iter().for_each(|it| send_from(&mut filter, it));
        filter.set_stations(other, &[]).unwrap();
        filter.set_stations(icrc, &stations).unwrap();
        assert_eq!(take_seen(&mut filter), []);
    }
}

#[test]
fn session_addresses_are_heard_on_the_link_and_nothing_else_is() {
    const TEST: &str = "session_addresses_are_heard_on_the_link_and_nothing_else_is";
    if !require_kernel(TEST) {
        return;
    }
    for &engine in engines(TEST) {
        let (mut filter, _) = filter(engine);
        filter.run(&build(BGP), 1).unwrap();
        assert_eq!(filter.heard().unwrap(), [], "nothing is followed");
        let all = [followed("icrc", V4, 7), followed("icrc", V6, 0)];
        assert_eq!(filter.follow(&all).unwrap(), 0);
        for frame in [
            GOOD,
            ARP,
            "eth src=icrc dst=us / ipv4 203.0.113.11 > 203.0.113.1 tcp",
            "eth src=icrc dst=us / ipv4 203.0.113.10 > 198.51.100.1 udp", // not of the link
            "eth src=nobody dst=us / ipv4 203.0.113.10 > 203.0.113.1 tcp",
            "eth src=icrc dst=other / ipv4 203.0.113.10 > 203.0.113.1 tcp",
            "eth src=icrc dst=us / vlan 100 / ipv4 203.0.113.10 > 203.0.113.1 tcp",
        ] {
            filter.run(&build(frame), 1).unwrap();
            assert_eq!(heard(&filter), [], "{frame}");
        }
        let of = |address: &str| (here("icrc"), address.parse().unwrap());
        for (frame, address) in [
            (BGP, V4),
            (BGP6, V6),
            (ADVERTISEMENT, V6),
            (SOLICITATION, V6),
        ] {
            filter.follow(&[]).unwrap();
            filter.follow(&all).unwrap();
            assert_eq!(heard(&filter), []);
            filter.run(&build(frame), 1000).unwrap();
            assert_eq!(heard(&filter), [of(address)], "{frame}");
        }
        filter.run(&build(BGP), 1).unwrap();
        // A note that changes costs no time that is known.
        filter.follow(&[followed("icrc", V4, 8)]).unwrap();
        let [Heard { of, ago }] = filter.heard().unwrap()[..] else {
            panic!("the other one is followed no longer");
        };
        assert_eq!(of, followed("icrc", V4, 8));
        assert!(
            ago.is_some_and(|ago| ago < Duration::from_secs(60)),
            "{ago:?}"
        );
    }
}

/// At every hook, and where the station is no peer's for sure, or any MAC's.
#[test]
fn session_addresses_are_heard_wherever_a_frame_has_a_peer() {
    if !require_kernel("session_addresses_are_heard_wherever_a_frame_has_a_peer") {
        return;
    }
    let (mut filter, icrc) = filter(Engine::Tables);
    let contested = BTreeSet::from([here("icrc")]);
    let nobodys = BTreeMap::new();
    filter.assign_stations(&nobodys, &contested).unwrap();
    filter.follow(&[followed("icrc", V4, 1)]).unwrap();
    filter.run(&build(BGP), 1).unwrap();
    assert_eq!(take_seen(&mut filter), [here("icrc")]);
    assert_eq!(heard(&filter).len(), 1, "contested");

    let any = Station {
        mac: Station::ANY_MAC,
        ..here("icrc")
    };
    filter.set_interface(TEST_IFINDEX, &lan(true)).unwrap();
    let owned = BTreeMap::from([(any, icrc)]);
    filter.assign_stations(&owned, &BTreeSet::new()).unwrap();
    let of_any = Followed {
        station: any,
        ..followed("icrc", V4, 1)
    };
    filter.follow(&[of_any]).unwrap();
    filter.run(&build(BGP), 1).unwrap();
    assert_eq!(take_seen(&mut filter), [any]);
    assert_eq!(heard(&filter), [(any, V4.parse().unwrap())]);

    filter.test_at(Shell::Tc);
    filter.set_interface(TEST_IFINDEX, &lan(false)).unwrap();
    let tagged = Station {
        vlans: VLAN,
        ..here("icrc")
    };
    filter.set_stations(icrc, &[tagged]).unwrap();
    let of_tagged = Followed {
        station: tagged,
        ..followed("icrc", V6, 1)
    };
    filter.follow(&[of_tagged]).unwrap();
    let frame = "eth src=icrc dst=us / vlan 100 / ipv6 2001:db8:ffff::10 > 2001:db8:ffff::1 tcp";
    filter.run(&build(frame), 1).unwrap();
    assert_eq!(take_seen(&mut filter), [tagged]);
    assert_eq!(heard(&filter), [(tagged, V6.parse().unwrap())]);
}

#[test]
fn so_many_session_addresses_are_followed_and_the_first_ones() {
    if !require_kernel("so_many_session_addresses_are_followed_and_the_first_ones") {
        return;
    }
    let (mut filter, _) = filter(Engine::Tables);
    let room = STATIONS * SENDERS_PER_STATION;
    let address = |number: u32| IpAddr::from([203, 0, (number >> 8) as u8, number as u8]);
    let wanted: Vec<Followed> = (0..=room)
        .map(|number| Followed {
            address: address(number),
            ..followed("icrc", V4, 0)
        })
        .collect();
    assert_eq!(filter.follow(&wanted[..room as usize]).unwrap(), 0);
    assert_eq!(filter.follow(&wanted).unwrap(), 1);
    let kept: BTreeSet<IpAddr> = filter
        .heard()
        .unwrap()
        .iter()
        .map(|it| it.of.address)
        .collect();
    assert_eq!(kept, (0..room).map(address).collect());
    assert_eq!(filter.follow(&wanted[1..]).unwrap(), 0, "room for the last");
    assert_eq!(filter.heard().unwrap().len(), room as usize);
    // Those on an interface that is not set wait for it.
    let mut elsewhere = followed("icrc", V4, 0);
    elsewhere.station.ifindex = 4_000;
    assert_eq!(filter.follow(&[elsewhere]).unwrap(), 0);
    assert_eq!(filter.heard().unwrap(), []);
}

#[test]
fn what_was_seen_and_heard_outlives_the_process() {
    if !require_kernel("what_was_seen_and_heard_outlives_the_process") {
        return;
    }
    let (pair, pins) = (rig::Pair::new(1500), Pins::new());
    let mut filter = rig::load(&pins.options());
    let (peer, attached) = rig::guard(
        &mut filter,
        filter_loader::AttachMode::Native,
        Mode::Enforce,
    );
    let mut spec = lan(false);
    rig::NEAR.clone_into(&mut spec.name);
    filter.set_interface(attached.ifindex, &spec).unwrap();
    let stations: Vec<Station> = in_one_line(PLACES + 1)
        .into_iter()
        .map(|it| Station {
            ifindex: attached.ifindex,
            ..it
        })
        .chain([station(attached.ifindex, "icrc")])
        .collect();
    filter.set_stations(peer, &stations).unwrap();
    let icrc = stations[PLACES + 1];
    let of = Followed {
        station: icrc,
        address: V4.parse().unwrap(),
        note: 2,
    };
    filter.follow(&[of]).unwrap();
    drop(filter);
    // Frames that come while there is no process.
    pair.passes(BGP);
    let mut frame = build(GOOD);
    for last in &stations[..=PLACES] {
        frame[6..12].copy_from_slice(&last.mac.bytes());
        pair.far.send(&frame);
        assert_eq!(pair.near.receive(), frame);
    }
    let mut filter = rig::load(&pins.options());
    let seen = BTreeSet::from_iter(take_seen(&mut filter));
    assert_eq!(seen, stations.iter().copied().collect());
    let found = filter.heard().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].of, of);
    assert!(found[0].ago.is_some());
    assert_eq!(
        filter.stations().count(),
        stations.len(),
        "and they are its peer's"
    );
    assert_eq!(take_seen(&mut filter), []);
    filter
        .attach(&spec, filter_loader::AttachMode::Native)
        .unwrap();
    filter.detach_all().unwrap();
    assert!(!pins.path().exists());
}
