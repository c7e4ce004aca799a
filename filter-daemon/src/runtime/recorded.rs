//! The records as the daemon starts and answers about them. Reading what an earlier daemon recorded may hang with its
//! disk: then numbers start anew, and the event says so.
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::journal::{Journal, LastNumbers};
use super::{READ_WITHIN, Runtime, bounded};
use crate::config::Config;
use crate::records::{self, Kind, Recorder, RecordsError};

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

/// The journal, and where it and the history are recorded; none if there is no thread for it.
pub(super) fn start(config: &Config) -> (Journal, Option<Arc<Recorder>>) {
    let directory = records::directory(&config.daemon.state_file);
    let read = directory.clone();
    let last = bounded::within(READ_WITHIN, move || last_numbers(&read));
    let recorder = Recorder::start(&directory);
    let (recorder, problem) = match recorder {
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
    (journal, recorder)
}

fn last_numbers(directory: &std::path::Path) -> Result<LastNumbers, RecordsError> {
    Ok(LastNumbers {
        events: records::last_number(directory, Kind::Events)?,
        violations: records::last_number(directory, Kind::Violations)?,
    })
}

impl Runtime {
    pub(super) fn about(&self) -> About {
        About {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: self.now().as_secs(),
            asn: self.config.spec.router.asn.get(),
            records: records::directory(&self.config.daemon.state_file),
            records_lost: self.records_lost(),
            records_problems: self.records_problems(),
        }
    }

    pub(super) fn records_lost(&self) -> u64 {
        self.recorder.as_ref().map_or(0, |it| it.lost())
    }

    pub(super) fn records_problems(&self) -> Vec<String> {
        let recorder = self.recorder.as_ref();
        recorder.map_or_else(Vec::new, |it| it.problems())
    }
}
