//! A lifecycle with a clock, and short methods for what a feed reports.
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use filter_core::set::PrefixSet;
use filter_core::{Address, Classes, Family, Mode, Prefix};
use filter_daemon::config::Config;
use filter_lifecycle::policy::Withheld;
use filter_lifecycle::route::{
    AdjRib, Community, DownCause, FeedId, LossCause, Origin, PeerId, Route, RouteEvent, Session,
};
use filter_lifecycle::spec::Spec;
use filter_lifecycle::{Event, Lifecycle, Missing, PeerState, PeerStatus, Side, State, TICK};

pub const PRE: AdjRib = AdjRib::InPrePolicy;
pub const POST: AdjRib = AdjRib::InPostPolicy;
pub const OUT: AdjRib = AdjRib::OutPostPolicy;
pub const V4: Family = Family::Ipv4;
pub const V6: Family = Family::Ipv6;

/// The classes of a peer without IPv6 that need no routes, and all that it has.
pub const FREE_V4: Classes = Classes::bogons(V4)
    .with(Classes::FAMILIES)
    .with(Classes::MALFORMED);
pub const ALL_V4: Classes = FREE_V4
    .with(Classes::sources(V4))
    .with(Classes::destinations(V4));

/// The BMP listener and a static list of what we announce, for one peer `p1` with one IPv4 session.
pub const ONE: &str = r#"
[[peer]]
name = "p1"
asn = 64501
interface = "ixp0"
addresses = ["192.0.2.11"]
families = ["ipv4"]
mode = "enforce"
"#;

pub const BMP_LISTENER: &str = "[[feed]]\nkind = \"bmp\"\nlisten = \"127.0.0.1:0\"\n";
pub const POLL: &str = "[[feed]]\nkind = \"bird\"\n";
pub const MINE: &str =
    "[[feed]]\nkind = \"static\"\npeer = \"p1\"\nadvertised_to_peer = [\"198.51.100.0/24\"]\n";

const ROUTER: &str = r#"
[router]
asn = 64500
bogon_exceptions = ["192.0.2.0/24", "198.51.100.0/24", "198.18.0.0/15", "203.0.113.0/24", "10.0.0.0/8", "2001:db8::/32"]

[[interface]]
name = "ixp0"
kind = "lan"
lan = ["192.0.2.0/24", "2001:db8:ff::/64"]
mac = "02:00:00:00:00:01"
addresses = ["192.0.2.1", "2001:db8:ff::1"]
"#;

