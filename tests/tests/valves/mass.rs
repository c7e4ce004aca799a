//! At least three peers', and most, sessions of one router go down within five seconds: that is the router, not its peers.
use filter_core::Classes;
use filter_lifecycle::route::{DownCause, RouteEvent};

use super::world::{BMP_LISTENER, MINE, PRE, V4, World, session};

const SESSIONS: [&str; 5] = [
    "192.0.2.11",
    "192.0.2.12",
    "192.0.2.13",
    "192.0.2.14",
    "192.0.2.15",
];

/// So many peers with one session each, all complete.
fn peers(count: usize) -> World {
    let peer = |number: usize| {
        format!(
            "[[peer]]\nname = \"p{number}\"\nasn = 6450{number}\ninterface = \"ixp0\"\naddresses = [\"{}\"]\nfamilies = [\"ipv4\"]\nmode = \"enforce\"\n",
            SESSIONS[number - 1]
        )
    };
    let peers: String = (1..=count).map(peer).collect();
    let mut world = World::new(&[&peers, BMP_LISTENER, MINE]);
    world.feed_up(0);
    world.by_hand(1, &["198.51.100.0/24"]);
    for (number, session) in SESSIONS.iter().take(count).enumerate() {
        world.up(0, session);
        world.announce(0, session, PRE, &source(number));
        world.end(0, session, PRE, V4);
    }
    world.at(20);
    world
}

fn source(number: usize) -> String {
    format!("100.{number}.0.0/16")
}

/// "sessions of one router": of five, three that end together are most of one router's, or of neither.
#[test]
fn routers_of_one_listener_are_counted_apart() {
    for (routers, is_loss) in [([1, 1, 1, 2, 2], true), ([1, 1, 2, 2, 2], false)] {
        let mut world = peers(5);
        world.at(40);
        for (session, router) in SESSIONS.iter().zip(routers) {
            world.up_by(router, session);
        }
        for (number, session) in SESSIONS.iter().enumerate() {
            world.announce(0, session, PRE, &source(number));
        }
        world.go_down(100, 3, 0);
        world.at(100 + 121);
        for peer in 0..3 {
            world.has(peer, is_loss);
        }
    }
}

impl World {
    /// The session comes up on one of the listener's routers.
    fn up_by(&mut self, router: u64, address: &str) {
        let event = RouteEvent::SessionUp {
            session: session(address),
            asn: None,
            restart_time: None,
            families: None,
            local: None,
            router,
        };
        self.tell(0, event);
    }

    /// These sessions go down, this many seconds apart; those peers' sources are there until then.
    fn go_down(&mut self, start: u64, count: usize, apart: u64) {
        for (number, session) in (0..).zip(SESSIONS.iter().take(count)) {
            self.at(start + apart * number);
            self.down(0, session, DownCause::Notification);
        }
    }

    #[track_caller]
    fn has(&self, peer: usize, there: bool) {
        let expected = there.then(|| source(peer));
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        self.sources(peer as u32, &expected);
    }
}

#[test]
fn sessions_that_end_together_are_the_routers_loss() {
    let mut world = peers(5);
    world.go_down(100, 3, 2);
    for (peer, at) in [(0, 100), (1, 102), (2, 104)] {
        world.at(at + 299);
        world.has(peer, true);
        world.at(at + 301);
        world.has(peer, false);
    }
    world.has(3, true);
    for peer in 0..5 {
        assert!(world.granted(peer).meets(Classes::sources(V4)), "{peer}");
    }
}

#[test]
fn fewer_sessions_or_slower_ones_are_their_peers() {
    for (count, down, apart) in [
        (5, 2, 0), // not three
        (3, 3, 3), // not within five seconds
    ] {
        let mut world = peers(count);
        world.go_down(100, down, apart);
        for peer in 0..down {
            world.at(100 + apart * peer as u64 + 121);
            world.has(peer, false);
        }
    }
}
