//! The shadow speaker against a scripted router over loopback: what it says, what it makes of what it hears, and
//! how it ends.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use filter_core::{Asn, Family};
use filter_feeds::shadow::Password;
use filter_feeds::shadow::speaker::{Ended, HOLD_TIME, Out, Role, Speaker};
use filter_feeds::shadow::{Refresher, ShadowError, ShadowFeed, ShadowSession};
use filter_feeds::skipped::Skipped;
use filter_feeds::wire::Reader;
use filter_feeds::wire::bgp::{self, Message, Notification};
use filter_feeds::{Feed, MAX_WAITING_BATCHES, Outlet, Stop};
use filter_lifecycle::route::{AdjRib, Batch, Community, FeedId, Origin, RouteEvent};
use tests::captures::session;
use tests::encoder::{self, message};

const WAIT: Duration = Duration::from_secs(10);

/// A running feed.
struct Running {
    batches: Receiver<Batch>,
    skipped: Skipped,
    refresher: Refresher,
    address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(sessions: Vec<ShadowSession>) -> Self {
        let feed = ShadowFeed::new(sessions).unwrap();
        let (sender, batches) = sync_channel(MAX_WAITING_BATCHES);
        let stop = Stop::default();
        let (refresher, address) = (feed.refresher(), feed.local_addr(0).unwrap());
        let outlet = Outlet::new(FeedId(0), sender, stop.clone());
        let skipped = feed.skipped();
        let thread = std::thread::spawn(move || Box::new(feed).run(&outlet));
        Self {
            batches,
            skipped,
            refresher,
            address,
            stop,
            thread: Some(thread),
        }
    }

    /// One shadow of 192.0.2.12's Adj-RIB-Out, from the loopback address.
    fn one() -> Self {
        Self::start(vec![shadow("127.0.0.1")])
    }

    /// Events up to the first that satisfies `last`.
    fn until(&self, last: impl Fn(&RouteEvent) -> bool) -> Vec<RouteEvent> {
        let mut events = Vec::new();
        let end = Instant::now() + WAIT;
        while !events.iter().any(&last) {
            let left = end.saturating_duration_since(Instant::now());
            let batch = self
                .batches
                .recv_timeout(left)
                .unwrap_or_else(|error| panic!("{error} after {events:?}"));
            events.extend(batch.events);
        }
        events
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn shadow(remote: &str) -> ShadowSession {
    ShadowSession::new(
        "127.0.0.1:0".parse().unwrap(),
        remote.parse().unwrap(),
        Asn::new(64999),
        session("192.0.2.12"),
    )
}

/// A router that sends what the test has it send.
struct Router(TcpStream);

impl Router {
    /// Connects and exchanges OPENs with these capabilities.
    fn establish(to: SocketAddr, capabilities: &[u8]) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let mut router = Self(stream);
        let open = router.hear();
        assert!(matches!(parse(&open), Message::Open(_)));
        router.say(1, &open_body(64500, 90, capabilities));
        assert!(matches!(parse(&router.hear()), Message::Keepalive));
        router.say(4, &[]);
        router
    }

    fn say(&mut self, kind: u8, body: &[u8]) {
        self.send(&message(kind, body));
    }

    fn send(&mut self, message: &[u8]) {
        self.0.write_all(message).unwrap();
    }

    /// The next message.
    fn hear(&mut self) -> Vec<u8> {
        let mut message = vec![0; bgp::HEADER];
        self.0.read_exact(&mut message).unwrap();
        let length = bgp::frame(&message, 4096).unwrap().unwrap();
        message.resize(length, 0);
        self.0.read_exact(&mut message[bgp::HEADER..]).unwrap();
        message
    }

    fn hear_notification(&mut self) -> Notification {
        loop {
            if let Message::Notification(notification) = parse(&self.hear()) {
                return notification;
            }
        }
    }
}

fn parse(message: &[u8]) -> Message<'_> {
    bgp::take(&mut Reader::new(message), 65535).unwrap()
}

fn open_body(asn: u16, hold: u16, capabilities: &[u8]) -> Vec<u8> {
    let mut body = vec![4];
    body.extend(asn.to_be_bytes());
    body.extend(hold.to_be_bytes());
    body.extend([192, 0, 2, 1]);
    body.extend([capabilities.len() as u8 + 2, 2, capabilities.len() as u8]);
    body.extend(capabilities);
    body
}

/// IPv4 unicast, and everything that refreshing needs.
const IPV4: &[u8] = &[1, 4, 0, 1, 0, 1, 2, 0, 70, 0];
/// IPv4 with several paths.
const IPV4_PATHS: &[u8] = &[1, 4, 0, 1, 0, 1, 69, 4, 0, 1, 1, 2];

