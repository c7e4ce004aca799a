//! What would become of one packet, and why: the same verdict the kernel runs, over what is wanted for its peer.
use std::net::IpAddr;
use std::time::Duration;

use filter_core::frame;
use filter_core::layout::{Known, Rules, Station};
use filter_core::packet::Mac;
use filter_core::set::ExplainedSet;
use filter_core::userspace::{self, Peering};
use filter_core::verdict::Judgement;
use filter_core::{Address, Mode, Prefix, Reason};
use filter_lifecycle::route::PeerId;
use filter_lifecycle::{
    ListedPrefix, ListedRoute, Listing, Missing, RouteChange, Side, SourceStatus,
};

use crate::notice::Flow;
use crate::peering::interface_in_force;
use crate::publish::own_addresses;
use crate::{Engine, EngineError};

/// Source MAC of the packet that is explained: locally administered, never on a wire.
const STAND_IN: Mac = Mac::from_bits(0x0200_0000_0001);
/// IP protocol number of UDP.
const UDP: u8 = 17;

/// What would become of a packet.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The reason, and what follows from it.
    pub judgement: Judgement<usize>,
    /// The peer's mode now.
    pub mode: Mode,
    /// Of the tables published last.
    pub generation: u32,
    /// What makes the source valid.
    pub source_prefix: Option<Prefix>,
    /// What makes the destination valid.
    pub destination_prefix: Option<Prefix>,
    /// The routes that make the source valid.
    pub source_routes: Vec<ListedRoute>,
    /// The routes that make the destination valid.
    pub destination_routes: Vec<ListedRoute>,
    /// What covers the source and does not count, or only until its hold is over.
    pub source_odd: Option<ListedPrefix>,
    /// The same of the destination.
    pub destination_odd: Option<ListedPrefix>,
    /// Who else announces the source, whose the destination is; none for a packet that is permitted.
    pub flow: Option<Flow>,
    /// What keeps the peer from being enforced.
    pub missing: Option<Missing>,
}

