//! What is found in the daemon's answer, and what is not.
use serde_json::json;

use super::super::{CHECKS, Severity};
use super::*;

fn good() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"), "allowed": true, "lease_seconds_left": 59, "records_problems": [],
        "interfaces": [{ "name": "ixp0", "attached": true, "hook": "xdp-native", "frame_seen": true, "why": null,
            "left_out": [], "alarms": [], "classes": [] }],
        "peers": [{ "name": "p1", "missing": null, "publish_error": null, "stations": [{}],
            "classes": [{ "class": "sources", "family": "ipv4", "wanted": true, "in_force": true, "missing": null }],
            "ribs": [
                { "session": "192.0.2.11", "family": "ipv4", "rib": "adj-rib-in-pre-policy", "routes": 3 },
                { "session": "192.0.2.11", "family": "ipv4", "rib": "adj-rib-in-post-policy", "routes": 2 },
            ] }],
        "feeds": [{ "number": 0, "kind": "bmp", "name": "127.0.0.1:11019", "up": true, "why": null, "left_out": {} }],
    })
}

/// The only finding after a change.
fn found(change: impl FnOnce(&mut Value)) -> Finding {
    let mut status = good();
    change(&mut status);
    let mut found = look(&status);
    assert_eq!(found.len(), 1, "{found:#?}");
    let finding = found.remove(0);
    assert!(CHECKS.contains(&finding.check), "{}", finding.check);
    finding
}

#[test]
fn where_all_is_well_nothing_is_found() {
    assert_eq!(look(&good()), []);
}

#[test]
fn a_wanted_class_out_of_force_is_a_problem_in_the_words_of_status() {
    let finding = found(|status| {
        status["peers"][0]["classes"][0]["lacks"] =
            "its ipv4 sources are still being received".into();
        status["peers"][0]["classes"][0]["in_force"] = false.into();
        status["peers"][0]["classes"][0]["missing"] = "loading".into();
    });
    assert_eq!(
        finding.what,
        "not in force: sources ipv4: its ipv4 sources are still being received"
    );
    assert!(finding.keeps_out_of_force);
    assert_eq!(finding.subject.as_deref(), Some("p1"));
    let hidden = found(|status| {
        status["peers"][0]["classes"][0]["lacks"] =
            "the driver hides vlan tags: `ethtool -K ixp0 rxvlan off`".into();
        status["peers"][0]["classes"][0]["in_force"] = false.into();
        status["peers"][0]["classes"][0]["missing"] = "tags-hidden".into();
    });
    assert_eq!(hidden.fix.as_deref(), Some("ethtool -K ixp0 rxvlan off"));
    let off = found(|status| {
        status["peers"][0]["classes"][0]["in_force"] = false.into();
        status["peers"][0]["classes"][0]["missing"] = "not-allowed".into();
    });
    assert_eq!(off.fix.as_deref(), Some("bcp38 enforce p1"));
    assert!(
        off.what.ends_with("an operator switched it off"),
        "{}",
        off.what
    );
    let unwanted = |status: &mut Value| {
        status["peers"][0]["classes"][0]["in_force"] = false.into();
        status["peers"][0]["classes"][0]["wanted"] = false.into();
    };
    let mut status = good();
    unwanted(&mut status);
    assert_eq!(look(&status), []);
}

#[test]
fn a_class_is_wanted_by_whoever_wants_it() {
    let why = |configured: &str| {
        let finding = found(|status| {
            out_of_force(status, "no-station");
            status["peers"][0]["mode_configured"] = configured.into();
            status["peers"][0]["mode"] = "enforce".into();
        });
        finding.why
    };
    assert_eq!(why("enforce"), "the configuration wants it");
    assert_eq!(why("observe"), "an operator switched it on with `enforce`");
}

#[test]
fn only_skipped_announcements_are_treated_as_not_announced() {
    let mut status = good();
    let skipped = json!({ "locally-originated": 8, "statistic": 4172 });
    status["feeds"][0]["left_out"] = skipped;
    assert_eq!(look(&status), []);
    status["feeds"][0]["left_out"]["unreadable-update"] = 3.into();
    let found = look(&status);
    assert_eq!(found[0].what, "it skipped 3 unreadable-update");
}

fn out_of_force(status: &mut Value, missing: &str) {
    let class = &mut status["peers"][0]["classes"][0];
    class["in_force"] = false.into();
    class["missing"] = missing.into();
}

