//! A hold runs for each prefix from the moment it stopped being advertised, and only being advertised again ends it.
use std::time::Duration;

use filter_lifecycle::route::{DownCause, PeerId};
use filter_lifecycle::{Missing, REVIVAL, Side, Standing};

use super::world::{ALL_V4, BMP_LISTENER, MINE, ONE, PRE, V4, World, secs};

const P1: &str = "192.0.2.11";
const A: &str = "45.146.194.0/23";
const B: &str = "100.0.0.0/16";
const C: &str = "101.0.0.0/16";
const IN_A: &str = "45.146.194.1";
const IN_B: &str = "100.0.0.1";
const SPOOFED: &str = "8.8.8.8";

/// "after the hold its set is empty and in force".
#[test]
fn a_peer_that_withdraws_everything_sends_nothing() {
    let mut world = World::synced(&[A]);
    world.passes(IN_A);
    world.drops(SPOOFED);
    world.at(100);
    world.withdraw(0, P1, PRE, A);
    world.at(129);
    world.passes(IN_A);
    world.at(131);
    for source in [IN_A, SPOOFED] {
        world.drops(source);
    }
    assert_eq!(world.granted(0), ALL_V4);
}

/// What only a hold keeps is listed so, with what is left of it: also where it is the session that ended.
#[test]
fn what_a_session_that_ended_held_is_listed_with_its_hold() {
    let mut world = World::synced(&[A, B]);
    let standing = |world: &World, text: &str| {
        let within = Some(text.parse().unwrap());
        let listed = world
            .life
            .listing(world.now, PeerId(0), Side::Sources, within);
        listed.prefixes[0].standing
    };
    world.at(100);
    assert_eq!(standing(&world, A), Standing::Valid);
    world.down(0, P1, DownCause::Notification);
    world.wait(10);
    for text in [A, B] {
        let Standing::Held(left) = standing(&world, text) else {
            panic!("{text} counts only until its hold is over");
        };
        assert!(left > Duration::ZERO, "{left:?}");
        let before = left;
        world.wait(1);
        assert_eq!(standing(&world, text), Standing::Held(before - secs(1)));
    }
    // Announced anew, it is valid; what is not yet is held still.
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    assert_eq!(standing(&world, A), Standing::Valid);
    assert!(matches!(standing(&world, B), Standing::Held(_)));
}

/// "session of p down, up again, flapping: what was received stays, each prefix until its own hold is over, in force
/// throughout, with what is received anew".
#[test]
fn a_flapping_peer_keeps_nothing_beyond_its_holds() {
    let mut world = World::synced(&[A]);
    world.at(100);
    for flap in 0..150 {
        world.down(0, P1, DownCause::Notification);
        world.wait(1);
        world.up(0, P1);
        world.announce(0, P1, PRE, B);
        world.wait(7);
        world.passes(IN_B);
        world.drops(SPOOFED);
        assert_eq!(world.granted(0), ALL_V4, "flap {flap}");
        // Seven of eight seconds a session is back that has not announced it again.
        match world.now - secs(100) {
            gone if gone <= secs(300) => world.passes(IN_A),
            gone if gone >= secs(352) => world.drops(IN_A),
            _ => {}
        }
    }
}

/// Nor does announcing only right before it closes: what counts is the time for which its sessions were up.
#[test]
fn a_peer_that_announces_only_before_it_closes_is_enforced() {
    let mut world = World::new(&[ONE, BMP_LISTENER, MINE]);
    world.feed_up(0);
    world.by_hand(1, &["198.51.100.0/24"]);
    for _ in 0..43 {
        world.up(0, P1);
        world.wait(7);
        world.announce(0, P1, PRE, A);
        world.down(0, P1, DownCause::Notification);
        world.wait(3);
    }
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.wait(1);
    world.enforcing(0);
    world.passes(IN_A);
    world.drops(SPOOFED);
}

/// "a session that cannot be read counts as down", and "no other session is affected".
#[test]
fn a_session_that_cannot_be_read_counts_as_down() {
    const SECOND: &str = "192.0.2.21";
    let two = ONE.replace("[\"192.0.2.11\"]", "[\"192.0.2.11\", \"192.0.2.21\"]");
    let mut world = World::new(&[&two, BMP_LISTENER, MINE]);
    world.feed_up(0);
    world.by_hand(1, &["198.51.100.0/24"]);
    for (session, text) in [(P1, A), (SECOND, B)] {
        world.up(0, session);
        world.announce(0, session, PRE, text);
        world.end(0, session, PRE, V4);
    }
    world.at(100);
    world.unreadable(0, SECOND, PRE);
    world.at(219);
    world.passes(IN_B);
    for seconds in [221, 399, 401, 4000] {
        world.at(seconds);
        world.passes(IN_A);
        world.drops(IN_B);
        world.drops(SPOOFED);
        assert_eq!(world.granted(0), ALL_V4, "at {seconds}");
    }
}

/// The same with a router that does not report the end of the session.
#[test]
fn a_session_that_only_ever_comes_up_keeps_nothing_either() {
    let mut world = World::synced(&[A]);
    world.at(100);
    for _ in 0..100 {
        world.up(0, P1);
        world.announce(0, P1, PRE, B);
        world.wait(8);
        world.passes(IN_B);
    }
    world.drops(IN_A);
    world.sources(0, &[B]);
}

