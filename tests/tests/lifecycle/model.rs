//! Random histories beside a naive model. The model knows who said what when, and nothing of states, epochs or
//! ledgers; what it asserts after every step is what SPEC promises, and in the end that the truth is found again
//! from wherever the history led. A router that lies is part of every history, and none of the model.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use filter_core::{Classes, Mode, Prefix};
use filter_lifecycle::route::{DownCause, PeerId};
use filter_lifecycle::{Event, MASS_PEERS, Missing, PeerState, Side, TICK, TOGETHER};
use proptest::prelude::*;

use super::liar::{self, Lie, lies};
use super::said::{DOWN_HOLD, STALE_HOLD, Said, WITHDRAW_HOLD};
use super::world::{BMP_LISTENER, FREE_V4, OUT, POLL, PRE, V4, World, prefix};

/// Sessions, and whose they are: the first two are of one peer, the last one's peer has a limit of two.
const SESSIONS: [(&str, u32); 4] = [
    ("192.0.2.11", 0),
    ("192.0.2.12", 0),
    ("192.0.2.13", 1),
    ("192.0.2.14", 2),
];
const PREFIXES: [&str; 5] = [
    "45.146.194.0/23",
    "45.146.194.0/24",
    "45.146.195.0/24",
    "100.0.0.0/16",
    "200.0.0.0/8",
];
const LIMITED: u32 = 2;
/// A BMP listener and a poll.
const FEEDS: [u16; 2] = [0, 1];

const CONFIG: &str = r#"
[[peer]]
name = "p1"
asn = 64501
interface = "ixp0"
addresses = ["192.0.2.11", "192.0.2.12"]
families = ["ipv4"]
mode = "enforce"

[[peer]]
name = "p2"
asn = 64502
interface = "ixp0"
addresses = ["192.0.2.13"]
families = ["ipv4"]
mode = "enforce"

[[peer]]
name = "p3"
asn = 64503
interface = "ixp0"
addresses = ["192.0.2.14"]
families = ["ipv4"]
mode = "enforce"
max_prefixes = { ipv4 = 2 }
"#;

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    FeedUp(u16),
    FeedDown(u16),
    SessionUp(u16, usize),
    SessionDown(u16, usize, bool),
    Announce(usize, usize),
    Withdraw(usize, usize),
    EndOfRib(usize),
    Snapshot(usize, u8),
    RibLost(usize),
    Count(usize, u64),
    Mode(u32, bool),
    /// What a faulty or hostile router says.
    Lie(Lie),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (session, route, feed) = (0..SESSIONS.len(), 0..PREFIXES.len(), 0u16..2);
    let step = prop_oneof![
        4 => prop_oneof![0u64..3, 3u64..20, 20u64..400].prop_map(Step::Wait),
        1 => feed.clone().prop_map(Step::FeedUp),
        1 => feed.clone().prop_map(Step::FeedDown),
        2 => (feed.clone(), session.clone()).prop_map(|(f, s)| Step::SessionUp(f, s)),
        1 => (feed, session.clone(), any::<bool>()).prop_map(|(f, s, c)| Step::SessionDown(f, s, c)),
        8 => (session.clone(), route.clone()).prop_map(|(s, r)| Step::Announce(s, r)),
        4 => (session.clone(), route).prop_map(|(s, r)| Step::Withdraw(s, r)),
        3 => session.clone().prop_map(Step::EndOfRib),
        3 => (session.clone(), 0u8..32).prop_map(|(s, r)| Step::Snapshot(s, r)),
        1 => session.clone().prop_map(Step::RibLost),
        1 => (session, 0u64..4).prop_map(|(s, n)| Step::Count(s, n)),
        1 => (0u32..3, any::<bool>()).prop_map(|(p, e)| Step::Mode(p, e)),
        6 => lies().prop_map(Step::Lie),
    ];
    prop::collection::vec(step, 1..60)
}

#[derive(Debug, Default)]
struct Model {
    said: BTreeMap<(u16, usize), Said>,
    connected: BTreeSet<u16>,
    /// Until when what was withdrawn must be valid, and may be.
    valid_until: BTreeMap<(u32, Prefix), Duration>,
    allowed_until: BTreeMap<(u32, Prefix), Duration>,
    modes: BTreeMap<u32, Mode>,
    /// Whose `sources` were granted when last looked at.
    granted: BTreeSet<u32>,
    /// Of whom any table was ever received.
    ever: BTreeSet<u32>,
    /// Sessions that are up, and when those ended lately that were, by feed.
    up: BTreeSet<(u16, usize)>,
    ended: BTreeMap<(u16, usize), Duration>,
}

