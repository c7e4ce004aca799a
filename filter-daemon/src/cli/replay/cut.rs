//! Frames that a capture cut: judged by what is there, and never called a violation for what is not. Pure.
use filter_core::packet::{
    self, Bytes, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ip, NEXT_HEADER_HOP_BY_HOP,
};
use filter_core::{Family, Reason};

/// A frame of which the first bytes are known, and how long it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) original: usize,
}

impl Bytes for Cut<'_> {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes.read(offset)
    }

    fn length(&self) -> usize {
        self.original.max(self.bytes.len())
    }
}

/// The longest IPv4 header.
const IPV4_LONGEST: usize = 60;
const IPV6: usize = 40;
/// Of an ICMP error, before what it quotes.
const ICMP: usize = 8;
/// Multicast listener discovery: hop-by-hop options and the message's type.
const LISTENER: usize = 9;

impl Cut<'_> {
    /// Was anything of the frame cut?
    pub(super) fn is_cut(self) -> bool {
        self.original > self.bytes.len()
    }

    /// May what was cut have made another verdict of it?
    pub(super) fn may_be_otherwise(self, reason: Reason) -> bool {
        if !self.is_cut() {
            return false;
        }
        let Ok(payload) = packet::payload(self.bytes) else {
            return self.bytes.len() < packet::ETHERNET_LEN + 4 * packet::MAX_TAGS + 4;
        };
        let family = match payload.ethertype {
            ETHERTYPE_IPV4 => Family::Ipv4,
            ETHERTYPE_IPV6 => Family::Ipv6,
            _ => return false,
        };
        let longest = match family {
            Family::Ipv4 => IPV4_LONGEST,
            Family::Ipv6 => IPV6,
        };
        match packet::ip(self.bytes, family, payload.offset) {
            // With the longest header there, it is malformed whatever follows.
            Err(_) => self.bytes.len() < payload.offset + longest,
            Ok(_) if reason == Reason::Malformed => false,
            Ok(ip) => self.bytes.len() < self.needed(&ip),
        }
    }

    /// Up to which byte the verdict reads.
    fn needed(self, ip: &Ip) -> usize {
        let quoted = match ip.source.family {
            Family::Ipv4 => 20,
            Family::Ipv6 => IPV6,
        };
        match ip.icmp {
            Some(at) => at + ICMP + quoted,
            None if ip.source.family == Family::Ipv6 && ip.protocol == NEXT_HEADER_HOP_BY_HOP => {
                ip.start + IPV6 + LISTENER
            }
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use filter_core::frame;
    use filter_core::packet::Mac;

    use super::*;

    fn ethernet(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let packet = frame::packet(source, destination, protocol, 64, payload);
        let mac = Mac::from_bits(0x0200_0000_0001);
        frame::ethernet(mac, mac, frame::ethertype(source), &packet)
    }

    fn lengths(frame: &[u8], reason: Reason) -> Vec<usize> {
        let is_open = |&length: &usize| {
            let cut = Cut {
                bytes: &frame[..length],
                original: frame.len(),
            };
            cut.may_be_otherwise(reason)
        };
        (0..=frame.len()).filter(is_open).collect()
    }

    #[test]
    fn only_what_the_verdict_reads_leaves_it_open() {
        let udp = ethernet("198.51.100.7", "203.0.113.1", 17, &[0; 100]);
        assert_eq!(
            lengths(&udp, Reason::SourceUnannounced),
            (0..34).collect::<Vec<_>>()
        );
        let v6 = ethernet("2001:db8::7", "2001:db8::1", 17, &[0; 100]);
        assert_eq!(
            lengths(&v6, Reason::SourceUnannounced),
            (0..54).collect::<Vec<_>>()
        );
        let icmp = ethernet("198.51.100.7", "203.0.113.1", 1, &[3; 100]);
        assert_eq!(
            lengths(&icmp, Reason::SourceUnannounced),
            (0..62).collect::<Vec<_>>()
        );
        let mld = ethernet("fe80::7", "ff02::16", 0, &[58; 100]);
        assert_eq!(
            lengths(&mld, Reason::LanMulticast),
            (0..63).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_whole_frame_and_a_header_that_is_wrong_are_as_they_are() {
        let whole = ethernet("198.51.100.7", "203.0.113.1", 17, &[]);
        let cut = Cut {
            bytes: &whole,
            original: whole.len(),
        };
        assert!(!cut.is_cut() && !cut.may_be_otherwise(Reason::Malformed));
        let mut wrong = ethernet("198.51.100.7", "203.0.113.1", 17, &[0; 200]);
        wrong[14] = 0x65; // another version
        assert_eq!(lengths(&wrong, Reason::Malformed).last(), Some(&73));
        let cut = Cut {
            bytes: &wrong[..74],
            original: wrong.len(),
        };
        assert!(
            !cut.may_be_otherwise(Reason::Malformed),
            "malformed whatever follows"
        );
        assert_eq!(Bytes::length(&cut), wrong.len());
    }
}
