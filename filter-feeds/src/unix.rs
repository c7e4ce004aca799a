//! One conversation over a daemon's Unix control socket: bounded in time and size, and ended when the feed is stopped.
//! Never interprets what it carries.
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket};
use nix::sys::time::{TimeVal, TimeValLike};

use super::poll::{PollConfig, PollError};
use super::{STOP_CHECK, Stop};

/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// A connected control socket.
#[derive(Debug)]
pub(super) struct Conversation<'a> {
    stream: UnixStream,
    what: String,
    config: &'a PollConfig,
    stop: &'a Stop,
}

impl<'a> Conversation<'a> {
    pub(super) fn connect(
        path: &Path,
        config: &'a PollConfig,
        stop: &'a Stop,
    ) -> Result<Self, PollError> {
        let what = path.display().to_string();
        let connect = || -> Result<UnixStream, PollError> {
            let unreachable = |source| PollError::Reach {
                what: what.clone(),
                source,
            };
            let stream = open(path, config, stop, &unreachable)?;
            let timeouts = stream
                .set_read_timeout(Some(STOP_CHECK))
                .and_then(|()| stream.set_write_timeout(Some(config.reply_timeout)));
            timeouts.map_err(unreachable)?;
            Ok(stream)
        };
        Ok(Self {
            stream: connect()?,
            what,
            config,
            stop,
        })
    }

    /// Sends `command` followed by `end`.
    pub(super) fn say(&mut self, command: &str, end: u8) -> Result<(), PollError> {
        let mut line = command.as_bytes().to_vec();
        line.push(end);
        self.stream
            .write_all(&line)
            .map_err(|source| self.lost(command, source))
    }

    /// Reads until `ended` says where in the bytes the reply ends; it is given how many bytes it saw before.
    /// Bytes after the end are an error: they answer no question.
    pub(super) fn hear(
        &mut self,
        command: &str,
        mut ended: impl FnMut(&[u8], usize) -> Option<usize>,
    ) -> Result<Vec<u8>, PollError> {
        let started = Instant::now();
        let mut reply = Vec::new();
        let mut chunk = vec![0; CHUNK];
        loop {
            if self.stop.is_stopped() {
                return Err(super::Stopped.into());
            }
            if started.elapsed() > self.config.reply_timeout {
                let after = self.config.reply_timeout;
                let command = command.to_owned();
                return Err(PollError::Timeout { command, after });
            }
            let read = match self.stream.read(&mut chunk) {
                Ok(0) => return Err(self.lost(command, ErrorKind::UnexpectedEof.into())),
                Ok(read) => read,
                Err(error) if is_retry(error.kind()) => continue,
                Err(error) => return Err(self.lost(command, error)),
            };
            let seen = reply.len();
            if seen + read > self.config.max_reply {
                let limit = self.config.max_reply;
                let command = command.to_owned();
                return Err(PollError::TooLong { command, limit });
            }
            reply.extend_from_slice(chunk.get(..read).unwrap_or_default());
            match ended(&reply, seen) {
                Some(end) if end == reply.len() => return Ok(reply),
                Some(_) => {
                    let command = command.to_owned();
                    return Err(PollError::Excess { command });
                }
                None => {}
            }
        }
    }

    fn lost(&self, command: &str, source: std::io::Error) -> PollError {
        PollError::Lost {
            what: self.what.clone(),
            command: command.to_owned(),
            source,
        }
    }
}

