//! The daemon itself in the lab: on a thread inside a router's namespace, asked over its control socket, as an
//! operator would. Its pins, socket and configuration file go with [`Site`]; never the machine's own.
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use filter_core::Mode;
use filter_core::layout::map;
use filter_daemon::config::Config;
use filter_daemon::control::{self, ControlError, Request};
use filter_daemon::runtime::{AtExit, Handle, RunError, RunOptions, Runtime};
use filter_engine::EngineError;
use filter_loader::Error;
use serde_json::Value;

use super::{BPFFS, Directory, LOOK, Namespace, spawn_in, unique, wait_for};

/// How long anything of the daemon's own may take.
const WITHIN: Duration = Duration::from_secs(60);
/// How long a daemon that has stopped may still seem to be there.
const LET_GO_WITHIN: Duration = Duration::from_secs(10);

/// Where a daemon keeps its things, across restarts.
#[derive(Debug)]
pub struct Site {
    directory: Directory,
    pins: PathBuf,
    router: PathBuf,
}

impl Site {
    /// Nothing runs yet. The daemon will run inside `router`.
    #[must_use]
    pub fn new(router: &Namespace) -> Self {
        Self {
            directory: Directory::new("site"),
            pins: Path::new(BPFFS).join(unique("pins")),
            router: router.path(),
        }
    }

    /// Where the filter is pinned.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// Where what a version with another schema had pinned is put aside.
    #[must_use]
    pub fn former_pins(&self) -> PathBuf {
        PathBuf::from(format!("{}-former", self.pins.display()))
    }

    /// See [`become_schema`].
    pub fn becomes(&self, schema: u32) {
        become_schema(&self.pins, schema);
    }

    /// Writes the configuration file: `text`, and where this daemon keeps its things. An interface that `text` chooses no
    /// hook for has native XDP: the lab receives through packet sockets, which see a packet before tc drops it.
    pub fn write(&self, text: &str) -> PathBuf {
        let text = &in_xdp(text);
        let text = format!(
            "{text}\n[daemon]\nsocket = {:?}\npin_dir = {:?}\nstate_file = {:?}\n",
            self.socket(),
            self.pins,
            self.state_file()
        );
        self.directory.write("bcp38.toml", &text)
    }

    /// Starts the daemon with this configuration, once the one before has let go of its pins: a child that another
    /// thread of this process is just about to run holds their lock until it is.
    ///
    /// # Errors
    /// Why it cannot run.
    ///
    /// # Panics
    /// If the configuration is none.
    pub fn try_start(&self, text: &str, at_exit: AtExit) -> Result<Bcp38, RunError> {
        let end = std::time::Instant::now() + LET_GO_WITHIN;
        loop {
            match self.start_once(text, at_exit) {
                Err(RunError::Engine(EngineError::Loader(Error::SecondWriter { .. })))
                    if std::time::Instant::now() < end =>
                {
                    std::thread::sleep(LOOK);
                }
                other => return other,
            }
        }
    }

    fn start_once(&self, text: &str, at_exit: AtExit) -> Result<Bcp38, RunError> {
        let file = self.write(text);
        let (config, _) = Config::load(&file).unwrap_or_else(|error| panic!("{error}"));
        let handle = Handle::default();
        let (started, start) = sync_channel(1);
        let thread = spawn_in(&self.router, {
            let handle = handle.clone();
            let config_file = Some(file.clone());
            move || -> Result<(), RunError> {
                let options = RunOptions {
                    at_exit,
                    config_file,
                };
                let runtime = match Runtime::start(config, options, handle) {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        _ = started.send(Err(error)); // whoever waits for it is there
                        return Ok(());
                    }
                };
                _ = started.send(Ok(()));
                runtime.run()
            }
        });
        let daemon = Bcp38 {
            socket: self.socket(),
            file,
            handle,
            thread: Some(thread),
        };
        match start.recv() {
            Ok(Ok(())) => Ok(daemon),
            Ok(Err(error)) => Err(error),
            Err(_) => panic!("the daemon's thread ended"),
        }
    }

    /// Starts the daemon; it leaves the filter attached when it stops.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(&self, text: &str) -> Bcp38 {
        self.try_start(text, AtExit::Leave)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Where it keeps what operators switched.
    #[must_use]
    pub fn state_file(&self) -> PathBuf {
        self.directory.path().join("state.json")
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("ctl")
    }
}

/// Each interface with a hook.
fn in_xdp(text: &str) -> String {
    const HEAD: &str = "[[interface]]\n";
    let mut parts = text.split(HEAD);
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let section = part.split("\n[").next().unwrap_or_default();
        all.push_str(HEAD);
        if !section.lines().any(|line| line.starts_with("hook =")) {
            all.push_str("hook = \"xdp-native\"\n");
        }
        all.push_str(part);
    }
    all
}

impl Drop for Site {
    fn drop(&mut self) {
        let left = self.pins.exists();
        if left {
            // Nothing else can be done about it while dropping; the next test sweeps.
            _ = std::fs::remove_dir_all(&self.pins);
        }
    }
}

/// A running daemon.
#[derive(Debug)]
pub struct Bcp38 {
    socket: PathBuf,
    file: PathBuf,
    handle: Handle,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

impl Bcp38 {
    /// Asks it something.
    ///
    /// # Errors
    /// Its refusal.
    pub fn ask(&self, request: &Request) -> Result<Value, ControlError> {
        control::ask(&self.socket, request)
    }

