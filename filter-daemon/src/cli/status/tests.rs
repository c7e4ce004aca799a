//! A status as people read it, and what `--wait` waits for.
use serde_json::json;

use super::*;

fn class(class: &str, family: Option<&str>, in_force: bool, missing: Option<&str>) -> Value {
    json!({
        "class": class, "family": family, "wanted": true, "allowed": true, "in_force": in_force,
        "missing": missing, "since_seconds": 12, "expected_seconds": missing.map(|_| 288),
    })
}

fn status() -> Value {
    json!({
        "version": "0.1.0", "uptime_seconds": 7300, "allowed": true, "lease_seconds_left": 59,
        "tables": { "bytes_used": 1, "bytes_capacity": 2 }, "samples_lost": 0, "records_lost": 3,
        "records_problems": [], "log_lines_lost": 0, "events_lost": 0,
        "peers": [
            {
                "name": "icrc", "asn": 57965, "state": "partly", "families": ["ipv4", "ipv6"],
                "sources": 3, "destinations": 4, "publish_pending": false, "publish_error": null,
                "missing": "its ipv6 sources are still being received", "refused": 2,
                "bypass": "another MAC passes", "unknown_macs": ["02:00:00:00:00:99"],
                "last_change": when::now() - 180.5,
                "rates": { "seconds": 10.0, "passed": 12.34, "would_drop": 0.0, "dropped": 1.5 },
                "classes": [
                    class("bogons", Some("ipv4"), true, None), class("bogons", Some("ipv6"), true, None),
                    class("sources", Some("ipv4"), true, None),
                    class("sources", Some("ipv6"), false, Some("loading")),
                    class("destinations", Some("ipv6"), false, Some("loading")),
                    class("malformed", None, true, None),
                ],
                "stations": [{ "interface": "ixp0", "mac": "02:00:00:00:00:10", "vlan": 100, "inner_vlan": null, "last_seen_seconds": 3 }],
                "ribs": [], "counters": { "permitted": { "passed": { "packets": 7 }, "dropped": { "packets": 0 } } },
            },
            { "name": "other", "asn": 64502, "state": "observing", "classes": [], "families": ["ipv4"], "stations": [],
              "publish_pending": false, "publish_error": null, "rates": null },
        ],
        "feeds": [
            { "number": 0, "kind": "bmp", "name": "127.0.0.1:11019", "up": true, "seconds": 30, "why": null, "left_out": {} },
            { "number": 1, "kind": "frr", "name": "", "up": false, "seconds": 90, "why": "no such socket",
              "left_out": { "unreadable": 4, "zero": 0 } },
        ],
        "interfaces": [
            { "name": "ixp0", "hook": "xdp-native", "attached": true, "why": null, "alarms": ["no-record"],
              "contested": [{ "interface": "ixp0", "mac": "02:00:00:00:00:98", "vlan": null, "inner_vlan": null }],
              "left_out": [], "classes": [class("lan", None, true, None)] },
            { "name": "pni0", "hook": null, "attached": false, "why": "no such device", "alarms": [], "left_out": [],
              "classes": [] },
        ],
    })
}

fn shown(status: &Value, in_detail: bool) -> String {
    let mut out = Vec::new();
    show(&mut out, status, in_detail).unwrap();
    anstream::adapter::strip_str(std::str::from_utf8(&out).unwrap()).to_string()
}

#[test]
fn a_status_is_read_in_ten_seconds() {
    let expected = "\
peer           as  state       sources     dests  changed    passed/s  would drop/s   dropped/s  in force
icrc        57965  partly            3         4    3 min        12.3           0.0         1.5  bogons, sources ipv4, malformed
       not in force: sources ipv6, destinations ipv6: loading for 12 s, expected within 288 s
       its ipv6 sources are still being received
       2 announced prefixes are not admitted: `bcp38 prefixes icrc` lists them
       bypass: another MAC passes: `unknown` is not in force there
       02:00:00:00:00:99 sends what only this peer announces: `bcp38 macs icrc accept 02:00:00:00:00:99`, if it is its router
other       64502  observing         -         -        -           -             -           -  nothing
feed 0 bmp 127.0.0.1:11019: up for 30 s
feed 1 frr: down for 90 s: no such socket; skipped 4 unreadable
interface ixp0: xdp-native; in force for frames of no peer: lan
  no-record: frames come in from a device that has no record, and pass
  02:00:00:00:00:98 answers for two peers, and what it sends is not judged: `bcp38 macs PEER accept 02:00:00:00:00:98` of the one it is
interface pni0: not attached: no such device; in force for frames of no peer: nothing
3 records were not written
tables: 1 of 2 bytes; lease: 59 s left; daemon 0.1.0, up for 2 h
";
    assert_eq!(shown(&status(), false), expected);
}

#[test]
fn one_peer_is_shown_with_its_interfaces_and_details_and_an_unknown_one_is_refused() {
    let mut one = status();
    only(&mut one, "icrc").unwrap();
    let text = shown(&one, true);
    assert!(
        text.contains("sends from 02:00:00:00:00:10 on ixp0.100, seen 3 s ago"),
        "{text}"
    );
    assert!(text.contains("permitted: 7 passed, 0 dropped"), "{text}");
    assert!(!text.contains("64502") && !text.contains("pni0"), "{text}");
    let error = only(&mut status(), "icrcs").unwrap_err();
    assert!(error.contains("did you mean `icrc`"), "{error}");
}

#[test]
fn each_condition_names_what_is_missing() {
    let mut status = status();
    let missing = |condition: Condition, status: &Value| condition.missing(status);
    let all = |status: &Value| {
        [
            Condition::Attached,
            Condition::Feeds,
            Condition::Ready,
            Condition::InForce,
        ]
        .map(|condition| missing(condition, status))
    };
    let named = all(&status).map(Option::unwrap);
    assert_eq!(named[0], "interface `pni0`: no such device");
    assert_eq!(named[1], "feed 1 frr is down");
    assert_eq!(named[3], "`icrc`: sources ipv6 is not in force: loading");
    status["interfaces"][1]["attached"] = true.into();
    status["peers"][0]["publish_pending"] = true.into();
    let waiting = missing(Condition::Ready, &status).unwrap();
    assert!(waiting.starts_with("peer `icrc`"), "{waiting}");
    status["peers"][0]["publish_pending"] = false.into();
    status["feeds"][1]["up"] = true.into();
    for class in status["peers"][0]["classes"].as_array_mut().unwrap() {
        class["in_force"] = true.into();
    }
    assert_eq!(all(&status), [None, None, None, None]);
}

#[test]
fn everything_switched_off_is_the_first_line() {
    let mut status = status();
    status["allowed"] = false.into();
    assert!(shown(&status, false).starts_with("nothing is dropped anywhere"));
}