impl Model {
    /// A session ended. The sessions that ended together with it, if they are most of its router's, of all three peers.
    fn end(&mut self, now: Duration, feed: u16, session: usize) -> Vec<usize> {
        if !self.up.remove(&(feed, session)) {
            return Vec::new();
        }
        self.ended.insert((feed, session), now);
        let ended: Vec<usize> = self
            .ended
            .iter()
            .filter(|((of, _), at)| *of == feed && now <= **at + TOGETHER)
            .map(|((_, session), _)| *session)
            .collect();
        let up = self.up.iter().filter(|(of, _)| *of == feed).count();
        let peers: BTreeSet<u32> = ended.iter().map(|&session| SESSIONS[session].1).collect();
        if ended.len() > up && peers.len() >= MASS_PEERS {
            ended
        } else {
            Vec::new()
        }
    }
}

struct Run {
    world: World,
    model: Model,
    states: BTreeMap<u32, (PeerState, Option<Missing>)>,
}

impl Run {
    fn new() -> Self {
        let shadows: Vec<String> = (0..SESSIONS.len())
            .map(|session| {
                let (address, _) = SESSIONS[session];
                format!("{{ address = \"192.0.2.10{session}\", session = \"{address}\" }}")
            })
            .collect();
        let shadows = shadows.join(", ");
        let shadow = format!(
            "[[feed]]\nkind = \"shadow\"\nlisten = \"127.0.0.1:179\"\nasn = 64999\nsessions = [{shadows}]"
        );
        let mut world = World::new(&[
            CONFIG,
            liar::PEER,
            BMP_LISTENER,
            POLL,
            &shadow,
            &BMP_LISTENER.replace(":0", ":11019"),
        ]);
        world.feed_up(2);
        for (address, _) in SESSIONS {
            world.announce(2, address, OUT, "198.51.100.0/24");
            world.end(2, address, OUT, V4);
        }
        let mut run = Self {
            world,
            model: Model::default(),
            states: BTreeMap::new(),
        };
        for feed in FEEDS {
            for session in 0..SESSIONS.len() {
                run.model.said.insert((feed, session), Said::default());
            }
        }
        run
    }

    fn step(&mut self, step: &Step) {
        let (now, up) = (self.world.now, matches!(step, Step::SessionUp(..)));
        match *step {
            Step::SessionUp(0, session)
            | Step::Announce(session, _)
            | Step::Withdraw(session, _)
            | Step::EndOfRib(session)
            | Step::RibLost(session) => self.said(0, session).come_up(now, up),
            Step::SessionUp(_, session) | Step::Snapshot(session, _) => {
                self.said(1, session).come_up(now, up);
            }
            _ => {}
        }
        match *step {
            Step::Wait(seconds) => self.world.wait(seconds),
            Step::FeedUp(feed) => self.feed_up(feed),
            Step::FeedDown(feed) => self.feed_down(feed),
            Step::SessionUp(feed, session) => self.session_up(feed, session),
            Step::SessionDown(feed, session, notified) => {
                self.session_down(feed, session, notified)
            }
            Step::Announce(session, route) => self.announce(session, prefix(PREFIXES[route])),
            Step::Withdraw(session, route) => self.withdraw(session, prefix(PREFIXES[route])),
            Step::EndOfRib(session) => {
                self.world.end(0, SESSIONS[session].0, PRE, V4);
                let said = self.said(0, session);
                (said.silent_since, said.wrong) = (None, false);
                // The end of nothing is no evidence.
                if !said.received.is_empty() {
                    said.complete(now);
                }
            }
            Step::Snapshot(session, routes) => self.snapshot(session, routes),
            Step::RibLost(session) => {
                self.world.lost(0, SESSIONS[session].0, Some(PRE));
                self.said(0, session).lose(now);
            }
            Step::Count(session, count) => {
                let (address, _) = SESSIONS[session];
                self.world.count(0, address, PRE, Some(V4), count);
            }
            Step::Mode(peer, enforce) => self.set_mode(peer, enforce),
            Step::Lie(ref lie) => lie.tell(&mut self.world),
        }
        self.check();
    }

