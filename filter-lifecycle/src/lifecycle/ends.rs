//! Sessions of one router that ended lately: enough of them together are the router's doing, not their peers'. Knows
//! neither peers nor routes.
use std::collections::HashMap;
use std::time::Duration;

use crate::route::Session;

/// Sessions that end within this time end together.
pub const TOGETHER: Duration = Duration::from_secs(5);
/// From so many peers and route servers on sessions that end together are the router's loss, if most of its do.
pub const MASS_PEERS: usize = 3;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Ends {
    recent: HashMap<Session, Duration>,
    are_mass: bool,
}

impl Ends {
    /// Did a session end lately?
    pub(super) fn are_recent(&self, now: Duration) -> bool {
        self.recent.values().any(|at| now <= *at + TOGETHER)
    }

    /// A session ended, of a router that still reports so many as up. Returns the sessions that are thereby found to be
    /// the router's loss; `peers` counts whose some sessions are.
    pub(super) fn ended(
        &mut self,
        now: Duration,
        session: Session,
        up: usize,
        peers: impl Fn(&mut dyn Iterator<Item = Session>) -> usize,
    ) -> Vec<Session> {
        self.recent.retain(|_, at| now <= *at + TOGETHER);
        self.recent.insert(session, now);
        let were_mass = self.are_mass;
        self.are_mass =
            self.recent.len() > up && peers(&mut self.recent.keys().copied()) >= MASS_PEERS;
        match (were_mass, self.are_mass) {
            (_, false) => Vec::new(),
            (true, true) => vec![session],
            (false, true) => {
                let mut sessions: Vec<Session> = self.recent.keys().copied().collect();
                sessions.sort_unstable();
                sessions
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u8) -> Session {
        Session::global([192, 0, 2, number].into())
    }

    fn ended(ends: &mut Ends, seconds: u64, number: u8, up: usize) -> Vec<Session> {
        let now = Duration::from_secs(seconds);
        ends.ended(now, session(number), up, |sessions| sessions.count())
    }

    #[test]
    fn three_peers_and_most_sessions_within_five_seconds() {
        let mut ends = Ends::default();
        assert_eq!(ended(&mut ends, 10, 1, 4), []);
        assert_eq!(ended(&mut ends, 12, 2, 3), []);
        let three = [1, 2, 3].map(session);
        assert_eq!(ended(&mut ends, 15, 3, 2), three);
        assert_eq!(ended(&mut ends, 15, 4, 1), [session(4)]);

        let mut late = Ends::default();
        for (seconds, number, up) in [(10, 1, 2), (12, 2, 1), (16, 3, 0)] {
            assert_eq!(ended(&mut late, seconds, number, up), []);
        }
        let mut few = Ends::default();
        for (number, up) in [(1, 5), (2, 4), (3, 3)] {
            assert_eq!(ended(&mut few, 10, number, up), [], "three of six");
        }
        let mut one = Ends::default();
        for number in 1..9 {
            let now = Duration::from_secs(1);
            let ended = one.ended(now, session(number), 0, |_| 2);
            assert_eq!(ended, [], "of two peers");
        }
    }
}
