//! The switch: what is in force, apart from the tables. Two words a slot, ANDed: `wanted`, which only the daemon writes,
//! and `allowed`, the operator's, with one `allowed` for the whole filter above all.
//!
//! [`Switch`] is the operator's hand on it: it opens the pinned words without a daemon, a lock or a table, and off is
//! one store. Never knows why something is wanted.
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use aya::maps::{Array, Map, MapData};
use filter_core::Classes;
use filter_core::layout::{MAX_INTERFACES, ON_TRIAL, WHOLE_FILTER, Wanted, map};
use memmap2::MmapRaw;

use crate::error::{Error, chain};
use crate::filter::{Filter, META_MAGIC, name_hash};
use crate::former::{self, Off};
use crate::mapped;
use crate::slot::PeerSlot;

/// The target of two switch words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A peer's: `bogons`, `sources`, `destinations`, `families`, `malformed`.
    Peer(PeerSlot),
    /// An interface's: `lan`, `unknown`, and `malformed` for frames of no peer.
    Interface(&'a str),
    /// The one above all others.
    WholeFilter,
}

impl From<PeerSlot> for Target<'_> {
    fn from(slot: PeerSlot) -> Self {
        Self::Peer(slot)
    }
}

/// One of the two maps in our memory.
#[derive(Debug)]
struct Words {
    memory: MmapRaw,
    slots: u32,
}

impl Words {
    fn map(data: &MapData, name: &'static str) -> Result<Self, Error> {
        let slots = data.info().map_err(Error::map(name))?.max_entries();
        // An element of an array map takes up a multiple of eight bytes.
        Ok(Self {
            memory: mapped::raw(data, slots as usize * size_of::<u64>(), name)?,
            slots,
        })
    }

    fn get(&self, slot: u32) -> u32 {
        self.word(slot).load(Ordering::Acquire)
    }

    fn set(&self, slot: u32, word: u32) {
        self.word(slot).store(word, Ordering::Release);
    }

    fn word(&self, slot: u32) -> &AtomicU32 {
        debug_assert!(slot < self.slots);
        let index = (slot % self.slots) as usize;
        // SAFETY: the map has this many slots, the mapping covers all of them, is aligned to a page and lives as long as
        // self; the program only reads, whole words.
        unsafe { AtomicU32::from_ptr(self.memory.as_mut_ptr().cast::<u32>().add(2 * index)) }
    }
}

/// Both maps, as the filter holds them.
#[derive(Debug)]
pub(crate) struct Both {
    wanted: Words,
    allowed: Words,
}

impl Both {
    pub(crate) fn map(wanted: &MapData, allowed: &MapData) -> Result<Self, Error> {
        Ok(Self {
            wanted: Words::map(wanted, map::WANTED)?,
            allowed: Words::map(allowed, map::ALLOWED)?,
        })
    }

    /// A slot's new holder: nothing is wanted yet, everything allowed.
    pub(crate) fn reset(&self, slot: u32) {
        self.want(slot, Wanted::NONE);
        self.allow(slot, Classes::ALL);
    }

    /// Maps that are new: nothing forbids anything.
    pub(crate) fn allow_all(&self) {
        (0..self.allowed.slots).for_each(|slot| self.allow(slot, Classes::ALL));
    }

    pub(crate) fn want(&self, slot: u32, wanted: Wanted) {
        self.wanted.set(slot, wanted.word());
    }

    pub(crate) fn wanted(&self, slot: u32) -> Wanted {
        Wanted::from_word(self.wanted.get(slot))
    }

    pub(crate) fn allow(&self, slot: u32, classes: Classes) {
        self.allowed.set(slot, classes.bits());
    }

    fn allow_on_trial(&self, slot: u32, classes: Classes) {
        self.allowed.set(slot, classes.bits() | ON_TRIAL);
    }

    fn allowed(&self, slot: u32) -> Classes {
        Classes::from_bits(self.allowed.get(slot))
    }

    fn is_on_trial(&self, slot: u32) -> bool {
        self.allowed.get(slot) & ON_TRIAL != 0
    }

    /// What the program would find in force; `is_leased`: the lease runs.
    pub(crate) fn in_force(&self, slot: u32, is_leased: bool) -> Classes {
        let all = self.allowed(WHOLE_FILTER);
        self.wanted(slot)
            .in_force(self.allowed(slot), all, || is_leased)
    }
}