    fn feed_up(&mut self, feed: u16) {
        let now = self.world.now;
        self.world.feed_up(feed);
        self.model.connected.insert(feed);
        self.model.up.retain(|(of, _)| *of != feed);
        self.each_of(feed, |said| {
            if said.is_known(now) || said.was_complete {
                said.lose(now);
            }
            said.restart(now);
            said.silent_since = said.known.then_some(now);
            said.down_at = said.down_at.filter(|_| said.known).map(|at| at.min(now));
        });
    }

    fn feed_down(&mut self, feed: u16) {
        let (now, before) = (self.world.now, self.everyones());
        self.world.feed_down(feed);
        self.model.connected.remove(&feed);
        self.each_of(feed, |said| {
            said.lose(now);
            said.spare(now);
        });
        for (before, after) in before.iter().zip(self.everyones()) {
            assert!(after.is_superset(before), "feed loss removes");
        }
    }

    fn session_up(&mut self, feed: u16, session: usize) {
        let now = self.world.now;
        self.world.up(feed, SESSIONS[session].0);
        let said = self.said(feed, session);
        let mut remembered = std::mem::take(&mut said.remembered);
        said.former.append(&mut remembered);
        said.restart(now);
        (said.up_at, said.down_at, said.silent_since) = (Some(now), None, None);
        said.longer = Duration::ZERO;
        self.model.up.insert((feed, session));
    }

    fn session_down(&mut self, feed: u16, session: usize, notified: bool) {
        let (now, before) = (self.world.now, self.everyones());
        let cause = if notified {
            DownCause::Notification
        } else {
            DownCause::Lost
        };
        self.world.down(feed, SESSIONS[session].0, cause);
        let said = self.said(feed, session);
        said.restart(now);
        said.up_at = None;
        said.down_at = said.down_at.or(Some(now));
        for together in self.model.end(now, feed, session) {
            self.said(feed, together).end_with_others(now);
        }
        assert_eq!(self.everyones(), before, "session loss removes at once");
    }

    fn set_mode(&mut self, peer: u32, enforce: bool) {
        let mode = if enforce {
            Mode::Enforce
        } else {
            Mode::Observe
        };
        self.world.life.set_mode(PeerId(peer), mode);
        self.world.life.settle(self.world.now);
        self.model.modes.insert(peer, mode);
    }

    fn everyones(&self) -> Vec<BTreeSet<Prefix>> {
        (0..3).map(|peer| self.sources(peer)).collect()
    }

    fn announce(&mut self, session: usize, prefix: Prefix) {
        let before = self.everyones();
        let (address, peer) = SESSIONS[session];
        let now = self.world.now;
        self.world.life.take_dirty();
        self.world.announce(0, address, PRE, &prefix.to_string());
        // What a feed says of a session that it said is down is too late once the hold is over.
        let said = self.said(0, session);
        if said.is_down_for(now + TICK, DOWN_HOLD) {
            return;
        }
        said.silent_since = None;
        let known = !said.received.insert(prefix);
        if peer == LIMITED {
            let frozen = !self.world.status(peer).frozen.is_empty();
            if frozen && before[peer as usize].len() == 2 {
                let wanted = self.sources(peer);
                assert!(
                    wanted.is_subset(&before[peer as usize]),
                    "frozen, and wider: {wanted:?}"
                );
            }
        } else {
            assert!(
                self.sources(peer).contains(&prefix),
                "{prefix} is not there at once"
            );
        }
        if known {
            self.world.life.take_dirty();
            self.world.announce(0, address, PRE, &prefix.to_string());
            assert!(!self.world.dirty(), "identical input is dirty");
        }
    }

    fn withdraw(&mut self, session: usize, prefix: Prefix) {
        let (address, peer) = SESSIONS[session];
        let now = self.world.now;
        self.world.withdraw(0, address, PRE, &prefix.to_string());
        let said = self.said(0, session);
        said.silent_since = None;
        // What a session that is down had leaves when its own hold is over, which runs since it ended.
        let replaced =
            said.down_at.is_some() || said.lost_at.is_some_and(|at| now + TICK >= at + STALE_HOLD);
        if said.received.remove(&prefix) && !said.is_down_for(now + TICK, DOWN_HOLD) {
            // It may be the last thing before the feed's loss, which does not count.
            said.former.insert(prefix);
            self.withdrawn(peer, prefix, replaced);
        }
    }

