//! Large sets, which are stored in pieces: a change writes only what differs, every version answers right through the
//! loaded program, and nothing is lost of what was given up, also by another process.

use filter_core::set::PrefixSet;
use filter_core::table::shapes::{self, Random};
use filter_core::{Address, Family, Mode, Prefix};
use filter_loader::{AttachMode, Engine, Filter, InterfaceSpec, PeerSlot, PeerTables};
use tests::require_kernel;
use tests::rig::{self, NEAR, Pair, Pins, build};
use tests::wire::until;

const DESTINATION: [&str; 2] = ["198.51.100.0/24", "2001:db8:100::/40"];

fn set(prefixes: impl IntoIterator<Item = Prefix>) -> PrefixSet {
    prefixes.into_iter().collect()
}

fn publish(filter: &mut Filter, peer: PeerSlot, generation: u32, sources: &PrefixSet) {
    let destinations = set(DESTINATION.map(|text| text.parse().unwrap()));
    let table = PeerTables {
        rules: rig::rules(),
        generation,
        sources,
        destinations: &destinations,
    };
    filter.publish(peer, &table).unwrap();
}

/// Is a packet from this address dropped?
fn is_dropped(filter: &mut Filter, source: Address) -> bool {
    let (family, to) = match source.family {
        Family::Ipv4 => ("ipv4", "198.51.100.1"),
        Family::Ipv6 => ("ipv6", "2001:db8:100::1"),
    };
    let frame = format!("eth src=icrc dst=us / {family} {source} > {to} udp");
    filter.run(&build(&frame), 1).unwrap().dropped
}

fn tables() -> Vec<Prefix> {
    let sizes = [(Family::Ipv4, 40_000), (Family::Ipv6, 20_000)];
    let table = |(family, count)| shapes::full_table(family, count, 3);
    sizes.into_iter().flat_map(table).collect()
}

#[test]
fn every_change_of_a_large_set_is_in_force_and_writes_little() {
    if !require_kernel("every_change_of_a_large_set_is_in_force_and_writes_little") {
        return;
    }
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let peer = rig::guard_test_runs(&mut filter, Mode::Enforce);
    filter.lease().keep();
    let small = filter.memory().used;
    let prefixes = tables();
    let mut sources = set(prefixes.iter().copied());
    publish(&mut filter, peer, 2, &sources);
    let whole = filter.memory().used - small;
    let mut random = Random(5);
    for generation in 3..120 {
        let changed: Vec<Prefix> = (0..=random.below(3))
            .filter_map(|_| random.pick(&prefixes).copied())
            .collect();
        let flipped = set(changed.iter().copied());
        sources = match random.below(2) {
            0 => sources.subtract(&flipped),
            _ => sources.union(&flipped),
        };
        publish(&mut filter, peer, generation, &sources);
        for prefix in changed {
            let (first, last) = prefix.range();
            for bits in [first.wrapping_sub(1), first, last, last.wrapping_add(1)] {
                let address = Address::from_bits(prefix.family(), bits);
                let expected = !sources.contains(address);
                assert_eq!(
                    is_dropped(&mut filter, address),
                    expected,
                    "{address} in generation {generation}"
                );
            }
        }
    }
    let now = filter.memory().used - small;
    assert!(
        now <= whole + whole / 8,
        "{now} bytes, {whole} when compiled in one"
    );
    // What is in limbo was written and given up since the last grace periods: heads and some pieces, never whole sets.
    publish(&mut filter, peer, 120, &PrefixSet::default());
    filter.remove_peer(peer).unwrap();
    rig::guard_test_runs(&mut filter, Mode::Enforce);
    assert_eq!(filter.memory().used, small, "lines are lost");
}

/// The last slot of a table answers for every address outside it: a change in place must not make it anything but
/// constant. It once did, and every source below 60.0.0.0 passed.
#[test]
fn a_prefix_at_the_end_of_a_table_admits_no_source_outside_it() {
    if !require_kernel("a_prefix_at_the_end_of_a_table_admits_no_source_outside_it") {
        return;
    }
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let peer = rig::guard_test_runs(&mut filter, Mode::Enforce);
    filter.lease().keep();
    let slash24 =
        |number: u32| Prefix::new(Address::from_v4((number << 8).to_be_bytes()), 24).unwrap();
    let mut random = Random(3);
    let anywhere = (0..3000).map(|_| (random.below(28 << 16) as u32 + (61 << 16)) & !1);
    let at_the_end = (1..60).map(|i| (89 << 16 | 252 << 8) + 6 * i);
    let networks = [60 << 16 | 6].into_iter().chain(anywhere).chain(at_the_end);
    let before = set(networks.map(slash24));
    let added = slash24(89 << 16 | 255 << 8 | 255);
    let after = before.union(&set([added]));
    for (generation, sources) in [(2, &before), (3, &after), (4, &before)] {
        publish(&mut filter, peer, generation, sources);
        assert!(is_dropped(&mut filter, added.address()) == (generation != 3));
        for outside in [
            "0.1.2.3",
            "9.9.9.9",
            "45.1.1.1",
            "59.255.255.255",
            "60.0.1.1",
            "90.0.0.1",
            "200.1.1.1",
        ] {
            let address = outside.parse::<std::net::IpAddr>().unwrap().into();
            assert!(
                is_dropped(&mut filter, address),
                "{outside} in generation {generation}"
            );
        }
    }
}

