//! A sender, a router and a receiver, each in a namespace of its own. This thread is the router's. Never touches a device it did not
//! make.
use std::fs::{self, File};
use std::io::{Read, Seek};

use tests::lab;
use tests::netns::{Namespace, ip};
use tests::tap::Tap;

use super::meter;
use super::shapes::Shape;
use super::table::{CLIENT, FAR, NEAR, NO_MAC, OUT, OUT_MAC, PEER, SERVER, SINK, SINK_MAC, Table};
use crate::measure::Result;
use crate::wire::feed;
use crate::world::OWN;

/// The router's device towards the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Veth,
    /// A TAP whose other end sends frames alone.
    Tap,
    /// One whose other end may send super-frames, as a guest does.
    GuestTap,
}

impl Device {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Veth => "veth",
            Self::Tap => "TAP",
            Self::GuestTap => "TAP with super-frames",
        }
    }
}

pub struct Scene {
    pub device: Device,
    pub tap: Option<Tap>,
    pub sender: lab::Namespace,
    pub receiver: lab::Namespace,
    /// `/proc/net/dev` of the receiver.
    counts: File,
    _router: Namespace,
}

impl Scene {
    /// Devices, addresses, neighbours, and a route to each prefix of the table.
    pub fn new(device: Device, table: &Table) -> Result<Self> {
        let router = Namespace::enter();
        let sender = lab::Namespace::quiet("sender")?;
        let receiver = lab::Namespace::quiet("receiver")?;
        let tap = match device {
            Device::Veth => {
                let other = sender.name();
                ip(&format!(
                    "link add {NEAR} address {OWN} type veth peer name {FAR} address {PEER} netns {other}"
                ));
                None
            }
            Device::Tap => Some(Tap::plain(NEAR)),
            Device::GuestTap => Some(Tap::ethernet(NEAR)),
        };
        if tap.is_some() {
            ip(&format!("link set {NEAR} address {OWN}"));
        }
        let other = receiver.name();
        ip(&format!(
            "link add {OUT} address {OUT_MAC} type veth peer name {SINK} address {SINK_MAC} netns {other}"
        ));
        for line in router_lines() {
            ip(&line);
        }
        for line in receiver_lines() {
            receiver.ip(&words(&line));
        }
        if device == Device::Veth {
            for line in sender_lines() {
                sender.ip(&words(&line));
            }
        }
        for (switch, value) in [
            ("ip_forward", "1"),
            ("conf/all/rp_filter", "0"),
            ("conf/near/rp_filter", "0"),
            ("conf/all/send_redirects", "0"),
        ] {
            fs::write(format!("/proc/sys/net/ipv4/{switch}"), value)?;
        }
        feed("ip", &["-batch", "-"], &table.routes()?)?;
        // The file is that of the namespace it was opened in, whoever reads it.
        let counts = receiver.run(|| File::open("/proc/thread-self/net/dev"))?;
        Ok(Self {
            device,
            tap,
            sender,
            receiver,
            counts,
            _router: router,
        })
    }

    /// Switches segmentation at the sender and GRO at the router as the shape has them. GRO needs packets in bunches: those of a
    /// NIC's interrupt, or of a thread that polls while the sender goes on.
    pub fn prepare(&self, shape: &Shape) -> Result<()> {
        if self.tap.is_some() {
            return Ok(());
        }
        let on = |is_on: bool| if is_on { "on" } else { "off" };
        let segments = on(shape.has_super_frames());
        let features = ["-K", FAR, "tso", segments, "gso", segments];
        lab::run(self.sender.command("ethtool").args(features))?;
        let gro = |is_on| feed("ethtool", &["-K", NEAR, "gro", on(is_on)], "");
        // Only a device that polls has threads to be switched; the switch outlives the polling.
        gro(true)?;
        // sysfs shows the devices of the namespace it was mounted in: `ip netns exec` mounts it anew.
        let switch = format!(
            "echo {} > /sys/class/net/{NEAR}/threaded",
            u8::from(shape.has_gro)
        );
        let router = self.router_name()?;
        feed("ip", &["netns", "exec", &router, "sh", "-c", &switch], "")?;
        gro(shape.has_gro)
    }

    fn router_name(&self) -> Result<String> {
        let path = self._router.path();
        let name = path.file_name().and_then(|name| name.to_str());
        Ok(name.ok_or("a namespace without a name")?.to_owned())
    }

    /// Keeps the threads that poll the router's device on the second core: the sender is on the first.
    pub fn pin_queues(&self) -> Result<()> {
        let threads = meter::queue_threads(NEAR)?;
        threads
            .into_iter()
            .try_for_each(|thread| meter::pin(thread, 1))
    }

    /// Packets that have come to the receiver's device so far.
    pub fn received(&mut self) -> Result<u64> {
        let mut text = String::new();
        self.counts.rewind()?;
        self.counts.read_to_string(&mut text)?;
        let mut lines = text.lines().filter_map(|line| line.trim().split_once(':'));
        let (_, counts) = lines
            .find(|(name, _)| *name == SINK)
            .ok_or("the receiver's device is gone")?;
        let packets = counts.split_whitespace().nth(1);
        Ok(packets.ok_or("a device without counts")?.parse()?)
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn router_lines() -> Vec<String> {
    vec![
        format!("link set {NEAR} up"),
        format!("link set {OUT} up"),
        format!("addr add 192.0.2.1/24 dev {NEAR}"),
        format!("addr add 203.0.113.1/24 dev {OUT}"),
        format!("neigh add 192.0.2.2 lladdr {PEER} dev {NEAR} nud permanent"),
        format!("neigh add 203.0.113.2 lladdr {SINK_MAC} dev {OUT} nud permanent"),
        format!("neigh add 203.0.113.9 lladdr {NO_MAC} dev {OUT} nud permanent"),
        format!("route add 198.51.100.0/24 via 203.0.113.9 dev {OUT}"),
        format!("route add 198.51.101.0/24 via 203.0.113.2 dev {OUT}"),
    ]
}

fn receiver_lines() -> Vec<String> {
    vec![
        format!("link set {SINK} up"),
        format!("addr add 203.0.113.2/24 dev {SINK}"),
        format!("addr add {SERVER}/32 dev {SINK}"),
        format!("neigh add 203.0.113.1 lladdr {OUT_MAC} dev {SINK} nud permanent"),
        format!("route add 45.146.194.0/23 via 203.0.113.1 dev {SINK}"),
    ]
}

fn sender_lines() -> Vec<String> {
    vec![
        format!("link set {FAR} up"),
        format!("addr add 192.0.2.2/24 dev {FAR}"),
        format!("addr add {CLIENT}/32 dev {FAR}"),
        format!("neigh add 192.0.2.1 lladdr {OWN} dev {FAR} nud permanent"),
        format!("route add 198.51.101.0/24 via 192.0.2.1 dev {FAR} src {CLIENT}"),
    ]
}
