//! The daemon with many peers, reported over BMP by routers that are nothing but bytes; and how long it takes
//! from a route's bytes to the store that puts it in force in the kernel. Sends no packet.
#![expect(
    clippy::unwrap_used,
    reason = "a fleet that cannot be built ends the measurement: the panic is the report"
)]

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData};
use filter_core::layout::{MAX_INTERFACES, map};
use filter_core::{Asn, Prefix};
use filter_daemon::config::Config;
use filter_daemon::runtime::AtExit;
use filter_lifecycle::admission::{Provenance, admit};
use filter_lifecycle::policy::Withheld;
use lab::bmp::{Direction, Neighbour, Router};

use serde_json::Value;

use crate::lab::{Bcp38, Namespace, Site, wait_for};

const BMP_LISTENER: &str = "127.0.0.1:11019";
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
/// Until then a table must be in force, however loaded the machine is.
const WITHIN: Duration = Duration::from_secs(120);
/// Between two looks at the kernel. A sleep of this length takes some 60 microseconds more.
const LOOK: Duration = Duration::from_micros(20);

/// A daemon whose peers send nothing: peer 0 for a large table, the others for small ones.
#[derive(Debug)]
pub struct Fleet {
    daemon: Bcp38,
    config: String,
    site: Site,
    namespace: Namespace,
}

impl Fleet {
    /// Starts it with so many peers.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(peers: u32) -> Self {
        let namespace = Namespace::new("fleet");
        namespace.ip(&["link", "add", "eth0", "type", "veth", "peer", "name", "far"]);
        namespace.ip(&["addr", "add", "10.9.0.1/16", "dev", "eth0"]);
        let mut config = format!(
            "[router]\nasn = 64500\nprefixes = [\"198.51.100.0/24\"]\n\
             [[interface]]\nname = \"eth0\"\nkind = \"lan\"\nlan = [\"10.9.0.0/16\"]\n\
             [[feed]]\nkind = \"bmp\"\nlisten = \"{BMP_LISTENER}\"\n"
        );
        for peer in 0..peers {
            let Neighbour { address, asn } = neighbour(peer);
            writeln!(
                config,
                "[[peer]]\nname = \"p{peer}\"\nasn = {asn}\ninterface = \"eth0\"\naddresses = [\"{address}\"]"
            )
            .unwrap();
        }
        let site = Site::new(&namespace);
        let daemon = site.start(&config);
        Self {
            daemon,
            config,
            site,
            namespace,
        }
    }

    /// A router of this name, connected; no session is up yet.
    ///
    /// # Panics
    /// If the daemon does not listen.
    #[must_use]
    pub fn router(&self, name: &str) -> Router {
        let listener: SocketAddr = BMP_LISTENER.parse().unwrap();
        let connect = || Router::connect(listener, name, Asn::new(64500), LOCAL).unwrap();
        self.namespace.run(connect)
    }

    /// Sees which table of each peer is in force.
    ///
    /// # Panics
    /// If the filter is not pinned.
    #[must_use]
    pub fn slots(&self) -> Slots {
        let pinned = MapData::from_pin(self.site.pins().join(map::SLOTS)).unwrap();
        Slots(Array::try_from(Map::Array(pinned)).unwrap())
    }

    /// Those of these prefixes that count when a peer announces them.
    ///
    /// # Panics
    /// If the configuration is none.
    #[must_use]
    pub fn admitted(&self, prefixes: Vec<Prefix>) -> Vec<Prefix> {
        let (config, _) = Config::parse(&self.config, "fleet").unwrap();
        let withheld = Withheld::of(&config.spec);
        let context = withheld.context(&config.spec.peers[0]);
        let counts = |&prefix: &Prefix| admit(prefix, &context, Provenance::Dynamic).is_ok();
        prefixes.into_iter().filter(counts).collect()
    }

    /// How many sources of a peer are announced, as `status` has it.
    ///
    /// # Panics
    /// If there is no such peer.
    #[must_use]
    pub fn sources(&self, peer: u32) -> u64 {
        self.daemon.peer(&format!("p{peer}"))["sources"]
            .as_u64()
            .unwrap()
    }

    /// Waits until so many sources of a peer are announced.
    ///
    /// # Panics
    /// If they never are.
    pub fn until_sources(&self, peer: u32, count: u64) {
        wait_for("the table", WITHIN, || {
            (self.sources(peer) == count).then_some(())
        });
    }

    /// Waits until everything that was received is in force.
    ///
    /// # Panics
    /// If it never is.
    pub fn until_settled(&self) {
        wait_for("all tables to be in force", WITHIN, || {
            let status = self.daemon.status();
            let peers = status["peers"].as_array().unwrap();
            let is_settled = peers.iter().all(|peer| peer["publish_pending"] == false);
            is_settled.then_some(())
        });
    }

    /// The daemon's resident memory, and this process's, which it runs in: bytes.
    ///
    /// # Panics
    /// If the kernel does not say.
    #[must_use]
    pub fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.split_whitespace()
            .next()
            .unwrap()
            .parse::<usize>()
            .unwrap()
            * 1024
    }

    /// The daemon's status.
    #[must_use]
    pub fn status(&self) -> Value {
        self.daemon.status()
    }

    /// Its events of this name.
    #[must_use]
    pub fn events_named(&self, name: &str) -> Vec<Value> {
        self.daemon.events_named(name)
    }

    /// Ends it and removes everything.
    ///
    /// # Panics
    /// If that fails.
    pub fn end(self) {
        self.daemon.stop();
        let last = self.site.try_start(&self.config, AtExit::Detach).unwrap();
        last.stop();
    }
}

/// A peer as the routers name it.
#[must_use]
pub const fn neighbour(peer: u32) -> Neighbour {
    let host = peer + 256;
    Neighbour {
        address: IpAddr::V4(Ipv4Addr::new(10, 9, (host >> 8) as u8, host as u8)),
        asn: Asn::new(70_000 + peer),
    }
}

/// The words packets read first, one for each peer.
pub struct Slots(Array<MapData, u64>);

impl Slots {
    /// What is in force for a peer: another generation with every table.
    ///
    /// # Panics
    /// If the map is gone.
    #[must_use]
    pub fn of(&self, peer: u32) -> u64 {
        self.0.get(&(MAX_INTERFACES + peer), 0).unwrap()
    }

    /// How long it takes from `announce` until another table of the peer is in force.
    ///
    /// # Panics
    /// If it never is.
    pub fn until_changed(&self, peer: u32, announce: impl FnOnce()) -> Duration {
        let before = self.of(peer);
        let begin = Instant::now();
        announce();
        while self.of(peer) == before {
            assert!(begin.elapsed() < WITHIN, "nothing changed for peer {peer}");
            std::thread::sleep(LOOK);
        }
        begin.elapsed()
    }
}

/// The messages for a whole table of a peer: one route each, as routers write BMP.
///
/// # Panics
/// Never: memory takes everything.
#[must_use]
pub fn table(peer: u32, prefixes: &[Prefix]) -> Vec<u8> {
    let mut router = Router::in_memory(Asn::new(64500), LOCAL);
    for prefix in prefixes {
        router
            .announce(neighbour(peer), Direction::Received, &[*prefix])
            .unwrap();
    }
    router.into_messages()
}