#[test]
fn identical_sets_of_two_peers_part_ways() {
    if !require_kernel("identical_sets_of_two_peers_part_ways") {
        return;
    }
    let mut filter = rig::load(&rig::options(Engine::Tables));
    let peer = rig::guard_test_runs(&mut filter, Mode::Enforce);
    let other = filter.add_peer("other").unwrap();
    filter.lease().keep();
    let prefixes = tables();
    let all = set(prefixes.iter().copied());
    publish(&mut filter, peer, 2, &all);
    let one = filter.memory().used;
    publish(&mut filter, other, 2, &all);
    let records = filter.memory().used - one;
    assert!(records <= 2 * 64, "{records} bytes for a set that is there");
    let gone = prefixes[17];
    let less = all.subtract(&set([gone]));
    publish(&mut filter, peer, 3, &less);
    let shared = filter.memory().used - one;
    let table = one / 2; // both tables' heads are copied, and the piece the prefix lies in
    assert!(
        shared < table,
        "{shared} of {one} bytes for one changed piece"
    );
    assert!(is_dropped(&mut filter, gone.address()));
    // The other one still has it, when the first is gone too.
    publish(&mut filter, peer, 4, &set(["9.9.9.0/24".parse().unwrap()]));
    let station = rig::station(filter_loader::TEST_IFINDEX, "icrc");
    filter.set_stations(peer, &[]).unwrap();
    filter.set_stations(other, &[station]).unwrap();
    assert!(!is_dropped(&mut filter, gone.address()));
}

#[test]
fn the_next_process_knows_which_pieces_are_in_use() {
    if !require_kernel("the_next_process_knows_which_pieces_are_in_use") {
        return;
    }
    let (_pair, pins, prefixes) = (Pair::new(1500), Pins::new(), tables());
    let mut sources = set(prefixes.iter().copied());
    let mut filter = rig::load(&pins.options());
    let peer = rig::guard_test_runs(&mut filter, Mode::Enforce);
    filter.lease().keep();
    let spec = InterfaceSpec::of_device(NEAR).unwrap();
    filter.attach(&spec, AttachMode::Native).unwrap();
    for (generation, gone) in (2..).zip(prefixes.iter().step_by(5000)) {
        sources = sources.subtract(&set([*gone]));
        publish(&mut filter, peer, generation, &sources);
    }
    let before = filter.memory().used;
    drop(filter);

    let mut filter = rig::load(&pins.options());
    assert_eq!(filter.memory().used, before);
    // Others publish until the arena is full of them: the adopted table must stand all the while.
    let noise = filter.add_peer("noise").unwrap();
    let probe = |filter: &mut Filter| {
        for (index, prefix) in prefixes.iter().enumerate().step_by(499) {
            let expected = index % 5000 == 0;
            assert_eq!(
                is_dropped(filter, prefix.address()),
                expected && !sources.contains(prefix.address()),
                "{prefix}"
            );
        }
    };
    for seed in 0..20 {
        publish(
            &mut filter,
            noise,
            seed,
            &set(shapes::full_table(Family::Ipv4, 30_000, seed.into())),
        );
    }
    probe(&mut filter);
    let peer = filter.add_peer("icrc").unwrap();
    publish(&mut filter, peer, 99, &sources);
    filter.remove_peer(noise).unwrap();
    filter.attach(&spec, AttachMode::Native).unwrap();
    probe(&mut filter);
    assert!(
        filter.memory().used <= before + before / 8,
        "what was adopted is given back when it is replaced"
    );
    let generations = std::cell::Cell::new(100);
    until("what retires is free after a grace period", || {
        generations.set(generations.get() + 1);
        publish(&mut filter, peer, generations.get(), &sources);
        filter.memory().retiring < 1 << 20 // of megabytes; each look itself retires some records
    });
    filter.detach_all().unwrap();
}
