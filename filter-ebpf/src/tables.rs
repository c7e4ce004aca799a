//! The product's engine: compiled tables in an arena that user space writes and this program only reads. The walk
//! itself is `filter_core::table`'s; here is where its words lie. No helper is called per step.
use aya_ebpf::{bindings::BPF_F_MMAPABLE, macros::map, maps::Array};
use filter_core::layout::record::{self, Published};
use filter_core::layout::{Evidence, List, MAX_INTERFACES, Rules, Suspects};
use filter_core::table::{self, CHUNK_WORDS, LINE_WORDS, Line, Lookup, SetDescriptor, Words};
use filter_core::verdict::{Listed, Membership};
use filter_core::{Address, Classes, Family};

use crate::context::opaque;
use crate::entry::Engine;
use crate::maps;

/// Chunks of lines. How many is set by the loader.
#[map(name = "tables")]
static TABLES: Array<[u64; CHUNK_WORDS]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Slot → [`Published`], 0 for none. Set by the loader.
#[map(name = "slots")]
static SLOTS: Array<u64> = Array::with_max_entries(MAX_INTERFACES + 1024, BPF_F_MMAPABLE);

#[map(name = "suspects")]
static SUSPECTS: Array<Suspects> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Slot → [`Published`] of what left a peer's sets although nothing withdrew it. Set by the loader.
#[map(name = "departed")]
static DEPARTED: Array<u64> = Array::with_max_entries(MAX_INTERFACES + 1024, BPF_F_MMAPABLE);

/// Set by the loader.
#[map(name = "evidence")]
static EVIDENCE: Array<Evidence> = Array::with_max_entries(MAX_INTERFACES + 1024, BPF_F_MMAPABLE);

/// The slot of the lists every peer shares: bogons as its sources, our prefixes as its destinations.
const LISTS: u32 = 0;

/// The compiled tables.
pub struct Compiled;

/// One chunk of the arena.
#[derive(Clone, Copy)]
struct Chunk(*const u64);

impl Chunk {
    #[inline(always)]
    fn open(number: u32) -> Option<Self> {
        Some(Self(opaque(TABLES.get_ptr(number)?.cast())))
    }

    /// The line's address: always within the chunk, which holds as many lines as 16 bits can number.
    #[inline(always)]
    fn at(self, line: u16) -> *const u64 {
        self.0.wrapping_add(usize::from(line) * LINE_WORDS)
    }

    /// The record at this line.
    #[inline(always)]
    fn record(self, line: u16) -> &'static record::Head {
        // SAFETY: a whole line within the chunk; the writer uses it for nothing else until a grace period after the
        // slot has stopped naming it.
        unsafe { &*self.at(line).cast() }
    }
}

impl Words for Chunk {
    #[inline(always)]
    fn word(&self, index: u32) -> u64 {
        // SAFETY: the mask keeps the index within the chunk, which the verifier checks; user space writes whole
        // aligned words.
        unsafe { *self.0.add(index as usize & (CHUNK_WORDS - 1)) }
    }

    #[inline(always)]
    fn line(&self, number: u16) -> Line {
        // SAFETY: a whole line within the chunk, see `at`.
        unsafe { *self.at(number).cast::<Line>() }
    }

    #[inline(always)]
    fn half(&self, index: u32) -> u32 {
        // SAFETY: as in `word`, in halves.
        unsafe {
            *self
                .0
                .cast::<u32>()
                .add(index as usize & (2 * CHUNK_WORDS - 1))
        }
    }
}

impl Engine for Compiled {
    type Peer = Published;

    #[inline(always)]
    fn open(slot: u32) -> Option<Published> {
        published(&SLOTS, slot)
    }

    #[inline(always)]
    fn slot(peer: Published) -> u32 {
        peer.slot()
    }

    #[inline(always)]
    fn rules(peer: Published) -> Rules {
        peer.rules()
    }