    /// `bcp38 status`.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn status(&self) -> Value {
        self.ask(&Request::Status)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// A peer's status.
    ///
    /// # Panics
    /// If there is no such peer.
    #[must_use]
    pub fn peer(&self, name: &str) -> Value {
        let mut status = self.status();
        let peers = status["peers"].as_array_mut().map(std::mem::take);
        let found = peers
            .into_iter()
            .flatten()
            .find(|peer| peer["name"] == name);
        found.unwrap_or_else(|| panic!("no peer {name}"))
    }

    /// Waits until a peer's status is as wanted.
    ///
    /// # Panics
    /// With the last status and events, if it never is.
    pub fn until(&self, what: &str, peer: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let end = std::time::Instant::now() + WITHIN;
        wait_for(what, 2 * WITHIN, || {
            last = self.peer(peer);
            assert!(
                std::time::Instant::now() < end,
                "waited in vain for {what}: {last:#}\n{:#?}",
                self.story()
            );
            holds(&last).then(|| last.clone())
        })
    }

    /// Waits until a peer is in this state.
    ///
    /// # Panics
    /// If it never is.
    pub fn until_state(&self, peer: &str, state: &str) -> Value {
        self.until(&format!("{peer} to be {state}"), peer, |status| {
            status["state"] == state
        })
    }

    /// Changes a peer's mode and waits until the kernel has it.
    ///
    /// # Panics
    /// If it never does.
    pub fn set_mode(&self, peer: &str, mode: Mode) {
        let request = Request::SetMode {
            peer: peer.to_owned(),
            mode,
            only: Vec::new(),
        };
        self.ask(&request).unwrap_or_else(|error| panic!("{error}"));
        self.until("the mode to be in force", peer, |status| {
            status["mode_in_force"] == mode.name()
        });
    }

    /// Every event so far.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        let answer = self.ask(&Request::Events { after: 0 });
        match answer.unwrap_or_else(|error| panic!("{error}")) {
            Value::Array(events) => events,
            other => panic!("{other}"),
        }
    }

    /// Every sampled violation so far.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn violations(&self) -> Vec<Value> {
        let answer = self.ask(&Request::Violations { after: 0 });
        match answer.unwrap_or_else(|error| panic!("{error}")) {
            Value::Array(violations) => violations,
            other => panic!("{other}"),
        }
    }

    /// The events of this name.
    #[must_use]
    pub fn events_named(&self, name: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|event| event["event"] == name);
        events
    }

    /// The events, as lines.
    #[must_use]
    pub fn story(&self) -> Vec<String> {
        let events = self.events();
        let lines = events.iter();
        let line = |event: &Value| format!("{}: {}", event["event"], event["text"]);
        lines.map(line).collect()
    }

    /// Waits for an event of this name that is as wanted.
    ///
    /// # Panics
    /// If it never comes.
    pub fn until_event(&self, name: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let end = std::time::Instant::now() + WITHIN;
        wait_for(name, 2 * WITHIN, || {
            let found = self
                .events_named(name)
                .into_iter()
                .find(|event| is_it(event));
            assert!(
                found.is_some() || std::time::Instant::now() < end,
                "no event {name}: {:#?}",
                self.story()
            );
            found
        })
    }

    /// Replaces its configuration file.
    pub fn rewrite(&self, site: &Site, text: &str) {
        assert_eq!(site.write(text), self.file);
    }

    /// As SIGHUP: reads its configuration again.
    pub fn reload(&self) {
        self.handle.reload_flag().store(true, Ordering::Release);
    }

    /// Reloads until it has. It may be refused an address the former configuration listened on: a child that another
    /// thread of this process is just about to run holds the socket until it is.
    ///
    /// # Panics
    /// If it is refused for another reason, or never done.
    pub fn until_reloaded(&self) {
        let count = |name: &str| self.events_named(name).len();
        let (done, mut refused) = (count("reloaded"), count("reload-refused"));
        self.reload();
        wait_for("the reload", WITHIN, || {
            if count("reloaded") > done {
                return Some(());
            }
            if let Some(event) = self.events_named("reload-refused").get(refused) {
                let why = event["text"].as_str().unwrap_or_default();
                assert!(why.contains("in use"), "{why}");
                refused += 1;
                self.reload();
            }
            None
        });
    }

    /// As SIGTERM: waits until it has ended.
    ///
    /// # Panics
    /// If it ends with an error.
    pub fn stop(mut self) {
        self.handle.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        match ended {
            Some(Ok(Ok(()))) | None => {}
            Some(Ok(Err(error))) => panic!("{error}"),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Bcp38 {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(
                joined.is_ok() || std::thread::panicking(),
                "the daemon panicked"
            );
        }
    }
}

/// A configuration with one feed, and no routes by it: in its place is a listener to which no router connects.
///
/// # Panics
/// If it has no feed, or no limits behind it.
#[must_use]
pub fn without_routes(config: &str) -> String {
    let (head, tail) = config.split_once("[[feed]]").expect("a feed");
    let (_, limits) = tail.split_once("[limits]").expect("limits");
    format!("{head}[[feed]]\nkind = \"bmp\"\nlisten = \"127.0.0.1:11019\"\n\n[limits]{limits}")
}

/// What is pinned becomes another version's: its schema alone is another.
///
/// # Panics
/// If nothing is pinned.
pub fn become_schema(pins: &Path, schema: u32) {
    let meta = MapData::from_pin(pins.join(map::META)).expect("pinned state");
    let meta = Map::from_map_data(meta).expect("a map");
    let mut meta: Array<_, [u64; 2]> = meta.try_into().expect("an array");
    let [word, fingerprint] = meta.get(&0, 0).expect("its first element");
    let magic = word & !u64::from(u32::MAX);
    meta.set(0, [magic | u64::from(schema), fingerprint], 0)
        .expect("it is written");
}
