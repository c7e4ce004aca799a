//! SPEC sections 4 and 5, one named test for each row that is the lifecycle's.
use std::time::Duration;

use filter_core::Mode;
use filter_lifecycle::route::{DownCause, PeerId};
use filter_lifecycle::{Event, Missing, PeerState, SETTLE, Side, State};

use super::world::{
    ALL_V4, BMP_LISTENER, FREE_V4, MINE, ONE, POLL, POST, PRE, V4, V6, World, prefix, secs, session,
};

const P1: &str = "192.0.2.11";
const A: &str = "45.146.194.0/23";
const B: &str = "100.0.0.0/16";
const MINE_OUT: &str = "198.51.100.0/24";

/// "All of: feed connected; End-of-RIB seen for every family and both directions; S and D not empty".
#[test]
fn everything_must_be_there() {
    let both = ONE.replace("[\"ipv4\"]", "[\"ipv4\", \"ipv6\"]");
    let mut world = World::new(&[&both, BMP_LISTENER, MINE]);
    world.lacks(0, Missing::NotReceived(Side::Sources, V4));
    world.feed_up(0);
    world.up(0, P1);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.announce(0, P1, PRE, A);
    world.sources(0, &[A]);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.end(0, P1, PRE, V4);
    world.lacks(0, Missing::NotReceived(Side::Destinations, V4));
    world.by_hand(1, &[MINE_OUT]);
    world.lacks(0, Missing::NotReceived(Side::Sources, V6));
    world.announce(0, P1, PRE, "2a13:47c0:146::/48");
    world.lacks(0, Missing::Loading(Side::Sources, V6));
    world.end(0, P1, PRE, V6);
    world.lacks(0, Missing::Empty(Side::Destinations, V6));
    world.by_hand(1, &[MINE_OUT, "2001:db8:100::/40"]);
    world.enforcing(0);
    world.sources(0, &[A, "2a13:47c0:146::/48"]);
    world.destinations(0, &[MINE_OUT, "2001:db8:100::/40"]);
    assert_eq!(
        world.states(0),
        [(PRE, V4, State::Synced), (PRE, V6, State::Synced)]
    );
}

#[test]
fn an_observed_peer_only_observes() {
    let mut world = World::new(&[&ONE.replace("enforce", "observe"), BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT]);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.end(0, P1, PRE, V4);
    world.is(0, PeerState::Observing, None);
    world.life.set_mode(PeerId(0), Mode::Enforce);
    world.enforcing(0);
}

/// A peer that covers too much of the address space freezes at its last good sources; withdrawals go on.
#[test]
fn coverage_budget() {
    let some: Vec<String> = (0..14).map(|n| format!("{}.0.0.0/8", 16 * n)).collect();
    let some: Vec<&str> = some.iter().map(String::as_str).collect();
    let mut world = World::synced(&[&some[..], &[A, B]].concat());
    let now = |world: &mut World| world.life.sources(PeerId(0));
    now(&mut world);
    assert_eq!(world.status(0).too_wide, [], "that much it may");
    for first in (0..=255).filter(|first| first % 16 != 0) {
        world.announce(0, P1, PRE, &format!("{first}.0.0.0/8"));
    }
    let covers = |world: &mut World, host| now(world).contains(prefix(host).address());
    assert!(covers(&mut world, "32.1.1.1/32"));
    assert!(!covers(&mut world, "223.1.1.1/32"), "it grows");
    assert!(world.names().contains(&"coverage-exceeded"));
    assert_eq!(world.status(0).too_wide, [V4]);
    world.enforcing(0);
    world.withdraw(0, P1, PRE, "32.0.0.0/8");
    world.wait(31);
    assert!(!covers(&mut world, "32.1.1.1/32"), "a withdrawal waits");
    world.enforcing(0);
}

