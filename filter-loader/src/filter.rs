//! The loaded filter: interfaces, peers, their tables, counters, samples. The one writer of the maps.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray, PerCpuValues, RingBuf};
use aya::programs::{TestRun, TestRunOptions, TestRunResult};
use filter_core::Reason;
use filter_core::layout::{
    ANY_MAC, Interface, MAX_IFINDEX, MAX_INTERFACES, PeerKey, SCHEMA, counter_index, key_ifindex,
    key_mac, key_vlans, map, peer_key,
};
use filter_core::packet::{Mac, Vlans};
use filter_core::set::PrefixSet;

use crate::arena::Arena;
use crate::attach::{self, AttachMode, Attached, Hook, XdpKind};
use crate::device::{Device, InterfaceSpec};
use crate::error::{Error, chain};
use crate::lease::Lease;
use crate::object::{self, CHUNK_MIB, Engine, Sizes};
use crate::pin::PinDir;
use crate::samples::Samples;
use crate::selftest::{self, Probe};
use crate::stations::Stations;
use crate::stats::{self, Counters};
use crate::tables::{Memory, Table, Tables};
use crate::tries::Tries;

/// How to load the filter.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where state is kept so that it outlives this process; `None` ends with it.
    pub pins: Option<PathBuf>,
    /// What this policy is, so that another one's pinned state is refused. Any number.
    pub fingerprint: u64,
    /// How many peers there may be at most.
    pub max_peers: u32,
    /// Memory of the compiled tables, in MiB; rounded up to chunks of 4.
    pub arena_mib: u32,
    /// Sampled violations per second and peer; 0 for none.
    pub samples_per_second: u32,
    /// What looks addresses up.
    pub engine: Engine,
    /// Whether a table must pass its self-test before it goes live. The self-test borrows [`TEST_IFINDEX`], so
    /// only tests that run packets there from another thread turn it off.
    pub self_test: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pins: None,
            fingerprint: 0,
            max_peers: 1024,
            arena_mib: 64,
            samples_per_second: 10,
            engine: Engine::Tables,
            self_test: true,
        }
    }
}

/// A peer's place in the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerSlot(pub(crate) u32);

impl PeerSlot {
    /// The slot number, as samples carry it.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// Where a peer's frames come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Station {
    /// The interface's index.
    pub ifindex: u32,
    /// Its VLANs.
    pub vlans: Vlans,
    /// Its source MAC; [`Station::ANY_MAC`] on an interface with `any_mac`.
    pub mac: Mac,
}

impl Station {
    /// Any source MAC.
    pub const ANY_MAC: Mac = ANY_MAC;

    fn key(&self) -> PeerKey {
        peer_key(self.ifindex, self.vlans, self.mac)
    }

    /// The inverse of [`Station::key`].
    fn from_key(key: &PeerKey) -> Self {
        Self {
            ifindex: key_ifindex(key),
            vlans: key_vlans(key),
            mac: key_mac(key),
        }
    }
}

/// What BPF_PROG_TEST_RUN said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Was the frame dropped?
    pub dropped: bool,
    /// Average time of one run.
    pub time: Duration,
}

impl Ran {
    pub(crate) fn of(result: &TestRunResult) -> Self {
        Self {
            dropped: result.return_value != XDP_PASS,
            time: result.duration,
        }
    }
}

/// The interface index of frames given to [`Filter::run`]: that of the loopback device, which the filter
/// itself never attaches to.
pub const TEST_IFINDEX: u32 = 1;

/// The slot the self-test counts on and has its table in: the last of the interfaces', never given to one.
pub(crate) const SELF_TEST: u32 = MAX_INTERFACES - 1;
/// The slot of the two lists every peer shares: bogons as its sources, our prefixes as its destinations.
const LISTS: u32 = 0;
const META_MAGIC: u64 = 0x6263_7033_0000_0000;

