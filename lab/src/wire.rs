//! Frames onto a device and off it again, through packet sockets. Never sleeps: it waits for the frame.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, sendto, socket,
};

use super::namespace::NetError;

/// How long anything may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A packet socket on one device.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    address: LinkAddr,
}

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
        let fail = || format!("open a packet socket on device {device}");
        let mut devices = getifaddrs().map_err(NetError::os(fail()))?;
        let address = devices.find_map(|entry| {
            let address = entry.address.filter(|_| entry.interface_name == device)?;
            address.as_link_addr().copied()
        });
        let address = address.ok_or(Errno::ENODEV).map_err(NetError::os(fail()))?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::EthAll;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, protocol)
            .map_err(NetError::os(fail()))?;
        bind(socket.as_raw_fd(), &address).map_err(NetError::os(fail()))?;
        Ok(Self { socket, address })
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
        let (socket, to) = (self.socket.as_raw_fd(), &self.address);
        let sent = sendto(socket, frame, to, MsgFlags::empty());
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
        let ready = poll(
            &mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)],
            timeout,
        );
        assert_eq!(ready, Ok(1), "no frame came through");
        let len = recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()).expect("the frame");
        frame.truncate(len);
        frame
    }

    /// What has come in and was not received yet.
    #[must_use]
    pub fn waiting(&self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut frame = vec![0; 65_536];
        while let Ok(len) = recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
            frames.push(frame[..len].to_vec());
        }
        frames
    }
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
