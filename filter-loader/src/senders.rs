//! When session addresses were last heard, each at a station: the map to whose elements the program writes the time. What is
//! followed is named by user space, and a note of its own is kept beside each time; both outlive the process.
//! Never decides what is worth following, nor what a note means.
use std::collections::BTreeMap;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData};
use filter_core::layout::{SENDER_WORDS, SenderKey, map};

use crate::error::Error;

/// See the file's head.
pub(crate) struct Senders {
    map: HashMap<MapData, SenderKey, [u64; SENDER_WORDS]>,
    /// Those that are followed, and their notes.
    known: BTreeMap<SenderKey, u64>,
    room: usize,
}

impl Senders {
    /// Takes over the map and reads it.
    pub(crate) fn new(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let missing = || Error::Map {
            map: map::SENDERS,
            why: "the object has no such map".to_owned(),
        };
        let Some(Map::HashMap(data)) = ebpf.take_map(map::SENDERS) else {
            return Err(missing());
        };
        let info = data.info().map_err(Error::map(map::SENDERS))?;
        let map = Map::HashMap(data);
        let mut senders = Self {
            map: HashMap::try_from(map).map_err(Error::map(map::SENDERS))?,
            known: BTreeMap::new(),
            room: info.max_entries() as usize,
        };
        let found = senders.read()?;
        senders.known = found
            .into_iter()
            .map(|(key, [_, note])| (key, note))
            .collect();
        Ok(senders)
    }

    /// Each with the tick of its last frame, 0 for none, and its note.
    pub(crate) fn read(&self) -> Result<Vec<(SenderKey, [u64; SENDER_WORDS])>, Error> {
        let all: Result<Vec<_>, _> = self.map.iter().collect();
        all.map_err(Error::map(map::SENDERS))
    }

    /// Follows these and no others from now on, with these notes; the first ones if there is no room for all. Returns how many
    /// there was no room for.
    pub(crate) fn follow(&mut self, wanted: &[(SenderKey, u64)]) -> Result<usize, Error> {
        let fits: BTreeMap<SenderKey, u64> = wanted.iter().take(self.room).copied().collect();
        let gone = self.known.keys().filter(|key| !fits.contains_key(*key));
        for key in Vec::from_iter(gone.copied()) {
            self.map.remove(&key).map_err(Error::map(map::SENDERS))?;
            self.known.remove(&key);
        }
        for (key, note) in fits {
            if self.known.get(&key) == Some(&note) {
                continue;
            }
            // A new element, as the program may have found the old one. What it writes there meanwhile is lost; there is more
            // than one frame of a session.
            let last = match self.known.contains_key(&key) {
                true => self.map.get(&key, 0).map_err(Error::map(map::SENDERS))?[0],
                false => 0,
            };
            self.map
                .insert(key, [last, note], 0)
                .map_err(Error::map(map::SENDERS))?;
            self.known.insert(key, note);
        }
        Ok(wanted.len().saturating_sub(self.room))
    }
}
