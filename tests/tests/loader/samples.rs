//! Samples of violations: what a record holds, how many there are, and what becomes of those that are not read.

use std::time::{Duration, Instant};

use filter_core::layout::{LinkLayer, SAMPLE_BYTES, Sample};
use filter_core::packet::Vlans;
use filter_core::{Classes, Family, Mode, Reason};
use filter_loader::{Engine, Filter, Options, PeerSlot, PeerTables, Samples, TEST_IFINDEX};
use tests::kernel::{Feature, engines, require_kernel};
use tests::rig::{self, GOOD, SPOOFED, build};
use tests::wire::{PATIENCE, until};

/// A filter that is only test-run; `icrc` is also in VLAN 7, inner 9.
fn filter(options: &Options, mode: Mode) -> (Filter, PeerSlot, Samples) {
    let mut filter = rig::load(options);
    let peer = rig::guard_test_runs(&mut filter, mode);
    let untagged = rig::station(TEST_IFINDEX, "icrc");
    let mut tagged = untagged;
    tagged.vlans = Vlans { outer: 7, inner: 9 };
    let mut interface = rig::test_interface();
    interface.network_mut(tagged.vlans);
    filter.set_interface(TEST_IFINDEX, &interface).unwrap();
    filter.set_stations(peer, &[untagged, tagged]).unwrap();
    filter.lease().keep();
    let samples = filter.take_samples().unwrap();
    (filter, peer, samples)
}

fn drain(samples: &mut Samples) -> Vec<Sample> {
    std::iter::from_fn(|| samples.next_sample()).collect()
}

/// How much of a frame is in its first buffer: all of it, and where the kernel takes that from a test run, less than a sample has.
fn first_buffers() -> impl Iterator<Item = &'static Option<u32>> {
    let split: &[_] = if Feature::SplitRuns.is_here() {
        &[None, Some(14), Some(40), Some(SAMPLE_BYTES as u32 - 1)]
    } else {
        &[None]
    };
    split.iter()
}

#[test]
fn a_sample_tells_what_happened() {
    if !require_kernel("a_sample_tells_what_happened") {
        return;
    }
    let modes = [(Mode::Observe, false), (Mode::Enforce, true)];
    for &engine in engines("a_sample_tells_what_happened") {
        for ((mode, dropped), &linear) in modes
            .iter()
            .flat_map(|&mode| first_buffers().map(move |linear| (mode, linear)))
        {
            let (mut filter, peer, mut samples) = filter(&rig::options(engine), mode);
            linear.inspect(|&linear| filter.test_split_at(linear));
            let long = SPOOFED.replace(" / ipv4", " / vlan 7 / vlan 9 / ipv4") + " / pad 1400";
            let lens = [42, SAMPLE_BYTES - 1, SAMPLE_BYTES, SAMPLE_BYTES + 1];
            let texts = lens.map(|len| format!("{SPOOFED} / pad {len}"));
            filter.run(&build(GOOD), 1).unwrap(); // no violation, no sample
            for text in texts.iter().chain([&long]) {
                filter.run(&build(text), 1).unwrap();
                assert!(samples.wait(PATIENCE));
                let sample = samples.next_sample().unwrap();
                let frame = build(text);
                let captured = frame.len().min(SAMPLE_BYTES);
                let mut data = [0; SAMPLE_BYTES];
                data[..captured].copy_from_slice(&frame[..captured]);
                let tagged = text == &long;
                let expected = Sample {
                    time_ns: sample.time_ns,
                    ifindex: TEST_IFINDEX,
                    slot: peer.number(),
                    length: frame.len() as u32,
                    captured: captured as u32,
                    vlans: if tagged {
                        Vlans { outer: 7, inner: 9 }
                    } else {
                        Vlans::default()
                    },
                    reason: Reason::SourceUnannounced,
                    broken: Classes::sources(Family::Ipv4),
                    dropped,
                    link: LinkLayer::Ethernet,
                    data,
                };
                assert_eq!(sample, expected);
                let age = filter_loader::age(sample.time_ns);
                assert!(age > Duration::ZERO && age < PATIENCE, "{age:?}");
            }
            assert_eq!(drain(&mut samples), []);
            assert_eq!((samples.foreign(), filter.samples_lost().unwrap()), (0, 0));
        }
    }
}

#[test]
fn without_a_lease_a_sample_says_passed() {
    if require_kernel("without_a_lease_a_sample_says_passed") {
        let (mut filter, _, mut samples) = filter(&rig::options(Engine::Tables), Mode::Enforce);
        filter.lease().end();
        filter.run(&build(SPOOFED), 1).unwrap();
        let sample = samples.next_sample().unwrap();
        assert!(!sample.dropped);
    }
}

