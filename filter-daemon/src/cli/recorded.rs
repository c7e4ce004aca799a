//! What the daemon keeps in memory and what it recorded on disk, as one numbered list: for `events`, `violations`,
//! `capture`. Follows across restarts of the daemon. Never changes a record.
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::Daemon;
use super::{Failure, warn};
use crate::control::{self, ControlError, Request};
use crate::names;
use crate::records::{self, Damage, Kind, RecordsError};

/// How often new entries are asked for.
const FOLLOW: Duration = Duration::from_millis(500);

/// One kind of entries.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    daemon: &'a Daemon,
    socket: PathBuf,
    kind: Kind,
    request: fn(u64) -> Request,
    /// The last number that was handed out.
    after: u64,
    directory: Option<PathBuf>,
    is_away: bool,
}

impl<'a> Stream<'a> {
    pub(super) fn new(
        daemon: &'a Daemon,
        kind: Kind,
        request: fn(u64) -> Request,
    ) -> Result<Self, Failure> {
        Ok(Self {
            daemon,
            socket: daemon.socket()?,
            kind,
            request,
            after: 0,
            directory: None,
            is_away: false,
        })
    }

    /// What is there, oldest first. Without a daemon: what is on disk, with a warning.
    pub(super) fn all<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, Failure> {
        match self.ask()? {
            Ok(entries) => {
                self.directory()?; // known while the daemon is there
                self.take(entries)
            }
            Err(why) => {
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
                let (found, read) = self.read_disk(u64::MAX)?;
                match read {
                    Err(error) if found.is_empty() => Err(Failure::failed(error)),
                    read => {
                        self.complain(read);
                        strict(found)
                    }
                }
            }
        }
    }

    /// What came since, once something has, or the time is over. Waits for a daemon that is away.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, Failure> {
        thread::sleep(FOLLOW);
        match self.ask()? {
            Ok(entries) => {
                if std::mem::take(&mut self.is_away) {
                    warn("the daemon is back");
                }
                self.take(entries)
            }
            Err(why) => {
                if std::mem::replace(&mut self.is_away, true) {
                    return Ok(Vec::new());
                }
                warn(format!("{why}; waiting for it"));
                match self.directory {
                    Some(_) => strict(self.on_disk(u64::MAX)?), // what it wrote last
                    None => Ok(Vec::new()),
                }
            }
        }
    }

    /// Hands over what comes, until the process is interrupted.
    pub(super) fn follow<T: DeserializeOwned>(
        &mut self,
        show: impl Fn(&[T]) -> io::Result<()>,
    ) -> Result<(), Failure> {
        loop {
            show(&self.next()?)?;
        }
    }

    /// What the daemon has, or why it does not answer now: one that is just stopping refuses what it is asked.
    ///
    /// # Errors
    /// What does not change while one waits.
    fn ask(&self) -> Result<Result<Vec<Value>, String>, Failure> {
        match control::ask(&self.socket, &(self.request)(self.after)) {
            Ok(Value::Array(entries)) => Ok(Ok(entries)),
            Ok(_) => Err(Failure::failed(
                "the daemon's answer is no list: is it of another version?",
            )),
            Err(error) if error.is_denied() => Err(failure(error)),
            Err(error) => Ok(Err(error.to_string())),
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

    /// Recorded entries after the last one, and before this number; a file that cannot be read is only warned of.
    fn on_disk(&mut self, before: u64) -> Result<BTreeMap<u64, Value>, Failure> {
        let (found, read) = self.read_disk(before)?;
        self.complain(read);
        Ok(found)
    }

    fn read_disk(&mut self, before: u64) -> Result<(BTreeMap<u64, Value>, Reading), Failure> {
        let directory = self.directory()?;
        let mut found = BTreeMap::new();
        let read = records::read(&directory, self.kind, |record: Value| {
            let number = number(&record);
            if number > self.after && number < before {
                found.insert(number, record);
            }
        });
        self.after = found.last_key_value().map_or(self.after, |(&last, _)| last);
        Ok((found, read))
    }

    fn complain(&self, read: Reading) {
        match read {
            Ok(damage) if damage.dropped > 0 => warn(format!(
                "{} recorded {} were cut or are damaged, and are left out",
                damage.dropped,
                self.kind.name()
            )),
            Ok(_) => {}
            Err(error) => warn(error),
        }
    }

    fn directory(&mut self) -> Result<PathBuf, Failure> {
        let known = self.directory.take();
        let directory = known.map_or_else(|| directory(self.daemon), Ok)?;
        self.directory = Some(directory.clone());
        Ok(directory)
    }
}

/// What became of reading a kind of records.
type Reading = Result<Damage, RecordsError>;

/// Refuses the name of a peer that neither these records nor the daemon, or else its configuration, have.
pub(super) fn refuse_unknown_peer<'a>(
    daemon: &Daemon,
    name: &str,
    recorded: impl Iterator<Item = &'a str>,
) -> Result<(), Failure> {
    let mut known: BTreeSet<String> = recorded.map(str::to_owned).collect();
    if known.contains(name) {
        return Ok(());
    }
    let Some(configured) = daemon.peers() else {
        warn(format!(
            "nothing is recorded of a peer `{name}`, and whether there is one is not known: name the configuration with --config"
        ));
        return Ok(());
    };
    known.extend(configured);
    match known.contains(name) {
        true => Ok(()),
        false => {
            let unknown = names::unknown_peer(name, known.iter().map(String::as_str));
            Err(Failure::Usage(daemon.addressed(&unknown)))
        }
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
