//! Tables that are said to be complete and are not taken as such: counts that differ, and the shrink guard.
use std::time::Duration;

use filter_lifecycle::route::FeedId;
use filter_lifecycle::{Event, Missing, SHRINK_MIN, SHRINK_PATIENCE, Side};

use super::world::{BMP_LISTENER, MINE, ONE, OUT, POLL, PRE, V4, V6, World, secs, session};

const P1: &str = "192.0.2.11";
const MINE_OUT: &str = "198.51.100.0/24";

fn names(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("45.{number}.0.0/16"))
        .collect()
}

fn synced(count: usize) -> World {
    let names = names(count);
    let texts: Vec<&str> = names.iter().map(String::as_str).collect();
    World::synced(&texts)
}

fn mismatch(received: u64, counted: u64) -> Event {
    Event::CountMismatch {
        feed: FeedId(0),
        session: Some(session(P1)),
        rib: PRE,
        received,
        counted,
    }
}

/// "count agrees with an independent number": a count that differs, with nothing under way, is reported once. Routers
/// count otherwise than they report: the table counts all the same.
#[test]
fn a_count_that_differs_is_told_and_changes_nothing() {
    let mut world = synced(3);
    world.at(10);
    world.count(0, P1, PRE, Some(V4), 4);
    world.at(14);
    assert!(!world.news().contains(&mismatch(3, 4)));
    world.at(16);
    assert!(world.news().contains(&mismatch(3, 4)));
    world.at(70);
    world.count(0, P1, PRE, Some(V4), 4);
    world.at(3600);
    world.enforcing(0);
    assert_eq!(world.names(), [""; 0], "reported once");
    world.count(0, P1, PRE, Some(V4), 3);
    world.at(3601);
    world.enforcing(0);
}

/// A count and the routes it does not know yet, in one segment: what arrives later counts, whatever the clock says.
#[test]
fn counts_are_evidence_in_the_order_in_which_they_arrive() {
    let mut world = World::new(&[ONE, BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT]);
    world.feed_up(0);
    world.up(0, P1);
    world.count(0, P1, PRE, Some(V4), 0);
    world.announce(0, P1, PRE, "100.0.0.0/16");
    world.end(0, P1, PRE, V4);
    world.enforcing(0);
    world.at(60);
    world.enforcing(0);
    let is_count = |event: &Event| matches!(event, Event::CountMismatch { .. });
    assert!(!world.news().iter().any(is_count));
    world.count(0, P1, PRE, Some(V4), 0);
    world.at(70);
    assert!(world.news().contains(&mismatch(1, 0)));
    world.enforcing(0);
}

/// Counts lag behind routes, and routes behind counts.
#[test]
fn a_count_that_lags() {
    let mut world = synced(3);
    world.at(10);
    world.count(0, P1, PRE, Some(V4), 4);
    world.at(12);
    world.announce(0, P1, PRE, "100.0.0.0/16");
    world.at(40);
    world.enforcing(0);
    world.announce(0, P1, PRE, "100.1.0.0/16");
    world.at(41);
    world.count(0, P1, PRE, Some(V4), 4); // taken before the route was there
    world.at(42);
    world.count(0, P1, PRE, Some(V4), 5);
    world.at(100);
    world.enforcing(0);
    assert_eq!(world.names(), [""; 0]);
}

/// An empty table is not complete while the router counts routes in it: they may be hidden (FRR issue 10240).
#[test]
fn a_count_keeps_an_empty_table_from_being_complete() {
    let mut world = World::new(&[ONE, BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT]);
    world.feed_up(0);
    world.at(100);
    world.up(0, P1);
    world.end(0, P1, PRE, V4);
    world.at(102);
    world.count(0, P1, PRE, Some(V4), 2);
    world.at(130);
    world.lacks(0, Missing::CountMismatch(Side::Sources, V4));
    world.announce(0, P1, PRE, "100.1.0.0/16");
    world.at(146);
    world.enforcing(0);
}

/// One number for both families that fits neither is reported, and changes nothing.
#[test]
fn a_count_of_both_families() {
    let both = ONE.replace("[\"ipv4\"]", "[\"ipv4\", \"ipv6\"]");
    let mut world = World::new(&[&both, BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT, "2001:db8:100::/40"]);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, "100.0.0.0/16");
    world.announce(0, P1, PRE, "2a13:47c0:146::/48");
    world.end(0, P1, PRE, V4);
    world.end(0, P1, PRE, V6);
    world.at(10);
    world.news();
    world.count(0, P1, PRE, None, 2);
    world.at(50);
    assert_eq!(world.names(), [""; 0]);
    world.count(0, P1, PRE, None, 3);
    world.at(60);
    assert!(world.news().contains(&mismatch(1, 2)));
    world.enforcing(0);
}

/// FRR counts paths, others prefixes.
#[test]
fn a_count_of_paths_or_of_prefixes() {
    use filter_lifecycle::route::Route;
    let mut world = World::synced(&[]);
    for path in [1, 2] {
        let route = Route {
            path,
            ..Route::bare(super::world::prefix("100.0.0.0/16"))
        };
        world.route(0, P1, PRE, route);
    }
    world.at(20);
    world.news();
    for (second, count, agrees) in [(30, 2, true), (40, 1, true), (50, 3, false)] {
        world.at(second);
        world.count(0, P1, PRE, Some(V4), count);
        world.wait(8);
        assert_eq!(
            world.names(),
            if agrees { &[][..] } else { &["count-mismatch"] },
            "{count}"
        );
    }
}