#[test]
fn a_peer_sends_ten_samples_at_once_and_ten_a_second() {
    if !require_kernel("a_peer_sends_ten_samples_at_once_and_ten_a_second") {
        return;
    }
    for &engine in engines("a_peer_sends_ten_samples_at_once_and_ten_a_second") {
        let (mut filter, _, mut samples) = filter(&rig::options(engine), Mode::Enforce);
        let start = Instant::now();
        filter.run(&build(SPOOFED), 1_000).unwrap();
        let first = drain(&mut samples);
        let at_most = 10 + start.elapsed().as_millis() / 100 + 1;
        assert!(
            first.len() >= 10 && first.len() as u128 <= at_most,
            "{} samples",
            first.len()
        );

        let mut all = first;
        until("five more samples", || {
            filter.run(&build(SPOOFED), 10).unwrap();
            all.extend(drain(&mut samples));
            all.len() >= 15
        });
        // The n-th sample is due 100 ms after the one before it, ten of them in advance; the clock shows whole ticks,
        // of ten milliseconds at most.
        let tick = Duration::from_millis(10);
        let begin = all[0].time_ns;
        for (n, sample) in (0..).zip(&all) {
            let earliest = Duration::from_millis(100) * u32::saturating_sub(n, 9);
            assert!(
                Duration::from_nanos(sample.time_ns - begin) + tick >= earliest,
                "sample {n}"
            );
        }
        // Another slot has its own bucket.
        filter
            .run(&build(&SPOOFED.replace("icrc", "nobody")), 1)
            .unwrap();
        let others = drain(&mut samples);
        assert!(
            others
                .iter()
                .any(|sample| sample.reason == Reason::UnknownPeer),
            "{others:?}"
        );
        assert_eq!(filter.samples_lost().unwrap(), 0);
    }
}

/// The breaker's evidence are a peer's samples: nobody else's flood takes them.
#[test]
fn a_flood_from_one_peer_takes_no_sample_of_anothers() {
    if !require_kernel("a_flood_from_one_peer_takes_no_sample_of_anothers") {
        return;
    }
    for &engine in engines("a_flood_from_one_peer_takes_no_sample_of_anothers") {
        let (mut filter, peer, mut samples) = filter(&rig::options(engine), Mode::Enforce);
        let flooder = filter.add_peer("flooder").unwrap();
        filter.publish(flooder, &PeerTables::default()).unwrap();
        let stations = [rig::station(TEST_IFINDEX, "icrc2")];
        filter.set_stations(flooder, &stations).unwrap();
        filter
            .run(&build(&SPOOFED.replace("icrc", "icrc2")), 10_000)
            .unwrap();
        filter.run(&build(SPOOFED), 1).unwrap();
        let of = |sample: &Sample| (sample.slot, sample.dropped);
        let all: Vec<_> = drain(&mut samples).iter().map(of).collect();
        assert!(all.contains(&(flooder.number(), false)), "{all:?}");
        assert_eq!(all.last(), Some(&(peer.number(), true)), "{all:?}");
        assert_eq!(filter.samples_lost().unwrap(), 0);
    }
}

#[test]
fn samples_nobody_reads_are_counted_as_lost() {
    if !require_kernel("samples_nobody_reads_are_counted_as_lost") {
        return;
    }
    for &engine in engines("samples_nobody_reads_are_counted_as_lost") {
        let every_one = Options {
            samples_per_second: 1_000_000_000,
            ..rig::options(engine)
        };
        let (mut filter, peer, mut samples) = filter(&every_one, Mode::Enforce);
        filter.run(&build(SPOOFED), 3_000).unwrap();
        let lost = filter.samples_lost().unwrap();
        let kept = drain(&mut samples).len() as u64;
        assert!(lost > 0 && kept > 1_000, "{lost} lost, {kept} kept");
        assert_eq!(lost + kept, 3_000);
        // Lost samples are not lost packets.
        assert_eq!(
            filter.counters(peer).unwrap().total().dropped.packets,
            3_000
        );
        filter.run(&build(SPOOFED), 1).unwrap();
        assert_eq!(drain(&mut samples).len(), 1, "the ring takes samples again");
        assert_eq!(filter.samples_lost().unwrap(), lost);
    }
}

#[test]
fn no_samples_where_none_are_wanted() {
    if require_kernel("no_samples_where_none_are_wanted") {
        let none = Options {
            samples_per_second: 0,
            ..rig::options(Engine::Tables)
        };
        let (mut filter, _, mut samples) = filter(&none, Mode::Enforce);
        filter.run(&build(SPOOFED), 100).unwrap();
        assert_eq!(drain(&mut samples), []);
        assert_eq!(filter.samples_lost().unwrap(), 0);
        let taken = filter.take_samples().unwrap_err().to_string();
        assert_eq!(taken, "cannot access map `samples`: already taken");
    }
}
