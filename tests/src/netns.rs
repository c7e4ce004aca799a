//! Network namespaces that a test's own thread is in as long as the test runs.
//! Never touches a namespace or device it did not make.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sched::{CloneFlags, setns};

pub use lab::unique;

/// A network namespace this thread is in. Processes it starts are in it too. There is one at a time: a process
/// being started holds, until it runs, copies of every thread's descriptors, and with them links and locks that
/// another test has just let go.
#[derive(Debug)]
pub struct Namespace {
    made: lab::Namespace,
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
        let made = lab::Namespace::quiet("test").expect("a network namespace");
        let home = File::open("/proc/thread-self/ns/net").expect("our own namespace");
        lab::enter(&made.path()).expect("entering it");
        Self {
            made,
            home,
            _turn: turn,
        }
    }

    /// Where `ip netns` keeps it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.made.path()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let left = setns(&self.home, CloneFlags::CLONE_NEWNET);
        assert!(
            left.is_ok() || std::thread::panicking(),
            "cannot leave {}",
            self.made.name()
        );
    }
}

/// Runs `ip` with these words.
///
/// # Panics
/// With what it says, if it fails.
pub fn ip(words: &str) -> String {
    lab::ip(words.split_whitespace()).unwrap_or_else(|error| panic!("{error}"))
}

/// Does an XDP program sit on the device?
#[must_use]
pub fn has_xdp(device: &str) -> bool {
    ip(&format!("link show dev {device}")).contains("xdp")
}
