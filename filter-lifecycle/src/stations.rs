//! From where each peer's frames come: the MACs of the configuration and of operators' commands, those its session addresses
//! were seen at, and those that the exchange's member export lists. Pure: neighbour events, sessions, member exports and
//! links are arguments.
//!
//! A MAC is *confirmed* for a peer by the configuration, by an operator, or because a session came up while its address was
//! there, and lasted. It is never learned for another peer, whoever answers for that peer's address. Others are
//! *provisional*: they give way to a confirmed one of the same address, and are no peer's while two peers claim them.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use filter_core::layout::{ANY_MAC, Station};
use filter_core::packet::{Mac, Vlans};

use crate::neighbour::{Macs, MemberSeed, NeighbourEvent, Seen};
use crate::policy::{self, Link};
use crate::route::{PeerId, Session};
use crate::spec::{Attachment, InterfaceId, InterfaceKind, Peer, Spec};

use claimants::Claimants;
use frames::{Frames, Recalled};

mod claimants;
mod frames;

pub use frames::{Moment, Sender, Standing};

/// Which frames a link's neighbours send: the attached interface's index, and the VLANs they come tagged with.
pub type Places = BTreeMap<u32, (u32, Vlans)>;

/// What shows that a station is its peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// `macs` of the configuration; on a `port`, its being there.
    Configuration,
    /// An operator accepted it.
    Operator,
    /// A session of the peer came up while its address was there.
    Session,
    /// An address of the peer was seen there.
    Neighbour,
    /// The exchange's member export.
    Export,
    /// An earlier process.
    Before,
}

impl KnownBy {
    /// The name in JSON and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Operator => "operator",
            Self::Session => "session",
            Self::Neighbour => "neighbour",
            Self::Export => "export",
            Self::Before => "before",
        }
    }
}

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
        /// It is confirmed, or only the export claims it: it stays where it was.
        kept: bool,
    },
    /// Two peers' addresses were seen at a MAC that no session confirms: it is neither's, and its frames are not judged.
    Contested {
        /// The MAC.
        mac: Mac,
        /// Those that claim it.
        between: (PeerId, PeerId),
    },
}

/// What the assignment depends on besides what was learned.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The configuration.
    pub spec: &'a Spec,
    /// Its interfaces.
    pub links: &'a BTreeMap<InterfaceId, Link>,
}

/// Everything learned. Bounded by [`Macs`] and by what a member export may hold.
#[derive(Clone, Debug, Default)]
pub struct Stations {
    macs: Macs,
    places: Places,
    owners: BTreeMap<Station, PeerId>,
    /// All stations and their peers, by the last [`Stations::settle`].
    assigned: BTreeMap<Station, PeerId>,
    frames: Frames,
    recalled: Vec<Recalled>,
    /// Claims that were refused, each reported once.
    refused: BTreeSet<(Station, PeerId)>,
    /// Stations that two peers claim and no session confirms.
    contested: BTreeSet<Station>,
    /// MACs that operators accepted, by the peer's name.
    accepted: BTreeMap<String, BTreeSet<Mac>>,
    /// The peers' sessions that are up.
    up: BTreeSet<Session>,
    /// Those that came up while their address was nowhere: where it is seen first is where they came up.
    awaited: BTreeSet<Session>,
    /// What an earlier process had learned, until the neighbour table has been listed in full.
    inherited: BTreeMap<Station, PeerId>,
    /// The neighbour table has been listed in full.
    complete: bool,
    /// The member export of the exchange behind an interface, by the interface's name.
    seeds: BTreeMap<String, Vec<MemberSeed>>,
    /// Interfaces whose member export never could be read: what was inherited may be of its seeds.
    unseeded: BTreeSet<String>,
}

/// Stations whose peer is certain: by the configuration, or an operator's command.
type Fixed = BTreeMap<Station, PeerId>;

type Claims = BTreeMap<Station, Claimants>;

impl Stations {
    /// Has the neighbour table been listed in full?
    #[must_use]
    pub const fn has_listed(&self) -> bool {
        self.complete
    }

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

    /// Where frames of each link's neighbours come in. Returns whether [`Stations::settle`] has something to do.
    pub fn set_places(&mut self, places: Places) -> bool {
        self.places = places;
        self.take_recalled()
    }

