//! Programs of others where ours is to be: what the kernel knows of them, and what takes one off. Reads only.
use std::fmt;
use std::io;

use aya::programs::loaded_programs;
use nix::errno::Errno;

use crate::attach::HookKind;
use crate::bpf::{self, DeviceLink, LinkHook};
use crate::clsact::{self, HANDLE, PRIORITY};

/// See the file's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// Its number in the kernel.
    pub program: u32,
    /// The name it was loaded with; empty if it has none, or it cannot be read.
    pub name: String,
    /// How it is attached; none for a program in the hardware.
    pub kind: Option<HookKind>,
    /// The BPF link that keeps it there; none if it was attached without one, as `ip link` does.
    pub link: Option<u32>,
}

impl Occupant {
    /// What the kernel says of the program with this number, which is attached like this to the device.
    #[must_use]
    pub fn find(ifindex: u32, program: u32, kind: Option<HookKind>) -> Self {
        let mut programs = loaded_programs().filter_map(Result::ok);
        let found = programs.find(|each| each.id() == program);
        let name = found.as_ref().and_then(|info| info.name_as_str());
        Self {
            program,
            name: name.unwrap_or_default().to_owned(),
            kind,
            link: link_on(&bpf::device_links(), ifindex, program),
        }
    }
}

/// The link that keeps the program on this device: one program may be on many, each by a link of its own.
fn link_on(links: &[DeviceLink], ifindex: u32, program: u32) -> Option<u32> {
    let here = |link: &&DeviceLink| {
        (link.hook, link.ifindex, link.program) == (LinkHook::Xdp, ifindex, program)
    };
    links.iter().find(here).map(|link| link.id)
}

/// The programs at a device's tc ingress by their numbers, in the order in which they run: those of tcx, behind them a filter
/// of ours.
///
/// # Errors
/// What the kernel answered.
pub fn programs_at_tc(ifindex: u32) -> io::Result<Vec<u32>> {
    let filter = clsact::program_on(ifindex)?;
    let mut programs = match bpf::tcx_programs(ifindex) {
        Ok(programs) => programs,
        // Before Linux 6.6.
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Vec::new(),
        Err(error) => return Err(error),
    };
    programs.extend(filter);
    Ok(programs)
}

/// A program as messages have it: its name, and its number in the kernel.
#[must_use]
pub fn program_text(program: u32) -> String {
    let mut programs = loaded_programs().filter_map(Result::ok);
    let found = programs.find(|each| each.id() == program);
    let name = found.as_ref().and_then(|info| info.name_as_str());
    format!("`{}` (program {program})", name.unwrap_or_default())
}

/// What is there, and what takes it off `interface`: only what works for a program attached like this.
pub(crate) struct Busy<'a>(pub &'a str, pub Option<&'a Occupant>);

impl fmt::Display for Busy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(interface, occupant) = self;
        if let Some(occupant) = occupant
            && occupant.kind == Some(HookKind::Tc)
        {
            return at_tc(f, interface, occupant);
        }
        write!(f, "interface `{interface}` already has an xdp program")?;
        let Some(occupant) = occupant else {
            return f.write_str(
                ": remove it first (`bpftool net` shows which it is, and how it is attached)",
            );
        };
        let (mode, word) = match occupant.kind {
            Some(HookKind::XdpNative | HookKind::XdpAdopted) => ("native", "xdpdrv"),
            Some(HookKind::XdpGeneric) => ("generic", "xdpgeneric"),
            None | Some(HookKind::Tc) => ("offload", "xdpoffload"), // tc is said above
        };
        let (name, number) = (&occupant.name, occupant.program);
        write!(f, ": `{name}` (program {number}), attached in {mode} mode")?;
        match occupant.link {
            Some(link) => write!(
                f,
                " by bpf link {link}: stop the process that made the link, or `bpftool link detach id {link}`"
            ),
            None => write!(f, ": `ip link set dev {interface} {word} off` removes it"),
        }
    }
}

/// Only at the place of our own filter is another one in the way.
fn at_tc(f: &mut fmt::Formatter<'_>, interface: &str, occupant: &Occupant) -> fmt::Result {
    let (name, number) = (&occupant.name, occupant.program);
    write!(
        f,
        "interface `{interface}` already has a filter at tc ingress, priority {PRIORITY}, handle {HANDLE:#x}: `{name}` (program {number}): \
         stop the process that attached it, then `tc filter del dev {interface} ingress pref {PRIORITY} handle {HANDLE:#x} bpf` \
         removes it if it is still there"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_programs_links_the_one_on_the_device_is_named() {
        let link = |id, ifindex, hook| DeviceLink {
            id,
            program: 7,
            ifindex,
            hook,
        };
        let links = [
            link(1, 3, LinkHook::Xdp),
            link(2, 4, LinkHook::Tcx),
            link(3, 4, LinkHook::Xdp),
        ];
        assert_eq!(link_on(&links, 4, 7), Some(3));
        assert_eq!(
            link_on(&links, 5, 7),
            None,
            "no link is better than another device's"
        );
        assert_eq!(link_on(&links, 4, 8), None);
    }

    #[test]
    fn only_what_works_is_advised() {
        let occupant = |kind, link| Occupant {
            program: 7,
            name: "xdp_pass".to_owned(),
            kind,
            link,
        };
        let said = |kind, link| Busy("ixp0", Some(&occupant(kind, link))).to_string();
        let head =
            "interface `ixp0` already has an xdp program: `xdp_pass` (program 7), attached in";
        for (kind, link, tail) in [
            (
                Some(HookKind::XdpNative),
                None,
                "native mode: `ip link set dev ixp0 xdpdrv off` removes it",
            ),
            (
                Some(HookKind::XdpGeneric),
                None,
                "generic mode: `ip link set dev ixp0 xdpgeneric off` removes it",
            ),
            (
                None,
                None,
                "offload mode: `ip link set dev ixp0 xdpoffload off` removes it",
            ),
            (
                Some(HookKind::XdpNative),
                Some(3),
                "native mode by bpf link 3: stop the process that made the link, or `bpftool link detach id 3`",
            ),
        ] {
            assert_eq!(said(kind, link), format!("{head} {tail}"));
        }
        assert_eq!(
            said(Some(HookKind::Tc), None),
            "interface `ixp0` already has a filter at tc ingress, priority 1, handle 0xbc38: `xdp_pass` (program 7): stop the \
             process that attached it, then `tc filter del dev ixp0 ingress pref 1 handle 0xbc38 bpf` removes it if it is still there"
        );
    }
}
