//! A table on its way into force: written, shown to the self-test's packets alone, read back, and then the slot's, or
//! gone. What was tested is what goes live: the same record, the same lines; only the slot's word comes after.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use filter_core::Family;
use filter_core::layout::record::{self, Published};
use filter_core::set::Ranges;
use filter_core::table::{Answers, SetDescriptor};

#[cfg(feature = "test-hooks")]
use super::poison;
use super::sets::{self, Made, Stored};
use super::{Arena, Slot, room};
use crate::error::Error;
use crate::tables::{Fault, PeerTables, SET_NAMES};

/// See the file's head.
pub(super) struct Staged {
    pub(super) slot: u32,
    pub(super) shown: Option<u32>,
    /// The slot's word, once it is live.
    published: Option<Published>,
    /// The record as it was written.
    words: [u64; record::WORDS],
    pub(super) made: [Made; record::SETS],
    pub(super) table: Slot,
}

impl Arena {
    /// Stores what is wanted, writes its record and shows it in `shown`; what could be made before an error is given back.
    pub(super) fn make(
        &mut self,
        slot: u32,
        shown: Option<u32>,
        table: &PeerTables<'_>,
    ) -> Result<(), Error> {
        let (sets, made) = self.store_all(slot, table)?;
        let taken = room::lines_of(sets.iter().map(|set| &**set));
        let room = self.check_room(slot, taken);
        let record = match room.and_then(|()| self.sets.allocate(record::LINES)) {
            Ok(record) => record,
            Err(error) => {
                drop(made); // or a set it follows would seem to be in use
                self.release_all(sets);
                return Err(error);
            }
        };
        let mut words = record::new(slot, table.generation, table.rules);
        for (index, set) in sets.iter().enumerate() {
            let (descriptor, place) = set.entry();
            record::set(&mut words, index, descriptor, place);
        }
        record::seal(&mut words);
        let (lines, _) = words.as_chunks();
        self.sets.memory.write(record, lines);
        let place = (record.chunk, record.line);
        self.staged = Some(Staged {
            slot,
            shown,
            published: Published::new(place, slot, table.rules),
            words,
            made,
            table: Slot {
                record,
                lines: taken,
                generation: table.generation,
                sets,
            },
        });
        if let Some(shown) = shown {
            self.show(shown, Published::new(place, shown, table.rules));
        }
        #[cfg(feature = "test-hooks")]
        self.do_damage();
        Ok(())
    }

    /// The four sets, and how each came to be.
    fn store_all(
        &mut self,
        slot: u32,
        table: &PeerTables<'_>,
    ) -> Result<([Arc<Stored>; record::SETS], [Made; record::SETS]), Error> {
        let mut stored = Vec::with_capacity(record::SETS);
        let mut made = [const { Made::Before }; record::SETS];
        for (index, ranges) in table.sets().into_iter().enumerate() {
            let before = self.live.get(&slot).map(|live| &live.sets[index]);
            match self.sets.store(ranges, before) {
                Ok((set, how)) => {
                    stored.push(set);
                    made[index] = how;
                }
                Err(error) => {
                    self.release_all(stored);
                    return Err(error);
                }
            }
        }
        match <[Arc<Stored>; record::SETS]>::try_from(stored) {
            Ok(sets) => Ok((sets, made)),
            Err(_) => Err(sets::too_large("four sets make a table".to_owned())),
        }
    }

    /// The one store that publishes. The word of a peer says too whether packets are to be compared with what departed from its
    /// sets, so that the program looks for that only where there is any.
    pub(super) fn show(&self, slot: u32, published: Option<Published>) {
        let memory = &self.sets.memory;
        let slots = memory.slot_count();
        let word = |slot: u32| Published::from_word(memory.slot(slot).load(Ordering::Acquire));
        let store = |slot: u32, published: Option<Published>| {
            let word = published.map_or(0, Published::word);
            memory.slot(slot).store(word, Ordering::Release);
        };
        if let Some(peer) = slot.checked_sub(slots) {
            store(slot, published);
            if let Some(table) = word(peer) {
                store(peer, Some(table.watched(published.is_some())));
            }
        } else {
            let is_watched = word(slots + slot).is_some();
            store(slot, published.map(|table| table.watched(is_watched)));
        }
    }

    /// Reads the staged table back. The answers come from the ranges that were asked for; which of them are sought
    /// follows `changed`, or of sets that are new, how those differ from the ones they share lines with.
    pub(super) fn check_staged(
        &self,
        table: &PeerTables<'_>,
        changed: &[Ranges; record::SETS],
    ) -> Result<(), Fault> {
        let Some(staged) = &self.staged else {
            return Ok(());
        };
        let lines = self.lines_of(staged.table.record).unwrap_or_default();
        let head = lines
            .first()
            .filter(|_| lines.as_flattened() == staged.words)
            .ok_or_else(|| otherwise("its record".to_owned()))?;
        for (index, ranges) in table.sets().into_iter().enumerate() {
            let family = Family::ALL[index / 2];
            let (descriptor, chunk) = record::head_sets(head, family)[index % 2];
            let set = &staged.table.sets[index];
            let answers = Answers {
                words: &self.sets.memory.chunk(chunk),
                set: SetDescriptor(descriptor),
                family,
                ranges,
            };
            let (asked, before) = match &staged.made[index] {
                Made::Before => (changed[index].clone(), None),
                Made::Following(before) => (set.unlike(before), Some(&**before)),
                Made::Anew => (Ranges::new(vec![(0, u128::MAX)]), None),
            };
            if let Some(address) = answers.wrong(&asked) {
                let is_member = ranges.contains(address.bits());
                return Err(Fault::answer(address, index, is_member));
            }
            if !self.sets.is_as_written(set, before) {
                return Err(otherwise(format!("the table of its {}s", SET_NAMES[index])));
            }
        }
        Ok(())
    }

    /// What is staged becomes the slot's.
    pub(super) fn commit_staged(&mut self) {
        let Some(staged) = self.staged.take() else {
            return;
        };
        self.show(staged.slot, staged.published);
        if let Some(shown) = staged.shown {
            self.show(shown, None);
        }
        drop(staged.made); // or a set it follows would seem to be in use
        let before = self.live.insert(staged.slot, staged.table);
        #[cfg(feature = "test-hooks")]
        if poison::poisons_in_use() {
            self.poison_slot(staged.slot);
        }
        self.let_go(staged.slot, before);
        self.sets.settle();
    }

    /// What is staged goes.
    pub(super) fn discard_staged(&mut self) {
        let Some(staged) = self.staged.take() else {
            return;
        };
        if let Some(shown) = staged.shown {
            self.show(shown, None);
        }
        drop(staged.made);
        self.sets.retire(staged.table.record);
        self.release_all(staged.table.sets);
        self.sets.settle();
    }
}

fn otherwise(what: String) -> Fault {
    Fault {
        what,
        expected: "as it was written",
        found: "otherwise",
    }
}
