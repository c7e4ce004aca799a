//! When frames came from stations and session addresses: asked of the data plane, told to the lifecycle, and what of it is to
//! be noted there. The filter does without: nothing here costs a start, a reload or a station.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use filter_core::layout::Station;
use filter_lifecycle::route::PeerId;
use filter_lifecycle::stations::{Facts, Moment, Sender, Standing};
use filter_loader::{Error, Filter, Followed, PeerSlot};

use super::{Hands, Placer, RETRY, Trying, facts, held};

/// How often the data plane is asked which stations frames came from: the age of a station's last frame is so much too short at
/// most.
const SEEN_EVERY: Duration = Duration::from_secs(1);

/// How far the data plane can be asked.
#[derive(Debug, Default)]
pub(super) struct Listening {
    /// When to ask which stations frames came from.
    seen_at: Duration,
    looking: Trying,
    following: Trying,
    /// Session addresses, each at a station, whose frames the data plane has no room to note.
    unfollowed: usize,
    /// An error of following that waits to be said.
    not_followed: Option<Error>,
}

impl Placer {
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

    /// Asks which stations frames came from, if it is time to. An error is returned once until it works again.
    pub(crate) fn look(&mut self, now: Duration, filter: &mut Filter) -> Result<(), Error> {
        if now < self.listening.seen_at {
            return Ok(());
        }
        self.listening.seen_at = now + SEEN_EVERY;
        let (seen, read) = filter.take_seen();
        self.stations.seen(now, seen);
        self.listening.looking.said_once(read)
    }

    /// How long ago a frame came from a station, as far as it was seen.
    pub(crate) fn last_seen(&self, now: Duration, station: &Station) -> Option<Duration> {
        self.stations.last_seen(station).map(|it| it.age(now))
    }

    /// Forgets the MACs whose time is over. What ends now may have sent something: as long as that cannot be read, none is.
    pub(super) fn age(&mut self, now: Duration, hands: &Hands<'_>) -> Result<(), Error> {
        self.ages_at = Some(now + RETRY);
        let heard = hands.filter.heard()?.into_iter().map(|heard| {
            let last = heard.ago.map(|ago| Moment::ago(now, ago));
            ((heard.of.station, heard.of.address), last)
        });
        self.stations.heard(heard.collect());
        if !self.listening.looking.failed {
            let hold = hands.fitted.spec().timers.station_hold;
            self.ages_at = self.stations.age(&facts(hands.fitted), now, hold);
        }
        Ok(())
    }

    /// Has the data plane note when frames come from the peers' session addresses. The filter does without: an error costs no
    /// start and no reload, and is tried again.
    pub(super) fn follow(&mut self, now: Duration, facts: &Facts<'_>, filter: &mut Filter) {
        let followed = self.stations.followed(facts).into_iter();
        let followed = followed.map(|((station, address), standing)| Followed {
            station,
            address,
            note: standing.note(),
        });
        let tried = filter.follow(&followed.collect::<Vec<_>>());
        match tried {
            Ok(unfollowed) => self.listening.unfollowed = unfollowed,
            Err(_) => self.again_at = Some(now + RETRY),
        }
        let said = self.listening.following.said_once(tried.map(drop));
        self.listening.not_followed = said.err().or(self.listening.not_followed.take());
    }

    /// Why session addresses could not be followed, once until they can.
    pub(crate) const fn take_not_followed(&mut self) -> Option<Error> {
        self.listening.not_followed.take()
    }

    /// Session addresses, each at a station, whose frames the data plane has no room to note.
    pub(crate) const fn unfollowed(&self) -> usize {
        self.listening.unfollowed
    }
}
