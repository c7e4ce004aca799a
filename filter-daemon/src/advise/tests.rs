//! What is advised of peers that behave, that leak a little, that leak much, and of which too little is known.
use serde_json::json;

use super::*;
use crate::records::{Count, Moment, UnknownSides};

const DAY: f64 = 86_400.0;

fn peer(state: &str, missing: Option<&str>) -> Value {
    let classes = ["bogons", "families", "malformed", "sources", "destinations"].map(|class| {
        let relies_on_routes = ["sources", "destinations"].contains(&class);
        let lacks = missing.filter(|_| relies_on_routes);
        json!({ "class": class, "family": null, "wanted": false, "in_force": false, "missing": null, "lacks": lacks })
    });
    json!({ "name": "p1", "asn": 64501, "state": state, "missing": missing, "classes": classes })
}

/// Everything is counted at once; then an hour a step.
fn history(seconds: f64, counts: &[(&str, u64)]) -> PeerHistory {
    let counts = counts.iter().map(|(reason, packets)| {
        (
            (*reason).to_owned(),
            Count::from([*packets, 100 * packets, 0, 0]),
        )
    });
    let counts = ByReason(counts.collect());
    let mut moments = vec![(-3600.0, ByReason::default())];
    let hours = (0..).map(|hour| f64::from(hour) * 3600.0);
    let times = hours.take_while(|time| *time < seconds).chain([seconds]);
    moments.extend(times.map(|time| (time, counts.clone())));
    PeerHistory::of(moments, -3600.0)
}

fn sample(reason: &str, source: &str, announced_by: &[&str], mac: &str) -> ViolationRecord {
    serde_json::from_value(json!({
        "number": 1, "time": 1.0, "peer": "p1", "interface": "ixp0", "hook": null, "source_mac": mac,
        "destination_mac": null, "vlan": null, "inner_vlan": null, "ethertype": 0x0800, "source": source,
        "destination": "100.64.0.1", "protocol": 17, "source_port": 1, "destination_port": 2, "reason": reason,
        "dropped": false, "length": 60, "forbidden_protocol": null, "source_announced_by": announced_by,
        "destination_is": "advertised", "story": null, "header": "",
    }))
    .unwrap()
}

fn advice(peer: &Value, history: &PeerHistory, samples: &[ViolationRecord]) -> Advice {
    let evidence = Evidence {
        peer,
        history,
        samples: Ok(samples),
    };
    advise(evidence, &[])
}

fn class<'a>(advice: &'a Advice, name: &str) -> &'a ClassAdvice {
    advice.classes.iter().find(|it| it.class == name).unwrap()
}

#[test]
fn a_peer_that_behaves_is_safe() {
    let history = history(2.0 * DAY, &[("permitted", 1000), ("peering-lan", 10)]);
    let advice = advice(&peer("observing", None), &history, &[]);
    assert_eq!(advice.verdict, Verdict::Safe);
    assert_eq!(advice.because, None);
    assert_eq!(advice.packets, 1010);
    let command = "bcp38 enforce p1 --confirm-within 10m";
    assert_eq!(advice.command.as_deref(), Some(command));
}

#[test]
fn a_little_is_named_with_its_sources_announcers_and_macs() {
    let history = history(
        2.0 * DAY,
        &[("permitted", 10_000), ("source-unannounced", 9)],
    );
    let samples = [
        sample(
            "source-unannounced",
            "9.9.9.9",
            &["p2"],
            "02:00:00:00:00:10",
        ),
        sample("source-unannounced", "9.9.9.1", &[], "02:00:00:00:00:11"),
        sample(
            "source-unannounced",
            "2001:db8:1::1",
            &[],
            "02:00:00:00:00:10",
        ),
        sample("source-bogon", "10.0.0.1", &[], "02:00:00:00:00:10"),
    ];
    let advice = advice(&peer("observing", None), &history, &samples);
    assert_eq!(advice.verdict, Verdict::SafeExcept);
    let sources = class(&advice, "sources");
    assert_eq!((sources.packets, sources.bytes), (9, 900));
    let share = sources.share.unwrap();
    assert!((share - 0.0899).abs() < 1e-3, "{share}");
    assert_eq!(sources.sampled, [("ipv4", 3), ("ipv6", 1)].into());
    let first = &sources.sources[0];
    assert_eq!((first.prefix.as_str(), first.samples), ("9.9.9.0/24", 2));
    assert_eq!(first.announced_by, ["p2".to_owned()].into());
    assert_eq!(first.macs.len(), 2);
    assert!(
        sources
            .sources
            .iter()
            .any(|it| it.prefix == "2001:db8:1::/48")
    );
    let bogons = class(&advice, "bogons");
    assert_eq!((bogons.packets, bogons.verdict), (0, Verdict::Safe));
    assert_eq!(class(&advice, "destinations").packets, 0);
}

