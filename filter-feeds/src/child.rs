//! Runs a daemon's own command-line client: no shell, no input, bounded output and time, killed by its id when it
//! takes too long or the feed is stopped. Never interprets what it prints.
use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::poll::{PollConfig, PollError};
use super::{STOP_CHECK, Stop};

/// How much of a complaint is kept.
const MAX_STDERR: usize = 16 << 10;

/// What the client printed. Its exit status is not among it: `bgpctl show neighbor` fails for a peer that is down,
/// and succeeds with a JSON error; only the output shows that.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

impl Output {
    /// What is wrong with it, with what the client complained of.
    pub(super) fn with_complaint(&self, why: String) -> String {
        if self.stderr.is_empty() {
            return why;
        }
        format!("{why}; it complains: {}", self.stderr)
    }
}

/// A client, and the options that name the daemon to ask.
#[derive(Clone, Debug)]
pub(super) struct Client<'a> {
    pub(super) program: &'a Path,
    pub(super) options: Vec<OsString>,
    pub(super) config: &'a PollConfig,
    pub(super) stop: &'a Stop,
}

impl Client<'_> {
    /// The command as a person would type it.
    pub(super) fn command(&self, arguments: &[&str]) -> String {
        format!("{} {}", self.program.display(), arguments.join(" "))
    }

    /// Runs it to its end.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<Output, PollError> {
        let unreachable = |source| PollError::Reach {
            what: self.program.display().to_string(),
            source,
        };
        let spawned = Command::new(self.program)
            .args(&self.options)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        let mut child = spawned.map_err(unreachable)?;
        let output = self.read(&mut child, arguments);
        // It closed its output, or we are through with it: whatever it still does is not waited for.
        end(&child);
        reap(child);
        output
    }

    fn read(&self, child: &mut Child, arguments: &[&str]) -> Result<Output, PollError> {
        let command = || self.command(arguments);
        let limit = self.config.max_reply;
        let started = Instant::now();
        let stdout = drain(child.stdout.take(), limit.saturating_add(1));
        let stderr = drain(child.stderr.take(), MAX_STDERR);
        let stdout = self.wait_for(&stdout, started, &command)?;
        if stdout.len() > limit {
            return Err(PollError::TooLong {
                command: command(),
                limit,
            });
        }
        let stderr = self.wait_for(&stderr, started, &command)?;
        let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
        Ok(Output { stdout, stderr })
    }

    fn wait_for(
        &self,
        output: &Receiver<std::io::Result<Vec<u8>>>,
        started: Instant,
        command: &impl Fn() -> String,
    ) -> Result<Vec<u8>, PollError> {
        let after = self.config.reply_timeout;
        let lost = |source| PollError::Lost {
            what: self.program.display().to_string(),
            command: command(),
            source,
        };
        loop {
            match output.recv_timeout(STOP_CHECK) {
                Ok(read) => return read.map_err(lost),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(lost(ErrorKind::BrokenPipe.into()));
                }
                Err(RecvTimeoutError::Timeout) if self.stop.is_stopped() => {
                    return Err(super::Stopped.into());
                }
                Err(RecvTimeoutError::Timeout) if started.elapsed() > after => {
                    return Err(PollError::Timeout {
                        command: command(),
                        after,
                    });
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// Kills it, and what it started: a child of its own that lives on would hold its output open, and a thread of ours with it.
fn end(child: &Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        let _may_have_ended = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}

/// Takes note of its end without waiting for it: one that the kernel cannot kill yet (a disk that hangs) would keep
/// the feed waiting.
fn reap(mut child: Child) {
    if matches!(child.try_wait(), Ok(None)) {
        let name = thread::Builder::new().name("reap".to_owned());
        // Without a thread it is reaped when the daemon ends.
        let _unreaped = name.spawn(move || child.wait());
    }
}

/// Reads a pipe on its own thread, so that neither fills up. After `limit` bytes it is closed, which ends the child.
fn drain(
    pipe: Option<impl Read + Send + 'static>,
    limit: usize,
) -> Receiver<std::io::Result<Vec<u8>>> {
    let (sender, receiver) = channel();
    if let Some(pipe) = pipe {
        let reader = move || {
            let mut bytes = Vec::new();
            let read = pipe.take(limit as u64).read_to_end(&mut bytes);
            // The feed has stopped listening if the child took too long.
            let _unheard = sender.send(read.map(|_| bytes));
        };
        // Without a thread nothing is ever read, and the receiver hears that the sender is gone.
        let _unread = thread::Builder::new()
            .name("client".to_owned())
            .spawn(reader);
    }
    receiver
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn client<'a>(config: &'a PollConfig, stop: &'a Stop) -> Client<'a> {
        let options = vec!["-c".into()];
        Client {
            program: Path::new("/bin/sh"),
            options,
            config,
            stop,
        }
    }

    #[test]
    fn prints_and_complains() {
        let (config, stop) = (PollConfig::default(), Stop::default());
        let output = client(&config, &stop)
            .run(&["echo read; echo complained >&2; exit 3"])
            .unwrap();
        assert_eq!(
            (output.stdout.as_slice(), output.stderr.as_str()),
            (&b"read\n"[..], "complained")
        );
    }

    #[test]
    fn is_bounded_in_time_and_size_and_is_reaped() {
        let stop = Stop::default();
        let config = PollConfig {
            reply_timeout: Duration::from_millis(300),
            max_reply: 1000,
            ..PollConfig::default()
        };
        let client = client(&config, &stop);
        let started = Instant::now();
        let error = client.run(&["exec sleep 60"]).unwrap_err();
        assert!(matches!(error, PollError::Timeout { .. }), "{error}");
        let error = client.run(&["exec cat /dev/zero"]).unwrap_err();
        assert!(
            matches!(error, PollError::TooLong { limit: 1000, .. }),
            "{error}"
        );
        let exactly = client.run(&["head -c 1000 /dev/zero"]).unwrap();
        assert_eq!(exactly.stdout.len(), 1000);
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn what_it_started_ends_with_it() {
        let stop = Stop::default();
        let config = PollConfig {
            reply_timeout: Duration::from_millis(300),
            ..PollConfig::default()
        };
        // The client ends at once, what it started holds its output open.
        let file = std::env::temp_dir().join(format!("bcp38-child-{}", std::process::id()));
        let script = format!("sleep 600 & echo $! >{}", file.display());
        let error = client(&config, &stop).run(&[&script]).unwrap_err();
        assert!(matches!(error, PollError::Timeout { .. }), "{error}");
        let pid = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let process = format!("/proc/{}/stat", pid.trim());
        let end = Instant::now() + Duration::from_secs(20);
        // Gone, or dead and not yet buried by whoever adopted it.
        while std::fs::read_to_string(&process).is_ok_and(|stat| !stat.contains(") Z")) {
            assert!(Instant::now() < end, "{process} is still there");
            thread::yield_now();
        }
    }

    #[test]
    fn ends_when_told_to_stop_or_not_there() {
        let (config, stop) = (PollConfig::default(), Stop::default());
        stop.stop();
        let error = client(&config, &stop).run(&["exec sleep 60"]).unwrap_err();
        assert!(matches!(error, PollError::Stopped(_)), "{error}");
        let missing = Client {
            program: Path::new("/nowhere/bgpctl"),
            ..client(&config, &stop)
        };
        let error = missing.run(&["show"]).unwrap_err();
        assert!(error.to_string().contains("/nowhere/bgpctl"), "{error}");
    }
}
