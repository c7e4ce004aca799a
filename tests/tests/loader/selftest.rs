//! The gate before a table goes live: what it lets through, what it stops, and that nobody's counters see it.

use std::time::{Duration, Instant};

use filter_core::set::PrefixSet;
use filter_core::table::shapes;
use filter_core::{Family, Mode, Reason};
use filter_loader::{Counters, Engine, Error, PeerTables};
use tests::require_kernel;
use tests::rig::{self, GOOD, TEST_NAME, build};

/// A published table goes live within this, its self-test included.
const PUBLISH: Duration = Duration::from_millis(50);

#[test]
fn a_planted_bug_is_caught_and_the_old_table_stays() {
    if !require_kernel("a_planted_bug_is_caught_and_the_old_table_stays") {
        return;
    }
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let peer = rig::guard_test_runs(&mut filter, Mode::Enforce);
    filter.lease().keep();
    let (counters, interface, memory) = (
        filter.counters(peer).unwrap(),
        filter.interface_counters(TEST_NAME).unwrap(),
        filter.memory(),
    );
    let sources: PrefixSet = ["8.8.8.0/24".parse().unwrap()].into_iter().collect();
    let destinations: PrefixSet = ["198.51.100.0/24".parse().unwrap()].into_iter().collect();
    let table = PeerTables {
        rules: rig::rules(),
        generation: 7,
        sources: &sources,
        destinations: &destinations,
    };

    filter.plant_bug(true);
    let error = filter.publish(peer, &table).unwrap_err();
    let Error::SelfTest {
        slot,
        what,
        expected,
        got,
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (*slot, *expected, *got),
        (peer.number(), Reason::Permitted, "source-unannounced"),
        "{what}"
    );
    assert!(
        error.to_string().contains("8.8.8.0 > 198.51.100.0"),
        "{error}"
    );

    assert_eq!(
        filter.counters(peer).unwrap(),
        counters,
        "a peer's counters saw the self-test"
    );
    assert_eq!(filter.interface_counters(TEST_NAME).unwrap(), interface);
    let now = filter.memory();
    assert_eq!(now.used, memory.used, "lines leaked: {now:?}");
    assert!(
        !filter.run(&build(GOOD), 1).unwrap().dropped,
        "the old table does not stand"
    );

    filter.plant_bug(false);
    filter.publish(peer, &table).unwrap();
    assert!(
        filter.run(&build(GOOD), 1).unwrap().dropped,
        "the new table is not live"
    );
    let counted = filter.counters(peer).unwrap().since(&counters);
    assert_eq!(counted.get(Reason::Permitted).passed.packets, 1);
    assert_eq!(counted.get(Reason::SourceUnannounced).dropped.packets, 1);
    assert_eq!(counted.nonzero().count(), 2, "{counted:?}");
    assert_eq!(
        filter.interface_counters(TEST_NAME).unwrap(),
        Counters::default()
    );
}

#[test]
fn tables_of_every_shape_pass_in_little_time() {
    if !require_kernel("tables_of_every_shape_pass_in_little_time") {
        return;
    }
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let peer = rig::guard_test_runs(&mut filter, Mode::Observe);
    let mut took = Vec::new();
    for (generation, count) in [(1, 0), (2, 1), (3, 2), (4, 1000), (5, 20_000)] {
        let both = Family::ALL
            .into_iter()
            .flat_map(|family| shapes::full_table(family, count, 3));
        let set: PrefixSet = both.collect();
        let table = PeerTables {
            rules: rig::rules(),
            generation,
            sources: &set,
            destinations: &set,
        };
        let begin = Instant::now();
        filter.publish(peer, &table).unwrap();
        took.push(begin.elapsed());
    }
    println!("published in {took:?}");
    took.sort();
    assert!(took[took.len() / 2] < PUBLISH, "{took:?}");
}
