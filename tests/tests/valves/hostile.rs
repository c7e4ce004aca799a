//! Random histories of a hostile peer and of an unlucky operator. The invariants are those of `docs/spec.md` section 5, in
//! its words:
//!
//! 1. "What a peer does to itself never opens what is in force": once its `sources` are granted, they stay granted.
//! 2. A hostile peer never gains a packet that its announcements of the last day do not cover: "a session that is down:
//!    what was received stays, each prefix until its own hold is over; from its return what the side held when it ended counts
//!    too, if that was within the last day".
//! 3. "Churn of another peer, however much: nothing": no other peer loses a packet, or gains one.
//! 4. "A flood of what was never announced, however large, opens nothing."
//! 5. Of an unlucky operator, whose routers restart, whose feeds are lost, and whose peers move, good packets are never
//!    dropped: "no class leaves", "the last tables stay for `stale_hold`", "announcements take effect at once".
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use filter_core::{Address, Asn, Classes};
use filter_lifecycle::REVIVAL;
use filter_lifecycle::route::{DownCause, PathHead, PeerId, Route};
use filter_lifecycle::{Side, TICK};
use proptest::prelude::*;

use super::world::{BMP_LISTENER, ONE, PRE, V4, World, prefix, secs, set};

const SESSIONS: [&str; 2] = ["192.0.2.11", "192.0.2.21"];
const VICTIM: &str = "192.0.2.12";
const RS: &str = "192.0.2.250";
const HOSTILE: PeerId = PeerId(0);
const OTHER: PeerId = PeerId(1);

/// What the hostile peer may announce, with an address in each that no other of them covers.
const PREFIXES: [(&str, &str); 6] = [
    ("45.146.194.0/23", "45.146.194.1"),
    ("100.0.0.0/16", "100.0.0.1"),
    ("101.0.0.0/16", "101.0.0.1"),
    ("102.0.0.0/16", "102.0.0.1"),
    ("103.0.0.0/8", "103.0.0.1"),
    ("8.0.0.0/8", "8.8.8.8"),
];
/// The other peer's, by its session and by the route server.
const ITS: [&str; 2] = ["110.0.0.0/16", "111.0.0.0/16"];
/// Announced by nobody.
const NEVER: &str = "9.9.9.9";

const SERVER: &str = "[[route_server]]\nname = \"rs\"\nasn = 64511\ninterface = \"ixp0\"\naddresses = [\"192.0.2.250\"]\nour_routes_reach = \"none\"\n";

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Hours(u64),
    Up(usize, Option<u64>),
    Down(usize, bool),
    Announce(usize, usize),
    Withdraw(usize, usize),
    EndOfRib(usize),
    /// What it sends in a session cannot be read.
    Unreadable(usize),
    /// By the route server: its own, or with the other peer's next hop or AS number.
    ByServer(usize, bool, bool),
    GoneFromServer(usize),
    /// Packets of its that were dropped, from one of its prefixes or from nowhere.
    Lost(Option<usize>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (session, route) = (0..SESSIONS.len(), 0..PREFIXES.len());
    let step = prop_oneof![
        4 => prop_oneof![0u64..3, 3u64..40, 40u64..700].prop_map(Step::Wait),
        1 => (1u64..30).prop_map(Step::Hours),
        3 => (session.clone(), prop::option::of(0u64..5000)).prop_map(|(s, r)| Step::Up(s, r)),
        3 => (session.clone(), any::<bool>()).prop_map(|(s, n)| Step::Down(s, n)),
        8 => (session.clone(), route.clone()).prop_map(|(s, r)| Step::Announce(s, r)),
        4 => (session.clone(), route.clone()).prop_map(|(s, r)| Step::Withdraw(s, r)),
        2 => session.clone().prop_map(Step::EndOfRib),
        2 => session.prop_map(Step::Unreadable),
        3 => (route.clone(), any::<bool>(), any::<bool>()).prop_map(|(r, h, a)| Step::ByServer(r, h, a)),
        1 => route.clone().prop_map(Step::GoneFromServer),
        2 => prop::option::of(route).prop_map(Step::Lost),
    ];
    prop::collection::vec(step, 1..50)
}

