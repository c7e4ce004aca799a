//! The quick copy of the peer hash: one cache line of stations for each hash value, which the program reads in place.
//! It saves the kernel's own hash and comparison, a quarter of the whole path. Never the authority: a station it does
//! not hold is asked of the peer hash, so a full line costs time and nothing else.
//!
//! A place is two words:
//!
//! | words | content |
//! |---|---|
//! | 0 | the interface's slot in the high 16 bits, source MAC below; 0 for an empty place |
//! | 1 | bit 63 set, outer VLAN from bit 48, inner VLAN from bit 32, bit 31 once a frame was seen, peer slot below bit 24; 0 before it is written |
//!
//! The low half of word 1 is what the peer hash has as its value, bit 31 included.
//!
//! The program sets bit 31 by storing the one byte that holds nothing else ([`SEEN_BYTE`]), and only where it is clear, so that a
//! flood writes it once; user space clears it. No store of the one undoes what the other wrote beside it. What is left of
//! races does no harm:
//!
//! - A program that found its station just before the place was vacated may store the byte after that. The place has no bit 63
//!   then, so it is nobody's; and once the grace period is over no such store is left, so the next station starts unseen.
//! - A frame between user space's look and its clearing stores nothing, as the bit is still set: it counts for that look, which
//!   is no earlier. One after the clearing sets the bit again.
//! - Kernels from 6.1 on may give an element of the peer hash to another station before a program that found it has ended. Its
//!   byte is a *seen* too many of a station that has just come, never a wrong slot.
//!
//! Places of a line fill from the first to the last, and none that was used becomes empty while the peer hash has a
//! station for the line that no place holds. So where the last place is empty, a station that the line does not hold has no peer.
use super::PeerKey;
use crate::packet::{Mac, Vlans};

/// Lines of 64 bytes, by the top bits of the hash. Room for four times as many stations in all.
pub const LINES: usize = 1 << LINE_BITS;
const LINE_BITS: u32 = 10;
/// Stations in a line.
pub const PLACES: usize = 4;
/// See the file's head.
pub type Place = [u64; 2];
/// One hash value's stations.
pub type Line = [Place; PLACES];
/// The map's only value.
pub type Table = [Line; LINES];

/// Word 0 of a place that was given up but that packets in flight may still read: a MAC on the interface of slot 0, which
/// there is none, so it is never asked for.
pub const VACATED: u64 = 1 << 47;

/// Bit 31 of word 1, and of a value of the peer hash: a frame came from the station since user space cleared it.
pub const SEEN: u32 = 1 << 31;
/// Where the byte of that bit lies in a word or value, and what it is then. The program and the machine are little-endian.
pub const SEEN_BYTE: usize = 3;
/// See [`SEEN_BYTE`].
pub const SEEN_MARK: u8 = (SEEN >> (8 * SEEN_BYTE)) as u8;
/// Bits that a peer's slot has room for.
const SLOT_BITS: u32 = 8 * SEEN_BYTE as u32;
/// Slots end before this number.
pub const MAX_SLOTS: u32 = 1 << SLOT_BITS;

/// The peer's slot in the low half of word 1, or in a value of the peer hash.
#[must_use]
#[inline(always)]
pub const fn slot_of(half: u32) -> u32 {
    half & (MAX_SLOTS - 1)
}

/// Bit 63 of word 1: an unwritten one is no station's, not even without VLANs.
const WRITTEN: u64 = 1 << 63;
/// Of the golden ratio: MACs that differ in a few low bits, as those of one vendor do, come far apart.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// A station as a place names it: word 0, and the VLANs (outer one in the high half).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Interface slot and MAC.
    pub word: u64,
    /// Both VLANs.
    pub vlans: u32,
}

impl Key {
    /// Of frames of this interface, these VLANs and this source MAC.
    #[must_use]
    #[inline(always)]
    pub const fn new(interface: u32, vlans: Vlans, mac: Mac) -> Self {
        Self {
            word: mac.bits() | (interface as u64) << 48,
            vlans: (vlans.outer as u32) << 16 | vlans.inner as u32,
        }
    }

