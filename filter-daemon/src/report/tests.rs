//! A report holds what was counted and sampled, cuts third parties' addresses, and is a page that nothing can break out of.
use serde_json::json;

use super::*;
use crate::records::ByReason;

const HOUR: f64 = 3600.0;
const ATTACK: &str = "<script>alert('x')</script>\" onload=\"alert(1)";

fn sample(time: f64, more: Value) -> ViolationRecord {
    let mut value = json!({
        "number": 1, "time": time, "peer": "p1", "interface": "ixp0", "hook": null, "source_mac": "02:00:00:00:00:10",
        "destination_mac": null, "vlan": null, "inner_vlan": null, "ethertype": 0x0800, "source": "9.9.9.9",
        "destination": "100.64.0.1", "protocol": 17, "source_port": 1, "destination_port": 53,
        "reason": "source-unannounced", "dropped": false, "length": 60, "forbidden_protocol": null,
        "source_announced_by": ["p2"], "destination_is": "advertised", "story": null, "header": "",
    });
    let fields = more.as_object().unwrap().clone();
    value.as_object_mut().unwrap().extend(fields);
    serde_json::from_value(value).unwrap()
}

fn history() -> PeerHistory {
    let at = |packets: u64, dropped: u64| {
        let count = Count::from([packets, 100 * packets, dropped, 100 * dropped]);
        let good = Count::from([1000, 100_000, 0, 0]);
        ByReason(
            [
                ("permitted".to_owned(), good),
                ("source-unannounced".to_owned(), count),
            ]
            .into(),
        )
    };
    let moments = vec![
        (0.0, ByReason::default()),
        (HOUR, at(10, 5)),
        (2.0 * HOUR, at(20, 5)),
    ];
    PeerHistory::of(moments, 0.0)
}

fn material<'a>(
    peer: &'a Value,
    history: &'a PeerHistory,
    samples: &'a [ViolationRecord],
) -> Material<'a> {
    Material {
        peer,
        our_asn: 64500,
        since: 0.0,
        to: 2.0 * HOUR,
        history,
        samples,
        acknowledgements: &[],
        price: None,
        shows_third_parties: false,
    }
}

#[test]
fn it_begins_where_its_records_do_and_says_so_if_that_is_later_than_asked() {
    let (peer, history) = (json!({ "name": "p1", "asn": 64501 }), history());
    let material = material(&peer, &history, &[]);
    let whole = Report::new(material);
    assert_eq!((whole.since, whole.from), (0.0, 0.0));
    let note = "Nothing is recorded of before that.";
    assert!(!page::page(&whole).contains(note));
    let asked = -7.0 * 24.0 * HOUR;
    let part = Report::new(Material {
        since: asked,
        ..material
    });
    assert_eq!((part.since, part.from, part.to), (asked, 0.0, 2.0 * HOUR));
    assert!(page::page(&part).contains(note));
    let nothing = PeerHistory::default();
    let empty = Report::new(Material {
        history: &nothing,
        ..material
    });
    assert_eq!((empty.from, empty.to), (2.0 * HOUR, 2.0 * HOUR));
}

#[test]
fn numbers_are_exact_and_third_parties_are_cut() {
    let (peer, history) = (json!({ "name": "p1", "asn": 64501 }), history());
    let samples = [
        sample(100.0, json!({})),
        sample(
            200.0,
            json!({ "source": "2001:db8:1:2::3", "destination": "2001:db8:a::1", "source_announced_by": [] }),
        ),
        sample(
            300.0,
            json!({
                "reason": "destination-unannounced", "source": "198.51.100.7", "destination": "8.8.8.8",
                "destination_is": "not-ours", "source_announced_by": [],
            }),
        ),
    ];
    let events = [
        json!({ "time": 400.0, "note": "ticket 7" }),
        json!({ "time": 500.0, "note": "fixed" }),
    ];
    let material = Material {
        acknowledgements: &events,
        price: Some(2.0),
        ..material(&peer, &history, &samples)
    };
    assert_numbers(&Report::new(material));
    assert_cut(material);
}

fn assert_numbers(report: &Report) {
    let reason = &report.reasons[0];
    assert_eq!((reason.passed, reason.dropped, reason.bytes), (20, 5, 2500));
    assert_eq!(
        (reason.first_seen, reason.last_seen),
        (Some(100.0), Some(200.0))
    );
    assert!((reason.price.unwrap() - 2.0 * reason.percentile_95 / 1e6).abs() < 1e-12);
    assert_eq!(
        (report.packets, report.opened, report.last_seen),
        (1025, Some(100.0), Some(300.0))
    );
    assert_eq!(report.acknowledgements[0].note, "fixed", "the latest first");
}

