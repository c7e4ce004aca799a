//! SPEC section 5 class by class: each asks only for what it needs, no side or family holds back another, and what was
//! known stays in force whatever the peer does to itself.
use filter_core::{Class, Classes, Mode};
use filter_lifecycle::route::{DownCause, PeerId};
use filter_lifecycle::{Missing, PeerState, Side};

use super::world::{ALL_V4, BMP_LISTENER, FREE_V4, MINE, ONE, OUT, POLL, PRE, V4, V6, World, secs};

const P1: &str = "192.0.2.11";
const A: &str = "45.146.194.0/23";
const A6: &str = "2a13:47c0:146::/48";
const MINE_OUT: &str = "198.51.100.0/24";
const MINE_OUT6: &str = "2001:db8:100::/40";

fn both() -> String {
    ONE.replace("[\"ipv4\"]", "[\"ipv4\", \"ipv6\"]")
}

/// Both families and sides complete.
fn both_synced() -> World {
    let mut world = World::new(&[&both(), BMP_LISTENER, MINE]);
    world.feed_up(0);
    world.by_hand(1, &[MINE_OUT, MINE_OUT6]);
    world.up(0, P1);
    for (family, source) in [(V4, A), (V6, A6)] {
        world.announce(0, P1, PRE, source);
        world.end(0, P1, PRE, family);
    }
    world.enforcing(0);
    assert_eq!(world.granted(0), Classes::PEER);
    world
}

/// `bogons`, `families`, `malformed`: no RIB.
#[test]
fn what_needs_no_routes_is_granted_at_once() {
    let world = World::new(&[ONE, BMP_LISTENER]);
    assert_eq!(world.granted(0), FREE_V4);
    let observed = World::new(&[&ONE.replace("enforce", "observe"), BMP_LISTENER]);
    assert_eq!(observed.granted(0), Classes::NONE);
}

#[test]
fn sources_without_destinations_and_one_family_without_the_other() {
    let mut world = World::new(&[&both(), BMP_LISTENER, MINE]);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.end(0, P1, PRE, V4);
    let free = Classes::BOGONS | Classes::FAMILIES | Classes::MALFORMED;
    assert_eq!(world.granted(0), free | Classes::sources(V4));
    assert_eq!(world.status(0).state, PeerState::Partly);
    world.by_hand(1, &[MINE_OUT]);
    let ipv4 = Classes::sources(V4) | Classes::destinations(V4);
    assert_eq!(world.granted(0), free | ipv4);
    world.lacks(0, Missing::NotReceived(Side::Sources, V6));
    let known = world.life.known(PeerId(0));
    assert_eq!(
        known.bits(),
        filter_core::layout::Known::new(v4_only(), v4_only()).bits()
    );
}

fn v4_only() -> filter_core::layout::Families {
    filter_core::layout::Families::new(|family| family == V4)
}

#[test]
fn only_the_classes_that_enforce_names_are_wanted() {
    let some = format!("{ONE}enforce = [\"bogons\", \"sources\"]");
    let mut world = World::new(&[&some, BMP_LISTENER]);
    let bogons = Classes::bogons(V4);
    assert_eq!(world.granted(0), bogons);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.end(0, P1, PRE, V4);
    assert_eq!(world.granted(0), bogons | Classes::sources(V4));
    world.enforcing(0);
    world.life.set_mode(PeerId(0), Mode::Observe);
    assert_eq!(world.granted(0), Classes::NONE);
}

/// "`status` gives per peer, class and family … the one thing that is missing, since when, and when it is expected".
#[test]
fn every_class_says_what_it_waits_for() {
    let mut world = World::new(&[ONE, BMP_LISTENER]);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.at(5);
    let classes = world.life.class_status(world.now, PeerId(0));
    assert_eq!(classes.len(), 8, "three of two families, two of none");
    let of = |class, family| {
        classes
            .iter()
            .find(|each| each.class == class && each.family == family)
            .unwrap()
    };
    let sources = of(Class::Sources, Some(V4));
    assert!(sources.wanted && !sources.granted);
    assert_eq!(sources.missing, Some(Missing::Loading(Side::Sources, V4)));
    assert_eq!(sources.since, Some(secs(5)));
    assert_eq!(sources.expected, Some(secs(10)));
    let destinations = of(Class::Destinations, Some(V4));
    assert_eq!(
        destinations.missing,
        Some(Missing::NotReceived(Side::Destinations, V4))
    );
    assert_eq!(destinations.expected, None);
    let unused = of(Class::Sources, Some(V6));
    assert!(!unused.wanted && !unused.granted);
    assert_eq!(unused.missing, None);
    let free = of(Class::Malformed, None);
    assert!(free.wanted && free.granted);
    assert_eq!((&free.missing, free.since), (&None, None));
}

/// "peer withdraws, down to nothing in one family: after the hold its set is empty and in force, that family only".
#[test]
fn withdrawing_one_family_opens_neither() {
    let mut world = both_synced();
    world.at(10);
    world.withdraw(0, P1, PRE, A6);
    world.at(41);
    world.sources(0, &[A]);
    assert_eq!(world.granted(0), Classes::PEER);
    world.enforcing(0);
}

