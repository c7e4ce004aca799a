//! Sessions that vanish without a Peer Down (GoBGP, of a neighbour that was deleted): they end once the router has sent
//! nothing about them for three of its own statistics intervals, and sessions beside them do not.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::time::{Duration, Instant};

use filter_core::Family;
use filter_feeds::bmp::router::{
    Closed, MIN_IDLE, Memory, Router, SILENT_INTERVALS, UNCOUNTED_INTERVALS,
};
use filter_feeds::bmp::{BmpConfig, BmpFeed};
use filter_feeds::wire::bmp::{self, Message};
use filter_lifecycle::route::{DownCause, Origin, RouteEvent, Session};
use tests::captures::{capture, messages, session};
use tests::lab::{Package, Peering, Release, require_from};

use super::live::{self, Watched};

const P1: &str = "192.0.2.11";
const P2: &str = "192.0.2.12";
/// The same neighbours' other sessions.
const P1_V6: &str = "2001:db8:ff::11";
const P2_V6: &str = "2001:db8:ff::12";
const INTERVAL: Duration = Duration::from_secs(10);

/// A router, and what it does over time.
struct Clocked {
    router: Router,
    stream: Vec<u8>,
    start: Instant,
    events: Vec<RouteEvent>,
}

impl Clocked {
    /// P1 and P2 are up.
    fn new() -> Self {
        let start = Instant::now();
        let mut clocked = Self {
            router: Router::new(start),
            stream: capture("frr-10.3/bmp.c2.0"),
            start,
            events: Vec::new(),
        };
        clocked.send(0, |message| matches!(message, Message::Initiation(_)));
        clocked.router.recall(Memory::default());
        clocked.come_up(&[P1, P2]);
        clocked
    }

    fn come_up(&mut self, peers: &[&str]) {
        for peer in peers {
            self.send(0, |message| {
                matches!(message, Message::PeerUp(header, _) if header.session == session(peer))
            });
        }
        self.events.clear();
    }

