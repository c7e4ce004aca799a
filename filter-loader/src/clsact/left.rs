//! Filters of ours that belong to no process: it ended between two steps, or what it pinned is gone. They are found by their
//! place, by their program's name, and by that nobody holds or has pinned the program. Decides nothing, removes nothing.
use std::fs;
use std::io;
use std::path::Path;

use aya::programs::loaded_programs;
use nix::net::if_::if_nameindex;

use super::program_on;
use crate::object::Shell;
use crate::pin;

/// A filter that a process left on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub ifindex: u32,
    /// What the device is called.
    pub device: String,
    pub program: u32,
}

/// Those in this network namespace. `pins` is where our own pins are: what others pinned beside them is theirs.
///
/// # Errors
/// What the kernel answered.
pub(crate) fn left(pins: Option<&Path>) -> io::Result<Vec<Left>> {
    let mut found = Vec::new();
    for device in &if_nameindex()? {
        let Some(program) = program_on(device.index())? else {
            continue;
        };
        if is_left(program, pins) {
            found.push(Left {
                ifindex: device.index(),
                device: device.name().to_string_lossy().into_owned(),
                program,
            });
        }
    }
    Ok(found)
}

/// Is this program one of ours that no process holds and nobody has pinned?
pub(crate) fn is_left(program: u32, pins: Option<&Path>) -> bool {
    is_ours(program) && !pin::is_pinned(program, pins) && !is_held(program)
}

fn is_ours(program: u32) -> bool {
    let mut programs = loaded_programs().filter_map(Result::ok);
    let found = programs.find(|each| each.id() == program);
    let name = found.as_ref().and_then(|info| info.name_as_str());
    name.is_some_and(|name| Shell::AT_TC.contains(&name))
}

/// Has a process a descriptor of this program? Also if processes cannot be listed: what may be another's is never taken.
fn is_held(program: u32) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else {
        return true;
    };
    let line = format!("prog_id:\t{program}");
    let mut processes = processes.filter_map(Result::ok);
    processes.any(|process| holds(&process.path(), &line))
}

fn holds(process: &Path, line: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false; // no process, or one that has ended
    };
    let programs = descriptors.filter_map(Result::ok).filter(|descriptor| {
        let target = fs::read_link(descriptor.path());
        target.is_ok_and(|target| target.as_os_str() == "anon_inode:bpf-prog")
    });
    let mut texts = programs.filter_map(|descriptor| {
        fs::read_to_string(process.join("fdinfo").join(descriptor.file_name())).ok()
    });
    texts.any(|text| text.lines().any(|each| each == line))
}
