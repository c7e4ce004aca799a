//! What a driver says of itself (`SIOCETHTOOL`): its name, and whether it takes VLAN tags out of frames before a program in
//! XDP sees them. Reads only.
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{IFNAMSIZ, c_char, ifreq};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `ETHTOOL_GDRVINFO` of linux/ethtool.h.
const DRIVER: u32 = 0x3;
/// `ETHTOOL_GFLAGS`.
const FLAGS: u32 = 0x25;
/// `ETH_FLAG_LRO`: received packets are merged, in the hardware, before a program sees them.
const LRO: u32 = 1 << 15;
/// `ETH_FLAG_TXVLAN`: tags are kept beside the frame on the way out.
const TXVLAN: u32 = 1 << 7;
/// `ETH_FLAG_RXVLAN`: and on the way in.
const RXVLAN: u32 = 1 << 8;
/// Larger than any answer to these two: `struct ethtool_drvinfo` has 196 bytes.
const WORDS: usize = 64;
/// Where the driver's name is in that, and how long it is.
const NAME: std::ops::Range<usize> = 4..36;

mod request {
    nix::ioctl_write_ptr_bad!(
        /// Asks a driver (`SIOCETHTOOL`).
        siocethtool,
        0x8946,
        nix::libc::ifreq
    );
}

/// What was asked, and what came back.
#[repr(C, align(8))]
struct Answer([u32; WORDS]);

/// Where VLAN tags are hidden from XDP, by the command that shows them.
///
/// `peer` is the device at the other end of a veth pair, if it is in this namespace: there the sender decides.
#[must_use]
pub fn hidden_tags(device: &str, peer: Option<&str>) -> Option<String> {
    if driver(device)? == "veth" {
        let peer = peer?;
        return (flags(peer)? & TXVLAN != 0).then(|| format!("ethtool -K {peer} txvlan off"));
    }
    (flags(device)? & RXVLAN != 0).then(|| format!("ethtool -K {device} rxvlan off"))
}

/// Is it the VLAN device of one tag, whose frames have lost that tag?
#[must_use]
pub fn is_vlan_device(device: &str) -> bool {
    driver(device).is_some_and(|driver| driver == "802.1Q VLAN Support")
}

/// Does it merge received packets in the hardware? None if its driver does not answer.
#[must_use]
pub fn merges(device: &str) -> Option<bool> {
    Some(flags(device)? & LRO != 0)
}

/// The name of a device's driver; none if it does not answer.
#[must_use]
pub fn driver(device: &str) -> Option<String> {
    let Answer(words) = ask(device, DRIVER)?;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let name = bytes.get(NAME)?.split(|&byte| byte == 0).next()?;
    String::from_utf8(name.to_vec()).ok()
}

fn flags(device: &str) -> Option<u32> {
    ask(device, FLAGS).map(|Answer(words)| words[1])
}

/// None if the device is gone, or its driver does not answer.
fn ask(device: &str, command: u32) -> Option<Answer> {
    let name = CString::new(device).ok()?;
    let name = name.as_bytes_with_nul();
    if name.len() > IFNAMSIZ {
        return None;
    }
    let socket: Result<OwnedFd, Errno> = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    );
    let mut answer = Answer([0; WORDS]);
    answer.0[0] = command;
    // SAFETY: an ifreq of zeroes is a valid one: it has integers and a pointer that is not followed.
    let mut asked: ifreq = unsafe { std::mem::zeroed() };
    for (to, &from) in asked.ifr_name.iter_mut().zip(name) {
        *to = c_char::from_ne_bytes([from]);
    }
    asked.ifr_ifru.ifru_data = (&raw mut answer).cast();
    // SAFETY: the request and the answer it points to live through the call, and no answer to these commands is longer
    // than there is room.
    unsafe { request::siocethtool(socket.ok()?.as_raw_fd(), &raw const asked) }.ok()?;
    Some(answer)
}
