//! Sampled drops for an sFlow collector: version 5 datagrams with discarded-packet samples (sFlow Drop Notification
//! Structures, sflow.org). UDP, never waiting: what cannot be sent at once is lost. Only drops are sent, never what is only
//! observed. `drops` of a sample is always 0: what the samplers' rate left out is in the counters, exactly.
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use filter_core::{Address, Reason};
use filter_engine::Violation;

use crate::config::Sflow;
use crate::hourly::Hourly;

/// No datagram is longer, so that none is fragmented.
pub const MAX_DATAGRAM: usize = 1400;
/// Of a frame, so much is sent.
pub const MAX_HEADER: usize = 128;

const VERSION: u32 = 5;
/// `discarded_packet`: enterprise 0, format 5.
const DISCARDED_PACKET: u32 = 5;
/// `sampled_header`: enterprise 0, format 1.
const SAMPLED_HEADER: u32 = 1;
/// `header_protocol`: what the sampled bytes start with.
const ETHERNET: u32 = 1;
const IPV4: u32 = 11;
const IPV6: u32 = 12;
/// Of an Ethernet frame, in bytes: it was there, and is not in what is sampled.
const CHECKSUM: u32 = 4;
/// `extended_linux_drop_reason`: enterprise 0, format 1042; the name of our own reason.
const DROP_REASON_TEXT: u32 = 1042;

/// Sends to one collector.
#[derive(Debug)]
pub struct Exporter {
    socket: UdpSocket,
    agent: IpAddr,
    datagrams: u32,
    samples: u32,
    waiting: Vec<Vec<u8>>,
    warnings: Hourly,
}

