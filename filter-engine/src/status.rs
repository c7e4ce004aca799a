//! What the engine does now, as types: read back from the kernel where the kernel knows, never repeated from a wish.
//! With the feature `serde` they are JSON as the project's document on status describes it, `schema` and all.
use std::collections::BTreeSet;
use std::time::Duration;

use filter_core::layout::Families;
use filter_core::packet::Mac;
use filter_core::{Asn, Class, Classes, Mode, Reason};
use filter_lifecycle::route::{FeedId, PeerId};
use filter_lifecycle::spec::InterfaceId;
use filter_lifecycle::status::{ClassStatus, Obstacle};
use filter_lifecycle::violation::DefaultPointing;
use filter_lifecycle::{Missing, PeerState};
use filter_loader::{Counters, Memory, Target};

use crate::Engine;
use crate::classes::{Holder, Switch, Waiting};
use crate::devices::Attachment;
use crate::peering::interface_classes;

/// The version of the document that [`Status`] follows; it grows whenever a field changes its name or meaning.
pub const SCHEMA: u32 = 1;

/// Everything.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// What is left of the lease; none if enforcement needs none.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "lease_seconds_left",
            serialize_with = "filter_lifecycle::json::optional_seconds"
        )
    )]
    pub lease_left: Option<Duration>,
    /// Memory of the compiled tables.
    #[cfg_attr(feature = "serde", serde(rename = "tables", serialize_with = "memory"))]
    pub memory: Memory,
    /// Samples the ring had no room for.
    pub samples_lost: Option<u64>,
    /// Events about sessions no peer and no route server has.
    pub unknown_sessions: u64,
    /// Events and notices that were pushed out unread.
    pub events_lost: u64,
    /// Does an operator permit that anything is dropped at all? None if it could not be read.
    pub allowed: Option<bool>,
    /// By [`InterfaceId`].
    pub interfaces: Vec<InterfaceStatus>,
    /// By [`FeedId`]; whoever runs the feeds knows their names.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub feeds: Vec<FeedStatus>,
    /// By [`PeerId`].
    pub peers: Vec<PeerStatus>,
}

/// One configured interface.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// What its device is called now, if otherwise.
    pub device: Option<String>,
    /// The device's index now; none if there is no such device.
    pub ifindex: Option<u32>,
    /// Where the program sits, as the kernel says; none if it is not there.
    pub hook: Option<&'static str>,
    /// Why there, of the hooks there are.
    pub hook_why: Option<String>,
    /// Programs of others at tc that see a packet before ours.
    pub ahead: Vec<String>,
    /// Is our program on the device? None if that could not be read.
    pub attached: Option<bool>,
    /// Why it is not, or why it is attached otherwise than as configured.
    pub why: Option<String>,
    /// Our MACs, addresses and subnets that its record has no room for.
    pub left_out: Vec<String>,
    /// Was a frame that came in over the wire counted since the program was attached? If not, none has come yet; none where
    /// that cannot be known: frames of a peer that is on several interfaces are counted for all of them together.
    pub frame_seen: Option<bool>,
    /// MACs that two peers' addresses are at: nobody knows whose frames these are, and none is judged.
    pub contested: Vec<StationStatus>,
    /// Frames that nothing judges: `no-record` and `not-for-us`, each if there are enough for an alarm.
    pub alarms: Vec<&'static str>,
    /// What is in force for packets of no peer.
    pub classes: Vec<ClassStatus>,
    /// Packets of no peer; none if they cannot be read.
    #[cfg_attr(feature = "serde", serde(serialize_with = "counters"))]
    pub counters: Option<Counters>,
}

/// One feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedStatus {
    /// Is it connected?
    pub up: bool,
    /// For how long it has been so or not; none if it never was.
    pub age: Option<Duration>,
    /// Why it is not connected, if it said so, or why it counts as lost although it is.
    pub why: Option<String>,
}

