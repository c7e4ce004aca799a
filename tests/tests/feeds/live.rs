//! What the labs of push feeds share: a running feed, what it said folded up, and the lab's ground truth to compare
//! it with. Never a test of its own.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use filter_core::{Family, Prefix};
use filter_feeds::{Feed, MAX_WAITING_BATCHES, Outlet, Stop};
use filter_lifecycle::route::{AdjRib, Batch, FeedId, RouteEvent, Session};
use tests::captures::Folded;
use tests::lab::Peer;

/// How long any daemon may take; FRR before 10 is believed after a second connection only.
pub const WITHIN: Duration = Duration::from_secs(90);

type Key = (Session, AdjRib, Family);
/// What tables must hold.
pub type Truth = BTreeMap<Key, BTreeSet<Prefix>>;

/// A feed whose sockets are in R's namespace, and what it said folded up.
pub struct Watched {
    batches: Receiver<Batch>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    pub folded: Folded,
}

impl Watched {
    pub fn start(feed: impl Feed + 'static) -> Self {
        let (sender, batches) = sync_channel(MAX_WAITING_BATCHES);
        let stop = Stop::default();
        let outlet = Outlet::new(FeedId(0), sender, stop.clone());
        let thread = std::thread::spawn(move || Box::new(feed).run(&outlet));
        let folded = Folded::default();
        Self {
            batches,
            stop,
            thread: Some(thread),
            folded,
        }
    }

    /// Folds until `condition` holds.
    pub fn until(&mut self, what: &str, condition: impl Fn(&Folded) -> Result<(), String>) {
        let end = Instant::now() + WITHIN;
        while let Err(why) = condition(&self.folded) {
            assert!(Instant::now() < end, "waited in vain for {what}: {why}");
            if let Ok(batch) = self.batches.recv_timeout(Duration::from_millis(100)) {
                self.folded.apply(&batch.events);
            }
        }
    }

    /// Waits until the tables hold this and each was received to its end.
    pub fn until_truth(&mut self, what: &str, truth: &Truth) {
        self.until(what, |folded| {
            holds(folded, truth)?;
            let open = truth.keys().find(|key| !folded.ends.contains(key));
            open.map_or(Ok(()), |key| Err(format!("{key:?} has no end")))
        });
    }

    /// Waits until the tables hold this, of a daemon that reports no ends.
    pub fn until_told(&mut self, what: &str, truth: &Truth) {
        self.until(what, |folded| holds(folded, truth));
    }

    pub fn until_feed_down(&mut self) {
        self.until("the feed to be down", |folded| match folded.events.last() {
            Some(RouteEvent::FeedDown { .. }) => Ok(()),
            last => Err(format!("{last:?}")),
        });
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(
                joined.is_ok() || std::thread::panicking(),
                "the feed panicked"
            );
        }
    }
}

pub fn session(peer: &Peer, family: Family) -> Session {
    Session::global(peer.address(family))
}

fn holds(folded: &Folded, truth: &Truth) -> Result<(), String> {
    for ((session, rib, family), expected) in truth {
        let held: BTreeSet<_> = folded
            .ribs
            .get(&(*session, *rib))
            .into_iter()
            .flatten()
            .map(|(prefix, _)| *prefix)
            .filter(|prefix| prefix.family() == *family)
            .collect();
        if held != *expected {
            return Err(format!(
                "{session:?} {rib} {family} is {held:?}, not {expected:?}"
            ));
        }
    }
    Ok(())
}
