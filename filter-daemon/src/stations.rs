//! From where each peer's frames come: the MACs of the configuration, and those its session addresses were seen
//! at. Pure: neighbour events, links and who is enforced are arguments. Never takes a configured MAC from its
//! peer, and never moves one from or to an enforced peer: that is told, and left to an operator.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use filter_core::layout::ANY_MAC;
use filter_core::packet::{Mac, Vlans};
use filter_loader::Station;

use crate::config::{Config, InterfaceId, InterfaceKind};
use crate::neighbours::{Macs, NeighbourEvent};
use crate::policy::{self, Link};
use crate::route::PeerId;

/// Which frames a link's neighbours send: the attached interface's index, and the VLANs they come tagged with.
pub type Places = BTreeMap<u32, (u32, Vlans)>;

/// What changed about a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StationEvent {
    /// A peer's address was seen at a MAC that was nobody's.
    Learned {
        /// The peer.
        peer: PeerId,
        /// Its MAC.
        mac: Mac,
    },
    /// A MAC that was one peer's answers for an address of another.
    Moved {
        /// The MAC.
        mac: Mac,
        /// Whose it was.
        from: PeerId,
        /// Who claims it.
        to: PeerId,
        /// It is configured, or one of the two is enforced: it stays where it was.
        kept: bool,
    },
}

/// What the assignment depends on besides what was learned.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Its interfaces.
    pub links: &'a BTreeMap<InterfaceId, Link>,
    /// Peers whose packets may be dropped.
    pub enforced: &'a BTreeSet<PeerId>,
}

/// Everything learned. Bounded by [`Macs`].
#[derive(Clone, Debug, Default)]
pub struct Stations {
    macs: Macs,
    places: Places,
    owners: BTreeMap<Station, PeerId>,
    /// Who claimed a station last.
    newest: BTreeMap<Station, PeerId>,
    /// Claims that were refused, each told once.
    refused: BTreeSet<(Station, PeerId)>,
    /// What an earlier process had learned, until the whole table was told.
    inherited: BTreeMap<Station, PeerId>,
    /// The whole table was told.
    complete: bool,
}

/// An address of a peer that was seen at a station.
type Claims = BTreeMap<Station, BTreeSet<PeerId>>;

impl Stations {
    /// What an earlier process left in force stays until the neighbour table was told whole.
    pub fn inherit(&mut self, stations: impl IntoIterator<Item = (Station, PeerId)>) {
        let learned = stations
            .into_iter()
            .filter(|(station, _)| station.mac != ANY_MAC);
        self.inherited = learned.collect();
        self.complete = false;
    }

    /// Where frames of each link's neighbours come in.
    pub fn set_places(&mut self, places: Places) {
        self.places = places;
    }

    /// Peers have other numbers now, or none.
    pub fn renumber(&mut self, number: impl Fn(PeerId) -> Option<PeerId>) {
        for map in [&mut self.owners, &mut self.newest, &mut self.inherited] {
            let old = std::mem::take(map).into_iter();
            *map = old
                .filter_map(|(station, id)| Some((station, number(id)?)))
                .collect();
        }
        self.refused.clear();
    }

    /// Takes in what the neighbour table said. Returns whether [`Stations::settle`] has something to do.
    pub fn learn(&mut self, facts: &Facts<'_>, event: &NeighbourEvent) -> bool {
        match *event {
            NeighbourEvent::Complete => {
                self.complete = true;
                !self.inherited.is_empty()
            }
            NeighbourEvent::Gone { .. } => false,
            NeighbourEvent::Known { link, address, mac } => {
                let Some(peer) = self.peer_at(facts, link, address) else {
                    return false;
                };
                let (ifindex, vlans) = self.places[&link];
                let station = Station {
                    ifindex,
                    vlans,
                    mac,
                };
                let claimed = self.newest.insert(station, peer) != Some(peer);
                self.macs.learn(event) || claimed
            }
        }
    }

    /// Whose frames come from where, and what is new about it.
    pub fn settle(&mut self, facts: &Facts<'_>) -> (BTreeMap<Station, PeerId>, Vec<StationEvent>) {
        let configured = policy::stations(facts.config, facts.links);
        let mut wanted: BTreeMap<Station, PeerId> = configured
            .into_iter()
            .map(|((ifindex, vlans, mac), id)| {
                let station = Station {
                    ifindex,
                    vlans,
                    mac,
                };
                (station, id)
            })
            .collect();
        let claims = self.claims(facts);
        let mut events = Vec::new();
        let mut owners = BTreeMap::new();
        for (&station, claimants) in &claims {
            let is_configured = wanted.contains_key(&station);
            let former = wanted
                .get(&station)
                .or_else(|| self.owners.get(&station))
                .or_else(|| self.inherited.get(&station))
                .copied();
            let claim = Claim {
                station,
                former,
                is_configured,
                newest: self
                    .newest
                    .get(&station)
                    .filter(|id| claimants.contains(id))
                    .or(claimants.first())
                    .copied(),
            };
            let Some(owner) = self.decide(facts, &claim, &mut events) else {
                continue;
            };
            if !is_configured {
                owners.insert(station, owner);
            }
        }
        self.newest
            .retain(|station, _| claims.contains_key(station));
        self.refused
            .retain(|(station, _)| claims.contains_key(station));
        wanted.extend(owners.iter().map(|(&station, &id)| (station, id)));
        if self.complete {
            self.inherited.clear();
        }
        for (&station, &id) in &self.inherited {
            if is_lan(facts, id, station) {
                wanted.entry(station).or_insert(id);
            }
        }
        self.owners = owners;
        (wanted, events)
    }

