//! Each way to ask for the impossible: one exact line, and nothing left attached or pinned.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use filter_core::Mode;
use filter_loader::{AttachMode, Engine, Filter, InterfaceSpec, Options, hooks};
use tests::kernel::{Feature, require_kernel};
use tests::netns::{Namespace, has_xdp, ip};
use tests::rig::{self, GOOD, NEAR, Pair, Pins, SPOOFED, build};

fn spec(name: &str) -> InterfaceSpec {
    InterfaceSpec {
        name: name.to_owned(),
        ..rig::test_interface()
    }
}

/// Tries to attach with pins, and says what came back; the pins must be gone with the filter.
fn refusal(device: &str, how: AttachMode) -> String {
    let pins = Pins::new();
    let mut filter = rig::load(&pins.options());
    let error = filter.attach(&spec(device), how).expect_err("a refusal");
    assert_eq!(filter.interfaces().count(), 0);
    drop(filter);
    assert!(!pins.path().exists());
    error.to_string()
}

/// The filter of the test below.
struct Unsplit;

impl Unsplit {
    fn load() -> (Self, Filter) {
        hooks::refuse_split(true);
        (Self, rig::load(&rig::options(Engine::Tables)))
    }
}

impl Drop for Unsplit {
    fn drop(&mut self) {
        hooks::refuse_split(false);
    }
}

#[test]
fn a_kernel_that_refuses_the_program_for_frames_in_several_buffers_runs_the_other() {
    let test = "a_kernel_that_refuses_the_program_for_frames_in_several_buffers_runs_the_other";
    if !require_kernel(test) {
        return;
    }
    let (_refused, mut filter) = Unsplit::load();
    rig::guard_test_runs(&mut filter, Mode::Enforce);
    filter.lease().keep();
    assert!(!filter.run(&build(GOOD), 1).unwrap().dropped);
    assert!(filter.run(&build(SPOOFED), 1).unwrap().dropped);
    if Feature::SplitRuns.is_here() {
        filter.test_split_at(14);
        assert!(filter.run(&build(GOOD), 1).unwrap().dropped, "malformed");
    }
}

#[test]
fn an_unknown_interface_is_named() {
    if require_kernel("an_unknown_interface_is_named") {
        let _namespace = Namespace::enter();
        assert_eq!(
            refusal("nosuch0", AttachMode::Auto),
            "unknown interface `nosuch0`: see `ip link` for the names in this network namespace"
        );
    }
}

#[test]
fn a_device_without_ethernet_header_is_refused() {
    if require_kernel("a_device_without_ethernet_header_is_refused") {
        let _namespace = Namespace::enter();
        ip("tuntap add dev tun0 mode tun");
        for how in [AttachMode::Native, AttachMode::Generic] {
            assert_eq!(
                refusal("tun0", how),
                "interface `tun0` has no ethernet header (hardware type 65534, none: tun, wireguard): xdp needs one; hook = \"tc\" works on tun, wireguard, gre, sit, ip-in-ip and ppp devices"
            );
        }
        assert!(!has_xdp("tun0"));
        for how in [AttachMode::Auto, AttachMode::Tc] {
            assert!(refusal("lo", how).contains("(hardware type 772, loopback)"));
        }
    }
}

#[test]
fn a_tap_device_is_welcome() {
    if require_kernel("a_tap_device_is_welcome") {
        let _namespace = Namespace::enter();
        ip("tuntap add dev tap0 mode tap");
        let mut filter = rig::load(&rig::options(Engine::Tables));
        filter.attach(&spec("tap0"), AttachMode::Auto).unwrap();
        assert!(has_xdp("tap0"));
        filter.detach_all().unwrap();
        assert!(!has_xdp("tap0"));
    }
}

#[test]
fn an_interface_with_another_program_is_left_to_it() {
    if !require_kernel("an_interface_with_another_program_is_left_to_it") {
        return;
    }
    for first in [AttachMode::Native, AttachMode::Generic] {
        let _pair = Pair::new(1500);
        let mut holder = rig::load(&rig::options(Engine::Tables));
        holder.attach(&spec(NEAR), first).unwrap();
        for how in [AttachMode::Native, AttachMode::Generic] {
            assert_eq!(
                refusal(NEAR, how),
                "interface `near` already has an xdp program: remove it first (`bpftool net` shows which it is, and how it is attached)",
                "{how:?} beside {first:?}"
            );
            assert!(has_xdp(NEAR));
        }
        // A refusal is not the end: once the other one is gone it attaches.
        let mut filter = rig::load(&rig::options(Engine::Tables));
        filter.attach(&spec(NEAR), first).unwrap_err();
        drop(holder);
        assert!(!has_xdp(NEAR));
        filter.attach(&spec(NEAR), first).unwrap();
        filter.detach_all().unwrap();
    }
}

