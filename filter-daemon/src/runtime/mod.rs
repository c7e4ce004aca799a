//! The daemon's run loop: feeds in, the engine's work, answers and the journal out; one thread that owns all of it.
//! Never decides what is enforced: that is the engine's, and what a packet is, the filter's.
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use filter_engine::{Engine, EngineError, Exports, Fitted, Notice};
use filter_feeds::ixf;
use filter_feeds::trigger::Trigger;
use filter_lifecycle::Event;
use filter_lifecycle::route::{Batch, FeedId, RouteEvent};
use serde_json::{Value, json};

use crate::config::{Config, Feed};
use crate::control::{Pending, Server};
use crate::feeds;
use crate::records::Recorder;
use crate::service::Manager;
use crate::state::StateFile;
use history::History;
use outputs::Outputs;
use supervision::{Ended, Supervision};
use trials::Trials;

mod answer;
mod bounded;
mod history;
mod journal;
mod outputs;
mod polled;
mod recorded;
mod reload;
mod status;
mod supervision;
mod trials;
mod violations;

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
const READ_WITHIN: Duration = Duration::from_secs(2);

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

/// Tells a running daemon to stop or reload, from another thread or a signal handler.
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

    fn is_stopped(&self) -> bool {
        self.stop.load(std::sync::atomic::Ordering::Acquire)
    }

    fn take_reload(&self) -> bool {
        self.reload.swap(false, std::sync::atomic::Ordering::AcqRel)
    }
}

fn signal_name(number: usize) -> String {
    let number = i32::try_from(number).unwrap_or_default();
    let name = signal_hook::low_level::signal_name(number);
    name.map_or_else(|| format!("signal {number}"), str::to_owned)
}