/// The filter in the kernel. Dropping it detaches and frees everything, except what is pinned.
pub struct Filter {
    pub(crate) ebpf: Ebpf,
    pub(crate) program: &'static str,
    pub(crate) tables: Box<dyn Tables>,
    lease: Lease,
    pins: Option<PinDir>,
    hooks: BTreeMap<String, Hook>,
    stations: Stations,
    /// Slot → hash of the name that holds it.
    names: BTreeMap<u32, u64>,
    max_slots: u32,
    /// What was last written of each interface, by index: the self-test runs packets as if they came in there.
    specs: BTreeMap<u32, InterfaceSpec>,
    /// Bogons and our prefixes, as last published.
    lists: (PrefixSet, PrefixSet),
    self_test: bool,
    #[cfg(feature = "test-hooks")]
    planted_bug: bool,
}

impl Filter {
    /// Loads the programs and makes, or takes over, the maps. Nothing is attached yet.
    ///
    /// # Errors
    /// [`Error::Privileges`], [`Error::Load`], [`Error::Pin`], [`Error::ForeignState`], [`Error::SecondWriter`].
    pub fn load(options: &Options) -> Result<Self, Error> {
        let pins = options.pins.as_deref().map(PinDir::open).transpose()?;
        let mut filter = Self::load_with(options, pins.as_ref())?;
        filter.pins = pins;
        Ok(filter)
    }

    fn load_with(options: &Options, pins: Option<&PinDir>) -> Result<Self, Error> {
        let sizes = Sizes {
            max_peers: options.max_peers,
            arena_chunks: options.arena_mib.div_ceil(CHUNK_MIB).max(1),
            samples_per_second: options.samples_per_second,
            pins: pins.map(PinDir::path),
        };
        let (mut ebpf, program) = object::load(options.engine, &sizes)?;
        let lease = Lease::map(array(&ebpf, map::LEASE)?)?;
        let tables: Box<dyn Tables> = if options.engine.is_compiled() {
            Box::new(Arena::new(
                array(&ebpf, map::TABLES)?,
                array(&ebpf, map::SLOTS)?,
            )?)
        } else {
            Box::new(Tries::new(&mut ebpf)?)
        };
        let stations = Stations::new(&mut ebpf)?;
        let mut filter = Self {
            ebpf,
            program,
            tables,
            lease,
            pins: None,
            hooks: BTreeMap::new(),
            stations,
            names: BTreeMap::new(),
            max_slots: 0,
            specs: BTreeMap::new(),
            lists: (PrefixSet::default(), PrefixSet::default()),
            self_test: options.self_test && options.engine.is_compiled(),
            #[cfg(feature = "test-hooks")]
            planted_bug: false,
        };
        filter.adopt(options.fingerprint, pins)?;
        filter.prepare_self_test()?;
        Ok(filter)
    }

    /// Reads what an earlier process left, or marks the maps as ours.
    fn adopt(&mut self, fingerprint: u64, pins: Option<&PinDir>) -> Result<(), Error> {
        let mut meta = self.meta()?;
        let ours = [META_MAGIC | u64::from(SCHEMA), fingerprint];
        let slots = meta.len();
        match meta.get(&0, 0).map_err(Error::map(map::META))? {
            [0, 0] => meta.set(0, ours, 0).map_err(Error::map(map::META))?,
            found if found == ours => {}
            found => {
                let path = pins.map(|pins| pins.path().to_owned()).unwrap_or_default();
                let why = match found {
                    [schema, _] if schema != ours[0] => {
                        format!("schema {schema:#x}, this version has {:#x}", ours[0])
                    }
                    [_, other] => format!(
                        "policy fingerprint {other:#x}, this configuration has {fingerprint:#x}"
                    ),
                };
                return Err(Error::ForeignState { path, why });
            }
        }
        let mut names = BTreeMap::new();
        for slot in 1..slots {
            let [name, _] = meta.get(&slot, 0).map_err(Error::map(map::META))?;
            if name != 0 {
                names.insert(slot, name);
            }
        }
        self.max_slots = slots;
        self.names = names;
        self.stations.check_copy()
    }