/// "session of p down, up again, flapping …: in force throughout, with what is received anew; from its return … what the
/// side held when the session ended counts too, if that was within the last day (explicitly withdrawn prefixes do not)".
#[test]
fn a_session_that_ends_opens_nothing_and_is_remembered_for_a_day() {
    for (back_at, expected) in [
        (5000, &[A, "100.0.0.0/16"][..]),
        (90_000, &["100.0.0.0/16"]),
    ] {
        let mut world = World::synced(&[A, "200.0.0.0/8"]);
        world.at(10);
        world.withdraw(0, P1, PRE, "200.0.0.0/8");
        world.down(0, P1, DownCause::Notification);
        world.at(131);
        world.sources(0, &[]);
        assert_eq!(world.granted(0), ALL_V4);
        world.now = secs(back_at);
        world.up(0, P1);
        world.announce(0, P1, PRE, "100.0.0.0/16");
        world.sources(0, expected);
        assert_eq!(world.granted(0), ALL_V4);
    }
}

/// "session ends and withdrawals received in the 5 s before are part of the loss": a routing daemon that ends closes its
/// sessions first, and its host may forward for long after.
#[test]
fn a_session_that_ends_right_before_its_feed_is_part_of_the_loss() {
    for (gap, kept) in [(4, &[A][..]), (6, &[])] {
        let mut world = World::synced(&[A]);
        world.at(10);
        world.down(0, P1, DownCause::Notification);
        world.at(10 + gap);
        world.feed_down(0);
        world.at(300);
        world.sources(0, kept);
        assert_eq!(world.granted(0), ALL_V4, "{gap} s");
        world.at(320);
        world.sources(0, &[]);
        let left = ALL_V4.without(Classes::SOURCES);
        assert_eq!(world.granted(0), left, "{gap} s");
    }
}

/// Once the feed is back, its session has as long as after any other end to come up again.
#[test]
fn a_spared_session_that_stays_down_is_down() {
    let mut world = World::synced(&[A]);
    world.at(10);
    world.down(0, P1, DownCause::Notification);
    world.at(11);
    world.feed_down(0);
    world.at(150);
    world.feed_up(0);
    world.at(269);
    world.sources(0, &[A]);
    world.at(271);
    world.sources(0, &[]);
    assert_eq!(world.granted(0), ALL_V4);
}

#[test]
fn a_flapping_session_opens_nothing() {
    let mut world = World::synced(&[A]);
    for flap in 0..100 {
        world.at(10 + 8 * flap);
        world.down(0, P1, DownCause::Lost);
        assert_eq!(world.granted(0), ALL_V4);
        world.wait(4);
        world.up(0, P1);
        assert_eq!(world.granted(0), ALL_V4);
    }
}

/// "quiet alone (only prefixes new in this session disturb it); at the latest `settle_max`".
#[test]
fn a_peer_that_changes_a_prefix_a_second_from_the_start_is_enforced() {
    let mut flapping = World::new(&[ONE, BMP_LISTENER, MINE]);
    flapping.feed_up(0);
    flapping.by_hand(1, &[MINE_OUT]);
    flapping.at(100);
    flapping.up(0, P1);
    for second in 0..40 {
        flapping.at(101 + second);
        flapping.announce(0, P1, PRE, A);
        flapping.withdraw(0, P1, PRE, A);
        flapping.announce(0, P1, PRE, A);
    }
    flapping.enforcing(0);

    let mut growing = World::new(&[ONE, BMP_LISTENER, MINE]);
    growing.feed_up(0);
    growing.by_hand(1, &[MINE_OUT]);
    growing.at(100);
    growing.up(0, P1);
    for second in 0..299 {
        growing.at(101 + second);
        let number = 256 * 45 + second;
        growing.announce(
            0,
            P1,
            PRE,
            &format!("{}.{}.0.0/16", number / 256, number % 256),
        );
    }
    growing.lacks(0, Missing::Loading(Side::Sources, V4));
    growing.at(401);
    growing.enforcing(0);
}

/// "feed lost …: last tables for `stale_hold`, then `sources` and `destinations` that no other feed carries leave; the
/// RIB-free classes stay".
#[test]
fn a_lost_feed_takes_only_its_own_side_away() {
    let mut world = both_synced();
    world.at(10);
    world.feed_down(0);
    world.at(309);
    assert_eq!(world.granted(0), Classes::PEER);
    world.at(311);
    let left = Classes::PEER.without(Classes::SOURCES);
    assert_eq!(world.granted(0), left, "destinations are by hand");
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    assert_eq!(world.granted(0), left, "unknown until it is complete again");
    world.end(0, P1, PRE, V4);
    assert_eq!(world.granted(0), left | Classes::sources(V4));
}

/// A session that was down when its feed was lost may have come back since: that is our ignorance.
#[test]
fn a_feed_that_is_lost_while_the_session_is_down() {
    let mut world = World::synced(&[A]);
    world.at(10);
    world.down(0, P1, DownCause::Lost);
    world.at(200);
    world.feed_down(0);
    world.at(499);
    assert_eq!(world.granted(0), ALL_V4);
    world.at(501);
    assert_eq!(world.granted(0), ALL_V4.without(Classes::SOURCES));
}

/// An empty side is believed the first time only after `settle_max`, and if the router counts none.
#[test]
fn an_empty_side_is_known_only_when_the_router_says_so_too() {
    for counted in [false, true] {
        let mut world = World::new(&[ONE, POLL, MINE]);
        world.feed_up(0);
        world.by_hand(1, &[MINE_OUT]);
        world.snapshot(0, P1, OUT, V4, &[MINE_OUT]);
        world.snapshot(0, P1, PRE, V4, &[]);
        if counted {
            world.count(0, P1, PRE, Some(V4), 0);
        }
        world.at(299);
        world.lacks(0, Missing::Empty(Side::Sources, V4));
        world.at(301);
        let sources = world.granted(0).meets(Classes::SOURCES);
        assert_eq!(sources, counted);
    }
}
