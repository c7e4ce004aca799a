//! Dumped tables: what each daemon dumps, and what is refused.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::fs;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use filter_feeds::mrt::{MrtConfig, MrtError, MrtFeed, snapshots};
use filter_feeds::{Feed, MAX_WAITING_BATCHES, Outlet, Stop};
use filter_lifecycle::route::{AdjRib, FeedId, RouteEvent};
use tests::captures::{Folded, control, fixtures, prefixes};

fn dump(name: &str) -> Vec<u8> {
    fs::read(fixtures().join(name)).unwrap()
}

fn folded(names: &[&str], rib: AdjRib) -> Folded {
    let mut folded = Folded::default();
    for name in names {
        folded.apply(&snapshots(&dump(name), rib).unwrap());
    }
    folded
}

#[test]
fn every_daemons_dump_is_its_table() {
    // After policy: without 10.10.0.0/16 and 2001:db8:cafe::/48.
    for names in [
        &["frr-8.4.4/mrt/mrt-rib.mrt"][..],
        &["frr-10.3/mrt/mrt-rib.mrt"],
        &[
            "bird-2.19.2/mrt/mrt-rib-master4.mrt",
            "bird-2.19.2/mrt/mrt-rib-master6.mrt",
        ],
        &["openbgpd-8.8/mrt/mrt-rib.mrt"],
    ] {
        let folded = folded(names, AdjRib::InPostPolicy);
        for (address, expected) in [
            ("192.0.2.11", &["198.51.100.0/24", "203.0.113.0/24"][..]),
            ("192.0.2.12", &["198.18.0.0/16", "203.0.113.0/24"]),
            ("2001:db8:ff::11", &["2001:db8:1::/48"]),
            ("2001:db8:ff::12", &["2001:db8:2::/48"]),
        ] {
            let held = folded.prefixes(address, AdjRib::InPostPolicy);
            assert_eq!(held, prefixes(expected), "{names:?} {address}");
        }
    }
}

#[test]
fn openbgpd_dumps_what_it_received_too() {
    let folded = folded(&["openbgpd-8.8/mrt/mrt-adjin.mrt"], AdjRib::InPrePolicy);
    assert_eq!(
        folded.prefixes("192.0.2.11", AdjRib::InPrePolicy),
        prefixes(&["198.51.100.0/24", "203.0.113.0/24", "10.10.0.0/16"])
    );
}

#[test]
fn one_protocols_dump_names_its_peer_only() {
    let events = snapshots(&dump("bird-2.0.12/mrt/mrt-rib.mrt"), AdjRib::InPostPolicy).unwrap();
    let family = |event: &RouteEvent| matches!(event, RouteEvent::Snapshot { routes, .. } if routes.iter().all(|route| route.next_hop.is_some()));
    assert!(
        !events.is_empty() && events.iter().all(family),
        "{events:?}"
    );
}

/// GoBGP's routes are of peers that its index does not name; bgpdump aborts on the same file.
#[test]
fn a_peer_that_the_index_does_not_name_is_an_error() {
    let error = snapshots(&dump("gobgp-3.36/mrt/mrt-table.mrt"), AdjRib::InPostPolicy).unwrap_err();
    assert!(
        matches!(error, MrtError::UnknownPeer { peer: 5, .. }),
        "{error}"
    );
}

#[test]
fn what_is_no_table_is_refused() {
    for name in [
        "openbgpd-8.8/mrt/mrt-p1-in.mrt",
        "openbgpd-8.8/mrt/mrt-p1-out.mrt",
    ] {
        assert!(
            matches!(
                snapshots(&dump(name), AdjRib::InPostPolicy),
                Err(MrtError::NotATable(1))
            ),
            "{name}"
        );
    }
    assert!(matches!(
        snapshots(&[], AdjRib::InPostPolicy),
        Err(MrtError::NoPeers)
    ));
    assert!(
        snapshots(
            b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x00\x00",
            AdjRib::InPostPolicy
        )
        .is_err()
    );
}

#[test]
fn every_byte_flipped_or_cut_never_panics() {
    for name in [
        "frr-10.3/mrt/mrt-rib.mrt",
        "bird-2.19.2/mrt/mrt-rib-master6.mrt",
        "openbgpd-8.8/mrt/mrt-adjin.mrt",
    ] {
        let whole = dump(name);
        let right = snapshots(&whole, AdjRib::InPostPolicy).unwrap().len();
        let mut refused = 0;
        for at in 0..whole.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut mangled = whole.clone();
                mangled[at] ^= mask;
                refused += u32::from(snapshots(&mangled, AdjRib::InPostPolicy).is_err());
            }
            // A cut inside a record is an error; at its end it cannot be noticed.
            let cut = snapshots(&whole[..at], AdjRib::InPostPolicy);
            assert!(cut.is_err() || cut.unwrap().len() <= right);
        }
        assert!(refused > 0);
    }
}

