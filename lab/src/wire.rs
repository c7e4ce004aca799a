//! Frames onto a device and off it again, through packet sockets. Never sleeps: it waits for the frame.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{LinkAddr, MsgFlags, bind, recv, sendto};

use super::namespace::NetError;

/// How long anything may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Packet sockets on one device.
#[derive(Debug)]
pub struct Wire {
    sockets: Vec<OwnedFd>,
    address: LinkAddr,
}

/// Every protocol; a socket for it sees a packet before programs at tc do.
const ALL: u16 = 0x0003;
/// What routers live on: IPv4, IPv6, and ARP last, which tests send behind packets that may be dropped.
const SINGLE: [u16; 3] = [0x0800, 0x86dd, 0x0806];

impl Wire {
    /// On a device of this thread's namespace.
    ///
    /// # Panics
    /// If there is no such device, or no privilege.
    #[must_use]
    pub fn on(device: &str) -> Self {
        Self::open(device).unwrap()
    }

    /// As [`Wire::on`].
    ///
    /// # Errors
    /// If there is no such device, or no privilege.
    pub fn open(device: &str) -> Result<Self, NetError> {
        Self::open_for(device, &[ALL])
    }

    /// As [`Wire::on`], but behind tc: a packet socket for everything sees a packet before programs at tc do, one for a
    /// single protocol after them. Sees IPv4, IPv6 and ARP.
    ///
    /// # Errors
    /// If there is no such device, or no privilege.
    pub fn behind_tc(device: &str) -> Result<Self, NetError> {
        Self::open_for(device, &SINGLE)
    }

    fn open_for(device: &str, protocols: &[u16]) -> Result<Self, NetError> {
        let fail = || format!("open a packet socket on device {device}");
        let mut devices = getifaddrs().map_err(NetError::os(fail()))?;
        let address = devices
            .find_map(|entry| {
                let address = entry.address.filter(|_| entry.interface_name == device)?;
                address.as_link_addr().copied()
            })
            .ok_or(Errno::ENODEV)
            .map_err(NetError::os(fail()))?;
        let open = |&protocol: &u16| {
            let socket = packet_socket(protocol)?;
            bind(socket.as_raw_fd(), &address)?;
            Ok(socket)
        };
        let sockets: Result<Vec<OwnedFd>, Errno> = protocols.iter().map(open).collect();
        Ok(Self {
            sockets: sockets.map_err(NetError::os(fail()))?,
            address,
        })
    }

    /// Sends one frame.
    ///
    /// # Panics
    /// If the device does not take it.
    pub fn send(&self, frame: &[u8]) {
        self.try_send(frame).unwrap();
    }

    /// As [`Wire::send`].
    ///
    /// # Errors
    /// If the device is down, or the frame longer than it takes.
    pub fn try_send(&self, frame: &[u8]) -> Result<(), NetError> {
        let sent = sendto(
            self.sockets[0].as_raw_fd(),
            frame,
            &self.address,
            MsgFlags::empty(),
        );
        let what = || format!("send {} bytes", frame.len());
        sent.map(drop).map_err(NetError::os(what()))
    }

    /// The next frame that came in, as long as the wire is quiet for less than [`PATIENCE`].
    ///
    /// # Panics
    /// If nothing comes.
    #[must_use]
    pub fn receive(&self) -> Vec<u8> {
        let mut frame = vec![0; 65_536];
        let timeout = PollTimeout::try_from(PATIENCE).expect("a short time");
        let sockets = self.sockets.iter();
        let mut polled: Vec<PollFd<'_>> = sockets
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        let ready = poll(&mut polled, timeout);
        assert!(matches!(ready, Ok(1..)), "no frame came through: {ready:?}");
        let len = self
            .sockets
            .iter()
            .find_map(|socket| recv(socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT).ok())
            .expect("the frame");
        frame.truncate(len);
        frame
    }

    /// What has come in and was not received yet. Where a frame is among them, so is every one that came before it.
    #[must_use]
    pub fn waiting(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut frame = vec![0; 65_536];
        let mut seen = usize::MAX;
        // Once more for the sockets that were empty when another was not yet.
        while seen != frames.len() {
            seen = frames.len();
            for socket in &self.sockets {
                while let Ok(len) = recv(socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
                    frames.push(frame[..len].to_vec());
                }
            }
        }
        frames
    }
}

/// A packet socket for one ethertype, of which nix knows few.
fn packet_socket(protocol: u16) -> Result<OwnedFd, Errno> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: three integers.
    let made = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(protocol.to_be())) };
    let made = Errno::result(made)?;
    // SAFETY: the call has just made this descriptor, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// Tries until it holds.
///
/// # Panics
/// If it does not within [`PATIENCE`].
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}
