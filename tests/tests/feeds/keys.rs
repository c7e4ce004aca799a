//! Every documented key of every feed, from the text of a configuration to what it does to a feed. The parser names the
//! keys there are; one without an exercise here fails the test, and so does one that the example does not show.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use filter_daemon::config::Config;
use filter_daemon::feeds;
use filter_feeds::trigger::Trigger;
use filter_feeds::wire::Reader;
use filter_feeds::wire::bgp::{self, Message};
use filter_feeds::{MAX_WAITING_BATCHES, Outlet, Stop};
use filter_lifecycle::route::{AdjRib, Batch, FeedId, Origin, PeerId, RouteEvent, Session};
use lab::Directory;
use tests::captures::control;
use tests::encoder::message;

const WITHIN: Duration = Duration::from_secs(20);
/// How long a feed with `interval = 1` may take for some polls. The default interval is longer.
const SOME_POLLS: Duration = Duration::from_secs(30);
/// Questions about neighbours in some polls: two in each poll, and at most one every five seconds between two polls.
const QUESTIONS: usize = 12;

const BASE: &str = r#"
[router]
asn = 64500
prefixes = ["100.64.0.0/16"]
[[interface]]
name = "eth0"
kind = "lan"
lan = ["192.0.2.0/24"]
[[peer]]
name = "p1"
asn = 64501
interface = "eth0"
addresses = ["192.0.2.11"]
[[peer]]
name = "p2"
asn = 64502
interface = "eth0"
addresses = ["192.0.2.12"]
route_distinguisher = "64500:1"
"#;

/// A feed with these keys, as the daemon builds and runs it.
struct Running {
    batches: Receiver<Batch>,
    events: RefCell<Vec<RouteEvent>>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn new(keys: &str) -> Self {
        let text = format!("{BASE}[[feed]]\n{keys}\n");
        let (config, _) =
            Config::parse(&text, "test").unwrap_or_else(|error| panic!("{error}\n{keys}"));
        let build = || feeds::build(&config, &config.feeds[0], &Trigger::default());
        let end = Instant::now() + WITHIN;
        let feed = loop {
            match build() {
                Ok(feed) => break feed,
                // A child that another test is just about to run holds a socket until it is.
                Err(why) => assert!(why.contains("in use") && Instant::now() < end, "{why}"),
            }
        };
        let (sender, batches) = sync_channel(MAX_WAITING_BATCHES);
        let stop = Stop::default();
        let outlet = Outlet::new(FeedId(0), sender, stop.clone());
        let thread = Some(std::thread::spawn(move || feed.run(&outlet)));
        Self {
            batches,
            events: RefCell::default(),
            stop,
            thread,
        }
    }

    /// The first such event there was, or will be.
    fn until(&self, wanted: impl Fn(&RouteEvent) -> bool) -> RouteEvent {
        let end = Instant::now() + WITHIN;
        let mut events = self.events.borrow_mut();
        loop {
            if let Some(found) = events.iter().find(|event| wanted(event)) {
                return found.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            let batch = self
                .batches
                .recv_timeout(left)
                .unwrap_or_else(|error| panic!("{error} after {events:?}"));
            events.extend(batch.events);
        }
    }

    fn until_up(&self) {
        self.until(|event| *event == RouteEvent::FeedUp);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
        let joined = self.thread.take().unwrap().join();
        assert!(joined.is_ok() || std::thread::panicking());
    }
}

/// A port of this host that no program listens on.
fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + SOME_POLLS;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    stream
}

