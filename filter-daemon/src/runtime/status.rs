//! `status`: everything about everyone, as JSON. The command line makes a table of it.
use std::time::Duration;

use filter_core::{Family, Mode};
use filter_loader::Counters;
use serde_json::{Map, Value, json};

use super::Runtime;
use crate::config::Feed;
use filter_lifecycle::SourceStatus;
use filter_lifecycle::route::{FeedId, Origin, PeerId};

impl Runtime {
    pub(super) fn status(&self) -> Value {
        let now = self.now();
        let memory = self.filter.memory();
        let lease = self.filter.lease().left().ok().flatten();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": now.as_secs(),
            "lease_seconds_left": lease.map(|left| left.as_secs()),
            "tables": { "bytes_used": memory.used, "bytes_capacity": memory.capacity },
            "samples_lost": self.filter.samples_lost().ok(),
            "unknown_sessions": self.lifecycle.unknown_sessions(),
            "events_lost": self.lifecycle.events_lost(),
            "interfaces": self.interfaces(),
            "feeds": self.feed_values(),
            "peers": self.config.spec.peer_ids().map(|(id, _)| self.peer_value(id)).collect::<Vec<_>>(),
        })
    }

    fn interfaces(&self) -> Vec<Value> {
        let attached = self.filter.interfaces();
        let value = |(name, attached): (&str, filter_loader::Attached)| {
            json!({
                "name": name,
                "ifindex": attached.ifindex,
                "xdp": format!("{:?}", attached.kind).to_lowercase(),
                "counters": self.filter.interface_counters(name).map(|counters| counter_values(&counters)).ok(),
            })
        };
        attached.map(value).collect()
    }

    fn feed_values(&self) -> Vec<Value> {
        let feeds = self.config.feeds.iter().enumerate();
        let value = |(index, feed): (usize, &crate::config::Feed)| {
            let (up, age) = self.lifecycle.feed(self.now(), FeedId(index as u16));
            let mut value = json!({ "number": index, "kind": feed.kind(), "up": up, "seconds": age.map(|age| age.as_secs()) });
            if let Feed::Shadow { sessions, .. } = feed {
                let with_password = sessions.iter().filter(|each| each.password.is_some());
                value["passwords_set"] = with_password.count().into();
            }
            value
        };
        feeds.map(value).collect()
    }

    fn peer_value(&self, id: PeerId) -> Value {
        let (config, peer) = (
            &self.config.spec.peers[id.0 as usize],
            &self.peers[id.0 as usize],
        );
        let status = self.lifecycle.status(self.now(), id);
        let has_lease = self.filter.lease().left().ok() != Some(Some(Duration::ZERO));
        let live = self.sync.have(peer.slot).map(|have| have.mode);
        let live = live.map(|mode| if has_lease { mode } else { Mode::Observe });
        let dirty = self.sync.dirty(peer.slot);
        let pointing = peer.watch.current(self.destination_bytes(id));
        json!({
            "name": config.name,
            "asn": config.asn.get(),
            "families": Family::ALL.into_iter().filter(|&f| config.families.contains(f)).map(Family::name).collect::<Vec<_>>(),
            "mode": status.mode.name(),
            "mode_in_force": live.map(Mode::name),
            "state": status.state.name(),
            "missing": status.missing.as_ref().map(ToString::to_string),
            "adopted": peer.adopted_until.is_some(),
            "stations": self.station_values(id),
            "generation": self.sync.generation(peer.slot),
            "publish_pending": self.lifecycle.is_dirty(id) || self.pending.contains(&id),
            "publish_error": dirty.map(|dirty| dirty.why.clone()),
            "sources": status.sources,
            "destinations": status.destinations,
            "frozen": status.frozen.iter().map(|family| family.name()).collect::<Vec<_>>(),
            "refused": status.refused,
            "refused_list": status.refused_list.iter().map(|(prefix, why)| json!({ "prefix": prefix.to_string(), "why": why.name() })).collect::<Vec<_>>(),
            "tables": status.tables.iter().map(|table| self.table_value(table)).collect::<Vec<_>>(),
            "default_pointing": pointing.map(|p| json!({ "bytes": p.bytes, "blocks": p.blocks, "seconds": p.duration.as_secs() })),
            "counters": self.filter.counters(peer.slot).map(|counters| counter_values(&counters)).ok(),
        })
    }

    fn station_values(&self, id: PeerId) -> Vec<Value> {
        let slot = self.peers[id.0 as usize].slot;
        let mine = self.filter.stations().filter(|(_, owner)| *owner == slot);
        let value = |(station, _): (filter_loader::Station, _)| {
            json!({
                "ifindex": station.ifindex,
                "vlan": (station.vlans.outer != 0).then_some(station.vlans.outer),
                "inner_vlan": (station.vlans.inner != 0).then_some(station.vlans.inner),
                "mac": (station.mac != filter_loader::Station::ANY_MAC).then(|| station.mac.to_string()),
            })
        };
        mine.map(value).collect()
    }

    fn table_value(&self, table: &SourceStatus) -> Value {
        let session = match table.key.origin {
            Origin::Session(session) => Some(session.to_string()),
            Origin::Peer(_) => None,
        };
        json!({
            "feed": self.config.feeds.get(usize::from(table.key.feed.0)).map(crate::config::Feed::kind),
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
