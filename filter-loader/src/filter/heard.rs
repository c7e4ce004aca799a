//! When frames last came: from each station, and from session addresses. Never decides what follows from it.
use std::net::IpAddr;
use std::time::Duration;

use filter_core::Address;
use filter_core::layout::{PeerKey, Sender, SlotStation, Station};

use super::{Filter, SELF_TEST};
use crate::error::Error;

/// An address at a station, and what the caller remembers of the two across restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Where its frames come in.
    pub station: Station,
    /// Their source.
    pub address: IpAddr,
    /// The caller's: the program never looks at it.
    pub note: u64,
}

/// When a frame last came from an address at a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Which, with its note.
    pub of: Followed,
    /// How long ago that was; none if no frame came since it is followed.
    pub ago: Option<Duration>,
}

impl Filter {
    /// The stations that frames came from since the last call, which an earlier process may have made: contested ones too,
    /// but none on an interface that nothing leads to.
    ///
    /// # Errors
    /// The first map error, beside the stations that could be read: what was taken is not there again.
    pub fn take_seen(&mut self) -> (Vec<Station>, Result<(), Error>) {
        let (seen, read) = self.stations.take_seen();
        let on_devices = seen.iter().map(SlotStation::from_key);
        let seen = on_devices.filter_map(|held| self.on_device(held));
        (seen.collect(), read)
    }

    /// From now on these session addresses are followed, at these stations, and no others: see [`Filter::heard`]. Name those
    /// first that matter most. Those on an interface that is not set are left out. Returns how many there is no room for.
    ///
    /// # Errors
    /// Map errors.
    pub fn follow(&mut self, wanted: &[Followed]) -> Result<usize, Error> {
        let key = |followed: &Followed| {
            let key: PeerKey = self.key_of(&followed.station).ok()?;
            let sender = Sender {
                station: SlotStation::from_key(&key),
                address: Address::from(followed.address),
            };
            Some((sender.key(), followed.note))
        };
        let wanted: Vec<_> = wanted.iter().filter_map(key).collect();
        self.senders.follow(&wanted)
    }

    /// Those that are followed, also by an earlier process; of frames on the link itself, to an address of ours or the LAN.
    ///
    /// # Errors
    /// Map errors; if the program's clock cannot be read.
    pub fn heard(&self) -> Result<Vec<Heard>, Error> {
        let clock = self.lease.clock();
        let senders = self.senders.read()?;
        let now = clock.now()?;
        let heard = senders.into_iter().filter_map(|(key, [last, note])| {
            let sender = Sender::from_key(&key);
            let of = Followed {
                station: self.on_device(sender.station)?,
                address: IpAddr::from(sender.address),
                note,
            };
            let ago = (last != 0).then(|| clock.length(now.saturating_sub(last)));
            Some(Heard { of, ago })
        });
        Ok(heard.collect())
    }

    fn on_device(&self, held: SlotStation) -> Option<Station> {
        let ifindex = self
            .indices
            .get(&held.slot)
            .filter(|_| held.slot != SELF_TEST)?;
        Some(held.on(*ifindex))
    }
}
