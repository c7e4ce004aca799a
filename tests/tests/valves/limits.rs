//! A limit freezes growth until what is received fits, and withdrawals go on.
use std::sync::Arc;

use filter_core::Classes;
use filter_lifecycle::route::{FeedId, PeerId, Route, RouteEvent};
use filter_lifecycle::{
    Coverage, JUMP_MEMORY, JUMP_STANDS, KeptCoverage, Lifecycle, Side, Standing,
};

use super::world::{BMP_LISTENER, MINE, ONE, PRE, V4, World, origin, prefix, secs, set, spec_of};

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

/// "Limits apply per session": what one session has too much of costs the other nothing.
#[test]
fn each_session_has_a_limit_of_its_own() {
    const P1B: &str = "192.0.2.21";
    let limited = format!("{ONE}max_prefixes = {{ ipv4 = 2 }}")
        .replace("[\"192.0.2.11\"]", "[\"192.0.2.11\", \"192.0.2.21\"]");
    let mut world = World::new(&[&limited, BMP_LISTENER, MINE]);
    world.feed_up(0);
    world.by_hand(1, &["198.51.100.0/24"]);
    for (session, prefix) in [(P1, GOOD[0]), (P1B, GOOD[1])] {
        world.up(0, session);
        world.announce(0, session, PRE, prefix);
        world.end(0, session, PRE, V4);
    }
    world.at(10);
    for prefix in MORE {
        world.announce(0, P1B, PRE, prefix);
    }
    world.sources(0, &[GOOD[0], GOOD[1], MORE[0]]);
    assert_eq!(world.status(0).frozen, [V4]);
    world.announce(0, P1, PRE, "104.0.0.0/16");
    world.passes("104.0.0.1");
    world.drops("102.0.0.1");
    world.enforcing(0);
}

/// "and per route-server member": what one member has too much of costs the others nothing, and not even its own session.
#[test]
fn each_member_of_a_route_server_has_a_limit_of_its_own() {
    const RS: &str = "192.0.2.250";
    const P2: &str = "192.0.2.12";
    let limited = |name: &str, address: &str, asn: &str| {
        let peer = ONE.replace("p1", name).replace(P1, address);
        format!(
            "{}max_prefixes = {{ ipv4 = 2 }}\n",
            peer.replace("64501", asn)
        )
    };
    let (one, two) = (limited("p1", P1, "64501"), limited("p2", P2, "64502"));
    let server = format!(
        "[[route_server]]\nname = \"rs\"\nasn = 64511\ninterface = \"ixp0\"\naddresses = [\"{RS}\"]\nour_routes_reach = \"none\"\n"
    );
    let mut world = World::new(&[&one, &two, &server, BMP_LISTENER, MINE]);
    world.feed_up(0);
    world.by_hand(1, &["198.51.100.0/24"]);
    world.up(0, RS);
    world.via(0, RS, PRE, GOOD[0], P1);
    world.via(0, RS, PRE, "104.0.0.0/16", P2);
    world.end(0, RS, PRE, V4);
    world.at(10);
    for number in 0..100 {
        world.via(0, RS, PRE, &format!("105.{number}.0.0/16"), P2);
    }
    world.via(0, RS, PRE, GOOD[1], P1);
    world.sources(0, &GOOD);
    world.sources(1, &["104.0.0.0/16", "105.0.0.0/16"]);
    assert_eq!(
        (world.status(0).over_limit, world.status(1).frozen),
        (vec![], vec![V4])
    );
    world.passes("100.0.0.1");
    world.drops("105.0.0.1");
}

/// "A jump is measured against the largest set of the last day": no growth at once to many times that, and withdrawals go on.
#[test]
fn a_leak_of_much_of_the_internet_is_growth_that_freezes() {
    let mut world = World::synced(&GOOD);
    world.at(20);
    world.passes("100.0.0.1");
    let leak = || (1..100).filter(|first| *first != 10);
    for first in leak() {
        world.announce(0, P1, PRE, &format!("{first}.0.0.0/8"));
    }
    world.drops("8.8.8.8");
    world.passes("100.0.0.1");
    assert_eq!(world.status(0).too_wide, [V4]);
    // What does not count is listed so, and an address in it is not called valid.
    for (text, counts) in [("8.0.0.0/8", false), (GOOD[1], true)] {
        let listed = world
            .life
            .listing(world.now, PeerId(0), Side::Sources, Some(prefix(text)));
        let standing = listed.prefixes[0].standing;
        assert_eq!(standing == Standing::Valid, counts, "{text}");
        assert_eq!(standing == Standing::NotCounted, !counts, "{text}");
    }
    world.withdraw(0, P1, PRE, GOOD[1]);
    world.wait(31);
    world.drops("100.0.0.1");
    world.announce(0, P1, PRE, "100.0.0.0/8");
    world.drops("100.0.0.1");
    let gone = prefix("100.0.0.1/32").address();
    let recent = world
        .life
        .recently_valid(world.now, PeerId(0), Side::Sources, gone);
    assert!(recent.is_some_and(|recent| recent.prefix == prefix(GOOD[1])));
    // It fits again: then growth counts as ever.
    world.withdraw(0, P1, PRE, "100.0.0.0/8");
    for first in leak() {
        world.withdraw(0, P1, PRE, &format!("{first}.0.0.0/8"));
    }
    world.announce(0, P1, PRE, MORE[0]);
    world.wait(31);
    world.passes("101.0.0.1");
    world.drops("8.8.8.8");
    assert_eq!(world.status(0).too_wide, []);
}

