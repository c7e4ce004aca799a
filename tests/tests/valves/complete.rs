//! When a side is known: received to its end from every session that carries it.
use filter_core::Classes;
use filter_lifecycle::{Missing, Side};

use super::world::{ALL_V4, BMP_LISTENER, ONE, OUT, PRE, V4, World};

const FIRST: &str = "192.0.2.11";
const SECOND: &str = "192.0.2.21";
const SHADOW: &str = "[[feed]]\nkind = \"shadow\"\nlisten = \"127.0.0.1:179\"\nasn = 64999\nsessions = [{ address = \"192.0.2.101\", session = \"192.0.2.11\" }, { address = \"192.0.2.102\", session = \"192.0.2.21\" }]\n";
const OURS: &str = "198.51.100.0/24";

/// A session that cannot be told apart from one that is still being received comes after the class is in force, which stays
/// so: nothing of what was known is lost by it.
#[test]
fn an_odd_session_that_comes_later_leaves_the_class_in_force() {
    let two = ONE.replace("[\"192.0.2.11\"]", "[\"192.0.2.11\", \"192.0.2.21\"]");
    let mut world = World::new(&[&two, BMP_LISTENER, SHADOW]);
    world.feed_up(0);
    world.up(0, FIRST);
    world.announce(0, FIRST, PRE, "45.146.194.0/23");
    world.end(0, FIRST, PRE, V4);
    world.feed_up(1);
    world.announce(1, FIRST, OUT, OURS);
    world.end(1, FIRST, OUT, V4);
    world.at(60);
    world.enforcing(0);
    // Its Adj-RIB-Out is reported by no feed, and what it advertises changes without end, or cannot be read.
    world.up(0, SECOND);
    for second in 0..400 {
        world.announce(
            0,
            SECOND,
            PRE,
            &format!("100.{}.{}.0/24", second / 256, second % 256),
        );
        world.wait(1);
        assert_eq!(world.granted(0), ALL_V4, "after {second} s");
    }
    world.unreadable(0, SECOND, PRE);
    world.wait(1000);
    assert_eq!(world.granted(0), ALL_V4);
    world.passes("45.146.194.1");
    world.drops("100.0.0.1");
    world.destinations(0, &[OURS]);
}

/// "A session whose feed cannot report that side keeps it incomplete": a destination that we advertise only there is not
/// known, and is never dropped for that.
#[test]
fn a_session_without_its_adj_rib_out_keeps_destinations_out() {
    let two = ONE.replace("[\"192.0.2.11\"]", "[\"192.0.2.11\", \"192.0.2.21\"]");
    let mut world = World::new(&[&two, BMP_LISTENER, SHADOW]);
    world.feed_up(0);
    for session in [FIRST, SECOND] {
        world.up(0, session);
        world.announce(0, session, PRE, "45.146.194.0/23");
        world.end(0, session, PRE, V4);
    }
    world.feed_up(1);
    world.announce(1, FIRST, OUT, OURS);
    world.end(1, FIRST, OUT, V4);
    world.at(60);
    world.lacks(0, Missing::NotReceived(Side::Destinations, V4));
    assert!(!world.granted(0).meets(Classes::DESTINATIONS));
    assert!(world.granted(0).meets(Classes::sources(V4)));
    world.announce(1, SECOND, OUT, "198.51.101.0/24");
    world.end(1, SECOND, OUT, V4);
    world.wait(20);
    world.enforcing(0);
    world.destinations(0, &[OURS, "198.51.101.0/24"]);
}
