//! What the journal shows is answered, and what it does not show is not.
use super::*;

const BEGAN: u64 = 1_000_000_000;
const WIDE: &str = "9.0.0.0/8";
const LONG: &str = "9.9.9.0/24";

fn record(time: f64, change: u64, how: &str, prefix: &str) -> RouteRecord {
    RouteRecord {
        number: change,
        time,
        began: BEGAN,
        peer: "p1".to_owned(),
        side: "sources".to_owned(),
        change,
        how: how.to_owned(),
        prefix: Some(prefix.to_owned()),
        feed: Some("bmp".to_owned()),
        session: Some("192.0.2.11".to_owned()),
        since: None,
        count: None,
    }
}

fn many(since: f64, time: f64, change: u64) -> RouteRecord {
    RouteRecord {
        prefix: None,
        since: Some(since),
        count: Some(1000),
        ..record(time, change, "many", WIDE)
    }
}

/// At each time: was it valid, and by which prefix?
fn answers(material: Material<'_>, times: &[f64]) -> Vec<(Option<bool>, Option<String>)> {
    let address: std::net::IpAddr = "9.9.9.9".parse().unwrap();
    let then = |time: &f64| {
        let then = at(material, *time, address.into());
        assert_eq!(then.valid.is_none(), then.why.is_some());
        (then.valid, then.prefix.map(|it| it.to_string()))
    };
    times.iter().map(then).collect()
}

fn yes(prefix: &str) -> (Option<bool>, Option<String>) {
    (Some(true), Some(prefix.to_owned()))
}

const NO: (Option<bool>, Option<String>) = (Some(false), None);
const UNKNOWN: (Option<bool>, Option<String>) = (None, None);

#[test]
fn each_change_counts_from_when_it_was() {
    let records = [
        record(1010.0, 1, "announced", WIDE),
        record(1020.0, 2, "announced", LONG),
        record(1030.0, 3, "withdrawn", LONG),
        record(1040.0, 4, "left", LONG),
        record(1050.0, 5, "left", WIDE),
        record(1060.0, 6, "announced", "203.0.113.0/24"),
    ];
    let material = Material {
        records: &records,
        began: BEGAN,
        changes: 6,
        valid_now: &[],
    };
    let times = [
        999.0, 1005.0, 1010.0, 1025.0, 1035.0, 1045.0, 1050.0, 2000.0,
    ];
    let expected = [
        UNKNOWN,
        NO,
        yes(WIDE),
        yes(LONG),
        yes(LONG),
        yes(WIDE),
        NO,
        NO,
    ];
    assert_eq!(answers(material, &times), expected);
    let address: std::net::IpAddr = "9.9.9.9".parse().unwrap();
    let then = at(material, 1035.0, address.into());
    let shown: Vec<_> = then.before.iter().map(|it| it.change).collect();
    assert_eq!((shown, then.after.unwrap().change), (vec![1, 2, 3], 4));
}

#[test]
fn what_a_table_brought_at_once_is_known_by_what_happened_since() {
    let records = [many(1001.0, 1010.0, 1), record(1020.0, 2, "left", LONG)];
    let wide = [WIDE.parse().unwrap()];
    let material = Material {
        records: &records,
        began: BEGAN,
        changes: 2,
        valid_now: &wide,
    };
    // While it was received, nothing shows what was valid; before it, nothing was.
    let times = [1000.5, 1005.0, 1010.0, 1015.0, 1020.0];
    let expected = [NO, UNKNOWN, yes(LONG), yes(LONG), yes(WIDE)];
    assert_eq!(answers(material, &times), expected);
}

#[test]
fn where_a_record_is_missing_nothing_is_claimed_across_it() {
    let records = [
        record(1010.0, 1, "announced", LONG),
        record(1030.0, 3, "announced", "203.0.113.0/24"),
    ];
    let material = Material {
        records: &records,
        began: BEGAN,
        changes: 3,
        valid_now: &[],
    };
    let times = [1005.0, 1010.0, 1020.0, 1030.0];
    assert_eq!(answers(material, &times), [NO, UNKNOWN, UNKNOWN, NO]);
    // The last one has not been written yet, or never will.
    let behind = Material {
        changes: 4,
        ..material
    };
    assert_eq!(answers(behind, &[1005.0, 1040.0]), [NO, UNKNOWN]);
    // The oldest ones had to go.
    let trimmed = Material {
        records: &records[1..],
        ..material
    };
    assert_eq!(answers(trimmed, &[1005.0, 1040.0]), [UNKNOWN, NO]);
}

#[test]
fn an_earlier_run_answers_for_what_it_recorded_and_the_present_for_nothing_of_it() {
    let records = [
        record(1010.0, 1, "announced", LONG),
        record(1020.0, 2, "left", LONG),
        many(1030.0, 1031.0, 3),
    ];
    let wide = [WIDE.parse().unwrap()];
    let material = Material {
        records: &records,
        began: 2 * BEGAN,
        changes: 0,
        valid_now: &wide,
    };
    let times = [1015.0, 1025.0, 1040.0, 2001.0];
    let expected = [yes(LONG), NO, UNKNOWN, yes(WIDE)];
    assert_eq!(answers(material, &times), expected);
    // Its last changes may not have been written before it ended.
    let ended = Material {
        records: &records[..2],
        ..material
    };
    assert_eq!(answers(ended, &[1015.0, 1025.0]), [yes(LONG), UNKNOWN]);
    // Unless it recorded how many there were; what it did not write is missing then.
    let mut whole = [&records[..2], &[record(1027.0, 2, ENDED, "")]].concat();
    whole[2].prefix = None;
    let times = [1015.0, 1025.0, 1028.0];
    for (changes, then) in [(2, NO), (3, UNKNOWN)] {
        whole[2].change = changes;
        let orderly = Material {
            records: &whole,
            ..material
        };
        assert_eq!(answers(orderly, &times), [yes(LONG), then, UNKNOWN]);
    }
}
