//! Peers and the places they send from: who has them, who takes them over, what a slot's next holder inherits.
use std::collections::{BTreeMap, BTreeSet};

use filter_core::layout::station::{Key, PLACES};
use filter_core::packet::Mac;
use filter_core::{Mode, Reason};
use filter_loader::{Engine, Filter, PeerSlot, Station, TEST_IFINDEX};
use tests::kernel::{engines, require_kernel};
use tests::rig::{self, GOOD, TEST_NAME, build, just, station};

/// A filter that is only test-run, with `icrc` enforced.
fn filter(engine: Engine) -> (Filter, PeerSlot) {
    let mut filter = rig::load(&rig::options(engine));
    let peer = rig::guard_test_runs(&mut filter, Mode::Enforce);
    filter.lease().keep();
    (filter, peer)
}

/// Whom one good frame counts for.
fn reason(filter: &mut Filter, who: Option<PeerSlot>) -> Reason {
    let read = |filter: &Filter| match who {
        Some(peer) => filter.counters(peer).unwrap(),
        None => filter.interface_counters(TEST_NAME).unwrap(),
    };
    let before = read(filter);
    filter.run(&build(GOOD), 1).unwrap();
    let now = read(filter).since(&before);
    let reasons: Vec<Reason> = now.nonzero().map(|(reason, _)| reason).collect();
    assert_eq!(reasons.len(), 1, "{now:?}");
    reasons[0]
}

#[test]
fn a_station_has_one_peer_and_moves_when_it_is_free() {
    if !require_kernel("a_station_has_one_peer_and_moves_when_it_is_free") {
        return;
    }
    for &engine in engines("a_station_has_one_peer_and_moves_when_it_is_free") {
        let (mut filter, icrc) = filter(engine);
        let other = filter.add_peer("other").unwrap();
        filter
            .publish(other, &filter_loader::PeerTables::default())
            .unwrap();
        let [taken, free] = ["icrc", "icrc2"].map(|name| station(TEST_IFINDEX, name));
        filter.set_stations(icrc, &[taken]).unwrap();
        let refused = filter.set_stations(other, &[free, taken]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "source mac 02:00:00:00:00:10 belongs to another peer (slot {}): remove it there first",
                icrc.number()
            )
        );
        // Refused as a whole: the free one was not taken either.
        filter.set_stations(icrc, &[taken, free]).unwrap();
        filter.set_stations(icrc, &[free]).unwrap();
        filter.set_stations(other, &[taken]).unwrap();
        assert_eq!(reason(&mut filter, Some(other)), Reason::FamilyNotPeered);
        filter.set_stations(other, &[]).unwrap();
        assert_eq!(reason(&mut filter, None), Reason::UnknownPeer);
    }
}

#[test]
fn a_station_on_an_interface_without_a_record_keeps_no_other_waiting() {
    if !require_kernel("a_station_on_an_interface_without_a_record_keeps_no_other_waiting") {
        return;
    }
    let (mut filter, icrc) = filter(Engine::Tables);
    let other = filter.add_peer("other").unwrap();
    filter.set_stations(icrc, &[]).unwrap();
    let (here, elsewhere) = (station(TEST_IFINDEX, "icrc"), station(4_000, "icrc"));
    let wanted = [(here, icrc), (elsewhere, other)].into();
    assert_eq!(
        filter.assign_stations(&wanted, &BTreeSet::new()).unwrap(),
        1
    );
    assert_eq!(reason(&mut filter, Some(icrc)), Reason::Permitted);
    assert_eq!(filter.stations().collect::<Vec<_>>(), [(here, icrc)]);
    let spec = filter_loader::InterfaceSpec::new("later0", Mac::from_bits(0x02_00_00_00_00_77));
    filter.set_interface(4_000, &spec).unwrap();
    assert_eq!(
        filter.assign_stations(&wanted, &BTreeSet::new()).unwrap(),
        0
    );
    let mut stations: Vec<_> = filter.stations().collect();
    stations.sort();
    assert_eq!(stations, [(here, icrc), (elsewhere, other)]);
}

#[test]
fn a_contested_station_is_no_peers_and_is_not_judged() {
    let name = "a_contested_station_is_no_peers_and_is_not_judged";
    if !require_kernel(name) {
        return;
    }
    for &engine in engines(name) {
        let (mut filter, icrc) = filter(engine);
        let here = station(TEST_IFINDEX, "icrc");
        let (owned, nobodys) = (BTreeMap::from([(here, icrc)]), BTreeMap::new());
        let contested = BTreeSet::from([here]);
        let used = filter.memory().used;
        for _ in 0..2 {
            assert_eq!(filter.assign_stations(&nobodys, &contested).unwrap(), 0);
            assert_eq!(reason(&mut filter, None), Reason::Unjudged);
            assert_eq!(filter.contested().collect::<Vec<_>>(), [here]);
            assert_eq!(filter.stations().count(), 0);
            // Whose it turns out to be has it.
            assert_eq!(filter.assign_stations(&owned, &BTreeSet::new()).unwrap(), 0);
            assert_eq!(reason(&mut filter, Some(icrc)), Reason::Permitted);
            assert_eq!(filter.contested().count(), 0);
        }
        filter.assign_stations(&nobodys, &contested).unwrap();
        filter.set_stations(icrc, &[here]).unwrap();
        assert_eq!(reason(&mut filter, Some(icrc)), Reason::Permitted);
        // With the interface goes what answered for it.
        filter.keep_only(&[]).unwrap();
        assert_eq!(filter.memory().used, used);
    }
}

