//! Tables replaced under fire: packets stream on one core while another publishes as fast as it can. Every verdict
//! must be that of the old table or the new one, never of a mix, never of lines that were given back.
//!
//! The two policies A and B share one pair of prefixes, which must always pass; a packet from A's sources to B's
//! destinations, or the other way, must never. Freed lines are filled with garbage, so using one shows. Two tests
//! make the mistakes on purpose and must see them.
//!
//! A few seconds; minutes and millions of swaps with `BCP38_LONG=1`.

#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use filter_core::set::PrefixSet;
use filter_core::table::shapes::Random;
use filter_core::{Mode, Prefix, Reason};
use filter_loader::{AttachMode, Counters, Engine, Filter, Options, PeerSlot, PeerTables, hooks};
use tests::require_kernel;
use tests::rig::{self, Pair, build};
use tests::wire::until;

/// Frames per test run: the kernel waits for a grace period before and after each, and packets shall be under way.
const BURST: u32 = 200_000;

/// The garbage hook is one for the process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const COMMON: &str = "eth src=icrc dst=us / ipv4 45.146.194.1 > 198.51.100.1 udp";
const MIX: [&str; 2] = [
    "eth src=icrc dst=us / ipv4 31.1.7.9 > 41.2.7.9 udp", // A's source, B's destination
    "eth src=icrc dst=us / ipv4 32.1.7.9 > 41.1.7.9 udp", // B's source, A's destination
];

/// Sources and destinations of a policy: the common pair, and many /24s of its own so that a lookup takes steps.
struct Sets {
    sources: PrefixSet,
    destinations: PrefixSet,
}

impl Sets {
    /// A (1) sends from 31.1/16 to 41.1/16, B (2) from 32.1/16 to 41.2/16: every other /24 of it.
    fn new(which: u8) -> Self {
        let blocks = |first: u8, second: u8| {
            (1..=255)
                .step_by(2)
                .map(move |third| prefix([first, second, third, 0], 24))
        };
        Self {
            sources: blocks(30 + which, 1)
                .chain([prefix([45, 146, 194, 0], 24)])
                .collect(),
            destinations: blocks(41, which)
                .chain([prefix([198, 51, 100, 0], 24)])
                .collect(),
        }
    }

    /// The same beside 20,000 /24s that A and B share: a swap changes a few pieces of the sets.
    fn large(which: u8) -> Self {
        let shared = (0..20_000u32)
            .map(|i| prefix((0x4000_0000 + (i << 9)).to_be_bytes(), 24))
            .collect();
        let Self {
            sources,
            destinations,
        } = Self::new(which);
        Self {
            sources: sources.union(&shared),
            destinations: destinations.union(&shared),
        }
    }

    fn table(&self, generation: u32) -> PeerTables<'_> {
        PeerTables {
            rules: rig::rules(),
            generation,
            sources: &self.sources,
            destinations: &self.destinations,
        }
    }
}

fn prefix(address: [u8; 4], len: u8) -> Prefix {
    Prefix::new(filter_core::Address::from_v4(address), len).unwrap()
}

fn filter() -> (Filter, PeerSlot) {
    // The self-test borrows the interface the packets come in on.
    let options = Options {
        self_test: false,
        table_memory_mib: 4,
        ..rig::options(Engine::Tables)
    };
    let mut filter = rig::load(&options);
    let peer = rig::guard_test_runs(&mut filter, Mode::Enforce);
    filter.lease().keep();
    (filter, peer)
}

fn duration() -> Duration {
    if std::env::var_os("BCP38_LONG").is_some() {
        Duration::from_secs(120)
    } else {
        Duration::from_secs(3)
    }
}

/// What came of a storm: frames sent of each kind, and what the program counted.
struct Storm {
    common: u64,
    mixed: u64,
    swaps: u64,
    counted: Counters,
}