/// ORIGIN, empty AS_PATH, NEXT_HOP, one community, one large community.
const ATTRIBUTES: &[u8] = &[
    0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 192, 0, 2, 1, 0xc0, 8, 4, 0, 0, 0xfb, 0xf5, 0xc0, 32,
    12, 0, 0, 0xfb, 0xff, 0, 0, 0, 1, 0, 0, 0xe2, 0x6d,
];

fn update(withdrawn: &[u8], nlri: &[u8]) -> Vec<u8> {
    let attributes = if nlri.is_empty() { &[] } else { ATTRIBUTES };
    encoder::update(withdrawn, attributes, nlri)
}

const A: &[u8] = &[24, 198, 51, 100];
const B: &[u8] = &[24, 203, 0, 113];
const BORR: &[u8] = &[0, 1, 1, 1];
const EORR: &[u8] = &[0, 1, 2, 1];

const fn is_end_of_rib(event: &RouteEvent) -> bool {
    matches!(
        event,
        RouteEvent::EndOfRib {
            family: Family::Ipv4,
            ..
        }
    )
}

/// The prefixes of the last snapshot.
fn snapshot(events: &[RouteEvent]) -> Vec<String> {
    let routes = events
        .iter()
        .rev()
        .find_map(|event| match event {
            RouteEvent::Snapshot { routes, .. } => Some(routes),
            _ => None,
        })
        .expect("no snapshot");
    routes
        .iter()
        .map(|route| format!("{}#{}", route.prefix, route.path))
        .collect()
}

#[test]
fn our_open_says_what_makes_routers_talk() {
    let feed = Running::one();
    let mut stream = TcpStream::connect(feed.address).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    let mut open = [0; 512];
    let read = stream.read(&mut open).unwrap();
    let Message::Open(open) = parse(&open[..read]) else {
        panic!("no OPEN");
    };
    assert_eq!((open.asn.get(), open.hold_time), (64999, HOLD_TIME));
    let capabilities = open.capabilities;
    assert_eq!(capabilities.multiprotocol, [true, true]);
    assert!(capabilities.route_refresh && capabilities.enhanced_route_refresh);
    assert!(capabilities.extended_message && capabilities.four_octet_asn.is_some());
    let restart = capabilities.graceful_restart.unwrap();
    assert_eq!(
        (restart.restart_time, restart.families),
        (Duration::ZERO, [false; 2])
    );
    assert!(
        capabilities
            .add_path
            .iter()
            .all(|way| way.receive && !way.send)
    );
}

#[test]
fn a_table_is_told_live_and_then_as_a_whole() {
    let feed = Running::one();
    let mut router = Router::establish(feed.address, IPV4);
    router.send(&update(&[], &[A, B].concat()));
    router.send(&update(A, &[]));
    router.send(&update(&[], &[]));
    let events = feed.until(is_end_of_rib);
    assert_eq!(events[0], RouteEvent::FeedUp);
    let RouteEvent::Announce { origin, rib, route } = &events[1] else {
        panic!("{events:?}");
    };
    assert_eq!(
        (*origin, *rib),
        (
            Origin::Session(session("192.0.2.12")),
            AdjRib::OutPostPolicy
        )
    );
    assert_eq!(route.prefix, "198.51.100.0/24".parse().unwrap());
    assert_eq!(
        route.next_hop, None,
        "a shadow's next hop is not the peer's"
    );
    assert_eq!(
        route.communities.as_deref(),
        Some(
            &[
                Community::Standard(0, 64501),
                Community::Large(64511, 1, 57965)
            ][..]
        )
    );
    assert_eq!(snapshot(&events), ["203.0.113.0/24#0"]);
    // After that, changes come one by one.
    router.send(&update(&[], A));
    let changed = feed.until(|event| matches!(event, RouteEvent::Announce { .. }));
    assert_eq!(changed.len(), 1);
    drop(router);
    let down = feed.until(|event| matches!(event, RouteEvent::FeedDown { .. }));
    assert_eq!(down.len(), 1);
}

#[test]
fn a_refresh_sweeps_what_was_not_said_again() {
    let feed = Running::one();
    let mut router = Router::establish(feed.address, IPV4);
    router.send(&update(&[], &[A, B].concat()));
    router.send(&update(&[], &[]));
    assert_eq!(snapshot(&feed.until(is_end_of_rib)).len(), 2);

    feed.refresher.refresh();
    let asked = router.hear();
    assert_eq!(asked, message(5, &[0, 1, 0, 1]));
    // An end without a beginning sweeps nothing.
    router.say(5, EORR);
    router.say(5, BORR);
    router.send(&update(&[], B));
    router.say(5, EORR);
    let events = feed.until(is_end_of_rib);
    assert_eq!(snapshot(&events), ["203.0.113.0/24#0"]);
}