    #[inline(always)]
    fn membership(peer: Published, source: Address, destination: Address) -> Membership {
        let place = u64::from(peer.place()) | (source.family as u64) << FAMILY_BIT;
        let found = bcp38_membership(place, source.hi, source.lo, destination.hi, destination.lo);
        Membership {
            source: found & SOURCE_FOUND != 0,
            destination: found & DESTINATION_FOUND != 0,
        }
    }

    #[inline(always)]
    fn is_source(peer: Published, address: Address) -> bool {
        holds(peer, Side::Source, address)
    }

    #[inline(always)]
    fn listed(address: Address) -> Listed {
        let [bogon, ours] = suspected(address);
        let mut listed = Listed {
            bogon: false,
            ours: false,
        };
        if !(bogon | ours) {
            return listed;
        }
        let Some(lists) = Self::open(LISTS) else {
            return listed;
        };
        if bogon & ours {
            let found = Self::membership(lists, address, address);
            listed.bogon = found.source;
            listed.ours = found.destination;
        } else if bogon {
            listed.bogon = holds(lists, Side::Source, address);
        } else {
            listed.ours = holds(lists, Side::Destination, address);
        }
        listed
    }

    #[inline(always)]
    fn is_watched(peer: Published) -> bool {
        peer.is_watched()
    }

    #[inline(always)]
    fn note_dropped(peer: Published, source: Address, destination: Address, broken: Classes) {
        let (slot, family) = (peer.slot(), source.family);
        let from = u64::from(broken.meets(Classes::sources(family)));
        let to = u64::from(broken.meets(Classes::destinations(family)));
        let asked =
            u64::from(slot) | (family as u64) << FAMILY_BIT | from << FROM_BIT | to << TO_BIT;
        bcp38_evidence(asked, source.hi, source.lo, destination.hi, destination.lo);
    }
}

/// What a slot's word leads to.
#[inline(always)]
fn published(words: &Array<u64>, slot: u32) -> Option<Published> {
    let word = words.get_ptr(slot)?;
    // SAFETY: the verifier proved the pointer valid. Read once: everything about this peer that the packet sees follows
    // from this word.
    Published::from_word(unsafe { core::ptr::read_volatile(word) })
}

const FAMILY_BIT: u32 = 32;
const SIDE_BIT: u32 = 33;
const FROM_BIT: u32 = 33;
const TO_BIT: u32 = 34;
const SOURCE_FOUND: u64 = 1;
const DESTINATION_FOUND: u64 = 2;

const NO_MEMBER: Membership = Membership {
    source: false,
    destination: false,
};

/// May the address be a bogon, and may it be ours?
#[inline(always)]
fn suspected(address: Address) -> [bool; 2] {
    let Some(suspects) = SUSPECTS.get_ptr(0) else {
        return [false; 2];
    };
    [List::Bogons, List::Ours].map(|list| {
        let (word, bit) = Suspects::of(list, address);
        let words = suspects.cast::<u64>();
        // SAFETY: a word within the value, which the mask shows the verifier; user space writes whole aligned words.
        let word = unsafe { core::ptr::read_volatile(words.add(word & (Suspects::WORDS - 1))) };
        word >> bit & 1 != 0
    })
}

/// One of a record's two sets for a family.
#[derive(Clone, Copy)]
enum Side {
    Source = 0,
    Destination = 1,
}

/// Is the address in one set?
#[inline(always)]
fn holds(peer: Published, side: Side, address: Address) -> bool {
    let place =
        u64::from(peer.place()) | (address.family as u64) << FAMILY_BIT | (side as u64) << SIDE_BIT;
    bcp38_holds(place, address.hi, address.lo) != 0
}

/// As [`bcp38_membership`], for one address and one set: which one is said above the family.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_holds(asked: u64, hi: u64, lo: u64) -> u64 {
    let (place, family) = (asked as u32, family_of(asked));
    let Some(chunk) = Chunk::open(place >> 16) else {
        return 0;
    };
    let [from, to] = record::head_sets(chunk.record(place as u16), family);
    let (set, number) = if asked >> SIDE_BIT & 1 == 0 { from } else { to };
    let Some(words) = Chunk::open(u32::from(number)) else {
        return 0;
    };
    let found = table::contains(Lookup {
        words: &words,
        set: SetDescriptor(set),
        address: Address { family, hi, lo },
    });
    u64::from(found)
}

