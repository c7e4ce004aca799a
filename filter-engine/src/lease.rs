//! What an earlier process left in force, and the lease that keeps enforcement alive. Never decides what is enforced:
//! only whether the tables found are still to be trusted, and for how long.
use std::time::Duration;

use filter_lifecycle::route::PeerId;
use filter_lifecycle::spec::Timers;
use filter_lifecycle::{Lifecycle, Missing};
use filter_loader::{Error, Filter};

/// How often the lease is renewed.
const RENEW: Duration = Duration::from_secs(1);

/// Until when each peer's adopted tables stay, by [`PeerId`]; none if nothing was adopted, or the feeds have reported as
/// much.
#[derive(Debug, Default)]
pub(crate) struct Adopted(Vec<Option<Duration>>);

impl Adopted {
    pub(crate) fn new(until: Vec<Option<Duration>>) -> Self {
        Self(until)
    }

    pub(crate) fn any(&self) -> bool {
        self.0.iter().any(Option::is_some)
    }

    pub(crate) fn is(&self, id: PeerId) -> bool {
        self.0[id.0 as usize].is_some()
    }

    /// For how long adopted tables stay at most.
    pub(crate) fn left(&self, now: Duration, id: PeerId) -> Option<Duration> {
        self.0[id.0 as usize].map(|until| until.saturating_sub(now))
    }

    /// What an earlier process, or specification, enforced stays until the feeds have reported as much to this one, or for
    /// `stale_hold`. A table that no session is there to carry is not waited for.
    pub(crate) fn keeps(&mut self, now: Duration, id: PeerId, lifecycle: &Lifecycle) -> bool {
        let adopted = &mut self.0[id.0 as usize];
        let Some(until) = *adopted else {
            return false;
        };
        if !is_loading(now, id, lifecycle) || now >= until {
            *adopted = None;
        }
        adopted.is_some()
    }
}

/// Are there tables of this peer that feeds have not reported in full, although there is a session that carries them?
pub(crate) fn is_loading(now: Duration, id: PeerId, lifecycle: &Lifecycle) -> bool {
    let mut classes = lifecycle.class_status(now, id).into_iter();
    classes.any(|class| match class.missing {
        Some(Missing::Loading(..)) => true,
        Some(Missing::NotReceived(side, family)) => lifecycle.is_awaited(id, side, family),
        _ => false,
    })
}

/// Renews the lease.
#[derive(Debug, Default)]
pub(crate) struct LeaseKeeper {
    next: Duration,
}

impl LeaseKeeper {
    /// With `on_lease_end = "keep"` the peers' switch words in the kernel do not depend on the lease.
    pub(crate) fn renew(filter: &Filter, timers: &Timers) -> Result<(), Error> {
        filter.lease().renew(timers.lease)?;
        filter.renew_former(timers.lease)
    }

    /// Renews it if it is time to.
    pub(crate) fn work(
        &mut self,
        now: Duration,
        filter: &Filter,
        timers: &Timers,
    ) -> Result<(), Error> {
        if now < self.next {
            return Ok(());
        }
        self.next = now + RENEW;
        Self::renew(filter, timers)
    }

    pub(crate) const fn next(&self) -> Duration {
        self.next
    }
}
