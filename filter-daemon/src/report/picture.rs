//! The report in the README's picture: a week of a peer whose customer sends from elsewhere. Written to the file that
//! `BCP38_REPORT` names, by `cargo xtask pictures`.
use serde_json::json;

use super::page::page;
use super::*;
use crate::records::ByReason;

const HOUR: f64 = 3600.0;
/// 2026-11-22 14:00 UTC.
const FROM: f64 = 1_795_356_000.0;
const HOURS: u64 = 7 * 24;

/// What the peer sent until that hour: all that is good, and a flood of a day and a half.
fn counted(hour: u64) -> ByReason {
    let flood: u64 = (0..hour)
        .map(|hour| match hour {
            60..96 => 9_000 + 700 * (hour % 7),
            _ => 30 + hour % 11,
        })
        .sum();
    let count = |packets: u64, size: u64| Count::from([packets, packets * size, 0, 0]);
    let each = [
        ("permitted", count(40_000_000 * hour, 800)),
        ("source-unannounced", count(flood, 512)),
        ("source-bogon", count(90 * hour, 120)),
        ("destination-unannounced", count(4 * hour * hour, 900)),
    ];
    ByReason(each.map(|(name, count)| (name.to_owned(), count)).into())
}

fn sample(number: u64) -> ViolationRecord {
    let third = number % 3;
    let value = json!({
        "number": number, "time": FROM + 60.0 * HOUR + 700.0 * number as f64, "peer": "icrc", "interface": "ixp0",
        "hook": "xdp-native", "source_mac": "02:00:00:00:00:10", "destination_mac": "02:00:00:00:00:01", "vlan": null,
        "inner_vlan": null, "ethertype": 0x0800,
        "source": if third == 2 { "10.17.3.9".to_owned() } else { format!("192.0.2.{number}") },
        "destination": "198.51.100.10", "protocol": 17, "source_port": 40_000 + number, "destination_port": 53,
        "reason": if third == 2 { "source-bogon" } else { "source-unannounced" }, "dropped": false, "length": 512,
        "forbidden_protocol": null, "source_announced_by": if third == 0 { json!(["cdn"]) } else { json!([]) },
        "destination_is": "advertised", "story": null, "header": "",
    });
    serde_json::from_value(value).unwrap()
}

#[test]
#[ignore = "draws a picture: run by `cargo xtask pictures`"]
fn the_report_of_the_picture() {
    let place = std::env::var_os("BCP38_REPORT").expect("BCP38_REPORT names a file");
    let peer = json!({ "name": "icrc", "asn": 57965 });
    let moments = (0..=HOURS).map(|hour| (FROM + hour as f64 * HOUR, counted(hour)));
    let history = PeerHistory::of(moments.collect(), FROM);
    let samples: Vec<ViolationRecord> = (1..=6).map(sample).collect();
    let events =
        [json!({ "time": FROM + 99.0 * HOUR, "note": "ticket 4711: they found the customer" })];
    let report = Report::new(Material {
        peer: &peer,
        our_asn: 64500,
        since: FROM,
        to: FROM + HOURS as f64 * HOUR,
        history: &history,
        samples: &samples,
        acknowledgements: &events,
        price: Some(0.3),
        shows_third_parties: false,
    });
    assert_eq!(report.reasons.len(), 3);
    std::fs::write(place, page(&report)).unwrap();
}
