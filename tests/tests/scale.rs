//! A full table streams into one peer while five hundred small ones keep changing: the small ones do not wait for it.
//!
//! 1.06 million routes as BMP carries them, one to a message; from a small peer's bytes on its router's connection to the
//! store that puts them in force in the kernel.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use filter_core::table::shapes::full_table;
use filter_core::{Address, Family, Prefix};
use lab::bmp::{Direction, Router};
use tests::fleet::{Fleet, Slots, neighbour, table};
use tests::require_kernel;

const SMALL_PEERS: u32 = 500;
const FULL_TABLE: [(Family, usize); 2] = [(Family::Ipv4, 900_000), (Family::Ipv6, 160_000)];
/// Updates measured before the flood.
const IDLE_UPDATES: usize = 300;
/// The bound: median while the flood lasts over median before.
const SLOWER: u32 = 2;
/// What is shorter counts as this: there the scheduler decides, with four busy threads on two cores.
const FLOOR: Duration = Duration::from_micros(1500);
/// Memory for the routes of a full table, all that the daemon makes of them included. Named in docs/lifecycle.md.
const BYTES_PER_ROUTE: usize = 400;

/// The next /24 that no peer has announced.
fn fresh(number: &mut u32) -> Prefix {
    *number += 1;
    let bits = (45 << 24) + (*number << 8);
    Prefix::new(Address::from_v4(bits.to_be_bytes()), 24).unwrap()
}

/// The next peer announces one more prefix: how long until it is in force.
fn update(slots: &Slots, router: &mut Router, number: &mut u32) -> Duration {
    let peer = 1 + *number % SMALL_PEERS;
    let prefix = fresh(number);
    slots.until_changed(peer, || {
        router
            .announce(neighbour(peer), Direction::Received, &[prefix])
            .unwrap();
    })
}

fn quantile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * percent / 100]
}

fn report(what: &str, times: &mut [Duration]) -> Duration {
    let [median, p90, p99, worst] = [50, 90, 99, 100].map(|percent| quantile(times, percent));
    println!(
        "{what:<22} {:>5} updates: median {median:.1?}, 90 % {p90:.1?}, 99 % {p99:.1?}, worst {worst:.1?}",
        times.len()
    );
    median
}

#[test]
fn small_peers_do_not_wait_for_a_full_table() {
    if !require_kernel("small_peers_do_not_wait_for_a_full_table") {
        return;
    }
    let fleet = Fleet::start(1 + SMALL_PEERS);
    let slots = fleet.slots();
    let (mut large, mut small) = (fleet.router("large"), fleet.router("small"));
    large.peer_up_for(neighbour(0), &Family::ALL).unwrap();
    (1..=SMALL_PEERS).for_each(|peer| small.peer_up(neighbour(peer)).unwrap());
    let mut number = 0;
    let mut idle: Vec<Duration> = (0..IDLE_UPDATES)
        .map(|_| update(&slots, &mut small, &mut number))
        .collect();

    let prefixes = FULL_TABLE.map(|(family, count)| full_table(family, count, 7));
    let prefixes = fleet.admitted(prefixes.concat());
    let bytes = table(0, &prefixes);
    let (before, done) = (Fleet::resident(), AtomicBool::new(false));
    let mut flooded = thread::scope(|scope| {
        scope.spawn(|| {
            large.send(&bytes).unwrap();
            done.store(true, Ordering::Release);
        });
        let mut times = Vec::new();
        while !done.load(Ordering::Acquire) {
            times.push(update(&slots, &mut small, &mut number));
        }
        times
    });
    fleet.until_sources(0, prefixes.len() as u64);
    let grown = Fleet::resident().saturating_sub(before);
    let mut after: Vec<Duration> = (0..IDLE_UPDATES)
        .map(|_| update(&slots, &mut small, &mut number))
        .collect();

    let before_flood = report("before", &mut idle).max(FLOOR);
    let during_flood = report("while a table streams", &mut flooded);
    let beside = report("beside the full table", &mut after);
    println!(
        "{} routes: {} MB more, {} bytes a route",
        prefixes.len(),
        grown >> 20,
        grown / prefixes.len()
    );
    assert!(
        flooded.len() > 20,
        "{} updates: the flood was too short to say anything",
        flooded.len()
    );
    assert!(
        during_flood <= SLOWER * before_flood,
        "{during_flood:?} after {before_flood:?}"
    );
    assert!(
        beside <= SLOWER * before_flood,
        "{beside:?} after {before_flood:?}"
    );
    assert!(
        grown / prefixes.len() <= BYTES_PER_ROUTE,
        "{grown} bytes for {} routes",
        prefixes.len()
    );
    fleet.end();
}
