//! The listener: routers that connect, misbehave, flap and leave; and what time does to a connection.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use filter_feeds::bmp::counts::LeftOut;
use filter_feeds::bmp::router::{
    Closed, MAX_SESSIONS, MAX_UNQUIET, Memory, Noted, QUIET, Router, SETTLE,
};
use filter_feeds::bmp::{BmpConfig, BmpFeed, INITIATION_WAIT, MAX_NAMELESS};
use filter_feeds::shadow::Password;
use filter_feeds::skipped::Skipped;
use filter_feeds::wire::bgp::{PathIds, Update};
use filter_feeds::wire::bmp::{self, Message, Monitored};
use filter_feeds::{Feed, MAX_BATCH_EVENTS, MAX_WAITING_BATCHES, Outlet, Stop};
use filter_lifecycle::route::{AdjRib, Batch, FeedId, LossCause, Origin, RouteEvent, Session};
use tests::captures::{capture, fold, messages, session};

const WAIT: Duration = Duration::from_secs(10);

struct Listener {
    batches: Receiver<Batch>,
    address: SocketAddr,
    skipped: Skipped,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    fn start(max_routers: usize) -> Self {
        let listen = "127.0.0.1:0".parse().unwrap();
        Self::with(BmpConfig {
            max_routers,
            ..BmpConfig::new(listen)
        })
    }

    fn with(config: BmpConfig) -> Self {
        let feed = BmpFeed::new(&config).unwrap();
        let skipped = feed.skipped();
        let address = feed.local_addr().unwrap();
        let (sender, batches) = sync_channel(MAX_WAITING_BATCHES);
        let stop = Stop::default();
        let outlet = Outlet::new(FeedId(7), sender, stop.clone());
        let thread = std::thread::spawn(move || Box::new(feed).run(&outlet));
        Self {
            batches,
            address,
            skipped,
            stop,
            thread: Some(thread),
        }
    }

    fn connect(&self, name: &str) -> TcpStream {
        let mut router = TcpStream::connect(self.address).unwrap();
        router.set_read_timeout(Some(WAIT)).unwrap();
        router.write_all(&initiation(name)).unwrap();
        router
    }

