//! One sampled violation, as the ring buffer carries it. Never decides what is sampled.
use super::SAMPLE_BYTES;
use crate::classes::Classes;
use crate::packet::{Bytes, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Framing, VLAN_ID_MASK, Vlans};
use crate::reason::Reason;

/// Words of one ring buffer record; see [`Sample`].
pub const SAMPLE_WORDS: usize = 4 + SAMPLE_BYTES / 8;

/// What the bytes of a sample start with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum LinkLayer {
    /// The frame as it came.
    #[default]
    Ethernet = 0,
    /// The frame without its outer tag, which was taken out of it.
    Stripped = 1,
    /// The IP header: the device has no link-layer header.
    None = 2,
}

impl LinkLayer {
    /// From how a frame came to the program.
    #[must_use]
    #[inline(always)]
    pub const fn of(framing: Framing) -> Self {
        match framing {
            Framing::Stripped(control) if control & VLAN_ID_MASK != 0 => Self::Stripped,
            // Without a priority tag a frame is as good as it was.
            Framing::Whole | Framing::Stripped(_) => Self::Ethernet,
            Framing::Bare(_) => Self::None,
        }
    }

    const fn from_bits(bits: u64) -> Option<Self> {
        match bits & 3 {
            0 => Some(Self::Ethernet),
            1 => Some(Self::Stripped),
            2 => Some(Self::None),
            _ => None,
        }
    }
}

const LINK_SHIFT: u32 = 1;

/// One sampled violation. The MACs are the first bytes of `data`, if there are any.
///
/// | words | content |
/// |---|---|
/// | 0 | CLOCK_MONOTONIC nanoseconds |
/// | 1 | ifindex, counter slot (32 bits each, high first) |
/// | 2 | frame length in bytes, bytes kept (32 bits each) |
/// | 3 | outer VLAN, inner VLAN, broken classes (16 bits each), reason (8 bits); then bit 0 dropped, bits 1 and 2 [`LinkLayer`] |
/// | 4– | the first bytes of the frame |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, CLOCK_MONOTONIC nanoseconds.
    pub time_ns: u64,
    /// Where it came in.
    pub ifindex: u32,
    /// The peer's, or the interface's, counter slot.
    pub slot: u32,
    /// Frame length on the wire, in bytes, without the checksum.
    pub length: u32,
    /// How many bytes of `data` are the frame's.
    pub captured: u32,
    /// Its VLANs.
    pub vlans: Vlans,
    /// Why it is a violation.
    pub reason: Reason,
    /// What it broke.
    pub broken: Classes,
    /// Was it dropped?
    pub dropped: bool,
    /// What `data` starts with.
    pub link: LinkLayer,
    /// The first bytes of the frame, zeros after `captured`.
    pub data: [u8; SAMPLE_BYTES],
}

impl Sample {
    /// The four words before the data.
    #[must_use]
    #[inline(always)]
    pub fn header(&self) -> [u64; 4] {
        [
            self.time_ns,
            u64::from(self.ifindex) << 32 | u64::from(self.slot),
            u64::from(self.length) << 32 | u64::from(self.captured),
            u64::from(self.vlans.outer) << 48
                | u64::from(self.vlans.inner) << 32
                | u64::from(self.broken.bits()) << 16
                | (self.reason as u64) << 8
                | (self.link as u64) << LINK_SHIFT
                | u64::from(self.dropped),
        ]
    }

    /// Reads a ring buffer record; `None` if its length or reason is not of this schema.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (header, data) = bytes.split_at_checked(32)?;
        let word = |i: usize| Some(u64::from_ne_bytes(*header.get(8 * i..)?.first_chunk()?));
        let [time_ns, place, length, what] = [word(0)?, word(1)?, word(2)?, word(3)?];
        Some(Self {
            time_ns,
            ifindex: (place >> 32) as u32,
            slot: place as u32,
            length: (length >> 32) as u32,
            captured: (length as u32).min(SAMPLE_BYTES as u32),
            vlans: Vlans {
                outer: (what >> 48) as u16,
                inner: (what >> 32) as u16,
            },
            reason: Reason::from_index((what >> 8) as usize & 0xff)?,
            broken: Classes::from_bits((what >> 16) as u32 & 0xffff),
            dropped: what & 1 != 0,
            link: LinkLayer::from_bits(what >> LINK_SHIFT)?,
            data: data.try_into().ok()?,
        })
    }
}

/// The bytes that were kept, to be read as the program read them.
impl Bytes for Sample {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.data.get(..self.captured as usize)?.read(offset)
    }

    fn length(&self) -> usize {
        self.length as usize
    }

    fn framing(&self) -> Framing {
        match self.link {
            LinkLayer::Ethernet => Framing::Whole,
            LinkLayer::Stripped => Framing::Stripped(self.vlans.outer),
            // The device delivers IP only.
            LinkLayer::None if self.data[0] >> 4 == 6 => Framing::Bare(ETHERTYPE_IPV6),
            LinkLayer::None => Framing::Bare(ETHERTYPE_IPV4),
        }
    }
}