    fn withdrawn(&mut self, peer: u32, prefix: Prefix, replaced: bool) {
        let until = self.world.now + WITHDRAW_HOLD;
        self.model.allowed_until.insert((peer, prefix), until);
        if !replaced {
            self.model.valid_until.insert((peer, prefix), until);
        }
    }

    fn snapshot(&mut self, session: usize, routes: u8) {
        let (address, peer) = SESSIONS[session];
        let now = self.world.now;
        let received: Vec<&str> = (0..PREFIXES.len())
            .filter(|bit| routes >> bit & 1 == 1)
            .map(|bit| PREFIXES[bit])
            .collect();
        self.world.snapshot(1, address, PRE, V4, &received);
        let received: BTreeSet<Prefix> = received.iter().map(|text| prefix(text)).collect();
        let said = self.said(1, session);
        if said.is_down_for(now + TICK, DOWN_HOLD) {
            return;
        }
        said.silent_since = None;
        // Of a feed that was lost for too long, what another one reports may have taken its place.
        let replaced = said.lost_at.is_some_and(|at| now + TICK >= at + STALE_HOLD);
        let gone: Vec<Prefix> = said.received.difference(&received).copied().collect();
        said.former.extend(&gone);
        said.received = received;
        said.complete(now);
        for prefix in gone {
            self.withdrawn(peer, prefix, replaced);
        }
    }

    fn said(&mut self, feed: u16, session: usize) -> &mut Said {
        self.model.said.get_mut(&(feed, session)).unwrap()
    }

    fn each_of(&mut self, feed: u16, change: impl Fn(&mut Said)) {
        let said = self
            .model
            .said
            .iter_mut()
            .filter(|((of, _), _)| *of == feed);
        said.for_each(|(_, said)| change(said));
    }

    fn sources(&self, peer: u32) -> BTreeSet<Prefix> {
        self.world.wanted(peer, Side::Sources)
    }

    fn check(&mut self) {
        let now = self.world.now;
        self.model.said.values_mut().for_each(|said| said.pass(now));
        for event in self.world.news() {
            if let Event::PeerState(id, state, missing) = event {
                self.states.insert(id.0, (state, missing));
            }
        }
        for peer in 0..3 {
            let status = self.world.status(peer);
            let received = (status.state, status.missing.clone());
            assert_eq!(
                self.states.get(&peer),
                Some(&received),
                "what was received last is not what is"
            );
            self.check_granted(peer);
            let sources = self.sources(peer);
            assert_eq!(status.sources, sources.len());
            if peer != LIMITED {
                self.check_present(peer, &sources);
            }
            // A frozen table is the last good one, whoever still says it.
            for prefix in sources.into_iter().filter(|_| status.frozen.is_empty()) {
                assert!(
                    self.is_justified(peer, prefix),
                    "{prefix} of {peer} is there too long, at {now:?}"
                );
            }
        }
    }

    /// Whatever a session that is not down says now is there; what was withdrawn is there for the hold.
    fn check_present(&self, peer: u32, sources: &BTreeSet<Prefix>) {
        let now = self.world.now;
        for ((feed, session), said) in self.of(peer) {
            if said.down_at.is_some()
                || said.lost_at.is_some()
                || !self.model.connected.contains(feed)
            {
                continue;
            }
            // A feed that came back and does not name the session says that it is down.
            let silent = said.up_at.is_none();
            for prefix in said.received.iter().filter(|_| !silent) {
                assert!(
                    sources.contains(prefix),
                    "{prefix} of session {session} is missing at {now:?}"
                );
            }
        }
        for ((_, prefix), _) in self
            .model
            .valid_until
            .iter()
            .filter(|((of, _), until)| *of == peer && now < **until)
        {
            assert!(
                sources.contains(prefix),
                "{prefix} was withdrawn too early, at {now:?}"
            );
        }
    }

    fn of(&self, peer: u32) -> impl Iterator<Item = (&(u16, usize), &Said)> {
        self.model
            .said
            .iter()
            .filter(move |((_, session), _)| SESSIONS[*session].1 == peer)
    }

