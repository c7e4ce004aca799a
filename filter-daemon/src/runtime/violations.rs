//! Sampled violations, the last of them in memory for who asks the daemon; all of them go to the records. A flood costs
//! older violations, never an event.
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use filter_engine::Violation;

use crate::config::Config;
use crate::records::{Kind, Recorder, Seen, ViolationRecord};

/// Violations that are kept in memory.
pub const MAX_VIOLATIONS: usize = 10_000;

/// See the file's head.
#[derive(Debug, Default)]
pub struct Violations {
    kept: VecDeque<ViolationRecord>,
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
            time: now(),
            hook: self.hooks.get(&violation.interface).copied(),
        };
        let record = ViolationRecord::new(config, violation, seen);
        if let Some(recorder) = &self.recorder {
            recorder.record(Kind::Violations, &record);
        }
        if self.kept.len() >= MAX_VIOLATIONS {
            self.kept.pop_front();
        }
        self.kept.push_back(record);
    }

    /// Those after this number, oldest first; all of them if the number is of another life of the records.
    pub(super) fn after(&self, number: u64) -> Vec<&ViolationRecord> {
        let number = if number > self.last { 0 } else { number };
        let skip = self.kept.partition_point(|it| it.number <= number);
        self.kept.range(skip..).collect()
    }
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use filter_core::Reason;
    use filter_core::packet::Vlans;

    use super::*;

    const CONFIG: &str = "[router]\nasn = 64500\n[[interface]]\nname = \"ixp0\"\nkind = \"port\"\n";

    #[test]
    fn a_flood_pushes_out_the_oldest_and_numbers_go_on() {
        let (config, _) = Config::parse(CONFIG, "test").unwrap();
        let mut violations = Violations::new(5, None);
        violations.attached("ixp0", "tc");
        let violation = Violation {
            peer: None,
            interface: "ixp0".to_owned(),
            ifindex: 2,
            vlans: Vlans::NONE,
            reason: Reason::SourceUnannounced,
            dropped: true,
            length: 60,
            header: Vec::new(),
            is_ethernet: true,
            flow: None,
        };
        let flood = MAX_VIOLATIONS as u64 + 1;
        for _ in 0..flood {
            violations.take(&config, &violation);
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
    }
}
