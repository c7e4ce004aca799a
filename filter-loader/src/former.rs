//! What a version with another data-plane schema left pinned: its programs go on filtering, by its own tables, until ours take
//! their places, interface by interface. Of it only what no schema changes is read and written: the names of its links, its
//! schema, the lease, and the words that an operator switches it off by.
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use filter_core::Classes;
use filter_core::layout::{SCHEMA, map};
use memmap2::MmapRaw;
use nix::time::{ClockId, clock_gettime};

use crate::clock::Clock;
use crate::device::Device;
use crate::error::Error;
use crate::filter::{Filter, META_MAGIC};
use crate::mapped;
use crate::pin::{PinDir, attached_in};
use crate::switch::{Holder, Named, Switch, Target};

/// Its directory is beside ours, with this after the name. (The BPF file system has no dots in names.)
const SUFFIX: &str = "-former";
/// From this schema on the lease is held against the kernel's timer ticks; before, against CLOCK_MONOTONIC, in nanoseconds.
const TICKS_SINCE: u32 = 4;

/// Where a former version's state is, beside this directory.
pub(crate) fn beside(dir: &Path) -> PathBuf {
    let mut path = dir.as_os_str().to_owned();
    path.push(SUFFIX);
    path.into()
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Former {
    /// Our own directory: while it is not there, what is former may go back to its place.
    own: PathBuf,
    pins: PinDir,
    schema: u32,
    off: Off,
}

/// How an operator's word switches a former version's filter off.
#[derive(Debug)]
pub(crate) struct Off {
    lease: MmapRaw,
    /// By its words, name by name; before it had any, only all at once, by its lease.
    words: Option<Switch>,
    /// The lease has ended, or was ended, and stays so: its tables were let go, and are older by now.
    is_ended: AtomicBool,
}

impl Off {
    /// Of what is pinned in this directory.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(map::LEASE);
        let lease = MapData::from_pin(path).map_err(Error::map(map::LEASE))?;
        let words = match dir.join(map::ALLOWED).exists() {
            true => Some(Switch::open_one(dir)?),
            false => None,
        };
        Ok(Self {
            lease: mapped::raw(&lease, size_of::<u64>(), map::LEASE)?,
            words,
            is_ended: AtomicBool::new(false),
        })
    }

    /// What an operator allows from now on, as far as that version's words can say it: its classes may be others, so where
    /// only some are allowed, none is. Does it know this holder?
    pub(crate) fn permit(&self, of: Holder, classes: Classes) -> Option<Named> {
        let is_all = classes == Classes::ALL;
        let Some(words) = &self.words else {
            if !is_all {
                self.end();
            }
            return None;
        };
        words.permit_held(of, Classes::ALL.when(is_all))
    }

    /// Can a part of it be switched off?
    pub(crate) const fn has_words(&self) -> bool {
        self.words.is_some()
    }

    /// Has an operator switched all of this holder off?
    fn forbids(&self, of: Holder) -> bool {
        let words = self.words.as_ref();
        words.is_some_and(|words| words.allowed_held(of) == Some(Classes::NONE))
    }

    fn end(&self) {
        self.is_ended.store(true, Ordering::Release);
        self.word().store(0, Ordering::Release);
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: the mapping is at least one page, page-aligned, shared, and lives as long as self; the kernel
        // side only reads this word, whole.
        unsafe { AtomicU64::from_ptr(self.lease.as_mut_ptr().cast()) }
    }
}

/// A former version's program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormerProgram {
    /// Its number in the kernel.
    pub program: u32,
    /// The schema of its tables.
    pub schema: u32,
    /// Its lease has ended, so that it drops nothing any more: before this process came, or because an operator switched
    /// something off and that version has no other word for it.
    pub is_off: bool,
}

impl Former {
    /// Opens our directory. What another schema's version left there is put beside it, and returned, as is what was put there
    /// before.
    pub(crate) fn set_aside(dir: &Path) -> Result<(PinDir, Option<Self>), Error> {
        let mut pins = PinDir::open(dir)?;
        let beside = beside(dir);
        let aside = match schema_of(dir) {
            Some(schema) if schema != SCHEMA && beside.exists() => {
                return Err(Error::ForeignState {
                    path: dir.to_owned(),
                    why: format!(
                        "it has schema {schema}, this version has {SCHEMA}, and a third is in {}",
                        beside.display()
                    ),
                });
            }
            Some(schema) if schema != SCHEMA => {
                pins.rename(&beside)?;
                Some(std::mem::replace(&mut pins, PinDir::open(dir)?))
            }
            _ if beside.exists() => Some(PinDir::open(&beside)?),
            _ => None,
        };
        let former = aside.map_or(Ok(None), |aside| Self::of(dir, aside))?;
        Ok((pins, former))
    }

    /// None if no program is left of it: then nothing is.
    fn of(own: &Path, pins: PinDir) -> Result<Option<Self>, Error> {
        pins.remove_if_unused()?;
        let Some(schema) = schema_of(pins.path()) else {
            return Ok(None);
        };
        Ok(Some(Self {
            own: own.to_owned(),
            off: Off::open(pins.path())?,
            pins,
            schema,
        }))
    }

