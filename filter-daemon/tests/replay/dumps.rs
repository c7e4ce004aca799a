//! `bcp38 replay` by the routes of a recorded table dump, and by the MACs of an exchange's member export.
use super::common::{MICRO, Order, Scratch, ethernet, pcap, udp};
use super::{Case, P4, US4, example, expected, frames, replay};

/// The lab of the recorded dumps, without routes; the file itself has what is P1's and P2's.
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

/// What the lab's router advertises to each of them, by hand: dumps do not hold it.
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
    // P1 over its limit, P2 with a bogon, and sessions of no peer.
    let text = format!("{DUMPED}{feed}{TO_THEM}")
        .replace("\"198.18.0.0/15\", ", "")
        .replacen("view", "max_prefixes = { ipv4 = 1 }\nview", 1)
        .replace(", \"2001:db8:ff::12\"", "");
    let (code, out, err) = run(&text);
    assert_eq!(code, Some(0), "{err}");
    let received = [
        "warning: the mrt feed has routes of 1 sessions that no peer and no route server has, the first is 2001:db8:ff::12\n",
        "warning: p1 announces 2 ipv4 prefixes, 1 are allowed: the last good ones count until it fits, or, if there were none, what is received\n",
        "warning: peer \"p2\": 198.18.0.0/16 is not admitted: it is within the bogon list\n",
    ];
    assert_eq!(err, received.concat());
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
        let text = example().replace(
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
