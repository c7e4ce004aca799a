//! Claims of every kind against each other, and what is reported of them.
use filter_core::Asn;

use super::*;
use crate::neighbour::CONFIRM_AFTER;
use crate::route::Vrf;
use crate::spec::Interface;

mod frames;

const A: PeerId = PeerId(0);
const B: PeerId = PeerId(1);
const C: PeerId = PeerId(2);
/// The interface, and its VLAN device.
const LINK: u32 = 5;
const VLAN_LINK: u32 = 9;
const STATION_HOLD: Duration = Duration::from_secs(7 * 3600);

struct World {
    spec: Spec,
    links: BTreeMap<InterfaceId, Link>,
    stations: Stations,
    now: Duration,
}

impl World {
    fn new() -> Self {
        let spec = spec();
        let link = Link::new(&spec.interfaces[0], LINK, None).unwrap();
        let mut stations = Stations::default();
        let tagged = Vlans { outer: 7, inner: 0 };
        stations.set_places(
            [
                (LINK, (LINK, Vlans::default())),
                (VLAN_LINK, (LINK, tagged)),
            ]
            .into(),
        );
        Self {
            links: [(InterfaceId(0), link)].into(),
            spec,
            stations,
            now: Duration::ZERO,
        }
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut Stations, &Facts<'_>) -> T) -> T {
        let facts = Facts {
            spec: &self.spec,
            links: &self.links,
        };
        work(&mut self.stations, &facts)
    }

    fn learn(&mut self, link: u32, address: &str, last: u8) -> bool {
        let event = NeighbourEvent::Known {
            link,
            address: address.parse().unwrap(),
            mac: mac(last),
        };
        let now = self.now;
        self.with(|stations, facts| stations.learn(facts, now, &event))
    }

    fn up(&mut self, address: &str) {
        let (now, session) = (self.now, Session::global(address.parse().unwrap()));
        self.with(|stations, facts| stations.session_up(facts, now, session));
    }

    fn down(&mut self, address: &str) {
        let (now, session) = (self.now, Session::global(address.parse().unwrap()));
        self.with(|stations, facts| stations.session_down(facts, now, session));
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        self.with(|stations, facts| stations.age(facts, now, STATION_HOLD));
    }

    /// Are all distinguished, with sessions up at these addresses?
    fn is_whole(&mut self, up: &[&str]) -> bool {
        let is_up = |_: &Peer, address: IpAddr| up.contains(&address.to_string().as_str());
        self.with(|stations, facts| stations.are_whole(facts, InterfaceId(0), is_up))
    }

    /// The events, and the stations as (VLAN, last byte of the MAC, peer).
    fn settle(&mut self) -> (Vec<StationEvent>, Vec<(u16, u8, PeerId)>) {
        let (wanted, events) = self.with(Stations::settle);
        let short =
            |(station, id): (Station, PeerId)| (station.vlans.outer, station.mac.bytes()[5], id);
        (events, wanted.into_iter().map(short).collect())
    }
}

/// One LAN; A and B on it, B with a MAC of its own, C in VLAN 7.
fn spec() -> Spec {
    let lan = Interface {
        lan: vec!["192.0.2.0/24".parse().unwrap()],
        mac: Some(mac(0x01)),
        addresses: Some(vec!["192.0.2.1".parse().unwrap()]),
        ..Interface::new("ixp0", InterfaceKind::Lan)
    };
    let peer = |name, asn, addresses: &[&str]| {
        let addresses = addresses.iter().map(|text| text.parse().unwrap());
        let attachment = Attachment::new(InterfaceId(0), addresses.collect());
        Peer::new(name, Asn::new(asn), attachment)
    };
    let mut spec = Spec::new(Asn::new(64500));
    spec.interfaces = vec![lan];
    spec.peers = vec![
        peer("a", 64501, &["192.0.2.11", "2001:db8::11"]),
        peer("b", 64502, &["192.0.2.12"]),
        peer("c", 64503, &["192.0.2.13"]),
    ];
    spec.peers[1].attachments[0].macs = vec![mac(0x22)];
    spec.peers[2].attachments[0].vlans.outer = 7;
    spec
}

