//! What one member of a route server announces never counts for another.
use filter_core::Asn;
use filter_lifecycle::route::{PathHead, Route};

use super::world::{BMP_LISTENER, MINE, ONE, PRE, V4, World, prefix};

const RS: &str = "192.0.2.250";
const P1: &str = "192.0.2.11";
const P2: &str = "192.0.2.12";
const A: &str = "45.146.194.0/23";
const B: &str = "100.0.0.0/16";
const IN_A: &str = "45.146.194.1";
const IN_B: &str = "100.0.0.1";

const SERVER: &str = "[[route_server]]\nname = \"rs\"\nasn = 64511\ninterface = \"ixp0\"\naddresses = [\"192.0.2.250\"]\nour_routes_reach = \"none\"\n";

/// Two members of a route server, whose session is up.
fn members() -> World {
    let two = ONE
        .replace("p1", "p2")
        .replace(P1, P2)
        .replace("64501", "64502");
    let mut world = World::new(&[ONE, &two, SERVER, BMP_LISTENER, MINE]);
    world.feed_up(0);
    world.by_hand(1, &["198.51.100.0/24"]);
    world.up(0, RS);
    world
}

impl World {
    /// The route server announces a prefix by the first member's router, with this AS_PATH.
    fn by_p1(&mut self, text: &str, path: Option<&[u32]>) {
        let path_head = path.map(|ases| PathHead::of(ases.iter().copied().map(Asn::new)));
        let route = Route {
            next_hop: Some(P1.parse().unwrap()),
            path_head,
            ..Route::bare(prefix(text))
        };
        self.route(0, RS, PRE, route);
    }
}

/// "those route-server routes whose NEXT_HOP is an address of p and whose first AS is p's (after our own or the route
/// server's, where feed or server put that in front)".
#[test]
fn a_route_servers_route_counts_for_the_member_that_it_begins_with() {
    let mut world = members();
    world.by_p1(A, Some(&[64501, 64999]));
    world.by_p1(B, Some(&[64502, 64501]));
    world.end(0, RS, PRE, V4);
    world.enforcing(0);
    world.passes(IN_A);
    world.drops(IN_B);
    world.sources(1, &[]);
    let differing = |world: &mut World| {
        let names = world.names();
        names
            .iter()
            .filter(|name| **name == "first-as-differs")
            .count()
    };
    assert_eq!(differing(&mut world), 1);
    for path in [&[64502][..], &[64511, 64502], &[64511, 64500, 64501], &[]] {
        world.by_p1(B, Some(path));
        world.drops(IN_B);
    }
    assert_eq!(differing(&mut world), 0, "reported once");
    for path in [&[64511, 64501][..], &[64500, 64511, 64501, 64501]] {
        world.by_p1(B, Some(path));
        world.passes(IN_B);
    }
    // It is another's again: it leaves like a withdrawn one.
    world.by_p1(B, Some(&[64502]));
    world.passes(IN_B);
    world.wait(31);
    world.drops(IN_B);
    // Of a feed that reports no AS_PATH the next hop decides.
    world.by_p1(B, None);
    world.passes(IN_B);
}
