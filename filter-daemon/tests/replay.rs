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

const EXAMPLE: &str = include_str!("../../docs/examples/bcp38.toml");

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
    let config = scratch.file("b.toml", (EXAMPLE.to_owned() + V6_ONLY).as_bytes());
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
    let config = scratch.file("b.toml", (EXAMPLE.to_owned() + V6_ONLY).as_bytes());
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
    let text = EXAMPLE
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
    let text = EXAMPLE.replace("# vlan = 100 ", "vlan = 100 ");
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
    let config = scratch.file("b.toml", EXAMPLE.as_bytes());
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
    let config = scratch.file("b.toml", EXAMPLE.as_bytes());
    let frame = ethernet(1, 0x10, &udp(P4, US4));
    let order = Order::Little;
    let mixed = join(&[
        &section(order),
        &described(order, 1, 0),
        &described(order, 101, 0),
        &packet(order, 0, &frame),
        &packet(order, 1, &frame),
    ]);
    let no_interface = join(&[&section(order), &packet(order, 0, &frame)]);
    let cases = [
        (
            pcap(order, MICRO, 101, &[frame]),
            0,
            "has link type 101 at packet 1, not ethernet (1): capture on an ethernet device (not on `any`)",
        ),
        (
            mixed,
            1,
            "has link type 101 at packet 2, not ethernet (1): capture on an ethernet device (not on `any`)",
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
            "error: `{}` is no capture: give an uncompressed pcap or pcapng file\n",
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

/// The lab of the recorded dumps, without routes; what of them is P1's and P2's is told by the file.
const DUMPED: &str = r#"
[router]
asn = 64500
prefixes = ["100.64.0.0/16", "2001:db8:a::/48"]
bogon_exceptions = ["100.64.0.0/10", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"]

[[interface]]
name = "ixp0"
kind = "lan"
lan = ["192.0.2.0/24", "2001:db8:ff::/64"]
mac = "02:00:00:00:00:01"
addresses = ["192.0.2.1", "2001:db8:ff::1"]

[[peer]]
name = "p1"
asn = 64501
interface = "ixp0"
addresses = ["192.0.2.11", "2001:db8:ff::11"]
macs = ["02:00:00:00:00:11"]
view = "post-policy"

[[peer]]
name = "p2"
asn = 4200000002
interface = "ixp0"
addresses = ["192.0.2.12", "2001:db8:ff::12"]
macs = ["02:00:00:00:00:12"]
view = "post-policy"
"#;

/// What the lab's router tells each of them, by hand: dumps do not.
const TO_THEM: &str = r#"
[[feed]]
kind = "static"
peer = "p1"
advertised_to_peer = ["100.64.0.0/24", "2001:db8:a::/48"]
[[feed]]
kind = "static"
peer = "p2"
advertised_to_peer = ["100.64.0.0/24", "2001:db8:a::/48"]
"#;

fn dump(file: &str, more: &str) -> String {
    let captures = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/captures");
    format!("[[feed]]\nkind = \"mrt\"\npath = \"{captures}/{file}\"\n{more}\n")
}

/// Sender, source, and then peer, reason, violation and the covering source prefix.
fn dumped_cases() -> Vec<Case> {
    let us = |source: &str| {
        if source.contains(':') {
            "2001:db8:a::1"
        } else {
            "100.64.0.1"
        }
    };
    let case =
        |sender, source: &str, expected| (ethernet(1, sender, &udp(source, us(source))), expected);
    vec![
        case(
            0x11,
            "198.51.100.1",
            "p1 permitted false 198.51.100.0/24 100.64.0.0/24",
        ),
        case(
            0x11,
            "203.0.113.1",
            "p1 permitted false 203.0.113.0/24 100.64.0.0/24",
        ),
        case(
            0x11,
            "2001:db8:1::1",
            "p1 permitted false 2001:db8:1::/48 2001:db8:a::/48",
        ),
        case(
            0x11,
            "198.18.0.1",
            "p1 source-unannounced true null 100.64.0.0/24",
        ),
        case(
            0x12,
            "198.18.0.1",
            "p2 permitted false 198.18.0.0/16 100.64.0.0/24",
        ),
        case(
            0x12,
            "203.0.113.1",
            "p2 permitted false 203.0.113.0/24 100.64.0.0/24",
        ),
        case(
            0x12,
            "2001:db8:2::1",
            "p2 permitted false 2001:db8:2::/48 2001:db8:a::/48",
        ),
        case(
            0x12,
            "198.51.100.1",
            "p2 source-unannounced true null 100.64.0.0/24",
        ),
        case(
            0x12,
            "2001:db8:1::1",
            "p2 source-unannounced true null 2001:db8:a::/48",
        ),
    ]
}

#[test]
fn routes_of_a_table_dump_are_whose_session_told_them() {
    let scratch = Scratch::new("mrt");
    let cases = dumped_cases();
    let capture = scratch.file("c", &pcap(Order::Little, MICRO, 1, &frames(&cases)));
    for feeds in [
        dump("frr-10.3/mrt/mrt-rib.mrt", ""),
        dump(
            "frr-8.4.4/mrt/mrt-rib.mrt",
            "rib = \"adj-rib-in-post-policy\"",
        ),
        dump("openbgpd-8.8/mrt/mrt-rib.mrt", ""),
        dump("bird-2.19.2/mrt/mrt-rib-master4.mrt", "")
            + &dump("bird-2.19.2/mrt/mrt-rib-master6.mrt", ""),
    ] {
        let text = format!("{DUMPED}{feeds}{TO_THEM}");
        let config = scratch.file("b.toml", text.as_bytes());
        let (code, out, err) = replay(&config, &capture, &["--json"]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{feeds}");
        let summary =
            r#"{"summary":{"packets":9,"reasons":{"permitted":6,"source-unannounced":3}}}"#;
        assert_eq!(out, expected(&cases) + summary + "\n", "{feeds}");
    }
}

/// Before policy OpenBGPD's dump has 10.10.0.0/16 too, which the lab's router does not accept.
#[test]
fn a_dump_is_of_the_table_the_feed_says() {
    let scratch = Scratch::new("views");
    let packet = ethernet(1, 0x11, &udp("10.10.0.1", "100.64.0.1"));
    let capture = scratch.file("c", &pcap(Order::Little, MICRO, 1, &[packet]));
    let run = |view: &str, feed: &str| {
        let text = DUMPED
            .replace("post-policy", view)
            .replace("\"100.64.0.0/10\", ", "\"100.64.0.0/10\", \"10.0.0.0/8\", ");
        let config = scratch.file("b.toml", (text + feed + TO_THEM).as_bytes());
        let (code, out, err) = replay(&config, &capture, &["--json"]);
        assert_eq!(code, Some(0), "{err}");
        let first = out.lines().next().unwrap().to_owned();
        (first.contains("permitted"), err)
    };
    let pre = dump(
        "openbgpd-8.8/mrt/mrt-adjin.mrt",
        "rib = \"adj-rib-in-pre-policy\"",
    );
    let post = dump("openbgpd-8.8/mrt/mrt-rib.mrt", "");
    assert_eq!(run("pre-policy", &pre), (true, String::new()));
    assert_eq!(run("post-policy", &post), (false, String::new()));
    for (view, feed) in [("post-policy", &pre), ("pre-policy", &post)] {
        let (permitted, err) = run(view, feed);
        assert!(!permitted);
        let lines: Vec<&str> = err.lines().collect();
        assert_eq!(lines.len(), 2, "{err}");
        for (line, peer) in lines.iter().zip(["p1", "p2"]) {
            let start = format!(
                "warning: peer \"{peer}\": its `view` is not the Adj-RIB that the mrt feed"
            );
            assert!(line.starts_with(&start), "{line}");
        }
    }
}

#[test]
fn what_is_odd_about_a_dump_is_told_and_what_is_wrong_ends_it() {
    let scratch = Scratch::new("odd");
    let cases = dumped_cases();
    let capture = scratch.file("c", &pcap(Order::Little, MICRO, 1, &frames(&cases)));
    let feed = dump("frr-10.3/mrt/mrt-rib.mrt", "");
    let run = |text: &str| {
        let config = scratch.file("b.toml", text.as_bytes());
        replay(&config, &capture, &["--json"])
    };
    // P1 over its limit, P2 with a bogon, and nobody's sessions.
    let text = format!("{DUMPED}{feed}{TO_THEM}")
        .replace("\"198.18.0.0/15\", ", "")
        .replacen("view", "max_prefixes = { ipv4 = 1 }\nview", 1)
        .replace(", \"2001:db8:ff::12\"", "");
    let (code, out, err) = run(&text);
    assert_eq!(code, Some(0), "{err}");
    let told = [
        "warning: the mrt feed tells 1 sessions that no peer and no route server has, the first is 2001:db8:ff::12\n",
        "warning: p1 announces 2 ipv4 prefixes, 1 are allowed: the last good ones count until it fits, or, if there were none, what is received\n",
        "warning: peer \"p2\": 198.18.0.0/16 is not admitted: it is within the bogon list\n",
    ];
    assert_eq!(err, told.concat());
    assert!(
        out.contains(r#""peer":"p2","reason":"source-bogon""#),
        "{out}"
    );
    // There was no last good table: what P1 announces counts.
    assert!(
        out.contains(r#""peer":"p1","reason":"permitted","violation":false,"source_prefix":"198.51.100.0/24""#),
        "{out}"
    );
    // A file that is none, and one that is not there.
    let junk = scratch.file("rib.mrt", b"junk");
    for (path, why) in [
        (junk.to_str().unwrap(), "record 1: "),
        ("/nonexistent/rib.mrt", "cannot read it: No such file"),
    ] {
        let feed = format!("[[feed]]\nkind = \"mrt\"\npath = \"{path}\"\n");
        let (code, out, err) = run(&format!("{DUMPED}{feed}"));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
        assert!(
            err.starts_with(&format!("error: MRT file {path}: {why}")),
            "{err}"
        );
    }
}

/// A capture has no neighbour table; the exchange's export stands in for it.
#[test]
fn a_member_export_tells_whose_a_packet_is() {
    let scratch = Scratch::new("export");
    let packet = ethernet(1, 0x33, &udp(P4, US4));
    let capture = scratch.file("c", &pcap(Order::Little, MICRO, 1, &[packet]));
    let run = |export: &str| {
        let export = scratch.file("ix.json", export.as_bytes());
        let text = EXAMPLE.replace(
            "# ixf = \"/var/lib/bcp38/ixp0.json\" ",
            &format!("ixf = {export:?} "),
        );
        let config = scratch.file("b.toml", text.as_bytes());
        replay(&config, &capture, &["--json"])
    };
    let member = |mac: &str| {
        format!(
            r#"{{"member_list": [{{"asnum": 57965, "connection_list": [{{"vlan_list": [
            {{"ipv4": {{"address": "203.0.113.10", "mac_addresses": ["{mac}"]}}}}]}}]}}]}}"#
        )
    };
    let (code, out, err) = run(&member("02:00:00:00:00:33"));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        out.starts_with(r#"{"n":1,"peer":"icrc","reason":"permitted""#),
        "{out}"
    );
    let (_, out, _) = run(&member("02:00:00:00:00:34"));
    assert!(
        out.starts_with(r#"{"n":1,"peer":null,"reason":"unknown-peer""#),
        "{out}"
    );
    let (code, out, err) = run("{");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.starts_with("error: member export ") && err.contains("ix.json: EOF"),
        "{err}"
    );
}
