//! Whose frames come from where: what a stranger's answers on a LAN gain, and what a peer's own move costs.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use filter_core::layout::Station;
use filter_core::packet::{Mac, Vlans};
use filter_lifecycle::neighbour::{CONFIRM_AFTER, NeighbourEvent};
use filter_lifecycle::policy::Link;
use filter_lifecycle::route::PeerId;
use filter_lifecycle::spec::{InterfaceId, Peer, Spec};
use filter_lifecycle::stations::{Facts, Moment, StationEvent, Stations};

use super::world::{ONE, session, spec_of};

const LINK: u32 = 5;
const P1: &str = "192.0.2.11";
const P2: &str = "192.0.2.12";
const FIRST: PeerId = PeerId(0);
const SECOND: PeerId = PeerId(1);
const ROUTER: Mac = Mac::from_bits(0x02_00_00_00_00_11);
const OTHER_ROUTER: Mac = Mac::from_bits(0x02_00_00_00_00_44);
const STRANGER: Mac = Mac::from_bits(0x02_00_00_00_00_66);
const SECOND_ROUTER: Mac = Mac::from_bits(0x02_00_00_00_00_22);
const STATION_HOLD: Duration = Duration::from_secs(24 * 3600);

/// Two peers on a LAN, without configured MACs.
struct Lan {
    spec: Spec,
    links: BTreeMap<InterfaceId, Link>,
    stations: Stations,
    now: Duration,
}

