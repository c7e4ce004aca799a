//! Attaching the program to a device and keeping it there: in XDP or at tc, as asked or as the device is.
//! Attached once, then only the link's program is replaced: taking it off and on can reset a NIC.
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkType};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::XdpLink;
use aya::programs::{LinkOrder, ProgramError, TcAttachType, XdpMode};
use aya::util::KernelVersion;
use nix::errno::Errno;

use crate::bpf;
use crate::clsact;
use crate::device::Device;
use crate::error::{Error, chain, os_error};
use crate::ethtool;
use crate::object::{self, Programs, Shell};
use crate::pin::PinDir;
use crate::tun;

mod filter;

/// At which hook the program may be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMode {
    /// Native XDP where the driver runs it before a packet's buffer is made and the hook is free, else tc. Never generic XDP
    /// knowingly: a TAP's driver does not say that it runs XDP so for what is written to it with waiting.
    /// Before Linux 6.6, which has no tcx: native XDP, else generic XDP; tc on a device without an Ethernet header.
    #[default]
    Auto,
    /// Native XDP or not at all.
    Native,
    /// Generic XDP, for tests and for drivers that promise native and fail.
    Generic,
    /// At tc ingress, before all programs that are there: by a tcx link, or before Linux 6.6 by a filter of the `clsact` qdisc.
    Tc,
}

impl AttachMode {
    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "xdp-native",
            Self::Generic => "xdp-generic",
            Self::Tc => "tc",
        }
    }
}

/// Where the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// In XDP, by the driver: before a packet buffer is made, for most drivers.
    XdpNative,
    /// In XDP, by the network stack, after it: several times dearer per packet.
    XdpGeneric,
    /// In XDP, as an earlier process left it: native or generic.
    XdpAdopted,
    /// At tc ingress.
    Tc,
}

impl HookKind {
    /// Is it tc?
    #[must_use]
    pub const fn is_tc(self) -> bool {
        matches!(self, Self::Tc)
    }
}

/// Where the program went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The device's index.
    pub ifindex: u32,
    /// At which hook.
    pub kind: HookKind,
    /// The program's number in the kernel.
    pub program: u32,
    /// Did an earlier process attach it there?
    pub adopted: bool,
    /// Why there, of the hooks there are.
    pub why: String,
}

/// A link that keeps the program attached: for as long as this lives, or longer if it is pinned.
#[derive(Debug)]
pub(crate) struct Hook {
    pub attached: Attached,
    /// What its program is made for.
    pub shell: Shell,
    /// It was there before this process, even if it has moved to another hook since.
    pub was_there: bool,
    link: Link,
}

/// What keeps a program on a device.
#[derive(Debug)]
enum Link {
    /// A BPF link: it goes with its last reference.
    Bpf(FdLink),
    /// A filter: it stays until it is removed.
    Filter(clsact::Filter),
}

impl Hook {
    /// Is the program kept there by a filter, and not by a link?
    pub(crate) const fn is_filter(&self) -> bool {
        matches!(self.link, Link::Filter(_))
    }

    /// Takes the program off the device.
    ///
    /// # Errors
    /// What the kernel answered: it may still be there.
    pub(crate) fn take_off(&self) -> Result<(), Error> {
        let taken = match &self.link {
            Link::Filter(filter) => filter.remove(),
            Link::Bpf(link) => number(link).and_then(bpf::detach_link),
        };
        let ifindex = self.attached.ifindex;
        taken.map_err(Error::os(format!(
            "cannot take the program off device {ifindex}"
        )))
    }

    /// Takes the program off for this hook, which is in its stead, unless it is the same one: a link that was taken over again,
    /// or a filter's place that this one has by now.
    ///
    /// # Errors
    /// As [`Hook::take_off`].
    pub(crate) fn make_way(mut self, next: &Self) -> Result<(), Error> {
        match (&mut self.link, &next.link) {
            (Link::Filter(former), Link::Filter(filter)) if former.is_where(filter) => {
                former.outlive();
                Ok(())
            }
            (Link::Bpf(former), Link::Bpf(link)) if is_same(former, link)? => Ok(()),
            _ => self.take_off(),
        }
    }
}

/// A link's number in the kernel.
fn number(link: &FdLink) -> io::Result<u32> {
    let info = link.info();
    info.map(|info| info.id())
        .map_err(|error| io::Error::other(chain(&error)))
}

