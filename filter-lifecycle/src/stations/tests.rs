//! Claims of every kind against each other, and what an operator is told of them.
use filter_core::Asn;

use super::*;
use crate::spec::Interface;

const A: PeerId = PeerId(0);
const B: PeerId = PeerId(1);
const C: PeerId = PeerId(2);
/// The interface, and its VLAN device.
const LINK: u32 = 5;
const VLAN_LINK: u32 = 9;

struct World {
    spec: Spec,
    links: BTreeMap<InterfaceId, Link>,
    enforced: BTreeSet<PeerId>,
    stations: Stations,
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
            enforced: BTreeSet::new(),
            spec,
            stations,
        }
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut Stations, &Facts<'_>) -> T) -> T {
        let facts = Facts {
            spec: &self.spec,
            links: &self.links,
            enforced: &self.enforced,
        };
        work(&mut self.stations, &facts)
    }

    fn learn(&mut self, link: u32, address: &str, last: u8) -> bool {
        let event = NeighbourEvent::Known {
            link,
            address: address.parse().unwrap(),
            mac: mac(last),
        };
        self.with(|stations, facts| stations.learn(facts, &event))
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
    assert!(!world.learn(LINK, "192.0.2.11", 0x11), "nothing new");
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
    assert_eq!(world.settle().0, [], "told once");
}

#[test]
fn a_mac_moves_between_observed_peers_only() {
    let mut world = World::new();
    world.learn(LINK, "192.0.2.11", 0x33);
    world.settle();
    world.learn(LINK, "192.0.2.12", 0x33);
    let moved = |from, to, kept| StationEvent::Moved {
        mac: mac(0x33),
        from,
        to,
        kept,
    };
    assert_eq!(
        world.settle(),
        (vec![moved(A, B, false)], vec![(0, 0x22, B), (0, 0x33, B)])
    );
    for enforced in [A, B] {
        world.enforced = [enforced].into();
        world.learn(LINK, "192.0.2.11", 0x33);
        let stays = vec![(0, 0x22, B), (0, 0x33, B)];
        assert_eq!(world.settle(), (vec![moved(B, A, true)], stays.clone()));
        assert_eq!(world.settle(), (vec![], stays), "told once");
        world.learn(LINK, "192.0.2.12", 0x33);
        assert_eq!(world.settle().0, [], "it came back");
    }
    // What is configured is never taken away, enforced or not.
    world.enforced.clear();
    world.learn(LINK, "192.0.2.11", 0x22);
    let (events, stations) = world.settle();
    assert!(matches!(
        events[..],
        [StationEvent::Moved { kept: true, .. }]
    ));
    assert!(stations.contains(&(0, 0x22, B)));
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
fn an_exchanges_word_seeds_who_has_its_number_and_its_address() {
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
fn an_exchanges_word_never_takes_what_was_seen_configured_or_enforced() {
    // Seen: A's. The exchange says B's.
    let mut world = World::new();
    world.learn(LINK, "192.0.2.11", 0x33);
    world.settle();
    world.seed(Some(&[(64502, "192.0.2.12", 0x33)]));
    let stays = vec![(0, 0x22, B), (0, 0x33, A)];
    assert_eq!(
        world.settle(),
        (vec![moved_to(0x33, A, B, true)], stays.clone())
    );
    assert_eq!(world.settle(), (vec![], stays), "told once");
    // Configured: B's. The exchange says A's.
    world.seed(Some(&[(64501, "192.0.2.11", 0x22)]));
    let stays = vec![(0, 0x22, B), (0, 0x33, A)];
    assert_eq!(
        world.settle(),
        (vec![moved_to(0x22, B, A, true)], stays.clone())
    );
    assert_eq!(world.settle(), (vec![], stays), "told once");
    // Seeded: A's. Another export says B's: it moves unless one of them is enforced.
    for enforced in [A, B] {
        let mut world = World::new();
        world.seed(Some(&[(64501, "192.0.2.11", 0x33)]));
        world.settle();
        world.enforced = [enforced].into();
        world.seed(Some(&[(64502, "192.0.2.12", 0x33)]));
        let stays = vec![(0, 0x22, B), (0, 0x33, A)];
        assert_eq!(
            world.settle(),
            (vec![moved_to(0x33, A, B, true)], stays.clone())
        );
        assert_eq!(world.settle(), (vec![], stays), "told once");
        world.enforced.clear();
        let moves = vec![(0, 0x22, B), (0, 0x33, B)];
        assert_eq!(world.settle(), (vec![moved_to(0x33, A, B, false)], moves));
    }
}

#[test]
fn what_is_seen_counts_before_an_exchanges_word() {
    let mut world = World::new();
    // Two networks behind one router: the first has it, the other is told of.
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
    assert_eq!(world.settle().0, [], "told once");
    // It answers for B's address.
    world.learn(LINK, "192.0.2.12", 0x33);
    let moves = vec![(0, 0x22, B), (0, 0x33, B)];
    assert_eq!(world.settle(), (vec![moved_to(0x33, A, B, false)], moves));
    assert_eq!(world.settle().0, [], "told once");
    // An enforced peer keeps what it was seeded with until an operator decides.
    let mut world = World::new();
    world.seed(Some(&[(64501, "192.0.2.11", 0x33)]));
    world.settle();
    world.enforced = [A].into();
    world.learn(LINK, "192.0.2.12", 0x33);
    let stays = vec![(0, 0x22, B), (0, 0x33, A)];
    assert_eq!(
        world.settle(),
        (vec![moved_to(0x33, A, B, true)], stays.clone())
    );
    assert_eq!(world.settle(), (vec![], stays), "told once");
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
    world.with(|stations, facts| stations.learn(facts, &NeighbourEvent::Complete));
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
    assert!(world.with(|stations, facts| stations.learn(facts, &NeighbourEvent::Complete)));
    assert_eq!(world.settle().1, [(0, 0x22, B), (0, 0x41, A)]);
}