/// "self-test passed": the loader reports it. A failed publish says so until one succeeds (SPEC section 4); what relies on
/// the table leaves when that lasts for `stale_hold`.
#[test]
fn a_table_that_is_not_published() {
    let mut world = World::synced(&[A]);
    world.at(10);
    let failed = || Err("self-test: no".to_owned());
    let missing = Missing::NotPublished("self-test: no".into());
    world.life.published(world.now, PeerId(0), failed());
    world.life.settle(world.now);
    world.lacks(0, missing.clone());
    let Some(Event::PeerState(PeerId(0), PeerState::Degraded, Some(_))) = world.news().pop() else {
        panic!("not received");
    };
    world.at(100);
    world.life.published(world.now, PeerId(0), failed());
    world.at(309);
    assert_eq!(world.granted(0), ALL_V4, "the old table is as good as ever");
    world.dirty();
    world.at(310);
    world.lacks(0, missing);
    assert_eq!(world.granted(0), FREE_V4);
    assert!(world.dirty(), "nobody switches off");
    world.life.published(world.now, PeerId(0), Ok(()));
    world.wait(1);
    assert_eq!(world.granted(0), ALL_V4);
    world.enforcing(0);
}

/// SPEC section 4: "Announcements take effect at once, withdrawals after `withdraw_hold`".
#[test]
fn announcements_at_once_withdrawals_after_the_hold() {
    let mut world = World::synced(&[A]);
    world.at(10);
    world.announce(0, P1, PRE, B);
    world.sources(0, &[A, B]);
    assert!(world.dirty());
    world.withdraw(0, P1, PRE, A);
    assert!(!world.dirty(), "nothing to publish yet");
    world.go(secs(40) - Duration::from_millis(1));
    world.sources(0, &[A, B]);
    world.at(40);
    world.sources(0, &[B]);
    assert!(world.dirty());
    world.enforcing(0);
    assert_eq!(world.names(), [""; 0], "routes are no events");
}

/// A prefix that comes back within its hold has never been gone, and the old hold does not end it.
#[test]
fn a_withdrawal_is_taken_back() {
    let mut world = World::synced(&[A]);
    world.at(10);
    world.withdraw(0, P1, PRE, A);
    world.at(20);
    world.announce(0, P1, PRE, A);
    world.at(100);
    world.sources(0, &[A]);
    assert!(!world.dirty(), "nothing has changed");
    world.withdraw(0, P1, PRE, A);
    world.at(129);
    world.sources(0, &[A]);
    world.at(130);
    world.sources(0, &[]);
    world.enforcing(0);
}

/// SPEC section 4: "A /23 replaced by two /24s never leaves a gap".
#[test]
fn a_replaced_prefix_leaves_no_gap() {
    let mut world = World::synced(&[A]);
    world.at(10);
    let halves = ["45.146.194.0/24", "45.146.195.0/24"];
    world.withdraw(0, P1, PRE, A);
    world.sources(0, &[A]);
    for half in halves {
        world.announce(0, P1, PRE, half);
    }
    world.sources(0, &[A, halves[0], halves[1]]);
    world.at(40);
    world.sources(0, &halves);
    world.enforcing(0);
}

/// SPEC section 4: "Identical input writes nothing".
#[test]
fn identical_input_marks_nothing_dirty() {
    let mut world = World::synced(&[A, B]);
    for source in [A, B, A] {
        world.announce(0, P1, PRE, source);
    }
    world.end(0, P1, PRE, V4);
    world.withdraw(0, P1, PRE, "200.0.0.0/8");
    world.by_hand(1, &[MINE_OUT]);
    world.wait(60);
    assert!(!world.dirty());
    world.enforcing(0);
}

/// "BGP session of p goes down: sets are kept for `peer_down_hold`, then become empty".
#[test]
fn session_down_holds_and_then_empties() {
    let mut world = World::synced(&[A, B]);
    world.at(10);
    world.down(0, P1, DownCause::Notification);
    world.keeps(0, Missing::SessionDown(Side::Sources, V4));
    world.sources(0, &[A, B]);
    assert_eq!(world.states(0), [(PRE, V4, State::Held)]);
    assert_eq!(world.names(), ["source-state", "session-down"]);
    world.down(0, P1, DownCause::Notification);
    assert_eq!(world.names(), [""; 0], "FRR 8 says it twice");
    world.at(129);
    world.sources(0, &[A, B]);
    world.go(secs(130) + Duration::from_millis(500));
    world.sources(0, &[]);
    world.destinations(0, &[MINE_OUT]);
    assert_eq!(world.states(0), [(PRE, V4, State::Down)]);
    world.keeps(0, Missing::SessionDown(Side::Sources, V4));
    assert_eq!(world.names(), ["source-state"]);
    world.announce(0, P1, PRE, A);
    world.sources(0, &[]);
}