fn is_closed(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// A BMP router has introduced itself.
fn introduced(port: u16) -> TcpStream {
    let mut stream = connect(port);
    let initiation = [3, 0, 0, 0, 11, 4, 0, 2, 0, 1, b'R'];
    stream.write_all(&initiation).unwrap();
    stream
}

/// A router that connects from this address of the loopback net, once its OPEN has been answered.
fn router(port: u16, from: &str) -> Option<(TcpStream, u32)> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
    use std::os::fd::AsRawFd;
    let fd = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .unwrap();
    let address = |text: &str, port: u16| {
        SockaddrIn::from(std::net::SocketAddrV4::new(text.parse().unwrap(), port))
    };
    bind(fd.as_raw_fd(), &address(from, 0)).unwrap();
    connect(fd.as_raw_fd(), &address("127.0.0.1", port)).ok()?;
    let mut stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    let mut open = [0; 4096];
    let read = stream.read(&mut open).ok().filter(|read| *read > 0)?;
    let Ok(Message::Open(open)) = bgp::take(&mut Reader::new(&open[..read]), 4096) else {
        return None;
    };
    let (asn, hold, id, capabilities) = ([0xfb, 0xf4], [0, 90], [192, 0, 2, 1], [1, 4, 0, 1, 0, 1]);
    let head = [&[4][..], &asn, &hold, &id, &[8, 2, 6], &capabilities].concat();
    stream.write_all(&message(1, &head)).unwrap();
    stream.write_all(&message(4, &[])).unwrap();
    let attributes = [0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 192, 0, 2, 1];
    let update = tests::encoder::update(&[], &attributes, &[24, 198, 51, 100]);
    stream.write_all(&update).unwrap();
    Some((stream, open.asn.get()))
}

/// What a shadow session with these keys sends of: its session and Adj-RIB.
fn shadowed(more: &str) -> (Origin, AdjRib) {
    let port = port();
    let feed = Running::new(&format!(
        "kind = \"shadow\"\nlisten = \"127.0.0.1:{port}\"\nasn = 64999\nsessions = [{{ address = \"127.0.3.11\", {more} }}]"
    ));
    let _router = router(port, "127.0.3.11").unwrap();
    match feed.until(|event| matches!(event, RouteEvent::Announce { .. })) {
        RouteEvent::Announce { origin, rib, .. } => (origin, rib),
        other => panic!("{other:?}"),
    }
}

/// A client of a router's that writes down how it is called, and answers what is on the right.
fn client(directory: &Directory, answers: &str) -> PathBuf {
    let log = directory.path().join("log");
    let script = format!("#!/bin/sh\necho \"$@\" >>{}\n{answers}\n", log.display());
    let client = directory.write("client", &script);
    fs::set_permissions(&client, fs::Permissions::from_mode(0o700)).unwrap();
    client
}

/// How it was called.
fn calls(directory: &Directory) -> Vec<String> {
    let log = fs::read_to_string(directory.path().join("log")).unwrap_or_default();
    log.lines().map(str::to_owned).collect()
}

const BGPCTL: &str = "echo '{\"neighbors\":[]}'";
const GOBGP: &str = "case \"$*\" in --version) echo gobgp version 3.36.0;; *) echo '[]';; esac";

/// A router behind a socket: what it says first, and to each question; how many questions about neighbours it got.
fn behind_a_socket(
    path: &Path,
    greeting: &'static str,
    end: u8,
    answer: fn(&str) -> &'static [u8],
) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let listener = UnixListener::bind(path).unwrap();
    let counter = Arc::clone(&asked);
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (mut stream, mut question) = (stream, Vec::new());
            let _gone = stream.write_all(greeting.as_bytes());
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                if byte[0] != end {
                    question.push(byte[0]);
                    continue;
                }
                let text = String::from_utf8(std::mem::take(&mut question)).unwrap();
                if text.starts_with("show") {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                let _gone = stream.write_all(answer(&text));
            }
        }
    });
    asked
}

fn bgpd(path: &Path) -> Arc<AtomicUsize> {
    behind_a_socket(path, "", 0, |question| match question {
        "enable" => b"\0\0\0\0",
        _ => b"{}\0\0\0\0",
    })
}

