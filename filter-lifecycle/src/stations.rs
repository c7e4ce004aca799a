//! From where each peer's frames come: the MACs of the configuration, those its session addresses were seen at, and
//! those that the exchange's member export lists. Pure: neighbour events, member exports, links and the enforced peers
//! are arguments. Never takes a configured MAC from its peer, never moves a MAC that was seen on the strength of an
//! export alone, and never moves one from or to an enforced peer: that is an event, and left to an operator.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use filter_core::layout::{ANY_MAC, Station};
use filter_core::packet::{Mac, Vlans};

use crate::neighbour::{Macs, MemberSeed, NeighbourEvent};
use crate::policy::{self, Link};
use crate::route::PeerId;
use crate::spec::{Attachment, InterfaceId, InterfaceKind, Peer, Spec};

/// Which frames a link's neighbours send: the attached interface's index, and the VLANs they come tagged with.
pub type Places = BTreeMap<u32, (u32, Vlans)>;

/// What changed about a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StationEvent {
    /// A peer's address was seen at a MAC that belonged to no peer.
    Learned {
        /// The peer.
        peer: PeerId,
        /// Its MAC.
        mac: Mac,
    },
    /// The member export lists a MAC for a peer that belonged to no peer.
    Seeded {
        /// The peer.
        peer: PeerId,
        /// Its MAC.
        mac: Mac,
    },
    /// A MAC of one peer answers for an address of another, or the member export lists it for the other.
    Moved {
        /// The MAC.
        mac: Mac,
        /// The peer it belonged to.
        from: PeerId,
        /// The peer that claims it.
        to: PeerId,
        /// It is configured, or one of the two is enforced, or only the export claims it: it stays where it was.
        kept: bool,
    },
}

/// What the assignment depends on besides what was learned.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The configuration.
    pub spec: &'a Spec,
    /// Its interfaces.
    pub links: &'a BTreeMap<InterfaceId, Link>,
    /// Peers whose packets may be dropped.
    pub enforced: &'a BTreeSet<PeerId>,
}

/// Everything learned. Bounded by [`Macs`] and by what a member export may hold.
#[derive(Clone, Debug, Default)]
pub struct Stations {
    macs: Macs,
    places: Places,
    owners: BTreeMap<Station, PeerId>,
    /// The peer that claimed a station last.
    newest: BTreeMap<Station, PeerId>,
    /// Claims that were refused, each reported once.
    refused: BTreeSet<(Station, PeerId)>,
    /// What an earlier process had learned, until the neighbour table has been listed in full.
    inherited: BTreeMap<Station, PeerId>,
    /// The neighbour table has been listed in full.
    complete: bool,
    /// The member export of the exchange behind an interface, by the interface's name.
    seeds: BTreeMap<String, Vec<MemberSeed>>,
    /// Interfaces whose member export never could be read: what was inherited may be of its seeds.
    unseeded: BTreeSet<String>,
}

/// The peers that a station may belong to, by their addresses or by a member export.
#[derive(Debug, Default)]
struct Claimants {
    seen: BTreeSet<PeerId>,
    seeded: BTreeSet<PeerId>,
}

type Claims = BTreeMap<Station, Claimants>;

impl Stations {
    /// What an earlier process left in force stays until the neighbour table has been listed in full.
    pub fn inherit(&mut self, stations: impl IntoIterator<Item = (Station, PeerId)>) {
        let learned = stations
            .into_iter()
            .filter(|(station, _)| station.mac != ANY_MAC);
        self.inherited = learned.collect();
        self.complete = false;
    }

