//! The quick copy of the peer hash: one cache line of stations for each hash value, which the program reads in place.
//! It saves the kernel's own hash and comparison, a quarter of the whole path. Never the authority: a station it does
//! not hold is asked of the peer hash, so a full line costs time and nothing else.
//!
//! A place is two words:
//!
//! | words | content |
//! |---|---|
//! | 0 | the interface's slot in the high 16 bits, source MAC below; 0 for an empty place |
//! | 1 | bit 63 set, outer VLAN from bit 48, inner VLAN from bit 32, peer slot in the low half; 0 before it is written |
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
    /// sees the other, or none.
    #[must_use]
    #[inline(always)]
    pub fn find(self, read: impl Fn(usize, usize) -> u64) -> Found {
        for place in 0..PLACES {
            if read(place, 0) == self.word {
                let what = read(place, 1);
                if what >> 32 == self.tag() {
                    return Found::Slot(what as u32);
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
        what as u32,
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
        key.find(|place, word| line[place][word])
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
