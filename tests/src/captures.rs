//! What the tests of feeds share: the recorded streams, and a fold of route events into tables, as naive as can be.
#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be read ends the test: the panic is the report"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use filter_core::{Family, Prefix};
use filter_feeds::bmp::counts::Counts;
use filter_feeds::bmp::router::{Closed, Memory, Router};
use filter_feeds::wire::bmp;
use filter_lifecycle::route::{AdjRib, DownCause, Origin, RouteEvent, Session};

/// One of the odd inputs of `fixtures/control`.
///
/// # Panics
/// If there is none of that name.
#[must_use]
pub fn control(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/control");
    std::fs::read(folder.join(name)).unwrap()
}

/// Where the recorded streams are.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures")
}

/// The names of all recorded BMP streams, like `frr-10.3/bmp.c1.0`.
///
/// # Panics
/// If the fixtures are not what they were, which is the test\'s failure.
#[must_use]
pub fn captures() -> Vec<String> {
    let mut names = Vec::new();
    for folder in std::fs::read_dir(fixtures()).unwrap() {
        let folder = folder.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&folder).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|extension| extension == "bmp") {
                let folder = folder.file_name().unwrap().to_str().unwrap();
                let stem = file.file_stem().unwrap().to_str().unwrap();
                names.push(format!("{folder}/{stem}"));
            }
        }
    }
    names.sort();
    assert_eq!(names.len(), 25, "the recorded streams are not all there");
    names
}

/// The bytes of one.
///
/// # Panics
/// If the fixtures are not what they were, which is the test\'s failure.
#[must_use]
pub fn capture(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(format!("{name}.bmp"))).unwrap()
}

/// What another decoder made of it.
///
/// # Panics
/// If the fixtures are not what they were, which is the test\'s failure.
#[must_use]
pub fn decoded(name: &str) -> String {
    std::fs::read_to_string(fixtures().join(format!("{name}.txt"))).unwrap()
}

/// Whole messages of a stream, and what is left of it.
pub fn messages(mut stream: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut messages = Vec::new();
    while let Ok(Some(length)) = bmp::frame(stream) {
        let Some((message, rest)) = stream.split_at_checked(length) else {
            break;
        };
        messages.push(message);
        stream = rest;
    }
    (messages, stream)
}

/// A session of the lab, by the neighbour's address.
///
/// # Panics
/// If the fixtures are not what they were, which is the test\'s failure.
#[must_use]
pub fn session(address: &str) -> Session {
    Session::global(address.parse().unwrap())
}

/// Prefixes from text.
///
/// # Panics
/// If the fixtures are not what they were, which is the test\'s failure.
#[must_use]
pub fn prefixes(texts: &[&str]) -> BTreeSet<Prefix> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// What route events add up to.
#[derive(Debug, Default)]
pub struct Folded {
    /// Sessions that are up.
    pub up: BTreeMap<Session, Option<Duration>>,
    /// Every Peer Down, in order.
    pub downs: Vec<(Session, DownCause)>,
    /// What each table of each session holds, with path identifiers.
    pub ribs: BTreeMap<(Session, AdjRib), BTreeSet<(Prefix, u32)>>,
    /// Ends of RIBs reported, and not void since.
    pub ends: BTreeSet<(Session, AdjRib, Family)>,
    /// Tables reported as lost, and not void since.
    pub lost: BTreeSet<(Session, Option<AdjRib>)>,
    /// The last counts reported.
    pub received: BTreeMap<(Session, AdjRib), u64>,
    /// Every event, in order.
    pub events: Vec<RouteEvent>,
    /// What was left out.
    pub counts: Counts,
    /// How the stream ended, if it was not just over.
    pub closed: Option<Closed>,
}

impl Folded {
    /// Applies events.
    pub fn apply(&mut self, events: &[RouteEvent]) {
        for event in events {
            self.event(event);
            self.events.push(event.clone());
        }
    }

