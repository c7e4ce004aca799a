//! The peer of each station: the peer hash, and the quick copy of it that the program looks at first
//! ([`filter_core::layout::station`]).
//!
//! A station is added to the hash, then to the copy, and removed from the copy first. A place of the copy is given to
//! another station only after a grace period, so no packet sees one station's key with another's slot. The hash is
//! the authority: what an earlier process left of the copy is brought in line with it.
//!
//! The program marks the stations that frames come from, where it finds them: in the copy, or in the hash those that a full line
//! sends there. The marks are taken from here, and outlive the process.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

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
        let known: Result<BTreeMap<PeerKey, u32>, _> = hash.iter().collect();
        let known = known.map_err(Error::map(map::PEERS))?.into_iter();
        Ok(Self {
            known: known
                .map(|(key, half)| (key, station::slot_of(half)))
                .collect(),
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
        let seen = match self.known.contains_key(key) {
            true => self.read(key)? & station::SEEN,
            false => 0,
        };
        self.hash
            .insert(key, slot | seen, 0)
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

    /// The stations that frames came from since the last call, by this process or an earlier one. A system call for each that
    /// a full line sends to the hash; the others cost a look. The first error comes beside what was taken all the same: marks that
    /// are taken are gone.
    pub(crate) fn take_seen(&mut self) -> (Vec<PeerKey>, Result<(), Error>) {
        let (mut seen, mut read) = (Vec::new(), Ok(()));
        let known = Vec::from_iter(self.known.iter().map(|(&key, &slot)| (key, slot)));
        for (key, slot) in known {
            let is_seen = match self.held(&key) {
                Some(place) => Ok(take_mark(place)),
                None => self.take_mark_in_hash(&key, slot),
            };
            match is_seen {
                Ok(true) => seen.push(key),
                Ok(false) => {}
                Err(error) => read = read.and(Err(error)),
            }
        }
        (seen, read)
    }

    fn take_mark_in_hash(&mut self, key: &PeerKey, slot: u32) -> Result<bool, Error> {
        let is_seen = self.read(key)? & station::SEEN != 0;
        if is_seen {
            // A new element: nothing is written into one that the program may have found.
            self.hash
                .insert(key, slot, 0)
                .map_err(Error::map(map::PEERS))?;
        }
        Ok(is_seen)
    }

    /// A station's value in the hash.
    fn read(&self, key: &PeerKey) -> Result<u32, Error> {
        self.hash.get(key, 0).map_err(Error::map(map::PEERS))
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
            // The program may set one bit meanwhile: only those that differ are turned over.
            let differs = place[1].load(Ordering::Relaxed) & !u64::from(station::SEEN) ^ wanted[1];
            if differs != 0 {
                place[1].fetch_xor(differs, Ordering::AcqRel);
            }
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
        // the program reads whole words, and writes the one byte of a mark.
        unsafe {
            &*self
                .copy
                .as_ptr()
                .cast::<[[AtomicU64; 2]; PLACES]>()
                .add(line % LINES)
        }
    }
}

/// Is the place marked? Then it is not any more.
fn take_mark(place: &[AtomicU64; 2]) -> bool {
    let byte = place[1]
        .as_ptr()
        .cast::<u8>()
        .wrapping_add(station::SEEN_BYTE);
    // SAFETY: a byte of the word, which lives as long as the place; the program writes it as one, and in this process only the
    // caller's thread has the copy.
    let byte = unsafe { AtomicU8::from_ptr(byte) };
    byte.load(Ordering::Relaxed) != 0 && byte.swap(0, Ordering::AcqRel) != 0
}

/// Stores a word of a place.
fn write(place: &[AtomicU64; 2]) -> impl FnMut(usize, u64) + '_ {
    |word, value| place[word].store(value, Ordering::Release)
}
