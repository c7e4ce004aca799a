//! What left within the last day is named, and makes nothing valid.
use std::net::IpAddr;
use std::time::Duration;

use filter_lifecycle::route::{DownCause, PeerId};
use filter_lifecycle::{RECENT, Side};

use super::world::{PRE, World, secs};

const P1: &str = "192.0.2.11";
const A: &str = "45.146.194.0/23";
const B: &str = "100.0.0.0/16";
const IN_A: &str = "45.146.195.7";
const IN_B: &str = "100.0.0.1";

impl World {
    fn left(&self, address: &str) -> Option<(String, Duration)> {
        let address = address.parse::<IpAddr>().unwrap().into();
        let recent = self
            .life
            .recently_valid(self.now, PeerId(0), Side::Sources, address)?;
        Some((recent.prefix.to_string(), recent.ago))
    }
}

#[test]
fn what_left_is_named_for_a_day_and_dropped() {
    let mut world = World::synced(&[A, B]);
    world.at(100);
    world.withdraw(0, P1, PRE, A);
    world.at(129);
    assert_eq!(world.left(IN_A), None, "it is valid still");
    world.at(170);
    assert_eq!(world.left(IN_A), Some((A.to_owned(), secs(40))));
    assert_eq!(world.left("45.146.196.1"), None);
    assert_eq!(world.left(IN_B), None);
    world.drops(IN_A);
    world.down(0, P1, DownCause::Notification);
    world.at(300);
    assert_eq!(world.left(IN_B), Some((B.to_owned(), secs(10))));
    world.skip(secs(129) + RECENT);
    assert_eq!(world.left(IN_A), Some((A.to_owned(), RECENT - secs(1))));
    world.skip(secs(130) + RECENT);
    assert_eq!(world.left(IN_A), None);
    world.up(0, P1);
    world.announce(0, P1, PRE, A);
    assert_eq!(world.left(IN_A), None);
    world.passes(IN_A);
}
