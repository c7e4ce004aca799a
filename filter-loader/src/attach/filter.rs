//! Attaching by a filter of `clsact`, where there is no tcx: taking over what an earlier process left, in its place. Never
//! takes a filter that somebody holds or has pinned.
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;

use super::{ADOPTED, Attached, Hands, Hook, HookKind, Link, refused_at_tc};
use crate::clsact::{self, Filter};
use crate::device::Device;
use crate::error::{Error, os_error};
use crate::object::{self, Shell};
use crate::occupant::Occupant;
use crate::pin::PinDir;

/// Takes over the filter whose program is pinned under this name, if that is what runs on the device.
///
/// # Errors
/// If the kernel does not say what is there, or refuses the program.
pub(super) fn adopt(
    hands: &mut Hands<'_>,
    pins: &PinDir,
    device: &Device,
    name: &str,
) -> Result<Option<Hook>, Error> {
    let Some(before) = pins.filter_program(name)? else {
        return Ok(None);
    };
    if program_on(device)? != Some(before) {
        log::warn!("the filter of `{name}` is not on its device any more: attaching anew");
        pins.remove_filter(name)?;
        return Ok(None);
    }
    let shell = Shell::tc(device);
    let program_name = hands.programs.name(shell);
    let id = object::id(hands.ebpf, program_name)?;
    let mut filter = replace(hands, device, id)?;
    filter.outlive();
    let descriptor = object::descriptor(hands.ebpf, program_name)?;
    if let Err(error) = pins.replace_filter(name, descriptor.as_fd()) {
        // It filters all the same, and the next process finds it by its name.
        log::warn!("the filter of `{name}` is taken over, and not pinned: {error}");
    }
    Ok(Some(Hook {
        attached: Attached {
            ifindex: device.ifindex,
            kind: HookKind::Tc,
            program: id,
            adopted: true,
            why: ADOPTED.to_owned(),
        },
        shell,
        was_there: true,
        link: Link::Filter(filter),
    }))
}

/// Attaches the program with this number, in the place of a filter that belongs to no process any more if there is one.
pub(super) fn attach(hands: &mut Hands<'_>, device: &Device, id: u32) -> Result<Filter, Error> {
    let pins = hands.pins.map(PinDir::path);
    match program_on(device)? {
        None => create(hands, device, id),
        Some(before) if before == id || was_left(device, before, pins) => {
            replace(hands, device, id)
        }
        Some(before) => Err(busy(device, before)),
    }
}

/// Does the filter of this program belong to no process any more? What may be another's stays.
fn was_left(device: &Device, program: u32, pins: Option<&Path>) -> bool {
    clsact::is_left(program, device.ifindex, pins).unwrap_or_else(|error| {
        let name = &device.name;
        log::warn!(
            "cannot tell whether the filter on `{name}` was left by a process that ended: {error}"
        );
        false
    })
}

fn create(hands: &mut Hands<'_>, device: &Device, id: u32) -> Result<Filter, Error> {
    let name = hands.programs.name(Shell::tc(device));
    let program = object::classifier(hands.ebpf, name)?;
    let attached = clsact::attach(program, id, device);
    attached.map_err(|error| match os_error(&error).map(Errno::from_raw) {
        Some(Errno::EEXIST) => match program_on(device) {
            Ok(Some(before)) => busy(device, before),
            _ => refused_at_tc(device, &error),
        },
        // No such qdisc, no such classifier, or no queueing at all: what is there already is no matter when filters are made.
        Some(Errno::ENOENT | Errno::EOPNOTSUPP) => Error::NoClsact(device.name.clone()),
        // The kernel's answer where the priority is taken by another classifier, or for another protocol.
        Some(Errno::EINVAL) => Error::Attach {
            name: device.name.clone(),
            why: format!(
                "tc: other filters have priority 1 of its ingress: `tc filter show dev {} ingress` shows them",
                device.own_name
            ),
        },
        _ => refused_at_tc(device, &error),
    })
}

fn replace(hands: &mut Hands<'_>, device: &Device, id: u32) -> Result<Filter, Error> {
    let name = hands.programs.name(Shell::tc(device));
    let program = object::classifier(hands.ebpf, name)?;
    let replaced = clsact::replace(program, id, device);
    replaced.map_err(|error| refused_at_tc(device, &error))
}

fn program_on(device: &Device) -> Result<Option<u32>, Error> {
    clsact::program_on(device.ifindex).map_err(|error| Error::Attach {
        name: device.name.clone(),
        why: format!("tc: its filters cannot be read: {error}"),
    })
}

fn busy(device: &Device, program: u32) -> Error {
    let kind = Some(HookKind::Tc);
    Error::Busy {
        name: device.name.clone(),
        occupant: Some(Occupant::find(device.ifindex, program, kind)),
    }
}