#[test]
fn several_paths_are_told_apart() {
    let feed = Running::one();
    let mut router = Router::establish(feed.address, IPV4_PATHS);
    let path = |id: u8, prefix: &[u8]| [&[0, 0, 0, id], prefix].concat();
    let three = [path(1, A), path(2, A), path(3, B)].concat();
    router.send(&update(&[], &three));
    router.send(&update(&path(1, A), &[]));
    router.send(&update(&[], &[]));
    let events = feed.until(is_end_of_rib);
    assert_eq!(snapshot(&events), ["198.51.100.0/24#2", "203.0.113.0/24#3"]);
    // Plain prefixes are not what was negotiated: the session ends, nothing is guessed.
    router.send(&update(&[], A));
    assert_eq!(
        router.hear_notification(),
        Notification {
            code: 3,
            subcode: 1
        }
    );
}

#[test]
fn a_session_that_comes_back_is_swept_by_its_snapshot() {
    let feed = Running::one();
    let mut router = Router::establish(feed.address, IPV4);
    router.send(&update(&[], &[A, B].concat()));
    router.send(&update(&[], &[]));
    feed.until(is_end_of_rib);
    router.say(3, &[6, 2]);
    let down = feed.until(|event| matches!(event, RouteEvent::FeedDown { .. }));
    assert!(
        matches!(down.last(), Some(RouteEvent::FeedDown { why }) if why.contains("NOTIFICATION 6/2"))
    );
    let mut router = Router::establish(feed.address, IPV4);
    router.send(&update(&[], B));
    router.send(&update(&[], &[]));
    let events = feed.until(is_end_of_rib);
    assert_eq!(events[0], RouteEvent::FeedUp);
    assert_eq!(snapshot(&events), ["203.0.113.0/24#0"]);
}

#[test]
fn one_of_several_shadows_lost_is_a_lost_table() {
    let other = ShadowSession {
        listen: "127.0.0.2:0".parse().unwrap(),
        mirrors: session("192.0.2.11"),
        ..shadow("127.0.0.1")
    };
    let feed = ShadowFeed::new(vec![shadow("127.0.0.1"), other]).unwrap();
    let addresses = [feed.local_addr(0).unwrap(), feed.local_addr(1).unwrap()];
    let (sender, batches) = sync_channel(MAX_WAITING_BATCHES);
    let stop = Stop::default();
    let outlet = Outlet::new(FeedId(0), sender, stop.clone());
    let thread = std::thread::spawn(move || Box::new(feed).run(&outlet));
    let next = || batches.recv_timeout(WAIT).unwrap().events;

    let first = Router::establish(addresses[0], IPV4);
    assert_eq!(next(), [RouteEvent::FeedUp]);
    let mut second = Router::establish(addresses[1], IPV4);
    second.send(&update(&[], A));
    assert!(matches!(next()[0], RouteEvent::Announce { .. }));
    drop(first);
    let lost = next();
    assert!(
        matches!(&lost[..], [RouteEvent::RibLost { origin, rib: Some(AdjRib::OutPostPolicy), .. }]
        if *origin == Origin::Session(session("192.0.2.12"))),
        "{lost:?}"
    );
    drop(second);
    assert!(matches!(&next()[..], [RouteEvent::FeedDown { .. }]));
    stop.stop();
    thread.join().unwrap();
}

#[test]
fn strangers_and_wrong_opens_are_answered_with_the_reason() {
    let feed = Running::start(vec![shadow("127.0.0.9")]);
    for count in 1..=2 {
        let mut stranger = Router(TcpStream::connect(feed.address).unwrap());
        assert_eq!(
            stranger.hear_notification(),
            Notification {
                code: 6,
                subcode: 5
            }
        );
        assert_eq!(feed.skipped.of("refused-connection"), count);
    }

    let feed = Running::one();
    for (open, code, subcode) in [
        (open_body(64999, 90, IPV4), 2, 2),
        (open_body(64500, 2, IPV4), 2, 6),
        (open_body(64500, 90, &[65, 9, 0]), 2, 0), // cut
    ] {
        let mut router = Router(TcpStream::connect(feed.address).unwrap());
        router.hear();
        router.say(1, &open);
        assert_eq!(router.hear_notification(), Notification { code, subcode });
    }
    let mut early = Router(TcpStream::connect(feed.address).unwrap());
    early.hear();
    early.send(&update(&[], A));
    assert_eq!(
        early.hear_notification(),
        Notification {
            code: 5,
            subcode: 0
        }
    );
}