pub fn spec_of(parts: &[&str]) -> Spec {
    let text = format!("{ROUTER}\n{}", parts.join("\n"));
    let (config, _) =
        Config::parse(&text, "test.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
    Arc::unwrap_or_clone(config.spec)
}

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn session(address: &str) -> Session {
    Session::global(address.parse().unwrap())
}

pub fn origin(address: &str) -> Origin {
    Origin::Session(session(address))
}

pub fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub fn set(texts: &[&str]) -> BTreeSet<Prefix> {
    texts.iter().map(|text| prefix(text)).collect()
}

pub struct World {
    pub life: Lifecycle,
    pub now: Duration,
    next_tick: Duration,
    withheld: Withheld,
    checks: u32,
}

/// Feeds by their place: see the configurations.
impl World {
    pub fn new(parts: &[&str]) -> Self {
        Self::of(spec_of(parts))
    }

    pub fn of(spec: Spec) -> Self {
        let withheld = Withheld::of(&spec);
        let mut life = Lifecycle::new(Arc::new(spec));
        life.settle(Duration::ZERO);
        Self {
            life,
            now: Duration::ZERO,
            next_tick: TICK,
            withheld,
            checks: 0,
        }
    }

    /// [`ONE`] peer with a BMP listener and destinations by hand; its session is up and its table complete.
    pub fn synced(sources: &[&str]) -> Self {
        let mut world = Self::new(&[ONE, BMP_LISTENER, MINE]);
        world.tell(0, RouteEvent::FeedUp);
        world.by_hand(1, &["198.51.100.0/24"]);
        world.up(0, "192.0.2.11");
        for source in sources {
            world.announce(0, "192.0.2.11", PRE, source);
        }
        world.end(0, "192.0.2.11", PRE, V4);
        world.news();
        world.life.take_dirty();
        world
    }

    /// What a static feed with destinations for the first peer says.
    pub fn by_hand(&mut self, feed: u16, destinations: &[&str]) {
        self.feed_up(feed);
        self.snapshot_of_peer(feed, PRE, &[]);
        self.snapshot_of_peer(feed, OUT, destinations);
    }

    /// A table of the first peer, by hand.
    pub fn snapshot_of_peer(&mut self, feed: u16, rib: AdjRib, texts: &[&str]) {
        self.snapshot_of(0, feed, rib, texts);
    }

    /// A table of a peer, by hand.
    pub fn snapshot_of(&mut self, peer: u32, feed: u16, rib: AdjRib, texts: &[&str]) {
        for family in Family::ALL {
            let routes: Vec<Route> = texts
                .iter()
                .map(|text| Route::bare(prefix(text)))
                .filter(|route| route.prefix.family() == family)
                .collect();
            let (origin, routes) = (Origin::Peer(PeerId(peer)), routes.into());
            self.tell(
                feed,
                RouteEvent::Snapshot {
                    origin,
                    rib,
                    family,
                    routes,
                },
            );
        }
    }

    pub fn tell(&mut self, feed: u16, event: RouteEvent) {
        self.life.event(self.now, FeedId(feed), &event);
        self.life.settle(self.now);
        self.check_members();
    }

    /// What is kept in step change by change is what working it out anew gives. Sometimes, so that changes add up.
    fn check_members(&mut self) {
        self.checks += 1;
        if !self.checks.is_multiple_of(3) {
            return;
        }
        let spec = Arc::clone(self.life.spec());
        let own = Address::from("203.0.113.1".parse::<IpAddr>().unwrap());
        for (peer, id) in spec.peers.iter().zip((0..).map(PeerId)) {
            let anew = |side| self.life.prefixes(id, side).collect::<PrefixSet>();
            let (sources, destinations) = (anew(Side::Sources), anew(Side::Destinations));
            let extras = |list: &[Prefix]| list.iter().copied().collect::<PrefixSet>();
            let sessions: Vec<Prefix> = peer
                .attachments
                .iter()
                .flat_map(|at| &at.addresses)
                .map(|&at| Prefix::host(at.into()))
                .collect();
            let always = extras(&peer.extra_destinations)
                .union(&extras(&[Prefix::host(own)]))
                .union(&extras(&sessions));
            let sources = sources
                .subtract(&self.withheld.all)
                .union(&extras(&peer.extra_sources))
                .union(&extras(&sessions));
            let kept = self.life.sources(id);
            if self.status(id.0).too_wide.is_empty() {
                assert_eq!(kept, sources, "at {:?}", self.now);
            }
            assert_eq!(
                self.life.destinations(id, &[own]),
                destinations.union(&always)
            );
        }
    }

    /// Until this many seconds after the start, with all the ticks before.
    pub fn at(&mut self, seconds: u64) {
        self.go(secs(seconds));
    }

    /// That many seconds on.
    pub fn wait(&mut self, seconds: u64) {
        self.go(self.now + secs(seconds));
    }

    pub fn go(&mut self, until: Duration) {
        while self.next_tick <= until {
            self.now = self.next_tick;
            self.life.tick(self.now);
            self.check_members();
            self.next_tick += TICK;
        }
        self.now = until;
    }

    /// Until then, with only the last ticks.
    #[allow(
        dead_code,
        reason = "the tests of the valves, which share this file, use it"
    )]
    pub fn skip(&mut self, until: Duration) {
        self.next_tick = until.saturating_sub(4 * TICK);
        self.go(until);
    }

    pub fn feed_up(&mut self, feed: u16) {
        self.tell(feed, RouteEvent::FeedUp);
    }

    pub fn feed_down(&mut self, feed: u16) {
        self.tell(feed, RouteEvent::FeedDown { why: "test".into() });
    }

    pub fn up(&mut self, feed: u16, address: &str) {
        self.up_with(feed, address, None);
    }

    pub fn up_with(&mut self, feed: u16, address: &str, restart: Option<u64>) {
        self.tell(
            feed,
            RouteEvent::SessionUp {
                router: 0,
                session: session(address),
                asn: None,
                restart_time: restart.map(secs),
                families: None,
                local: None,
            },
        );
    }

    pub fn down(&mut self, feed: u16, address: &str, cause: DownCause) {
        let session = session(address);
        self.tell(feed, RouteEvent::SessionDown { session, cause });
    }

    pub fn announce(&mut self, feed: u16, address: &str, rib: AdjRib, text: &str) {
        self.route(feed, address, rib, Route::bare(prefix(text)));
    }

    /// With a next hop.
    pub fn via(&mut self, feed: u16, address: &str, rib: AdjRib, text: &str, hop: &str) {
        let next_hop = Some(hop.parse().unwrap());
        self.route(
            feed,
            address,
            rib,
            Route {
                next_hop,
                ..Route::bare(prefix(text))
            },
        );
    }

    /// With communities.
    pub fn scoped(&mut self, feed: u16, address: &str, text: &str, communities: &[Community]) {
        let communities = Some(communities.into());
        self.route(
            feed,
            address,
            OUT,
            Route {
                communities,
                ..Route::bare(prefix(text))
            },
        );
    }

    pub fn route(&mut self, feed: u16, address: &str, rib: AdjRib, route: Route) {
        let origin = origin(address);
        self.tell(feed, RouteEvent::Announce { origin, rib, route });
    }

    pub fn withdraw(&mut self, feed: u16, address: &str, rib: AdjRib, text: &str) {
        let (origin, prefix, path) = (origin(address), prefix(text), 0);
        self.tell(
            feed,
            RouteEvent::Withdraw {
                origin,
                rib,
                prefix,
                path,
            },
        );
    }

    pub fn end(&mut self, feed: u16, address: &str, rib: AdjRib, family: Family) {
        let origin = origin(address);
        self.tell(
            feed,
            RouteEvent::EndOfRib {
                origin,
                rib,
                family,
            },
        );
    }

    pub fn snapshot(
        &mut self,
        feed: u16,
        address: &str,
        rib: AdjRib,
        family: Family,
        texts: &[&str],
    ) {
        let routes: Vec<Route> = texts.iter().map(|text| Route::bare(prefix(text))).collect();
        let (origin, routes) = (origin(address), routes.into());
        self.tell(
            feed,
            RouteEvent::Snapshot {
                origin,
                rib,
                family,
                routes,
            },
        );
    }

    /// The feed itself lost what it reports of the session.
    pub fn lost(&mut self, feed: u16, address: &str, rib: Option<AdjRib>) {
        self.lost_by(feed, address, (rib, LossCause::Feed));
    }

    /// What the session brings of this Adj-RIB cannot be read.
    pub fn unreadable(&mut self, feed: u16, address: &str, rib: AdjRib) {
        self.lost_by(feed, address, (Some(rib), LossCause::Session));
    }

    fn lost_by(&mut self, feed: u16, address: &str, (rib, cause): (Option<AdjRib>, LossCause)) {
        let (origin, why) = (origin(address), "test".into());
        self.tell(
            feed,
            RouteEvent::RibLost {
                origin,
                rib,
                cause,
                why,
            },
        );
    }

    pub fn count(
        &mut self,
        feed: u16,
        address: &str,
        rib: AdjRib,
        family: Option<Family>,
        prefixes: u64,
    ) {
        let origin = origin(address);
        self.tell(
            feed,
            RouteEvent::Count {
                origin,
                rib,
                family,
                prefixes,
            },
        );
    }

    /// The set of a side of a peer as it is to be enforced.
    pub fn wanted(&self, peer: u32, side: Side) -> BTreeSet<Prefix> {
        let list: Vec<Prefix> = self.life.prefixes(PeerId(peer), side).collect();
        let set: BTreeSet<Prefix> = list.iter().copied().collect();
        assert_eq!(set.len(), list.len(), "a prefix twice");
        set
    }

    #[track_caller]
    pub fn sources(&self, peer: u32, texts: &[&str]) {
        assert_eq!(
            self.wanted(peer, Side::Sources),
            set(texts),
            "at {:?}",
            self.now
        );
    }

    #[track_caller]
    pub fn destinations(&self, peer: u32, texts: &[&str]) {
        assert_eq!(
            self.wanted(peer, Side::Destinations),
            set(texts),
            "at {:?}",
            self.now
        );
    }

    pub fn status(&self, peer: u32) -> PeerStatus {
        self.life.status(self.now, PeerId(peer))
    }

    /// What the peer's state is, and that its mode in force follows from it.
    #[track_caller]
    pub fn is(&self, peer: u32, state: PeerState, missing: Option<Missing>) {
        let status = self.status(peer);
        assert_eq!(
            (status.state, status.missing),
            (state, missing),
            "at {:?}",
            self.now
        );
        let (wanted, granted) = (
            self.life.wanted(PeerId(peer)),
            self.life.granted(self.now, PeerId(peer)),
        );
        assert!(wanted.contains(granted), "at {:?}", self.now);
        if state == PeerState::Enforcing {
            assert_eq!(granted, wanted, "at {:?}", self.now);
            assert!(!wanted.is_empty(), "at {:?}", self.now);
        }
    }

    #[track_caller]
    pub fn enforcing(&self, peer: u32) {
        self.is(peer, PeerState::Enforcing, None);
    }

    #[track_caller]
    pub fn lacks(&self, peer: u32, missing: Missing) {
        let relies = Classes::SOURCES | Classes::DESTINATIONS;
        let is_partly = self.life.granted(self.now, PeerId(peer)).meets(relies);
        let state = PeerState::new(Mode::Enforce, Some(&missing), is_partly);
        self.is(peer, state, Some(missing));
    }

    /// Which of a peer's classes are granted.
    pub fn granted(&self, peer: u32) -> Classes {
        self.life.granted(self.now, PeerId(peer))
    }

    /// Something of a table is missing, of a side that was complete before: that opens nothing.
    #[track_caller]
    pub fn keeps(&self, peer: u32, missing: Missing) {
        self.enforcing(peer);
        let sides =
            [V4, V6].map(|family| [Side::Sources, Side::Destinations].map(|side| (side, family)));
        let incomplete = sides.into_iter().flatten().find_map(|(side, family)| {
            self.life
                .incomplete(self.now, PeerId(peer), side, family)
                .filter(|_| {
                    self.life.spec().peers[peer as usize]
                        .families
                        .contains(family)
                })
        });
        assert_eq!(incomplete, Some(missing), "at {:?}", self.now);
    }

    /// The states of the peer's tables, those of feeds by hand left out.
    pub fn states(&self, peer: u32) -> Vec<(AdjRib, Family, State)> {
        let ribs = self.status(peer).ribs;
        let of_sessions = ribs.into_iter().filter(|rib| rib.session.is_some());
        of_sessions
            .map(|rib| (rib.rib, rib.family, rib.state))
            .collect()
    }

    /// Everything new.
    pub fn news(&mut self) -> Vec<Event> {
        self.life.take_events()
    }

    /// The names of everything new.
    pub fn names(&mut self) -> Vec<&'static str> {
        self.news().iter().map(Event::name).collect()
    }

    pub fn dirty(&mut self) -> bool {
        !self.life.take_dirty().is_empty()
    }
}
