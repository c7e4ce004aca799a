//! Feeds: what routers report, as [`RouteEvent`]s. One file per source; `wire` has the protocols' bytes.
//!
//! A feed runs on one thread and hands its events over in batches through a bounded channel, so a router that floods
//! us is read slowly and nothing else waits. Never decides anything about a peer, and never sees a set or a packet.
mod as_path;
pub mod bird;
pub mod bmp;
mod child;
pub mod discover;
pub mod frr;
pub mod gobgp;
pub mod ixf;
mod json;
pub mod lag;
pub mod mrt;
pub mod openbgpd;
pub mod poll;
pub mod printed;
pub mod shadow;
pub mod skipped;
pub mod static_;
pub mod tcp;
pub mod trigger;
mod unix;
pub mod updates;
pub mod wire;

#[cfg(test)]
mod fixture_tests;

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use filter_lifecycle::route::{Batch, FeedId, RouteEvent};
use lag::Lag;
use skipped::Skipped;

/// Batches that may wait between feeds and the run loop before feeds are slowed down. With [`MAX_BATCH_EVENTS`] this
/// is how long a small peer's update waits behind a full table: about a millisecond.
pub const MAX_WAITING_BATCHES: usize = 2;
/// Events a feed may put in one batch.
pub const MAX_BATCH_EVENTS: usize = 128;
/// How often the feed that is first in line looks for room.
const LOOK_FOR_ROOM: Duration = Duration::from_micros(100);
/// A feed looks at least this often whether it shall stop: the read timeout of its sockets.
pub const STOP_CHECK: Duration = Duration::from_millis(200);

/// One RIB source.
pub trait Feed: Send {
    /// Runs until it is stopped: connects, reads, reconnects with back-off. Sends [`RouteEvent::FeedUp`] at each
    /// start of a connection (or first finished poll) and [`RouteEvent::FeedDown`] at each loss.
    fn run(self: Box<Self>, outlet: &Outlet);

    /// What it leaves out, counted while it runs. Keep it: [`Feed::run`] takes the feed.
    fn skipped(&self) -> Skipped {
        Skipped::default()
    }

    /// How old what it knows may be, if it polls. Keep it, too.
    fn lag(&self) -> Option<Lag> {
        None
    }
}

/// The daemon is shutting down or the feed was removed: the feed returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the feed was stopped")]
pub struct Stopped;

/// Stops feeds, and lets them sleep until then.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Stops every feed that holds a clone.
    pub fn stop(&self) {
        *self
            .0
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = true;
        self.0.1.notify_all();
    }

    /// Is the feed to stop?
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self
            .0
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits for the time given, or for [`Stop::stop`].
    ///
    /// # Errors
    /// [`Stopped`] if the feed is stopped before or meanwhile.
    pub fn sleep(&self, time: Duration) -> Result<(), Stopped> {
        let stopped = self
            .0
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let waited = self
            .0
            .1
            .wait_timeout_while(stopped, time, |stopped| !*stopped);
        let (stopped, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        if *stopped { Err(Stopped) } else { Ok(()) }
    }
}

/// Where a feed puts its events. Clones for one channel stand in one line: a thread with few events waits for one batch
/// of whoever has much, not for all of them.
#[derive(Clone, Debug)]
pub struct Outlet {
    feed: FeedId,
    batches: SyncSender<Batch>,
    line: Arc<Line>,
    stop: Stop,
}

impl Outlet {
    /// For one feed, the first of its channel.
    #[must_use]
    pub fn new(feed: FeedId, batches: SyncSender<Batch>, stop: Stop) -> Self {
        Self {
            feed,
            batches,
            line: Arc::default(),
            stop,
        }
    }

    /// For another feed of the same channel.
    #[must_use]
    pub fn of(&self, feed: FeedId, stop: Stop) -> Self {
        Self {
            feed,
            stop,
            ..self.clone()
        }
    }

    /// The switch that stops this feed.
    #[must_use]
    pub const fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Hands events over; waits while [`MAX_WAITING_BATCHES`] are waiting. An empty batch is not sent.
    ///
    /// # Errors
    /// [`Stopped`] if the feed is stopped, or the receiving end is gone.
    pub fn send(&self, events: Vec<RouteEvent>) -> Result<(), Stopped> {
        if events.is_empty() {
            return Ok(());
        }
        self.turn()?.send(events)
    }

    /// Waits until everybody who came before has handed over. Never to be called with a lock held that another
    /// sender of the line may want.
    fn turn(&self) -> Result<Turn<'_>, Stopped> {
        let turn = Turn {
            outlet: self,
            ticket: self.line.enter(),
        };
        while !self.line.wait_for(turn.ticket) {
            if self.stop.is_stopped() {
                return Err(Stopped);
            }
        }
        Ok(turn)
    }
}

