//! A LAN between namespaces. Never bridges to a device that was there before.
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use filter_core::packet::Mac;

use super::namespace::{Namespace, NetError, ip};

/// How long a new port of a bridge may take.
const PORT_UP: Duration = Duration::from_secs(10);

/// A LAN: a bridge in a namespace of its own.
#[derive(Debug)]
pub struct Lan {
    namespace: Namespace,
    ports: AtomicU32,
}

impl Lan {
    /// A new one without members.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        Self::made_in(Namespace::new("lan")).unwrap()
    }

    /// A new one whose bridge sends nothing by itself.
    ///
    /// # Errors
    /// As [`Namespace::quiet`].
    pub fn quiet() -> Result<Self, NetError> {
        Self::made_in(Namespace::quiet("lan")?)
    }

    fn made_in(namespace: Namespace) -> Result<Self, NetError> {
        let name = namespace.name();
        let bridge = "link add lan type bridge stp_state 0 mcast_snooping 0";
        ip(["-n", name].into_iter().chain(bridge.split(' ')))?;
        ip(["-n", name, "link", "set", "lan", "up"])?;
        Ok(Self {
            namespace,
            ports: AtomicU32::new(0),
        })
    }

    /// Plugs `member` in through a device of this name and MAC, and waits until frames get through: the kernel looks
    /// at new carriers once a second.
    ///
    /// # Errors
    /// If the device exists, or the port does not forward.
    pub fn join(&self, member: &Namespace, device: &str, mac: Mac) -> Result<(), NetError> {
        let (lan, host, mac) = (self.namespace.name(), member.name(), mac.to_string());
        let port = self.next_port();
        let pair = ["link", "add", &port, "type", "veth", "peer", "name", device];
        let there = ["address", &mac, "netns", host];
        ip(["-n", lan].into_iter().chain(pair).chain(there))?;
        ip(["-n", lan, "link", "set", &port, "master", "lan", "up"])?;
        ip(["-n", host, "link", "set", device, "up"])?;
        let begin = Instant::now();
        while !ip(["-d", "-n", lan, "link", "show", &port])?.contains("state forwarding") {
            if begin.elapsed() > PORT_UP {
                return Err(NetError::Command {
                    command: format!("ip -d -n {lan} link show {port}"),
                    why: "the port does not forward".to_owned(),
                });
            }
            std::thread::sleep(super::LOOK);
        }
        Ok(())
    }

    fn next_port(&self) -> String {
        format!("port{}", self.ports.fetch_add(1, Ordering::Relaxed))
    }

    /// Plugs `member` in: its interface `device` gets these addresses (with lengths), usable at once.
    ///
    /// # Panics
    /// If that fails.
    pub fn plug(&self, member: &Namespace, device: &str, addresses: &[&str]) {
        let port = self.next_port();
        let pair = [
            "link",
            "add",
            &port,
            "type",
            "veth",
            "peer",
            "name",
            device,
            "netns",
            member.name(),
        ];
        self.namespace.ip(&pair);
        self.namespace
            .ip(&["link", "set", &port, "master", "lan", "up"]);
        for address in addresses {
            // Without duplicate address detection: no other host is here.
            let nodad: &[&str] = if address.contains(':') {
                &["nodad"]
            } else {
                &[]
            };
            member.ip(&[&["addr", "add", address, "dev", device], nodad].concat());
        }
        member.ip(&["link", "set", device, "up"]);
    }

    /// Waits until frames of `member`'s `eth0` get through: the kernel looks at new carriers once a second.
    ///
    /// # Panics
    /// If they never do.
    pub fn until_forwarding(&self, member: &Namespace) {
        let shown = member.ip(&["-o", "link", "show", "eth0"]);
        let port = shown
            .split_once("@if")
            .and_then(|(_, rest)| rest.split(':').next())
            .map(|index| format!("{index}: "))
            .unwrap();
        super::wait_for("the port to forward", PORT_UP, || {
            let ports = self.namespace.ip(&["-d", "-o", "link", "show"]);
            let port = ports.lines().find(|line| line.starts_with(&port))?;
            port.contains("state forwarding").then_some(())
        });
    }

    /// Where the bridge is.
    #[must_use]
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}

impl Default for Lan {
    fn default() -> Self {
        Self::new()
    }
}