/// Why a packet cannot be explained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// One address of each family.
    #[error(
        "{source_address} and {destination} are not of one family: give two addresses of the same"
    )]
    Families {
        /// The source.
        source_address: IpAddr,
        /// The destination.
        destination: IpAddr,
    },
    /// The peer is not attached to any interface.
    #[error("the peer is attached nowhere")]
    NotAttached,
    /// The peer's interface is not there.
    #[error("the peer's interface is not there")]
    NoInterface,
    /// The interface does not fit the data plane's record.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Engine {
    /// What would become of a packet with these addresses, by the same verdict the kernel runs.
    ///
    /// # Errors
    /// [`ExplainError`].
    pub fn explain(
        &self,
        now: Duration,
        id: PeerId,
        source: IpAddr,
        destination: IpAddr,
    ) -> Result<Explanation, ExplainError> {
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(ExplainError::Families {
                source_address: source,
                destination,
            });
        }
        let (peering, ifindex, own_mac) = self.peering_of(id, source, destination)?;
        let packet = frame::packet(source, destination, UDP, 64, &frame::udp(b"explain"));
        let packet = frame::ethernet(own_mac, STAND_IN, frame::ethertype(source), &packet);
        let judgement = peering.judge(ifindex, packet.as_slice());
        let compiled = &peering.peers[0];
        let (from, to) = (Address::from(source), Address::from(destination));
        let permitted = matches!(judgement.verdict.reason, Reason::Permitted);
        Ok(Explanation {
            judgement,
            mode: match compiled.in_force.is_empty() {
                true => Mode::Observe,
                false => Mode::Enforce,
            },
            generation: self.publisher.generation(self.slots.of(id)),
            source_prefix: compiled.source.covering(from),
            destination_prefix: compiled.destination.covering(to),
            source_routes: self.lifecycle.routes_over(now, id, Side::Sources, from),
            destination_routes: self.lifecycle.routes_over(now, id, Side::Destinations, to),
            source_odd: self.lifecycle.odd(now, id, Side::Sources, from),
            destination_odd: self.lifecycle.odd(now, id, Side::Destinations, to),
            flow: (!permitted).then(|| self.sight().flow(now, Some(id), (from, to))),
            missing: self.lifecycle.missing(now, id),
        })
    }

    /// The prefixes of a side of a peer, those that do not count too; with `within`, only those that lie in it.
    #[must_use]
    pub fn listing(
        &self,
        now: Duration,
        id: PeerId,
        side: Side,
        within: Option<Prefix>,
    ) -> Listing {
        self.lifecycle.listing(now, id, side, within)
    }

    /// The sides of a peer that are known: nothing is judged by the others.
    #[must_use]
    pub fn known(&self, id: PeerId) -> Known {
        self.lifecycle.known(id)
    }

    /// All valid prefixes of a side of a peer that cover an address, longest first.
    #[must_use]
    pub fn all_covering(&self, id: PeerId, side: Side, address: IpAddr) -> Vec<Prefix> {
        self.lifecycle.all_covering(id, side, address.into())
    }

    /// The longest prefix that covers an address and is in a side of a peer whatever its routes are: its sessions'
    /// addresses, ours, and what the operator adds.
    #[must_use]
    pub fn always_covering(&self, id: PeerId, side: Side, address: IpAddr) -> Option<Prefix> {
        let peer = self.fitted.spec().peer(id)?;
        let own = || own_addresses(id, &self.fitted, &self.lifecycle).into_iter();
        let always = match side {
            Side::Sources => peer.always_sources(),
            Side::Destinations => {
                let configured = peer.always_destinations().into_iter();
                configured.chain(own().map(Prefix::host)).collect()
            }
        };
        let covering = always.into_iter().filter(|it| it.contains(address.into()));
        covering.max_by_key(|it| it.len())
    }

    /// How the valid prefixes of the peers changed since the last call, oldest first.
    pub fn take_route_changes(&mut self, now: Duration) -> Vec<RouteChange> {
        self.lifecycle.take_changes(now)
    }

    /// As [`Engine::take_route_changes`], with what is still being counted.
    pub fn take_all_route_changes(&mut self, now: Duration) -> Vec<RouteChange> {
        self.lifecycle.take_all_changes(now)
    }

    /// Every Adj-RIB that matters for a peer, as each feed reports it.
    #[must_use]
    pub fn ribs(&self, now: Duration, id: PeerId) -> Vec<SourceStatus> {
        self.lifecycle.ribs(now, id)
    }

    /// The policy of one peer as far as these addresses go, the index of an interface it is attached to, and our MAC
    /// there.
    fn peering_of(
        &self,
        id: PeerId,
        source: IpAddr,
        destination: IpAddr,
    ) -> Result<(Peering, u32, Mac), ExplainError> {
        let spec = self.fitted.spec();
        let peer = &spec.peers[id.0 as usize];
        let withheld = self.fitted.withheld();
        // The one prefix that explains each address: a full table need not be gone through for it.
        let covering = |side, address: IpAddr| {
            let prefix = self.lifecycle.covering(id, side, address.into());
            prefix.into_iter().collect::<Vec<_>>()
        };
        let compiled = userspace::Peer {
            rules: Rules {
                families: peer.families,
                known: self.lifecycle.known(id),
            },
            in_force: self
                .filter
                .in_force(self.slots.of(id))
                .map_err(EngineError::from)?,
            source: ExplainedSet::sources(
                &covering(Side::Sources, source),
                &withheld.all,
                &peer.always_sources(),
            ),
            destination: ExplainedSet::destinations(
                &covering(Side::Destinations, destination),
                &own_addresses(id, &self.fitted, &self.lifecycle),
                &peer.always_destinations(),
            ),
        };
        let attachment = peer.attachments.first().ok_or(ExplainError::NotAttached)?;
        let links = self.fitted.links();
        let link = links
            .get(&attachment.interface)
            .ok_or(ExplainError::NoInterface)?;
        let interface = interface_in_force(spec, attachment.interface, link)
            .ok_or(ExplainError::NoInterface)?
            .map_err(EngineError::from)?;
        let station = Station {
            ifindex: link.ifindex,
            vlans: attachment.vlans,
            mac: STAND_IN,
        };
        let peering = Peering {
            bogons: withheld.bogons.clone(),
            ours: withheld.ours.clone(),
            peers: vec![compiled],
            interfaces: [(link.ifindex, interface)].into(),
            stations: [(station, 0)].into(),
            contested: [].into(),
        };
        Ok((peering, link.ifindex, link.mac))
    }
}
