//! One peer's table that does not fit costs no other peer its updates, and itself only its growth.
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use filter_core::layout::{Known, Rules};
use filter_core::packet::Mac;
use filter_core::set::PrefixSet;
use filter_core::table::shapes::Random;
use filter_core::{Address, Family, Prefix};
use filter_loader::sync::{Step, Sync, Wanted};
use filter_loader::{Engine, Error, Filter, InterfaceSpec, Options, PeerSlot};
use tests::require_kernel;
use tests::rig;

/// Hosts and /64s anywhere, which take up as much as any set of so many can.
struct Pool([Vec<Prefix>; 2]);

impl Pool {
    fn new(count: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        Self([("0.0.0.0/0", 32), ("2000::/3", 64)].map(|(within, len)| {
            let within: Prefix = within.parse().unwrap();
            let mut one = || Prefix::new(random.within(within), len).unwrap();
            (0..count).map(|_| one()).collect()
        }))
    }

    /// Those of these numbers.
    fn some(&self, family: Family, numbers: Range<usize>) -> PrefixSet {
        let of_family = &self.0[family as usize];
        of_family[numbers].iter().copied().collect()
    }

    /// How many a set may have at most.
    fn most(&self) -> usize {
        self.0[0].len() / 2
    }

    /// Sources and destinations of both families, so many of each; no set is another's.
    fn wanted(&self, [s4, s6, d4, d6]: [usize; 4]) -> Wanted {
        let set = |from, ipv4, ipv6| {
            let ipv4 = self.some(Family::Ipv4, from..from + ipv4);
            ipv4.union(&self.some(Family::Ipv6, from..from + ipv6))
        };
        Wanted {
            rules: rig::rules(),
            sources: set(0, s4, s6),
            destinations: set(self.most(), d4, d6),
        }
    }
}

