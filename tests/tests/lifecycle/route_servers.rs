//! Route servers (issue: "routes from a route-server session belong to the member whose address is their
//! NEXT_HOP; our announcements to the server count for the members it serves").
use filter_lifecycle::route::{Community, DownCause, PeerId};
use filter_lifecycle::{Event, Missing, Side};

use super::world::{BMP_LISTENER, ONE, OUT, POLL, POST, PRE, V4, V6, World, prefix, session};

const RS: &str = "192.0.2.250";
const P1: &str = "192.0.2.11";
const P2: &str = "192.0.2.12";
const A: &str = "45.146.194.0/23";
const B: &str = "100.0.0.0/16";
const MINE_OUT: &str = "198.51.100.0/24";

fn server(serves: &str) -> String {
    format!(
        "[[route_server]]\nname = \"rs\"\nasn = 64511\ninterface = \"ixp0\"\naddresses = [\"{RS}\"]\nour_routes_reach = {serves}"
    )
}

fn world(serves: &str, second: &str) -> World {
    let two = format!(
        "{}{second}",
        ONE.replace("p1", "p2")
            .replace(P1, P2)
            .replace("64501", "64502")
    );
    let mut world = World::new(&[ONE, &two, &server(serves), BMP_LISTENER, POLL]);
    world.feed_up(0);
    world.up(0, RS);
    world
}

#[test]
fn a_route_is_the_next_hops() {
    let mut world = world("\"all\"", "");
    world.lacks(0, Missing::Loading(Side::Sources, V4));
    world.via(0, RS, PRE, A, P1);
    world.via(0, RS, PRE, B, P2);
    world.end(0, RS, PRE, V4);
    world.sources(0, &[A]);
    world.sources(1, &[B]);
    world.lacks(0, Missing::NotReceived(Side::Destinations, V4));
    world.announce(0, RS, OUT, MINE_OUT);
    world.end(0, RS, OUT, V4);
    for peer in [0, 1] {
        world.destinations(peer, &[MINE_OUT]);
        world.enforcing(peer);
    }
}

/// A prefix that moves to another member is the new one's at once, and the old one's for the hold.
#[test]
fn a_route_moves_to_another_member() {
    let mut world = world("\"all\"", "");
    world.via(0, RS, PRE, A, P1);
    world.at(10);
    world.via(0, RS, PRE, A, P2);
    world.sources(0, &[A]);
    world.sources(1, &[A]);
    world.at(41);
    world.sources(0, &[]);
    world.sources(1, &[A]);
    world.withdraw(0, RS, PRE, A);
    world.at(72);
    world.sources(1, &[]);
}

/// "next hops outside the LAN raise next-hop-rewritten"; a member we do not filter is no offence.
#[test]
fn next_hops_outside_the_lan() {
    let mut world = world("\"all\"", "");
    world.news();
    world.via(0, RS, PRE, A, "192.0.2.77");
    assert_eq!(world.names(), ["source-state"; 0]);
    world.via(0, RS, PRE, B, "203.0.113.1");
    world.via(0, RS, PRE, A, "203.0.113.1");
    let hop = "203.0.113.1".parse().unwrap();
    assert_eq!(
        world.news(),
        [Event::NextHopUnknown(session(RS), hop, prefix(B))]
    );
    world.sources(0, &[]);
    world.sources(1, &[]);
    // IPv6 over the same session, for members that have it.
    let both = ONE.replace("families = [\"ipv4\"]", "");
    let mut world = World::new(&[&both, &server("\"all\""), BMP_LISTENER]);
    world.feed_up(0);
    world.up(0, RS);
    let (c, d) = ("2a00:1::/32", "2a00:2::/32");
    world.via(0, RS, PRE, c, "2001:db8:ff::77");
    world.via(0, RS, PRE, c, "fe80::77");
    world.news();
    world.via(0, RS, PRE, d, "2001:db8:fe::99");
    let hop = "2001:db8:fe::99".parse().unwrap();
    assert_eq!(
        world.news(),
        [Event::NextHopUnknown(session(RS), hop, prefix(d))]
    );
}

