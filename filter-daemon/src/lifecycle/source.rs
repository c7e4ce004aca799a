//! One source of routes: one table of one family of one session as one feed tells it, with its state and the
//! routes it holds. Knows nothing of peers, admission or other sources.
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use filter_core::{Family, Prefix};

use super::state::{Cue, State};
use crate::route::{Community, FeedId, Origin, Route, Table};

/// Routes of one source; beyond it the source never counts as complete.
pub const MAX_ROUTES: usize = 4_000_000;
/// A session that came up this long after its feed did is told mid-life: its End-of-RIB may come before its
/// routes (BIRD) or never (FRR), so only quiet shows that it is complete.
pub const MID_LIFE: Duration = Duration::from_secs(2);
/// Mid-life, nothing is complete sooner than this: FRR holds routes back for five seconds while route maps load.
pub const SETTLE: Duration = Duration::from_secs(15);
/// Mid-life, complete means no change for this long.
pub const QUIET: Duration = Duration::from_secs(5);
/// A table that lost more than this share of its routes at once waits for confirmation.
pub const SHRINK_PERCENT: usize = 50;
/// Tables smaller than this may shrink as they like.
pub const SHRINK_MIN: usize = 8;
/// An unconfirmed shrink is believed after this long.
pub const SHRINK_PATIENCE: Duration = Duration::from_secs(300);

/// Names a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey {
    /// Who tells.
    pub feed: FeedId,
    /// Whose routes.
    pub origin: Origin,
    /// Which table.
    pub table: Table,
    /// Which family.
    pub family: Family,
}

/// What is remembered of a route.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which telling of the table it was last part of.
    epoch: u32,
    /// When it was first told.
    pub since: Duration,
    /// Its next hop, if told.
    pub next_hop: Option<IpAddr>,
    /// Its communities, if told.
    pub communities: Option<Arc<[Community]>>,
}

/// Why a complete table is not taken as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The router counts another number of prefixes.
    Count {
        /// What the feed told.
        told: u64,
        /// What the router counts.
        counted: u64,
    },
    /// Most of its routes are gone.
    Shrink {
        /// Before.
        had: usize,
        /// After.
        has: usize,
    },
    /// More routes than [`MAX_ROUTES`].
    Overflow,
}

/// See the file's head.
#[derive(Clone, Debug, Default)]
pub struct Source {
    state: State,
    since: Duration,
    started: Duration,
    last_change: Duration,
    mid_life: bool,
    epoch: u32,
    routes: HashMap<(Prefix, u32), Entry>,
    count: Option<(u64, Duration)>,
    doubt: Option<(Doubt, Duration)>,
    hold_until: Option<Duration>,
    overflow: bool,
}

impl Source {
    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Since when.
    #[must_use]
    pub const fn since(&self) -> Duration {
        self.since
    }

    /// Why it is not taken as complete, although it was said to be.
    #[must_use]
    pub fn doubt(&self) -> Option<Doubt> {
        self.doubt.map(|(doubt, _)| doubt)
    }

    /// Its routes.
    pub fn routes(&self) -> impl Iterator<Item = (Prefix, &Entry)> {
        self.routes
            .iter()
            .map(|(&(prefix, _), entry)| (prefix, entry))
    }

    /// How many routes it holds, paths counted apart.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Does it hold none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Until when its routes are kept although its session is down.
    #[must_use]
    pub const fn hold_until(&self) -> Option<Duration> {
        self.hold_until
    }

    /// Its table is told from the start (again): routes that are not part of this telling go when it is complete.
    pub fn start(&mut self, now: Duration, mid_life: bool) {
        self.epoch = self.epoch.wrapping_add(1);
        self.started = now;
        self.last_change = now;
        self.mid_life = mid_life;
        self.hold_until = None;
        self.cue(now, Cue::Started);
    }