    fn decide(
        &mut self,
        facts: &Facts<'_>,
        claim: &Claim,
        events: &mut Vec<StationEvent>,
    ) -> Option<PeerId> {
        let newest = claim.newest?;
        let mac = claim.station.mac;
        let Some(former) = claim.former else {
            events.push(StationEvent::Learned { peer: newest, mac });
            return Some(newest);
        };
        if former == newest {
            self.refused
                .retain(|(station, _)| *station != claim.station);
            return Some(former);
        }
        let kept = claim.is_configured
            || facts.enforced.contains(&former)
            || facts.enforced.contains(&newest);
        if !kept || self.refused.insert((claim.station, newest)) {
            events.push(StationEvent::Moved {
                mac,
                from: former,
                to: newest,
                kept,
            });
        }
        Some(if kept { former } else { newest })
    }

    /// The peer whose session address this is, where that link's frames come in.
    fn peer_at(&self, facts: &Facts<'_>, link: u32, address: IpAddr) -> Option<PeerId> {
        let &place = self.places.get(&link)?;
        let mut peers = facts.config.peer_ids();
        let found = peers.find(|(_, peer)| {
            peer.attachments.iter().any(|attachment| {
                attachment.addresses.contains(&address)
                    && place_of(facts, attachment) == Some(place)
            })
        });
        found.map(|(id, _)| id)
    }

    fn claims(&self, facts: &Facts<'_>) -> Claims {
        let mut claims = Claims::new();
        for (id, peer) in facts.config.peer_ids() {
            for attachment in &peer.attachments {
                let Some(place) = place_of(facts, attachment) else {
                    continue;
                };
                let ours = facts.links.get(&attachment.interface).map(|link| link.mac);
                let links = self.places.iter().filter(|&(_, at)| *at == place);
                for (&link, &(ifindex, vlans)) in links {
                    let addresses = attachment.addresses.iter();
                    let macs = addresses.flat_map(|&address| self.macs.of(link, address));
                    for &mac in macs.filter(|&&mac| Some(mac) != ours) {
                        let station = Station {
                            ifindex,
                            vlans,
                            mac,
                        };
                        claims.entry(station).or_default().insert(id);
                    }
                }
            }
        }
        claims
    }
}

/// One station, whose it was, and who claims it.
struct Claim {
    station: Station,
    former: Option<PeerId>,
    is_configured: bool,
    newest: Option<PeerId>,
}

/// Where an attachment's frames come in; nothing is learned on a `port`.
fn place_of(facts: &Facts<'_>, attachment: &crate::config::Attachment) -> Option<(u32, Vlans)> {
    let interface = facts.config.interface(attachment.interface)?;
    let link = facts.links.get(&attachment.interface)?;
    (interface.kind == InterfaceKind::Lan).then_some((link.ifindex, attachment.vlans))
}

/// Is the peer still attached where this station is?
fn is_lan(facts: &Facts<'_>, id: PeerId, station: Station) -> bool {
    let attachments = facts.config.peer(id).map(|peer| &peer.attachments);
    let mut attachments = attachments.into_iter().flatten();
    attachments
        .any(|attachment| place_of(facts, attachment) == Some((station.ifindex, station.vlans)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
[router]
asn = 64500
prefixes = ["100.64.0.0/24"]
[[interface]]
name = "ixp0"
kind = "lan"
lan = ["192.0.2.0/24"]
mac = "02:00:00:00:00:01"
addresses = ["192.0.2.1"]
[[peer]]
name = "a"
asn = 64501
interface = "ixp0"
addresses = ["192.0.2.11", "2001:db8::11"]
[[peer]]
name = "b"
asn = 64502
interface = "ixp0"
addresses = ["192.0.2.12"]
macs = ["02:00:00:00:00:22"]
[[peer]]
name = "c"
asn = 64503
interface = "ixp0"
vlan = 7
addresses = ["192.0.2.13"]
"#;
    const A: PeerId = PeerId(0);
    const B: PeerId = PeerId(1);
    const C: PeerId = PeerId(2);
    /// The interface, and its VLAN device.
    const LINK: u32 = 5;
    const VLAN_LINK: u32 = 9;

    struct World {
        config: Config,
        links: BTreeMap<InterfaceId, Link>,
        enforced: BTreeSet<PeerId>,
        stations: Stations,
    }

    impl World {
        fn new() -> Self {
            let (config, _) = Config::parse(CONFIG, "test").unwrap();
            let link = Link::new(&config.interfaces[0], LINK, None).unwrap();
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
                config,
                stations,
            }
        }

        fn with<T>(&mut self, work: impl FnOnce(&mut Stations, &Facts<'_>) -> T) -> T {
            let facts = Facts {
                config: &self.config,
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
            let short = |(station, id): (Station, PeerId)| {
                (station.vlans.outer, station.mac.bytes()[5], id)
            };
            (events, wanted.into_iter().map(short).collect())
        }
    }

    fn mac(last: u8) -> Mac {
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
}
