//! What left one peer's sides lately: *recently valid*, for `explain` and stories. Bounded, its own oldest first; never
//! makes anything valid.
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use filter_core::{Address, Prefix};

use super::Side;

/// How long a prefix that left is remembered.
pub const RECENT: Duration = Duration::from_secs(24 * 3600);
/// Prefixes that left and are remembered, of one peer.
pub const MAX_RECENT: usize = 65_536;

/// A prefix that was valid within the last day, and is not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentlyValid {
    /// Which.
    pub prefix: Prefix,
    /// How long ago it left.
    pub ago: Duration,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Recent {
    left: HashMap<(Side, Prefix), Duration>,
    /// In the order in which they left. What left again stands here twice; only the later counts.
    order: VecDeque<(Duration, Side, Prefix)>,
}

impl Recent {
    /// A prefix left.
    pub(super) fn left(&mut self, now: Duration, side: Side, prefix: Prefix) {
        while let Some(&(at, ..)) = self.order.front()
            && (self.order.len() >= MAX_RECENT || now >= at + RECENT)
        {
            self.forget_oldest();
        }
        self.left.insert((side, prefix), now);
        self.order.push_back((now, side, prefix));
    }

    fn forget_oldest(&mut self) {
        if let Some((at, side, prefix)) = self.order.pop_front()
            && self.left.get(&(side, prefix)) == Some(&at)
        {
            self.left.remove(&(side, prefix));
        }
    }

    /// The longest prefix that left within the last day and covers this address.
    pub(super) fn covering(
        &self,
        now: Duration,
        side: Side,
        address: Address,
    ) -> Option<RecentlyValid> {
        let lens = (0..=address.family.bits()).rev();
        let mut covering = lens.filter_map(|len| Prefix::new(address, len).ok());
        covering.find_map(|prefix| {
            let at = self.left.get(&(side, prefix))?;
            let ago = now.saturating_sub(*at);
            (ago < RECENT).then_some(RecentlyValid { prefix, ago })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<std::net::IpAddr>().unwrap().into()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_longest_that_left_within_a_day() {
        let mut recent = Recent::default();
        let (wide, long) = ("10.0.0.0/8", "10.1.0.0/16");
        for (seconds, text) in [(10, long), (20, wide), (30, long)] {
            recent.left(at(seconds), Side::Sources, text.parse().unwrap());
        }
        let found = |seconds, text: &str| {
            let recent = recent.covering(at(seconds), Side::Sources, address(text))?;
            Some((recent.prefix.to_string(), recent.ago.as_secs()))
        };
        assert_eq!(found(70, "10.1.2.3"), Some((long.to_owned(), 40)));
        assert_eq!(found(70, "10.2.0.1"), Some((wide.to_owned(), 50)));
        assert_eq!(found(70, "11.0.0.1"), None);
        assert_eq!(found(70, "::1"), None);
        assert_eq!(
            recent.covering(at(70), Side::Destinations, address("10.1.2.3")),
            None
        );
        let day = RECENT.as_secs();
        assert!(found(day + 29, "10.1.2.3").is_some());
        assert_eq!(found(day + 30, "10.1.2.3"), None);
    }

    #[test]
    fn a_peers_own_oldest_go_first() {
        let mut recent = Recent::default();
        let host = |number: u32| Prefix::host(std::net::IpAddr::from(number.to_be_bytes()).into());
        for number in 0..=MAX_RECENT as u32 {
            recent.left(at(1), Side::Sources, host(number));
        }
        assert_eq!(
            (recent.left.len(), recent.order.len()),
            (MAX_RECENT, MAX_RECENT)
        );
        let is_there = |number: u32| {
            let address = std::net::IpAddr::from(number.to_be_bytes()).into();
            recent.covering(at(2), Side::Sources, address).is_some()
        };
        assert!(!is_there(0) && is_there(1) && is_there(MAX_RECENT as u32));
        recent.left(at(1) + RECENT, Side::Sources, host(7));
        assert_eq!((recent.left.len(), recent.order.len()), (1, 1));
    }
}