fn assert_cut(material: Material<'_>) {
    let report = Report::new(material);
    let shown: Vec<_> = report
        .samples
        .iter()
        .map(|it| (it.source.as_deref(), it.destination.as_deref()))
        .collect();
    let expected = [
        (Some("198.51.100.7"), Some("8.8.8.0/24")),
        (Some("2001:db8:1::/48"), Some("2001:db8:a::1")),
        (Some("9.9.9.0/24"), Some("100.64.0.1")),
    ];
    assert_eq!(shown, expected);
    let announced: Vec<_> = report
        .sources
        .iter()
        .map(|it| it.announced_by.as_str())
        .collect();
    assert!(
        announced.contains(&"another network that peers with us"),
        "{announced:?}"
    );
    let text = page::page(&report);
    for hidden in ["9.9.9.9", "8.8.8.8", "p2"] {
        assert!(!text.contains(hidden), "{hidden} is a third party's");
    }
    let json = serde_json::to_string(&report).unwrap();
    assert!(
        !json.contains("9.9.9.9") && !json.contains("\"p2\""),
        "the twin neither"
    );
    let full = Report::new(Material {
        shows_third_parties: true,
        ..material
    });
    assert_eq!(full.samples[2].source.as_deref(), Some("9.9.9.9"));
    assert!(full.sources.iter().any(|it| it.announced_by == "p2"));
}

#[test]
fn nothing_that_others_choose_breaks_out_of_the_page() {
    let peer = json!({ "name": ATTACK, "asn": 64501 });
    let samples = [sample(
        100.0,
        json!({
            "source_mac": ATTACK, "reason": "non-ip", "forbidden_protocol": ATTACK, "source_announced_by": [ATTACK],
        }),
    )];
    let counts = [
        (ATTACK.to_owned(), Count::from([1, 1, 1, 1])),
        ("non-ip".to_owned(), Count::from([1, 1, 1, 1])),
    ];
    let history = PeerHistory::of(
        vec![(0.0, ByReason::default()), (HOUR, ByReason(counts.into()))],
        0.0,
    );
    let events = [json!({ "time": 1.0, "note": ATTACK })];
    let report = Report::new(Material {
        acknowledgements: &events,
        shows_third_parties: true,
        ..material(&peer, &history, &samples)
    });
    let text = page::page(&report);
    assert!(text.matches("&lt;script&gt;").count() >= 4, "{text}");
    assert!(
        !text.contains("<script") && !text.contains("\" onload"),
        "{text}"
    );
    let elements = elements(&text);
    assert!(elements.contains(&"svg".to_owned()) && elements.contains(&"rect".to_owned()));
    for loads in ["src=", "href=", "url(", "@import"] {
        assert!(
            !text.contains(loads),
            "{loads}: the page is to need nothing else"
        );
    }
}

/// The names of all elements; every one must be closed in order.
fn elements(page: &str) -> Vec<String> {
    // Of HTML alone: an SVG element that is not closed holds all that follows, and a browser shows none of it.
    const VOID: [&str; 7] = ["meta", "br", "img", "hr", "input", "link", "!DOCTYPE"];
    let (mut open, mut all) = (Vec::new(), Vec::new());
    let mut rest = page;
    while let Some((_, tag)) = rest.split_once('<') {
        let (tag, after) = tag.split_once('>').expect("a tag ends");
        rest = after;
        let name: String = tag
            .trim_start_matches('/')
            .split([' ', '\n'])
            .next()
            .unwrap()
            .to_owned();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(closed), "closed in order");
        } else if !VOID.contains(&name.as_str()) {
            all.push(name.clone());
            open.push(name);
        }
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    all
}

#[test]
fn a_report_without_violations_says_so() {
    let peer = json!({ "name": "p1", "asn": 64501 });
    let counts = ByReason([("permitted".to_owned(), Count::from([7, 700, 0, 0]))].into());
    let history = PeerHistory::of(vec![(0.0, ByReason::default()), (HOUR, counts)], 0.0);
    let report = Report::new(material(&peer, &history, &[]));
    assert!(report.is_clean());
    let text = page::page(&report);
    assert!(
        text.contains("None of them broke the peering policy."),
        "{text}"
    );
    assert!(!text.contains("<svg"));
    elements(&text);
}

#[test]
fn lists_are_no_longer_than_their_limits() {
    let peer = json!({ "name": "p1", "asn": 64501 });
    let samples: Vec<ViolationRecord> = (0..=MAX_SAMPLES)
        .map(|number| {
            sample(
                number as f64,
                json!({ "source": format!("9.{number}.9.9") }),
            )
        })
        .collect();
    let history = history();
    let report = Report::new(material(&peer, &history, &samples));
    assert_eq!(
        (report.samples.len(), report.sources.len()),
        (MAX_SAMPLES, MAX_BLOCKS)
    );
    assert!(
        (report.samples[0].time - MAX_SAMPLES as f64).abs() < 1e-9,
        "the latest first"
    );
    let events: Vec<Value> = (0..=MAX_ACKNOWLEDGEMENTS)
        .map(|time| json!({ "time": time, "note": "x" }))
        .collect();
    assert_eq!(acknowledgements(&events).len(), MAX_ACKNOWLEDGEMENTS);
}