fn bird(path: &Path) -> Arc<AtomicUsize> {
    let greeting = "0001 BIRD 2.0.12 ready.\n";
    behind_a_socket(path, greeting, b'\n', |question| match question {
        "restrict" => b"0016 Access restricted\n",
        _ => b"0000 \n",
    })
}

/// A router behind a socket is asked there, and as often as `interval` says.
fn asked_behind(kind: &str, router: fn(&Path) -> Arc<AtomicUsize>) {
    let directory = Directory::new("keys");
    let socket = directory.path().join("socket");
    let asked = router(&socket);
    let feed = Running::new(&format!(
        "kind = \"{kind}\"\nsocket = \"{}\"\ninterval = 1",
        socket.display()
    ));
    feed.until_up();
    until("some polls", || asked.load(Ordering::Relaxed) >= QUESTIONS);
}

/// A router is asked through this client, with this option, and as often as `interval` says.
fn asked_through(kind: &str, answers: &str, key: &str, option: &str) {
    let directory = Directory::new("keys");
    let client = client(&directory, answers);
    let feed = Running::new(&format!(
        "kind = \"{kind}\"\ncommand = \"{}\"\n{key}\ninterval = 1",
        client.display()
    ));
    feed.until_up();
    until("some polls", || {
        let calls = calls(&directory);
        let asked = calls.iter().filter(|call| call.contains("neighbor"));
        asked.clone().all(|call| call.contains(option)) && asked.count() >= QUESTIONS
    });
}

fn frr() {
    asked_behind("frr", bgpd);
}

fn bird_() {
    asked_behind("bird", bird);
}

fn openbgpd() {
    asked_through(
        "openbgpd",
        BGPCTL,
        "socket = \"/run/other\"",
        "-s /run/other",
    );
}

fn gobgp() {
    asked_through(
        "gobgp",
        GOBGP,
        "server = \"127.0.0.9:50099\"",
        "-u 127.0.0.9 -p 50099",
    );
}

fn by_hand() {
    let feed = Running::new(
        "kind = \"static\"\npeer = \"p2\"\nadvertised_by_peer = [\"45.0.0.0/16\"]\nadvertised_to_peer = [\"46.0.0.0/16\"]",
    );
    for (expected, text) in [
        (AdjRib::InPrePolicy, "45.0.0.0/16"),
        (AdjRib::OutPostPolicy, "46.0.0.0/16"),
    ] {
        feed.until(|event| {
            matches!(event, RouteEvent::Snapshot { origin, rib, routes, .. }
                if *origin == Origin::Peer(PeerId(1)) && *rib == expected
                && routes.iter().map(|route| route.prefix.to_string()).eq([text.to_owned()]))
        });
    }
}

fn bmp_listens_and_lets_in() {
    let port = port();
    let feed = Running::new(&format!("kind = \"bmp\"\nlisten = \"127.0.0.1:{port}\""));
    let _router = introduced(port);
    feed.until_up();
}

fn bmp_allows() {
    let port = port();
    let _feed = Running::new(&format!(
        "kind = \"bmp\"\nlisten = \"127.0.0.1:{port}\"\nallow = [\"192.0.2.0/24\"]"
    ));
    assert!(is_closed(&connect(port)));
}

fn bmp_takes_so_many_routers() {
    let port = port();
    let feed = Running::new(&format!(
        "kind = \"bmp\"\nlisten = \"127.0.0.1:{port}\"\nmax_routers = 1"
    ));
    let _first = introduced(port);
    feed.until_up();
    let mut second = connect(port);
    second
        .write_all(&[3, 0, 0, 0, 11, 4, 0, 2, 0, 1, b'S'])
        .unwrap();
    assert!(is_closed(&second));
}

fn bmp_loses_an_idle_router() {
    let port = port();
    let feed = Running::new(&format!(
        "kind = \"bmp\"\nlisten = \"127.0.0.1:{port}\"\nidle = 10"
    ));
    let _router = introduced(port);
    feed.until_up();
    let lost = feed.until(|event| matches!(event, RouteEvent::FeedDown { .. }));
    assert!(matches!(lost, RouteEvent::FeedDown { why } if why.contains("idle limit")));
}

