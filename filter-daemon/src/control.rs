//! The control socket: how `status`, `explain`, `observe` and the rest talk to a running daemon.
//! One request per connection: a line of JSON there, a line of JSON back. Never decides or changes anything
//! itself: requests are handed to the run loop.
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use filter_core::{Class, Mode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where the socket lies unless configured otherwise.
pub const DEFAULT_SOCKET: &str = "/run/bcp38.sock";
/// Longest request, in bytes.
pub const MAX_REQUEST: u64 = 64 * 1024;
/// Longest reply, in bytes: a full status of thousands of peers fits.
pub const MAX_REPLY: u64 = 64 * 1024 * 1024;
/// Connections served at once; a further one is told to try again.
pub const MAX_CONNECTIONS: usize = 16;
/// How long a client may take for its request, and the daemon for its reply.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// What can be asked of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// Everything about everyone.
    Status,
    /// What would become of a packet, and why.
    Explain {
        /// The peer's name.
        peer: String,
        /// Its source address.
        source: IpAddr,
        /// Its destination address.
        destination: IpAddr,
    },
    /// Change a peer's mode, or that of an interface's own classes.
    SetMode {
        /// The peer's name, or the interface's.
        peer: String,
        /// The new one.
        #[serde(with = "mode")]
        mode: Mode,
        /// With `enforce`: the classes that may be in force; none named: all.
        #[serde(default, with = "classes", skip_serializing_if = "Vec::is_empty")]
        only: Vec<Class>,
    },
    /// Let everything be in force that is wanted, or nothing at all.
    SetModeOfAll {
        /// Which.
        #[serde(with = "mode")]
        mode: Mode,
    },
    /// Events after this number.
    Events {
        /// The last number the client has seen; 0 for all that are kept.
        after: u64,
    },
    /// Detach from an interface.
    Detach {
        /// Its name.
        interface: String,
    },
}

/// Classes by their names.
mod classes {
    use filter_core::Class;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        classes: &[Class],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(classes.iter().map(|class| class.name()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Class>, D::Error> {
        let read = |name: String| {
            let unknown = || D::Error::custom(format!("unknown class `{name}`"));
            Class::from_name(&name).ok_or_else(unknown)
        };
        let names = Vec::<String>::deserialize(deserializer)?;
        names.into_iter().map(read).collect()
    }
}

/// Modes by their names.
mod mode {
    use filter_core::Mode;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(mode: &Mode, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(mode.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Mode, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "observe" => Ok(Mode::Observe),
            "enforce" => Ok(Mode::Enforce),
            other => Err(D::Error::custom(format!(
                "unknown mode `{other}`: write observe or enforce"
            ))),
        }
    }
}

/// What comes back: a value, or one line that says why not.
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
    #[error(
        "no daemon answers on `{path}` ({source}): start it with `bcp38 run --config FILE`, or name its socket with --socket"
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
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
    /// The daemon's own words.
    #[error("{0}")]
    Refused(String),
}

/// The listening end; the socket file goes with it.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    /// Which file it made there.
    file: Option<(u64, u64)>,
}

impl Server {
    /// Listens, for this user only, and hands requests to `deliver`, which returns `false` once nobody takes
    /// them any more.
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

/// Which file is there: its device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// A socket file nobody listens on is left over from a daemon that was killed.
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
            _ = send(
                &stream,
                &Reply::Error("too many clients at once: try again".to_owned()),
            );
            continue;
        }
        let (deliver, open) = (Arc::clone(deliver), Arc::clone(open));
        let serve = move || {
            if let Err(error) = serve(&stream, &*deliver) {
                log::debug!("control client: {error}");
            }
            open.fetch_sub(1, Ordering::AcqRel);
        };
        if let Err(error) = thread::Builder::new()
            .name("control client".to_owned())
            .spawn(serve)
        {
            log::warn!("control socket: {error}");
        }
    }
}

fn serve(stream: &UnixStream, deliver: &dyn Fn(Pending) -> bool) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_REQUEST)).read_line(&mut line)?;
    let request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => return send(stream, &Reply::Error(format!("not a request: {error}"))),
    };
    let (reply, answer) = sync_channel(1);
    if !deliver(Pending { request, reply }) {
        return send(stream, &Reply::Error("the daemon is stopping".to_owned()));
    }
    match answer.recv_timeout(TIMEOUT) {
        Ok(reply) => send(stream, &reply),
        Err(_) => send(
            stream,
            &Reply::Error("the daemon is busy: try again".to_owned()),
        ),
    }
}

fn send(mut stream: &UnixStream, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Asks a running daemon.
///
/// # Errors
/// [`ControlError::NotRunning`], [`ControlError::Io`], or the daemon's own refusal.
pub fn ask(path: &Path, request: &Request) -> Result<Value, ControlError> {
    ask_within(path, request, 2 * TIMEOUT)
}

/// As [`ask`], for who does not depend on the answer.
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
        source,
    })?;
    stream.set_read_timeout(Some(timeout)).map_err(fail)?;
    stream.set_write_timeout(Some(timeout)).map_err(fail)?;
    let mut line = serde_json::to_vec(request).map_err(|error| fail(error.into()))?;
    line.push(b'\n');
    (&stream).write_all(&line).map_err(fail)?;
    let mut reply = String::new();
    BufReader::new((&stream).take(MAX_REPLY))
        .read_line(&mut reply)
        .map_err(fail)?;
    match serde_json::from_str(&reply) {
        Ok(Reply::Ok(value)) => Ok(value),
        Ok(Reply::Error(why)) => Err(ControlError::Refused(why)),
        Err(error) => Err(fail(error.into())),
    }
}
