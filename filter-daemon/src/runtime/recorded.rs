//! The records as the daemon starts and answers about them. Reading what an earlier daemon recorded may hang with its
//! disk: then numbers start anew, and an event reports it.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::journal::{Journal, LastNumbers};
use super::{READ_WITHIN, bounded};
use crate::config::Config;
use crate::records::{self, Kind, Recorder};

/// Where the daemon records.
#[derive(Debug)]
pub(super) struct Recording {
    directory: PathBuf,
    /// None if there is no thread for it.
    recorder: Option<Arc<Recorder>>,
}

/// `about`: what commands that read records have to know.
#[derive(Debug, Serialize)]
pub(super) struct About {
    version: &'static str,
    uptime_seconds: u64,
    /// Of `[router]`.
    asn: u32,
    /// The directory of the records.
    records: PathBuf,
    records_lost: u64,
    records_problems: Vec<String>,
}

impl Recording {
    /// Starts it, and the journal that goes on where an earlier daemon ended.
    pub(super) fn start(config: &Config) -> (Self, Journal) {
        let directory = records::directory(&config.daemon.state_file);
        let read = directory.clone();
        let last = bounded::within(READ_WITHIN, move || last_numbers(&read));
        let (recorder, problem) = match Recorder::start(&directory) {
            Ok(recorder) => (Some(Arc::new(recorder)), None),
            Err(error) => (None, Some(format!("cannot start thread records: {error}"))),
        };
        let (last, refused) = last.unwrap_or_else(|error| {
            let text = format!("records in `{}`: {error}", directory.display());
            (LastNumbers::default(), vec![text])
        });
        let mut journal = Journal::new(last, recorder.clone());
        for why in problem.into_iter().chain(refused) {
            journal.note("records-refused", &why);
        }
        let recording = Self {
            directory,
            recorder,
        };
        (recording, journal)
    }

    pub(super) fn recorder(&self) -> Option<Arc<Recorder>> {
        self.recorder.clone()
    }

    pub(super) fn lost(&self) -> u64 {
        self.recorder.as_ref().map_or(0, |it| it.lost())
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let recorder = self.recorder.as_ref();
        recorder.map_or_else(Vec::new, |it| it.problems())
    }

    pub(super) fn about(&self, now: Duration, config: &Config) -> About {
        About {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: now.as_secs(),
            asn: config.spec.router.asn.get(),
            records: self.directory.clone(),
            records_lost: self.lost(),
            records_problems: self.problems(),
        }
    }
}

/// The last number of each file, and why those that cannot be read are not known: one that is refused costs no other its
/// numbers.
fn last_numbers(directory: &Path) -> (LastNumbers, Vec<String>) {
    let mut refused = Vec::new();
    let mut last = |kind| {
        let read = records::last_number(directory, kind);
        read.unwrap_or_else(|error| {
            refused.push(error.to_string());
            0
        })
    };
    let numbers = LastNumbers {
        events: last(Kind::Events),
        violations: last(Kind::Violations),
    };
    (numbers, refused)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_that_is_refused_costs_no_other_its_numbers() {
        let directory = format!("bcp38-recorded-{}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        let recorder = Recorder::start(&directory).unwrap();
        for (kind, number) in [(Kind::Events, 7), (Kind::Violations, 9)] {
            recorder.record(kind, &json!({ "number": number }));
        }
        drop(recorder);
        let numbers = || {
            let (LastNumbers { events, violations }, refused) = last_numbers(&directory);
            (events, violations, refused.len())
        };
        assert_eq!(numbers(), (7, 9, 0));
        let events = Kind::Events.path(&directory);
        let text = fs::read_to_string(&events).unwrap();
        let (header, rest) = text.split_once('\n').unwrap();
        let mut header: serde_json::Value = serde_json::from_str(header).unwrap();
        header["version"] = 700.into();
        fs::write(&events, format!("{header}\n{rest}")).unwrap();
        assert_eq!(numbers(), (0, 9, 1));
        fs::remove_dir_all(directory).unwrap();
    }
}
