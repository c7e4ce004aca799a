//! Every limit at its edge. What costs too much to reach from outside is tested where it is.
use std::net::Ipv4Addr;
use std::time::Duration;

use filter_core::{Address, Mode, Prefix};
use filter_lifecycle::route::{FeedId, PeerId, Route, RouteEvent};
use filter_lifecycle::{
    self, Event, MAX_EVENTS, MAX_EXPIRED, MAX_NEXT_HOPS, MAX_REFUSED_EVENTS, MAX_REFUSED_LISTED,
    MAX_SOURCES, MAX_UNKNOWN, Missing, PeerState, REFUSED_PERIOD, Side, TICK,
};

use super::world::{BMP_LISTENER, MINE, ONE, OUT, PRE, V4, World, origin, secs};

const P1: &str = "192.0.2.11";
const A: &str = "45.146.194.0/23";

/// A peer with as many sessions as it takes.
#[test]
fn sources() {
    let address = |number: u32| Ipv4Addr::from_bits(0x0a00_0000 + number).to_string();
    let addresses: Vec<String> = (0..MAX_SOURCES as u32 / 2)
        .map(|number| format!("\"{}\"", address(number)))
        .collect();
    let one = ONE.replace("\"192.0.2.11\"", &addresses.join(", "));
    let mut world = World::new(&[&one, BMP_LISTENER, MINE]);
    world.feed_up(0);
    world.by_hand(1, &["198.51.100.0/24"]);
    world.announce(0, &address(0), PRE, A);
    world.end(0, &address(0), PRE, V4);
    let mut ribs = (0..)
        .flat_map(|number| [(number, PRE), (number, OUT)])
        .skip(1);
    // Beside the one that is there and two by hand.
    for (number, rib) in ribs.by_ref().take(MAX_SOURCES - 3) {
        let event = RouteEvent::EndOfRib {
            origin: origin(&address(number)),
            rib,
            family: V4,
        };
        world.life.event(world.now, FeedId(0), &event);
    }
    world.life.settle(world.now);
    assert_eq!(world.life.refused_sources(), 0);
    world.keeps(0, Missing::Loading(Side::Sources, V4));
    let (number, rib) = ribs.next().unwrap();
    for _ in 0..2 {
        world.announce(0, &address(number), rib, "100.0.0.0/16");
    }
    assert_eq!(world.life.refused_sources(), 2);
    world.sources(0, &[A]);
    world.lacks(0, Missing::TooManyRibs);
}

#[test]
fn unknown_sessions() {
    let mut world = World::synced(&[A]);
    for number in 0..=MAX_UNKNOWN {
        world.announce(
            0,
            &format!("10.0.{}.{}", number / 256, number % 256),
            PRE,
            A,
        );
    }
    let received = world
        .names()
        .iter()
        .filter(|name| **name == "unknown-session")
        .count();
    assert_eq!(received, MAX_UNKNOWN);
    assert_eq!(world.life.unknown_sessions(), MAX_UNKNOWN as u64 + 1);
}

#[test]
fn events() {
    let mut world = World::synced(&[A]);
    for _ in 0..MAX_EVENTS {
        world.life.set_mode(PeerId(0), Mode::Enforce);
    }
    assert_eq!(world.life.events_lost(), 0);
    world.life.event(
        world.now,
        FeedId(0),
        &RouteEvent::FeedDown { why: "x".into() },
    );
    assert_ne!(world.life.events_lost(), 0);
    let news = world.news();
    assert_eq!(news.len(), MAX_EVENTS);
    assert_eq!(
        news.last().map(Event::name),
        Some("feed-down"),
        "the oldest are lost"
    );
}

