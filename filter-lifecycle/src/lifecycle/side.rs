//! The two sides of a peer: what it advertises to us, and what we advertise to it. Names only.
use crate::route::AdjRib;

/// Which of a peer's two sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// S(p): what it advertises to us.
    Sources,
    /// D(p): what we advertise to it.
    Destinations,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sources, Self::Destinations];

    /// The side a table feeds.
    #[must_use]
    pub const fn of(rib: AdjRib) -> Self {
        match rib {
            AdjRib::InPrePolicy | AdjRib::InPostPolicy => Self::Sources,
            AdjRib::OutPostPolicy => Self::Destinations,
        }
    }

    /// The name in status and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Destinations => "destinations",
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
