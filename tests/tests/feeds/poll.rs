//! Each polling feed against its live daemon: cold start, change, a peer down and up again, the daemon gone. After
//! every step the reported tables equal the lab's ground truth, both directions, both families.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use filter_core::{Family, Prefix};
use filter_feeds::bird::{Bird, BirdConfig};
use filter_feeds::frr::{Frr, FrrConfig};
use filter_feeds::gobgp::{GoBgp, GoBgpConfig};
use filter_feeds::openbgpd::{OpenBgpd, OpenBgpdConfig};
use filter_feeds::poll::{AdjRibs, PollConfig};
use filter_feeds::{Feed, MAX_WAITING_BATCHES, Outlet, Stop};
use filter_lifecycle::route::{AdjRib, Batch, DownCause, FeedId, Origin, Route, RouteEvent};
use tests::lab::{
    Accepted, Advertised, Daemon, FrrOptions, Namespace, P1, P2, Package, Peer, Peering, Release,
    require, require_from,
};

/// How long any daemon may take to show a change. FRR waits up to 5 s, GoBGP reconnects slowly.
const WITHIN: Duration = Duration::from_secs(60);

type Key = (IpAddr, AdjRib, Family);

/// A feed running in R's namespace, and what it said folded up.
pub struct Watched {
    batches: Receiver<Batch>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    feed_up: bool,
    pub sessions: BTreeMap<IpAddr, Option<DownCause>>,
    pub ribs: BTreeMap<Key, BTreeSet<Prefix>>,
    pub routes: BTreeMap<Key, Arc<[Route]>>,
    /// Every empty table reported since last asked.
    pub emptied: Vec<Key>,
}

impl Watched {
    pub fn start(namespace: &Namespace, feed: impl Feed + 'static) -> Self {
        let (sender, batches) = sync_channel(MAX_WAITING_BATCHES);
        let stop = Stop::default();
        let outlet = Outlet::new(FeedId(0), sender, stop.clone());
        let thread = namespace.spawn(move || Box::new(feed).run(&outlet));
        Self {
            batches,
            stop,
            thread: Some(thread),
            feed_up: false,
            sessions: BTreeMap::new(),
            ribs: BTreeMap::new(),
            routes: BTreeMap::new(),
            emptied: Vec::new(),
        }
    }

    fn fold(&mut self, event: RouteEvent) {
        match event {
            RouteEvent::FeedUp => self.feed_up = true,
            RouteEvent::FeedDown { .. } => self.feed_up = false,
            RouteEvent::SessionUp { session, local, .. } => {
                let ours = match session.address {
                    IpAddr::V4(_) => "192.0.2.1",
                    IpAddr::V6(_) => "2001:db8:ff::1",
                };
                assert_eq!(local, ours.parse().ok(), "{session}");
                self.sessions.insert(session.address, None);
            }
            RouteEvent::SessionDown { session, cause } => {
                self.sessions.insert(session.address, Some(cause));
            }
            RouteEvent::Snapshot {
                origin: Origin::Session(session),
                rib,
                family,
                routes,
            } => {
                let key = (session.address, rib, family);
                assert_eq!(
                    self.sessions.get(&key.0),
                    Some(&None),
                    "{key:?} of a session that is not up"
                );
                assert!(self.feed_up, "a table before the feed is up");
                let received = routes.iter().map(|route| route.prefix).collect();
                assert!(routes.iter().all(|route| route.prefix.family() == family));
                if routes.is_empty() {
                    self.emptied.push(key);
                }
                self.ribs.insert(key, received);
                self.routes.insert(key, routes);
            }
            RouteEvent::Count { .. } => {}
            other => panic!("no poll says {other:?}"),
        }
    }

    /// Folds until `condition` holds; `show` it when it never does.
    fn until(&mut self, what: &str, condition: impl Fn(&Self) -> Result<(), String>) {
        let end = Instant::now() + WITHIN;
        loop {
            let Err(why) = condition(self) else {
                return;
            };
            assert!(Instant::now() < end, "waited in vain for {what}: {why}");
            if let Ok(batch) = self.batches.recv_timeout(Duration::from_millis(100)) {
                batch.events.into_iter().for_each(|event| self.fold(event));
            }
        }
    }

    pub fn until_truth(&mut self, what: &str, truth: &BTreeMap<Key, BTreeSet<Prefix>>) {
        self.until(what, |watched| {
            for (key, expected) in truth {
                match watched.ribs.get(key) {
                    Some(received) if received == expected => {}
                    received => return Err(format!("{key:?} is {received:?}, not {expected:?}")),
                }
            }
            Ok(())
        });
    }

    pub fn until_down(&mut self, address: IpAddr) {
        self.until("the session to be down", |watched| {
            match watched.sessions.get(&address) {
                Some(Some(_)) => Ok(()),
                state => Err(format!("{address} is {state:?}")),
            }
        });
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(
                joined.is_ok() || std::thread::panicking(),
                "the feed panicked"
            );
        }
    }
}

/// What the tables of both peers must be.
pub fn truth(lab: &Peering, ribs: AdjRibs) -> BTreeMap<Key, BTreeSet<Prefix>> {
    let mut truth = BTreeMap::new();
    for (peer, sent) in [
        (&lab.p1, &Advertised::TO_P1[..]),
        (&lab.p2, &Advertised::TO_P2[..]),
    ] {
        for family in Family::ALL {
            let announced = peer.announced(family);
            for rib in ribs.iter() {
                let expected = match rib {
                    AdjRib::InPrePolicy => announced.clone(),
                    AdjRib::InPostPolicy => Accepted::of(&announced),
                    AdjRib::OutPostPolicy => Advertised::of(sent, family),
                };
                truth.insert((peer.address(family), rib, family), expected);
            }
        }
    }
    truth
}

