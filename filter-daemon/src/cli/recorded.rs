//! What the daemon keeps in memory and what it recorded on disk, as one numbered list: for `events`, `violations`,
//! `capture`. Follows across restarts of the daemon. Never changes a record.
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::Daemon;
use super::{Failure, warn};
use crate::control::{ControlError, Request};
use crate::records::{self, Kind};

/// How often new entries are asked for.
const FOLLOW: Duration = Duration::from_millis(500);

/// One kind of entries.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    daemon: &'a Daemon,
    kind: Kind,
    request: fn(u64) -> Request,
    /// The last number that was handed out.
    after: u64,
    directory: Option<PathBuf>,
    is_away: bool,
}

impl<'a> Stream<'a> {
    pub(super) const fn new(daemon: &'a Daemon, kind: Kind, request: fn(u64) -> Request) -> Self {
        Self {
            daemon,
            kind,
            request,
            after: 0,
            directory: None,
            is_away: false,
        }
    }

    /// What is there, oldest first. Without a daemon: what is on disk, with a warning.
    pub(super) fn all<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, Failure> {
        match self.ask() {
            Ok(entries) => {
                self.directory()?; // known while the daemon is there
                self.take(entries)
            }
            Err(Failure::Failed(why)) => {
                let directory = self.daemon.records().filter(|it| it.exists());
                let Some(directory) = directory else {
                    return Err(Failure::Failed(why));
                };
                warn(format!(
                    "{why}; shown is what is in `{}`",
                    directory.display()
                ));
                self.directory = Some(directory);
                self.is_away = true;
                strict(self.on_disk(u64::MAX)?)
            }
            Err(other) => Err(other),
        }
    }

    /// What came since, once something has, or the time is over. Waits for a daemon that is away.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, Failure> {
        thread::sleep(FOLLOW);
        match self.ask() {
            Ok(entries) => {
                if std::mem::take(&mut self.is_away) {
                    warn("the daemon is back");
                }
                self.take(entries)
            }
            // One that is just stopping refuses what it is asked.
            Err(Failure::Failed(why) | Failure::Usage(why)) => {
                if std::mem::replace(&mut self.is_away, true) {
                    return Ok(Vec::new());
                }
                warn(format!("{why}; waiting for it"));
                match self.directory {
                    Some(_) => strict(self.on_disk(u64::MAX)?), // what it wrote last
                    None => Ok(Vec::new()),
                }
            }
            Err(other) => Err(other),
        }
    }

    /// Hands over what is there and, if it is followed, what comes, until the process is interrupted.
    pub(super) fn each<T: DeserializeOwned>(
        &mut self,
        follow: bool,
        show: impl Fn(&[T]) -> io::Result<()>,
    ) -> Result<(), Failure> {
        show(&self.all()?)?;
        if !follow {
            return Ok(());
        }
        loop {
            show(&self.next()?)?;
        }
    }

    fn ask(&self) -> Result<Vec<Value>, Failure> {
        match self.daemon.ask(&(self.request)(self.after))? {
            Value::Array(entries) => Ok(entries),
            _ => Err(Failure::failed(
                "the daemon's answer is no list: is it of another version?",
            )),
        }
    }

    /// Entries of the daemon, and those between them that only the disk has.
    fn take<T: DeserializeOwned>(&mut self, entries: Vec<Value>) -> Result<Vec<T>, Failure> {
        let numbered: BTreeMap<u64, Value> = entries
            .into_iter()
            .map(|entry| (number(&entry), entry))
            .collect();
        let (first, last) = match (numbered.first_key_value(), numbered.last_key_value()) {
            (Some((&first, _)), Some((&last, _))) => (first, last),
            _ if self.after == 0 => return strict(self.on_disk(u64::MAX)?),
            _ => return Ok(Vec::new()),
        };
        if first <= self.after {
            self.after = 0; // another life of the records
        }
        let is_whole = last - self.after == numbered.len() as u64;
        let mut all = match is_whole {
            true => BTreeMap::new(),
            false => self.on_disk(last)?,
        };
        all.extend(numbered);
        self.after = last;
        strict(all)
    }

    /// Recorded entries after the last one, and before this number.
    fn on_disk(&mut self, before: u64) -> Result<BTreeMap<u64, Value>, Failure> {
        let directory = self.directory()?;
        let mut found = BTreeMap::new();
        let read = records::read(&directory, self.kind, |record: Value| {
            let number = number(&record);
            if number > self.after && number < before {
                found.insert(number, record);
            }
        });
        self.after = found.last_key_value().map_or(self.after, |(&last, _)| last);
        match read {
            Ok(damage) if damage.dropped > 0 => warn(format!(
                "{} lines of the {} in `{}` were cut or are damaged, and are left out",
                damage.dropped,
                self.kind.name(),
                directory.display()
            )),
            Ok(_) => {}
            Err(error) => warn(error),
        }
        Ok(found)
    }

    fn directory(&mut self) -> Result<PathBuf, Failure> {
        let known = self.directory.take();
        let directory = known.map_or_else(|| directory(self.daemon), Ok)?;
        self.directory = Some(directory.clone());
        Ok(directory)
    }
}

/// Where the daemon's records are, by its own answer.
pub(super) fn directory(daemon: &Daemon) -> Result<PathBuf, Failure> {
    let about = daemon.ask(&Request::About)?;
    let path = about["records"].as_str().map(PathBuf::from);
    path.ok_or_else(|| {
        Failure::failed("the daemon does not say where its records are: is it older?")
    })
}

fn number(entry: &Value) -> u64 {
    entry["number"].as_u64().unwrap_or(0)
}

/// As the type that is asked for, oldest first.
fn strict<T: DeserializeOwned>(entries: BTreeMap<u64, Value>) -> Result<Vec<T>, Failure> {
    let each = entries.into_values();
    each.map(|entry| serde_json::from_value(entry).map_err(strange))
        .collect()
}

fn strange(error: serde_json::Error) -> Failure {
    Failure::failed(format!("an entry is not of this version: {error}"))
}

/// Asks, with an error of each kind as the command's.
pub(super) fn failure(error: ControlError) -> Failure {
    match error {
        ControlError::Refused(_) => Failure::usage(error),
        _ => Failure::failed(error),
    }
}
