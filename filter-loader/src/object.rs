//! The compiled programs that come with this crate, and how they are loaded.
//! Built by `cargo xtask build-ebpf`, committed, never built here.
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use aya::maps::{MapInfo, ProgramArray};
use aya::programs::{Program, ProgramError, SchedClassifier, Xdp};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use filter_core::layout::{MAX_INTERFACES, Rate, counter_entries, map};

use crate::clock;
use crate::device::Device;
use crate::error::{Error, chain, os_error};

static TABLES: &[u8] = include_bytes_aligned!("../bpf/bcp38.o");
static BASELINE: &[u8] = include_bytes_aligned!("../bpf/baseline.o");
#[cfg(feature = "bench")]
static BENCH: &[u8] = include_bytes_aligned!("../bpf/bench.o");

/// What looks addresses up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// The compiled tables: the product.
    #[default]
    Tables,
    /// The kernel's longest-prefix-match tries: the baseline of benchmarks and differential tests. A packet
    /// may see a mix of two of its tables.
    Lpm,
    /// The compiled tables, with the programs only benchmarks run beside them.
    #[cfg(feature = "bench")]
    #[doc(hidden)]
    BenchTables,
    /// The tries, with the programs only benchmarks run beside them.
    #[cfg(feature = "bench")]
    #[doc(hidden)]
    BenchLpm,
    /// The compiled tables in another build of the object operators run, aligned to eight bytes.
    #[cfg(feature = "bench")]
    #[doc(hidden)]
    BenchObject(&'static [u8]),
}

impl Engine {
    /// Does it keep compiled tables in an arena?
    pub(crate) fn is_compiled(self) -> bool {
        match self {
            Self::Tables => true,
            Self::Lpm => false,
            #[cfg(feature = "bench")]
            Self::BenchTables | Self::BenchObject(_) => true,
            #[cfg(feature = "bench")]
            Self::BenchLpm => false,
        }
    }

    fn object(self) -> &'static [u8] {
        match self {
            Self::Tables => TABLES,
            Self::Lpm => BASELINE,
            #[cfg(feature = "bench")]
            Self::BenchTables | Self::BenchLpm => BENCH,
            #[cfg(feature = "bench")]
            Self::BenchObject(object) => object,
        }
    }

    /// The program in XDP for a kernel of this version.
    fn in_xdp(self, version: Option<KernelVersion>) -> &'static str {
        match self {
            Self::Tables if version.is_some_and(|version| version < FRAGS_SINCE) => "bcp38_linear",
            Self::Tables | Self::Lpm => "bcp38",
            #[cfg(feature = "bench")]
            Self::BenchTables => "tables_hot",
            #[cfg(feature = "bench")]
            Self::BenchLpm => "lpm_hot",
            #[cfg(feature = "bench")]
            Self::BenchObject(_) => "bcp38",
        }
    }
}

/// MiB of one chunk of the tables' memory; see `filter_core::table`.
pub(crate) const CHUNK_MIB: u32 = 4;

/// The program that returns the time on the clock of the lease.
pub(crate) const CLOCK: &str = "bcp38_clock";

/// The program for frames whose headers lie in several buffers, of the objects that have one.
const SPLIT: &str = "bcp38_split";
/// The constant that says whether `bcp38` may hand frames over to it.
const JUDGES_SPLIT: &str = "JUDGES_SPLIT";

/// How many samples a quiet slot may send at once.
const SAMPLE_BURST: u32 = 10;
/// This part of a second's ICMP errors may come at once.
const ICMP_BURST_PART: u32 = 10;

/// How large the maps are made, and where they are kept.
pub(crate) struct Sizes<'a> {
    pub max_peers: u32,
    pub table_chunks: u32,
    pub samples_per_second: u32,
    pub icmp_errors_per_second: u32,
    pub pins: Option<&'a Path>,
}

/// Maps that outlive the daemon. The tables' own are added by their engine.
const PINNED: &[&str] = &[
    map::INTERFACE_SLOTS,
    map::FAR_INTERFACES,
    map::INTERFACES,
    map::NETWORKS,
    map::TAGS,
    map::PEERS,
    map::STATIONS,
    map::SENDERS,
    map::COUNTERS,
    map::UNRECORDED,
    map::SAMPLE_DUE,
    map::ICMP_DUE,
    map::SAMPLES,
    map::SAMPLES_LOST,
    map::LEASE,
    map::WANTED,
    map::ALLOWED,
    map::META,
    map::TABLES,
    map::SUSPECTS,
    map::SLOTS,
    map::DEPARTED,
    map::EVIDENCE,
    map::SPLIT,
];

/// Kernels before this one know neither multi-buffer XDP nor its helper.
const FRAGS_SINCE: KernelVersion = KernelVersion::new(5, 18, 0);

