//! The smallest place to try the loader: one veth pair in a namespace, one peer behind it, pins of its own.
//! Leaves nothing behind, and fails the test that does.

use std::path::{Path, PathBuf};

use filter_core::layout::{Families, Known, Rules};
use filter_core::packet::{Mac, Vlans};
use filter_core::set::PrefixSet;
use filter_core::{Classes, Mode, Prefix, Reason};
use filter_loader::{
    AttachMode, Counters, Engine, Filter, InterfaceSpec, LeaseEnd, Options, PeerSlot, PeerTables,
    Station, TEST_IFINDEX, Target, Wanted,
};

use crate::frame;
use crate::netns::{Namespace, ip, unique};
use crate::wire::{Wire, until};

/// Our end of the pair.
pub const NEAR: &str = "near";
/// The peer's end.
pub const FAR: &str = "far";
/// The interface of test runs.
pub const TEST_NAME: &str = "test0";
/// A frame within the policy.
pub const GOOD: &str = "eth src=icrc dst=us / ipv4 45.146.194.1 > 198.51.100.1 udp";
/// A spoofed one.
pub const SPOOFED: &str = "eth src=icrc dst=us / ipv4 9.9.9.9 > 198.51.100.1 udp";

/// A veth pair in a namespace of its own.
#[derive(Debug)]
pub struct Pair {
    /// Our end.
    pub near: Wire,
    /// The peer's.
    pub far: Wire,
    namespace: Namespace,
}

impl Pair {
    /// Both ends up, with the MACs of `us` and `icrc`.
    #[must_use]
    pub fn new(mtu: u32) -> Self {
        let namespace = Namespace::enter();
        make_pair(mtu);
        Self {
            near: Wire::on(NEAR),
            far: Wire::on(FAR),
            namespace,
        }
    }

    /// Where the kernel shows the namespace.
    #[must_use]
    pub fn namespace(&self) -> PathBuf {
        self.namespace.path()
    }

    /// Sends a frame from the peer's end that must come through, and checks that it is the next one that does.
    ///
    /// # Panics
    /// If it does not.
    pub fn passes(&self, text: &str) {
        let frame = build(text);
        self.far.send(&frame);
        assert_eq!(self.near.receive(), frame, "{text}");
    }
}

/// Makes the veth pair in this thread's namespace.
pub fn make_pair(mtu: u32) {
    let (us, them) = ("02:00:00:00:00:01", "02:00:00:00:00:10");
    ip(&format!(
        "link add {NEAR} address {us} mtu {mtu} type veth peer name {FAR} address {them} mtu {mtu}"
    ));
    ip(&format!("link set {NEAR} up"));
    ip(&format!("link set {FAR} up"));
}

/// A directory on bpffs for one test.
#[derive(Debug)]
pub struct Pins(PathBuf);

impl Pins {
    /// A name; the loader makes the directory.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each one is another directory")]
    pub fn new() -> Self {
        Self(Path::new("/sys/fs/bpf").join(unique("bcp38-test")))
    }

    /// Where.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Options that pin there.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            pins: Some(self.0.clone()),
            ..options(Engine::Tables)
        }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let left = self.0.exists();
        if left {
            // Files first: bpffs removes only empty directories.
            let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
            entries.for_each(|entry| _ = std::fs::remove_file(entry.path()));
            _ = std::fs::remove_dir(&self.0);
        }
        if !std::thread::panicking() {
            assert!(!left, "{} is left behind", self.0.display());
        }
    }
}

/// Small maps, the default rate of samples.
#[must_use]
pub fn options(engine: Engine) -> Options {
    Options {
        max_peers: 8,
        table_memory_mib: 8,
        engine,
        ..Options::default()
    }
}

/// Loads a filter that has no peers yet.
///
/// # Panics
/// If the kernel refuses.
#[must_use]
pub fn load(options: &Options) -> Filter {
    Filter::load(options).expect("loading")
}

