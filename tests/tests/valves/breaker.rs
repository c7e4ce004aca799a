//! The breaker: what vanished without a withdrawal comes back for a while if packets are dropped for it, and nothing else
//! opens anything, however much is dropped.
use std::net::IpAddr;

use filter_core::Address;
use filter_lifecycle::route::{DownCause, PeerId};
use filter_lifecycle::{BREAKER_DAY, BREAKER_HOLD, BREAKER_TRIPS, BREAKER_WINDOW, Event, Side};

use super::world::{ONE, OUT, POLL, PRE, V4, World, prefix, secs};

const P1: &str = "192.0.2.11";
const A: &str = "45.146.194.0/23";
const B: &str = "100.0.0.0/16";
const C: &str = "101.0.0.0/16";
const IN_A: &str = "45.146.194.1";
const IN_B: &str = "100.0.0.1";
const IN_C: &str = "101.0.0.1";
const OURS: &str = "198.51.100.1";
const NEVER: &str = "8.8.8.8";

/// A peer that is known from polls only, with three prefixes.
fn polled() -> World {
    let mut world = World::new(&[ONE, POLL]);
    world.feed_up(0);
    world.up(0, P1);
    for second in [0, 20] {
        world.at(second);
        world.snapshot(0, P1, PRE, V4, &[A, B, C]);
        world.snapshot(0, P1, OUT, V4, &["198.51.100.0/24"]);
    }
    world.enforcing(0);
    world
}

impl World {
    /// A packet from there is dropped, and sampled.
    #[track_caller]
    fn loses(&mut self, source: &str) {
        self.drops(source);
        let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        let (source, ours) = (address(source), address(OURS));
        self.life.dropped(self.now, PeerId(0), source, ours);
        self.life.settle(self.now);
    }

    fn trips(&mut self) -> Vec<(Side, usize)> {
        let trip = |event: &Event| match event {
            Event::Breaker { side, prefixes, .. } => Some((*side, *prefixes)),
            _ => None,
        };
        self.news().iter().filter_map(trip).collect()
    }
}

/// "addresses left the table without an explicit withdrawal, and within 10 min packets to or from them are dropped: previous
/// ∪ current, for at most 15 min, then the current set alone. Once per change".
#[test]
fn what_a_poll_no_longer_shows_comes_back_once_for_a_while() {
    let mut world = polled();
    world.at(60);
    world.snapshot(0, P1, PRE, V4, &[A]);
    world.at(89);
    world.passes(IN_B);
    world.at(91);
    world.loses(IN_B);
    for source in [IN_A, IN_B, IN_C] {
        world.passes(source);
    }
    world.drops(NEVER);
    assert_eq!(world.trips(), [(Side::Sources, 2)]);
    world.at(90 + BREAKER_HOLD.as_secs());
    world.passes(IN_C);
    world.at(92 + BREAKER_HOLD.as_secs());
    for source in [IN_B, IN_C] {
        world.loses(source);
        world.drops(source);
    }
    world.passes(IN_A);
    assert_eq!(world.trips(), []);
}

/// "A flood of what was never announced, however large, opens nothing", and cannot hide the evidence from the breaker.
#[test]
fn what_was_never_announced_opens_nothing_and_hides_nothing() {
    let mut world = polled();
    world.at(60);
    world.snapshot(0, P1, PRE, V4, &[A, B]);
    world.at(91);
    let never = Address::from(NEVER.parse::<IpAddr>().unwrap());
    for _ in 0..100_000 {
        world.life.dropped(world.now, PeerId(0), never, never);
    }
    assert_eq!(world.trips(), []);
    for source in [NEVER, IN_C] {
        world.drops(source);
    }
    world.loses(IN_C);
    world.passes(IN_C);
    world.drops(NEVER);
}

/// "without an explicit withdrawal, session end": what the peer does itself never comes back.
#[test]
fn what_the_peer_took_back_itself_stays_gone() {
    let mut withdrawn = World::synced(&[A, B]);
    withdrawn.at(100);
    withdrawn.withdraw(0, P1, PRE, B);
    let mut ended = World::synced(&[A, B]);
    ended.at(100);
    ended.down(0, P1, DownCause::Notification);
    let mut restarted = World::synced(&[A, B]);
    restarted.at(100);
    restarted.down(0, P1, DownCause::Notification);
    restarted.at(110);
    restarted.up(0, P1);
    restarted.announce(0, P1, PRE, A);
    for (mut world, gone_at) in [(withdrawn, 131), (ended, 221), (restarted, 221)] {
        world.at(gone_at);
        world.loses(IN_B);
        world.drops(IN_B);
        assert_eq!(world.trips(), []);
    }
}

/// "within 10 min"; "at most three a day".
#[test]
fn only_soon_and_only_so_often() {
    let mut world = polled();
    let vanishes = |world: &mut World, start: u64, after: u64| {
        world.skip(secs(start));
        world.snapshot(0, P1, PRE, V4, &[A, B]);
        world.snapshot(0, P1, PRE, V4, &[A]);
        world.wait(31);
        world.drops(IN_B);
        world.skip(secs(start + 31 + after));
        world.loses(IN_B);
        let tripped = !world.trips().is_empty();
        world.skip(world.now + BREAKER_HOLD + secs(1));
        tripped
    };
    let late = BREAKER_WINDOW.as_secs();
    assert!(!vanishes(&mut world, 100, late));
    for trip in 0..BREAKER_TRIPS as u64 {
        assert!(vanishes(&mut world, 5_000 * (trip + 1), late - 2));
    }
    assert!(!vanishes(&mut world, 30_000, 0));
    assert!(vanishes(&mut world, 5_700 + BREAKER_DAY.as_secs(), 0));
    assert!(world.wanted(0, Side::Sources).contains(&prefix(A)));
}