fn is_same(one: &FdLink, other: &FdLink) -> Result<bool, Error> {
    let numbers = number(one).and_then(|one| Ok(one == number(other)?));
    numbers.map_err(Error::os("cannot read which link a hook is kept by"))
}

/// How a program was attached.
enum Made {
    Bpf(FdLink),
    /// The filter, and its program, by which it is found again.
    Filter(clsact::Filter, OwnedFd),
}

/// What attaching needs.
pub(crate) struct Hands<'a> {
    pub ebpf: &'a mut Ebpf,
    pub programs: Programs,
    pub pins: Option<&'a PinDir>,
}

/// A link that is pinned nowhere yet.
pub(crate) struct Fresh {
    kind: HookKind,
    program: u32,
    why: String,
    link: Made,
}

impl Fresh {
    pub(crate) const fn kind(&self) -> HookKind {
        self.kind
    }

    /// Pins it under this name, in place of whatever was, and keeps it.
    pub(crate) fn keep(
        self,
        device: &Device,
        name: &str,
        pins: Option<&PinDir>,
        was_there: bool,
    ) -> Result<Hook, Error> {
        let link = match (self.link, pins) {
            (Made::Bpf(link), None) => Link::Bpf(link),
            (Made::Bpf(link), Some(pins)) => Link::Bpf(pins.replace_link(name, link)?),
            (Made::Filter(mut filter, program), pins) => {
                if let Some(pins) = pins {
                    pins.replace_filter(name, program.as_fd())?;
                    filter.outlive();
                }
                Link::Filter(filter)
            }
        };
        Ok(Hook {
            attached: Attached {
                ifindex: device.ifindex,
                kind: self.kind,
                program: self.program,
                adopted: false,
                why: self.why,
            },
            shell: match self.kind {
                HookKind::Tc => Shell::tc(device),
                _ => Shell::Xdp,
            },
            was_there,
            link,
        })
    }
}

/// Why the hook of a device is native XDP.
pub(crate) const EARLY: &str = "the driver runs xdp before a packet's buffer is made";

/// Why the hook of this device is tc, whatever else there is; none if native XDP is worth trying.
pub(crate) fn prefers_tc(device: &Device) -> Option<String> {
    if !device.is_ethernet() {
        return Some("the device has no ethernet header".to_owned());
    }
    let driver = ethtool::driver(&device.own_name).filter(|_| has_tcx())?;
    match driver.as_str() {
        // A bond's members are all sorts; a VLAN, bridge or tunnel device refuses native XDP by itself.
        "veth" | "bonding" => Some(format!(
            "xdp on a device of driver `{driver}` runs when a packet's buffer is made already"
        )),
        // The driver hands super-frames on to generic XDP, which copies them into one piece.
        "tun" if tun::has_offload_header(device.ifindex) == Some(true) => Some(
            "xdp runs when a super-frame's buffer is made already, and the device's other end may send those (vnet_hdr)"
                .to_owned(),
        ),
        _ => None,
    }
}

/// tcx came with Linux 6.6.
const TCX_SINCE: KernelVersion = KernelVersion::new(6, 6, 0);

pub(crate) fn has_tcx() -> bool {
    #[cfg(feature = "test-hooks")]
    if crate::hooks::is_without_tcx() {
        return false;
    }
    KernelVersion::current().is_ok_and(|version| version >= TCX_SINCE)
}

/// Takes over what is pinned under this name, if there is something: a link, else a filter. Of both, which a process leaves
/// that ends between two steps of a move, the link stays.
///
/// # Errors
/// If it cannot be read what is on the device, or the filter beside the link cannot be removed.
pub(crate) fn adopt(
    hands: &mut Hands<'_>,
    device: &Device,
    name: &str,
) -> Result<Option<Hook>, Error> {
    let Some(pins) = hands.pins else {
        return Ok(None);
    };
    let Some(link) = pins.open_link(name) else {
        return filter::adopt(hands, pins, device, name);
    };
    let link = FdLink::from(link);
    let is_tc = is_tcx(&link);
    let shell = if is_tc { Shell::tc(device) } else { Shell::Xdp };
    match put_on(hands, shell, link) {
        Ok((program, link)) => {
            pins.detach_filter(name)?;
            Ok(Some(Hook {
                attached: Attached {
                    ifindex: device.ifindex,
                    kind: if is_tc {
                        HookKind::Tc
                    } else {
                        HookKind::XdpAdopted
                    },
                    program,
                    adopted: true,
                    why: ADOPTED.to_owned(),
                },
                shell,
                was_there: true,
                link: Link::Bpf(link),
            }))
        }
        Err(why) => {
            log::warn!("the pinned link of `{name}` leads nowhere ({why}): attaching anew");
            _ = pins.remove_link(name); // attaching anew says what is wrong with the directory
            filter::adopt(hands, pins, device, name)
        }
    }
}