/// "… or the negotiated graceful-restart time".
#[test]
fn a_graceful_restart_holds_as_long_as_negotiated() {
    for (cause, restart, gone_at) in [
        (DownCause::Lost, Some(60), 60),
        (DownCause::Lost, Some(600), 600),
        (DownCause::Lost, Some(0), 30), // in-flight packets: never shorter than withdraw_hold
        (DownCause::Lost, None, 120),
        (DownCause::Notification, Some(60), 120),
        (DownCause::Deconfigured, Some(60), 120),
    ] {
        let mut world = World::synced(&[A]);
        world.up_with(0, P1, restart);
        world.announce(0, P1, PRE, A);
        world.down(0, P1, cause);
        world.at(gone_at - 1);
        world.sources(0, &[A]);
        world.at(gone_at + 1);
        world.sources(0, &[]);
    }
}

/// A session that comes back: the routes of its former life go when their hold is over, and not before.
#[test]
fn a_session_that_comes_back() {
    let mut world = World::synced(&[A]);
    world.at(10);
    world.down(0, P1, DownCause::Lost);
    world.at(50);
    world.up(0, P1);
    world.keeps(0, Missing::Loading(Side::Sources, V4));
    world.announce(0, P1, PRE, B);
    world.sources(0, &[A, B]);
    world.at(64);
    world.keeps(0, Missing::Loading(Side::Sources, V4));
    world.at(66);
    world.enforcing(0);
    world.at(129);
    world.sources(0, &[A, B]);
    world.at(131);
    world.sources(0, &[B]);
    world.at(500);
    world.sources(0, &[B]);
    world.enforcing(0);
}

/// "feed lost: last tables kept for `stale_hold`, then p degrades to `observe`".
#[test]
fn feed_lost_degrades_after_the_stale_hold_and_removes_nothing() {
    let mut world = World::synced(&[A, B]);
    world.at(10);
    world.feed_down(0);
    world.enforcing(0);
    assert_eq!(world.states(0), [(PRE, V4, State::Stale)]);
    assert_eq!(world.names(), ["source-state", "feed-down"]);
    world.at(309);
    world.enforcing(0);
    world.at(310);
    world.lacks(0, Missing::FeedLost(Side::Sources, V4));
    assert_eq!(world.names(), ["peer-state"]);
    world.at(5000);
    world.sources(0, &[A, B]);
    world.lacks(0, Missing::FeedLost(Side::Sources, V4));
    assert_eq!(world.names(), [""; 0]);
}

/// "… (or stays, by `on_stale = "keep"`)".
#[test]
fn feed_lost_and_kept() {
    let mut world = World::new(&[&format!("{ONE}on_stale = \"keep\""), BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT]);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.end(0, P1, PRE, V4);
    world.feed_down(0);
    world.at(5000);
    world.enforcing(0);
    world.sources(0, &[A]);
}

/// A feed that comes back reports its routes again: enforcement goes on meanwhile, within the hold since the loss.
#[test]
fn a_feed_that_comes_back() {
    let mut world = World::synced(&[A, B]);
    world.at(10);
    world.feed_down(0);
    world.at(100);
    world.feed_up(0);
    world.up(0, P1);
    world.enforcing(0);
    world.announce(0, P1, PRE, A);
    world.announce(0, P1, PRE, "200.0.0.0/8");
    world.sources(0, &[A, B, "200.0.0.0/8"]);
    world.enforcing(0);
    world.end(0, P1, PRE, V4);
    assert_eq!(world.states(0), [(PRE, V4, State::Synced)]);
    world.sources(0, &[A, B, "200.0.0.0/8"]);
    world.at(131);
    world.sources(0, &[A, "200.0.0.0/8"]);
    world.enforcing(0);
}

#[test]
fn a_feed_that_comes_back_and_never_finishes() {
    let mut world = World::synced(&[A]);
    for start in (10..310).step_by(10) {
        world.at(start);
        world.feed_down(0);
        world.at(start + 1);
        world.feed_up(0);
        world.up(0, P1);
    }
    world.at(309);
    world.enforcing(0);
    world.at(311);
    world.lacks(0, Missing::FeedLost(Side::Sources, V4));
}

