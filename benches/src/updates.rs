//! Bars 3 and 4: how fast tables change beside loaded ones, and what they take up. Never looks anything up.
use std::time::Instant;

use filter_core::set::PrefixSet;
use filter_core::table::shapes::{exchange, full_table};
use filter_core::{Family, Prefix};
use filter_loader::Engine;

use crate::measure::{Effort, Result, median};
use crate::report::{Goal, Report, Row};
use crate::whole::{Loaded, table};
use crate::world::{self, World};

const SECOND: f64 = 1e9;

/// Bar 3.
///
/// # Errors
/// What the kernel says.
pub fn speed(report: &mut Report, effort: Effort) -> Result<()> {
    let prefixes = world::table(Family::Ipv4, 1_000_000)?;
    let mut world = World::exchange(Family::Ipv4, 800, 20_000);
    world.peers.extend(World::transit(Family::Ipv4, 1)?.peers);
    for (mac, peer) in (0x02_00_00_00_90_00..).zip(&mut world.peers) {
        peer.mac = filter_core::packet::Mac::from_bits(mac);
    }
    let mut loaded = Loaded::new(&world, Engine::BenchTables)?;
    let nothing = PrefixSet::default();
    let transit = loaded.slots[800];
    let mut times = Vec::new();
    for generation in 0..effort.rounds {
        loaded
            .filter
            .publish(transit, &table(generation, &nothing, &nothing))?;
        let start = Instant::now();
        let set: PrefixSet = prefixes.iter().copied().collect();
        loaded
            .filter
            .publish(transit, &table(generation, &set, &set))?;
        times.push(start.elapsed().as_secs_f64() * SECOND);
    }
    let start = Instant::now();
    let mut tries = Loaded::new(&World::smallest()?, Engine::BenchLpm)?;
    let slot = tries.slots[0];
    tries.filter.insert(slot, &prefixes, &prefixes)?;
    let theirs = start.elapsed().as_secs_f64() * SECOND;
    let case = "full v4 table, both sides, from a list to live";
    report.add(Row::times(
        3,
        case,
        median(&times),
        "one second",
        SECOND,
        Goal::AtMost(1.0),
    ));
    report.add(Row::faster(
        3,
        case,
        median(&times),
        "kernel LPM tries",
        theirs,
        Goal::None,
    ));
    announce(report, effort, &mut loaded, &world, &prefixes)
}

/// One more prefix for the 1 M table, and for peers of every size, beside all of it.
fn announce(
    report: &mut Report,
    effort: Effort,
    loaded: &mut Loaded,
    world: &World,
    full: &[Prefix],
) -> Result<()> {
    let limit = 5e6;
    let extra: PrefixSet = full_table(Family::Ipv4, 1000, 99)
        .into_iter()
        .take(1)
        .collect();
    let cases = [
        ("announce into the full v4 table itself", 800, full),
        (
            "announce of the largest of 800 peers beside it",
            0,
            &world.peers[0].sources,
        ),
        (
            "announce of the median of 800 peers beside it",
            400,
            &world.peers[400].sources,
        ),
    ];
    for (case, index, prefixes) in cases {
        let before: PrefixSet = prefixes.iter().copied().collect();
        let destinations: PrefixSet = world.peers[0].destinations.iter().copied().collect();
        let mut times = Vec::new();
        for generation in 0..4 * effort.rounds {
            let slot = loaded.slots[index];
            let start = Instant::now();
            let after = before.union(&extra);
            loaded
                .filter
                .publish(slot, &table(generation, &after, &destinations))?;
            times.push(start.elapsed().as_secs_f64() * SECOND);
            loaded
                .filter
                .publish(slot, &table(generation, &before, &destinations))?;
        }
        report.add(Row::times(
            3,
            case,
            median(&times),
            "five milliseconds",
            limit,
            Goal::AtMost(1.0),
        ));
    }
    Ok(())
}

/// Bar 4. Figures are bytes.
///
/// # Errors
/// What the kernel says.
pub fn memory(report: &mut Report, effort: Effort) -> Result<()> {
    let worlds = [
        World::transit(Family::Ipv4, 1_000_000)?,
        World::transit(Family::Ipv6, 230_000)?,
        World::exchange(Family::Ipv4, 800, 20_000),
        World::exchange(Family::Ipv6, 800, 4_600),
    ];
    let empty = Loaded::new(
        &World {
            peers: Vec::new(),
            ..World::smallest()?
        },
        Engine::BenchTables,
    )?;
    let overhead = empty.filter.memory().used;
    for world in worlds {
        let loaded = Loaded::new(&world, Engine::BenchTables)?;
        let used = (loaded.filter.memory().used - overhead) as f64;
        // Sets that are equal are stored once, so they are counted once: for a transit one side, for an exchange
        // the sources of all.
        let prefixes: usize = world.peers.iter().map(|peer| peer.sources.len()).sum();
        let case = format!("bytes per prefix: {}", world.name);
        report.add(Row::times(
            4,
            &case,
            used / prefixes as f64,
            "bytes",
            1.0,
            Goal::AtMost(8.0),
        ));
    }
    let mut small = World::exchange(Family::Ipv4, 2000, 1);
    for (peer, sources) in small
        .peers
        .iter_mut()
        .zip(exchange(Family::Ipv4, 2000, 2, 1))
    {
        peer.sources = sources;
        peer.destinations = full_table(Family::Ipv4, 2, peer.mac.bits());
    }
    let mut loaded = Loaded::new(&small, Engine::BenchTables)?;
    let used = loaded.filter.memory().used - overhead;
    let case = "bytes per two-prefix peer: 2,000 of them, none alike";
    report.add(Row::times(
        4,
        case,
        used as f64 / 2000.0,
        "bytes",
        1.0,
        Goal::AtMost(1024.0),
    ));
    churn(report, effort, &mut loaded, &small)
}

/// Every peer's table replaced by another and back, over and over.
fn churn(report: &mut Report, effort: Effort, loaded: &mut Loaded, world: &World) -> Result<()> {
    let before = loaded.filter.memory();
    let rounds = if effort.quick { 4 } else { 40 };
    let sets: Vec<[PrefixSet; 2]> = world
        .peers
        .iter()
        .map(|peer| [&peer.sources, &peer.destinations].map(|list| list.iter().copied().collect()))
        .collect();
    for round in 0..2 * rounds {
        for (slot, [a, b]) in loaded.slots.iter().zip(&sets) {
            let (sources, destinations) = if round % 2 == 0 { (b, a) } else { (a, b) };
            loaded
                .filter
                .publish(*slot, &table(round, sources, destinations))?;
        }
    }
    let after = loaded.filter.memory();
    let case = format!(
        "bytes in use after {} replaced tables",
        2 * rounds as usize * sets.len()
    );
    report.add(Row::times(
        4,
        &case,
        after.used as f64,
        "before",
        before.used as f64,
        Goal::AtMost(1.0),
    ));
    Ok(())
}