/// A jump in steps, each published as the daemon does, is measured against what stood for an hour; and a session that is
/// complete for the first time is no way around.
#[test]
fn a_jump_in_steps_is_one_and_growth_that_stands_is_none() {
    const SECOND: &str = "192.0.2.21";
    let two = ONE.replace("[\"192.0.2.11\"]", "[\"192.0.2.11\", \"192.0.2.21\"]");
    let mut world = World::new(&[&two, BMP_LISTENER, MINE]);
    world.feed_up(0);
    world.by_hand(1, &["198.51.100.0/24"]);
    world.up(0, P1);
    world.announce(0, P1, PRE, "100.0.0.0/11");
    world.end(0, P1, PRE, V4);
    world.at(20);
    world.passes("100.0.0.1");
    world.announce(0, P1, PRE, "101.0.0.0/8");
    world.passes("101.0.0.1");
    world.announce(0, P1, PRE, "102.0.0.0/8");
    world.drops("102.0.0.1");
    assert_eq!(world.status(0).too_wide, [V4]);
    world.withdraw(0, P1, PRE, "102.0.0.0/8");
    world.wait(40);
    world.up(0, SECOND);
    world.announce(0, SECOND, PRE, "103.0.0.0/8");
    world.end(0, SECOND, PRE, V4);
    world.wait(60);
    world.drops("103.0.0.1");
    world.passes("101.0.0.1");
    // After an hour what it grew to is what growth is measured against.
    world.skip(world.now + JUMP_STANDS);
    for source in ["101.0.0.1", "103.0.0.1"] {
        world.passes(source);
    }
    assert!(world.status(0).too_wide.is_empty());
}

/// What was large within the last day may be so again: a full table that its session took away.
#[test]
fn a_large_table_that_comes_back_is_no_jump() {
    let all: Vec<String> = (1..100)
        .filter(|first| *first != 10)
        .map(|first| format!("{first}.0.0.0/8"))
        .collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for (after, comes_back) in [(JUMP_MEMORY / 2, true), (2 * JUMP_MEMORY, false)] {
        let mut world = World::synced(&all);
        world.at(20);
        world.passes("8.8.8.8");
        world.announce(0, P1, PRE, GOOD[0]);
        for prefix in &all {
            world.withdraw(0, P1, PRE, prefix);
        }
        world.at(60);
        world.drops("8.8.8.8");
        world.skip(after);
        world.drops("8.8.8.8");
        for prefix in &all {
            world.announce(0, P1, PRE, prefix);
        }
        match comes_back {
            true => world.passes("8.8.8.8"),
            false => world.drops("8.8.8.8"),
        }
        assert!(world.granted(0).meets(Classes::sources(V4)));
    }
}

/// "The freeze survives restarts": in whatever order the feeds report, nothing counts but what was good, until all of it fits.
#[test]
fn a_freeze_survives_a_restart() {
    let frozen = over().life.frozen(PeerId(0));
    assert_eq!(frozen, set(&GOOD));
    let limited = format!("{ONE}max_prefixes = {{ ipv4 = 2 }}");
    let mut world = World::new(&[&limited, BMP_LISTENER, MINE]);
    world.life.restore_frozen(PeerId(0), frozen.clone());
    assert_eq!(
        world.life.frozen(PeerId(0)),
        frozen,
        "before anything is received"
    );
    world.feed_up(0);
    world.by_hand(1, &["198.51.100.0/24"]);
    world.up(0, P1);
    for prefix in MORE.iter().chain(&GOOD) {
        world.announce(0, P1, PRE, prefix);
    }
    world.sources(0, &GOOD);
    world.end(0, P1, PRE, V4);
    world.at(10);
    world.enforcing(0);
    world.drops("101.0.0.1");
    assert_eq!(
        (world.status(0).frozen, world.life.frozen(PeerId(0))),
        (vec![V4], frozen)
    );
    for prefix in &MORE[1..] {
        world.withdraw(0, P1, PRE, prefix);
    }
    world.withdraw(0, P1, PRE, GOOD[1]);
    world.passes("101.0.0.1");
    world.at(41);
    world.sources(0, &[GOOD[0], MORE[0]]);
    assert!(world.life.frozen(PeerId(0)).is_empty());
}