    /// The exchanges' member exports, by the names of the interfaces that have one: what could be read replaces what
    /// was there, what could not (`None`) leaves it.
    pub fn seed(&mut self, exports: BTreeMap<String, Option<Vec<MemberSeed>>>) {
        self.seeds.retain(|name, _| exports.contains_key(name));
        self.unseeded.clear();
        for (name, export) in exports {
            if let Some(seeds) = export {
                self.seeds.insert(name, seeds);
            } else if !self.seeds.contains_key(&name) {
                self.unseeded.insert(name);
            }
        }
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
        let mut wanted = policy::stations(facts.spec, facts.links);
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
                claimants,
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
        if self.complete && self.unseeded.is_empty() {
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
        claim: &Claim<'_>,
        events: &mut Vec<StationEvent>,
    ) -> Option<PeerId> {
        let Claim {
            station,
            former,
            claimants: Claimants { seen, seeded },
            ..
        } = *claim;
        let newest = claim.newest(self.newest.get(&station).copied())?;
        let mac = station.mac;
        let owner = match former {
            None => {
                let peer = newest;
                events.push(if seen.contains(&peer) {
                    StationEvent::Learned { peer, mac }
                } else {
                    StationEvent::Seeded { peer, mac }
                });
                newest
            }
            Some(former) if former == newest => {
                self.refused
                    .retain(|(other, id)| *other != station || seeded.contains(id));
                former
            }
            Some(former) => {
                let kept = claim.is_configured
                    || facts.enforced.contains(&former)
                    || facts.enforced.contains(&newest);
                if !kept || self.refused.insert((station, newest)) {
                    events.push(moved(mac, (former, newest), kept));
                }
                if kept { former } else { newest }
            }
        };
        // A claim by the export alone is reported, unless it only confirms what was so until now.
        for &other in seeded.iter().filter(|&&other| other != owner) {
            if self.refused.insert((station, other)) && former != Some(other) {
                events.push(moved(mac, (owner, other), true));
            }
        }
        Some(owner)
    }

    /// The peer whose session address this is, where that link's frames come in.
    fn peer_at(&self, facts: &Facts<'_>, link: u32, address: IpAddr) -> Option<PeerId> {
        let &place = self.places.get(&link)?;
        let mut peers = facts.spec.peer_ids();
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
        for (id, peer) in facts.spec.peer_ids() {
            for attachment in &peer.attachments {
                let Some(place) = place_of(facts, attachment) else {
                    continue;
                };
                let link = facts.links.get(&attachment.interface);
                let is_ours = |mac: &Mac| link.is_some_and(|link| link.macs.contains(mac));
                let station = |mac| Station {
                    ifindex: place.0,
                    vlans: place.1,
                    mac,
                };
                let links = self.places.iter().filter(|&(_, at)| *at == place);
                for (&link, _) in links {
                    let addresses = attachment.addresses.iter();
                    let macs = addresses.flat_map(|&address| self.macs.of(link, address));
                    for &mac in macs.filter(|mac| !is_ours(mac)) {
                        claims.entry(station(mac)).or_default().seen.insert(id);
                    }
                }
                for &mac in self.seeded(facts, peer, attachment) {
                    if !is_ours(&mac) {
                        claims.entry(station(mac)).or_default().seeded.insert(id);
                    }
                }
            }
        }
        claims
    }

    /// The MACs that the member export lists for the peer: its AS number and one of its addresses there must be the
    /// export's.
    fn seeded<'a>(
        &'a self,
        facts: &Facts<'_>,
        peer: &'a Peer,
        attachment: &'a Attachment,
    ) -> impl Iterator<Item = &'a Mac> {
        let interface = facts.spec.interface(attachment.interface);
        let seeds = interface.and_then(|interface| self.seeds.get(&interface.name));
        let is_its = |seed: &&MemberSeed| {
            let mut addresses = seed.addresses.iter();
            seed.asn == peer.asn && addresses.any(|each| attachment.addresses.contains(each))
        };
        let its = seeds.into_iter().flatten().filter(is_its);
        its.flat_map(|seed| &seed.macs)
    }
}

/// One station, the peer it belonged to, and those that claim it.
struct Claim<'a> {
    station: Station,
    former: Option<PeerId>,
    is_configured: bool,
    claimants: &'a Claimants,
}

impl Claim<'_> {
    /// The peer it belongs to now: the one seen last counts before the one that the export lists.
    fn newest(&self, seen_last: Option<PeerId>) -> Option<PeerId> {
        let Claimants { seen, seeded } = self.claimants;
        let seen_last = seen_last.filter(|id| seen.contains(id));
        let stays = self.former.filter(|id| seeded.contains(id));
        let seen = seen_last.or(seen.first().copied());
        seen.or(stays).or(seeded.first().copied())
    }
}

const fn moved(mac: Mac, (from, to): (PeerId, PeerId), kept: bool) -> StationEvent {
    StationEvent::Moved {
        mac,
        from,
        to,
        kept,
    }
}

/// Where an attachment's frames come in; nothing is learned on a `port`.
fn place_of(facts: &Facts<'_>, attachment: &Attachment) -> Option<(u32, Vlans)> {
    let interface = facts.spec.interface(attachment.interface)?;
    let link = facts.links.get(&attachment.interface)?;
    (interface.kind == InterfaceKind::Lan).then_some((link.ifindex, attachment.vlans))
}

/// Is the peer still attached where this station is?
fn is_lan(facts: &Facts<'_>, id: PeerId, station: Station) -> bool {
    let attachments = facts.spec.peer(id).map(|peer| &peer.attachments);
    let mut attachments = attachments.into_iter().flatten();
    attachments
        .any(|attachment| place_of(facts, attachment) == Some((station.ifindex, station.vlans)))
}

#[cfg(test)]
mod tests;
