//! The gate before a table goes live: what it lets through, what it stops, and that it changes no counter.

use std::time::{Duration, Instant};

use filter_core::set::PrefixSet;
use filter_core::table::shapes;
use filter_core::table::shapes::Random;
use filter_core::{Family, Mode, Prefix, Reason};
use filter_loader::hooks::{Damage, How, Part};
use filter_loader::{Counters, Engine, Error, Filter, PeerSlot, PeerTables, Sessions};
use tests::require_kernel;
use tests::rig::{self, GOOD, TEST_NAME, build};

/// Prefixes of each family, and within what a table of so many goes live, its self-test included: unoptimised, on a machine
/// that does other things too.
const PUBLISH: [(usize, Duration); 5] = [
    (0, Duration::from_millis(250)),
    (1, Duration::from_millis(250)),
    (2, Duration::from_millis(250)),
    (1_000, Duration::from_secs(1)),
    (20_000, Duration::from_secs(10)),
];

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
    for only_packets in [false, true] {
        filter.ask_only_packets(only_packets);
        let error = filter.publish(peer, &table).unwrap_err();
        let Error::SelfTest {
            of,
            what,
            expected,
            got,
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!(of, "peer `icrc`");
        let found = (what.as_str(), expected.as_str(), got.as_str());
        match only_packets {
            false => assert_eq!(found, ("8.8.8.0 as ipv4 source", "a member", "none")),
            true => {
                assert!(what.starts_with("8.8.8."), "{what}");
                assert!(expected.ends_with("ed, dropped") || expected == "permitted, passed");
                assert_ne!(expected, got);
            }
        }
    }
    filter.ask_only_packets(false);

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
    for (generation, (count, limit)) in (1..).zip(PUBLISH) {
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
        let took = begin.elapsed();
        println!("{count} prefixes a family: {took:?} of {limit:?}");
        assert!(took < limit, "{count} prefixes a family: {took:?}");
    }
}

/// How many prefixes of each family, and how many damages of each part of the table.
const DAMAGES: [(usize, u64); 3] = [(2, 150), (60, 150), (8_000, 50)];

/// Members of both families that change a little from step to step: prefixes within /64s among them.
struct Steps {
    random: Random,
    prefixes: Vec<Prefix>,
}

impl Steps {
    fn new(count: usize) -> Self {
        let both = Family::ALL
            .into_iter()
            .flat_map(|family| shapes::full_table(family, count, 7));
        let long = [
            "2001:db8::1/128",
            "2001:db8:0:1::8/127",
            "2001:db8:0:1::c/126",
        ]
        .iter()
        .map(|text| text.parse().unwrap());
        Self {
            random: Random(9),
            prefixes: both.chain(long).collect(),
        }
    }

    /// A few of them: another choice each time.
    fn set(&mut self) -> PrefixSet {
        let mut held = self.prefixes.clone();
        for _ in 0..4 {
            let gone = self.random.below(held.len() as u64) as usize;
            held.swap_remove(gone);
        }
        held.into_iter().collect()
    }

    fn how(&mut self) -> How {
        match self.random.below(3) {
            0 => How::Line,
            1 => How::Word(self.random.below(8) as u8),
            _ => How::Bit(self.random.below(512) as u16),
        }
    }
}

/// Is each of these addresses judged as the sets say?
fn is_right(filter: &mut Filter, peer: PeerSlot, table: &PeerTables<'_>, random: &mut Random) {
    let before = filter.counters(peer).unwrap();
    let mut expected = 0;
    for family in Family::ALL {
        let (from, to) = (
            table.sources.family(family),
            table.destinations.family(family),
        );
        let (from, to) = (from.as_slice(), to.as_slice());
        for _ in 0..40 {
            let (Some(source), Some(destination)) = (random.pick(from), random.pick(to)) else {
                continue;
            };
            let ends = [(source.0, destination.1), (source.1, destination.0)];
            for (source, destination) in ends {
                let address =
                    |bits| std::net::IpAddr::from(filter_core::Address::from_bits(family, bits));
                let (source, destination) = (address(source), address(destination));
                let name = if source.is_ipv4() { "ipv4" } else { "ipv6" };
                let text = format!("eth src=icrc dst=us / {name} {source} > {destination} udp");
                filter.run(&build(&text), 1).unwrap();
                expected += 1;
            }
        }
    }
    let permitted = filter.counters(peer).unwrap().since(&before);
    assert_eq!(
        permitted.get(Reason::Permitted).passed.packets,
        expected,
        "{permitted:?}"
    );
}

