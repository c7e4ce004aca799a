//! The filter at every hook: the case file at each of them, the wire under tc (tags beside the frame, bytes beside the linear
//! part, super-frames), the way from one hook to another, other programs on the device, devices without Ethernet.
//! Whatever tc drops is gone for sockets of one protocol, through which these tests receive.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod cases;
mod clsact;
mod daemon;
mod lease;
mod modules;
mod moves;
mod stage;
mod tunnels;
mod upgrade;
mod wire;
mod wireguard;

/// Ends what goes on beside a test when this is dropped: also if the test fails, which would wait for it otherwise.
struct Ends<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
