//! Every byte of every recorded BMP stream flipped, and every message cut at every byte: an error, or a message
//! that says something and is heard; never a panic, an unbounded allocation, or a message that vanishes.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::time::Instant;

use filter_feeds::bmp::router::Router;
use filter_feeds::wire::bmp;
use filter_feeds::wire::{Malformed, WireError};
use filter_lifecycle::route::RouteEvent;
use tests::captures::{capture, captures, fold, fold_capture, messages};

/// What a message was turned into: how many events, how much that is left out and counted.
fn hear(router: &mut Router, message: &[u8], now: Instant) -> Option<(Vec<RouteEvent>, u64)> {
    let before = router.counts.total();
    let mut events = Vec::new();
    let result = router.message(message, now, &mut events, &mut |_| true);
    // Each event takes at least a byte of prefix length, so events are bounded by bytes.
    assert!(events.len() <= message.len());
    if result.is_err() {
        assert!(events.is_empty(), "events of a message with an error");
        return None;
    }
    Some((events, router.counts.total() - before))
}

#[test]
fn every_byte_flipped() {
    let now = Instant::now();
    let (mut flips, mut refused) = (0u64, 0u64);
    for name in captures() {
        let stream = capture(&name);
        let mut router = Router::new(now);
        let mut start = 0;
        for message in messages(&stream).0 {
            let end = start + message.len();
            let mut right = router.clone();
            let Some(reference) = hear(&mut right, message, now) else {
                break;
            };
            let mut mangled = stream[start..].to_vec();
            for at in 0..message.len() {
                for mask in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff] {
                    mangled[at] ^= mask;
                    flips += 1;
                    refused += u64::from(!survives(&router, &mangled, &reference, now));
                    mangled[at] ^= mask;
                }
            }
            router = right;
            start = end;
        }
    }
    // What bytes alone cannot show are other addresses, timestamps, AS paths and prefix bits.
    println!("{refused} of {flips} flips refused");
    assert!(flips > 1_200_000, "{flips}");
    assert!(refused * 4 > flips, "{refused} of {flips}");
}

/// Feeds a stream whose first message is mangled. Was it not refused? Then it must be heard.
fn survives(
    router: &Router,
    stream: &[u8],
    (reference, counted): &(Vec<RouteEvent>, u64),
    now: Instant,
) -> bool {
    let mut router = router.clone();
    let Ok(Some(length)) = bmp::frame(stream) else {
        return false;
    };
    assert!(length <= bmp::MAX_MESSAGE);
    let Some((message, rest)) = stream.split_at_checked(length) else {
        // Waits for bytes that never come, in a buffer of a fixed size.
        return false;
    };
    let Some((events, left_out)) = hear(&mut router, message, now) else {
        return false;
    };
    let said = !reference.is_empty() || *counted > 0;
    let heard = !events.is_empty() || left_out > 0;
    // A length that happens to fit the next messages too was an error above: what follows is whole again.
    assert!(heard || !said, "vanished: {message:02x?}");
    // A prefix of which all bits were lost must not come out of it.
    let is_default = |event: &RouteEvent| matches!(event, RouteEvent::Announce { route, .. } if route.prefix.len() == 0);
    assert!(
        !events.iter().any(is_default),
        "a default route from {message:02x?}"
    );
    let is_lost = |event: &RouteEvent| matches!(event, RouteEvent::RibLost { .. });
    if left_out > *counted || events.iter().any(is_lost) {
        return false; // noticed, and costs no other session: what follows is read on
    }
    match bmp::frame(rest) {
        Ok(Some(length)) if length <= rest.len() => {
            hear(&mut router, &rest[..length], now).is_some()
        }
        Ok(_) => true,
        Err(_) => false,
    }
}

#[test]
fn every_message_cut_at_every_byte() {
    for name in captures() {
        let stream = capture(&name);
        for message in messages(&stream).0 {
            assert!(bmp::read(message).is_ok(), "{name}");
            for cut in 0..message.len() {
                let head = &message[..cut];
                match bmp::frame(head) {
                    Ok(None) => assert!(cut < bmp::COMMON_HEADER),
                    Ok(Some(length)) => assert_eq!(length, message.len()),
                    Err(error) => panic!("{name}: {error}"),
                }
                assert!(bmp::read(head).is_err());
                shortened(head);
            }
        }
    }
}

/// The same with a BMP length that fits: the stream goes on, and no half of an UPDATE is believed.
fn shortened(head: &[u8]) {
    if head.len() < bmp::COMMON_HEADER {
        return;
    }
    let mut message = head.to_vec();
    message[1..5].copy_from_slice(&(head.len() as u32).to_be_bytes());
    match bmp::read(&message) {
        Ok(bmp::Message::RouteMonitoring(_, monitored)) => {
            let WireError { offset, .. } = monitored.update().map(|_| ()).unwrap_err();
            assert!(offset <= message.len(), "{message:02x?}");
        }
        read => assert!(read.is_ok(), "{message:02x?}"),
    }
}

/// A stream that ends anywhere has said what its whole messages say, no more and no less.
#[test]
fn a_cut_stream_says_what_came_before() {
    for name in ["frr-10.3/bmp.c2.0", "addpath-bird-2.19.2/bmp.0"] {
        let stream = capture(name);
        let whole = fold_capture(name).events;
        let mut ends = Vec::new();
        let mut at = 0;
        for message in messages(&stream).0 {
            at += message.len();
            ends.push(at);
        }
        for cut in (0..stream.len()).step_by(7) {
            let (folded, _) = fold(&stream[..cut], Default::default());
            let complete = ends.iter().filter(|&&end| end <= cut).count();
            assert_eq!(
                messages(&stream[..cut]).0.len(),
                complete,
                "{name} cut at {cut}"
            );
            assert_eq!(
                folded.events,
                whole[..folded.events.len()],
                "{name} cut at {cut}"
            );
            assert_eq!(folded.closed, None);
        }
    }
}

#[test]
fn limits_hold_at_their_edges() {
    let header = |length: usize| {
        let mut header = vec![3];
        header.extend((length as u32).to_be_bytes());
        header.push(0);
        header
    };
    for length in [bmp::COMMON_HEADER, bmp::MAX_MESSAGE] {
        assert_eq!(bmp::frame(&header(length)), Ok(Some(length)));
    }
    for length in [
        0,
        bmp::COMMON_HEADER - 1,
        bmp::MAX_MESSAGE + 1,
        u32::MAX as usize,
    ] {
        let what = "a BMP message";
        let kind = Malformed::Length { what, length };
        assert_eq!(
            bmp::frame(&header(length)),
            Err(WireError { offset: 1, kind })
        );
    }
    let error = bmp::frame(b"GET / HTTP/1.1\r\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "BMP version 71 is not known, at byte 0 of the message"
    );
}
