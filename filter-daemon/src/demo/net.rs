//! Network namespaces, a LAN between them and frames put on it: what `bcp38 demo` and the tests build their
//! networks of. Everything made here is removed when it is dropped, also after a panic.
//! Never touches a device or a namespace it did not make.
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use filter_core::packet::Mac;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Why a network could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// A command ended with an error.
    #[error("`{command}`: {why}")]
    Command {
        /// What was run.
        command: String,
        /// What it said.
        why: String,
    },
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    Os {
        /// What was tried.
        what: String,
        /// What came back.
        source: io::Error,
    },
}

impl NetError {
    fn os<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |source| Self::Os {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// How long a new port may take to forward.
const PORT_UP: Duration = Duration::from_secs(10);

/// Runs `ip` with these words.
///
/// # Errors
/// With the command line and what it said.
pub fn ip(words: &str) -> Result<(), NetError> {
    ip_output(words).map(drop)
}

/// Runs `ip` with these words and returns what it prints.
///
/// # Errors
/// As [`ip`].
pub fn ip_output(words: &str) -> Result<String, NetError> {
    let fail = |why: String| NetError::Command {
        command: format!("ip {words}"),
        why,
    };
    let run = Command::new("ip")
        .args(words.split_whitespace())
        .stdin(Stdio::null())
        .output();
    let output = run.map_err(|error| fail(format!("{error}; install the package iproute2")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(fail(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}

/// A network namespace, removed with everything in it on drop.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one. Process id and name make it unique, so two runs never meet. IPv6 is off on its devices until
    /// somebody wants it: no frame goes out that nobody sent.
    ///
    /// # Errors
    /// Without root, or without `ip`.
    pub fn new(name: &str) -> Result<Self, NetError> {
        let name = format!("bcp38-{}-{name}", std::process::id());
        ip(&format!("netns add {name}"))?;
        let namespace = Self { name };
        namespace.run(|| {
            let quiet = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
            std::fs::write(quiet, "1").map_err(NetError::os(format!("write {quiet}")))
        })??;
        ip(&format!("-n {} link set lo up", namespace.name))?;
        Ok(namespace)
    }

    /// Its name, for `ip -n`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Moves the calling thread, and the threads it will start, into the namespace.
    ///
    /// # Errors
    /// Without root.
    pub fn enter(&self) -> Result<(), NetError> {
        enter(&self.path())
    }

    /// Runs a function on a thread of its own inside the namespace.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetError> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| self.enter().map(|()| work()));
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Moves the calling thread, and the threads it will start, into a mounted namespace.
///
/// # Errors
/// Without root, or if it is not there.
pub fn enter(path: &Path) -> Result<(), NetError> {
    let file =
        File::open(path).map_err(NetError::os(format!("open namespace {}", path.display())))?;
    setns(file, CloneFlags::CLONE_NEWNET)
        .map_err(NetError::os(format!("enter namespace {}", path.display())))
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&format!("netns del {}", self.name)) {
            log::error!("{error}");
        }
    }
}

/// An Ethernet LAN: a bridge in a namespace of its own.
#[derive(Debug)]
pub struct Lan {
    bridge: Namespace,
    ports: std::cell::Cell<u32>,
}

impl Lan {
    /// An empty LAN.
    ///
    /// # Errors
    /// As [`Namespace::new`].
    pub fn new(name: &str) -> Result<Self, NetError> {
        let bridge = Namespace::new(name)?;
        ip(&format!(
            "-n {} link add lan type bridge stp_state 0 mcast_snooping 0",
            bridge.name
        ))?;
        ip(&format!("-n {} link set lan up", bridge.name))?;
        Ok(Self {
            bridge,
            ports: std::cell::Cell::new(0),
        })
    }

    /// Puts a namespace on the LAN through a device of this name and MAC.
    ///
    /// # Errors
    /// If the device exists, or as [`ip`].
    pub fn join(&self, namespace: &Namespace, device: &str, mac: Mac) -> Result<(), NetError> {
        let port = self.ports.get();
        self.ports.set(port + 1);
        let (lan, host) = (&self.bridge.name, &namespace.name);
        ip(&format!(
            "-n {lan} link add port{port} type veth peer name {device} address {mac} netns {host}"
        ))?;
        ip(&format!("-n {lan} link set port{port} master lan up"))?;
        ip(&format!("-n {host} link set {device} up"))?;
        // The kernel looks at new carriers once a second: until then the bridge drops what goes to the port.
        let begin = Instant::now();
        while !ip_output(&format!("-d -n {lan} link show port{port}"))?.contains("state forwarding")
        {
            if begin.elapsed() > PORT_UP {
                return Err(NetError::Command {
                    command: format!("ip -d -n {lan} link show port{port}"),
                    why: "the port does not forward".to_owned(),
                });
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Sends and receives whole frames on one device.
#[derive(Debug)]
pub struct FrameSocket {
    socket: OwnedFd,
    device: String,
}

impl FrameSocket {
    /// Opens it on a device of the namespace.
    ///
    /// # Errors
    /// Without root, or if the device is not there.
    pub fn open(namespace: &Namespace, device: &str) -> Result<Self, NetError> {
        namespace.run(|| Self::open_here(device))?
    }

    /// Opens it on a device of the calling thread's namespace.
    ///
    /// # Errors
    /// Without root, or if the device is not there.
    pub fn open_here(device: &str) -> Result<Self, NetError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Protocol 0: receives nothing until bound.
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)
            .map_err(NetError::os(format!("open a packet socket for {device}")))?;
        let index = nix::net::if_::if_nametoindex(device)
            .map_err(NetError::os(format!("find device {device}")))?;
        bind(&socket, index).map_err(NetError::os(format!("bind to device {device}")))?;
        Ok(Self {
            socket,
            device: device.to_owned(),
        })
    }

    /// Puts one frame on the wire.
    ///
    /// # Errors
    /// If the device is down or the frame longer than it takes.
    pub fn send(&self, frame: &[u8]) -> Result<(), NetError> {
        nix::unistd::write(&self.socket, frame).map_err(NetError::os(format!(
            "send {} bytes on {}",
            frame.len(),
            self.device
        )))?;
        Ok(())
    }

    /// The next frame that has come in (or that this host sent on the device), if any.
    ///
    /// # Errors
    /// If the device is gone.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>, NetError> {
        match nix::unistd::read(&self.socket, buffer) {
            Ok(length) => Ok(Some(length)),
            Err(nix::errno::Errno::EAGAIN) => Ok(None),
            Err(error) => Err(NetError::os(format!("receive on {}", self.device))(error)),
        }
    }
}

/// `ETH_P_ALL` of include/uapi/linux/if_ether.h.
const ETH_P_ALL: u16 = 3;

fn bind(socket: &OwnedFd, index: u32) -> io::Result<()> {
    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ETH_P_ALL.to_be();
    address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is a whole sockaddr_ll of the length given, and lives through the call.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