    /// What it left in force stays so for this long. Where the lease has ended nothing is: it would be brought back by tables that
    /// are too old.
    fn renew(&self, time: Duration, clock: &Clock) -> Result<(), Error> {
        if self.is_off() {
            return Ok(());
        }
        let [now, until] = match self.schema < TICKS_SINCE {
            true => {
                let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
                    .map_err(Error::os("cannot read the clock"))?;
                let now = Duration::from(now);
                [now, now.saturating_add(time)]
                    .map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
            }
            false => [clock.now()?, clock.after(time)?],
        };
        match self.off.word().load(Ordering::Acquire) <= now {
            true => self.off.end(),
            false => self.off.word().store(until, Ordering::Release),
        }
        Ok(())
    }

    fn is_off(&self) -> bool {
        self.off.is_ended.load(Ordering::Acquire)
    }

    fn has(&self, name: &str) -> bool {
        self.names()
            .is_ok_and(|names| names.iter().any(|each| each == name))
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        attached_in(self.pins.path())
    }
}

/// A start that failed before anything of ours was attached leaves all as it was.
impl Drop for Former {
    fn drop(&mut self) {
        if !self.own.exists() && self.pins.path().exists() {
            _ = fs::rename(self.pins.path(), &self.own); // the next start finds it beside its place
        }
    }
}

impl Filter {
    /// The program that a version with another schema left on the device of this index: it filters there until the interface
    /// is attached.
    #[must_use]
    pub fn former(&self, name: &str, ifindex: u32) -> Option<FormerProgram> {
        let former = self.former.as_ref()?;
        if !former.pins.is_on(name, ifindex).ok()? {
            return None;
        }
        Some(FormerProgram {
            program: former.pins.program_of(name)?,
            schema: former.schema,
            is_off: former.is_off(),
        })
    }

    /// Does what a version with another schema left filter any interface?
    #[must_use]
    pub const fn has_former(&self) -> bool {
        self.former.is_some()
    }

    /// Has the lease of what a version with another schema left ended? Then nothing is dropped by it any more.
    #[must_use]
    pub fn is_former_off(&self) -> bool {
        self.former.as_ref().is_some_and(Former::is_off)
    }

    /// What another schema's version left in force stays so for this long; what its lease had let go stays so too.
    ///
    /// # Errors
    /// If the clock cannot be read.
    pub fn renew_former(&self, time: Duration) -> Result<(), Error> {
        let former = self.former.as_ref();
        former.map_or(Ok(()), |former| former.renew(time, self.lease().clock()))
    }

    /// An operator allows, or forbids, something while a version with another schema filters still: its words say so too, and
    /// where it has none for less than everything, nothing is dropped by it any more.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`].
    pub fn permit_former<'a>(
        &self,
        of: impl Into<Target<'a>>,
        classes: Classes,
    ) -> Result<(), Error> {
        let holder = self.holder_of(of.into())?;
        if let Some(former) = &self.former {
            former.off.permit(holder, classes);
        }
        Ok(())
    }

    /// Did an operator switch all of this holder off before this version came?
    pub(super) fn former_forbids(&self, of: Holder) -> bool {
        let former = self.former.as_ref();
        former.is_some_and(|former| former.off.forbids(of))
    }

    /// The link that another schema's version left on this device becomes ours, with its program still on it: attaching puts
    /// ours in its place, in one step. One that is on another device, or on none, goes. Is it at tc?
    pub(super) fn take_over(&mut self, device: &Device, name: &str) -> Result<bool, Error> {
        let (Some(former), Some(pins)) = (&self.former, &self.pins) else {
            return Ok(false);
        };
        if !former.has(name) {
            return Ok(false);
        }
        let is_here = former.pins.is_on(name, device.ifindex)?;
        match is_here {
            true => former.pins.move_to(pins, name)?,
            false => former.pins.detach(name).map(drop)?,
        }
        let is_at_tc = is_here && pins.is_at_tc(name);
        former.pins.remove_if_unused()?;
        self.forget_former();
        Ok(is_at_tc)
    }

    /// Takes what another schema's version left off an interface. Was there anything?
    pub(super) fn let_go_of_former(&mut self, name: &str) -> Result<bool, Error> {
        let Some(former) = self.former.as_ref().filter(|former| former.has(name)) else {
            return Ok(false);
        };
        former.pins.detach(name)?;
        former.pins.remove_if_unused()?;
        self.forget_former();
        Ok(true)
    }

    fn forget_former(&mut self) {
        self.former.take_if(|former| !former.pins.path().exists());
    }

    /// Interfaces that another schema's version left its program on.
    pub(super) fn formers(&self) -> Result<Vec<String>, Error> {
        self.former.as_ref().map_or(Ok(Vec::new()), Former::names)
    }
}

/// The schema of what is pinned in a directory; none if there is nothing, or nothing of ours.
fn schema_of(dir: &Path) -> Option<u32> {
    let meta = MapData::from_pin(dir.join(map::META)).ok()?;
    let meta: Array<_, [u64; 2]> = Map::from_map_data(meta).ok()?.try_into().ok()?;
    let [word, _] = meta.get(&0, 0).ok()?;
    let [magic, schema] = [word >> 32, word & u64::from(u32::MAX)];
    (magic == META_MAGIC >> 32).then(|| u32::try_from(schema).ok())?
}