#[test]
fn more_than_the_share_is_not_yet_and_at_the_share_it_is() {
    for (spoofed, verdict) in [(10, Verdict::SafeExcept), (11, Verdict::NotYet)] {
        let counts = [("permitted", 1000 - spoofed), ("both-unannounced", spoofed)];
        let advice = advice(&peer("observing", None), &history(2.0 * DAY, &counts), &[]);
        assert_eq!(class(&advice, "sources").verdict, verdict, "{spoofed}");
        assert_eq!(class(&advice, "destinations").verdict, verdict);
        assert_eq!(class(&advice, "bogons").verdict, Verdict::Safe);
    }
    let counts = [("permitted", 50), ("both-unannounced", 50)];
    let advice = advice(&peer("observing", None), &history(2.0 * DAY, &counts), &[]);
    let command = "bcp38 enforce p1 --only malformed,families,bogons --confirm-within 10m";
    assert_eq!(advice.command.as_deref(), Some(command));
    let because = advice.because.unwrap();
    assert!(
        because.contains("50.00 % of its packets would be dropped"),
        "{because}"
    );
}

#[test]
fn what_is_not_known_or_watched_too_short_is_not_yet_and_the_rest_is() {
    let counts = [("permitted", 1000), ("unjudged", 7)];
    let loading = peer("syncing", Some("its ipv4 sources are still being received"));
    let unknown = advice(&loading, &history(2.0 * DAY, &counts), &[]);
    assert_eq!(unknown.unjudged, 7);
    assert_eq!(class(&unknown, "sources").verdict, Verdict::NotYet);
    let because = class(&unknown, "sources").because.as_deref();
    assert_eq!(because, Some("its ipv4 sources are still being received"));
    assert_eq!(class(&unknown, "bogons").verdict, Verdict::Safe);
    let known = peer("observing", None);
    for (seconds, verdict) in [(DAY - 1.0, Verdict::NotYet), (DAY, Verdict::Safe)] {
        let advice = advice(&known, &history(seconds, &counts), &[]);
        assert_eq!(class(&advice, "sources").verdict, verdict, "{seconds}");
        assert_eq!(class(&advice, "malformed").verdict, Verdict::Safe);
    }
}

#[test]
fn a_class_that_an_operator_switched_off_may_be_advised_again() {
    let mut peer = peer("observing", None);
    peer["classes"][3]["missing"] = "not-allowed".into();
    let history = history(2.0 * DAY, &[("permitted", 1000)]);
    assert_eq!(advice(&peer, &history, &[]).verdict, Verdict::Safe);
    peer["classes"][3]["lacks"] = "the feed of its ipv4 sources is lost".into();
    let advice = advice(&peer, &history, &[]);
    let sources = class(&advice, "sources");
    assert_eq!(sources.verdict, Verdict::NotYet);
    let because = sources.because.as_deref();
    assert_eq!(because, Some("the feed of its ipv4 sources is lost"));
    // What one class lacks keeps no other.
    assert_eq!(class(&advice, "destinations").verdict, Verdict::Safe);
    assert_eq!(class(&advice, "malformed").verdict, Verdict::Safe);
}

#[test]
fn nothing_is_safe_of_which_nothing_is_known() {
    let peer = peer("observing", None);
    let because = |advice: &Advice| {
        let mut all: Vec<_> = advice
            .classes
            .iter()
            .map(|it| (it.verdict, it.because.clone()))
            .collect();
        all.dedup();
        all
    };
    let not_yet = |why: &str| vec![(Verdict::NotYet, Some(why.to_owned()))];
    let none = advice(&peer, &PeerHistory::default(), &[]);
    assert_eq!(because(&none), not_yet("nothing is recorded of it yet"));
    assert_eq!((none.command.clone(), none.classes[0].share), (None, None));
    for counts in [&[][..], &[("unjudged", 9)]] {
        let silent = advice(&peer, &history(2.0 * DAY, counts), &[]);
        let why = "no packet of it could be judged";
        let bogons = class(&silent, "bogons");
        assert_eq!((bogons.share, bogons.because.as_deref()), (None, Some(why)));
        assert_eq!(silent.verdict, Verdict::NotYet);
    }
    let unread = Evidence {
        peer: &peer,
        history: &history(2.0 * DAY, &[("permitted", 9)]),
        samples: Err("cannot read `x`"),
    };
    let unread = advise(unread, &[]);
    assert_eq!(
        because(&unread),
        not_yet("its samples are not known: cannot read `x`")
    );
}