    /// Is there a reason why it is there?
    fn is_justified(&self, peer: u32, prefix: Prefix) -> bool {
        let now = self.world.now;
        let held = self.model.allowed_until.get(&(peer, prefix));
        // Two ticks: one to end the hold, one to notice.
        held.is_some_and(|until| now < *until + 2 * TICK)
            || self.of(peer).any(|(_, said)| said.justifies(now, prefix))
    }

    /// Only the classes that need no routes are granted before a table was received. From then on nothing that the
    /// peer does takes `sources` away: only a feed that was lost for too long.
    fn check_granted(&mut self, peer: u32) {
        let now = self.world.now;
        let granted = self.world.granted(peer);
        let wanted = self.world.life.wanted(PeerId(peer));
        let observed = self.model.modes.get(&peer) == Some(&Mode::Observe);
        let said: Vec<&Said> = self.of(peer).map(|(_, said)| said).collect();
        let at = || format!("peer {peer} at {now:?}: {granted}: {said:#?}");
        assert_eq!(wanted.is_empty(), observed, "{}", at());
        assert!(wanted.contains(granted), "{}", at());
        assert!(observed || granted.contains(FREE_V4), "{}", at());
        let sources = Classes::sources(V4);
        let received = |said: &&Said| said.up_at.is_some() || said.complete_at.is_some();
        let received = said.iter().any(received);
        let relies = granted.meets(sources);
        let lost = said.iter().any(|said| said.lost_at.is_some());
        let had = self.model.granted.contains(&peer);
        let ever = received || self.model.ever.contains(&peer);
        assert!(!relies || ever, "nothing was ever received: {}", at());
        assert!(
            relies || !had || observed || lost || !self.all_connected(),
            "the peer opened it: {}",
            at()
        );
        if ever {
            self.model.ever.insert(peer);
        }
        if relies {
            self.model.granted.insert(peer);
        } else if !observed {
            self.model.granted.remove(&peer);
        }
    }

    fn all_connected(&self) -> bool {
        FEEDS.iter().all(|feed| self.model.connected.contains(feed))
    }

    /// Everything is reported as it is, and time passes: what is enforced is the truth, and nothing but it.
    fn find_the_truth(&mut self, truth: &[u8; 4]) {
        for peer in 0..3 {
            self.step(&Step::Mode(peer, true));
        }
        for feed in FEEDS {
            self.step(&Step::FeedDown(feed));
            self.step(&Step::FeedUp(feed));
            for session in 0..SESSIONS.len() {
                self.step(&Step::SessionUp(feed, session));
            }
        }
        for round in 0..12 {
            for (session, routes) in truth.iter().enumerate() {
                if round == 0 {
                    for route in (0..PREFIXES.len()).filter(|bit| routes >> bit & 1 == 1) {
                        self.step(&Step::Announce(session, route));
                    }
                    self.step(&Step::EndOfRib(session));
                    self.step(&Step::Count(session, u64::from(routes.count_ones())));
                }
                self.step(&Step::Snapshot(session, *routes));
            }
            self.step(&Step::Wait(60));
        }
        for peer in 0..3 {
            let of_peer = SESSIONS
                .iter()
                .zip(truth)
                .filter(|((_, of), _)| *of == peer);
            let routes = of_peer.fold(0, |all, (_, routes)| all | routes);
            let expected: BTreeSet<Prefix> = (0..PREFIXES.len())
                .filter(|bit| routes >> bit & 1 == 1)
                .map(|bit| prefix(PREFIXES[bit]))
                .collect();
            if peer == LIMITED && expected.len() > 2 {
                assert_eq!(self.world.status(peer).over_limit, [V4]);
                assert!(self.sources(peer).len() <= PREFIXES.len());
                continue;
            }
            assert_eq!(self.sources(peer), expected, "peer {peer}");
            if expected.is_empty() {
                // Known to be empty if it was ever known, or the router counts none.
                let missing = self.world.status(peer).missing;
                let empty = Missing::Empty(Side::Sources, V4);
                assert!(missing.is_none() || missing == Some(empty), "{missing:?}");
            } else {
                self.world.enforcing(peer);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_history_keeps_the_promises(history in steps(), truth in prop::array::uniform4(0u8..32)) {
        let mut run = Run::new();
        for step in &history {
            run.step(step);
        }
        run.find_the_truth(&truth);
    }
}
