//! Several words about one prefix: two feeds for one session, two sessions of one peer, feeds that know no sessions.
use filter_lifecycle::route::DownCause;
use filter_lifecycle::{Event, Missing, Side, State};

use super::world::{BMP_LISTENER, MINE, ONE, OUT, POLL, PRE, V4, World, prefix, session};

const P1: &str = "192.0.2.11";
const P2: &str = "192.0.2.12";
const A: &str = "45.146.194.0/23";
const B: &str = "100.0.0.0/16";
const MINE_OUT: &str = "198.51.100.0/24";
const SHADOW: &str = "[[feed]]\nkind = \"shadow\"\nlisten = \"127.0.0.1:179\"\nasn = 64999\nsessions = [{ address = \"192.0.2.1\", session = \"192.0.2.11\" }]\n";

/// A BMP listener and a poll of the same session.
fn reconciled() -> World {
    let mut world = World::new(&[ONE, BMP_LISTENER, POLL]);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.end(0, P1, PRE, V4);
    world.feed_up(1);
    world.up(1, P1);
    world.snapshot(1, P1, PRE, V4, &[A]);
    world.snapshot(1, P1, OUT, V4, &[MINE_OUT]);
    world.enforcing(0);
    world.news();
    world
}

/// "adds are urgent, removals may wait two polls": any feed adds, all must remove.
#[test]
fn what_either_feed_tells_counts() {
    let mut world = reconciled();
    world.announce(0, P1, PRE, B);
    world.sources(0, &[A, B]);
    world.snapshot(1, P1, PRE, V4, &[A, B]);
    world.withdraw(0, P1, PRE, A);
    world.wait(60);
    world.sources(0, &[A, B]);
    world.snapshot(1, P1, PRE, V4, &[B]);
    world.wait(31);
    world.sources(0, &[B]);
    world.snapshot(1, P1, PRE, V4, &[B, A]);
    world.sources(0, &[A, B]);
}

/// "two feeds that disagree raise `feed-disagreement` with examples": when two polls in a row differ, once.
#[test]
fn feeds_that_disagree() {
    let mut world = reconciled();
    let disagreement = Event::FeedDisagreement {
        session: session(P1),
        rib: PRE,
        prefixes: 1,
        examples: vec![prefix(B)],
    };
    for (poll, received) in [
        (&[A, B][..], false),
        (&[A, B], true),
        (&[A, B], false),
        (&[A], false),
        (&[A, B], false),
        (&[A, B], true),
    ] {
        world.wait(60);
        world.snapshot(1, P1, PRE, V4, poll);
        assert_eq!(world.news().contains(&disagreement), received);
    }
    world.enforcing(0);
    world.sources(0, &[A, B]);
}

/// One of two feeds is enough, and its loss is not the other's.
#[test]
fn one_of_two_feeds_is_lost() {
    let mut world = reconciled();
    world.announce(0, P1, PRE, B);
    world.feed_down(0);
    world.wait(250);
    world.sources(0, &[A, B]);
    world.enforcing(0);
    world.wait(81);
    world.enforcing(0);
    // The other feed reports the same table, so what only the lost one had goes.
    world.sources(0, &[A]);
    assert!(world.states(0).contains(&(PRE, V4, State::Stale)));
    world.feed_down(1);
    world.wait(299);
    world.enforcing(0);
    world.wait(2);
    world.lacks(0, Missing::FeedLost(Side::Sources, V4));
    world.sources(0, &[A]);
}

/// A stream that loads does not take away what a poll found complete.
#[test]
fn a_stream_that_loads_beside_a_poll() {
    let mut world = World::new(&[ONE, BMP_LISTENER, POLL]);
    world.feed_up(1);
    world.up(1, P1);
    world.snapshot(1, P1, PRE, V4, &[A]);
    world.snapshot(1, P1, OUT, V4, &[MINE_OUT]);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, B);
    world.enforcing(0);
    world.sources(0, &[A, B]);
}

fn two_sessions() -> World {
    let two = ONE.replace("[\"192.0.2.11\"]", "[\"192.0.2.11\", \"192.0.2.12\"]");
    let mut world = World::new(&[&two, BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT]);
    world.feed_up(0);
    for (address, routes) in [(P1, &[A, B][..]), (P2, &[B])] {
        world.up(0, address);
        for route in routes {
            world.announce(0, address, PRE, route);
        }
    }
    world.end(0, P1, PRE, V4);
    world
}

/// "sets are the union per peer", and each session must be complete.
#[test]
fn two_sessions_of_one_peer() {
    let mut world = two_sessions();
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.end(0, P2, PRE, V4);
    world.enforcing(0);
    world.sources(0, &[A, B]);
    world.withdraw(0, P1, PRE, B);
    world.wait(60);
    world.sources(0, &[A, B]);
    world.withdraw(0, P2, PRE, B);
    world.wait(31);
    world.sources(0, &[A]);
}

#[test]
fn one_of_two_sessions_goes_down() {
    let mut world = two_sessions();
    world.end(0, P2, PRE, V4);
    world.down(0, P1, DownCause::Lost);
    world.enforcing(0);
    world.sources(0, &[A, B]);
    world.wait(121);
    world.sources(0, &[B]);
    world.enforcing(0);
    world.up(0, P1);
    world.keeps(0, Missing::Loading(Side::Sources, V4));
    world.announce(0, P1, PRE, A);
    world.wait(16);
    world.enforcing(0);
    world.sources(0, &[A, B]);
}

