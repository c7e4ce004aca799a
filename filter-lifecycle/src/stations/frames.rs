//! When frames last came: from each station, and from each session address at a station. They say for how long a MAC that an
//! address has left stays the peer's. Facts and their memory, bounded by what the data plane follows; never reads a clock.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use filter_core::layout::Station;
use filter_core::packet::{Mac, Vlans};

use super::{Facts, Stations};
use crate::neighbour::Left;
use crate::policy::Link;
use crate::route::PeerId;
use crate::spec::{Attachment, Peer};

/// When something was. It may have been before this process's clock began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When somebody looked.
    looked: Duration,
    /// How long ago it was then.
    before: Duration,
}

impl Moment {
    /// So long ago.
    #[must_use]
    pub const fn ago(now: Duration, before: Duration) -> Self {
        let looked = now;
        Self { looked, before }
    }

    /// How long ago it is.
    #[must_use]
    pub const fn age(self, now: Duration) -> Duration {
        now.saturating_sub(self.looked).saturating_add(self.before)
    }

    /// When a time that began with it is over; at the clock's beginning, if that was before.
    #[must_use]
    pub const fn end_of(self, time: Duration) -> Duration {
        self.looked.saturating_add(time).saturating_sub(self.before)
    }
}

/// An address at a station.
pub type Sender = (Station, IpAddr);

/// What is known of a session address at a station of its peer. It outlives the daemon, as the data plane's note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// The address was never found there.
    Elsewhere,
    /// The neighbour table had it there.
    Found,
    /// A session confirmed it, and lasted.
    Confirmed,
}

impl Standing {
    /// As a number that is kept.
    #[must_use]
    pub const fn note(self) -> u64 {
        match self {
            Self::Elsewhere => 0,
            Self::Found => 1,
            Self::Confirmed => 2,
        }
    }

    /// The inverse of [`Standing::note`]; a number that is none shows nothing.
    #[must_use]
    pub const fn of_note(note: u64) -> Self {
        match note {
            1 => Self::Found,
            2 => Self::Confirmed,
            _ => Self::Elsewhere,
        }
    }
}

/// What an earlier process knew of an address, until it is known which device that place is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recalled {
    at: Duration,
    sender: Sender,
    is_confirmed: bool,
}

/// See the file's head.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames {
    stations: BTreeMap<Station, Moment>,
    /// All that are followed; none where no frame came since.
    senders: BTreeMap<Sender, Option<Moment>>,
}

impl Frames {
    /// The last frame of a station that the address alone is judged by; none if it is not followed, or sent none.
    fn of_sender(&self, sender: &Sender) -> Option<Moment> {
        self.senders.get(sender).copied().flatten()
    }

    /// The last frame of a station, whatever its source.
    fn of_station(&self, sender: &Sender, now: Duration) -> Option<Moment> {
        let seen = self.stations.get(&sender.0).copied();
        let heard = self.of_sender(sender);
        let both = seen.into_iter().chain(heard);
        both.min_by_key(|moment| moment.age(now))
    }
}

impl Stations {
    /// Frames came from these stations since the last call.
    pub fn seen(&mut self, now: Duration, stations: impl IntoIterator<Item = Station>) {
        let seen = stations.into_iter();
        let moment = Moment::ago(now, Duration::ZERO);
        let frames = &mut self.frames.stations;
        frames.extend(seen.map(|station| (station, moment)));
        let (assigned, contested) = (&self.assigned, &self.contested);
        frames.retain(|it, _| assigned.contains_key(it) || contested.contains(it));
    }

    /// When frames last came from each session address that is followed; none where none came since it is.
    pub fn heard(&mut self, senders: BTreeMap<Sender, Option<Moment>>) {
        self.frames.senders = senders;
    }

    /// When the last frame came from a station, as far as it was seen.
    #[must_use]
    pub fn last_seen(&self, station: &Station) -> Option<Moment> {
        self.frames.stations.get(station).copied()
    }

    /// The session addresses whose frames matter, at each station: those of the station's peer, and those that were found
    /// there. The most important first.
    #[must_use]
    pub fn followed(&self, facts: &Facts<'_>) -> Vec<(Sender, Standing)> {
        let mut followed = BTreeMap::new();
        for (&station, &id) in &self.assigned {
            let peer = facts.spec.peer(id);
            let addresses = peer
                .into_iter()
                .flat_map(|peer| addresses_at(facts, peer, station));
            followed.extend(addresses.map(|address| ((station, address), Standing::Elsewhere)));
        }
        let recalled = self.recalled.iter();
        followed.extend(recalled.map(|it| (it.sender, standing(it.is_confirmed))));
        for ((link, address), seen) in self.macs.all() {
            if let Some(&place) = self.places.get(&link) {
                let sender = (station_at(place, seen.mac), address);
                followed.insert(sender, standing(seen.has_lasted()));
            }
        }
        let mut followed: Vec<_> = followed.into_iter().collect();
        followed.sort_by_key(|&(_, standing)| std::cmp::Reverse(standing));
        followed
    }

