//! The loaded filter: interfaces, peers, their tables, counters, samples. The one writer of the maps.
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray, PerCpuValues};
use aya::programs::{TestRun, TestRunOptions, TestRunResult};
use filter_core::layout::station::MAX_SLOTS;
use filter_core::layout::{
    List, MAX_INTERFACES, SCHEMA, Suspects, WHOLE_FILTER, counter_index, map,
};
use filter_core::{Classes, Family, Reason};

use crate::arena::{self, Arena};
use crate::attach::Hook;
use crate::clock::Clock;
use crate::device::InterfaceSpec;
use crate::error::{Error, chain};
use crate::former::Former;
use crate::lease::Lease;
use crate::mapped::array;
use crate::object::{self, CHUNK_MIB, CLOCK, Engine, Programs, Shell, Sizes};
use crate::pin::PinDir;
use crate::selftest::Lists;
use crate::senders::Senders;
use crate::slot::{PeerSlot, fnv};
use crate::stations::Stations;
use crate::switch::{self, Holder};
use crate::tables::{Memory, PeerTables, TableStore};
use crate::tries::Tries;

mod attachment;
mod counts;
mod gate;
mod heard;
mod interfaces;
mod peers;
mod tagged;
mod watch;

pub use heard::{Followed, Heard};
pub use watch::Met;

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
    pub table_memory_mib: u32,
    /// Sampled violations per second and peer; 0 for none.
    pub samples_per_second: u32,
    /// ICMP errors that may pass per second and peer, and as many that say "packet too big"; 0 for none.
    pub icmp_errors_per_second: u32,
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
            table_memory_mib: 64,
            samples_per_second: 10,
            icmp_errors_per_second: 1_000,
            engine: Engine::Tables,
            self_test: true,
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
    pub(crate) fn of(shell: Shell, result: &TestRunResult) -> Self {
        Self {
            dropped: shell.is_drop(result.return_value),
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
pub(crate) const META_MAGIC: u64 = 0x6263_7033_0000_0000;

/// The filter in the kernel. Dropping it detaches and frees everything, except what is pinned.
pub struct Filter {
    pub(crate) ebpf: Ebpf,
    pub(crate) programs: Programs,
    /// What test runs go through, and what counts them.
    pub(crate) tested_at: Shell,
    pub(crate) tables: Box<dyn TableStore>,
    lease: Lease,
    watch: watch::Watch,
    pub(crate) switch: switch::Both,
    pub(crate) pins: Option<PinDir>,
    /// What a version with another schema left, as long as it filters anywhere. Dropped after `pins`.
    pub(crate) former: Option<Former>,
    hooks: BTreeMap<String, Hook>,
    /// Interfaces whose packets are counted at tc, by name.
    at_tc: BTreeSet<String>,
    stations: Stations,
    senders: Senders,
    /// Slot → hash of the name that holds it.
    names: BTreeMap<u32, u64>,
    /// Slot of an interface → its index.
    indices: BTreeMap<u32, u32>,
    /// Every index that leads to an interface's record → its slot: the interface's own, and those of a bond's members.
    leading: BTreeMap<u32, u32>,
    /// Key of tags → place of their network.
    tagged: BTreeMap<u64, u32>,
    max_slots: u32,
    /// What was last written of each interface, by index: the self-test runs packets as if they came in there.
    specs: BTreeMap<u32, InterfaceSpec>,
    /// As last published.
    lists: Lists,
    self_test: bool,
    is_compiled: bool,
    /// By slot.
    tested: BTreeMap<u32, gate::Tested>,
    /// An earlier process left its maps to this one.
    took_over: bool,
    #[cfg(feature = "test-hooks")]
    planted: gate::Planted,
    /// Bytes of a frame that test runs in XDP have in the first buffer; all if `None`.
    #[cfg(feature = "test-hooks")]
    linear: Option<u32>,
}

impl Filter {
    /// Loads the programs and makes, or takes over, the maps. Nothing is attached yet.
    ///
    /// # Errors
    /// [`Error::Privileges`], [`Error::Load`], [`Error::Pin`], [`Error::ForeignState`], [`Error::SecondWriter`].
    pub fn load(options: &Options) -> Result<Self, Error> {
        let (pins, former) = match &options.pins {
            Some(dir) => {
                let (pins, former) = Former::set_aside(dir)?;
                (Some(pins), former)
            }
            None => (None, None),
        };
        match Self::load_with(options, pins.as_ref()) {
            Ok(filter) => {
                let filter = Self {
                    pins,
                    former,
                    ..filter
                };
                if !filter.took_over && filter.former_forbids(Holder::WholeFilter) {
                    filter.switch.allow(WHOLE_FILTER, Classes::NONE);
                }
                Ok(filter)
            }
            Err(error) => {
                drop(pins); // before what is former: only then may it go back to its place
                drop(former);
                Err(error)
            }
        }
    }

    fn load_with(options: &Options, pins: Option<&PinDir>) -> Result<Self, Error> {
        let sizes = Sizes {
            max_peers: options.max_peers.min(MAX_SLOTS - MAX_INTERFACES),
            table_chunks: options.table_memory_mib.div_ceil(CHUNK_MIB).max(1),
            samples_per_second: options.samples_per_second,
            icmp_errors_per_second: options.icmp_errors_per_second,
            pins: pins.map(PinDir::path),
        };
        let (mut ebpf, programs) = object::load(options.engine, &sizes)?;
        let clock = clock(&mut ebpf)?;
        let lease = Lease::map(array(&ebpf, map::LEASE)?, clock)?;
        let switch = switch::Both::map(array(&ebpf, map::WANTED)?, array(&ebpf, map::ALLOWED)?)?;
        let tables: Box<dyn TableStore> = if options.engine.is_compiled() {
            let maps = arena::Maps {
                tables: array(&ebpf, map::TABLES)?,
                slots: array(&ebpf, map::SLOTS)?,
                departed: array(&ebpf, map::DEPARTED)?,
            };
            Box::new(Arena::new(&maps, SELF_TEST)?)
        } else {
            Box::new(Tries::new(&mut ebpf)?)
        };
        let watch = watch::Watch::map(&ebpf, options.engine)?;
        let stations = Stations::new(&mut ebpf)?;
        let senders = Senders::new(&mut ebpf)?;
        let mut filter = Self {
            ebpf,
            programs,
            tested_at: Shell::Xdp,
            at_tc: BTreeSet::new(),
            tables,
            lease,
            watch,
            switch,
            pins: None,
            former: None,
            hooks: BTreeMap::new(),
            stations,
            senders,
            names: BTreeMap::new(),
            indices: BTreeMap::new(),
            leading: BTreeMap::new(),
            tagged: BTreeMap::new(),
            max_slots: 0,
            specs: BTreeMap::new(),
            lists: Lists::default(),
            self_test: options.self_test && options.engine.is_compiled(),
            is_compiled: options.engine.is_compiled(),
            tested: BTreeMap::new(),
            took_over: false,
            #[cfg(feature = "test-hooks")]
            planted: gate::Planted::default(),
            #[cfg(feature = "test-hooks")]
            linear: None,
        };
        filter.adopt(options.fingerprint, pins)?;
        object::lead_to_split(&mut filter.ebpf, filter.programs)?;
        filter.prepare_self_test()?;
        Ok(filter)
    }

    /// Reads what an earlier process left, or marks the maps as ours.
    fn adopt(&mut self, fingerprint: u64, pins: Option<&PinDir>) -> Result<(), Error> {
        let meta = self.meta()?;
        let ours = [META_MAGIC | u64::from(SCHEMA), fingerprint];
        let slots = meta.len();
        match meta.get(&0, 0).map_err(Error::map(map::META))? {
            [0, 0] => {
                self.switch.allow_all();
                self.meta()?
                    .set(0, ours, 0)
                    .map_err(Error::map(map::META))?;
            }
            found if found == ours => self.took_over = true,
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
        let meta = self.meta()?;
        for slot in 1..slots {
            let [name, _] = meta.get(&slot, 0).map_err(Error::map(map::META))?;
            if name != 0 {
                names.insert(slot, name);
            }
        }
        self.max_slots = slots;
        self.names = names;
        self.adopt_interfaces(pins)?;
        self.stations.check_copy()
    }

    /// Did an earlier process leave its maps to this one, and with them what operators switched?
    #[must_use]
    pub const fn took_over(&self) -> bool {
        self.took_over
    }

    /// How many peers there is room for.
    #[must_use]
    pub const fn max_peers(&self) -> u32 {
        self.max_slots - MAX_INTERFACES
    }

    /// Sets the two lists that name a violation's reason: bogons and `[router] prefixes`.
    ///
    /// # Errors
    /// As [`Filter::publish`].
    pub fn publish_lists(&mut self, table: &PeerTables<'_>) -> Result<(), Error> {
        // While the lists are replaced both generations' first bytes are suspect.
        let before = self.suspects()?;
        let mut after = Suspects::default();
        for family in Family::ALL {
            for (list, set) in [
                (List::Bogons, table.sources),
                (List::Ours, table.destinations),
            ] {
                let ranges = set.family(family).as_slice();
                ranges
                    .iter()
                    .for_each(|&range| after.add(list, family, range));
            }
        }
        self.set_suspects(before.with(&after))?;
        self.replace(LISTS, table)?;
        self.set_suspects(after)?;
        self.lists = Lists {
            bogons: table.sources.clone(),
            ours: table.destinations.clone(),
        };
        Ok(())
    }

    fn suspects(&mut self) -> Result<Suspects, Error> {
        if !self.is_compiled {
            return Ok(Suspects::default());
        }
        let suspects: Array<_, [u64; Suspects::WORDS]> = self.map_mut(map::SUSPECTS)?;
        let words = suspects.get(&0, 0).map_err(Error::map(map::SUSPECTS))?;
        Ok(Suspects(words))
    }

    fn set_suspects(&mut self, suspects: Suspects) -> Result<(), Error> {
        if !self.is_compiled {
            return Ok(());
        }
        let mut map: Array<_, [u64; Suspects::WORDS]> = self.map_mut(map::SUSPECTS)?;
        map.set(0, suspects.0, 0).map_err(Error::map(map::SUSPECTS))
    }

    /// Replaces a peer's table, after its self-test. A packet sees the old one or the new one.
    ///
    /// # Errors
    /// [`Error::TableTooLarge`], [`Error::SelfTest`], [`Error::Session`], map errors; the old table stays.
    pub fn publish(&mut self, peer: PeerSlot, table: &PeerTables<'_>) -> Result<(), Error> {
        self.replace(peer.0, table)
    }

    /// The generation of the table an earlier process left for this peer, if there is one.
    #[must_use]
    pub fn generation(&self, peer: PeerSlot) -> Option<u32> {
        self.tables.generation(peer.0)
    }

    /// What the tables take up.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.tables.memory()
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
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.repeat = repeat;
        #[cfg(feature = "test-hooks")]
        let context = crate::hooks::context(self.linear, frame.len());
        #[cfg(feature = "test-hooks")]
        if self.tested_at == Shell::Xdp {
            options.ctx_in = context.as_ref().map(<[u8; 24]>::as_slice);
        }
        let (shell, name) = (self.tested_at, self.programs.name(self.tested_at));
        let result = match shell {
            Shell::Xdp => object::xdp(&mut self.ebpf, name)?.test_run(options),
            Shell::Tc | Shell::Bare => object::classifier(&mut self.ebpf, name)?.test_run(options),
        };
        let result = result.map_err(|error| Error::Load(format!("test run: {}", chain(&error))))?;
        Ok(Ran::of(shell, &result))
    }

    /// From now on test runs go through this program, and are counted there. Set the interface of [`TEST_IFINDEX`] after it.
    pub fn test_at(&mut self, shell: Shell) {
        self.tested_at = shell;
    }

    /// The hash of the name that holds a slot.
    pub(crate) fn name_in(&self, slot: u32) -> Option<u64> {
        self.names.get(&slot).copied()
    }

    /// From now on test runs in XDP have so many bytes of a frame in the first buffer, and the others in later ones (Linux 6.18).
    #[cfg(feature = "test-hooks")]
    #[doc(hidden)]
    pub fn test_split_at(&mut self, linear: u32) {
        self.linear = Some(linear);
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
    fn release(&mut self, slot: u32) -> Result<(), Error> {
        self.meta()?
            .set(slot, [0, 0], 0)
            .map_err(Error::map(map::META))?;
        self.names.remove(&slot);
        Ok(())
    }

    fn claim(&mut self, slot: u32, hash: u64) -> Result<(), Error> {
        self.clear_counters(slot)?;
        self.switch.reset(slot);
        if self.former_forbids(Holder::Named(hash)) {
            self.switch.allow(slot, Classes::NONE);
        }
        self.meta()?
            .set(slot, [hash, 0], 0)
            .map_err(Error::map(map::META))?;
        self.names.insert(slot, hash);
        Ok(())
    }

    fn clear_counters(&mut self, slot: u32) -> Result<(), Error> {
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

/// The clock of the program, of the object's other program that says what it shows.
fn clock(ebpf: &mut Ebpf) -> Result<Clock, Error> {
    Clock::new(object::descriptor(ebpf, CLOCK)?)
}

fn nix_cpus() -> Result<usize, Error> {
    aya::util::nr_cpus().map_err(|(path, source)| Error::Os {
        what: format!("cannot read `{path}`"),
        source,
    })
}

/// Names a slot's holder across restarts. Zero is a free slot.
pub(crate) fn name_hash(name: &str) -> u64 {
    fnv(name).max(1)
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter")
            .field("programs", &self.programs)
            .field("hooks", &self.hooks)
            .finish_non_exhaustive()
    }
}
