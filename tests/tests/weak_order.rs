//! The quick copy of the peer hash on a processor that keeps its loads in no order: every execution that the memory
//! model allows (loom), of the words as the loader writes them and the lookup as the program reads them, and of the mark that
//! the program leaves in them.

use filter_core::layout::station::{self, Found, Key, PLACES, SEEN};
use filter_core::packet::{Mac, Vlans};
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

/// One line of the copy, and what stands for RCU: a packet is judged inside the lock, and a grace period is to have
/// held it once, so that every packet has ended before or begins after.
struct Copy {
    line: [[AtomicU64; 2]; PLACES],
    packets: Mutex<()>,
}

impl Copy {
    fn new() -> Self {
        Self {
            line: std::array::from_fn(|_| [AtomicU64::new(0), AtomicU64::new(0)]),
            packets: Mutex::new(()),
        }
    }

    fn write(&self, place: usize) -> impl FnMut(usize, u64) + '_ {
        move |word, value| self.line[place][word].store(value, Ordering::Release)
    }

    /// As the program does: two loads in no order, and a store that touches one byte.
    fn packet(&self, key: Key) -> Found {
        self.packet_that(key, |word| {
            word.fetch_or(u64::from(SEEN), Ordering::Relaxed);
        })
    }

    /// The same, with another way to mark.
    fn packet_that(&self, key: Key, mark: impl Fn(&AtomicU64)) -> Found {
        let _judged = self.packets.lock().expect("no packet panics here");
        key.find(
            |place, word| self.line[place][word].load(Ordering::Relaxed),
            |place| mark(&self.line[place][1]),
        )
    }

    /// What the second word of the first place is.
    fn what(&self) -> u64 {
        self.line[0][1].load(Ordering::Acquire)
    }

    /// As the loader does.
    fn take_mark(&self) -> bool {
        let mark = u64::from(SEEN);
        self.line[0][1].fetch_and(!mark, Ordering::AcqRel) & mark != 0
    }

    /// As the loader does where the station becomes another peer's.
    fn change_peer(&self, key: Key, slot: u32) {
        let differs = self.what() & !u64::from(SEEN) ^ key.place(slot)[1];
        self.line[0][1].fetch_xor(differs, Ordering::AcqRel);
    }

    fn grace_period(&self) {
        drop(self.packets.lock().expect("no packet panics here"));
    }
}

const OLD_PEER: u32 = 100;
const NEW_PEER: u32 = 200;

fn key(mac: u64) -> Key {
    Key::new(1, Vlans::NONE, Mac::from_bits(mac))
}

/// A place goes from one station to another while packets of the other come in.
fn a_place_changes_hands(vacate: fn(&Copy)) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let copy = Arc::new(Copy::new());
        let (old, new) = (key(0x10), key(0x20));
        station::occupy(old.place(OLD_PEER), copy.write(0));
        let packets = Arc::clone(&copy);
        let sender = thread::spawn(move || {
            let found = packets.packet(new);
            assert_ne!(
                found,
                Found::Slot(OLD_PEER),
                "judged by another peer's table"
            );
        });
        vacate(&copy);
        copy.grace_period();
        station::occupy(new.place(NEW_PEER), copy.write(0));
        sender.join().expect("the packet was judged rightly");
    });
}

#[test]
fn no_packet_is_judged_by_the_peer_that_had_the_place_before() {
    a_place_changes_hands(|copy| station::vacate(copy.write(0)));
}

/// As it was once: the second word stayed until the next station's was written.
#[test]
#[should_panic(expected = "judged by another peer's table")]
fn the_model_finds_a_second_word_that_was_left_standing() {
    a_place_changes_hands(|copy| copy.write(0)(0, station::VACATED));
}

/// A frame of the old station comes in while the loader works; then what is left is looked at.
fn beside_a_frame(frame: fn(&Copy) -> Found, work: fn(&Copy) -> bool, check: fn(&Copy, bool)) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let copy = Arc::new(Copy::new());
        station::occupy(key(0x10).place(OLD_PEER), copy.write(0));
        let packets = Arc::clone(&copy);
        let sender = thread::spawn(move || frame(&packets));
        let worked = work(&copy);
        sender.join().expect("the packet was judged");
        check(&copy, worked);
    });
}

#[test]
fn a_late_mark_is_none_of_the_next_station() {
    beside_a_frame(
        |copy| copy.packet(key(0x10)),
        |copy| {
            station::vacate(copy.write(0));
            copy.grace_period();
            station::occupy(key(0x20).place(NEW_PEER), copy.write(0));
            true
        },
        |copy, _| assert_eq!(copy.what(), key(0x20).place(NEW_PEER)[1]),
    );
}

#[test]
fn a_frame_is_counted_by_this_look_or_the_next() {
    beside_a_frame(
        |copy| copy.packet(key(0x10)),
        Copy::take_mark,
        |copy, taken| assert!(taken ^ copy.take_mark(), "once"),
    );
}

#[test]
fn a_mark_does_not_undo_whose_a_station_becomes() {
    beside_a_frame(
        |copy| copy.packet(key(0x10)),
        |copy| {
            copy.change_peer(key(0x10), NEW_PEER);
            true
        },
        |copy, _| {
            assert_eq!(copy.packet(key(0x10)), Found::Slot(NEW_PEER));
            assert!(copy.take_mark(), "no frame is lost either");
        },
    );
}

/// As it must not be: the program stores the word that it read, with the mark.
#[test]
#[should_panic(expected = "the station is its former peer's again")]
fn the_model_finds_a_mark_that_is_a_whole_word() {
    beside_a_frame(
        |copy| {
            copy.packet_that(key(0x10), |word| {
                let what = word.load(Ordering::Relaxed);
                word.store(what | u64::from(SEEN), Ordering::Relaxed);
            })
        },
        |copy| {
            copy.change_peer(key(0x10), NEW_PEER);
            true
        },
        |copy, _| {
            let found = copy.packet(key(0x10));
            assert_eq!(
                found,
                Found::Slot(NEW_PEER),
                "the station is its former peer's again"
            );
        },
    );
}
