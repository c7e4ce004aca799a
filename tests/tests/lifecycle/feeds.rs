//! FEEDS section 5, "Message order and session-loss semantics" and "What the loader must do": one named test for
//! each fact.
use std::time::Duration;

use filter_lifecycle::route::DownCause;
use filter_lifecycle::{Missing, SETTLE, Side, State};

use super::world::{BMP_LISTENER, MINE, ONE, OUT, POST, PRE, V4, V6, World, secs};

const P1: &str = "192.0.2.11";
const A: &str = "45.146.194.0/23";
const B: &str = "100.0.0.0/16";
const C: &str = "200.0.0.0/8";
const MINE_OUT: &str = "198.51.100.0/24";

fn listener() -> World {
    let mut world = World::new(&[ONE, BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT]);
    world.feed_up(0);
    world
}

/// "BMP connect: Peer Up for every established peer, then per (AFI, view) dump, EoR": believed at once.
#[test]
fn at_bmp_connect_end_of_rib_follows_the_dump() {
    let mut world = listener();
    world.up(0, P1);
    world.at(1);
    world.announce(0, P1, PRE, A);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.end(0, P1, PRE, V4);
    world.enforcing(0);
}

/// "Even real BGP EoR from FRR came before the routes": an end of nothing is waited upon, at BMP connect too.
#[test]
fn an_end_before_the_first_route_is_not_believed() {
    let mut world = listener();
    world.up(0, P1);
    world.end(0, P1, PRE, V4);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.at(5);
    world.announce(0, P1, PRE, A);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.announce(0, P1, PRE, B);
    world.at(16);
    world.enforcing(0);

    let mut world = World::synced(&[A]);
    world.at(100);
    world.feed_down(0);
    world.feed_up(0);
    world.up(0, P1);
    world.end(0, P1, PRE, V4);
    world.at(120);
    world.sources(0, &[A]);
    world.keeps(0, Missing::ShrinkUnconfirmed(Side::Sources, V4));
    world.at(500);
    world.enforcing(0);
}

/// "Session up later: BIRD EoR (empty) then routes".
#[test]
fn bird_ends_a_later_sessions_table_before_its_routes() {
    let mut world = listener();
    world.at(100);
    world.up(0, P1);
    world.end(0, P1, PRE, V4);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.at(105);
    world.announce(0, P1, PRE, A);
    world.announce(0, P1, PRE, B);
    world.end(0, P1, PRE, V4);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.go(secs(115) - Duration::from_millis(1));
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.at(115);
    world.enforcing(0);
    world.sources(0, &[A, B]);
}

/// "FRR routes, no EoR": quiet decides, at least [`SETTLE`] after the session came up, and at least 5 s after the
/// last route.
#[test]
fn frr_never_ends_a_later_sessions_table() {
    let mut world = listener();
    world.at(100);
    world.up(0, P1);
    for second in 105..125 {
        world.at(second);
        world.announce(0, P1, PRE, &format!("45.{second}.0.0/16"));
        world.lacks(0, Missing::Loading(Side::Sources, V4));
    }
    world.at(129);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.at(135);
    world.enforcing(0);
}

/// "GoBGP: raw, no EoR of its own", at BMP connect too.
#[test]
fn gobgp_never_ends_a_table() {
    let mut world = listener();
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.at(14);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.at(16);
    world.enforcing(0);
}

/// FRR walks all tables in one order: a small table is not complete because the feed is busy with a large one.
#[test]
fn quiet_in_a_small_table_while_the_feed_tells_a_large_one() {
    let transit = ONE
        .replace("p1", "p2")
        .replace("192.0.2.11", "192.0.2.12")
        .replace("64501", "64502");
    let mut world = World::new(&[ONE, &transit, BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT]);
    world.feed_up(0);
    world.up(0, P1);
    world.up(0, "192.0.2.12");
    world.announce(0, P1, PRE, A);
    for second in 1..40 {
        world.at(second);
        for block in 0..250 {
            world.announce(0, "192.0.2.12", PRE, &format!("100.{second}.{block}.0/24"));
        }
    }
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.announce(0, P1, PRE, C);
    world.at(51);
    world.enforcing(0);
    world.sources(0, &[A, C]);
}