    /// The MACs that operators accepted, by the peers' names.
    pub fn set_accepted(&mut self, accepted: BTreeMap<String, BTreeSet<Mac>>) {
        self.accepted = accepted;
    }

    /// A session is up. One that was up before did not come up now, as far as anybody saw: a feed reports it again, or
    /// another one does. Returns whether [`Stations::settle`] has something to do.
    pub fn session_up(&mut self, facts: &Facts<'_>, now: Duration, session: Session) -> bool {
        let Some(links) = self.links_of(facts, session) else {
            return false;
        };
        let was_seen = self.up.insert(session);
        let mut is_anywhere = false;
        for link in links {
            is_anywhere |= self.macs.came_up(now, (link, session.address), was_seen);
        }
        if !is_anywhere {
            self.awaited.insert(session);
        }
        is_anywhere
    }

    /// It went down. Returns whether [`Stations::settle`] has something to do.
    pub fn session_down(&mut self, facts: &Facts<'_>, now: Duration, session: Session) -> bool {
        self.up.remove(&session);
        self.awaited.remove(&session);
        let links = self.links_of(facts, session);
        for &link in links.iter().flatten() {
            self.macs.went_down(now, (link, session.address));
        }
        links.is_some()
    }

    /// The links that the session's peer is on with its address; none if it is no peer's, or on a `port`.
    fn links_of(&self, facts: &Facts<'_>, session: Session) -> Option<Vec<u32>> {
        let mut attachments = attachments(facts.spec);
        let its = attachments.find(|each| each.sessions().any(|each| each == session))?;
        let place = place_of(facts, its)?;
        let links = self.places.iter().filter(|&(_, at)| *at == place);
        Some(links.map(|(&link, _)| link).collect())
    }

    /// What shows that a station is this peer's.
    #[must_use]
    pub fn known_by(&self, facts: &Facts<'_>, station: Station, id: PeerId) -> KnownBy {
        let Some(peer) = facts.spec.peer(id) else {
            return KnownBy::Before;
        };
        let mut configured = policy::stations_of(facts.spec, facts.links, peer);
        if configured.any(|each| each == station) {
            return KnownBy::Configuration;
        }
        let accepted = self.accepted.get(&peer.name);
        if accepted.is_some_and(|macs| macs.contains(&station.mac)) {
            return KnownBy::Operator;
        }
        // What other peers claim shows nothing of this one.
        let fixed = self
            .fixed_of(facts, peer)
            .into_iter()
            .map(|station| (station, id))
            .collect();
        let mut claims = Claims::new();
        self.claim(facts, (id, peer), &fixed, &mut claims);
        match claims.get(&station) {
            Some(claimants) if claimants.confirmed.contains(&id) => KnownBy::Session,
            Some(claimants) if claimants.seen.contains(&id) => KnownBy::Neighbour,
            Some(claimants) if claimants.seeded.contains(&id) => KnownBy::Export,
            _ => KnownBy::Before,
        }
    }

    /// Is every peer on an interface distinguished by its MACs? Each has a station, and no address whose session is up is without
    /// one: then frames from other MACs are no peer's, but for contested ones, which are not judged.
    #[must_use]
    pub fn are_whole(
        &self,
        facts: &Facts<'_>,
        interface: InterfaceId,
        is_up: impl Fn(&Peer, IpAddr) -> bool,
    ) -> bool {
        let (fixed, owners) = (self.fixed(facts), &self.owners);
        let has_station = |id: PeerId, (ifindex, vlans): (u32, Vlans)| {
            let mut all = fixed.iter().chain(owners);
            all.any(|(at, owner)| *owner == id && (at.ifindex, at.vlans) == (ifindex, vlans))
        };
        let is_told = |id: PeerId, peer: &Peer, attachment: &Attachment| {
            let Some(place) = place_of(facts, attachment) else {
                return true; // a `port` takes any MAC
            };
            let is_seen = |address: &IpAddr| {
                let mut links = self.places.iter().filter(|&(_, at)| *at == place);
                !attachment.macs.is_empty()
                    || links.any(|(&link, _)| !self.macs.of(link, *address).is_empty())
            };
            let mut up = attachment
                .addresses
                .iter()
                .filter(|address| is_up(peer, **address));
            has_station(id, place) && up.all(is_seen)
        };
        let mut here = facts.spec.peer_ids().flat_map(|(id, peer)| {
            let attachments = peer
                .attachments
                .iter()
                .filter(|each| each.interface == interface);
            attachments.map(move |attachment| (id, peer, attachment))
        });
        here.all(|(id, peer, attachment)| is_told(id, peer, attachment))
    }

