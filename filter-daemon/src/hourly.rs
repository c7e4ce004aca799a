//! A warning that would come with each packet is logged once an hour. Never decides what is warned of.
use std::time::Duration;

/// Between two of the same warning.
const HOUR: Duration = Duration::from_secs(3600);

/// When a warning was last logged.
#[derive(Debug, Default)]
pub(crate) struct Hourly {
    last: Option<Duration>,
}

impl Hourly {
    /// Whether the warning is logged now; if so, the next is an hour away. `now` is any clock that only goes forward.
    pub(crate) fn is_due(&mut self, now: Duration) -> bool {
        let is_due = self.last.is_none_or(|last| now >= last + HOUR);
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_is_due_an_hour_after_the_last_and_not_before() {
        let mut warning = Hourly::default();
        let short = HOUR - Duration::from_millis(1);
        let due =
            [Duration::ZERO, short, HOUR, HOUR + short, 2 * HOUR].map(|now| warning.is_due(now));
        assert_eq!(due, [true, false, true, false, true]);
    }
}