/// One peer.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PeerStatus {
    /// Its name.
    pub name: String,
    /// Its AS number.
    #[cfg_attr(feature = "serde", serde(serialize_with = "asn"))]
    pub asn: Asn,
    /// Its mode in the configuration, whatever an operator switched since.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "filter_lifecycle::json::text")
    )]
    pub mode_configured: Mode,
    /// The IP versions it is configured for.
    #[cfg_attr(feature = "serde", serde(serialize_with = "families"))]
    pub families: Families,
    /// What the lifecycle knows of it; its state and what is missing take the wire into account.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub lifecycle: filter_lifecycle::PeerStatus,
    /// The mode of the data plane for it, device and lease included; none before its first table, or if it could not
    /// be read.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "filter_lifecycle::json::optional_text")
    )]
    pub mode_in_force: Option<Mode>,
    /// What is in force, class by class.
    pub classes: Vec<ClassStatus>,
    /// Do tables of an earlier process, or specification, stay until the feeds have as much?
    pub adopted: bool,
    /// From where its frames come, as the kernel has it.
    pub stations: Vec<StationStatus>,
    /// It is enforced, and what comes from another MAC passes all the same: `unknown` is not in force there.
    #[cfg_attr(feature = "serde", serde(serialize_with = "bypass"))]
    pub bypass: bool,
    /// MACs of no peer from which only sources came that this peer alone announces.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "filter_lifecycle::json::texts")
    )]
    pub unknown_macs: Vec<Mac>,
    /// Of its tables.
    pub generation: u32,
    /// Do its tables wait to be published?
    pub publish_pending: bool,
    /// Why publishing them failed last, if it did.
    pub publish_error: Option<String>,
    /// What it sends us that it should send elsewhere.
    #[cfg_attr(feature = "serde", serde(serialize_with = "pointing"))]
    pub default_pointing: Option<DefaultPointing>,
    /// Its packets; none if they cannot be read.
    #[cfg_attr(feature = "serde", serde(serialize_with = "counters"))]
    pub counters: Option<Counters>,
}

impl PeerStatus {
    /// Is every class that the peer can have in force?
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        let in_force = |class: &ClassStatus| class.in_force == Some(true);
        self.classes.iter().all(in_force)
    }
}

impl Engine {
    /// What it does now.
    #[must_use]
    pub fn status(&self, now: Duration) -> Status {
        let lease_left = self.filter.lease().remaining().ok().flatten();
        let feeds = self.fitted.spec().feeds.len();
        let feeds = (0..feeds).map(|index| {
            let (up, age) = self.lifecycle.feed(now, FeedId(index as u16));
            let feed = FeedId(index as u16);
            let why = self.feeds_down.get(&feed).filter(|_| !up).cloned();
            let foreign = self.lifecycle.foreign(feed).map(|peers| {
                format!("it counts as lost: {peers} peers have another AS than the configured one")
            });
            let why = why.or(foreign);
            FeedStatus { up, age, why }
        });
        let seen = self.with_stations();
        let frames = self.last_frames(now);
        let peers = self
            .slots
            .iter()
            .map(|(id, _)| self.peer_status(&frames, id, &seen));
        let interfaces = self
            .fitted
            .spec()
            .interface_ids()
            .map(|(id, _)| self.interface_status(&frames, id));
        Status {
            schema: SCHEMA,
            lease_left,
            memory: self.filter.memory(),
            samples_lost: self.filter.samples_lost().ok(),
            unknown_sessions: self.lifecycle.unknown_sessions(),
            events_lost: self.lifecycle.events_lost() + self.notices.lost(),
            allowed: self
                .filter
                .allowed(Target::WholeFilter)
                .ok()
                .map(|word| !word.is_empty()),
            interfaces: interfaces.collect(),
            feeds: feeds.collect(),
            peers: peers.collect(),
        }
    }

    fn interface_status(&self, frames: &LastFrames, id: InterfaceId) -> InterfaceStatus {
        let Attachment {
            ifindex,
            hook,
            hook_why,
            ahead,
            attached,
            why,
            renamed,
        } = self.devices.attachment(id);
        let interface = &self.fitted.spec().interfaces[usize::from(id.0)];
        let holder = Holder::Interface(id.0);
        InterfaceStatus {
            name: interface.name.clone(),
            device: renamed,
            ifindex,
            hook,
            hook_why,
            ahead,
            attached,
            why,
            left_out: self.devices.left_out(id).to_vec(),
            frame_seen: attached.and_then(|_| self.wire.frame_seen(&interface.name)),
            contested: self.contested(frames, ifindex),
            alarms: self.alarms(id),
            classes: self
                .class_watch
                .status(frames.now, holder, &self.interface_switch(id)),
            counters: self.filter.interface_counters(&interface.name).ok(),
        }
    }

