//! Where a peer's frames come in, and how that is a key of the peer hash. Never knows a peer.
use crate::packet::{Mac, Vlans};

/// Where a peer's frames come in: an interface, the VLANs and the source MAC of its frames.
#[doc(alias = "neighbour")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Station {
    /// The interface's index.
    pub ifindex: u32,
    /// The VLANs its frames are tagged with.
    pub vlans: Vlans,
    /// Its source MAC; [`ANY_MAC`] stands for any, on an interface that is recorded with `any_mac`.
    pub mac: Mac,
}

/// A station as the data plane keeps it: the interface by its slot, so that whatever index leads to the interface, of a
/// device that was re-created or of a bond's member, leads to the same peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotStation {
    /// The interface's slot, below `MAX_INTERFACES`.
    pub slot: u32,
    /// The VLANs.
    pub vlans: Vlans,
    /// The source MAC, or [`ANY_MAC`].
    pub mac: Mac,
}

/// A place as a key of the peer hash. Three words: the kernel's hash (jhash2) takes three in one round, and a fourth
/// costs it another one.
pub type PeerKey = [u32; 3];

/// The MAC that stands for any source on a `port` interface. Never a real source: it is the null address.
pub const ANY_MAC: Mac = Mac::from_bits(0);

impl Station {
    /// See [`ANY_MAC`].
    pub const ANY_MAC: Mac = ANY_MAC;

    /// The station on the interface of this slot.
    #[must_use]
    pub const fn place(&self, slot: u32) -> SlotStation {
        SlotStation {
            slot,
            vlans: self.vlans,
            mac: self.mac,
        }
    }
}

impl SlotStation {
    /// As a key of the peer hash.
    #[must_use]
    pub const fn key(&self) -> PeerKey {
        let mac = self.mac.bits();
        [
            mac as u32,
            (mac >> 32) as u32 | self.slot << 16,
            (self.vlans.outer as u32) << 16 | self.vlans.inner as u32,
        ]
    }

    /// The inverse of [`SlotStation::key`].
    #[must_use]
    pub const fn from_key(key: &PeerKey) -> Self {
        Self {
            slot: key[1] >> 16,
            vlans: Vlans {
                outer: (key[2] >> 16) as u16,
                inner: key[2] as u16,
            },
            mac: Mac::from_bits((key[1] as u64) << 32 | key[0] as u64),
        }
    }

    /// With the index of its interface.
    #[must_use]
    pub const fn on(self, ifindex: u32) -> Station {
        Station {
            ifindex,
            vlans: self.vlans,
            mac: self.mac,
        }
    }
}