const fn mac(last: u8) -> Mac {
    Mac::from_bytes([2, 0, 0, 0, 0, last])
}

#[test]
fn learned_and_configured_macs_add_up_on_their_vlans() {
    let mut world = World::new();
    assert!(world.learn(LINK, "192.0.2.11", 0x11));
    assert!(world.learn(LINK, "2001:db8::11", 0x12), "several per peer");
    assert!(!world.learn(LINK, "192.0.2.99", 0x99), "nobody's");
    assert!(!world.learn(77, "192.0.2.11", 0x77), "no link of ours");
    assert!(!world.learn(LINK, "192.0.2.13", 0x13), "not in its VLAN");
    assert!(world.learn(VLAN_LINK, "192.0.2.13", 0x13));
    assert!(world.learn(LINK, "192.0.2.12", 0x01), "our own MAC");
    let (events, stations) = world.settle();
    assert_eq!(
        stations,
        [(0, 0x11, A), (0, 0x12, A), (0, 0x22, B), (7, 0x13, C)]
    );
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!(world.settle().0, [], "reported once");
}

const PEER_A: &str = "192.0.2.11";
const PEER_B: &str = "192.0.2.12";
const CONTESTED: StationEvent = StationEvent::Contested {
    mac: mac(0x33),
    between: (A, B),
};

/// "while two peers claim one its packets are `unjudged` (event)".
#[test]
fn what_two_peers_claim_is_neithers() {
    let mut world = World::new();
    world.learn(LINK, PEER_A, 0x33);
    world.settle();
    world.learn(LINK, PEER_B, 0x33);
    assert_eq!(world.settle(), (vec![CONTESTED], vec![(0, 0x22, B)]));
    assert_eq!(world.settle().0, [], "reported once");
    assert!(!world.is_whole(&[]));
    // One of them left it a day ago.
    world.learn(LINK, PEER_B, 0x34);
    world.wait(STATION_HOLD);
    let after = vec![(0, 0x22, B), (0, 0x33, A), (0, 0x34, B)];
    assert_eq!(world.settle().1, after);
}

/// "A confirmed MAC is never learned for another peer": neither a configured one, nor where a session came up.
#[test]
fn a_confirmed_mac_is_never_anothers() {
    let mut world = World::new();
    world.learn(LINK, PEER_A, 0x33);
    world.up(PEER_A);
    world.settle();
    world.learn(LINK, PEER_B, 0x33);
    let stays = vec![(0, 0x22, B), (0, 0x33, A)];
    assert_eq!(
        world.settle(),
        (vec![moved_to(0x33, A, B, true)], stays.clone())
    );
    assert_eq!(world.settle(), (vec![], stays.clone()), "reported once");
    world.learn(LINK, "2001:db8::11", 0x22);
    assert_eq!(world.settle(), (vec![moved_to(0x22, B, A, true)], stays));
}

/// "lapses unless the session lasts one hold time".
#[test]
fn a_session_that_does_not_last_confirms_nothing() {
    for (lasts, events, kept) in [
        (
            CONFIRM_AFTER - Duration::from_secs(1),
            vec![CONTESTED],
            false,
        ),
        (CONFIRM_AFTER, vec![moved_to(0x33, A, B, true)], true),
    ] {
        let mut world = World::new();
        world.learn(LINK, PEER_A, 0x33);
        world.up(PEER_A);
        world.wait(lasts);
        world.down(PEER_A);
        world.settle();
        world.learn(LINK, PEER_B, 0x33);
        let (told, stations) = world.settle();
        assert_eq!((told, stations.contains(&(0, 0x33, A))), (events, kept));
    }
}

/// A forged answer for the address of a peer whose session is up: the stranger's MAC is no peer's, and the peer keeps its own.
#[test]
fn a_stranger_that_answers_for_a_peer_gains_nothing() {
    let mut world = World::new();
    world.learn(LINK, PEER_A, 0x33);
    world.up(PEER_A);
    world.settle();
    world.wait(CONFIRM_AFTER);
    world.learn(LINK, PEER_A, 0x66);
    assert_eq!(world.settle(), (vec![], vec![(0, 0x22, B), (0, 0x33, A)]));
    // Even if its session comes up for as long as it takes to notice.
    world.up(PEER_A);
    world.wait(CONFIRM_AFTER / 2);
    world.down(PEER_A);
    world.learn(LINK, PEER_A, 0x33);
    assert_eq!(world.settle().1, [(0, 0x22, B), (0, 0x33, A)]);
}

