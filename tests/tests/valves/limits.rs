//! A limit freezes growth until what is received fits, and withdrawals go on.
use super::world::{BMP_LISTENER, MINE, ONE, PRE, V4, World};

const P1: &str = "192.0.2.11";
const GOOD: [&str; 2] = ["45.146.194.0/23", "100.0.0.0/16"];
const MORE: [&str; 3] = ["101.0.0.0/16", "102.0.0.0/16", "103.0.0.0/16"];

/// A peer with a limit of two and two prefixes that announces three more.
fn over() -> World {
    let limited = format!("{ONE}max_prefixes = {{ ipv4 = 2 }}");
    let mut world = World::new(&[&limited, BMP_LISTENER, MINE]);
    world.feed_up(0);
    world.by_hand(1, &["198.51.100.0/24"]);
    world.up(0, P1);
    for prefix in GOOD {
        world.announce(0, P1, PRE, prefix);
    }
    world.end(0, P1, PRE, V4);
    world.at(10);
    for prefix in MORE {
        world.announce(0, P1, PRE, prefix);
    }
    assert_eq!(world.status(0).frozen, [V4]);
    world
}

#[test]
fn over_the_limit_nothing_grows_and_withdrawals_go_on() {
    let mut world = over();
    world.passes("45.146.194.1");
    world.passes("100.0.0.1");
    world.drops("101.0.0.1");
    world.withdraw(0, P1, PRE, GOOD[0]);
    world.at(39);
    world.passes("45.146.194.1");
    world.at(41);
    world.drops("45.146.194.1");
    world.passes("100.0.0.1");
    world.drops("101.0.0.1");
    world.enforcing(0);
}

#[test]
fn within_the_limit_again_everything_counts() {
    let mut world = over();
    for prefix in &MORE[1..] {
        world.withdraw(0, P1, PRE, prefix);
    }
    world.drops("101.0.0.1");
    world.withdraw(0, P1, PRE, GOOD[1]);
    world.passes("101.0.0.1");
    world.at(41);
    world.sources(0, &[GOOD[0], MORE[0]]);
    assert_eq!(world.status(0).over_limit, []);
}

/// Without a last good table what is received is in force: it still drops the rest.
#[test]
fn an_emptied_set_is_no_last_good_table() {
    let mut world = over();
    for prefix in GOOD {
        world.withdraw(0, P1, PRE, prefix);
    }
    world.at(41);
    world.sources(0, &MORE);
    world.passes("101.0.0.1");
    for source in ["45.146.194.1", "8.8.8.8"] {
        world.drops(source);
    }
    let status = world.status(0);
    assert_eq!((status.over_limit, status.frozen), (vec![V4], vec![]));
}
