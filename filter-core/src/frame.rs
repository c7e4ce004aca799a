//! Builds frames to ask the filter about: what `explain` judges, the
//! self-test runs and the demo sends. IPv4 header
//! checksums are right (bridges with netfilter check them); others are zero: the filter never looks at them.
use std::net::IpAddr;

use crate::packet::Mac;

/// Ethernet header and payload.
#[must_use]
pub fn ethernet(destination: Mac, source: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend_from_slice(&destination.bytes());
    frame.extend_from_slice(&source.bytes());
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// An IPv4 or IPv6 packet, by the family of the addresses; both must be of one.
#[must_use]
pub fn packet(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    hop_limit: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = Vec::new();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
            packet.extend_from_slice(&[0x45, 0]);
            packet.extend_from_slice(&total.to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0, 0, hop_limit, protocol, 0, 0]);
            packet.extend_from_slice(&source.octets());
            packet.extend_from_slice(&destination.octets());
            let checksum = internet_checksum(&packet);
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        (source, destination) => {
            let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
            packet.extend_from_slice(&[0x60, 0, 0, 0]);
            packet.extend_from_slice(&length.to_be_bytes());
            packet.extend_from_slice(&[protocol, hop_limit]);
            for address in [source, destination] {
                let v6 = match address {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                packet.extend_from_slice(&v6.octets());
            }
        }
    }
    packet.extend_from_slice(payload);
    packet
}

/// RFC 1071, over an even number of bytes.
fn internet_checksum(header: &[u8]) -> u16 {
    let words = header
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The ethertype of a packet of this address's family.
#[must_use]
pub const fn ethertype(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(_) => crate::packet::ETHERTYPE_IPV4,
        IpAddr::V6(_) => crate::packet::ETHERTYPE_IPV6,
    }
}

/// A UDP datagram (RFC 768) to the discard port.
#[must_use]
pub fn udp(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let mut datagram = vec![0xc0, 0x00, 0x00, 0x09];
    datagram.extend_from_slice(&length.to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend_from_slice(payload);
    datagram
}

/// An ICMP or ICMPv6 message that quotes a packet.
#[must_use]
pub fn icmp(kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0, 0, 0, 0x05, 0x00];
    message.extend_from_slice(quoted);
    message
}