impl Exporter {
    /// To this collector. Nothing is sent yet.
    ///
    /// # Errors
    /// No route to the collector, or no socket to be had.
    pub fn new(config: &Sflow) -> io::Result<Self> {
        let any: SocketAddr = match config.collector {
            SocketAddr::V4(_) => ([0; 4], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        socket.connect(config.collector)?;
        let agent = match config.agent {
            Some(agent) => agent,
            None => socket.local_addr()?.ip(),
        };
        Ok(Self {
            socket,
            agent,
            datagrams: 0,
            samples: 0,
            waiting: Vec::new(),
            warnings: Hourly::default(),
        })
    }

    /// A sampled violation; nothing happens if it was not dropped.
    pub fn violation(&mut self, now: Duration, violation: &Violation) {
        if !violation.dropped {
            return;
        }
        let sample = sample(self.samples, violation);
        self.samples = self.samples.wrapping_add(1);
        let waiting: usize = self.waiting.iter().map(Vec::len).sum();
        if self.head(now).len() + waiting + sample.len() > MAX_DATAGRAM {
            self.flush(now);
        }
        self.waiting.push(sample);
    }

    /// Sends what waits.
    pub fn flush(&mut self, now: Duration) {
        if self.waiting.is_empty() {
            return;
        }
        let mut datagram = self.head(now);
        self.waiting
            .drain(..)
            .for_each(|sample| datagram.extend(sample));
        self.datagrams = self.datagrams.wrapping_add(1);
        if let Err(error) = self.socket.send(&datagram)
            && self.warnings.is_due(now)
        {
            log::warn!("sflow: {error}; samples are lost until the collector is reached again");
        }
    }

    fn head(&self, now: Duration) -> Vec<u8> {
        let mut head = Vec::with_capacity(MAX_DATAGRAM);
        number(&mut head, VERSION);
        match self.agent {
            IpAddr::V4(agent) => {
                number(&mut head, 1);
                head.extend(agent.octets());
            }
            IpAddr::V6(agent) => {
                number(&mut head, 2);
                head.extend(agent.octets());
            }
        }
        number(&mut head, 0); // the only agent here
        number(&mut head, self.datagrams);
        number(&mut head, now.as_millis() as u32); // wraps after 49 days, as the format has it
        number(&mut head, self.waiting.len() as u32);
        head
    }
}

/// XDR: four bytes, most significant first.
fn number(to: &mut Vec<u8>, number: u32) {
    to.extend(number.to_be_bytes());
}

/// XDR: length, bytes, and zeros up to four.
fn opaque(to: &mut Vec<u8>, bytes: &[u8]) {
    number(to, bytes.len() as u32);
    to.extend(bytes);
    to.resize(to.len().next_multiple_of(4), 0);
}

fn sample(sequence: u32, violation: &Violation) -> Vec<u8> {
    let mut body = Vec::new();
    for each in [
        sequence,
        0, // the data source's class: an interface
        violation.ifindex,
        0, // drops
        violation.ifindex,
        0, // it never had an output
        drop_reason(violation),
        2, // records
    ] {
        number(&mut body, each);
    }
    let header = violation
        .header
        .get(..MAX_HEADER)
        .unwrap_or(&violation.header);
    let mut record = Vec::new();
    let (protocol, stripped) = match (violation.is_ethernet, header.first()) {
        (true, _) => (ETHERNET, CHECKSUM),
        (false, Some(first)) if first >> 4 == 6 => (IPV6, 0),
        (false, _) => (IPV4, 0),
    };
    for each in [protocol, violation.length + stripped, stripped] {
        number(&mut record, each); // protocol, length on the wire, how much of its end was stripped
    }
    opaque(&mut record, header);
    number(&mut body, SAMPLED_HEADER);
    opaque(&mut body, &record);
    let mut text = Vec::new();
    opaque(&mut text, violation.reason.name().as_bytes());
    number(&mut body, DROP_REASON_TEXT);
    opaque(&mut body, &text);
    let mut sample = Vec::new();
    number(&mut sample, DISCARDED_PACKET);
    opaque(&mut sample, &body);
    sample
}

const COMMUNICATION_PROHIBITED: u32 = 13;
const ACL: u32 = 258;
const NON_IP: u32 = 270;
const SOURCE_MULTICAST: u32 = 273;
const SOURCE_LOOPBACK: u32 = 274;
const HEADER_CORRUPTED: u32 = 275;
const SOURCE_UNSPECIFIED: u32 = 290;
const SOURCE_CLASS_E: u32 = 295;
const UNICAST_REVERSE_PATH: u32 = 302;

/// `drop_reason` of sFlow that comes closest.
fn drop_reason(violation: &Violation) -> u32 {
    match violation.reason {
        Reason::SourceUnannounced | Reason::BothUnannounced | Reason::SourceOurs => {
            UNICAST_REVERSE_PATH
        }
        Reason::SourceBogon => violation
            .flow
            .as_ref()
            .map_or(ACL, |flow| bogon(flow.source)),
        Reason::DestinationUnannounced => COMMUNICATION_PROHIBITED,
        Reason::Malformed => HEADER_CORRUPTED,
        Reason::NonIp => NON_IP,
        _ => ACL,
    }
}

fn bogon(source: Address) -> u32 {
    let (multicast, loopback, unspecified, class_e) = match IpAddr::from(source) {
        IpAddr::V4(v4) => (
            v4.is_multicast(),
            v4.is_loopback(),
            v4.is_unspecified(),
            v4.octets()[0] >= 240,
        ),
        IpAddr::V6(v6) => (
            v6.is_multicast(),
            v6.is_loopback(),
            v6.is_unspecified(),
            false,
        ),
    };
    if multicast {
        SOURCE_MULTICAST
    } else if loopback {
        SOURCE_LOOPBACK
    } else if unspecified {
        SOURCE_UNSPECIFIED
    } else if class_e {
        SOURCE_CLASS_E
    } else {
        ACL
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::process::Command;

    use filter_core::frame;
    use filter_core::packet::ETHERTYPE_IPV4;
    use filter_engine::Flow;
    use filter_lifecycle::violation::{DestinationStory, SourceStory};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn violation(reason: Reason, source: &str, dropped: bool) -> Violation {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let packet = frame::packet(
            address(source),
            address("198.51.100.10"),
            17,
            64,
            &frame::udp(b"number 1"),
        );
        let station = |last: u64| filter_core::packet::Mac::from_bits(0x0200_0000_0000 | last);
        let header = frame::ethernet(station(1), station(0x10), ETHERTYPE_IPV4, &packet);
        Violation {
            peer: None,
            interface: "ixp0".to_owned(),
            ifindex: 7,
            vlans: filter_core::packet::Vlans::NONE,
            reason,
            dropped,
            length: header.len() as u32,
            time_ns: u64::MAX,
            header,
            is_ethernet: true,
            flow: Some(Flow {
                source: address(source).into(),
                destination: address("198.51.100.10").into(),
                source_left: None,
                destination_left: None,
                source_story: SourceStory::NoPeer,
                destination_story: DestinationStory::Advertised,
            }),
        }
    }

    fn pair() -> (UdpSocket, Exporter) {
        let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
        collector.set_read_timeout(Some(SOON)).unwrap();
        let config = Sflow {
            collector: collector.local_addr().unwrap(),
            agent: Some("192.0.2.7".parse().unwrap()),
        };
        (collector, Exporter::new(&config).unwrap())
    }

    fn receive(collector: &UdpSocket) -> Vec<u8> {
        let mut datagram = vec![0; 2 * MAX_DATAGRAM];
        let length = collector.recv(&mut datagram).unwrap();
        datagram.truncate(length);
        datagram
    }

    fn word(datagram: &[u8], index: usize) -> u32 {
        u32::from_be_bytes(datagram[4 * index..][..4].try_into().unwrap())
    }

    #[test]
    fn only_drops_are_sent_and_each_is_counted() {
        let (collector, mut exporter) = pair();
        let observed = violation(Reason::SourceUnannounced, "8.8.8.8", false);
        exporter.violation(Duration::ZERO, &observed);
        exporter.flush(Duration::ZERO);
        collector.set_nonblocking(true).unwrap();
        let nothing = collector.recv(&mut [0; 16]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        collector.set_nonblocking(false).unwrap();
        let dropped = violation(Reason::SourceUnannounced, "8.8.8.8", true);
        let many = 100;
        for _ in 0..many {
            exporter.violation(Duration::from_secs(3), &dropped);
        }
        exporter.flush(Duration::from_secs(3));
        let (mut samples, mut datagrams) = (0, 0);
        while samples < many {
            let datagram = receive(&collector);
            assert!(datagram.len() <= MAX_DATAGRAM, "{}", datagram.len());
            assert_eq!(word(&datagram, 0), VERSION);
            assert_eq!(datagram[8..12], [192, 0, 2, 7]);
            assert_eq!(word(&datagram, 4), datagrams, "its sequence number");
            assert_eq!(word(&datagram, 5), 3000, "milliseconds");
            assert_eq!(word(&datagram, 7), DISCARDED_PACKET);
            assert_eq!(word(&datagram, 9), samples, "the first sample's number");
            let rest: Vec<u32> = (10..22).map(|index| word(&datagram, index)).collect();
            let length = dropped.length;
            let record = 4 * 4 + length.next_multiple_of(4);
            // Source, drops, input, output, reason, records; then a sampled header of an Ethernet frame.
            let expected = [0, 7, 0, 7, 0, 302, 2, 1, record, 1, length + 4, 4];
            assert_eq!(rest, expected);
            assert_eq!(datagram[92..][..length as usize], dropped.header);
            samples += word(&datagram, 6);
            datagrams += 1;
        }
        assert_eq!(samples, many);
    }

    #[test]
    fn without_an_ethernet_header_the_protocol_is_ip() {
        let with = violation(Reason::SourceUnannounced, "9.9.9.9", true);
        let bare = |first| Violation {
            header: vec![first; 20],
            length: 20,
            time_ns: u64::MAX,
            is_ethernet: false,
            ..with.clone()
        };
        for (violation, expected) in [
            (with.clone(), [ETHERNET, with.length + CHECKSUM, CHECKSUM]),
            (bare(0x45), [IPV4, 20, 0]),
            (bare(0x60), [IPV6, 20, 0]),
        ] {
            // Behind format and length of the sample, its eight words, and format and length of the record.
            let sample = sample(0, &violation);
            let words = [12, 13, 14].map(|index| word(&sample, index));
            assert_eq!(words, expected);
        }
    }

    #[test]
    fn reasons_are_the_standard_ones() {
        for (reason, source, expected) in [
            (Reason::SourceUnannounced, "8.8.8.8", 302),
            (Reason::SourceOurs, "198.51.100.1", 302),
            (Reason::DestinationUnannounced, "8.8.8.8", 13),
            (Reason::Malformed, "8.8.8.8", 275),
            (Reason::NonIp, "8.8.8.8", 270),
            (Reason::UnknownPeer, "8.8.8.8", 258),
            (Reason::SourceBogon, "10.0.0.1", 258),
            (Reason::SourceBogon, "224.0.0.1", 273),
            (Reason::SourceBogon, "127.0.0.1", 274),
            (Reason::SourceBogon, "0.0.0.0", 290),
            (Reason::SourceBogon, "250.0.0.1", 295),
        ] {
            let reason = drop_reason(&violation(reason, source, true));
            assert_eq!(reason, expected, "{source}");
        }
    }

    /// Wireshark's own reader, of the datagram as a packet in a capture. Wireshark 4.0 reads the datagram and where its
    /// sample begins and ends; it does not know samples of this type.
    #[test]
    fn tshark_reads_what_is_sent() {
        let (collector, mut exporter) = pair();
        let dropped = violation(Reason::SourceUnannounced, "8.8.8.8", true);
        exporter.violation(Duration::ZERO, &dropped);
        exporter.flush(Duration::ZERO);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut udp = frame::udp(&receive(&collector));
        udp[2..4].copy_from_slice(&6343_u16.to_be_bytes());
        let packet = frame::packet(address("192.0.2.7"), address("192.0.2.50"), 17, 64, &udp);
        let mut capture = Vec::new();
        for word in [0xa1b2_c3d4_u32, 0x0002_0004, 0, 0, 65535, 101, 0, 0] {
            capture.extend(word.to_be_bytes()); // a pcap of raw IP, and a packet at time 0
        }
        for length in [packet.len(); 2] {
            capture.extend((length as u32).to_be_bytes());
        }
        capture.extend(packet);
        let file = std::env::temp_dir().join(format!("bcp38-sflow-{}.pcap", std::process::id()));
        fs::write(&file, capture).unwrap();
        let read = Command::new("tshark")
            .args(["-V", "-r"])
            .arg(&file)
            .output();
        fs::remove_file(&file).unwrap();
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                let required =
                    std::env::var_os("FILTER_REQUIRE_KERNEL").is_some_and(|it| it == "1");
                assert!(!required, "no tshark: {error}");
                println!("SKIPPED: no other program reads the datagram: no tshark: {error}");
                return;
            }
        };
        let text = String::from_utf8_lossy(&read.stdout);
        for line in [
            "InMon sFlow",
            "Datagram version: 5",
            "Agent address: 192.0.2.7",
            "NumSamples: 1",
            "Enterprise: standard sFlow (0)",
            "Sample length (byte): 140",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("Malformed Packet"), "{text}");
    }
}
