//! The program operators run beside another build of it, as of before a change: what a change of the hot path costs.
use std::path::Path;

use filter_loader::Engine;

use crate::floods;
use crate::measure::{Effort, Result, median};
use crate::whole::Loaded;
use crate::world::World;

/// The program's name in both objects.
const PROGRAM: &str = "bcp38";

/// Permitted packets and every flood through both programs, in turns; prints the median of what now takes longer, and the ratio of
/// each turn's times with how far it spreads.
///
/// # Errors
/// What the kernel says; a file that is no object with the same maps.
pub fn compare(object: &Path, effort: Effort) -> Result<()> {
    let world = World::smallest()?;
    let load = |engine| -> Result<Loaded> {
        let mut loaded = Loaded::new(&world, engine)?;
        floods::fill(&mut loaded)?;
        Ok(loaded)
    };
    let before = load(Engine::BenchObject(aligned(&std::fs::read(object)?)))?;
    let now = load(Engine::Tables)?;
    println!("| packet | before, ns | now, ns | more, ns | ratio (smallest to largest) |");
    println!("|---|--:|--:|--:|--:|");
    for case in floods::cases(world.peers[0].mac)? {
        let run = |loaded: &Loaded| -> Result<f64> {
            Ok(loaded
                .filter
                .timed(PROGRAM)?
                .run(&case.frame, effort.packets)?)
        };
        let (mut times, mut more, mut ratios) = ([Vec::new(), Vec::new()], Vec::new(), Vec::new());
        for round in 0..=4 * effort.rounds {
            // Whoever is second finds the caches of the first: so each is as often as the other.
            let (old, new) = match round % 2 {
                0 => (run(&before)?, run(&now)?),
                _ => {
                    let new = run(&now)?;
                    (run(&before)?, new)
                }
            };
            if round > 0 {
                times[0].push(old);
                times[1].push(new);
                more.push(new - old);
                ratios.push(new / old);
            }
        }
        ratios.sort_by(f64::total_cmp);
        println!(
            "| {}, {} | {:.1} | {:.1} | {:.1} | {:.3} ({:.3} to {:.3}) |",
            case.name,
            case.reason,
            median(&times[0]),
            median(&times[1]),
            median(&more),
            median(&ratios),
            ratios.first().copied().unwrap_or_default(),
            ratios.last().copied().unwrap_or_default(),
        );
    }
    Ok(())
}

/// The same bytes where the loader can read them: at a multiple of eight, for as long as the process runs.
fn aligned(bytes: &[u8]) -> &'static [u8] {
    let mut all: Vec<u8> = Vec::with_capacity(bytes.len() + 8);
    let start = all.as_ptr().align_offset(8);
    all.resize(start, 0);
    all.extend_from_slice(bytes);
    &Vec::leak(all)[start..]
}
