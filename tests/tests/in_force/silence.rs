//! For how long a MAC is its peer's once the kernel has forgotten the neighbour: until its frames end, whoever looks at them.
//!
//! How long ago a session address was heard is by the program's own clock, which does not hurry with the test's: heard once, it
//! was heard just now.
use filter_engine::StationStatus;

use super::*;

const HOLD: u64 = 3600;
/// The rest is longer than what the tests do besides.
const BEFORE_END: u64 = HOLD - 500;
/// From the peer's session address to ours.
const OF_THE_SESSION: (&str, &str) = ("192.0.2.10", "192.0.2.1");
const ROUTER: u8 = 0x10;
const NEXT_ROUTER: u8 = 0x44;

/// One peer on a LAN, known by the neighbour table alone.
fn on_a_lan() -> Spec {
    let mut spec = spec();
    spec.timers.station_hold = Duration::from_secs(HOLD);
    spec.interfaces[0].kind = InterfaceKind::Lan;
    spec.interfaces[0].lan = vec!["192.0.2.0/24".parse().unwrap()];
    spec
}

impl Scene {
    /// The kernel finds the peer's session address at this MAC.
    fn found_at(&mut self, last: u8) {
        let mac = mac(last);
        tests::netns::ip(&format!(
            "neigh replace 192.0.2.10 lladdr {mac} dev {NEAR} nud permanent"
        ));
        self.wait(1);
    }

    /// It has forgotten it.
    fn forgotten(&mut self) {
        tests::netns::ip(&format!("neigh del 192.0.2.10 dev {NEAR}"));
        self.wait(1);
    }

    /// The peer's session comes up where its address is, and lasts.
    fn session_lasts(&mut self) {
        self.session_up();
        self.wait(200);
        let event = RouteEvent::SessionDown {
            session: session(),
            cause: DownCause::Notification,
        };
        self.tell(BMP_LISTENER, &event);
        self.wait(1);
    }

    fn stations(&mut self) -> Vec<StationStatus> {
        let now = self.now;
        self.engine().macs(now, P).0
    }

    /// The peer's MACs, by their last bytes.
    fn macs(&mut self) -> Vec<u8> {
        let mut macs: Vec<u8> = self
            .stations()
            .iter()
            .filter_map(|station| Some(station.mac?.bytes()[5]))
            .collect();
        macs.sort_unstable();
        macs
    }
}

#[test]
fn a_router_that_the_kernel_forgot_is_its_peers_until_its_frames_end() {
    if !require_kernel("a_router_that_the_kernel_forgot_is_its_peers_until_its_frames_end") {
        return;
    }
    let mut scene = Scene::with(on_a_lan(), None);
    scene.found_at(ROUTER);
    assert_eq!(scene.macs(), [ROUTER]);
    let [station] = &scene.stations()[..] else {
        panic!("one");
    };
    assert_eq!(
        (station.last_seen, station.last_session_frame),
        (None, None)
    );
    scene.forgotten();
    for _ in 0..3 {
        scene.wait(BEFORE_END);
        scene.all_pass(GOOD);
        scene.wait(2);
        let [station] = &scene.stations()[..] else {
            panic!("it sends");
        };
        assert!(
            station
                .last_seen
                .is_some_and(|ago| ago <= Duration::from_secs(3))
        );
        assert_eq!(station.last_session_frame, None, "{station:?}");
    }
    scene.wait(BEFORE_END);
    assert_eq!(scene.macs(), [ROUTER]);
    scene.wait(HOLD - BEFORE_END + 2);
    assert_eq!(scene.macs(), [0; 0]);
    scene.end();
}

/// "Another confirmed MAC replaces it only if it sent nothing *from that address* since."
#[test]
fn a_former_router_stays_only_while_the_session_address_is_heard_there() {
    if !require_kernel("a_former_router_stays_only_while_the_session_address_is_heard_there") {
        return;
    }
    for (flow, stays) in [(OF_THE_SESSION, true), (GOOD, false)] {
        let mut scene = Scene::with(on_a_lan(), None);
        for router in [ROUTER, NEXT_ROUTER] {
            scene.found_at(router);
            scene.session_lasts();
        }
        assert_eq!(scene.macs(), [ROUTER, NEXT_ROUTER]);
        scene.all_pass(flow);
        scene.wait(BEFORE_END);
        assert_eq!(scene.macs()[..1], [ROUTER]);
        scene.all_pass(flow);
        scene.wait(HOLD - BEFORE_END + 2);
        let both: &[u8] = &[ROUTER, NEXT_ROUTER];
        let expected = if stays { both } else { &both[1..] };
        assert_eq!(scene.macs(), expected, "{flow:?}");
        let mut stations = scene.stations().into_iter();
        let router = stations.find(|it| it.mac == Some(mac(ROUTER)));
        let heard = router.and_then(|it| it.last_session_frame);
        assert_eq!(heard.is_some_and(|ago| ago < WITHIN), stays, "{heard:?}");
        scene.end();
    }
}

