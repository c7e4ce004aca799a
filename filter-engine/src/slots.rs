//! Which slot of the data plane is which peer's. Names only.
use filter_lifecycle::route::PeerId;
use filter_loader::PeerSlot;

/// By [`PeerId`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots(Vec<PeerSlot>);

impl Slots {
    pub(crate) fn new(slots: Vec<PeerSlot>) -> Self {
        Self(slots)
    }

    pub(crate) fn of(&self, id: PeerId) -> PeerSlot {
        self.0[id.0 as usize]
    }

    pub(crate) fn peer(&self, slot: PeerSlot) -> Option<PeerId> {
        self.iter()
            .find(|&(_, each)| each == slot)
            .map(|(id, _)| id)
    }

    /// The peer of a slot as the data plane numbers it.
    pub(crate) fn numbered(&self, number: u32) -> Option<PeerId> {
        let mut slots = self.iter();
        slots
            .find(|(_, slot)| slot.number() == number)
            .map(|(id, _)| id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, PeerSlot)> + '_ {
        (0..).map(PeerId).zip(self.0.iter().copied())
    }
}