struct Run {
    world: World,
    /// When each of its prefixes was last advertised by it; none while it is.
    advertised: BTreeMap<usize, BTreeMap<usize, Option<Duration>>>,
    is_up: [bool; 2],
    was_granted: bool,
}

/// The route server beside its sessions.
const BY_SERVER: usize = SESSIONS.len();

impl Run {
    fn new() -> Self {
        let hostile = ONE.replace("[\"192.0.2.11\"]", "[\"192.0.2.11\", \"192.0.2.21\"]");
        let hostile = format!("{hostile}max_prefixes = {{ ipv4 = 3 }}\n");
        let other = ONE
            .replace("p1", "p2")
            .replace(SESSIONS[0], VICTIM)
            .replace("64501", "64502");
        let mine = |peer: &str| {
            format!(
                "[[feed]]\nkind = \"static\"\npeer = \"{peer}\"\nadvertised_to_peer = [\"198.51.100.0/24\"]\n"
            )
        };
        let mut world = World::new(&[
            &hostile,
            &other,
            SERVER,
            BMP_LISTENER,
            &mine("p1"),
            &mine("p2"),
        ]);
        world.feed_up(0);
        for (peer, feed) in [(0, 1), (1, 2)] {
            world.feed_up(feed);
            world.snapshot_of(peer, feed, super::world::OUT, &["198.51.100.0/24"]);
        }
        world.up(0, VICTIM);
        world.announce(0, VICTIM, PRE, ITS[0]);
        world.end(0, VICTIM, PRE, V4);
        world.up(0, RS);
        world.by_server(ITS[1], VICTIM, 64502);
        world.end(0, RS, PRE, V4);
        world.at(20);
        let mut run = Self {
            world,
            advertised: BTreeMap::new(),
            is_up: [false; 2],
            was_granted: false,
        };
        run.check();
        run
    }

    fn step(&mut self, step: &Step) {
        let now = self.world.now;
        match *step {
            Step::Wait(seconds) => self.world.wait(seconds),
            Step::Hours(hours) => self.world.skip(now + secs(3600 * hours)),
            Step::Up(session, restart) => {
                self.end(session);
                self.is_up[session] = true;
                self.world.up_with(0, SESSIONS[session], restart);
            }
            Step::Down(session, notified) => {
                self.end(session);
                self.is_up[session] = false;
                let cause = match notified {
                    true => DownCause::Notification,
                    false => DownCause::Lost,
                };
                self.world.down(0, SESSIONS[session], cause);
            }
            Step::Announce(session, route) if self.is_up[session] => {
                let text = PREFIXES[route].0;
                self.world.announce(0, SESSIONS[session], PRE, text);
                self.advertise(session, route);
            }
            Step::Withdraw(session, route) if self.is_up[session] => {
                let text = PREFIXES[route].0;
                self.world.withdraw(0, SESSIONS[session], PRE, text);
                self.withdrawn(session, route);
            }
            Step::EndOfRib(session) if self.is_up[session] => {
                self.world.end(0, SESSIONS[session], PRE, V4);
            }
            Step::Unreadable(session) if self.is_up[session] => {
                self.end(session);
                self.world.unreadable(0, SESSIONS[session], PRE);
            }
            // A router sends no routes of a session that is down.
            Step::Announce(..) | Step::Withdraw(..) | Step::EndOfRib(_) | Step::Unreadable(_) => {}
            Step::ByServer(route, others_hop, others_asn) => {
                let hop = if others_hop { VICTIM } else { SESSIONS[0] };
                let asn = if others_asn { 64999 } else { 64501 };
                self.world.by_server(PREFIXES[route].0, hop, asn);
                match (others_hop, others_asn) {
                    (false, false) => self.advertise(BY_SERVER, route),
                    _ => self.withdrawn(BY_SERVER, route),
                }
            }
            Step::GoneFromServer(route) => {
                self.world.withdraw(0, RS, PRE, PREFIXES[route].0);
                self.withdrawn(BY_SERVER, route);
            }
            Step::Lost(route) => {
                let text = route.map_or(NEVER, |route| PREFIXES[route].1);
                let source = address(text);
                let ours = address("198.51.100.1");
                self.world.life.dropped(now, HOSTILE, source, ours);
                self.world.life.settle(now);
            }
        }
        self.check();
    }

