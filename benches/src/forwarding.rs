//! What a router pays: packets from a sender over a router to a receiver, with nothing in the way, with empty programs, with this
//! filter at each hook, with nftables and with `rp_filter`; over a veth pair and a TAP, small packets to super-frames, all passed
//! and all dropped. In namespaces of its own, gone afterwards.
//!
//! They take turns, in many short rounds, and each figure stands beside the same round's without a filter. What decides is
//! processor time per packet, which other work on the machine moves less than the clock on the wall.
mod meter;
mod scene;
mod shapes;
mod streams;
mod table;
mod ways;

use std::time::{Duration, Instant};

use filter_loader::HookKind;

use crate::measure::{Effort, Result, median};
use crate::report::{Detail, Goal, Report, Row};
use scene::{Device, Scene};
use shapes::{Sample, Shape};
use table::Table;
use ways::{NO_FILTER, OURS, Way};

/// Rounds of each shape at least, the first of which only warms the caches.
const ROUNDS: usize = 3;
/// `auto` may take this many times what the best hook takes.
const AUTO: Goal = Goal::AtMost(1.05);
const BAR: u32 = 8;

/// How long one shape may be measured; another round is begun until then.
const fn budget(effort: Effort) -> Duration {
    match effort.quick {
        true => Duration::from_millis(1500),
        false => Duration::from_secs(14),
    }
}

/// Every hook for every shape, and whether `auto` takes the best.
///
/// # Errors
/// If a tool is missing or refuses, or what should come through does not, or the reverse.
pub fn compare(report: &mut Report, effort: Effort) -> Result<()> {
    meter::check()?;
    let table = Table::new(if effort.quick { 50_000 } else { 250_000 })?;
    for device in [Device::Veth, Device::Tap, Device::GuestTap] {
        let mut scene = Scene::new(device, &table)?;
        let (mut ways, auto) = ways::all(&table)?;
        for shape in shapes::of(device) {
            let samples = in_turns(&mut scene, &shape, &table, &mut ways, effort)?;
            show(report, device, &shape, &samples, auto);
        }
    }
    Ok(())
}

/// What one way took, round by round.
struct Samples {
    name: &'static str,
    rounds: Vec<Sample>,
}

