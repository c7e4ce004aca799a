//! MACs of no peer whose packets' sources one peer alone announces: probably another router of its. Bounded; decides
//! nothing.
use std::collections::BTreeMap;

use filter_core::packet::Mac;
use filter_lifecycle::route::PeerId;
use filter_lifecycle::violation::SourceStory;

/// MACs remembered; whoever sends from more hides only others of no peer.
pub const MAX_STRANGERS: usize = 1024;

/// By MAC: the one peer that announces all its sources; none if several do, or none.
#[derive(Debug, Default)]
pub(crate) struct Strangers(BTreeMap<Mac, Option<PeerId>>);

impl Strangers {
    /// A packet of no peer came from this MAC.
    pub(crate) fn seen(&mut self, mac: Mac, source: &SourceStory) {
        let announces = match source {
            SourceStory::AdvertisedBy(peers) => match peers[..] {
                [one] => Some(one),
                _ => None,
            },
            SourceStory::Advertised | SourceStory::NoPeer | SourceStory::Unknown => None,
        };
        if let Some(known) = self.0.get_mut(&mac) {
            *known = known.filter(|one| Some(*one) == announces);
        } else if self.0.len() < MAX_STRANGERS {
            self.0.insert(mac, announces);
        }
    }

    /// Those of one peer.
    pub(crate) fn of(&self, id: PeerId) -> Vec<Mac> {
        let its = self.0.iter().filter(|(_, one)| **one == Some(id));
        its.map(|(mac, _)| *mac).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_foreign_source_and_a_mac_is_no_peers() {
        let (mac, other) = (Mac::from_bits(0x11), Mac::from_bits(0x22));
        let by = |ids: &[u32]| SourceStory::AdvertisedBy(ids.iter().copied().map(PeerId).collect());
        let mut strangers = Strangers::default();
        for _ in 0..2 {
            strangers.seen(mac, &by(&[1]));
        }
        strangers.seen(other, &by(&[1, 2]));
        assert_eq!(strangers.of(PeerId(1)), [mac]);
        assert_eq!(strangers.of(PeerId(2)), []);
        for story in [SourceStory::NoPeer, SourceStory::Unknown, by(&[1])] {
            strangers.seen(mac, &story);
            assert_eq!(strangers.of(PeerId(1)), []);
        }
        for number in 0..2 * MAX_STRANGERS as u64 {
            strangers.seen(Mac::from_bits(number), &by(&[3]));
        }
        assert_eq!(strangers.0.len(), MAX_STRANGERS);
    }
}