/// Within the limit when it is received anew: the end of a freeze that an earlier process reported is reported, so that
/// nothing is kept of it for the next process; and a freeze that goes on is no news.
#[test]
fn a_freeze_that_ended_over_a_restart_is_reported_to_have_ended() {
    let frozen = over().life.frozen(PeerId(0));
    let limited = format!("{ONE}max_prefixes = {{ ipv4 = 2 }}");
    let both = [&GOOD[..], &MORE].concat();
    for (received, expected) in [(&GOOD[..], vec!["max-prefix-cleared"]), (&both, vec![])] {
        let mut world = World::new(&[&limited, BMP_LISTENER, MINE]);
        world.life.restore_frozen(PeerId(0), frozen.clone());
        world.feed_up(0);
        world.by_hand(1, &["198.51.100.0/24"]);
        world.up(0, P1);
        for prefix in received {
            world.announce(0, P1, PRE, prefix);
        }
        let mut names = world.names();
        assert!(!names.iter().any(|name| name.starts_with("max-prefix")));
        world.end(0, P1, PRE, V4);
        world.at(10);
        names = world.names();
        names.retain(|name| name.starts_with("max-prefix"));
        assert_eq!(names, expected);
        assert_eq!(world.life.frozen(PeerId(0)).is_empty(), received.len() <= 2);
    }
}

/// The same where another specification is taken in force: nothing is published before all is received anew.
#[test]
fn a_jump_is_measured_across_a_reload() {
    let mut before = World::synced(&GOOD);
    before.at(20);
    before.passes("100.0.0.1");
    let leak: Vec<String> = (1..100)
        .filter(|first| *first != 10)
        .map(|first| format!("{first}.0.0.0/8"))
        .collect();
    for (restored, leaks) in [(true, false), (false, true)] {
        let mut life = Lifecycle::new(Arc::new(spec_of(&[ONE, BMP_LISTENER, MINE])));
        if restored {
            life.restore_coverage(PeerId(0), before.life.coverage(PeerId(0)));
        }
        let origin = origin(P1);
        let announced =
            leak.iter()
                .map(String::as_str)
                .chain(GOOD)
                .map(|text| RouteEvent::Announce {
                    origin,
                    rib: PRE,
                    route: Route::bare(prefix(text)),
                });
        let end = RouteEvent::EndOfRib {
            origin,
            rib: PRE,
            family: V4,
        };
        let events = std::iter::once(RouteEvent::FeedUp).chain(announced);
        for event in events.chain([end]) {
            life.event(secs(30), FeedId(0), &event);
        }
        life.settle(secs(30));
        let sources = life.sources(PeerId(0));
        assert!(sources.contains(prefix("100.0.0.1/32").address()));
        assert_eq!(sources.contains(prefix("8.8.8.8/32").address()), leaks);
    }
}

/// A /8 and ninety-eight more that its sources jump to.
fn leak() -> impl Iterator<Item = String> {
    let firsts = (1..100).filter(|first| *first != 10);
    firsts.map(|first| format!("{first}.0.0.0/8"))
}

/// A peer that is frozen because of how much it covers.
fn leaking() -> World {
    let mut world = World::synced(&GOOD);
    world.at(20);
    world.passes("100.0.0.1");
    for prefix in leak() {
        world.announce(0, P1, PRE, &prefix);
    }
    world.drops("8.8.8.8");
    world
}

/// "The freeze survives restarts" holds for the coverage too: while the feeds report anew, in whatever order, nothing counts
/// but what was good, until what is known fits.
#[test]
fn a_freeze_by_coverage_survives_a_restart() {
    let mut before = leaking();
    let good = before.life.too_wide(PeerId(0));
    let expected = [&GOOD[..], &["192.0.2.11/32"]].concat();
    assert_eq!(
        good.iter()
            .copied()
            .collect::<std::collections::BTreeSet<_>>(),
        set(&expected)
    );
    let mut world = World::new(&[ONE, BMP_LISTENER, MINE]);
    let kept = KeptCoverage {
        frozen: good.clone(),
        ..KeptCoverage::default()
    };
    world
        .life
        .restore_coverage(PeerId(0), Coverage::recalled(world.now, kept));
    assert_eq!(
        world.life.too_wide(PeerId(0)),
        good,
        "before anything is received"
    );
    world.feed_up(0);
    world.by_hand(1, &["198.51.100.0/24"]);
    world.up(0, P1);
    for prefix in leak() {
        world.announce(0, P1, PRE, &prefix);
    }
    for prefix in GOOD {
        world.announce(0, P1, PRE, prefix);
    }
    let covers = |world: &mut World, host| {
        let sources = world.life.sources(PeerId(0));
        sources.contains(prefix(host).address())
    };
    assert!(!covers(&mut world, "8.8.8.8/32"), "not known yet");
    world.end(0, P1, PRE, V4);
    world.at(20);
    world.drops("8.8.8.8");
    world.passes("100.0.0.1");
    assert_eq!(world.status(0).too_wide, [V4]);
    assert!(!world.names().contains(&"coverage-cleared"));
    for prefix in leak() {
        world.withdraw(0, P1, PRE, &prefix);
    }
    world.wait(31);
    world.announce(0, P1, PRE, MORE[0]);
    world.passes("101.0.0.1");
    world.passes("100.0.0.1");
    assert_eq!(world.status(0).too_wide, []);
    assert!(
        world.names().contains(&"coverage-cleared"),
        "so that it is kept no longer"
    );
    assert_eq!(world.life.too_wide(PeerId(0)), []);
    assert_eq!(before.life.accept_growth(PeerId(0)), [V4]);
}

