//! For how long a table has been received that is not complete. Time without its session does not count: nothing is
//! received then, however often the session comes and goes.
use std::time::Duration;

/// See the file's head.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Received {
    /// Since when the session that goes on sends it.
    since: Option<Duration>,
    /// For how long sessions before that did.
    before: Duration,
}

impl Received {
    /// A route is received, in a session that came up then.
    pub(super) fn go_on(&mut self, started: Duration) {
        self.since.get_or_insert(started);
    }

    /// Its session ended, or began anew: nothing is received until the next route.
    pub(super) fn pause(&mut self, now: Duration) {
        if let Some(since) = self.since.take() {
            self.before += now.saturating_sub(since);
        }
    }

    /// For how long it was received in all.
    pub(super) fn in_all(self, now: Duration) -> Duration {
        let since = self.since.map(|since| now.saturating_sub(since));
        self.before + since.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_with_a_session_counts() {
        let at = Duration::from_secs;
        let mut received = Received::default();
        assert_eq!(received.in_all(at(50)), at(0));
        received.go_on(at(100));
        received.go_on(at(103));
        assert_eq!(received.in_all(at(104)), at(4));
        received.pause(at(105));
        received.pause(at(200));
        assert_eq!(received.in_all(at(1000)), at(5));
        received.go_on(at(1000));
        assert_eq!(received.in_all(at(1010)), at(15));
    }
}
