//! `bars [--quick] [--json FILE]`: every bar, one table; `bars --against OBJECT [--quick]`: the program beside another build of it.
//! Needs root; leaves nothing behind.
use std::path::PathBuf;
use std::process::ExitCode;

use benches::measure::{Effort, Result};
use benches::report::{Goal, Report};
use benches::whole::{self, Goals};
use benches::world::World;
use benches::{against, cores, feed, floods, forwarding, lookup, updates, wire};
use filter_core::Family;

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: impl Iterator<Item = String>) -> Result<()> {
    let (mut quick, mut json, mut only, mut against) = (false, None, None, None);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => quick = true,
            "--json" => json = Some(PathBuf::from(args.next().ok_or("--json needs a file")?)),
            "--against" => {
                against = Some(PathBuf::from(args.next().ok_or("--against needs a file")?));
            }
            "--only" => only = Some(args.next().ok_or("--only needs a part's name")?),
            other => return Err(format!("unknown argument `{other}`").into()),
        }
    }
    let effort = Effort::new(quick);
    if let Some(object) = against {
        return against::compare(&object, effort);
    }
    let mut report = Report::default();
    println!("{}", Report::head());
    for (name, part) in PARTS {
        if only.as_ref().is_none_or(|only| only == name) {
            part(&mut report, effort).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    let (met, bars) = report.score();
    println!("{met} of {bars} bars met");
    if let Some(path) = json {
        std::fs::write(path, report.json())?;
    }
    Ok(())
}

/// A part of the run, by the name that `--only` knows it by.
type Part = (&'static str, fn(&mut Report, Effort) -> Result<()>);

const PARTS: &[Part] = &[
    ("costs", whole::costs),
    ("stages", whole::stages),
    ("smallest", whole::smallest),
    ("floods", floods::compare),
    ("v4", |report, effort| {
        let world = World::transit(Family::Ipv4, 1_000_000)?;
        whole::compare(report, effort, &world, goals(40.0, 5.0))
    }),
    ("v6", |report, effort| {
        let world = World::transit(Family::Ipv6, 230_000)?;
        whole::compare(report, effort, &world, goals(15.0, 5.0))
    }),
    ("exchange4", |report, effort| {
        let world = World::exchange(Family::Ipv4, 800, 20_000);
        whole::compare(report, effort, &world, goals(15.0, 5.0))
    }),
    ("exchange6", |report, effort| {
        let world = World::exchange(Family::Ipv6, 800, 4_600);
        whole::compare(report, effort, &world, goals(6.0, 5.0))
    }),
    ("updates", updates::speed),
    ("feed", feed::effective),
    ("memory", updates::memory),
    ("lookup", lookup::compare),
    ("cores", cores::compare),
    ("wire", wire::compare),
    ("forwarding", forwarding::compare),
];

fn goals(random: f64, hot: f64) -> Goals {
    Goals {
        random: Goal::AtLeast(random),
        hot: Goal::AtLeast(hot),
        random_floor: Goal::AtMost(15.0),
        hot_floor: Goal::AtMost(8.0),
    }
}
