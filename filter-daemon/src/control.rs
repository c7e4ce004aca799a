//! The control socket: how `status`, `explain`, `observe` and the rest talk to a running daemon.
//! One request per connection: a line of JSON there, a line of JSON back. Never decides or changes anything
//! itself: requests are handed to the run loop.
use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

mod request;
mod unreachable;

pub use request::{MAX_NOTE, Request};
pub use unreachable::{Process, Unreachable};

/// Where the socket lies unless configured otherwise.
pub const DEFAULT_SOCKET: &str = "/run/bcp38/bcp38.sock";
/// Longest request, in bytes.
pub const MAX_REQUEST: u64 = 64 * 1024;
/// Longest reply, in bytes: a full status of thousands of peers fits.
pub const MAX_REPLY: u64 = 64 * 1024 * 1024;
/// Connections served at once; a further one is refused with the advice to try again.
pub const MAX_CONNECTIONS: usize = 16;
/// How long a client may take for its whole request, the run loop for its answer, and the client to read all of it.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// What comes back: a value, or the reason on one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Done; what was asked for.
    Ok(Value),
    /// Not done.
    Error(String),
}

/// A request on its way to the run loop.
#[derive(Debug)]
pub struct Pending {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes; the client may be gone.
    pub reply: SyncSender<Reply>,
}

/// Why a client got no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No daemon listens there.
    #[error("no daemon answers on `{}` ({source}): {why}", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
        /// What that means here.
        why: Unreachable,
    },
    /// Another daemon listens there.
    #[error(
        "another daemon listens on `{0}`: stop it, or give this one another `socket` in `[daemon]`"
    )]
    Busy(PathBuf),
    /// Anything else about the socket.
    #[error("control socket `{path}`: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The daemon's own error.
    #[error("{0}")]
    Refused(String),
}

impl ControlError {
    /// Nothing that this user waits for changes it.
    pub(crate) const fn is_denied(&self) -> bool {
        matches!(
            self,
            Self::NotRunning {
                why: Unreachable::Denied,
                ..
            }
        )
    }
}

/// The listening end; the socket file goes with it.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    /// Which file it made there.
    file: Option<(u64, u64)>,
}

impl Server {
    /// Listens, for this user only, and hands requests to `deliver`, which returns `false` once the daemon takes no more of
    /// them.
    ///
    /// # Errors
    /// [`ControlError::Busy`] if a daemon answers there already, [`ControlError::Io`].
    pub fn start(
        path: &Path,
        deliver: impl Fn(Pending) -> bool + Send + Sync + 'static,
    ) -> Result<Self, ControlError> {
        let fail = |source| ControlError::Io {
            path: path.to_owned(),
            source,
        };
        make_directory(path).map_err(fail)?;
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(fail)?;
        let file = identity(path);
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(fail)?;
        let deliver = Arc::new(deliver);
        let open = Arc::new(AtomicUsize::new(0));
        thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || accept(&listener, &deliver, &open))
            .map_err(fail)?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Another daemon's socket may have taken its place.
        if self.file.is_some() && identity(&self.path) == self.file {
            _ = fs::remove_file(&self.path); // a missing file is what we want
        }
    }
}

/// A service manager makes the directory of the default socket; without one the daemon does.
fn make_directory(socket: &Path) -> io::Result<()> {
    match socket.parent() {
        Some(directory) if !directory.exists() => fs::create_dir(directory),
        _ => Ok(()),
    }
}

/// Which file is there: its device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// A socket file without a listener is left over from a daemon that was killed.
fn remove_stale(path: &Path) -> Result<(), ControlError> {
    let fail = |source| ControlError::Io {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fail(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(fail(io::Error::other(
                "exists and is no socket: choose another path",
            )));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ControlError::Busy(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(fail)
        }
        Err(error) => Err(fail(error)),
    }
}

fn accept<D: Fn(Pending) -> bool + Send + Sync + 'static>(
    listener: &UnixListener,
    deliver: &Arc<D>,
    open: &Arc<AtomicUsize>,
) {
    for stream in listener.incoming() {
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                log::warn!("control socket: {error}");
                thread::sleep(Duration::from_millis(100)); // out of descriptors, most likely: not a busy loop
                continue;
            }
        };
        if open.fetch_add(1, Ordering::AcqRel) >= MAX_CONNECTIONS {
            open.fetch_sub(1, Ordering::AcqRel);
            turn_away(&stream, "too many clients at once: try again");
            continue;
        }
        let slot = Slot(Arc::clone(open));
        let deliver = Arc::clone(deliver);
        let stream = Arc::new(stream);
        let client = Arc::clone(&stream);
        let serve = move || {
            let _slot = slot; // free again however this thread ends, and if it never starts
            if let Err(error) = serve(&client, &*deliver) {
                log::debug!("control client: {error}");
            }
        };
        let thread = thread::Builder::new().name("control client".to_owned());
        if let Err(error) = thread.spawn(serve) {
            log::warn!("control socket: cannot start thread control client: {error}");
            turn_away(&stream, "the daemon cannot start a thread: try again");
        }
    }
}

