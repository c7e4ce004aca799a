//! What outlives the daemon: pinned maps and links on bpffs, one directory per instance, one writer at a time.
//! Never adopts state of another schema or policy.
use std::fs::{self, File};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData};
use aya::programs::ProgramInfo;
use aya::programs::links::{FdLink, PinnedLink};
use filter_core::layout::{MAX_INTERFACES, map};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::net::if_::if_nametoindex;
use nix::sys::statfs::{FsType, statfs};

use crate::attach::is_tcx;
use crate::bpf;
use crate::clsact;
use crate::error::{Error, chain, os_error};
use crate::filter::name_hash;
use crate::former;

/// Where state is kept by default.
pub const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/bcp38";

const BPFFS: &str = "/sys/fs/bpf";
const BPF_FS_MAGIC: FsType = FsType(0xcafe_4a11);
const LINK_PREFIX: &str = "link-";
const NEXT_PREFIX: &str = "next-";
/// The program of a filter, which has no link.
const FILTER_PREFIX: &str = "filter-";

/// A pin directory held by this process.
#[derive(Debug)]
pub(crate) struct PinDir {
    path: PathBuf,
    /// Holds the lock; the kernel releases it with the process.
    _lock: File,
    created: bool,
}

impl PinDir {
    /// Makes the directory if need be and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let fail = |why: String| Error::Pin {
            path: path.to_owned(),
            why,
        };
        ensure_bpffs(path)?;
        let created = !path.exists();
        fs::create_dir_all(path).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Error::Privileges,
            _ => fail(error.to_string()),
        })?;
        let lock = File::open(path).map_err(|error| fail(error.to_string()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
                created,
            }),
            Err(fs::TryLockError::WouldBlock) => Err(Error::SecondWriter {
                path: path.to_owned(),
            }),
            Err(fs::TryLockError::Error(error)) => Err(fail(error.to_string())),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Was there nothing before us?
    pub(crate) fn is_new(&self) -> bool {
        self.created
    }

    pub(crate) fn link(&self, interface: &str) -> PathBuf {
        self.path.join(format!("{LINK_PREFIX}{interface}"))
    }

    /// The pinned link of an interface, if there is one.
    pub(crate) fn open_link(&self, interface: &str) -> Option<PinnedLink> {
        PinnedLink::from_pin(self.link(interface)).ok()
    }

    /// Pins a link under an interface's name, in one step in place of the one that was: the program of that one stays where
    /// another reference to it is held.
    pub(crate) fn replace_link(&self, interface: &str, link: FdLink) -> Result<FdLink, Error> {
        let (next, path) = (self.next_link(interface), self.link(interface));
        let fail = |why: String| Error::Pin {
            path: path.clone(),
            why,
        };
        _ = fs::remove_file(&next); // what a process that ended between the two steps left
        let pinned = link.pin(&next).map_err(|error| fail(chain(&error)))?;
        fs::rename(&next, &path).map_err(|error| fail(error.to_string()))?;
        Ok(pinned.into())
    }

    /// Pins the program of a filter under an interface's name, in place of the one that was.
    pub(crate) fn replace_filter(
        &self,
        interface: &str,
        program: BorrowedFd<'_>,
    ) -> Result<(), Error> {
        let (next, path) = (self.next_link(interface), self.filter(interface));
        _ = fs::remove_file(&next); // as above
        let pinned = bpf::pin_program(program, &next).and_then(|()| fs::rename(&next, &path));
        pinned.map_err(|error| Error::Pin {
            path,
            why: error.to_string(),
        })
    }

    /// The number of the program of an interface's filter, if one is pinned.
    pub(crate) fn filter_program(&self, interface: &str) -> Result<Option<u32>, Error> {
        let path = self.filter(interface);
        pinned_program(&path).map_err(|error| Error::Pin {
            path,
            why: error.to_string(),
        })
    }

    /// Removes the pin of an interface's filter, if there is one; the filter stays.
    pub(crate) fn remove_filter(&self, interface: &str) -> Result<(), Error> {
        remove(&self.filter(interface))
    }

    fn filter(&self, interface: &str) -> PathBuf {
        self.path.join(format!("{FILTER_PREFIX}{interface}"))
    }

    /// Takes the program off an interface that an earlier process put it on. Was a filter of it on its device?
    pub(crate) fn detach(&self, interface: &str) -> Result<bool, Error> {
        // Whoever drops a link's last reference detaches the program: at once if it is a descriptor, some time later
        // if it is a pin (bpf_link_put). So a descriptor outlives the pin.
        let last = self.open_link(interface);
        self.remove_link(interface)?;
        drop(last);
        self.detach_filter(interface)
    }

    /// Removes an interface's filter from the device that it was put on, then its pin, if there is one: what cannot be removed
    /// can still be found. Other interfaces' filters run the same program, and stay. Was it on its device?
    pub(crate) fn detach_filter(&self, interface: &str) -> Result<bool, Error> {
        let device =
            || noted_device(&self.path, interface).or_else(|| if_nametoindex(interface).ok());
        let on_device = self.filter_program(interface)?.zip(device());
        let removed = on_device.map_or(Ok(false), |(program, ifindex)| {
            clsact::remove_from(ifindex, program)
        });
        let what = format!("cannot take the filter of interface `{interface}` off");
        let removed = removed.map_err(Error::os(what))?;
        self.remove_filter(interface)?;
        Ok(removed)
    }

    /// Where a link waits that is to take another's place.
    fn next_link(&self, interface: &str) -> PathBuf {
        self.path.join(format!("{NEXT_PREFIX}{interface}"))
    }

    /// Detaches what a process that ended between two steps of [`PinDir::replace_link`] left beside the link in use.
    pub(crate) fn remove_next_links(&self) -> Result<(), Error> {
        for name in names_after(&self.path, NEXT_PREFIX)? {
            let path = self.next_link(&name);
            let last = PinnedLink::from_pin(&path).ok(); // see `PinDir::detach`
            fs::remove_file(&path).map_err(|error| Error::Pin {
                path,
                why: error.to_string(),
            })?;
            drop(last);
        }
        Ok(())
    }

    /// The number of the program on an interface's pinned link, or of its filter.
    pub(crate) fn program_of(&self, interface: &str) -> Option<u32> {
        let link = self.open_link(interface).map(FdLink::from);
        let of_link = link
            .and_then(|link| link.info().ok())
            .map(|info| info.program_id());
        of_link.or_else(|| self.filter_program(interface).ok()?)
    }

    /// Is what an earlier process left on an interface at tc?
    pub(crate) fn is_at_tc(&self, interface: &str) -> bool {
        let link = self.open_link(interface).map(FdLink::from);
        let is_filter = self.filter(interface).exists();
        is_filter || link.is_some_and(|link| is_tcx(&link))
    }

    /// The directory has another name from now on, locked as before.
    pub(crate) fn rename(&mut self, to: &Path) -> Result<(), Error> {
        fs::rename(&self.path, to).map_err(|error| unreadable(&self.path, &error))?;
        to.clone_into(&mut self.path);
        Ok(())
    }

    /// Is what is pinned for an interface on the device of this index, of this network namespace?
    pub(crate) fn is_on(&self, interface: &str, ifindex: u32) -> Result<bool, Error> {
        let path = self.link(interface);
        if path.exists() {
            let link = bpf::open_pin(&path).map_err(|error| unreadable(&path, &error))?;
            return Ok(bpf::link_info(&link).is_some_and(|link| link.ifindex == ifindex));
        }
        let Some(program) = self.filter_program(interface)? else {
            return Ok(false);
        };
        let what = format!("cannot read the filters of interface `{interface}` at tc");
        let there = clsact::program_on(ifindex).map_err(Error::os(what))?;
        Ok(there == Some(program))
    }

    /// What is pinned for an interface is pinned in another directory from now on.
    pub(crate) fn move_to(&self, other: &Self, interface: &str) -> Result<(), Error> {
        for (from, to) in [
            (self.link(interface), other.link(interface)),
            (self.filter(interface), other.filter(interface)),
        ] {
            if from.exists() {
                fs::rename(&from, &to).map_err(|error| unreadable(&from, &error))?;
            }
        }
        Ok(())
    }

    /// Removes the pin of an interface's link, if there is one: the program stays where another reference to the
    /// link is held.
    pub(crate) fn remove_link(&self, interface: &str) -> Result<(), Error> {
        remove(&self.link(interface))
    }

    /// Removes the directory and all in it if no interface is attached any more.
    pub(crate) fn remove_if_unused(&self) -> Result<(), Error> {
        remove_if_unused(&self.path)
    }
}

