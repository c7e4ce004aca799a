//! The feeds' threads: started, started again when they end by themselves, stopped. Never waits for them longer than
//! [`END_WITHIN`], and never looks at what a feed sends.
use std::io;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use filter_feeds::lag::{Lag, Polled};
use filter_feeds::skipped::Skipped;
use filter_feeds::{Feed, MAX_WAITING_BATCHES, Outlet, Stop};
use filter_lifecycle::route::{Batch, FeedId};

/// How often the threads are looked at, and how soon one that ended is started again.
pub(super) const TEND: Duration = Duration::from_secs(5);
/// How long stopped threads are waited for: a listener lets go of its address sooner than that. A thread that hangs
/// longer (in a file system that does not answer) is left to end alone, and what it still sends is received no more.
const END_WITHIN: Duration = Duration::from_secs(1);
/// How often a stopped thread is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Builds the feed with this number; the error is the reason why it cannot.
type Build<'a> = &'a dyn Fn(usize) -> Result<Box<dyn Feed>, String>;
type Work = Box<dyn FnOnce() + Send>;
/// Starts a thread of this name. Tests put a machine without room for threads in its place.
type StartThread = fn(String, Work) -> io::Result<JoinHandle<()>>;

/// A feed that does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) feed: FeedId,
    pub(super) why: String,
}

/// One feed.
#[derive(Debug)]
struct Running {
    /// None while it cannot be started.
    thread: Option<JoinHandle<()>>,
    skipped: Skipped,
    /// None of a feed that does not poll.
    lag: Option<Lag>,
    /// Why it does not run.
    why: Option<String>,
    /// Of these reasons, the one returned last.
    reported: Option<String>,
}

/// All feeds of one configuration, and the channel they send through.
#[derive(Debug)]
pub(super) struct Supervision {
    running: Vec<Running>,
    stop: Stop,
    outlet: Outlet,
    /// When the threads were last looked at.
    tended: Duration,
    start_thread: StartThread,
}

impl Supervision {
    /// Without feeds yet, and where their batches arrive.
    pub(super) fn new() -> (Self, Receiver<Batch>) {
        let (sender, batches) = sync_channel(MAX_WAITING_BATCHES);
        let stop = Stop::default();
        let supervision = Self {
            running: Vec::new(),
            outlet: Outlet::new(FeedId(0), sender, stop.clone()),
            stop,
            tended: Duration::ZERO,
            start_thread,
        };
        (supervision, batches)
    }

    /// Starts one more feed. One that cannot be built now, or gets no thread, is tried again by [`Supervision::tend`].
    pub(super) fn start(&mut self, feed: Result<Box<dyn Feed>, String>) {
        let running = match feed {
            Ok(feed) => self.spawn(self.running.len(), feed),
            Err(why) => Running {
                thread: None,
                skipped: Skipped::default(),
                lag: None,
                why: Some(why),
                reported: None,
            },
        };
        self.running.push(running);
    }

    fn spawn(&self, index: usize, feed: Box<dyn Feed>) -> Running {
        let outlet = self.outlet.of(FeedId(index as u16), self.stop.clone());
        let (skipped, lag) = (feed.skipped(), feed.lag());
        let work = Box::new(move || feed.run(&outlet));
        let started = (self.start_thread)(format!("feed {index}"), work);
        let why = |error: &io::Error| format!("cannot start a thread: {error}; trying again");
        Running {
            why: started.as_ref().err().map(why),
            thread: started.ok(),
            skipped,
            lag,
            reported: None,
        }
    }

    /// Starts those that do not run again, and returns the reasons that are new. A feed ends by itself only by an error
    /// of the program.
    pub(super) fn tend(&mut self, now: Duration, build: Build<'_>) -> Vec<Ended> {
        if now < self.tended + TEND {
            return Vec::new();
        }
        self.tended = now;
        let mut news = Vec::new();
        for index in 0..self.running.len() {
            self.tend_one(index, build, &mut news);
        }
        news
    }

    fn tend_one(&mut self, index: usize, build: Build<'_>, news: &mut Vec<Ended>) {
        let feed = FeedId(index as u16);
        let running = &mut self.running[index];
        let crashed = running.thread.take_if(|thread| thread.is_finished());
        if crashed.is_some() {
            let why = "the feed's thread ended by an error of the program; it is started again";
            news.push(Ended {
                feed,
                why: why.to_owned(),
            });
        }
        if running.thread.is_none() {
            let reported = running.reported.take();
            match build(index) {
                Ok(feed) => self.running[index] = self.spawn(index, feed),
                Err(why) => running.why = Some(why),
            }
            self.running[index].reported = reported;
        }
        let running = &mut self.running[index];
        if running.why != running.reported {
            running.reported.clone_from(&running.why);
            let why = running.why.clone();
            news.extend(why.map(|why| Ended { feed, why }));
        }
    }

    /// What a feed skipped since it was last started.
    pub(super) fn skipped(&self, index: usize) -> Skipped {
        let running = self.running.get(index);
        running.map_or_else(Skipped::default, |running| running.skipped.clone())
    }

    /// The last poll of a feed since it was last started, if it polls.
    pub(super) fn polled(&self, index: usize) -> Option<Polled> {
        self.running.get(index)?.lag.as_ref()?.last()
    }