    fn of(&mut self, route: usize) -> &mut BTreeMap<usize, Option<Duration>> {
        self.advertised.entry(route).or_default()
    }

    fn advertise(&mut self, by: usize, route: usize) {
        self.of(route).insert(by, None);
    }

    fn withdrawn(&mut self, by: usize, route: usize) {
        let now = self.world.now;
        if let Some(until) = self.of(route).get_mut(&by) {
            until.get_or_insert(now);
        }
    }

    fn end(&mut self, session: usize) {
        (0..PREFIXES.len()).for_each(|route| self.withdrawn(session, route));
    }

    /// Did the hostile peer advertise it within the last day?
    fn is_covered(&self, route: usize) -> bool {
        let now = self.world.now;
        let by = self.advertised.get(&route);
        by.into_iter()
            .flatten()
            .any(|(_, until)| until.is_none_or(|until| now < until + REVIVAL + 2 * TICK))
    }

    fn check(&mut self) {
        let now = self.world.now;
        let granted = self.world.life.granted(now, HOSTILE);
        let is_granted = granted.contains(Classes::sources(V4));
        assert!(
            is_granted || !self.was_granted,
            "1: it opened itself at {now:?}"
        );
        self.was_granted = is_granted;
        let sources = self.world.life.sources(HOSTILE);
        for (route, (text, inside)) in PREFIXES.iter().enumerate() {
            assert!(
                !sources.contains(address(inside)) || self.is_covered(route),
                "2: it gained {text} at {now:?}"
            );
        }
        for text in [NEVER, "110.0.0.1", "111.0.0.1"] {
            assert!(!sources.contains(address(text)), "2, 4: it gained {text}");
        }
        assert_eq!(
            self.world.life.granted(now, OTHER),
            super::world::ALL_V4,
            "3: at {now:?}"
        );
        self.world.sources(OTHER.0, &ITS);
    }
}

impl World {
    fn by_server(&mut self, text: &str, hop: &str, asn: u32) {
        let route = Route {
            next_hop: Some(hop.parse().unwrap()),
            path_head: Some(PathHead::of([Asn::new(asn)])),
            ..Route::bare(prefix(text))
        };
        self.route(0, RS, PRE, route);
    }
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

/// What befalls an operator.
#[derive(Clone, Debug)]
enum Mishap {
    Wait(u64),
    /// The router restarts: its sessions end, then its feed is lost, and all of it comes back after so long.
    Reboot {
        graceful: bool,
        after: u64,
    },
    /// The feed is lost for so long.
    FeedLost(u64),
    /// A peer closes its session for maintenance, and is back after so long.
    Maintenance(usize, u64),
    /// A peer announces another prefix, and withdraws one it had so much later.
    Renumber(usize, u64),
    /// A prefix moves from one peer to another, which announces it first, or after so long.
    Moves(usize, u64, bool),
}

fn mishaps() -> impl Strategy<Value = Vec<Mishap>> {
    let peer = 0..PEERS.len();
    let mishap = prop_oneof![
        2 => (0u64..400).prop_map(Mishap::Wait),
        1 => (any::<bool>(), 5u64..200).prop_map(|(graceful, after)| Mishap::Reboot { graceful, after }),
        1 => (1u64..250).prop_map(Mishap::FeedLost),
        2 => (peer.clone(), 1u64..2000).prop_map(|(p, after)| Mishap::Maintenance(p, after)),
        2 => (peer.clone(), 0u64..100).prop_map(|(p, after)| Mishap::Renumber(p, after)),
        2 => (peer, 0u64..25, any::<bool>()).prop_map(|(p, after, first)| Mishap::Moves(p, after, first)),
    ];
    prop::collection::vec(mishap, 1..12)
}

const PEERS: [&str; 4] = ["192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14"];

/// An operator's router: what its peers really announce.
struct Router {
    world: World,
    truth: [BTreeSet<String>; PEERS.len()],
    next: u32,
}

impl Router {
    fn new() -> Self {
        let peer = |number: usize| {
            ONE.replace("p1", &format!("p{number}"))
                .replace(SESSIONS[0], PEERS[number])
                .replace("64501", &format!("{}", 64501 + number))
        };
        let peers: String = (0..PEERS.len()).map(peer).collect();
        let mut router = Self {
            world: World::new(&[&peers, BMP_LISTENER]),
            truth: Default::default(),
            next: 0,
        };
        for number in 0..PEERS.len() {
            for _ in 0..3 {
                let fresh = router.fresh();
                router.truth[number].insert(fresh);
            }
        }
        router.comes_up();
        router.wait(60);
        router
    }