/// Both lookups of a packet, as a global function (kernel 5.6): the verifier follows it once, for any arguments,
/// instead of once for each way that leads to it. Numbers only, as it demands: the place of the peer's record
/// with the family above it, then both addresses.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_membership(
    place: u64,
    source_hi: u64,
    source_lo: u64,
    destination_hi: u64,
    destination_lo: u64,
) -> u64 {
    let family = family_of(place);
    let address = |hi, lo| Address { family, hi, lo };
    let found = lookup(
        place as u32,
        address(source_hi, source_lo),
        address(destination_hi, destination_lo),
    );
    let source = u64::from(found.source) * SOURCE_FOUND;
    let destination = u64::from(found.destination) * DESTINATION_FOUND;
    source | destination
}

#[inline(always)]
fn family_of(asked: u64) -> Family {
    if asked >> FAMILY_BIT & 1 == 0 {
        Family::Ipv4
    } else {
        Family::Ipv6
    }
}

/// A dropped packet is not covered by a peer's sets: if a class it breaks by that is in force, and its address lately left them
/// although nothing withdrew it, that is evidence. As a global function (kernel 5.6), which the
/// verifier follows once: the slot, with the family and what the packet breaks above it, then both addresses.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bcp38_evidence(
    asked: u64,
    source_hi: u64,
    source_lo: u64,
    destination_hi: u64,
    destination_lo: u64,
) -> u64 {
    let (slot, family) = (asked as u32, family_of(asked));
    let Some(departed) = published(&DEPARTED, slot) else {
        return 0;
    };
    let in_force = maps::in_force(slot);
    let place = departed.place();
    let found = bcp38_membership(
        u64::from(place) | (family as u64) << FAMILY_BIT,
        source_hi,
        source_lo,
        destination_hi,
        destination_lo,
    );
    let from = asked >> FROM_BIT & 1 != 0 && found & SOURCE_FOUND != 0;
    let to = asked >> TO_BIT & 1 != 0 && found & DESTINATION_FOUND != 0;
    let Some(evidence) = EVIDENCE.get_ptr_mut(slot) else {
        return 0;
    };
    if from && in_force.meets(Classes::sources(family)) {
        remember(evidence, Evidence::word(family, false), place);
    }
    if to && in_force.meets(Classes::destinations(family)) {
        remember(evidence, Evidence::word(family, true), place);
    }
    found
}

/// Written once: a flood of evidence costs no CPU the cache line.
#[inline(always)]
fn remember(evidence: *mut Evidence, word: usize, place: u32) {
    let word = evidence
        .cast::<u32>()
        .wrapping_add(word & (Evidence::WORDS - 1));
    // SAFETY: the verifier proved the pointer valid, and the mask keeps the word within the value; words are read and written
    // whole.
    unsafe {
        if core::ptr::read_volatile(word) != place {
            core::ptr::write_volatile(word, place);
        }
    }
}

/// Both lookups in the sets of the record at this place.
#[inline(always)]
fn lookup(place: u32, source: Address, destination: Address) -> Membership {
    let number = (place >> 16) as u16;
    let Some(chunk) = Chunk::open(u32::from(number)) else {
        return NO_MEMBER;
    };
    let [from, to] = record::head_sets(chunk.record(place as u16), source.family);
    // Small sets lie beside their record: another look at the map is rare.
    let open = |other| match other == number {
        true => Some(chunk),
        false => Chunk::open(u32::from(other)),
    };
    let (Some(from_words), Some(to_words)) = (open(from.1), open(to.1)) else {
        return NO_MEMBER;
    };
    table::contains_both(
        Lookup {
            words: &from_words,
            set: SetDescriptor(from.0),
            address: source,
        },
        Lookup {
            words: &to_words,
            set: SetDescriptor(to.0),
            address: destination,
        },
    )
}
