//! TCP MD5 signatures (RFC 2385) for a listening socket: one socket option that std does not know. Nothing else.
use std::ffi::c_int;
use std::io;
use std::mem;
use std::net::{IpAddr, TcpListener};
use std::os::fd::AsRawFd;

/// The longest password the kernel takes (TCP_MD5SIG_MAXKEYLEN).
pub const MAX_PASSWORD: usize = 80;

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct Md5Signature {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: c_int,
    key: [u8; MAX_PASSWORD],
}

/// From now on, connections from `remote` are accepted only with this password.
///
/// # Errors
/// An empty or too long password, or what the kernel says.
pub fn require(listener: &TcpListener, remote: IpAddr, password: &[u8]) -> io::Result<()> {
    if password.is_empty() || password.len() > MAX_PASSWORD {
        let length = password.len();
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a TCP MD5 password of {length} bytes; give 1 to {MAX_PASSWORD}"),
        ));
    }
    let mut key = [0; MAX_PASSWORD];
    key[..password.len()].copy_from_slice(password);
    let signature = Md5Signature {
        address: socket_address(remote),
        flags: 0,
        prefix_length: 0,
        key_length: password.len() as u16,
        interface: 0,
        key,
    };
    // SAFETY: the descriptor is open for as long as the listener lives; the pointer and the length are those of a
    // value that lives through the call and has the layout of struct tcp_md5sig; the kernel copies it.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_MD5SIG,
            (&raw const signature).cast(),
            mem::size_of::<Md5Signature>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The kernel's form of an address without a port.
fn socket_address(address: IpAddr) -> libc::sockaddr_storage {
    // SAFETY: sockaddr_storage is integers and arrays of them; all zero is a value of it (AF_UNSPEC).
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let pointer = &raw mut storage;
    match address {
        IpAddr::V4(v4) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: 0,
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.octets()),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is at least as large and as aligned as any socket address (RFC 3493 3.10).
            unsafe { pointer.cast::<libc::sockaddr_in>().write(address) };
        }
        IpAddr::V6(v6) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.octets(),
                },
                sin6_scope_id: 0,
            };
            // SAFETY: as above.
            unsafe { pointer.cast::<libc::sockaddr_in6>().write(address) };
        }
    }
    storage
}
