//! One peer's table that does not fit costs no other peer its updates, and itself only its growth.
use std::time::Duration;

use filter_core::layout::Rules;
use filter_core::set::PrefixSet;
use filter_core::{Address, Prefix};
use filter_loader::sync::{Step, Sync, Wanted};
use filter_loader::{Engine, Error, Options};
use tests::require_kernel;
use tests::rig;

/// So many /32s that no two of them aggregate, and no others of the same `salt`.
fn hosts(count: u32, salt: u32) -> PrefixSet {
    let host = |i: u32| Address::from_v4((0x2000_0000 + 4 * i + salt).to_be_bytes());
    (0..count).map(|i| Prefix::host(host(i))).collect()
}

fn wanted(sources: PrefixSet) -> Wanted {
    Wanted {
        rules: rig::rules(),
        sources,
        destinations: ["198.51.100.0/24".parse::<Prefix>().unwrap()]
            .into_iter()
            .collect(),
    }
}

#[test]
fn a_peer_that_fills_the_memory_keeps_its_last_table_and_costs_no_other() {
    if !require_kernel("a_peer_that_fills_the_memory_keeps_its_last_table_and_costs_no_other") {
        return;
    }
    let options = Options {
        max_peers: 8,
        table_memory_mib: 4,
        ..rig::options(Engine::Tables)
    };
    let mut filter = rig::load(&options);
    let large = filter.add_peer("large").unwrap();
    let others = ["a", "b", "c"].map(|name| filter.add_peer(name).unwrap());
    let mut sync = Sync::default();
    let now = Duration::ZERO;

    // It grows until no more fits.
    let mut fits = 0;
    let error = loop {
        let more = wanted(hosts(fits + 2_000, 0));
        match sync.apply(&mut filter, large, more, now) {
            Ok(_) => fits += 2_000,
            Err(error) => break error,
        }
    };
    assert!(fits >= 10_000, "{fits}");
    assert!(
        matches!(&error, Error::TableTooLarge { of, why } if of.contains("large") && why.contains("kept for other peers")),
        "{error}"
    );
    assert_eq!(sync.have(large), Some(&wanted(hosts(fits, 0))));

    // Every other peer publishes, and publishes again, tables of its own.
    for round in 1..4 {
        for (slot, salt) in others.into_iter().zip(1..) {
            let own = wanted(hosts(200 * round, salt));
            let published = sync.apply(&mut filter, slot, own.clone(), now).unwrap();
            assert_eq!(published.step, Step::Sets);
            assert_eq!(sync.have(slot), Some(&own));
        }
    }

    // What it withdraws leaves, though what it announced meanwhile has no room.
    let half = hosts(fits / 2, 0);
    let grown = half.union(&hosts(fits + 2_000, 1));
    let error = sync.apply(&mut filter, large, wanted(grown), now);
    assert!(
        matches!(error, Err(Error::TableTooLarge { .. })),
        "{error:?}"
    );
    assert_eq!(sync.have(large), Some(&wanted(half)));
    assert!(sync.dirty(large).is_some(), "it is tried again");

    // A side that was not known is not judged by the part of it that fits.
    let unknown = Wanted {
        rules: Rules::default(),
        ..wanted(hosts(10, 0))
    };
    sync.apply(&mut filter, large, unknown.clone(), now)
        .unwrap();
    let huge = wanted(hosts(60_000, 3));
    sync.apply(&mut filter, large, huge, now).unwrap_err();
    assert_eq!(sync.have(large).unwrap().rules.known, unknown.rules.known);

    // Once it fits, all of it is in force.
    let less = wanted(hosts(1_000, 2));
    sync.apply(&mut filter, large, less.clone(), now).unwrap();
    assert_eq!((sync.have(large), sync.dirty(large)), (Some(&less), None));
}
