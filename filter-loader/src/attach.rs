//! Attaching the program to a device and keeping it there: native if the driver can, else generic.
//! Attached once, then only the link's program is replaced: taking it off and on can reset a NIC.
use aya::programs::links::FdLink;
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use nix::errno::Errno;

use crate::device::Device;
use crate::error::{Error, chain, os_error};
use crate::pin::PinDir;

/// How the program may be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMode {
    /// Native; where the driver cannot, generic with a warning.
    #[default]
    Auto,
    /// Native or not at all.
    Native,
    /// Generic, for tests and for drivers that promise native and fail.
    Generic,
}

impl AttachMode {
    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpKind {
    /// By the driver, before a packet buffer is made.
    Native,
    /// By the network stack, after it: several times dearer per packet.
    Generic,
    /// As an earlier process left it.
    Adopted,
}

/// Where the program went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The device's index.
    pub ifindex: u32,
    /// How.
    pub kind: XdpKind,
}

/// A link that keeps the program attached: for as long as this lives, or longer if it is pinned.
#[derive(Debug)]
pub(crate) struct Hook {
    pub ifindex: u32,
    pub kind: XdpKind,
    _link: FdLink,
}

/// Takes over the link pinned under this name if there is one, else attaches (and pins).
pub(crate) fn attach(
    program: &mut Xdp,
    device: &Device,
    name: &str,
    mode: AttachMode,
    pins: Option<&PinDir>,
) -> Result<Hook, Error> {
    if let Some(link) = pins.and_then(|pins| adopt(program, name, pins)) {
        return Ok(Hook {
            ifindex: device.ifindex,
            kind: XdpKind::Adopted,
            _link: link,
        });
    }
    let (kind, link) = attach_new(program, device, mode)?;
    if let Some(pins) = pins {
        let path = pins.link(name);
        // The pinned handle is dropped on purpose: the pin itself is what keeps the link.
        let pinned = link.pin(&path).map_err(|error| Error::Pin {
            path,
            why: chain(&error),
        })?;
        return Ok(Hook {
            ifindex: device.ifindex,
            kind,
            _link: pinned.into(),
        });
    }
    Ok(Hook {
        ifindex: device.ifindex,
        kind,
        _link: link,
    })
}

/// Puts our program on a link an earlier process pinned. A link whose device is gone is forgotten.
fn adopt(program: &mut Xdp, name: &str, pins: &PinDir) -> Option<FdLink> {
    let pinned = pins.open_link(name)?;
    let adopted = XdpLink::try_from(FdLink::from(pinned))
        .map_err(|error| chain(&error))
        .and_then(|link| {
            let id = program
                .attach_to_link(link)
                .map_err(|error| chain(&error))?;
            let link = program.take_link(id).map_err(|error| chain(&error))?;
            FdLink::try_from(link).map_err(|error| chain(&error))
        });
    match adopted {
        Ok(link) => Some(link),
        Err(why) => {
            log::warn!("the pinned link of `{name}` leads nowhere ({why}): attaching anew");
            _ = pins.remove_link(name); // attaching anew says what is wrong with the directory
            None
        }
    }
}

fn attach_new(
    program: &mut Xdp,
    device: &Device,
    mode: AttachMode,
) -> Result<(XdpKind, FdLink), Error> {
    let native = match mode {
        AttachMode::Generic => "not tried".to_owned(),
        AttachMode::Auto | AttachMode::Native => match try_mode(program, device, XdpMode::Driver) {
            Ok(link) => return Ok((XdpKind::Native, link)),
            Err(error) => refusal(device, &error)?,
        },
    };
    if mode == AttachMode::Native {
        return Err(Error::Attach {
            name: device.name.clone(),
            why: format!("native: {native}"),
        });
    }
    match try_mode(program, device, XdpMode::Skb) {
        Ok(link) => {
            if mode == AttachMode::Auto {
                log::warn!(
                    "`{}` cannot take native xdp ({native}): attached in generic mode, which builds a packet buffer for \
                     every frame before the filter sees it and costs several times as much",
                    device.name
                );
            }
            Ok((XdpKind::Generic, link))
        }
        Err(error) => {
            let generic = refusal(device, &error)?;
            Err(Error::Attach {
                name: device.name.clone(),
                why: format!("native: {native}; generic: {generic}"),
            })
        }
    }
}

fn try_mode(program: &mut Xdp, device: &Device, mode: XdpMode) -> Result<FdLink, ProgramError> {
    let id = program.attach_to_if_index(device.ifindex, mode)?;
    let link = program.take_link(id)?;
    FdLink::try_from(link).map_err(|_| {
        ProgramError::IOError(std::io::Error::other(
            "the kernel has no bpf_link for xdp (before 5.9)",
        ))
    })
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
