//! Any bytes about one session, within the framing of their messages: each byte of each message about the odd peer
//! flipped, and arbitrary messages about it anywhere in the stream. The tables of the healthy peer are whole, and the
//! connection stays.
use std::collections::BTreeSet;
use std::ops::Range;

use filter_core::{Family, Prefix};
use filter_feeds::bmp::router::Memory;
use filter_lifecycle::route::AdjRib::{InPrePolicy, OutPostPolicy};
use proptest::prelude::*;
use tests::captures::{control, fold, messages, prefixes, session};

const HEALTHY: &str = "192.0.2.11";
/// Of a message: its type of peer and flags, the neighbour's address, and what comes after the per-peer header's start
/// (RFC 7854 section 4.2). The distinguisher before the address is left alone with it: they say whose the message is.
const KIND_AND_FLAGS: Range<usize> = 6..8;
const ADDRESS: Range<usize> = 16..32;
const BEHIND_ADDRESS: usize = 32;
/// Route monitoring, statistics, Peer Down, Peer Up, route mirroring, and a type that is not assigned.
const TYPES: [u8; 6] = [0, 1, 2, 3, 6, 9];

fn is_odd(message: &[u8]) -> bool {
    message
        .get(ADDRESS)
        .is_some_and(|address| address.ends_with(&[192, 0, 2, 12]))
}

/// What the healthy peer announces, and what we announce to it, are complete; and the connection is open.
fn assert_whole(stream: &[Vec<u8>], what: &dyn Fn() -> String) {
    let (folded, _) = fold(&stream.concat(), Memory::default());
    assert_eq!(folded.closed, None, "{}", what());
    let announced = ["203.0.113.0/24", "198.51.100.0/24", "2001:db8:a::/48"];
    let sent = ["10.1.0.0/16", "2001:db8:1::/48"];
    for (rib, expected) in [(InPrePolicy, &announced[..]), (OutPostPolicy, &sent)] {
        let has: BTreeSet<Prefix> = folded.prefixes(HEALTHY, rib);
        assert_eq!(has, prefixes(expected), "{}: {rib}", what());
        for family in Family::ALL {
            let end = (session(HEALTHY), rib, family);
            assert!(folded.ends.contains(&end), "{}: {rib} {family}", what());
        }
    }
    let mut lost = folded.lost.iter().map(|(of, _)| *of);
    assert!(!lost.any(|of| of == session(HEALTHY)), "{}", what());
    assert!(folded.up.contains_key(&session(HEALTHY)), "{}", what());
}

fn stream(name: &str) -> Vec<Vec<u8>> {
    let whole = control(name);
    let (whole, rest) = messages(&whole);
    assert_eq!(rest, [0; 0], "{name}");
    whole.into_iter().map(<[u8]>::to_vec).collect()
}

#[test]
fn no_byte_about_one_session_reaches_another() {
    let mut flips = 0;
    for name in super::BESIDE_A_HEALTHY_PEER {
        let mut stream = stream(name);
        let about_odd: Vec<usize> = (0..stream.len())
            .filter(|&index| is_odd(&stream[index]))
            .collect();
        assert!(!about_odd.is_empty(), "{name}");
        for index in about_odd {
            for at in KIND_AND_FLAGS.chain(BEHIND_ADDRESS..stream[index].len()) {
                for mask in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff] {
                    stream[index][at] ^= mask;
                    let what = || format!("{name}: message {index}, byte {at}, mask {mask:#x}");
                    assert_whole(&stream, &what);
                    stream[index][at] ^= mask;
                    flips += 1;
                }
            }
        }
    }
    assert!(flips > 10_000, "{flips}");
}

/// A message about the odd peer, of this type, with arbitrary bytes for its flags and behind its address.
fn message(message_type: u8, kind_and_flags: [u8; 2], behind: &[u8]) -> Vec<u8> {
    let mut message = vec![3, 0, 0, 0, 0, message_type];
    message.extend(kind_and_flags);
    message.extend([0; 20]); // the distinguisher, and the address up to its IPv4 part
    message.extend([192, 0, 2, 12]);
    message.extend(behind);
    let length = (message.len() as u32).to_be_bytes();
    message[1..5].copy_from_slice(&length);
    message
}

proptest! {
    #[test]
    fn no_message_about_one_session_reaches_another(
        odd in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..TYPES.len(), any::<[u8; 2]>(), prop::collection::vec(any::<u8>(), 0..120)),
            1..8,
        ),
    ) {
        let mut stream = stream("down0.bmp");
        for (place, kind, flags, behind) in &odd {
            let place = 1 + place.index(stream.len());
            stream.insert(place, message(TYPES[*kind], *flags, behind));
        }
        assert_whole(&stream, &|| format!("{odd:02x?}"));
    }
}