/// A connection that is being served.
struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Never waits: a line fits into the empty buffer of a new connection.
fn turn_away(stream: &UnixStream, why: &str) {
    let sent = stream
        .set_nonblocking(true)
        .and_then(|()| send(stream, &Reply::Error(why.to_owned()), TIMEOUT));
    if let Err(error) = sent {
        log::debug!("control client: {error}");
    }
}

fn serve(stream: &UnixStream, deliver: &dyn Fn(Pending) -> bool) -> io::Result<()> {
    let refuse = |why: String| send(stream, &Reply::Error(why), TIMEOUT);
    let line = match receive(stream, MAX_REQUEST, TIMEOUT) {
        Ok(line) => line,
        Err(error) => return refuse(format!("no whole request: {error}")),
    };
    let request = match serde_json::from_slice(&line) {
        Ok(request) => request,
        Err(error) => return refuse(format!("not a request: {error}")),
    };
    let (reply, answer) = sync_channel(1);
    if !deliver(Pending { request, reply }) {
        return refuse("the daemon is stopping".to_owned());
    }
    match answer.recv_timeout(TIMEOUT) {
        Ok(reply) => send(stream, &reply, TIMEOUT),
        Err(RecvTimeoutError::Timeout) => refuse("the daemon is busy: try again".to_owned()),
        Err(RecvTimeoutError::Disconnected) => refuse("the daemon is stopping".to_owned()),
    }
}

/// What is left until `end`, as a socket's timeout.
fn left_until(end: Instant) -> io::Result<Option<Duration>> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(Some(left))
}

/// A line, however many pieces it comes in, within the time given for all of it.
fn receive(mut stream: &UnixStream, limit: u64, within: Duration) -> io::Result<Vec<u8>> {
    let end = Instant::now() + within;
    let (mut line, mut chunk) = (Vec::new(), vec![0; CHUNK]);
    loop {
        stream.set_read_timeout(left_until(end)?)?;
        let read = match stream.read(&mut chunk) {
            Ok(0) => return Ok(line),
            Ok(read) => chunk.get(..read).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        };
        let whole = read.iter().position(|&byte| byte == b'\n');
        line.extend_from_slice(read.get(..whole.unwrap_or(read.len())).unwrap_or_default());
        if line.len() as u64 > limit {
            return Err(io::Error::other(format!("longer than {limit} bytes")));
        }
        if whole.is_some() {
            return Ok(line);
        }
    }
}

