//! Network namespaces and the LAN between them. Never the namespace the test runs in.
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use filter_core::packet::Mac;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::ip;

/// Where `ip netns` keeps its namespaces.
const NAMESPACES: &str = "/run/netns";
/// Where what outlives a process of ours in the kernel is pinned.
pub(super) const BPFFS: &str = "/sys/fs/bpf";
/// How everything of a lab is named: this, the process, a number, a role.
const PREFIX: &str = "b38";

/// How long a new port of a bridge may take.
const PORT_UP: Duration = Duration::from_secs(10);

/// A name nobody else has.
pub(super) fn unique(role: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}-{}-{number}-{role}", std::process::id())
}

/// A network namespace.
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
        let name = unique(role);
        ip(["netns", "add", &name]).unwrap();
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
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
        let path = self.path();
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                enter(&path);
                work()
            });
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
pub(super) fn spawn_in<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let path = path.to_owned();
    thread::spawn(move || {
        enter(&path);
        work()
    })
}

/// Moves this thread. It must be one made for the purpose: there is no way back.
fn enter(path: &Path) {
    let entered = File::open(path)
        .map_err(|error| error.to_string())
        .and_then(|file| setns(file, CloneFlags::CLONE_NEWNET).map_err(|error| error.to_string()));
    entered.unwrap_or_else(|error| panic!("cannot enter {}: {error}", path.display()));
}

/// A LAN: a bridge in a namespace of its own.
#[derive(Debug)]
pub struct Lan {
    namespace: Namespace,
    ports: AtomicU32,
}

impl Lan {
    /// A new one without members.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let namespace = Namespace::new("lan");
        namespace.ip(&[
            "link",
            "add",
            "lan",
            "type",
            "bridge",
            "mcast_snooping",
            "0",
        ]);
        namespace.ip(&["link", "set", "lan", "up"]);
        Self {
            namespace,
            ports: AtomicU32::new(0),
        }
    }

    /// Plugs `member` in: its interface `device` gets these addresses (with lengths), usable at once.
    ///
    /// # Panics
    /// If that fails.
    pub fn plug(&self, member: &Namespace, device: &str, addresses: &[&str]) {
        let port = format!("port{}", self.ports.fetch_add(1, Ordering::Relaxed));
        let pair = [
            "link",
            "add",
            &port,
            "type",
            "veth",
            "peer",
            "name",
            device,
            "netns",
            member.name(),
        ];
        self.namespace.ip(&pair);
        self.namespace
            .ip(&["link", "set", &port, "master", "lan", "up"]);
        for address in addresses {
            // Without duplicate address detection: nobody else is here.
            let nodad: &[&str] = if address.contains(':') {
                &["nodad"]
            } else {
                &[]
            };
            member.ip(&[&["addr", "add", address, "dev", device], nodad].concat());
        }
        member.ip(&["link", "set", device, "up"]);
    }

    /// Waits until frames of `member`'s `eth0` get through: the kernel looks at new carriers once a second.
    ///
    /// # Panics
    /// If they never do.
    pub fn until_forwarding(&self, member: &Namespace) {
        let shown = member.ip(&["-o", "link", "show", "eth0"]);
        let port = shown
            .split_once("@if")
            .and_then(|(_, rest)| rest.split(':').next())
            .map(|index| format!("{index}: "))
            .unwrap();
        super::wait_for("the port to forward", PORT_UP, || {
            let ports = self.namespace.ip(&["-d", "-o", "link", "show"]);
            let port = ports.lines().find(|line| line.starts_with(&port))?;
            port.contains("state forwarding").then_some(())
        });
    }

    /// Where the bridge is.
    #[must_use]
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}

impl Default for Lan {
    fn default() -> Self {
        Self::new()
    }
}

/// Can namespaces be made here at all?
pub(super) fn probe() -> Result<(), String> {
    let name = unique("probe");
    ip(["netns", "add", &name]).map_err(|error| format!("no network namespaces here: {error}"))?;
    ip(["netns", "del", &name]).map(|_| ())
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