/// "complete … at the latest `settle_max` once something was received": closing the session does not put it off. 42 times
/// 7 seconds are 294.
#[test]
fn a_peer_that_flaps_from_the_start_is_enforced() {
    let mut world = World::new(&[ONE, BMP_LISTENER, MINE]);
    world.feed_up(0);
    world.by_hand(1, &["198.51.100.0/24"]);
    for _ in 0..42 {
        world.up(0, P1);
        world.announce(0, P1, PRE, A);
        world.wait(7);
        world.down(0, P1, DownCause::Notification);
        world.wait(1);
    }
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.wait(5);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.wait(1);
    world.enforcing(0);
    world.passes(IN_A);
    world.drops(SPOOFED);
}

/// The same of an interrupted transfer: while no session was up, nothing was received, and the next table is complete no
/// sooner for it.
#[test]
fn a_session_that_was_down_has_received_nothing_meanwhile() {
    let mut world = World::synced(&[A, B]);
    world.at(100);
    world.down(0, P1, DownCause::Notification);
    world.wait(1);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.at(105);
    world.down(0, P1, DownCause::Notification);
    world.at(1000);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.wait(1);
    world.passes(IN_B);
    world.announce(0, P1, PRE, B);
    world.wait(60);
    for source in [IN_A, IN_B] {
        world.passes(source);
    }
    world.drops(SPOOFED);
}

/// "the longer of the restart times the two sides asked for, at most `restart_max`".
#[test]
fn a_restart_time_counts_up_to_restart_max() {
    for (asked, gone_at) in [(60, 60), (599, 599), (600, 600), (601, 600), (4095, 600)] {
        let mut world = World::synced(&[A]);
        world.up_with(0, P1, Some(asked));
        world.announce(0, P1, PRE, A);
        world.down(0, P1, DownCause::Lost);
        world.at(gone_at - 1);
        world.passes(IN_A);
        world.at(gone_at + 1);
        world.drops(IN_A);
    }
}

/// "from its return until the side is complete again what the side held when the session ended counts too; explicitly
/// withdrawn prefixes do not".
#[test]
fn a_session_that_comes_back_late_counts_what_it_held_until_it_is_complete() {
    let mut world = World::synced(&[A, B, C]);
    world.at(100);
    world.withdraw(0, P1, PRE, C);
    world.at(200);
    world.down(0, P1, DownCause::Notification);
    world.at(321);
    world.sources(0, &[]);
    world.at(4000);
    world.up(0, P1);
    world.sources(0, &[A, B]);
    world.announce(0, P1, PRE, A);
    world.at(4014);
    world.passes(IN_B);
    world.at(4017);
    world.sources(0, &[A]);
    world.drops(IN_B);
}

/// "at most `settle_max`".
#[test]
fn a_session_that_comes_back_and_announces_nothing_keeps_what_it_held_for_settle_max() {
    let mut world = World::synced(&[A]);
    world.at(100);
    world.down(0, P1, DownCause::Notification);
    world.at(1000);
    world.up(0, P1);
    world.at(1299);
    world.passes(IN_A);
    world.at(1301);
    world.drops(IN_A);
    assert_eq!(world.granted(0), ALL_V4);
}

/// "if that was within the last day".
#[test]
fn nothing_comes_back_after_a_day() {
    for (late, revived) in [(Duration::from_secs(1), &[A][..]), (Duration::ZERO, &[])] {
        let mut world = World::synced(&[A]);
        world.down(0, P1, DownCause::Notification);
        world.at(121);
        world.sources(0, &[]);
        world.skip(REVIVAL - late);
        world.up(0, P1);
        world.sources(0, revived);
    }
}

/// "a later reason may lengthen it, counted from that same moment": the end of a session that did not announce it again.
#[test]
fn a_later_end_does_not_start_a_hold_anew() {
    let mut world = World::synced(&[A]);
    world.at(100);
    world.down(0, P1, DownCause::Notification);
    world.at(150);
    world.up_with(0, P1, Some(200));
    world.announce(0, P1, PRE, B);
    world.at(160);
    world.down(0, P1, DownCause::Lost);
    world.at(299);
    world.sources(0, &[A, B]);
    world.at(301);
    world.sources(0, &[B]);
    world.at(359);
    world.sources(0, &[B]);
    world.at(361);
    world.sources(0, &[]);
}

/// "only being advertised again ends it": then a withdrawal is held for `withdraw_hold`, and no longer.
#[test]
fn being_advertised_again_ends_the_hold_of_the_session_before() {
    let mut world = World::synced(&[A, B]);
    world.up_with(0, P1, Some(600));
    for source in [A, B] {
        world.announce(0, P1, PRE, source);
    }
    world.at(100);
    world.down(0, P1, DownCause::Lost);
    world.at(110);
    world.up(0, P1);
    world.announce(0, P1, PRE, B);
    world.end(0, P1, PRE, V4);
    world.at(130);
    world.announce(0, P1, PRE, A);
    world.at(140);
    world.withdraw(0, P1, PRE, A);
    world.withdraw(0, P1, PRE, B);
    world.at(169);
    world.sources(0, &[A, B]);
    world.at(171);
    world.sources(0, &[]);
}

/// A prefix that is not announced again stays for the hold that runs since its session ended, not for another one.
#[test]
fn what_a_complete_table_leaves_out_stays_for_the_hold_of_its_session() {
    let mut world = World::synced(&[A, B]);
    world.at(100);
    world.down(0, P1, DownCause::Notification);
    world.at(101);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.at(219);
    world.sources(0, &[A, B]);
    world.at(221);
    world.sources(0, &[A]);
    assert_eq!(world.wanted(0, Side::Destinations).len(), 1);
}
