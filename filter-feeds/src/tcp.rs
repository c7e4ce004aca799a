//! Options of TCP connections that nothing else shows to be dead: keepalive, the user timeout, and when the other side
//! was last heard of. Never reads or writes a byte.
use std::io;
use std::mem;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{
    KeepAlive, TcpKeepCount, TcpKeepIdle, TcpKeepInterval, TcpUserTimeout,
};

/// A connection that is silent for this long is probed.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// Between two probes that are not answered.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Probes without an answer before the connection is given up. TCP_USER_TIMEOUT replaces it where data is unacknowledged.
pub const KEEPALIVE_PROBES: u32 = 3;
/// The time after which a silent connection is lost: [`KEEPALIVE_IDLE`] and all the probes.
pub const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Has the kernel find out that the other side is gone: a blackholed connection looks up for ever otherwise.
///
/// # Errors
/// What the kernel says.
pub fn watch(stream: &TcpStream) -> io::Result<()> {
    setsockopt(stream, KeepAlive, &true)?;
    setsockopt(stream, TcpKeepIdle, &seconds(KEEPALIVE_IDLE))?;
    setsockopt(stream, TcpKeepInterval, &seconds(KEEPALIVE_INTERVAL))?;
    setsockopt(stream, TcpKeepCount, &KEEPALIVE_PROBES)?;
    let timeout = u32::try_from(USER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    setsockopt(stream, TcpUserTimeout, &timeout)?;
    Ok(())
}

/// Has the kernel probe a connection within a second, to learn whether the other side is there.
///
/// # Errors
/// What the kernel says.
pub fn probe(stream: &TcpStream) -> io::Result<()> {
    setsockopt(stream, TcpKeepIdle, &1)?;
    setsockopt(stream, TcpKeepInterval, &1)?;
    Ok(())
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

/// How long ago the other side last sent data or an acknowledgement, those of probes included.
///
/// # Errors
/// What the kernel says.
pub fn heard_ago(stream: &TcpStream) -> io::Result<Duration> {
    // SAFETY: tcp_info is integers only; all zero is a value of it.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut length = mem::size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as the stream lives; pointer and length are those of a value that
    // lives through the call, which the kernel fills at most up to that length.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let last = info.tcpi_last_ack_recv.min(info.tcpi_last_data_recv);
    Ok(Duration::from_millis(last.into()))
}
