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
use filter_lifecycle::stations::{
    Facts, KnownBy, Moment, Sender, Standing, StationEvent, Stations,
};
use filter_loader::{Error, Filter, Followed, PeerSlot};

use crate::fitted::Fitted;
use crate::follow::Learned;
use crate::slots::Slots;

/// After an error.
const RETRY: Duration = Duration::from_secs(1);

/// How often the data plane is asked which stations frames came from: the age of a station's last frame is so much too short at
/// most.
const SEEN_EVERY: Duration = Duration::from_secs(1);

/// The exchanges' member exports, by the names of the interfaces that have one; none for an export
/// that could not be read, so that what was read of it before stays.
pub type Exports = BTreeMap<String, Option<Vec<MemberSeed>>>;

/// By peer: MACs that an operator accepted for it.
pub type AcceptedMacs = BTreeMap<String, BTreeSet<Mac>>;

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
    /// The last try failed, and that was reported.
    failed: bool,
    /// When to ask which stations frames came from.
    seen_at: Duration,
    /// Asking failed, and that was reported.
    is_blind: bool,
    /// Session addresses, each at a station, whose frames the data plane has no room to note.
    unfollowed: usize,
    /// They could not be followed, and that was reported, or waits here to be.
    is_deaf: bool,
    not_followed: Option<Error>,
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

    /// What an earlier process knew of these peers' session addresses: at which of the stations they were found.
    pub(crate) fn recall(
        &mut self,
        now: Duration,
        hands: &Hands<'_>,
        replaced: &BTreeSet<PeerSlot>,
    ) -> Result<(), Error> {
        let spec = hands.fitted.spec();
        let held: BTreeMap<Station, PeerId> = held(hands.filter, hands.slots, replaced).collect();
        let contested: BTreeSet<Station> = hands.filter.contested().collect();
        let has = |&(station, address): &Sender| {
            let owner = held.get(&station).copied();
            let mut peers = spec.peer_ids().filter(|&(id, _)| match owner {
                Some(owner) => id == owner,
                None => contested.contains(&station),
            });
            peers.any(|(_, peer)| {
                let mut all = peer.attachments.iter().flat_map(|each| &each.addresses);
                all.any(|each| *each == address)
            })
        };
        let heard = hands.filter.heard()?.into_iter();
        let known = heard.map(|heard| {
            let Followed {
                station,
                address,
                note,
            } = heard.of;
            ((station, address), Standing::of_note(note))
        });
        self.stations
            .recall(now, known.filter(|(sender, _)| has(sender)));
        Ok(())
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

    /// Asks which stations frames came from, if it is time to. An error is returned once until it works again.
    pub(crate) fn look(&mut self, now: Duration, filter: &mut Filter) -> Result<(), Error> {
        if now < self.seen_at {
            return Ok(());
        }
        self.seen_at = now + SEEN_EVERY;
        let (seen, read) = filter.take_seen();
        self.stations.seen(now, seen);
        match read {
            Ok(()) => {
                self.is_blind = false;
                Ok(())
            }
            Err(error) => {
                let is_new = !std::mem::replace(&mut self.is_blind, true);
                if is_new { Err(error) } else { Ok(()) }
            }
        }
    }

    /// How long ago a frame came from a station, as far as it was seen.
    pub(crate) fn last_seen(&self, now: Duration, station: &Station) -> Option<Duration> {
        self.stations.last_seen(station).map(|it| it.age(now))
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
        let said = match aged.and(placed) {
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

    /// Forgets the MACs whose time is over. What ends now may have sent something: as long as that cannot be read, none is.
    fn age(&mut self, now: Duration, hands: &Hands<'_>) -> Result<(), Error> {
        self.ages_at = Some(now + RETRY);
        let heard = hands.filter.heard()?.into_iter().map(|heard| {
            let last = heard.ago.map(|ago| Moment::ago(now, ago));
            ((heard.of.station, heard.of.address), last)
        });
        self.stations.heard(heard.collect());
        if !self.is_blind {
            let hold = hands.fitted.spec().timers.station_hold;
            self.ages_at = self.stations.age(&facts(hands.fitted), now, hold);
        }
        Ok(())
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

    /// Has the data plane note when frames come from the peers' session addresses. The filter does without: an error costs no
    /// start and no reload, and is tried again.
    fn follow(&mut self, now: Duration, facts: &Facts<'_>, filter: &mut Filter) {
        let followed = self.stations.followed(facts).into_iter();
        let followed = followed.map(|((station, address), standing)| Followed {
            station,
            address,
            note: standing.note(),
        });
        match filter.follow(&followed.collect::<Vec<_>>()) {
            Ok(unfollowed) => {
                self.unfollowed = unfollowed;
                self.is_deaf = false;
            }
            Err(error) => {
                self.again_at = Some(now + RETRY);
                if !std::mem::replace(&mut self.is_deaf, true) {
                    self.not_followed = Some(error);
                }
            }
        }
    }

    /// Why session addresses could not be followed, once until they can.
    pub(crate) const fn take_not_followed(&mut self) -> Option<Error> {
        self.not_followed.take()
    }

    /// Session addresses, each at a station, whose frames the data plane has no room to note.
    pub(crate) const fn unfollowed(&self) -> usize {
        self.unfollowed
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
