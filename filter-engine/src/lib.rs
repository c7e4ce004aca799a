//! The peering filter with its conscience, as one object: [`Engine`]. Routes go in as events, decisions are
//! `filter-lifecycle`'s, the kernel is `filter-loader`'s; this carries the one out with the other.
//!
//! An embedding program fits a specification to the machine ([`Fitted::new`]), loads the filter ([`Engine::load`]),
//! brings it in force ([`Engine::start`]), and from then on hands events over ([`Engine::event`]) and calls
//! [`Engine::work`] whenever the engine's descriptor is readable or the time it asked for has come. The clock is the
//! caller's: any [`Duration`] that only grows. One thread of its own waits for the kernel's grace periods; it belongs
//! to the loader, and is joined when the engine is dropped. Dropping leaves the filter attached: the lease decides what
//! becomes of enforcement.
//!
//! Order matters: tables are made before an interface is attached, and what an earlier process left in force stays
//! until this one knows better. Never reads a configuration file, never prints, never decides a verdict or when a peer
//! may be enforced.
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use filter_lifecycle::policy::{MissingFact, Withheld};
use filter_lifecycle::route::{FeedId, RouteEvent};
use filter_lifecycle::spec::Spec;
use filter_lifecycle::{Lifecycle, Side, TICK};
use filter_loader::{Filter, Options as LoaderOptions, PeerSlot, PeerTables, Wanted};
use nix::errno::Errno;

mod classes;
mod counted;
mod devices;
mod distinct;
mod explain;
mod fitted;
mod fix;
mod follow;
mod former;
mod frozen;
mod lease;
mod links;
pub mod look;
pub mod neighbours;
mod netlink;
mod notice;
pub mod peering;
mod permit;
mod place;
mod publish;
mod reload;
mod sample;
mod slots;
mod status;
mod strangers;
pub mod switched;
mod trial;
mod wire;

pub use counted::Counted;
pub use explain::{ExplainError, Explanation};
pub use fitted::Fitted;
pub use frozen::{Frozen, MAX_FROZEN, Measures};
pub use links::LinkError;
pub use notice::{Flow, MAX_NOTICES, Notice, Violation};
pub use permit::{AcceptError, MAX_ACCEPTED};
pub use place::{AcceptedMacs, Exports};
pub use status::{FeedStatus, InterfaceStatus, PeerStatus, SCHEMA, StationStatus, Status};
pub use switched::{Permit, Switched};
pub use trial::TrialEnd;

use classes::ClassWatch;
use devices::Devices;
use follow::Follower;
use lease::{Adopted, LeaseKeeper};
use notice::Notices;
use place::Placer;
use publish::Publisher;
use sample::{Sampler, Sight};
use slots::Slots;
use trial::Trials;
use wire::WireWatch;

/// Why the engine cannot do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// What the loader says.
    #[error(transparent)]
    Loader(#[from] filter_loader::Error),
    /// A device is not there and its MAC or addresses are not specified.
    #[error(transparent)]
    MissingFact(#[from] MissingFact),
    /// The kernel does not say what devices there are.
    #[error(transparent)]
    Links(#[from] LinkError),
    /// Frames of a VLAN device have lost their tag, so that no peer on it is found by one.
    #[error(
        "interface `{interface}` is the device of one vlan, whose frames have lost their tag: take `vlan` out of `{peer}`, or put it on the device below"
    )]
    VlanDevice {
        /// The interface.
        interface: String,
        /// A peer with `vlan`.
        peer: String,
    },
    /// A device without MACs and tags.
    #[error(
        "interface `{interface}` has no ethernet header: take `{key}` away; it is a `port` of one peer, without macs and tags"
    )]
    NoEthernet {
        /// The interface.
        interface: String,
        /// What of the configuration needs the header.
        key: &'static str,
    },
    /// The kernel has no epoll descriptor for us.
    #[error("cannot make an epoll descriptor: {0}")]
    Epoll(Errno),
}

