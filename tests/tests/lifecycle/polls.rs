//! Tables that are polled: complete when the poll is, unless the session has just come up.
use filter_lifecycle::route::DownCause;
use filter_lifecycle::{Missing, Side, State};

use super::world::{MINE, ONE, OUT, POLL, PRE, V4, World};

const P1: &str = "192.0.2.11";
const A: &str = "45.146.194.0/23";
const B: &str = "100.0.0.0/16";
const C: &str = "200.0.0.0/8";
const MINE_OUT: &str = "198.51.100.0/24";

/// "Synced needs a completed poll", which is one at the feed's start …
#[test]
fn a_poll_is_complete() {
    let mut world = World::new(&[ONE, POLL]);
    world.feed_up(0);
    world.up(0, P1);
    world.snapshot(0, P1, PRE, V4, &[A]);
    world.lacks(0, Missing::NotReceived(Side::Destinations, V4));
    world.snapshot(0, P1, OUT, V4, &[MINE_OUT]);
    world.enforcing(0);
    world.destinations(0, &[MINE_OUT]);
}

/// … and of a session that comes up later one that found what the one before did, when the session has settled.
#[test]
fn a_poll_of_a_session_that_just_came_up() {
    let mut world = World::new(&[ONE, POLL]);
    world.feed_up(0);
    world.at(100);
    world.up(0, P1);
    let polls: [(u64, &[&str], bool); 6] = [
        (100, &[], false),
        (105, &[A], false),
        (110, &[A, B], false),
        (115, &[A, B, C], false), // settled, and still growing
        (120, &[A, B, C], true),
        (180, &[A, B], true),
    ];
    for (second, routes, complete) in polls {
        world.at(second);
        world.snapshot(0, P1, OUT, V4, &[MINE_OUT]);
        world.snapshot(0, P1, PRE, V4, routes);
        if complete {
            world.enforcing(0);
        } else {
            world.lacks(0, Missing::Loading(Side::Sources, V4));
        }
    }
    world.sources(0, &[A, B, C]);
    world.at(211);
    world.sources(0, &[A, B]);
}

/// What the session before had, and this one does not announce, keeps no poll from being complete: it goes when its hold is
/// over, and not when a table has been waited for long enough.
#[test]
fn a_poll_of_a_session_that_came_back_with_less() {
    let mut world = World::new(&[ONE, POLL]);
    world.feed_up(0);
    world.up(0, P1);
    world.snapshot(0, P1, OUT, V4, &[MINE_OUT]);
    world.snapshot(0, P1, PRE, V4, &[A, B]);
    world.enforcing(0);
    world.at(100);
    world.down(0, P1, DownCause::Notification);
    world.at(104);
    world.up(0, P1);
    for (second, routes) in [(105, &[A, B][..]), (110, &[A]), (119, &[A]), (121, &[A])] {
        world.at(second);
        world.snapshot(0, P1, OUT, V4, &[MINE_OUT]);
        world.snapshot(0, P1, PRE, V4, routes);
        world.sources(0, &[A, B]);
    }
    let ribs = world.status(0).ribs;
    assert!(
        ribs.iter().all(|rib| rib.state == State::Synced),
        "{ribs:?}"
    );
    world.at(161);
    world.sources(0, &[A]);
    world.enforcing(0);
}

/// A poll that is not repeated is not taken as complete by mere quiet, before it has been waited for long enough.
#[test]
fn one_poll_of_a_session_that_just_came_up_and_no_more() {
    let mut world = World::new(&[ONE, POLL, MINE]);
    world.feed_up(0);
    world.at(100);
    world.up(0, P1);
    world.snapshot(0, P1, OUT, V4, &[MINE_OUT]);
    world.snapshot(0, P1, PRE, V4, &[A]);
    world.at(399);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.at(401);
    world.enforcing(0);
}

/// A poll replaces what the one before it found, after the hold.
#[test]
fn a_poll_replaces_the_former() {
    let mut world = World::new(&[ONE, POLL]);
    world.feed_up(0);
    world.up(0, P1);
    world.snapshot(0, P1, OUT, V4, &[MINE_OUT]);
    world.snapshot(0, P1, PRE, V4, &[A, B]);
    world.life.take_dirty();
    world.at(60);
    world.snapshot(0, P1, PRE, V4, &[A, B]);
    assert!(!world.dirty());
    world.at(120);
    world.snapshot(0, P1, PRE, V4, &[A, C]);
    world.sources(0, &[A, B, C]);
    world.enforcing(0);
    world.at(151);
    world.sources(0, &[A, C]);
}