#[test]
fn enforce_all_is_advised_where_the_whole_filter_is_what_keeps_classes_out() {
    let fixes = |missing: &str| {
        let mut status = good();
        status["allowed"] = false.into();
        out_of_force(&mut status, missing);
        let found = look(&status);
        assert!(found.iter().all(|it| it.keeps_out_of_force), "{found:#?}");
        let fixes = found.into_iter().map(|it| it.fix.unwrap());
        fixes.collect::<Vec<_>>()
    };
    assert_eq!(fixes("all-off"), ["bcp38 enforce --all"; 2]);
    // Both are off: one command alone mends nothing.
    assert_eq!(
        fixes("not-allowed"),
        ["bcp38 enforce --all", "bcp38 enforce p1"]
    );
}

#[test]
fn nothing_is_kept_out_of_force_that_is_not_wanted() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 4] = [
        ("all-off", |it| it["allowed"] = false.into()),
        ("lease-ended", |it| it["lease_seconds_left"] = 0.into()),
        ("not-attached", |it| {
            it["interfaces"][0]["attached"] = false.into();
            it["peers"][0]["classes"][0]["lacks"] = "the program is not on `ixp0`".into();
        }),
        ("no-station", |it| it["peers"][0]["stations"] = json!([])),
    ];
    for (missing, change) in cases {
        for is_wanted in [true, false] {
            let mut status = good();
            change(&mut status);
            out_of_force(&mut status, missing);
            status["peers"][0]["classes"][0]["wanted"] = is_wanted.into();
            let found = look(&status);
            assert!(!found.is_empty());
            let keeps: Vec<bool> = found.iter().map(|it| it.keeps_out_of_force).collect();
            assert!(
                keeps.iter().all(|&it| it == is_wanted),
                "{missing}: {found:#?}"
            );
        }
    }
}

#[test]
fn each_other_thing_is_found_by_its_check() {
    type Change = Box<dyn FnOnce(&mut Value)>;
    let cases: [(&str, Change); 17] = [
        ("version", Box::new(|it| it["version"] = "0.0.1".into())),
        ("switched-off", Box::new(|it| it["allowed"] = false.into())),
        ("lease", Box::new(|it| it["lease_seconds_left"] = 0.into())),
        (
            "records",
            Box::new(|it| it["records_problems"] = json!(["disk full"])),
        ),
        ("lost", Box::new(|it| it["samples_lost"] = 7.into())),
        (
            "hook",
            Box::new(|it| it["interfaces"][0]["hook"] = "xdp-generic".into()),
        ),
        (
            "hook",
            Box::new(|it| it["interfaces"][0]["ahead"] = json!(["other (7)"])),
        ),
        (
            "bypass",
            Box::new(|it| it["peers"][0]["bypass"] = "another MAC passes".into()),
        ),
        (
            "stations",
            Box::new(|it| it["peers"][0]["unknown_macs"] = json!(["02:00:00:00:00:99"])),
        ),
        (
            "left-out",
            Box::new(|it| it["interfaces"][0]["left_out"] = json!(["02:00:00:00:00:01"])),
        ),
        (
            "alarm",
            Box::new(|it| it["interfaces"][0]["alarms"] = json!(["not-for-us"])),
        ),
        (
            "no-frame",
            Box::new(|it| it["interfaces"][0]["frame_seen"] = false.into()),
        ),
        (
            "publish",
            Box::new(|it| it["peers"][0]["publish_error"] = "no room".into()),
        ),
        (
            "limits",
            Box::new(|it| it["peers"][0]["over_limit"] = json!(["ipv4"])),
        ),
        (
            "stations",
            Box::new(|it| it["peers"][0]["stations"] = json!([])),
        ),
        (
            "pre-policy",
            Box::new(|it| it["peers"][0]["ribs"][0]["routes"] = 0.into()),
        ),
        (
            "feed-skipped",
            Box::new(|it| it["feeds"][0]["left_out"] = json!({ "unreadable": 1 })),
        ),
    ];
    for (check, change) in cases {
        assert_eq!(found(change).check, check);
    }
}

#[test]
fn a_feed_that_is_down_and_a_device_that_is_not_there_are_named_with_the_cause() {
    let down = found(|it| {
        it["feeds"][0]["up"] = false.into();
        it["feeds"][0]["why"] = "connection refused".into();
    });
    assert_eq!((down.check, down.severity), ("feed", Severity::Problem));
    assert!(down.what.contains("connection refused"));
    let detached = found(|it| {
        it["interfaces"][0]["attached"] = false.into();
        it["interfaces"][0]["why"] = "no such device".into();
    });
    assert!(detached.what.contains("no such device"));
    let unread = found(|it| it["interfaces"][0]["attached"] = Value::Null);
    assert!(unread.what.contains("cannot be read"), "{unread:?}");
    assert!(!unread.why.contains("nothing is filtered"), "{unread:?}");
}
