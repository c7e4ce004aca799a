//! A TAP or TUN device whose other end is a descriptor of the test's. What the device sends is read only between two that are
//! joined.
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How often it is looked whether it is over, in milliseconds.
const LOOK: u8 = 20;

/// `TUNSETIFF` of include/uapi/linux/if_tun.h, and its flags.
const SET: libc::c_ulong = 0x4004_54ca;
const TUN: libc::c_short = 0x0001;
const TAP: libc::c_short = 0x0002;
const NO_INFORMATION: libc::c_short = 0x1000;
const VIRTIO_HEADER: libc::c_short = 0x4000;

/// What the sender says of a frame: `struct virtio_net_hdr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Bytes that go into the linear part of the packet's buffer, if it is longer than a page; 0 for all.
    pub linear: u16,
    /// Of a super-frame of TCP over IPv4 without options: the payload of each segment; 0 for a single packet.
    pub segment: u16,
}

impl Offload {
    /// `VIRTIO_NET_HDR_F_NEEDS_CSUM`, `VIRTIO_NET_HDR_GSO_TCPV4`; the checksum's place behind Ethernet and IPv4.
    fn bytes(self) -> Vec<u8> {
        let super_frame = self.segment != 0;
        let [start, offset] = if super_frame { [34, 16] } else { [0, 0] };
        let words = [self.linear, self.segment, start, offset];
        let flags = [u8::from(super_frame), u8::from(super_frame)];
        let words = words.iter().flat_map(|word: &u16| word.to_ne_bytes());
        flags.into_iter().chain(words).collect()
    }
}

/// The other end of a device.
#[derive(Debug)]
pub struct Tap {
    file: File,
    has_header: bool,
}

impl Tap {
    /// A device with Ethernet frames, in this thread's network namespace.
    ///
    /// # Panics
    /// If the kernel refuses.
    #[must_use]
    pub fn ethernet(name: &str) -> Self {
        Self::open(name, TAP | VIRTIO_HEADER, true)
    }

    /// As [`Tap::ethernet`], whose frames come without what their sender says of them: no super-frames.
    ///
    /// # Panics
    /// If the kernel refuses.
    #[must_use]
    pub fn plain(name: &str) -> Self {
        Self::open(name, TAP, false)
    }

    /// A device with IP packets.
    ///
    /// # Panics
    /// If the kernel refuses.
    #[must_use]
    pub fn bare(name: &str) -> Self {
        Self::open(name, TUN, false)
    }

    fn open(name: &str, flags: libc::c_short, has_header: bool) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .expect("tun devices");
        // SAFETY: an ifreq of zeroes is a valid one.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        request.ifr_ifru.ifru_flags = flags | NO_INFORMATION;
        // SAFETY: the request lives through the call.
        let set = unsafe { libc::ioctl(file.as_raw_fd(), SET, &raw mut request) };
        assert_eq!(set, 0, "{name}: {}", std::io::Error::last_os_error());
        Self { file, has_header }
    }

    /// What the one device sends comes in on the other, until it is over.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn join(one: &Self, other: &Self, over: &AtomicBool) {
        let mut packet = [0; 1 << 16];
        while !over.load(Ordering::Relaxed) {
            let mut both = [one, other].map(|tap| PollFd::new(tap.file.as_fd(), PollFlags::POLLIN));
            poll(&mut both, PollTimeout::from(LOOK)).expect("poll");
            for (from, to) in [(one, other), (other, one)] {
                while let Ok(length) = (&from.file).read(&mut packet) {
                    _ = (&to.file).write(&packet[..length]); // as on a wire, what does not fit is lost
                }
            }
        }
    }

    /// A packet comes in on the device.
    ///
    /// # Panics
    /// If the kernel does not take it.
    pub fn send(&self, packet: &[u8]) {
        self.send_as(packet, Offload::default());
    }

    /// As [`Tap::send`], with what its sender says of it.
    ///
    /// # Panics
    /// If the kernel does not take it, or the device's packets have no such header.
    pub fn send_as(&self, packet: &[u8], offload: Offload) {
        assert!(self.has_header || offload == Offload::default());
        match self.has_header {
            true => self.write(&Self::ready(packet, offload)),
            false => self.write(packet),
        }
    }

    /// A frame as [`Tap::ethernet`] takes it, with what its sender says of it before it.
    #[must_use]
    pub fn ready(packet: &[u8], offload: Offload) -> Vec<u8> {
        [&offload.bytes(), packet].concat()
    }

    /// As [`Tap::send_as`], what is ready.
    ///
    /// # Panics
    /// If the kernel does not take it.
    pub fn write(&self, ready: &[u8]) {
        let written = (&self.file).write(ready).expect("a packet");
        assert_eq!(written, ready.len());
    }
}
