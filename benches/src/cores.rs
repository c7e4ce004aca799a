//! Bar 6: what a second core adds. Never measures the scheduler: each thread counts its own processor time.
use std::sync::Barrier;
use std::thread;

use filter_core::Family;
use filter_loader::Engine;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::measure::{Effort, Result, median};
use crate::report::{Goal, Report, Row};
use crate::whole::Loaded;
use crate::world::{World, frame};

/// Packets of one core alone, then of two at once, through one table and one peer's counters.
///
/// # Errors
/// What the kernel says; fewer than two cores.
pub fn compare(report: &mut Report, effort: Effort) -> Result<()> {
    if thread::available_parallelism()?.get() < 2 {
        return Err("two cores are needed".into());
    }
    let world = World::transit(Family::Ipv4, 1_000_000)?;
    let packets = world.packets(1 << 20);
    let loaded = Loaded::new(&world, Engine::BenchTables)?;
    loaded.filter.set_frames(&packets)?;
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        alone.extend(on_cores(&loaded, &packets, effort, &[0])?);
        let each = on_cores(&loaded, &packets, effort, &[0, 1])?;
        together.push(each.iter().sum::<f64>() / each.len() as f64);
    }
    let (alone, together) = (median(&alone), median(&together));
    let case = "full v4 table, random: throughput of two cores";
    report.add(Row::of(
        6,
        case,
        together / 2.0,
        "one core",
        alone,
        2.0 * alone / together,
        Goal::AtLeast(1.9),
    ));
    Ok(())
}

fn on_cores(
    loaded: &Loaded,
    packets: &[[u64; 5]],
    effort: Effort,
    cores: &[usize],
) -> Result<Vec<f64>> {
    let program = loaded.filter.timed("tables_replay")?;
    let barrier = Barrier::new(cores.len());
    thread::scope(|scope| {
        let threads: Vec<_> = cores
            .iter()
            .map(|&core| {
                let barrier = &barrier;
                scope.spawn(move || -> Result<f64> {
                    let mut set = CpuSet::new();
                    set.set(core)?;
                    sched_setaffinity(Pid::from_raw(0), &set)?;
                    let start = core * packets.len() / 2;
                    barrier.wait();
                    Ok(program.run(&frame(&packets[start], start as u32 + 1), effort.packets)?)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a thread panicked")?)
            .collect()
    })
}
