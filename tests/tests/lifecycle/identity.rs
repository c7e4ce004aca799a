//! Who a session's neighbour is, what it exchanges, and what of it stays when its feed is lost.
use filter_core::{Asn, Classes};
use filter_lifecycle::route::{DownCause, FeedId, RouteEvent};
use filter_lifecycle::{Event, FOREIGN_PEERS, Missing, STRANGER_HOLD, Side};

use super::world::{BMP_LISTENER, MINE, ONE, OUT, POLL, PRE, V4, V6, World, secs, session};

const P1: &str = "192.0.2.11";
const A: &str = "45.146.194.0/23";
const B: &str = "100.0.0.0/16";
const MINE_OUT: &str = "198.51.100.0/24";

fn up_as(world: &mut World, feed: u16, asn: u32) {
    let event = RouteEvent::SessionUp {
        router: 0,
        session: session(P1),
        asn: Some(Asn::new(asn)),
        restart_time: None,
        families: Some([true, false]),
        local: None,
    };
    world.tell(feed, event);
}

fn listener() -> World {
    let mut world = World::new(&[ONE, BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT]);
    world.feed_up(0);
    world
}

/// The AS at the peer's address is another: nothing it announces counts, and that is reported once.
#[test]
fn another_as_at_the_peers_address_does_not_count() {
    let mut world = listener();
    for _ in 0..3 {
        up_as(&mut world, 0, 64999);
        world.announce(0, P1, PRE, A);
        world.end(0, P1, PRE, V4);
    }
    world.sources(0, &[]);
    world.at(400);
    world.sources(0, &[]);
    let mismatch = Event::AsnMismatch {
        feed: FeedId(0),
        session: session(P1),
        reported: Asn::new(64999),
        configured: Asn::new(64501),
    };
    let received = world.news().into_iter().filter(|event| *event == mismatch);
    assert_eq!(received.count(), 1);
    // The right one comes: as if nothing had been.
    up_as(&mut world, 0, 64501);
    world.announce(0, P1, PRE, B);
    world.end(0, P1, PRE, V4);
    world.at(420);
    world.sources(0, &[B]);
    world.enforcing(0);
}

/// What the peer had before stays in force for a day, and does not grow.
#[test]
fn what_was_known_outlives_another_as() {
    let mut world = listener();
    up_as(&mut world, 0, 64501);
    world.announce(0, P1, PRE, A);
    world.end(0, P1, PRE, V4);
    world.enforcing(0);
    world.at(100);
    up_as(&mut world, 0, 64999);
    world.announce(0, P1, PRE, B);
    world.withdraw(0, P1, PRE, A);
    world.go(secs(90) + STRANGER_HOLD);
    world.sources(0, &[A]);
    world.enforcing(0);
    world.wait(20);
    world.sources(0, &[]);
}

/// "losing FRR's BMP took an enforced peer out at once": an empty table of the other family, which the session agreed
/// on and never used, keeps no class waiting, before and after the loss.
#[test]
fn an_unused_family_is_not_waited_for_when_the_feed_is_lost() {
    let both = ONE
        .replace("[\"ipv4\"]", "[\"ipv4\", \"ipv6\"]")
        .replace("[\"192.0.2.11\"]", "[\"192.0.2.11\", \"2001:db8:ff::11\"]");
    let mut world = World::new(&[&both, BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT, "2001:db8:100::/40"]);
    let received = |world: &mut World| {
        world.feed_up(0);
        for (address, route, other) in [(P1, A, V6), ("2001:db8:ff::11", "2a13:47c0:146::/48", V4)]
        {
            world.up(0, address);
            world.announce(0, address, PRE, route);
            for family in [V4, V6] {
                world.end(0, address, PRE, family);
            }
            world.end(0, address, PRE, other);
        }
    };
    received(&mut world);
    world.at(30);
    world.enforcing(0);
    world.feed_down(0);
    world.enforcing(0);
    world.at(200);
    world.enforcing(0);
    received(&mut world);
    world.enforcing(0);
    world.at(600);
    world.enforcing(0);
}

/// A table that was known stays for `stale_hold` although its session came up a moment before the loss.
#[test]
fn a_table_known_before_its_session_came_up_again_is_stale() {
    let mut world = World::synced(&[A, B]);
    world.at(100);
    world.down(0, P1, DownCause::Lost);
    world.at(102);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.at(103);
    world.feed_down(0);
    world.sources(0, &[A, B]);
    world.enforcing(0);
    world.at(400);
    world.enforcing(0);
    world.at(404);
    world.lacks(0, Missing::FeedLost(Side::Sources, V4));
    // … and a table that never was complete is not known, whatever came of it.
    let mut world = listener();
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.feed_down(0);
    world.lacks(0, Missing::Loading(Side::Sources, V4));
}

