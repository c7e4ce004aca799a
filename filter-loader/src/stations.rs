//! The peer of each station: the peer hash, and the quick copy of it that the program looks at first
//! ([`filter_core::layout::station`]).
//!
//! A station is added to the hash, then to the copy, and removed from the copy first. A place of the copy is given to
//! another station only after a grace period, so no packet sees one station's key with another's slot. The hash is
//! the authority: what an earlier process left of the copy is brought in line with it.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use filter_core::layout::station::{self, Key, LINES, PLACES, VACATED};
use filter_core::layout::{PeerKey, map};
use memmap2::MmapRaw;

use crate::error::Error;
use crate::grace::Grace;
use crate::mapped::{self, array};

/// See the file's head.
pub(crate) struct Stations {
    hash: HashMap<MapData, PeerKey, u32>,
    copy: MmapRaw,
    grace: Grace,
    known: BTreeMap<PeerKey, u32>,
}

impl Stations {
    /// Takes over the maps and reads them; nothing is written yet.
    pub(crate) fn new(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let bytes = size_of::<station::Table>();
        let copy = mapped::raw(array(ebpf, map::STATIONS)?, bytes, map::STATIONS)?;
        let missing = || Error::Map {
            map: map::PEERS,
            why: "the object has no such map".to_owned(),
        };
        let hash = HashMap::try_from(ebpf.take_map(map::PEERS).ok_or_else(missing)?)
            .map_err(Error::map(map::PEERS))?;
        let known: Result<_, _> = hash.iter().collect();
        Ok(Self {
            known: known.map_err(Error::map(map::PEERS))?,
            hash,
            copy,
            grace: Grace::new()?,
        })
    }

    /// All of them, and the slots they belong to.
    pub(crate) fn known(&self) -> &BTreeMap<PeerKey, u32> {
        &self.known
    }

    /// From now on the station is this slot's.
    pub(crate) fn insert(&mut self, key: &PeerKey, slot: u32) -> Result<(), Error> {
        if self.known.get(key) == Some(&slot) {
            return Ok(());
        }
        self.hash
            .insert(key, slot, 0)
            .map_err(Error::map(map::PEERS))?;
        self.known.insert(*key, slot);
        self.put(key, slot, |word| word == 0);
        Ok(())
    }

    /// Frames of these stations have no peer any more.
    pub(crate) fn remove(&mut self, keys: &[PeerKey]) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        for key in keys {
            if let Some(place) = self.held(key) {
                station::vacate(write(place));
            }
            self.hash.remove(key).map_err(Error::map(map::PEERS))?;
            self.known.remove(key);
        }
        self.settle()
    }

    /// Brings the copy in line with the hash: what stands there and not here goes, what is missing comes. Once, before
    /// anything is inserted or removed, and after the maps are known to be ours.
    pub(crate) fn check_copy(&self) -> Result<(), Error> {
        let mut is_sound = true;
        for line in 0..LINES {
            for place in self.line(line) {
                let words = place.each_ref().map(|word| word.load(Ordering::Acquire));
                let owner = station::owner(&words);
                let is_right = owner.is_some_and(|(key, slot)| {
                    Key::of(&key).line() == line && self.known.get(&key) == Some(&slot)
                });
                if words[0] != 0 && !is_right {
                    station::vacate(write(place));
                    is_sound = false;
                }
            }
        }
        if is_sound {
            self.fill(|word| word == 0);
            return Ok(());
        }
        self.settle()
    }

    /// After a grace period vacated places are free: for stations that found their line full, or to stay empty.
    fn settle(&self) -> Result<(), Error> {
        self.grace.wait()?;
        self.fill(|word| word == 0 || word == VACATED);
        for place in (0..LINES).flat_map(|line| self.line(line)) {
            if place[0].load(Ordering::Relaxed) == VACATED {
                place[0].store(0, Ordering::Release);
            }
        }
        Ok(())
    }

    fn fill(&self, is_free: impl Fn(u64) -> bool + Copy) {
        for (key, &slot) in &self.known {
            self.put(key, slot, is_free);
        }
    }

    /// Into the place that holds the key, or the first free one. A full line is no harm: the hash has all of them.
    fn put(&self, key: &PeerKey, slot: u32, is_free: impl Fn(u64) -> bool) {
        let wanted = Key::of(key).place(slot);
        if let Some(place) = self.held(key) {
            place[1].store(wanted[1], Ordering::Release);
            return;
        }
        let mut places = self.line(Key::of(key).line()).iter();
        if let Some(place) = places.find(|place| is_free(place[0].load(Ordering::Relaxed))) {
            station::occupy(wanted, write(place));
        }
    }

    /// The place that holds this key.
    fn held(&self, key: &PeerKey) -> Option<&[AtomicU64; 2]> {
        self.line(Key::of(key).line()).iter().find(|place| {
            let words = place.each_ref().map(|word| word.load(Ordering::Relaxed));
            station::owner(&words).is_some_and(|(held, _)| held == *key)
        })
    }

    fn line(&self, line: usize) -> &[[AtomicU64; 2]; PLACES] {
        // SAFETY: below LINES, which is what is mapped; the mapping is aligned to a page and lives as long as self;
        // the program only reads, whole words.
        unsafe {
            &*self
                .copy
                .as_ptr()
                .cast::<[[AtomicU64; 2]; PLACES]>()
                .add(line % LINES)
        }
    }
}

/// Stores a word of a place.
fn write(place: &[AtomicU64; 2]) -> impl FnMut(usize, u64) + '_ {
    |word, value| place[word].store(value, Ordering::Release)
}
