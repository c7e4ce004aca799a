//! The records as the daemon starts and answers about them. Reading what an earlier daemon recorded may hang with its
//! disk: then numbers start anew, and the event says so.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::journal::{Journal, LastNumbers};
use super::{READ_WITHIN, bounded};
use crate::config::Config;
use crate::records::{self, Kind, Recorder, RecordsError};

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
        let (last, refused) = match last {
            Ok(Ok(last)) => (last, None),
            Ok(Err(error)) => (LastNumbers::default(), Some(error.to_string())),
            Err(error) => {
                let text = format!("records in `{}`: {error}", directory.display());
                (LastNumbers::default(), Some(text))
            }
        };
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

fn last_numbers(directory: &Path) -> Result<LastNumbers, RecordsError> {
    Ok(LastNumbers {
        events: records::last_number(directory, Kind::Events)?,
        violations: records::last_number(directory, Kind::Violations)?,
    })
}