#[test]
fn every_damage_of_a_changed_part_is_caught_or_does_nothing() {
    if !require_kernel("every_damage_of_a_changed_part_is_caught_or_does_nothing") {
        return;
    }
    for (count, damages) in DAMAGES {
        let mut filter = rig::load(&rig::options(Engine::Tables));
        let peer = rig::guard_test_runs(&mut filter, Mode::Observe);
        let mut steps = Steps::new(count);
        let mut caught = std::collections::BTreeMap::new();
        for generation in 0..damages * Part::ALL.len() as u64 {
            let part = Part::ALL[(generation % Part::ALL.len() as u64) as usize];
            let how = steps.how();
            let damage = Damage {
                part,
                pick: steps.random.word(),
                how,
            };
            let (sources, destinations) = (steps.set(), steps.set());
            let table = PeerTables {
                rules: rig::rules(),
                generation: generation as u32 + 2,
                sources: &sources,
                destinations: &destinations,
            };
            filter.damage(Some(damage));
            let published = filter.publish(peer, &table);
            let (happened, harmless) = caught.entry(format!("{part:?}")).or_insert((0, 0));
            *happened += u32::from(filter.is_damaged());
            filter.damage(None);
            if published.is_ok() {
                *harmless += u32::from(filter.is_damaged());
                // What no lookup reads, as the unused bits of a line. A line or a word of answers never is.
                let is_bit = matches!(how, How::Bit(_))
                    || !matches!(part, Part::Record | Part::Word | Part::Manifest);
                assert!(is_bit || !filter.is_damaged(), "{damage:?} went live");
                is_right(&mut filter, peer, &table, &mut steps.random);
            }
            filter.publish(peer, &table).unwrap();
        }
        println!("{count} prefixes a family: (damages, harmless) {caught:?}");
        let (happened, harmless) = caught
            .values()
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        assert!(harmless * 3 < happened, "{caught:?}");
    }
}

#[test]
fn a_table_that_would_drop_its_own_session_is_refused() {
    if !require_kernel("a_table_that_would_drop_its_own_session_is_refused") {
        return;
    }
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let peer = rig::guard_test_runs(&mut filter, Mode::Enforce);
    filter.lease().keep();
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    filter.set_sessions(
        peer,
        Sessions {
            theirs: addresses(&["192.0.2.9", "2001:db8::9"]),
            ours: addresses(&["198.51.100.1", "198.51.100.2"]),
        },
    );
    let set = |texts: &[&str]| -> PrefixSet {
        let prefixes = texts.iter().map(|text| text.parse::<Prefix>().unwrap());
        prefixes.collect()
    };
    let (without, with) = (set(&["8.8.8.0/24"]), set(&["8.8.8.0/24", "192.0.2.9/32"]));
    let destinations = set(&["198.51.100.0/24"]);
    let table = |sources| PeerTables {
        rules: rig::rules(),
        generation: 2,
        sources,
        destinations: &destinations,
    };
    let error = filter.publish(peer, &table(&without)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the table of peer `icrc` would drop packets of its own session, 192.0.2.9 > 198.51.100.1: source-unannounced, \
         dropped; the old table stays: check the peer's `addresses` and `families`"
    );
    assert!(
        !filter.run(&build(GOOD), 1).unwrap().dropped,
        "the old table does not stand"
    );
    filter.publish(peer, &table(&with)).unwrap();
    assert!(
        filter.run(&build(GOOD), 1).unwrap().dropped,
        "the new table is not live"
    );
}