/// Neither at the end of the trial, when it would count for the rest of the session.
#[test]
fn a_stranger_that_answers_at_the_end_of_the_trial_locks_nobody_out() {
    let mut world = World::new();
    world.learn(LINK, PEER_A, 0x33);
    world.up(PEER_A);
    world.wait(CONFIRM_AFTER - Duration::from_secs(1));
    world.learn(LINK, PEER_A, 0x66);
    for _ in 0..3 {
        world.wait(CONFIRM_AFTER);
        assert_eq!(world.settle().1, [(0, 0x22, B), (0, 0x33, A)]);
    }
}

/// A feed that connects again, or a second one, reports a session that came up long ago: where the address is then shows
/// nothing.
#[test]
fn a_session_that_is_reported_again_did_not_come_up() {
    let mut world = World::new();
    world.learn(LINK, PEER_A, 0x33);
    world.up(PEER_A);
    world.wait(CONFIRM_AFTER);
    world.learn(LINK, PEER_A, 0x66);
    world.up(PEER_A);
    assert_eq!(world.settle().1, [(0, 0x22, B), (0, 0x33, A)]);
}

/// A session counts where its peer has that address, and in its routing instance.
#[test]
fn a_session_shows_nothing_of_another_link_or_vrf() {
    let mut world = World::new();
    world.spec.peers[2].attachments[0].addresses = vec![PEER_A.parse().unwrap()];
    world.spec.peers[2].attachments[0].vrf = Some(Vrf(7));
    world.learn(LINK, PEER_A, 0x33);
    world.learn(VLAN_LINK, PEER_A, 0x13);
    world.up(PEER_A);
    // What a session shows, forged answers do not add to.
    world.learn(LINK, PEER_A, 0x66);
    world.learn(VLAN_LINK, PEER_A, 0x14);
    let stations = vec![(0, 0x22, B), (0, 0x33, A), (7, 0x13, C), (7, 0x14, C)];
    assert_eq!(world.settle().1, stations);
    let other = Session::of(PEER_A.parse().unwrap(), Some(Vrf(9)));
    let now = world.now;
    assert!(!world.with(|stations, facts| stations.session_up(facts, now, other)));
}

/// A peer that moves to another router: its session comes up there, and the former MAC stays for a day.
#[test]
fn a_peer_moves_to_another_router() {
    let mut world = World::new();
    world.learn(LINK, PEER_A, 0x33);
    world.up(PEER_A);
    world.settle();
    world.wait(CONFIRM_AFTER);
    world.down(PEER_A);
    world.learn(LINK, PEER_A, 0x44);
    assert_eq!(world.settle().1, [(0, 0x22, B), (0, 0x33, A)]);
    world.up(PEER_A);
    let both = vec![(0, 0x22, B), (0, 0x33, A), (0, 0x44, A)];
    assert_eq!(world.settle().1, both);
    // The former router is another peer's now: its session shows it.
    world.learn(LINK, PEER_B, 0x33);
    world.up(PEER_B);
    let (events, stations) = world.settle();
    assert_eq!(events, [moved_to(0x33, A, B, false)]);
    assert_eq!(stations, [(0, 0x22, B), (0, 0x33, B), (0, 0x44, A)]);
    world.wait(STATION_HOLD);
    assert_eq!(world.settle().1, stations);
}

/// The session came up before its address was seen anywhere, as at the start.
#[test]
fn an_address_that_is_seen_after_its_session_came_up_is_confirmed_there() {
    let mut world = World::new();
    world.up(PEER_A);
    world.learn(LINK, PEER_A, 0x33);
    world.learn(LINK, PEER_B, 0x33);
    assert_eq!(world.settle().1, [(0, 0x22, B), (0, 0x33, A)]);
}