    fn fresh(&mut self) -> String {
        self.next += 1;
        format!("100.{}.0.0/16", self.next)
    }

    /// The feed connects, and reports everything from the start.
    fn comes_up(&mut self) {
        self.world.feed_up(0);
        for number in 0..PEERS.len() {
            self.session_comes_up(number);
        }
    }

    fn session_comes_up(&mut self, number: usize) {
        self.world.up_with(0, PEERS[number], Some(120));
        for text in &self.truth[number] {
            self.world.announce(0, PEERS[number], PRE, text);
        }
        self.world.end(0, PEERS[number], PRE, V4);
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.world.wait(1);
            self.check();
        }
    }

    fn befalls(&mut self, mishap: &Mishap) {
        match *mishap {
            Mishap::Wait(seconds) => self.wait(seconds),
            Mishap::Reboot { graceful, after } => {
                let cause = match graceful {
                    true => DownCause::Lost,
                    false => DownCause::Notification,
                };
                for address in PEERS {
                    self.world.down(0, address, cause);
                }
                self.wait(1);
                self.world.feed_down(0);
                self.wait(after);
                self.comes_up();
                self.wait(20);
            }
            Mishap::FeedLost(seconds) => {
                self.world.feed_down(0);
                self.wait(seconds);
                self.comes_up();
                self.wait(20);
            }
            Mishap::Maintenance(number, seconds) => {
                self.world.down(0, PEERS[number], DownCause::Notification);
                // It sends nothing meanwhile.
                let away = std::mem::take(&mut self.truth[number]);
                self.wait(seconds);
                self.truth[number] = away;
                self.session_comes_up(number);
            }
            Mishap::Renumber(number, overlap) => {
                let fresh = self.fresh();
                self.announce(number, fresh);
                self.wait(overlap);
                self.withdraw_oldest(number);
            }
            Mishap::Moves(number, apart, announced_first) => {
                let to = (number + 1) % PEERS.len();
                let moved = if announced_first {
                    let moved = self.truth[number].first().cloned();
                    if let Some(moved) = &moved {
                        self.announce(to, moved.clone());
                        self.wait(apart);
                    }
                    self.withdraw_oldest(number);
                    None
                } else {
                    self.withdraw_oldest(number)
                };
                if let Some(moved) = moved {
                    self.wait(apart);
                    self.announce(to, moved);
                }
            }
        }
        self.check();
    }

    fn announce(&mut self, number: usize, text: String) {
        self.world.announce(0, PEERS[number], PRE, &text);
        self.truth[number].insert(text);
    }

    fn withdraw_oldest(&mut self, number: usize) -> Option<String> {
        let oldest = self.truth[number].pop_first()?;
        self.world.withdraw(0, PEERS[number], PRE, &oldest);
        Some(oldest)
    }

    /// 5: everything that a peer really announces is valid, and nothing was opened for it.
    fn check(&self) {
        for (number, truth) in self.truth.iter().enumerate() {
            let wanted = self.world.wanted(number as u32, Side::Sources);
            let truth: Vec<&str> = truth.iter().map(String::as_str).collect();
            let missing: BTreeSet<_> = set(&truth).difference(&wanted).copied().collect();
            assert!(
                missing.is_empty(),
                "5: good packets of {number} from {missing:?} are dropped at {:?}",
                self.world.now
            );
            assert!(
                self.world
                    .granted(number as u32)
                    .contains(Classes::sources(V4)),
                "5: {number} is open at {:?}",
                self.world.now
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_hostile_peer_gains_nothing_and_costs_no_other_peer_anything(history in steps()) {
        let mut run = Run::new();
        for step in &history {
            run.step(step);
        }
    }

    #[test]
    fn an_unlucky_operator_drops_no_good_packet(history in mishaps()) {
        let mut router = Router::new();
        for mishap in &history {
            router.befalls(mishap);
        }
    }
}