    fn until(&self, last: impl Fn(&RouteEvent) -> bool) -> Vec<RouteEvent> {
        let mut events = Vec::new();
        let end = Instant::now() + WAIT;
        while !events.iter().any(&last) {
            let left = end.saturating_duration_since(Instant::now());
            let batch = self
                .batches
                .recv_timeout(left)
                .unwrap_or_else(|error| panic!("{error} after {events:?}"));
            assert!(batch.events.len() <= MAX_BATCH_EVENTS);
            assert_eq!(batch.feed, FeedId(7));
            events.extend(batch.events);
        }
        events
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn initiation(name: &str) -> Vec<u8> {
    let mut message = vec![
        3,
        0,
        0,
        0,
        10 + name.len() as u8,
        4,
        0,
        2,
        0,
        name.len() as u8,
    ];
    message.extend(name.as_bytes());
    message
}

/// BIRD's messages about one neighbour: a Peer Up and announcements.
fn about(address: &str) -> Vec<Vec<u8>> {
    let stream = capture("bird-2.19.2/bmp.c1.0");
    let whole = messages(&stream).0.into_iter().filter(|message| {
        let (Message::PeerUp(header, _) | Message::RouteMonitoring(header, _)) =
            bmp::read(message).unwrap()
        else {
            return false;
        };
        header.session == session(address)
    });
    whole.map(<[u8]>::to_vec).collect()
}

/// The UPDATE that it holds.
fn update(monitored: Monitored<'_>) -> Update<'_> {
    monitored.update().unwrap().0.unwrap()
}

/// Is the connection closed by the other side?
fn is_closed(mut router: &TcpStream) -> bool {
    matches!(router.read(&mut [0; 64]), Ok(0)) || router.peer_addr().is_err()
}

#[test]
fn one_router_comes_speaks_and_goes() {
    let listener = Listener::start(4);
    let mut router = listener.connect("R");
    let stream = capture("frr-10.3/bmp.c2.0");
    // In pieces that fit no message; a second Initiation is nothing new.
    for piece in stream.chunks(101) {
        router.write_all(piece).unwrap();
    }
    drop(router);
    let events = listener.until(|event| matches!(event, RouteEvent::FeedDown { .. }));
    assert_eq!(events[0], RouteEvent::FeedUp);
    let (mut reference, _) = fold(&[initiation("R"), stream].concat(), Memory::default());
    for event in &mut reference.events {
        if let RouteEvent::SessionUp {
            router,
            session,
            local,
            ..
        } = event
        {
            *router = 1; // the listener's first connection
            let ours = match session.address {
                IpAddr::V4(_) => "192.0.2.1",
                IpAddr::V6(_) => "2001:db8:ff::1",
            };
            assert_eq!(*local, Some(ours.parse().unwrap()), "{session}");
        }
    }
    assert_eq!(events[1..events.len() - 1], reference.events);
    let Some(RouteEvent::FeedDown { why }) = events.last() else {
        panic!("{events:?}");
    };
    assert!(why.starts_with("BMP router \"R\" at 127.0.0.1"), "{why}");
}

#[test]
fn the_feed_is_up_while_one_router_is() {
    let listener = Listener::start(4);
    let mut first = listener.connect("A");
    for message in about("192.0.2.11") {
        first.write_all(&message).unwrap();
    }
    let is_announce = |event: &RouteEvent| matches!(event, RouteEvent::Announce { .. });
    listener.until(is_announce);
    let mut second = listener.connect("B");
    for message in about("192.0.2.12") {
        second.write_all(&message).unwrap();
    }
    let about_second = |event: &RouteEvent| {
        matches!(event, RouteEvent::Announce { origin, .. }
        if *origin == Origin::Session(session("192.0.2.12")))
    };
    let events = listener.until(about_second);
    assert!(!events.contains(&RouteEvent::FeedUp), "up twice");
    drop(first);
    let lost = listener.until(|event| matches!(event, RouteEvent::RibLost { .. }));
    assert!(
        matches!(lost.last(), Some(RouteEvent::RibLost { origin, rib: None, cause: LossCause::Feed, .. })
        if *origin == Origin::Session(session("192.0.2.11")))
    );
    drop(second);
    listener.until(|event| matches!(event, RouteEvent::FeedDown { .. }));
}

/// A name is no proof of who speaks: whoever connects under the name of a router that is there is turned away.
#[test]
fn a_live_router_is_not_evicted_by_its_name() {
    let listener = Listener::start(4);
    let mut former = listener.connect("A");
    for message in about("192.0.2.11") {
        former.write_all(&message).unwrap();
    }
    listener.until(|event| matches!(event, RouteEvent::Announce { .. }));
    let evil = listener.connect("A");
    assert!(is_closed(&evil));
    former.write_all(&about("192.0.2.12")[0]).unwrap();
    let events = listener.until(|event| matches!(event, RouteEvent::SessionUp { session, .. } if session.address.to_string() == "192.0.2.12"));
    let is_loss = |event: &RouteEvent| {
        matches!(
            event,
            RouteEvent::RibLost { .. } | RouteEvent::FeedDown { .. }
        )
    };
    assert!(!events.iter().any(is_loss), "{events:?}");
    assert_eq!(listener.skipped.of("refused-connection"), 1);
}

/// A router that closed its connection comes back at once.
#[test]
fn a_router_that_reconnects_is_there_again() {
    let listener = Listener::start(4);
    let former = listener.connect("A");
    listener.until(|event| *event == RouteEvent::FeedUp);
    drop(former);
    let mut now = listener.connect("A");
    for message in about("192.0.2.11") {
        now.write_all(&message).unwrap();
    }
    listener.until(|event| matches!(event, RouteEvent::Announce { .. }));
}

/// The second router's session is left out, counted, and everything else of it counts.
#[test]
fn two_routers_with_one_neighbour_need_two_feeds() {
    let listener = Listener::start(4);
    let mut first = listener.connect("A");
    first.write_all(&about("192.0.2.11")[0]).unwrap();
    listener.until(|event| matches!(event, RouteEvent::SessionUp { .. }));
    let mut second = listener.connect("B");
    for message in about("192.0.2.11").iter().chain(&about("192.0.2.12")) {
        second.write_all(message).unwrap();
    }
    let of_second = Origin::Session(session("192.0.2.12"));
    let events = listener.until(
        |event| matches!(event, RouteEvent::Announce { origin, .. } if *origin == of_second),
    );
    let of_first = Origin::Session(session("192.0.2.11"));
    let is_claimed = |event: &RouteEvent| matches!(event, RouteEvent::Announce { origin, .. } if *origin == of_first);
    assert!(!events.iter().any(is_claimed), "{events:?}");
    assert_eq!(listener.skipped.of("claimed"), 1);
}

/// Strangers may not even speak, and one log line is all that they get.
#[test]
fn only_who_is_allowed_may_connect() {
    let elsewhere = "192.0.2.0/24".parse().unwrap();
    let listener = Listener::with(BmpConfig {
        allow: vec![elsewhere],
        ..BmpConfig::new("127.0.0.1:0".parse().unwrap())
    });
    for _ in 0..3 {
        let stranger = TcpStream::connect(listener.address).unwrap();
        stranger.set_read_timeout(Some(WAIT)).unwrap();
        assert!(is_closed(&stranger));
    }
    assert_eq!(listener.skipped.of("refused-connection"), 3);
    assert!(listener.batches.try_recv().is_err());
}

/// Whoever connects and says nothing takes no router's place, and is gone after a while.
#[test]
fn silent_connections_hold_nobody_up() {
    let listener = Listener::start(1);
    let silent: Vec<TcpStream> = (0..3 * MAX_NAMELESS)
        .map(|_| TcpStream::connect(listener.address).unwrap())
        .collect();
    let router = listener.connect("R");
    listener.until(|event| *event == RouteEvent::FeedUp);
    for connection in &silent {
        connection
            .set_read_timeout(Some(INITIATION_WAIT + WAIT))
            .unwrap();
        assert!(is_closed(connection));
    }
    assert!(
        !matches!(listener.batches.try_recv(), Ok(batch) if batch.events.iter().any(|event| matches!(event, RouteEvent::FeedDown { .. })))
    );
    drop(router);
}

/// A router that stops talking in the middle is lost after its idle limit, configured or learned.
#[test]
fn a_silent_router_is_lost() {
    let listener = Listener::with(BmpConfig {
        idle: Some(Duration::from_millis(500)),
        ..BmpConfig::new("127.0.0.1:0".parse().unwrap())
    });
    let router = listener.connect("R");
    let events = listener.until(|event| matches!(event, RouteEvent::FeedDown { .. }));
    let Some(RouteEvent::FeedDown { why }) = events.last() else {
        panic!("{events:?}");
    };
    assert!(why.contains("idle limit"), "{why}");
    assert!(is_closed(&router));
}

/// With a password, who has none is never heard: the kernel drops what it sends.
#[test]
fn routers_without_the_password_do_not_connect() {
    let password = Password::new(b"secret");
    let listener = Listener::with(BmpConfig {
        password,
        ..BmpConfig::new("127.0.0.1:0".parse().unwrap())
    });
    let attempt = TcpStream::connect_timeout(&listener.address, Duration::from_millis(700));
    assert!(attempt.is_err(), "{attempt:?}");
    assert!(listener.batches.try_recv().is_err());
}

#[test]
fn malformed_streams_end_and_strangers_never_start() {
    let listener = Listener::start(4);
    let mut stranger = TcpStream::connect(listener.address).unwrap();
    stranger.set_read_timeout(Some(WAIT)).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(is_closed(&stranger));
    let mut mute = TcpStream::connect(listener.address).unwrap();
    mute.set_read_timeout(Some(WAIT)).unwrap();
    mute.write_all(&about("192.0.2.11")[0]).unwrap();
    assert!(is_closed(&mute));
    assert!(
        listener.batches.try_recv().is_err(),
        "a stranger made events"
    );

    let mut router = listener.connect("R");
    router.write_all(&[3, 0xff, 0, 0, 0, 0]).unwrap();
    let events = listener.until(|event| matches!(event, RouteEvent::FeedDown { .. }));
    let Some(RouteEvent::FeedDown { why }) = events.last() else {
        panic!("{events:?}");
    };
    assert!(
        why.contains("a BMP message cannot be 4278190080 bytes long, at byte 1"),
        "{why}"
    );
    assert!(is_closed(&router));
}

#[test]
fn the_number_of_routers_is_bounded() {
    let listener = Listener::start(1);
    let _first = listener.connect("A");
    listener.until(|event| *event == RouteEvent::FeedUp);
    let second = listener.connect("B");
    assert!(is_closed(&second));
}

/// All of a stream at one moment.
fn at_once(name: &str, memory: Memory, now: Instant) -> Router {
    let mut router = Router::new(now);
    for (index, message) in messages(&capture(name)).0.into_iter().enumerate() {
        if router
            .message(message, now, &mut Vec::new(), &mut |_| true)
            .is_err()
        {
            break;
        }
        if index == 0 {
            router.recall(memory.clone());
        }
    }
    router
}

#[test]
fn connections_that_need_it_are_made_anew_once_quiet() {
    let start = Instant::now();
    let healed = Memory {
        healed: true,
        ..Memory::default()
    };
    for (name, memory, heals) in [
        ("frr-8.4.4/bmp.c1.0", Memory::default(), true),
        // The connection that heals has the same sessions, and needs no other.
        ("frr-8.4.4/bmp.c1.0", healed.clone(), false),
        // But a flap on it does.
        ("frr-8.4.4/bmp.c2.0", healed, true),
        ("gr-bird-2.19.2/a.0", Memory::default(), true),
        ("bird-2.19.2/bmp.c2.0", Memory::default(), false),
        ("frr-10.3/bmp.c2.0", Memory::default(), false),
        ("gr-frr-10.3/bmp.0", Memory::default(), false),
        ("gobgp-3.36/bmp.c2.0", Memory::default(), false),
    ] {
        let mut router = at_once(name, memory, start);
        assert_eq!(
            router.tick(start + SETTLE - Duration::from_millis(1)),
            Ok(()),
            "{name}"
        );
        let after = router.tick(start + SETTLE);
        assert_eq!(after.is_err(), heals, "{name}: {after:?}");
        if let Err(closed) = after {
            assert!(matches!(closed, Closed::Heal(_)), "{name}");
            assert!(router.memory(Some(&closed)).healed);
        } else {
            assert_eq!(
                router.tick(start + Duration::from_secs(3600)),
                Ok(()),
                "{name}"
            );
        }
    }
}

#[test]
fn a_router_that_is_never_quiet_is_healed_all_the_same() {
    let start = Instant::now();
    let stream = capture("frr-8.4.4/bmp.c1.0");
    let (whole, _) = messages(&stream);
    let mut router = at_once("frr-8.4.4/bmp.c1.0", Memory::default(), start);
    let announce = whole.iter().find(|message| {
        matches!(bmp::read(message), Ok(Message::RouteMonitoring(header, monitored))
        if !header.session.address.is_unspecified() && update(monitored).end_of_rib().is_none())
    });
    let mut now = start;
    while now < start + MAX_UNQUIET {
        assert_eq!(router.tick(now), Ok(()));
        router
            .message(announce.unwrap(), now, &mut Vec::new(), &mut |_| true)
            .unwrap();
        now += QUIET - Duration::from_millis(1);
    }
    assert!(router.tick(start + MAX_UNQUIET).is_err());
}

/// The first message about this session's routes before policy that is wanted.
fn before_policy<'a, 'b>(
    whole: &'a [&'b [u8]],
    session: Session,
    wanted: fn(&Update<'_>) -> bool,
) -> &'a &'b [u8] {
    let found = whole.iter().find(|message| {
        matches!(bmp::read(message), Ok(Message::RouteMonitoring(header, monitored))
            if header.session == session && header.rib == Some(AdjRib::InPrePolicy) && wanted(&update(monitored)))
    });
    found.unwrap()
}

/// The Initiation, and the first Peer Ups.
fn starts<'a, 'b>(whole: &'a [&'b [u8]]) -> impl Iterator<Item = &'a &'b [u8]> {
    let starts = whole.iter().filter(|message| {
        matches!(
            bmp::read(message),
            Ok(Message::Initiation(_) | Message::PeerUp(..))
        )
    });
    starts.take(6)
}

/// FRR without soft-reconfiguration inbound: before policy, every announcement arrives as a withdrawal.
#[test]
fn a_table_of_which_only_withdrawals_arrive_is_lost() {
    let now = Instant::now();
    let stream = capture("frr-10.3/bmp.c2.0");
    let (whole, _) = messages(&stream);
    let p1 = session("192.0.2.11");
    let withdraw = before_policy(&whole, p1, |update| {
        update.withdrawn(PathIds::NONE).count() > 0
    });
    let announce = before_policy(&whole, p1, |update| {
        update.announced(PathIds::NONE).count() > 0
    });
    let end = before_policy(&whole, p1, |update| update.end_of_rib().is_some());
    let statistics = whole.iter().find(
        |message| matches!(bmp::read(message), Ok(Message::Statistics(header, _)) if header.session == p1),
    );

    let mut router = Router::new(now);
    let mut events = Vec::new();
    for message in starts(&whole)
        .chain([withdraw, withdraw, end])
        .chain(statistics)
    {
        router
            .message(message, now, &mut events, &mut |_| true)
            .unwrap();
    }
    let lost: Vec<_> = events
        .iter()
        .filter(|event| matches!(event, RouteEvent::RibLost { .. }))
        .collect();
    assert!(
        matches!(lost[..], [RouteEvent::RibLost { origin: Origin::Session(session), rib: Some(AdjRib::InPrePolicy), cause: LossCause::Session, why }]
        if *session == p1 && why.contains("soft-reconfiguration inbound")),
        "{lost:?}"
    );
    let is_end = |event: &RouteEvent| matches!(event, RouteEvent::EndOfRib { .. });
    assert!(
        !events.iter().any(is_end),
        "a hidden table was reported to be complete"
    );
    let counted = |event: &RouteEvent| {
        matches!(
            event,
            RouteEvent::Count {
                rib: AdjRib::InPrePolicy,
                ..
            }
        )
    };
    assert!(!events.iter().any(counted));
    // An announcement shows that they are not hidden: what was kept back is reported.
    router
        .message(announce, now, &mut events, &mut |_| true)
        .unwrap();
    assert!(events.last().is_some_and(is_end));
}

/// The same without an End-of-RIB: the table is lost no longer, and one stands before the first route, which proves nothing
/// else.
#[test]
fn a_table_whose_first_update_only_withdraws_is_lost_until_its_first_route() {
    let now = Instant::now();
    let stream = capture("frr-10.3/bmp.c2.0");
    let (whole, _) = messages(&stream);
    let p1 = session("192.0.2.11");
    let withdraw = before_policy(&whole, p1, |update| {
        update.withdrawn(PathIds::NONE).count() > 0
    });
    let announce = before_policy(&whole, p1, |update| {
        update.announced(PathIds::NONE).count() > 0
    });
    let mut router = Router::new(now);
    let mut events = Vec::new();
    for message in starts(&whole).chain([withdraw, announce]) {
        router
            .message(message, now, &mut events, &mut |_| true)
            .unwrap();
    }
    let at = |which: &dyn Fn(&RouteEvent) -> bool| events.iter().position(which);
    let lost = at(&|event| matches!(event, RouteEvent::RibLost { .. }));
    let end = at(&|event| matches!(event, RouteEvent::EndOfRib { .. }));
    let first = at(&|event| matches!(event, RouteEvent::Announce { .. }));
    assert!(lost.is_some() && lost < end && end < first, "{events:?}");
}

#[test]
fn the_number_of_sessions_is_bounded() {
    let now = Instant::now();
    let stream = capture("frr-10.3/bmp.c2.0");
    let (whole, _) = messages(&stream);
    let up = whole.iter().find(|message| matches!(bmp::read(message), Ok(Message::PeerUp(header, _)) if header.session == session("192.0.2.11"))).unwrap();
    let mut router = Router::new(now);
    router
        .message(&initiation("R"), now, &mut Vec::new(), &mut |_| true)
        .unwrap();
    for number in 0..=MAX_SESSIONS {
        let mut up = up.to_vec();
        up[8..16].copy_from_slice(&(number as u64).to_be_bytes());
        let result = router.message(&up, now, &mut Vec::new(), &mut |_| true);
        assert_eq!(result, Ok(Noted::Nothing), "{number}");
    }
    assert_eq!(router.sessions().count(), MAX_SESSIONS);
    assert_eq!(router.counts.of(LeftOut::TooManySessions), 1);
}

/// Routes of a session that is not up: left out, counted, and never an event.
#[test]
fn routes_without_a_session_are_counted() {
    let now = Instant::now();
    let mut router = Router::new(now);
    let mut events = Vec::new();
    router
        .message(&initiation("R"), now, &mut events, &mut |_| true)
        .unwrap();
    for message in &about("192.0.2.11")[1..] {
        router
            .message(message, now, &mut events, &mut |_| true)
            .unwrap();
    }
    assert_eq!(events, []);
    assert!(router.counts.of(LeftOut::UnknownSession) > 3);
}
