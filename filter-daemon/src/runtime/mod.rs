//! The daemon's run loop: feeds in, lifecycle, tables out, one thread that owns all of it.
//!
//! Order matters: tables are made before an interface is attached, and what an earlier daemon left in force
//! stays until this one knows better. Never decides a verdict or when a peer may be enforced.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use filter_core::Mode;
use filter_loader::sync::Sync;
use filter_loader::{AttachMode, Device, Filter, Options, PeerSlot, PeerTables, Samples};

use crate::config::{Config, Feed, Interface, InterfaceId, OnLeaseEnd, Xdp};
use crate::control::{Pending, Server};
use crate::feeds::trigger::Trigger;
use crate::feeds::{self, MAX_WAITING_BATCHES, Outlet, Stop};
use crate::lifecycle::{Event, Lifecycle, TICK};
use crate::policy::{self, DeviceFacts, Link, Withheld};
use crate::route::{Batch, FeedId, PeerId, Session};
use crate::stations::Stations;
use crate::violation::PointingWatch;

mod answer;
mod journal;
mod learning;
mod placing;
mod publish;
mod reload;
mod sampling;
mod status;

pub use journal::{Journal, MAX_ENTRIES};
use learning::Learned;

/// How long the loop waits for a route before it looks at everything else.
const IDLE: Duration = Duration::from_millis(20);
/// How long routes may keep coming before everything else is looked at.
const GATHER: Duration = Duration::from_millis(4);
/// How often the lease is renewed.
const RENEW: Duration = Duration::from_secs(1);
/// Control requests that may wait.
const MAX_REQUESTS: usize = 16;

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The loader's words.
    #[error(transparent)]
    Loader(#[from] filter_loader::Error),
    /// The control socket's.
    #[error(transparent)]
    Control(#[from] crate::control::ControlError),
    /// A device is not there and its MAC or addresses are not configured.
    #[error(transparent)]
    MissingFact(#[from] policy::MissingFact),
    /// A feed cannot start.
    #[error("feed {kind}: {why}")]
    Feed {
        /// Its kind.
        kind: &'static str,
        /// What is wrong.
        why: String,
    },
    /// No thread can be started.
    #[error("cannot start thread {what}: {source}")]
    Thread {
        /// Which.
        what: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
}

/// What the daemon does when it stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtExit {
    /// The filter stays attached: the lease decides what becomes of enforcement.
    #[default]
    Leave,
    /// Everything is detached and removed.
    Detach,
}

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// What happens at the end.
    pub at_exit: AtExit,
    /// The file to read again on a reload; without it reloads are refused.
    pub config_file: Option<PathBuf>,
}

/// Tells a running daemon to stop or reload, from another thread or a signal handler.
#[derive(Clone, Debug, Default)]
pub struct Handle {
    stop: Arc<std::sync::atomic::AtomicBool>,
    reload: Arc<std::sync::atomic::AtomicBool>,
}

impl Handle {
    /// Stop after what is being done.
    pub fn stop(&self) {
        self.stop.store(true, std::sync::atomic::Ordering::Release);
    }

    /// The flag behind [`Handle::stop`], for signal handlers.
    #[must_use]
    pub fn stop_flag(&self) -> Arc<std::sync::atomic::AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// The flag that asks for a reload, for signal handlers.
    #[must_use]
    pub fn reload_flag(&self) -> Arc<std::sync::atomic::AtomicBool> {
        Arc::clone(&self.reload)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(std::sync::atomic::Ordering::Acquire)
    }

    fn take_reload(&self) -> bool {
        self.reload.swap(false, std::sync::atomic::Ordering::AcqRel)
    }
}

/// A peer as the loop sees it.
#[derive(Debug)]
struct PeerRuntime {
    slot: PeerSlot,
    /// An earlier daemon's table is in force until the feeds have told as much, or until then.
    adopted_until: Option<Duration>,
    /// The breaker tripped, and no operator has re-armed it.
    tripped: bool,
    /// Not to be built before.
    not_before: Duration,
    watch: PointingWatch,
}

impl PeerRuntime {
    const fn new(slot: PeerSlot, adopted_until: Option<Duration>) -> Self {
        Self {
            slot,
            adopted_until,
            tripped: false,
            not_before: Duration::ZERO,
            watch: PointingWatch::NOTHING,
        }
    }
}

/// The daemon.
#[derive(Debug)]
pub struct Runtime {
    config: Arc<Config>,
    options: RunOptions,
    handle: Handle,
    started: Instant,
    filter: Filter,
    sync: Sync,
    lifecycle: Lifecycle,
    withheld: Withheld,
    links: BTreeMap<InterfaceId, Link>,
    peers: Vec<PeerRuntime>,
    journal: Journal,
    samples: Samples,
    pending: BTreeSet<PeerId>,
    /// Nothing is published before: what it costs is shared by all routes that come meanwhile.
    publish_at: Duration,
    batches: Receiver<Batch>,
    /// Kept so that feeds can be started again on a reload.
    outlet: Outlet,
    requests: Receiver<Pending>,
    feeds: Vec<JoinHandle<()>>,
    stop_feeds: Stop,
    /// What asks each feed to poll now.
    triggers: Vec<Trigger>,
    stations: Stations,
    neighbours: Receiver<Learned>,
    /// When to place the stations anew, if it failed or a mode changed.
    misplaced: Option<Duration>,
    /// The lease ended before this daemon came: the tables it found are too old to be enforced again.
    dormant: bool,
    _server: Server,
    next_tick: Duration,
    next_renewal: Duration,
}

impl Runtime {
    /// Loads the filter, publishes what is known, attaches, starts the feeds and the control socket. On an
    /// error nothing that was not there before stays attached.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn start(config: Config, options: RunOptions, handle: Handle) -> Result<Self, RunError> {
        let config = Arc::new(config);
        let links = links(&config)?;
        let mut filter = Filter::load(&loader_options(&config))?;
        let (request_sender, requests) = sync_channel(MAX_REQUESTS);
        let server = Server::start(&config.daemon.socket, move |pending| {
            request_sender.send(pending).is_ok()
        })?;
        let samples = filter.take_samples()?;
        let (outlet, batches) = sync_channel(MAX_WAITING_BATCHES);
        let mut runtime = Self {
            lifecycle: Lifecycle::new(Arc::clone(&config)),
            withheld: Withheld::of(&config),
            options,
            handle,
            started: Instant::now(),
            filter,
            sync: Sync::default(),
            links,
            peers: Vec::new(),
            journal: Journal::default(),
            samples,
            pending: BTreeSet::new(),
            publish_at: Duration::ZERO,
            batches,
            outlet: Outlet::new(FeedId(0), outlet, Stop::default()),
            requests,
            feeds: Vec::new(),
            stop_feeds: Stop::default(),
            triggers: Vec::new(),
            stations: Stations::default(),
            neighbours: sync_channel(0).1,
            misplaced: None,
            dormant: false,
            _server: server,
            next_tick: Duration::ZERO,
            next_renewal: Duration::ZERO,
            config,
        };
        match runtime.set_up() {
            Ok(()) => Ok(runtime),
            Err(error) => {
                runtime.stop_feeds.stop();
                _ = runtime.filter.undo(); // the error that counts is the first one
                Err(error)
            }
        }
    }

    fn set_up(&mut self) -> Result<(), RunError> {
        self.register_peers()?;
        self.dormant = self.filter.lease().left()? == Some(Duration::ZERO) && self.has_adopted();
        if self.dormant {
            let text = "nothing is enforced before the feeds have told everything anew";
            self.journal.note("lease-ended", text);
        }
        self.renew_lease()?;
        self.publish_lists()?;
        self.publish(self.now());
        self.attach()?;
        self.read_exports();
        self.place_stations()?;
        self.start_feeds()
    }

    /// Runs until told to stop. Feeds are stopped at the end; the filter stays or goes as asked.
    ///
    /// # Errors
    /// Only what prevents a clean end; everything else is logged, shown in status, and tried again.
    pub fn run(mut self) -> Result<(), RunError> {
        while !self.handle.is_stopped() {
            self.turn();
        }
        self.stop_feeds.stop();
        drop(self.batches); // a feed that waits to hand over sees that nobody takes it
        for feed in self.feeds {
            _ = feed.join(); // a feed that panicked has said so
        }
        let is_attached = self.filter.interfaces().next().is_some();
        match self.options.at_exit {
            AtExit::Leave if is_attached => Ok(()),
            // Detached everywhere by request: nothing is left that the pins are for.
            AtExit::Leave | AtExit::Detach => Ok(self.filter.detach_all()?),
        }
    }

    /// One turn of the loop: routes, requests, samples, timers, tables.
    fn turn(&mut self) {
        self.take_routes();
        while let Ok(Pending { request, reply }) = self.requests.try_recv() {
            let answer = self.answer(&request);
            _ = reply.try_send(answer); // a client that is gone needs none
        }
        self.take_samples();
        if self.handle.take_reload() {
            self.reload();
        }
        let now = self.now();
        self.take_neighbours(now);
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.lifecycle.tick(now);
            self.watch_traffic(now);
        }
        if now >= self.next_renewal {
            self.next_renewal = now + RENEW;
            if let Err(error) = self.renew_lease() {
                log::error!("{error}");
            }
        }
        self.lifecycle.settle(now);
        if now >= self.publish_at {
            self.publish(now);
        }
        if self.dormant && !self.has_adopted() {
            self.next_renewal = Duration::ZERO; // everything is told: enforce at once
        }
        self.tell_events();
    }

    /// Takes what the feeds have, until it may be published.
    fn take_routes(&mut self) {
        let pause = self.publish_at.saturating_sub(self.now());
        let wait = if pause.is_zero() {
            IDLE
        } else {
            pause.min(IDLE)
        };
        match self.batches.recv_timeout(wait) {
            Ok(batch) => self.take_batch(&batch),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
        let until = self.publish_at.min(self.now() + GATHER);
        while self.now() < until {
            match self.batches.try_recv() {
                Ok(batch) => self.take_batch(&batch),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    fn take_batch(&mut self, batch: &Batch) {
        let now = self.now();
        for event in &batch.events {
            self.lifecycle.event(now, batch.feed, event);
        }
        self.lifecycle.settle(now);
        if self.is_push(batch.feed) {
            // What a push feed told changes what the router tells others, and only polls show that.
            self.triggers.iter().for_each(Trigger::poll_now);
        }
    }

    fn is_push(&self, feed: FeedId) -> bool {
        let feed = self.config.feeds.get(usize::from(feed.0));
        matches!(feed, Some(Feed::Bmp { .. } | Feed::Shadow { .. }))
    }

    fn tell_events(&mut self) {
        for event in self.lifecycle.take_events() {
            match event {
                Event::BreakerTripped { peer, .. } => self.peers[peer.0 as usize].tripped = true,
                Event::CountMismatch { feed, session, .. } => self.have_told_again(feed, session),
                _ => {}
            }
            self.journal.event(&self.config, &event);
        }
    }

    /// A stream that lost something does not mend itself: the router shall connect again.
    fn have_told_again(&self, feed: FeedId, session: Option<Session>) {
        if let (Some(trigger), Some(session)) = (self.triggers.get(usize::from(feed.0)), session) {
            trigger.tell_again(session);
        }
    }

    fn renew_lease(&mut self) -> Result<(), filter_loader::Error> {
        self.dormant &= self.has_adopted();
        if self.dormant {
            return Ok(());
        }
        match self.config.timers.on_lease_end {
            OnLeaseEnd::Observe => self.filter.lease().renew(self.config.timers.lease),
            OnLeaseEnd::Keep => {
                self.filter.lease().keep();
                Ok(())
            }
        }
    }

    fn has_adopted(&self) -> bool {
        self.peers.iter().any(|peer| peer.adopted_until.is_some())
    }

    fn publish_lists(&mut self) -> Result<(), filter_loader::Error> {
        let lists = PeerTables {
            sources: &self.withheld.bogons,
            destinations: &self.withheld.ours,
            ..PeerTables::default()
        };
        self.filter.publish_lists(&lists)
    }

    /// Slots for every peer; those of peers that are no longer configured are given back.
    fn register_peers(&mut self) -> Result<(), filter_loader::Error> {
        let until = self.now() + self.config.timers.stale_hold;
        let mut peers = Vec::new();
        for peer in &self.config.peers {
            let slot = self.filter.add_peer(&peer.name)?;
            let adopted = self.filter.generation(slot);
            if let Some(generation) = adopted {
                self.sync.adopt(slot, generation);
            }
            peers.push(PeerRuntime::new(slot, adopted.map(|_| until)));
        }
        let known: Vec<PeerSlot> = peers.iter().map(|peer| peer.slot).collect();
        for orphan in self.filter.orphans(&known) {
            self.filter.remove_peer(orphan)?;
            self.sync.forget(orphan);
        }
        self.peers = peers;
        self.inherit_stations();
        Ok(())
    }

    fn attach(&mut self) -> Result<(), RunError> {
        for (id, interface) in interfaces(&self.config) {
            let mode = match interface.xdp {
                Xdp::Auto => AttachMode::Auto,
                Xdp::Native => AttachMode::Native,
                Xdp::Generic => AttachMode::Generic,
            };
            let Some(link) = self.links.get(&id) else {
                continue;
            };
            let attached = self.filter.attach(&link.spec(interface), mode)?;
            self.journal.note(
                "attached",
                &format!("{} ({:?})", interface.name, attached.kind).to_lowercase(),
            );
        }
        Ok(())
    }

    fn start_feeds(&mut self) -> Result<(), RunError> {
        self.stop_feeds = Stop::default();
        self.triggers.clear();
        self.follow_neighbours()?;
        for (index, config) in self.config.feeds.iter().enumerate() {
            let fail = |why: String| RunError::Feed {
                kind: config.kind(),
                why,
            };
            let trigger = Trigger::default();
            let feed = feeds::build(&self.config, config, &trigger).map_err(fail)?;
            self.triggers.push(trigger);
            let outlet = self
                .outlet
                .of(FeedId(index as u16), self.stop_feeds.clone());
            let thread = thread::Builder::new().name(format!("feed {}", config.kind()));
            let spawned = thread.spawn(move || feed.run(&outlet));
            self.feeds.push(spawned.map_err(|source| RunError::Thread {
                what: "feed",
                source,
            })?);
        }
        Ok(())
    }

    fn follow_neighbours(&mut self) -> Result<(), RunError> {
        let attached = self.filter.interfaces();
        let attached = attached.map(|(name, attached)| (name.to_owned(), attached.ifindex));
        let (told, neighbours) = sync_channel(learning::MAX_WAITING);
        self.neighbours = neighbours;
        let spawned = learning::start(attached.collect(), told, self.stop_feeds.clone());
        self.feeds.push(spawned.map_err(|source| RunError::Thread {
            what: "neighbours",
            source,
        })?);
        Ok(())
    }

    /// Time since the daemon started.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn watch_traffic(&mut self, now: Duration) {
        for index in 0..self.peers.len() {
            let slot = self.peers[index].slot;
            if self
                .sync
                .have(slot)
                .is_none_or(|have| have.mode != Mode::Enforce)
            {
                continue;
            }
            match self.filter.counters(slot) {
                Ok(counters) => {
                    let total = counters.total();
                    let packets = total.passed.packets + total.dropped.packets;
                    self.lifecycle.traffic(
                        now,
                        PeerId(index as u32),
                        packets,
                        total.dropped.packets,
                    );
                }
                Err(error) => log::error!("{error}"),
            }
        }
    }
}

fn interfaces(config: &Config) -> impl Iterator<Item = (InterfaceId, &Interface)> {
    config
        .interfaces
        .iter()
        .enumerate()
        .map(|(index, interface)| (InterfaceId(index as u16), interface))
}

/// What each configured interface is, from the configuration and the device.
fn links(config: &Config) -> Result<BTreeMap<InterfaceId, Link>, RunError> {
    let mut links = BTreeMap::new();
    for (id, interface) in interfaces(config) {
        let device = Device::find(&interface.name)?;
        let facts = DeviceFacts {
            ifindex: device.ifindex,
            mac: device.mac,
            addresses: device.addresses,
        };
        links.insert(id, Link::new(interface, facts.ifindex, Some(&facts))?);
    }
    Ok(links)
}

fn loader_options(config: &Config) -> Options {
    Options {
        pins: Some(config.daemon.pin_dir.clone()),
        fingerprint: u64::from(config.router.asn.get()),
        max_peers: config.limits.max_peers,
        table_memory_mib: config.limits.arena_mib,
        samples_per_second: config.limits.samples_per_second,
        ..Options::default()
    }
}