/// State without an attached program is residue: a process that made it removes it at its end, unless a link is pinned.
impl Drop for PinDir {
    fn drop(&mut self) {
        if self.is_new() {
            _ = self.remove_if_unused(); // there is no caller left to return an error to
        }
    }
}

/// Interfaces with a pinned link in this directory, or in the one beside it of a version with another schema.
///
/// # Errors
/// [`Error::Pin`] if a directory exists but cannot be read.
pub fn pinned_interfaces(dir: &Path) -> Result<Vec<String>, Error> {
    let mut names = attached_in(dir)?;
    names.extend(attached_in(&former::beside(dir))?);
    names.sort();
    names.dedup();
    Ok(names)
}

/// As [`pinned_interfaces`], in this directory alone.
pub(crate) fn attached_in(dir: &Path) -> Result<Vec<String>, Error> {
    let mut names = names_after(dir, LINK_PREFIX)?;
    names.extend(names_after(dir, FILTER_PREFIX)?);
    names.sort();
    names.dedup();
    Ok(names)
}

/// The index of the device that an interface of this directory was last attached to, as whoever writes there noted it. None also
/// if that cannot be read, as what another version noted in another way.
fn noted_device(dir: &Path, interface: &str) -> Option<u32> {
    let meta: Array<_, [u64; 2]> = Map::from_map_data(MapData::from_pin(dir.join(map::META)).ok()?)
        .ok()?
        .try_into()
        .ok()?;
    let slots = (1..MAX_INTERFACES).map_while(|slot| meta.get(&slot, 0).ok());
    let mut of_interface = slots.filter(|&[name, _]| name == name_hash(interface));
    let [_, index] = of_interface.next()?;
    u32::try_from(index).ok().filter(|&index| index != 0)
}

