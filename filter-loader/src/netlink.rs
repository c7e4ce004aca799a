//! One request to the kernel by rtnetlink, and the datagram it is answered with. Never reads what is in them.
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// Longer than what the kernel says of one device or filter.
const BUFFER: usize = 32 << 10;

/// Asks, and waits for the answer, which the kernel has ready when the request is sent.
///
/// # Errors
/// What the kernel answered.
pub(crate) fn ask(request: &[u8]) -> io::Result<Vec<u8>> {
    let socket: OwnedFd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    send(socket.as_raw_fd(), request, MsgFlags::empty())?;
    let mut answer = vec![0; BUFFER];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    answer.truncate(length);
    Ok(answer)
}
