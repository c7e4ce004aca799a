//! Addresses at stations: a peer's session address, and where frames from it come in. The program notes when the last one came, of
//! the pairs that user space names, and only of frames on the link itself, which are few. Never a reason for a verdict.
use super::SlotStation;
use crate::address::{Address, Family};
use crate::packet::{Mac, Vlans};

/// An address at a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Where its frames come in.
    pub station: SlotStation,
    /// Their source.
    pub address: Address,
}

/// A sender as a key: interface slot and MAC; both VLANs with the family above them; the address.
pub type SenderKey = [u64; 4];

/// Words of a sender's value: the tick of its last frame, and what user space remembers of it.
pub const SENDER_WORDS: usize = 2;

/// In word 1.
const FAMILY_BIT: u32 = 32;

impl Sender {
    /// As a key.
    #[must_use]
    #[inline(always)]
    pub const fn key(&self) -> SenderKey {
        let SlotStation { slot, vlans, mac } = self.station;
        let Address { family, hi, lo } = self.address;
        [
            mac.bits() | (slot as u64) << 48,
            (family as u64) << FAMILY_BIT | (vlans.outer as u64) << 16 | vlans.inner as u64,
            hi,
            lo,
        ]
    }

    /// The inverse of [`Sender::key`].
    #[must_use]
    pub const fn from_key(&[word, tags, hi, lo]: &SenderKey) -> Self {
        let family = match tags >> FAMILY_BIT & 1 {
            0 => Family::Ipv4,
            _ => Family::Ipv6,
        };
        Self {
            station: SlotStation {
                slot: (word >> 48) as u32,
                vlans: Vlans {
                    outer: (tags >> 16) as u16,
                    inner: tags as u16,
                },
                mac: Mac::from_bits(word),
            },
            address: Address { family, hi, lo },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_sender_and_no_other() {
        let sender = Sender {
            station: SlotStation {
                slot: 63,
                vlans: Vlans {
                    outer: 4094,
                    inner: 7,
                },
                mac: Mac::from_bits(0xffff_ffff_ffff),
            },
            address: Address {
                family: Family::Ipv6,
                hi: 0x2001_0db8 << 32,
                lo: 1,
            },
        };
        assert_eq!(Sender::from_key(&sender.key()), sender);
        let others = [
            |it: &mut Sender| it.station.slot = 62,
            |it: &mut Sender| it.station.vlans.outer = 7,
            |it: &mut Sender| it.station.vlans.inner = 0,
            |it: &mut Sender| it.station.mac = Mac::from_bits(1),
            |it: &mut Sender| it.address.family = Family::Ipv4,
            |it: &mut Sender| it.address.hi = 0,
            |it: &mut Sender| it.address.lo = 0,
        ];
        for change in others {
            let mut other = sender;
            change(&mut other);
            assert_ne!(other.key(), sender.key(), "{other:?}");
            assert_eq!(Sender::from_key(&other.key()), other);
        }
    }
}