    /// Sets the two lists that name a violation's reason: bogons and `[router] prefixes`.
    ///
    /// # Errors
    /// As [`Filter::publish`].
    pub fn publish_lists(&mut self, table: &Table<'_>) -> Result<(), Error> {
        self.tables.publish(LISTS, LISTS, table)?;
        self.lists = (table.sources.clone(), table.destinations.clone());
        Ok(())
    }

    /// Attaches to an interface, after its record is in place. Taking over an earlier process's link counts
    /// as attaching.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`], [`Error::NotEthernet`], [`Error::Busy`], [`Error::Attach`] and map errors.
    pub fn attach(&mut self, spec: &InterfaceSpec, mode: AttachMode) -> Result<Attached, Error> {
        let device = Device::find(&spec.name)?;
        device.check()?;
        if !self.is_known(&device)? {
            // A link pinned under this name would be that of a device renamed since, or of another namespace.
            self.pins
                .as_ref()
                .map_or(Ok(()), |pins| pins.remove_link(&device.name))?;
        }
        self.set_interface(device.ifindex, spec)?;
        let program = object::program(&mut self.ebpf, self.program)?;
        let hook = attach::attach(program, &device, mode, self.pins.as_ref())?;
        let attached = Attached {
            ifindex: hook.ifindex,
            kind: hook.kind,
        };
        self.hooks.insert(spec.name.clone(), hook);
        Ok(attached)
    }

    /// Did this name have this index when its record was last written?
    fn is_known(&mut self, device: &Device) -> Result<bool, Error> {
        let Some(slot) = self.interface_slot(&device.name) else {
            return Ok(false);
        };
        let slots: Array<_, u32> = self.map_mut(map::INTERFACE_SLOTS)?;
        let entry = slots
            .get(&device.ifindex, 0)
            .map_err(Error::map(map::INTERFACE_SLOTS))?;
        Ok(entry & 0xffff == slot)
    }

    /// Writes or replaces what the program knows of the interface with this index. A packet sees the old
    /// record or the new one.
    ///
    /// # Errors
    /// [`Error::InterfaceRecord`], [`Error::TooManyInterfaces`], map errors.
    pub fn set_interface(&mut self, ifindex: u32, spec: &InterfaceSpec) -> Result<(), Error> {
        if ifindex > MAX_IFINDEX {
            return Err(Error::IfindexTooLarge {
                name: spec.name.clone(),
                index: ifindex,
            });
        }
        let record = spec.record()?;
        let slot = self
            .take_slot(&spec.name, 1..SELF_TEST)
            .ok_or_else(|| Error::TooManyInterfaces(spec.name.clone()))??;
        let mut slots: Array<_, u32> = self.map_mut(map::INTERFACE_SLOTS)?;
        let now = slots
            .get(&ifindex, 0)
            .map_err(Error::map(map::INTERFACE_SLOTS))?;
        // Each interface has two places for its record; the one that is not in use is written, then named.
        let place = if now >> 16 == slot {
            slot + MAX_INTERFACES
        } else {
            slot
        };
        let mut records: Array<_, [u64; Interface::WORDS]> = self.map_mut(map::INTERFACES)?;
        records
            .set(place, record.0, 0)
            .map_err(Error::map(map::INTERFACES))?;
        slots = self.map_mut(map::INTERFACE_SLOTS)?;
        slots
            .set(ifindex, place << 16 | slot, 0)
            .map_err(Error::map(map::INTERFACE_SLOTS))?;
        self.specs.insert(ifindex, spec.clone());
        Ok(())
    }