#[test]
fn the_file_is_bounded_and_read_again_when_it_changes() {
    let path = std::env::temp_dir().join(format!("bcp38-mrt-{}.mrt", std::process::id()));
    fs::write(&path, dump("openbgpd-8.8/mrt/mrt-rib.mrt")).unwrap();
    let old = std::time::SystemTime::now() - Duration::from_secs(60);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(old)
        .unwrap();

    let (sender, batches) = sync_channel(MAX_WAITING_BATCHES);
    let stop = Stop::default();
    let outlet = Outlet::new(FeedId(3), sender, stop.clone());
    let feed = Box::new(MrtFeed::new(MrtConfig::new(path.clone())));
    let thread = std::thread::spawn(move || feed.run(&outlet));
    let next = |wait| {
        batches
            .recv_timeout(Duration::from_secs(wait))
            .unwrap()
            .events
    };
    assert_eq!(next(5), [RouteEvent::FeedUp]);
    assert!(matches!(next(5)[..], [RouteEvent::Snapshot { .. }]));
    while batches.recv_timeout(Duration::from_millis(200)).is_ok() {}
    // A torn file takes the feed down, not its peers.
    fs::write(&path, &dump("openbgpd-8.8/mrt/mrt-rib.mrt")[..600]).unwrap();
    assert!(matches!(&next(20)[..], [RouteEvent::FeedDown { why }] if why.contains("record")));
    stop.stop();
    thread.join().unwrap();

    let config = MrtConfig {
        max_bytes: 599,
        ..MrtConfig::new(path.clone())
    };
    let (sender, batches) = sync_channel(1);
    let stop = Stop::default();
    let outlet = Outlet::new(FeedId(3), sender, stop.clone());
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(old)
        .unwrap();
    let thread = std::thread::spawn(move || Box::new(MrtFeed::new(config)).run(&outlet));
    assert!(
        batches.recv_timeout(Duration::from_millis(500)).is_err(),
        "too large, but read"
    );
    stop.stop();
    thread.join().unwrap();
    fs::remove_file(&path).unwrap();
}

/// BIRD 1.6 writes IPv6 entries without next hop, and dumps are published compressed.
#[test]
fn odd_dumps_are_read() {
    let folded = |name: &str| {
        let file = std::env::temp_dir().join(format!("bcp38-{}-{name}", std::process::id()));
        fs::write(&file, control(name)).unwrap();
        let mut folded = Folded::default();
        let read = MrtFeed::new(MrtConfig::new(file.clone())).load();
        fs::remove_file(&file).unwrap();
        folded.apply(&read.unwrap_or_else(|error| panic!("{name}: {error}")));
        folded
    };
    for name in ["bird6_without_next_hop.mrt", "compressed.mrt.gz"] {
        let folded = folded(name);
        let routes: usize = folded.ribs.values().map(|rib| rib.len()).sum();
        println!("{name}: {:?}", folded.ribs);
        assert!(routes > 0, "{name}");
    }
}

/// Records of other families are passed over, counted; the old format is named.
#[test]
fn other_records_are_passed_over_and_the_old_format_is_named() {
    let dump = dump("frr-10.3/mrt/mrt-rib.mrt");
    let record = |kind: u8, subtype: u8| [0, 0, 0, 0, 0, kind, 0, subtype, 0, 0, 0, 3, 1, 2, 3];
    let file = std::env::temp_dir().join(format!("bcp38-{}-foreign.mrt", std::process::id()));
    // RIB_GENERIC, multicast, GEO_PEER_TABLE.
    let foreign = [record(13, 6), record(13, 3), record(13, 7)].concat();
    fs::write(&file, [&dump[..], &foreign].concat()).unwrap();
    let feed = MrtFeed::new(MrtConfig::new(file.clone()));
    let read = feed.load();
    fs::remove_file(&file).unwrap();
    assert_eq!(
        read.unwrap(),
        snapshots(&dump, AdjRib::InPostPolicy).unwrap()
    );
    assert_eq!(feed.skipped().of("foreign-family"), 3);
    let old = [&dump[..], &record(12, 1)].concat();
    let error = snapshots(&old, AdjRib::InPostPolicy).unwrap_err();
    assert!(matches!(error, MrtError::Version1(_)), "{error}");
    assert!(error.to_string().contains("TABLE_DUMP_V2"), "{error}");
    // A record that is cut is none of another family.
    let cut = [&dump[..], &record(13, 6)[..13]].concat();
    assert!(snapshots(&cut, AdjRib::InPostPolicy).is_err());
}
