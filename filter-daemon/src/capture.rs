//! Captures, pcap and pcapng, plain or compressed with gzip, one packet after the other. Whatever the bytes are, it ends with an error or the end
//! of the file: never a panic, never more memory than one block. Judges nothing and skips no packet silently.
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};

mod link;

pub use link::{Framed, LinkType};

/// What is read at once; it grows for a longer block.
const BUFFER: usize = 64 * 1024;
/// No packet and no block of metadata is longer; a length field beyond it is wrong.
const MAX_BLOCK: usize = 16 * 1024 * 1024;
/// The link type of a pcap header is its low half; the rest is the length of a trailing checksum.
const LINKTYPE_MASK: u32 = 0xffff;
/// pcapng block type of the obsolete Packet Block, which old files still have.
const OBSOLETE_PACKET: u32 = 2;

/// What ended the reading.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The file cannot be read.
    #[error("cannot read capture `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Neither pcap nor pcapng.
    #[error("`{}` is no capture: give a pcap or pcapng file, plain or compressed with gzip", .0.display())]
    NotACapture(PathBuf),
    /// The file ends within a packet or a header.
    #[error(
        "capture `{}` is truncated at packet {number}: the packets before it are complete; copy or capture it again for the rest",
        path.display()
    )]
    Truncated {
        /// Which file.
        path: PathBuf,
        /// The first packet that is not whole.
        number: u64,
    },
    /// Lengths or types that contradict each other.
    #[error(
        "capture `{}` is damaged at packet {number}: the packets before it are complete; copy or capture it again for the rest",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The first packet that cannot be found.
        number: u64,
    },
    /// Packets of a link layer that is not read.
    #[error(
        "capture `{}` has link type {linktype} at packet {number}: capture ethernet (1), cooked (113, 276) or raw ip (101, 228, 229) packets",
        path.display()
    )]
    UnknownLink {
        /// Which file.
        path: PathBuf,
        /// The first such packet.
        number: u64,
        /// Its link type.
        linktype: u32,
    },
}

/// A pcapng interface description: what its packets are.
#[derive(Clone, Copy, Debug)]
struct Described {
    linktype: u32,
    snaplen: u32,
}

/// One packet of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What was captured of it.
    pub bytes: &'a [u8],
    /// How long it was, in bytes; more than was captured if it was cut.
    pub original: usize,
    /// What it begins with.
    pub link: LinkType,
}

/// An open capture.
pub struct Capture {
    path: PathBuf,
    reader: Box<dyn PcapReaderIterator + Send>,
    /// Those of the current section; a pcap file has one.
    interfaces: Vec<Described>,
    /// Packets read so far.
    packets: u64,
    frame: Vec<u8>,
    original: usize,
    is_big_endian: bool,
    is_pcapng: bool,
    is_compressed: bool,
}

/// What the parser said, without what it borrowed.
enum Step {
    Consume(usize),
    Packet(usize, Described),
    More,
    End,
    Truncated,
    Damaged,
}

impl Capture {
    /// Opens a file and looks at its first bytes.
    ///
    /// # Errors
    /// [`CaptureError`], already here if it is no capture or its header is cut.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let failed = |source| CaptureError::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(failed)?;
        let mut start = beginning(&mut file).map_err(failed)?;
        let mut file: Box<dyn Read + Send> = Box::new(file);
        let is_compressed = start.starts_with(&GZIP);
        if is_compressed {
            file = Box::new(MultiGzDecoder::new(Cursor::new(start).chain(file)));
            start = beginning(&mut file).map_err(|_| CaptureError::Truncated {
                path: path.to_owned(),
                number: 1,
            })?;
        }
        let magic = start.first_chunk().copied();
        let is_capture = magic.is_some_and(|magic: [u8; 4]| MAGICS.contains(&magic));
        if !is_capture {
            return Err(CaptureError::NotACapture(path.to_owned()));
        }
        let is_pcapng = magic == Some(SECTION_HEADER);
        let reader = create_reader(BUFFER, Cursor::new(start).chain(file)).map_err(|_| {
            CaptureError::Truncated {
                path: path.to_owned(),
                number: 1,
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            reader,
            interfaces: Vec::new(),
            packets: 0,
            frame: Vec::new(),
            original: 0,
            is_big_endian: false,
            is_pcapng,
            is_compressed,
        })
    }