impl Lan {
    fn new() -> Self {
        let two = ONE
            .replace("p1", "p2")
            .replace(P1, P2)
            .replace("64501", "64502");
        let spec = spec_of(&[ONE, &two]);
        let link = Link::new(&spec.interfaces[0], LINK, None).unwrap();
        let mut stations = Stations::default();
        stations.set_places([(LINK, (LINK, Vlans::NONE))].into());
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

    fn answers(&mut self, address: &str, mac: Mac) {
        let (now, address) = (self.now, address.parse().unwrap());
        let known = NeighbourEvent::Known {
            link: LINK,
            address,
            mac,
        };
        self.with(|stations, facts| stations.learn(facts, now, &known));
    }

    fn up(&mut self, address: &str) {
        let (now, session) = (self.now, session(address));
        self.with(|stations, facts| stations.session_up(facts, now, session));
    }

    fn down(&mut self, address: &str) {
        let (now, session) = (self.now, session(address));
        self.with(|stations, facts| stations.session_down(facts, now, session));
    }

    /// The kernel's entry of the address is gone.
    fn forgotten(&mut self, address: &str) {
        let (now, address) = (self.now, address.parse().unwrap());
        let link = LINK;
        let gone = NeighbourEvent::Gone { link, address };
        self.with(|stations, facts| stations.learn(facts, now, &gone));
    }

    /// A frame came from this MAC.
    fn frame(&mut self, mac: Mac) {
        self.stations.seen(self.now, [Self::station(mac)]);
    }

    const fn station(mac: Mac) -> Station {
        Station {
            ifindex: LINK,
            vlans: Vlans::NONE,
            mac,
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        self.with(|stations, facts| stations.age(facts, now, STATION_HOLD));
    }

    /// Whose frames from this MAC are now.
    fn owner(&mut self, mac: Mac) -> Option<PeerId> {
        let station = Self::station(mac);
        self.with(Stations::settle).0.get(&station).copied()
    }

    /// The MACs that two peers claim.
    fn contested(&self) -> Vec<Mac> {
        let contested = self.stations.contested().iter();
        contested.map(|station| station.mac).collect()
    }

    /// May frames of no peer be dropped, with these sessions up?
    fn is_whole(&mut self, up: &[&str]) -> bool {
        let is_up = |_: &Peer, address: IpAddr| up.contains(&address.to_string().as_str());
        self.with(|stations, facts| stations.are_whole(facts, InterfaceId(0), is_up))
    }
}

/// "A confirmed MAC is never learned for another peer", and "other MACs give way to any confirmed MAC of that address".
#[test]
fn forged_answers_gain_nothing_where_a_session_is() {
    let mut lan = Lan::new();
    lan.answers(P1, ROUTER);
    lan.up(P1);
    lan.answers(P2, SECOND_ROUTER);
    lan.up(P2);
    lan.wait(CONFIRM_AFTER);
    // For the first peer's address answers a stranger, and then the second peer.
    for forger in [STRANGER, SECOND_ROUTER] {
        lan.answers(P1, forger);
        assert_eq!(lan.owner(ROUTER), Some(FIRST));
        assert_eq!(lan.owner(SECOND_ROUTER), Some(SECOND));
        assert_eq!(lan.owner(STRANGER), None);
    }
    // The session that goes down for it, and comes up again at the forger's, lasts no hold time.
    lan.down(P1);
    lan.up(P1);
    lan.wait(CONFIRM_AFTER - Duration::from_secs(1));
    lan.down(P1);
    lan.answers(P1, ROUTER);
    assert_eq!(lan.owner(ROUTER), Some(FIRST));
    assert_eq!(lan.owner(SECOND_ROUTER), Some(SECOND));
}

/// "lapses unless the session lasts one hold time", whoever answers at the start, in the middle or at the end of that time.
#[test]
fn forged_answers_lock_nobody_out_however_they_are_timed() {
    let second = Duration::from_secs(1);
    for (from, until) in [
        (second, 2 * second),
        (CONFIRM_AFTER - second, CONFIRM_AFTER),
    ] {
        let mut lan = Lan::new();
        lan.answers(P1, ROUTER);
        lan.up(P1);
        lan.wait(from);
        lan.answers(P1, STRANGER);
        lan.wait(until - from);
        // More answers than are remembered of one address.
        for last in 0..40 {
            lan.answers(P1, Mac::from_bits(0x02_00_00_00_01_00 + last));
        }
        lan.answers(P1, ROUTER);
        for _ in 0..3 {
            lan.wait(CONFIRM_AFTER);
            assert_eq!(lan.owner(ROUTER), Some(FIRST));
            assert_eq!(lan.owner(STRANGER), None);
        }
    }
}

/// "every peer on those tags has a station": one that two of them claim opens nothing for the MACs of strangers.
#[test]
fn a_mac_that_two_peers_claim_lets_no_stranger_pass() {
    let mut lan = Lan::new();
    for mac in [OTHER_ROUTER, ROUTER] {
        lan.answers(P1, mac);
    }
    lan.answers(P2, SECOND_ROUTER);
    lan.answers(P2, ROUTER);
    assert_eq!(lan.owner(OTHER_ROUTER), Some(FIRST));
    assert_eq!(lan.owner(SECOND_ROUTER), Some(SECOND));
    assert_eq!((lan.owner(ROUTER), lan.contested()), (None, vec![ROUTER]));
    assert!(lan.is_whole(&[P1, P2]));
}

/// "while two peers claim one its packets are `unjudged` (event)".
#[test]
fn what_two_peers_claim_is_judged_as_neithers() {
    let mut lan = Lan::new();
    lan.answers(P1, ROUTER);
    lan.answers(P2, SECOND_ROUTER);
    assert_eq!(lan.owner(ROUTER), Some(FIRST));
    assert!(lan.is_whole(&[]));
    lan.answers(P2, ROUTER);
    let events = lan.with(Stations::settle).1;
    let contested = StationEvent::Contested {
        mac: ROUTER,
        between: (FIRST, SECOND),
    };
    assert_eq!(events, [contested]);
    assert_eq!((lan.owner(ROUTER), lan.is_whole(&[])), (None, false));
    assert_eq!(lan.contested(), [ROUTER]);
    // It never locks the member out: once its session shows whose it is, it is.
    lan.up(P1);
    assert_eq!((lan.owner(ROUTER), lan.is_whole(&[])), (Some(FIRST), true));
    assert_eq!(lan.contested(), []);
}

/// "because p's session came up while the address was at that MAC (it counts from then)"; "Each stays until `station_hold`".
#[test]
fn a_peer_that_moves_to_another_router_keeps_both_for_a_day() {
    let mut lan = Lan::new();
    lan.answers(P1, ROUTER);
    lan.up(P1);
    lan.wait(CONFIRM_AFTER);
    lan.down(P1);
    lan.answers(P1, OTHER_ROUTER);
    assert_eq!(lan.owner(OTHER_ROUTER), None, "anybody could answer");
    lan.up(P1);
    assert_eq!(lan.owner(OTHER_ROUTER), Some(FIRST));
    lan.wait(STATION_HOLD - Duration::from_secs(1));
    assert_eq!(lan.owner(ROUTER), Some(FIRST));
    lan.wait(Duration::from_secs(1));
    assert_eq!(lan.owner(ROUTER), None);
    assert_eq!(lan.owner(OTHER_ROUTER), Some(FIRST));
}

/// "every peer on those tags has a station, and no session address whose session is up is without one".
#[test]
fn frames_of_no_peer_are_dropped_only_once_every_peer_is_told_apart() {
    let mut lan = Lan::new();
    lan.answers(P1, ROUTER);
    lan.with(Stations::settle);
    assert!(!lan.is_whole(&[]), "the second has no station");
    lan.answers(P2, SECOND_ROUTER);
    lan.with(Stations::settle);
    assert!(lan.is_whole(&[P1, P2]));
}

/// "Each stays until `station_hold` (1 day) without a frame": the kernel forgets a neighbour that it does not talk to.
#[test]
fn a_router_that_the_kernel_forgot_stays_while_it_sends() {
    let mut lan = Lan::new();
    lan.answers(P1, ROUTER);
    lan.up(P1);
    lan.wait(CONFIRM_AFTER);
    assert_eq!(lan.owner(ROUTER), Some(FIRST));
    lan.forgotten(P1);
    for _ in 0..3 {
        lan.wait(STATION_HOLD - Duration::from_secs(1));
        lan.frame(ROUTER);
        assert_eq!(lan.owner(ROUTER), Some(FIRST));
    }
    lan.wait(STATION_HOLD - Duration::from_secs(1));
    assert_eq!(lan.owner(ROUTER), Some(FIRST));
    lan.wait(Duration::from_secs(1));
    assert_eq!(lan.owner(ROUTER), None, "silent for a day");
}

/// "Another confirmed MAC replaces it only if it sent nothing *from that address* since."
#[test]
fn a_router_that_was_replaced_stays_only_while_it_sends_from_the_address() {
    for (is_heard, owner) in [(true, Some(FIRST)), (false, None)] {
        let mut lan = Lan::new();
        for router in [ROUTER, OTHER_ROUTER] {
            lan.answers(P1, router);
            lan.up(P1);
            lan.wait(CONFIRM_AFTER);
            lan.down(P1);
            assert_eq!(lan.owner(router), Some(FIRST));
        }
        lan.now += STATION_HOLD - Duration::from_secs(1);
        lan.frame(ROUTER);
        let last = is_heard.then(|| Moment::ago(lan.now, Duration::ZERO));
        let sender = (Lan::station(ROUTER), P1.parse().unwrap());
        lan.stations.heard([(sender, last)].into());
        lan.wait(Duration::from_secs(1));
        assert_eq!(lan.owner(ROUTER), owner);
        assert_eq!(lan.owner(OTHER_ROUTER), Some(FIRST));
    }
}

/// With the MAC of a peer that the kernel has forgotten, or with the stranger's own: neither stays the other peer's for longer
/// than the hold, whatever comes from there.
#[test]
fn one_forged_answer_gains_nothing_that_lasts() {
    let mut lan = Lan::new();
    lan.answers(P1, ROUTER);
    lan.answers(P2, SECOND_ROUTER);
    lan.forgotten(P1);
    lan.frame(ROUTER);
    lan.answers(P2, ROUTER); // forged
    assert_eq!((lan.owner(ROUTER), lan.contested()), (None, vec![ROUTER]));
    lan.answers(P2, STRANGER); // forged
    assert_eq!(lan.owner(STRANGER), Some(SECOND), "nothing shows better");
    lan.answers(P2, SECOND_ROUTER);
    let rounds = 2 * STATION_HOLD.as_secs() / CONFIRM_AFTER.as_secs();
    for _ in 0..rounds {
        lan.wait(CONFIRM_AFTER);
        for each in [ROUTER, SECOND_ROUTER, STRANGER] {
            lan.frame(each);
        }
        _ = lan.owner(ROUTER);
    }
    assert_eq!(lan.owner(ROUTER), Some(FIRST));
    assert_eq!(lan.owner(SECOND_ROUTER), Some(SECOND));
    assert_eq!((lan.owner(STRANGER), lan.contested()), (None, vec![]));
}