/// A reload takes a member out of whom the server serves: what was in force for it waits for a table that no feed
/// can report, unless what the poll says of its own sessions counts.
#[test]
fn whom_nobody_can_tell_anything_is_not_waited_for() {
    let awaited = |world: &World, peer| {
        [Side::Sources, Side::Destinations]
            .map(|side| world.life.is_awaited(PeerId(peer), side, V4))
    };
    let mut world = world("[64501]", "");
    world.via(0, RS, PRE, A, P2);
    world.end(0, RS, PRE, V4);
    assert_eq!(awaited(&world, 1), [true, true], "its own session may come");
    world.feed_up(1);
    world.down(1, P1, DownCause::Deconfigured);
    world.down(1, P2, DownCause::Deconfigured);
    world.lacks(1, Missing::NotReceived(Side::Destinations, V4));
    assert_eq!(
        awaited(&world, 1),
        [true, false],
        "its routes come by the server"
    );
    assert_eq!(awaited(&world, 0), [true, true], "served");
    let v6 = world.life.is_awaited(PeerId(0), Side::Sources, V6);
    assert!(!v6, "a family it does not have");
    world.up(0, P2);
    assert_eq!(
        awaited(&world, 1),
        [true, true],
        "one feed says that it is up"
    );
    world.down(0, P2, DownCause::Notification);
    world.down(0, RS, DownCause::Lost);
    for peer in [0, 1] {
        assert_eq!(awaited(&world, peer), [false, false]);
    }
}

#[test]
fn bilateral_and_route_server_routes_are_one_set() {
    let mut world = world("\"all\"", "");
    world.via(0, RS, PRE, A, P1);
    world.end(0, RS, PRE, V4);
    world.announce(0, RS, OUT, MINE_OUT);
    world.end(0, RS, OUT, V4);
    world.up(0, P1);
    world.keeps(0, Missing::Loading(Side::Sources, V4));
    world.lacks(1, Missing::Empty(Side::Sources, V4));
    world.announce(0, P1, PRE, A);
    world.announce(0, P1, PRE, B);
    world.end(0, P1, PRE, V4);
    world.enforcing(0);
    world.withdraw(0, P1, PRE, A);
    world.wait(31);
    world.sources(0, &[A, B]);
    world.down(0, RS, DownCause::Lost);
    world.wait(121);
    world.sources(0, &[B]);
    world.keeps(0, Missing::SessionDown(Side::Destinations, V4));
}

/// Whom our announcements to the server reach: all, none, some, or whom their communities name.
#[test]
fn served_members() {
    for (serves, first, second) in [
        ("\"all\"", true, true),
        ("\"none\"", false, false),
        ("[64501]", true, false),
        ("\"communities\"", true, true),
    ] {
        let mut world = world(serves, "");
        world.announce(0, RS, OUT, MINE_OUT);
        world.end(0, RS, OUT, V4);
        for (peer, served) in [(0, first), (1, second)] {
            world.destinations(peer, if served { &[MINE_OUT] } else { &[] });
            let received = world.states(peer).iter().any(|(rib, ..)| *rib == OUT);
            assert_eq!(received, served, "{serves} {peer}");
        }
    }
}

#[test]
fn communities_scope_and_rescope_an_announcement() {
    let mut world = world("\"communities\"", "");
    let (not_first, only_first) = (
        [Community::Standard(0, 64501)],
        [
            Community::Standard(0, 64511),
            Community::Standard(64511, 64501),
        ],
    );
    world.scoped(0, RS, MINE_OUT, &not_first);
    world.destinations(0, &[]);
    world.destinations(1, &[MINE_OUT]);
    world.life.take_dirty();
    world.scoped(0, RS, MINE_OUT, &not_first);
    assert!(!world.dirty(), "the same");
    world.at(10);
    world.scoped(0, RS, MINE_OUT, &only_first);
    world.destinations(0, &[MINE_OUT]);
    world.destinations(1, &[MINE_OUT]);
    world.at(41);
    world.destinations(0, &[MINE_OUT]);
    world.destinations(1, &[]);
    world.withdraw(0, RS, OUT, MINE_OUT);
    world.at(72);
    world.destinations(0, &[]);
}

/// Each member has its own view: the other view's table of the server is none of its business.
#[test]
fn members_with_different_views() {
    let mut world = world("\"all\"", "view = \"post-policy\"");
    world.via(0, RS, PRE, A, P1);
    world.via(0, RS, PRE, A, P2);
    world.via(0, RS, POST, B, P2);
    world.end(0, RS, POST, V4);
    world.sources(0, &[A]); // the last announcement of A is P2's, whose view is another: P1 holds it no longer
    world.wait(31);
    world.sources(0, &[]);
    world.sources(1, &[B]);
    world.lacks(1, Missing::NotReceived(Side::Destinations, V4));
    assert_eq!(world.states(0).len(), 1);
    assert_eq!(world.states(1).len(), 1);
}
