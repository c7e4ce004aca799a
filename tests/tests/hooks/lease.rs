//! Enforcement needs a process that is alive, at tc as in XDP: without one the program observes.
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use filter_core::{Mode, Reason};
use filter_loader::{
    AttachMode, Engine, Filter, InterfaceSpec, detach_pinned, hooks, programs_at_tc,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::lab::Wire;
use tests::require_kernel;
use tests::rig::{self, GOOD, NEAR, Pair, Pins, SPOOFED, build};
use tests::wire::until;

/// Longer than an emulated processor keeps a process waiting.
const TERM: Duration = Duration::from_secs(2);
/// Where the other process finds its namespace and its pins.
const NAMESPACE: &str = "BCP38_TEST_NAMESPACE";
const PINS: &str = "BCP38_TEST_PINS";

/// Is a spoofed frame dropped? The good one behind it shows it.
fn drops(pair: &Pair, behind: &Wire) -> bool {
    pair.far.send(&build(SPOOFED));
    pair.far.send(&build(GOOD));
    let first = behind.receive();
    if first == build(SPOOFED) {
        assert_eq!(behind.receive(), build(GOOD));
        return false;
    }
    assert_eq!(first, build(GOOD));
    true
}

#[test]
fn at_tc_the_program_itself_falls_back_when_the_lease_ends() {
    if !require_kernel("at_tc_the_program_itself_falls_back_when_the_lease_ends") {
        return;
    }
    for without_tcx in [false, true] {
        hooks::without_tcx(without_tcx);
        let pair = Pair::new(1500);
        let behind = Wire::behind_tc(NEAR).unwrap();
        let mut filter = rig::load(&rig::options(Engine::Tables));
        let (peer, _) = rig::guard(&mut filter, AttachMode::Tc, Mode::Enforce);
        assert!(drops(&pair, &behind));
        filter.lease().renew(TERM).unwrap();
        assert!(drops(&pair, &behind));
        until("the lease runs out", || !drops(&pair, &behind));
        assert_eq!(filter.lease().remaining().unwrap(), Some(Duration::ZERO));
        filter.lease().renew(Duration::from_secs(3600)).unwrap();
        assert!(drops(&pair, &behind));
        filter.lease().end();
        assert!(!drops(&pair, &behind));
        let counters = filter.counters(peer).unwrap();
        let spoofed = counters.get(Reason::SourceUnannounced);
        assert!(
            spoofed.dropped.packets >= 3 && spoofed.passed.packets >= 2,
            "{spoofed:?}"
        );
        filter.detach_all().unwrap();
    }
    hooks::without_tcx(false);
}

/// Not a test: what the next one runs as a process of its own, which renews the lease until it is killed.
#[test]
#[ignore = "a process that another test starts"]
fn a_process_that_filters() {
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    let (Some(namespace), Some(pins)) = (path(NAMESPACE), path(PINS)) else {
        return;
    };
    tests::lab::enter(&namespace).unwrap();
    let mut filter = Filter::load(&filter_loader::Options {
        pins: Some(pins),
        ..rig::options(Engine::Tables)
    })
    .unwrap();
    rig::guard(&mut filter, AttachMode::Tc, Mode::Enforce);
    loop {
        filter.lease().renew(TERM).unwrap();
        thread::sleep(TERM / 20);
    }
}

/// The process, which does not outlive its test.
struct Other(Child);

impl Other {
    fn start(namespace: &Path, pins: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "lease::a_process_that_filters", "--ignored"]);
        command.env(NAMESPACE, namespace).env(PINS, pins);
        Self(command.spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.0.id()).unwrap();
        kill(Pid::from_raw(id), signal).unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.0
            .kill()
            .and_then(|()| self.0.wait().map(drop))
            .unwrap();
    }
}

#[test]
fn at_tc_what_a_stopped_or_killed_process_left_only_observes() {
    if !require_kernel("at_tc_what_a_stopped_or_killed_process_left_only_observes") {
        return;
    }
    let (pair, pins) = (Pair::new(1500), Pins::new());
    let behind = Wire::behind_tc(NEAR).unwrap();
    let other = Other::start(&pair.namespace(), pins.path());
    until("the other process to enforce", || drops(&pair, &behind));
    other.signal(Signal::SIGSTOP);
    until("the lease runs out", || !drops(&pair, &behind));
    other.signal(Signal::SIGCONT);
    until("the lease to be renewed", || drops(&pair, &behind));
    drop(other);
    until("the lease runs out", || !drops(&pair, &behind));
    let ifindex = nix::net::if_::if_nametoindex(NEAR).unwrap();
    assert_eq!(programs_at_tc(ifindex).unwrap().len(), 1, "it stays");

    // The next process takes it over, and it drops again.
    let mut next = rig::load(&pins.options());
    let spec = InterfaceSpec::of_device(NEAR).unwrap();
    assert!(next.attach(&spec, AttachMode::Tc).unwrap().adopted);
    next.lease().renew(Duration::from_secs(3600)).unwrap();
    assert!(drops(&pair, &behind));
    drop(next);
    assert!(detach_pinned(pins.path(), NEAR).unwrap());
    assert_eq!(programs_at_tc(ifindex).unwrap(), [0; 0]);
}