fn bmp_with_a_password() {
    let port = port();
    let _feed = Running::new(&format!(
        "kind = \"bmp\"\nlisten = \"127.0.0.1:{port}\"\npassword = \"secret\""
    ));
    let address = ([127, 0, 0, 1], port).into();
    let attempt = TcpStream::connect_timeout(&address, Duration::from_millis(700));
    assert!(attempt.is_err(), "whoever has no password is not heard");
}

fn mrt() {
    for (more, expected) in [
        ("", AdjRib::InPostPolicy),
        ("rib = \"adj-rib-in-pre-policy\"", AdjRib::InPrePolicy),
    ] {
        let directory = Directory::new("keys");
        let path = directory.path().join("dump.mrt");
        fs::write(&path, control("bird6_without_next_hop.mrt")).unwrap();
        let feed = Running::new(&format!(
            "kind = \"mrt\"\npath = \"{}\"\n{more}",
            path.display()
        ));
        feed.until(|event| matches!(event, RouteEvent::Snapshot { rib, .. } if *rib == expected));
    }
}

fn shadow_sessions() {
    let of = |address: &str| Origin::Session(Session::global(address.parse().unwrap()));
    assert_eq!(
        shadowed("session = \"192.0.2.11\""),
        (of("192.0.2.11"), AdjRib::OutPostPolicy)
    );
    assert_eq!(
        shadowed("session = \"192.0.2.11\", rib = \"adj-rib-in-pre-policy\""),
        (of("192.0.2.11"), AdjRib::InPrePolicy)
    );
    let vrf = Some("64500:1".parse().unwrap());
    let other = Origin::Session(Session::of("192.0.2.12".parse().unwrap(), vrf));
    assert_eq!(
        shadowed("session = \"192.0.2.12\", route_distinguisher = \"64500:1\""),
        (other, AdjRib::OutPostPolicy)
    );
}

fn shadow_says_its_as_and_knows_addresses() {
    let port = port();
    let _feed = Running::new(&format!(
        "kind = \"shadow\"\nlisten = \"127.0.0.1:{port}\"\nasn = 64998\nsessions = [{{ address = \"127.0.3.11\", session = \"192.0.2.11\" }}]"
    ));
    assert!(router(port, "127.0.3.12").is_none(), "a stranger");
    assert_eq!(router(port, "127.0.3.11").unwrap().1, 64998);
}

fn shadow_with_a_password() {
    for (feed, session) in [
        ("password = \"secret\"", ""),
        ("", ", password = \"secret\""),
    ] {
        let port = port();
        let _feed = Running::new(&format!(
            "kind = \"shadow\"\nlisten = \"127.0.0.1:{port}\"\nasn = 64999\n{feed}\nsessions = [{{ address = \"127.0.0.1\", session = \"192.0.2.11\"{session} }}]"
        ));
        let address = ([127, 0, 0, 1], port).into();
        let attempt = TcpStream::connect_timeout(&address, Duration::from_millis(700));
        assert!(attempt.is_err(), "whoever has no password is not heard");
    }
}

/// Keys of a kind of feed, and what shows that they do something.
struct Exercise {
    kind: &'static str,
    keys: &'static [&'static str],
    run: fn(),
}

