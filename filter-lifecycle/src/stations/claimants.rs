//! Who claims one station, and whose it is by that. Knows no address and no time.
use std::collections::BTreeSet;

use crate::route::PeerId;

/// The peers that a station may belong to, by their addresses or by a member export.
#[derive(Debug, Default)]
pub(super) struct Claimants {
    /// Of which a session came up there; those whose address is there still.
    pub confirmed: BTreeSet<PeerId>,
    pub current: BTreeSet<PeerId>,
    /// Of which an address was seen there, and is at no confirmed MAC.
    pub seen: BTreeSet<PeerId>,
    pub seeded: BTreeSet<PeerId>,
}

impl Claimants {
    /// The peer whose session confirms the station; of several the one whose address is there still, and had it before.
    pub(super) fn confirmed_for(&self, former: Option<PeerId>) -> Option<PeerId> {
        let among = [&self.current, &self.confirmed]
            .into_iter()
            .find(|all| !all.is_empty())?;
        former
            .filter(|id| among.contains(id))
            .or_else(|| among.first().copied())
    }

    /// Do several peers' addresses seem to be there, and none for sure?
    pub(super) fn are_at_odds(&self) -> bool {
        self.seen.len() > 1
    }

    /// Whose it is as long as nothing confirms it: where an address was seen counts before what the export lists, and the
    /// export alone takes nothing from the peer that had it.
    pub(super) fn provisional_for(&self, former: Option<PeerId>) -> Option<PeerId> {
        let seen = self.seen.first().copied();
        seen.or(former).or_else(|| self.seeded.first().copied())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.seen.iter().chain(&self.seeded).copied()
    }
}
