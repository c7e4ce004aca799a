//! What outlives a process, who may take it over, and who may not.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use aya::maps::{Array, Map, MapData};
use aya::programs::links::{FdLink, PinnedLink};
use filter_core::layout::{SCHEMA, station};
use filter_core::table::{CHUNK_WORDS, LINE_WORDS};
use filter_core::{Mode, Reason};
use filter_loader::{
    AttachMode, Filter, HookKind, InterfaceSpec, Options, detach_pinned, pinned_interfaces,
};
use tests::kernel::{Feature, require_kernel, say};
use tests::netns::{has_xdp, ip, unique};
use tests::rig::{self, GOOD, NEAR, Pair, Pins, SPOOFED, build, counted, just};

/// Attaches with pins, judges one good and one spoofed frame, and goes away.
fn first_life(pair: &Pair, pins: &Pins) {
    let mut filter = rig::load(&pins.options());
    let (peer, attached) = rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
    assert_eq!(attached.kind, HookKind::XdpNative);
    pair.far.send(&build(SPOOFED));
    pair.passes(GOOD);
    _ = counted(&filter, peer, 2);
}

fn frames(spoofed: u64, good: u64) -> filter_loader::Counters {
    just(&[
        (
            Reason::SourceUnannounced,
            true,
            spoofed,
            build(SPOOFED).len(),
        ),
        (Reason::Permitted, false, good, build(GOOD).len()),
    ])
}

#[test]
fn the_filter_goes_on_without_its_process_and_the_next_one_adopts_it() {
    if !require_kernel("the_filter_goes_on_without_its_process_and_the_next_one_adopts_it") {
        return;
    }
    let (pair, pins) = (Pair::new(1500), Pins::new());
    first_life(&pair, &pins);
    assert!(has_xdp(NEAR));
    assert_eq!(pinned_interfaces(pins.path()).unwrap(), [NEAR]);
    pair.far.send(&build(SPOOFED));
    pair.passes(GOOD);

    let mut filter = rig::load(&pins.options());
    assert!(filter.orphans(&[]).len() == 1, "its peer is remembered");
    let peer = filter.add_peer("icrc").unwrap();
    assert_eq!(filter.orphans(&[peer]), []);
    assert_eq!(filter.counters(peer).unwrap(), frames(2, 2));
    // Neither stations nor the lease are set again: both are as the first process left them.
    assert_eq!(rig::publish(&mut filter, Mode::Enforce), peer);
    let spec = InterfaceSpec::of_device(NEAR).unwrap();
    let attached = filter.attach(&spec, AttachMode::Native).unwrap();
    assert_eq!(attached.kind, HookKind::XdpAdopted);
    pair.far.send(&build(SPOOFED));
    pair.passes(GOOD);
    assert_eq!(counted(&filter, peer, 6), frames(3, 3));
    assert_eq!(filter.interface_counters(NEAR).unwrap(), just(&[]));
    filter.detach_all().unwrap();
    assert!(!has_xdp(NEAR));
    assert!(!pins.path().exists());
}