    /// Of the peer hash's key.
    #[must_use]
    pub const fn of(key: &PeerKey) -> Self {
        let super::SlotStation { slot, vlans, mac } = super::SlotStation::from_key(key);
        Self::new(slot, vlans, mac)
    }

    /// The line of this station. Not of its interface, which takes the program a load to know.
    #[must_use]
    #[inline(always)]
    pub const fn line(self) -> usize {
        let told_apart = self.word << 16 ^ (self.vlans as u64) << 32;
        (told_apart.wrapping_mul(MULTIPLIER) >> (u64::BITS - LINE_BITS)) as usize
    }

    /// Its place.
    #[must_use]
    pub const fn place(self, slot: u32) -> Place {
        [self.word, self.tag() << 32 | slot as u64]
    }

    #[inline(always)]
    const fn tag(self) -> u64 {
        self.vlans as u64 | WRITTEN >> 32
    }

    /// Looks it up. Word 0 of a place is read before word 1, the reverse of how they are written: who sees the one
    /// sees the other, or none. A place whose station was not seen yet is handed to `mark`.
    #[must_use]
    #[inline(always)]
    pub fn find(self, read: impl Fn(usize, usize) -> u64, mark: impl Fn(usize)) -> Found {
        for place in 0..PLACES {
            if read(place, 0) == self.word {
                let what = read(place, 1);
                if what >> 32 == self.tag() {
                    if what as u32 & SEEN == 0 {
                        mark(place);
                    }
                    return Found::Slot(slot_of(what as u32));
                }
            }
        }
        if read(PLACES - 1, 0) == 0 {
            Found::NoPeer
        } else {
            Found::Elsewhere
        }
    }
}

/// Gives a place up, before the grace period after which another station may have it. The second word goes now and not
/// then: the program's two reads have no order on a weakly ordered processor, and a packet that starts after the grace
/// period and finds the next station's first word may read what the second one held at its beginning. `write` stores
/// word and value, each visible before the next.
pub fn vacate(mut write: impl FnMut(usize, u64)) {
    write(0, VACATED);
    write(1, 0);
}

/// Gives a free place to a station.
pub fn occupy(place: Place, mut write: impl FnMut(usize, u64)) {
    let [word, what] = place;
    write(1, what);
    write(0, word);
}

/// The station that holds a place, as its key, and the peer's slot; `None` of an empty or vacated place.
#[must_use]
pub const fn owner(place: &Place) -> Option<(PeerKey, u32)> {
    let [word, what] = *place;
    if word == 0 || word == VACATED || what & WRITTEN == 0 {
        return None;
    }
    let vlans = (what & !WRITTEN) >> 32;
    Some((
        [word as u32, (word >> 32) as u32, vlans as u32],
        slot_of(what as u32),
    ))
}

/// What a line says of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The peer in this slot.
    Slot(u32),
    /// It has no peer.
    NoPeer,
    /// The line is full: the peer hash knows.
    Elsewhere,
}

#[cfg(test)]
mod tests {
    use super::*;

    const VLANS: Vlans = Vlans { outer: 7, inner: 9 };

    fn key(interface: u32, vlans: Vlans, mac: u64) -> Key {
        Key::new(interface, vlans, Mac::from_bits(mac))
    }

    fn find(key: Key, line: &Line) -> Found {
        key.find(|place, word| line[place][word], |_| {})
    }

