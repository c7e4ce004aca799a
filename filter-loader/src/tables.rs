//! What a peer's tables are, and the trait behind which they get into the kernel: as compiled tables (the product) or
//! as the kernel's tries (the baseline). Never knows how.
use filter_core::layout::Rules;
use filter_core::set::PrefixSet;

use crate::error::Error;

/// One generation of one peer's tables: what replaces the one before as a whole.
#[doc(alias = "prefix list")]
#[derive(Clone, Copy, Debug)]
pub struct PeerTables<'a> {
    /// Which families the peer is configured for, and which of its sides are known.
    pub rules: Rules,
    /// Its number, shown in status and explain.
    pub generation: u32,
    /// S'(p).
    pub sources: &'a PrefixSet,
    /// D'(p).
    pub destinations: &'a PrefixSet,
}

impl Default for PeerTables<'_> {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            generation: 0,
            sources: PrefixSet::empty(),
            destinations: PrefixSet::empty(),
        }
    }
}

/// What the tables take up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes in use.
    pub used: u64,
    /// Bytes that are given back but may still be read by packets in flight.
    pub retiring: u64,
    /// The largest table that fits, in bytes.
    pub largest_free: u64,
    /// Bytes there are; 0 if the kernel allocates as it goes.
    pub capacity: u64,
}

/// A slot's sets, replaced as a whole.
pub(crate) trait TableStore: Send {
    /// Replaces the sets of a slot. On an error the old ones stay. `like` is a slot whose sets may be much the same,
    /// so that only what differs is to be made.
    fn publish(&mut self, slot: u32, like: u32, table: &PeerTables<'_>) -> Result<(), Error>;
    /// Replaces the rules of a slot; its sets are those of `table` already.
    fn publish_rules(&mut self, slot: u32, table: &PeerTables<'_>) -> Result<(), Error>;
    /// The slot has no table any more: packets of its stations have no peer.
    fn retire(&mut self, slot: u32) -> Result<(), Error>;
    /// The generation of the table in this slot, if there is one.
    fn generation(&self, slot: u32) -> Option<u32>;
    /// What all tables together take up.
    fn memory(&self) -> Memory;
    /// Fills a slot of the tries with the prefixes as they are announced, as a user of them would.
    #[cfg(feature = "bench")]
    fn insert(
        &mut self,
        _slot: u32,
        _sources: &[filter_core::Prefix],
        _destinations: &[filter_core::Prefix],
    ) -> Result<(), Error> {
        Ok(())
    }
}