    fn alarms(&self, id: InterfaceId) -> Vec<&'static str> {
        let spec = self.fitted.spec();
        let unrecorded = self.has_unrecorded(id).then_some(Reason::NoRecord);
        let is_not_for_us = |id| {
            spec.interface(id)
                .is_some_and(|each| self.wire.is_not_for_us(&each.name))
        };
        let not_for_us = is_not_for_us(id).then_some(Reason::NotForUs);
        let alarms = unrecorded.into_iter().chain(not_for_us);
        alarms.map(Reason::name).collect()
    }

    fn peer_status(&self, frames: &LastFrames, id: PeerId, seen: &BTreeSet<u32>) -> PeerStatus {
        let (slot, peer) = (self.slots.of(id), &self.fitted.spec().peers[id.0 as usize]);
        let now = frames.now;
        let switch = self.peer_switch(now, id, seen);
        let holder = Holder::Peer(slot.number());
        PeerStatus {
            name: peer.name.clone(),
            asn: peer.asn,
            mode_configured: peer.mode,
            families: peer.families,
            lifecycle: self.peer_on_the_wire(now, id, &switch),
            mode_in_force: mode_in_force(&switch),
            classes: self.class_watch.status(now, holder, &switch),
            adopted: self.adopted.is(id),
            stations: self.stations_of(frames, id),
            bypass: self.is_bypassed(id),
            unknown_macs: self.sampler.unknown_macs(id),
            generation: self.publisher.generation(slot),
            publish_pending: self.lifecycle.is_dirty(id) || self.publisher.is_pending(id),
            publish_error: self.publisher.error(slot).map(str::to_owned),
            default_pointing: self.sampler.pointing(id, self.sight()),
            counters: self.filter.counters(slot).ok(),
        }
    }

    /// What the lifecycle says of a peer, unless the wire says otherwise: nothing is called enforcing that the program
    /// does not see, or does not drop.
    fn peer_on_the_wire(
        &self,
        now: Duration,
        id: PeerId,
        switch: &Switch,
    ) -> filter_lifecycle::PeerStatus {
        let mut status = self.lifecycle.status(now, id);
        let is_off = !switch.allowed.meets(switch.wanted);
        let switched_off = match (is_off, switch.allows_any) {
            (true, _) => Some(Missing::NotAllowed),
            (false, false) => Some(Missing::AllOff),
            (false, true) => None,
        };
        let off_wire = switch.off_wire.unwrap_or(Obstacle::TagsHidden);
        let missing = switched_off.or_else(|| self.missing_on_the_wire(id, off_wire));
        if let Some(missing) = missing.filter(|_| status.state == PeerState::Enforcing) {
            status.state = PeerState::new(status.mode, Some(&missing), false);
            status.missing = Some(missing);
        }
        status
    }

    /// What the lifecycle says of a peer, as far as the wire and the switch, read back, agree.
    #[must_use]
    pub fn standing(&self, now: Duration, id: PeerId) -> filter_lifecycle::PeerStatus {
        let switch = self.peer_switch(now, id, &self.with_stations());
        self.peer_on_the_wire(now, id, &switch)
    }

    /// What keeps an interface's own classes, those that are wanted, from being in force; none if nothing does.
    #[must_use]
    pub fn interface_lacks(&self, name: &str) -> Option<String> {
        let (id, _) = self.fitted.spec().interface_named(name)?;
        let switch = self.interface_switch(id);
        if !switch.allows_any {
            return Some(Missing::AllOff.to_string());
        }
        let holder = Holder::Interface(id.0);
        let rows = self.class_watch.status(Duration::ZERO, holder, &switch);
        let mut wanted = rows.into_iter().filter(|row| row.wanted);
        wanted.find_map(|row| row.lacks)
    }

    /// An obstacle of the wire, of one peer.
    fn missing_on_the_wire(&self, id: PeerId, obstacle: Obstacle) -> Option<Missing> {
        Some(match obstacle {
            Obstacle::NotAttached => Missing::NotAttached(self.off_wire_names(id)),
            Obstacle::LeaseEnded => Missing::LeaseEnded,
            Obstacle::NoRecord => Missing::NoRecord,
            Obstacle::NoStation => Missing::NoStation,
            Obstacle::TagsHidden => Missing::TagsHidden(self.shows_tags(id)?),
            _ => return None,
        })
    }

    /// Since when each class is as it is: looked at every tick.
    pub(crate) fn watch_classes(&mut self, now: Duration) {
        let seen = self.with_stations();
        for (id, slot) in self.slots.iter() {
            let switch = self.peer_switch(now, id, &seen);
            let holder = Holder::Peer(slot.number());
            self.class_watch.look(now, holder, &switch);
        }
        for (id, _) in self.fitted.spec().interface_ids() {
            let switch = self.interface_switch(id);
            self.class_watch.look(now, Holder::Interface(id.0), &switch);
        }
    }

    /// The slots that some station leads to.
    fn with_stations(&self) -> BTreeSet<u32> {
        let stations = self.filter.stations();
        stations.map(|(_, owner)| owner.number()).collect()
    }

    /// The switch of a peer, as far as it can be read. `seen` are the slots that some station leads to.
    fn peer_switch(&self, now: Duration, id: PeerId, seen: &BTreeSet<u32>) -> Switch {
        let peer = &self.fitted.spec().peers[id.0 as usize];
        let slot = self.slots.of(id);
        let (configured, now_wanted) = (peer.mode, self.lifecycle.wanted_mode(id));
        let is_wanted = configured == Mode::Enforce || now_wanted == Mode::Enforce;
        let each = self.lifecycle.class_status(now, id).into_iter();
        let missing = each.filter_map(|status| {
            let missing = status.missing?;
            Some(Waiting {
                class: status.class,
                family: status.family,
                obstacle: missing.obstacle(),
                why: missing.to_string(),
                expected: status.expected,
            })
        });
        let off_wire = self.off_wire(id, seen.contains(&slot.number()));
        let on_the_wire = off_wire.into_iter().chain([Obstacle::TagsHidden]);
        let sentence = |obstacle| {
            let missing = self.missing_on_the_wire(id, obstacle)?;
            Some((obstacle, missing.to_string()))
        };
        Switch {
            sentences: on_the_wire.filter_map(sentence).collect(),
            all: Classes::PEER,
            wanted: self.lifecycle.configured(id).when(is_wanted),
            allowed: self.allowed(Target::Peer(slot)),
            allows_any: self.allows_any(),
            dropping: self.filter.in_force(slot).ok(),
            off_wire,
            judged: self.judged(id),
            missing: missing.collect(),
            expected: self.adopted.left(now, id),
        }
    }

    /// The switch of an interface: what frames of no peer meet.
    fn interface_switch(&self, id: InterfaceId) -> Switch {
        let interface = &self.fitted.spec().interfaces[usize::from(id.0)];
        let target = Target::Interface(&interface.name);
        let attached = self.devices.attachment(id).attached;
        Switch {
            all: Classes::INTERFACE,
            wanted: interface_classes(interface),
            allowed: self.allowed(target),
            allows_any: self.allows_any(),
            dropping: self.filter.in_force(target).ok(),
            off_wire: not_attached(attached)
                .or_else(|| self.without_lease())
                .or_else(|| self.without_record(id)),
            judged: self.devices.judged(id),
            missing: unknown_waits(self.mixed.contains(&id)),
            expected: None,
            sentences: interface_sentences(&interface.name),
        }
    }

    fn allowed(&self, target: Target<'_>) -> Classes {
        self.filter.allowed(target).unwrap_or(Classes::NONE)
    }

    /// Does the operator permit anything at all?
    fn allows_any(&self) -> bool {
        !self.allowed(Target::WholeFilter).is_empty()
    }

    /// What keeps the program from this peer's packets, or from dropping them.
    fn off_wire(&self, id: PeerId, has_station: bool) -> Option<Obstacle> {
        let attachments = self.fitted.spec().peers[id.0 as usize].attachments.iter();
        let attached = attachments.map(|each| self.devices.attachment(each.interface).attached);
        let unattached = attached.filter_map(not_attached).min();
        let without_station = (!has_station).then_some(Obstacle::NoStation);
        let peer = &self.fitted.spec().peers[id.0 as usize];
        let mut interfaces = peer.attachments.iter().map(|each| each.interface);
        unattached
            .or_else(|| self.without_lease())
            .or_else(|| interfaces.find_map(|id| self.without_record(id)))
            .or(without_station)
    }

    /// Did frames pass that came in on this interface, or may have, because their device had no record?
    fn has_unrecorded(&self, id: InterfaceId) -> bool {
        let interface = self.fitted.spec().interface(id);
        interface.is_some_and(|interface| self.wire.has_unrecorded(&interface.name))
    }

    fn without_record(&self, id: InterfaceId) -> Option<Obstacle> {
        self.has_unrecorded(id).then_some(Obstacle::NoRecord)
    }

    /// The classes that can be judged by what the program sees on all interfaces of a peer.
    pub(crate) fn judged(&self, id: PeerId) -> Classes {
        let attachments = self.fitted.spec().peers[id.0 as usize].attachments.iter();
        let judged = attachments.map(|each| self.devices.judged(each.interface));
        judged.fold(Classes::ALL, Classes::within)
    }

    /// What shows the tags that are hidden on an interface of the peer.
    fn shows_tags(&self, id: PeerId) -> Option<String> {
        let attachments = self.fitted.spec().peers[id.0 as usize].attachments.iter();
        let mut commands = attachments.filter_map(|each| self.devices.hidden_tags(each.interface));
        commands.next().map(str::to_owned)
    }

    fn without_lease(&self) -> Option<Obstacle> {
        match self.filter.lease().remaining() {
            Ok(Some(Duration::ZERO)) => Some(Obstacle::LeaseEnded),
            Ok(_) => None,
            Err(_) => Some(Obstacle::Unreadable),
        }
    }

    fn off_wire_names(&self, id: PeerId) -> String {
        let spec = self.fitted.spec();
        let attachments = spec.peers[id.0 as usize].attachments.iter();
        let off = attachments
            .filter(|each| self.devices.attachment(each.interface).attached != Some(true));
        let names: Vec<String> = off
            .filter_map(|each| spec.interface(each.interface))
            .map(|each| format!("`{}`", each.name))
            .collect();
        names.join(", ")
    }
}

