//! Link types of captures, and the Ethernet frame that a packet of another one was, as far as it is known. Pure.
use filter_core::packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Mac};

/// What a packet of a capture begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header (LINKTYPE_ETHERNET).
    Ethernet,
    /// An IP header (LINKTYPE_RAW, LINKTYPE_IPV4, LINKTYPE_IPV6): no MACs and tags.
    Raw,
    /// What a capture on the device `any` has (LINKTYPE_LINUX_SLL): the sender's MAC only.
    Cooked,
    /// The same, second version (LINKTYPE_LINUX_SLL2).
    Cooked2,
}

/// Bytes of the header of LINKTYPE_LINUX_SLL.
const COOKED: usize = 16;
/// Bytes of the header of LINKTYPE_LINUX_SLL2.
const COOKED2: usize = 20;
/// `sll_pkttype` of linux/if_packet.h: to whom the frame was.
const TO_US: u8 = 0;
const BROADCAST: u8 = 1;
const MULTICAST: u8 = 2;
const TO_ANOTHER: u8 = 3;
/// Of a Mac.
const MAC_BYTES: u16 = 6;
/// Below it the protocol is not an ethertype: the frame had a length there (IEEE 802.3).
const FIRST_ETHERTYPE: u16 = 0x0600;
/// The sender of a packet without MACs: locally administered, on no wire.
const UNKNOWN_SENDER: Mac = Mac::from_bits(0x0200_0000_00fd);
/// The receiver of a frame for another station.
const ANOTHER: Mac = Mac::from_bits(0x0200_0000_00fe);
const ALL: Mac = Mac::from_bits(0xffff_ffff_ffff);
const GROUP: Mac = Mac::from_bits(0x0100_5e00_0000);

/// What a packet was as an Ethernet frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framed {
    /// This frame; its header is made up where the capture has none.
    Frame(Vec<u8>),
    /// It went out: the filter judges what comes in.
    Outgoing,
    /// The capture does not hold the sender's MAC.
    NoSender,
    /// The header of the capture itself was cut.
    Cut,
}

impl LinkType {
    /// By the number of the capture's format (<https://www.tcpdump.org/linktypes.html>).
    #[must_use]
    pub const fn of(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Ethernet,
            101 | 228 | 229 => Self::Raw,
            113 => Self::Cooked,
            276 => Self::Cooked2,
            _ => return None,
        })
    }

    /// The number of bytes before the ethertype's payload, in the capture.
    #[must_use]
    pub const fn header(self) -> usize {
        match self {
            Self::Ethernet => 14,
            Self::Raw => 0,
            Self::Cooked => COOKED,
            Self::Cooked2 => COOKED2,
        }
    }

    /// The Ethernet frame; `own` is our MAC where the packet came in. `needs_sender` says that peers are distinguished by MAC.
    #[must_use]
    pub fn frame(self, bytes: &[u8], own: Mac, needs_sender: bool) -> Framed {
        match self {
            Self::Ethernet => Framed::Frame(bytes.to_vec()),
            Self::Raw if needs_sender => Framed::NoSender,
            Self::Raw => match bytes.first().map(|byte| byte >> 4) {
                Some(4) => framed(own, UNKNOWN_SENDER, ETHERTYPE_IPV4, bytes),
                Some(6) => framed(own, UNKNOWN_SENDER, ETHERTYPE_IPV6, bytes),
                // Judged as malformed: neither version is right.
                Some(_) => framed(own, UNKNOWN_SENDER, ETHERTYPE_IPV4, bytes),
                None => Framed::Cut,
            },
            Self::Cooked | Self::Cooked2 => match Header::read(self, bytes) {
                Some(header) => header.frame(
                    bytes.get(self.header()..).unwrap_or_default(),
                    own,
                    needs_sender,
                ),
                None => Framed::Cut,
            },
        }
    }
}

fn framed(to: Mac, from: Mac, ethertype: u16, payload: &[u8]) -> Framed {
    Framed::Frame(filter_core::frame::ethernet(to, from, ethertype, payload))
}

/// A cooked header.
struct Header {
    kind: u8,
    sender: Option<Mac>,
    protocol: u16,
}

