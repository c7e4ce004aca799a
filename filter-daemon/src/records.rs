//! What the daemon keeps on disk of what happened: files of JSON lines, one kind each, bounded, beside the state file. The
//! daemon only appends, on a thread of its own; commands read. A line that a crash cut is dropped, and reported; a file of
//! another version is refused. What one peer causes never pushes out what is recorded of another.
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

mod fair;
mod history;
mod route;
mod violation;
mod writer;

pub use history::{
    ByReason, Count, CounterRecord, MAX_AGE, Moment, Of, PeerHistory, Step, UnknownSides,
};
pub use route::{ENDED, RouteRecord};
pub use violation::{Seen, ViolationRecord, describe};
pub use writer::{MAX_WAITING_BYTES, MAX_WAITING_RECORDS, Recorder};

/// Of the lines' form. Another one is refused.
pub const VERSION: u32 = 1;
/// Longest line, in bytes; a longer record is not written, and counted as lost.
pub const MAX_RECORD: usize = 4 << 20;
const MIB: u64 = 1 << 20;

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// What `bcp38 events` shows.
    Events,
    /// Sampled violations.
    Violations,
    /// What became of the peers' valid prefixes.
    Routes,
    /// Counters, minute by minute.
    Minutes,
    /// Counters, hour by hour.
    Hours,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Events,
        Self::Violations,
        Self::Routes,
        Self::Minutes,
        Self::Hours,
    ];

    /// Its file's name, without the ending.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Violations => "violations",
            Self::Routes => "routes",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
        }
    }

    /// Bytes on disk at most.
    #[must_use]
    pub const fn max_bytes(self) -> u64 {
        match self {
            Self::Events | Self::Violations | Self::Routes => 64 * MIB,
            Self::Minutes | Self::Hours => 32 * MIB,
        }
    }

    /// Is each record of one peer, or of none? Then the room is shared out among them: see [`fair`].
    const fn is_shared(self) -> bool {
        matches!(self, Self::Events | Self::Violations | Self::Routes)
    }

    /// Bytes of each file at most: there are two, and a third while the room is shared out.
    #[must_use]
    pub const fn max_file_bytes(self) -> u64 {
        self.max_bytes() / if self.is_shared() { 3 } else { 2 }
    }

    /// The file that is written.
    #[must_use]
    pub fn path(self, directory: &Path) -> PathBuf {
        directory.join(format!("{}.jsonl", self.name()))
    }

    /// The one before it.
    #[must_use]
    pub fn old_path(self, directory: &Path) -> PathBuf {
        directory.join(format!("{}.old.jsonl", self.name()))
    }

    /// The one that will be it, while the room is shared out.
    fn merged_path(self, directory: &Path) -> PathBuf {
        directory.join(format!("{}.merged.jsonl", self.name()))
    }
}

/// Where the records of the daemon with this state file are.
#[must_use]
pub fn directory(state_file: &Path) -> PathBuf {
    state_file.with_extension("records")
}

/// The first line of each file.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Header {
    bcp38: String,
    version: u32,
}

impl Header {
    fn of(kind: Kind) -> Self {
        Self {
            bcp38: kind.name().to_owned(),
            version: VERSION,
        }
    }

    fn line(&self) -> String {
        let Self { bcp38, version } = self;
        format!("{{\"bcp38\":\"{bcp38}\",\"version\":{version}}}\n")
    }
}

/// Why a file of records cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// The system's error.
    #[error("cannot {what} `{}`: {source}", path.display())]
    Io {
        /// Doing what.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another program version wrote it.
    #[error(
        "`{}` has version {found}, and this program reads and writes version {VERSION}: move it away, or use the program that wrote it",
        path.display()
    )]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Its first line is not that of such a file.
    #[error("`{}` is no file of records of bcp38: move it away", .0.display())]
    Foreign(PathBuf),
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> RecordsError {
    move |source| RecordsError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

/// Reads the first line; the file may be empty.
fn check_header(kind: Kind, path: &Path, line: &[u8]) -> Result<(), RecordsError> {
    let header: Header =
        serde_json::from_slice(line).map_err(|_| RecordsError::Foreign(path.to_owned()))?;
    if header.version != VERSION {
        return Err(RecordsError::Version {
            path: path.to_owned(),
            found: header.version,
        });
    }
    if header == Header::of(kind) {
        Ok(())
    } else {
        Err(RecordsError::Foreign(path.to_owned()))
    }
}

/// What a reader has to report beside the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Lines cut by a crash, or that are no records.
    pub dropped: u64,
}

/// Hands over every record of a kind, oldest first. Files that are not there have none.
///
/// # Errors
/// [`RecordsError`].
pub fn read<T: DeserializeOwned>(
    directory: &Path,
    kind: Kind,
    mut each: impl FnMut(T),
) -> Result<Damage, RecordsError> {
    let take = |line: &[u8]| serde_json::from_slice(line).map(&mut each).is_ok();
    read_lines(directory, kind, take)
}