/// A peer that leaks a full table of what is refused does not push everybody else's events out.
#[test]
fn refused_prefixes() {
    let mut world = World::synced(&[A]);
    let leak = |world: &mut World| {
        for number in 0..=MAX_REFUSED_EVENTS {
            world.announce(0, P1, PRE, &format!("45.0.0.{number}/32"));
        }
        world
            .names()
            .iter()
            .filter(|name| **name == "prefix-refused")
            .count()
    };
    assert_eq!(leak(&mut world), MAX_REFUSED_EVENTS);
    let status = world.status(0);
    assert_eq!(status.refused, MAX_REFUSED_EVENTS + 1);
    assert_eq!(status.refused_list.len(), MAX_REFUSED_LISTED);
    world.withdraw(0, P1, PRE, "45.0.0.0/32");
    world.announce(0, P1, PRE, "45.0.0.0/32");
    assert_eq!(world.names(), [""; 0], "a flap is not reported again");
    world.go(world.now + REFUSED_PERIOD);
    world.withdraw(0, P1, PRE, "45.0.0.0/32");
    world.announce(0, P1, PRE, "45.0.0.0/32");
    assert_eq!(world.names(), ["prefix-refused"]);
}

#[test]
fn next_hops() {
    let mut world = World::synced(&[A]);
    for number in 0..=MAX_NEXT_HOPS {
        world.via(0, P1, PRE, A, &format!("203.0.113.{number}"));
    }
    assert_eq!(world.names(), vec!["next-hop-rewritten"; MAX_NEXT_HOPS]);
}

#[test]
fn holds_that_end_together() {
    let mut world = World::synced(&[]);
    let count = MAX_EXPIRED as u32 + 1;
    let prefix = |number: u32| {
        let address = Address {
            family: V4,
            hi: u64::from(number + (45 << 16)) << 40,
            lo: 0,
        };
        Prefix::new(address, 24).unwrap()
    };
    let origin = super::world::origin(P1);
    for number in 0..count {
        let route = Route::bare(prefix(number));
        world.life.event(
            world.now,
            FeedId(0),
            &RouteEvent::Announce {
                origin,
                rib: PRE,
                route,
            },
        );
    }
    for number in 0..count {
        let prefix = prefix(number);
        let gone = RouteEvent::Withdraw {
            origin,
            rib: PRE,
            prefix,
            path: 0,
        };
        world.life.event(world.now, FeedId(0), &gone);
    }
    world.go(secs(30));
    assert_eq!(world.status(0).sources, 1);
    world.go(secs(30) + TICK);
    assert_eq!(world.status(0).sources, 0);
}

/// `docs/lifecycle.md` names every limit with its value.
#[test]
fn the_documented_limits_are_these() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/lifecycle.md");
    let doc = std::fs::read_to_string(path).unwrap();
    let rows = doc
        .lines()
        .skip_while(|line| *line != "| name | value | what |")
        .skip(2);
    let received: Vec<(&str, &str)> = rows
        .map_while(|row| row.strip_prefix("| `"))
        .filter_map(|row| row.split_once("` | "))
        .map(|(name, rest)| (name, rest.split(" | ").next().unwrap()))
        .collect();
    let values = values();
    let mut expected: Vec<(&str, &str)> = values
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut received = received;
    expected.sort_unstable();
    received.sort_unstable();
    assert_eq!(received, expected);
}

