//! Another peer's churn, however much, is nothing to a peer.
use filter_lifecycle::Missing;
use filter_lifecycle::{SETTLE, Side};

use super::world::{BMP_LISTENER, MINE, ONE, PRE, V4, World, secs};

const P1: &str = "192.0.2.11";
const P2: &str = "192.0.2.12";
const IN_A: &str = "45.146.194.1";

#[test]
fn anothers_new_prefixes_keep_no_peer_open() {
    let two = ONE
        .replace("p1", "p2")
        .replace(P1, P2)
        .replace("64501", "64502");
    let mut world = World::new(&[ONE, &two, BMP_LISTENER, MINE]);
    world.feed_up(0);
    world.by_hand(1, &["198.51.100.0/24"]);
    world.up(0, P2);
    world.announce(0, P2, PRE, "101.0.0.0/16");
    world.end(0, P2, PRE, V4);
    world.at(100);
    world.up(0, P1);
    world.announce(0, P1, PRE, "45.146.194.0/23");
    for second in 0..SETTLE.as_secs() {
        world.lacks(0, Missing::Loading(Side::Sources, V4));
        for number in 0..400 {
            let (high, low) = (second, number / 256);
            let prefix = format!("102.{}.{}.0/24", high * 2 + low, number % 256);
            world.announce(0, P2, PRE, &prefix);
        }
        world.wait(1);
    }
    world.go(secs(100) + SETTLE);
    world.enforcing(0);
    world.passes(IN_A);
    world.drops("8.8.8.8");
}