    /// Stops all of them. The receiver of their batches must be gone, or be read by another thread.
    pub(super) fn end(self) {
        self.stop.stop();
        let end = Instant::now() + END_WITHIN;
        for thread in self.running.into_iter().filter_map(|feed| feed.thread) {
            while !thread.is_finished() {
                if Instant::now() >= end {
                    log::warn!("a stopped feed does not end; going on without it");
                    break;
                }
                thread::sleep(LOOK);
            }
        }
    }
}

fn start_thread(name: String, work: Work) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name).spawn(work)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Sender, channel};

    use filter_lifecycle::route::RouteEvent;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);
    const TEXT: &str = "the feed's thread ended by an error of the program; it is started again";

    /// Reports that it is up and does what the test asks for, then waits to be stopped.
    struct Fake(fn());

    impl Feed for Fake {
        fn run(self: Box<Self>, outlet: &Outlet) {
            _ = outlet.send(vec![RouteEvent::FeedUp]);
            (self.0)();
            while outlet.stop().sleep(SOON).is_ok() {}
        }
    }

    /// A thread that waits for something that never comes, until the test is over.
    struct Hangs(Receiver<()>);

    impl Feed for Hangs {
        fn run(self: Box<Self>, _: &Outlet) {
            _ = self.0.recv();
        }
    }

    fn fails() {
        panic!("an error of the program, as this test wants it");
    }

    fn finished(supervision: &Supervision, index: usize) {
        let end = Instant::now() + SOON;
        let thread = supervision.running[index].thread.as_ref().unwrap();
        while !thread.is_finished() {
            assert!(Instant::now() < end, "the thread does not end");
            thread::yield_now();
        }
    }

    fn ended(feed: u16, why: &str) -> Ended {
        Ended {
            feed: FeedId(feed),
            why: why.to_owned(),
        }
    }

    #[test]
    fn a_feed_whose_thread_ended_is_noticed_and_started_again() {
        let (mut supervision, batches) = Supervision::new();
        supervision.start(Ok(Box::new(Fake(|| ()))));
        supervision.start(Ok(Box::new(Fake(fails))));
        for _ in 0..2 {
            batches.recv_timeout(SOON).unwrap();
        }
        finished(&supervision, 1);
        let build = |index: usize| -> Result<Box<dyn Feed>, String> {
            assert_eq!(index, 1, "the other one runs");
            Ok(Box::new(Fake(|| ())))
        };
        assert_eq!(supervision.tend(TEND / 2, &build), []);
        assert_eq!(supervision.tend(TEND, &build), [ended(1, TEXT)]);
        let batch = batches.recv_timeout(SOON).unwrap();
        assert_eq!((batch.feed, batch.events.len()), (FeedId(1), 1));
        assert_eq!(supervision.tend(2 * TEND, &build), []);
        drop(batches);
        let begin = Instant::now();
        supervision.end();
        assert!(begin.elapsed() < END_WITHIN, "they end when stopped");
    }

    #[test]
    fn one_that_cannot_be_built_again_is_reported_once_and_tried_again() {
        let (mut supervision, batches) = Supervision::new();
        supervision.start(Ok(Box::new(Fake(fails))));
        batches.recv_timeout(SOON).unwrap();
        finished(&supervision, 0);
        let cannot = |_: usize| -> Result<Box<dyn Feed>, String> { Err("taken".to_owned()) };
        let news = supervision.tend(TEND, &cannot);
        assert_eq!(news, [ended(0, TEXT), ended(0, "taken")]);
        assert_eq!(supervision.tend(2 * TEND, &cannot), []);
        let can = |_: usize| -> Result<Box<dyn Feed>, String> { Ok(Box::new(Fake(|| ()))) };
        assert_eq!(supervision.tend(3 * TEND, &can), []);
        batches.recv_timeout(SOON).unwrap();
        drop(batches);
        supervision.end();
    }

    static ROOM: AtomicBool = AtomicBool::new(false);

    fn when_there_is_room(name: String, work: Work) -> io::Result<JoinHandle<()>> {
        if !ROOM.load(Ordering::Acquire) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        start_thread(name, work)
    }

    #[test]
    fn a_thread_that_cannot_be_started_is_reported_once_and_tried_again() {
        let (mut supervision, batches) = Supervision::new();
        supervision.start_thread = when_there_is_room;
        supervision.start(Ok(Box::new(Fake(|| ()))));
        let build = |_: usize| -> Result<Box<dyn Feed>, String> { Ok(Box::new(Fake(|| ()))) };
        let news = supervision.tend(TEND, &build);
        assert_eq!(news.len(), 1);
        assert!(news[0].why.contains("cannot start a thread"), "{news:?}");
        assert_eq!(supervision.tend(2 * TEND, &build), []);
        ROOM.store(true, Ordering::Release);
        assert_eq!(supervision.tend(3 * TEND, &build), []);
        batches.recv_timeout(SOON).unwrap();
        drop(batches);
        supervision.end();
    }

    #[test]
    fn one_that_hangs_is_not_waited_for_longer_than_the_limit() {
        let (mut supervision, batches) = Supervision::new();
        let (until, over): (Sender<()>, _) = channel();
        supervision.start(Ok(Box::new(Hangs(over))));
        drop(batches);
        let begin = Instant::now();
        supervision.end();
        assert!(begin.elapsed() >= END_WITHIN && begin.elapsed() < SOON);
        drop(until);
    }
}
