//! Writes pcapng (draft-ietf-opsawg-pcapng): a section, an interface description for each interface, and each packet with a
//! comment. Only what `bcp38 capture` needs; reads nothing.
use std::collections::BTreeMap;
use std::io::{self, Write};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// LINKTYPE_ETHERNET.
const ETHERNET: u16 = 1;
/// LINKTYPE_RAW: an IP packet, its version says which.
const RAW_IP: u16 = 101;
const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const OPTION_INTERFACE_NAME: u16 = 2;
const OPTION_APPLICATION: u16 = 4;
/// An option's length field has 16 bits; a comment is one line, far below that.
pub const MAX_COMMENT: usize = 4096;

/// A packet and its comment.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Where it came in.
    pub interface: &'a str,
    /// Does the packet begin with an Ethernet header? Else with that of IP.
    pub is_ethernet: bool,
    /// Seconds since 1970.
    pub time: f64,
    /// The captured bytes.
    pub frame: &'a [u8],
    /// Length on the wire, in bytes.
    pub length: u32,
    /// Cut after [`MAX_COMMENT`] bytes.
    pub comment: &'a str,
}

/// One section.
#[derive(Debug)]
pub struct PcapNg<W> {
    out: W,
    /// By name and link type: a section's interface has one.
    interfaces: BTreeMap<(String, u16), u32>,
}

impl<W: Write> PcapNg<W> {
    /// Begins the section.
    ///
    /// # Errors
    /// Of the output.
    pub fn new(mut out: W) -> io::Result<Self> {
        let mut body = BYTE_ORDER.to_le_bytes().to_vec();
        body.extend(1_u16.to_le_bytes()); // major version
        body.extend(0_u16.to_le_bytes()); // minor version
        body.extend(u64::MAX.to_le_bytes()); // the section's length is not known
        let name = concat!("bcp38 ", env!("CARGO_PKG_VERSION"));
        option(&mut body, OPTION_APPLICATION, name.as_bytes());
        option(&mut body, OPTION_END, &[]);
        block(&mut out, SECTION_HEADER, &body)?;
        Ok(Self {
            out,
            interfaces: BTreeMap::new(),
        })
    }

    /// Appends a packet, and before it the description of an interface that is new.
    ///
    /// # Errors
    /// Of the output.
    pub fn write(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let interface = self.interface(packet.interface, packet.is_ethernet)?;
        let mut body = interface.to_le_bytes().to_vec();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "microseconds since 1970 fit, and no packet is older"
        )]
        let time = (packet.time * 1e6) as u64;
        body.extend(((time >> 32) as u32).to_le_bytes());
        body.extend((time as u32).to_le_bytes());
        let captured = u32::try_from(packet.frame.len()).map_err(io::Error::other)?;
        body.extend(captured.to_le_bytes());
        body.extend(packet.length.max(captured).to_le_bytes());
        body.extend(packet.frame);
        pad(&mut body);
        let end = packet.comment.floor_char_boundary(MAX_COMMENT);
        let comment = packet.comment.get(..end).unwrap_or_default();
        option(&mut body, OPTION_COMMENT, comment.as_bytes());
        option(&mut body, OPTION_END, &[]);
        block(&mut self.out, ENHANCED_PACKET, &body)
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// Of the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn interface(&mut self, name: &str, is_ethernet: bool) -> io::Result<u32> {
        let link = if is_ethernet { ETHERNET } else { RAW_IP };
        let key = (name.to_owned(), link);
        if let Some(&number) = self.interfaces.get(&key) {
            return Ok(number);
        }
        let number = u32::try_from(self.interfaces.len()).map_err(io::Error::other)?;
        let mut body = link.to_le_bytes().to_vec();
        body.extend(0_u16.to_le_bytes());
        body.extend(0_u32.to_le_bytes()); // no snapshot length
        option(&mut body, OPTION_INTERFACE_NAME, name.as_bytes());
        option(&mut body, OPTION_END, &[]);
        block(&mut self.out, INTERFACE, &body)?;
        self.interfaces.insert(key, number);
        Ok(number)
    }
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    body.extend(code.to_le_bytes());
    body.extend(length.to_le_bytes());
    body.extend(value.iter().take(usize::from(length)));
    pad(body);
}

/// Everything is a multiple of 32 bits.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len() + 12).map_err(io::Error::other)?;
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(body)?;
    out.write_all(&length.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Capture;

    #[test]
    fn what_is_written_is_read_again_with_its_interfaces_and_comments() {
        let mut bytes = Vec::new();
        let mut out = PcapNg::new(&mut bytes).unwrap();
        let frames: Vec<Vec<u8>> = (1..=9)
            .map(|length| vec![length; usize::from(length)])
            .collect();
        for (index, frame) in frames.iter().enumerate() {
            let packet = Packet {
                interface: ["ixp0", "pni0"][index % 2],
                is_ethernet: true,
                time: 1_790_000_000.25,
                frame,
                length: 1500,
                comment: &"€".repeat(index * 400),
            };
            out.write(&packet).unwrap();
        }
        out.flush().unwrap();
        let path = std::env::temp_dir().join(format!("bcp38-pcapng-{}", std::process::id()));
        std::fs::write(&path, &bytes).unwrap();
        let mut capture = Capture::open(&path).unwrap();
        for frame in &frames {
            let packet = capture.next_packet().unwrap().unwrap();
            assert_eq!((packet.bytes, packet.original), (frame.as_slice(), 1500));
        }
        assert!(capture.next_packet().unwrap().is_none());
        std::fs::remove_file(&path).unwrap();
        let described = bytes
            .windows(4)
            .filter(|it| *it == b"ixp0" || *it == b"pni0");
        assert_eq!(described.count(), 2, "each interface once");
    }
}
