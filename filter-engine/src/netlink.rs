//! The rtnetlink socket, and how messages lie in a datagram of it. Never reads what is in them.
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket,
};

/// The listing is not consistent: it changed under the kernel's hands (`NLM_F_DUMP_INTR`, linux/netlink.h).
pub(crate) const DUMP_INTERRUPTED: u16 = 0x10;
/// Bytes of a netlink header; messages in one datagram start at multiples of 4.
const HEADER: usize = 16;
const ALIGN: usize = 4;

/// A socket that hears what changes in these multicast groups (`RTMGRP_*` of linux/rtnetlink.h), and never waits. The
/// error names the call that failed.
pub(crate) fn subscribe(groups: u32) -> Result<OwnedFd, (&'static str, Errno)> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkRoute,
    )
    .map_err(|source| ("socket", source))?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups)).map_err(|source| ("bind", source))?;
    Ok(socket)
}

/// The messages of a datagram; an error, and no more, where one does not fit.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<&[u8], String>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = rest
            .first_chunk::<4>()
            .map(|bytes| u32::from_ne_bytes(*bytes));
        let length = length.and_then(|length| usize::try_from(length).ok());
        let message = length
            .filter(|length| *length >= HEADER)
            .and_then(|length| rest.get(..length));
        let Some(message) = message else {
            let all = rest.len();
            rest = &[];
            let said = length.map_or("?".to_owned(), |length| length.to_string());
            return Some(Err(format!("a message of {said} bytes in {all} bytes")));
        };
        let next = message.len().next_multiple_of(ALIGN);
        rest = rest.get(next..).unwrap_or_default();
        Some(Ok(message))
    })
}
