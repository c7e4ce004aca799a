//! The last events, numbered, and their way into the records. Never decides what is an event.
use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;

use super::fields::Fields;
use super::severity::{Severity, event_names};
use super::{MAX_ENTRIES, Noted};
use crate::records::{Kind, Recorder};
use crate::when::now;

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub(super) number: u64,
    /// Seconds since 1970.
    time: f64,
    severity: Severity,
    event: &'static str,
    /// In one line.
    text: String,
    #[serde(flatten)]
    fields: Fields,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Store {
    entries: VecDeque<Entry>,
    last: u64,
    recorder: Option<Arc<Recorder>>,
}

impl Store {
    /// Numbers go on after `last`.
    pub(super) const fn new(last: u64, recorder: Option<Arc<Recorder>>) -> Self {
        Self {
            entries: VecDeque::new(),
            last,
            recorder,
        }
    }

    /// Entries after this number, oldest first; all of them if the number is of another life of the records.
    pub(super) fn after(&self, number: u64) -> Vec<&Entry> {
        let number = if number > self.last { 0 } else { number };
        let skip = self.entries.partition_point(|it| it.number <= number);
        self.entries.range(skip..).collect()
    }

    /// Logged, recorded, and kept.
    pub(super) fn push(&mut self, noted: Noted) {
        let Noted {
            event,
            text,
            fields,
        } = noted;
        debug_assert!(
            event_names().any(|it| it == event),
            "{event} is in no list: `bcp38 events --type` refuses it"
        );
        let severity = Severity::of(event, &fields);
        log::log!(severity.level(), "{event}: {text}");
        self.last += 1;
        let entry = Entry {
            number: self.last,
            time: now(),
            severity,
            event,
            text,
            fields,
        };
        if let Some(recorder) = &self.recorder {
            recorder.record(Kind::Events, &entry);
        }
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }
}
