//! Netlink's messages about one filter of a device: which program it runs, and its removal. Knows no filter but the one at
//! our priority and handle.
use std::io;

use nix::errno::Errno;

use super::{HANDLE, PRIORITY};
use crate::netlink::ask;

/// Types and attributes of linux/netlink.h, linux/rtnetlink.h and linux/pkt_cls.h.
const GET_FILTER: u16 = 46;
const DELETE_FILTER: u16 = 45;
const NEW_FILTER: u16 = 44;
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
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

/// The number of the program that the filter at our place on a device runs; none if there is no such filter.
///
/// # Errors
/// What the kernel answered.
pub(crate) fn program_on(ifindex: u32) -> io::Result<Option<u32>> {
    program_in(&ask(&request(GET_FILTER, REQUEST, ifindex))?)
}

/// Removes the filter at our place.
///
/// # Errors
/// What the kernel answered.
pub(super) fn delete(ifindex: u32) -> io::Result<()> {
    let answer = ask(&request(DELETE_FILTER, REQUEST | ACKNOWLEDGE, ifindex))?;
    // Somebody else removed it, or the device, meanwhile.
    refusal(&answer)?
        .filter(|errno| !is_absence(*errno))
        .map_or(Ok(()), |errno| Err(errno.into()))
}

fn request(kind: u16, flags: u16, ifindex: u32) -> Vec<u8> {
    let length = (HEADER + TC_MESSAGE) as u32;
    let info = u32::from(PRIORITY) << 16 | u32::from(ETH_P_ALL.to_be());
    let words = [
        length,
        u32::from_ne_bytes(pair(kind, flags)),
        1, // the sequence number
        0, // from us
        0, // any family
        ifindex,
        u32::from(HANDLE),
        INGRESS,
        info,
    ];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Two halves of a word as they lie in memory.
const fn pair(first: u16, second: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    [a, b, c, d]
}

/// The program's number in the description of a filter; none where there is no filter, or one that runs no program.
fn program_in(answer: &[u8]) -> io::Result<Option<u32>> {
    match refusal(answer)? {
        Some(errno) if is_absence(errno) => Ok(None),
        Some(errno) => Err(errno.into()),
        None => Ok(program_of(answer)),
    }
}

/// What the kernel says of a request that it did not do; none if it did.
fn refusal(answer: &[u8]) -> io::Result<Option<Errno>> {
    let cut = || io::Error::other("the kernel's answer is cut short");
    let half = |at: usize| Some(u16::from_ne_bytes(*answer.get(at..)?.first_chunk()?));
    match half(4).ok_or_else(cut)? {
        ERROR => {
            let code = answer.get(HEADER..).and_then(|rest| rest.first_chunk());
            let code = i32::from_ne_bytes(*code.ok_or_else(cut)?);
            Ok((code != 0).then(|| Errno::from_raw(code.saturating_neg())))
        }
        NEW_FILTER | DELETE_FILTER => Ok(None),
        other => Err(io::Error::other(format!(
            "the kernel answered with message {other}"
        ))),
    }
}

/// Does this say that there is no such filter? `EINVAL` and `EOPNOTSUPP` say that there is no `clsact`, or that filters of
/// another protocol are at the priority.
const fn is_absence(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ENOENT | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENODEV
    )
}

fn program_of(answer: &[u8]) -> Option<u32> {
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

    fn error(errno: Errno) -> Vec<u8> {
        let mut bytes = answer(ERROR, &[]);
        bytes[HEADER..HEADER + 4].copy_from_slice(&(-(errno as i32)).to_ne_bytes());
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
        let found = |answer: &[u8]| program_in(answer).unwrap();
        assert_eq!(found(&answer(NEW_FILTER, &attributes)), Some(77));
        let without = attribute_of(OPTIONS, &attribute_of(7, b"x"));
        assert_eq!(found(&answer(NEW_FILTER, &without)), None);
        for cut in 0..attributes.len() {
            let cut = answer(NEW_FILTER, &attributes[..cut]);
            assert_eq!(found(&cut), None, "never read beyond its end");
        }
    }

    #[test]
    fn a_filter_is_absent_only_if_the_kernel_says_so() {
        for errno in [
            Errno::ENOENT,
            Errno::EINVAL,
            Errno::EOPNOTSUPP,
            Errno::ENODEV,
        ] {
            assert_eq!(program_in(&error(errno)).unwrap(), None, "{errno}");
        }
        for errno in [Errno::ENOBUFS, Errno::ENOMEM, Errno::EPERM] {
            let said = program_in(&error(errno)).unwrap_err();
            assert_eq!(said.raw_os_error(), Some(errno as i32));
        }
        for cut in 0..HEADER + 4 {
            assert!(program_in(&error(Errno::ENOENT)[..cut]).is_err(), "{cut}");
        }
        assert!(program_in(&answer(3, &[])).is_err(), "another message");
    }

    #[test]
    fn a_request_names_our_filter_alone() {
        let bytes = request(DELETE_FILTER, REQUEST | ACKNOWLEDGE, 7);
        assert_eq!(bytes.len(), HEADER + TC_MESSAGE);
        let word = |index: usize| u32::from_ne_bytes(*bytes[4 * index..].first_chunk().unwrap());
        assert_eq!(
            [word(0), word(5), word(6), word(7)],
            [36, 7, 0xbc38, INGRESS]
        );
        assert_eq!(bytes[4..8], pair(DELETE_FILTER, REQUEST | ACKNOWLEDGE));
    }
}
