//! The committed objects, read without any privilege: the programs and maps the loader will ask for are there.
//! Never loads anything: whether the kernel takes them is `loader`'s business.

use aya_obj::{Object, ProgramSection};
use filter_core::Reason;
use filter_core::layout::{
    Interface, MAX_INTERFACES, NEAR_IFINDEX, NETWORK_PLACES, Network, SENDER_WORDS, map, station,
};

fn object(name: &str) -> Object {
    let path = format!(
        "{}/../filter-loader/bpf/{name}.o",
        env!("CARGO_MANIFEST_DIR")
    );
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    Object::parse(&bytes).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A program's name, and its hook: in XDP with frames in several buffers, in XDP without, or at tc.
fn programs(object: &Object) -> Vec<(&str, &str)> {
    let mut programs: Vec<_> = object
        .programs
        .iter()
        .map(|(name, program)| match program.section {
            ProgramSection::Xdp { frags: true, .. } => (name.as_str(), "xdp.frags"),
            ProgramSection::Xdp { .. } => (name.as_str(), "xdp"),
            ProgramSection::SchedClassifier => (name.as_str(), "tc"),
            ref other => panic!("{name} is for no hook of ours: {other:?}"),
        })
        .collect();
    programs.sort_unstable();
    programs
}

#[test]
fn the_objects_hold_the_expected_programs() {
    assert_eq!(
        programs(&object("bcp38")),
        [
            ("bcp38", "xdp.frags"),
            ("bcp38_bare", "tc"),
            ("bcp38_clock", "xdp"),
            ("bcp38_linear", "xdp"),
            ("bcp38_split", "xdp.frags"),
            ("bcp38_tc", "tc"),
        ]
    );
    assert_eq!(
        programs(&object("baseline")),
        [
            ("bcp38", "xdp.frags"),
            ("bcp38_bare", "tc"),
            ("bcp38_clock", "xdp"),
            ("bcp38_split", "xdp.frags"),
            ("bcp38_tc", "tc"),
        ]
    );
    let bench = object("bench");
    for name in [
        "empty",
        "parse",
        "tables_hot",
        "lpm_hot",
        "control_replay",
        "tables_replay",
        "lpm_replay",
    ] {
        assert!(programs(&bench).contains(&(name, "xdp.frags")), "{name}");
    }
}

#[test]
fn the_objects_may_call_every_helper() {
    for name in ["bcp38", "baseline"] {
        assert_eq!(object(name).license.to_bytes(), b"Dual MIT/GPL", "{name}");
    }
}

#[test]
fn the_maps_have_the_layout_of_this_source() {
    for name in ["bcp38", "baseline"] {
        let object = object(name);
        let sizes = |map: &str| {
            let map = object
                .maps
                .get(map)
                .unwrap_or_else(|| panic!("{name}.o has no map `{map}`"));
            (map.key_size(), map.value_size())
        };
        for (map, key, value) in [
            (map::INTERFACE_SLOTS, 4, 4),
            (map::INTERFACES, 4, Interface::WORDS as u32 * 8),
            (map::FAR_INTERFACES, 4, 4),
            (map::NETWORKS, 4, Network::WORDS as u32 * 8),
            (map::TAGS, 8, 4),
            (map::PEERS, 12, 4),
            (map::STATIONS, 4, size_of::<station::Table>() as u32),
            (map::SENDERS, 32, SENDER_WORDS as u32 * 8),
            (map::COUNTERS, 4, 16),
            (map::SAMPLE_DUE, 4, 8),
            (map::SAMPLES_LOST, 4, 8),
            (map::ICMP_DUE, 4, 16),
            (map::LEASE, 4, 8),
            (map::WANTED, 4, 4),
            (map::ALLOWED, 4, 4),
            (map::META, 4, 16),
            (map::SPLIT, 4, 4),
        ] {
            assert_eq!(sizes(map), (key, value), "{name}.o: {map}");
        }
        // What the loader does not size must be right as it is; the rest it sets before loading.
        let entries = |map: &str| object.maps[map].max_entries();
        assert_eq!(entries(map::INTERFACE_SLOTS), NEAR_IFINDEX + 1);
        assert_eq!(entries(map::INTERFACES), 2 * MAX_INTERFACES);
        assert_eq!(entries(map::NETWORKS), NETWORK_PLACES);
        assert_eq!(entries(map::SPLIT), 1);
        assert_eq!(entries(map::COUNTERS) as usize % (2 * Reason::COUNT), 0);
        assert!(
            entries(map::SAMPLES).is_power_of_two(),
            "the kernel wants it so"
        );
    }
}

#[test]
fn both_objects_carry_btf() {
    for name in ["bcp38", "baseline"] {
        let object = object(name);
        assert!(object.btf.is_some() && object.btf_ext.is_some(), "{name}.o");
    }
}
