//! Network namespaces that exist as long as a test: made, entered by its thread, left and removed.
//! Never touches a namespace or device it did not make.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sched::{CloneFlags, setns};

/// A network namespace this thread is in. Processes it starts are in it too. There is one at a time: a process
/// being started holds, until it runs, copies of every thread's descriptors, and with them links and locks that
/// another test has just let go.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    home: File,
    /// The thread that entered it must be the one to leave it, and a guard says so.
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Namespace {
    /// Makes a namespace without IPv6 on its devices (so that only the test sends frames) and enters it.
    ///
    /// # Panics
    /// If that is not possible.
    #[must_use]
    pub fn enter() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let name = unique("bcp38-test");
        run("ip", &["netns", "add", &name]);
        let home = File::open("/proc/thread-self/ns/net").expect("our own namespace");
        let namespace = Self {
            name,
            home,
            _turn: turn,
        };
        let entered = File::open(namespace.path()).expect("the new namespace");
        setns(entered, CloneFlags::CLONE_NEWNET).expect("entering it");
        for which in ["all", "default"] {
            let switch = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
            std::fs::write(switch, "1").expect("switching IPv6 off");
        }
        namespace
    }

    /// Where `ip netns` keeps it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let left = setns(&self.home, CloneFlags::CLONE_NEWNET);
        let removed = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
        let clean = left.is_ok() && removed.is_ok_and(|status| status.success());
        if !std::thread::panicking() {
            assert!(
                clean && !self.path().exists(),
                "{} is left behind",
                self.name
            );
        }
    }
}

/// A name no other test, process or run uses.
#[must_use]
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{prefix}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Runs `ip` with these words.
///
/// # Panics
/// With what it says, if it fails.
pub fn ip(words: &str) -> String {
    run("ip", &words.split_whitespace().collect::<Vec<_>>())
}

/// Does an XDP program sit on the device?
#[must_use]
pub fn has_xdp(device: &str) -> bool {
    ip(&format!("link show dev {device}")).contains("xdp")
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .expect("iproute2 is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {}: {said}",
        args.join(" ")
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
