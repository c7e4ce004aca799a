//! The case file on every engine, under nothing, every class alone and everything in force: action, reason, peer and every counter. Also what no file
//! should list: all IP protocols and classes of EtherTypes. Never holds a case of its own.

use std::collections::BTreeSet;

use filter_core::{Classes, Reason};
use filter_loader::Engine as Lookup;
use tests::case;
use tests::engines::{
    Engine, Kernel, Oracle, Tally, Userspace, breaks, every_case_under,
    every_case_under_every_switch,
};
use tests::frame;
use tests::kernel::{self, Feature, require_kernel};
use tests::world::{self, World};

#[test]
fn the_file_covers_every_row_and_names_its_sources() {
    let cases = case::all();
    assert!(cases.len() >= 150, "{}", cases.len());
    let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len(), "two cases of one name");
    for reason in Reason::ALL {
        let of_reason = || cases.iter().filter(|case| case.reason == reason);
        assert!(of_reason().count() >= 5, "{reason}");
    }
    for case in &cases {
        let known = [
            "AS57965",
            "AS214312",
            "spec",
            "row",
            "RFC",
            "IEEE",
            "IANA",
            "bogon_exceptions",
            "families",
        ];
        assert!(
            known.iter().any(|source| case.source.starts_with(source)),
            "{}: {}",
            case.name,
            case.source
        );
    }
}

#[test]
fn the_oracle_agrees_with_the_file() {
    for world in world::ALL {
        let oracle = Oracle::new(world);
        for case in case::of(world) {
            let opinion = oracle.verdict(&case.frame);
            assert_eq!(
                (opinion.peer, opinion.reason),
                (case.peer, case.reason),
                "{}: {}",
                world.name,
                case.name
            );
        }
        every_case_under_every_switch(world, &mut Oracle::new(world));
    }
}

#[test]
fn userspace_agrees_with_the_file() {
    for world in world::ALL {
        every_case_under_every_switch(world, &mut Userspace::new(world));
    }
}

#[test]
fn the_compiled_tables_in_the_kernel_agree_with_the_file() {
    if require_kernel("the_compiled_tables_in_the_kernel_agree_with_the_file") {
        for world in world::ALL {
            every_case_under_every_switch(world, &mut Kernel::new(world, Lookup::Tables));
        }
    }
}

#[test]
fn the_kernels_tries_agree_with_the_file() {
    let test = "the_kernels_tries_agree_with_the_file";
    if require_kernel(test) && kernel::engines(test).contains(&Lookup::Lpm) {
        for world in world::ALL {
            every_case_under_every_switch(world, &mut Kernel::new(world, Lookup::Lpm));
        }
    }
}

/// Where the first buffer ends: before, in and behind every header, beside the 60 bytes that are taken for a whole frame, and at both
/// sides of where it is long enough.
const FIRST_BUFFERS: &[u32] = &[0, 14, 16, 20, 34, 38, 54, 58, 59, 61, 62, 82, 100, 127, 128];

#[test]
fn frames_in_several_buffers_get_the_verdict_of_whole_ones() {
    let test = "frames_in_several_buffers_get_the_verdict_of_whole_ones";
    if !require_kernel(test) {
        return;
    }
    if !Feature::SplitRuns.is_here() {
        kernel::say(&format!("{test}: test runs of such frames need Linux 6.18"));
        return;
    }
    for &lookup in kernel::engines(test) {
        for world in world::ALL {
            let mut engine = Kernel::new(world, lookup);
            for &linear in FIRST_BUFFERS {
                engine.split_at(linear);
                // What a packet breaks is the same code's business in every program: all classes and none show it.
                every_case_under(&[Classes::NONE, Classes::ALL], world, &mut engine);
            }
        }
    }
}

#[test]
fn what_a_packet_breaks_decides_and_not_its_first_name() {
    let of = |text: &str| {
        let opinion = Oracle::new(&world::LAN).verdict(&frame::build(text).expect("a frame"));
        (opinion.reason.name(), opinion.broken.classes)
    };
    let from = |source: &str, destination: &str| {
        of(&format!(
            "eth src=icrc dst=us / ipv4 {source} > {destination} udp"
        ))
    };
    assert_eq!(
        from("10.0.0.1", "198.51.100.1"),
        ("source-bogon", vec!["bogons", "sources"])
    );
    assert_eq!(
        from("10.0.0.1", "8.8.8.8"),
        ("source-bogon", vec!["bogons", "sources", "destinations"])
    );
    let unknown = "eth src=young dst=us / ipv4 10.0.0.1 > 8.8.8.8 udp";
    assert_eq!(of(unknown), ("source-bogon", vec!["bogons"]));
}

