//! Odd streams of `fixtures/control`: whatever one session's bytes are, they cost that session at most. The healthy
//! peer's tables are whole, and the connection stays.

use std::collections::BTreeSet;
use std::time::Instant;

use filter_core::{Family, Prefix};
use filter_feeds::bmp::counts::LeftOut;
use filter_feeds::bmp::router::{Memory, Router};
use filter_lifecycle::route::AdjRib::{InPrePolicy, OutPostPolicy};
use filter_lifecycle::route::{DownCause, Origin, RouteEvent, Session};
use tests::captures::{Folded, control, fold, fold_by, messages, prefixes, session};

const HEALTHY: &str = "192.0.2.11";
const ODD: &str = "192.0.2.12";

/// Folds the whole stream; the connection must have survived it.
fn folded(name: &str) -> Folded {
    let stream = control(name);
    let (folded, _) = fold(&stream, Memory::default());
    assert_eq!(folded.closed, None, "{name}");
    folded
}

/// … and the healthy peer must not have noticed.
fn beside_healthy(name: &str) -> Folded {
    let folded = folded(name);
    let has = |rib, texts: &[&str]| {
        assert_eq!(folded.prefixes(HEALTHY, rib), prefixes(texts), "{name}");
        for family in Family::ALL {
            let end = (session(HEALTHY), rib, family);
            assert!(folded.ends.contains(&end), "{name}: {rib} {family}");
        }
    };
    has(
        InPrePolicy,
        &["203.0.113.0/24", "198.51.100.0/24", "2001:db8:a::/48"],
    );
    has(OutPostPolicy, &["10.1.0.0/16", "2001:db8:1::/48"]);
    let lost = folded.lost.iter().filter(|(of, _)| *of == session(HEALTHY));
    assert_eq!(lost.count(), 0, "{name}");
    assert!(folded.up.contains_key(&session(HEALTHY)), "{name}");
    folded
}

/// Counted once as this, and as nothing else.
fn left_out(folded: &Folded, why: LeftOut) {
    let counted: Vec<_> = folded.counts.nonzero().collect();
    assert_eq!(counted, [(why.name(), 1)]);
}

fn odd_prefixes(folded: &Folded) -> BTreeSet<Prefix> {
    folded.prefixes(ODD, InPrePolicy)
}

#[test]
fn an_open_that_the_router_took_is_good_enough() {
    for name in ["cap2_len1.bmp", "optparam_unknown.bmp"] {
        let folded = beside_healthy(name);
        assert!(folded.up.contains_key(&session(ODD)), "{name}");
        left_out(&folded, LeftOut::OddCapability);
    }
}

/// An OPEN that no router could have taken: the session counts as down, and whatever is reported of it is left out.
#[test]
fn a_session_whose_open_cannot_be_read_is_down() {
    let mut stream = control("cap2_len1.bmp");
    // The last capability of the last OPEN, longer than what is left.
    let at = stream.len() - 5;
    stream[at] = 9;
    let (folded, _) = fold(&stream, Memory::default());
    assert_eq!(folded.closed, None);
    assert!(!folded.up.contains_key(&session(ODD)));
    assert_eq!(folded.downs, [(session(ODD), DownCause::Lost)]);
    assert!(folded.up.contains_key(&session(HEALTHY)));
    left_out(&folded, LeftOut::UnreadableOpen);
}

#[test]
fn a_route_with_a_wrong_attribute_is_withdrawn() {
    let folded = beside_healthy("comm_len3.bmp");
    assert_eq!(odd_prefixes(&folded), prefixes(&["10.2.0.0/16"]));
    let withdrawn = RouteEvent::Withdraw {
        origin: Origin::Session(session(ODD)),
        rib: InPrePolicy,
        prefix: "10.4.0.0/16".parse().unwrap(),
        path: 0,
    };
    assert!(folded.events.contains(&withdrawn));
    left_out(&folded, LeftOut::TreatedAsWithdrawn);
}

/// An UPDATE whose prefixes cannot be read costs its table and nothing else.
#[test]
fn an_update_that_cannot_be_read_costs_its_table() {
    let mut stream = control("down0.bmp");
    let down = stream.len() - 49; // the Peer Down
    let end = stream[..down].len() - 4; // the lengths of ODD's End-of-RIB
    stream[end] = 9;
    let (folded, _) = fold(&stream, Memory::default());
    assert_eq!(folded.closed, None);
    assert_eq!(folded.counts.of(LeftOut::UnreadableUpdate), 1);
    let lost = folded.events.iter().filter_map(|event| match event {
        RouteEvent::RibLost { origin, rib, .. } => Some((*origin, *rib)),
        _ => None,
    });
    let expected = (Origin::Session(session(ODD)), Some(InPrePolicy));
    assert_eq!(lost.collect::<Vec<_>>(), [expected]);
}

