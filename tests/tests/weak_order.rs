//! The quick copy of the peer hash on a processor that keeps its loads in no order: every execution that the memory
//! model allows (loom), of the words as the loader writes them and the lookup as the program reads them.

use filter_core::layout::station::{self, Found, Key, PLACES};
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

    /// As the program does: two loads in no order.
    fn packet(&self, key: Key) -> Found {
        let _judged = self.packets.lock().expect("no packet panics here");
        key.find(|place, word| self.line[place][word].load(Ordering::Relaxed))
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