    #[test]
    fn a_station_is_marked_once_and_stays_its_peers() {
        let mine = key(5, VLANS, 0x02_00_00_00_00_10);
        for slot in [0, 70, MAX_SLOTS - 1] {
            let mut line = Line::default();
            line[2] = mine.place(slot);
            let marked = core::cell::Cell::new(None);
            let find =
                |line: &Line| mine.find(|place, word| line[place][word], |it| marked.set(Some(it)));
            assert_eq!(find(&line), Found::Slot(slot));
            assert_eq!(marked.take(), Some(2));
            // As the program does: one byte.
            let mut bytes = line[2][1].to_le_bytes();
            assert_eq!(bytes[SEEN_BYTE], 0, "the byte has nothing else");
            bytes[SEEN_BYTE] = SEEN_MARK;
            line[2][1] = u64::from_le_bytes(bytes);
            assert_eq!(line[2][1], mine.place(slot)[1] | u64::from(SEEN));
            assert_eq!(find(&line), Found::Slot(slot));
            assert_eq!(marked.take(), None, "seen already");
            let owned = owner(&line[2]).map(|(_, slot)| slot);
            assert_eq!(owned, Some(slot));
        }
    }

    /// A program that is late marks a place that was given up.
    #[test]
    fn a_mark_in_a_vacated_place_makes_it_nobodys() {
        let mine = key(5, Vlans::default(), 0x02_00_00_00_00_10);
        let marked = u64::from(SEEN);
        for place in [[VACATED, marked], [0, marked], [mine.word, marked]] {
            assert_eq!(owner(&place), None, "{place:x?}");
            let line = [place, [0; 2], [0; 2], [0; 2]];
            assert_eq!(find(mine, &line), Found::NoPeer, "{place:x?}");
        }
    }

    #[test]
    fn a_place_names_its_station_and_no_other() {
        let mine = key(5, VLANS, 0x02_00_00_00_00_10);
        for place in 0..PLACES {
            let mut line = Line::default();
            line[place] = mine.place(70);
            assert_eq!(find(mine, &line), Found::Slot(70));
            for other in [
                key(6, VLANS, 0x02_00_00_00_00_10),
                key(5, VLANS, 0x02_00_00_00_00_11),
                key(5, Vlans { outer: 7, inner: 0 }, 0x02_00_00_00_00_10),
                key(5, Vlans { outer: 9, inner: 7 }, 0x02_00_00_00_00_10),
                key(5, Vlans::default(), 0x02_00_00_00_00_10),
            ] {
                assert!(!matches!(find(other, &line), Found::Slot(_)), "{other:?}");
            }
        }
        let station = super::super::SlotStation {
            slot: 5,
            vlans: VLANS,
            mac: Mac::from_bits(0x02_00_00_00_00_10),
        };
        let from_hash = station.key();
        assert_eq!(super::super::SlotStation::from_key(&from_hash), station);
        assert_eq!(Key::of(&from_hash), mine);
        assert_eq!(owner(&mine.place(70)), Some((from_hash, 70)));
    }

    #[test]
    fn a_place_half_written_or_vacated_has_no_peer() {
        let mine = key(5, Vlans::default(), 0x02_00_00_00_00_10);
        let [word, what] = mine.place(70);
        for place in [[0, what], [word, 0], [VACATED, what], [0, 0]] {
            assert_eq!(owner(&place), None, "{place:x?}");
            let line = [place, [0; 2], [0; 2], [0; 2]];
            assert_eq!(find(mine, &line), Found::NoPeer, "{place:x?}");
        }
    }

    #[test]
    fn a_line_that_was_ever_full_sends_to_the_hash() {
        let mine = key(5, Vlans::default(), 0x02_00_00_00_00_10);
        let other = key(5, Vlans::default(), 0x02_00_00_00_00_11).place(71);
        assert_eq!(find(mine, &[other; PLACES]), Found::Elsewhere);
        let vacated = [other, other, other, [VACATED, other[1]]];
        assert_eq!(find(mine, &vacated), Found::Elsewhere);
        assert_eq!(find(mine, &[other, other, other, [0; 2]]), Found::NoPeer);
    }

    #[test]
    fn macs_of_one_vendor_spread_over_the_lines() {
        let mut taken = [0; LINES];
        for mac in 0..LINES as u64 {
            taken[key(5, Vlans::default(), 0x00_1b_21_00_00_00 + 3 * mac).line()] += 1;
        }
        assert!(taken.iter().all(|&stations| stations <= PLACES));
    }
}
