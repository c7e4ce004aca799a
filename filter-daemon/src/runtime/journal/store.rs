//! The last entries of one kind, numbered. Never decides what is an entry.
use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::fields::Fields;

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub(super) number: u64,
    /// Seconds since 1970.
    time: f64,
    event: &'static str,
    /// In one line.
    text: String,
    #[serde(flatten)]
    fields: Fields,
}

/// The last entries of one kind, numbered from 1.
#[derive(Debug)]
pub(super) struct Store {
    entries: VecDeque<Entry>,
    last: u64,
    max: usize,
}

impl Store {
    pub(super) const fn new(max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            last: 0,
            max,
        }
    }

    /// Entries after this number, oldest first.
    pub(super) fn after(&self, number: u64) -> Vec<&Entry> {
        let skip = self.entries.len().saturating_sub(
            usize::try_from(self.last.saturating_sub(number)).unwrap_or(usize::MAX),
        );
        self.entries.iter().skip(skip).collect()
    }

    pub(super) fn push(&mut self, event: &'static str, text: &str, fields: Fields) {
        self.last += 1;
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        if self.entries.len() >= self.max {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry {
            number: self.last,
            time: time.as_secs_f64(),
            event,
            text: text.to_owned(),
            fields,
        });
    }
}
