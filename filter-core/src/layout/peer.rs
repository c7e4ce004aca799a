//! Where a peer's frames come in, and how that is a key of the peer hash. Never knows a peer.
use crate::packet::{Mac, Vlans};

/// Where a peer's frames come in: an interface, the VLANs and the source MAC of its frames.
#[doc(alias = "neighbour")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Station {
    /// The interface's index, at most `MAX_IFINDEX`.
    pub ifindex: u32,
    /// The VLANs its frames are tagged with.
    pub vlans: Vlans,
    /// Its source MAC; [`ANY_MAC`] stands for any, on an interface that is recorded with `any_mac`.
    pub mac: Mac,
}

/// A station as a key of the peer hash. Three words: the kernel's hash (jhash2) takes three in one round, and a fourth
/// costs it another one.
pub type PeerKey = [u32; 3];

/// The MAC that stands for any source on a `port` interface. Never a real source: it is the null address.
pub const ANY_MAC: Mac = Mac::from_bits(0);

impl Station {
    /// See [`ANY_MAC`].
    pub const ANY_MAC: Mac = ANY_MAC;

    /// The station as a key of the peer hash.
    #[must_use]
    pub const fn key(&self) -> PeerKey {
        let mac = self.mac.bits();
        [
            mac as u32,
            (mac >> 32) as u32 | self.ifindex << 16,
            (self.vlans.outer as u32) << 16 | self.vlans.inner as u32,
        ]
    }

    /// The inverse of [`Station::key`].
    #[must_use]
    pub const fn from_key(key: &PeerKey) -> Self {
        Self {
            ifindex: key[1] >> 16,
            vlans: Vlans {
                outer: (key[2] >> 16) as u16,
                inner: key[2] as u16,
            },
            mac: Mac::from_bits((key[1] as u64) << 32 | key[0] as u64),
        }
    }
}