/// Polls without rest.
pub fn poll() -> PollConfig {
    PollConfig {
        interval: Duration::from_millis(300),
        ..PollConfig::default()
    }
}

/// Everything that can happen to a feed. `forgets`: what else than a NOTIFICATION it may say of one.
fn scenario(
    mut lab: Peering,
    feed: impl Feed + 'static,
    forgets: &[DownCause],
    daemon: &mut Daemon,
) {
    let ribs = AdjRibs::ALL;
    let mut watched = Watched::start(&lab.router, feed);
    watched.until_truth("the cold start", &truth(&lab, ribs));

    change(
        &mut lab.p1,
        &["198.51.100.0/24", "2001:db8:1::/48"],
        &["198.51.101.0/24", "2001:db8:1:1::/64"],
    );
    watched.until_truth("a withdraw and an announcement", &truth(&lab, ribs));

    let (v4, v6) = (lab.p1.address(Family::Ipv4), lab.p1.address(Family::Ipv6));
    watched.emptied.clear();
    lab.p1.session_down(Family::Ipv4);
    watched.until_down(v4);
    assert_eq!(
        watched.emptied,
        [],
        "a session that went down was reported as empty tables"
    );
    // BIRD forgets why as soon as it tries to connect again, a second later.
    let mut causes = [DownCause::Notification].iter().chain(forgets);
    assert!(causes.any(|cause| watched.sessions[&v4] == Some(*cause)));
    assert_eq!(
        watched.sessions[&v6], None,
        "the other family's session is another one"
    );

    watched.ribs.retain(|(address, ..), _| *address != v4);
    lab.p1.session_up(Family::Ipv4);
    watched.until_truth("the session to be back", &truth(&lab, ribs));

    watched.emptied.clear();
    daemon.kill();
    watched.until("the feed to be lost", |watched| {
        if watched.feed_up {
            Err("it is up".to_owned())
        } else {
            Ok(())
        }
    });
    assert_eq!(
        watched.emptied,
        [],
        "a router that is gone was reported as empty tables"
    );
}

fn change(peer: &mut Peer, withdraw: &[&str], announce: &[&str]) {
    withdraw.iter().for_each(|prefix| peer.withdraw(prefix));
    announce.iter().for_each(|prefix| peer.announce(prefix));
}

fn frr(test: &str, release: Release) {
    if !require_from(test, release, &[Package::Frr], &[Package::Bird]) {
        return;
    }
    let lab = Peering::of(release);
    let mut router = lab.frr(&FrrOptions::default());
    let feed = Frr::feed(FrrConfig {
        socket: router.socket(),
        poll: poll(),
    });
    scenario(lab, feed, &[], router.bgpd());
}

#[test]
fn frr_8() {
    frr("feeds_poll::frr_8", Release::System);
}

#[test]
fn frr_10() {
    frr("feeds_poll::frr_10", Release::Debian13);
}

fn bird(test: &str, release: Release) {
    if !require_from(test, release, &[Package::Bird], &[Package::Bird]) {
        return;
    }
    let lab = Peering::of(release);
    let mut router = lab.bird();
    let feed = Bird::feed(BirdConfig {
        socket: router.socket(),
        poll: poll(),
    });
    scenario(lab, feed, &[DownCause::Lost], router.daemon());
}

#[test]
fn bird_2_0() {
    bird("feeds_poll::bird_2_0", Release::System);
}

#[test]
fn bird_2_17() {
    bird("feeds_poll::bird_2_17", Release::Debian13);
}

#[test]
fn bird_3() {
    bird("feeds_poll::bird_3", Release::Debian13Bird3);
}

fn openbgpd(test: &str, release: Release) {
    if !require_from(test, release, &[Package::OpenBgpd], &[Package::Bird]) {
        return;
    }
    let lab = Peering::of(release);
    let mut router = lab.openbgpd();
    let socket = Some(router.socket());
    let feed = OpenBgpd::feed(OpenBgpdConfig {
        bgpctl: router.client(),
        socket,
        poll: poll(),
    });
    scenario(lab, feed, &[], router.daemon());
}

#[test]
fn openbgpd_7() {
    openbgpd("feeds_poll::openbgpd_7", Release::System);
}

#[test]
fn openbgpd_8() {
    openbgpd("feeds_poll::openbgpd_8", Release::Debian13);
}

fn gobgp(test: &str, release: Release) {
    if !require_from(test, release, &[Package::GoBgp], &[Package::Bird]) {
        return;
    }
    let lab = Peering::of(release);
    let mut router = lab.gobgp(None);
    let feed = GoBgp::feed(GoBgpConfig {
        gobgp: router.client(),
        server: None,
        poll: poll(),
    });
    scenario(lab, feed, &[], router.daemon());
}

#[test]
fn gobgp_3_10() {
    gobgp("feeds_poll::gobgp_3_10", Release::System);
}

#[test]
fn gobgp_3_36() {
    gobgp("feeds_poll::gobgp_3_36", Release::Debian13);
}

/// What the lab makes is gone when it is dropped.
#[test]
fn the_lab_leaves_nothing() {
    if !require("feeds_poll::the_lab_leaves_nothing", &[Package::Bird]) {
        return;
    }
    let lab = Peering::new();
    assert_eq!((lab.p1.config().asn, lab.p2.config().asn), (P1.0, P2.0));
    let paths = [
        lab.router.path(),
        lab.p1.namespace().path(),
        lab.lan.namespace().path(),
    ];
    assert!(paths.iter().all(|path| path.exists()));
    drop(lab);
    assert!(paths.iter().all(|path| !path.exists()));
}