/// A restart that the peer waits for, or causes, makes no room: what it announces then is measured against what stood before, as
/// long as that is remembered, and freezes to what was good. The time in which it was announced to no daemon is no time.
#[test]
fn what_growth_is_measured_against_survives_a_restart() {
    let mut before = World::synced(&GOOD);
    before.at(20);
    before.passes("100.0.0.1");
    let kept = |world: &World| KeptCoverage {
        frozen: world.life.too_wide(PeerId(0)),
        good: world.life.good_sources(PeerId(0)),
        measures: world.life.measures(world.now, PeerId(0)),
    };
    let known = kept(&before);
    assert_eq!((known.frozen.len(), known.good.len()), (0, 3));
    for (kept, is_frozen) in [(known, true), (KeptCoverage::default(), false)] {
        let mut world = World::new(&[ONE, BMP_LISTENER, MINE]);
        let recalled = Coverage::recalled(world.now, kept.clone());
        world.life.restore_coverage(PeerId(0), recalled);
        let lasting = world.life.measures(world.now, PeerId(0));
        assert_eq!(lasting, kept.measures, "before anything is received");
        assert_eq!(world.life.good_sources(PeerId(0)), kept.good);
        world.feed_up(0);
        world.by_hand(1, &["198.51.100.0/24"]);
        world.up(0, P1);
        for prefix in leak().chain(GOOD.map(str::to_owned)) {
            world.announce(0, P1, PRE, &prefix);
        }
        world.end(0, P1, PRE, V4);
        world.at(20);
        world.passes("100.0.0.1");
        if is_frozen {
            world.drops("8.8.8.8");
            assert_eq!(world.status(0).too_wide, [V4]);
        } else {
            world.passes("8.8.8.8");
        }
        // It is frozen for no longer than it leaks, and its own growth goes on.
        for prefix in leak() {
            world.withdraw(0, P1, PRE, &prefix);
        }
        world.wait(31);
        world.announce(0, P1, PRE, MORE[0]);
        world.passes("101.0.0.1");
        world.drops("8.8.8.8");
        assert_eq!(world.status(0).too_wide, []);
    }
}

/// The operator's word ends it, without a restart; and growth beyond what was accepted is measured again.
#[test]
fn an_operator_accepts_what_a_peer_grew_to() {
    let mut world = leaking();
    world.names();
    assert_eq!(world.life.accept_growth(PeerId(0)), [V4]);
    assert_eq!(world.names(), ["growth-accepted"]);
    world.passes("8.8.8.8");
    world.drops("120.0.0.1");
    assert_eq!(world.status(0).too_wide, []);
    assert_eq!(world.names(), ["coverage-cleared"]);
    assert_eq!(world.life.accept_growth(PeerId(0)), []);
    // 86 % of the space is too much whatever it was before, and accepted likewise.
    for first in 100..224 {
        world.announce(0, P1, PRE, &format!("{first}.0.0.0/8"));
    }
    world.passes("120.0.0.1");
    world.announce(0, P1, PRE, "0.0.0.0/1");
    world.enforcing(0);
}

/// What the operator wrote by hand is no growth of the peer's.
#[test]
fn a_frozen_peer_has_what_the_operator_wrote_by_hand() {
    let mut before = leaking();
    let text = format!("{ONE}extra_sources = [\"150.0.0.0/24\"]\n");
    let mut life = Lifecycle::new(Arc::new(spec_of(&[&text, BMP_LISTENER, MINE])));
    life.restore_coverage(PeerId(0), before.life.coverage(PeerId(0)));
    let sources = life.sources(PeerId(0));
    assert!(sources.contains(prefix("150.0.0.1/32").address()));
    before.drops("150.0.0.1");
}