/// The program of the pinned link judges a frame of which the first buffer has only the Ethernet header.
fn passes_split(pins: &Pins, text: &str) -> bool {
    const XDP_PASS: u32 = 2;
    let link = PinnedLink::from_pin(pins.path().join(format!("link-{NEAR}"))).unwrap();
    let program = FdLink::from(link).info().unwrap().program_id().to_string();
    // `struct xdp_md`: `data_end` is its second word.
    let context: Vec<u8> = [0u32, 14, 0, 0, 0, 0]
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    let of = |what: &str, bytes: &[u8]| {
        let file = std::env::temp_dir().join(unique(what));
        std::fs::write(&file, bytes).unwrap();
        file
    };
    let (frame, context) = (of("frame", &build(text)), of("context", &context));
    let output = Command::new("bpftool")
        .args(["prog", "run", "id", &program, "data_in"])
        .arg(&frame)
        .arg("ctx_in")
        .arg(&context)
        .output()
        .expect("bpftool (Debian package `bpftool`) runs");
    for file in [frame, context] {
        std::fs::remove_file(file).unwrap();
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let answer = said.split("Return value: ").nth(1);
    let answer = answer.and_then(|rest| rest.split([',', '\n']).next());
    answer.unwrap_or_else(|| panic!("{output:?}")) == XDP_PASS.to_string()
}

#[test]
fn frames_in_several_buffers_are_judged_without_the_process_and_beside_the_next_one() {
    let test = "frames_in_several_buffers_are_judged_without_the_process_and_beside_the_next_one";
    if !require_kernel(test) {
        return;
    }
    if !Feature::SplitRuns.is_here() {
        say(&format!("{test}: test runs of such frames need Linux 6.18"));
        return;
    }
    let (_pair, pins) = (Pair::new(1500), Pins::new());
    let guard = |filter: &mut Filter| {
        _ = rig::guard(filter, AttachMode::Native, Mode::Enforce);
        rig::guard_test_runs(filter, Mode::Enforce)
    };
    // What is not read would be malformed, and dropped like what is spoofed.
    let check = |when: &str| {
        assert!(passes_split(&pins, GOOD), "{when}");
        assert!(!passes_split(&pins, SPOOFED), "{when}");
    };
    let mut filter = rig::load(&pins.options());
    guard(&mut filter);
    check("beside the process");
    drop(filter);
    check("without it");

    let mut filter = rig::load(&pins.options());
    check("by the program of the first process, beside the next one");
    let peer = guard(&mut filter);
    check("by the program of the next one");
    assert_eq!(filter.counters(peer).unwrap(), frames(4, 4));
    drop(filter);
    check("without that one");

    let mut filter = rig::load(&pins.options());
    guard(&mut filter);
    filter.detach_all().unwrap();
    assert!(!pins.path().exists());
}

#[test]
fn no_packet_is_judged_by_an_empty_table_during_adoption() {
    if !require_kernel("no_packet_is_judged_by_an_empty_table_during_adoption") {
        return;
    }
    let (pair, pins) = (Pair::new(1500), Pins::new());
    first_life(&pair, &pins);
    let (far, near, done) = (&pair.far, &pair.near, AtomicBool::new(false));
    let (filter, sent) = std::thread::scope(|scope| {
        // One frame at a time, so that none is lost to a full queue: what was sent must be counted.
        let sender = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                far.send(&build(SPOOFED));
                far.send(&build(GOOD));
                assert_eq!(near.receive(), build(GOOD));
                sent += 1;
            }
            sent
        });
        let mut filter = None;
        for _ in 0..5 {
            drop(filter.take());
            let mut next = rig::load(&pins.options());
            let peer = rig::publish(&mut next, Mode::Enforce);
            let spec = InterfaceSpec::of_device(NEAR).unwrap();
            next.attach(&spec, AttachMode::Native).unwrap();
            let before = next.counters(peer).unwrap().total().passed.packets;
            _ = counted(&next, peer, 2 * before + 100);
            filter = Some(next);
        }
        done.store(true, Ordering::Relaxed);
        (
            filter.expect("the last one"),
            sender.join().expect("the sender"),
        )
    });
    let mut filter = filter;
    let peer = filter.add_peer("icrc").unwrap();
    assert_eq!(
        counted(&filter, peer, 2 * (sent + 1)),
        frames(sent + 1, sent + 1)
    );
    assert_eq!(filter.interface_counters(NEAR).unwrap(), just(&[]));
    filter.detach_all().unwrap();
}

/// The refusal that a second process gets.
fn refused(options: &Options) -> String {
    Filter::load(options).expect_err("a refusal").to_string()
}

