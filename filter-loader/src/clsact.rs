//! tc before Linux 6.6, which has no links there: a filter of the `clsact` qdisc at a priority and handle of our own, found
//! again by its program. Never touches a filter of another program: none is removed but by its program's number.
use std::io;
use std::mem;

use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, tc};
use nix::errno::Errno;
use nix::net::if_::if_nameindex;

use crate::device::Device;
use crate::error::os_error;

mod left;
mod message;

pub(crate) use left::{is_left, left, left_on};
pub(crate) use message::program_on;

/// Before all others.
pub(crate) const PRIORITY: u16 = 1;
pub(crate) const HANDLE: u16 = 0xbc38;

/// A filter of ours on a device.
#[derive(Debug)]
pub(crate) struct Filter {
    ifindex: u32,
    program: u32,
    /// Is it to outlive this process?
    outlives: bool,
}

impl Filter {
    /// Is it at the same place as this one?
    pub(crate) const fn is_where(&self, other: &Self) -> bool {
        self.ifindex == other.ifindex
    }

    /// From now on it stays when this is dropped.
    pub(crate) const fn outlive(&mut self) {
        self.outlives = true;
    }

    /// Removes it from its device, whoever else wants it. Another program's filter at its place stays.
    pub(crate) fn remove(&self) -> io::Result<()> {
        remove_from(self.ifindex, self.program).map(drop)
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        if !self.outlives
            && let Err(error) = self.remove()
        {
            let Self {
                ifindex, program, ..
            } = self;
            log::warn!("the tc filter of program {program} stays on device {ifindex}: {error}");
        }
    }
}

/// Puts the program with this number on a device on which nothing is at our place; until it is said otherwise, the filter
/// goes with this process.
pub(crate) fn attach(
    program: &mut SchedClassifier,
    id: u32,
    device: &Device,
) -> Result<Filter, ProgramError> {
    #[cfg(feature = "test-hooks")]
    if crate::hooks::is_clsact_refused() {
        return Err(ProgramError::SyscallError(aya::sys::SyscallError {
            call: "sendmsg",
            io_error: Errno::ENOENT.into(),
        }));
    }
    if let Err(error) = tc::qdisc_add_clsact(&device.own_name)
        && os_error(&error) != Some(Errno::EEXIST as i32)
    {
        return Err(error.into());
    }
    let options = TcAttachOptions::Netlink(NlOptions {
        priority: PRIORITY,
        handle: TcHandle::new(0, HANDLE),
        ..NlOptions::default()
    });
    let link = program.attach_with_options(&device.own_name, TcAttachType::Ingress, options)?;
    mem::forget(program.take_link(link)?); // dropped, it would remove whatever filter is at its place
    Ok(Filter {
        ifindex: device.ifindex,
        program: id,
        outlives: false,
    })
}

/// Puts the program with this number in the place of the one whose filter is at our place: no packet goes by unjudged.
pub(crate) fn replace(
    program: &mut SchedClassifier,
    id: u32,
    device: &Device,
) -> Result<Filter, ProgramError> {
    let (name, handle) = (&device.own_name, TcHandle::new(0, HANDLE));
    let link = SchedClassifierLink::attached(name, TcAttachType::Ingress, PRIORITY, handle, None);
    let link = program.attach_to_link(link.map_err(ProgramError::IOError)?)?;
    mem::forget(program.take_link(link)?); // as above
    Ok(Filter {
        ifindex: device.ifindex,
        program: id,
        outlives: false,
    })
}

/// Does a filter of ours run this program on any device of this network namespace?
///
/// # Errors
/// What the kernel answered of a device, if none of them has it.
pub(crate) fn is_on_any(program: u32) -> io::Result<bool> {
    let devices = if_nameindex()?;
    let mut unread = Ok(false);
    for device in &devices {
        match program_on(device.index()) {
            Ok(found) if found == Some(program) => return Ok(true),
            Ok(_) => {}
            Err(error) => unread = Err(error),
        }
    }
    unread
}

/// Removes our filter from a device if it runs this program. Did it?
pub(crate) fn remove_from(ifindex: u32, program: u32) -> io::Result<bool> {
    let is_there = program_on(ifindex)? == Some(program);
    if is_there {
        message::delete(ifindex)?;
    }
    Ok(is_there)
}
