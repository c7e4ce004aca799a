//! Peers and the places they send from: who has them, who takes them over, what a slot's next holder inherits.

use filter_core::{Mode, Reason};
use filter_loader::{Engine, Filter, PeerSlot, TEST_IFINDEX};
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
            .publish(other, &filter_loader::Table::default())
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
        // Its predecessor's routes are gone as well: a station without a table belongs to nobody.
        filter
            .set_stations(next, &[station(TEST_IFINDEX, "icrc")])
            .unwrap();
        assert_eq!(reason(&mut filter, None), Reason::UnknownPeer);
        filter
            .publish(
                next,
                &filter_loader::Table {
                    families: filter_core::layout::Families::new(|_| true),
                    ..Default::default()
                },
            )
            .unwrap();
        assert_eq!(
            reason(&mut filter, Some(next)),
            Reason::SourceAndDestination
        );
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