#[test]
fn state_of_another_policy_or_size_or_of_a_third_schema_is_refused_and_left_alone() {
    if !require_kernel("state_of_another_policy_or_size_is_refused_and_left_alone") {
        return;
    }
    let (pair, pins) = (Pair::new(1500), Pins::new());
    first_life(&pair, &pins);
    let refusal = |what: &str| {
        let path = pins.path().display();
        format!(
            "pinned state in `{path}` does not match: {what}; run `bcp38 detach --all` to start afresh"
        )
    };
    let other = Options {
        fingerprint: 0x2a,
        ..pins.options()
    };
    assert_eq!(
        refused(&other),
        refusal("policy fingerprint 0x0, this configuration has 0x2a")
    );
    let bigger = Options {
        max_peers: 16,
        ..pins.options()
    };
    assert_eq!(
        refused(&bigger),
        refusal("it has room for 8 peers, this configuration asks for 16")
    );

    let meta = MapData::from_pin(pins.path().join("meta")).unwrap();
    let mut meta: Array<_, [u64; 2]> = Map::Array(meta).try_into().unwrap();
    let [ours, _] = meta.get(&0, 0).unwrap();
    meta.set(0, [ours + 1, 0], 0).unwrap();
    let mut beside = pins.path().as_os_str().to_owned();
    beside.push("-former");
    // An upgrade upon one that is not done yet.
    fs::create_dir(&beside).unwrap();
    let words = format!(
        "it has schema {}, this version has {SCHEMA}, and a third is in {}",
        SCHEMA + 1,
        beside.display()
    );
    assert_eq!(refused(&pins.options()), refusal(&words));
    fs::remove_dir(&beside).unwrap();
    // Of two, the other is put aside, and goes back if nothing comes of it.
    drop(Filter::load(&pins.options()).unwrap());
    assert!(pins.path().join("link-near").exists() && !Path::new(&beside).exists());

    // Whoever was refused has changed nothing: it still filters.
    assert!(has_xdp(NEAR));
    pair.far.send(&build(SPOOFED));
    pair.passes(GOOD);
    assert!(detach_pinned(pins.path(), NEAR).unwrap());
    assert!(!pins.path().exists());
}

/// Flips a bit of the pinned arena.
fn flip(pins: &Pins, word: usize) {
    // A chunk is 4 MiB, and goes over the stack a few times.
    let path = pins.path().join("tables");
    let work = move || {
        let tables = MapData::from_pin(path).unwrap();
        let mut tables: Array<_, [u64; CHUNK_WORDS]> = Map::Array(tables).try_into().unwrap();
        let mut chunk = tables.get(&0, 0).unwrap();
        chunk[word] ^= 1;
        tables.set(0, chunk, 0).unwrap();
    };
    let thread = std::thread::Builder::new().stack_size(256 << 20);
    thread.spawn(work).unwrap().join().unwrap();
}

#[test]
fn a_damaged_or_foreign_arena_is_refused() {
    if !require_kernel("a_damaged_or_foreign_arena_is_refused") {
        return;
    }
    let (pair, pins) = (Pair::new(1500), Pins::new());
    first_life(&pair, &pins);
    let refusal = |what: &str| {
        format!(
            "pinned state in `tables` does not match: {what}; run `bcp38 detach --all` to start afresh"
        )
    };
    let header = refusal("its first line is not the header of this version's arena");
    for word in [0, 1, LINE_WORDS - 1] {
        flip(&pins, word);
        assert_eq!(
            refused(&pins.options()),
            header,
            "word {word} of the header"
        );
        flip(&pins, word);
    }
    // The peer's record lies somewhere behind the header: found by what a flip in it does.
    let damaged = (1..10).filter(|line| {
        let word = line * LINE_WORDS + 1;
        flip(&pins, word);
        let loaded = Filter::load(&pins.options());
        flip(&pins, word);
        loaded.is_err_and(|error| error.to_string().contains("is damaged"))
    });
    assert_eq!(damaged.count(), 2, "both lines of a record are covered");
    pair.passes(GOOD);
    assert!(detach_pinned(pins.path(), NEAR).unwrap());
}