/// A new session of a peer is waited for before any of its routes is received.
#[test]
fn a_second_session_comes_up() {
    let mut world = two_sessions();
    world.end(0, P2, PRE, V4);
    world.enforcing(0);
    let three = "192.0.2.13";
    world.up(0, three);
    world.enforcing(0); // no peer's
    world.down(0, P2, DownCause::Lost);
    world.up(0, P2);
    world.keeps(0, Missing::Loading(Side::Sources, V4));
}

/// Routes over one feed that was lost too long ago are not known any more, whatever other sessions report.
#[test]
fn one_of_two_sessions_is_stale() {
    let two = ONE.replace("[\"192.0.2.11\"]", "[\"192.0.2.11\", \"192.0.2.12\"]");
    let mut world = World::new(&[&two, BMP_LISTENER, &BMP_LISTENER.replace(":0", ":1"), MINE]);
    world.by_hand(2, &[MINE_OUT]);
    for (feed, address, route) in [(0, P1, A), (1, P2, B)] {
        world.feed_up(feed);
        world.up(feed, address);
        world.announce(feed, address, PRE, route);
        world.end(feed, address, PRE, V4);
    }
    world.enforcing(0);
    world.feed_down(0);
    world.at(301);
    world.lacks(0, Missing::FeedLost(Side::Sources, V4));
    world.sources(0, &[A, B]);
}

/// A short hold of one session does not cut another's withdrawal short.
#[test]
fn the_longer_hold_counts() {
    let mut world = two_sessions();
    world.end(0, P2, PRE, V4);
    world.down(0, P2, DownCause::Lost);
    world.at(115);
    world.withdraw(0, P1, PRE, B);
    world.at(125); // the second session's routes are gone since 120
    world.sources(0, &[A, B]);
    world.at(146);
    world.sources(0, &[A]);
}

/// A shadow session stays up when the peer's own goes down: what it reports holds as long as the session's routes.
#[test]
fn a_shadow_follows_the_session() {
    let mut world = World::new(&[ONE, BMP_LISTENER, SHADOW]);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.end(0, P1, PRE, V4);
    world.feed_up(1);
    world.announce(1, P1, OUT, MINE_OUT);
    world.end(1, P1, OUT, V4);
    world.enforcing(0);
    world.at(10);
    world.down(0, P1, DownCause::Lost);
    world.destinations(0, &[MINE_OUT]);
    world.at(131);
    world.sources(0, &[]);
    world.destinations(0, &[]);
    world.announce(1, P1, OUT, B);
    world.destinations(0, &[]);
    world.at(200);
    world.up(0, P1);
    world.destinations(0, &[MINE_OUT, B]);
    world.announce(0, P1, PRE, A);
    world.at(216);
    world.enforcing(0);
    world.feed_down(1);
    world.down(0, P1, DownCause::Lost);
    world.wait(121);
    world.up(0, P1);
    world.destinations(0, &[MINE_OUT, B]);
    assert!(world.states(0).contains(&(OUT, V4, State::Stale)));
}

/// A shadow that comes up while the peer's session is down reports what no peer receives.
#[test]
fn a_shadow_of_a_session_that_is_down() {
    let mut world = World::new(&[ONE, BMP_LISTENER, SHADOW]);
    world.feed_up(0);
    world.up(0, P1);
    world.down(0, P1, DownCause::Lost);
    world.at(200);
    world.feed_up(1);
    world.announce(1, P1, OUT, MINE_OUT);
    world.end(1, P1, OUT, V4);
    world.at(201);
    world.destinations(0, &[]);
    world.up(0, P1);
    world.destinations(0, &[MINE_OUT]);
}

/// Prefixes by hand are evidence only where no other feed reports the side.
#[test]
fn words_by_hand_are_a_supplement_where_there_is_a_feed() {
    let mine = "[[feed]]\nkind = \"static\"\npeer = \"p1\"\nadvertised_by_peer = [\"45.146.194.0/23\"]\nadvertised_to_peer = [\"198.51.100.0/24\"]\n";
    let mut world = World::new(&[ONE, mine]);
    world.feed_up(0);
    world.snapshot_of_peer(0, PRE, &[A]);
    world.snapshot_of_peer(0, OUT, &[MINE_OUT]);
    world.enforcing(0);
    let mut world = World::new(&[ONE, mine, BMP_LISTENER]);
    world.feed_up(0);
    world.snapshot_of_peer(0, PRE, &[A]);
    world.snapshot_of_peer(0, OUT, &[MINE_OUT]);
    world.sources(0, &[A]);
    world.lacks(0, Missing::NotReceived(Side::Sources, V4));
    // A shadow for another peer reports nothing of this one.
    let other = ONE
        .replace("p1", "p2")
        .replace("192.0.2.11", "192.0.2.12")
        .replace("64501", "64502");
    let shadow = SHADOW.replace("192.0.2.11", "192.0.2.12");
    let mut world = World::new(&[ONE, &other, mine, &shadow]);
    world.feed_up(0);
    world.snapshot_of_peer(0, PRE, &[A]);
    world.snapshot_of_peer(0, OUT, &[MINE_OUT]);
    world.enforcing(0);
}

/// A feed that has reported nothing of a table does not stand in for another feed.
#[test]
fn a_silent_feed_replaces_no_other() {
    let mut world = World::new(&[ONE, BMP_LISTENER, POLL]);
    world.feed_up(1);
    world.up(1, P1);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.end(0, P1, PRE, V4);
    world.feed_down(0);
    world.wait(400);
    world.sources(0, &[A]);
}
