//! Brings what was learned of the peers' MACs into the kernel, and reports what is new. Never decides which peer's a
//! MAC is: that is [`Stations`]'s.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use filter_core::layout::Station;
use filter_core::packet::Mac;
use filter_lifecycle::neighbour::MemberSeed;
use filter_lifecycle::route::{PeerId, Session};
use filter_lifecycle::spec::{InterfaceId, Peer};
use filter_lifecycle::stations::{Facts, KnownBy, StationEvent, Stations};
use filter_loader::{Error, Filter, PeerSlot};

use crate::fitted::Fitted;
use crate::follow::Learned;
use crate::slots::Slots;

mod frames;

use frames::Listening;

/// After an error.
const RETRY: Duration = Duration::from_secs(1);

/// The exchanges' member exports, by the names of the interfaces that have one; none for an export
/// that could not be read, so that what was read of it before stays.
pub type Exports = BTreeMap<String, Option<Vec<MemberSeed>>>;

/// By peer: MACs that an operator accepted for it.
pub type AcceptedMacs = BTreeMap<String, BTreeSet<Mac>>;

/// What is tried again and again until it works.
#[derive(Debug, Default)]
struct Trying {
    /// It failed last time, and that was said.
    failed: bool,
}

impl Trying {
    /// An error is returned once until it works again.
    fn said_once(&mut self, tried: Result<(), Error>) -> Result<(), Error> {
        let was_said = std::mem::replace(&mut self.failed, tried.is_err());
        if was_said { Ok(()) } else { tried }
    }
}

/// The stations, and whether they have to be written.
#[derive(Debug, Default)]
pub(crate) struct Placer {
    stations: Stations,
    /// Something was learned.
    changed: bool,
    /// When to place the stations anew, if it failed.
    again_at: Option<Duration>,
    /// When a MAC has been left for so long that it is forgotten.
    ages_at: Option<Duration>,
    placing: Trying,
    listening: Listening,
}

fn facts(fitted: &Fitted) -> Facts<'_> {
    Facts {
        spec: fitted.spec(),
        links: fitted.links(),
    }
}

/// What placing may touch and ask.
pub(crate) struct Hands<'a> {
    pub(crate) filter: &'a mut Filter,
    pub(crate) fitted: &'a Fitted,
    pub(crate) slots: &'a Slots,
}

impl Placer {
    /// What an earlier process, or specification, had learned of these peers, but for those `replaced` since.
    pub(crate) fn inherit(
        &mut self,
        filter: &Filter,
        slots: &Slots,
        replaced: &BTreeSet<PeerSlot>,
    ) {
        self.stations.inherit(held(filter, slots, replaced));
    }

    /// Peers have other numbers now, or none.
    pub(crate) fn renumber(&mut self, number: impl Fn(PeerId) -> Option<PeerId>) {
        self.stations.renumber(number);
    }

    pub(crate) fn seed(&mut self, exports: Exports) {
        self.stations.seed(exports);
    }

    /// A session came up, or is up by no feed any more.
    pub(crate) fn session(
        &mut self,
        now: Duration,
        fitted: &Fitted,
        (session, is_up): (Session, bool),
    ) {
        let facts = facts(fitted);
        self.changed |= if is_up {
            self.stations.session_up(&facts, now, session)
        } else {
            self.stations.session_down(&facts, now, session)
        };
    }

    /// The MACs that operators accepted, by the peers' names.
    pub(crate) fn set_accepted(&mut self, accepted: AcceptedMacs) {
        self.stations.set_accepted(accepted);
        self.changed = true;
    }

    /// What shows that a station is this peer's.
    pub(crate) fn known_by(&self, fitted: &Fitted, station: Station, id: PeerId) -> KnownBy {
        self.stations.known_by(&facts(fitted), station, id)
    }

    /// Is every peer on an interface distinguished by its MACs?
    pub(crate) fn are_whole(
        &self,
        fitted: &Fitted,
        interface: InterfaceId,
        is_up: impl Fn(&Peer, IpAddr) -> bool,
    ) -> bool {
        self.stations.are_whole(&facts(fitted), interface, is_up)
    }

    /// Has the kernel listed its neighbour table in full?
    pub(crate) const fn has_listed_neighbours(&self) -> bool {
        self.stations.has_listed()
    }

    /// Takes in what the kernel reports of its neighbour table.
    pub(crate) fn learn(&mut self, now: Duration, fitted: &Fitted, learned: Vec<Learned>) {
        let facts = facts(fitted);
        for learned in learned {
            match learned {
                Learned::Places(places) => self.changed |= self.stations.set_places(places),
                Learned::Event(event) => self.changed |= self.stations.learn(&facts, now, &event),
            }
        }
    }

    /// An interface is on another device now, or a MAC has become ours.
    pub(crate) fn moved(&mut self) {
        self.changed = true;
    }

    /// Places the stations if there is a reason to. An error is returned once until it works again.
    pub(crate) fn work(
        &mut self,
        now: Duration,
        hands: Hands<'_>,
    ) -> (Vec<StationEvent>, Result<(), Error>) {
        let due = |at: Option<Duration>| at.is_some_and(|at| now >= at);
        if due(self.ages_at) {
            self.changed = true;
        }
        if !self.changed && !due(self.again_at) {
            return (Vec::new(), Ok(()));
        }
        self.again_at = None;
        let aged = self.age(now, &hands);
        let (events, placed) = self.place(now, hands);
        let tried = aged.and(placed);
        if tried.is_err() {
            self.again_at = Some(now + RETRY);
        }
        (events, self.placing.said_once(tried))
    }

    /// From where each peer's frames come, as configured and as learned. Those on an interface without a record are tried
    /// again.
    pub(crate) fn place(
        &mut self,
        now: Duration,
        hands: Hands<'_>,
    ) -> (Vec<StationEvent>, Result<(), Error>) {
        self.changed = false;
        let (wanted, events) = self.stations.settle(&facts(hands.fitted));
        let slots = wanted
            .into_iter()
            .map(|(station, id)| (station, hands.slots.of(id)));
        let contested = self.stations.contested();
        let placed = hands.filter.assign_stations(&slots.collect(), contested);
        if placed.as_ref().is_ok_and(|&left_out| left_out > 0) {
            self.again_at = Some(now + RETRY);
        }
        if placed.is_ok() {
            self.follow(now, &facts(hands.fitted), hands.filter);
        }
        (events, placed.map(drop))
    }
}

/// The stations in force, but for those of peers that were `replaced`.
fn held<'a>(
    filter: &'a Filter,
    slots: &'a Slots,
    replaced: &'a BTreeSet<PeerSlot>,
) -> impl Iterator<Item = (Station, PeerId)> + 'a {
    let stations = filter.stations();
    let kept = stations.filter(|(_, slot)| !replaced.contains(slot));
    kept.filter_map(|(held, slot)| Some((held, slots.peer(slot)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_said_once_until_it_works_again() {
        let mut trying = Trying::default();
        for (fails, is_said) in [
            (false, false),
            (true, true),
            (true, false),
            (false, false),
            (true, true),
        ] {
            let tried = if fails {
                Err(Error::NoRecord(5))
            } else {
                Ok(())
            };
            assert_eq!(trying.said_once(tried).is_err(), is_said);
        }
    }
}
