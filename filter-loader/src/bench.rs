//! What only the benchmarks need of a loaded filter: its programs by name, timed, and the list of
//! frames they go through. Never part of the product: only the feature `bench` has it.
use std::fs;
use std::os::fd::{AsFd, AsRawFd};

use aya::Ebpf;
use aya::maps::{Map, MapData};
use aya::programs::{Program, TestRun, TestRunOptions, Xdp};
use filter_core::Prefix;
use filter_core::layout::replay::{ENTRIES, Entry, FRAMES};
use nix::time::{ClockId, clock_gettime};

use crate::error::{Error, chain};
use crate::filter::Filter;
use crate::slot::PeerSlot;
use crate::{mapped, object};

/// A loaded program, to be timed. Threads may share it.
#[derive(Clone, Copy)]
pub struct Timed<'a>(&'a Xdp);

impl Timed<'_> {
    /// Nanoseconds of this thread's processor time per run, in one BPF_PROG_TEST_RUN of this many.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn run(self, frame: &[u8], repeat: u32) -> Result<f64, Error> {
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.repeat = repeat;
        let start = thread_time()?;
        self.0
            .test_run(options)
            .map_err(|error| Error::Load(format!("test run: {}", chain(&error))))?;
        Ok((thread_time()? - start) * 1e9 / f64::from(repeat))
    }

    /// Instructions the verifier went through, bytes of translated and of native code; zero where the kernel does
    /// not say.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn cost(self) -> Result<(u32, u32, u32), Error> {
        let info = self.0.info().map_err(|error| Error::Load(chain(&error)))?;
        Ok((
            info.verified_instruction_count().unwrap_or(0),
            info.size_translated().unwrap_or(0),
            info.size_jitted(),
        ))
    }
}

fn thread_time() -> Result<f64, Error> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map_err(Error::os("cannot read the clock"))?;
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9)
}

impl Filter {
    /// Loads every program of the object that is not loaded yet.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn load_programs(&mut self) -> Result<(), Error> {
        let names: Vec<String> = self
            .ebpf
            .programs()
            .map(|(name, _)| name.to_owned())
            .collect();
        for name in names {
            object::id(&mut self.ebpf, &name)?;
        }
        Ok(())
    }

    /// From now on attaches and runs this program instead of the engine's own.
    pub fn choose(&mut self, name: &'static str) {
        self.programs.xdp = name;
    }

    /// The loaded program of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn timed(&self, name: &str) -> Result<Timed<'_>, Error> {
        match self.ebpf.program(name) {
            Some(Program::Xdp(program)) => Ok(Timed(program)),
            _ => Err(Error::Load(format!(
                "the object has no xdp program `{name}`"
            ))),
        }
    }

    /// Sets what the `_replay` programs go through, over and over.
    ///
    /// # Errors
    /// Map errors.
    pub fn set_frames(&self, frames: &[Entry]) -> Result<(), Error> {
        let data = mapped::array(&self.ebpf, FRAMES)?;
        let bytes = ENTRIES as usize * size_of::<Entry>();
        let memory = mapped::raw(data, bytes, FRAMES)?;
        for (i, entry) in frames.iter().cycle().take(ENTRIES as usize).enumerate() {
            // SAFETY: below ENTRIES, which is what is mapped; there is no other reference into the mapping.
            unsafe {
                memory
                    .as_mut_ptr()
                    .cast::<Entry>()
                    .add(i)
                    .write_unaligned(*entry)
            };
        }
        Ok(())
    }

    /// Adds prefixes to a peer's tries as they are, unlike [`Filter::publish`], which merges them first.
    ///
    /// # Errors
    /// Map errors.
    pub fn insert(
        &mut self,
        peer: PeerSlot,
        sources: &[Prefix],
        destinations: &[Prefix],
    ) -> Result<(), Error> {
        self.tables.insert(peer.0, sources, destinations)
    }
}

/// Bytes the kernel charges for a map, by its fdinfo.
#[must_use]
pub fn map_bytes(ebpf: &Ebpf, name: &str) -> Option<u64> {
    let data: &MapData = match ebpf.map(name)? {
        Map::Array(data) | Map::LpmTrie(data) | Map::HashMap(data) => data,
        _ => return None,
    };
    let info = fs::read_to_string(format!(
        "/proc/self/fdinfo/{}",
        data.fd().as_fd().as_raw_fd()
    ))
    .ok()?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("memlock:"))?;
    line.trim().parse().ok()
}