/// Why a hook that was taken over is this one.
const ADOPTED: &str = "an earlier process attached it there";

/// Is it a link at tc?
pub(crate) fn is_tcx(link: &FdLink) -> bool {
    let kind = link.info().ok().and_then(|info| info.link_type().ok());
    kind == Some(LinkType::Tcx)
}

/// Puts our program on a link an earlier process pinned; fails if its device is gone.
fn put_on(hands: &mut Hands<'_>, shell: Shell, link: FdLink) -> Result<(u32, FdLink), String> {
    let name = hands.programs.name(shell);
    let id = object::id(hands.ebpf, name).map_err(|error| chain(&error))?;
    let text = |error: ProgramError| chain(&error);
    if shell == Shell::Xdp {
        let program = object::xdp(hands.ebpf, name).map_err(|error| chain(&error))?;
        let link = XdpLink::try_from(link).map_err(|error| chain(&error))?;
        let link = program.attach_to_link(link).map_err(text)?;
        let link = program.take_link(link).map_err(text)?;
        let link = FdLink::try_from(link).map_err(|error| chain(&error))?;
        return Ok((id, link));
    }
    let program = object::classifier(hands.ebpf, name).map_err(|error| chain(&error))?;
    let link = SchedClassifierLink::try_from(link).map_err(|error| chain(&error))?;
    let link = program.attach_to_link(link).map_err(text)?;
    let link = program.take_link(link).map_err(text)?;
    let link = FdLink::try_from(link).map_err(|error| chain(&error))?;
    Ok((id, link))
}

/// Attaches anew, and pins nothing.
pub(crate) fn attach_new(
    hands: &mut Hands<'_>,
    device: &Device,
    mode: AttachMode,
) -> Result<Fresh, Error> {
    device.check(mode)?;
    let configured = || "as configured".to_owned();
    match mode {
        AttachMode::Native => {
            attach_xdp(hands, device, XdpMode::Driver, configured())?.map_err(|why| Error::Attach {
                name: device.name.clone(),
                why: format!("native: {why}"),
            })
        }
        AttachMode::Generic => {
            attach_xdp(hands, device, XdpMode::Skb, configured())?.map_err(|why| Error::Attach {
                name: device.name.clone(),
                why: format!("generic: {why}"),
            })
        }
        AttachMode::Tc => attach_tc(hands, device, configured()),
        AttachMode::Auto => match prefers_tc(device) {
            Some(why) => attach_tc(hands, device, why),
            None if has_tcx() => attach_auto(hands, device),
            None => attach_without_tcx(hands, device),
        },
    }
}

fn attach_auto(hands: &mut Hands<'_>, device: &Device) -> Result<Fresh, Error> {
    match try_early(hands, device)? {
        Ok(fresh) => Ok(fresh),
        Err(why) => attach_tc(hands, device, why),
    }
}

/// In XDP where that is before a packet's buffer is made; the inner error is why not, and tc it is.
pub(crate) fn try_early(
    hands: &mut Hands<'_>,
    device: &Device,
) -> Result<Result<Fresh, String>, Error> {
    if let Some(why) = prefers_tc(device) {
        return Ok(Err(why));
    }
    match attach_xdp(hands, device, XdpMode::Driver, EARLY.to_owned()) {
        Ok(tried) => Ok(tried.map_err(|why| format!("native xdp is refused: {why}"))),
        Err(Error::Busy { .. }) => Ok(Err("another xdp program is on the device".to_owned())),
        Err(error) => Err(error),
    }
}

