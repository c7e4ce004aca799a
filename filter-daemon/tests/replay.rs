//! `bcp38 replay` on captures built here: every row of the policy, every kind of capture file, every way one can
//! be cut, through the binary as an operator runs it.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]
mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{
    MICRO, NANO, Order, Scratch, described, ethernet, icmp_error, ip, join, packet, pcap, pcapng,
    section, tag, udp,
};

#[path = "replay/dumps.rs"]
mod dumps;

/// The example without its BMP feed, which replay cannot ask.
fn example() -> String {
    let example = include_str!("../../docs/examples/bcp38.toml");
    let (before, rest) = example.split_once("[[feed]]\nkind = \"bmp\"").unwrap();
    let (_, after) = rest.split_once("[[feed]]\n").unwrap();
    format!("{before}[[feed]]\n{after}")
}

/// A second peer, which is there for IPv6 only.
const V6_ONLY: &str = r#"
[[peer]]
name = "v6only"
asn = 214312
interface = "ixp0"
macs = ["02:00:00:00:00:20"]
families = ["ipv6"]
extra_sources = ["2a0e::/32"]
"#;

fn bcp38(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bcp38"))
        .args(arguments)
        .output()
        .unwrap()
}

fn replay(config: &Path, capture: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let (config, capture) = (config.to_str().unwrap(), capture.to_str().unwrap());
    let output = bcp38(
        &[
            &["replay", "--config", config, "--interface", "ixp0"],
            more,
            &[capture],
        ]
        .concat(),
    );
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

const P4: &str = "45.146.194.7";
const P6: &str = "2a13:47c0:146::7";
const US4: &str = "198.51.100.7";
const US6: &str = "2001:db8:100::7";

/// Frame, then peer, reason, violation, source prefix, destination prefix as JSON.
type Case = (Vec<u8>, &'static str);

/// Every row of SPEC section 2, at least once.
#[expect(clippy::too_many_lines, reason = "a list of packets")]
fn cases() -> Vec<Case> {
    let from = |source, rest: &[u8]| ethernet(1, source, rest);
    let icrc = |rest: Vec<u8>| from(0x10, &rest);
    let ours4 = udp(US4, P4);
    let options = |mut packet: Vec<u8>| {
        packet[2] = 0x46;
        packet
    };
    let neighbour = ip(
        "2001:db8:ffff::10",
        "ff02::1:ff00:1",
        58,
        &[135, 0, 0, 0, 0, 0, 0, 0],
    );
    vec![
        (vec![2; 13], "null malformed true null null"), // 1
        (
            ethernet(9, 0x10, &udp("10.0.0.1", "10.0.0.2")),
            "icrc not-for-us false null null",
        ), // 2
        (
            ethernet(9, 0x77, &udp(P4, US4)),
            "null not-for-us false null null",
        ),
        (
            icrc(tag(0x8100, 1, &tag(0x88a8, 2, &tag(0x8100, 3, &ours4)))),
            "null malformed true null null",
        ), // 3
        (icrc(vec![0x81, 0x00, 0]), "null malformed true null null"),
        (icrc(vec![0x08, 0x06]), "icrc arp false null null"), // 4
        (
            icrc(vec![0x88, 0xcc, 1, 2, 3]),
            "icrc non-ip true null null",
        ), // 5
        (
            icrc(udp(P4, US4)[..21].to_vec()),
            "icrc malformed true null null",
        ), // 6
        (
            icrc(options(ip(P4, US4, 17, &[]))),
            "icrc malformed true null null",
        ),
        (
            icrc(join(&[&[0x86, 0xdd], &udp(P4, US4)[2..]])),
            "icrc malformed true null null",
        ),
        (
            from(0x77, &neighbour),
            "null neighbour-discovery false null null",
        ), // 9
        (
            icrc(udp("203.0.113.10", "224.0.0.5")),
            "icrc lan-multicast true null null",
        ), // 11
        (
            icrc(udp("::", "fe80::1")),
            "icrc link-local false null null",
        ),
        (
            icrc(udp("203.0.113.10", "203.0.113.1")),
            "icrc peering-lan false null null",
        ), // 12
        (
            icrc(udp("fe80::10", "2001:db8:ffff::1")),
            "icrc peering-lan false null null",
        ),
        (
            from(0x77, &udp(P4, US4)),
            "null unknown-peer true null null",
        ), // 13
        (
            icrc(tag(0x8100, 100, &udp(P4, US4))),
            "null other-vlan false null null",
        ),
        (
            from(0x20, &udp(P4, US4)),
            "v6only family-not-peered true null null",
        ), // 14
        (
            icrc(udp(P4, US4)),
            "icrc permitted false 45.146.194.0/23 198.51.100.0/24",
        ), // 15
        (
            icrc(udp(P6, US6)),
            "icrc permitted false 2a13:47c0:146::/48 2001:db8:100::/40",
        ),
        (
            icrc(tag(0x8100, 0, &udp(P4, "203.0.113.1"))),
            "icrc permitted false 45.146.194.0/23 203.0.113.1/32",
        ),
        (
            icrc(options(udp(P4, US4))),
            "icrc permitted false 45.146.194.0/23 198.51.100.0/24",
        ),
        (
            icrc(icmp_error("9.9.9.9", US4, 11, &ours4)),
            "icrc icmp-error false null 198.51.100.0/24",
        ), // 16
        (
            icrc(icmp_error("2a00::9", US6, 2, &udp(US6, P6))),
            "icrc icmp-error false null 2001:db8:100::/40",
        ),
        (
            icrc(icmp_error("9.9.9.9", US4, 5, &ours4)),
            "icrc source-unannounced true null 198.51.100.0/24",
        ),
        (
            icrc(icmp_error("9.9.9.9", US4, 11, &udp(US4, "8.8.8.8"))),
            "icrc source-unannounced true null 198.51.100.0/24",
        ),
        (
            icrc(udp("10.1.2.3", US4)),
            "icrc source-bogon true null 198.51.100.0/24",
        ), // 17
        (
            icrc(udp("fc00::1", "2a00::1")),
            "icrc source-bogon true null null",
        ),
        (
            icrc(udp("198.51.100.9", US4)),
            "icrc source-ours true null 198.51.100.0/24",
        ), // 18
        (
            icrc(udp("8.8.8.8", "1.1.1.1")),
            "icrc both-unannounced true null null",
        ), // 20
        (
            icrc(udp("45.146.196.0", US4)),
            "icrc source-unannounced true null 198.51.100.0/24",
        ), // 21
        (
            icrc(udp(P4, "198.51.101.0")),
            "icrc destination-unannounced true 45.146.194.0/23 null",
        ), // 22
        (
            from(0x20, &udp("2a0e::1", "2001:db8:ffff::1")),
            "v6only permitted false 2a0e::/32 2001:db8:ffff::1/128",
        ),
    ]
}

/// The output SPEC section 7 asks for.
fn expected(cases: &[Case]) -> String {
    let quoted = |text: &str| match text {
        "null" => text.to_owned(),
        text => format!("\"{text}\""),
    };
    let mut lines = String::new();
    for ((_, case), n) in cases.iter().zip(1..) {
        let fields: Vec<&str> = case.split(' ').collect();
        let [peer, reason, violation, source, destination] = fields[..] else {
            panic!("{case}");
        };
        let (peer, source, destination) = (quoted(peer), quoted(source), quoted(destination));
        lines += &format!(
            "{{\"n\":{n},\"peer\":{peer},\"reason\":\"{reason}\",\"violation\":{violation},\"source_prefix\":{source},\"destination_prefix\":{destination}}}\n"
        );
    }
    lines
}

fn frames(cases: &[Case]) -> Vec<Vec<u8>> {
    cases.iter().map(|(frame, _)| frame.clone()).collect()
}

#[test]
fn every_row_of_the_policy_in_every_kind_of_file() {
    let scratch = Scratch::new("rows");
    let config = scratch.file("b.toml", (example() + V6_ONLY).as_bytes());
    let cases = cases();
    let frames = frames(&cases);
    let summary = r#"{"summary":{"packets":33,"reasons":{"malformed":6,"not-for-us":2,"arp":1,"non-ip":1,"neighbour-discovery":1,"link-local":1,"peering-lan":2,"unknown-peer":1,"family-not-peered":1,"permitted":5,"icmp-error":2,"source-bogon":2,"source-ours":1,"both-unannounced":1,"source-unannounced":3,"destination-unannounced":1,"lan-multicast":1,"other-vlan":1}}}"#;
    let expected = expected(&cases) + summary + "\n";
    for (name, file) in [
        ("micro, little", pcap(Order::Little, MICRO, 1, &frames)),
        ("micro, big", pcap(Order::Big, MICRO, 1, &frames)),
        ("nano, little", pcap(Order::Little, NANO, 1, &frames)),
        ("nano, big", pcap(Order::Big, NANO, 1, &frames)),
        ("pcapng, little", pcapng(Order::Little, &frames)),
        ("pcapng, big", pcapng(Order::Big, &frames)),
    ] {
        let capture = scratch.file("c", &file);
        let (code, out, err) = replay(&config, &capture, &["--json"]);
        for (got, wanted) in out.lines().zip(expected.lines()) {
            assert_eq!(got, wanted, "{name}");
        }
        assert_eq!(out, expected, "{name}");
        assert_eq!((code, err.as_str()), (Some(0), ""), "{name}");
    }
}

/// The reasons are the same when the loaded program decides; needs CAP_BPF.
#[test]
fn the_kernel_agrees() {
    if !nix::unistd::geteuid().is_root() {
        assert!(
            std::env::var_os("FILTER_REQUIRE_KERNEL").is_none(),
            "the_kernel_agrees needs root"
        );
        eprintln!("SKIPPED: the_kernel_agrees: not root");
        return;
    }
    let scratch = Scratch::new("kernel");
    let config = scratch.file("b.toml", (example() + V6_ONLY).as_bytes());
    let mut frames = frames(&cases());
    frames.push(ethernet(1, 0x10, &ip(P4, US4, 17, &[0; 9000])));
    let capture = scratch.file("c", &pcapng(Order::Little, &frames));
    let (code, out, err) = replay(&config, &capture, &["--json", "--engine", "kernel"]);
    let (_, in_user_space, _) = replay(&config, &capture, &["--json"]);
    assert_eq!(out, in_user_space, "{err}");
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        err,
        "warning: packets of less than 14 bytes, which the kernel takes none of, judged in user space instead: 1\n"
    );
}

#[test]
fn lan_rules_are_the_interfaces_and_the_mode_is_the_peers() {
    let scratch = Scratch::new("modes");
    let text = example()
        .replace("# lan_rules = \"observe\" ", "lan_rules = \"enforce\" ")
        .replace("# mode = \"observe\" ", "mode = \"enforce\" ");
    let config = scratch.file("b.toml", text.as_bytes());
    let frames = vec![
        ethernet(1, 0x10, &[0x88, 0xcc]),
        ethernet(1, 0x77, &[0x88, 0xcc]),
        ethernet(1, 0x10, &udp(P4, US4)),
    ];
    let capture = scratch.file("c", &pcap(Order::Little, MICRO, 1, &frames));
    let (_, out, _) = replay(&config, &capture, &["--json"]);
    assert!(out.starts_with(
        r#"{"n":1,"peer":"icrc","reason":"non-ip","violation":true,"source_prefix":null,"destination_prefix":null}"#
    ));
    let (code, out, _) = replay(&config, &capture, &[]);
    assert_eq!(code, Some(0));
    let table = "\
packet  peer  fate      reason                   source > destination (covered by)
     1  icrc  drop      non-ip                 
     2  -     drop      non-ip                 
     3  icrc  pass      permitted                45.146.194.7 (45.146.194.0/23) > 198.51.100.7 (198.51.100.0/24)

3 packets, 2 dropped
     2  non-ip
     1  permitted
";
    assert_eq!(out, table);
}

#[test]
fn the_specs_own_example_is_tagged() {
    let scratch = Scratch::new("tagged");
    let text = example().replace("# vlan = 100 ", "vlan = 100 ");
    let config = scratch.file("b.toml", text.as_bytes());
    let frames = vec![
        ethernet(1, 0x10, &tag(0x8100, 100, &udp(P4, US4))),
        ethernet(1, 0x10, &tag(0x88a8, 100 | 7 << 13, &udp(P4, US4))),
        ethernet(1, 0x10, &udp(P4, US4)),
        ethernet(1, 0x10, &tag(0x88a8, 100, &tag(0x8100, 5, &udp(P4, US4)))),
    ];
    let capture = scratch.file("c", &pcap(Order::Little, MICRO, 1, &frames));
    let (_, out, _) = replay(&config, &capture, &["--json"]);
    assert!(
        out.ends_with(
            r#"{"summary":{"packets":4,"reasons":{"unknown-peer":1,"permitted":2,"other-vlan":1}}}
"#
        ),
        "{out}"
    );
}

#[test]
fn a_cut_capture_is_one_line_and_exit_code_1() {
    let scratch = Scratch::new("line");
    let config = scratch.file("b.toml", example().as_bytes());
    let frames = vec![ethernet(1, 0x10, &udp(P4, US4)); 2];
    let file = pcap(Order::Little, MICRO, 1, &frames);
    let capture = scratch.file("c", &file[..file.len() - 1]);
    let (code, out, err) = replay(&config, &capture, &["--json"]);
    assert_eq!(code, Some(1));
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(
        out.starts_with("{\"n\":1,\"peer\":\"icrc\",\"reason\":\"permitted\""),
        "{out}"
    );
    assert_eq!(
        err,
        format!(
            "error: capture `{}` is truncated at packet 2: the packets before it are complete; copy or capture it again for the rest\n",
            capture.display()
        )
    );
}

#[test]
fn captures_of_other_things_are_refused() {
    let scratch = Scratch::new("other");
    let config = scratch.file("b.toml", example().as_bytes());
    let frame = ethernet(1, 0x10, &udp(P4, US4));
    let order = Order::Little;
    let mixed = join(&[
        &section(order),
        &described(order, 1, 0),
        &described(order, 147, 0),
        &packet(order, 0, &frame),
        &packet(order, 1, &frame),
    ]);
    let no_interface = join(&[&section(order), &packet(order, 0, &frame)]);
    let cases = [
        (
            pcap(order, MICRO, 147, &[frame]),
            0,
            "has link type 147 at packet 1: capture ethernet (1), cooked (113, 276) or raw ip (101, 228, 229) packets",
        ),
        (
            mixed,
            1,
            "has link type 147 at packet 2: capture ethernet (1), cooked (113, 276) or raw ip (101, 228, 229) packets",
        ),
        (
            no_interface,
            0,
            "is damaged at packet 1: the packets before it are complete; copy or capture it again for the rest",
        ),
    ];
    for (file, printed, error) in cases {
        let capture = scratch.file("c", &file);
        let (code, out, err) = replay(&config, &capture, &["--json"]);
        assert_eq!((code, out.lines().count()), (Some(1), printed), "{err}");
        assert_eq!(
            err,
            format!("error: capture `{}` {error}\n", capture.display())
        );
    }
    let text = scratch.file("c", b"hello\n");
    let (code, _, err) = replay(&config, &text, &[]);
    assert_eq!(code, Some(1));
    assert_eq!(
        err,
        format!(
            "error: `{}` is no capture: give a pcap or pcapng file, plain or compressed with gzip\n",
            text.display()
        )
    );
    let (code, _, err) = replay(&config, &scratch.0.join("none"), &[]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("cannot read capture") && err.contains("No such file"),
        "{err}"
    );
}

/// What the capture cut is not held against a packet: `truncated`, never a violation.
#[test]
fn a_cut_packet_is_truncated_and_no_violation() {
    let scratch = Scratch::new("truncated");
    let text = example().replace("# mode = \"observe\" ", "mode = \"enforce\" ");
    let config = scratch.file("b.toml", text.as_bytes());
    let good = ethernet(1, 0x10, &ip(P4, US4, 17, &[7; 100]));
    let spoofed = ethernet(1, 0x10, &ip("8.8.8.8", US4, 17, &[7; 100]));
    let error = ethernet(1, 0x10, &icmp_error("8.8.8.8", US4, 3, &udp(US4, P4)));
    let mut file = pcap(Order::Little, MICRO, 1, &[]);
    for (frame, captured) in [
        (&good, 20),
        (&good, 34),
        (&spoofed, 34),
        (&spoofed, 33),
        (&error, 50),
        (&error, error.len()),
    ] {
        let length = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
        let record = join(&[
            &[0; 8],
            &length(captured),
            &length(frame.len()),
            &frame[..captured],
        ]);
        file.extend(record);
    }
    let capture = scratch.file("c", &file);
    let (code, out, err) = replay(&config, &capture, &["--json"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let printed: Vec<(String, bool)> = out
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|line| line["n"].is_u64())
        .map(|line| {
            (
                line["reason"].as_str().unwrap().to_owned(),
                line["violation"] == true,
            )
        })
        .collect();
    let printed: Vec<(&str, bool)> = printed
        .iter()
        .map(|(reason, is)| (reason.as_str(), *is))
        .collect();
    let expected = [
        ("truncated", false),
        ("permitted", false),
        ("source-unannounced", true),
        ("truncated", false),
        ("truncated", false),
        ("icmp-error", false),
    ];
    assert_eq!(printed, expected);
    assert!(out.contains("\"truncated\":3}"), "{out}");
    let (_, table, _) = replay(&config, &capture, &[]);
    assert!(table.contains("6 packets, 1 dropped"), "{table}");
}

/// What was captured on `any` is judged by the sender's MAC; a packet without MACs on a port only.
#[test]
fn cooked_and_raw_captures_are_judged_where_they_hold_what_is_needed() {
    let scratch = Scratch::new("cooked");
    let packet = udp(P4, US4);
    let cooked = |kind: u8| {
        let header = [0, kind, 0, 1, 0, 6, 2, 0, 0, 0, 0, 0x10, 0, 0];
        join(&[&header, &packet])
    };
    let config = scratch.file("b.toml", example().as_bytes());
    let capture = scratch.file(
        "c",
        &pcap(Order::Little, MICRO, 113, &[cooked(0), cooked(4)]),
    );
    let (code, out, err) = replay(&config, &capture, &["--json"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains(r#""reasons":{"permitted":1}"#), "{out}");
    assert_eq!(
        err,
        "warning: packets that went out, which are not judged: 1\n"
    );
    let raw = scratch.file(
        "r",
        &pcap(Order::Little, MICRO, 101, &[packet[2..].to_vec()]),
    );
    let (code, _, err) = replay(&config, &raw, &["--json"]);
    assert_eq!(code, Some(2));
    assert!(
        err.contains("the capture has no MACs, by which the peers on `ixp0` are told apart"),
        "{err}"
    );
    let port = r#"
[router]
asn = 64500
[[interface]]
name = "ixp0"
kind = "port"
mac = "02:00:00:00:00:01"
addresses = ["203.0.113.1"]
[[peer]]
name = "icrc"
asn = 57965
interface = "ixp0"
addresses = ["203.0.113.10"]
[[feed]]
kind = "static"
peer = "icrc"
advertised_by_peer = ["45.146.194.0/23"]
advertised_to_peer = ["198.51.100.0/24"]
"#;
    let config = scratch.file("p.toml", port.as_bytes());
    let (code, out, err) = replay(&config, &raw, &["--json"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains(r#""peer":"icrc","reason":"permitted""#),
        "{out}"
    );
}

#[test]
fn a_capture_may_be_compressed_and_a_cut_one_is_named() {
    use std::io::Write as _;
    let scratch = Scratch::new("gzip");
    let config = scratch.file("b.toml", example().as_bytes());
    let frames = vec![ethernet(1, 0x10, &udp(P4, US4)); 2000];
    for file in [
        pcap(Order::Little, MICRO, 1, &frames),
        pcapng(Order::Little, &frames),
    ] {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(&file).unwrap();
        let packed = out.finish().unwrap();
        let capture = scratch.file("c.gz", &packed);
        let (code, out, err) = replay(&config, &capture, &["--json"]);
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert!(
            out.contains(r#""reasons":{"permitted":2000}"#),
            "{}",
            out.len()
        );
        let cut = scratch.file("cut.gz", &packed[..packed.len() / 2]);
        let (code, _, err) = replay(&config, &cut, &["--json"]);
        assert_eq!(code, Some(1));
        assert!(err.contains("is truncated at packet"), "{err}");
    }
}

#[test]
fn a_feed_that_asks_a_router_is_named() {
    let scratch = Scratch::new("offline");
    let (before, rest) = include_str!("../../docs/examples/bcp38.toml")
        .split_once("[[feed]]\nkind = \"static\"")
        .unwrap();
    let (_, after) = rest.split_once("[timers]").unwrap();
    let config = format!("{before}[timers]{after}");
    let config = scratch.file("b.toml", config.as_bytes());
    let packet = ethernet(1, 0x10, &udp("9.9.9.9", "9.9.9.10"));
    let capture = scratch.file("c", &pcap(Order::Little, MICRO, 1, &[packet]));
    let (code, out, err) = replay(&config, &capture, &["--json"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("\"reason\":\"unjudged\""), "{out}");
    assert_eq!(
        err,
        "warning: the bmp feed 127.0.0.1:11019 asks a router, which replay does not: its routes are not known here; give an `mrt` feed or `static` lists\n"
    );
}
