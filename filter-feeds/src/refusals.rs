//! Connections that a listener turned away: each is counted, and logged once for its address and reason, so that whoever
//! goes on connecting fills no log. Bounded by [`MAX_LOGGED`]. Never decides who may connect.
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::skipped::Skipped;

/// Refusals that are logged; further ones are only counted.
pub const MAX_LOGGED: usize = 1024;
/// The reason where the machine has no thread for a connection.
pub(crate) const NO_THREAD: &str = "no thread can be started for it";
/// How a refusal is counted.
pub const REFUSED: &str = "refused-connection";

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    logged: Mutex<BTreeSet<(IpAddr, &'static str)>>,
    skipped: Skipped,
}

impl Refusals {
    /// Counted with what the feed skips.
    pub(crate) fn counted_in(skipped: &Skipped) -> Self {
        Self {
            logged: Mutex::default(),
            skipped: skipped.clone(),
        }
    }

    /// Counts a refusal. Is it one to log?
    pub(crate) fn add(&self, from: IpAddr, why: &'static str) -> bool {
        self.skipped.add(REFUSED, 1);
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        logged.len() < MAX_LOGGED && logged.insert((from.to_canonical(), why))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_address_and_reason_is_logged_once_and_only_so_many_are() {
        let skipped = Skipped::default();
        let refusals = Refusals::counted_in(&skipped);
        let host = |number: u32| IpAddr::from(Ipv4Addr::from(0x0a00_0000 + number));
        assert!(refusals.add(host(0), "stranger"));
        assert!(!refusals.add(host(0), "stranger"));
        let mapped = Ipv4Addr::from(0x0a00_0000).to_ipv6_mapped();
        assert!(!refusals.add(mapped.into(), "stranger"));
        assert!(refusals.add(host(0), "too many"));
        for number in 1..MAX_LOGGED as u32 - 1 {
            assert!(refusals.add(host(number), "stranger"), "{number}");
        }
        assert!(!refusals.add(host(MAX_LOGGED as u32), "stranger"));
        assert_eq!(skipped.of(REFUSED), MAX_LOGGED as u64 + 3);
    }
}
