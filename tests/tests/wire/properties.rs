//! What holds for every BGP and BMP message: nothing is allocated to read it, prefixes survive a round trip through
//! the tests' own encoder, and no bytes make the reader panic.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use filter_core::{Address, Family, Prefix};
use filter_feeds::wire::bgp::{self, Message, Nlri, PathIds, Update};
use filter_feeds::wire::{Reader, WireError, bmp};
use proptest::prelude::*;
use tests::captures::{capture, captures, messages};
use tests::encoder::{self, attribute, message, nlri};

const ALL_PATHS: PathIds = PathIds {
    ipv4: true,
    ipv6: true,
};

fn read(message: &[u8]) -> Result<Message<'_>, WireError> {
    bgp::take(&mut Reader::new(message), bgp::MAX_EXTENDED_MESSAGE)
}

fn update(message: &[u8]) -> Update<'_> {
    match read(message).unwrap() {
        Message::Update(update) => update,
        other => panic!("{other:?}"),
    }
}

/// Counts what this thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is the system allocator's; counting touches a constant-initialised thread local without a
// destructor, which allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reading, checking and walking every message of every recorded stream allocates nothing.
#[test]
fn nothing_is_allocated_per_message() {
    let mut read = 0;
    for name in captures() {
        let stream = capture(&name);
        for message in messages(&stream).0 {
            let before = ALLOCATIONS.get();
            let parsed = bmp::read(message).unwrap();
            if let bmp::Message::RouteMonitoring(_, monitored) = parsed {
                let Some(update) = monitored.update().unwrap().0 else {
                    continue;
                };
                // Either way is right for some; both must do without.
                let _ = (update.check(PathIds::NONE), update.check(ALL_PATHS));
                let _ = update.withdrawn(PathIds::NONE).count()
                    + update.announced(PathIds::NONE).count();
            }
            assert_eq!(ALLOCATIONS.get(), before, "{name}");
            read += 1;
        }
    }
    assert!(read > 1000, "{read}");
}

fn any_prefix(family: Family) -> impl Strategy<Value = Prefix> {
    (any::<u128>(), 0..=family.bits()).prop_map(move |(bits, length)| {
        Prefix::new(Address::from_bits(family, bits), length).unwrap()
    })
}

proptest! {
    #[test]
    fn prefixes_round_trip(
        withdrawn in proptest::collection::vec((any::<u32>(), any_prefix(Family::Ipv4)), 0..50),
        gone in proptest::collection::vec((any::<u32>(), any_prefix(Family::Ipv6)), 0..50),
        come in proptest::collection::vec((any::<u32>(), any_prefix(Family::Ipv6)), 0..50),
        announced in proptest::collection::vec((any::<u32>(), any_prefix(Family::Ipv4)), 0..50),
        path_ids: bool,
    ) {
        let defaults = |list: &[(u32, Prefix)]| list.iter().filter(|(_, prefix)| prefix.len() == 0).count();
        prop_assume!(path_ids || [&withdrawn, &gone, &come, &announced].iter().all(|list| defaults(list) < 2));
        let ids = PathIds { ipv4: path_ids, ipv6: path_ids };
        let mut reach = vec![0, 2, 1, 16];
        reach.extend([0x20; 17]);
        reach.extend(nlri(&come, path_ids));
        let mut unreach = vec![0, 2, 1];
        unreach.extend(nlri(&gone, path_ids));
        let attributes = [attribute(0x80, 14, &reach), attribute(0x80, 15, &unreach)].concat();
        let bytes = encoder::update(&nlri(&withdrawn, path_ids), &attributes, &nlri(&announced, path_ids));
        let update = update(&bytes);
        let expected = |lists: [&Vec<(u32, Prefix)>; 2]| -> Vec<Nlri> {
            let entries = lists.into_iter().flatten();
            entries.map(|(path, prefix)| Nlri { path: if path_ids { *path } else { 0 }, prefix: *prefix }).collect()
        };
        let read: Vec<Nlri> = update.withdrawn(ids).map(Result::unwrap).collect();
        prop_assert_eq!(read, expected([&withdrawn, &gone]));
        let read: Vec<Nlri> = update.announced(ids).map(|route| route.unwrap().nlri).collect();
        prop_assert_eq!(read, expected([&announced, &come]));
        prop_assert_eq!(update.check(ids), Ok(()));
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), kind in 0u8..8) {
        let _ = (bmp::frame(&bytes), bmp::read(&bytes), read(&bytes));
        // The same behind headers that fit.
        let message = message(kind, &bytes);
        if let Ok(Message::Update(update)) = read(&message) {
            let _ = (update.check(PathIds::NONE), update.check(ALL_PATHS), update.end_of_rib(), update.communities());
        }
        if bytes.len() >= bmp::COMMON_HEADER {
            bytes[0] = 3;
            let length = bytes.len() as u32;
            bytes[1..5].copy_from_slice(&length.to_be_bytes());
            bytes[5] = kind;
            let _ = bmp::read(&bytes);
        }
    }

    #[test]
    fn route_monitoring_of_arbitrary_bodies_never_panics(body in proptest::collection::vec(any::<u8>(), 0..300), flags: u8) {
        let update = message(2, &body);
        let mut bytes = vec![3, 0, 0, 0, 0, 0, 0, flags];
        bytes.extend([0; 40]);
        bytes.extend(update);
        let length = bytes.len() as u32;
        bytes[1..5].copy_from_slice(&length.to_be_bytes());
        if let Ok(bmp::Message::RouteMonitoring(_, monitored)) = bmp::read(&bytes)
            && let Ok((Some(update), _)) = monitored.update()
        {
            let _ = (update.check(PathIds::NONE), update.check(ALL_PATHS));
        }
    }
}
