//! The daemon as a service: what it reports to its service manager, `bcp38 reload`, and the unit that the packages install. The
//! program itself runs here, in a network namespace, as a service manager starts it.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]
mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::Scratch;
use filter_daemon::metrics::DEFAULT_LISTEN;
use lab::{BPFFS, Directory, Namespace, require};

/// So long anything may take.
const SOON: Duration = Duration::from_secs(60);
/// The service manager's patience here, in microseconds.
const WATCHDOG: u64 = 2_000_000;
/// The exposure, in tenths of 0 (best) to 10, that `systemd-analyze security` may find in the unit. What is left is what a
/// packet filter is: root, NET_ADMIN, BPF, the host's network.
const MOST_EXPOSED: u32 = 25;
const UNIT: &str = include_str!("../package/bcp38.service");
const ALERTS: &str = include_str!("../package/alerts.yml");
const DASHBOARD: &str = include_str!("../package/grafana.json");
const MONITORING: &str = include_str!("../../docs/monitoring.md");

/// A router's namespace and the daemon in it, under a service manager that listens.
struct Scene {
    router: Namespace,
    directory: Directory,
    pins: PathBuf,
    manager: UnixDatagram,
    daemon: Child,
}

impl Scene {
    fn new() -> Self {
        let router = Namespace::quiet("router").unwrap();
        let cable = ["type", "veth", "peer", "name", "far"];
        router.ip(&[&["link", "add", "ixp0"][..], &cable].concat());
        router.ip(&["link", "set", "lo", "up"]);
        router.ip(&["address", "add", "203.0.113.1/24", "dev", "ixp0"]);
        router.ip(&["link", "set", "ixp0", "up"]);
        let directory = Directory::new("service");
        let pins = Path::new(BPFFS).join(router.name());
        let notify = directory.path().join("notify");
        let manager = UnixDatagram::bind(&notify).unwrap();
        manager.set_read_timeout(Some(SOON)).unwrap();
        let file = directory.write("bcp38.toml", &config(directory.path(), &pins, "30s"));
        let daemon = router.run(|| {
            let mut daemon = bcp38("run");
            daemon.arg("--config").arg(file).stderr(Stdio::null());
            daemon.env("NOTIFY_SOCKET", &notify);
            daemon.env("WATCHDOG_USEC", WATCHDOG.to_string());
            daemon.spawn().unwrap()
        });
        Self {
            router,
            directory,
            pins,
            manager,
            daemon,
        }
    }