/// Connects, within `reply_timeout`: a daemon that hangs takes no connections any more once its backlog is full, and
/// [`UnixStream::connect`] would wait for it without end.
fn open(
    path: &Path,
    config: &PollConfig,
    stop: &Stop,
    unreachable: &impl Fn(std::io::Error) -> PollError,
) -> Result<UnixStream, PollError> {
    let new = || -> nix::Result<(OwnedFd, UnixAddr)> {
        let (family, flags) = (AddressFamily::Unix, SockFlag::SOCK_CLOEXEC);
        let fd = socket(family, SockType::Stream, flags, None)?;
        let wait = TimeVal::milliseconds(STOP_CHECK.as_millis() as i64);
        setsockopt(&fd, SendTimeout, &wait)?;
        Ok((fd, UnixAddr::new(path)?))
    };
    let (fd, address) = new().map_err(|error| unreachable(error.into()))?;
    let started = Instant::now();
    loop {
        match connect(fd.as_raw_fd(), &address) {
            Ok(()) => return Ok(fd.into()),
            Err(Errno::EAGAIN | Errno::EINTR) if stop.is_stopped() => {
                return Err(super::Stopped.into());
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {
                let after = config.reply_timeout;
                if started.elapsed() > after {
                    let command = "connect".to_owned();
                    return Err(PollError::Timeout { command, after });
                }
            }
            Err(error) => return Err(unreachable(error.into())),
        }
    }
}

fn is_retry(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{Backlog, bind, listen};
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    /// A daemon that says this to whoever connects, and then stays connected for a while, or not.
    fn daemon(name: &str, says: &'static [u8], stays: bool) -> PathBuf {
        let path = std::env::temp_dir().join(format!("b38-unix-{}-{name}", std::process::id()));
        let _none_there = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(says).unwrap();
            if stays {
                // Until the other side goes.
                let _gone = stream.read(&mut [0; 64]);
                let _gone = stream.read(&mut [0; 64]);
            }
        });
        path
    }

    fn ask(path: &Path, config: &PollConfig, stop: &Stop) -> Result<Vec<u8>, PollError> {
        let mut conversation = Conversation::connect(path, config, stop)?;
        let ended = |bytes: &[u8], _| Some(bytes.iter().position(|byte| *byte == b'.')? + 1);
        let reply = conversation.hear("ask", ended);
        let _gone = std::fs::remove_file(path);
        reply
    }

    #[test]
    fn a_daemon_that_takes_no_connections_is_given_up() {
        let path = std::env::temp_dir().join(format!("b38-unix-{}-full", std::process::id()));
        let _none_there = std::fs::remove_file(&path);
        let daemon = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .unwrap();
        bind(daemon.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&daemon, Backlog::new(0).unwrap()).unwrap();
        let _waits = UnixStream::connect(&path).unwrap();
        let config = PollConfig {
            reply_timeout: Duration::from_millis(500),
            ..PollConfig::default()
        };
        let begin = Instant::now();
        let error = Conversation::connect(&path, &config, &Stop::default()).unwrap_err();
        assert!(matches!(error, PollError::Timeout { .. }), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(20));
        let stop = Stop::default();
        stop.stop();
        let error = Conversation::connect(&path, &config, &stop).unwrap_err();
        assert!(matches!(error, PollError::Stopped(_)), "{error}");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn every_way_a_conversation_ends() {
        let stop = Stop::default();
        let config = PollConfig {
            reply_timeout: Duration::from_millis(500),
            max_reply: 8,
            ..PollConfig::default()
        };
        let reply = ask(&daemon("good", b"done.", true), &config, &stop).unwrap();
        assert_eq!(reply, b"done.");
        let error = ask(&daemon("more", b"done.me", true), &config, &stop).unwrap_err();
        assert!(matches!(error, PollError::Excess { .. }), "{error}");
        let error = ask(&daemon("cut", b"tol", false), &config, &stop).unwrap_err();
        assert!(matches!(error, PollError::Lost { .. }), "{error}");
        let error = ask(&daemon("slow", b"tol", true), &config, &stop).unwrap_err();
        assert!(matches!(error, PollError::Timeout { .. }), "{error}");
        let error = ask(&daemon("long", b"done and done", true), &config, &stop).unwrap_err();
        assert!(
            matches!(error, PollError::TooLong { limit: 8, .. }),
            "{error}"
        );
        let error = ask(Path::new("/nowhere/bgpd.vty"), &config, &stop).unwrap_err();
        assert!(error.to_string().contains("/nowhere/bgpd.vty"), "{error}");
        stop.stop();
        let error = ask(&daemon("stop", b"tol", true), &config, &stop).unwrap_err();
        assert!(matches!(error, PollError::Stopped(_)), "{error}");
    }
}
