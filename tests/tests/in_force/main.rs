//! What is in force is what the data plane does: the engine over a real link, numbered good and spoofed packets, and a
//! receiver that counts them. Time is the test's own, so that holds cost nothing.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use filter_core::packet::Mac;
use filter_core::{Asn, Family, Mode, frame};
use filter_engine::{Engine, Exports, Fitted, Notice};
use filter_lifecycle::TICK;
use filter_lifecycle::route::{
    AdjRib, DownCause, FeedId, Origin, PeerId, Route, RouteEvent, Session,
};
use filter_lifecycle::spec::{
    Attachment, Feed, HookChoice, Interface, InterfaceId, InterfaceKind, Peer, Spec,
};
use filter_loader::{Switch, hooks};
use tests::require_kernel;
use tests::rig::{NEAR, Pair, Pins};

mod breaker;
mod silence;
mod trials;

const BMP_LISTENER: FeedId = FeedId(0);
const BY_HAND: FeedId = FeedId(1);
const P: PeerId = PeerId(0);
/// Sent at a time.
const PACKETS: usize = 20;
const WITHIN: Duration = Duration::from_secs(10);
const UDP: u8 = 17;
const ARP: u16 = 0x0806;

const OURS: &str = "44.1.0.1";
const GOOD: (&str, &str) = ("45.146.194.1", OURS);
const SPOOFED: (&str, &str) = ("9.9.9.9", OURS);
const BOGON: (&str, &str) = ("10.0.0.1", OURS);
const GOOD6: (&str, &str) = ("2a13:47c0:146::1", "2a0f:1::1");
const SPOOFED6: (&str, &str) = ("2a09::9", "2a0f:1::1");
const ELSEWHERE: (&str, &str) = ("45.146.194.1", "8.8.8.8");

/// One peer on a port, its BMP feed and our announcements by hand.
struct Scene {
    pair: Pair,
    engine: Option<Engine>,
    now: Duration,
    number: u32,
}

impl Scene {
    fn new(pins: Option<PathBuf>) -> Self {
        Self::with(spec(), pins)
    }

    fn with(spec: Spec, pins: Option<PathBuf>) -> Self {
        let pair = Pair::new(1500);
        tests::netns::ip(&format!("address add 192.0.2.1/24 dev {NEAR}"));
        let mut scene = Self {
            pair,
            engine: None,
            now: Duration::from_secs(1),
            number: 0,
        };
        scene.load_with(spec, pins, |_| {});
        scene
    }

    /// Another process, as far as the filter can see.
    fn load(&mut self, pins: Option<PathBuf>) {
        self.load_with(spec(), pins, |_| {});
    }

    /// As [`Scene::load`], with another specification, and with what it is given before it starts.
    fn load_with(&mut self, spec: Spec, pins: Option<PathBuf>, prepare: impl FnOnce(&mut Engine)) {
        drop(self.engine.take());
        let mut engine = Engine::load(Fitted::new(Arc::new(spec)).unwrap(), pins).unwrap();
        prepare(&mut engine);
        engine.start(self.now, Exports::new()).unwrap();
        self.engine = Some(engine);
    }

    fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().unwrap()
    }

    /// Lets the engine work for so long.
    fn wait(&mut self, seconds: u64) {
        self.wait_for(Duration::from_secs(seconds));
    }

    fn wait_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            let now = self.now;
            self.engine().work(now);
        }
    }

    fn tell(&mut self, feed: FeedId, event: &RouteEvent) {
        let now = self.now;
        self.engine().event(now, feed, event);
    }

    fn session_up(&mut self) {
        self.session_up_at(None);
    }

    /// At this address of ours, as the router reports.
    fn session_up_at(&mut self, local: Option<IpAddr>) {
        let families = Some([true, true]);
        self.tell(
            BMP_LISTENER,
            &RouteEvent::SessionUp {
                router: 0,
                session: session(),
                asn: None,
                restart_time: None,
                families,
                local,
            },
        );
    }

    fn announce(&mut self, prefix: &str) {
        let route = Route::bare(prefix.parse().unwrap());
        let (origin, rib) = (Origin::Session(session()), AdjRib::InPrePolicy);
        self.tell(BMP_LISTENER, &RouteEvent::Announce { origin, rib, route });
    }

    /// The peer's session is up and its routes are received, of these families.
    fn receive(&mut self, families: &[Family]) {
        self.tell(BMP_LISTENER, &RouteEvent::FeedUp);
        self.session_up();
        for &family in families {
            self.announce(match family {
                Family::Ipv4 => "45.146.194.0/23",
                Family::Ipv6 => "2a13:47c0:146::/48",
            });
            let (origin, rib) = (Origin::Session(session()), AdjRib::InPrePolicy);
            self.tell(
                BMP_LISTENER,
                &RouteEvent::EndOfRib {
                    origin,
                    rib,
                    family,
                },
            );
        }
    }

    /// What we advertise.
    fn advertise(&mut self) {
        self.tell(BY_HAND, &RouteEvent::FeedUp);
        for (family, prefix) in Family::ALL.into_iter().zip(["44.1.0.0/16", "2a0f:1::/32"]) {
            self.tell(
                BY_HAND,
                &RouteEvent::Snapshot {
                    origin: Origin::Peer(P),
                    rib: AdjRib::OutPostPolicy,
                    family,
                    routes: [Route::bare(prefix.parse().unwrap())].into(),
                },
            );
        }
    }

    /// Sends numbered packets. How many come through?
    fn passed(&mut self, (source, destination): (&str, &str)) -> usize {
        let (source, destination): (IpAddr, IpAddr) =
            (source.parse().unwrap(), destination.parse().unwrap());
        let mut sent = BTreeSet::new();
        for _ in 0..PACKETS {
            self.number += 1;
            let datagram = frame::udp(format!("number {:08}", self.number).as_bytes());
            let packet = frame::packet(source, destination, UDP, 64, &datagram);
            sent.insert(frame::ethernet(
                mac(0x01),
                mac(0x10),
                frame::ethertype(source),
                &packet,
            ));
        }
        // Nothing overtakes on a wire, and ARP always passes: what is not there by then was dropped.
        self.number += 1;
        let body = self.number.to_be_bytes().repeat(12);
        let marker = frame::ethernet(mac(0x01), mac(0x10), ARP, &body);
        sent.iter().for_each(|frame| self.pair.far.send(frame));
        self.pair.far.send(&marker);
        let (mut arrived, begin) = (Vec::new(), Instant::now());
        while !arrived.contains(&marker) {
            assert!(begin.elapsed() < WITHIN, "not even ARP comes through");
            arrived.extend(self.pair.near.waiting());
        }
        arrived.iter().filter(|frame| sent.contains(*frame)).count()
    }

    #[track_caller]
    fn all_pass(&mut self, flow: (&str, &str)) {
        assert_eq!(self.passed(flow), PACKETS, "{flow:?} at {:?}", self.now);
    }

    #[track_caller]
    fn all_dropped(&mut self, flow: (&str, &str)) {
        assert_eq!(self.passed(flow), 0, "{flow:?} at {:?}", self.now);
    }

    fn end(mut self) {
        self.engine.take().unwrap().detach_all().unwrap();
    }
}

fn mac(last: u8) -> Mac {
    Mac::from_bytes([2, 0, 0, 0, 0, last])
}

fn session() -> Session {
    Session::global("192.0.2.10".parse().unwrap())
}

fn spec() -> Spec {
    let mut spec = Spec::new(Asn::new(64500));
    spec.limits.max_peers = 8;
    spec.limits.table_memory_mib = 8;
    // The packets that pass are seen through packet sockets, which are before tc.
    spec.interfaces = vec![Interface {
        hook: HookChoice::XdpNative,
        ..Interface::new(NEAR, InterfaceKind::Port)
    }];
    let attachment = Attachment::new(InterfaceId(0), vec![session().address]);
    spec.peers = vec![Peer {
        mode: Mode::Enforce,
        ..Peer::new("icrc", Asn::new(57965), attachment)
    }];
    spec.feeds = vec![Feed::Stream, Feed::Static];
    spec
}

