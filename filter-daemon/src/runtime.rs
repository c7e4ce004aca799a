//! The daemon's run loop: feeds in, the engine's work, answers and the journal out; one thread that owns all of it.
//! Never decides what is enforced: that is the engine's, and what a packet is, the filter's.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use filter_engine::{Engine, EngineError, Exports, Fitted, Notice, Switched, Violation};
use filter_feeds::ixf;
use filter_lifecycle::Event;
use filter_lifecycle::route::{Batch, FeedId, RouteEvent};

use crate::config::{Config, Feed};
use crate::control::{Pending, Reply, Request, Server};
use crate::service::Manager;
use crate::state::StateFile;
use answer::Answering;
use feeding::Feeding;
use history::History;
use keeper::{Freezes, Keeper, Name};
use measures::{Due, Measuring};
use outputs::Outputs;
use polled::PolledSides;
use recorded::Recording;
use routes::RouteJournal;
use supervision::Ended;
use trials::Trials;

mod answer;
mod bounded;
mod feeding;
mod history;
mod journal;
mod keeper;
mod measures;
mod outputs;
mod polled;
mod prefixes;
mod recorded;
mod reload;
mod routes;
mod status;
mod supervision;
mod trials;
mod violations;

pub(crate) use journal::event_names;
pub use journal::{Journal, MAX_ENTRIES};
pub use trials::MAX_TRIAL;
pub use violations::MAX_VIOLATIONS;