/// A line, within the time given for all of it, however slowly it is read.
fn send(mut stream: &UnixStream, line: &impl Serialize, within: Duration) -> io::Result<()> {
    let end = Instant::now() + within;
    let mut line = serde_json::to_vec(line)?;
    line.push(b'\n');
    let mut rest = line.as_slice();
    while !rest.is_empty() {
        stream.set_write_timeout(left_until(end)?)?;
        match stream.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Asks a running daemon.
///
/// # Errors
/// [`ControlError::NotRunning`], [`ControlError::Io`], or the daemon's own refusal.
pub fn ask(path: &Path, request: &Request) -> Result<Value, ControlError> {
    ask_within(path, request, 2 * TIMEOUT)
}

/// As [`ask`], with as much time as given to send the request, and as much again for the whole answer.
///
/// # Errors
/// As [`ask`].
pub fn ask_within(
    path: &Path,
    request: &Request,
    timeout: Duration,
) -> Result<Value, ControlError> {
    let fail = |source| ControlError::Io {
        path: path.to_owned(),
        source,
    };
    let stream = UnixStream::connect(path).map_err(|source| ControlError::NotRunning {
        path: path.to_owned(),
        why: Unreachable::of(&source),
        source,
    })?;
    send(&stream, request, timeout).map_err(fail)?;
    let reply = receive(&stream, MAX_REPLY, timeout).map_err(fail)?;
    if reply.is_empty() {
        let why = "the daemon closed the connection without an answer: it stopped, or was killed";
        return Err(fail(io::Error::other(why)));
    }
    match serde_json::from_slice(&reply) {
        Ok(Reply::Ok(value)) => Ok(value),
        Ok(Reply::Error(why)) => Err(ControlError::Refused(why)),
        Err(error) => Err(fail(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);
    const BRIEF: Duration = Duration::from_millis(300);

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("bcp38-control-{name}-{}", std::process::id()))
    }

    /// Answers every request with its own name.
    fn server(path: &Path, name: &'static str) -> Server {
        let answer = move |pending: Pending| {
            let answered = pending.reply.try_send(Reply::Ok(name.into()));
            answered.is_ok()
        };
        Server::start(path, answer).unwrap()
    }

    #[test]
    fn a_daemon_that_ends_before_it_answers_is_said_to_have_ended() {
        let path = path("ended");
        let listener = UnixListener::bind(&path).unwrap();
        let error = thread::scope(|scope| {
            scope.spawn(|| {
                let (stream, _) = listener.accept().unwrap();
                receive(&stream, MAX_REQUEST, SOON).unwrap();
            });
            ask_within(&path, &Request::Status, SOON)
                .unwrap_err()
                .to_string()
        });
        fs::remove_file(&path).unwrap();
        assert!(
            error.contains("closed the connection without an answer"),
            "{error}"
        );

        // The run loop took the request and dropped it: it is on its way out.
        let server = Server::start(&path, |_| true).unwrap();
        let error = ask_within(&path, &Request::Status, SOON).unwrap_err();
        drop(server);
        assert_eq!(error.to_string(), "the daemon is stopping");
    }

    #[test]
    fn a_client_that_trickles_is_given_up_after_its_time() {
        let (client, daemon) = UnixStream::pair().unwrap();
        let begin = Instant::now();
        thread::scope(|scope| {
            let received = scope.spawn(|| receive(&daemon, MAX_REQUEST, BRIEF));
            while !received.is_finished() {
                assert!(begin.elapsed() < SOON, "each byte buys more time");
                (&client).write_all(b" ").unwrap();
                thread::sleep(BRIEF / 10);
            }
            let error = received.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
        assert!(begin.elapsed() >= BRIEF);
    }

    #[test]
    fn a_client_that_never_reads_is_given_up_after_its_time() {
        let (client, daemon) = UnixStream::pair().unwrap();
        let begin = Instant::now();
        let error = send(&daemon, &"x".repeat(16 << 20), BRIEF).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() >= BRIEF && begin.elapsed() < SOON);
        drop(client);
    }

    #[test]
    fn a_line_at_its_limit_is_taken_and_one_beyond_is_not() {
        for (length, taken) in [(MAX_REQUEST, true), (MAX_REQUEST + 1, false)] {
            let (client, daemon) = UnixStream::pair().unwrap();
            thread::scope(|scope| {
                let line = [vec![b'x'; length as usize], vec![b'\n']].concat();
                scope.spawn(move || {
                    _ = (&client).write_all(&line); // the other side closes a line that is too long
                });
                let received = receive(&daemon, MAX_REQUEST, SOON);
                assert_eq!(received.is_ok(), taken);
                drop(daemon);
            });
        }
    }

    #[test]
    fn silent_clients_hold_their_slots_and_no_more_and_a_further_one_hears_so() {
        let path = path("slots");
        let _server = server(&path, "here");
        let silent: Vec<UnixStream> = (0..MAX_CONNECTIONS)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        let refused = ask(&path, &Request::Status).unwrap_err().to_string();
        assert!(refused.contains("too many clients"), "{refused}");
        drop(silent);
        let end = Instant::now() + SOON;
        while ask(&path, &Request::Status).is_err() {
            assert!(Instant::now() < end, "the slots stay taken");
            thread::yield_now();
        }
    }

    #[test]
    fn only_its_own_socket_file_is_removed() {
        let path = path("own");
        let first = server(&path, "first");
        fs::remove_file(&path).unwrap();
        let second = server(&path, "second");
        drop(first);
        assert_eq!(ask(&path, &Request::Status).unwrap(), "second");
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_answers_is_not_taken_and_one_left_over_is() {
        let path = path("left-over");
        drop(UnixListener::bind(&path).unwrap());
        let server = server(&path, "here");
        let busy = Server::start(&path, |_| true).unwrap_err();
        assert!(matches!(busy, ControlError::Busy(_)), "{busy}");
        drop(server);
        fs::write(&path, "not ours").unwrap();
        assert!(Server::start(&path, |_| true).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"not ours");
        fs::remove_file(&path).unwrap();
    }
}