impl Header {
    fn read(link: LinkType, bytes: &[u8]) -> Option<Self> {
        let u16_at = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let mac_at = |at: usize| Some(Mac::from_bytes(*bytes.get(at..)?.first_chunk()?));
        bytes.get(..link.header())?;
        Some(match link {
            LinkType::Cooked2 => Self {
                protocol: u16_at(0)?,
                kind: *bytes.get(10)?,
                sender: (u16::from(*bytes.get(11)?) == MAC_BYTES)
                    .then(|| mac_at(12))
                    .flatten(),
            },
            _ => Self {
                kind: u8::try_from(u16_at(0)?).unwrap_or(TO_ANOTHER),
                sender: (u16_at(4)? == MAC_BYTES).then(|| mac_at(6)).flatten(),
                protocol: u16_at(14)?,
            },
        })
    }

    fn frame(&self, payload: &[u8], own: Mac, needs_sender: bool) -> Framed {
        let to = match self.kind {
            TO_US => own,
            BROADCAST => ALL,
            MULTICAST => GROUP,
            TO_ANOTHER => ANOTHER,
            _ => return Framed::Outgoing,
        };
        let from = match self.sender {
            Some(sender) => sender,
            None if needs_sender => return Framed::NoSender,
            None => UNKNOWN_SENDER,
        };
        let length = u16::try_from(payload.len())
            .unwrap_or(0)
            .min(FIRST_ETHERTYPE - 1);
        let ethertype = if self.protocol < FIRST_ETHERTYPE {
            length
        } else {
            self.protocol
        };
        framed(to, from, ethertype, payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = Mac::from_bits(0x0200_0000_0001);
    const PEER: [u8; 6] = [2, 0, 0, 0, 0, 0x10];

    fn cooked(kind: u16, length: u16, protocol: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend(1_u16.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(PEER);
        bytes.extend([0, 0]);
        bytes.extend(protocol.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn cooked2(kind: u8, protocol: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = protocol.to_be_bytes().to_vec();
        bytes.extend([0, 0, 0, 0, 0, 7, 0, 1, kind, 6]);
        bytes.extend(PEER);
        bytes.extend([0, 0]);
        bytes.extend(payload);
        bytes
    }

    fn expected(to: Mac, ethertype: u16, payload: &[u8]) -> Framed {
        framed(to, Mac::from_bytes(PEER), ethertype, payload)
    }

    #[test]
    fn cooked_packets_are_the_frames_they_were() {
        let payload = [0x45, 1, 2];
        for bytes in [cooked(0, 6, 0x0800, &payload), cooked2(0, 0x0800, &payload)] {
            let link = if bytes.len() == COOKED + 3 {
                LinkType::Cooked
            } else {
                LinkType::Cooked2
            };
            assert_eq!(
                link.frame(&bytes, OWN, true),
                expected(OWN, 0x0800, &payload)
            );
            for cut in 0..link.header() {
                assert_eq!(link.frame(&bytes[..cut], OWN, true), Framed::Cut, "{cut}");
            }
        }
        let frame = |bytes: &[u8], needs| LinkType::Cooked.frame(bytes, OWN, needs);
        assert_eq!(
            frame(&cooked(1, 6, 0x0806, &payload), true),
            expected(ALL, 0x0806, &payload)
        );
        assert_eq!(
            frame(&cooked(2, 6, 0x86dd, &payload), true),
            expected(GROUP, 0x86dd, &payload)
        );
        assert_eq!(
            frame(&cooked(3, 6, 0x0800, &payload), true),
            expected(ANOTHER, 0x0800, &payload)
        );
        assert_eq!(
            frame(&cooked(4, 6, 0x0800, &payload), true),
            Framed::Outgoing
        );
        assert_eq!(
            frame(&cooked(0, 0, 0x0800, &payload), true),
            Framed::NoSender
        );
        assert!(matches!(
            frame(&cooked(0, 0, 0x0800, &payload), false),
            Framed::Frame(_)
        ));
        let llc = frame(&cooked(2, 6, 4, &payload), true);
        assert_eq!(llc, expected(GROUP, 3, &payload), "a length stood there");
    }

    #[test]
    fn raw_packets_have_no_sender() {
        let frame = |bytes: &[u8], needs| LinkType::Raw.frame(bytes, OWN, needs);
        assert_eq!(frame(&[0x45], true), Framed::NoSender);
        assert_eq!(
            frame(&[0x45], false),
            framed(OWN, UNKNOWN_SENDER, 0x0800, &[0x45])
        );
        assert_eq!(
            frame(&[0x60], false),
            framed(OWN, UNKNOWN_SENDER, 0x86dd, &[0x60])
        );
        assert_eq!(frame(&[], false), Framed::Cut);
        assert_eq!(LinkType::of(147), None);
    }
}