/// What `unknown` waits for where some peer is not distinguished by its MACs.
fn unknown_waits(is_mixed: bool) -> Vec<Waiting> {
    let waits = Waiting {
        class: Class::Unknown,
        family: None,
        obstacle: Obstacle::NoStation,
        why: "a peer there is not distinguished by its macs".to_owned(),
        expected: None,
    };
    is_mixed.then_some(waits).into_iter().collect()
}

fn interface_sentences(interface: &str) -> Vec<(Obstacle, String)> {
    let missing = [
        Missing::NotAttached(format!("`{interface}`")),
        Missing::LeaseEnded,
        Missing::NoRecord,
    ];
    let sentence = |missing: &Missing| (missing.obstacle(), missing.to_string());
    missing.iter().map(sentence).collect()
}

const fn not_attached(attached: Option<bool>) -> Option<Obstacle> {
    match attached {
        Some(true) => None,
        Some(false) => Some(Obstacle::NotAttached),
        None => Some(Obstacle::Unreadable),
    }
}

fn mode_in_force(switch: &Switch) -> Option<Mode> {
    let dropping = switch.dropping?;
    match switch.off_wire {
        Some(Obstacle::Unreadable) => None,
        Some(_) => Some(Mode::Observe),
        None if dropping.is_empty() => Some(Mode::Observe),
        None => Some(Mode::Enforce),
    }
}

mod stations;
#[cfg(feature = "serde")]
mod written;
use stations::LastFrames;
pub use stations::StationStatus;
#[cfg(feature = "serde")]
use written::{asn, bypass, counters, families, memory, pointing};
