//! bpf(2) where aya has no call for it: which links and programs are on a device, and a program's pin.
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya::programs::{ProgramInfo, loaded_programs};

use crate::error::{chain, os_error};

/// Commands, link types and attach types of include/uapi/linux/bpf.h.
const OBJ_PIN: libc::c_int = 6;
const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
const LINK_GET_FD_BY_ID: libc::c_int = 30;
const LINK_GET_NEXT_ID: libc::c_int = 31;
const LINK_DETACH: libc::c_int = 34;
const LINK_TYPE_XDP: u32 = 6;
const LINK_TYPE_TCX: u32 = 11;
const TCX_INGRESS: u32 = 46;

/// More programs than this on one hook of one device are not read.
pub(crate) const MAX_PROGRAMS: usize = 64;

/// bpf(2).
///
/// # Safety
/// Pointers in the attribute are valid for what the command does with them.
pub(crate) unsafe fn call<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the attribute is as long as said and lives through the call; for the rest the caller vouches.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    match libc::c_int::try_from(result) {
        Ok(answer) if answer >= 0 => Ok(answer),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Pins a program at a path on a bpf file system.
pub(crate) fn pin_program(program: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = PinAttr {
        path: path.as_ptr() as u64,
        fd: program.as_raw_fd() as u32,
        flags: 0,
    };
    // SAFETY: the kernel reads the path, which lives through the call.
    unsafe { call(OBJ_PIN, &mut attr) }.map(drop)
}

/// What is pinned at a path.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = PinAttr {
        path: path.as_ptr() as u64,
        fd: 0,
        flags: 0,
    };
    // SAFETY: as above.
    let fd = unsafe { call(OBJ_GET, &mut attr) }?;
    // SAFETY: the call has just made this descriptor, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What BPF_OBJ_PIN and BPF_OBJ_GET read.
#[repr(C)]
struct PinAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

/// What the kernel knows of the program with this number; none if there is none.
pub(crate) fn program(id: u32) -> io::Result<Option<ProgramInfo>> {
    for each in loaded_programs() {
        match each {
            Ok(info) if info.id() == id => return Ok(Some(info)),
            Ok(_) => {}
            Err(error) if os_error(&error) == Some(libc::ENOENT) => {} // it went meanwhile
            Err(error) => return Err(io::Error::other(chain(&error))),
        }
    }
    Ok(None)
}

/// Where a link keeps its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkHook {
    Xdp,
    Tcx,
}

/// A link that keeps a program on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceLink {
    pub id: u32,
    pub program: u32,
    /// The device; 0 once it is gone, or if it is in another network namespace than the caller's.
    pub ifindex: u32,
    pub hook: LinkHook,
}

/// What BPF_LINK_GET_NEXT_ID and BPF_LINK_GET_FD_BY_ID read and write.
#[repr(C)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// What BPF_OBJ_GET_INFO_BY_FD reads and writes.
#[repr(C)]
struct InfoAttr {
    fd: u32,
    length: u32,
    info: u64,
}

/// The start of `struct bpf_link_info`: of XDP and tcx links the device comes first in the union.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    _pad: u32,
    ifindex: u32,
    attach_type: u32,
}

/// The links that keep programs on devices, as far as this process may see them.
pub(crate) fn device_links() -> Vec<DeviceLink> {
    let mut links = Vec::new();
    let mut id = 0;
    while let Some(next) = next_link(id) {
        id = next;
        // A link may go between two calls.
        links.extend(open_link(id).and_then(|fd| link_info(&fd)));
    }
    links
}

fn next_link(after: u32) -> Option<u32> {
    let mut attr = IdAttr {
        id: after,
        next_id: 0,
        open_flags: 0,
    };
    // SAFETY: the attribute holds numbers and no pointers.
    unsafe { call(LINK_GET_NEXT_ID, &mut attr) }.ok()?;
    Some(attr.next_id)
}

/// Takes the program of a link that this process has a descriptor of off its device (Linux 5.9), at once, whoever else has a
/// reference to the link: without this it goes with the last of them, which may be that of a pin that the kernel gives up later.
pub(crate) fn detach_link(id: u32) -> io::Result<()> {
    let detach = |link: RawFd| {
        // SAFETY: the attribute is a descriptor and holds no pointers.
        unsafe { call(LINK_DETACH, &mut [link as u32]) }.map(drop)
    };
    match own_descriptor(id) {
        Ok(link) => detach(link),
        // Also where there is no /proc a program is to be taken off.
        Err(error) => detach(open_link(id).ok_or(error)?.as_raw_fd()),
    }
}

/// This process's descriptor of a link, which aya does not show; to open another by the link's number takes CAP_SYS_ADMIN.
fn own_descriptor(link: u32) -> io::Result<RawFd> {
    let line = format!("link_id:\t{link}");
    for descriptor in fs::read_dir("/proc/self/fdinfo")? {
        let descriptor = descriptor?;
        let text = fs::read_to_string(descriptor.path());
        let is_it = text.is_ok_and(|text| text.lines().any(|each| each == line)); // or it was closed meanwhile
        let number = descriptor.file_name();
        if is_it && let Some(number) = number.to_str().and_then(|number| number.parse().ok()) {
            return Ok(number);
        }
    }
    let missing = format!("/proc shows no descriptor of ours of link {link}");
    Err(io::Error::other(missing))
}

fn open_link(id: u32) -> Option<OwnedFd> {
    let mut attr = IdAttr {
        id,
        next_id: 0,
        open_flags: 0,
    };
    // SAFETY: as above.
    let fd = unsafe { call(LINK_GET_FD_BY_ID, &mut attr) }.ok()?;
    // SAFETY: the call has just made this descriptor, and nothing else knows it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What the link of this descriptor is; none if it is of another kind.
pub(crate) fn link_info(fd: &impl AsRawFd) -> Option<DeviceLink> {
    let mut info = LinkInfo::default();
    let mut attr = InfoAttr {
        fd: fd.as_raw_fd() as u32,
        length: size_of::<LinkInfo>() as u32,
        info: &raw mut info as u64,
    };
    // SAFETY: the kernel writes at most `length` bytes of `info`, which lives through the call.
    unsafe { call(OBJ_GET_INFO_BY_FD, &mut attr) }.ok()?;
    let hook = match info.kind {
        LINK_TYPE_XDP => LinkHook::Xdp,
        LINK_TYPE_TCX if info.attach_type == TCX_INGRESS => LinkHook::Tcx,
        _ => return None,
    };
    Some(DeviceLink {
        id: info.id,
        program: info.program,
        ifindex: info.ifindex,
        hook,
    })
}

/// What BPF_PROG_QUERY reads and writes.
#[repr(C)]
struct QueryAttr {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    _pad: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

/// The programs at a device's tcx ingress by their numbers, in the order in which they run.
///
/// # Errors
/// What the kernel answered: `EINVAL` before Linux 6.6.
pub(crate) fn tcx_programs(ifindex: u32) -> io::Result<Vec<u32>> {
    let mut programs = [0u32; MAX_PROGRAMS];
    let mut attr = QueryAttr {
        target: ifindex,
        attach_type: TCX_INGRESS,
        query_flags: 0,
        attach_flags: 0,
        programs: programs.as_mut_ptr() as u64,
        count: programs.len() as u32,
        _pad: 0,
        program_flags: 0,
        links: 0,
        link_flags: 0,
        revision: 0,
    };
    // SAFETY: the kernel writes at most `count` numbers to `programs`, which lives through the call.
    unsafe { call(PROG_QUERY, &mut attr) }?;
    let count = (attr.count as usize).min(programs.len());
    Ok(programs[..count].to_vec())
}
