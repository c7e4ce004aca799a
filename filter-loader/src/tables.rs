//! What a peer's tables are, and the trait behind which they get into the kernel: as compiled tables (the product) or
//! as the kernel's tries (the baseline). Never knows how.
use filter_core::layout::{Rules, record};
use filter_core::set::{PrefixSet, Ranges};
use filter_core::{Address, Family};

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

impl<'a> PeerTables<'a> {
    /// The sets, in the order of a record.
    pub(crate) fn sets(&self) -> [&'a Ranges; record::SETS] {
        let of = |family| {
            [
                self.sources.family(family),
                self.destinations.family(family),
            ]
        };
        let [[a, b], [c, d]] = Family::ALL.map(of);
        [a, b, c, d]
    }
}

/// What a set of a record is called, by its place there.
pub(crate) const SET_NAMES: [&str; record::SETS] = [
    "ipv4 source",
    "ipv4 destination",
    "ipv6 source",
    "ipv6 destination",
];

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

/// What differs between what was to be written and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// An address in a set, or a part of the table.
    pub what: String,
    /// How it should be.
    pub expected: &'static str,
    /// How it is.
    pub found: &'static str,
}

impl Fault {
    /// The set of this place in the record gives a wrong answer about the address.
    pub(crate) fn answer(address: Address, set: usize, is_member: bool) -> Self {
        let (expected, found) = match is_member {
            true => ("a member", "none"),
            false => ("no member", "one"),
        };
        Self {
            what: format!("{address} as {}", SET_NAMES[set]),
            expected,
            found,
        }
    }
}

/// Slots' sets, each replaced as a whole in two steps: staged, where only the self-test's slot shows them, then
/// committed or discarded. One is staged at a time.
pub(crate) trait TableStore: Send {
    /// Makes the sets of a slot ready to be shown to packets, and shows them in `shown` at once. On an error nothing is
    /// staged.
    fn stage(&mut self, slot: u32, shown: Option<u32>, table: &PeerTables<'_>)
    -> Result<(), Error>;
    /// Reads what is staged back, as the program would: against the ranges it was made of, where `changed` says that
    /// they differ from what was there, and where lines were written anew.
    fn check(&self, table: &PeerTables<'_>, changed: &[Ranges; record::SETS]) -> Result<(), Fault>;
    /// What is staged replaces the slot's sets, and `shown` has none again.
    fn commit(&mut self) -> Result<(), Error>;
    /// What is staged goes, and the slot's sets stay.
    fn discard(&mut self);
    /// The slot has no table any more: packets of its stations have no peer.
    fn retire(&mut self, slot: u32) -> Result<(), Error>;
    /// The number of the slot that holds what departed from this one's sets; none if packets are not watched for that.
    fn departed_slot(&self, _slot: u32) -> Option<u32> {
        None
    }
    /// The place of the record of the table in this slot.
    fn place(&self, _slot: u32) -> Option<u32> {
        None
    }
    /// The generation of the table in this slot, if there is one.
    fn generation(&self, slot: u32) -> Option<u32>;
    /// What all tables together take up.
    fn memory(&self) -> Memory;
    /// From now on what is staged is damaged so.
    #[cfg(feature = "test-hooks")]
    fn damage(&mut self, _damage: Option<crate::hooks::Damage>) {}
    /// Was the last staged table damaged?
    #[cfg(feature = "test-hooks")]
    fn is_damaged(&self) -> bool {
        false
    }
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