/// First in line: no other thread hands over until it is dropped.
struct Turn<'a> {
    outlet: &'a Outlet,
    ticket: u64,
}

impl Turn<'_> {
    /// Waits for room.
    fn send(&self, mut events: Vec<RouteEvent>) -> Result<(), Stopped> {
        while let Some(unsent) = self.try_send(events)? {
            events = unsent;
            self.outlet.stop.sleep(LOOK_FOR_ROOM)?;
        }
        Ok(())
    }

    /// Gives the events back if there is no room.
    fn try_send(&self, events: Vec<RouteEvent>) -> Result<Option<Vec<RouteEvent>>, Stopped> {
        let feed = self.outlet.feed;
        match self.outlet.batches.try_send(Batch { feed, events }) {
            Ok(()) => Ok(None),
            Err(TrySendError::Full(unsent)) => Ok(Some(unsent.events)),
            Err(TrySendError::Disconnected(_)) => Err(Stopped),
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.outlet.line.leave(self.ticket);
    }
}

/// Who waits to hand over, in the order they came.
#[derive(Debug, Default)]
struct Line {
    waiting: Mutex<(u64, VecDeque<u64>)>,
    moved: Condvar,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, (u64, VecDeque<u64>)> {
        self.waiting
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn enter(&self) -> u64 {
        let mut waiting = self.lock();
        waiting.0 += 1;
        let ticket = waiting.0;
        waiting.1.push_back(ticket);
        ticket
    }

    /// Is it first? Waits for a while.
    fn wait_for(&self, ticket: u64) -> bool {
        let not_first = |waiting: &mut (u64, VecDeque<u64>)| waiting.1.front() != Some(&ticket);
        let waited = self
            .moved
            .wait_timeout_while(self.lock(), STOP_CHECK, not_first);
        let (waiting, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        waiting.1.front() == Some(&ticket)
    }

    fn leave(&self, ticket: u64) {
        self.lock().1.retain(|&other| other != ticket);
        self.moved.notify_all();
    }
}

/// Is it a read that just had nothing yet?
fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;
    use std::thread;

    fn events() -> Vec<RouteEvent> {
        vec![RouteEvent::FeedUp]
    }

    #[test]
    fn who_has_little_to_say_waits_for_one_batch_of_who_has_much() {
        let (sender, batches) = sync_channel(1);
        let much = Outlet::new(FeedId(0), sender, Stop::default());
        let little = much.of(FeedId(1), Stop::default());
        thread::scope(|scope| {
            let flood = scope.spawn(|| while much.send(events()).is_ok() {});
            let in_line = |line: &Line| line.lock().1.len();
            while in_line(&much.line) < 1 {
                thread::yield_now(); // until the flood waits for room
            }
            let said = scope.spawn(|| little.send(events()));
            while in_line(&much.line) < 2 {
                thread::yield_now();
            }
            // One is in the channel, one was in line before.
            let first: Vec<FeedId> = batches.iter().take(3).map(|batch| batch.feed).collect();
            assert_eq!(first[2], FeedId(1), "{first:?}");
            assert!(said.join().is_ok_and(|said| said.is_ok()));
            drop(batches);
            assert!(flood.join().is_ok());
        });
    }

    #[test]
    fn the_line_is_first_come_first_served_and_a_leaver_holds_up_nobody() {
        let line = Line::default();
        let [a, b, c] = [(); 3].map(|()| line.enter());
        assert!(line.wait_for(a) && !line.lock().1.is_empty());
        line.leave(b);
        line.leave(a);
        assert!(line.wait_for(c));
        line.leave(c);
        assert!(line.lock().1.is_empty());
    }

    #[test]
    fn waiting_in_line_or_for_room_ends_when_told_to_stop() {
        let (sender, _batches) = sync_channel(1);
        let stop = Stop::default();
        let outlet = Outlet::new(FeedId(0), sender, stop.clone());
        outlet.send(events()).unwrap();
        thread::scope(|scope| {
            let for_room = scope.spawn(|| outlet.send(events()));
            let in_line = scope.spawn(|| outlet.send(events()));
            while outlet.line.lock().1.len() < 2 {
                thread::yield_now();
            }
            stop.stop();
            assert_eq!(for_room.join().unwrap(), Err(Stopped));
            assert_eq!(in_line.join().unwrap(), Err(Stopped));
        });
        assert!(outlet.line.lock().1.is_empty());
    }
}

/// The examples of the README, which are compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