#[test]
fn pins_need_a_bpf_file_system() {
    if require_kernel("pins_need_a_bpf_file_system") {
        let elsewhere = std::env::temp_dir().join("bcp38-test-not-bpffs");
        let options = Options {
            pins: Some(elsewhere.clone()),
            ..rig::options(Engine::Tables)
        };
        assert_eq!(
            Filter::load(&options).unwrap_err().to_string(),
            format!(
                "cannot keep state in `{}`: not on a bpf file system; mount it with `mount -t bpf bpf /sys/fs/bpf`",
                elsewhere.display()
            )
        );
        assert!(!elsewhere.exists());
    }
}

/// Set for the process that has given its privileges away: where it shall pin.
const CHILD: &str = "BCP38_TEST_UNPRIVILEGED";
/// The user and group without any.
const NOBODY: u32 = 65_534;

/// A copy of this program that every user may run: a checkout may lie where only its owner can look, as in `/root`.
struct Copy(PathBuf);

impl Copy {
    fn new(test: &str) -> Self {
        let copy = Self(std::env::temp_dir().join(format!("bcp38-{test}-{}", std::process::id())));
        fs::copy(std::env::current_exe().unwrap(), &copy.0).unwrap();
        fs::set_permissions(&copy.0, fs::Permissions::from_mode(0o755)).unwrap();
        copy
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

/// Runs one test of this file as the user `nobody`; what it wrote, and whether it passed.
fn as_nobody(test: &str, pins: &Path, require_kernel: &str) -> (String, bool) {
    let _namespace = Namespace::enter();
    let program = Copy::new(test);
    let output = Command::new(&program.0)
        .current_dir("/")
        .args(["--exact", &format!("refusals::{test}"), "--nocapture"])
        .env(CHILD, pins)
        .env("FILTER_REQUIRE_KERNEL", require_kernel)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        String::from_utf8_lossy(&said).into_owned(),
        output.status.success(),
    )
}

const MISSING: &str = "missing privileges: loading an xdp program needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON";

#[test]
fn missing_privileges_are_named() {
    if let Some(pins) = std::env::var_os(CHILD) {
        let pinned = Options {
            pins: Some(pins.into()),
            ..rig::options(Engine::Tables)
        };
        for options in [
            pinned,
            rig::options(Engine::Tables),
            rig::options(Engine::Lpm),
        ] {
            println!(
                "refused: {}",
                Filter::load(&options).expect_err("no privileges")
            );
        }
        return;
    }
    if !require_kernel("missing_privileges_are_named") {
        return;
    }
    let pins = Pins::new();
    let (said, _) = as_nobody("missing_privileges_are_named", pins.path(), "0");
    let lines = said
        .lines()
        .filter_map(|line| Some(line.split_once("refused: ")?.1));
    assert_eq!(lines.collect::<Vec<_>>(), [MISSING; 3], "{said}");
    assert!(!pins.path().exists());
}

#[test]
fn a_test_without_a_kernel_says_so_or_fails() {
    if std::env::var_os(CHILD).is_some() {
        assert!(!require_kernel("some_test"));
        return;
    }
    if !require_kernel("a_test_without_a_kernel_says_so_or_fails") {
        return;
    }
    let pins = Pins::new();
    let (said, passed) = as_nobody("a_test_without_a_kernel_says_so_or_fails", pins.path(), "0");
    assert!(
        passed && said.contains(&format!("SKIPPED: some_test: {MISSING}")),
        "{said}"
    );
    let (said, passed) = as_nobody("a_test_without_a_kernel_says_so_or_fails", pins.path(), "1");
    let complaint = format!("some_test needs the kernel, and FILTER_REQUIRE_KERNEL=1: {MISSING}");
    assert!(!passed && said.contains(&complaint), "{said}");
}
