//! The baseline engine's tables: the kernel's longest-prefix-match tries. Updated element by element: adds
//! before removes, but a packet may see a mix. Never the product path.
use std::collections::{BTreeMap, BTreeSet};

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, LpmTrie, MapData};
use filter_core::layout::{Rules, lpm, map, record};
use filter_core::set::{PrefixSet, Ranges};
use filter_core::{Address, Family, Prefix};

use crate::error::Error;
use crate::tables::{Fault, Memory, PeerTables, TableStore};

/// Bytes the kernel needs per trie node, about: struct lpm_trie_node with an 8- or 20-byte key and its value.
const NODE_BYTES: u64 = 64;

pub(crate) struct Tries {
    ipv4: LpmTrie<MapData, [u32; 2], u8>,
    ipv6: LpmTrie<MapData, [u32; 5], u8>,
    peers: Array<MapData, u32>,
    have: BTreeMap<u32, BTreeSet<Prefix>>,
    staged: Option<Staged>,
}

/// What is to replace a slot's sets.
struct Staged {
    slot: u32,
    rules: Rules,
    sources: PrefixSet,
    destinations: PrefixSet,
}

impl Tries {
    pub(crate) fn new(ebpf: &mut aya::Ebpf) -> Result<Self, Error> {
        let mut take = |name: &'static str| {
            ebpf.take_map(name).ok_or(Error::Map {
                map: name,
                why: "the object has no such map".to_owned(),
            })
        };
        Ok(Self {
            ipv4: take(map::LPM_V4)?
                .try_into()
                .map_err(Error::map(map::LPM_V4))?,
            ipv6: take(map::LPM_V6)?
                .try_into()
                .map_err(Error::map(map::LPM_V6))?,
            peers: take(map::LPM_PEERS)?
                .try_into()
                .map_err(Error::map(map::LPM_PEERS))?,
            have: BTreeMap::new(),
            staged: None,
        })
    }

    fn replace(&mut self, set: u32, wanted: &PrefixSet) -> Result<(), Error> {
        let wanted: BTreeSet<Prefix> = Family::ALL
            .into_iter()
            .flat_map(|f| prefixes(f, wanted.family(f)))
            .collect();
        let have = self.have.remove(&set).unwrap_or_default();
        for &prefix in wanted.difference(&have) {
            self.insert_one(set, prefix)?;
        }
        for &prefix in have.difference(&wanted) {
            self.remove(set, prefix)?;
        }
        self.have.insert(set, wanted);
        Ok(())
    }

    fn insert_one(&mut self, set: u32, prefix: Prefix) -> Result<(), Error> {
        let len = 32 + u32::from(prefix.len());
        match prefix.family() {
            Family::Ipv4 => {
                let key = Key::new(len, lpm::key_v4(set, prefix.address()));
                self.ipv4
                    .insert(&key, 1, 0)
                    .map_err(Error::map(map::LPM_V4))
            }
            Family::Ipv6 => {
                let key = Key::new(len, lpm::key_v6(set, prefix.address()));
                self.ipv6
                    .insert(&key, 1, 0)
                    .map_err(Error::map(map::LPM_V6))
            }
        }
    }

    fn remove(&mut self, set: u32, prefix: Prefix) -> Result<(), Error> {
        let len = 32 + u32::from(prefix.len());
        match prefix.family() {
            Family::Ipv4 => {
                let key = Key::new(len, lpm::key_v4(set, prefix.address()));
                self.ipv4.remove(&key).map_err(Error::map(map::LPM_V4))
            }
            Family::Ipv6 => {
                let key = Key::new(len, lpm::key_v6(set, prefix.address()));
                self.ipv6.remove(&key).map_err(Error::map(map::LPM_V6))
            }
        }
    }
}

impl TableStore for Tries {
    /// Nothing is shown before the commit: the tries have no self-test.
    fn stage(
        &mut self,
        slot: u32,
        _shown: Option<u32>,
        table: &PeerTables<'_>,
    ) -> Result<(), Error> {
        self.staged = Some(Staged {
            slot,
            rules: table.rules,
            sources: table.sources.clone(),
            destinations: table.destinations.clone(),
        });
        Ok(())
    }

    fn check(&self, _: &PeerTables<'_>, _: &[Ranges; record::SETS]) -> Result<(), Fault> {
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Error> {
        let Some(staged) = self.staged.take() else {
            return Ok(());
        };
        self.replace(lpm::source(staged.slot), &staged.sources)?;
        self.replace(lpm::destination(staged.slot), &staged.destinations)?;
        self.peers
            .set(staged.slot, lpm::peer(staged.rules), 0)
            .map_err(Error::map(map::LPM_PEERS))
    }

    fn discard(&mut self) {
        self.staged = None;
    }

    fn retire(&mut self, slot: u32) -> Result<(), Error> {
        self.peers
            .set(slot, 0, 0)
            .map_err(Error::map(map::LPM_PEERS))?;
        self.replace(lpm::source(slot), &PrefixSet::default())?;
        self.replace(lpm::destination(slot), &PrefixSet::default())
    }

    /// The tries keep no generations and end with the process.
    fn generation(&self, _slot: u32) -> Option<u32> {
        None
    }

    fn memory(&self) -> Memory {
        let nodes: usize = self.have.values().map(BTreeSet::len).sum();
        Memory {
            used: nodes as u64 * NODE_BYTES,
            ..Memory::default()
        }
    }

    #[cfg(feature = "bench")]
    fn insert(
        &mut self,
        slot: u32,
        sources: &[Prefix],
        destinations: &[Prefix],
    ) -> Result<(), Error> {
        for &prefix in sources {
            self.insert_one(lpm::source(slot), prefix)?;
        }
        for &prefix in destinations {
            self.insert_one(lpm::destination(slot), prefix)?;
        }
        Ok(())
    }
}

/// The fewest prefixes that make up the ranges.
fn prefixes(family: Family, ranges: &Ranges) -> Vec<Prefix> {
    let mut prefixes = Vec::new();
    for &(mut first, last) in ranges.as_slice() {
        loop {
            let len =
                (0..=family.bits()).find(|&len| block(first, len).is_some_and(|end| end <= last));
            let Some(len) = len else { break };
            prefixes.extend(Prefix::new(Address::from_bits(family, first), len));
            match block(first, len).and_then(|end| end.checked_add(1)) {
                Some(next) if next <= last => first = next,
                _ => break,
            }
        }
    }
    prefixes
}

/// The last address of the block of this length at `first`, if `first` is aligned to it.
fn block(first: u128, len: u8) -> Option<u128> {
    let host = u128::MAX.checked_shr(u32::from(len)).unwrap_or(0);
    (first & host == 0).then_some(first | host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_split_into_the_fewest_prefixes() {
        for texts in [
            vec!["0.0.0.0/0"],
            vec!["10.0.0.0/25", "10.0.0.128/26", "10.0.0.192/32"],
            vec!["255.255.255.254/31", "::/0"],
            vec!["2001:db8::1/128", "2001:db8::2/127"],
        ] {
            let wanted: Vec<Prefix> = texts.iter().map(|t| t.parse().unwrap()).collect();
            let set: PrefixSet = wanted.iter().copied().collect();
            let got: Vec<Prefix> = Family::ALL
                .into_iter()
                .flat_map(|f| prefixes(f, set.family(f)))
                .collect();
            assert_eq!(got, wanted);
        }
    }
}
