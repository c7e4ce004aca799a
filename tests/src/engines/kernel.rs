//! The loaded XDP program under BPF_PROG_TEST_RUN as an engine. It tells what it decided only by its counters,
//! as it does on a real interface. Never attaches anything.

use filter_core::set::ExplainedSet;
use filter_loader::{Filter, Options, PeerSlot, PeerTables};

use crate::engines::{Engine, Tally, userspace};
use crate::kernel::Feature;
use crate::world::{Modes, World};

/// The program in the kernel.
pub struct Kernel {
    world: &'static World,
    engine: filter_loader::Engine,
    filter: Filter,
    peers: Vec<(PeerSlot, ExplainedSet, ExplainedSet)>,
    generation: u32,
}

impl Kernel {
    /// For one world, observing. Needs privileges.
    ///
    /// # Panics
    /// If the kernel refuses anything.
    #[must_use]
    pub fn new(world: &'static World, engine: filter_loader::Engine) -> Self {
        let options = Options {
            max_peers: 16,
            table_memory_mib: 8,
            // So many that every violation is sampled, until the ring is full and they are lost.
            samples_per_second: 1_000_000_000,
            engine,
            ..Options::default()
        };
        let mut filter = Filter::load(&options).expect("loading");
        let (bogons, ours) = userspace::lists(world);
        let lists = PeerTables {
            sources: &bogons,
            destinations: &ours,
            ..PeerTables::default()
        };
        filter.publish_lists(&lists).expect("publishing the lists");
        let mut peers = Vec::new();
        for peer in world.peers {
            let slot = filter.add_peer(peer.name).expect("a slot");
            filter
                .set_stations(slot, &userspace::stations(peer))
                .expect("stations");
            let (sources, destinations) = userspace::sides(world, peer);
            peers.push((slot, sources, destinations));
        }
        filter.lease().keep();
        let mut kernel = Self {
            world,
            engine,
            filter,
            peers,
            generation: 0,
        };
        kernel.set_modes(Modes::OBSERVE);
        kernel
    }
}

impl Engine for Kernel {
    fn name(&self) -> String {
        format!("kernel ({:?})", self.engine)
    }

    fn shortest(&self) -> usize {
        if Feature::ShortRunsRefused.is_here() {
            14
        } else {
            0
        }
    }

    fn set_modes(&mut self, modes: Modes) {
        self.generation += 1;
        for (peer, (slot, sources, destinations)) in self.world.peers.iter().zip(&self.peers) {
            let table = PeerTables {
                families: userspace::families(peer),
                mode: modes.peers,
                generation: self.generation,
                sources: sources.addresses(),
                destinations: destinations.addresses(),
            };
            self.filter.publish(*slot, &table).expect("publishing");
        }
        let interface = userspace::interface(self.world, modes.unknown);
        self.filter
            .set_interface(filter_loader::TEST_IFINDEX, &interface)
            .expect("setting the interface");
    }

    fn drops(&mut self, frame: &[u8]) -> bool {
        self.filter.run(frame, 1).expect("a test run").dropped
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::of(self.world);
        for (peer, (slot, ..)) in self.world.peers.iter().zip(&self.peers) {
            let counters = self.filter.counters(*slot).expect("counters");
            tally.0.insert(Some(peer.name), counters);
        }
        let interface = self.filter.interface_counters("test0").expect("counters");
        tally.0.insert(None, interface);
        tally
    }
}
