//! Frames and captures for the tests that replay them: built here byte by byte, by nothing that the product uses.
#![allow(dead_code, reason = "each test binary uses its part")]
use std::net::IpAddr;
use std::path::PathBuf;

/// Appends bytes.
pub fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// An Ethernet frame between stations 02:00:00:00:00:xx.
pub fn ethernet(destination: u8, source: u8, rest: &[u8]) -> Vec<u8> {
    join(&[
        &[2, 0, 0, 0, 0, destination],
        &[2, 0, 0, 0, 0, source],
        rest,
    ])
}

/// A tag and what follows it.
pub fn tag(tpid: u16, id: u16, rest: &[u8]) -> Vec<u8> {
    join(&[&tpid.to_be_bytes(), &id.to_be_bytes(), rest])
}

/// Ethertype and packet, of the addresses' family.
pub fn ip(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
            let head = [
                0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0,
            ];
            join(&[
                &[0x08, 0x00],
                &head,
                &source.octets(),
                &destination.octets(),
                payload,
            ])
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
            let head = [0x60, 0, 0, 0, length[0], length[1], protocol, 255];
            join(&[
                &[0x86, 0xdd],
                &head,
                &source.octets(),
                &destination.octets(),
                payload,
            ])
        }
        mixed => panic!("{mixed:?}"),
    }
}

/// A UDP packet.
pub fn udp(source: &str, destination: &str) -> Vec<u8> {
    ip(source, destination, 17, &[0, 7, 0, 7, 0, 8, 0, 0])
}

/// An ICMP error with the packet it is about.
pub fn icmp_error(source: &str, destination: &str, kind: u8, quoted: &[u8]) -> Vec<u8> {
    let protocol = if source.contains(':') { 58 } else { 1 };
    // The quoted packet comes without its ethertype.
    ip(
        source,
        destination,
        protocol,
        &join(&[&[kind, 0, 0, 0, 0, 0, 0, 0], &quoted[2..]]),
    )
}

/// Byte order of a capture.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl Order {
    fn u16(self, value: u16) -> [u8; 2] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    fn u32(self, value: u32) -> [u8; 4] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }
}

/// A pcap file; `magic` says what its timestamps are.
pub fn pcap(order: Order, magic: u32, linktype: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = join(&[
        &order.u32(magic),
        &order.u16(2),
        &order.u16(4),
        &[0; 8],
        &order.u32(262_144),
        &order.u32(linktype),
    ]);
    for frame in frames {
        let length = order.u32(u32::try_from(frame.len()).unwrap());
        file.extend(join(&[&[0; 8], &length, &length, frame]));
    }
    file
}

/// Timestamps in microseconds.
pub const MICRO: u32 = 0xa1b2_c3d4;
/// Timestamps in nanoseconds.
pub const NANO: u32 = 0xa1b2_3c4d;

/// A pcapng block.
pub fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
    let length = order.u32(u32::try_from(12 + body.len() + padding.len()).unwrap());
    join(&[&order.u32(kind), &length, body, &padding, &length])
}

/// The block a section starts with.
pub fn section(order: Order) -> Vec<u8> {
    let body = join(&[
        &order.u32(0x1a2b_3c4d),
        &order.u16(1),
        &order.u16(0),
        &[0xff; 8],
    ]);
    block(order, 0x0a0d_0d0a, &body)
}

/// The block that describes an interface.
pub fn described(order: Order, linktype: u16, snaplen: u32) -> Vec<u8> {
    let body = join(&[&order.u16(linktype), &[0, 0], &order.u32(snaplen)]);
    block(order, 1, &body)
}

/// An Enhanced Packet Block.
pub fn packet(order: Order, interface: u32, frame: &[u8]) -> Vec<u8> {
    let length = order.u32(u32::try_from(frame.len()).unwrap());
    let head = join(&[&order.u32(interface), &[0; 8], &length, &length]);
    let padding = vec![0; frame.len().next_multiple_of(4) - frame.len()];
    // With a comment, as real ones have options.
    let comment = join(&[&order.u16(1), &order.u16(2), b"hi\0\0", &[0; 4]]);
    block(order, 6, &join(&[&head, frame, &padding, &comment]))
}

/// A pcapng file with one interface.
pub fn pcapng(order: Order, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = join(&[&section(order), &described(order, 1, 0)]);
    // Name resolution and a private block: nothing of ours.
    file.extend(block(order, 4, &[0; 4]));
    file.extend(block(order, 0x8000_1234, b"private"));
    for frame in frames {
        file.extend(packet(order, 0, frame));
    }
    file
}

/// A directory of this test that goes away with it.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// Makes it.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bcp38-test-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file in it.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}
