//! SPEC section 5, the rows on what does not count as a source: too many prefixes, and refused ones.
use filter_lifecycle::route::{DownCause, PeerId};
use filter_lifecycle::{Event, Refusal, RefusedPrefix};

use super::world::{BMP_LISTENER, MINE, ONE, PRE, V4, World, prefix, spec_of};

const P1: &str = "192.0.2.11";
const A: &str = "45.146.194.0/23";
const B: &str = "100.0.0.0/16";
const MINE_OUT: &str = "198.51.100.0/24";

/// "max-prefix exceeded: the peer's table freezes at the last good one; never a silent widening".
#[test]
fn max_prefix_freezes_at_the_last_good_table() {
    let limited = format!("{ONE}max_prefixes = {{ ipv4 = 2 }}");
    let mut world = World::new(&[&limited, BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT]);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.announce(0, P1, PRE, B);
    world.end(0, P1, PRE, V4);
    world.enforcing(0);
    world.news();
    world.life.take_dirty();
    world.at(10);
    world.announce(0, P1, PRE, "200.0.0.0/8");
    world.sources(0, &[A, B]);
    world.enforcing(0);
    let exceeded = Event::MaxPrefixExceeded {
        peer: PeerId(0),
        family: V4,
        prefixes: 3,
        limit: 2,
    };
    assert_eq!(world.news(), [exceeded]);
    assert_eq!(world.status(0).frozen, [V4]);
    world.announce(0, P1, PRE, "201.0.0.0/8");
    world.withdraw(0, P1, PRE, A);
    world.at(39);
    world.sources(0, &[A, B]);
    world.at(60);
    world.sources(0, &[B]);
    assert_eq!(world.names(), [""; 0], "reported once");
    world.withdraw(0, P1, PRE, "201.0.0.0/8");
    assert_eq!(world.news(), [Event::MaxPrefixCleared(PeerId(0), V4)]);
    world.sources(0, &[B, "200.0.0.0/8"]);
    world.enforcing(0);
}

/// What was leaving when the table froze leaves like what is withdrawn since.
#[test]
fn a_frozen_table_holds_withdrawals_no_longer() {
    let limited = format!("{ONE}max_prefixes = {{ ipv4 = 2 }}");
    let mut world = World::new(&[&limited, BMP_LISTENER, MINE]);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.announce(0, P1, PRE, B);
    world.end(0, P1, PRE, V4);
    world.at(10);
    world.withdraw(0, P1, PRE, A);
    world.announce(0, P1, PRE, "200.0.0.0/8");
    world.sources(0, &[A, B, "200.0.0.0/8"]);
    world.announce(0, P1, PRE, "201.0.0.0/8");
    world.sources(0, &[A, B, "200.0.0.0/8"]);
    world.at(41);
    world.sources(0, &[B, "200.0.0.0/8"]);
}

/// A peer that replaces a prefix while its session is down has not announced too many.
#[test]
fn max_prefix_counts_a_table_when_it_is_complete() {
    let limited = format!("{ONE}max_prefixes = {{ ipv4 = 2 }}");
    let mut world = World::new(&[&limited, BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT]);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.announce(0, P1, PRE, B);
    world.end(0, P1, PRE, V4);
    world.at(10);
    world.down(0, P1, DownCause::Lost);
    world.at(20);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.announce(0, P1, PRE, "200.0.0.0/8");
    world.sources(0, &[A, B]);
    world.at(36);
    world.enforcing(0);
    world.sources(0, &[A, B, "200.0.0.0/8"]);
    assert!(!world.names().contains(&"max-prefix-exceeded"));
}

/// Too many from the start: there is no last good table to freeze, and what is received is in force: it drops the rest.
#[test]
fn max_prefix_before_there_is_a_good_table() {
    let limited = format!("{ONE}max_prefixes = {{ ipv4 = 1 }}");
    let mut world = World::new(&[&limited, BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT]);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.announce(0, P1, PRE, B);
    assert!(
        !world.names().contains(&"max-prefix-exceeded"),
        "it is still being received"
    );
    world.end(0, P1, PRE, V4);
    world.sources(0, &[A, B]);
    world.enforcing(0);
    let status = world.status(0);
    assert_eq!((status.over_limit, status.frozen), (vec![V4], vec![]));
    assert!(world.names().contains(&"max-prefix-exceeded"));
    world.withdraw(0, P1, PRE, B);
    world.enforcing(0);
    world.at(31);
    world.sources(0, &[A]);
    world.announce(0, P1, PRE, B);
    world.sources(0, &[A]);
    world.enforcing(0);
}

/// "default route, prefix outside `prefix_bounds`, our own prefix, a bogon, a LAN prefix: not admitted to S;
/// counted and listed as `refused` with its reason".
#[test]
fn refused_prefixes() {
    let mut spec = spec_of(&[ONE, BMP_LISTENER, MINE]);
    spec.router.prefixes = vec![prefix("198.51.100.0/24")];
    let mut world = World::of(spec);
    world.by_hand(1, &[MINE_OUT]);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.end(0, P1, PRE, V4);
    world.news();
    world.life.take_dirty();
    let cases = [
        ("0.0.0.0/0", Refusal::DefaultRoute),
        ("0.0.0.0/1", Refusal::OutOfBounds { min: 8, max: 24 }),
        ("45.146.194.0/25", Refusal::OutOfBounds { min: 8, max: 24 }),
        ("127.0.0.0/8", Refusal::Bogon),
        ("192.0.2.0/24", Refusal::Lan),
        ("198.51.100.0/24", Refusal::Ours),
    ];
    for (text, refusal) in cases {
        world.announce(0, P1, PRE, text);
        assert_eq!(
            world.news(),
            [Event::PrefixRefused(PeerId(0), prefix(text), refusal)]
        );
        world.announce(0, P1, PRE, text);
        assert_eq!(world.names(), [""; 0], "{text}: reported once");
    }
    assert!(!world.dirty());
    world.sources(0, &[A]);
    let mut listed = cases
        .map(|(text, why)| RefusedPrefix {
            prefix: prefix(text),
            why,
        })
        .to_vec();
    listed.sort_unstable();
    let status = world.status(0);
    assert_eq!((status.refused, status.refused_list), (6, listed));
    for (text, _) in cases {
        world.withdraw(0, P1, PRE, text);
    }
    assert_eq!(world.status(0).refused, 0);
    world.enforcing(0);
}

/// "`static` and `extra_*` exempt", and a refusal of the same prefix by a feed takes nothing from it.
#[test]
fn words_by_hand_may_have_any_length() {
    let mine =
        "[[feed]]\nkind = \"static\"\npeer = \"p1\"\nadvertised_by_peer = [\"45.146.194.0/25\"]\n";
    let mut world = World::new(&[ONE, BMP_LISTENER, mine]);
    world.feed_up(1);
    world.snapshot_of_peer(1, PRE, &["45.146.194.0/25"]);
    world.sources(0, &["45.146.194.0/25"]);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, "45.146.194.0/25");
    assert_eq!(world.status(0).refused, 1);
    world.withdraw(0, P1, PRE, "45.146.194.0/25");
    world.wait(60);
    assert_eq!(world.status(0).refused, 0);
    world.sources(0, &["45.146.194.0/25"]);
}