    /// How many packets were read.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// The next packet; `None` at the end of the file.
    ///
    /// # Errors
    /// [`CaptureError`]; there is nothing to be read after it.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, CaptureError> {
        loop {
            match self.step() {
                Step::Consume(length) => self.reader.consume(length),
                Step::Packet(length, interface) => {
                    self.reader.consume(length);
                    let linktype = interface.linktype;
                    let Some(link) = LinkType::of(linktype) else {
                        let (path, number) = self.here();
                        return Err(CaptureError::UnknownLink {
                            path,
                            number,
                            linktype,
                        });
                    };
                    self.packets += 1;
                    return Ok(Some(Packet {
                        bytes: &self.frame,
                        original: self.original.max(self.frame.len()),
                        link,
                    }));
                }
                Step::More => self.read_more()?,
                Step::End => return Ok(None),
                Step::Truncated => {
                    let (path, number) = self.here();
                    return Err(CaptureError::Truncated { path, number });
                }
                Step::Damaged => return Err(self.damaged()),
            }
        }
    }

    /// For messages: the file, and the packet that is being read.
    fn here(&self) -> (PathBuf, u64) {
        (self.path.clone(), self.packets + 1)
    }

    fn damaged(&self) -> CaptureError {
        let (path, number) = self.here();
        CaptureError::Damaged { path, number }
    }

    fn step(&mut self) -> Step {
        match self.reader.next() {
            Ok((length, PcapBlockOwned::LegacyHeader(header))) => {
                #[expect(clippy::cast_sign_loss, reason = "the field is unsigned on disk")]
                let linktype = header.network.0 as u32 & LINKTYPE_MASK;
                self.is_big_endian = header.is_bigendian();
                self.interfaces = vec![Described {
                    linktype,
                    snaplen: 0,
                }];
                Step::Consume(length)
            }
            Ok((length, PcapBlockOwned::Legacy(packet))) => {
                self.frame.clear();
                self.frame.extend_from_slice(packet.data);
                self.original = packet.origlen as usize;
                match self.interfaces.first() {
                    Some(&interface) => Step::Packet(length, interface),
                    None => Step::Damaged,
                }
            }
            Ok((length, PcapBlockOwned::NG(block))) => {
                let found = match read_block(&block, &mut self.interfaces, &mut self.is_big_endian)
                {
                    Ok(found) => found,
                    Err(Broken) => return Step::Damaged,
                };
                let Some(Found {
                    interface,
                    data,
                    original,
                }) = found
                else {
                    return Step::Consume(length);
                };
                self.frame.clear();
                self.frame.extend_from_slice(data);
                self.original = original as usize;
                Step::Packet(length, interface)
            }
            Err(PcapError::Eof) => Step::End,
            Err(PcapError::Incomplete(_) | PcapError::BufferTooSmall) => Step::More,
            Err(PcapError::UnexpectedEof) => {
                if self.is_contradictory() {
                    Step::Damaged
                } else {
                    Step::Truncated
                }
            }
            Err(_) => Step::Damaged,
        }
    }

    /// Can the record that the parser still asks bytes for never become whole? Its length is absurd, or it is all
    /// there and its inner lengths are wrong.
    fn is_contradictory(&self) -> bool {
        let data = self.reader.data();
        let is_section = data.first_chunk() == Some(&SECTION_HEADER);
        let (length, is_big_endian) = if !self.is_pcapng {
            (data.get(8..12), self.is_big_endian)
        } else if is_section {
            (data.get(4..8), data.get(8..12) == Some(&BIG_ENDIAN_SECTION))
        } else {
            (data.get(4..8), self.is_big_endian)
        };
        let Some(&length) = length.and_then(<[u8]>::first_chunk) else {
            return false;
        };
        let length = if is_big_endian {
            u32::from_be_bytes(length)
        } else {
            u32::from_le_bytes(length)
        } as usize;
        length > MAX_BLOCK || self.is_pcapng && data.len() >= length
    }

    fn read_more(&mut self) -> Result<(), CaptureError> {
        let have = self.reader.data().len();
        if self.is_contradictory() || have >= MAX_BLOCK {
            return Err(self.damaged());
        }
        if self.reader.refill().is_err() {
            let (path, number) = self.here();
            if self.is_compressed {
                return Err(CaptureError::Truncated { path, number });
            }
            let source = io::Error::other("input/output error");
            return Err(CaptureError::Read { path, source });
        }
        if self.reader.data().len() == have && !self.reader.reader_exhausted() {
            self.reader.grow(2 * have.max(BUFFER));
        }
        Ok(())
    }
}