#[test]
fn what_could_not_be_judged_makes_no_share_smaller() {
    let counts = [
        ("permitted", 50),
        ("source-unannounced", 50),
        ("unjudged", 100_000),
    ];
    let advice = advice(&peer("observing", None), &history(2.0 * DAY, &counts), &[]);
    assert_eq!(class(&advice, "sources").share, Some(50.0));
}

#[test]
fn time_without_its_routes_is_not_watched() {
    let moment = |time: f64, sources: bool| Moment {
        time,
        counts: ByReason([("permitted".to_owned(), Count::from([9, 9, 0, 0]))].into()),
        unknown: UnknownSides {
            sources,
            destinations: false,
        },
    };
    let hours = |range: std::ops::RangeInclusive<u32>, sources| {
        range.map(move |hour| moment(f64::from(hour) * 3600.0, sources))
    };
    let mut moments = vec![Moment::default()];
    moments.extend(hours(1..=10, true));
    moments.extend(hours(11..=34, false));
    let advice = advice(
        &peer("observing", None),
        &PeerHistory::of(moments, 0.0),
        &[],
    );
    let sources = class(&advice, "sources");
    assert!((sources.watched_seconds - 23.0 * 3600.0).abs() < 1e-6);
    assert_eq!(
        sources.because.as_deref(),
        Some("only 23.0 h were watched in which its routes were known, 24.0 h are wanted")
    );
    assert_eq!(class(&advice, "destinations").verdict, Verdict::Safe);
}

#[test]
fn no_more_blocks_and_macs_are_named_than_the_limits() {
    let samples: Vec<ViolationRecord> = (0..=MAX_GROUPS)
        .map(|block| sample("source-unannounced", &format!("9.9.{block}.1"), &[], "x"))
        .chain((0..=MAX_MACS).map(|mac| {
            sample(
                "source-unannounced",
                "9.9.0.1",
                &[],
                &format!("02:00:00:00:00:0{mac}"),
            )
        }))
        .collect();
    let advice = advice(
        &peer("observing", None),
        &history(DAY, &[("permitted", 1)]),
        &samples,
    );
    let sources = class(&advice, "sources");
    assert_eq!(sources.sources.len(), MAX_GROUPS);
    assert_eq!(sources.sources[0].macs.len(), MAX_MACS);
}

#[test]
fn every_reason_breaks_what_the_contract_says() {
    let of = |reason: Reason| {
        let classes = Class::ALL
            .into_iter()
            .filter(|&class| breaks(reason.name(), class));
        classes.map(Class::name).collect::<Vec<_>>()
    };
    assert_eq!(of(Reason::SourceBogon), ["bogons", "sources"]);
    assert_eq!(of(Reason::SourceUnannounced), ["sources"]);
    assert_eq!(of(Reason::DestinationUnannounced), ["destinations"]);
    assert_eq!(of(Reason::BothUnannounced), ["sources", "destinations"]);
    assert!(of(Reason::Malformed).contains(&"malformed"));
    assert_eq!(of(Reason::Permitted), [""; 0]);
}

#[test]
fn what_was_valid_until_lately_is_not_yet() {
    let counts = [("permitted", 10_000), ("source-unannounced", 2)];
    let lately = ViolationRecord {
        source_valid_seconds_ago: Some(40),
        ..sample("source-unannounced", "9.9.9.9", &[], "x")
    };
    let never = sample("source-unannounced", "8.8.8.8", &[], "x");
    let advice = advice(
        &peer("observing", None),
        &history(2.0 * DAY, &counts),
        &[lately, never],
    );
    let sources = class(&advice, "sources");
    assert_eq!(sources.verdict, Verdict::NotYet);
    let because = sources.because.as_deref().unwrap();
    assert!(
        because.starts_with("1 of 2 samples are of prefixes"),
        "{because}"
    );
    let groups: Vec<usize> = sources.sources.iter().map(|it| it.recently_valid).collect();
    assert_eq!(groups.iter().sum::<usize>(), 1);
    assert_eq!(class(&advice, "bogons").verdict, Verdict::Safe);
}

#[test]
fn a_flood_is_no_reason_against_what_is_in_force_already() {
    let mut peer = peer("enforcing", None);
    let counts = [("permitted", 50), ("source-unannounced", 50)];
    let history = history(2.0 * DAY, &counts);
    assert_eq!(
        class(&advice(&peer, &history, &[]), "sources").verdict,
        Verdict::NotYet
    );
    peer["classes"][3]["in_force"] = true.into();
    let advice = advice(&peer, &history, &[]);
    let sources = class(&advice, "sources");
    assert_eq!(
        (sources.verdict, sources.in_force.len()),
        (Verdict::SafeExcept, 1)
    );
}