/// A family that the session does not exchange is none of its tables, whatever its feed says.
#[test]
fn a_family_that_was_not_negotiated_never_counts() {
    let both = ONE.replace("[\"ipv4\"]", "[\"ipv4\", \"ipv6\"]");
    let mut world = World::new(&[&both, BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT, "2001:db8:100::/40"]);
    world.feed_up(0);
    up_as(&mut world, 0, 64501);
    world.announce(0, P1, PRE, A);
    world.announce(0, P1, PRE, "2a13:47c0:146::/48");
    world.end(0, P1, PRE, V4);
    world.end(0, P1, PRE, V6);
    world.sources(0, &[A]);
    world.lacks(0, Missing::NotReceived(Side::Sources, V6));
}

/// GoBGP sends no Peer Down of a neighbour that was deleted: the poll that no longer finds it says so.
#[test]
fn a_session_that_a_poll_no_longer_finds_is_down() {
    let mut world = World::new(&[ONE, BMP_LISTENER, POLL, MINE]);
    world.by_hand(2, &[MINE_OUT]);
    for feed in [0, 1] {
        world.feed_up(feed);
        world.up(feed, P1);
    }
    world.announce(0, P1, PRE, A);
    world.end(0, P1, PRE, V4);
    world.snapshot(1, P1, PRE, V4, &[A]);
    world.snapshot(1, P1, OUT, V4, &[MINE_OUT]);
    world.enforcing(0);
    world.at(60);
    world.down(1, P1, DownCause::Deconfigured);
    world.keeps(0, Missing::SessionDown(Side::Sources, V4));
    world.at(181);
    world.sources(0, &[]);
}

/// A router that never had the session says nothing about another router's.
#[test]
fn a_poll_that_never_found_a_session_does_not_end_it() {
    let mut world = World::new(&[ONE, BMP_LISTENER, POLL, MINE]);
    world.by_hand(2, &[MINE_OUT]);
    world.feed_up(0);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    world.end(0, P1, PRE, V4);
    world.feed_up(1);
    world.down(1, P1, DownCause::Deconfigured);
    world.at(200);
    world.sources(0, &[A]);
}

/// A peer's set is what that peer advertises to us: what another one announces, a more specific or the same, takes
/// nothing from it and adds nothing to it.
#[test]
fn a_hijack_through_another_peer_changes_nothing() {
    let two = ONE
        .replace("p1", "p2")
        .replace(P1, "192.0.2.12")
        .replace("64501", "64502");
    let mut world = World::new(&[ONE, &two, BMP_LISTENER, MINE]);
    world.by_hand(1, &[MINE_OUT]);
    world.feed_up(0);
    for address in [P1, "192.0.2.12"] {
        world.up(0, address);
    }
    world.announce(0, P1, PRE, A);
    world.end(0, P1, PRE, V4);
    let before = world.life.sources(filter_lifecycle::route::PeerId(0));
    for hijack in ["45.146.194.0/24", "45.146.195.0/24", A, "45.146.0.0/16"] {
        world.announce(0, "192.0.2.12", PRE, hijack);
    }
    world.end(0, "192.0.2.12", PRE, V4);
    world.enforcing(0);
    assert_eq!(
        world.life.sources(filter_lifecycle::route::PeerId(0)),
        before
    );
    world.withdraw(0, "192.0.2.12", PRE, A);
    world.at(100);
    assert_eq!(
        world.life.sources(filter_lifecycle::route::PeerId(0)),
        before
    );
    world.enforcing(0);
}

/// Four peers and one feed; the fourth is a peer whose AS is right all the time.
struct Mixed(World);

impl Mixed {
    const ADDRESSES: [&str; 4] = ["192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14"];

    /// Everything is as configured and enforced.
    fn new(more: &[&str]) -> Self {
        let peers: Vec<String> = (0..4)
            .map(|peer| {
                ONE.replace("p1", &format!("p{}", peer + 1))
                    .replace(P1, Self::ADDRESSES[peer])
                    .replace("64501", &format!("{}", 64501 + peer))
            })
            .collect();
        let extra = "mode = \"enforce\"\nextra_destinations = [\"198.51.100.0/24\"]";
        let peers = peers.join("\n").replace("mode = \"enforce\"", extra);
        let mut mixed = Self(World::new(&[&[&peers, BMP_LISTENER], more].concat()));
        mixed.0.feed_up(0);
        for peer in 0..4 {
            mixed.right(0, peer);
        }
        mixed.0.at(100);
        mixed.0.news();
        mixed
    }