/// Loads the object and its programs in XDP; those at tc when they are needed.
///
/// A kernel may refuse only the jump from one program to the other: not every one's compiler for the processor at hand takes it in
/// a program with functions, and its interpreter does not. The filter is worth more than those frames.
pub(crate) fn load(engine: Engine, sizes: &Sizes<'_>) -> Result<(Ebpf, Programs), Error> {
    let version = KernelVersion::current().ok();
    if version.is_some_and(|version| version < FRAGS_SINCE) {
        return load_as(engine, sizes, Frames::FirstBuffer);
    }
    match load_as(engine, sizes, Frames::Whole) {
        Err(Error::Load(why)) => {
            let loaded = load_as(engine, sizes, Frames::FirstBuffer)?;
            log::warn!(
                "headers are read from a frame's first buffer only: where a driver splits them off, frames are malformed. \
                 The kernel refuses the program that reads on: {why}"
            );
            Ok(loaded)
        }
        loaded => loaded,
    }
}

/// Where headers may lie in a frame in XDP.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Frames {
    /// Wherever they are.
    Whole,
    /// In the first buffer, or they are not seen.
    FirstBuffer,
}

fn load_as(engine: Engine, sizes: &Sizes<'_>, frames: Frames) -> Result<(Ebpf, Programs), Error> {
    let slots = MAX_INTERFACES + sizes.max_peers;
    let tick = u64::try_from(clock::tick()?.as_nanos()).unwrap_or(u64::MAX);
    let samples = Rate::new(sizes.samples_per_second, SAMPLE_BURST, tick);
    let icmp = sizes.icmp_errors_per_second;
    let icmp = Rate::new(icmp, icmp / ICMP_BURST_PART, tick);
    let stations = sizes.max_peers.saturating_mul(STATIONS_PER_PEER);
    let mut loader = EbpfLoader::new();
    loader
        .override_global("SAMPLE_INTERVAL", &samples.interval, true)
        .override_global("SAMPLE_AHEAD", &samples.ahead, true)
        .override_global("ICMP_INTERVAL", &icmp.interval, true)
        .override_global("ICMP_AHEAD", &icmp.ahead, true)
        .map_max_entries(map::PEERS, stations)
        .map_max_entries(map::SENDERS, stations.saturating_mul(SENDERS_PER_STATION))
        .map_max_entries(map::COUNTERS, counter_entries(slots))
        .map_max_entries(map::SAMPLE_DUE, slots)
        .map_max_entries(map::ICMP_DUE, slots)
        .map_max_entries(map::WANTED, slots)
        .map_max_entries(map::ALLOWED, slots)
        .map_max_entries(map::META, slots);
    if frames == Frames::FirstBuffer {
        loader.override_global(JUDGES_SPLIT, &0u64, true);
    }
    if engine.is_compiled() {
        loader
            .map_max_entries(map::TABLES, sizes.table_chunks)
            .map_max_entries(map::SLOTS, slots)
            .map_max_entries(map::DEPARTED, slots)
            .map_max_entries(map::EVIDENCE, slots);
    } else {
        loader.map_max_entries(map::LPM_PEERS, slots);
    }
    if let Some(pins) = sizes.pins {
        check_sizes(pins, engine, sizes)?;
        for name in PINNED {
            loader.map_pin_path(name, pins.join(name));
        }
    }
    let mut ebpf = loader
        .load(engine.object())
        .map_err(|error| refused(&error))?;
    let has_split = frames == Frames::Whole && ebpf.program(SPLIT).is_some();
    let programs = Programs {
        xdp: engine.in_xdp(KernelVersion::current().ok()),
        split: has_split.then_some(SPLIT),
    };
    #[cfg(feature = "test-hooks")]
    if has_split && crate::hooks::is_split_refused() {
        return Err(Error::Load("as the test wants it".to_owned()));
    }
    for name in [programs.xdp, CLOCK].into_iter().chain(programs.split) {
        xdp(&mut ebpf, name)?;
    }
    Ok((ebpf, programs))
}

/// Pinned maps keep the size they were made with, and the loader would write past their end.
fn check_sizes(pins: &Path, engine: Engine, sizes: &Sizes<'_>) -> Result<(), Error> {
    let slots = MAX_INTERFACES + sizes.max_peers;
    let mut wanted = vec![(map::META, slots, MAX_INTERFACES, 1, "peers")];
    if engine.is_compiled() {
        wanted.push((
            map::TABLES,
            sizes.table_chunks,
            0,
            CHUNK_MIB,
            "MiB of tables",
        ));
    }
    for (name, entries, offset, unit, what) in wanted {
        let Ok(pinned) = MapInfo::from_pin(pins.join(name)) else {
            continue; // there is none yet
        };
        let found = pinned.max_entries();
        if found != entries {
            let [found, asked] =
                [found, entries].map(|entries| entries.saturating_sub(offset) * unit);
            return Err(Error::ForeignState {
                path: pins.to_owned(),
                why: format!("it has room for {found} {what}, this configuration asks for {asked}"),
            });
        }
    }
    Ok(())
}

/// Source MACs (times VLANs and interfaces) the peer hash holds per peer, on average.
const STATIONS_PER_PEER: u32 = 4;
/// Session addresses that are followed per station the peer hash has room for, on average: see `Filter::follow`.
pub const SENDERS_PER_STATION: u32 = 4;