    /// Peers have other numbers now, or none.
    pub fn renumber(&mut self, number: impl Fn(PeerId) -> Option<PeerId>) {
        for map in [&mut self.owners, &mut self.assigned, &mut self.inherited] {
            let old = std::mem::take(map).into_iter();
            *map = old
                .filter_map(|(station, id)| Some((station, number(id)?)))
                .collect();
        }
        self.refused.clear();
    }

    /// Takes in what the kernel reports of its neighbour table. Returns whether [`Stations::settle`] has something to do.
    pub fn learn(&mut self, facts: &Facts<'_>, now: Duration, event: &NeighbourEvent) -> bool {
        match *event {
            NeighbourEvent::Complete => {
                self.complete = true;
                !self.inherited.is_empty()
            }
            NeighbourEvent::Gone { .. } => {
                self.macs.learn(now, event);
                true
            }
            NeighbourEvent::Known { link, address, .. } => {
                let Some(session) = self.session_at(facts, link, address) else {
                    return false;
                };
                self.macs.learn(now, event);
                if self.awaited.remove(&session) {
                    self.macs.came_up(now, (link, address), true);
                }
                true
            }
        }
    }

    /// Whose frames come from where, and what is new about it.
    pub fn settle(&mut self, facts: &Facts<'_>) -> (BTreeMap<Station, PeerId>, Vec<StationEvent>) {
        let mut wanted = policy::stations(facts.spec, facts.links);
        let fixed = self.fixed(facts);
        wanted.extend(fixed.iter().map(|(&station, &id)| (station, id)));
        let claims = self.claims(facts, &fixed);
        let mut events = Vec::new();
        let mut owners = BTreeMap::new();
        for (&station, claimants) in &claims {
            let claim = Claim {
                station,
                fixed: fixed.get(&station).copied(),
                former: self
                    .owners
                    .get(&station)
                    .or_else(|| self.inherited.get(&station))
                    .copied(),
                claimants,
            };
            if let Some(owner) = self.decide(&claim, &mut events)
                && claim.fixed.is_none()
            {
                owners.insert(station, owner);
            }
        }
        self.contested
            .retain(|station| claims.contains_key(station));
        self.refused
            .retain(|(station, _)| claims.contains_key(station));
        wanted.extend(owners.iter().map(|(&station, &id)| (station, id)));
        if self.complete && self.unseeded.is_empty() {
            self.inherited.clear();
        }
        for (&station, &id) in &self.inherited {
            if is_lan(facts, id, station) && !self.contested.contains(&station) {
                wanted.entry(station).or_insert(id);
            }
        }
        self.owners = owners;
        self.assigned.clone_from(&wanted);
        (wanted, events)
    }

    /// The stations that two peers claim and nothing confirms, by the last [`Stations::settle`]: frames from there are not judged.
    #[must_use]
    pub const fn contested(&self) -> &BTreeSet<Station> {
        &self.contested
    }

    /// The stations of the configuration and of operators' commands, on interfaces of kind `lan`.
    fn fixed(&self, facts: &Facts<'_>) -> Fixed {
        let mut fixed = Fixed::new();
        for (id, peer) in facts.spec.peer_ids() {
            let stations = self.fixed_of(facts, peer).into_iter();
            fixed.extend(stations.map(|station| (station, id)));
        }
        fixed
    }

    fn fixed_of(&self, facts: &Facts<'_>, peer: &Peer) -> Vec<Station> {
        let mut fixed = Vec::new();
        for attachment in &peer.attachments {
            let Some((ifindex, vlans)) = place_of(facts, attachment) else {
                continue;
            };
            let accepted = self.accepted.get(&peer.name).into_iter().flatten();
            let macs = attachment.macs.iter().chain(accepted);
            fixed.extend(macs.map(|&mac| Station {
                ifindex,
                vlans,
                mac,
            }));
        }
        fixed
    }