#[test]
fn the_kernel_runs_no_frame_without_an_ethernet_header() {
    if !require_kernel("the_kernel_runs_no_frame_without_an_ethernet_header") {
        return;
    }
    let mut filter = filter_loader::Filter::load(&filter_loader::Options::default()).unwrap();
    for len in 0..14 {
        let ran = filter
            .run(&vec![0; len], 1)
            .map_err(|error| error.to_string());
        if Feature::ShortRunsRefused.is_here() {
            let refused = ran.unwrap_err();
            assert!(
                refused.contains("Invalid argument"),
                "{len} bytes: {refused}"
            );
        } else {
            assert!(ran.is_ok(), "{len} bytes: {ran:?}");
        }
    }
    assert!(filter.run(&[0; 14], 1).is_ok());
}

/// Every engine, the kernel's two only where there is one.
fn engines(world: &'static World, test: &str) -> Vec<Box<dyn Engine>> {
    let mut engines: Vec<Box<dyn Engine>> = vec![
        Box::new(Oracle::new(world)),
        Box::new(Userspace::new(world)),
    ];
    if require_kernel(test) {
        for &lookup in kernel::engines(test) {
            engines.push(Box::new(Kernel::new(world, lookup)));
        }
    }
    for engine in &mut engines {
        engine.set_in_force(Classes::ALL);
    }
    engines
}

/// Judges frames whose fates are known, on every engine.
fn judge_all(test: &str, world: &'static World, frames: &[(String, Option<&'static str>, Reason)]) {
    for mut engine in engines(world, test) {
        let mut expected = Tally::of(world);
        for (text, peer, reason) in frames {
            let frame = frame::build(text).expect("a frame");
            // Whichever side it breaks: all of it is in force.
            let broken = breaks(world, *reason, "ipv4", &["sources"]);
            let dropped = !broken.classes.is_empty();
            expected.count(*peer, *reason, dropped, &frame);
            assert_eq!(engine.drops(&frame), dropped, "{}: {text}", engine.name());
        }
        assert_eq!(engine.tally(), expected, "{}", engine.name());
    }
}

#[test]
fn every_ip_protocol_gets_the_same_verdict() {
    let mut frames = Vec::new();
    let pairs = [
        (
            "ipv4",
            "proto",
            "45.146.194.1",
            "9.9.9.9",
            "198.51.100.1",
            "8.8.8.8",
        ),
        (
            "ipv6",
            "next",
            "2a13:47c0:146::1",
            "2620:fe::9",
            "2001:db8:100::1",
            "2620:fe::1",
        ),
    ];
    for (family, field, good, spoofed, ours, elsewhere) in pairs {
        for protocol in 0..=255 {
            for (from, to, reason) in [
                (good, ours, Reason::Permitted),
                (spoofed, ours, Reason::SourceUnannounced),
                (good, elsewhere, Reason::DestinationUnannounced),
                (spoofed, elsewhere, Reason::BothUnannounced),
            ] {
                let text = format!(
                    "eth src=icrc dst=us / {family} {from} > {to} {field}={protocol} / bytes 00112233"
                );
                frames.push((text, Some("icrc"), reason));
            }
        }
    }
    judge_all(
        "every_ip_protocol_gets_the_same_verdict",
        &world::LAN,
        &frames,
    );
}

#[test]
fn every_class_of_ethertypes_is_decided() {
    // Lengths (IEEE 802.3), their edges, each bit, and the neighbours of every type the filter knows.
    let mut types: BTreeSet<u16> = (0..16).map(|bit| 1 << bit).collect();
    types.extend([
        0, 1499, 1500, 1501, 1535, 1536, 1537, 0x88cc, 0x8847, 0x8863, 0x9100, 0x88e5, 0xffff,
    ]);
    for known in [0x0800, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x8809, 0x888e] {
        types.extend([
            known - 1,
            known,
            known + 1,
            known ^ 0xff00,
            u16::swap_bytes(known),
        ]);
    }
    for world in [&world::LAN, &world::STRICT] {
        let mut frames = Vec::new();
        for ethertype in &types {
            // Nothing follows but zeros: no IP header, and a tag of VLAN 0 around ethertype 0.
            let reason = match ethertype {
                0x0800 | 0x86dd => Reason::Malformed,
                0x0806 => Reason::Arp,
                0x8809 | 0x888e => Reason::LinkControl,
                _ => Reason::NonIp,
            };
            frames.push((
                format!("eth src=icrc dst=us type={ethertype} / pad 60"),
                Some("icrc"),
                reason,
            ));
            if !matches!(ethertype, 0x8100 | 0x88a8) {
                let tagged = format!("eth src=tagged dst=us / vlan 100 type={ethertype} / pad 60");
                frames.push((tagged, Some("tagged"), reason));
            }
        }
        judge_all("every_class_of_ethertypes_is_decided", world, &frames);
    }
}