/// A feed that comes back and does not name a session says that it is down.
#[test]
fn a_feed_that_comes_back_without_the_session() {
    let mut world = World::synced(&[A]);
    world.at(10);
    world.feed_down(0);
    world.at(20);
    world.feed_up(0);
    world.go(secs(20) + SETTLE);
    world.keeps(0, Missing::SessionDown(Side::Sources, V4));
    world.sources(0, &[A]);
    world.at(154);
    world.sources(0, &[A]);
    world.at(156);
    world.sources(0, &[]);
}

/// A table that was half received when its feed was lost was never complete.
#[test]
fn feed_lost_while_loading() {
    let mut world = World::new(&[ONE, BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT]);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.feed_down(0);
    world.at(1000);
    world.lacks(0, Missing::FeedLost(Side::Sources, V4));
    world.sources(0, &[A]);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, B);
    world.end(0, P1, PRE, V4);
    world.enforcing(0);
    world.sources(0, &[A, B]);
    world.at(1031);
    world.sources(0, &[B]);
}

#[test]
fn a_session_that_is_down_while_its_feed_is_lost() {
    let mut world = World::synced(&[A]);
    world.at(10);
    world.down(0, P1, DownCause::Lost);
    world.feed_down(0);
    world.at(20);
    world.feed_up(0);
    assert_eq!(
        world.states(0),
        [(PRE, V4, State::Held)],
        "nobody says that it is up"
    );
    // It has as long as after any other end, from when the feed can say so again.
    world.at(139);
    world.sources(0, &[A]);
    world.at(141);
    world.sources(0, &[]);
}

/// "`NEXT_HOP` of a bilateral route is not the neighbour: event `next-hop-rewritten`".
#[test]
fn a_rewritten_next_hop_is_told_once() {
    let mut world = World::synced(&[]);
    world.via(0, P1, PRE, A, P1);
    world.via(0, P1, PRE, A, "fe80::1");
    assert!(!world.names().contains(&"next-hop-rewritten"));
    world.via(0, P1, PRE, A, "192.0.2.99");
    world.via(0, P1, PRE, B, "192.0.2.99");
    let news = world.news();
    let rewritten = Event::NextHopRewritten(PeerId(0), "192.0.2.99".parse().unwrap(), prefix(A));
    assert_eq!(news.iter().filter(|event| **event == rewritten).count(), 1);
    assert_eq!(
        news.iter()
            .filter(|event| event.name() == "next-hop-rewritten")
            .count(),
        1
    );
    world.sources(0, &[A, B]);
}

/// SPEC section 1: view.
#[test]
fn only_the_peers_view_counts() {
    let mut world = World::synced(&[A]);
    world.announce(0, P1, POST, B);
    world.end(0, P1, POST, V4);
    world.sources(0, &[A]);
    assert_eq!(world.states(0), [(PRE, V4, State::Synced)]);
}

/// "a feed that names an unknown peer says so once and counts".
#[test]
fn unknown_sessions_are_told_once_and_counted() {
    let mut world = World::new(&[ONE, BMP_LISTENER, POLL]);
    world.feed_up(0);
    world.news();
    for _ in 0..3 {
        world.announce(0, "192.0.2.99", PRE, A);
    }
    world.up(0, "192.0.2.99");
    world.end(0, "192.0.2.99", PRE, V4);
    world.down(0, "192.0.2.99", DownCause::Lost);
    world.snapshot(1, "192.0.2.99", PRE, V4, &[A]);
    assert_eq!(
        world.names(),
        ["unknown-session", "unknown-session"],
        "once for each feed"
    );
    assert_eq!(world.life.unknown_sessions(), 7);
    world.sources(0, &[]);
}

#[test]
fn session_events_name_the_peer() {
    let mut world = World::synced(&[A]);
    world.down(0, P1, DownCause::Lost);
    assert!(
        world
            .news()
            .contains(&Event::SessionDown(PeerId(0), session(P1)))
    );
    world.up(0, P1);
    assert!(
        world
            .news()
            .contains(&Event::SessionUp(PeerId(0), session(P1)))
    );
}