#[test]
fn a_peer_down_is_one_whatever_its_reason() {
    let folded = beside_healthy("down0.bmp");
    assert_eq!(folded.downs, [(session(ODD), DownCause::Lost)]);
    assert_eq!(folded.counts.total(), 0);
    // No reason at all, and one with a NOTIFICATION that is none.
    for reason in [&[][..], &[3, 0xff, 0xff], &[200, 1, 2, 3]] {
        let mut stream = control("down0.bmp");
        let start = stream.len() - 49;
        stream.truncate(stream.len() - 1);
        stream.extend(reason);
        let length = (stream.len() - start) as u32;
        stream[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
        let (folded, _) = fold(&stream, Memory::default());
        assert_eq!(folded.downs.len(), 1, "{reason:?}");
        assert_eq!(folded.closed, None);
    }
}

#[test]
fn what_is_not_assigned_is_ignored_and_counted() {
    let folded = beside_healthy("type7_unknown.bmp");
    assert_eq!(odd_prefixes(&folded), prefixes(&["10.2.0.0/16"]));
    left_out(&folded, LeftOut::UnknownType);
    let folded = beside_healthy("stat7_4bytes.bmp");
    assert_eq!(odd_prefixes(&folded), prefixes(&["10.2.0.0/16"]));
    assert!(folded.received.is_empty());
    left_out(&folded, LeftOut::Statistic);
}

/// A message that is too short to say whom it is about.
#[test]
fn a_message_without_a_name_is_ignored_and_counted() {
    let initiation = [3, 0, 0, 0, 6, 4];
    for message_type in [0, 1, 2, 3] {
        // A type of peer, its flags, and nothing more.
        let message = [3, 0, 0, 0, 8, message_type, 0, 0];
        let (folded, _) = fold(&[&initiation[..], &message].concat(), Memory::default());
        assert_eq!(folded.closed, None, "{message_type}");
        left_out(&folded, LeftOut::Nameless);
    }
}

#[test]
fn bytes_behind_an_update_are_passed_over() {
    let folded = beside_healthy("rm_trailing_tlv.bmp");
    assert_eq!(
        odd_prefixes(&folded),
        prefixes(&["10.2.0.0/16", "10.3.0.0/16"])
    );
    left_out(&folded, LeftOut::TrailingBytes);
    // What no peer needs is not read.
    let folded = beside_healthy("locrib_trailing_tlv.bmp");
    left_out(&folded, LeftOut::LocRib);
}

/// The routes of a VRF that no peer is in are not read, whatever they are; that the session is up is reported.
#[test]
fn routes_of_a_vrf_that_no_peer_is_in_are_not_read() {
    let mut stream = Vec::new();
    let whole = control("comm_len3.bmp");
    for message in messages(&whole).0 {
        let mut message = message.to_vec();
        // The odd peer, in the VRF 64500:1: its type, and its distinguisher before its address.
        if message
            .get(16..32)
            .is_some_and(|address| address.ends_with(&[192, 0, 2, 12]))
        {
            message[6] = 1;
            message[8..16].copy_from_slice(&[0, 0, 0xfb, 0xf4, 0, 0, 0, 1]);
        }
        stream.extend(message);
    }
    let in_vrf = Session::of(ODD.parse().unwrap(), Some("64500:1".parse().unwrap()));
    let read = |instances: Option<BTreeSet<_>>| {
        let router = Router::new(Instant::now()).reading(instances);
        let (folded, _) = fold_by(router, &stream, Memory::default());
        assert_eq!(folded.closed, None);
        assert!(folded.up.contains_key(&in_vrf));
        assert!(folded.up.contains_key(&session(HEALTHY)));
        folded
    };
    let global = read(Some([None].into()));
    assert_eq!(global.counts.of(LeftOut::TreatedAsWithdrawn), 0);
    assert!(global.counts.of(LeftOut::OtherVrf) >= 3);
    assert!(!global.ribs.keys().any(|(of, _)| *of == in_vrf));
    for both in [None, Some([None, in_vrf.vrf].into())] {
        let both = read(both);
        assert_eq!(both.counts.of(LeftOut::TreatedAsWithdrawn), 1);
        assert_eq!(both.counts.of(LeftOut::OtherVrf), 0);
        assert_eq!(both.ribs[&(in_vrf, InPrePolicy)].len(), 1);
    }
}

/// The count is reported as it arrives, before the routes; what that means is the lifecycle's.
#[test]
fn counts_are_reported_in_the_order_in_which_they_come() {
    let folded = folded("stat0_then_routes.bmp");
    let place = |wanted: fn(&RouteEvent) -> bool| folded.events.iter().position(wanted).unwrap();
    let count = place(|event| matches!(event, RouteEvent::Count { prefixes: 0, .. }));
    let route = place(|event| matches!(event, RouteEvent::Announce { .. }));
    assert!(count < route);
}

/// A total counts every family of the session: where others are reported, it proves nothing.
#[test]
fn a_total_over_other_families_is_no_count() {
    let folded = folded("foreign_count.bmp");
    assert!(folded.received.is_empty());
    assert_eq!(folded.prefixes(HEALTHY, InPrePolicy).len(), 2);
    assert_eq!(folded.counts.of(LeftOut::Statistic), 1);
    assert_eq!(folded.counts.of(LeftOut::ForeignFamily), 1);
}

#[test]
fn the_as_that_the_router_says_is_reported() {
    let folded = folded("asn_other.bmp");
    let received = folded.events.iter().find_map(|event| match event {
        RouteEvent::SessionUp { asn, .. } => *asn,
        _ => None,
    });
    assert_eq!(received.map(|asn| asn.get()), Some(64999));
}

#[test]
fn addresses_are_canonical() {
    let next_hops = |name: &str| {
        let folded = folded(name);
        let hops = folded.events.iter().filter_map(|event| match event {
            RouteEvent::Announce { route, .. } => route.next_hop,
            _ => None,
        });
        hops.map(|hop| hop.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(next_hops("nh_v4mapped.bmp"), ["192.0.2.11"]);
    assert_eq!(next_hops("nh_zero_ll.bmp"), ["fe80::11"]);
    let folded = folded("v4mapped_peer.bmp");
    assert_eq!(
        folded.prefixes(HEALTHY, InPrePolicy),
        prefixes(&["203.0.113.0/24"])
    );
}
