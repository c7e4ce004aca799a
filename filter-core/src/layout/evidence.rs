//! Which dropped packets met what left a peer's sets although nothing withdrew it: the breaker's evidence, which no flood
//! can push out, as one packet is remembered until user space has seen it. Never says how many there were.
use crate::address::Family;

/// By side and family, the place of the record in [`super::map::DEPARTED`] in which a dropped packet's address was found;
/// 0 if none was. A place of another record is old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Evidence(pub [u32; Evidence::WORDS]);

impl Evidence {
    /// Size in words.
    pub const WORDS: usize = 4;

    /// The word of a family's sources, or destinations.
    #[must_use]
    #[inline(always)]
    pub const fn word(family: Family, is_destination: bool) -> usize {
        (is_destination as usize) << 1 | family as usize
    }
}
