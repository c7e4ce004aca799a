//! The shapes of real exchanges and of transit, in the kernel: hundreds of heavy-tailed peers on one port, thousands
//! of small ones, a full table beside small ones. Loaded, looked up through the program, churned; the numbers are
//! printed, what must hold is asserted.

#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::time::{Duration, Instant};

use filter_core::packet::{Mac, Vlans};
use filter_core::set::PrefixSet;
use filter_core::table::shapes::{self, Random};
use filter_core::{Address, Family, Prefix, Reason, frame};
use filter_loader::{Engine, Filter, Options, PeerSlot, PeerTables, Station, TEST_IFINDEX};
use tests::require_kernel;
use tests::rig::{self, test_interface};

/// What a route costs at most (PERFORMANCE bar 4), both sides and records included; small peers cost lines.
const BYTES_PER_PREFIX: u64 = 8;
/// What a peer of two prefixes costs at most.
const BYTES_PER_SMALL_PEER: u64 = 1024;
/// Peers whose verdicts are looked at.
const SAMPLED: usize = 40;

struct Exchange {
    filter: Filter,
    peers: Vec<(PeerSlot, Vec<Prefix>)>,
    load: Duration,
}

fn us() -> Vec<Prefix> {
    vec!["198.51.100.0/24".parse().unwrap()]
}

fn set(prefixes: &[Prefix]) -> PrefixSet {
    prefixes.iter().copied().collect()
}

fn table<'a>(
    generation: u32,
    sources: &'a PrefixSet,
    destinations: &'a PrefixSet,
) -> PeerTables<'a> {
    PeerTables {
        rules: rig::rules(),
        generation,
        sources,
        destinations,
    }
}

/// Every peer published, each under a MAC of its own.
fn load(name: &str, lists: Vec<Vec<Prefix>>) -> Exchange {
    let options = Options {
        max_peers: 4096,
        table_memory_mib: 64,
        ..rig::options(Engine::Tables)
    };
    let mut filter = rig::load(&options);
    filter
        .set_interface(TEST_IFINDEX, &test_interface())
        .unwrap();
    let destinations = set(&us());
    let begin = Instant::now();
    let mut peers = Vec::new();
    for (index, list) in lists.into_iter().enumerate() {
        let peer = filter.add_peer(&format!("peer{index}")).unwrap();
        let station = Station {
            ifindex: TEST_IFINDEX,
            vlans: Vlans::default(),
            mac: mac(index),
        };
        filter.set_stations(peer, &[station]).unwrap();
        filter
            .publish(peer, &table(1, &set(&list), &destinations))
            .unwrap();
        peers.push((peer, list));
    }
    let load = begin.elapsed();
    let prefixes: usize = peers.iter().map(|(_, list)| list.len()).sum();
    println!(
        "{name}: {} peers, {prefixes} prefixes in {load:?}, {} bytes",
        peers.len(),
        filter.memory().used
    );
    Exchange {
        filter,
        peers,
        load,
    }
}

/// So many peers of ten prefixes.
fn tens(peers: usize) -> Vec<Vec<Prefix>> {
    let all = shapes::full_table(Family::Ipv4, 10 * peers + 1000, 3);
    all.chunks(10).take(peers).map(<[Prefix]>::to_vec).collect()
}

fn mac(index: usize) -> Mac {
    Mac::from_bits(0x0200_0001_0000 + index as u64)
}

impl Exchange {
    /// A member of its own and a random address for some peers, as the ranges have it.
    fn check(&mut self) {
        let mut random = Random(11);
        let own = Mac::from_bytes(tests::frame::station("us").unwrap());
        let step = (self.peers.len() / SAMPLED).max(1);
        for index in (0..self.peers.len()).step_by(step) {
            let (peer, list) = self.peers[index].clone();
            let members = set(&list);
            let mine = random.within(*random.clone().pick(&list).unwrap());
            let anyone = Address::from_bits(Family::Ipv4, random.wide());
            for source in [mine, anyone] {
                let destination = "198.51.100.9".parse().unwrap();
                let packet =
                    frame::packet(source.into(), destination, 17, 64, &frame::udp(b"shape"));
                let frame =
                    frame::ethernet(own, mac(index), frame::ethertype(destination), &packet);
                let before = self.filter.counters(peer).unwrap();
                self.filter.run(&frame, 1).unwrap();
                let counted = self.filter.counters(peer).unwrap().since(&before);
                let permitted = counted.get(Reason::Permitted).passed.packets == 1;
                assert_eq!(
                    permitted,
                    members.contains(source),
                    "peer {index}, {source}: {counted:?}"
                );
            }
        }
    }

    /// Every tenth peer loses a route and gets it back, over and over: the arena must not grow.
    fn churn(&mut self, rounds: u32) {
        let destinations = set(&us());
        let used = self.filter.memory().used;
        let begin = Instant::now();
        let mut updates = 0;
        for round in 0..rounds {
            for (peer, list) in self.peers.iter().step_by(10) {
                let list = if round % 2 == 0 {
                    &list[1..]
                } else {
                    &list[..]
                };
                self.filter
                    .publish(*peer, &table(2 + round, &set(list), &destinations))
                    .unwrap();
                updates += 1;
            }
        }
        println!("  {updates} updates in {:?}", begin.elapsed());
        let now = self.filter.memory();
        assert!(now.used <= used + used / 50, "grew from {used} to {now:?}");
        assert!(
            now.largest_free * 2 > now.capacity - now.used - now.retiring
                || now.largest_free > 4 << 20 >> 1,
            "{now:?}"
        );
    }
}

#[test]
fn eight_hundred_heavy_tailed_peers_on_one_port() {
    if !require_kernel("eight_hundred_heavy_tailed_peers_on_one_port") {
        return;
    }
    let mut exchange = load(
        "800 heavy-tailed",
        shapes::exchange(Family::Ipv4, 800, 20_000, 5),
    );
    exchange.check();
    let prefixes: usize = exchange.peers.iter().map(|(_, list)| list.len()).sum();
    let records = 800 * 256; // records and our side: not per prefix
    assert!(exchange.filter.memory().used <= prefixes as u64 * BYTES_PER_PREFIX + records);
    exchange.churn(4);
}

#[test]
fn two_thousand_small_peers() {
    if !require_kernel("two_thousand_small_peers") {
        return;
    }
    let mut exchange = load("2000 x 10", tens(2000));
    exchange.check();
    assert!(exchange.filter.memory().used <= 2000 * BYTES_PER_SMALL_PEER);
    exchange.churn(2);
}

#[test]
fn a_full_table_beside_small_peers() {
    if !require_kernel("a_full_table_beside_small_peers") {
        return;
    }
    let full = shapes::full_table(Family::Ipv4, 900_000, 1);
    let lists = std::iter::once(full).chain(tens(500)).collect();
    let mut exchange = load("900000 + 500 x 10", lists);
    exchange.check();
    assert!(
        exchange.load < Duration::from_secs(60),
        "{:?}",
        exchange.load
    );
    // The small ones keep updating; the full table stays.
    exchange.peers.remove(0);
    exchange.churn(2);
}
