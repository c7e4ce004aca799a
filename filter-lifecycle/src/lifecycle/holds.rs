//! Prefixes that leave a peer's side when their hold is over: which, and when. Knows when to look again at a prefix,
//! never whether it may leave: that is [`Ledger::expire`](super::ledger::Ledger::expire)'s to say.
use std::collections::BTreeMap;

use filter_core::Prefix;

use super::Side;
use super::ledger::{Departure, Moment};
use crate::route::PeerId;

/// A prefix of one side of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub peer: PeerId,
    pub side: Side,
    pub prefix: Prefix,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Holds {
    leaving: BTreeMap<Moment, Vec<Place>>,
}

impl Holds {
    /// Looks at the prefix again when the hold is over.
    pub(super) fn add(&mut self, Departure(at): Departure, place: Place) {
        self.leaving.entry(at).or_default().push(place);
    }

    /// The prefixes whose hold is over, so many at most; the rest comes with the next call.
    pub(super) fn over(&mut self, now: Moment, most: usize) -> Vec<Place> {
        let mut over = Vec::new();
        while let Some(due) = self.leaving.first_entry().filter(|due| *due.key() <= now) {
            let (at, mut list) = due.remove_entry();
            let rest = list.split_off(list.len().min(most - over.len()));
            over.append(&mut list);
            if !rest.is_empty() {
                self.leaving.insert(at, rest);
            }
            if over.len() >= most {
                break;
            }
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn holds_end_in_their_order_and_no_more_at_once_than_asked_for() {
        let mut holds = Holds::default();
        let at = |seconds| Moment::at_or_after(Duration::from_secs(seconds));
        let place = |peer| Place {
            peer: PeerId(peer),
            side: Side::Sources,
            prefix: "192.0.2.0/24".parse().unwrap(),
        };
        for (seconds, peer) in [(30, 3), (10, 1), (10, 2), (40, 4)] {
            holds.add(Departure(at(seconds)), place(peer));
        }
        assert_eq!(holds.over(at(9), 10), []);
        assert_eq!(holds.over(at(30), 1), [place(1)]);
        assert_eq!(holds.over(at(30), 1), [place(2)]);
        assert_eq!(holds.over(at(30), 2), [place(3)]);
        assert_eq!(holds.over(at(30), 2), []);
        assert_eq!(holds.over(at(99), 2), [place(4)]);
    }
}
