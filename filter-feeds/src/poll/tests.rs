//! The polling machinery against a router that is only a script.
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use filter_core::Family;

use super::fold::Known;
use super::*;
use filter_lifecycle::route::{Batch, FeedId, LossCause, Origin};

fn session(last: u8) -> Session {
    Session::global(IpAddr::from([192, 0, 2, last]))
}

fn up(life: &str) -> State {
    State::Up {
        asn: None,
        restart_time: None,
        families: None,
        local: None,
        life: life.to_owned(),
    }
}

fn routes(texts: &[&str]) -> Vec<Route> {
    texts
        .iter()
        .map(|text| Route::bare(text.parse().unwrap()))
        .collect()
}

fn found(last: u8, state: State, ribs: &[Result<Vec<Route>, String>]) -> SessionReading {
    let rib = |routes: &Result<_, _>| RibReading {
        rib: AdjRib::OutPostPolicy,
        family: Family::Ipv4,
        routes: Clone::clone(routes),
    };
    let ribs = ribs.iter().map(rib).collect();
    SessionReading {
        session: session(last),
        state,
        ribs,
        counts: Vec::new(),
    }
}

fn reading(sessions: Vec<SessionReading>) -> Reading {
    Reading {
        sessions,
        unsettled: false,
        unreadable: BTreeMap::new(),
    }
}

fn session_up(last: u8) -> RouteEvent {
    RouteEvent::SessionUp {
        router: 0,
        session: session(last),
        asn: None,
        restart_time: None,
        families: None,
        local: None,
    }
}

fn session_down(last: u8, cause: DownCause) -> RouteEvent {
    RouteEvent::SessionDown {
        session: session(last),
        cause,
    }
}

fn snapshot(last: u8, texts: &[&str]) -> RouteEvent {
    RouteEvent::Snapshot {
        origin: Origin::Session(session(last)),
        rib: AdjRib::OutPostPolicy,
        family: Family::Ipv4,
        routes: routes(texts).into(),
    }
}

#[test]
fn every_change_of_state_is_reported_once() {
    let mut known = Known::default();
    let mut fold = |sessions| known.fold(reading(sessions), "script");
    let rib = [Ok(routes(&[
        "198.51.100.0/24",
        "100.64.0.0/24",
        "198.51.100.0/24",
    ]))];
    let lost = || State::Down(DownCause::Lost);
    let sent = snapshot(1, &["100.64.0.0/24", "198.51.100.0/24"]);
    assert_eq!(
        fold(vec![found(1, up("a"), &rib), found(2, lost(), &[])]),
        [
            RouteEvent::FeedUp,
            session_up(1),
            sent.clone(),
            session_down(2, DownCause::Lost)
        ]
    );
    // Nothing changed: the table is sent again, as the reconciler wants it.
    let again = fold(vec![found(1, up("a"), &rib), found(2, lost(), &[])]);
    assert_eq!(again, std::slice::from_ref(&sent));
    // Another life of the same session: it was down in between.
    assert_eq!(
        fold(vec![found(1, up("b"), &rib), found(2, up("a"), &[])]),
        [
            session_down(1, DownCause::Lost),
            session_up(1),
            sent,
            session_up(2)
        ]
    );
    // Down is not an empty table; removed is down as well.
    let notified = State::Down(DownCause::Notification);
    assert_eq!(
        fold(vec![found(1, notified, &[])]),
        [
            session_down(1, DownCause::Notification),
            session_down(2, DownCause::Deconfigured)
        ]
    );
    assert_eq!(fold(vec![found(1, lost(), &[])]), []);
}

/// What cannot be read any more of one session is that session's loss: reported, counted, and no other's.
#[test]
fn a_table_that_can_no_longer_be_read_is_lost_alone() {
    let skipped = Skipped::default();
    let mut known = Known::new(skipped.clone());
    let mut fold = |sessions| known.fold(reading(sessions), "script");
    let rib = || [Ok(routes(&["100.64.0.0/24"]))];
    let no = || [Err("it lists 1 route and counts 2".to_owned())];
    assert_eq!(fold(vec![found(1, up("a"), &no())]).len(), 2, "never sent");
    fold(vec![found(1, up("a"), &rib()), found(2, up("a"), &rib())]);
    let lost = RouteEvent::RibLost {
        origin: Origin::Session(session(1)),
        rib: Some(AdjRib::OutPostPolicy),
        cause: LossCause::Feed,
        why: "it lists 1 route and counts 2".to_owned(),
    };
    let sent = snapshot(2, &["100.64.0.0/24"]);
    let half = || vec![found(1, up("a"), &no()), found(2, up("a"), &rib())];
    assert_eq!(fold(half()), [lost, sent.clone()]);
    assert_eq!(fold(half()), std::slice::from_ref(&sent), "sent once");
    assert_eq!(skipped.of("unreadable-rib"), 3);
    // It can be read again.
    let both = fold(vec![found(1, up("a"), &rib()), found(2, up("a"), &rib())]);
    assert_eq!(both, [snapshot(1, &["100.64.0.0/24"]), sent]);
}