    /// A poll begins: its routes replace those before, but the source is no less complete meanwhile.
    pub fn start_again(&mut self, now: Duration) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.state == State::Loading {
            self.started = now;
        }
    }

    /// The first thing is told of a source nobody announced the start of.
    pub fn ensure_started(&mut self, now: Duration, mid_life: bool) {
        if self.state == State::Unknown {
            self.start(now, mid_life);
        }
    }

    /// Its session went down: its routes are kept until then.
    pub fn session_down(&mut self, now: Duration, hold_until: Duration) {
        if self.state != State::Held {
            self.hold_until = Some(hold_until);
        }
        self.cue(now, Cue::SessionDown);
    }

    /// Its feed was lost.
    pub fn feed_lost(&mut self, now: Duration) {
        self.cue(now, Cue::FeedLost);
    }

    fn cue(&mut self, now: Duration, cue: Cue) {
        let after = self.state.after(cue);
        if after != self.state {
            self.state = after;
            self.since = now;
        }
    }

    /// A route was told. Returns what was remembered of it before, if anything.
    pub fn announce(&mut self, now: Duration, route: &Route) -> Announced {
        if self.routes.len() >= MAX_ROUTES && !self.routes.contains_key(&(route.prefix, route.path))
        {
            self.overflow = true;
            return Announced::Overflow;
        }
        let entry = Entry {
            epoch: self.epoch,
            since: now,
            next_hop: route.next_hop,
            communities: route.communities.clone(),
        };
        match self.routes.entry((route.prefix, route.path)) {
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(entry);
                self.last_change = now;
                Announced::New
            }
            std::collections::hash_map::Entry::Occupied(mut known) => {
                let same = known.get().next_hop == entry.next_hop
                    && known.get().communities == entry.communities;
                let before = known.insert(Entry {
                    since: known.get().since,
                    ..entry
                });
                if same {
                    Announced::Same
                } else {
                    Announced::Replaced(before)
                }
            }
        }
    }

    /// A route was withdrawn. Returns what was remembered of it.
    pub fn withdraw(&mut self, now: Duration, prefix: Prefix, path: u32) -> Option<Entry> {
        self.last_change = now;
        self.routes.remove(&(prefix, path))
    }

    /// The router's own count of prefixes.
    pub fn counted(&mut self, now: Duration, prefixes: u64) {
        self.count = Some((prefixes, now));
    }

    /// End-of-RIB was told. Believed at once if the table was told from the feed's start; mid-life, quiet decides.
    #[must_use]
    pub const fn believes_end_of_rib(&self) -> bool {
        !self.mid_life
    }

    /// Has it been quiet for so long that it must be complete, although nobody said so?
    #[must_use]
    pub fn is_quiet(&self, now: Duration) -> bool {
        self.state == State::Loading
            && self.doubt.is_none()
            && now >= self.started + SETTLE
            && now >= self.last_change + QUIET
    }

    /// Is there a doubt that time, or a newer count, has resolved?
    #[must_use]
    pub fn may_retry(&self, now: Duration) -> bool {
        match self.doubt {
            Some((Doubt::Count { .. }, _)) => self.count_mismatch().is_none(),
            Some((Doubt::Shrink { .. }, since)) => now >= since + SHRINK_PATIENCE,
            Some((Doubt::Overflow, _)) | None => false,
        }
    }

    /// The table is said to be complete: the routes that were not part of this telling are to be removed. In
    /// doubt nothing is, and the doubt comes back; saying it a second time confirms a shrink.
    ///
    /// # Errors
    /// The doubt.
    pub fn complete(&mut self, now: Duration) -> Result<Vec<(Prefix, Entry)>, Doubt> {
        if let Some(doubt) = self.doubts(now) {
            if self.doubt() != Some(doubt) {
                self.doubt = Some((doubt, now));
            }
            return Err(doubt);
        }
        self.doubt = None;
        self.cue(now, Cue::Completed);
        let epoch = self.epoch;
        Ok(self
            .routes
            .extract_if(|_, entry| entry.epoch != epoch)
            .map(|((prefix, _), entry)| (prefix, entry))
            .collect())
    }

    fn doubts(&self, now: Duration) -> Option<Doubt> {
        if self.overflow {
            return Some(Doubt::Overflow);
        }
        if let Some(mismatch) = self.count_mismatch() {
            return Some(mismatch);
        }
        let had = self.routes.len();
        let has = self
            .routes
            .values()
            .filter(|entry| entry.epoch == self.epoch)
            .count();
        let shrank = had >= SHRINK_MIN && (had - has) * 100 > had * SHRINK_PERCENT;
        let confirmed = match self.doubt {
            Some((Doubt::Shrink { .. }, since)) => now > since,
            _ => false,
        };
        if shrank && !confirmed {
            Some(Doubt::Shrink { had, has })
        } else {
            None
        }
    }

    /// A count that is newer than the last change and differs from what was told.
    fn count_mismatch(&self) -> Option<Doubt> {
        let (counted, at) = self.count?;
        let told = self
            .routes
            .values()
            .filter(|entry| entry.epoch == self.epoch)
            .count() as u64;
        (at > self.last_change && told != counted).then_some(Doubt::Count { told, counted })
    }

    /// The hold is over, or another feed tells the same: everything goes.
    pub fn drop_routes(&mut self, now: Duration) -> Vec<(Prefix, Entry)> {
        self.cue(now, Cue::HoldOver);
        self.hold_until = None;
        self.routes
            .drain()
            .map(|((prefix, _), entry)| (prefix, entry))
            .collect()
    }
}

/// What an announcement changed.
#[derive(Debug)]
pub enum Announced {
    /// The route was not known.
    New,
    /// Nothing but that it is part of this telling too.
    Same,
    /// Next hop or communities differ from before.
    Replaced(Entry),
    /// There are too many.
    Overflow,
}