/// Makes and publishes the peer `icrc`: 45.146.194.0/23 to 198.51.100.0/24, IPv4 and IPv6.
///
/// # Panics
/// If the kernel refuses.
pub fn publish(filter: &mut Filter, mode: Mode) -> PeerSlot {
    let peer = filter.add_peer("icrc").expect("a slot");
    let set = |text: &str| {
        [text.parse::<Prefix>().expect("a prefix")]
            .into_iter()
            .collect()
    };
    let (sources, destinations): (PrefixSet, PrefixSet) =
        (set("45.146.194.0/23"), set("198.51.100.0/24"));
    let table = PeerTables {
        rules: rules(),
        generation: 1,
        sources: &sources,
        destinations: &destinations,
    };
    filter.publish(peer, &table).expect("publishing");
    filter.set_wanted(peer, wanted(mode)).expect("a switch");
    peer
}

/// Both families, every side known.
#[must_use]
pub fn rules() -> Rules {
    Rules {
        families: Families::new(|_| true),
        known: Known::ALL,
    }
}

/// All classes or none, as long as the lease runs.
#[must_use]
pub const fn wanted(mode: Mode) -> Wanted {
    match mode {
        Mode::Observe => Wanted::NONE,
        Mode::Enforce => Wanted::new(Classes::ALL, LeaseEnd::Observe),
    }
}

/// The peer sends from the MAC of this name, untagged.
///
/// # Panics
/// If there is no such station.
#[must_use]
pub fn station(ifindex: u32, name: &str) -> Station {
    Station {
        ifindex,
        vlans: Vlans::default(),
        mac: Mac::from_bytes(frame::station(name).expect("a station")),
    }
}

/// Publishes the peer, attaches to the near end, registers the peer's station.
///
/// # Panics
/// If the kernel refuses.
pub fn guard(
    filter: &mut Filter,
    how: AttachMode,
    mode: Mode,
) -> (PeerSlot, filter_loader::Attached) {
    let peer = publish(filter, mode);
    let spec = InterfaceSpec::of_device(NEAR).expect("the near end");
    let attached = filter.attach(&spec, how).expect("attaching");
    let stations = [station(attached.ifindex, "icrc")];
    filter.set_stations(peer, &stations).expect("stations");
    filter.lease().keep();
    (peer, attached)
}

/// An interface for frames that are only test-run, with the MAC of `us`.
///
/// # Panics
/// Never: the MAC below is one.
#[must_use]
pub fn test_interface() -> InterfaceSpec {
    let mac = Mac::from_bytes(frame::station("us").expect("a station"));
    InterfaceSpec::new(TEST_NAME, mac)
}

/// Publishes the peer, seen only by test runs, untagged and from its own MAC.
///
/// # Panics
/// If the kernel refuses.
pub fn guard_test_runs(filter: &mut Filter, mode: Mode) -> PeerSlot {
    let peer = publish(filter, mode);
    filter
        .set_interface(TEST_IFINDEX, &test_interface())
        .expect("setting the interface");
    filter
        .set_wanted(Target::Interface(TEST_NAME), wanted(Mode::Enforce))
        .expect("a switch");
    filter
        .set_stations(peer, &[station(TEST_IFINDEX, "icrc")])
        .expect("stations");
    peer
}

/// Builds a frame.
///
/// # Panics
/// If the text is none.
#[must_use]
pub fn build(text: &str) -> Vec<u8> {
    frame::build(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

/// Waits until a peer's counters hold this many packets, and gives them.
///
/// # Panics
/// If they never do.
#[must_use]
pub fn counted(filter: &Filter, peer: PeerSlot, packets: u64) -> Counters {
    let read = || filter.counters(peer).expect("counters");
    until("all frames counted", || {
        let total = read().total();
        total.passed.packets + total.dropped.packets >= packets
    });
    read()
}

/// Counters that hold just this.
#[must_use]
pub fn just(counts: &[(Reason, bool, u64, usize)]) -> Counters {
    let mut counters = Counters::default();
    for &(reason, dropped, packets, len) in counts {
        (0..packets).for_each(|_| counters.count(reason, dropped, len as u64));
    }
    counters
}
