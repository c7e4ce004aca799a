//! Answers to the control socket's requests.
use std::net::IpAddr;

use filter_core::layout::Station;
use filter_core::packet::{Mac, Vlans};
use filter_core::set::ExplainedSet;
use filter_core::userspace::{self, Peering};
use filter_core::{Address, Mode, Reason};
use serde_json::{Value, json};

use super::Runtime;
use crate::control::{Reply, Request};
use crate::lifecycle::{Side, Told};
use crate::route::PeerId;
use filter_core::frame;

impl Runtime {
    pub(super) fn answer(&mut self, request: &Request) -> Reply {
        let answer = match request {
            Request::Status => Ok(self.status()),
            Request::Explain {
                peer,
                source,
                destination,
            } => self
                .peer_named(peer)
                .and_then(|id| self.explain(id, *source, *destination)),
            Request::SetMode { peer, mode } => {
                self.peer_named(peer).map(|id| self.set_mode(id, *mode))
            }
            Request::Events { after } => Ok(Value::Array(self.journal.after(*after))),
            Request::Detach { interface } => match self.filter.detach(interface) {
                Ok(()) => {
                    self.journal.note("detached", interface);
                    Ok(json!({ "detached": interface }))
                }
                Err(error) => Err(error.to_string()),
            },
        };
        answer.map_or_else(Reply::Error, Reply::Ok)
    }

    fn peer_named(&self, name: &str) -> Result<PeerId, String> {
        let found = self.config.peer_ids().find(|(_, peer)| peer.name == name);
        found
            .map(|(id, _)| id)
            .ok_or_else(|| format!("unknown peer `{name}`: see `bcp38 status` for the names"))
    }

    fn set_mode(&mut self, id: PeerId, mode: Mode) -> Value {
        self.lifecycle.set_mode(id, mode);
        self.peers[id.0 as usize].tripped = false;
        let now = self.now();
        self.lifecycle.settle(now);
        let status = self.lifecycle.status(now, id);
        json!({
            "peer": self.config.peers[id.0 as usize].name,
            "mode": mode.name(),
            "state": status.state.name(),
            "missing": status.missing.map(|missing| missing.to_string()),
        })
    }

    /// What would become of a packet with these addresses, by the same verdict the kernel runs, over the sets
    /// that are in force.
    fn explain(&self, id: PeerId, source: IpAddr, destination: IpAddr) -> Result<Value, String> {
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(format!(
                "{source} and {destination} are not of one family: give two addresses of the same"
            ));
        }
        let now = self.now();
        let peer = &self.config.peers[id.0 as usize];
        // The one prefix that explains each address: a full table need not be gone through for it.
        let covering = |side, address: IpAddr| {
            let prefix = self.lifecycle.covering(id, side, address.into());
            prefix.into_iter().collect::<Vec<_>>()
        };
        let slot = self.peers[id.0 as usize].slot;
        let compiled = userspace::Peer {
            families: peer.families,
            mode: self.lifecycle.mode(now, id),
            source: ExplainedSet::sources(
                &covering(Side::Sources, source),
                &self.withheld.all,
                &peer.extra_sources,
            ),
            destination: ExplainedSet::destinations(
                &covering(Side::Destinations, destination),
                &self.own_addresses(id),
                &peer.extra_destinations,
            ),
        };
        let attachment = peer
            .attachments
            .first()
            .ok_or("the peer is attached nowhere")?;
        let (link, interface) = self
            .links
            .get(&attachment.interface)
            .zip(self.config.interface(attachment.interface))
            .ok_or("the peer's interface is not there")?;
        let station = Station {
            ifindex: link.ifindex,
            vlans: Vlans::default(),
            mac: STAND_IN,
        };
        let record = link
            .spec(interface)
            .record()
            .map_err(|error| error.to_string())?;
        let peering = Peering {
            bogons: self.withheld.bogons.clone(),
            ours: self.withheld.ours.clone(),
            peers: vec![compiled],
            interfaces: [(link.ifindex, record)].into(),
            stations: [(station, 0)].into(),
        };
        let packet = frame::packet(source, destination, UDP, 64, &frame::udp(b"explain"));
        let packet = frame::ethernet(link.mac, STAND_IN, frame::ethertype(source), &packet);
        let judgement = peering
            .judge(link.ifindex, packet.as_slice())
            .ok_or("the peer's interface is not there")?;
        let compiled = &peering.peers[0];
        let (from, to) = (Address::from(source), Address::from(destination));
        Ok(json!({
            "peer": peer.name,
            "source": source.to_string(),
            "destination": destination.to_string(),
            "reason": judgement.verdict.reason.name(),
            "violation": judgement.action.is_violation(),
            "action": if judgement.action.is_drop() { "drop" } else { "pass" },
            "mode": compiled.mode.name(),
            "generation": self.sync.generation(slot),
            "source_prefix": compiled.source.covering(from).map(|prefix| prefix.to_string()),
            "destination_prefix": compiled.destination.covering(to).map(|prefix| prefix.to_string()),
            "source_told": self.told(now, id, Side::Sources, from),
            "destination_told": self.told(now, id, Side::Destinations, to),
            "story": self.story(id, from, to, judgement.verdict.reason),
            "missing": self.lifecycle.status(now, id).missing.map(|missing| missing.to_string()),
        }))
    }

    fn story(
        &self,
        id: PeerId,
        source: Address,
        destination: Address,
        reason: Reason,
    ) -> Option<String> {
        if matches!(reason, Reason::Permitted) {
            return None;
        }
        let flow = self.flow(Some(id), source, destination);
        Some(crate::violation::describe(
            &flow.source_story,
            flow.destination_story,
        ))
    }

    fn told(
        &self,
        now: std::time::Duration,
        id: PeerId,
        side: Side,
        address: Address,
    ) -> Vec<Value> {
        let told = self.lifecycle.told(now, id, side, address);
        told.iter().map(|told| self.told_value(told)).collect()
    }

    fn told_value(&self, told: &Told) -> Value {
        json!({
            "prefix": told.prefix.to_string(),
            "feed": self.config.feeds.get(usize::from(told.feed.0)).map(crate::config::Feed::kind),
            "session": told.session.map(|session| session.to_string()),
            "seconds_ago": told.age.as_secs(),
        })
    }
}

/// Source MAC of the packet that is explained: locally administered, never on a wire.
const STAND_IN: Mac = Mac::from_bits(0x0200_0000_0001);
/// IP protocol number of UDP.
const UDP: u8 = 17;