/// Grows each of a peer's sets until no more fits.
fn fill(filter: &mut Filter, sync: &mut Sync, pool: &Pool, slot: PeerSlot) -> [usize; 4] {
    let mut fits = [0; 4];
    let most = pool.most();
    for step in [most / 10, most / 50] {
        for set in 0..4 {
            while fits[set] + step <= most {
                let mut more = fits;
                more[set] += step;
                match sync.apply(filter, slot, pool.wanted(more), Duration::ZERO) {
                    Ok(_) => fits = more,
                    Err(Error::TableTooLarge { of, .. }) => {
                        assert!(of.contains("large"), "{of}");
                        break;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    fits
}

/// There is room to say of a MAC that its frames are not judged.
fn a_mac_can_be_contested(filter: &mut Filter) {
    let spec = InterfaceSpec::new("full0", Mac::from_bits(0x02_00_00_00_00_77));
    filter.set_interface(4_000, &spec).unwrap();
    let contested = BTreeSet::from([rig::station(4_000, "icrc")]);
    let left_out = filter.assign_stations(&BTreeMap::new(), &contested);
    assert_eq!(left_out.unwrap(), 0);
    assert!(filter.contested().eq(contested));
}

#[test]
fn a_peer_that_fills_the_memory_keeps_its_last_table_and_costs_no_other() {
    if !require_kernel("a_peer_that_fills_the_memory_keeps_its_last_table_and_costs_no_other") {
        return;
    }
    let options = Options {
        table_memory_mib: 4,
        self_test: false, // of thousands of boundaries a hundred times
        ..rig::options(Engine::Tables)
    };
    let mut filter = rig::load(&options);
    let large = filter.add_peer("large").unwrap();
    let fillers = ["large2", "large3", "large4"].map(|name| filter.add_peer(name).unwrap());
    let others = ["a", "b", "c"].map(|name| filter.add_peer(name).unwrap());
    let (mut sync, pool) = (Sync::default(), Pool::new(300_000, 1));
    let now = Duration::ZERO;

    // What it withdraws leaves, though what it announces meanwhile has no room.
    let gone = pool.some(Family::Ipv4, 100..110);
    let all = pool.wanted([20_000; 4]);
    sync.apply(&mut filter, large, all.clone(), now).unwrap();
    let less = Wanted {
        sources: all.sources.subtract(&gone),
        ..all
    };
    let host = |i: u32| Prefix::host(Address::from_v4((0x2000_0000 + 4 * i).to_be_bytes()));
    let growth: PrefixSet = (0..600_000).map(host).collect();
    let grown = Wanted {
        sources: less.sources.union(&growth),
        ..less.clone()
    };
    let applied = sync.apply(&mut filter, large, grown, now);
    assert!(
        matches!(applied, Err(Error::TableTooLarge { .. })),
        "{applied:?}"
    );
    assert!(
        sync.have(large) == Some(&less),
        "what it withdrew is still there"
    );
    assert!(sync.dirty(large).is_some(), "it is tried again");

    // It grows until no more fits, and has what fitted.
    let fits = fill(&mut filter, &mut sync, &pool, large);
    assert!(fits[0] >= 10_000, "{fits:?}");
    assert!(sync.have(large) == Some(&pool.wanted(fits)));
    // What it could not write a second time others take, whose sets are smaller.
    for (slot, count) in fillers.into_iter().zip([60_000, 20_000, 8_000]) {
        fill(&mut filter, &mut sync, &Pool::new(count, 5), slot);
    }
    let memory = filter.memory();
    let kept_of_four = memory.capacity / 8 / u64::from(options.max_peers) * 4;
    assert!(memory.used <= memory.capacity - kept_of_four, "{memory:?}");

    // Every other peer publishes, and publishes again, tables of its own.
    for round in 1..4 {
        for (slot, seed) in others.into_iter().zip(2..) {
            let own = Pool::new(1_200, seed).wanted([200 * round, 1, 1, 1]);
            let published = sync.apply(&mut filter, slot, own.clone(), now).unwrap();
            assert_eq!(published.step, Step::Sets);
            assert_eq!(sync.have(slot), Some(&own));
        }
    }

    a_mac_can_be_contested(&mut filter);

    // A side that was not known is not judged by the part of it that fits.
    let unknown = Wanted {
        rules: Rules::default(),
        ..pool.wanted([10; 4])
    };
    sync.apply(&mut filter, large, unknown, now).unwrap();
    let huge = Wanted {
        sources: growth,
        ..pool.wanted([10; 4])
    };
    sync.apply(&mut filter, large, huge, now).unwrap_err();
    assert_eq!(sync.have(large).unwrap().rules.known, Known::NONE);

    // Once it fits, all of it is in force.
    let less = pool.wanted([1_000; 4]);
    sync.apply(&mut filter, large, less.clone(), now).unwrap();
    assert_eq!((sync.have(large), sync.dirty(large)), (Some(&less), None));
}

/// However much one takes, each other peer can have its table replaced by one that is no larger: both are there meanwhile.
#[test]
fn where_every_peer_has_more_than_its_share_one_that_grows_costs_no_other_its_next_table() {
    const FIRST: usize = 6_000;
    const MOST: usize = 40_000;
    let test =
        "where_every_peer_has_more_than_its_share_one_that_grows_costs_no_other_its_next_table";
    if !require_kernel(test) {
        return;
    }
    let options = Options {
        max_peers: 16,
        table_memory_mib: 4,
        self_test: false, // of thousands of boundaries a hundred times
        ..rig::options(Engine::Tables)
    };
    let mut filter = rig::load(&options);
    let peers = 0..options.max_peers;
    let slots: Vec<PeerSlot> = peers
        .map(|peer| filter.add_peer(&format!("peer{peer}")).unwrap())
        .collect();
    let (mut sync, now) = (Sync::default(), Duration::ZERO);
    let share = filter.memory().capacity / 8 / u64::from(options.max_peers);
    let (large, others) = slots.split_first().unwrap();
    // Each time other hosts, as many or fewer.
    let wanted = |slot: PeerSlot, round: u64, count: usize| {
        let seed = 100 * round + u64::from(slot.number());
        Pool::new(2 * count, seed).wanted([count, 10, 10, 10])
    };
    let mut counts: BTreeMap<PeerSlot, usize> = slots.iter().map(|&slot| (slot, FIRST)).collect();
    counts.insert(*large, MOST);
    for (&slot, &count) in &counts {
        let used = filter.memory().used;
        let first = wanted(slot, 0, count);
        sync.apply(&mut filter, slot, first, now).unwrap();
        assert!(filter.memory().used - used > share, "more than its share");
    }
    // One after the other grows until no more fits.
    for &slot in others {
        let pool = Pool::new(2 * MOST, u64::from(slot.number()));
        for count in (FIRST..MOST).step_by(1_000) {
            let more = pool.wanted([count, 10, 10, 10]);
            match sync.apply(&mut filter, slot, more, now) {
                Ok(_) => counts.insert(slot, count),
                Err(Error::TableTooLarge { .. }) => break,
                Err(error) => panic!("{error}"),
            };
        }
    }
    // Only once each: tables that do not grow may split up what is free, when it is their turn again.
    for (&slot, &count) in &counts {
        let next = wanted(slot, 1, count - count / 50);
        let applied = sync.apply(&mut filter, slot, next.clone(), now);
        assert!(applied.is_ok(), "slot {}: {applied:?}", slot.number());
        assert!(sync.have(slot) == Some(&next));
    }
}