    fn decide(&mut self, claim: &Claim<'_>, events: &mut Vec<StationEvent>) -> Option<PeerId> {
        let Claim {
            station,
            fixed,
            former,
            claimants,
        } = *claim;
        let mac = station.mac;
        let sure = fixed.or_else(|| claimants.confirmed_for(former));
        if sure.is_none() && claimants.are_at_odds() {
            let mut all = claimants.seen.iter().copied();
            if let (Some(one), Some(other)) = (all.next(), all.next())
                && self.contested.insert(station)
            {
                let between = (one, other);
                events.push(StationEvent::Contested { mac, between });
            }
            return None;
        }
        self.contested.remove(&station);
        let owner = sure.or_else(|| claimants.provisional_for(former))?;
        match former.or(fixed) {
            None if claimants.confirmed.contains(&owner) || claimants.seen.contains(&owner) => {
                events.push(StationEvent::Learned { peer: owner, mac });
            }
            None => events.push(StationEvent::Seeded { peer: owner, mac }),
            Some(former) if former != owner => {
                events.push(moved(mac, (former, owner), false));
            }
            Some(_) => {}
        }
        self.refuse_others(claim, owner, events);
        Some(owner)
    }

    /// Reports, once each, who else claims a station.
    fn refuse_others(&mut self, claim: &Claim<'_>, owner: PeerId, events: &mut Vec<StationEvent>) {
        let Claim {
            station,
            former,
            claimants,
            ..
        } = *claim;
        let others: BTreeSet<PeerId> = claimants.all().filter(|other| *other != owner).collect();
        self.refused
            .retain(|(at, id)| *at != station || others.contains(id));
        for other in others {
            // A claim by the export alone that was so until now is no news.
            let is_old = former == Some(other);
            if self.refused.insert((station, other)) && !is_old {
                events.push(moved(station.mac, (owner, other), true));
            }
        }
    }

    /// The peer's session whose address this is, where that link's frames come in.
    fn session_at(&self, facts: &Facts<'_>, link: u32, address: IpAddr) -> Option<Session> {
        let &place = self.places.get(&link)?;
        let mut attachments = attachments(facts.spec);
        let its = attachments.find(|attachment| {
            attachment.addresses.contains(&address) && place_of(facts, attachment) == Some(place)
        })?;
        Some(Session::of(address, its.vrf))
    }

    fn claims(&self, facts: &Facts<'_>, fixed: &Fixed) -> Claims {
        let mut claims = Claims::new();
        for peer in facts.spec.peer_ids() {
            self.claim(facts, peer, fixed, &mut claims);
        }
        claims
    }

    /// Adds what one peer claims.
    fn claim(
        &self,
        facts: &Facts<'_>,
        (id, peer): (PeerId, &Peer),
        fixed: &Fixed,
        claims: &mut Claims,
    ) {
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
            let is_fixed = |mac| fixed.get(&station(mac)) == Some(&id);
            let links = self.places.iter().filter(|&(_, at)| *at == place);
            for (&link, _) in links {
                for &address in &attachment.addresses {
                    let seen = self.macs.of(link, address);
                    let is_sure = |each: &Seen| each.is_confirmed() || is_fixed(each.mac);
                    let has_sure = seen.iter().any(is_sure);
                    for each in seen.iter().filter(|each| !is_ours(&each.mac)) {
                        if has_sure && !is_sure(each) {
                            continue; // somebody answered for an address that is known to be elsewhere
                        }
                        let claimants = claims.entry(station(each.mac)).or_default();
                        claimants.seen.insert(id);
                        if each.is_confirmed() {
                            claimants.confirmed.insert(id);
                        }
                        if each.is_confirmed() && each.is_current() {
                            claimants.current.insert(id);
                        }
                    }
                }
            }
            for &mac in self.seeded(facts, peer, attachment) {
                if !is_ours(&mac) {
                    claims.entry(station(mac)).or_default().seeded.insert(id);
                }
            }
        }
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
    /// Whose it is by the configuration, or by an operator's command.
    fixed: Option<PeerId>,
    former: Option<PeerId>,
    claimants: &'a Claimants,
}

/// Where every peer is attached.
fn attachments(spec: &Spec) -> impl Iterator<Item = &Attachment> {
    spec.peers.iter().flat_map(|peer| &peer.attachments)
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
    let mut attachments = facts
        .spec
        .peer(id)
        .map(|peer| &peer.attachments)
        .into_iter()
        .flatten();
    attachments
        .any(|attachment| place_of(facts, attachment) == Some((station.ifindex, station.vlans)))
}

#[cfg(test)]
mod tests;
