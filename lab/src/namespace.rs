//! Network namespaces: the one way to make them. Never touches one that it did not make.
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use filter_core::packet::Mac;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Where `ip netns` keeps its namespaces.
const NAMESPACES: &str = "/run/netns";
/// Where what outlives a process of ours in the kernel is pinned.
pub const BPFFS: &str = "/sys/fs/bpf";
/// How everything of a lab is named: this, the process, a number, a role.
const PREFIX: &str = "b38";

/// Why a network could not be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// A command ended with an error.
    #[error("`{command}`: {why}")]
    Command {
        /// What was run.
        command: String,
        /// What it said.
        why: String,
    },
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    Os {
        /// What was tried.
        what: String,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl NetError {
    pub(crate) fn os<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |source| Self::Os {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// Runs `ip` with these arguments and returns what it prints.
///
/// # Errors
/// With the command line and what it said.
pub fn ip<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<String, NetError> {
    let mut command = Command::new("ip");
    command.args(arguments).stdin(Stdio::null());
    let fail = |command: &Command, why: String| {
        let words = command.get_args().map(OsStr::to_string_lossy);
        NetError::Command {
            command: format!("ip {}", words.collect::<Vec<_>>().join(" ")),
            why,
        }
    };
    match command.output() {
        Err(error) => Err(fail(
            &command,
            format!("{error}: install the package iproute2"),
        )),
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            Err(fail(&command, why.trim().to_owned()))
        }
    }
}

/// A name that no other lab, process or run uses.
#[must_use]
pub fn unique(role: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}-{}-{number}-{role}", std::process::id())
}

/// A network namespace, removed with everything in it on drop.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one with its loopback up.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(role: &str) -> Self {
        Self::try_new(role).unwrap()
    }

    /// As [`Namespace::new`].
    ///
    /// # Errors
    /// Without root, or without `ip`.
    pub fn try_new(role: &str) -> Result<Self, NetError> {
        let name = unique(role);
        ip(["netns", "add", &name])?;
        let namespace = Self { name };
        ip(["-n", &namespace.name, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// A new one without IPv6 on its devices until it is switched on: no frame goes out that a program did not send.
    ///
    /// # Errors
    /// Without root, or without `ip`.
    pub fn quiet(role: &str) -> Result<Self, NetError> {
        let namespace = Self::try_new(role)?;
        namespace.try_run(|| {
            let mut switches = ["all", "default"].into_iter().map(|which| {
                let switch = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
                std::fs::write(&switch, "1").map_err(NetError::os(format!("write {switch}")))
            });
            switches.try_for_each(|written| written)
        })??;
        Ok(namespace)
    }

    /// Its devices yet to come solicit no router, as a router's do not (RFC 4861 section 6.3.7 is for hosts).
    ///
    /// # Panics
    /// If the kernel has no IPv6.
    pub fn solicit_no_router(&self) {
        let switch = "/proc/sys/net/ipv6/conf/default/router_solicitations";
        self.run(|| std::fs::write(switch, "0").unwrap());
    }

    /// Its name, as `ip netns exec` takes it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it can be opened.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(NAMESPACES).join(&self.name)
    }

    /// `ip` inside it.
    ///
    /// # Panics
    /// If that fails.
    pub fn ip(&self, arguments: &[&str]) -> String {
        ip(["-n", &self.name].iter().chain(arguments)).unwrap()
    }

    /// The index of one of its interfaces.
    ///
    /// # Panics
    /// If it has none of that name.
    #[must_use]
    pub fn link_index(&self, device: &str) -> u32 {
        let shown = self.ip(&["-o", "link", "show", device]);
        shown
            .split(':')
            .next()
            .unwrap_or_default()
            .trim()
            .parse()
            .unwrap()
    }

    /// The MAC of one of its interfaces.
    ///
    /// # Panics
    /// If it has none of that name.
    #[must_use]
    pub fn mac(&self, device: &str) -> Mac {
        let shown = self.ip(&["-o", "link", "show", device]);
        let mut words = shown.split_whitespace();
        words.find(|word| *word == "link/ether");
        words.next().and_then(|mac| mac.parse().ok()).unwrap()
    }

    /// A command inside it. Its process is the program itself: `ip netns exec` replaces itself by it.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name])
            .arg(program.as_ref());
        command
    }

    /// Runs `work` on a thread of its own inside; sockets it makes stay inside wherever they go.
    ///
    /// # Panics
    /// If the namespace cannot be entered; the thread's own panics come with its handle.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        spawn_in(&self.path(), work)
    }

    /// Runs `work` inside and waits for it.
    ///
    /// # Panics
    /// If the namespace cannot be entered, or if `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.try_run(work).unwrap()
    }

    /// As [`Namespace::run`].
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn try_run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetError> {
        let path = self.path();
        thread::scope(|scope| {
            let inside = scope.spawn(|| enter(&path).map(|()| work()));
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing else can be done about it while dropping; the next test sweeps.
        let _left = ip(["netns", "del", &self.name]);
    }
}

/// Runs `work` on a thread of its own in the namespace mounted there.
///
/// # Panics
/// If it cannot be entered; the thread's own panics come with its handle.
pub fn spawn_in<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let path = path.to_owned();
    thread::spawn(move || {
        enter(&path).unwrap();
        work()
    })
}

/// Moves this thread, and the threads it will start, into the namespace mounted there.
///
/// # Errors
/// Without root, or if there is none.
pub fn enter(path: &Path) -> Result<(), NetError> {
    let fail = || format!("enter namespace {}", path.display());
    let file = File::open(path).map_err(NetError::os(fail()))?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(NetError::os(fail()))
}

/// Can namespaces be made here at all?
pub(super) fn probe() -> Result<(), String> {
    let name = unique("probe");
    ip(["netns", "add", &name]).map_err(|error| format!("no network namespaces here: {error}"))?;
    ip(["netns", "del", &name])
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Removes what processes that are gone left behind: their namespaces, the daemons in them, their directories.
pub(super) fn sweep() {
    for name in orphans(Path::new(NAMESPACES)) {
        let inside = ip(["netns", "pids", &name]).unwrap_or_default();
        for pid in inside.lines().filter_map(|line| line.trim().parse().ok()) {
            let _may_have_ended = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _another_test_was_faster = ip(["netns", "del", &name]);
    }
    for directory in [std::env::temp_dir(), PathBuf::from(BPFFS)] {
        for name in orphans(&directory) {
            let _another_test_was_faster = std::fs::remove_dir_all(directory.join(name));
        }
    }
}

/// What stands in `directory` under the name of a process that is no more.
fn orphans(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| owner(name).is_some_and(|pid| !is_running(pid)))
        .collect()
}

fn owner(name: &str) -> Option<u32> {
    let rest = name.strip_prefix(PREFIX)?.strip_prefix('-')?;
    rest.split('-').next()?.parse().ok()
}

/// A process that has ended but was not waited for does not count.
fn is_running(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    state.is_some_and(|state| !state.trim().starts_with(['Z', 'X']))
}
