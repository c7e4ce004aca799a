//! A healthy peer in force beside an odd one, on real routers. The odd one comes up with capabilities that no daemon sends,
//! announces what RFC 7606 is about, and goes without a NOTIFICATION, again and again, so that the router keeps its routes for
//! the graceful restart that it asked for; a BIRD takes its place with sixty communities. Whatever the router makes of it and
//! passes on, the healthy peer is in force at every moment, and for longer than `stale_hold` after.
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use filter_core::{Classes, Family};
use filter_daemon::config::Config;
use filter_daemon::feeds;
use filter_feeds::trigger::Trigger;
use filter_feeds::{MAX_WAITING_BATCHES, Outlet, Stop};
use filter_lifecycle::route::{Batch, FeedId, PeerId};
use filter_lifecycle::{Lifecycle, TICK};
use tests::encoder::{message, update};
use tests::lab::{FrrOptions, P2, Package, Peering, Release, require_from};

const HEALTHY: PeerId = PeerId(0);
const WITHIN: Duration = Duration::from_secs(120);
/// How long a life of the odd session lasts, and how many there are.
const LIFE: Duration = Duration::from_secs(3);
const LIVES: usize = 3;
/// Where the BMP listener is, in the router's namespace.
const BMP: &str = "127.0.0.1:11019";
/// Route refresh (RFC 2918), and with a byte in it, which BIRD alone does not take.
const REFRESH: &[u8] = &[2, 0];
const ODD_REFRESH: &[u8] = &[2, 1, 0];
/// Graceful restart (RFC 4724): it restarts, within two minutes, and kept forwarding IPv4, and a family that no router has.
const GRACEFUL_RESTART: &[u8] = &[64, 10, 0x80, 120, 0, 1, 1, 0x80, 0xff, 0xee, 77, 0x80];
/// The stand-in for an AS number of four octets (RFC 6793).
const AS_TRANS: u16 = 23456;

/// The feed of the lab's router, and what a lifecycle makes of it.
struct Watch {
    life: Lifecycle,
    batches: Receiver<Batch>,
    start: Instant,
    ticked: Duration,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    fn start(lab: &Peering, feed: &str) -> Self {
        let text = format!(
            r#"
[router]
asn = 64500
bogon_exceptions = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15", "2001:db8::/32"]
[[interface]]
name = "eth0"
kind = "lan"
lan = ["192.0.2.0/24", "2001:db8:ff::/64"]
[[peer]]
name = "healthy"
asn = 64501
interface = "eth0"
addresses = ["192.0.2.11", "2001:db8:ff::11"]
mode = "enforce"
[[peer]]
name = "odd"
asn = {odd}
interface = "eth0"
addresses = ["192.0.2.12", "2001:db8:ff::12"]
mode = "enforce"
[[feed]]
{feed}
"#,
            odd = P2.0
        );
        let (config, _) = Config::parse(&text, "lab").unwrap_or_else(|error| panic!("{error}"));
        let life = Lifecycle::new(Arc::clone(&config.spec));
        let build = || feeds::build(&config, &config.feeds[0], &Trigger::default());
        let feed = lab.router.run(build).unwrap();
        let (sender, batches) = sync_channel(MAX_WAITING_BATCHES);
        let stop = Stop::default();
        let outlet = Outlet::new(FeedId(0), sender, stop.clone());
        Self {
            life,
            batches,
            start: Instant::now(),
            ticked: Duration::ZERO,
            stop,
            thread: Some(lab.router.spawn(move || feed.run(&outlet))),
        }
    }

    /// Are the healthy peer's sources of both families in force?
    fn is_in_force(&self, now: Duration) -> bool {
        let granted = self.life.granted(now, HEALTHY);
        let sources = Family::ALL.map(Classes::sources);
        sources.into_iter().all(|sources| granted.meets(sources))
    }

    /// Takes what comes, for a moment.
    fn step(&mut self) -> Duration {
        let batch = self.batches.recv_timeout(Duration::from_millis(50));
        let now = self.start.elapsed();
        if let Ok(batch) = batch {
            for event in &batch.events {
                self.life.event(now, batch.feed, event);
            }
            self.life.settle(now);
        }
        if now >= self.ticked + TICK {
            self.ticked = now;
            self.life.tick(now);
        }
        now
    }

