//! What `advise` and the preview of `enforce` say of one peer.
use serde_json::json;

use super::*;
use crate::records::Count;

fn sample(reason: &str) -> ViolationRecord {
    serde_json::from_value(json!({
        "number": 1, "time": when::now(), "peer": "p1", "interface": "ixp0", "hook": null,
        "source_mac": "02:00:00:00:00:10", "destination_mac": null, "vlan": null, "inner_vlan": null,
        "ethertype": 0x0800, "source": "198.51.100.7", "destination": "9.9.9.9", "protocol": 17, "source_port": 1,
        "destination_port": 2, "reason": reason, "dropped": false, "length": 60, "forbidden_protocol": null,
        "source_announced_by": [], "destination_is": "not-ours", "story": null, "header": "",
    }))
    .unwrap()
}

/// What was counted in the last minute.
fn past(counts: &[(&str, u64)], samples: Vec<ViolationRecord>) -> Past {
    let counts = counts.iter().map(|(reason, packets)| {
        let count = Count::from([*packets, 100 * packets, 0, 0]);
        ((*reason).to_owned(), count)
    });
    let now = when::now();
    let moments = vec![
        (now - 60.0, ByReason::default()),
        (now, ByReason(counts.collect())),
    ];
    Past {
        history: PeerHistory::of(moments, 0.0),
        samples: Ok(samples),
    }
}

fn peer() -> Value {
    let classes = ["bogons", "sources", "destinations"].map(
        |class| json!({ "class": class, "family": null, "wanted": false, "in_force": false, "lacks": null }),
    );
    json!({ "name": "p1", "asn": 64501, "classes": classes })
}

fn shown(write: impl Fn(&mut dyn Write) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    anstream::adapter::strip_str(std::str::from_utf8(&out).unwrap()).to_string()
}

#[test]
fn validity_is_said_of_the_side_that_the_class_judges() {
    let samples = vec![sample("destination-unannounced")];
    let past = past(&[("permitted", 9), ("destination-unannounced", 1)], samples);
    let advice = past.advise(&peer(), &[Class::Destinations]);
    let text = shown(|out| write_groups(out, &advice.classes[0]));
    assert_eq!(
        text,
        "      from 198.51.100.0/24 (1 samples, from 02:00:00:00:00:10)\n      \
         to 9.9.9.0/24 (1 samples, not valid within the day before)\n"
    );
}

#[test]
fn a_preview_has_the_verdicts_of_advise_and_says_how_much_was_looked_at() {
    let counts = [("permitted", 40)];
    let advised = past(&counts, Vec::new()).advise(&peer(), &[]);
    let preview = past(&counts, Vec::new()).preview(&peer(), &[]);
    let verdicts = |advice: &Advice| {
        let each = advice.classes.iter().map(|it| (it.class, it.verdict));
        each.collect::<Vec<_>>()
    };
    assert_eq!(verdicts(&preview), verdicts(&advised));
    assert_eq!(
        verdicts(&preview),
        [
            ("bogons", Verdict::Safe),
            ("sources", Verdict::NotYet),
            ("destinations", Verdict::NotYet),
        ]
    );
    assert_eq!(preview.because, advised.because);
    assert_eq!(
        refuse_cost(&preview),
        Ok(()),
        "nothing would have been dropped"
    );
    assert_eq!(
        shown(|out| show_preview(out, &preview)),
        "p1: watched 1 min\n  \
         bogons        would have dropped 0 of 40 packets, 0 bytes, 0.000 %: safe\n  \
         sources       would have dropped 0 of 40 packets, 0 bytes, 0.000 %: not yet\n  \
         destinations  would have dropped 0 of 40 packets, 0 bytes, 0.000 %: not yet\n  \
         verdict: not yet, because of sources: only 1 min were watched in which its routes were known, 24.0 h are wanted; \
         destinations: only 1 min were watched in which its routes were known, 24.0 h are wanted\n"
    );
    let costly = past(&[("permitted", 40), ("source-unannounced", 5)], Vec::new());
    let why = refuse_cost(&costly.preview(&peer(), &[])).unwrap_err();
    assert!(
        why.contains("11.11 % would have been dropped for `sources`"),
        "{why}"
    );
}
