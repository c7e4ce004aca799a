//! A process of the lab: started by hand in the foreground, stopped by its id. Never one that was there before.
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Directory;

/// How long a daemon may take to stop when asked nicely.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts it; what it prints goes to `<name>.log` in the directory.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(name: &str, mut command: Command, directory: &Directory) -> Self {
        let log = directory.path().join(format!("{name}.log"));
        let open = || File::options().create(true).append(true).open(&log);
        let started = open().and_then(|out| {
            let err = out.try_clone()?;
            command.stdin(Stdio::null()).stdout(out).stderr(err).spawn()
        });
        let child = started.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log,
        }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Panics with its log if it has ended.
    ///
    /// # Panics
    /// If it has ended.
    pub fn assert_running(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("{} ended with {status}:\n{}", self.name, self.log());
        }
    }

    /// Ends it as a crash would, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ended = self.child.wait();
    }

    /// Asks it to stop; kills it if it does not.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let end = Instant::now() + STOP_WITHIN;
        while self.ended().is_none() {
            if Instant::now() > end {
                return self.kill();
            }
            std::thread::sleep(super::LOOK);
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Only while it runs: later its id may be another's.
    fn signal(&mut self, signal: Signal) {
        if self.ended().is_some() {
            return;
        }
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let _may_have_ended = kill(pid, signal);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}
