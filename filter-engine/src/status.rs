//! What the engine does now, as types: read back from the kernel where the kernel knows, never repeated from a wish.
use std::time::Duration;

use filter_core::Mode;
use filter_core::layout::Station;
use filter_lifecycle::route::{FeedId, PeerId};
use filter_lifecycle::violation::DefaultPointing;
use filter_loader::{Attached, Counters, Memory};

use crate::Engine;

/// Everything.
#[derive(Clone, Debug)]
pub struct Status {
    /// What is left of the lease; none if enforcement needs none.
    pub lease_left: Option<Duration>,
    /// Memory of the compiled tables.
    pub memory: Memory,
    /// Samples the ring had no room for.
    pub samples_lost: Option<u64>,
    /// Events about sessions no peer and no route server has.
    pub unknown_sessions: u64,
    /// Events and notices that were pushed out unread.
    pub events_lost: u64,
    /// The interfaces the program is attached to.
    pub interfaces: Vec<InterfaceStatus>,
    /// By [`FeedId`].
    pub feeds: Vec<FeedStatus>,
    /// By [`PeerId`].
    pub peers: Vec<PeerStatus>,
}

/// One attached interface.
#[derive(Clone, Debug)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// How the program is attached to it.
    pub attached: Attached,
    /// Packets no peer could be told of; none if they cannot be read.
    pub counters: Option<Counters>,
}

/// One feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedStatus {
    /// Is it connected?
    pub up: bool,
    /// For how long it has been so or not; none if it never was.
    pub age: Option<Duration>,
}

/// One peer.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// What the lifecycle knows of it.
    pub lifecycle: filter_lifecycle::PeerStatus,
    /// Whether any class is in force for it in the data plane, read back; none if it cannot be read.
    pub mode_in_force: Option<Mode>,
    /// Do tables of an earlier process, or specification, stay until the feeds have told as much?
    pub adopted: bool,
    /// From where its frames come, as the kernel has it.
    pub stations: Vec<Station>,
    /// Of its tables.
    pub generation: u32,
    /// Do its tables wait to be published?
    pub publish_pending: bool,
    /// Why publishing them failed last, if it did.
    pub publish_error: Option<String>,
    /// What it sends us that it should send elsewhere.
    pub default_pointing: Option<DefaultPointing>,
    /// Its packets; none if they cannot be read.
    pub counters: Option<Counters>,
}

impl Engine {
    /// What it does now.
    #[must_use]
    pub fn status(&self, now: Duration) -> Status {
        let feeds = self.fitted.spec().feeds.len();
        let feeds = (0..feeds).map(|index| {
            let (up, age) = self.lifecycle.feed(now, FeedId(index as u16));
            FeedStatus { up, age }
        });
        let peers = self.slots.iter().map(|(id, _)| self.peer_status(now, id));
        let interfaces = self
            .filter
            .interfaces()
            .map(|(name, attached)| InterfaceStatus {
                name: name.to_owned(),
                attached,
                counters: self.filter.interface_counters(name).ok(),
            });
        Status {
            lease_left: self.filter.lease().remaining().ok().flatten(),
            memory: self.filter.memory(),
            samples_lost: self.filter.samples_lost().ok(),
            unknown_sessions: self.lifecycle.unknown_sessions(),
            events_lost: self.lifecycle.events_lost() + self.notices.lost(),
            interfaces: interfaces.collect(),
            feeds: feeds.collect(),
            peers: peers.collect(),
        }
    }

    fn peer_status(&self, now: Duration, id: PeerId) -> PeerStatus {
        let slot = self.slots.of(id);
        let in_force = self.filter.in_force(slot).ok();
        let stations = self.filter.stations();
        let mine = stations.filter(|(_, owner)| *owner == slot);
        PeerStatus {
            lifecycle: self.lifecycle.status(now, id),
            mode_in_force: in_force.map(|classes| match classes.is_empty() {
                true => Mode::Observe,
                false => Mode::Enforce,
            }),
            adopted: self.adopted.is(id),
            stations: mine.map(|(held, _)| held).collect(),
            generation: self.publisher.generation(slot),
            publish_pending: self.lifecycle.is_dirty(id) || self.publisher.is_pending(id),
            publish_error: self.publisher.error(slot).map(str::to_owned),
            default_pointing: self.sampler.pointing(id, self.sight()),
            counters: self.filter.counters(slot).ok(),
        }
    }
}
