//! Frames onto a device and off it again, through packet sockets. Never sleeps: it waits for the frame.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, sendto, socket,
};

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
        let mut devices = getifaddrs().expect("a list of devices");
        let address = devices
            .find_map(|entry| {
                let address = entry.address.filter(|_| entry.interface_name == device)?;
                address.as_link_addr().copied()
            })
            .expect("the device");
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            flags,
            SockProtocol::EthAll,
        )
        .expect("a packet socket");
        bind(socket.as_raw_fd(), &address).expect("binding it");
        Self { socket, address }
    }

    /// Sends one frame.
    ///
    /// # Panics
    /// If the device does not take it.
    pub fn send(&self, frame: &[u8]) {
        let sent = sendto(
            self.socket.as_raw_fd(),
            frame,
            &self.address,
            MsgFlags::empty(),
        );
        assert_eq!(sent, Ok(frame.len()), "sending");
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