/// The filter, what it is to enforce, and what it has learned.
#[derive(Debug)]
pub struct Engine {
    fitted: Fitted,
    filter: Filter,
    lifecycle: Lifecycle,
    slots: Slots,
    adopted: Adopted,
    lease: LeaseKeeper,
    publisher: Publisher,
    placer: Placer,
    /// The interfaces where frames of no peer cannot be distinguished from some peer's.
    mixed: distinct::Mixed,
    devices: Devices,
    class_watch: ClassWatch,
    wire: WireWatch,
    /// What operators switched at run time.
    switched: Switched,
    /// What operators switched before this process cannot be had.
    is_memory_lost: bool,
    trials: Trials,
    formers: former::Formers,
    /// Why feeds are not connected, as they reported.
    feeds_down: BTreeMap<FeedId, String>,
    follower: Follower,
    sampler: Sampler,
    notices: Notices,
    next_tick: Duration,
}

impl Engine {
    /// Loads the filter, or takes over what an earlier process pinned in `pins`. Nothing that is in force changes.
    /// Without `pins` the filter ends with the process.
    ///
    /// # Errors
    /// What the loader says: another writer, or what the kernel lacks.
    pub fn load(fitted: Fitted, pins: Option<PathBuf>) -> Result<Self, EngineError> {
        let spec = fitted.spec();
        let mut filter = Filter::load(&LoaderOptions {
            pins,
            fingerprint: u64::from(spec.router.asn.get()),
            max_peers: spec.limits.max_peers,
            table_memory_mib: spec.limits.table_memory_mib,
            samples_per_second: spec.limits.samples_per_second,
            icmp_errors_per_second: spec.limits.icmp_errors_per_second,
            ..LoaderOptions::default()
        })?;
        let samples = filter.take_samples()?;
        let follower = Follower::new().map_err(EngineError::Epoll)?;
        follower.watch(&samples).map_err(EngineError::Epoll)?;
        Ok(Self {
            lifecycle: Lifecycle::new(spec.clone()),
            follower,
            sampler: Sampler::new(samples),
            slots: Slots::default(),
            adopted: Adopted::default(),
            lease: LeaseKeeper::default(),
            publisher: Publisher::default(),
            placer: Placer::default(),
            mixed: distinct::Mixed::default(),
            devices: Devices::default(),
            class_watch: ClassWatch::default(),
            wire: WireWatch::default(),
            switched: Switched::default(),
            is_memory_lost: false,
            trials: Trials::new(),
            formers: former::Formers::default(),
            feeds_down: BTreeMap::new(),
            notices: Notices::default(),
            next_tick: Duration::ZERO,
            fitted,
            filter,
        })
    }

    /// Adopts what is in force, publishes what is known, attaches. `exports` are the member exports of the exchanges.
    ///
    /// # Errors
    /// What failed; nothing that was not there before stays attached.
    pub fn start(&mut self, now: Duration, exports: Exports) -> Result<(), EngineError> {
        let started = self.bring_up(now, exports);
        if started.is_err() {
            self.undo();
        }
        started
    }

    fn bring_up(&mut self, now: Duration, exports: Exports) -> Result<(), EngineError> {
        self.check(&self.fitted)?;
        self.look_up_devices(now)?;
        self.let_go_of_others()?;
        let replaced = self.take_peers(now)?;
        self.recall_frozen(now, &replaced);
        self.placer.inherit(&self.filter, &self.slots, &replaced);
        self.recall_senders(now, &replaced);
        self.mind_the_lease()?;
        let timers = &self.fitted.spec().timers;
        LeaseKeeper::renew(&self.filter, timers)?;
        if self.filter.is_former_off() {
            self.notices.push(Notice::LeaseEnded); // of the version before: see `Filter::renew_former`
        }
        self.publish_lists(&Arc::clone(self.fitted.spec()))?;
        self.publish(now);
        self.attach(now)?;
        self.placer.seed(exports);
        self.place_stations(now)?;
        self.follower.follow(self.devices.places());
        Ok(())
    }

    /// Detaches what this engine attached, after a start that failed.
    pub fn undo(&mut self) {
        _ = self.filter.undo(); // the error that counts is the one that led here
    }