fn shrink(had: usize, has: usize) -> Event {
    Event::ShrinkRefused {
        session: Some(session(P1)),
        rib: PRE,
        family: V4,
        had,
        has,
    }
}

fn tell_again(world: &mut World, count: usize) {
    world.feed_down(0);
    world.feed_up(0);
    world.up(0, P1);
    for name in names(count) {
        world.announce(0, P1, PRE, &name);
    }
    world.end(0, P1, PRE, V4);
}

/// "shrink guard: refuse if the new set lost more than N % within one event", at its edges.
#[test]
fn the_shrink_guard_at_its_edges() {
    for (had, has, refused) in [
        (SHRINK_MIN, SHRINK_MIN / 2, false),
        (SHRINK_MIN, SHRINK_MIN / 2 - 1, true),
        (SHRINK_MIN, 1, true),
        (SHRINK_MIN - 1, 1, false),
        (100, 50, false),
        (100, 49, true),
    ] {
        let mut world = synced(had);
        world.at(100);
        tell_again(&mut world, has);
        let received = world.news().contains(&shrink(had, has));
        assert_eq!(received, refused, "{had} to {has}");
        world.wait(31);
        let left = world.wanted(0, Side::Sources).len();
        assert_eq!(left, if refused { had } else { has }, "{had} to {has}");
        if refused {
            world.keeps(0, Missing::ShrinkUnconfirmed(Side::Sources, V4));
        }
    }
}

/// … until another transfer confirms it, or the router's count, or time.
#[test]
fn a_shrink_is_confirmed() {
    let mut world = synced(10);
    world.at(100);
    tell_again(&mut world, 2);
    world.end(0, P1, PRE, V4);
    world.at(110);
    world.end(0, P1, PRE, V4);
    world.keeps(0, Missing::ShrinkUnconfirmed(Side::Sources, V4)); // the same transfer is no confirmation
    tell_again(&mut world, 2);
    world.enforcing(0);
    world.wait(31);
    assert_eq!(world.wanted(0, Side::Sources).len(), 2);

    let mut world = synced(10);
    world.at(100);
    tell_again(&mut world, 2);
    world.count(0, P1, PRE, Some(V4), 2);
    world.end(0, P1, PRE, V4);
    world.enforcing(0);

    let mut world = synced(10);
    world.at(100);
    tell_again(&mut world, 2);
    world.go(secs(100) + SHRINK_PATIENCE - Duration::from_secs(1));
    world.keeps(0, Missing::ShrinkUnconfirmed(Side::Sources, V4));
    world.wait(2);
    world.enforcing(0);
}

/// … or refuted: the routes come back.
#[test]
fn a_shrink_is_refuted() {
    let mut world = synced(10);
    world.at(100);
    tell_again(&mut world, 2);
    world.keeps(0, Missing::ShrinkUnconfirmed(Side::Sources, V4));
    tell_again(&mut world, 10);
    world.enforcing(0);
    world.wait(60);
    assert_eq!(world.wanted(0, Side::Sources).len(), 10);
}

#[test]
fn a_poll_that_shrinks() {
    let names = names(10);
    let texts: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&[ONE, POLL]);
    world.feed_up(0);
    world.up(0, P1);
    world.snapshot(0, P1, OUT, V4, &[MINE_OUT]);
    world.snapshot(0, P1, PRE, V4, &texts);
    world.enforcing(0);
    world.at(60);
    world.snapshot(0, P1, PRE, V4, &texts[..3]);
    world.keeps(0, Missing::ShrinkUnconfirmed(Side::Sources, V4));
    assert!(world.news().contains(&shrink(10, 3)));
    world.at(120);
    assert_eq!(world.wanted(0, Side::Sources).len(), 10);
    world.snapshot(0, P1, PRE, V4, &texts[..3]);
    world.enforcing(0);
    world.at(151);
    assert_eq!(world.wanted(0, Side::Sources).len(), 3);
}

/// A doubtful table whose feed is lost is not taken as complete because time passes.
#[test]
fn a_doubt_outlives_its_feed() {
    let mut world = synced(10);
    world.at(100);
    tell_again(&mut world, 2);
    world.feed_down(0);
    world.at(2000);
    world.lacks(0, Missing::FeedLost(Side::Sources, V4));
    assert_eq!(world.wanted(0, Side::Sources).len(), 10);
}

/// The wait for one transfer does not shorten the wait for the next.
#[test]
fn patience_begins_anew_with_each_telling() {
    let mut world = World::synced(&["100.0.0.0/16"]);
    world.at(100);
    world.feed_down(0);
    world.feed_up(0);
    world.up(0, P1);
    world.at(116);
    world.keeps(0, Missing::ShrinkUnconfirmed(Side::Sources, V4));
    world.at(410);
    world.feed_down(0);
    world.feed_up(0);
    world.up(0, P1);
    world.at(500);
    world.sources(0, &["100.0.0.0/16"]);
    world.announce(0, P1, PRE, "100.0.0.0/16");
    world.end(0, P1, PRE, V4);
    world.at(600);
    world.enforcing(0);
    world.sources(0, &["100.0.0.0/16"]);
}
