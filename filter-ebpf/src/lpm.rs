//! The baseline engine: the kernel's longest-prefix-match tries, one per family, every peer and side in it.
//! Replaced element by element, so a packet can see a mix of two tables: never the product path.
use core::num::NonZeroU64;

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, LpmTrie, lpm_trie::Key},
};
use filter_core::layout::{MAX_INTERFACES, Rules, lpm};
use filter_core::verdict::{Listed, Membership};
use filter_core::{Address, Family};

use crate::entry::Engine;

/// Set by the loader.
#[map(name = "lpm_v4")]
static IPV4: LpmTrie<[u32; 2], u8> = LpmTrie::with_max_entries(1 << 22, BPF_F_NO_PREALLOC);

/// Set by the loader.
#[map(name = "lpm_v6")]
static IPV6: LpmTrie<[u32; 5], u8> = LpmTrie::with_max_entries(1 << 22, BPF_F_NO_PREALLOC);

/// Slot → [`lpm::peer`]; 0 is "not published". Set by the loader.
#[map(name = "lpm_peers")]
static PEERS: Array<u32> = Array::with_max_entries(MAX_INTERFACES + 1024, 0);

/// The tries.
pub struct Tries;

/// A slot (low half) and its [`lpm::peer`] word (high half), which is never zero.
#[derive(Clone, Copy)]
pub struct Peer(NonZeroU64);

impl Peer {
    #[inline(always)]
    fn word(self) -> u32 {
        (self.0.get() >> 32) as u32
    }
}

impl Engine for Tries {
    type Peer = Peer;

    #[inline(always)]
    fn open(slot: u32) -> Option<Peer> {
        let word = *PEERS.get(slot)?;
        if word == 0 {
            return None;
        }
        NonZeroU64::new(u64::from(word) << 32 | u64::from(slot)).map(Peer)
    }

    #[inline(always)]
    fn slot(peer: Peer) -> u32 {
        peer.0.get() as u32
    }

    #[inline(always)]
    fn rules(peer: Peer) -> Rules {
        Rules::from_bits(peer.word() as u8)
    }

    #[inline(always)]
    fn membership(peer: Peer, source: Address, destination: Address) -> Membership {
        Membership {
            source: contains(lpm::source(Self::slot(peer)), source),
            destination: contains(lpm::destination(Self::slot(peer)), destination),
        }
    }

    #[inline(always)]
    fn listed(address: Address) -> Listed {
        Listed {
            bogon: contains(lpm::BOGONS, address),
            ours: contains(lpm::OURS, address),
        }
    }
}

#[inline(always)]
fn contains(set: u32, address: Address) -> bool {
    let found = match address.family {
        Family::Ipv4 => IPV4.get(Key::new(64, lpm::key_v4(set, address))),
        Family::Ipv6 => IPV6.get(Key::new(160, lpm::key_v6(set, address))),
    };
    // SAFETY: the verifier proved the pointer valid. Reading the value (always 1) keeps the compiler from doing
    // arithmetic on the pointer itself, which the verifier refuses.
    found.is_some_and(|one| unsafe { core::ptr::read_volatile(one) } != 0)
}
