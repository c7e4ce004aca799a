//! Brings what was learned of the peers' MACs into the kernel, and reports what is new. Never decides which peer's a
//! MAC is: that is [`Stations`]'s.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use filter_lifecycle::neighbour::MemberSeed;
use filter_lifecycle::route::PeerId;
use filter_lifecycle::stations::{Facts, StationEvent, Stations};
use filter_loader::{Error, Filter, PeerSlot};

use crate::fitted::Fitted;
use crate::follow::Learned;
use crate::slots::Slots;

/// After an error.
const RETRY: Duration = Duration::from_secs(1);

/// The exchanges' member exports, by the names of the interfaces that have one; none for an export
/// that could not be read, so that what it said before stays.
pub type Exports = BTreeMap<String, Option<Vec<MemberSeed>>>;

/// The stations, and whether they have to be written.
#[derive(Debug, Default)]
pub(crate) struct Placer {
    stations: Stations,
    /// Something was learned.
    changed: bool,
    /// When to place the stations anew, if it failed or a mode changed.
    again_at: Option<Duration>,
    /// The last try failed, and that was said.
    failed: bool,
}

/// What placing may touch and ask.
pub(crate) struct Hands<'a> {
    pub(crate) filter: &'a mut Filter,
    pub(crate) fitted: &'a Fitted,
    pub(crate) slots: &'a Slots,
    /// Peers that are enforced, or will be as soon as they may.
    pub(crate) enforced: &'a dyn Fn() -> BTreeSet<PeerId>,
}

impl Placer {
    /// What an earlier process, or specification, had learned of these peers, but for those `replaced` since.
    pub(crate) fn inherit(
        &mut self,
        filter: &Filter,
        slots: &Slots,
        replaced: &BTreeSet<PeerSlot>,
    ) {
        let held = filter
            .stations()
            .filter(|(_, slot)| !replaced.contains(slot))
            .filter_map(|(held, slot)| Some((held, slots.peer(slot)?)));
        self.stations.inherit(held.collect::<Vec<_>>());
    }

    /// Peers have other numbers now, or none.
    pub(crate) fn renumber(&mut self, number: impl Fn(PeerId) -> Option<PeerId>) {
        self.stations.renumber(number);
    }

    pub(crate) fn seed(&mut self, exports: Exports) {
        self.stations.seed(exports);
    }

    /// Takes in what the neighbour table said.
    pub(crate) fn learn(&mut self, fitted: &Fitted, learned: Vec<Learned>) {
        let nobody = BTreeSet::new();
        let facts = Facts {
            spec: fitted.spec(),
            links: fitted.links(),
            enforced: &nobody,
        };
        for learned in learned {
            match learned {
                Learned::Places(places) => self.stations.set_places(places),
                Learned::Event(event) => self.changed |= self.stations.learn(&facts, &event),
            }
        }
    }

    /// An interface is on another device now, or a MAC has become ours.
    pub(crate) fn moved(&mut self) {
        self.changed = true;
    }

    /// A MAC that might not move may do so now.
    pub(crate) fn again(&mut self, now: Duration) {
        self.again_at = Some(now);
    }

    /// Places the stations if there is a reason to. An error is returned once until it works again.
    pub(crate) fn work(
        &mut self,
        now: Duration,
        hands: Hands<'_>,
    ) -> (Vec<StationEvent>, Result<(), Error>) {
        if !self.changed && self.again_at.is_none_or(|at| now < at) {
            return (Vec::new(), Ok(()));
        }
        self.again_at = None;
        let (events, placed) = self.place(now, hands);
        let said = match placed {
            Ok(()) => {
                self.failed = false;
                Ok(())
            }
            Err(error) => {
                self.again_at = Some(now + RETRY);
                let is_new = !std::mem::replace(&mut self.failed, true);
                if is_new { Err(error) } else { Ok(()) }
            }
        };
        (events, said)
    }

    /// From where each peer's frames come, as configured and as learned. Those on an interface without a record are tried
    /// again.
    pub(crate) fn place(
        &mut self,
        now: Duration,
        hands: Hands<'_>,
    ) -> (Vec<StationEvent>, Result<(), Error>) {
        self.changed = false;
        let enforced = (hands.enforced)();
        let facts = Facts {
            spec: hands.fitted.spec(),
            links: hands.fitted.links(),
            enforced: &enforced,
        };
        let (wanted, events) = self.stations.settle(&facts);
        let slots = wanted
            .into_iter()
            .map(|(station, id)| (station, hands.slots.of(id)));
        let placed = hands.filter.assign_stations(&slots.collect());
        if placed.as_ref().is_ok_and(|&left_out| left_out > 0) {
            self.again_at = Some(now + RETRY);
        }
        (events, placed.map(drop))
    }
}