const fn exercise(kind: &'static str, keys: &'static [&'static str], run: fn()) -> Exercise {
    Exercise { kind, keys, run }
}

const EXERCISES: &[Exercise] = &[
    exercise(
        "static",
        &["kind", "peer", "advertised_by_peer", "advertised_to_peer"],
        by_hand,
    ),
    exercise("bmp", &["kind", "listen"], bmp_listens_and_lets_in),
    exercise("bmp", &["allow"], bmp_allows),
    exercise("bmp", &["max_routers"], bmp_takes_so_many_routers),
    exercise("bmp", &["idle"], bmp_loses_an_idle_router),
    exercise("bmp", &["password"], bmp_with_a_password),
    exercise("mrt", &["kind", "path", "rib"], mrt),
    exercise("frr", &["kind", "socket", "interval"], frr),
    exercise("bird", &["kind", "socket", "interval"], bird_),
    exercise(
        "openbgpd",
        &["kind", "command", "socket", "interval"],
        openbgpd,
    ),
    exercise("gobgp", &["kind", "command", "server", "interval"], gobgp),
    exercise(
        "shadow",
        &["kind", "listen", "asn", "address"],
        shadow_says_its_as_and_knows_addresses,
    ),
    exercise(
        "shadow",
        &["sessions", "session", "rib", "route_distinguisher"],
        shadow_sessions,
    ),
    exercise("shadow", &["password"], shadow_with_a_password),
];

/// The names that a refusal lists.
fn listed(feed: &str) -> BTreeSet<String> {
    let text = format!("{BASE}[[feed]]\n{feed}\n");
    let refusal = Config::parse(&text, "test").unwrap_err().to_string();
    let (_, list) = refusal.rsplit_once(": ").unwrap();
    let names = list.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

/// Every key of every kind, by what the parser says when it is given another.
fn keys() -> BTreeSet<(String, String)> {
    let kinds: BTreeSet<String> = EXERCISES.iter().map(|each| each.kind.to_owned()).collect();
    assert_eq!(listed("kind = \"nothing\""), kinds, "the kinds there are");
    let mut keys = BTreeSet::new();
    for kind in kinds {
        let of_kind = listed(&format!("kind = \"{kind}\"\nnothing = 1"));
        keys.extend(of_kind.into_iter().map(|key| (kind.clone(), key)));
    }
    let session =
        "kind = \"shadow\"\nlisten = \"127.0.0.1:1790\"\nasn = 64999\nsessions = [{ nothing = 1 }]";
    let of_session = listed(session).into_iter();
    keys.extend(of_session.map(|key| ("shadow".to_owned(), key)));
    keys
}

#[test]
fn every_key_of_every_feed_does_something() {
    let named = |each: &Exercise| {
        let kind = each.kind.to_owned();
        let keys = each.keys.iter();
        keys.map(move |key| (kind.clone(), (*key).to_owned()))
    };
    let exercised: BTreeSet<(String, String)> = EXERCISES.iter().flat_map(named).collect();
    assert_eq!(
        keys(),
        exercised,
        "keys there are, and keys with an exercise"
    );
    std::thread::scope(|scope| {
        for exercise in EXERCISES {
            scope.spawn(exercise.run);
        }
    });
}

/// Section by section: commented or not, the example has every key, with `kind` first.
#[test]
fn the_example_shows_every_key_of_every_feed() {
    let example = include_str!("../../../docs/examples/bcp38.toml");
    let mut shown: BTreeSet<(String, String)> = BTreeSet::new();
    for section in example.split("[[feed]]").skip(1) {
        let lines: Vec<&str> = section
            .lines()
            .skip(1)
            .map(|line| line.trim_start_matches("# "))
            .take_while(|line| !line.is_empty() && !line.starts_with(['#', '[']))
            .collect();
        let kind = lines[0].split('"').nth(1).unwrap();
        for line in lines {
            let (key, rest) = line.split_once(" = ").unwrap();
            let mut names = vec![key.to_owned()];
            if key == "sessions" {
                let words = rest.split(|c: char| !c.is_ascii_lowercase() && c != '_');
                names.extend(words.map(str::to_owned));
            }
            shown.extend(names.into_iter().map(|name| (kind.to_owned(), name)));
        }
    }
    let hidden: Vec<_> = keys().difference(&shown).cloned().collect();
    assert_eq!(hidden, []);
}
