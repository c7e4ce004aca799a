//! The daemon's run loop: feeds in, the engine's work, answers and the journal out; one thread that owns all of it.
//! Never decides what is enforced: that is the engine's, and what a packet is, the filter's.
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use filter_engine::{Engine, EngineError, Exports, Fitted, Notice};
use filter_feeds::skipped::Skipped;
use filter_feeds::trigger::Trigger;
use filter_feeds::{MAX_WAITING_BATCHES, Outlet, Stop, ixf};
use filter_lifecycle::Event;
use filter_lifecycle::route::{Batch, FeedId, RouteEvent};
use serde_json::{Value, json};

use crate::config::{Config, Feed};
use crate::control::{Pending, Server};
use crate::feeds;
use crate::service::Manager;

mod answer;
mod journal;
mod reload;
mod status;

pub use journal::{Journal, MAX_ENTRIES};

/// How long the loop waits for a route before it looks at everything else.
const IDLE: Duration = Duration::from_millis(20);
/// How long routes may keep coming before everything else is looked at.
const GATHER: Duration = Duration::from_millis(4);
/// Control requests that may wait.
const MAX_REQUESTS: usize = 16;

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The engine's words.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The control socket's.
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

/// How often the feeds' threads are looked at, and how soon one that ended is started again.
const TEND: Duration = Duration::from_secs(5);