/// The first day's value: no feed at all, and a second after the start bogons are dropped.
#[test]
fn bogons_are_dropped_without_any_feed_and_nothing_else_is() {
    if !require_kernel("bogons_are_dropped_without_any_feed_and_nothing_else_is") {
        return;
    }
    let mut scene = Scene::new(None);
    scene.wait(1);
    scene.all_dropped(BOGON);
    for unjudged in [GOOD, SPOOFED, ELSEWHERE, GOOD6, SPOOFED6] {
        scene.all_pass(unjudged);
    }
    scene.end();
}

#[test]
fn sources_are_in_force_without_destinations_and_one_family_without_the_other() {
    if !require_kernel("sources_are_in_force_without_destinations") {
        return;
    }
    let mut scene = Scene::new(None);
    scene.receive(&[Family::Ipv4]);
    scene.wait(1);
    scene.all_dropped(SPOOFED);
    for passes in [GOOD, ELSEWHERE, GOOD6, SPOOFED6] {
        scene.all_pass(passes);
    }
    scene.advertise();
    scene.wait(1);
    scene.all_dropped(ELSEWHERE);
    scene.all_pass(GOOD);
    scene.all_pass(SPOOFED6);
    scene.end();
}

#[test]
fn withdrawing_ipv6_opens_neither_family() {
    if !require_kernel("withdrawing_ipv6_opens_neither_family") {
        return;
    }
    let mut scene = Scene::new(None);
    scene.receive(&Family::ALL);
    scene.advertise();
    scene.wait(1);
    scene.all_pass(GOOD6);
    scene.tell(
        BMP_LISTENER,
        &RouteEvent::Withdraw {
            origin: Origin::Session(session()),
            rib: AdjRib::InPrePolicy,
            prefix: "2a13:47c0:146::/48".parse().unwrap(),
            path: 0,
        },
    );
    for seconds in [1, 60, 300] {
        scene.wait(seconds);
        scene.all_dropped(SPOOFED);
        scene.all_dropped(SPOOFED6);
        scene.all_pass(GOOD);
    }
    scene.all_dropped(GOOD6);
    scene.end();
}

/// The session of a peer that is not our neighbour on the link, as by `ebgp-multihop`, ends at an address of ours that is on
/// another device and that nobody announces: the filter must not cut it.
#[test]
fn the_router_keeps_its_multihop_session() {
    const LOOPBACK: &str = "192.88.98.1";
    if !require_kernel("the_router_keeps_its_multihop_session") {
        return;
    }
    let mut scene = Scene::new(None);
    scene.receive(&Family::ALL);
    scene.advertise();
    scene.wait(1);
    let (to_loopback, beside) = (("192.0.2.10", LOOPBACK), ("192.0.2.10", "192.88.98.2"));
    scene.all_dropped(to_loopback);
    scene.session_up_at(Some(LOOPBACK.parse().unwrap()));
    scene.wait(1);
    scene.all_pass(to_loopback);
    scene.all_dropped(beside);
    scene.all_dropped(SPOOFED);
    scene.all_dropped(("9.9.9.9", LOOPBACK));
    let now = scene.now;
    let explained = scene.engine().explain(
        now,
        P,
        to_loopback.0.parse().unwrap(),
        to_loopback.1.parse().unwrap(),
    );
    assert!(!explained.unwrap().judgement.action.is_violation());
    // It ended, and is to be able to come back.
    let (session, cause) = (session(), DownCause::Lost);
    scene.tell(BMP_LISTENER, &RouteEvent::SessionDown { session, cause });
    scene.wait(5);
    scene.all_pass(to_loopback);
    scene.all_dropped(beside);
    // Its feed connects anew, and has not reported the session yet.
    scene.tell(BMP_LISTENER, &RouteEvent::FeedUp);
    scene.announce("45.146.198.0/24");
    scene.wait(5);
    scene.all_pass(to_loopback);
    scene.all_dropped(beside);
    // What cannot be a session's address admits nothing.
    scene.session_up_at(Some("127.0.0.1".parse().unwrap()));
    scene.wait(1);
    scene.all_dropped(to_loopback);
    scene.end();
}