/// Every limit, and its value as it is written there.
fn values() -> Vec<(&'static str, String)> {
    let time = |time: Duration| match time.subsec_millis() {
        0 if time >= secs(7200) => format!("{} h", time.as_secs() / 3600),
        0 => format!("{} s", time.as_secs()),
        _ => format!("{} ms", time.as_millis()),
    };
    let times = [
        ("TICK", TICK),
        ("MID_LIFE", filter_lifecycle::MID_LIFE),
        ("SETTLE", filter_lifecycle::SETTLE),
        ("QUIET", filter_lifecycle::QUIET),
        ("BUSY", filter_lifecycle::BUSY),
        ("LAST_WORDS", filter_lifecycle::LAST_WORDS),
        ("SHRINK_PATIENCE", filter_lifecycle::SHRINK_PATIENCE),
        ("REFUSED_PERIOD", REFUSED_PERIOD),
        ("STRANGER_HOLD", filter_lifecycle::STRANGER_HOLD),
        ("REVIVAL", filter_lifecycle::REVIVAL),
        ("TOGETHER", filter_lifecycle::TOGETHER),
        ("RECENT", filter_lifecycle::RECENT),
        ("BREAKER_WINDOW", filter_lifecycle::BREAKER_WINDOW),
        ("BREAKER_HOLD", filter_lifecycle::BREAKER_HOLD),
        ("BREAKER_LATE", filter_lifecycle::BREAKER_LATE),
        ("BREAKER_DAY", filter_lifecycle::BREAKER_DAY),
        ("JUMP_MEMORY", filter_lifecycle::JUMP_MEMORY),
        ("JUMP_STANDS", filter_lifecycle::JUMP_STANDS),
    ];
    let numbers = [
        ("QUIET_PERCENT", filter_lifecycle::QUIET_PERCENT),
        ("BUSY_CHANGES", filter_lifecycle::BUSY_CHANGES),
        ("MAX_LAST_WORDS", filter_lifecycle::MAX_LAST_WORDS),
        ("SHRINK_PERCENT", filter_lifecycle::SHRINK_PERCENT),
        ("SHRINK_MIN", filter_lifecycle::SHRINK_MIN),
        (
            "COVERAGE_PERCENT",
            filter_lifecycle::COVERAGE_PERCENT as usize,
        ),
        ("BREAKER_TRIPS", filter_lifecycle::BREAKER_TRIPS),
        ("MAX_VANISHED", filter_lifecycle::MAX_VANISHED),
        ("JUMP_TIMES", filter_lifecycle::JUMP_TIMES as usize),
        ("JUMP_PART", filter_lifecycle::JUMP_PART as usize),
        ("FOREIGN_PEERS", filter_lifecycle::FOREIGN_PEERS),
        ("MAX_LEFT", filter_lifecycle::MAX_LEFT),
        ("MAX_FORMER", filter_lifecycle::MAX_FORMER),
        ("MASS_PEERS", filter_lifecycle::MASS_PEERS),
        ("MAX_RECENT", filter_lifecycle::MAX_RECENT),
        ("MAX_ROUTES", filter_lifecycle::MAX_ROUTES),
        ("MAX_SOURCES", MAX_SOURCES),
        ("MAX_SESSIONS", filter_lifecycle::MAX_SESSIONS),
        ("MAX_EXPIRED", MAX_EXPIRED),
        ("MAX_EVENTS", MAX_EVENTS),
        ("MAX_UNKNOWN", MAX_UNKNOWN),
        ("MAX_REFUSED_LISTED", MAX_REFUSED_LISTED),
        ("MAX_REFUSED_EVENTS", MAX_REFUSED_EVENTS),
        ("MAX_NEXT_HOPS", MAX_NEXT_HOPS),
        ("MAX_EXAMPLES", filter_lifecycle::MAX_EXAMPLES),
        ("MAX_DIFFERENCES", filter_lifecycle::MAX_DIFFERENCES),
    ];
    let times = times.map(|(name, value)| (name, time(value)));
    let numbers = numbers.map(|(name, value)| (name, value.to_string()));
    times.into_iter().chain(numbers).collect()
}

/// … and says what to do about everything that can be missing.
#[test]
fn everything_missing_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/lifecycle.md");
    let doc = std::fs::read_to_string(path).unwrap();
    let of = (Side::Sources, V4);
    for missing in [
        Missing::NotReceived(of.0, of.1),
        Missing::Loading(of.0, of.1),
        Missing::CountMismatch(of.0, of.1),
        Missing::ShrinkUnconfirmed(of.0, of.1),
        Missing::SessionDown(of.0, of.1),
        Missing::FeedLost(of.0, of.1),
        Missing::Empty(of.0, of.1),
        Missing::TooManyRibs,
        Missing::NotPublished("why".into()),
    ] {
        let text = missing.to_string().replace("ipv4 sources", "…");
        let text = text.split(':').next().unwrap();
        let state = PeerState::new(Mode::Enforce, Some(&missing), false).name();
        let row = format!("| `{text}` | `{state}` | ");
        assert!(doc.contains(&row), "{row}");
    }
}