/// Removes a pin, if it is there.
fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Pin {
            path: path.to_owned(),
            why: error.to_string(),
        }),
        _ => Ok(()),
    }
}

/// What the pins in a directory are named after a prefix.
fn names_after(dir: &Path, prefix: &str) -> Result<Vec<String>, Error> {
    let fail = |error: io::Error| Error::Pin {
        path: dir.to_owned(),
        why: error.to_string(),
    };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(fail)?.file_name();
        names.extend(
            name.to_str()
                .and_then(|name| name.strip_prefix(prefix))
                .map(str::to_owned),
        );
    }
    Ok(names)
}

/// Interfaces of this network namespace that an earlier process left a filter at tc on which nobody holds or has pinned any more;
/// in its place, for each device of which that cannot be told, why.
pub fn left_interfaces(dir: &Path) -> impl Iterator<Item = Result<String, Error>> {
    let (left, failed) = match clsact::left(Some(dir)) {
        Ok(left) => (left, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let left = left.into_iter().map(|left| {
        let unknown = || format!("cannot tell whether a filter was left on `{}`", left.device);
        let known = left.program.map_err(|error| Error::os(unknown())(error));
        known.map(|_| left.device)
    });
    let failed = failed.map(|error| Err(Error::os("cannot list the devices")(error)));
    left.chain(failed)
}

/// Is the program of the filter on this device pinned: in our own directory for an interface on that device, in one beside it or
/// where pins are by default for any? An error if that cannot be told, for a pin or a directory that cannot be read.
pub(crate) fn is_pinned(program: u32, ifindex: u32, own: Option<&Path>) -> Result<bool, Error> {
    let parents = [own.and_then(Path::parent), Some(Path::new(BPFFS))];
    for parent in parents.into_iter().flatten() {
        for dir in directories_in(parent)? {
            let mut names = interfaces_of(&dir, program)?.into_iter();
            let is_its = |name: String| noted_device(&dir, &name).is_none_or(|of| of == ifindex);
            if names.any(|name| own != Some(&*dir) || is_its(name)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn directories_in(parent: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.and_then(|entries| entries.collect::<io::Result<Vec<_>>>()),
    };
    let entries = entries.map_err(|error| unreadable(parent, &error))?;
    let paths = entries.into_iter().map(|entry| entry.path());
    Ok(paths.filter(|path| path.is_dir()).collect())
}

/// The interfaces for whose filters this program is pinned in a directory.
fn interfaces_of(dir: &Path, program: u32) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for name in names_after(dir, FILTER_PREFIX)? {
        let path = dir.join(format!("{FILTER_PREFIX}{name}"));
        if pinned_program(&path).map_err(|error| unreadable(&path, &error))? == Some(program) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The number of the program that is pinned at a path; none if nothing is.
fn pinned_program(path: &Path) -> io::Result<Option<u32>> {
    match ProgramInfo::from_pin(path) {
        Ok(info) => Ok(Some(info.id())),
        Err(error) => match os_error(&error) {
            Some(code) if code == Errno::ENOENT as i32 => Ok(None),
            _ => Err(io::Error::other(chain(&error))),
        },
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::Pin {
        path: path.to_owned(),
        why: error.to_string(),
    }
}

/// Detaches the program from one interface, and removes every pin once no interface is left.
/// `false` if nothing of ours was attached there.
///
/// # Errors
/// [`Error::SecondWriter`] while a daemon holds the directory, [`Error::Pin`] if a pin cannot be removed,
/// [`Error::Elsewhere`] if the program was on no device here and may be on one of another network namespace: the first that
/// occurs. What can be detached is, all the same.
pub fn detach_pinned(dir: &Path, interface: &str) -> Result<bool, Error> {
    let pinned = [dir, &former::beside(dir)].map(|dir| detach_pin(dir, interface));
    let was_left = detach_left(dir, interface);
    let [was_pinned, was_former] = pinned;
    Ok(was_pinned? | was_former? | was_left?)
}

/// Takes off what is pinned for an interface. Was anything?
fn detach_pin(dir: &Path, interface: &str) -> Result<bool, Error> {
    if !attached_in(dir)?.iter().any(|name| name == interface) {
        return Ok(false);
    }
    let pins = PinDir::open(dir)?;
    let of_filter = pins.filter_program(interface);
    let was_there = pins.detach(interface)?;
    pins.remove_if_unused()?;
    match of_filter? {
        Some(program) if !was_there && may_be_elsewhere(dir, program)? => Err(Error::Elsewhere {
            name: interface.to_owned(),
            program,
        }),
        _ => Ok(true),
    }
}

/// Takes off a filter without a pin that an earlier process left on an interface. Was there one?
fn detach_left(dir: &Path, interface: &str) -> Result<bool, Error> {
    let what = format!("cannot take a filter that was left off interface `{interface}`");
    let ifindex = match if_nametoindex(interface) {
        Err(Errno::ENODEV) => return Ok(false),
        found => found.map_err(Error::os(&what))?,
    };
    let left = clsact::left_on(ifindex, Some(dir)).map_err(Error::os(&what))?;
    let removed = left.map_or(Ok(false), |program| clsact::remove_from(ifindex, program));
    removed.map_err(Error::os(what))
}

/// May the program of a filter that was not on its device, and whose pin is removed, be on one of another network namespace?
fn may_be_elsewhere(dir: &Path, program: u32) -> Result<bool, Error> {
    if !interfaces_of(dir, program)?.is_empty() {
        // Other interfaces' pins keep it loaded. Where theirs are, this one's device was.
        let is_here = clsact::is_on_any(program);
        return is_here
            .map(|is_here| !is_here)
            .map_err(Error::os("cannot read the filters at tc"));
    }
    let end = Instant::now() + GONE_WITHIN;
    while bpf::program(program)
        .map_err(Error::os("cannot list the programs"))?
        .is_some()
    {
        if Instant::now() > end {
            return Ok(true);
        }
        thread::sleep(LOOK);
    }
    Ok(false)
}
/// The kernel lets go of a pin after an RCU grace period.
const GONE_WITHIN: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(5);

/// Removes what is left of a filter that is attached nowhere any more. `false` if nothing is.
///
/// # Errors
/// As [`detach_pinned`].
pub fn remove_unused_pins(dir: &Path) -> Result<bool, Error> {
    let mut removed = false;
    for dir in [dir, &former::beside(dir)] {
        if dir.exists() {
            PinDir::open(dir)?.remove_if_unused()?;
            removed |= !dir.exists();
        }
    }
    Ok(removed)
}

fn remove_if_unused(dir: &Path) -> Result<(), Error> {
    if !attached_in(dir)?.is_empty() {
        return Ok(());
    }
    let fail = |path: &Path, error: io::Error| Error::Pin {
        path: path.to_owned(),
        why: error.to_string(),
    };
    for entry in fs::read_dir(dir).map_err(|error| fail(dir, error))? {
        let path = entry.map_err(|error| fail(dir, error))?.path();
        fs::remove_file(&path).map_err(|error| fail(&path, error))?;
    }
    fs::remove_dir(dir).map_err(|error| fail(dir, error))
}

/// Mounts bpffs at its usual place if the directory shall lie there and it is not.
fn ensure_bpffs(dir: &Path) -> Result<(), Error> {
    let existing = dir
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    let kind =
        statfs(existing).map_err(Error::os(format!("cannot stat `{}`", existing.display())))?;
    if kind.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    let fail = |why: &str| Error::Pin {
        path: dir.to_owned(),
        why: why.to_owned(),
    };
    if !dir.starts_with(BPFFS) {
        return Err(fail("not on a bpf file system"));
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    match mount(Some("bpf"), BPFFS, Some("bpf"), flags, Some("mode=0700")) {
        Ok(()) => {
            log::info!("mounted the bpf file system at {BPFFS}");
            Ok(())
        }
        Err(nix::errno::Errno::EPERM) => Err(Error::Privileges),
        Err(error) => Err(fail(&format!("cannot mount the bpf file system: {error}"))),
    }
}