    /// A route, or the end of them.
    fn route(&mut self, seconds: u64, peer: &str) {
        self.send(seconds, |message| {
            matches!(message, Message::RouteMonitoring(header, _) if header.session == session(peer))
        });
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    /// The first message of the capture that is wanted, at this time.
    fn send(&mut self, seconds: u64, wanted: impl Fn(&Message<'_>) -> bool) {
        let now = self.at(seconds);
        let (whole, _) = messages(&self.stream);
        let mut whole = whole.into_iter();
        let found = whole.find(|message| bmp::read(message).is_ok_and(|message| wanted(&message)));
        self.router
            .message(found.unwrap(), now, &mut self.events, &mut |_| true)
            .unwrap();
    }

    fn statistics(&mut self, seconds: u64, peer: &str) {
        self.send(seconds, |message| {
            matches!(message, Message::Statistics(header, _) if header.session == session(peer))
        });
    }

    fn ended(&mut self, seconds: u64) -> Vec<Session> {
        let now = self.at(seconds);
        self.events.clear();
        let ended = self.router.end_silent(now, &mut self.events);
        let down = |&session: &Session| RouteEvent::SessionDown {
            session,
            cause: DownCause::Deconfigured,
        };
        let expected: Vec<RouteEvent> = ended.iter().map(down).collect();
        assert_eq!(self.events, expected);
        ended
    }
}

#[test]
fn a_session_without_statistics_for_three_intervals_is_over() {
    let mut clocked = Clocked::new();
    for seconds in [0, 10] {
        clocked.statistics(seconds, P1);
        clocked.statistics(seconds, P2);
    }
    assert_eq!(clocked.router.interval(), Some(INTERVAL));
    for seconds in [20, 30] {
        clocked.statistics(seconds, P2);
        assert_eq!(clocked.ended(seconds), []);
    }
    assert_eq!(clocked.ended(39), []);
    clocked.statistics(40, P2);
    assert_eq!(clocked.ended(40), [session(P1)]);
    // It is over once, the other one lives, and a new Peer Up is a new session.
    assert_eq!(clocked.ended(41), []);
    assert!(clocked.router.sessions().eq([session(P2)]));
    clocked.send(
        42,
        |message| matches!(message, Message::PeerUp(header, _) if header.session == session(P1)),
    );
    let is_up = |event: &RouteEvent| matches!(event, RouteEvent::SessionUp { session: up, .. } if *up == session(P1));
    assert!(clocked.events.iter().any(is_up), "{:?}", clocked.events);
}

#[test]
fn a_session_that_vanished_before_its_first_statistic_is_over_after_ten_intervals() {
    let mut clocked = Clocked::new();
    let limit = u64::from(UNCOUNTED_INTERVALS) * INTERVAL.as_secs();
    for seconds in (0..limit).step_by(10) {
        clocked.statistics(seconds, P2);
        assert_eq!(clocked.ended(seconds), []);
    }
    assert_eq!(clocked.ended(limit - 1), []);
    clocked.statistics(limit, P2);
    assert_eq!(clocked.ended(limit), [session(P1)]);
    assert!(clocked.router.sessions().eq([session(P2)]));
}

/// Those that vanished may be more than those that are left: what counts is that the router sends statistics.
#[test]
fn sessions_that_vanished_before_their_first_statistic_may_outnumber_the_others() {
    let mut clocked = Clocked::new();
    clocked.come_up(&[P1_V6, P2_V6]);
    let limit = u64::from(UNCOUNTED_INTERVALS) * INTERVAL.as_secs();
    for seconds in (0..limit).step_by(10) {
        clocked.statistics(seconds, P2);
        assert_eq!(clocked.ended(seconds), []);
    }
    clocked.statistics(limit, P2);
    let vanished = [P1, P1_V6, P2_V6].map(session);
    assert_eq!(clocked.ended(limit), vanished);
    assert!(clocked.router.sessions().eq([session(P2)]));
}

/// A router that leaves out a session that lives does not count every session: silence of one proves nothing.
#[test]
fn a_router_that_counts_only_some_sessions_ends_none_that_it_never_counted() {
    let mut clocked = Clocked::new();
    clocked.come_up(&[P1_V6]);
    let limit = u64::from(UNCOUNTED_INTERVALS) * INTERVAL.as_secs();
    for seconds in (0..=3 * limit).step_by(10) {
        clocked.statistics(seconds, P2);
        if seconds == u64::from(SILENT_INTERVALS) * 10 {
            clocked.route(seconds, P1_V6);
        }
        assert_eq!(clocked.ended(seconds), []);
    }
    assert_eq!(clocked.router.sessions().count(), 3);
}

/// A router whose statistics were switched off goes on sending routes: sessions that are quiet are there.
#[test]
fn a_router_that_stops_counting_ends_no_session() {
    let mut clocked = Clocked::new();
    for seconds in [0, 10, 20] {
        clocked.statistics(seconds, P1);
        clocked.statistics(seconds, P2);
    }
    for seconds in (30..600).step_by(5) {
        clocked.route(seconds, P2);
        assert_eq!(clocked.ended(seconds), [], "{seconds}");
    }
}

/// Some routers count each Adj-RIB in a message of its own: the interval is the time between two rounds of them.
#[test]
fn statistics_in_bursts_make_no_short_interval() {
    let mut clocked = Clocked::new();
    for seconds in [0, 100, 200] {
        for after in [0, 1] {
            clocked.statistics(seconds + after, P1);
            clocked.statistics(seconds + after, P2);
        }
    }
    let interval = clocked.router.interval().unwrap();
    assert_eq!(interval, Duration::from_secs(99));
    for seconds in [250, 300, 350, 400, 450] {
        clocked.statistics(seconds, P2);
        assert_eq!(clocked.ended(seconds), []);
    }
}

/// No session ends as long as the router is silent as a whole: then the router is lost.
#[test]
fn silence_is_no_end_where_the_router_sends_nothing_at_all() {
    let mut clocked = Clocked::new();
    for seconds in [0, 10, 20, 30, 40, 50] {
        clocked.statistics(seconds, P2);
    }
    assert_eq!(
        clocked.ended(50),
        [],
        "no statistics about P1 were ever sent, and that for five intervals only"
    );
    let limit = (INTERVAL * SILENT_INTERVALS).max(MIN_IDLE).as_secs();
    for seconds in [61, 79] {
        assert_eq!(clocked.ended(seconds), []);
        let idle = clocked.router.check_idle(clocked.at(seconds), None);
        assert_eq!(idle, Ok(()));
    }
    assert_eq!(clocked.ended(50 + limit), []);
    let idle = clocked.router.check_idle(clocked.at(50 + limit), None);
    assert!(matches!(idle, Err(Closed::Idle(_))), "{idle:?}");
}

fn gobgp_forgets_a_neighbour(test: &str, release: Release) {
    if !require_from(test, release, &[Package::GoBgp], &[Package::Bird]) {
        return;
    }
    let lab = Peering::of(release);
    let config = BmpConfig::new("127.0.0.1:0".parse().unwrap());
    let feed = lab.router.run(|| BmpFeed::new(&config)).unwrap();
    let address = feed.local_addr().unwrap();
    let mut watched = Watched::start(feed);
    let gobgp = lab.gobgp(Some(address));
    let [p1, p2] = [&lab.p1, &lab.p2].map(|peer| live::session(peer, Family::Ipv4));
    let up = |session: Session| {
        move |folded: &tests::captures::Folded| match folded.up.contains_key(&session) {
            true => Ok(()),
            false => Err(format!("{session} is not up")),
        }
    };
    watched.until("P1", up(p1));
    watched.until("P2", up(p2));
    // What was never counted cannot fall silent.
    watched.until("statistics about P1", |folded| {
        let about_p1 = |event: &RouteEvent| {
            matches!(event, RouteEvent::Count { origin, .. } if *origin == Origin::Session(p1))
        };
        let counted = folded.events.iter().any(about_p1);
        counted.then_some(()).ok_or_else(|| "none".to_owned())
    });
    gobgp.forget(&lab.router, &p1.address.to_string());
    watched.until("the session to be over", |folded| {
        match folded.downs.last() {
            Some((session, cause)) if *session == p1 => {
                assert_eq!(*cause, DownCause::Deconfigured);
                Ok(())
            }
            last => Err(format!("{last:?}")),
        }
    });
    assert!(watched.folded.up.contains_key(&p2));
    assert_eq!(watched.folded.downs.len(), 1, "{:?}", watched.folded.downs);
    let lost = |event: &RouteEvent| matches!(event, RouteEvent::FeedDown { .. });
    assert!(!watched.folded.events.iter().any(lost));
}

#[test]
fn gobgp_3_10_forgets_a_neighbour() {
    gobgp_forgets_a_neighbour("gobgp_3_10_forgets_a_neighbour", Release::System);
}

#[test]
fn gobgp_3_36_forgets_a_neighbour() {
    gobgp_forgets_a_neighbour("gobgp_3_36_forgets_a_neighbour", Release::Debian13);
}
