//! The networks whose policies started this, as the lifecycle sees them. AS57965: two prefixes per family, a
//! third freezes. AS214312: IPv6 only.
use filter_lifecycle::route::{DownCause, PeerId};
use filter_lifecycle::{Event, Missing, Side};

use super::world::{BMP_LISTENER, MINE, PRE, V4, V6, World};

const ICRC: &str = r#"
[[peer]]
name = "p1"
asn = 57965
interface = "ixp0"
addresses = ["192.0.2.10", "2001:db8:ff::10"]
max_prefixes = { ipv4 = 2, ipv6 = 2 }
mode = "enforce"
"#;
const FOUR: &str = "192.0.2.10";
const SIX: &str = "2001:db8:ff::10";

fn icrc() -> World {
    let mut world = World::new(&[ICRC, BMP_LISTENER, MINE]);
    world.by_hand(1, &["198.51.100.0/24", "2001:db8:100::/40"]);
    world.feed_up(0);
    world.up(0, FOUR);
    world.up(0, SIX);
    world.announce(0, FOUR, PRE, "45.146.194.0/23");
    world.announce(0, SIX, PRE, "2a13:47c0:146::/48");
    world.end(0, FOUR, PRE, V4);
    world.end(0, SIX, PRE, V6);
    world.enforcing(0);
    world.news();
    world.life.take_dirty();
    world
}

#[test]
fn as57965_two_prefixes_per_family_and_a_third_freezes() {
    let mut world = icrc();
    for (address, family, second, third, two) in [
        (
            FOUR,
            V4,
            "45.146.194.0/24",
            "45.146.195.0/24",
            &["45.146.194.0/23", "45.146.194.0/24"],
        ),
        (
            SIX,
            V6,
            "2a13:47c0:147::/48",
            "2a13:47c0:148::/48",
            &["2a13:47c0:146::/48", "2a13:47c0:147::/48"],
        ),
    ] {
        let of_family = |world: &World| -> Vec<String> {
            let sources = world.wanted(0, Side::Sources).into_iter();
            sources
                .filter(|prefix| prefix.family() == family)
                .map(|prefix| prefix.to_string())
                .collect()
        };
        world.announce(0, address, PRE, second);
        assert!(world.dirty());
        assert_eq!(of_family(&world), two, "the second one is good");
        assert_eq!(world.news(), []);
        world.announce(0, address, PRE, third);
        assert_eq!(of_family(&world), two, "the third one widens nothing");
        world.enforcing(0);
        let peer = PeerId(0);
        assert_eq!(
            world.news(),
            [Event::MaxPrefixExceeded {
                peer,
                family,
                prefixes: 3,
                limit: 2
            }]
        );
        assert_eq!(world.status(0).frozen, [family]);
        world.wait(3600);
        assert_eq!(of_family(&world), two);
        world.withdraw(0, address, PRE, third);
        assert_eq!(world.news(), [Event::MaxPrefixCleared(peer, family)]);
        assert_eq!(world.status(0).frozen, []);
        world.wait(31);
        assert_eq!(of_family(&world), two);
        world.enforcing(0);
    }
}

/// A refused prefix counts towards the limit, as it does for the router's own.
#[test]
fn as57965_a_third_prefix_that_is_refused() {
    let mut world = icrc();
    world.announce(0, FOUR, PRE, "45.146.194.0/24");
    world.announce(0, FOUR, PRE, "0.0.0.0/0");
    assert_eq!(world.names(), ["prefix-refused", "max-prefix-exceeded"]);
    assert_eq!(world.status(0).frozen, [V4]);
    world.announce(0, FOUR, PRE, "45.146.195.0/24");
    world.sources(
        0,
        &["45.146.194.0/23", "45.146.194.0/24", "2a13:47c0:146::/48"],
    );
}

/// A limit of the router that closes the session leaves no empty table to enforce.
#[test]
fn as57965_a_session_that_the_router_closes() {
    let mut world = icrc();
    world.announce(0, FOUR, PRE, "45.146.194.0/24");
    world.announce(0, FOUR, PRE, "45.146.195.0/24");
    world.down(0, FOUR, DownCause::Notification);
    world.keeps(0, Missing::SessionDown(Side::Sources, V4));
    world.wait(200);
    world.keeps(0, Missing::SessionDown(Side::Sources, V4));
    world.sources(0, &["2a13:47c0:146::/48"]);
    world.up(0, FOUR);
    world.announce(0, FOUR, PRE, "45.146.194.0/23");
    world.wait(16);
    world.enforcing(0);
}

/// AS57965's policy: the next hop is the neighbour.
#[test]
fn as57965_next_hops() {
    let mut world = icrc();
    world.via(0, FOUR, PRE, "45.146.194.0/23", "192.0.2.66");
    assert_eq!(world.names(), ["next-hop-rewritten"]);
}

#[test]
fn as214312_is_ipv6_only() {
    let peer = "[[peer]]\nname = \"p1\"\nasn = 214312\ninterface = \"ixp0\"\naddresses = [\"192.0.2.20\", \"2001:db8:ff::20\"]\nfamilies = [\"ipv6\"]\nmode = \"enforce\"\nmax_prefixes = { ipv4 = 1, ipv6 = 2 }";
    let mut world = World::new(&[peer, BMP_LISTENER, MINE]);
    world.by_hand(1, &["198.51.100.0/24", "2001:db8:100::/40"]);
    world.feed_up(0);
    world.up(0, "2001:db8:ff::20");
    world.announce(0, "2001:db8:ff::20", PRE, "2a06:de00::/29");
    world.end(0, "2001:db8:ff::20", PRE, V6);
    world.enforcing(0);
    world.news();
    world.life.take_dirty();
    // Whatever comes of IPv4, and whatever goes, is none of its business.
    for address in ["2001:db8:ff::20", "192.0.2.20"] {
        world.up(0, address);
        world.announce(0, address, PRE, "45.146.194.0/23");
        world.announce(0, address, PRE, "10.0.0.0/8");
        world.announce(0, address, PRE, "0.0.0.0/0");
        world.end(0, address, PRE, V4);
        world.count(0, address, PRE, Some(V4), 77);
        world.unreadable(0, address, PRE);
    }
    world.announce(0, "2001:db8:ff::20", PRE, "2a06:de00::/29");
    world.end(0, "2001:db8:ff::20", PRE, V6);
    world.wait(60);
    world.sources(0, &["2a06:de00::/29"]);
    world.destinations(0, &["2001:db8:100::/40"]);
    let status = world.status(0);
    assert_eq!((status.refused, status.frozen), (0, vec![]));
    assert!(world.states(0).iter().all(|(_, family, _)| *family == V6));
    let names = world.names();
    assert!(
        !names.contains(&"max-prefix-exceeded") && !names.contains(&"prefix-refused"),
        "{names:?}"
    );
    world.enforcing(0);
}
