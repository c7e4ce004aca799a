//! How fast and how large: measured, not asserted, but for what must not depend on the size. Run with
//! `cargo test --release -p tests --test lifecycle -- --ignored --nocapture scale`.
use std::time::{Duration, Instant};

use filter_core::{Address, Family, Prefix};
use filter_lifecycle::route::{FeedId, PeerId, Route, RouteEvent};

use super::world::{BMP_LISTENER, MINE, ONE, PRE, V4, World, origin};

const P1: &str = "192.0.2.11";
/// A full table of both families, October 2025.
const FULL_TABLE: u32 = 1_060_000;

/// Distinct, admitted prefixes, in no helpful order.
fn prefixes(count: u32) -> impl Iterator<Item = Prefix> {
    (0..count).map(|number| {
        let (family, hi) = if number % 5 == 0 {
            (Family::Ipv6, 0x2a00 << 48 | u64::from(number) << 16)
        } else {
            (
                Family::Ipv4,
                (45 << 56) + (u64::from(number) << 40 & 0x00ff_ffff << 40),
            )
        };
        let len = if family == Family::Ipv4 { 24 } else { 48 };
        Prefix::new(Address { family, hi, lo: 0 }, len).unwrap()
    })
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        * 1024
}

fn announce(prefix: Prefix) -> RouteEvent {
    let next_hop = Some(P1.parse().unwrap());
    let route = Route {
        next_hop,
        ..Route::bare(prefix)
    };
    RouteEvent::Announce {
        origin: origin(P1),
        rib: PRE,
        route,
    }
}

fn rate(what: &str, events: usize, took: Duration) {
    let per_second = events as f64 / took.as_secs_f64() / 1e6;
    println!(
        "{what}: {events} in {} ms, {per_second:.2} M/s",
        took.as_millis()
    );
}

/// Batches of the size feeds send, each settled.
fn feed(world: &mut World, what: &str, events: &[RouteEvent]) {
    let begin = Instant::now();
    for batch in events.chunks(4096) {
        for event in batch {
            world.life.event(world.now, FeedId(0), event);
        }
        world.life.settle(world.now);
    }
    rate(what, events.len(), begin.elapsed());
}

#[test]
#[ignore = "a measurement: run it in release"]
fn a_full_table_of_one_peer() {
    let both = ONE.replace("[\"ipv4\"]", "[\"ipv4\", \"ipv6\"]");
    let mut world = World::new(&[&both, BMP_LISTENER, MINE]);
    world.feed_up(0);
    world.up(0, P1);
    let all: Vec<Prefix> = prefixes(FULL_TABLE).collect();
    let distinct: std::collections::HashSet<&Prefix> = all.iter().collect();
    println!("{} prefixes", distinct.len());
    drop(distinct);
    let events: Vec<RouteEvent> = all.iter().copied().map(announce).collect();
    let before = resident();
    feed(&mut world, "announce", &events);
    let bytes = resident() - before;
    println!(
        "memory: {} MB, {} bytes a route",
        bytes >> 20,
        bytes / all.len()
    );
    feed(&mut world, "announce again", &events);
    world.end(0, P1, PRE, V4);
    let begin = Instant::now();
    let sources = world.life.sources(PeerId(0));
    println!(
        "sources: {} ranges in {} us",
        sources.ipv4.as_slice().len() + sources.ipv6.as_slice().len(),
        begin.elapsed().as_micros()
    );
    world.tell(0, announce("45.255.0.0/16".parse().unwrap()));
    let begin = Instant::now();
    let more = world.life.sources(PeerId(0));
    println!("sources, one announced: {} us", begin.elapsed().as_micros());
    assert_ne!(sources, more);
    let begin = Instant::now();
    world.status(0);
    println!("status: {} us", begin.elapsed().as_micros());
    let withdrawals: Vec<RouteEvent> = all
        .iter()
        .map(|&prefix| RouteEvent::Withdraw {
            origin: origin(P1),
            rib: PRE,
            prefix,
            path: 0,
        })
        .collect();
    feed(&mut world, "withdraw", &withdrawals);
    println!("memory: {} MB while leaving", (resident() - before) >> 20);
    let begin = Instant::now();
    world.now += Duration::from_secs(31);
    world.life.tick(world.now);
    rate("expire", all.len(), begin.elapsed());
}

#[test]
#[ignore = "a measurement: run it in release"]
fn eight_hundred_peers() {
    use std::fmt::Write;
    let mut peers = String::new();
    for number in 0..800 {
        let (high, low) = (number / 250, number % 250);
        writeln!(
            peers,
            "[[peer]]\nname = \"p{number}\"\nasn = {}\ninterface = \"ixp0\"\naddresses = [\"10.9.{high}.{low}\"]\nmode = \"enforce\"\nfamilies = [\"ipv4\"]",
            70000 + number
        )
        .unwrap();
    }
    let server = "[[route_server]]\nname = \"rs\"\nasn = 64511\ninterface = \"ixp0\"\naddresses = [\"10.9.9.9\"]\n";
    let mut spec = super::world::spec_of(&[&peers, server, BMP_LISTENER]);
    spec.interfaces[0].lan.push("10.9.0.0/16".parse().unwrap());
    let mut world = World::of(spec);
    world.feed_up(0);
    let address = |number: u32| format!("10.9.{}.{}", number / 250, number % 250);
    let mut events = Vec::new();
    for number in 0..800 {
        world.up(0, &address(number));
        for block in 0..100u64 {
            let hi = (45 << 56) + ((u64::from(number) * 100 + block) << 40);
            let prefix = Prefix::new(
                Address {
                    family: V4,
                    hi,
                    lo: 0,
                },
                24,
            )
            .unwrap();
            let route = Route::bare(prefix);
            events.push(RouteEvent::Announce {
                origin: origin(&address(number)),
                rib: PRE,
                route,
            });
        }
    }
    world.up(0, "10.9.9.9");
    feed(&mut world, "announce, 800 peers", &events);
    let interleaved: Vec<RouteEvent> = (0..100)
        .flat_map(|block| (0..800).map(move |number| (number * 100 + block) as usize))
        .map(|index| events[index].clone())
        .collect();
    feed(&mut world, "again, interleaved", &interleaved);
    let begin = Instant::now();
    for _ in 0..100 {
        world.life.tick(world.now);
    }
    println!(
        "tick while loading: {} us",
        begin.elapsed().as_micros() / 100
    );
    let begin = Instant::now();
    world.feed_down(0);
    println!("feed down: {} ms", begin.elapsed().as_millis());
}
