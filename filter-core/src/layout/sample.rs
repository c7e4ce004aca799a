//! One sampled violation, as the ring buffer carries it. Never decides what is sampled.
use super::SAMPLE_BYTES;
use crate::classes::Classes;
use crate::packet::Vlans;
use crate::reason::Reason;

/// Words of one ring buffer record; see [`Sample`].
pub const SAMPLE_WORDS: usize = 4 + SAMPLE_BYTES / 8;

/// One sampled violation. The MACs are the first bytes of `data`.
///
/// | words | content |
/// |---|---|
/// | 0 | CLOCK_MONOTONIC nanoseconds |
/// | 1 | ifindex, counter slot (32 bits each, high first) |
/// | 2 | frame length in bytes, bytes kept (32 bits each) |
/// | 3 | outer VLAN, inner VLAN, broken classes (16 bits each), reason, dropped (8 bits each) |
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
            dropped: what & 0xff != 0,
            data: data.try_into().ok()?,
        })
    }
}
