//! The breaker's evidence is one packet, however many others of the same peer are dropped beside it.
use filter_lifecycle::{BREAKER_HOLD, BREAKER_WINDOW, Event, Side};

use super::*;

/// Many times the samples that a peer has while they are sent.
const FLOOD: usize = 100_000;
const POLLED: FeedId = FeedId(0);
const STAYS: &str = "45.146.194.0/23";
const VANISHES: &str = "100.0.0.0/16";
const VANISHED: (&str, &str) = ("100.0.0.1", OURS);

fn snapshot(scene: &mut Scene, prefixes: &[&str]) {
    let routes = prefixes
        .iter()
        .map(|text| Route::bare(text.parse().unwrap()));
    let (origin, rib) = (Origin::Session(session()), AdjRib::InPrePolicy);
    let event = RouteEvent::Snapshot {
        origin,
        rib,
        family: Family::Ipv4,
        routes: routes.collect::<Vec<_>>().into(),
    };
    scene.tell(POLLED, &event);
}

/// A peer that is polled, of which a poll no longer shows everything, a hold ago.
fn vanished() -> Scene {
    let mut spec = spec();
    spec.feeds[usize::from(POLLED.0)] = Feed::Poll;
    let hold = spec.timers.withdraw_hold.as_secs();
    let mut scene = Scene::with(spec, None);
    scene.tell(POLLED, &RouteEvent::FeedUp);
    scene.session_up();
    scene.advertise();
    for _ in 0..2 {
        snapshot(&mut scene, &[STAYS, VANISHES]);
        scene.wait(20);
    }
    scene.all_pass(VANISHED);
    scene.all_dropped(SPOOFED);
    snapshot(&mut scene, &[STAYS]);
    scene.wait(hold - 1);
    scene.all_pass(VANISHED);
    scene.wait(2);
    trips(&mut scene);
    scene
}

fn trips(scene: &mut Scene) -> Vec<(Side, usize)> {
    let notices = scene.engine().take_notices().into_iter();
    let trips = notices.filter_map(|notice| match notice {
        Notice::Lifecycle(Event::Breaker { side, prefixes, .. }) => Some((side, prefixes)),
        _ => None,
    });
    trips.collect()
}

fn packet(source: &str) -> Vec<u8> {
    let (source, ours) = (source.parse().unwrap(), OURS.parse().unwrap());
    let packet = frame::packet(source, ours, UDP, 64, &frame::udp(b"lost"));
    frame::ethernet(mac(0x01), mac(0x10), frame::ethertype(source), &packet)
}

/// Sends spoofed packets, never waiting for the engine, and one packet of what vanished in the midst of them.
fn flood(scene: &mut Scene, with_evidence: bool) {
    let spoofed = packet(SPOOFED.0);
    for number in 0..FLOOD {
        scene.pair.far.send(&spoofed);
        if with_evidence && number == FLOOD / 2 {
            scene.pair.far.send(&packet(VANISHED.0));
        }
    }
}

#[test]
fn one_packet_of_what_vanished_trips_the_breaker_in_a_flood_and_the_flood_trips_nothing() {
    let test = "one_packet_of_what_vanished_trips_the_breaker_in_a_flood";
    if !require_kernel(test) {
        return;
    }
    let mut scene = vanished();
    flood(&mut scene, false);
    scene.wait(5);
    assert_eq!(trips(&mut scene), []);
    flood(&mut scene, true);
    scene.wait(1);
    assert_eq!(trips(&mut scene), [(Side::Sources, 1)]);
    scene.all_pass(VANISHED);
    scene.all_dropped(SPOOFED);
    // Once, and for a while.
    scene.wait(BREAKER_HOLD.as_secs() + 1);
    scene.all_dropped(VANISHED);
    scene.wait(1);
    assert_eq!(trips(&mut scene), []);
    scene.all_dropped(VANISHED);
    scene.end();
}

/// "within 10 min", and no packet later.
#[test]
fn what_vanished_long_ago_is_no_evidence() {
    if !require_kernel("what_vanished_long_ago_is_no_evidence") {
        return;
    }
    let mut scene = vanished();
    scene.wait(BREAKER_WINDOW.as_secs());
    scene.all_dropped(VANISHED);
    scene.wait(1);
    assert_eq!(trips(&mut scene), []);
    scene.all_dropped(VANISHED);
    scene.end();
}

/// What another process, or specification, watched for is nothing that vanished for this one.
#[test]
fn what_was_watched_for_before_a_restart_trips_nothing() {
    if !require_kernel("what_was_watched_for_before_a_restart_trips_nothing") {
        return;
    }
    let mut scene = vanished();
    let mut spec = spec();
    spec.feeds[usize::from(POLLED.0)] = Feed::Poll;
    let now = scene.now;
    let fitted = Fitted::new(Arc::new(spec)).unwrap();
    scene.engine().apply(now, fitted, Exports::new()).unwrap();
    scene.tell(POLLED, &RouteEvent::FeedUp);
    scene.session_up();
    scene.advertise();
    for _ in 0..2 {
        snapshot(&mut scene, &[STAYS]);
        scene.wait(20);
    }
    scene.all_dropped(VANISHED);
    scene.wait(1);
    assert_eq!(trips(&mut scene), []);
    scene.all_dropped(VANISHED);
    scene.all_pass(GOOD);
    scene.end();
}
