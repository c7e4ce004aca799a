//! Sampled violations, the last of them in memory for who asks the daemon; all of them go to the records. A flood costs
//! older violations of the peer that sends it, never those of another, and never an event.
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use filter_engine::Violation;

use crate::config::Config;
use crate::records::{Kind, Recorder, Seen, ViolationRecord};
use crate::when;

/// Violations that are kept in memory.
pub const MAX_VIOLATIONS: usize = 10_000;

/// See the file's head.
#[derive(Debug, Default)]
pub struct Violations {
    /// By the peer's name; none for those of no peer.
    kept: BTreeMap<Option<String>, VecDeque<ViolationRecord>>,
    count: usize,
    last: u64,
    /// Where the program sits, by interface, as reported last.
    hooks: BTreeMap<String, &'static str>,
    recorder: Option<Arc<Recorder>>,
}

impl Violations {
    /// Numbers go on after `last`.
    pub(super) fn new(last: u64, recorder: Option<Arc<Recorder>>) -> Self {
        Self {
            last,
            recorder,
            ..Self::default()
        }
    }

    /// The program sits there now.
    pub(super) fn attached(&mut self, interface: &str, hook: &'static str) {
        self.hooks.insert(interface.to_owned(), hook);
    }

    /// Not logged: there may be thousands.
    pub(super) fn take(&mut self, config: &Config, violation: &Violation) {
        self.last += 1;
        let seen = Seen {
            number: self.last,
            time: when::now() - filter_loader::age(violation.time_ns).as_secs_f64(),
            hook: self.hooks.get(&violation.interface).copied(),
        };
        let record = ViolationRecord::new(config, violation, seen);
        if let Some(recorder) = &self.recorder {
            recorder.record(Kind::Violations, &record);
        }
        self.keep(record);
    }

    /// The peer that has most of them loses its oldest.
    fn keep(&mut self, record: ViolationRecord) {
        let of_peer = self.kept.entry(record.peer.clone()).or_default();
        of_peer.push_back(record);
        self.count += 1;
        if self.count > MAX_VIOLATIONS
            && let Some(most) = self.kept.values_mut().max_by_key(|it| it.len())
        {
            most.pop_front();
            self.count -= 1;
        }
    }

    /// Those after this number, oldest first; all of them if the number is of another life of the records. Where numbers
    /// are missing, the records may still have them.
    pub(super) fn after(&self, number: u64) -> Vec<&ViolationRecord> {
        let number = if number > self.last { 0 } else { number };
        let of_peer =
            |kept: &VecDeque<ViolationRecord>| kept.partition_point(|it| it.number <= number);
        let kept = self.kept.values();
        let mut after: Vec<_> = kept.flat_map(|it| it.range(of_peer(it)..)).collect();
        after.sort_unstable_by_key(|it| it.number);
        after
    }
}

#[cfg(test)]
mod tests {

    use filter_core::Reason;
    use filter_core::packet::Vlans;
    use filter_lifecycle::route::PeerId;

    use super::*;
    use crate::config::ONE_PEER;

    fn violation(peer: Option<PeerId>) -> Violation {
        Violation {
            peer,
            interface: "ixp0".to_owned(),
            ifindex: 2,
            vlans: Vlans::NONE,
            reason: Reason::SourceUnannounced,
            dropped: true,
            length: 60,
            time_ns: u64::MAX,
            header: Vec::new(),
            is_ethernet: true,
            flow: None,
        }
    }

    #[test]
    fn a_flood_pushes_out_the_oldest_of_its_peer_and_numbers_go_on() {
        let (config, _) = Config::parse(ONE_PEER, "test").unwrap();
        let mut violations = Violations::new(5, None);
        violations.attached("ixp0", "tc");
        let flood = MAX_VIOLATIONS as u64 + 1;
        for _ in 0..flood {
            violations.take(&config, &violation(None));
        }
        let numbers = |after| {
            let found = violations.after(after);
            (found.first().map(|it| it.number), found.len())
        };
        let last = 5 + flood;
        assert_eq!(numbers(0), (Some(7), MAX_VIOLATIONS));
        assert_eq!(numbers(last - 1), (Some(last), 1));
        assert_eq!(numbers(last), (None, 0));
        assert_eq!(numbers(last + 1), (Some(7), MAX_VIOLATIONS));
        assert_eq!(violations.after(0)[0].hook.as_deref(), Some("tc"));

        let p1 = Some(PeerId(0));
        for (quiet, loud) in [(p1, None), (None, p1)] {
            let mut violations = Violations::default();
            violations.take(&config, &violation(quiet));
            for _ in 0..flood {
                violations.take(&config, &violation(loud));
            }
            let kept = violations.after(0);
            assert_eq!(kept.len(), MAX_VIOLATIONS);
            let first = (kept[0].number, kept[0].peer.as_deref());
            assert_eq!(first, (1, quiet.map(|_| "p1")));
            assert!(kept.is_sorted_by_key(|it| it.number));
        }
    }
}