    /// The next thing the daemon says of its state.
    fn state(&self) -> String {
        loop {
            let message = self.message();
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }

    fn message(&self) -> String {
        let mut buffer = [0; 64];
        let length = self.manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Changes the configuration file, and runs what the unit's ExecReload runs.
    fn reload(&self, text: &str) -> Output {
        let file = self.directory.write("bcp38.toml", text);
        bcp38("reload").arg("--config").arg(file).output().unwrap()
    }

    fn config(&self, withdraw_hold: &str) -> String {
        config(self.directory.path(), &self.pins, withdraw_hold)
    }

    fn events(&self) -> String {
        let mut events = bcp38("events");
        let socket = self.directory.path().join("bcp38.sock");
        let output = events.arg("--socket").arg(socket).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        _ = self.daemon.kill();
        _ = self.daemon.wait();
        let detached = self.router.run(|| {
            let mut detach = bcp38("detach");
            let socket = self.directory.path().join("bcp38.sock");
            detach.arg("ixp0").arg("--socket").arg(socket);
            detach.arg("--pin-dir").arg(&self.pins).output()
        });
        if !std::thread::panicking() {
            assert!(detached.unwrap().status.success());
            assert!(!self.pins.exists(), "pins are left");
        }
    }
}

fn bcp38(command: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_bcp38"));
    program.arg(command);
    program
}

fn config(directory: &Path, pins: &Path, withdraw_hold: &str) -> String {
    format!(
        r#"[router]
asn = 64500

[[interface]]
name = "ixp0"
kind = "port"

[timers]
withdraw_hold = "{withdraw_hold}"

[metrics]

[limits]
max_peers = 16
table_memory_mib = 8

[daemon]
socket = "{}"
state_file = "{}"
pin_dir = "{}"
"#,
        directory.join("bcp38.sock").display(),
        directory.join("state.json").display(),
        pins.display()
    )
}

fn said(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_service_manager_hears_of_start_reload_and_life_and_a_refused_reload_fails() {
    let test = "a_service_manager_hears_of_start_reload_and_life_and_a_refused_reload_fails";
    if !require(test, &[]) {
        return;
    }
    let scene = Scene::new();
    assert_eq!(scene.message(), "READY=1");
    let done = scene.reload(&scene.config("20s"));
    assert!(done.status.success(), "{}", said(&done));
    assert!(said(&done).contains("in force: "), "{}", said(&done));
    assert_eq!(scene.state(), "RELOADING=1");
    assert_eq!(scene.state(), "READY=1");
    // Wrong by itself: the command says where, and the daemon is not even asked.
    let refused = scene.reload(&scene.config("never"));
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    let why = said(&refused);
    assert!(why.contains("`withdraw_hold` = \"never\""), "{why}");
    // Right by itself, but not for this daemon: it refuses, and stays as it is.
    let feed = "[[feed]]\nkind = \"bmp\"\nlisten = \"192.0.2.99:11019\"\n";
    let more = scene.config("20s") + feed;
    let refused = scene.reload(&more);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert_eq!(scene.state(), "RELOADING=1");
    assert_eq!(scene.state(), "READY=1");
    let events = scene.events();
    assert_eq!(events.matches("reload-refused").count(), 1, "{events}");
    assert_eq!(events.matches("reload-incomplete").count(), 0, "{events}");
    // Life goes on.
    let begin = Instant::now();
    while scene.message() != "WATCHDOG=1" {
        assert!(begin.elapsed() < SOON);
    }
    let patience = Duration::from_micros(WATCHDOG);
    assert_eq!(scene.message(), "WATCHDOG=1");
    assert!(begin.elapsed() < 4 * patience, "{:?}", begin.elapsed());
}

#[test]
fn a_reload_moves_a_listener_between_any_address_and_one() {
    let test = "a_reload_moves_a_listener_between_any_address_and_one";
    if !require(test, &[]) {
        return;
    }
    let scene = Scene::new();
    assert_eq!(scene.message(), "READY=1");
    for listen in ["127.0.0.1", "0.0.0.0", "203.0.113.1"] {
        let feed = format!("[[feed]]\nkind = \"bmp\"\nlisten = \"{listen}:11019\"\n");
        let done = scene.reload(&(scene.config("30s") + &feed));
        assert!(done.status.success(), "{}", said(&done));
        let reached = |address: &str| {
            let address = format!("{address}:11019");
            scene.router.run(|| TcpStream::connect(address).is_ok())
        };
        let begin = Instant::now();
        let on_loopback = listen != "203.0.113.1";
        while reached("127.0.0.1") != on_loopback
            || reached("203.0.113.1") == (listen == "127.0.0.1")
        {
            assert!(begin.elapsed() < SOON, "{listen}: {}", scene.events());
        }
        // Listening at once, without a further try.
        let events = scene.events();
        assert!(!events.contains("cannot listen"), "{events}");
    }
}

/// What a scrape from the router itself gets.
fn scrape(router: &Namespace) -> String {
    router.run(|| {
        let mut stream = TcpStream::connect(DEFAULT_LISTEN).unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
}

/// Prometheus' own opinion of a page.
fn promtool(page: &str) -> Option<Output> {
    let mut check = Command::new("promtool");
    check.args(["check", "metrics"]).stdin(Stdio::piped());
    check.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = present("promtool", check.spawn())?;
    child
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    Some(child.wait_with_output().unwrap())
}

#[test]
fn prometheus_scrapes_a_running_daemon_and_finds_nothing_odd() {
    let test = "prometheus_scrapes_a_running_daemon_and_finds_nothing_odd";
    if !require(test, &[]) {
        return;
    }
    let scene = Scene::new();
    assert_eq!(scene.message(), "READY=1");
    let answer = scrape(&scene.router);
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for line in [
        "bcp38_interface_attached{interface=\"ixp0\"} 1\n",
        "bcp38_interface_class_in_force{interface=\"ixp0\",class=\"unknown\",family=\"all\"} 0\n",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    if let Some(opinion) = promtool(page) {
        assert_eq!(said(&opinion), "");
        assert!(opinion.status.success());
    }
    // Every metric is documented, and nothing else is, nor used by the rules and the dashboard.
    let helped = page.lines().filter_map(|line| line.strip_prefix("# HELP "));
    let names: BTreeSet<&str> = helped.filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, mentioned(MONITORING), "docs/monitoring.md");
    for file in [ALERTS, DASHBOARD] {
        let unknown: Vec<&str> = mentioned(file).difference(&names).copied().collect();
        assert_eq!(unknown, [""; 0]);
    }
    // A reload takes it away, and a refused one does not.
    let taken = TcpListenerIn::new(&scene.router);
    let other = format!("[metrics]\nlisten = \"{}\"", taken.address);
    let refused = scene.reload(&scene.config("30s").replace("[metrics]", &other));
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(
        said(&refused).contains(&taken.address),
        "{}",
        said(&refused)
    );
    assert!(scrape(&scene.router).contains("bcp38_build_info"));
    let done = scene.reload(&scene.config("30s").replace("[metrics]", ""));
    assert!(done.status.success(), "{}", said(&done));
    let begin = Instant::now();
    while scene
        .router
        .run(|| TcpStream::connect(DEFAULT_LISTEN).is_ok())
    {
        assert!(begin.elapsed() < SOON, "metrics are still served");
    }
}

/// An address of the router that somebody else listens on.
struct TcpListenerIn {
    address: String,
    _listener: TcpListener,
}

impl TcpListenerIn {
    fn new(router: &Namespace) -> Self {
        let listener = router.run(|| TcpListener::bind("127.0.0.1:0").unwrap());
        Self {
            address: listener.local_addr().unwrap().to_string(),
            _listener: listener,
        }
    }
}

/// The metrics that a text names.
fn mentioned(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    words.filter(|word| word.starts_with("bcp38_")).collect()
}

#[test]
fn prometheus_takes_the_alert_rules_and_the_dashboard_is_json() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    assert_eq!(dashboard["title"], "bcp38");
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/package/alerts.yml");
    let checked = Command::new("promtool")
        .args(["check", "rules", rules])
        .output();
    if let Some(checked) = present("promtool", checked) {
        assert!(checked.status.success(), "{}", said(&checked));
    }
}

#[test]
fn reload_needs_a_daemon_and_says_so() {
    let scratch = Scratch::new("reload");
    let socket = scratch.0.join("none.sock");
    let none = bcp38("reload")
        .arg("--socket")
        .arg(&socket)
        .output()
        .unwrap();
    assert_eq!(none.status.code(), Some(1));
    let why = said(&none);
    let begins = format!("error: no daemon answers on `{}`", socket.display());
    assert!(why.starts_with(&begins), "{why}");
}

/// The unit as it is installed, but for where the program lies.
fn unit(scratch: &Scratch) -> PathBuf {
    let here = UNIT.replace("/usr/bin/bcp38", env!("CARGO_BIN_EXE_bcp38"));
    // Manuals are installed with the packages, and here they are not.
    let documented = |line: &&str| !line.starts_with("Documentation=");
    let lines: Vec<&str> = here.lines().filter(documented).collect();
    scratch.file("bcp38.service", (lines.join("\n") + "\n").as_bytes())
}

fn systemd_analyze(arguments: &[&str], unit: &Path) -> Option<Output> {
    let mut analyze = Command::new("systemd-analyze");
    present(
        "systemd-analyze",
        analyze.args(arguments).arg(unit).output(),
    )
}

/// What running a program gave, if this machine has it.
fn present<T>(program: &str, ran: std::io::Result<T>) -> Option<T> {
    match ran {
        Ok(ran) => Some(ran),
        Err(error) => {
            let required = std::env::var_os("FILTER_REQUIRE_KERNEL").is_some_and(|it| it == "1");
            assert!(!required, "no {program}: {error}");
            println!("SKIPPED: no {program}: {error}");
            None
        }
    }
}

#[test]
fn systemd_takes_the_unit_as_it_is() {
    let scratch = Scratch::new("unit-verify");
    if let Some(verified) = systemd_analyze(&["verify", "--man=no"], &unit(&scratch)) {
        let of_ours: Vec<String> = said(&verified)
            .lines()
            .filter(|line| line.contains("bcp38"))
            .map(str::to_owned)
            .collect();
        assert!(verified.status.success(), "{}", said(&verified));
        assert_eq!(of_ours, [""; 0], "warnings");
    }
}

#[test]
fn the_unit_is_exposed_no_more_than_named() {
    let scratch = Scratch::new("unit-security");
    let threshold = format!("--threshold={MOST_EXPOSED}");
    let arguments = ["security", "--offline=yes", "--no-pager", &threshold];
    if let Some(rated) = systemd_analyze(&arguments, &unit(&scratch)) {
        assert!(rated.status.success(), "{}", said(&rated));
    }
}

#[test]
fn the_unit_gives_only_the_capabilities_that_are_documented() {
    let line = UNIT
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let documented =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../SECURITY.md")).unwrap();
    for capability in line.unwrap().split(' ') {
        let written = format!("`{capability}`");
        assert!(
            documented.contains(&written),
            "{written} is not in SECURITY.md"
        );
    }
}