#[test]
fn a_peer_that_closes_its_only_session_opens_nothing() {
    if !require_kernel("a_peer_that_closes_its_only_session_opens_nothing") {
        return;
    }
    let mut scene = Scene::new(None);
    scene.receive(&Family::ALL);
    scene.advertise();
    scene.wait(1);
    let (session, cause) = (session(), DownCause::Notification);
    scene.tell(BMP_LISTENER, &RouteEvent::SessionDown { session, cause });
    for _ in 0..10 {
        scene.wait(11);
        scene.all_pass(GOOD);
        scene.all_dropped(SPOOFED);
    }
    scene.wait(60);
    scene.all_dropped(GOOD);
    scene.all_dropped(SPOOFED);
    // It is back: what it held counts before it has sent anything.
    scene.session_up();
    scene.wait(1);
    scene.all_pass(GOOD);
    scene.all_dropped(SPOOFED);
    scene.end();
}

/// `observe` writes the pinned word: it needs no daemon, no table, no feed and no adoption.
#[test]
fn observe_works_with_a_stopped_a_dead_and_an_adopting_daemon() {
    if !require_kernel("observe_works_with_a_stopped_a_dead_and_an_adopting_daemon") {
        return;
    }
    let pins = Pins::new();
    let place = || Some(pins.path().to_owned());
    let mut scene = Scene::new(place());
    scene.receive(&Family::ALL);
    scene.advertise();
    scene.wait(1);
    scene.all_dropped(SPOOFED);

    // Stopped: the daemon does no work.
    let switch = Switch::open(pins.path()).unwrap();
    switch.observe("icrc").unwrap();
    scene.all_pass(SPOOFED);
    scene.all_pass(GOOD);
    scene.wait(5);
    scene.all_pass(SPOOFED);
    let now = scene.now;
    scene.engine().set_mode(now, P, Mode::Enforce);
    scene.wait(1);
    scene.all_dropped(SPOOFED);

    // Dead.
    drop(scene.engine.take());
    scene.all_dropped(SPOOFED);
    scene.all_pass(GOOD);
    switch.observe_all();
    scene.all_pass(SPOOFED);
    scene.all_pass(GOOD);

    // Restarted, and no feed is back: what was in force is adopted, and off all the same until `enforce`.
    scene.load(place());
    scene.wait(5);
    scene.all_pass(SPOOFED);
    scene.engine().permit_all(Mode::Enforce);
    scene.wait(5);
    scene.all_dropped(SPOOFED);
    scene.all_pass(GOOD);
    switch.observe("icrc").unwrap();
    scene.all_pass(SPOOFED);
    scene.all_pass(GOOD);
    scene.wait(10);
    scene.all_pass(SPOOFED);
    scene.all_pass(BOGON);

    // The feed stays away: after `stale_hold` only what needs no routes is in force.
    scene.engine().set_mode(now, P, Mode::Enforce);
    scene.wait(1);
    scene.all_dropped(SPOOFED);
    scene.wait(300);
    scene.all_pass(SPOOFED);
    scene.all_dropped(BOGON);
    drop(switch);
    scene.end();
}

/// A table that does not fit is tried again with back-off, whatever the peer announces meanwhile.
#[test]
fn route_changes_do_not_bypass_the_back_off_of_a_failed_publish() {
    const SECONDS: u64 = 10;
    /// At once, then half a second, one, two and four later; the next is eight seconds on.
    const TRIES: usize = 5;
    if !require_kernel("route_changes_do_not_bypass_the_back_off_of_a_failed_publish") {
        return;
    }
    let mut scene = Scene::new(None);
    scene.receive(&Family::ALL);
    scene.advertise();
    scene.wait(1);
    scene.all_dropped(SPOOFED);
    scene.engine().take_notices();
    let mut networks = 0..;
    let mut announce = |scene: &mut Scene| {
        let network: u8 = networks.next().unwrap();
        scene.announce(&format!("45.147.{network}.0/24"));
    };
    hooks::swap_sides(true);
    let (mut failed, end) = (0, scene.now + Duration::from_secs(SECONDS));
    while scene.now < end {
        announce(&mut scene);
        scene.wait_for(TICK);
        let notices = scene.engine().take_notices();
        let failures = notices
            .iter()
            .filter(|notice| matches!(notice, Notice::PublishFailed(..)));
        failed += failures.count();
    }
    hooks::swap_sides(false);
    assert!(
        (2..=TRIES).contains(&failed),
        "{failed} tries in {SECONDS} s"
    );
    scene.all_dropped(SPOOFED);
    scene.all_pass(GOOD);
    scene.end();
}