    /// A lease that ended before this process came stopped enforcement by tables that are too old now: what relied on
    /// them is not wanted any more, peer by peer, until the feeds have reported it anew. No other peer waits.
    fn mind_the_lease(&mut self) -> Result<(), EngineError> {
        let ended = self.filter.lease().remaining()? == Some(Duration::ZERO);
        if !ended || !self.adopted.any() {
            return Ok(());
        }
        for (_, slot) in self.slots.iter() {
            self.filter.set_wanted(slot, Wanted::NONE)?;
        }
        self.notices.push(Notice::LeaseEnded);
        Ok(())
    }

    /// Takes in one event of a feed. Call [`Engine::work`] after a batch.
    pub fn event(&mut self, now: Duration, feed: FeedId, event: &RouteEvent) {
        if let RouteEvent::FeedDown { why } = event {
            self.feeds_down.insert(feed, why.clone());
        }
        self.lifecycle.event(now, feed, event);
        let (RouteEvent::SessionUp { session, .. } | RouteEvent::SessionDown { session, .. }) =
            event
        else {
            return;
        };
        // Where its address is now is where the session is.
        let is_up = self.lifecycle.is_up(*session);
        self.placer.session(now, &self.fitted, (*session, is_up));
    }

    /// Settles what the events of a batch change.
    pub fn settle(&mut self, now: Duration) {
        self.lifecycle.settle(now);
    }

