//! Appends records, on a thread of its own: whoever has one never waits for a disk. What does not fit into the queue, or
//! cannot be written, is lost and counted.
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Header, Kind, MAX_RECORD, RecordsError, failed, fair, whole_length};

/// Records that may wait to be written. Further ones are lost, and counted.
pub const MAX_WAITING_RECORDS: usize = 4096;
/// Bytes of records that may wait to be written, the one that is being written included. Further ones are lost, and counted.
pub const MAX_WAITING_BYTES: usize = 16 << 20;
/// Only the daemon's own user reads what peers send: there are addresses of third parties in it.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// How long the end of the daemon waits for records that are not written yet.
const END_WITHIN: Duration = Duration::from_secs(1);
/// How long a file that could not be written is left alone.
const RETRY: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Shared {
    lost: AtomicU64,
    waiting_bytes: AtomicUsize,
    waiting_records: AtomicUsize,
    /// By kind: why its file is not written now.
    problems: Mutex<BTreeMap<Kind, String>>,
}

impl Shared {
    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Do enough wait already for a kind that leaves the rest to others?
    fn is_half_full(&self) -> bool {
        self.waiting_records.load(Ordering::Relaxed) >= MAX_WAITING_RECORDS / 2
            || self.waiting_bytes.load(Ordering::Relaxed) >= MAX_WAITING_BYTES / 2
    }

    /// Takes room for a record that will wait, if there is any.
    fn take_room(&self, bytes: usize) -> bool {
        let add = |waiting: usize| {
            let sum = waiting.saturating_add(bytes);
            (sum <= MAX_WAITING_BYTES).then_some(sum)
        };
        let waiting = &self.waiting_bytes;
        let taken = waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        if taken.is_ok() {
            self.waiting_records.fetch_add(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    fn give_room(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.waiting_records.fetch_sub(1, Ordering::Relaxed);
    }

    fn set_problem(&self, kind: Kind, problem: Option<String>) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        match problem {
            Some(problem) => {
                let known = problems.insert(kind, problem.clone());
                if known.as_ref() != Some(&problem) {
                    log::warn!("records: {problem}");
                }
            }
            None => _ = problems.remove(&kind),
        }
    }
}

/// Takes records for the files of one directory.
#[derive(Debug)]
pub struct Recorder {
    lines: Option<SyncSender<(Kind, Vec<u8>)>>,
    ended: Mutex<Receiver<()>>,
    shared: Arc<Shared>,
}

impl Recorder {
    /// Starts the thread. The directory is made once there is something to write.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(directory: &Path) -> io::Result<Self> {
        let (lines, waiting) = sync_channel::<(Kind, Vec<u8>)>(MAX_WAITING_RECORDS);
        let (end, ended) = sync_channel(1);
        let shared = Arc::<Shared>::default();
        let mut writer = Writer {
            directory: directory.to_owned(),
            files: BTreeMap::new(),
            shared: Arc::clone(&shared),
        };
        let thread = thread::Builder::new().name("records".to_owned());
        thread.spawn(move || {
            for (kind, line) in waiting {
                writer.write(kind, &line);
                writer.shared.give_room(line.len());
            }
            _ = end.try_send(()); // whoever waited may have gone on
        })?;
        Ok(Self {
            lines: Some(lines),
            ended: Mutex::new(ended),
            shared,
        })
    }

    /// Hands a record over; never waits. Routes are many when tables are received: they leave half of the room to others.
    pub fn record(&self, kind: Kind, record: &impl Serialize) {
        if kind == Kind::Routes && self.shared.is_half_full() {
            return self.shared.lose();
        }
        let Ok(mut line) = serde_json::to_vec(record) else {
            return self.shared.lose();
        };
        line.push(b'\n');
        let bytes = line.len();
        if !self.shared.take_room(bytes) {
            return self.shared.lose();
        }
        let lines = self.lines.as_ref();
        let sent = lines.map(|lines| lines.try_send((kind, line)));
        if !matches!(sent, Some(Ok(()))) {
            self.shared.give_room(bytes);
            self.shared.lose();
        }
    }

    /// Records that were not written since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Why something is not written now, a sentence for each file.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let problems = self
            .shared
            .problems
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        problems.values().cloned().collect()
    }
}