    /// What an earlier process knew of the session addresses at stations that are their peers' still. They count as left, until the
    /// neighbour table has them there.
    pub fn recall(&mut self, now: Duration, known: impl IntoIterator<Item = (Sender, Standing)>) {
        let known = known.into_iter();
        let found = known.filter(|&(_, standing)| standing != Standing::Elsewhere);
        self.recalled = found
            .map(|(sender, standing)| Recalled {
                at: now,
                sender,
                is_confirmed: standing == Standing::Confirmed,
            })
            .collect();
    }

    /// Hands over what is recalled of these devices. Returns whether that was anything.
    pub(super) fn take_recalled(&mut self) -> bool {
        let before = self.recalled.len();
        let (places, macs) = (&self.places, &mut self.macs);
        self.recalled.retain(|it| {
            let (station, address) = it.sender;
            let here = (station.ifindex, station.vlans);
            let mut links = places.iter().filter(|&(_, at)| *at == here);
            let Some((&link, _)) = links.next() else {
                return true;
            };
            macs.recall(it.at, (link, address), (station.mac, it.is_confirmed));
            false
        });
        self.recalled.len() < before
    }

    /// Forgets where addresses were too long ago: a MAC stays for `station_hold` after its address has left it, and after the
    /// last frame.
    ///
    /// Any frame of the station counts as long as nothing else is known of address and station. Where a session lasted at
    /// another MAC of that address since, or the station is another peer's, only frames *from that address* do; of one that
    /// is not followed, none. A contested station's frames count for those whose address is at no other MAC now: or somebody who
    /// answers once for another address would take the station from a peer that has no session. No frame counts for a MAC at
    /// which the address may never have been ([`Left::is_doubtful`]): or one answer would last for ever.
    /// Returns when it is to be called again at the latest.
    pub fn age(&mut self, facts: &Facts<'_>, now: Duration, hold: Duration) -> Option<Duration> {
        let (frames, places, assigned) = (&self.frames, &self.places, &self.assigned);
        let contested = &self.contested;
        let last = |left: &Left| {
            if left.is_doubtful {
                return None;
            }
            let place = *places.get(&left.link)?;
            let sender = (station_at(place, left.mac), left.address);
            let may_be_its = || match assigned.get(&sender.0) {
                Some(&id) => has_address(facts, id, sender),
                None => contested.contains(&sender.0) && !left.is_elsewhere,
            };
            let last = if !left.is_replaced && may_be_its() {
                frames.of_station(&sender, now)
            } else {
                frames.of_sender(&sender)
            };
            last.map(|moment| moment.end_of(hold))
        };
        self.macs.age(now, hold, last)
    }
}

const fn standing(is_confirmed: bool) -> Standing {
    match is_confirmed {
        true => Standing::Confirmed,
        false => Standing::Found,
    }
}

const fn station_at((ifindex, vlans): (u32, Vlans), mac: Mac) -> Station {
    Station {
        ifindex,
        vlans,
        mac,
    }
}

fn has_address(facts: &Facts<'_>, id: PeerId, (station, address): Sender) -> bool {
    let peer = facts.spec.peer(id);
    peer.is_some_and(|peer| addresses_at(facts, peer, station).any(|each| each == address))
}

/// The session addresses that a peer has where a station is.
fn addresses_at<'a>(
    facts: &'a Facts<'_>,
    peer: &'a Peer,
    station: Station,
) -> impl Iterator<Item = IpAddr> + 'a {
    let is_here = move |attachment: &&Attachment| {
        let link: Option<&Link> = facts.links.get(&attachment.interface);
        let ifindex = link.map(|link| link.ifindex);
        (ifindex, attachment.vlans) == (Some(station.ifindex), station.vlans)
    };
    let here = peer.attachments.iter().filter(is_here);
    here.flat_map(|attachment| attachment.addresses.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_moment_may_lie_before_the_clock_began() {
        let now = Duration::from_secs(60);
        let moment = Moment::ago(now, HOUR);
        assert_eq!(moment.age(now), HOUR);
        assert_eq!(moment.age(now + HOUR), 2 * HOUR);
        assert_eq!(moment.end_of(2 * HOUR), now + HOUR);
        assert_eq!(moment.end_of(HOUR), now);
        assert_eq!(moment.end_of(HOUR / 2), Duration::ZERO);
    }

    #[test]
    fn a_note_stands_for_what_it_was_made_of() {
        for standing in [Standing::Elsewhere, Standing::Found, Standing::Confirmed] {
            assert_eq!(Standing::of_note(standing.note()), standing);
        }
        assert_eq!(Standing::of_note(3), Standing::Elsewhere);
    }
}