    /// Does everything that is due: samples, neighbours, timers, the lease, tables. Never waits. Returns when it wants
    /// to be called again at the latest, events and a readable descriptor aside.
    pub fn work(&mut self, now: Duration) -> Duration {
        self.follow_devices(now);
        self.take_samples(now);
        self.take_evidence(now);
        self.take_seen(now);
        self.take_neighbours(now);
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.lifecycle.tick(now);
            self.follow_stations();
            self.watch_classes(now);
        }
        self.renew_lease(now);
        self.lifecycle.settle(now);
        self.publish(now);
        self.replace_formers(now);
        self.take_events();
        self.next_work()
    }

    /// Renews the lease, between the steps of something that takes long; [`Engine::work`] does it otherwise.
    pub fn renew_lease(&mut self, now: Duration) {
        let timers = &self.fitted.spec().timers;
        if let Err(error) = self.lease.work(now, &self.filter, timers) {
            self.notices.push(Notice::KernelFailed(error));
        }
    }

    fn next_work(&self) -> Duration {
        let waits = self.publisher.has_pending() || self.lifecycle.has_dirty();
        let publish = waits.then(|| self.publisher.at());
        let timers = [self.lease.next(), self.devices.look_at()]
            .into_iter()
            .chain(publish)
            .chain(self.follower.look_at());
        timers.fold(self.next_tick, Duration::min)
    }

    /// Until then nothing is published: whoever has routes may hand more of them over meanwhile.
    #[must_use]
    pub const fn publishes_at(&self) -> Duration {
        self.publisher.at()
    }

    /// What happened since the last call, oldest first.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.take_events();
        self.notices.take()
    }

    /// What is enforced, by its specification.
    #[must_use]
    pub const fn fitted(&self) -> &Fitted {
        &self.fitted
    }

    /// Lets go of one interface, and leaves it alone until a specification is applied.
    ///
    /// # Errors
    /// What the loader says.
    pub fn detach(&mut self, interface: &str) -> Result<(), EngineError> {
        self.filter.detach(interface)?;
        self.devices.release(interface);
        Ok(())
    }

    /// Is any interface attached, by this version or by one before?
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.filter.has_former() || self.filter.interfaces().next().is_some()
    }

    /// Detaches and removes everything.
    ///
    /// # Errors
    /// What the loader says.
    pub fn detach_all(self) -> Result<(), EngineError> {
        Ok(self.filter.detach_all()?)
    }

    fn take_events(&mut self) {
        for event in self.lifecycle.take_events() {
            self.notices.push(Notice::Lifecycle(event));
        }
    }

    fn take_samples(&mut self, now: Duration) {
        let sight = Sight {
            filter: &self.filter,
            publisher: &self.publisher,
            fitted: &self.fitted,
            slots: &self.slots,
            lifecycle: &self.lifecycle,
        };
        let dropped = self.sampler.work(now, sight, &mut self.notices);
        for sample::Dropped {
            peer,
            source,
            destination,
        } in dropped
        {
            self.lifecycle.dropped(now, peer, source, destination);
        }
    }

    /// Packets that were dropped for what left their peer's sets although nothing withdrew it.
    fn take_evidence(&mut self, now: Duration) {
        for met in self.filter.take_evidence() {
            let side = match met.is_destination {
                true => Side::Destinations,
                false => Side::Sources,
            };
            if let Some(id) = self.slots.peer(met.peer) {
                self.lifecycle.dropped_for(now, id, side, met.family);
            }
        }
    }

    fn sight(&self) -> Sight<'_> {
        Sight {
            filter: &self.filter,
            publisher: &self.publisher,
            fitted: &self.fitted,
            slots: &self.slots,
            lifecycle: &self.lifecycle,
        }
    }

    fn publish(&mut self, now: Duration) {
        let mut hands = publish::Hands {
            filter: &mut self.filter,
            lifecycle: &mut self.lifecycle,
            adopted: &mut self.adopted,
            fitted: &self.fitted,
            slots: &self.slots,
            devices: &self.devices,
        };
        let outcome = self.publisher.work(now, &mut hands);
        for (id, error) in outcome.failed {
            self.notices.push(Notice::PublishFailed(id, error));
        }
        for (id, error) in outcome.unwatched {
            self.notices.push(Notice::NotWatched(id, error));
        }
    }

    fn publish_lists(&mut self, spec: &Spec) -> Result<(), EngineError> {
        let withheld = Withheld::of(spec);
        let lists = PeerTables {
            sources: &withheld.bogons,
            destinations: &withheld.ours,
            ..PeerTables::default()
        };
        Ok(self.filter.publish_lists(&lists)?)
    }

    /// The filter does without what is recalled: an error costs no start.
    fn recall_senders(&mut self, now: Duration, replaced: &BTreeSet<PeerSlot>) {
        let hands = place::Hands {
            filter: &mut self.filter,
            fitted: &self.fitted,
            slots: &self.slots,
        };
        if let Err(error) = self.placer.recall(now, &hands, replaced) {
            self.notices.push(Notice::KernelFailed(error));
        }
    }

    /// Before neighbours are taken in: a station whose entry goes may have sent something just now.
    fn take_seen(&mut self, now: Duration) {
        if let Err(error) = self.placer.look(now, &mut self.filter) {
            self.notices.push(Notice::KernelFailed(error));
        }
    }

    fn take_neighbours(&mut self, now: Duration) {
        let (learned, followed) = self.follower.work(now);
        if let Err(error) = followed {
            self.notices.push(Notice::NeighboursLost(error));
        }
        self.placer.learn(now, &self.fitted, learned);
        let hands = place::Hands {
            filter: &mut self.filter,
            fitted: &self.fitted,
            slots: &self.slots,
        };
        let unfollowed = self.placer.unfollowed();
        let (events, placed) = self.placer.work(now, hands);
        events
            .into_iter()
            .for_each(|event| self.notices.push(Notice::Station(event)));
        self.say_unfollowed(unfollowed);
        if let Err(error) = placed {
            self.notices.push(Notice::StationsFailed(error));
        }
    }

    fn place_stations(&mut self, now: Duration) -> Result<(), EngineError> {
        let hands = place::Hands {
            filter: &mut self.filter,
            fitted: &self.fitted,
            slots: &self.slots,
        };
        let unfollowed = self.placer.unfollowed();
        let (events, placed) = self.placer.place(now, hands);
        events
            .into_iter()
            .for_each(|event| self.notices.push(Notice::Station(event)));
        self.say_unfollowed(unfollowed);
        Ok(placed?)
    }

    /// Says that the data plane has no room for session addresses, where it had until now, and that it has again.
    fn say_unfollowed(&mut self, before: usize) {
        if let Some(error) = self.placer.take_not_followed() {
            self.notices.push(Notice::KernelFailed(error));
        }
        let now = self.placer.unfollowed();
        if (before == 0) != (now == 0) {
            self.notices.push(Notice::SendersLeftOut(now));
        }
    }
}

/// Readable when the kernel has news of devices, addresses or neighbours.
impl AsFd for Engine {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.follower.as_fd()
    }
}

/// The examples of the README, which are compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