/// … but one neighbour that keeps the feed busy does not keep another from being enforced for ever.
#[test]
fn a_feed_that_is_always_busy() {
    let other = ONE
        .replace("p1", "p2")
        .replace("192.0.2.11", "192.0.2.12")
        .replace("64501", "64502");
    let mut world = World::new(&[ONE, &other, BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT]);
    world.feed_up(0);
    world.up(0, P1);
    world.up(0, "192.0.2.12");
    world.announce(0, P1, PRE, A);
    for second in 1..62 {
        world.at(second);
        for block in 0..250 {
            let text = format!("100.0.{block}.0/24");
            world.announce(0, "192.0.2.12", PRE, &text);
            world.withdraw(0, "192.0.2.12", PRE, &text);
        }
    }
    world.enforcing(0);
}

/// A full table is never still; few changes for its size are quiet.
#[test]
fn a_large_table_is_complete_although_it_changes() {
    let mut world = listener();
    world.at(100);
    world.up(0, P1);
    for block in 0..2000 {
        world.announce(
            0,
            P1,
            PRE,
            &format!("100.{}.{}.0/24", block / 250, block % 250),
        );
    }
    for second in 101..120 {
        world.at(second);
        world.announce(0, P1, PRE, C);
        world.withdraw(0, P1, PRE, C);
    }
    world.enforcing(0);
}

/// A session that is up and of which nothing is received proves nothing; it is waited for, then not any more, and what
/// comes of it after all is a table that loads.
#[test]
fn a_silent_session() {
    let mut world = listener();
    world.up(0, P1);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.go(SETTLE);
    world.lacks(0, Missing::NotReceived(Side::Sources, V4));
    world.at(40);
    world.announce(0, P1, PRE, A);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.at(54);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.at(56);
    world.enforcing(0);
}

/// A table whose End-of-RIB came too early and that was silent until it was taken for empty arrives only now.
#[test]
fn a_session_whose_routes_come_very_late() {
    let mut world = listener();
    world.at(100);
    world.up(0, P1);
    world.end(0, P1, PRE, V4);
    world.at(120);
    world.lacks(0, Missing::Empty(Side::Sources, V4));
    world.announce(0, P1, PRE, A);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.announce(0, P1, PRE, B);
    world.at(136);
    world.enforcing(0);
}

/// … nor is a silence the last known table when the feed is lost.
#[test]
fn a_silence_is_not_the_last_known_table() {
    let mut world = listener();
    world.at(100);
    world.up(0, P1);
    world.end(0, P1, PRE, V4);
    world.at(120);
    world.feed_down(0);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.announce(0, P1, PRE, B);
    world.end(0, P1, PRE, V4);
    world.enforcing(0);
}

/// "FRR 8.4.4 repeats Peer Down": the hold is not longer for it. "No per-route withdrawals."
#[test]
fn a_repeated_peer_down() {
    let mut world = World::synced(&[A]);
    for second in [10, 50, 100] {
        world.at(second);
        world.down(0, P1, DownCause::Notification);
    }
    world.at(131);
    world.sources(0, &[]);
}

/// "Daemon exit: TCP EOF … must be treated as feed lost, not peers empty".
#[test]
fn end_of_file_is_no_empty_table() {
    let mut world = World::synced(&[A]);
    world.feed_down(0);
    world.at(1000);
    world.sources(0, &[A]);
}

/// "… sometimes a burst of withdrawals first (GoBGP)": a router that shuts down speaks of itself, not of peers.
#[test]
fn a_burst_of_withdrawals_before_the_feed_is_lost() {
    let mut world = World::synced(&[A, B, C]);
    world.at(100);
    world.withdraw(0, P1, PRE, C); // this one is the peer's own
    world.at(106);
    world.withdraw(0, P1, PRE, A);
    world.withdraw(0, P1, PRE, B);
    world.at(109);
    world.feed_down(0);
    world.at(200);
    world.sources(0, &[A, B]);
    world.enforcing(0);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.end(0, P1, PRE, V4);
    world.at(229);
    world.sources(0, &[A, B]);
    world.at(231);
    world.sources(0, &[A]);
}