    fn event(&mut self, event: &RouteEvent) {
        let session_of = |origin: &Origin| match origin {
            Origin::Session(session) => *session,
            Origin::Peer(peer) => panic!("{peer:?} from a BMP stream"),
        };
        match event {
            RouteEvent::FeedUp | RouteEvent::FeedDown { .. } => {}
            RouteEvent::SessionUp {
                session,
                restart_time,
                ..
            } => {
                self.void(*session);
                self.up.insert(*session, *restart_time);
            }
            RouteEvent::SessionDown { session, cause } => {
                self.void(*session);
                self.up.remove(session);
                self.downs.push((*session, *cause));
            }
            RouteEvent::Announce { origin, rib, route } => {
                let key = (session_of(origin), *rib);
                let routes = self.ribs.entry(key).or_default();
                routes.insert((route.prefix, route.path));
            }
            RouteEvent::Withdraw {
                origin,
                rib,
                prefix,
                path,
            } => {
                let key = (session_of(origin), *rib);
                self.ribs.entry(key).or_default().remove(&(*prefix, *path));
            }
            RouteEvent::EndOfRib {
                origin,
                rib,
                family,
            } => {
                let session = session_of(origin);
                self.lost.remove(&(session, Some(*rib)));
                self.ends.insert((session, *rib, *family));
            }
            RouteEvent::RibLost { origin, rib, .. } => {
                let session = session_of(origin);
                self.lost.insert((session, *rib));
            }
            RouteEvent::Snapshot {
                origin,
                rib,
                family,
                routes,
            } => {
                let key = (session_of(origin), *rib);
                let held = self.ribs.entry(key).or_default();
                held.retain(|(prefix, _)| prefix.family() != *family);
                held.extend(routes.iter().map(|route| (route.prefix, route.path)));
            }
            RouteEvent::Count {
                origin,
                rib,
                prefixes,
                ..
            } => {
                self.received.insert((session_of(origin), *rib), *prefixes);
            }
        }
    }

    fn void(&mut self, session: Session) {
        self.ribs.retain(|(of, _), _| *of != session);
        self.ends.retain(|(of, ..)| *of != session);
        self.lost.retain(|(of, _)| *of != session);
    }

    /// The prefixes of one table.
    pub fn prefixes(&self, address: &str, rib: AdjRib) -> BTreeSet<Prefix> {
        let held = self.ribs.get(&(session(address), rib));
        held.into_iter()
            .flatten()
            .map(|(prefix, _)| *prefix)
            .collect()
    }
}

/// Folds a byte stream as one connection of a router we remember this of.
///
/// # Panics
/// If the fixtures are not what they were, which is the test\'s failure.
#[must_use]
pub fn fold(stream: &[u8], memory: Memory) -> (Folded, Router) {
    fold_by(Router::new(Instant::now()), stream, memory)
}

/// The same by a router that was made for it.
///
/// # Panics
/// If a message that fails has events.
#[must_use]
pub fn fold_by(mut router: Router, stream: &[u8], memory: Memory) -> (Folded, Router) {
    let now = Instant::now();
    let mut folded = Folded::default();
    let (messages, rest) = messages(stream);
    for message in messages {
        let mut events = Vec::new();
        let result = router.message(message, now, &mut events, &mut |_| true);
        if let Err(closed) = result {
            assert!(events.is_empty(), "events of a message with an error");
            folded.closed = Some(closed);
            break;
        }
        if router.name() != "" && folded.events.is_empty() {
            router.recall(memory.clone());
        }
        folded.apply(&events);
    }
    if folded.closed.is_none()
        && let Err(error) = bmp::frame(rest)
    {
        folded.closed = Some(error.into());
    }
    folded.counts = std::mem::take(&mut router.counts);
    (folded, router)
}

/// Folds a recorded stream of a router that we do not know.
///
/// # Panics
/// If the fixtures are not what they were, which is the test\'s failure.
#[must_use]
pub fn fold_capture(name: &str) -> Folded {
    fold(&capture(name), Memory::default()).0
}
