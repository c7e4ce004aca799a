//! How fast a table changes: what distinguishes one that is still being received from one that merely lives. Knows neither
//! routes nor what follows from quiet.
use std::time::Duration;

/// Quiet is judged over at least this long, and at most twice.
pub const QUIET: Duration = Duration::from_secs(5);
/// A table is quiet although this share of it changes meanwhile: a full table is never still. Small tables must be.
pub const QUIET_PERCENT: usize = 1;

/// A feed that changes more than this meanwhile is sending whole tables.
pub const BUSY_CHANGES: usize = 1000;

/// Changes of the current and the former window of [`QUIET`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    window: Duration,
    changes: usize,
    former: usize,
}

impl Pace {
    pub(super) fn restart(&mut self, now: Duration) {
        *self = Self {
            window: now,
            ..Self::default()
        };
    }

    pub(super) fn change(&mut self, now: Duration) {
        *self = self.at(now);
        self.changes += 1;
    }

    /// Is it quiet, with this many routes?
    pub(super) fn is_quiet(&self, now: Duration, routes: usize) -> bool {
        let Self {
            changes, former, ..
        } = self.at(now);
        is_few(changes + former, routes)
    }

    /// Is a feed sending whole tables?
    pub(super) fn is_busy(&self, now: Duration) -> bool {
        let Self {
            changes, former, ..
        } = self.at(now);
        changes + former > BUSY_CHANGES
    }

    fn at(self, now: Duration) -> Self {
        let windows = now.saturating_sub(self.window).as_millis() / QUIET.as_millis();
        match windows {
            0 => self,
            1 => Self {
                window: self.window + QUIET,
                changes: 0,
                former: self.changes,
            },
            _ => Self {
                window: now,
                changes: 0,
                former: 0,
            },
        }
    }
}

/// Are these changes few for a table of this size?
pub(super) const fn is_few(changes: usize, routes: usize) -> bool {
    changes.saturating_mul(100) <= routes.saturating_mul(QUIET_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_tables_are_quiet_without_changes_large_ones_with_few() {
        let at = Duration::from_millis;
        let mut pace = Pace::default();
        pace.restart(at(1000));
        assert!(pace.is_quiet(at(1000), 0));
        pace.change(at(2000));
        for (time, quiet) in [
            (2000, false),
            (6999, false),
            (10_999, false),
            (11_000, true),
        ] {
            assert_eq!(pace.is_quiet(at(time), 2), quiet, "{time}");
        }
        assert!(pace.is_quiet(at(2000), 100));
        assert!(!pace.is_quiet(at(2000), 99));
        pace.change(at(7000));
        assert!(!pace.is_quiet(at(7000), 199), "both windows count");
        assert!(pace.is_quiet(at(7000), 200));
    }
}