#[test]
fn a_copy_of_the_stations_that_is_wrong_is_put_right() {
    if !require_kernel("a_copy_of_the_stations_that_is_wrong_is_put_right") {
        return;
    }
    let (pair, pins) = (Pair::new(1500), Pins::new());
    first_life(&pair, &pins);
    // As if the process had died between the hash and the copy: every station is some other slot's.
    let copy = MapData::from_pin(pins.path().join("stations")).unwrap();
    let mut copy: Array<_, station::Table> = Map::Array(copy).try_into().unwrap();
    let mut table = copy.get(&0, 0).unwrap();
    let mut changed = 0;
    for place in table.iter_mut().flatten() {
        if station::owner(place).is_some() {
            place[1] += 1;
            changed += 1;
        }
    }
    assert_eq!(changed, 3, "the peer's and the self-test's two");
    copy.set(0, table, 0).unwrap();
    pair.passes(GOOD); // frames of no peer are observed only

    let mut filter = rig::load(&pins.options());
    let peer = filter.add_peer("icrc").unwrap();
    pair.passes(GOOD);
    assert_eq!(counted(&filter, peer, 3), frames(1, 2));
    let spec = InterfaceSpec::of_device(NEAR).unwrap();
    filter.attach(&spec, AttachMode::Native).unwrap();
    filter.detach_all().unwrap();
    assert!(!pins.path().exists());
}

#[test]
fn two_writers_are_one_too_many() {
    if !require_kernel("two_writers_are_one_too_many") {
        return;
    }
    let (_pair, pins) = (Pair::new(1500), Pins::new());
    let mut filter = rig::load(&pins.options());
    rig::guard(&mut filter, AttachMode::Native, Mode::Observe);
    let held = format!(
        "`{}` is held by another process: only one may write the tables; stop it first",
        pins.path().display()
    );
    assert_eq!(refused(&pins.options()), held);
    assert_eq!(
        detach_pinned(pins.path(), NEAR).unwrap_err().to_string(),
        held
    );
    assert!(has_xdp(NEAR));
    drop(filter);
    assert!(!detach_pinned(pins.path(), "eth9").unwrap(), "not ours");
    assert!(has_xdp(NEAR));
    assert!(detach_pinned(pins.path(), NEAR).unwrap());
    assert!(!has_xdp(NEAR));
    assert!(!pins.path().exists());
    assert_eq!(pinned_interfaces(pins.path()).unwrap(), [""; 0]);
}

#[test]
fn a_pinned_link_whose_device_is_gone_is_forgotten() {
    if !require_kernel("a_pinned_link_whose_device_is_gone_is_forgotten") {
        return;
    }
    let (pair, pins) = (Pair::new(1500), Pins::new());
    first_life(&pair, &pins);
    drop(pair);
    let pair = Pair::new(1500);
    let mut filter = rig::load(&pins.options());
    let (peer, attached) = rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
    assert_eq!(attached.kind, HookKind::XdpNative);
    pair.far.send(&build(SPOOFED));
    pair.passes(GOOD);
    assert_eq!(counted(&filter, peer, 4), frames(2, 2));
    filter.detach_all().unwrap();
}

#[test]
fn a_pinned_link_of_a_renamed_device_is_not_taken_for_another_device() {
    if !require_kernel("a_pinned_link_of_a_renamed_device_is_not_taken_for_another_device") {
        return;
    }
    let (pair, pins) = (Pair::new(1500), Pins::new());
    first_life(&pair, &pins);
    for device in [NEAR, rig::FAR] {
        ip(&format!("link set {device} down"));
        ip(&format!("link set {device} name old-{device}"));
    }
    rig::make_pair(1500);
    let mut filter = rig::load(&pins.options());
    rig::guard(&mut filter, AttachMode::Native, Mode::Enforce);
    assert!(has_xdp(NEAR));
    filter.detach_all().unwrap();
    assert!(!has_xdp(NEAR) && !has_xdp("old-near"));
}

#[test]
fn pins_without_an_interface_go_with_their_process() {
    if !require_kernel("pins_without_an_interface_go_with_their_process") {
        return;
    }
    let pins = Pins::new();
    let mut filter = rig::load(&pins.options());
    rig::publish(&mut filter, Mode::Observe);
    assert!(pins.path().exists());
    drop(filter);
    assert!(!pins.path().exists());
}