#[test]
fn configuration_errors_name_the_session() {
    let listen = "127.0.0.3:17900".parse().unwrap();
    let twice = ShadowSession {
        listen,
        ..shadow("127.0.0.1")
    };
    let error = ShadowFeed::new(vec![twice.clone(), twice.clone()]).unwrap_err();
    assert!(matches!(error, ShadowError::Twice { .. }), "{error}");
    // A neighbour that can never connect there.
    let error = ShadowFeed::new(vec![ShadowSession {
        password: Password::new(b"secret"),
        remote: "2001:db8::1".parse().unwrap(),
        ..twice
    }])
    .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ShadowError::Password { .. }), "{text}");
    assert!(
        text.contains("2001:db8::1") && !text.contains("secret"),
        "{text}"
    );
}

fn role() -> Role {
    Role {
        router_as: None,
        local_as: Asn::new(64999),
        router_id: "192.0.2.99".parse().unwrap(),
        mirrors: session("192.0.2.12"),
        rib: AdjRib::OutPostPolicy,
        next_hop_kept: true,
        max_routes: 3,
    }
}

/// The AS that the router says must be the configured one.
#[test]
fn another_as_than_the_routers_is_refused() {
    let start = Instant::now();
    let open = message(1, &open_body(64500, 9, IPV4));
    for (configured, accepted) in [(64500, true), (64501, false)] {
        let role = Role {
            router_as: Some(Asn::new(configured)),
            ..role()
        };
        let mut out = Out::default();
        let mut speaker = Speaker::new(role, start, &mut out);
        let result = speaker.message(&open, start, &mut out);
        assert_eq!(result.is_ok(), accepted, "{configured}");
        if let Err(ended) = result {
            assert!(
                ended
                    .to_string()
                    .starts_with("asn-mismatch: the router's OPEN says AS64500")
            );
            let notification = ended.notification().unwrap();
            assert_eq!((notification.code, notification.subcode), (2, 2));
        }
    }
}

/// Timers and limits, without waiting for them.
#[test]
fn timers_and_limits_hold_at_their_edges() {
    let start = Instant::now();
    let mut out = Out::default();
    let mut speaker = Speaker::new(role(), start, &mut out);
    let just_before = Duration::from_millis(29_999);
    assert_eq!(speaker.tick(start + just_before, &mut out), Ok(()));
    assert_eq!(
        speaker.tick(start + Duration::from_secs(30), &mut out),
        Err(Ended::NoOpen)
    );

    let open = message(1, &open_body(64500, 9, IPV4));
    speaker.message(&open, start, &mut out).unwrap();
    speaker.message(&message(4, &[]), start, &mut out).unwrap();
    assert!(speaker.is_established());
    out.answers.clear();
    speaker
        .tick(start + Duration::from_secs(3), &mut out)
        .unwrap();
    assert_eq!(
        out.answers,
        message(4, &[]),
        "a keepalive each third of the hold time"
    );
    let hold = Duration::from_secs(9);
    assert_eq!(
        speaker.tick(start + hold - Duration::from_millis(1), &mut out),
        Ok(())
    );
    assert_eq!(
        speaker.tick(start + hold, &mut out),
        Err(Ended::HoldTimer(hold))
    );

    let prefix = |last: u8| [32, 192, 0, 2, last];
    let three = [prefix(1), prefix(2), prefix(3)].concat();
    speaker
        .message(&update(&[], &three), start, &mut out)
        .unwrap();
    assert_eq!(out.events.len(), 3);
    let fourth = update(&[], &prefix(4));
    assert_eq!(
        speaker.message(&fourth, start, &mut out),
        Err(Ended::TooManyRoutes(3))
    );
    assert_eq!(out.events.len(), 3, "events of a message with an error");
}

/// A router that never says End-of-RIB but marks refreshes is asked again.
#[test]
fn a_table_without_end_is_asked_for_again() {
    let start = Instant::now();
    let mut out = Out::default();
    let mut speaker = Speaker::new(role(), start, &mut out);
    speaker
        .message(&message(1, &open_body(64500, 0, IPV4)), start, &mut out)
        .unwrap();
    speaker.message(&message(4, &[]), start, &mut out).unwrap();
    out.answers.clear();
    speaker
        .tick(start + Duration::from_secs(29), &mut out)
        .unwrap();
    assert!(out.answers.is_empty());
    for _ in 0..2 {
        speaker
            .tick(start + Duration::from_secs(30), &mut out)
            .unwrap();
        assert_eq!(out.answers, message(5, &[0, 1, 0, 1]), "once");
    }
}