/// "GR: stale routes kept by the daemon are invisible in BMP after Peer Down".
#[test]
fn a_graceful_restart_keeps_what_bmp_does_not_show() {
    let mut world = listener();
    world.up_with(0, P1, Some(60));
    world.announce(0, P1, PRE, A);
    world.end(0, P1, PRE, V4);
    world.at(100);
    world.down(0, P1, DownCause::Lost);
    world.at(150);
    world.sources(0, &[A]);
    world.up_with(0, P1, Some(60));
    world.at(170);
    world.announce(0, P1, PRE, A);
    world.at(181);
    world.enforcing(0);
    world.at(1000);
    world.sources(0, &[A]);
}

/// … and BIRD 2.19.2 leaves its view after policy empty after one: silence is not emptiness.
#[test]
fn a_table_that_stays_empty_after_a_graceful_restart() {
    let post = format!("{ONE}view = \"post-policy\"");
    let mut world = World::new(&[&post, BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT]);
    world.feed_up(0);
    world.up_with(0, P1, Some(60));
    world.announce(0, P1, POST, A);
    world.end(0, P1, POST, V4);
    world.enforcing(0);
    world.at(100);
    world.down(0, P1, DownCause::Lost);
    world.at(110);
    world.up_with(0, P1, Some(60));
    world.end(0, P1, POST, V4);
    world.at(200);
    world.sources(0, &[A]);
    world.keeps(0, Missing::ShrinkUnconfirmed(Side::Sources, V4));
    // The listener closes the connection, and the router sends everything again.
    world.feed_down(0);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, POST, A);
    world.end(0, P1, POST, V4);
    world.enforcing(0);
    world.at(500);
    world.sources(0, &[A]);
}

/// "Route refresh: FRR/GoBGP resend (idempotent)", "One prefix may appear twice in a dump: treat as set".
#[test]
fn a_dump_is_a_set() {
    let mut world = World::synced(&[A]);
    for _ in 0..3 {
        world.announce(0, P1, PRE, A);
        world.end(0, P1, PRE, V4);
    }
    assert!(!world.dirty());
    world.withdraw(0, P1, PRE, A);
    world.wait(31);
    world.sources(0, &[]);
}

/// "Same peer may exist twice (v4 and v6 transport): map both to one".
#[test]
fn one_peer_over_two_transports() {
    let both = ONE
        .replace("[\"192.0.2.11\"]", "[\"192.0.2.11\", \"2001:db8:ff::11\"]")
        .replace("[\"ipv4\"]", "[\"ipv4\", \"ipv6\"]");
    let mut world = World::new(&[&both, BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT, "2001:db8:100::/40"]);
    world.feed_up(0);
    world.up(0, P1);
    world.up(0, "2001:db8:ff::11");
    world.announce(0, P1, PRE, A);
    world.end(0, P1, PRE, V4);
    world.lacks(0, Missing::Loading(Side::Sources, V6));
    world.announce(0, "2001:db8:ff::11", PRE, "2a13:47c0:146::/48");
    world.end(0, "2001:db8:ff::11", PRE, V6);
    world.enforcing(0);
    world.sources(0, &[A, "2a13:47c0:146::/48"]);
    world.down(0, "2001:db8:ff::11", DownCause::Lost);
    world.keeps(0, Missing::SessionDown(Side::Sources, V6));
}

/// What a feed says is wrong is not taken as complete, by quiet least of all.
#[test]
fn a_table_known_to_be_wrong() {
    let mut world = listener();
    world.up(0, P1);
    world.withdraw(0, P1, PRE, A);
    world.lost(0, P1, Some(PRE));
    world.announce(0, P1, PRE, B);
    world.at(100);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.end(0, P1, PRE, V4);
    world.enforcing(0);
}

/// … nor one of which nothing was received before: a session that cannot be read counts as down.
#[test]
fn a_table_that_is_wrong_from_its_first_route() {
    let mut world = listener();
    world.at(100);
    world.up(0, P1);
    world.unreadable(0, P1, PRE);
    world.announce(0, P1, PRE, B);
    world.lacks(0, Missing::SessionDown(Side::Sources, V4));
    world.at(219);
    world.sources(0, &[B]);
    world.at(1000);
    world.lacks(0, Missing::SessionDown(Side::Sources, V4));
    world.sources(0, &[]);
    // Its first route shows that it can be read after all, as of FRR whose first UPDATE only withdraws.
    world.end(0, P1, PRE, V4);
    world.announce(0, P1, PRE, A);
    world.sources(0, &[A, B]);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.at(1020);
    world.enforcing(0);
    world.sources(0, &[A]);
}

