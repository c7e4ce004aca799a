//! Frames beyond the case file: arbitrary bytes, every case cut at every byte, and accidents. All engines must
//! agree on fate and every counter, and none may panic. Expectations come from the oracle, never from here.

use filter_core::Classes;
use proptest::prelude::*;
use tests::case;
use tests::engines::{Engine, Kernel, Oracle, Userspace};
use tests::kernel::{engines, require_kernel};
use tests::mutate::{Random, mutated};
use tests::world::{self, World};

/// Accidents through user space, per world.
const MUTATIONS: usize = 20_000;
/// Accidents through each of the kernel's programs, per world.
const KERNEL_MUTATIONS: usize = 2_000;
/// Frames between two comparisons of all counters.
const STRIDE: usize = 64;

/// Gives the engine and the oracle the same frames; fates are compared one by one, counters now and then.
fn agree(
    world: &'static World,
    engine: &mut dyn Engine,
    frames: impl IntoIterator<Item = Vec<u8>>,
) {
    let mut oracle = Oracle::new(world);
    let mut recent = Vec::new();
    oracle.set_in_force(Classes::ALL);
    engine.set_in_force(Classes::ALL);
    let compare = |oracle: &Oracle, engine: &dyn Engine, recent: &[Vec<u8>]| {
        assert_eq!(
            engine.tally(),
            oracle.tally(),
            "{} after {}",
            engine.name(),
            list(oracle, recent)
        );
    };
    for frame in frames {
        if frame.len() < engine.shortest() {
            continue;
        }
        let expected = oracle.drops(&frame);
        let about = format!("{}, {}", engine.name(), world.name);
        assert_eq!(
            engine.drops(&frame),
            expected,
            "{about}: {}",
            list(&oracle, &[frame])
        );
        recent.push(frame);
        if recent.len() == STRIDE {
            compare(&oracle, engine, &recent);
            recent.clear();
        }
    }
    compare(&oracle, engine, &recent);
}

/// The frames as the case file would write them, with the oracle's opinion.
fn list(oracle: &Oracle, frames: &[Vec<u8>]) -> String {
    let line = |frame: &Vec<u8>| {
        let digits: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("\n  bytes {digits} → {:?}", oracle.verdict(frame))
    };
    frames.iter().map(line).collect()
}

fn frames_of(world: &World) -> Vec<Vec<u8>> {
    case::of(world).into_iter().map(|case| case.frame).collect()
}

/// Every case cut to every length, from nothing to one byte short of the whole.
fn truncations(world: &World) -> impl Iterator<Item = Vec<u8>> {
    frames_of(world)
        .into_iter()
        .flat_map(|frame| (0..frame.len()).map(move |len| frame[..len].to_vec()))
}

fn accidents(world: &World, count: usize) -> impl Iterator<Item = Vec<u8>> {
    let frames = frames_of(world);
    let mut random = Random::new(57965);
    (0..count).map(move |_| mutated(&frames, &mut random))
}

#[test]
fn userspace_agrees_on_every_truncation() {
    for world in world::ALL {
        agree(world, &mut Userspace::new(world), truncations(world));
    }
}

#[test]
fn userspace_agrees_on_accidents() {
    for world in world::ALL {
        agree(
            world,
            &mut Userspace::new(world),
            accidents(world, MUTATIONS),
        );
    }
}

#[test]
fn the_kernel_agrees_on_every_truncation() {
    if require_kernel("the_kernel_agrees_on_every_truncation") {
        for world in world::ALL {
            for &lookup in engines("the_kernel_agrees_on_every_truncation") {
                agree(world, &mut Kernel::new(world, lookup), truncations(world));
            }
        }
    }
}

#[test]
fn the_kernel_agrees_on_accidents() {
    if require_kernel("the_kernel_agrees_on_accidents") {
        for world in world::ALL {
            for &lookup in engines("the_kernel_agrees_on_accidents") {
                agree(
                    world,
                    &mut Kernel::new(world, lookup),
                    accidents(world, KERNEL_MUTATIONS),
                );
            }
        }
    }
}

/// Accidents that reach every reason: else the test above shows less than it says.
#[test]
fn accidents_reach_every_reason() {
    let mut seen: Vec<_> = world::ALL
        .into_iter()
        .flat_map(|world| {
            let oracle = Oracle::new(world);
            accidents(world, MUTATIONS).map(move |frame| oracle.verdict(&frame).reason)
        })
        .collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, filter_core::Reason::ALL);
}

/// Bytes that start like a frame of a known station more often than chance would have it.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let ethertype = prop_oneof![
        Just(0x0800u16),
        Just(0x86dd),
        Just(0x8100),
        Just(0x88a8),
        any::<u16>()
    ];
    let header = (any::<bool>(), 0u8..=0x60, ethertype).prop_map(|(to_us, from, ethertype)| {
        let mut header = vec![
            2,
            0,
            0,
            0,
            0,
            if to_us { 1 } else { 2 },
            2,
            0,
            0,
            0,
            0,
            from,
        ];
        header.extend(ethertype.to_be_bytes());
        header
    });
    let body = proptest::collection::vec(any::<u8>(), 0..200);
    (header, body).prop_map(|(header, body)| [header, body].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_judged_alike(frame in proptest::collection::vec(any::<u8>(), 0..300)) {
        agree(&world::LAN, &mut Userspace::new(&world::LAN), [frame]);
    }

    #[test]
    fn plausible_bytes_are_judged_alike(frame in plausible()) {
        agree(&world::STRICT, &mut Userspace::new(&world::STRICT), [frame]);
    }
}
