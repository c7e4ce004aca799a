//! Which slot of the data plane is which peer's, and who a peer is. Never knows a table.
use filter_lifecycle::route::PeerId;
use filter_lifecycle::spec::{Attachment, Peer};
use filter_loader::{Identity, PeerSlot};

/// Who a peer is: its AS number, its session addresses, and the tags and MACs of its frames. A peer of the same name that
/// differs in one of these is another peer. Interfaces do not count: they are renamed.
pub(crate) fn identity(peer: &Peer) -> Identity {
    let attachment = |attachment: &Attachment| {
        let mut parts: Vec<String> = attachment
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        parts.extend(attachment.macs.iter().map(ToString::to_string));
        parts.sort();
        let (outer, inner) = (attachment.vlans.outer, attachment.vlans.inner);
        format!("{outer} {inner} {}", parts.join(" "))
    };
    let mut attachments: Vec<String> = peer.attachments.iter().map(attachment).collect();
    attachments.sort();
    Identity::new(peer.asn.get(), &attachments.join("; "))
}

/// By [`PeerId`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots(Vec<PeerSlot>);

impl Slots {
    pub(crate) fn new(slots: Vec<PeerSlot>) -> Self {
        Self(slots)
    }

    /// Has no peer one yet?
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
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