impl Samples {
    /// The ratios to another way's of the same rounds, ascending.
    fn beside(&self, other: &Self) -> Vec<f64> {
        let pairs = self.rounds.iter().zip(&other.rounds);
        let mut ratios: Vec<f64> = pairs.map(|(ours, theirs)| ours.cpu / theirs.cpu).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    fn median(&self, of: fn(&Sample) -> f64) -> f64 {
        median(&self.rounds.iter().map(of).collect::<Vec<f64>>())
    }
}

fn in_turns(
    scene: &mut Scene,
    shape: &Shape,
    table: &Table,
    ways: &mut [Way<'_>],
    effort: Effort,
) -> Result<Vec<Samples>> {
    scene.prepare(shape)?;
    let mut traffic = shapes::Traffic::new(scene, shape, table, effort)?;
    let mut ways: Vec<&mut Way<'_>> = ways.iter_mut().filter(|way| way.fits(shape)).collect();
    let names = ways.iter().map(|way| way.name);
    let mut all: Vec<Samples> = names
        .map(|name| Samples {
            name,
            rounds: Vec::new(),
        })
        .collect();
    let start = Instant::now();
    let mut round = 0;
    while round < ROUNDS || start.elapsed() < budget(effort) {
        for (way, samples) in ways.iter_mut().zip(&mut all) {
            let passes = !shape.is_dropped || way.name == NO_FILTER;
            way.filter.on()?;
            let sample = traffic.run(scene, passes);
            way.filter.off(passes)?;
            let sample = sample.map_err(|error| format!("{shape}, {}: {error}", way.name))?;
            if round > 0 {
                samples.rounds.push(sample);
            }
        }
        round += 1;
    }
    Ok(all)
}

/// A row for each hook, and one for what `auto` took.
fn show(report: &mut Report, device: Device, shape: &Shape, all: &[Samples], auto: HookKind) {
    let find = |name: &str| all.iter().find(|samples| samples.name == name);
    let Some(none) = find(NO_FILTER) else {
        return;
    };
    let cpu = |samples: &Samples| samples.median(|sample| sample.cpu);
    for samples in all {
        let ratios = samples.beside(none);
        let case = format!("{}, {shape}: {}", device.name(), samples.name);
        let ratio = median(&ratios);
        let row = Row::of(
            BAR,
            &case,
            cpu(samples),
            NO_FILTER,
            cpu(none),
            ratio,
            Goal::None,
        );
        report.add(row.with(detail(samples, &ratios)));
    }
    if let Some(row) = beside_the_best(device, shape, all, auto) {
        report.add(row);
    }
}

/// What `auto` took beside the best of the other hooks: the one that it looks worst beside.
fn beside_the_best(device: Device, shape: &Shape, all: &[Samples], auto: HookKind) -> Option<Row> {
    let find = |name: &str| all.iter().find(|samples| samples.name == name);
    let taken = find(ways::ours(auto))?;
    let others = OURS.iter().filter(|&&name| name != taken.name);
    let beside = others.filter_map(|name| find(name).map(|other| (other, taken.beside(other))));
    let (best, ratios) =
        beside.max_by(|(_, one), (_, other)| median(one).total_cmp(&median(other)))?;
    let hook = ways::hook(taken.name);
    let case = format!("{}, {shape}: auto takes {hook}", device.name());
    let [ours, theirs] = [taken, best].map(|samples| samples.median(|sample| sample.cpu));
    let row = Row::of(BAR, &case, ours, best.name, theirs, median(&ratios), AUTO);
    Some(row.with(detail(taken, &ratios)))
}

fn detail(samples: &Samples, ratios: &[f64]) -> Detail {
    Detail {
        rounds: ratios.len(),
        quartiles: [1, 3].map(|part| at(ratios, part)),
        packets: samples.median(|sample| sample.packets),
        bits: samples.median(|sample| sample.bits),
    }
}

/// So many quarters of the way through them.
fn at(sorted: &[f64], quarters: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * quarters / 4).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds that differ by a busy moment, which hits all of a round.
    fn samples(name: &'static str, cpu: f64) -> Samples {
        let round = |busy: f64| Sample {
            cpu: cpu * busy,
            packets: 1.0,
            bits: 1.0,
        };
        Samples {
            name,
            rounds: [1.0, 3.0, 1.5, 1.1, 2.0].map(round).into(),
        }
    }

    fn met(native: f64, generic: f64, tc: f64) -> Option<bool> {
        let all: Vec<Samples> = OURS
            .into_iter()
            .zip([native, generic, tc])
            .map(|(name, cpu)| samples(name, cpu))
            .collect();
        let shape = &shapes::of(Device::Veth)[0];
        beside_the_best(Device::Veth, shape, &all, HookKind::Tc)?.met()
    }

    #[test]
    fn auto_is_held_to_the_best_of_the_other_hooks() {
        assert_eq!(met(130.0, 120.0, 100.0), Some(true));
        assert_eq!(met(100.0, 200.0, 105.0), Some(true), "five percent");
        assert_eq!(met(100.0, 200.0, 105.1), Some(false));
        assert_eq!(met(200.0, 100.0, 105.1), Some(false));
        assert_eq!(met(99.0, 98.0, 106.0), Some(false));
    }

    #[test]
    fn ratios_are_those_of_the_same_round() {
        let ratios = samples("one", 30.0).beside(&samples("other", 20.0));
        assert_eq!(ratios.len(), 5);
        assert!(ratios.iter().all(|ratio| (ratio - 1.5).abs() < 1e-9));
    }

    #[test]
    fn quartiles_are_a_quarter_from_either_end() {
        let sorted = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!([1, 3].map(|part| at(&sorted, part)), [2.0, 4.0]);
        assert_eq!(at(&[], 1).to_bits(), 0.0_f64.to_bits());
    }
}
