//! The neighbour table as the kernel really fills it: static entries, resolution, a MAC that changes, removal, and
//! more changes than a socket holds.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use filter_core::packet::Mac;
use filter_engine::neighbours::Neighbours;
use filter_lifecycle::neighbour::{Macs, NeighbourEvent};
use nix::poll::{PollFd, PollFlags, poll};
use tests::lab::{Directory, Lan, Namespace, require, run};

const WITHIN: Duration = Duration::from_secs(20);

struct Wire {
    us: Namespace,
    them: Namespace,
    link: u32,
    _lan: Lan,
}

fn wire() -> Wire {
    let (lan, us, them) = (Lan::new(), Namespace::new("us"), Namespace::new("them"));
    lan.plug(&us, "eth0", &["192.0.2.1/24", "2001:db8:ff::1/64"]);
    lan.plug(&them, "eth0", &["192.0.2.11/24", "2001:db8:ff::11/64"]);
    them.ip(&["link", "set", "eth0", "address", "02:00:00:00:00:11"]);
    let link = us.link_index("eth0");
    Wire {
        us,
        them,
        link,
        _lan: lan,
    }
}

/// Reads until the event comes; gives everything read.
fn until(neighbours: &mut Neighbours, wanted: NeighbourEvent) -> Vec<NeighbourEvent> {
    let end = Instant::now() + WITHIN;
    let mut all = Vec::new();
    while !all.contains(&wanted) {
        assert!(
            Instant::now() < end,
            "waited in vain for {wanted:?}, got {all:?}"
        );
        match neighbours.next_events().unwrap() {
            Some(events) => all.extend(events),
            None => wait(neighbours),
        }
    }
    all
}

/// Until there is something to read, or for a while.
fn wait(neighbours: &Neighbours) {
    let readable = PollFd::new(neighbours.as_fd(), PollFlags::POLLIN);
    poll(&mut [readable], 100u16).unwrap();
}

fn mac(last: u8) -> Mac {
    Mac::from_bytes([2, 0, 0, 0, 0, last])
}

/// The subscription and every MAC it reported.
struct Followed {
    neighbours: Neighbours,
    macs: Macs,
}

impl Followed {
    fn seen(&self, link: u32, address: IpAddr) -> Vec<Mac> {
        let seen = self.macs.of(link, address).iter();
        seen.map(|each| each.mac).collect()
    }

    fn until(&mut self, wanted: NeighbourEvent) -> Vec<NeighbourEvent> {
        let events = until(&mut self.neighbours, wanted);
        for event in &events {
            self.macs.learn(Duration::ZERO, event);
        }
        events
    }
}

#[test]
fn the_table_live() {
    if !require("neighbours::the_table_live", &[]) {
        return;
    }
    let wire = wire();
    let (us, them, link) = (&wire.us, &wire.them, wire.link);
    let addresses = ["192.0.2.11", "2001:db8:ff::11"].map(|text| text.parse::<IpAddr>().unwrap());
    let silent: IpAddr = "192.0.2.77".parse().unwrap();
    permanent(us, "192.0.2.77", "02:00:00:00:00:77", "eth0");
    let neighbours = us.run(|| Neighbours::open([link]).unwrap());
    let mut followed = Followed {
        neighbours,
        macs: Macs::default(),
    };

    // What was there before.
    let first = followed.until(NeighbourEvent::Complete);
    let known = NeighbourEvent::Known {
        link,
        address: silent,
        mac: mac(0x77),
    };
    assert!(first.contains(&known), "{first:?}");

    // Resolved by traffic, both families.
    for address in addresses {
        speak(us, address);
        followed.until(NeighbourEvent::Known {
            link,
            address,
            mac: mac(0x11),
        });
    }

    // The same address at another MAC.
    them.ip(&["link", "set", "eth0", "address", "02:00:00:00:00:12"]);
    for address in addresses {
        us.ip(&["neigh", "flush", "to", &address.to_string(), "dev", "eth0"]);
        speak(us, address);
        followed.until(NeighbourEvent::Known {
            link,
            address,
            mac: mac(0x12),
        });
    }

    // Removed by hand, and by a flush.
    us.ip(&["neigh", "del", "192.0.2.77", "dev", "eth0"]);
    followed.until(NeighbourEvent::Gone {
        link,
        address: silent,
    });
    them.ip(&["link", "set", "eth0", "down"]);
    us.ip(&["neigh", "flush", "dev", "eth0"]);
    followed.until(NeighbourEvent::Gone {
        link,
        address: addresses[1],
    });

    for address in addresses {
        assert_eq!(
            followed.seen(link, address),
            [mac(0x11), mac(0x12)],
            "{address}"
        );
    }
    assert_eq!(followed.seen(link, silent), [mac(0x77)]);
}

