//! One session's fault is no other's: every odd stream of `fixtures/control` sent to a real BMP listener, beside a
//! healthy peer that stays in force for longer than `stale_hold`, over a connection that stays open.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

#[path = "blast_radius/bytes.rs"]
mod bytes;
#[path = "blast_radius/live.rs"]
mod live;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use filter_daemon::config::Config;
use filter_feeds::bmp::{BmpConfig, BmpFeed};
use filter_feeds::{Feed, MAX_WAITING_BATCHES, Outlet, Stop};
use filter_lifecycle::route::{Batch, FeedId, PeerId, RouteEvent};
use filter_lifecycle::{Event, Lifecycle, TICK};
use tests::captures::control;

/// The odd streams that hold a healthy session beside the odd one.
const BESIDE_A_HEALTHY_PEER: [&str; 8] = [
    "cap2_len1.bmp",
    "optparam_unknown.bmp",
    "comm_len3.bmp",
    "down0.bmp",
    "type7_unknown.bmp",
    "stat7_4bytes.bmp",
    "rm_trailing_tlv.bmp",
    "locrib_trailing_tlv.bmp",
];
/// The odd streams about one peer, and how many of its routes count.
const OF_ONE_PEER: [(&str, usize); 6] = [
    ("stat0_then_routes.bmp", 2),
    ("foreign_count.bmp", 2),
    ("v4mapped_peer.bmp", 1),
    ("nh_v4mapped.bmp", 1),
    ("nh_zero_ll.bmp", 1),
    ("asn_other.bmp", 0),
];

const HEALTHY: PeerId = PeerId(0);
const ODD: PeerId = PeerId(1);

const CONFIG: &str = r#"
[router]
asn = 64500
bogon_exceptions = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "10.0.0.0/8", "2001:db8::/32"]
[[interface]]
name = "ixp0"
kind = "lan"
lan = ["192.0.2.0/24", "2001:db8:ff::/64"]
[[peer]]
name = "healthy"
asn = 64501
interface = "ixp0"
addresses = ["192.0.2.11"]
mode = "enforce"
[[peer]]
name = "odd"
asn = 64502
interface = "ixp0"
addresses = ["192.0.2.12"]
families = ["ipv4"]
mode = "enforce"
[[feed]]
kind = "bmp"
listen = "127.0.0.1:0"
"#;

struct Listener {
    batches: Receiver<Batch>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    router: TcpStream,
}

impl Listener {
    /// A listener, and a router that has sent this to it.
    fn sent(stream: &[u8]) -> Self {
        let feed = BmpFeed::new(&BmpConfig::new("127.0.0.1:0".parse().unwrap())).unwrap();
        let address = feed.local_addr().unwrap();
        let (sender, batches) = sync_channel(MAX_WAITING_BATCHES);
        let stop = Stop::default();
        let outlet = Outlet::new(FeedId(0), sender, stop.clone());
        let thread = Some(std::thread::spawn(move || Box::new(feed).run(&outlet)));
        let mut router = TcpStream::connect(address).unwrap();
        router.write_all(stream).unwrap();
        Self {
            batches,
            stop,
            thread,
            router,
        }
    }

    /// Everything that comes of it, until nothing has come for a second.
    fn events(&self) -> Vec<RouteEvent> {
        let mut events = Vec::new();
        while let Ok(batch) = self.batches.recv_timeout(Duration::from_secs(1)) {
            events.extend(batch.events);
        }
        events
    }

    /// Does the connection stay for so long?
    fn stays(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        self.router.set_read_timeout(Some(time)).unwrap();
        let read = self.router.read(&mut [0; 8]);
        read.is_err() && Instant::now() + Duration::from_millis(50) >= end
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn lifecycle(config: &str) -> Lifecycle {
    let (config, _) = Config::parse(config, "test.toml").unwrap();
    Lifecycle::new(Arc::clone(&config.spec))
}

/// For longer than any hold there is. Returns the events about it.
fn pass(
    life: &mut Lifecycle,
    mut now: Duration,
    mut check: impl FnMut(&Lifecycle, Duration),
) -> Vec<Event> {
    let end = now + Duration::from_secs(600);
    while now < end {
        now += TICK;
        life.tick(now);
        check(life, now);
    }
    life.take_events()
}

#[test]
fn an_odd_session_costs_nobody_else() {
    for name in BESIDE_A_HEALTHY_PEER {
        let mut listener = Listener::sent(&control(name));
        let events = listener.events();
        assert!(listener.stays(Duration::from_millis(300)), "{name}");
        let mut life = lifecycle(CONFIG);
        for event in &events {
            life.event(Duration::ZERO, FeedId(0), event);
        }
        life.settle(Duration::ZERO);
        let enforced = |life: &Lifecycle, now| {
            let missing = life.status(now, HEALTHY).missing;
            assert_eq!(
                life.granted(now, HEALTHY),
                life.wanted(HEALTHY),
                "{name} at {now:?}: {missing:?}"
            );
        };
        enforced(&life, Duration::ZERO);
        let events = pass(&mut life, Duration::ZERO, enforced);
        let odd =
            |event: &Event| matches!(event, Event::FeedDown(..) | Event::CountMismatch { .. });
        assert_eq!(events.into_iter().find(odd), None, "{name}");
        assert!(
            life.status(Duration::from_secs(600), ODD).sources <= 2,
            "{name}"
        );
    }
}

/// Streams about the healthy peer alone: counts, addresses, another AS. (The odd inputs that are no streams are read in
/// `filter-feeds/src/fixture_tests.rs` and `tests/tests/feeds/mrt.rs`.)
#[test]
fn what_is_odd_about_counts_and_addresses_is_no_reason_to_doubt() {
    let both = r#"["192.0.2.11", "2001:db8:ff::11"]"#;
    let config = CONFIG.replace(r#"["192.0.2.11"]"#, both);
    for (name, sources) in OF_ONE_PEER {
        let mut listener = Listener::sent(&control(name));
        let events = listener.events();
        assert!(listener.stays(Duration::from_millis(300)), "{name}");
        let mut life = lifecycle(&config);
        for event in &events {
            life.event(Duration::ZERO, FeedId(0), event);
        }
        let events = pass(&mut life, Duration::ZERO, |_, _| ());
        let status = life.status(Duration::from_secs(600), HEALTHY);
        assert_eq!(status.sources, sources, "{name}");
        let names: Vec<&str> = events.iter().map(Event::name).collect();
        for never in [
            "count-mismatch",
            "unknown-session",
            "feed-down",
            "next-hop-rewritten",
        ] {
            assert!(!names.contains(&never), "{name}: {names:?}");
        }
        assert_eq!(
            names.contains(&"asn-mismatch"),
            sources == 0,
            "{name}: {names:?}"
        );
    }
}

/// Every odd input of `fixtures/control` that is a stream is one of the streams above.
#[test]
fn every_odd_stream_is_sent() {
    let alone = OF_ONE_PEER.map(|(name, _)| name);
    let sent: BTreeSet<String> = BESIDE_A_HEALTHY_PEER
        .into_iter()
        .chain(alone)
        .map(str::to_owned)
        .collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/control");
    let files = fs::read_dir(folder).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let streams: BTreeSet<String> = names.filter(|name| name.ends_with(".bmp")).collect();
    assert_eq!(streams, sent);
}
