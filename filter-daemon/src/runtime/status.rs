//! `status`: everything about everyone, as JSON. The command line makes a table of it.
use filter_core::layout::ANY_MAC;
use filter_core::layout::Station;
use filter_core::{Family, Mode};
use filter_engine::{FeedStatus, InterfaceStatus, PeerStatus, Status};
use filter_lifecycle::SourceStatus;
use filter_lifecycle::route::{Origin, PeerId};
use filter_loader::{Counters, XdpKind};
use serde_json::{Map, Value, json};

use super::Runtime;
use crate::config::Feed;

impl Runtime {
    pub(super) fn status(&self) -> Value {
        let now = self.now();
        let Status {
            lease_left,
            memory,
            samples_lost,
            unknown_sessions,
            events_lost,
            interfaces,
            feeds,
            peers,
        } = self.engine.status(now);
        let feeds = self.config.feeds.iter().zip(feeds).enumerate();
        let peers = (0..).map(PeerId).zip(peers);
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": now.as_secs(),
            "lease_seconds_left": lease_left.map(|left| left.as_secs()),
            "tables": { "bytes_used": memory.used, "bytes_capacity": memory.capacity },
            "samples_lost": samples_lost,
            "unknown_sessions": unknown_sessions,
            "events_lost": events_lost,
            "interfaces": interfaces.iter().map(interface_value).collect::<Vec<_>>(),
            "feeds": feeds.map(|(number, (feed, status))| self.feed_value(number, feed, status)).collect::<Vec<_>>(),
            "peers": peers.map(|(id, status)| self.peer_value(id, &status)).collect::<Vec<_>>(),
        })
    }

    fn feed_value(&self, number: usize, feed: &Feed, status: FeedStatus) -> Value {
        let FeedStatus { up, age } = status;
        let mut value = json!({
            "number": number,
            "kind": feed.kind(),
            "up": up,
            "seconds": age.map(|age| age.as_secs()),
            "left_out": self.left_out(number),
        });
        if let Feed::Shadow { sessions, .. } = feed {
            let with_password = sessions.iter().filter(|each| each.password.is_some());
            value["passwords_set"] = with_password.count().into();
        }
        value
    }

    fn peer_value(&self, id: PeerId, peer: &PeerStatus) -> Value {
        let config = &self.config.spec.peers[id.0 as usize];
        let status = &peer.lifecycle;
        json!({
            "name": config.name,
            "asn": config.asn.get(),
            "families": Family::ALL.into_iter().filter(|&f| config.families.contains(f)).map(Family::name).collect::<Vec<_>>(),
            "mode": status.mode.name(),
            "mode_in_force": peer.mode_in_force.map(Mode::name),
            "state": status.state.name(),
            "missing": status.missing.as_ref().map(ToString::to_string),
            "adopted": peer.adopted,
            "stations": peer.stations.iter().map(station_value).collect::<Vec<_>>(),
            "generation": peer.generation,
            "publish_pending": peer.publish_pending,
            "publish_error": peer.publish_error,
            "sources": status.sources,
            "destinations": status.destinations,
            "frozen": status.frozen.iter().map(|family| family.name()).collect::<Vec<_>>(),
            "refused": status.refused,
            "refused_list": status.refused_list.iter().map(|(prefix, why)| json!({ "prefix": prefix.to_string(), "why": why.name() })).collect::<Vec<_>>(),
            "tables": status.tables.iter().map(|table| self.table_value(table)).collect::<Vec<_>>(),
            "default_pointing": peer.default_pointing.map(|p| json!({ "bytes": p.bytes, "blocks": p.blocks, "seconds": p.duration.as_secs() })),
            "counters": peer.counters.as_ref().map(counter_values),
        })
    }

    fn table_value(&self, table: &SourceStatus) -> Value {
        let session = match table.key.origin {
            Origin::Session(session) => Some(session.to_string()),
            Origin::Peer(_) => None,
        };
        json!({
            "feed": self.config.feeds.get(usize::from(table.key.feed.0)).map(Feed::kind),
            "session": session,
            "table": format!("{:?}", table.key.table),
            "family": table.key.family.name(),
            "state": table.state.name(),
            "seconds": table.age.as_secs(),
            "routes": table.routes,
            "hold_seconds_left": table.hold_left.map(|left| left.as_secs()),
        })
    }
}

fn interface_value(interface: &InterfaceStatus) -> Value {
    json!({
        "name": interface.name,
        "ifindex": interface.attached.ifindex,
        "xdp": xdp_name(interface.attached.kind),
        "counters": interface.counters.as_ref().map(counter_values),
    })
}

/// How the program is attached, in status and messages.
pub(super) const fn xdp_name(kind: XdpKind) -> &'static str {
    match kind {
        XdpKind::Native => "native",
        XdpKind::Generic => "generic",
        XdpKind::Adopted => "adopted",
    }
}

fn station_value(station: &Station) -> Value {
    json!({
        "ifindex": station.ifindex,
        "vlan": (station.vlans.outer != 0).then_some(station.vlans.outer),
        "inner_vlan": (station.vlans.inner != 0).then_some(station.vlans.inner),
        "mac": (station.mac != ANY_MAC).then(|| station.mac.to_string()),
    })
}

/// Reasons that occurred, with packets and bytes passed and dropped.
fn counter_values(counters: &Counters) -> Value {
    let mut values = Map::new();
    for (reason, fates) in counters.nonzero() {
        let value = json!({
            "passed": { "packets": fates.passed.packets, "bytes": fates.passed.bytes },
            "dropped": { "packets": fates.dropped.packets, "bytes": fates.dropped.bytes },
        });
        values.insert(reason.name().to_owned(), value);
    }
    Value::Object(values)
}