/// Before Linux 6.6, on a device whose frames have an Ethernet header: native, else generic with a warning.
fn attach_without_tcx(hands: &mut Hands<'_>, device: &Device) -> Result<Fresh, Error> {
    let before = "there is no tcx before Linux 6.6";
    let native = match attach_xdp(hands, device, XdpMode::Driver, before.to_owned())? {
        Ok(fresh) => return Ok(fresh),
        Err(why) => why,
    };
    let why = format!("{before}, and native xdp is refused: {native}");
    match attach_xdp(hands, device, XdpMode::Skb, why)? {
        Ok(fresh) => {
            log::warn!(
                "`{}` cannot take native xdp ({native}): attached in generic mode, which builds a packet buffer for \
                 every frame before the filter sees it and costs several times as much",
                device.name
            );
            Ok(fresh)
        }
        Err(generic) => Err(Error::Attach {
            name: device.name.clone(),
            why: format!("native: {native}; generic: {generic}"),
        }),
    }
}

/// In XDP; the inner error is the kernel's reason for not offering a mode.
fn attach_xdp(
    hands: &mut Hands<'_>,
    device: &Device,
    mode: XdpMode,
    why: String,
) -> Result<Result<Fresh, String>, Error> {
    #[cfg(feature = "test-hooks")]
    if crate::hooks::is_xdp_refused() {
        return Ok(Err("as the test wants it".to_owned()));
    }
    let name = hands.programs.name(Shell::Xdp);
    let id = object::id(hands.ebpf, name)?;
    let program = object::xdp(hands.ebpf, name)?;
    let attached = program
        .attach_to_if_index(device.ifindex, mode)
        .and_then(|link| program.take_link(link))
        .and_then(|link| {
            FdLink::try_from(link).map_err(|_| {
                let old = "the kernel has no bpf_link for xdp (before 5.9)";
                ProgramError::IOError(std::io::Error::other(old))
            })
        });
    let kind = match mode {
        XdpMode::Skb => HookKind::XdpGeneric,
        _ => HookKind::XdpNative,
    };
    match attached {
        Ok(link) => Ok(Ok(Fresh {
            kind,
            program: id,
            why,
            link: Made::Bpf(link),
        })),
        Err(error) => refusal(device, &error).map(Err),
    }
}

/// At tc ingress, before whatever is there.
pub(crate) fn attach_tc(
    hands: &mut Hands<'_>,
    device: &Device,
    why: String,
) -> Result<Fresh, Error> {
    let name = hands.programs.name(Shell::tc(device));
    let id = object::id(hands.ebpf, name)?;
    let link = if has_tcx() {
        let program = object::classifier(hands.ebpf, name)?;
        let first = TcAttachOptions::TcxOrder(LinkOrder::first());
        let attached = program
            .attach_with_options(&device.own_name, TcAttachType::Ingress, first)
            .and_then(|link| program.take_link(link));
        let link = attached.map_err(|error| refused_at_tc(device, &error))?;
        Made::Bpf(FdLink::try_from(link).map_err(|error| Error::Load(chain(&error)))?)
    } else {
        let filter = filter::attach(hands, device, id)?;
        Made::Filter(filter, object::descriptor(hands.ebpf, name)?)
    };
    Ok(Fresh {
        kind: HookKind::Tc,
        program: id,
        why,
        link,
    })
}

fn refused_at_tc(device: &Device, error: &ProgramError) -> Error {
    match refusal(device, error) {
        Ok(why) => Error::Attach {
            name: device.name.clone(),
            why: format!("tc: {why}"),
        },
        Err(error) => error,
    }
}

/// The kernel's reason for not offering a mode; an error if no mode can help.
fn refusal(device: &Device, error: &ProgramError) -> Result<String, Error> {
    match os_error(error).map(Errno::from_raw) {
        Some(Errno::EBUSY | Errno::EEXIST) => Err(Error::Busy {
            name: device.name.clone(),
            occupant: None,
        }),
        // Of the drivers with XDP, veth says this.
        Some(Errno::ENOSPC) => Ok(
            "its other end sends on more queues than it receives on: give both ends as many (`ethtool --set-channels`)"
                .to_owned(),
        ),
        Some(Errno::EPERM) => Err(Error::Privileges),
        Some(Errno::ENODEV) => Err(Error::UnknownInterface(device.name.clone())),
        _ => Ok(chain(error)),
    }
}