impl Recorder {
    /// Takes no more; true once what waits is written, if the disk takes it in time.
    pub(super) fn end(&mut self, within: Duration) -> bool {
        self.lines = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        ended.recv_timeout(within) != Err(RecvTimeoutError::Timeout)
    }
}

/// What waits is written, if the disk takes it in time.
impl Drop for Recorder {
    fn drop(&mut self) {
        if !self.end(END_WITHIN) {
            log::warn!("records: the disk does not answer: the last ones are lost");
        }
    }
}

/// A file that is written.
#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
}

#[derive(Debug)]
enum State {
    Open(Open),
    /// Left alone until then.
    Failed(Instant),
}

#[derive(Debug)]
struct Writer {
    directory: PathBuf,
    files: BTreeMap<Kind, State>,
    shared: Arc<Shared>,
}

impl Writer {
    fn write(&mut self, kind: Kind, line: &[u8]) {
        let is_early =
            |state: &State| matches!(state, State::Failed(until) if Instant::now() < *until);
        if line.len() > MAX_RECORD || self.files.get(&kind).is_some_and(is_early) {
            return self.shared.lose();
        }
        match self.append(kind, line) {
            Ok(()) => self.shared.set_problem(kind, None),
            Err(error) => {
                self.shared.lose();
                self.shared.set_problem(kind, Some(error.to_string()));
                let state = State::Failed(Instant::now() + RETRY);
                self.files.insert(kind, state);
            }
        }
    }

    fn append(&mut self, kind: Kind, line: &[u8]) -> Result<(), RecordsError> {
        let path = kind.path(&self.directory);
        let mut open = match self.files.remove(&kind) {
            Some(State::Open(open)) => open,
            Some(State::Failed(_)) | None => self.open(kind)?,
        };
        if open.length + line.len() as u64 > kind.max_file_bytes() {
            self.make_room(kind)?;
            open = self.open(kind)?;
        }
        open.file.write_all(line).map_err(failed("write", &path))?;
        open.length += line.len() as u64;
        self.files.insert(kind, State::Open(open));
        Ok(())
    }

    /// The file becomes the one before: in place of that one, or, where peers share the room, together with what of it each
    /// peer still has room for.
    fn make_room(&self, kind: Kind) -> Result<(), RecordsError> {
        let path = kind.path(&self.directory);
        if kind.is_shared() {
            match fair::merge(&self.directory, kind, kind.max_file_bytes()) {
                Ok(()) => return Ok(()),
                // Without room for it, all peers lose their older records alike.
                Err(error) => log::warn!("records: {error}"),
            }
        }
        fs::rename(&path, kind.old_path(&self.directory)).map_err(failed("rename", &path))
    }

    /// Opens it behind its last whole line.
    fn open(&self, kind: Kind) -> Result<Open, RecordsError> {
        let path = kind.path(&self.directory);
        make_directory(&self.directory).map_err(failed("make the directory of", &path))?;
        let whole = whole_length(kind, &path)?;
        let mut file = private()
            .append(true)
            .open(&path)
            .map_err(failed("write", &path))?;
        // One that an earlier version made may be open to others.
        let mode = Permissions::from_mode(FILE_MODE);
        file.set_permissions(mode).map_err(failed("write", &path))?;
        let found = file.metadata().map_err(failed("read", &path))?.len();
        let whole = whole.unwrap_or(0);
        if found > whole {
            log::warn!(
                "records: the last line of `{}` was cut and is dropped: {} bytes",
                path.display(),
                found - whole
            );
            file.set_len(whole).map_err(failed("write", &path))?;
        }
        let mut length = whole;
        if length == 0 {
            let header = Header::of(kind).line();
            file.write_all(header.as_bytes())
                .map_err(failed("write", &path))?;
            length = header.len() as u64;
        }
        Ok(Open { file, length })
    }
}

/// How a file of records is made: for its owner alone.
pub(super) fn private() -> fs::OpenOptions {
    let mut options = File::options();
    options.create(true).mode(FILE_MODE);
    options
}

fn make_directory(directory: &Path) -> io::Result<()> {
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE))
        }
        made => made,
    }
}