/// A feed that is about to be started.
struct Built {
    /// None if the address it listens on is not free yet.
    feed: Option<Box<dyn filter_feeds::Feed>>,
    trigger: Trigger,
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
    recorder: Option<Arc<Recorder>>,
    history: History,
    trials: Trials,
    batches: Receiver<Batch>,
    requests: Receiver<Pending>,
    feeds: Supervision,
    /// What asks each feed to poll now.
    triggers: Vec<Trigger>,
    manager: Manager,
    outputs: Outputs,
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
        let (feeds, batches) = Supervision::new();
        let (journal, recorder) = recorded::start(&config);
        let mut runtime = Self {
            options,
            handle,
            started: Instant::now(),
            engine,
            journal,
            history: History::new(recorder.clone()),
            recorder,
            trials: Trials::new(&config.daemon.state_file),
            batches,
            requests,
            feeds,
            triggers: Vec::new(),
            manager: Manager::from_environment(),
            outputs,
            _server: server,
            config,
        };
        runtime.recall_switched();
        let exports = runtime.read_exports();
        runtime.engine.start(runtime.now(), exports)?;
        runtime.take_back_trials();
        let config = Arc::clone(&runtime.config);
        let feeds = runtime.build_feeds(&config, &BTreeSet::new());
        match feeds {
            Ok(feeds) => {
                runtime.start_feeds(feeds);
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
        self.end_trials();
        self.note_stop();
        self.end_feeds();
        match self.options.at_exit {
            AtExit::Leave if self.engine.is_attached() => Ok(()),
            // Detached everywhere by request: nothing is left that the pins are for.
            AtExit::Leave | AtExit::Detach => Ok(self.engine.detach_all()?),
        }
    }

    /// Why it ends, and what becomes of the filter.
    fn note_stop(&mut self) {
        let asked = match self
            .handle
            .signal
            .load(std::sync::atomic::Ordering::Acquire)
        {
            0 => "asked to stop".to_owned(),
            signal => signal_name(signal),
        };
        let fate = match self.options.at_exit {
            AtExit::Leave => "the filter stays attached until the lease decides",
            AtExit::Detach => "the filter is detached",
        };
        self.journal.note("stopping", &format!("{asked}: {fate}"));
    }

    /// One turn of the loop: routes, requests, a reload, the engine's work, its notices.
    fn turn(&mut self) {
        self.take_routes();
        for _ in 0..MAX_REQUESTS {
            let Ok(Pending { request, reply }) = self.requests.try_recv() else {
                break;
            };
            let answer = self.answer(&request);
            _ = reply.try_send(answer); // a client that is gone needs none
        }
        if self.handle.take_reload() {
            _ = self.reload(); // the journal has what became of it
        }
        self.tend_feeds();
        self.tend_trials();
        self.engine.work(self.now());
        self.tell_notices();
        let now = self.now();
        self.history.work(now, &self.engine);
        self.manager.alive(now);
    }

    /// Takes what the feeds have, until it may be published.
    fn take_routes(&mut self) {
        let pause = self.engine.publishes_at().saturating_sub(self.now());
        let wait = if pause.is_zero() {
            IDLE
        } else {
            pause.min(IDLE)
        };
        match self.batches.recv_timeout(wait) {
            Ok(batch) => self.take_batch(&batch),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
        let until = self.engine.publishes_at().min(self.now() + GATHER);
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
            self.engine.event(now, batch.feed, event);
        }
        self.engine.settle(now);
        if self.is_push(batch.feed) {
            // What a push feed reported changes what the router advertises to others, and only polls show that.
            self.triggers.iter().for_each(Trigger::poll_now);
        }
    }

    fn is_push(&self, feed: FeedId) -> bool {
        let feed = self.config.feeds.get(usize::from(feed.0));
        feed.is_some_and(Feed::is_push)
    }

    fn tell_notices(&mut self) {
        let now = self.now();
        for notice in self.engine.take_notices() {
            if let Notice::Lifecycle(Event::CountMismatch { feed, .. }) = &notice {
                self.ask_again(*feed);
            }
            self.outputs.notice(now, &notice);
            self.journal.notice(&self.config, &notice);
        }
        self.outputs.flush(now);
    }

    /// What is polled is asked for once more. A connection that others share is never closed for a count.
    fn ask_again(&self, feed: FeedId) {
        if let Some(trigger) = self.triggers.get(usize::from(feed.0)) {
            trigger.poll_now();
        }
    }

    /// What operators switched before the last reboot. A file that is no good is told of and stops nothing.
    fn recall_switched(&mut self) {
        match StateFile::new(&self.config.daemon.state_file).read() {
            Ok(switched) => self.engine.remember(switched),
            Err(error) => {
                let text = format!("{error}; until then the configuration alone decides");
                log::warn!("{text}");
                self.journal.note("state-unreadable", &text);
            }
        }
    }

    /// Makes the feeds of a configuration, but for those that listen where one of the former configuration still does: they
    /// are made when that has ended.
    fn build_feeds(
        &self,
        config: &Config,
        taken: &BTreeSet<SocketAddr>,
    ) -> Result<Vec<Built>, RunError> {
        let build = |feed: &Feed| {
            let trigger = Trigger::default();
            let waits = feed.listens().is_some_and(|listen| taken.contains(&listen));
            let built = match waits {
                true => Ok(None),
                false => feeds::build(config, feed, &trigger).map(Some),
            };
            match built {
                Ok(feed) => Ok(Built { feed, trigger }),
                Err(why) => Err(RunError::Feed {
                    kind: feed.kind(),
                    why,
                }),
            }
        };
        config.feeds.iter().map(build).collect()
    }

    fn start_feeds(&mut self, built: Vec<Built>) {
        self.triggers.clear();
        for (index, Built { feed, trigger }) in built.into_iter().enumerate() {
            self.triggers.push(trigger);
            let feed = feed.map_or_else(|| self.build_feed(index), Ok);
            self.feeds.start(feed);
        }
    }

    fn build_feed(&self, index: usize) -> Result<Box<dyn filter_feeds::Feed>, String> {
        let config = &self.config.feeds[index];
        feeds::build(&self.config, config, &self.triggers[index])
    }

    /// Stops the feeds. What they still send arrives nowhere.
    fn end_feeds(&mut self) {
        let (none, batches) = Supervision::new();
        self.batches = batches; // a feed that waits for room sees that its channel is gone
        std::mem::replace(&mut self.feeds, none).end();
    }

    /// A feed that does not run is lost, and started again.
    fn tend_feeds(&mut self) {
        let now = self.now();
        let (config, triggers) = (&self.config, &self.triggers);
        let build = |index: usize| feeds::build(config, &config.feeds[index], &triggers[index]);
        for Ended { feed, why } in self.feeds.tend(now, &build) {
            log::error!("feed {}: {why}", feed.0);
            self.engine.event(now, feed, &RouteEvent::FeedDown { why });
            self.engine.settle(now);
        }
    }

    /// What a feed left out so far.
    fn left_out(&self, index: usize) -> Value {
        json!(self.feeds.skipped(index).all())
    }

    /// Reads the exchanges' member exports; one that is no good, or cannot be read in time, is an event, and what it had
    /// seeded stays.
    fn read_exports(&mut self) -> Exports {
        let config = Arc::clone(&self.config);
        self.read_exports_of(&config)
    }

    fn read_exports_of(&mut self, config: &Config) -> Exports {
        let mut exports = Exports::new();
        let end = self.now() + READ_WITHIN;
        for (&id, path) in &config.exports {
            let interface = config.spec.interface(id);
            let name = interface.map_or("?", |interface| &interface.name);
            let left = end.saturating_sub(self.started.elapsed());
            let file = path.clone();
            let read = bounded::within(left, move || ixf::read(&file));
            let read = match read {
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