/// How long the loop waits for a route before it looks at everything else.
const IDLE: Duration = Duration::from_millis(20);
/// How long routes may keep coming before everything else is looked at.
const GATHER: Duration = Duration::from_millis(4);
/// Control requests that may wait, and how many are answered before everything else is looked at.
const MAX_REQUESTS: usize = 16;
/// How long files that the run loop itself needs may take to be read. The shortest lease there may be is 5 s.
const READ_WITHIN: Duration = Duration::from_secs(1);

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// An error of the engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An error of the control socket.
    #[error(transparent)]
    Control(#[from] crate::control::ControlError),
    /// A feed cannot start.
    #[error("feed {kind}: {why}")]
    Feed {
        /// Its kind.
        kind: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Metrics cannot be served, or samples cannot be sent.
    #[error(
        "{what}: cannot use `{address}`: {source}; choose another address, or make this one free"
    )]
    Output {
        /// The section.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// A reload cannot change it.
    #[error("a reload cannot change `{key}` from `{old}` to `{new}`: {advice}")]
    Unchangeable {
        /// The key.
        key: &'static str,
        /// What is in force.
        old: String,
        /// What the file says.
        new: String,
        /// What changes it.
        advice: &'static str,
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

/// Stops or reloads a running daemon, from another thread or a signal handler.
#[derive(Clone, Debug, Default)]
pub struct Handle {
    stop: Arc<std::sync::atomic::AtomicBool>,
    reload: Arc<std::sync::atomic::AtomicBool>,
    signal: Arc<std::sync::atomic::AtomicUsize>,
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

    /// Where a handler puts the number of the signal that stops the daemon: the log names it.
    #[must_use]
    pub fn signal_number(&self) -> Arc<std::sync::atomic::AtomicUsize> {
        Arc::clone(&self.signal)
    }

    /// What stopped the daemon.
    fn stopped_by(&self) -> String {
        let number = self.signal.load(std::sync::atomic::Ordering::Acquire);
        let number = i32::try_from(number).unwrap_or_default();
        match signal_hook::low_level::signal_name(number) {
            Some(name) => name.to_owned(),
            None => "asked to stop".to_owned(),
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(std::sync::atomic::Ordering::Acquire)
    }

    fn take_reload(&self) -> bool {
        self.reload.swap(false, std::sync::atomic::Ordering::AcqRel)
    }
}

/// The daemon.
#[derive(Debug)]
pub struct Runtime {
    config: Arc<Config>,
    options: RunOptions,
    handle: Handle,
    started: Instant,
    engine: Engine,
    journal: Journal,
    requests: Receiver<Pending>,
    feeding: Feeding,
    polled_sides: PolledSides,
    manager: Manager,
    outputs: Outputs,
    keeper: Keeper,
    freezes: Freezes,
    measuring: Measuring,
    history: History,
    trials: Trials,
    routes: RouteJournal,
    recording: Recording,
    _server: Server,
}

impl Runtime {
    /// Loads the filter, publishes what is known, attaches, starts the feeds and the control socket. On an
    /// error nothing that was not there before stays attached.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn start(config: Config, options: RunOptions, handle: Handle) -> Result<Self, RunError> {
        let config = Arc::new(config);
        let fitted = Fitted::new(Arc::clone(&config.spec))?;
        let engine = Engine::load(fitted, Some(config.daemon.pin_dir.clone()))?;
        let (request_sender, requests) = sync_channel(MAX_REQUESTS);
        let mut outputs = Outputs::none(request_sender.clone());
        outputs.change(outputs.prepare(&config.outputs)?);
        let server = Server::start(&config.daemon.socket, move |pending| {
            request_sender.send(pending).is_ok()
        })?;
        let state_file = StateFile::new(&config.daemon.state_file);
        let (recording, journal) = Recording::start(&config);
        let mut runtime = Self {
            options,
            handle,
            started: Instant::now(),
            engine,
            journal,
            requests,
            feeding: Feeding::none(),
            polled_sides: PolledSides::default(),
            manager: Manager::from_environment(),
            outputs,
            keeper: Keeper::new(state_file, Arc::clone(&config.spec)),
            freezes: Freezes::default(),
            measuring: Measuring::default(),
            history: History::new(recording.recorder()),
            trials: Trials::default(),
            routes: RouteJournal::new(recording.recorder()),
            recording,
            _server: server,
            config,
        };
        runtime.recall_switched();
        let exports = runtime.read_exports();
        runtime.engine.start(runtime.now(), exports)?;
        match Feeding::build(&runtime.config, &[]) {
            Ok(feeds) => {
                runtime.feeding.start(&runtime.config, feeds);
                Ok(runtime)
            }
            Err(error) => {
                runtime.engine.undo();
                Err(error)
            }
        }
    }

    /// Runs until it is stopped. Feeds are stopped at the end; the filter stays or goes as asked.
    ///
    /// # Errors
    /// Only what prevents a clean end; everything else is logged, shown in status, and tried again.
    pub fn run(mut self) -> Result<(), RunError> {
        self.manager.ready();
        while !self.handle.is_stopped() {
            self.turn();
        }
        self.manager.stopping();
        self.end_limits();
        let now = self.now();
        self.trials.end_all(now, &self.config, &mut self.engine);
        self.take_notices();
        self.routes.end(now, &self.config, &mut self.engine);
        let fate = match self.options.at_exit {
            AtExit::Leave => "the filter stays attached until the lease decides",
            AtExit::Detach => "the filter is detached",
        };
        let text = format!("{}: {fate}", self.handle.stopped_by());
        self.journal.note("stopping", &text);
        self.feeding.end();
        match self.options.at_exit {
            AtExit::Leave if self.engine.is_attached() => Ok(()),
            // Detached everywhere by request: nothing is left that the pins are for.
            AtExit::Leave | AtExit::Detach => Ok(self.engine.detach_all()?),
        }
    }

    /// One turn of the loop: routes, requests, a reload, the engine's work, its notices.
    fn turn(&mut self) {
        self.take_routes();
        for _ in 0..MAX_REQUESTS {
            let Ok(Pending { request, reply }) = self.requests.try_recv() else {
                break;
            };
            let answer = self.answer(&request);
            self.engine.renew_lease(self.now()); // a request that writes to a disk that hangs takes a second
            _ = reply.try_send(answer); // a client that is gone needs none
        }
        if self.handle.take_reload() {
            _ = self.reload(); // the journal has what became of it
        }
        self.tend_feeds();
        let now = self.now();
        self.trials.tend(now, &self.config, &mut self.engine);
        self.engine.work(now);
        self.take_notices();
        self.keep_limits();
        self.routes.work(now, &self.config, &mut self.engine);
        let now = self.now();
        self.history.work(now, &self.engine);
        self.manager.alive(now);
    }

    fn answer(&mut self, request: &Request) -> Reply {
        if matches!(request, Request::Explain { .. }) {
            // What is valid now and the counts of changes are to be of one moment.
            let now = self.now();
            self.routes.catch_up(now, &self.config, &mut self.engine);
        }
        let answering = Answering {
            now: self.now(),
            config: &self.config,
            engine: &mut self.engine,
            journal: &mut self.journal,
            keeper: &self.keeper,
            feeding: &self.feeding,
            history: &self.history,
            trials: &mut self.trials,
            routes: &self.routes,
            recording: &self.recording,
        };
        let answer = answering.answer(request);
        answer.unwrap_or_else(|| answer::reply(self.reload()))
    }

    /// Takes what the feeds have, until it may be published.
    fn take_routes(&mut self) {
        let pause = self.engine.publishes_at().saturating_sub(self.now());
        let wait = if pause.is_zero() {
            IDLE
        } else {
            pause.min(IDLE)
        };
        let mut next = self.feeding.receive(wait);
        let until = self.engine.publishes_at().min(self.now() + GATHER);
        while let Some(batch) = next {
            self.take_batch(&batch);
            next = (self.now() < until)
                .then(|| self.feeding.received())
                .flatten();
        }
    }

    fn take_batch(&mut self, batch: &Batch) {
        let now = self.now();
        for event in &batch.events {
            self.engine.event(now, batch.feed, event);
        }
        self.engine.settle(now);
        if self.is_push(batch.feed) {
            // What a push feed reported changes what the router advertises to others, and only polls show that.
            self.feeding.poll_now();
        }
    }

    fn is_push(&self, feed: FeedId) -> bool {
        let feed = self.config.feeds.get(usize::from(feed.0));
        feed.is_some_and(Feed::is_push)
    }

    fn take_notices(&mut self) {
        let now = self.now();
        for notice in self.engine.take_notices() {
            match &notice {
                Notice::Lifecycle(Event::CountMismatch { feed, .. }) => {
                    self.feeding.poll_again(*feed);
                }
                Notice::Lifecycle(
                    Event::MaxPrefixExceeded { .. }
                    | Event::MaxPrefixCleared(..)
                    | Event::CoverageExceeded(..)
                    | Event::CoverageCleared(..)
                    | Event::GrowthAccepted(..),
                ) => self.freezes.changed(),
                Notice::Violation(violation) if self.may_be_announced(now, violation) => {
                    self.feeding.poll_now();
                }
                _ => {}
            }
            self.outputs.notice(now, &notice);
            self.journal.notice(&self.config, &notice);
        }
        self.outputs.flush(now);
    }

    /// Keeps for a restart what limits froze, and measure growth against, if that changed, and not too often.
    fn keep_limits(&mut self) {
        let (now, engine) = (self.now(), &self.engine);
        let is_due = match self.measuring.due(now, || engine.measured_steps(now)) {
            Due::Nothing => false,
            Due::IfOther => self.keeper.measures_otherwise(&self.with_limits()),
            Due::Now => true,
        };
        // What is no file of ours is replaced by what an operator switches, and by freezes: not for this alone.
        if is_due && self.engine.remembers() {
            self.freezes.changed();
        }
        if let Some(why) = self.freezes.failure(&self.keeper) {
            self.journal.note("not-kept", &why);
        }
        if self.freezes.are_due(&self.keeper) {
            let now = self.with_limits();
            let kept = self.freezes.keep(&self.keeper, &now, &self.config.spec);
            if let Err(why) = kept {
                self.journal.note("not-kept", &why);
            }
        }
    }

    /// What has waited to be kept, or is another than what was kept, is kept now.
    fn end_limits(&mut self) {
        let now = self.with_limits();
        let is_other = self.engine.remembers() && self.keeper.measures_otherwise(&now);
        if self.freezes.wait() || is_other {
            let kept = self.keeper.keep(Name::Limits, &now, &self.config.spec);
            if let Err(why) = kept {
                self.journal.note("not-kept", &why);
            }
        }
    }

    /// What operators switched, with what limits froze and measure growth against.
    fn with_limits(&self) -> Switched {
        let mut now = self.engine.switched().clone();
        now.frozen = self.engine.frozen();
        now.too_wide = self.engine.too_wide();
        now.good_sources = self.engine.good_sources();
        now.measures = self.engine.measures(self.now());
        now
    }

    /// May a sampled packet be of a prefix that was announced since the last poll?
    fn may_be_announced(&mut self, now: Duration, violation: &Violation) -> bool {
        let (config, feeding, engine) = (&self.config, &self.feeding, &self.engine);
        self.polled_sides.may_be_announced(now, violation, |id| {
            let every = |feed| feeding.polls_every(config, feed);
            polled::sides(config, &engine.ribs(now, id), every)
        })
    }

    /// What operators switched before the last reboot. A file that is no good is an event, and keeps nothing from starting.
    fn recall_switched(&mut self) {
        match self.keeper.read() {
            Ok(switched) => self.engine.remember(switched),
            Err(error) => {
                self.engine.remember_nothing();
                let text = format!(
                    "{error}; what is switched in the data plane stays, what was on trial observes, and after a reboot \
                     the configuration alone decides"
                );
                log::warn!("{text}");
                self.journal.note("state-unreadable", &text);
            }
        }
    }

    /// A feed that does not run is lost, and started again.
    fn tend_feeds(&mut self) {
        let now = self.now();
        for Ended { feed, why } in self.feeding.tend(now, &self.config) {
            log::error!("feed {}: {why}", feed.0);
            self.engine.event(now, feed, &RouteEvent::FeedDown { why });
            self.engine.settle(now);
        }
    }

    /// Reads the exchanges' member exports; one that is no good, or cannot be read in time, is an event, and what it had
    /// seeded stays.
    fn read_exports(&mut self) -> Exports {
        let config = Arc::clone(&self.config);
        self.read_exports_of(&config)
    }

    fn read_exports_of(&mut self, config: &Config) -> Exports {
        let start = |path: &PathBuf| {
            let path = path.clone();
            bounded::start(move || ixf::read(&path))
        };
        // All at once: one that hangs takes none of the others' time.
        let started: Vec<_> = config.exports.values().map(start).collect();
        let mut exports = Exports::new();
        for ((&id, path), started) in config.exports.iter().zip(started) {
            let interface = config.spec.interface(id);
            let name = interface.map_or("?", |interface| &interface.name);
            let read = match started.and_then(|reading| reading.within(READ_WITHIN)) {
                Ok(Ok(seeds)) => Ok(seeds),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(format!("member export {}: {error}", path.display())),
            };
            if let Err(error) = &read {
                let text = format!("interface {name}: {error}; what it had seeded stays");
                log::warn!("{text}");
                self.journal.note("ixf-refused", &text);
            }
            exports.insert(name.to_owned(), read.ok());
        }
        exports
    }

    /// Time since the daemon started.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}
