//! Watches for packets that are dropped because of what left a peer's sets although nothing withdrew it. The program looks
//! only at packets that break a peer's sets, and only while anything is watched for; what it met it remembers until it is
//! taken from here, so that no flood can hide it. Never decides what follows.
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use aya::Ebpf;
use filter_core::Family;
use filter_core::layout::{Evidence, map};
use memmap2::MmapRaw;

use super::Filter;
use crate::error::Error;
use crate::mapped;
use crate::object::Engine;
use crate::slot::PeerSlot;
use crate::tables::PeerTables;

/// What was met, in our memory, and what is watched for.
#[derive(Debug)]
pub(super) struct Watch {
    evidence: Option<MmapRaw>,
    /// By slot.
    watched: BTreeSet<u32>,
    /// What was met before what is watched for was replaced, and was not taken yet.
    met: Vec<Met>,
    slots: u32,
}

/// A packet was dropped because of what left one side and family of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// The peer.
    pub peer: PeerSlot,
    /// The family.
    pub family: Family,
    /// It went to such an address; otherwise it came from one.
    pub is_destination: bool,
}

impl Watch {
    pub(super) fn map(ebpf: &Ebpf, engine: Engine) -> Result<Self, Error> {
        let mut watch = Self {
            evidence: None,
            watched: BTreeSet::new(),
            met: Vec::new(),
            slots: 0,
        };
        if engine.is_compiled() {
            let data = mapped::array(ebpf, map::EVIDENCE)?;
            let info = data.info().map_err(Error::map(map::EVIDENCE))?;
            watch.slots = info.max_entries();
            let bytes = watch.slots as usize * size_of::<Evidence>();
            watch.evidence = Some(mapped::raw(data, bytes, map::EVIDENCE)?);
            watch.forget_all();
        }
        Ok(watch)
    }

    /// What an earlier process did not take was about records whose places are given to others.
    fn forget_all(&self) {
        for slot in 0..self.slots {
            for word in (0..Evidence::WORDS).filter_map(|word| self.word(slot, word)) {
                word.store(0, Ordering::Release);
            }
        }
    }

    fn word(&self, slot: u32, word: usize) -> Option<&AtomicU32> {
        let memory = self.evidence.as_ref().filter(|_| slot < self.slots)?;
        let index = slot as usize * Evidence::WORDS + word % Evidence::WORDS;
        // SAFETY: the mapping covers this many values of so many words each, is aligned to a page and lives as long as self;
        // both sides read and write whole words.
        Some(unsafe { AtomicU32::from_ptr(memory.as_mut_ptr().cast::<u32>().add(index)) })
    }

    /// Takes what packets of a slot met in the records at these places. Of any other it is old.
    fn collect(&mut self, slot: u32, places: [Option<u32>; 2]) {
        for family in Family::ALL {
            for is_destination in [false, true] {
                let word = self.word(slot, Evidence::word(family, is_destination));
                let found = word.map_or(0, |word| word.swap(0, Ordering::AcqRel));
                if found != 0 && places.contains(&Some(found)) {
                    self.met.push(Met {
                        peer: PeerSlot(slot),
                        family,
                        is_destination,
                    });
                }
            }
        }
    }
}

impl Filter {
    /// From now on packets of the peer that are dropped because they come from these sources, or go to these destinations, are
    /// evidence: see [`Filter::take_evidence`]. To be called before the table is published that lacks them.
    ///
    /// # Errors
    /// [`Error::TableTooLarge`]: nothing is watched for then; map errors.
    pub fn watch(&mut self, peer: PeerSlot, departed: &PeerTables<'_>) -> Result<(), Error> {
        let is_empty = departed.sources.is_empty() && departed.destinations.is_empty();
        let Some(slot) = self.tables.departed_slot(peer.0).filter(|_| !is_empty) else {
            return self.unwatch(peer);
        };
        let before = self.tables.place(slot);
        let staged = self.tables.stage(slot, None, departed);
        if let Err(error) = staged.and_then(|()| self.tables.commit()) {
            self.unwatch(peer)?;
            return Err(error);
        }
        let places = [before, self.tables.place(slot)];
        self.watch.collect(peer.0, places);
        self.watch.watched.insert(peer.0);
        Ok(())
    }

    /// Nothing is watched for any more.
    fn unwatch(&mut self, peer: PeerSlot) -> Result<(), Error> {
        if self.watch.watched.remove(&peer.0)
            && let Some(slot) = self.tables.departed_slot(peer.0)
        {
            let before = self.tables.place(slot);
            self.tables.retire(slot)?;
            self.watch.collect(peer.0, [before, None]);
        }
        Ok(())
    }

    /// The slot is another peer's from now on, or nobody's.
    pub(super) fn forget_watch(&mut self, peer: PeerSlot) -> Result<(), Error> {
        self.unwatch(peer)?;
        self.watch.met.retain(|met| met.peer != peer);
        Ok(())
    }

    /// What packets met since the last call.
    pub fn take_evidence(&mut self) -> Vec<Met> {
        for slot in Vec::from_iter(self.watch.watched.iter().copied()) {
            let departed = self.tables.departed_slot(slot);
            let place = departed.and_then(|departed| self.tables.place(departed));
            self.watch.collect(slot, [place, None]);
        }
        std::mem::take(&mut self.watch.met)
    }
}
