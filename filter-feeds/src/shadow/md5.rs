//! TCP MD5 signatures (RFC 2385) for a listening socket: one socket option that std does not know, and the kernel's
//! count of what it refused, the only place where a wrong password shows. Never prints a password.
use std::ffi::c_int;
use std::io;
use std::mem;
use std::net::{IpAddr, TcpListener};
use std::os::fd::AsRawFd;

use filter_core::Prefix;

use super::Password;

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct Md5Signature {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: c_int,
    key: [u8; Password::MAX],
}

/// The option that takes prefixes, and the flag for that (linux/tcp.h).
const TCP_MD5SIG_EXT: c_int = 32;
const FLAG_PREFIX: u8 = 1;

/// From now on, connections from `remote` are accepted only with this password.
///
/// # Errors
/// What the kernel says.
pub fn require(listener: &TcpListener, remote: IpAddr, password: &Password) -> io::Result<()> {
    require_of(listener, Prefix::host(remote.into()), password)
}

/// From now on, connections from addresses in `remote` are accepted only with this password.
///
/// # Errors
/// What the kernel says.
pub fn require_of(listener: &TcpListener, remote: Prefix, password: &Password) -> io::Result<()> {
    let (bits, length) = (remote.family().bits(), remote.len());
    let remote = IpAddr::from(remote.address());
    let mut key = [0; Password::MAX];
    key[..password.bytes().len()].copy_from_slice(password.bytes());
    // A socket of the one family knows neighbours of the other only as mapped addresses.
    let (remote, length_there) = match (listener.local_addr()?.is_ipv6(), remote) {
        (true, IpAddr::V4(v4)) => (IpAddr::V6(v4.to_ipv6_mapped()), length + 96),
        _ => (remote, length),
    };
    let is_host = length == bits;
    let signature = Md5Signature {
        address: socket_address(remote),
        flags: if is_host { 0 } else { FLAG_PREFIX },
        prefix_length: if is_host { 0 } else { length_there },
        key_length: password.bytes().len() as u16,
        interface: 0,
        key,
    };
    // SAFETY: the descriptor is open for as long as the listener lives; the pointer and the length are those of a
    // value that lives through the call and has the layout of struct tcp_md5sig; the kernel copies it.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            if is_host {
                libc::TCP_MD5SIG
            } else {
                TCP_MD5SIG_EXT
            },
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

/// Segments the kernel dropped for their signature, in this thread's network namespace since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Without the password we want.
    pub missing: u64,
    /// With one we do not know.
    pub unexpected: u64,
    /// With another password.
    pub wrong: u64,
}

impl Refused {
    /// The calling thread's own namespace: `/proc/net` is that of the process's first thread.
    const FILE: &'static str = "/proc/thread-self/net/netstat";

    /// As counted now; nothing where the kernel does not count them.
    #[must_use]
    pub fn now() -> Self {
        std::fs::read_to_string(Self::FILE)
            .map(|text| Self::parse(&text))
            .unwrap_or_default()
    }

    /// A line of names and a line of numbers for each group.
    fn parse(text: &str) -> Self {
        let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
        let (names, numbers) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
        let mut refused = Self::default();
        for (name, number) in names
            .split_whitespace()
            .zip(numbers.split_whitespace())
            .skip(1)
        {
            let count = match name {
                "TCPMD5NotFound" => &mut refused.missing,
                "TCPMD5Unexpected" => &mut refused.unexpected,
                "TCPMD5Failure" => &mut refused.wrong,
                _ => continue,
            };
            *count = number.parse().unwrap_or(0);
        }
        refused
    }

    /// What was refused since `before`, as a sentence, if anything was.
    #[must_use]
    pub fn since(self, before: Self) -> Option<&'static str> {
        if self.wrong > before.wrong {
            Some("another TCP MD5 password")
        } else if self.missing > before.missing {
            Some("no TCP MD5 password")
        } else if self.unexpected > before.unexpected {
            Some("a TCP MD5 password where none is configured")
        } else {
            None
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_of_either_family_take_neighbours_of_either() {
        let longest = Password::new(&[b'x'; Password::MAX]).unwrap();
        for listen in ["127.0.0.1:0", "[::]:0"] {
            let listener = TcpListener::bind(listen).unwrap();
            require(&listener, IpAddr::from([192, 0, 2, 1]), &longest).unwrap();
        }
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let short = Password::new(b"x").unwrap();
        require(&listener, "2001:db8::1".parse().unwrap(), &short).unwrap();
        // A neighbour that could never connect there.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(require(&listener, "2001:db8::1".parse().unwrap(), &short).is_err());
    }

    #[test]
    fn what_the_kernel_refused_is_read_by_name() {
        let text = "TcpExt: SyncookiesSent TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure X\n\
                    TcpExt: 1 2 3 4 5\nIpExt: InNoRoutes\nIpExt: 7\n";
        let some = Refused::parse(text);
        assert_eq!((some.missing, some.unexpected, some.wrong), (2, 3, 4));
        for none in [
            "",
            "TcpExt: TCPMD5Failure",
            "TcpExt: TCPMD5Failure\nTcpExt: x",
        ] {
            assert_eq!(Refused::parse(none), Refused::default(), "{none}");
        }
        let more = |change: fn(&mut Refused)| {
            let mut now = some;
            change(&mut now);
            now.since(some)
        };
        assert_eq!(more(|_| {}), None);
        assert!(more(|now| now.missing += 1).is_some_and(|why| why.starts_with("no TCP")));
        assert!(more(|now| now.unexpected += 1).is_some_and(|why| why.contains("none is")));
        assert!(more(|now| now.wrong += 1).is_some_and(|why| why.starts_with("another")));
        let read = std::fs::read_to_string(Refused::FILE).unwrap();
        assert!(
            read.contains("TCPMD5Failure"),
            "this kernel counts them otherwise"
        );
    }
}