/// What a program is made for: where it runs, and what the frames it reads start with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shell {
    /// In XDP.
    #[default]
    Xdp,
    /// At tc, on a device whose frames have an Ethernet header.
    Tc,
    /// At tc, on a device whose packets start with the IP header.
    Bare,
}

impl Shell {
    /// The names of the programs at tc, which are the same in every object.
    pub(crate) const AT_TC: [&str; 2] = [Self::Tc.at_tc(), Self::Bare.at_tc()];

    const fn at_tc(self) -> &'static str {
        match self {
            Self::Bare => "bcp38_bare",
            Self::Xdp | Self::Tc => "bcp38_tc",
        }
    }

    /// The one at tc for a device.
    pub(crate) const fn tc(device: &Device) -> Self {
        if device.is_ethernet() {
            Self::Tc
        } else {
            Self::Bare
        }
    }

    /// Was the packet dropped, of which the program returned this?
    pub(crate) const fn is_drop(self, answer: u32) -> bool {
        match self {
            Self::Xdp => answer != XDP_PASS,
            Self::Tc | Self::Bare => answer == TC_ACT_SHOT,
        }
    }
}

/// `XDP_PASS` of include/uapi/linux/bpf.h.
const XDP_PASS: u32 = 2;
/// `TC_ACT_SHOT` of include/uapi/linux/pkt_cls.h.
const TC_ACT_SHOT: u32 = 2;

/// The names of an object's programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Programs {
    pub xdp: &'static str,
    /// Of frames whose headers lie in several buffers.
    split: Option<&'static str>,
}

impl Programs {
    pub(crate) const fn name(self, shell: Shell) -> &'static str {
        match shell {
            Shell::Xdp => self.xdp,
            Shell::Tc | Shell::Bare => shell.at_tc(),
        }
    }
}

/// Puts the program for frames whose headers lie in several buffers where the one in XDP finds it: also the one that an earlier
/// process left on a device.
pub(crate) fn lead_to_split(ebpf: &mut Ebpf, programs: Programs) -> Result<(), Error> {
    let Some(name) = programs.split else {
        return Ok(());
    };
    let program = xdp(ebpf, name)?
        .fd()
        .map_err(|error| Error::Load(chain(&error)))?;
    let program = program
        .try_clone()
        .map_err(Error::os("cannot share the program"))?;
    let missing = || Error::Map {
        map: map::SPLIT,
        why: "the object has no such map".to_owned(),
    };
    let map = ebpf.map_mut(map::SPLIT).ok_or_else(missing)?;
    let mut leads: ProgramArray<_> = map.try_into().map_err(Error::map(map::SPLIT))?;
    leads.set(0, &program, 0).map_err(Error::map(map::SPLIT))
}

/// The program of this name in XDP, loaded.
pub(crate) fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, Error> {
    let program: &mut Xdp = find(ebpf, name)?
        .try_into()
        .map_err(|error: ProgramError| Error::Load(chain(&error)))?;
    if program.fd().is_err() {
        program.load().map_err(|error| refused(&error))?;
    }
    Ok(program)
}

/// The program of this name at tc, loaded.
pub(crate) fn classifier<'a>(
    ebpf: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut SchedClassifier, Error> {
    let program: &mut SchedClassifier = find(ebpf, name)?
        .try_into()
        .map_err(|error: ProgramError| Error::Load(chain(&error)))?;
    if program.fd().is_err() {
        program.load().map_err(|error| refused(&error))?;
    }
    Ok(program)
}

/// The number of a program in the kernel; it is loaded if it was not.
pub(crate) fn id(ebpf: &mut Ebpf, name: &str) -> Result<u32, Error> {
    let info = match find(ebpf, name)? {
        Program::Xdp(_) => xdp(ebpf, name)?.info(),
        _ => classifier(ebpf, name)?.info(),
    };
    info.map(|info| info.id())
        .map_err(|error| Error::Load(chain(&error)))
}

/// A descriptor of a program; it is loaded if it was not.
pub(crate) fn descriptor(ebpf: &mut Ebpf, name: &str) -> Result<OwnedFd, Error> {
    let fd = match find(ebpf, name)? {
        Program::Xdp(_) => xdp(ebpf, name)?.fd(),
        _ => classifier(ebpf, name)?.fd(),
    };
    let fd = fd
        .map_err(|error| Error::Load(chain(&error)))?
        .as_fd()
        .try_clone_to_owned();
    fd.map_err(Error::os("cannot share the program"))
}

fn find<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Program, Error> {
    let missing = || Error::Load(format!("the object has no program `{name}`"));
    ebpf.program_mut(name).ok_or_else(missing)
}

/// Distinguishes missing privileges, for which the kernel answers EPERM, from a kernel that lacks the feature.
fn refused(error: &(dyn std::error::Error + 'static)) -> Error {
    match os_error(error) {
        Some(libc_errno::EPERM) => Error::Privileges,
        _ => Error::Load(chain(error)),
    }
}

mod libc_errno {
    pub(super) const EPERM: i32 = nix::errno::Errno::EPERM as i32;
}