    /// The session is up, with the configured AS or another, and its table is sent.
    fn up(&mut self, feed: u16, peer: usize, asn: u32) {
        let event = RouteEvent::SessionUp {
            router: 0,
            session: session(Self::ADDRESSES[peer]),
            asn: Some(Asn::new(asn)),
            restart_time: None,
            families: Some([true, false]),
            local: None,
        };
        self.0.tell(feed, event);
        let route = format!("45.{peer}.0.0/16");
        self.0.announce(feed, Self::ADDRESSES[peer], PRE, &route);
        self.0.end(feed, Self::ADDRESSES[peer], PRE, V4);
    }

    fn right(&mut self, feed: u16, peer: usize) {
        self.up(feed, peer, 64501 + peer as u32);
    }

    fn wrong(&mut self, feed: u16, peer: usize) {
        self.up(feed, peer, 65000);
    }

    /// Are `sources` of this peer granted?
    fn granted(&self, peer: u32) -> bool {
        self.0.granted(peer).meets(Classes::sources(V4))
    }

    fn all_granted(&self, expected: bool) {
        let granted = [0, 1, 2, 3].map(|peer| self.granted(peer));
        assert_eq!(granted, [expected; 4], "at {:?}", self.0.now);
    }

    /// How often each event was reported.
    fn received(&mut self) -> [usize; 3] {
        let names = self.0.names();
        ["asn-mismatch", "foreign-feed", "foreign-feed-over"]
            .map(|name| names.iter().filter(|each| **each == name).count())
    }
}

/// Two peers with another AS are two peers' affair; what is known of them stays for a day.
#[test]
fn fewer_peers_with_another_as_cost_nobody_else() {
    let mut mixed = Mixed::new(&[]);
    for peer in 0..FOREIGN_PEERS - 1 {
        mixed.wrong(0, peer);
    }
    assert_eq!(mixed.received(), [2, 0, 0]);
    mixed.0.wait(1000);
    mixed.all_granted(true);
    assert_eq!(mixed.0.life.foreign(FeedId(0)), None);
}

/// With a third the feed is another router's: as a lost feed for all of its peers, until it is the right one again.
#[test]
fn a_feed_of_another_router_counts_as_lost() {
    let mut mixed = Mixed::new(&[]);
    for peer in 0..FOREIGN_PEERS {
        mixed.wrong(0, peer);
    }
    assert_eq!(mixed.received(), [3, 1, 0]);
    assert_eq!(mixed.0.life.foreign(FeedId(0)), Some(3));
    let began = mixed.0.now;
    // Everything stays in force for `stale_hold`; reconnecting does not prolong that.
    mixed.0.wait(200);
    mixed.0.feed_down(0);
    mixed.0.feed_up(0);
    mixed.right(0, 3);
    for peer in 0..FOREIGN_PEERS {
        mixed.wrong(0, peer);
    }
    mixed.0.go(began + secs(299));
    mixed.all_granted(true);
    mixed.0.go(began + secs(301));
    mixed.all_granted(false);
    for peer in 0..4 {
        mixed.0.lacks(peer, Missing::FeedLost(Side::Sources, V4));
    }
    assert_eq!(mixed.received(), [3, 0, 0]);
    // One of them is the configured one again: the healthy one is in force, and those that are as configured.
    mixed.right(0, 0);
    mixed.0.wait(20);
    assert_eq!(mixed.received(), [0, 0, 1]);
    assert!(mixed.granted(0) && mixed.granted(3));
    assert_eq!(mixed.0.life.foreign(FeedId(0)), None);
    mixed.right(0, 1);
    mixed.right(0, 2);
    mixed.0.wait(20);
    mixed.all_granted(true);
}

/// What another feed carries does not leave.
#[test]
fn what_another_feed_carries_outlives_a_feed_of_another_router() {
    let mut mixed = Mixed::new(&[POLL]);
    mixed.0.feed_up(1);
    for peer in 0..4 {
        let (address, route) = (Mixed::ADDRESSES[peer], format!("45.{peer}.0.0/16"));
        mixed.0.up(1, address);
        mixed.0.snapshot(1, address, PRE, V4, &[&route]);
    }
    for peer in 0..FOREIGN_PEERS {
        mixed.wrong(0, peer);
    }
    mixed.0.wait(400);
    assert_eq!(mixed.0.life.foreign(FeedId(0)), Some(3));
    mixed.all_granted(true);
}
