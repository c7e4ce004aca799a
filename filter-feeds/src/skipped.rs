//! What a feed left out of what its router sent, by name and how often. Readable while the feed runs. Counts only:
//! nothing in the project decides anything by it.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the file's head. Clones are the same counts.
#[derive(Clone, Debug, Default)]
pub struct Skipped(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Skipped {
    /// Counts `times` more.
    pub fn add(&self, name: &'static str, times: u64) {
        if times != 0 {
            *self.lock().entry(name).or_default() += times;
        }
    }

    /// How often this one happened.
    #[must_use]
    pub fn of(&self, name: &str) -> u64 {
        self.lock().get(name).copied().unwrap_or_default()
    }

    /// Everything that happened, by name.
    #[must_use]
    pub fn all(&self) -> BTreeMap<&'static str, u64> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