/// First bytes of what gzip compressed.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// First bytes of a pcapng file, the same in both byte orders.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Byte-order magic of a section in network order.
const BIG_ENDIAN_SECTION: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];
/// First bytes of what can be read: pcapng, then pcap with microseconds and nanoseconds in both byte orders.
const MAGICS: [[u8; 4]; 5] = [
    SECTION_HEADER,
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x4d, 0x3c, 0xb2, 0xa1],
];

/// The first bytes: a pipe hands out little at a time, and the parser decides by what the first read returns.
fn beginning(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.take(BUFFER as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// A block that refers to what is not there.
struct Broken;

/// A packet in a block.
struct Found<'a> {
    interface: Described,
    data: &'a [u8],
    original: u32,
}

/// The packet in a pcapng block, if it is of a kind that has one.
fn read_block<'a>(
    block: &'a Block<'_>,
    interfaces: &mut Vec<Described>,
    is_big_endian: &mut bool,
) -> Result<Option<Found<'a>>, Broken> {
    let described = |index: u32| interfaces.get(index as usize).copied().ok_or(Broken);
    match block {
        Block::SectionHeader(header) => {
            *is_big_endian = header.big_endian();
            interfaces.clear();
            Ok(None)
        }
        Block::InterfaceDescription(described) => {
            #[expect(clippy::cast_sign_loss, reason = "the field is unsigned on disk")]
            let linktype = described.linktype.0 as u32;
            interfaces.push(Described {
                linktype,
                snaplen: described.snaplen,
            });
            Ok(None)
        }
        Block::EnhancedPacket(packet) => Ok(Some(Found {
            interface: described(packet.if_id)?,
            data: packet.packet_data(),
            original: packet.origlen,
        })),
        Block::SimplePacket(packet) => {
            // Its length is not given: the packet's, unless the snapshot length cut it.
            let interface = described(0)?;
            let captured = match interface.snaplen {
                0 => packet.origlen,
                snaplen => packet.origlen.min(snaplen),
            };
            let data = packet.data.get(..captured as usize).ok_or(Broken)?;
            Ok(Some(Found {
                interface,
                data,
                original: packet.origlen,
            }))
        }
        Block::Unknown(block)
            if normalized(block.block_type, *is_big_endian) == OBSOLETE_PACKET =>
        {
            obsolete_packet(block.data, interfaces, *is_big_endian).map(Some)
        }
        _ => Ok(None),
    }
}

fn normalized(block_type: u32, is_big_endian: bool) -> u32 {
    if is_big_endian {
        block_type.swap_bytes()
    } else {
        block_type
    }
}

/// Interface (16 bits), drops (16 bits), timestamp (2 × 32), captured and original length (32 each), data.
fn obsolete_packet<'a>(
    block: &'a [u8],
    interfaces: &[Described],
    is_big_endian: bool,
) -> Result<Found<'a>, Broken> {
    let (header, data) = block.split_first_chunk::<20>().ok_or(Broken)?;
    let number = |at: usize| {
        let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        match is_big_endian {
            true => u32::from_be_bytes(bytes),
            false => u32::from_le_bytes(bytes),
        }
    };
    let interface = [header[0], header[1]];
    let interface = match is_big_endian {
        true => u16::from_be_bytes(interface),
        false => u16::from_le_bytes(interface),
    };
    let described = interfaces.get(usize::from(interface)).ok_or(Broken)?;
    Ok(Found {
        interface: *described,
        data: data.get(..number(12) as usize).ok_or(Broken)?,
        original: number(16),
    })
}