impl Filter {
    /// What the daemon wants to be in force. Takes effect with this one store, so what it relies on is live before.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`].
    pub fn set_wanted<'a>(&self, of: impl Into<Target<'a>>, wanted: Wanted) -> Result<(), Error> {
        self.switch.want(self.slot_of(of.into())?, wanted);
        Ok(())
    }

    /// What the daemon wants to be in force.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`].
    pub fn wanted<'a>(&self, of: impl Into<Target<'a>>) -> Result<Wanted, Error> {
        Ok(self.switch.wanted(self.slot_of(of.into())?))
    }

    /// What the operator allows to be in force: to turn on, after the tables it relies on are live. Off is
    /// [`Switch`]'s too.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`].
    pub fn permit<'a>(&self, of: impl Into<Target<'a>>, classes: Classes) -> Result<(), Error> {
        self.switch.allow(self.slot_of(of.into())?, classes);
        Ok(())
    }

    /// As [`Filter::permit`], for a time only: marked in the same word, so that whoever switches the peer anew, with or
    /// without a daemon, ends the trial by it.
    pub fn permit_on_trial(&self, peer: PeerSlot, classes: Classes) {
        self.switch.allow_on_trial(peer.0, classes);
    }

    /// Was what is allowed for the peer allowed by [`Filter::permit_on_trial`], and not switched anew since?
    #[must_use]
    pub fn is_on_trial(&self, peer: PeerSlot) -> bool {
        self.switch.is_on_trial(peer.0)
    }

    /// What the operator allows to be in force, by the target's own word alone.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`].
    pub fn allowed<'a>(&self, of: impl Into<Target<'a>>) -> Result<Classes, Error> {
        Ok(self.switch.allowed(self.slot_of(of.into())?))
    }

    /// What is in force now, read back: both words, the whole filter's, and the lease on the program's own clock. For
    /// the whole filter, what it allows. Whether the program is on the device is another question.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`]; if the clock cannot be read.
    pub fn in_force<'a>(&self, of: impl Into<Target<'a>>) -> Result<Classes, Error> {
        let slot = self.slot_of(of.into())?;
        if slot == WHOLE_FILTER {
            return Ok(self.switch.allowed(slot));
        }
        let is_leased = self.lease().remaining()? != Some(std::time::Duration::ZERO);
        Ok(self.switch.in_force(slot, is_leased))
    }

    /// The holder of a target's slot.
    pub(crate) fn holder_of(&self, target: Target<'_>) -> Result<Holder, Error> {
        let slot = self.slot_of(target)?;
        let named = self.name_in(slot).filter(|_| slot != WHOLE_FILTER);
        Ok(named.map_or(Holder::WholeFilter, Holder::Named))
    }

    fn slot_of(&self, target: Target<'_>) -> Result<u32, Error> {
        match target {
            Target::Peer(slot) => Ok(slot.0),
            Target::WholeFilter => Ok(WHOLE_FILTER),
            Target::Interface(name) => self
                .interface_slot(name)
                .ok_or_else(|| Error::UnknownInterface(name.to_owned())),
        }
    }
}

/// What a word of the operator's is about, whatever slot it has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    WholeFilter,
    /// The hash of the name of a peer or an interface.
    Named(u64),
}

/// The operator's words of a pinned filter, without a daemon. Any number may be open at once, beside the daemon's.
#[derive(Debug)]
pub struct Switch {
    path: PathBuf,
    allowed: Words,
    /// Slot → hash of its holder's name.
    names: Vec<(u32, u64)>,
    /// Of a filter that another version left, until this one's is in its place.
    former: Option<Box<Off>>,
}

