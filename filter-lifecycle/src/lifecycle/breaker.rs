//! Watches the share of an enforced peer's packets that is dropped. Knows no peer; only an operator re-arms it.
use std::time::Duration;

use crate::spec;

/// One peer's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Breaker {
    window: Option<Window>,
    pub tripped: bool,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    start: Duration,
    packets: u64,
    dropped: u64,
}

impl Breaker {
    /// Takes the peer's counters as they are now; says what was dropped of how much when it trips.
    pub(super) fn traffic(
        &mut self,
        now: Duration,
        (packets, dropped): (u64, u64),
        limit: &spec::Breaker,
    ) -> Option<(u64, u64)> {
        let fresh = Window {
            start: now,
            packets,
            dropped,
        };
        let window = *self.window.get_or_insert(fresh);
        let age = now.saturating_sub(window.start);
        // Nobody looked for long, or the counters are others: what happened meanwhile says nothing of now.
        let void = age > limit.window * 2 || packets < window.packets || dropped < window.dropped;
        if self.tripped || void {
            self.window = Some(fresh);
            return None;
        }
        let (seen, lost) = (packets - window.packets, dropped - window.dropped);
        let over = lost.saturating_mul(100) > seen.saturating_mul(u64::from(limit.percent));
        if seen >= limit.packets && over {
            self.tripped = true;
            self.window = None;
            return Some((lost, seen));
        }
        if age >= limit.window {
            self.window = Some(fresh);
        }
        None
    }

    pub(super) fn rearm(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: spec::Breaker = spec::Breaker {
        percent: 20,
        packets: 1000,
        window: Duration::from_secs(10),
    };

    /// Feeds the counters in, a second apart.
    fn trips(counters: &[(u64, u64)]) -> Option<(u64, u64)> {
        let mut breaker = Breaker::default();
        (0..).zip(counters).find_map(|(second, &counters)| {
            breaker.traffic(Duration::from_secs(second), counters, &LIMIT)
        })
    }

    #[test]
    fn at_its_edges() {
        assert_eq!(trips(&[(0, 0), (1000, 201)]), Some((201, 1000)));
        assert_eq!(trips(&[(0, 0), (1000, 200)]), None, "not over 20 %");
        assert_eq!(trips(&[(0, 0), (999, 999)]), None, "too few packets");
        assert_eq!(
            trips(&[(5000, 5000), (6000, 5201)]),
            Some((201, 1000)),
            "what was before does not count"
        );
        assert_eq!(trips(&[(9000, 9000), (1000, 1000)]), None, "other counters");
        let mut slow = vec![(0, 0); 11];
        slow.push((999, 999));
        slow.push((1000, 1000));
        assert_eq!(trips(&slow), Some((1000, 1000)));
        let never = spec::Breaker {
            percent: 100,
            ..LIMIT
        };
        let mut breaker = Breaker::default();
        assert_eq!(breaker.traffic(Duration::ZERO, (0, 0), &never), None);
        assert_eq!(breaker.traffic(Duration::ZERO, (5000, 5000), &never), None);
    }

    #[test]
    fn a_window_nobody_looked_into_says_nothing() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.traffic(Duration::ZERO, (0, 0), &LIMIT), None);
        assert_eq!(
            breaker.traffic(Duration::from_secs(21), (9000, 9000), &LIMIT),
            None
        );
        assert_eq!(
            breaker.traffic(Duration::from_secs(22), (9999, 9000), &LIMIT),
            None
        );
        assert_eq!(
            breaker.traffic(Duration::from_secs(23), (10_200, 9300), &LIMIT),
            Some((300, 1200))
        );
        assert_eq!(
            breaker.traffic(Duration::from_secs(24), (19_000, 19_000), &LIMIT),
            None,
            "once"
        );
        assert!(breaker.tripped);
        breaker.rearm();
        assert!(!breaker.tripped);
    }
}