/// "or by an operator's command".
#[test]
fn what_an_operator_accepts_is_confirmed() {
    let mut world = World::new();
    world.learn(LINK, PEER_A, 0x33);
    world.learn(LINK, PEER_B, 0x33);
    world.settle();
    let accepted = [("a".to_owned(), [mac(0x33), mac(0x55)].into())];
    world.stations.set_accepted(accepted.into());
    let (events, stations) = world.settle();
    assert_eq!(events, [moved_to(0x33, A, B, true)]);
    assert_eq!(stations, [(0, 0x22, B), (0, 0x33, A), (0, 0x55, A)]);
    world.stations.set_accepted(BTreeMap::new());
    assert_eq!(world.settle().1, [(0, 0x22, B)]);
}

/// "every peer on those tags has a station, and no session address whose session is up is without one".
#[test]
fn an_interface_is_whole_once_everybody_is_told_apart() {
    let mut world = World::new();
    world.learn(LINK, PEER_A, 0x33);
    world.settle();
    assert!(!world.is_whole(&[]), "c has none");
    world.learn(VLAN_LINK, "192.0.2.13", 0x13);
    world.settle();
    assert!(world.is_whole(&[]));
    assert!(world.is_whole(&[PEER_A, PEER_B]), "b's is configured");
    assert!(!world.is_whole(&["2001:db8::11"]), "up, and nowhere");
    world.learn(LINK, "2001:db8::11", 0x33);
    assert!(world.is_whole(&["2001:db8::11"]));
}

/// The export of the exchange: AS number, address, last byte of the MAC.
fn export(members: &[(u32, &str, u8)]) -> Vec<MemberSeed> {
    let seed = |&(asn, address, last): &(u32, &str, u8)| MemberSeed {
        asn: filter_core::Asn::new(asn),
        addresses: vec!["203.0.113.9".parse().unwrap(), address.parse().unwrap()],
        macs: vec![mac(last)],
    };
    members.iter().map(seed).collect()
}

impl World {
    fn seed(&mut self, members: Option<&[(u32, &str, u8)]>) {
        let export = members.map(export);
        self.stations.seed([("ixp0".to_owned(), export)].into());
    }
}

fn moved_to(last: u8, from: PeerId, to: PeerId, kept: bool) -> StationEvent {
    super::moved(mac(last), (from, to), kept)
}

#[test]
fn an_export_seeds_who_has_its_number_and_its_address() {
    let mut world = World::new();
    world.seed(Some(&[
        (64501, "192.0.2.11", 0x51),
        (64501, "2001:db8::11", 0x52),
        (64501, "192.0.2.99", 0x53), // another address
        (64509, "192.0.2.11", 0x54), // another network
        (64502, "192.0.2.12", 0x22), // configured too
        (64502, "192.0.2.12", 0x01), // our own
        (64503, "192.0.2.13", 0x57),
    ]));
    let seeded = |peer, last| StationEvent::Seeded {
        peer,
        mac: mac(last),
    };
    let stations = vec![(0, 0x22, B), (0, 0x51, A), (0, 0x52, A), (7, 0x57, C)];
    let told = vec![seeded(A, 0x51), seeded(A, 0x52), seeded(C, 0x57)];
    assert_eq!(world.settle(), (told, stations.clone()));
    // Seen as well: nothing new. What is seen besides is added.
    world.learn(LINK, "192.0.2.11", 0x51);
    assert_eq!(world.settle(), (vec![], stations.clone()));
    world.learn(LINK, "192.0.2.11", 0x61);
    let (events, more) = world.settle();
    assert!(matches!(
        events[..],
        [StationEvent::Learned { peer: A, .. }]
    ));
    assert_eq!(more.len(), stations.len() + 1);
    // An export that cannot be read takes nothing away, an empty one does, but not what was seen.
    world.seed(None);
    assert_eq!(world.settle(), (vec![], more));
    world.seed(Some(&[]));
    let seen = vec![(0, 0x22, B), (0, 0x51, A), (0, 0x61, A)];
    assert_eq!(world.settle(), (vec![], seen.clone()));
    world.stations.seed(BTreeMap::new());
    assert_eq!(world.settle(), (vec![], seen));
}