/// … and one that was complete is held, in force, as when its session ends: by what it sends, a peer opens nothing.
#[test]
fn a_table_that_goes_wrong() {
    let mut world = World::synced(&[A]);
    world.at(10);
    world.unreadable(0, P1, PRE);
    world.enforcing(0);
    assert_eq!(world.states(0), [(PRE, V4, State::Held)]);
    world.announce(0, P1, PRE, B);
    world.at(129);
    world.sources(0, &[A, B]);
    world.at(131);
    world.sources(0, &[]);
    assert_eq!(world.states(0), [(PRE, V4, State::Down)]);
    world.at(1000);
    world.enforcing(0);
    // The session comes up again: what it held counts until its table is complete.
    world.up(0, P1);
    world.sources(0, &[A, B]);
    world.announce(0, P1, PRE, A);
    world.at(1140);
    world.sources(0, &[A]);
    world.enforcing(0);
}

/// What we advertise to the peer is not the peer's to empty, nor to make unknown: what cannot be read of it costs itself.
#[test]
fn an_adj_rib_out_that_goes_wrong() {
    let mut world = World::new(&[ONE, BMP_LISTENER]);
    world.feed_up(0);
    world.up(0, P1);
    for (rib, text) in [(PRE, A), (OUT, MINE_OUT)] {
        world.announce(0, P1, rib, text);
        world.end(0, P1, rib, V4);
    }
    world.at(10);
    world.enforcing(0);
    world.unreadable(0, P1, OUT);
    world.announce(0, P1, OUT, "198.51.101.0/24");
    world.at(1000);
    world.enforcing(0);
    world.destinations(0, &[MINE_OUT, "198.51.101.0/24"]);
}

/// What the feed itself lost of a session is our own ignorance: the last known stays for `stale_hold`.
#[test]
fn a_session_that_its_feed_does_not_hear_any_more() {
    let mut world = World::synced(&[A]);
    world.at(10);
    world.lost(0, P1, None);
    world.enforcing(0);
    assert_eq!(world.states(0), [(PRE, V4, State::Stale)]);
    world.announce(0, P1, PRE, B);
    world.at(309);
    world.enforcing(0);
    world.at(311);
    world.lacks(0, Missing::FeedLost(Side::Sources, V4));
    world.end(0, P1, PRE, V4);
    world.enforcing(0);
    world.sources(0, &[A, B]);
}

/// One router of several that share a listener reconnects: its sessions are reported mid-life.
#[test]
fn one_router_of_several_reconnects() {
    let mut world = World::synced(&[A, B]);
    world.at(100);
    world.lost(0, P1, None);
    world.at(105);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.end(0, P1, PRE, V4);
    world.enforcing(0);
    assert_eq!(world.states(0), [(PRE, V4, State::Stale)]);
    world.at(121);
    assert_eq!(world.states(0), [(PRE, V4, State::Synced)]);
    world.at(155);
    world.sources(0, &[A]);
    world.enforcing(0);
}

/// "Paths": several keep a prefix alive.
#[test]
fn a_prefix_lives_as_long_as_one_of_its_paths() {
    use filter_lifecycle::route::{Route, RouteEvent};
    let mut world = World::synced(&[]);
    for path in [1, 2] {
        let route = Route {
            path,
            ..Route::bare(super::world::prefix(A))
        };
        world.route(0, P1, PRE, route);
    }
    let withdraw = |world: &mut World, path| {
        let (origin, prefix) = (super::world::origin(P1), super::world::prefix(A));
        world.tell(
            0,
            RouteEvent::Withdraw {
                origin,
                rib: PRE,
                prefix,
                path,
            },
        );
    };
    withdraw(&mut world, 1);
    world.wait(60);
    world.sources(0, &[A]);
    withdraw(&mut world, 1);
    withdraw(&mut world, 2);
    world.wait(31);
    world.sources(0, &[]);
}