/// Marks and notes are in the data plane: another process goes on where this one was.
#[test]
fn a_former_router_outlives_the_daemon() {
    if !require_kernel("a_former_router_outlives_the_daemon") {
        return;
    }
    let pins = Pins::new();
    let mut scene = Scene::with(on_a_lan(), Some(pins.path().to_owned()));
    for router in [ROUTER, NEXT_ROUTER] {
        scene.found_at(router);
        scene.session_lasts();
    }
    scene.wait(BEFORE_END);
    let at = |scene: &mut Scene, last: u8| {
        let mut all = scene.stations().into_iter();
        all.find(|it| it.mac == Some(mac(last)))
    };
    // Frames that come while there is no daemon.
    drop(scene.engine.take());
    scene.all_pass(OF_THE_SESSION);
    scene.now = Duration::from_secs(1); // another process's clock
    scene.load_with(on_a_lan(), Some(pins.path().to_owned()), |_| {});
    scene.wait(2);
    let router = at(&mut scene, ROUTER).expect("it is the peer's still");
    assert_eq!(router.known_by, "session");
    assert!(router.last_seen.is_some() && router.last_session_frame.is_some());
    let next = at(&mut scene, NEXT_ROUTER).expect("so is the other");
    assert_eq!((next.known_by, next.last_seen), ("session", None));
    scene.wait(BEFORE_END);
    assert_eq!(scene.macs(), [ROUTER, NEXT_ROUTER]);
    scene.all_pass(OF_THE_SESSION);
    scene.wait(HOLD - BEFORE_END + 2);
    assert_eq!(scene.macs(), [ROUTER, NEXT_ROUTER]);
    scene.end();
}

/// It has just sent from the address when a session comes up at the next one: what was heard is asked whenever a MAC may go.
#[test]
fn a_former_router_that_sent_from_the_address_just_now_stays() {
    if !require_kernel("a_former_router_that_sent_from_the_address_just_now_stays") {
        return;
    }
    let mut scene = Scene::with(on_a_lan(), None);
    scene.found_at(ROUTER);
    scene.session_lasts();
    scene.found_at(NEXT_ROUTER);
    scene.wait(BEFORE_END);
    scene.all_pass(GOOD);
    scene.wait(HOLD - BEFORE_END + 2);
    assert_eq!(scene.macs(), [ROUTER], "kept by its frames");
    scene.wait(1000);
    scene.all_pass(OF_THE_SESSION);
    scene.session_lasts(); // at the next router
    assert_eq!(scene.macs(), [ROUTER, NEXT_ROUTER]);
    scene.end();
}

const OTHER: PeerId = PeerId(1);

/// Another peer on it, of which no session is known either.
fn two_on_a_lan() -> Spec {
    let mut spec = on_a_lan();
    let attachment = Attachment::new(InterfaceId(0), vec!["192.0.2.20".parse().unwrap()]);
    spec.peers.push(Peer {
        mode: Mode::Enforce,
        ..Peer::new("other", Asn::new(64999), attachment)
    });
    spec
}

impl Scene {
    fn macs_of_other(&mut self) -> Vec<Option<Mac>> {
        let now = self.now;
        let (stations, _) = self.engine().macs(now, OTHER);
        stations.iter().map(|station| station.mac).collect()
    }

    fn contested(&mut self) -> Vec<Option<Mac>> {
        let now = self.now;
        let interface = &self.engine().status(now).interfaces[0];
        interface.contested.iter().map(|it| it.mac).collect()
    }

    /// A stranger asks for us, and says that the other peer's address is at that MAC.
    fn other_is_said_to_be_at(&mut self, last: u8) {
        let mut body = vec![0, 1, 8, 0, 6, 4, 0, 1];
        body.extend(mac(last).bytes());
        body.extend([192, 0, 2, 20]);
        body.extend([0; 6]);
        body.extend([192, 0, 2, 1]);
        body.resize(46, 0);
        let request = frame::ethernet(Mac::from_bytes([0xff; 6]), mac(0x66), 0x0806, &body);
        let said = format!("192.0.2.20 lladdr {}", mac(last));
        tests::wire::until("the kernel believes it", || {
            self.pair.far.send(&request); // not heeded in the second after another
            tests::netns::ip(&format!("neigh show dev {NEAR}")).contains(&said)
        });
        self.wait(1);
    }
}

#[test]
fn one_forged_request_takes_no_mac_from_a_peer_that_the_kernel_forgot() {
    if !require_kernel("one_forged_request_takes_no_mac_from_a_peer_that_the_kernel_forgot") {
        return;
    }
    let mut scene = Scene::with(two_on_a_lan(), None);
    scene.found_at(ROUTER);
    scene.other_is_said_to_be_at(0x55);
    scene.forgotten();
    scene.other_is_said_to_be_at(ROUTER); // forged
    assert_eq!(scene.contested(), [Some(mac(ROUTER))]);
    scene.other_is_said_to_be_at(0x55);
    for _ in 0..3 {
        _ = scene.passed(GOOD);
        scene.wait(BEFORE_END);
    }
    assert_eq!(scene.macs(), [ROUTER]);
    assert_eq!(scene.macs_of_other(), [Some(mac(0x55))]);
    scene.end();
}

#[test]
fn a_contested_mac_outlives_the_daemon() {
    if !require_kernel("a_contested_mac_outlives_the_daemon") {
        return;
    }
    let pins = Pins::new();
    let mut scene = Scene::with(two_on_a_lan(), Some(pins.path().to_owned()));
    scene.found_at(ROUTER);
    scene.other_is_said_to_be_at(ROUTER);
    scene.forgotten();
    tests::netns::ip(&format!("neigh del 192.0.2.20 dev {NEAR}"));
    scene.wait(2);
    assert_eq!(scene.contested(), [Some(mac(ROUTER))]);
    scene.load_with(two_on_a_lan(), Some(pins.path().to_owned()), |_| {});
    scene.wait(2);
    assert_eq!(scene.contested(), [Some(mac(ROUTER))]);
    scene.end();
}