    /// Detaches from an interface and forgets its record, its counters and its peers' stations there.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`] if it is not attached; [`Error::Pin`], map errors.
    pub fn detach(&mut self, name: &str) -> Result<(), Error> {
        let hook = self
            .hooks
            .remove(name)
            .ok_or_else(|| Error::UnknownInterface(name.to_owned()))?;
        if let Some(pins) = &self.pins {
            pins.remove_link(name)?;
        }
        let ifindex = hook.ifindex;
        drop(hook);
        let mut slots: Array<_, u32> = self.map_mut(map::INTERFACE_SLOTS)?;
        slots
            .set(ifindex, 0, 0)
            .map_err(Error::map(map::INTERFACE_SLOTS))?;
        let held = self.stations();
        let gone: Vec<PeerKey> = held
            .filter(|(station, _)| station.ifindex == ifindex)
            .map(|(station, _)| station.key())
            .collect();
        self.stations.remove(&gone)?;
        self.specs.remove(&ifindex);
        self.release(name)
    }

    /// Detaches everywhere and removes every pin.
    ///
    /// # Errors
    /// The first that occurs; the rest is still removed.
    pub fn detach_all(mut self) -> Result<(), Error> {
        let names: Vec<String> = self.hooks.keys().cloned().collect();
        let results: Vec<_> = names.iter().map(|name| self.detach(name)).collect();
        let unpinned = self
            .pins
            .take()
            .map_or(Ok(()), |pins| pins.remove_if_unused());
        results.into_iter().chain([unpinned]).collect()
    }

    /// Takes back what this process did before it failed to start: interfaces it attached itself go, links it
    /// took over stay, and so does what was pinned before.
    ///
    /// # Errors
    /// The first that occurs; the rest is still undone.
    pub fn undo(&mut self) -> Result<(), Error> {
        let own = self
            .hooks
            .iter()
            .filter(|(_, hook)| hook.kind != XdpKind::Adopted);
        let own: Vec<String> = own.map(|(name, _)| name.clone()).collect();
        let results: Vec<_> = own.iter().map(|name| self.detach(name)).collect();
        let unpinned = self
            .pins
            .as_ref()
            .filter(|pins| pins.is_new())
            .map_or(Ok(()), PinDir::remove_if_unused);
        results.into_iter().chain([unpinned]).collect()
    }

    /// The attached interfaces and how.
    pub fn interfaces(&self) -> impl Iterator<Item = (&str, Attached)> {
        self.hooks.iter().map(|(name, hook)| {
            (
                name.as_str(),
                Attached {
                    ifindex: hook.ifindex,
                    kind: hook.kind,
                },
            )
        })
    }

    /// A slot for the peer of this name: the one it had before, or a fresh one with counters at zero.
    ///
    /// # Errors
    /// [`Error::TooManyPeers`], map errors.
    pub fn add_peer(&mut self, name: &str) -> Result<PeerSlot, Error> {
        let limit = self.max_slots - MAX_INTERFACES;
        let full = || Error::TooManyPeers {
            name: name.to_owned(),
            limit,
        };
        Ok(PeerSlot(
            self.take_slot(name, MAX_INTERFACES..self.max_slots)
                .ok_or_else(full)??,
        ))
    }

    /// Forgets a peer: first its stations, then its table, then its name.
    ///
    /// # Errors
    /// Map errors.
    pub fn remove_peer(&mut self, peer: PeerSlot) -> Result<(), Error> {
        self.set_stations(peer, &[])?;
        self.tables.retire(peer.0)?;
        self.names.remove(&peer.0);
        self.meta()?
            .set(peer.0, [0, 0], 0)
            .map_err(Error::map(map::META))
    }

    /// Peers of an earlier process that none of these names belongs to.
    #[must_use]
    pub fn orphans(&self, known: &[PeerSlot]) -> Vec<PeerSlot> {
        let peers = self
            .names
            .range(MAX_INTERFACES..)
            .map(|(&slot, _)| PeerSlot(slot));
        peers.filter(|slot| !known.contains(slot)).collect()
    }

