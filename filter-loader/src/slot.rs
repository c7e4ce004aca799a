//! A peer's place in the maps. Never knows what is kept there.

/// A peer's place in the maps: its counters, its table and its samples go by this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerSlot(pub(crate) u32);

impl PeerSlot {
    /// The slot number, as samples carry it.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}
