//! The loaded XDP program under BPF_PROG_TEST_RUN as an engine. It shows what it decided only by its counters,
//! as it does on a real interface. Never attaches anything.

use filter_core::Classes;
use filter_loader::{
    Filter, LeaseEnd, Options, PeerSlot, PeerTables, TEST_IFINDEX, Target, Wanted,
};

use crate::engines::{Engine, Tally, userspace};
use crate::kernel::Feature;
use crate::world::World;

/// The program in the kernel.
pub struct Kernel {
    world: &'static World,
    engine: filter_loader::Engine,
    filter: Filter,
    peers: Vec<PeerSlot>,
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
            // And so many that none is held back: how many may pass is another test's.
            icmp_errors_per_second: 1_000_000_000,
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
        if world.recorded {
            filter
                .set_interface(TEST_IFINDEX, &userspace::interface(world))
                .expect("setting the interface");
        }
        let mut peers = Vec::new();
        for peer in world.peers {
            let slot = filter.add_peer(peer.name).expect("a slot");
            filter
                .set_stations(slot, &userspace::stations(peer))
                .expect("stations");
            let (sources, destinations) = userspace::sides(world, peer);
            let table = PeerTables {
                rules: userspace::rules(peer),
                generation: 1,
                sources: sources.addresses(),
                destinations: destinations.addresses(),
            };
            filter.publish(slot, &table).expect("publishing");
            peers.push(slot);
        }
        filter.lease().keep();
        Self {
            world,
            engine,
            filter,
            peers,
        }
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

    fn set_in_force(&mut self, classes: Classes) {
        let want = |filter: &Filter, target: Target<'_>, classes| {
            let wanted = Wanted::new(classes, LeaseEnd::Observe);
            filter.set_wanted(target, wanted).expect("a target");
        };
        for &slot in &self.peers {
            want(&self.filter, slot.into(), classes.within(Classes::PEER));
        }
        if self.world.recorded {
            let classes = classes.within(Classes::INTERFACE);
            want(&self.filter, Target::Interface("test0"), classes);
        }
    }

    fn drops(&mut self, frame: &[u8]) -> bool {
        self.filter.run(frame, 1).expect("a test run").dropped
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally::of(self.world);
        for (peer, &slot) in self.world.peers.iter().zip(&self.peers) {
            let counters = self.filter.counters(slot).expect("counters");
            tally.0.insert(Some(peer.name), counters);
        }
        let interface = match self.world.recorded {
            true => self.filter.interface_counters("test0"),
            false => self.filter.unrecorded_counters(),
        };
        tally.0.insert(None, interface.expect("counters"));
        tally
    }
}