impl Switch {
    /// Opens the words pinned in this directory, and those of a version before whose program still filters.
    ///
    /// # Errors
    /// [`Error::NothingPinned`], [`Error::Privileges`], [`Error::ForeignState`] before the switch was made, map errors.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let beside = former::beside(dir);
        let former = match beside.exists() {
            true => Some(Box::new(Off::open(&beside)?)),
            false => None,
        };
        match (Self::open_one(dir), former) {
            (Ok(own), former) => Ok(Self { former, ..own }),
            // A daemon that is killed between putting it aside and making its own leaves no other.
            (Err(Error::NothingPinned { .. }), Some(_)) => Self::open_one(&beside),
            (Err(error), _) => Err(error),
        }
    }

    /// Without another version's.
    pub(crate) fn open_one(dir: &Path) -> Result<Self, Error> {
        let pinned = |name: &'static str| {
            let path = dir.join(name);
            match path.try_exists() {
                Ok(true) => MapData::from_pin(&path).map_err(Error::map(name)),
                Ok(false) => Err(Error::NothingPinned {
                    path: dir.to_owned(),
                }),
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    Err(Error::Privileges)
                }
                Err(error) => Err(Error::Pin {
                    path,
                    why: chain(&error),
                }),
            }
        };
        let meta: Array<_, [u64; 2]> = Map::from_map_data(pinned(map::META)?)
            .map_err(Error::map(map::META))?
            .try_into()
            .map_err(Error::map(map::META))?;
        let [magic, _] = meta.get(&0, 0).map_err(Error::map(map::META))?;
        // Another schema's words mean other classes, but none of them is none everywhere.
        if magic >> 32 != META_MAGIC >> 32 {
            return Err(Error::ForeignState {
                path: dir.to_owned(),
                why: "it is no filter's".to_owned(),
            });
        }
        let mut names = Vec::new();
        for slot in 1..meta.len() {
            let [name, _] = meta.get(&slot, 0).map_err(Error::map(map::META))?;
            if name != 0 {
                names.push((slot, name));
            }
        }
        Ok(Self {
            path: dir.to_owned(),
            allowed: Words::map(&pinned(map::ALLOWED)?, map::ALLOWED)?,
            names,
            former: None,
        })
    }

    /// From now on nothing of the peer, or interface, of this name is dropped: one store.
    ///
    /// # Errors
    /// [`Error::UnknownName`].
    pub fn observe(&self, name: &str) -> Result<Named, Error> {
        self.permit(name, Classes::NONE)
    }

    /// From now on nothing is dropped at all: one store.
    pub fn observe_all(&self) {
        self.permit_all(Classes::NONE);
    }

    /// What the operator allows to be in force for the peer, or interface, of this name.
    ///
    /// # Errors
    /// [`Error::UnknownName`].
    pub fn permit(&self, name: &str, classes: Classes) -> Result<Named, Error> {
        let holder = Holder::Named(name_hash(name));
        let own = self.permit_held(holder, classes);
        let former = match &self.former {
            // What has no words of its own knows no name: all of it is switched off only for one that is known here.
            Some(former) if own.is_some() || former.has_words() => former.permit(holder, classes),
            _ => None,
        };
        own.or(former).ok_or_else(|| self.unknown(name))
    }

    /// As [`Switch::permit`], in these words alone. What the holder is; none if it is not known here.
    pub(crate) fn permit_held(&self, of: Holder, classes: Classes) -> Option<Named> {
        let Holder::Named(hash) = of else {
            self.allowed.set(WHOLE_FILTER, classes.bits());
            return None;
        };
        let (slots, named) = self.slots(hash)?;
        let each = slots.into_iter();
        each.for_each(|slot| self.allowed.set(slot, classes.bits()));
        Some(named)
    }

    /// What is allowed for a holder, by its own word alone; none if it is not known here.
    pub(crate) fn allowed_held(&self, of: Holder) -> Option<Classes> {
        let Holder::Named(hash) = of else {
            return Some(self.allowed_all());
        };
        let (slots, _) = self.slots(hash)?;
        let words = slots.into_iter().map(|slot| self.allowed.get(slot));
        Some(Classes::from_bits(
            words.fold(u32::MAX, |all, word| all & word),
        ))
    }

    /// What the operator allows to be in force anywhere.
    pub fn permit_all(&self, classes: Classes) {
        self.permit_held(Holder::WholeFilter, classes);
        if let Some(former) = &self.former {
            former.permit(Holder::WholeFilter, classes);
        }
    }

    /// What is allowed for the peer, or interface, of this name, by its own word alone.
    ///
    /// # Errors
    /// [`Error::UnknownName`].
    pub fn allowed(&self, name: &str) -> Result<Classes, Error> {
        let allowed = self.allowed_held(Holder::Named(name_hash(name)));
        allowed.ok_or_else(|| self.unknown(name))
    }

    /// What is allowed for the whole filter.
    #[must_use]
    pub fn allowed_all(&self) -> Classes {
        Classes::from_bits(self.allowed.get(WHOLE_FILTER))
    }

    /// The slots that a name has, by its hash, and what it is the name of.
    fn slots(&self, hash: u64) -> Option<(Vec<u32>, Named)> {
        let held = self.names.iter().filter(|&&(_, held)| held == hash);
        let slots: Vec<u32> = held.map(|&(slot, _)| slot).collect();
        let is_peer = slots.iter().any(|&slot| slot >= MAX_INTERFACES);
        let is_interface = slots.iter().any(|&slot| slot < MAX_INTERFACES);
        let named = match (is_peer, is_interface) {
            (true, true) => Named::Both,
            (true, false) => Named::Peer,
            (false, true) => Named::Interface,
            (false, false) => return None,
        };
        Some((slots, named))
    }

    fn unknown(&self, name: &str) -> Error {
        Error::UnknownName {
            name: name.to_owned(),
            path: self.path.clone(),
        }
    }
}

/// What a name turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A peer.
    Peer,
    /// An interface.
    Interface,
    /// A peer and an interface of one name.
    Both,
}
