//! A loaded program under BPF_PROG_TEST_RUN as an engine. It shows what it decided only by its counters,
//! as it does on a real interface. Never attaches anything.

use std::collections::BTreeMap;

use filter_core::Classes;
use filter_loader::{
    Filter, LeaseEnd, Options, PeerSlot, PeerTables, Shell, TEST_IFINDEX, Target, Wanted,
};

use crate::engines::{Engine, Tally, userspace};
use crate::kernel::Feature;
use crate::world::World;

/// The program in the kernel.
pub struct Kernel {
    world: &'static World,
    engine: filter_loader::Engine,
    shell: Shell,
    /// Bytes of a frame in its first buffer; all of them if `None`.
    linear: Option<u32>,
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
        Self::at(world, engine, Shell::Xdp)
    }

    /// As [`Kernel::new`], by the program of this hook.
    ///
    /// # Panics
    /// If the kernel refuses anything.
    #[must_use]
    pub fn at(world: &'static World, engine: filter_loader::Engine, shell: Shell) -> Self {
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
        filter.test_at(shell);
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
        let (mut peers, mut stations) = (Vec::new(), BTreeMap::new());
        for peer in world.peers {
            let slot = filter.add_peer(peer.name).expect("a slot");
            let owned = userspace::stations(peer.stations).into_iter();
            stations.extend(owned.map(|station| (station, slot)));
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
        let contested = userspace::stations(world.contested).into_iter().collect();
        filter
            .assign_stations(&stations, &contested)
            .expect("stations");
        filter.lease().keep();
        Self {
            world,
            engine,
            shell,
            linear: None,
            filter,
            peers,
        }
    }
}

impl Kernel {
    /// From now on so many bytes of each frame are in its first buffer.
    pub fn split_at(&mut self, linear: u32) {
        self.filter.test_split_at(linear);
        self.linear = Some(linear);
    }
}

impl Engine for Kernel {
    fn name(&self) -> String {
        let linear = self.linear.map(|linear| format!(", {linear} bytes first"));
        let linear = linear.unwrap_or_default();
        format!("kernel ({:?}, {:?}{linear})", self.engine, self.shell)
    }

    fn shortest(&self) -> usize {
        if Feature::ShortRunsRefused.is_here() {
            14
        } else {
            0
        }
    }

    /// At tc the kernel makes a packet of the frame, and refuses one without a whole IP header.
    fn takes(&self, frame: &[u8]) -> bool {
        let shortest = match frame.get(12..14) {
            _ if self.shell == Shell::Xdp => self.shortest(),
            Some([0x08, 0x00]) => 34,
            Some([0x86, 0xdd]) => 54,
            _ => 15,
        };
        frame.len() >= shortest
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
