//! Where frames come from, as the kernel has it, and when the last one came. Never decides which peer a station is of.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use filter_core::layout::{ANY_MAC, Station};
use filter_core::packet::Mac;
use filter_lifecycle::route::PeerId;
use filter_lifecycle::stations::KnownBy;

use crate::Engine;

/// From where frames of a peer come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct StationStatus {
    /// The interface's name; none if it is not configured any more.
    pub interface: Option<String>,
    /// The index of its device.
    pub ifindex: u32,
    /// What shows that it is the peer's.
    pub known_by: &'static str,
    /// The source MAC; none for any.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "filter_lifecycle::json::optional_text")
    )]
    pub mac: Option<Mac>,
    /// The outer tag; none without.
    pub vlan: Option<u16>,
    /// The inner tag; none without.
    pub inner_vlan: Option<u16>,
    /// How long ago a frame came from there, up to a second more; none if none was seen.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "last_seen_seconds",
            serialize_with = "filter_lifecycle::json::optional_seconds"
        )
    )]
    pub last_seen: Option<Duration>,
    /// How long ago a frame of the link came from there that had a session address of the peer; none if none was seen.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "last_session_frame_seconds",
            serialize_with = "filter_lifecycle::json::optional_seconds"
        )
    )]
    pub last_session_frame: Option<Duration>,
}

/// When frames last came, for one status.
pub(super) struct LastFrames {
    pub(super) now: Duration,
    /// By station: how long ago each session address was heard there.
    heard: BTreeMap<Station, Vec<(IpAddr, Duration)>>,
}

impl Engine {
    /// From where a peer's frames come, and the MACs of no peer that may be its.
    #[must_use]
    pub fn macs(&self, now: Duration, id: PeerId) -> (Vec<StationStatus>, Vec<Mac>) {
        let stations = self.stations_of(&self.last_frames(now), id);
        (stations, self.sampler.unknown_macs(id))
    }

    pub(super) fn stations_of(&self, frames: &LastFrames, id: PeerId) -> Vec<StationStatus> {
        let slot = self.slots.of(id);
        let peer = self.fitted.spec().peer(id).into_iter();
        let attachments = peer.flat_map(|peer| &peer.attachments);
        let its: BTreeSet<IpAddr> = attachments
            .flat_map(|each| each.addresses.iter().copied())
            .collect();
        let stations = self.filter.stations();
        let mine = stations.filter(|(_, owner)| *owner == slot);
        mine.map(|(held, _)| {
            let known_by = self.placer.known_by(&self.fitted, held, id);
            self.station(frames, (held, known_by), |address| its.contains(address))
        })
        .collect()
    }

    /// What cannot be read was not seen.
    pub(super) fn last_frames(&self, now: Duration) -> LastFrames {
        let mut heard: BTreeMap<Station, Vec<_>> = BTreeMap::new();
        for each in self.filter.heard().unwrap_or_default() {
            if let Some(ago) = each.ago {
                let here = heard.entry(each.of.station).or_default();
                here.push((each.of.address, ago));
            }
        }
        LastFrames { now, heard }
    }

    pub(super) fn contested(
        &self,
        frames: &LastFrames,
        ifindex: Option<u32>,
    ) -> Vec<StationStatus> {
        let contested = self.filter.contested();
        let here = contested.filter(|it| Some(it.ifindex) == ifindex);
        here.map(|it| self.station(frames, (it, KnownBy::Neighbour), |_| true))
            .collect()
    }

    /// `is_its`: the session addresses that count.
    fn station(
        &self,
        frames: &LastFrames,
        (station, known_by): (Station, KnownBy),
        is_its: impl Fn(&IpAddr) -> bool,
    ) -> StationStatus {
        let heard = frames.heard.get(&station).into_iter().flatten();
        let heard = heard.filter(|(address, _)| is_its(address));
        let heard = heard.map(|&(_, ago)| ago).min();
        let seen = self.placer.last_seen(frames.now, &station);
        StationStatus {
            known_by: known_by.name(),
            interface: self.interface_name(station.ifindex).map(str::to_owned),
            ifindex: station.ifindex,
            mac: (station.mac != ANY_MAC).then_some(station.mac),
            vlan: (station.vlans.outer != 0).then_some(station.vlans.outer),
            inner_vlan: (station.vlans.inner != 0).then_some(station.vlans.inner),
            last_seen: seen.into_iter().chain(heard).min(),
            last_session_frame: heard,
        }
    }
}