    fn until_in_force(&mut self) {
        let end = Instant::now() + WITHIN;
        loop {
            let now = self.step();
            if self.is_in_force(now) {
                return;
            }
            let missing = self.life.status(now, HEALTHY).missing;
            assert!(Instant::now() < end, "never in force: {missing:?}");
        }
    }

    /// In force at every moment until then.
    fn stays(&mut self, what: &str, mut goes_on: impl FnMut(Duration) -> bool) {
        let begin = self.start.elapsed();
        loop {
            let now = self.step();
            let missing = self.life.status(now, HEALTHY).missing;
            let events = self.life.take_events();
            assert!(self.is_in_force(now), "{what}: {missing:?}: {events:#?}");
            if !goes_on(now - begin) {
                return;
            }
        }
    }

    /// … and for longer than any hold from then on, by the clock of the lifecycle.
    fn outlasts_every_hold(&mut self) {
        let mut now = self.start.elapsed();
        let end = now + Duration::from_secs(600);
        while now < end {
            now += TICK;
            self.life.tick(now);
            let missing = self.life.status(now, HEALTHY).missing;
            assert!(self.is_in_force(now), "at {now:?}: {missing:?}");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.stop();
        let joined = self.thread.take().unwrap().join();
        assert!(joined.is_ok() || thread::panicking(), "the feed panicked");
    }
}

/// Path attributes of which one is odd, each for a prefix of its own.
fn odd_updates() -> Vec<Vec<u8>> {
    let path = |ases: &[u32]| {
        let ases: Vec<u8> = ases.iter().flat_map(|asn| asn.to_be_bytes()).collect();
        let length = ases.len() as u8;
        [&[0x40, 2, length + 2, 2, length / 4][..], &ases].concat()
    };
    let plain = |path: &[u8]| {
        let hop = [0x40, 3, 4, 192, 0, 2, P2.1];
        [&[0x40, 1, 1, 0][..], path, &hop].concat()
    };
    let with = |more: &[u8]| [&plain(&path(&[P2.0]))[..], more].concat();
    let communities: Vec<u8> = (0..60u32)
        .flat_map(|number| (0xfbf4_0000 + number).to_be_bytes())
        .collect();
    let many = [&[0xd0, 8, 0, 240][..], &communities].concat();
    let attributes = [
        plain(&path(&[P2.0])),
        with(&many),
        with(&[0xc0, 200, 3, 1, 2, 3]), // an attribute that is not assigned, optional and transitive
        with(&[0xc0, 8, 3, 1, 2, 3]),   // COMMUNITIES of three bytes
        plain(&path(&[P2.0, 0, 64499])), // AS 0 (RFC 7607)
        plain(&path(&[P2.0; 40])),      // a long path
    ];
    let numbered = attributes.iter().zip(1..);
    numbered
        .map(|(attributes, number)| update(&[], attributes, &[24, 198, 18, number]))
        .collect()
}

/// One life of the odd session. Did the router take its OPEN?
fn live(router: SocketAddr, refresh: &[u8]) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&router, LIFE)?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let asn = P2.0.to_be_bytes();
    let capabilities: [&[u8]; 7] = [
        &[1, 4, 0, 1, 0, 1],
        &[65, 4, asn[0], asn[1], asn[2], asn[3]],
        refresh,
        GRACEFUL_RESTART,
        &[1, 4, 0xff, 0xee, 0, 77], // a family that no router has
        &[222, 3, 1, 2, 3],         // a code that is not assigned
        &[223, 0],                  // another, without a value
    ];
    let mut parameters = Vec::new();
    for capability in capabilities {
        parameters.extend([2, capability.len() as u8]);
        parameters.extend(capability);
    }
    let mut open = vec![4];
    open.extend(AS_TRANS.to_be_bytes());
    open.extend([0, 90, 192, 0, 2, P2.1, parameters.len() as u8]);
    open.extend(parameters);
    stream.write_all(&message(1, &open))?;
    stream.write_all(&message(4, &[]))?;
    let (end, mut heard, mut announced) = (Instant::now() + LIFE, Vec::new(), false);
    while Instant::now() < end {
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => heard.extend_from_slice(&bytes[..read]),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) => {}
            Err(_) => break,
        }
        // A KEEPALIVE is the whole of it.
        if !announced && heard.windows(19).any(|window| window == message(4, &[])) {
            announced = true;
            for update in odd_updates() {
                stream.write_all(&update)?;
            }
        }
    }
    Ok(announced) // and goes without a NOTIFICATION
}