impl Storm {
    /// Packets whose verdict is neither policy's, or that counted for no peer.
    fn wrong(&self) -> u64 {
        let permitted = self.counted.get(Reason::Permitted).passed.packets;
        let refused: u64 = [Reason::SourceUnannounced, Reason::DestinationUnannounced]
            .map(|reason| self.counted.get(reason).dropped.packets)
            .iter()
            .sum();
        let total = self.counted.total();
        let lost =
            (self.common + self.mixed).abs_diff(total.passed.packets + total.dropped.packets);
        lost.max(permitted.abs_diff(self.common))
            .max(refused.abs_diff(self.mixed))
    }
}

/// Streams packets while `swap` publishes, over and over.
fn storm(
    filter: &mut Filter,
    peer: PeerSlot,
    time: Duration,
    mut swap: impl FnMut(&mut Filter, u32),
) -> Storm {
    let before = filter.counters(peer).unwrap();
    let prober = filter.prober().unwrap();
    let (stop, common, mixed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let mut swaps = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            let frames = [COMMON, MIX[0], COMMON, MIX[1]].map(build);
            while !stop.load(Ordering::Relaxed) {
                for (index, frame) in frames.iter().enumerate() {
                    prober.run(frame, BURST).unwrap();
                    let sent = if index % 2 == 0 { &common } else { &mixed };
                    sent.fetch_add(BURST.into(), Ordering::Relaxed);
                }
            }
        });
        let end = Instant::now() + time;
        while Instant::now() < end {
            for _ in 0..64 {
                swap(filter, swaps);
                swaps += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let counted = filter.counters(peer).unwrap().since(&before);
    let storm = Storm {
        common: common.into_inner(),
        mixed: mixed.into_inner(),
        swaps: swaps.into(),
        counted,
    };
    println!(
        "{} swaps under {} packets, {} wrong",
        storm.swaps,
        storm.common + storm.mixed,
        storm.wrong()
    );
    storm
}

#[test]
fn every_verdict_is_of_one_table() {
    if !require_kernel("every_verdict_is_of_one_table") {
        return;
    }
    let _alone = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let (mut filter, peer) = filter();
    let (a, b) = (Sets::new(1), Sets::new(2));
    // Neighbours that hold the same sets: a swap is one record, so there are many.
    for (name, sets) in [("keeps-a", &a), ("keeps-b", &b)] {
        let keeper = filter.add_peer(name).unwrap();
        filter.publish(keeper, &sets.table(1)).unwrap();
    }
    filter.publish(peer, &a.table(1)).unwrap();
    let storm = storm(&mut filter, peer, duration(), |filter, swap| {
        let sets = if swap % 2 == 0 { &b } else { &a };
        filter.publish(peer, &sets.table(swap)).unwrap();
    });
    assert_eq!(storm.wrong(), 0, "{:?}", storm.counted);
    assert!(
        storm.swaps > 1000 && storm.common > 10_000,
        "{} swaps, {} packets",
        storm.swaps,
        storm.common
    );
}

#[test]
fn no_verdict_is_of_lines_that_were_given_back() {
    if require_kernel("no_verdict_is_of_lines_that_were_given_back") {
        churn(&Sets::new(1), &Sets::new(2));
    }
}

#[test]
fn no_verdict_is_of_pieces_that_were_given_back() {
    if require_kernel("no_verdict_is_of_pieces_that_were_given_back") {
        churn(&Sets::large(1), &Sets::large(2));
    }
}

fn churn(a: &Sets, b: &Sets) {
    let _alone = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let (mut filter, peer) = filter();
    let churner = filter.add_peer("churner").unwrap();
    let mut random = Random(7);
    filter.publish(peer, &a.table(1)).unwrap();
    let used = filter.memory().used;
    let storm = storm(&mut filter, peer, duration(), |filter, swap| {
        let sets = if swap % 2 == 0 { b } else { a };
        filter.publish(peer, &sets.table(swap)).unwrap();
        // A neighbour that announces and withdraws takes what was given back.
        let noise: PrefixSet = (0..200)
            .map(|_| prefix((random.below(1 << 32) as u32).to_be_bytes(), 24))
            .collect();
        filter
            .publish(
                churner,
                &PeerTables {
                    sources: &noise,
                    destinations: &noise,
                    ..sets.table(swap)
                },
            )
            .unwrap();
    });
    assert_eq!(storm.wrong(), 0, "{:?}", storm.counted);
    filter.remove_peer(churner).unwrap();
    // Anew, so that it lies in one run again: pieces are rounded up one by one.
    filter.publish(peer, &Sets::new(9).table(1)).unwrap();
    filter.publish(peer, &a.table(1)).unwrap();
    assert_eq!(filter.memory().used, used, "churn grew the arena");
}

#[test]
fn a_torn_publish_would_be_seen() {
    if !require_kernel("a_torn_publish_would_be_seen") {
        return;
    }
    let _alone = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let (mut filter, peer) = filter();
    let (a, b) = (Sets::new(1), Sets::new(2));
    let torn = storm(&mut filter, peer, Duration::from_secs(1), |filter, swap| {
        let (old, new) = if swap % 2 == 0 { (&a, &b) } else { (&b, &a) };
        filter
            .publish(
                peer,
                &PeerTables {
                    sources: &new.sources,
                    ..old.table(swap)
                },
            )
            .unwrap();
        filter.publish(peer, &new.table(swap)).unwrap();
    });
    assert!(
        torn.wrong() > 0,
        "sources and destinations published one after the other went unseen"
    );
}

#[test]
fn lines_reused_too_early_would_be_seen() {
    if !require_kernel("lines_reused_too_early_would_be_seen") {
        return;
    }
    let _alone = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let (mut filter, peer) = filter();
    let (a, b) = (Sets::new(1), Sets::new(2));
    hooks::poison_in_use(true);
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut wrong = 0;
    while wrong == 0 && Instant::now() < deadline {
        let reused = storm(&mut filter, peer, Duration::from_secs(1), |filter, swap| {
            let sets = if swap % 2 == 0 { &b } else { &a };
            filter.publish(peer, &sets.table(swap)).unwrap();
        });
        wrong = reused.wrong();
    }
    hooks::poison_in_use(false);
    assert!(
        wrong > 0,
        "lines overwritten under packets in flight went unseen"
    );
}

#[test]
fn real_frames_meet_one_table_too() {
    if !require_kernel("real_frames_meet_one_table_too") {
        return;
    }
    let _alone = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let pair = Pair::new(1500);
    let mut filter = rig::load(&Options {
        table_memory_mib: 4,
        ..rig::options(Engine::Tables)
    });
    let (peer, _) = rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
    let (a, b) = (Sets::new(1), Sets::new(2));
    filter.publish(peer, &a.table(1)).unwrap();
    let before = filter.counters(peer).unwrap();
    let stop = AtomicBool::new(false);
    let frames = [COMMON, MIX[0], COMMON, MIX[1]].map(build);
    let (mut sent, mut arrived, mut strangers) = (0, 0, 0);
    let swaps = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut swaps = 0;
            while !stop.load(Ordering::Relaxed) {
                let sets = if swaps % 2 == 0 { &b } else { &a };
                filter.publish(peer, &sets.table(swaps)).unwrap();
                swaps += 1;
            }
            swaps
        });
        let mut count = || {
            for frame in pair.near.waiting() {
                if frame == frames[0] {
                    arrived += 1
                } else {
                    strangers += 1
                }
            }
            arrived
        };
        let end = Instant::now() + duration();
        while Instant::now() < end {
            frames.iter().for_each(|frame| pair.far.send(frame));
            sent += 1;
            count();
        }
        until("every common frame came through", || count() >= 2 * sent);
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    println!("{swaps} swaps under {} frames on the wire", 4 * sent);
    let counted = filter.counters(peer).unwrap().since(&before);
    assert_eq!(
        (arrived, strangers),
        (2 * sent, 0),
        "what came through the filter"
    );
    assert_eq!(counted.get(Reason::Permitted).passed.packets, 2 * sent);
    let refused = [Reason::SourceUnannounced, Reason::DestinationUnannounced];
    assert_eq!(
        refused
            .map(|reason| counted.get(reason).dropped.packets)
            .iter()
            .sum::<u64>(),
        2 * sent
    );
    assert!(swaps > 100 && sent > 100, "{swaps} swaps, {sent} rounds");
}
