//! tc before Linux 6.6, which has no links there: a filter of the `clsact` qdisc at a priority and handle of our own, found
//! again by its program's number. Never touches a filter of another program: none is removed by its name.
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};

use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, tc};
use nix::errno::Errno;
use nix::net::if_::if_nameindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

use crate::error::os_error;

/// Before all others.
const PRIORITY: u16 = 1;
const HANDLE: TcHandle = TcHandle::new(0, 0xbc38);

/// A filter of ours on a device.
#[derive(Debug)]
pub(crate) struct Filter {
    /// Dropped, it removes the filter.
    link: Option<SchedClassifierLink>,
    /// Is it to outlive this process?
    outlives: bool,
}

impl Filter {
    pub(crate) const fn new(link: SchedClassifierLink, outlives: bool) -> Self {
        Self {
            link: Some(link),
            outlives,
        }
    }

    /// Removes it from its device, whoever else wants it.
    pub(crate) fn remove(mut self) {
        self.outlives = false;
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        if self.outlives {
            mem::forget(self.link.take()); // it has nothing but numbers
        }
    }
}

/// Puts the program on a device that has no filter of ours.
pub(crate) fn attach(
    program: &mut SchedClassifier,
    device: &str,
) -> Result<SchedClassifierLink, ProgramError> {
    if let Err(error) = tc::qdisc_add_clsact(device)
        && os_error(&error) != Some(Errno::EEXIST as i32)
    {
        return Err(error.into());
    }
    let options = TcAttachOptions::Netlink(NlOptions {
        priority: PRIORITY,
        handle: HANDLE,
        ..NlOptions::default()
    });
    let link = program.attach_with_options(device, TcAttachType::Ingress, options)?;
    program.take_link(link)
}

/// The filter of ours on a device, as a link: to put another program on it, or to remove it.
pub(crate) fn link(device: &str) -> io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(device, TcAttachType::Ingress, PRIORITY, HANDLE, None)
}

/// Removes the filter that runs this program, from whichever device of this network namespace it is on.
pub(crate) fn remove(program: u32) {
    let Ok(devices) = if_nameindex() else {
        return;
    };
    for device in &devices {
        let name = device.name().to_string_lossy();
        if program_on(device.index()).is_ok_and(|on_it| on_it == Some(program)) {
            drop(link(&name)); // a link of this kind removes what it names
        }
    }
}

/// Types and attributes of linux/rtnetlink.h and linux/pkt_cls.h.
const GET_FILTER: u16 = 46;
const NEW_FILTER: u16 = 44;
const REQUEST: u16 = 1;
const OPTIONS: u16 = 2;
const BPF_ID: u16 = 11;
/// `ffff:fff2`: the ingress of `clsact`.
const INGRESS: u32 = 0xffff_fff2;
const ETH_P_ALL: u16 = 3;
/// Lengths of a netlink header, of `struct tcmsg` behind it, and of an attribute's header.
const HEADER: usize = 16;
const TC_MESSAGE: usize = 20;
const ATTRIBUTE: usize = 4;
const ALIGN: usize = 4;
/// No filter is described in more.
const BUFFER: usize = 16 << 10;

/// The number of the program that our filter on a device runs; none if there is no such filter.
///
/// # Errors
/// What the kernel answered.
pub(crate) fn program_on(ifindex: u32) -> io::Result<Option<u32>> {
    let socket: OwnedFd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    send(socket.as_raw_fd(), &request(ifindex), MsgFlags::empty())?;
    let mut answer = vec![0; BUFFER];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    Ok(program_in(answer.get(..length).unwrap_or_default()))
}

fn request(ifindex: u32) -> Vec<u8> {
    let length = (HEADER + TC_MESSAGE) as u32;
    let kinds = u32::from(GET_FILTER) | u32::from(REQUEST) << 16;
    let info = u32::from(PRIORITY) << 16 | u32::from(ETH_P_ALL.to_be());
    let words = [
        length,
        kinds,
        1, // the sequence number
        0, // from us
        0, // any family
        ifindex,
        HANDLE.into(),
        INGRESS,
        info,
    ];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// The program's number in the description of a filter; none of an error, or of a filter that runs none.
fn program_in(answer: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    if kind != NEW_FILTER {
        return None; // an error: there is no such filter, or no such qdisc
    }
    let options = attribute(answer.get(HEADER + TC_MESSAGE..)?, OPTIONS)?;
    let id = attribute(options, BPF_ID)?;
    Some(u32::from_ne_bytes(*id.first_chunk()?))
}

/// The value of the first attribute of this type.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = u16::from_ne_bytes(*attributes.first_chunk()?);
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        let length = usize::from(length);
        let value = attributes.get(ATTRIBUTE..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(ALIGN)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute_of(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = (ATTRIBUTE + value.len()) as u16;
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
        bytes
    }

    fn answer(kind: u16, attributes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + TC_MESSAGE];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes.extend(attributes);
        bytes
    }

    #[test]
    fn the_programs_number_is_found_behind_other_attributes() {
        let id = [
            attribute_of(7, b"bcp38_tc\0"),
            attribute_of(BPF_ID, &77_u32.to_ne_bytes()),
        ];
        let attributes = [
            attribute_of(1, b"bpf\0"),
            attribute_of(OPTIONS, &id.concat()),
        ]
        .concat();
        assert_eq!(program_in(&answer(NEW_FILTER, &attributes)), Some(77));
        assert_eq!(program_in(&answer(2, &attributes)), None);
        let without = attribute_of(OPTIONS, &attribute_of(7, b"x"));
        assert_eq!(program_in(&answer(NEW_FILTER, &without)), None);
        for cut in 0..attributes.len() {
            let cut = answer(NEW_FILTER, &attributes[..cut]);
            assert_eq!(program_in(&cut), None, "never read beyond its end");
        }
    }

    #[test]
    fn a_request_names_our_filter_alone() {
        let bytes = request(7);
        assert_eq!(bytes.len(), HEADER + TC_MESSAGE);
        let word = |index: usize| u32::from_ne_bytes(*bytes[4 * index..].first_chunk().unwrap());
        assert_eq!(
            [word(0), word(5), word(6), word(7)],
            [36, 7, 0xbc38, INGRESS]
        );
    }
}