/// A neighbour of which the reply cannot be read is neither up nor down: its tables are the last known.
#[test]
fn a_neighbour_that_cannot_be_read_is_lost_alone() {
    let skipped = Skipped::default();
    let mut known = Known::new(skipped.clone());
    let rib = [Ok(routes(&["100.64.0.0/24"]))];
    let both = vec![found(1, up("a"), &rib), found(2, up("a"), &rib)];
    known.fold(reading(both.clone()), "script");
    let odd = || {
        let mut odd = reading(vec![found(2, up("a"), &rib)]);
        let why = "it is in the unknown state 9".to_owned();
        odd.unreadable.insert(session(1), why);
        let only = |last| SessionSpec {
            address: session(last).address,
            ribs: AdjRibs::ALL,
        };
        odd.add_missing(&PollConfig {
            sessions: Sessions::Only(vec![only(1), only(2)]),
            ..PollConfig::default()
        });
        odd
    };
    let lost = RouteEvent::RibLost {
        origin: Origin::Session(session(1)),
        rib: None,
        cause: LossCause::Feed,
        why: "it is in the unknown state 9".to_owned(),
    };
    let sent = snapshot(2, &["100.64.0.0/24"]);
    assert_eq!(known.fold(odd(), "script"), [sent.clone(), lost]);
    assert_eq!(known.fold(odd(), "script"), std::slice::from_ref(&sent));
    assert_eq!(skipped.of("unreadable-neighbour"), 2);
    let back = known.fold(reading(both), "script");
    assert_eq!(back, [snapshot(1, &["100.64.0.0/24"]), sent]);
}

#[test]
fn paths_with_one_number_are_numbered_apart() {
    let mut known = Known::default();
    let path = |path, last: u8| Route {
        path,
        next_hop: Some(IpAddr::from([192, 0, 2, last])),
        ..Route::bare("198.51.100.0/24".parse().unwrap())
    };
    let rib = [Ok(vec![path(0, 12), path(0, 11), path(1, 13), path(0, 11)])];
    let events = known.fold(reading(vec![found(1, up("a"), &rib)]), "script");
    let Some(RouteEvent::Snapshot { routes, .. }) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!(routes[..], [path(0, 11), path(1, 12), path(2, 13)]);
}

#[test]
fn two_protocols_of_one_neighbour_are_one_session() {
    let one = || [Ok(routes(&["100.64.0.0/24"]))];
    let two = [Ok(routes(&["100.64.1.0/24"]))];
    let mut both = Reading::default();
    both.add(found(1, State::Down(DownCause::Lost), &[]));
    both.add(found(1, up("a"), &one()));
    both.add(found(1, State::Down(DownCause::Lost), &[]));
    both.add(found(1, up("b"), &two));
    let merged = [Ok(routes(&["100.64.0.0/24", "100.64.1.0/24"]))];
    assert_eq!(both.sessions, [found(1, up("a"), &merged)]);
    both.add(found(1, up("c"), &[Err("no".to_owned())]));
    assert_eq!(both.sessions[0].ribs[0].routes, Err("no".to_owned()));
}