#[test]
fn an_export_never_takes_what_was_seen_or_configured() {
    // Seen: A's. The export lists it for B.
    let mut world = World::new();
    world.learn(LINK, "192.0.2.11", 0x33);
    world.settle();
    world.seed(Some(&[(64502, "192.0.2.12", 0x33)]));
    let stays = vec![(0, 0x22, B), (0, 0x33, A)];
    assert_eq!(
        world.settle(),
        (vec![moved_to(0x33, A, B, true)], stays.clone())
    );
    assert_eq!(world.settle(), (vec![], stays), "reported once");
    // Configured: B's. The export lists it for A.
    world.seed(Some(&[(64501, "192.0.2.11", 0x22)]));
    let stays = vec![(0, 0x22, B), (0, 0x33, A)];
    assert_eq!(
        world.settle(),
        (vec![moved_to(0x22, B, A, true)], stays.clone())
    );
    assert_eq!(world.settle(), (vec![], stays), "reported once");
    // Seeded: A's. Another export lists it for B.
    let mut world = World::new();
    world.seed(Some(&[(64501, "192.0.2.11", 0x33)]));
    world.settle();
    world.seed(Some(&[(64502, "192.0.2.12", 0x33)]));
    let stays = vec![(0, 0x22, B), (0, 0x33, A)];
    assert_eq!(
        world.settle(),
        (vec![moved_to(0x33, A, B, true)], stays.clone())
    );
    assert_eq!(world.settle(), (vec![], stays), "reported once");
    world.seed(Some(&[]));
    assert_eq!(world.settle().1, [(0, 0x22, B)]);
}

#[test]
fn what_is_seen_counts_before_an_export() {
    let mut world = World::new();
    // Two networks behind one router: the first has it, the other is reported.
    world.seed(Some(&[
        (64501, "192.0.2.11", 0x33),
        (64502, "192.0.2.12", 0x33),
    ]));
    let (events, stations) = world.settle();
    let first = StationEvent::Seeded {
        peer: A,
        mac: mac(0x33),
    };
    assert_eq!(events, [first, moved_to(0x33, A, B, true)]);
    assert_eq!(stations, [(0, 0x22, B), (0, 0x33, A)]);
    assert_eq!(world.settle().0, [], "reported once");
    // It answers for B's address.
    world.learn(LINK, "192.0.2.12", 0x33);
    let moves = vec![(0, 0x22, B), (0, 0x33, B)];
    assert_eq!(world.settle(), (vec![moved_to(0x33, A, B, false)], moves));
    assert_eq!(world.settle().0, [], "reported once");
}

#[test]
fn what_an_earlier_process_was_seeded_with_outlives_an_export_that_cannot_be_read() {
    let mut world = World::new();
    let station = Station {
        ifindex: LINK,
        vlans: Vlans::default(),
        mac: mac(0x41),
    };
    world.stations.inherit([(station, A)]);
    world.seed(None);
    world.with(|stations, facts| stations.learn(facts, Duration::ZERO, &NeighbourEvent::Complete));
    let both = vec![(0, 0x22, B), (0, 0x41, A)];
    assert_eq!(world.settle().1, both);
    world.seed(Some(&[(64501, "192.0.2.11", 0x41)]));
    assert_eq!(world.settle(), (vec![], both), "known already");
    world.seed(Some(&[]));
    assert_eq!(world.settle().1, [(0, 0x22, B)]);
}

#[test]
fn what_an_earlier_process_learned_stays_until_the_table_is_told() {
    let mut world = World::new();
    let station = |last| Station {
        ifindex: LINK,
        vlans: Vlans::default(),
        mac: mac(last),
    };
    world
        .stations
        .inherit([(station(0x41), A), (station(0x42), A), (station(0x43), C)]);
    assert_eq!(
        world.settle().1,
        [(0, 0x22, B), (0, 0x41, A), (0, 0x42, A)],
        "c is in another VLAN now"
    );
    world.learn(LINK, "192.0.2.11", 0x41);
    assert_eq!(world.settle().0, [], "known already");
    assert!(world.with(|stations, facts| stations.learn(
        facts,
        Duration::ZERO,
        &NeighbourEvent::Complete
    )));
    assert_eq!(world.settle().1, [(0, 0x22, B), (0, 0x41, A)]);
}