#[test]
fn a_removed_peer_is_unknown_and_its_slot_starts_from_zero() {
    if !require_kernel("a_removed_peer_is_unknown_and_its_slot_starts_from_zero") {
        return;
    }
    for &engine in engines("a_removed_peer_is_unknown_and_its_slot_starts_from_zero") {
        let (mut filter, icrc) = filter(engine);
        filter
            .set_stations(icrc, &[station(TEST_IFINDEX, "icrc")])
            .unwrap();
        assert_eq!(reason(&mut filter, Some(icrc)), Reason::Permitted);
        filter.remove_peer(icrc).unwrap();
        assert_eq!(reason(&mut filter, None), Reason::UnknownPeer);
        let next = filter.add_peer("next").unwrap();
        assert_eq!(next, icrc, "the first free slot");
        assert_eq!(filter.counters(next).unwrap(), just(&[]));
        // Its predecessor's routes are gone as well: a station without a table belongs to no peer.
        filter
            .set_stations(next, &[station(TEST_IFINDEX, "icrc")])
            .unwrap();
        assert_eq!(reason(&mut filter, None), Reason::UnknownPeer);
        filter
            .publish(
                next,
                &filter_loader::PeerTables {
                    rules: rig::rules(),
                    ..Default::default()
                },
            )
            .unwrap();
        assert_eq!(reason(&mut filter, Some(next)), Reason::BothUnannounced);
    }
}

#[test]
fn a_peer_too_many_is_refused_with_the_numbers() {
    if !require_kernel("a_peer_too_many_is_refused_with_the_numbers") {
        return;
    }
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let slots: Vec<PeerSlot> = (0..8)
        .map(|n| filter.add_peer(&format!("peer{n}")).unwrap())
        .collect();
    assert_eq!(
        filter.add_peer("peer3").unwrap(),
        slots[3],
        "a known name keeps its slot"
    );
    assert_eq!(
        filter.add_peer("icrc").unwrap_err().to_string(),
        "no slot left for peer `icrc`: the maps hold 8 peers; raise `max_peers` and restart"
    );
}

/// Stations whose places are all in one line of the quick copy.
pub(super) fn in_one_line(count: usize) -> Vec<Station> {
    let first = station(TEST_IFINDEX, "icrc");
    let line = |station: &Station| Key::new(station.ifindex, station.vlans, station.mac).line();
    (0x02_00_00_01_00_00..)
        .map(|mac| Station {
            mac: Mac::from_bits(mac),
            ..first
        })
        .filter(|station| line(station) == line(&first))
        .take(count)
        .collect()
}

/// Checks for each station that its frames count for its peer, or for no peer.
fn check(filter: &mut Filter, peers: &[PeerSlot], expected: &[(Station, Option<PeerSlot>)]) {
    for &(station, owner) in expected {
        let mut frame = build(GOOD);
        frame[6..12].copy_from_slice(&station.mac.bytes());
        let count = |filter: &Filter| -> Vec<u64> {
            let counters = peers.iter().map(|&peer| filter.counters(peer).unwrap());
            let nobody = filter.interface_counters(TEST_NAME).unwrap();
            let all = counters.chain([nobody]);
            all.map(|counters| {
                let total = counters.total();
                total.passed.packets + total.dropped.packets
            })
            .collect()
        };
        let before = count(filter);
        filter.run(&frame, 1).unwrap();
        let counted: Vec<Option<PeerSlot>> = count(filter)
            .iter()
            .zip(&before)
            .zip(peers.iter().copied().map(Some).chain([None]))
            .filter(|((now, before), _)| now > before)
            .map(|(_, who)| who)
            .collect();
        assert_eq!(counted, [owner], "{}", station.mac);
    }
}

#[test]
fn stations_beyond_a_line_of_the_quick_copy_are_known_all_the_same() {
    const TEST: &str = "stations_beyond_a_line_of_the_quick_copy_are_known_all_the_same";
    if !require_kernel(TEST) {
        return;
    }
    for &engine in engines(TEST) {
        let (mut filter, icrc) = filter(engine);
        let other = filter.add_peer("other").unwrap();
        let table = filter_loader::PeerTables::default();
        filter.publish(other, &table).unwrap();
        let peers = [icrc, other];
        let stations = in_one_line(PLACES + 3);
        let (mine, theirs) = stations.split_at(PLACES - 1);
        let owned = |slot: PeerSlot, of: &[Station]| -> Vec<_> {
            of.iter().map(|&station| (station, Some(slot))).collect()
        };
        let nobodys: Vec<_> = stations.iter().map(|&station| (station, None)).collect();
        check(&mut filter, &peers, &nobodys);
        filter.set_stations(icrc, mine).unwrap();
        filter.set_stations(other, theirs).unwrap();
        let all = [owned(icrc, mine), owned(other, theirs)].concat();
        check(&mut filter, &peers, &all);
        // Two that have a place go; stations that had none get it, and one is still without.
        filter.set_stations(icrc, &mine[2..]).unwrap();
        check(&mut filter, &peers, &nobodys[..2]);
        check(&mut filter, &peers, &all[2..]);
        filter.set_stations(icrc, mine).unwrap();
        check(&mut filter, &peers, &all);
        // All change hands at once.
        let swapped = [owned(other, mine), owned(icrc, theirs)].concat();
        let wanted = swapped
            .iter()
            .map(|&(station, slot)| (station, slot.unwrap()));
        filter
            .assign_stations(&wanted.collect(), &BTreeSet::new())
            .unwrap();
        check(&mut filter, &peers, &swapped);
        assert_eq!(filter.stations().count(), stations.len());
        filter
            .assign_stations(&BTreeMap::new(), &BTreeSet::new())
            .unwrap();
        check(&mut filter, &peers, &nobodys);
    }
}
