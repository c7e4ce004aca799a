//! Capture files: cut at every byte, damaged at every byte, of unusual shape and size. Whatever they are, reading
//! ends, and what stands whole before the damage is read.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]
mod common;

use std::path::Path;

use common::{MICRO, NANO, Order, Scratch, described, ethernet, join, pcap, pcapng, section, udp};
use filter_daemon::capture::{Capture, CaptureError};

const P4: &str = "45.146.194.7";
const P6: &str = "2a13:47c0:146::7";
const US4: &str = "198.51.100.7";
const US6: &str = "2001:db8:100::7";

/// What is printed of a file cut at any byte is what stands whole before the cut.
#[test]
fn captures_cut_at_every_byte() {
    let scratch = Scratch::new("cut");
    let frames = vec![
        ethernet(1, 0x10, &udp(P4, US4)),
        vec![7; 5],
        ethernet(1, 0x10, &udp(P6, US6)),
    ];
    let whole: Vec<(Vec<u8>, Vec<usize>)> = [
        pcap(Order::Little, MICRO, 1, &frames),
        pcap(Order::Big, NANO, 1, &frames),
        pcapng(Order::Little, &frames),
        pcapng(Order::Big, &frames),
    ]
    .into_iter()
    .map(|file| {
        let ends = ends_of_packets(&scratch, &file);
        assert_eq!(ends.len(), 3);
        (file, ends)
    })
    .collect();
    for (file, ends) in &whole {
        for cut in 0..file.len() {
            let path = scratch.file("cut", &file[..cut]);
            let before = ends.iter().filter(|&&end| end <= cut).count() as u64;
            match read(&path) {
                (read, None) => {
                    assert_eq!(read, before, "cut at {cut}");
                    assert!(is_between_records(file, cut), "cut at {cut} went unnoticed");
                }
                (read, Some(CaptureError::Truncated { number, .. })) => {
                    assert_eq!((read, number), (before, before + 1), "cut at {cut}");
                }
                (0, Some(CaptureError::NotACapture(_))) => assert!(cut < 4, "cut at {cut}"),
                (_, Some(error)) => panic!("cut at {cut}: {error}"),
            }
        }
    }
}

/// Reads a file to its end or its error.
fn read(path: &Path) -> (u64, Option<CaptureError>) {
    let mut capture = match Capture::open(path) {
        Ok(capture) => capture,
        Err(error) => return (0, Some(error)),
    };
    loop {
        match capture.next_packet() {
            Ok(Some(_)) => {}
            Ok(None) => return (capture.packets(), None),
            Err(error) => return (capture.packets(), Some(error)),
        }
    }
}

/// The lengths of the file at which one more packet can be read.
fn ends_of_packets(scratch: &Scratch, file: &[u8]) -> Vec<usize> {
    let count = |end: usize| read(&scratch.file("ends", &file[..end])).0;
    let grows = |&end: &usize| count(end) > count(end - 1);
    (1..=file.len()).filter(grows).collect()
}

/// Is the cut where a record starts? Then the file itself shows of nothing that it is missing.
fn is_between_records(file: &[u8], cut: usize) -> bool {
    let is_pcapng = file[0] == 0x0a;
    let is_big = if is_pcapng {
        file[8] == 0x1a
    } else {
        file[0] == 0xa1
    };
    let u32_at = |at: usize| {
        let bytes = *file[at..].first_chunk().unwrap();
        if is_big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    };
    let mut at = if is_pcapng { 0 } else { 24 };
    while at < cut {
        at += if is_pcapng {
            u32_at(at + 4) as usize
        } else {
            16 + u32_at(at + 8) as usize
        };
    }
    at == cut
}

/// One byte changed at a time: any answer, never a panic, never without an end.
#[test]
fn damaged_captures_end() {
    let scratch = Scratch::new("damaged");
    let frames = vec![ethernet(1, 0x10, &udp(P4, US4)), vec![7; 5]];
    for file in [
        pcap(Order::Little, MICRO, 1, &frames),
        pcapng(Order::Little, &frames),
        pcapng(Order::Big, &frames),
    ] {
        for at in 0..file.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut file = file.clone();
                file[at] ^= flip;
                _ = read(&scratch.file("damaged", &file));
            }
        }
    }
}

/// Blocks that few writers use, sections in two byte orders, a snapshot length.
#[test]
fn unusual_pcapng_files() {
    let scratch = Scratch::new("unusual");
    let frame = ethernet(1, 0x10, &udp(P4, US4));
    let (little, big) = (Order::Little, Order::Big);
    let simple = |order, original: u32, data: &[u8]| {
        let original = match order {
            Order::Little => original.to_le_bytes(),
            Order::Big => original.to_be_bytes(),
        };
        common::block(order, 3, &join(&[&original, data]))
    };
    let length = u32::try_from(frame.len()).unwrap();
    let head = join(&[&[0; 12], &length.to_be_bytes(), &length.to_be_bytes()]);
    let obsolete = common::block(big, 2, &join(&[&head, &frame]));
    let file = join(&[
        &section(little),
        &described(little, 1, 0),
        &simple(little, length, &frame),
        &section(little),
        &described(little, 1, 15),
        &simple(little, length, &frame[..15]),
        &section(big),
        &described(big, 1, 0),
        &obsolete,
    ]);
    let mut capture = Capture::open(&scratch.file("c", &file)).unwrap();
    for wanted in [&frame[..], &frame[..15], &frame[..]] {
        assert_eq!(
            capture.next_packet().unwrap().map(|it| it.bytes),
            Some(wanted)
        );
    }
    assert_eq!(capture.next_packet().unwrap(), None);
}

/// A frame larger than the reader's first buffer.
#[test]
fn frames_of_any_size() {
    let scratch = Scratch::new("large");
    let large = vec![5; 3_000_000];
    let frames = vec![vec![1; 100], large, vec![]];
    for file in [
        pcap(Order::Big, NANO, 1, &frames),
        pcapng(Order::Little, &frames),
    ] {
        let mut capture = Capture::open(&scratch.file("c", &file)).unwrap();
        for frame in &frames {
            assert_eq!(
                capture.next_packet().unwrap().unwrap().bytes.len(),
                frame.len()
            );
        }
        assert!(capture.next_packet().unwrap().is_none());
    }
}