    /// Replaces a peer's table, after its self-test. A packet sees the old one or the new one.
    ///
    /// # Errors
    /// [`Error::TableTooLarge`], [`Error::SelfTest`], map errors; the old table stays.
    pub fn publish(&mut self, peer: PeerSlot, table: &Table<'_>) -> Result<(), Error> {
        self.tested(peer, table, |tables| tables.publish(peer.0, peer.0, table))
    }

    /// The generation of the table an earlier process left for this peer, if there is one.
    #[must_use]
    pub fn generation(&self, peer: PeerSlot) -> Option<u32> {
        self.tables.generation(peer.0)
    }

    /// Replaces a published peer's mode and families; its sets, which are those of `table`, stay.
    ///
    /// # Errors
    /// As [`Filter::publish`].
    pub fn publish_rules(&mut self, peer: PeerSlot, table: &Table<'_>) -> Result<(), Error> {
        self.tested(peer, table, |tables| tables.publish_rules(peer.0, table))
    }

    /// What the tables take up.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.tables.memory()
    }

    /// Says from where a peer's frames come: adds first, then removes what is no longer listed.
    ///
    /// # Errors
    /// [`Error::StationTaken`] if another peer holds one of them: nothing is changed then; map errors.
    pub fn set_stations(&mut self, peer: PeerSlot, stations: &[Station]) -> Result<(), Error> {
        if let Some(station) = stations
            .iter()
            .find(|station| station.ifindex > MAX_IFINDEX)
        {
            return Err(Error::IfindexTooLarge {
                name: format!("of {}", station.mac),
                index: station.ifindex,
            });
        }
        let wanted: Vec<PeerKey> = stations.iter().map(Station::key).collect();
        for (station, key) in stations.iter().zip(&wanted) {
            if let Some(&owner) = self
                .stations
                .known()
                .get(key)
                .filter(|&&owner| owner != peer.0)
            {
                return Err(Error::StationTaken {
                    mac: station.mac,
                    owner: PeerSlot(owner),
                });
            }
        }
        for key in &wanted {
            self.stations.insert(key, peer.0)?;
        }
        let held = self.stations.known().iter();
        let gone: Vec<PeerKey> = held
            .filter(|&(key, &owner)| owner == peer.0 && !wanted.contains(key))
            .map(|(key, _)| *key)
            .collect();
        self.stations.remove(&gone)
    }

    /// Says from where every peer's frames come, all at once: a station that changes hands is nobody's at no time.
    /// Stations of whoever is not listed go.
    ///
    /// # Errors
    /// Map errors.
    pub fn assign_stations(&mut self, stations: &BTreeMap<Station, PeerSlot>) -> Result<(), Error> {
        let wanted: BTreeMap<PeerKey, u32> = stations
            .iter()
            .map(|(station, slot)| (station.key(), slot.0))
            .collect();
        for (key, &slot) in &wanted {
            self.stations.insert(key, slot)?;
        }
        let held = self.stations().map(|(station, _)| station.key());
        let gone: Vec<PeerKey> = held.filter(|key| !wanted.contains_key(key)).collect();
        self.stations.remove(&gone)
    }

    /// From where each peer's frames come now, also as an earlier process left it.
    pub fn stations(&self) -> impl Iterator<Item = (Station, PeerSlot)> {
        let all = self.stations.known().iter();
        all.filter(|&(_, &slot)| slot != SELF_TEST)
            .map(|(key, &slot)| (Station::from_key(key), PeerSlot(slot)))
    }

    /// A peer's counters.
    ///
    /// # Errors
    /// Map errors.
    pub fn counters(&self, peer: PeerSlot) -> Result<Counters, Error> {
        self.read_counters(peer.0)
    }

    /// What came in on an interface and belongs to no peer.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`] if it was never set; map errors.
    pub fn interface_counters(&self, name: &str) -> Result<Counters, Error> {
        let slot = self.interface_slot(name);
        self.read_counters(slot.ok_or_else(|| Error::UnknownInterface(name.to_owned()))?)
    }

    fn read_counters(&self, slot: u32) -> Result<Counters, Error> {
        stats::read(&self.counter_map()?, slot)
    }

    fn counter_map(&self) -> Result<PerCpuArray<&MapData, [u64; 2]>, Error> {
        let missing = || Error::Map {
            map: map::COUNTERS,
            why: "the object has no such map".to_owned(),
        };
        let counters = self.ebpf.map(map::COUNTERS).ok_or_else(missing)?;
        PerCpuArray::try_from(counters).map_err(Error::map(map::COUNTERS))
    }

    /// The reading end of the samples; there is one.
    ///
    /// # Errors
    /// If it was taken before.
    pub fn take_samples(&mut self) -> Result<Samples, Error> {
        let missing = || Error::Map {
            map: map::SAMPLES,
            why: "already taken".to_owned(),
        };
        let ring = self.ebpf.take_map(map::SAMPLES).ok_or_else(missing)?;
        Ok(Samples::new(
            RingBuf::try_from(ring).map_err(Error::map(map::SAMPLES))?,
        ))
    }

    /// Samples lost because nobody read the ring in time.
    ///
    /// # Errors
    /// Map errors.
    pub fn samples_lost(&self) -> Result<u64, Error> {
        let missing = || Error::Map {
            map: map::SAMPLES_LOST,
            why: "the object has no such map".to_owned(),
        };
        let lost = self.ebpf.map(map::SAMPLES_LOST).ok_or_else(missing)?;
        let lost: PerCpuArray<_, u64> =
            PerCpuArray::try_from(lost).map_err(Error::map(map::SAMPLES_LOST))?;
        Ok(lost
            .get(&0, 0)
            .map_err(Error::map(map::SAMPLES_LOST))?
            .iter()
            .sum())
    }

    /// The enforcement lease.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Runs the program on a frame as if it had come in on [`TEST_IFINDEX`] (BPF_PROG_TEST_RUN): counters and
    /// samples are written as for a real one.
    ///
    /// # Errors
    /// What the kernel says; frames under 14 bytes cannot be run.
    pub fn run(&mut self, frame: &[u8], repeat: u32) -> Result<Ran, Error> {
        let program = object::program(&mut self.ebpf, self.program)?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.repeat = repeat;
        let result = program
            .test_run(options)
            .map_err(|error| Error::Load(format!("test run: {}", chain(&error))))?;
        Ok(Ran::of(&result))
    }

    /// The self-test's own station, and nothing left of a self-test that did not end.
    fn prepare_self_test(&mut self) -> Result<(), Error> {
        if !self.self_test {
            return Ok(());
        }
        let key = peer_key(TEST_IFINDEX, Vlans::default(), selftest::STATION);
        self.stations.insert(&key, SELF_TEST)?;
        // Never due: its violations are not news.
        let mut due: Array<_, u64> = self.map_mut(map::SAMPLE_DUE)?;
        due.set(SELF_TEST, u64::MAX / 2, 0)
            .map_err(Error::map(map::SAMPLE_DUE))?;
        self.tables.retire(SELF_TEST)
    }

    /// Runs known packets through the program against these sets, in the self-test's slot, and if all is well lets
    /// them go live. Sets are shared by content, so what goes live are the very lines that were tested.
    fn tested(
        &mut self,
        peer: PeerSlot,
        table: &Table<'_>,
        go_live: impl FnOnce(&mut dyn Tables) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.self_test {
            return go_live(self.tables.as_mut());
        }
        #[cfg(feature = "test-hooks")]
        let planted = Table {
            sources: table.destinations,
            ..*table
        };
        #[cfg(feature = "test-hooks")]
        let staged = if self.planted_bug { &planted } else { table };
        #[cfg(not(feature = "test-hooks"))]
        let staged = table;
        self.tables.publish(SELF_TEST, peer.0, staged)?;
        let done = self
            .run_probes(peer, table)
            .and_then(|()| go_live(self.tables.as_mut()));
        self.tables.retire(SELF_TEST)?;
        done
    }

    fn run_probes(&mut self, peer: PeerSlot, table: &Table<'_>) -> Result<(), Error> {
        let ifindex = self
            .stations
            .known()
            .iter()
            .find(|&(_, &owner)| owner == peer.0)
            .map(|(key, _)| key_ifindex(key));
        let spec = ifindex
            .and_then(|ifindex| self.specs.get(&ifindex))
            .cloned()
            .unwrap_or_else(InterfaceSpec::bare);
        let record = spec.record()?;
        let known = selftest::Known {
            interface: &spec,
            record: &record,
            bogons: &self.lists.0,
            ours: &self.lists.1,
        };
        let probes = selftest::probes(&known, table);
        let mut records: Array<_, [u64; Interface::WORDS]> = self.map_mut(map::INTERFACES)?;
        records
            .set(SELF_TEST, record.0, 0)
            .map_err(Error::map(map::INTERFACES))?;
        let before = self.swap_test_interface(SELF_TEST << 16 | SELF_TEST)?;
        let tested = self.run_each(peer, &probes);
        self.swap_test_interface(before)?;
        tested
    }

    /// Says what the program knows of [`TEST_IFINDEX`], and returns what it knew.
    fn swap_test_interface(&mut self, entry: u32) -> Result<u32, Error> {
        let mut slots: Array<_, u32> = self.map_mut(map::INTERFACE_SLOTS)?;
        let before = slots
            .get(&TEST_IFINDEX, 0)
            .map_err(Error::map(map::INTERFACE_SLOTS))?;
        slots
            .set(TEST_IFINDEX, entry, 0)
            .map_err(Error::map(map::INTERFACE_SLOTS))?;
        Ok(before)
    }

    /// Every packet must have counted once, for the reason expected, and none for any other.
    fn run_each(&mut self, peer: PeerSlot, probes: &[Probe]) -> Result<(), Error> {
        let before = self.read_counters(SELF_TEST)?;
        let mut expected: BTreeMap<Reason, u64> = BTreeMap::new();
        for probe in probes {
            self.run(&probe.frame, 1)?;
            let packets = expected.entry(probe.expected).or_default();
            *packets += 1;
            let now = stats::read_one(&self.counter_map()?, SELF_TEST, probe.expected)?;
            if now.packets() != before.packets(probe.expected) + *packets {
                return Err(self.wrong(peer, probe, &before, &expected));
            }
        }
        let counted = self.read_counters(SELF_TEST)?.since(&before);
        match probes.last() {
            Some(last) if counted.total().packets() != probes.len() as u64 => {
                Err(self.wrong(peer, last, &before, &expected))
            }
            _ => Ok(()),
        }
    }

    /// Names what a packet counted for instead.
    fn wrong(
        &self,
        peer: PeerSlot,
        probe: &Probe,
        before: &Counters,
        expected: &BTreeMap<Reason, u64>,
    ) -> Error {
        let counted = match self.read_counters(SELF_TEST) {
            Ok(now) => now.since(before),
            Err(error) => return error,
        };
        let surplus = |&(reason, fates): &(Reason, stats::Fates)| {
            fates.packets() > expected.get(&reason).copied().unwrap_or(0)
        };
        let got = counted.nonzero().find(surplus);
        Error::SelfTest {
            slot: peer.0,
            what: probe.what.clone(),
            expected: probe.expected,
            got: got.map_or("nothing", |(reason, _)| reason.name()),
        }
    }

    /// Makes every table come out wrong, as a mistake of the compiler would.
    #[cfg(feature = "test-hooks")]
    #[doc(hidden)]
    pub fn plant_bug(&mut self, planted: bool) {
        self.planted_bug = planted;
    }

    /// The slot of a name within a range, if it has one or one is free.
    fn take_slot(&mut self, name: &str, range: std::ops::Range<u32>) -> Option<Result<u32, Error>> {
        let hash = name_hash(name);
        if let Some((&slot, _)) = self
            .names
            .range(range.clone())
            .find(|&(_, &held)| held == hash)
        {
            return Some(Ok(slot));
        }
        let free = range
            .into_iter()
            .find(|slot| !self.names.contains_key(slot))?;
        Some(self.claim(free, hash).map(|()| free))
    }

    /// Gives an interface's slot back.
    fn release(&mut self, name: &str) -> Result<(), Error> {
        let Some(slot) = self.interface_slot(name) else {
            return Ok(());
        };
        self.meta()?
            .set(slot, [0, 0], 0)
            .map_err(Error::map(map::META))?;
        self.names.remove(&slot);
        Ok(())
    }

    fn interface_slot(&self, name: &str) -> Option<u32> {
        let hash = name_hash(name);
        let mut interfaces = self.names.range(..MAX_INTERFACES);
        interfaces
            .find(|&(_, &held)| held == hash)
            .map(|(&slot, _)| slot)
    }

    fn claim(&mut self, slot: u32, hash: u64) -> Result<(), Error> {
        let zeros = nix_cpus()?;
        let mut counters: PerCpuArray<_, [u64; 2]> = self.per_cpu_mut(map::COUNTERS)?;
        for reason in Reason::ALL {
            for dropped in [false, true] {
                let values = PerCpuValues::try_from(vec![[0; 2]; zeros])
                    .map_err(Error::os("cannot count the cpus"))?;
                counters
                    .set(counter_index(slot, reason, dropped), values, 0)
                    .map_err(Error::map(map::COUNTERS))?;
            }
        }
        self.meta()?
            .set(slot, [hash, 0], 0)
            .map_err(Error::map(map::META))?;
        self.names.insert(slot, hash);
        Ok(())
    }

    fn meta(&mut self) -> Result<Array<&mut MapData, [u64; 2]>, Error> {
        self.map_mut(map::META)
    }

    fn map_mut<V: aya::Pod>(
        &mut self,
        name: &'static str,
    ) -> Result<Array<&mut MapData, V>, Error> {
        let missing = || Error::Map {
            map: name,
            why: "the object has no such map".to_owned(),
        };
        Array::try_from(self.ebpf.map_mut(name).ok_or_else(missing)?).map_err(Error::map(name))
    }

    fn per_cpu_mut<V: aya::Pod>(
        &mut self,
        name: &'static str,
    ) -> Result<PerCpuArray<&mut MapData, V>, Error> {
        let missing = || Error::Map {
            map: name,
            why: "the object has no such map".to_owned(),
        };
        PerCpuArray::try_from(self.ebpf.map_mut(name).ok_or_else(missing)?)
            .map_err(Error::map(name))
    }
}

/// The array of this name, to be mapped.
pub(crate) fn array<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<&'a MapData, Error> {
    match ebpf.map(name) {
        Some(aya::maps::Map::Array(data)) => Ok(data),
        _ => Err(Error::Map {
            map: name,
            why: "the object has no such array".to_owned(),
        }),
    }
}

/// `XDP_PASS` of include/uapi/linux/bpf.h.
const XDP_PASS: u32 = 2;

fn nix_cpus() -> Result<usize, Error> {
    aya::util::nr_cpus().map_err(|(path, source)| Error::Os {
        what: format!("cannot read `{path}`"),
        source,
    })
}

/// FNV-1a, 64 bits: names a slot's holder across restarts. Zero is "nobody".
fn name_hash(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter")
            .field("program", &self.program)
            .field("hooks", &self.hooks)
            .finish_non_exhaustive()
    }
}
