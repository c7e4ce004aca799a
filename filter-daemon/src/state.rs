//! What operators switched at run time, in a file, for reboots: within one boot the data plane itself keeps it. Written
//! whole (a temporary file, then a rename) and under a lock, so that daemon and commands never lose each other's changes.
//! Never decides what is switched, and a file that cannot be read keeps no command and no daemon from its work.
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use filter_engine::Switched;
use serde::{Deserialize, Serialize};

use crate::whole;

/// Where it lies unless configured otherwise.
pub const DEFAULT_STATE_FILE: &str = "/var/lib/bcp38/state.json";
/// The version of the file: it grows whenever a field changes its name or its meaning.
pub const STATE_SCHEMA: u32 = 1;
/// Longest file that is read, in bytes: what is switched of thousands of peers fits, with as many prefixes as are ever kept.
pub const MAX_STATE: u64 = 16 << 20;
/// Between two tries for the lock.
const AGAIN: Duration = Duration::from_millis(5);

/// Why the file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The system refuses it.
    #[error("cannot {what} `{path}`: {source}")]
    Io {
        /// Doing what.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what a daemon of this version writes.
    #[error(
        "`{path}` is no state file of this version: {why}; remove it, and switch again what is to be switched"
    )]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Another process writes it.
    #[error("`{path}` is locked by another process: try again")]
    Locked {
        /// The lock.
        path: PathBuf,
    },
}

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Document {
    schema: u32,
    switched: Switched,
}

/// See the file's head.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// The file at this path, which need not be there.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it; nothing if it is not there.
    ///
    /// # Errors
    /// [`StateError::Io`], [`StateError::Foreign`].
    pub fn read(&self) -> Result<Switched, StateError> {
        let mut bytes = Vec::new();
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Switched::default()),
            file => file.map_err(self.failed("read"))?,
        };
        file.take(MAX_STATE + 1)
            .read_to_end(&mut bytes)
            .map_err(self.failed("read"))?;
        if bytes.len() as u64 > MAX_STATE {
            return Err(self.foreign(format!("it is longer than {MAX_STATE} bytes")));
        }
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| self.foreign(error.to_string()))?;
        if value["schema"] != STATE_SCHEMA {
            let found = &value["schema"];
            return Err(self.foreign(format!("its schema is {found}, not {STATE_SCHEMA}")));
        }
        let document: Document =
            serde_json::from_value(value).map_err(|error| self.foreign(error.to_string()))?;
        Ok(document.switched)
    }

    /// Changes what is in it, and returns that. What is no state file of this version is replaced. Waits for the lock for so
    /// long at most.
    ///
    /// # Errors
    /// [`StateError::Io`], [`StateError::Locked`]: the file is as it was.
    pub fn change(
        &self,
        patience: Duration,
        change: impl FnOnce(&mut Switched),
    ) -> Result<Switched, StateError> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory).map_err(self.failed("make the directory of"))?;
        }
        let _lock = self.lock(patience)?;
        let mut switched = match self.read() {
            // A daemon that starts reports it.
            Err(StateError::Foreign { .. }) => Switched::default(),
            read => read?,
        };
        change(&mut switched);
        self.write(&switched)?;
        Ok(switched)
    }

    /// Held until it is dropped. A file of its own: the state file is replaced.
    fn lock(&self, patience: Duration) -> Result<File, StateError> {
        let path = self.path.with_extension("lock");
        let lock = File::options().create(true).append(true).open(&path);
        let lock = lock.map_err(self.failed("lock"))?;
        let end = Instant::now() + patience;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(fs::TryLockError::WouldBlock) if Instant::now() < end => {
                    std::thread::sleep(AGAIN);
                }
                Err(fs::TryLockError::WouldBlock) => return Err(StateError::Locked { path }),
                Err(fs::TryLockError::Error(error)) => return Err(self.failed("lock")(error)),
            }
        }
    }

    fn write(&self, switched: &Switched) -> Result<(), StateError> {
        let document = Document {
            schema: STATE_SCHEMA,
            switched: switched.clone(),
        };
        let mut bytes = serde_json::to_vec_pretty(&document)
            .map_err(|error| self.failed("write")(error.into()))?;
        bytes.push(b'\n');
        whole::write(&self.path, &bytes).map_err(self.failed("write"))
    }

    fn failed(&self, what: &'static str) -> impl Fn(io::Error) -> StateError {
        let path = self.path.clone();
        move |source| StateError::Io {
            what,
            path: path.clone(),
            source,
        }
    }

    fn foreign(&self, why: String) -> StateError {
        StateError::Foreign {
            path: self.path.clone(),
            why,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn what_is_no_state_file_is_replaced_and_what_cannot_be_read_is_not() {
        let directory = format!("bcp38-state-{}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("state.json");
        let file = StateFile::new(&path);
        // A link to itself: the system cannot open it.
        symlink(&path, &path).unwrap();
        let error = file.change(SOON, |kept| kept.all_off = true).unwrap_err();
        assert!(
            matches!(error, StateError::Io { what: "read", .. }),
            "{error}"
        );
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "not ours").unwrap();
        file.change(SOON, |kept| kept.all_off = true).unwrap();
        assert!(file.read().unwrap().all_off);
        fs::remove_dir_all(directory).unwrap();
    }
}