/// Hands over every line of a kind, oldest first; `take` returns whether it is a record.
fn read_lines(
    directory: &Path,
    kind: Kind,
    mut take: impl FnMut(&[u8]) -> bool,
) -> Result<Damage, RecordsError> {
    let mut damage = Damage::default();
    // The last record of the file before: a crash while the room was shared out leaves what is in both files.
    let mut last: Option<Placed> = None;
    for (path, file) in open_both(directory, kind)? {
        let mut before = last.take();
        let mut latest = Vec::new();
        read_file(kind, &path, file, &mut damage, |line| {
            let is_known = |last| Placed::of(line).is_some_and(|it| it.is_not_after(last));
            if before.is_some_and(is_known) {
                return true;
            }
            before = None;
            latest.clear();
            latest.extend_from_slice(line);
            take(line)
        })?;
        last = Placed::of(&latest).filter(|_| kind.is_shared());
    }
    Ok(damage)
}

/// Where a record stands among the others.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Placed {
    number: u64,
    time: f64,
}

impl Placed {
    fn of(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// Numbers may start anew, and a clock may be set back: it is no later only by both.
    fn is_not_after(self, other: Self) -> bool {
        self.number <= other.number && self.time <= other.time
    }
}

/// The former file and the one that is written: of one moment, although the daemon may exchange them meanwhile.
fn open_both(directory: &Path, kind: Kind) -> Result<Vec<(PathBuf, File)>, RecordsError> {
    let (old, new) = (kind.old_path(directory), kind.path(directory));
    loop {
        let former = open(&old)?;
        let current = open(&new)?;
        let again = open(&old)?;
        if identity(former.as_ref(), &old)? == identity(again.as_ref(), &old)? {
            let former = former.map(|file| (old, file));
            return Ok(former
                .into_iter()
                .chain(current.map(|file| (new, file)))
                .collect());
        }
    }
}

fn open(path: &Path) -> Result<Option<File>, RecordsError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

fn identity(file: Option<&File>, path: &Path) -> Result<Option<(u64, u64)>, RecordsError> {
    let found = file
        .map(File::metadata)
        .transpose()
        .map_err(failed("read", path))?;
    Ok(found.map(|found| (found.dev(), found.ino())))
}

fn read_file(
    kind: Kind,
    path: &Path,
    file: File,
    damage: &mut Damage,
    mut take: impl FnMut(&[u8]) -> bool,
) -> Result<(), RecordsError> {
    let mut reader = BufReader::new(file.take(kind.max_bytes() + MAX_RECORD as u64));
    let mut line = Vec::new();
    let mut is_first = true;
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line);
        if read.map_err(failed("read", path))? == 0 {
            return Ok(());
        }
        let is_whole = line.last() == Some(&b'\n');
        if std::mem::take(&mut is_first) {
            if is_whole {
                check_header(kind, path, &line)?;
            }
            continue;
        }
        if !(is_whole && take(&line)) {
            damage.dropped += 1;
        }
    }
}

/// Of a file, so much is read to find its last record.
const TAIL: u64 = 2 * MAX_RECORD as u64;

/// The number of the last record of a kind; 0 if there is none, or none with a number. Reads the ends of the files only.
///
/// # Errors
/// [`RecordsError`].
pub fn last_number(directory: &Path, kind: Kind) -> Result<u64, RecordsError> {
    for path in [kind.path(directory), kind.old_path(directory)] {
        let Some(mut file) = open(&path)? else {
            continue;
        };
        let mut header = Vec::new();
        let mut reader = BufReader::new((&mut file).take(TAIL));
        let read = reader.read_until(b'\n', &mut header);
        read.map_err(failed("read", &path))?;
        if header.last() == Some(&b'\n') {
            check_header(kind, &path, &header)?;
        }
        let length = file.metadata().map_err(failed("read", &path))?.len();
        let start = SeekFrom::Start(length.saturating_sub(TAIL));
        file.seek(start).map_err(failed("read", &path))?;
        let mut tail = Vec::new();
        let read = file.take(TAIL).read_to_end(&mut tail);
        read.map_err(failed("read", &path))?;
        let mut lines = tail.rsplit(|&byte| byte == b'\n');
        let number = |line: &[u8]| {
            serde_json::from_slice(line)
                .ok()
                .map(|it: Numbered| it.number)
        };
        if let Some(number) = lines.find_map(number) {
            return Ok(number);
        }
    }
    Ok(0)
}

#[derive(Deserialize)]
struct Numbered {
    number: u64,
}

/// How long the file is without a last line that was cut; its header is checked. None if there is nothing in it.
fn whole_length(kind: Kind, path: &Path) -> Result<Option<u64>, RecordsError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let Some(header) = bytes.iter().position(|&byte| byte == b'\n') else {
        return Ok(None);
    };
    check_header(kind, path, bytes.get(..header).unwrap_or_default())?;
    let end = bytes.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
    Ok(Some(end as u64 + 1))
}

#[cfg(test)]
mod tests;