/// A router that says what it was given, in turn, and then the last thing for ever.
struct Script(VecDeque<Result<Reading, &'static str>>);

impl Source for Script {
    fn name(&self) -> String {
        "script".to_owned()
    }

    fn poll(&mut self, _: &PollConfig, _: &Stop) -> Result<Reading, PollError> {
        let next = match self.0.len() {
            1 => self.0[0].clone(),
            _ => self.0.pop_front().unwrap(),
        };
        next.map_err(|why| PollError::malformed("script", why))
    }

    fn glance(&mut self, _: &PollConfig, _: &Stop) -> Result<Lives, PollError> {
        let ups = match self.0.front() {
            Some(Ok(reading)) => reading.sessions.iter(),
            _ => return Err(PollError::malformed("script", "no reading")),
        };
        let ups = ups.filter_map(|each| match &each.state {
            State::Up { life, .. } => Some((each.session.address, life.clone())),
            State::Down(_) => None,
        });
        Ok(ups.collect())
    }
}

struct Running {
    batches: Receiver<Batch>,
    stop: Stop,
    thread: JoinHandle<()>,
}

fn run(script: Vec<Result<Reading, &'static str>>, config: PollConfig) -> Running {
    let (sender, batches) = sync_channel(64);
    let stop = Stop::default();
    let outlet = Outlet::new(FeedId(0), sender, stop.clone());
    let feed = Polling::new(Script(script.into()), config);
    let thread = std::thread::spawn(move || Box::new(feed).run(&outlet));
    Running {
        batches,
        stop,
        thread,
    }
}

impl Running {
    fn next(&self) -> Vec<RouteEvent> {
        self.batches
            .recv_timeout(Duration::from_secs(10))
            .unwrap()
            .events
    }

    fn is_silent_for(&self, time: Duration) -> bool {
        self.batches.recv_timeout(time).is_err()
    }

    fn stop(self) {
        let asked = Instant::now();
        self.stop.stop();
        self.thread.join().unwrap();
        assert!(
            asked.elapsed() < Duration::from_secs(2),
            "it took {:?} to stop",
            asked.elapsed()
        );
    }
}

#[test]
fn polls_when_asked() {
    let rib = [Ok(routes(&["100.64.0.0/24"]))];
    let trigger = Trigger::default();
    let config = PollConfig {
        interval: Duration::from_secs(3600),
        trigger: trigger.clone(),
        ..PollConfig::default()
    };
    let running = run(vec![Ok(reading(vec![found(1, up("a"), &rib)]))], config);
    assert_eq!(running.next().len(), 3);
    assert!(running.is_silent_for(Duration::from_millis(300)));
    trigger.poll_now();
    assert_eq!(running.next(), [snapshot(1, &["100.64.0.0/24"])]);
    running.stop();
}

/// Polls a router whose only session comes up at the given one of its answers; the next poll is an hour away.
/// Returns once that session was reported.
fn comes_up_at_answer(number: usize) {
    struct Router {
        answered: usize,
        comes_up: usize,
    }
    impl Router {
        fn is_up(&mut self) -> bool {
            self.answered += 1;
            self.answered >= self.comes_up
        }
    }
    impl Source for Router {
        fn name(&self) -> String {
            "router".to_owned()
        }
        fn glance(&mut self, _: &PollConfig, _: &Stop) -> Result<Lives, PollError> {
            let up = self.is_up().then(|| (session(1).address, "a".to_owned()));
            Ok(up.into_iter().collect())
        }
        fn poll(&mut self, _: &PollConfig, _: &Stop) -> Result<Reading, PollError> {
            let found = self.is_up().then(|| found(1, up("a"), &[]));
            Ok(reading(found.into_iter().collect()))
        }
    }
    let (sender, batches) = sync_channel(64);
    let stop = Stop::default();
    let outlet = Outlet::new(FeedId(0), sender, stop.clone());
    let config = PollConfig {
        interval: Duration::from_secs(3600),
        ..PollConfig::default()
    };
    let router = Router {
        answered: 0,
        comes_up: number,
    };
    let feed = Polling::new(router, config);
    let thread = std::thread::spawn(move || Box::new(feed).run(&outlet));
    let mut reported = Vec::new();
    while !reported.contains(&session_up(1)) {
        let next = batches.recv_timeout(4 * GLANCE_INTERVAL);
        reported.extend(next.expect("the session was never reported").events);
    }
    stop.stop();
    thread.join().unwrap();
    assert_eq!(reported, [RouteEvent::FeedUp, session_up(1)]);
}

/// The answers of a feed's first round are: the sessions before the poll, the poll, the sessions after it.
#[test]
fn a_session_that_comes_up_between_two_polls_is_polled_within_seconds() {
    comes_up_at_answer(4);
}

#[test]
fn a_session_that_comes_up_during_a_poll_is_polled_within_seconds() {
    comes_up_at_answer(3);
}

#[test]
fn a_session_that_comes_up_before_a_poll_is_in_it() {
    comes_up_at_answer(2);
}

#[test]
fn an_error_is_a_lost_feed_reported_once_and_never_an_empty_table() {
    let rib = [Ok(routes(&["100.64.0.0/24"]))];
    let good = || Ok(reading(vec![found(1, up("a"), &rib)]));
    let config = PollConfig {
        interval: Duration::from_millis(20),
        ..PollConfig::default()
    };
    let running = run(
        vec![good(), Err("broken braces"), Err("broken braces"), good()],
        config,
    );
    let cold = [
        RouteEvent::FeedUp,
        session_up(1),
        snapshot(1, &["100.64.0.0/24"]),
    ];
    assert_eq!(running.next(), cold);
    let [RouteEvent::FeedDown { why }] = &running.next()[..] else {
        panic!("not a lost feed");
    };
    assert!(why.contains("broken braces"), "{why}");
    // Everything anew: what was sent before belongs to the former connection.
    assert_eq!(running.next(), cold);
    running.stop();
}

#[test]
fn an_unsettled_session_is_polled_again_soon() {
    let rib = [Ok(routes(&["100.64.0.0/24"]))];
    let unsettled = Reading {
        sessions: vec![found(1, up("a"), &[])],
        unsettled: true,
        unreadable: BTreeMap::new(),
    };
    let config = PollConfig {
        interval: Duration::from_secs(3600),
        ..PollConfig::default()
    };
    let running = run(
        vec![Ok(unsettled), Ok(reading(vec![found(1, up("a"), &rib)]))],
        config,
    );
    assert_eq!(running.next(), [RouteEvent::FeedUp, session_up(1)]);
    assert_eq!(running.next(), [snapshot(1, &["100.64.0.0/24"])]);
    running.stop();
}

#[test]
fn many_events_come_in_bounded_batches() {
    let all = u32::try_from(MAX_BATCH_EVENTS).unwrap() + 10;
    let sessions = (0..all).map(|number| SessionReading {
        session: Session::global(IpAddr::from(number.to_be_bytes())),
        state: up("a"),
        ribs: Vec::new(),
        counts: Vec::new(),
    });
    let running = run(vec![Ok(reading(sessions.collect()))], PollConfig::default());
    assert_eq!(running.next().len(), MAX_BATCH_EVENTS);
    assert_eq!(running.next().len(), 11);
    running.stop();
}

/// A router that takes its time to answer, and is asked for the next poll before it has.
struct Slow {
    trigger: Trigger,
    polls: Arc<Mutex<Vec<(Instant, Instant)>>>,
}

impl Source for Slow {
    fn name(&self) -> String {
        "slow".to_owned()
    }

    fn glance(&mut self, _: &PollConfig, _: &Stop) -> Result<Lives, PollError> {
        Ok(Lives::new())
    }

    fn poll(&mut self, _: &PollConfig, stop: &Stop) -> Result<Reading, PollError> {
        let began = Instant::now();
        stop.sleep(Duration::from_millis(60))?;
        self.trigger.poll_now();
        let mut polls = self.polls.lock().unwrap();
        polls.push((began, Instant::now()));
        Ok(Reading::default())
    }
}

#[test]
fn a_router_spends_a_tenth_of_its_time_on_polls_however_many_are_asked_for() {
    let (sender, batches) = sync_channel(64);
    let (stop, trigger) = (Stop::default(), Trigger::default());
    let outlet = Outlet::new(FeedId(0), sender, stop.clone());
    let polls: Arc<Mutex<Vec<_>>> = Arc::default();
    let source = Slow {
        trigger: trigger.clone(),
        polls: Arc::clone(&polls),
    };
    // Shorter than a poll takes: it decides nothing.
    let config = PollConfig {
        interval: Duration::from_millis(10),
        trigger,
        ..PollConfig::default()
    };
    let feed = Polling::new(source, config);
    let lag = Feed::lag(&feed).unwrap();
    assert_eq!(lag.last(), None);
    let thread = std::thread::spawn(move || Box::new(feed).run(&outlet));
    let end = Instant::now() + Duration::from_secs(20);
    while polls.lock().unwrap().len() < 4 {
        assert!(Instant::now() < end, "not polled when asked");
        std::thread::yield_now();
    }
    stop.stop();
    thread.join().unwrap();
    drop(batches);
    let polls = polls.lock().unwrap();
    for pair in polls.windows(2) {
        let ((began, ended), (next, _)) = (pair[0], pair[1]);
        let (took, rest) = (ended - began, next - ended);
        assert!(rest >= 9 * took, "{took:?}, then {rest:?}");
    }
    let last = lag.last().unwrap();
    assert!(last.took >= Duration::from_millis(60), "{last:?}");
    assert_eq!(last.every, 10 * last.took);
}