/// The odd peer's lives: how many of them the router took.
fn odd_lives(refresh: &[u8]) -> usize {
    let router = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 179));
    let (mut taken, end) = (0, Instant::now() + WITHIN);
    while taken < LIVES && Instant::now() < end {
        taken += usize::from(live(router, refresh).unwrap_or(false));
        thread::sleep(Duration::from_millis(500)); // for the router to notice that it is gone
    }
    taken
}

fn beside_an_odd_peer(lab: &mut Peering, watch: &mut Watch, refresh: &'static [u8]) {
    watch.until_in_force();
    lab.p2.session_down(Family::Ipv4);
    let lives = lab.p2.namespace().spawn(move || odd_lives(refresh));
    watch.stays("the odd session", |_| !lives.is_finished());
    assert_eq!(lives.join().unwrap(), LIVES, "the router takes its OPEN");
    let communities: String = (0..60)
        .map(|number| format!("bgp_community.add((64501,{number}));"))
        .collect();
    lab.p2.export_with(Family::Ipv4, &communities);
    for _ in 0..2 {
        lab.p2.session_up(Family::Ipv4);
        watch.stays("sixty communities", |passed| passed < 2 * LIFE);
        lab.p2.session_down(Family::Ipv4);
    }
    lab.p2.session_up(Family::Ipv4);
    watch.stays("the odd peer's return", |passed| passed < 2 * LIFE);
    watch.outlasts_every_hold();
}

fn bmp() -> (String, SocketAddr) {
    (
        format!("kind = \"bmp\"\nlisten = \"{BMP}\""),
        BMP.parse().unwrap(),
    )
}

fn frr(test: &str, release: Release) {
    if !require_from(test, release, &[Package::Frr], &[Package::Bird]) {
        return;
    }
    let mut lab = Peering::of(release);
    let (feed, bmp) = bmp();
    let mut watch = Watch::start(&lab, &feed);
    let _frr = lab.frr(&FrrOptions {
        bmp: Some(bmp),
        ..FrrOptions::default()
    });
    beside_an_odd_peer(&mut lab, &mut watch, ODD_REFRESH);
}

fn gobgp(test: &str, release: Release) {
    if !require_from(test, release, &[Package::GoBgp], &[Package::Bird]) {
        return;
    }
    let mut lab = Peering::of(release);
    let (feed, bmp) = bmp();
    let mut watch = Watch::start(&lab, &feed);
    let _gobgp = lab.gobgp(Some(bmp));
    beside_an_odd_peer(&mut lab, &mut watch, ODD_REFRESH);
}

fn bird(test: &str, release: Release) {
    if !require_from(test, release, &[Package::Bird], &[Package::Bird]) {
        return;
    }
    let mut lab = Peering::of(release);
    let bird = lab.bird();
    let feed = format!(
        "kind = \"bird\"\nsocket = \"{}\"\ninterval = 1",
        bird.socket().display()
    );
    let mut watch = Watch::start(&lab, &feed);
    beside_an_odd_peer(&mut lab, &mut watch, REFRESH);
}

#[test]
fn frr_8_with_an_odd_peer() {
    frr("frr_8_with_an_odd_peer", Release::System);
}

#[test]
fn frr_10_with_an_odd_peer() {
    frr("frr_10_with_an_odd_peer", Release::Debian13);
}

#[test]
fn gobgp_3_10_with_an_odd_peer() {
    gobgp("gobgp_3_10_with_an_odd_peer", Release::System);
}

#[test]
fn gobgp_3_36_with_an_odd_peer() {
    gobgp("gobgp_3_36_with_an_odd_peer", Release::Debian13);
}

#[test]
fn bird_2_0_with_an_odd_peer() {
    bird("bird_2_0_with_an_odd_peer", Release::System);
}

#[test]
fn bird_2_17_with_an_odd_peer() {
    bird("bird_2_17_with_an_odd_peer", Release::Debian13);
}

#[test]
fn bird_3_with_an_odd_peer() {
    bird("bird_3_with_an_odd_peer", Release::Debian13Bird3);
}