/// One feed.
#[derive(Debug)]
struct Running {
    /// None if it could not be started.
    thread: Option<JoinHandle<()>>,
    skipped: Skipped,
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
    batches: Receiver<Batch>,
    /// Kept so that feeds can be started again on a reload.
    outlet: Outlet,
    requests: Receiver<Pending>,
    feeds: Vec<Running>,
    /// When the feeds' threads were last looked at.
    tended: Duration,
    stop_feeds: Stop,
    /// What asks each feed to poll now.
    triggers: Vec<Trigger>,
    manager: Manager,
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
        let server = Server::start(&config.daemon.socket, move |pending| {
            request_sender.send(pending).is_ok()
        })?;
        let (outlet, batches) = sync_channel(MAX_WAITING_BATCHES);
        let mut runtime = Self {
            options,
            handle,
            started: Instant::now(),
            engine,
            journal: Journal::default(),
            batches,
            outlet: Outlet::new(FeedId(0), outlet, Stop::default()),
            requests,
            feeds: Vec::new(),
            tended: Duration::ZERO,
            stop_feeds: Stop::default(),
            triggers: Vec::new(),
            manager: Manager::from_environment(),
            _server: server,
            config,
        };
        let exports = runtime.read_exports();
        runtime.engine.start(runtime.now(), exports)?;
        match runtime.start_feeds() {
            Ok(()) => Ok(runtime),
            Err(error) => {
                runtime.stop_feeds.stop();
                runtime.engine.undo();
                Err(error)
            }
        }
    }

    /// Runs until told to stop. Feeds are stopped at the end; the filter stays or goes as asked.
    ///
    /// # Errors
    /// Only what prevents a clean end; everything else is logged, shown in status, and tried again.
    pub fn run(mut self) -> Result<(), RunError> {
        self.manager.ready();
        while !self.handle.is_stopped() {
            self.turn();
        }
        self.manager.stopping();
        self.stop_feeds.stop();
        drop(self.batches); // a feed that waits to hand over sees that nobody takes it
        for thread in self.feeds.into_iter().filter_map(|feed| feed.thread) {
            _ = thread.join(); // a feed that panicked has said so
        }
        match self.options.at_exit {
            AtExit::Leave if self.engine.is_attached() => Ok(()),
            // Detached everywhere by request: nothing is left that the pins are for.
            AtExit::Leave | AtExit::Detach => Ok(self.engine.detach_all()?),
        }
    }

    /// One turn of the loop: routes, requests, a reload, the engine's work, what there is to tell.
    fn turn(&mut self) {
        self.take_routes();
        while let Ok(Pending { request, reply }) = self.requests.try_recv() {
            let answer = self.answer(&request);
            _ = reply.try_send(answer); // a client that is gone needs none
        }
        if self.handle.take_reload() {
            _ = self.reload(); // the journal has what became of it
        }
        self.tend_feeds();
        self.engine.work(self.now());
        self.tell_notices();
        let now = self.now();
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
            // What a push feed told changes what the router tells others, and only polls show that.
            self.triggers.iter().for_each(Trigger::poll_now);
        }
    }

    fn is_push(&self, feed: FeedId) -> bool {
        let feed = self.config.feeds.get(usize::from(feed.0));
        matches!(feed, Some(Feed::Bmp { .. } | Feed::Shadow { .. }))
    }

    fn tell_notices(&mut self) {
        for notice in self.engine.take_notices() {
            if let Notice::Lifecycle(Event::CountMismatch { feed, .. }) = &notice {
                self.ask_again(*feed);
            }
            self.journal.notice(&self.config, &notice);
        }
    }

    /// What is polled is asked for once more. A connection that others share is never closed for a count.
    fn ask_again(&self, feed: FeedId) {
        if let Some(trigger) = self.triggers.get(usize::from(feed.0)) {
            trigger.poll_now();
        }
    }

    fn start_feeds(&mut self) -> Result<(), RunError> {
        self.stop_feeds = Stop::default();
        self.triggers.clear();
        for index in 0..self.config.feeds.len() {
            let trigger = Trigger::default();
            let config = &self.config.feeds[index];
            let feed =
                feeds::build(&self.config, config, &trigger).map_err(|why| RunError::Feed {
                    kind: config.kind(),
                    why,
                })?;
            self.triggers.push(trigger);
            let running = self.spawn(index, feed).map_err(|source| RunError::Thread {
                what: "feed",
                source,
            })?;
            self.feeds.push(running);
        }
        Ok(())
    }

    fn spawn(&self, index: usize, feed: Box<dyn filter_feeds::Feed>) -> io::Result<Running> {
        let outlet = self
            .outlet
            .of(FeedId(index as u16), self.stop_feeds.clone());
        let skipped = feed.skipped();
        let name = format!("feed {}", self.config.feeds[index].kind());
        let thread = thread::Builder::new()
            .name(name)
            .spawn(move || feed.run(&outlet))?;
        let thread = Some(thread);
        Ok(Running { thread, skipped })
    }

    /// A feed's thread ends only when it is told to: one that ended otherwise is lost, and started again.
    fn tend_feeds(&mut self) {
        let now = self.now();
        if now < self.tended + TEND {
            return;
        }
        self.tended = now;
        for index in 0..self.feeds.len() {
            let ended = |thread: &JoinHandle<()>| thread.is_finished();
            if !self.feeds[index].thread.as_ref().is_none_or(ended) {
                continue;
            }
            let why = "the feed's thread ended by an error of the program; it is started again";
            if self.feeds[index].thread.take().is_some() {
                let event = RouteEvent::FeedDown { why: why.into() };
                self.engine.event(now, FeedId(index as u16), &event);
                self.engine.settle(now);
            }
            let config = &self.config.feeds[index];
            let built = feeds::build(&self.config, config, &self.triggers[index]);
            let started = built.and_then(|feed| {
                let spawned = self.spawn(index, feed);
                spawned.map_err(|error| format!("cannot start thread feed: {error}"))
            });
            match started {
                Ok(running) => self.feeds[index] = running,
                Err(why) => log::error!("feed {index} ({}): {why}; trying again", config.kind()),
            }
        }
    }

    /// What a feed left out so far.
    fn left_out(&self, index: usize) -> Value {
        let all = self.feeds.get(index).map(|feed| feed.skipped.all());
        json!(all.unwrap_or_default())
    }

    /// Reads the exchanges' member exports; one that is no good is told of, and what it had seeded stays.
    fn read_exports(&mut self) -> Exports {
        let mut exports = Exports::new();
        for (&id, path) in &self.config.exports {
            let interface = self.config.spec.interface(id);
            let name = interface.map_or("?", |interface| &interface.name);
            let read = ixf::read(path);
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