fn permanent(us: &Namespace, address: &str, lladdr: &str, device: &str) {
    us.ip(&[
        "neigh",
        "add",
        address,
        "lladdr",
        lladdr,
        "dev",
        device,
        "nud",
        "permanent",
    ]);
}

/// Sends something, which resolves the neighbour; whether it is answered does not matter.
fn speak(from: &Namespace, to: IpAddr) {
    from.run(|| {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        UdpSocket::bind(any)
            .unwrap()
            .send_to(b"hello", (to, 9))
            .unwrap();
    });
}

/// Interfaces not asked for are left out.
#[test]
fn only_the_interfaces_asked_for() {
    if !require("neighbours::only_the_interfaces_asked_for", &[]) {
        return;
    }
    let wire = wire();
    let (us, link) = (&wire.us, wire.link);
    us.ip(&[
        "link", "add", "other", "type", "veth", "peer", "name", "rehto",
    ]);
    us.ip(&["link", "set", "other", "up"]);
    for (address, device) in [("192.0.2.50", "eth0"), ("192.0.2.51", "other")] {
        permanent(us, address, "02:00:00:00:00:50", device);
    }
    let mut neighbours = us.run(|| Neighbours::open([link]).unwrap());
    until(&mut neighbours, NeighbourEvent::Complete);
    let known: Vec<_> = neighbours
        .known()
        .map(|(_, address, _)| address.to_string())
        .collect();
    assert!(
        known.contains(&"192.0.2.50".to_owned()) && !known.contains(&"192.0.2.51".to_owned()),
        "{known:?}"
    );
}

/// More changes than the socket holds: the table is listed again, and what was missed is reported.
#[test]
fn overflow_is_healed() {
    if !require("neighbours::overflow_is_healed", &[]) {
        return;
    }
    let wire = wire();
    let (us, link) = (&wire.us, wire.link);
    let directory = Directory::new("neigh");
    let batch = |verb: &str, range: std::ops::Range<u32>| {
        let mut text = String::new();
        for number in range {
            let (high, low) = (number / 256, number % 256);
            let lladdr = if verb == "del" {
                String::new()
            } else {
                format!("lladdr 02:00:00:00:{high:02x}:{low:02x} nud permanent")
            };
            writeln!(text, "neigh {verb} 198.18.{high}.{low} dev eth0 {lladdr}").unwrap();
        }
        let file = directory.write("batch", &text);
        run(Command::new("ip")
            .args(["-n", us.name(), "-batch"])
            .arg(file))
        .unwrap();
    };
    let mut neighbours = us.run(|| Neighbours::open([link]).unwrap());
    until(&mut neighbours, NeighbourEvent::Complete);
    // The socket is not read meanwhile: a socket buffer holds some hundred of these.
    batch("add", 0..6000);
    batch("del", 1000..6000);
    until(&mut neighbours, NeighbourEvent::Complete);
    let received: BTreeMap<IpAddr, Mac> = neighbours
        .known()
        .map(|(_, address, mac)| (address, mac))
        .collect();
    let ours = received
        .iter()
        .filter(|(address, _)| address.to_string().starts_with("198.18."));
    assert_eq!(ours.count(), 1000);
    let address: IpAddr = "198.18.3.5".parse().unwrap();
    assert_eq!(received[&address], Mac::from_bytes([2, 0, 0, 0, 3, 5]));
}
