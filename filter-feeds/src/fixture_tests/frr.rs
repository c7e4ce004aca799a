//! FRR 8.4 and 10 over bgpd's vty.
use std::time::Duration;

use filter_core::{Asn, Family};

use super::{P1_V4, address, control, fixture, flips_never_panic, route, torture};
use crate::frr::replies;
use crate::poll::{Neighbour as _, State};
use filter_lifecycle::route::AdjRib;

fn frr(version: &str, what: &str) -> Vec<u8> {
    let family = if what.contains("2001_") {
        "ipv6"
    } else {
        "ipv4"
    };
    let name = format!("show_bgp_{family}_unicast_neighbors_{what}_json.txt");
    fixture(&format!("frr-{version}"), &name)
}

#[test]
fn frr_tables_are_complete() {
    for version in ["8.4.4", "10.3"] {
        let received = frr(version, "192.0.2.11_received-routes");
        let received =
            replies::parse_received(&received, Family::Ipv4, replies::Expected::default()).unwrap();
        assert_eq!(
            received,
            P1_V4.map(|prefix| route(prefix, "192.0.2.11")),
            "{version}"
        );
        let received = frr(version, "2001_db8_ff__11_received-routes");
        let received =
            replies::parse_received(&received, Family::Ipv6, replies::Expected::default()).unwrap();
        let expected = ["2001:db8:1::/48", "2001:db8:cafe::/48"];
        assert_eq!(
            received,
            expected.map(|prefix| route(prefix, "2001:db8:ff::11")),
            "{version}"
        );

        let accepted = frr(version, "192.0.2.11_routes");
        let accepted = replies::parse_routes(&accepted, Family::Ipv4).unwrap();
        let expected = ["198.51.100.0/24", "203.0.113.0/24"];
        assert_eq!(
            accepted,
            expected.map(|prefix| route(prefix, "192.0.2.11")),
            "{version}"
        );
        let accepted = frr(version, "2001_db8_ff__11_routes");
        let accepted = replies::parse_routes(&accepted, Family::Ipv6).unwrap();
        assert_eq!(
            accepted,
            [route("2001:db8:1::/48", "2001:db8:ff::11")],
            "{version}"
        );

        for (what, family, expected) in [
            (
                "192.0.2.11_advertised-routes",
                Family::Ipv4,
                &["100.64.0.0/24", "100.64.1.0/24"][..],
            ),
            (
                "192.0.2.12_advertised-routes",
                Family::Ipv4,
                &["100.64.0.0/24"],
            ),
            (
                "2001_db8_ff__12_advertised-routes",
                Family::Ipv6,
                &["2001:db8:a::/48"],
            ),
        ] {
            let sent = replies::parse_advertised(
                &frr(version, what),
                family,
                replies::Expected::default(),
            )
            .unwrap();
            let expected: Vec<_> = expected.iter().map(|prefix| route(prefix, "")).collect();
            assert_eq!(sent, expected, "{version} {what}");
        }
    }
}

#[test]
fn frr_neighbors_are_complete() {
    for version in ["8.4.4", "10.3"] {
        let bytes = fixture(
            &format!("frr-{version}"),
            "show_bgp_neighbors_192.0.2.11_json.txt",
        );
        let neighbors = replies::parse_neighbors(&bytes).unwrap().read;
        let [(found, neighbor)] = &neighbors.iter().collect::<Vec<_>>()[..] else {
            panic!("{neighbors:?}");
        };
        assert_eq!(**found, address("192.0.2.11"));
        let State::Up {
            asn, restart_time, ..
        } = neighbor.state()
        else {
            panic!("{neighbor:?}");
        };
        assert_eq!(asn, Some(Asn::new(64501)));
        assert_eq!(restart_time, Some(Duration::from_secs(120)));
        let families: Vec<_> = neighbor.families().map(|(family, _)| family).collect();
        assert_eq!(families, [Family::Ipv4]);
        let counts: Vec<_> = neighbor
            .counts()
            .iter()
            .map(|count| (count.rib, count.prefixes))
            .collect();
        assert_eq!(
            counts,
            [(AdjRib::InPostPolicy, 2), (AdjRib::OutPostPolicy, 2)]
        );
    }
}

#[test]
fn frr_without_a_table_is_an_error_unless_it_counts_none() {
    for (text, counted, expected) in [
        ("{}", 0, Some(0)),
        ("{}", 1, None),
        (
            r#"{"totalPrefixCounter":0,"filteredPrefixCounter":0}"#,
            0,
            Some(0),
        ),
        (
            r#"{"advertisedRoutes":{},"totalPrefixCounter":0}"#,
            0,
            Some(0),
        ),
        (r#"{"advertisedRoutes":{},"totalPrefixCounter":1}"#, 0, None),
        (r#"{"advertisedRoutes":{}}"#, 0, None),
        (r#"{"receivedRoutes":{},"totalPrefixCounter":2}"#, 0, None),
        (
            r#"{"warning":"No such neighbor or address family"}"#,
            0,
            None,
        ),
        ("", 0, None),
        // Braces as broken as FRR wrote them.
        (
            "{\n{\"warning\":\"Inbound soft reconfiguration not enabled\"}\n}\n",
            0,
            None,
        ),
    ] {
        let counting = replies::Expected::counting(counted, false);
        let read = replies::parse_advertised(text.as_bytes(), Family::Ipv4, counting);
        assert_eq!(
            read.ok().map(|routes| routes.len()),
            expected,
            "{text} {counted}"
        );
    }
}

#[test]
fn frr_cut_or_flipped() {
    for version in ["8.4.4", "10.3"] {
        let received = frr(version, "192.0.2.11_received-routes");
        torture(&received, Family::Ipv4, |text| {
            replies::parse_received(text, Family::Ipv4, replies::Expected::default())
        });
        let sent = frr(version, "2001_db8_ff__12_advertised-routes");
        torture(&sent, Family::Ipv6, |text| {
            replies::parse_advertised(text, Family::Ipv6, replies::Expected::default())
        });
        let accepted = frr(version, "2001_db8_ff__11_routes");
        torture(&accepted, Family::Ipv6, |text| {
            replies::parse_routes(text, Family::Ipv6)
        });
        let neighbors = fixture(
            &format!("frr-{version}"),
            "show_bgp_neighbors_192.0.2.11_json.txt",
        );
        flips_never_panic(&neighbors, |text| replies::parse_neighbors(text).is_ok());
    }
}

/// ADD-PATH: FRR 8.4.4 counts paths and shows one per prefix.
#[test]
fn frr_counts_paths() {
    let name = "show_bgp_ipv4_unicast_neighbors_192.0.2.11_advertised-routes_json.addpath.txt";
    let bytes = fixture("frr-8.4.4", name);
    let read = |several| {
        let expected = replies::Expected::counting(7, several);
        replies::parse_advertised(&bytes, Family::Ipv4, expected)
    };
    assert_eq!(read(true).unwrap().len(), 5);
    assert_eq!(
        read(false),
        Err("it lists 5 routes and counts 7".to_owned())
    );
    let neighbors = fixture(
        "frr-8.4.4",
        "show_bgp_neighbors_192.0.2.11_json.addpath.txt",
    );
    let neighbors = replies::parse_neighbors(&neighbors).unwrap().read;
    let counts = neighbors[&address("192.0.2.11")].counts();
    assert!(
        counts
            .iter()
            .all(|count| count.rib != AdjRib::OutPostPolicy),
        "{counts:?}"
    );
}

/// `bgp as-notation dot` and `dot+` (FRR 10): AS numbers as text.
#[test]
fn frr_writes_as_numbers_in_every_notation() {
    let text = String::from_utf8(control("frr_neighbors_asdot.json")).unwrap();
    let listed = replies::parse_neighbors(text.as_bytes()).unwrap();
    assert!(listed.unreadable.is_empty() && listed.read.contains_key(&address("10.0.0.77")));
    for (written, asn) in [
        ("64502", 64502),
        ("\"64502\"", 64502),
        ("\"0.64502\"", 64502),
        ("\"64086.59906\"", 4_200_000_002),
        ("4200000002", 4_200_000_002),
    ] {
        let reply = text.replacen("\"remoteAs\":64502", &format!("\"remoteAs\":{written}"), 1);
        let listed = replies::parse_neighbors(reply.as_bytes()).unwrap();
        assert!(
            listed.unreadable.is_empty(),
            "{written}: {:?}",
            listed.unreadable
        );
        let State::Up { asn: read, .. } = listed.read[&address("10.0.0.2")].state() else {
            panic!("{written}");
        };
        assert_eq!(read, Some(Asn::new(asn)), "{written}");
    }
}

/// What is odd about one neighbour concerns that neighbour; a state that is not known yet is not established.
#[test]
fn frr_neighbours_that_cannot_be_read_are_named_alone() {
    let reply = br#"{ "vrfId": 0, "vrfName": "default", "swp1": {"bgpState": "Established"},
        "192.0.2.11": {"remoteAs": 64501, "bgpState": "Established", "connectionsEstablished": 1, "connectionsDropped": 0},
        "192.0.2.12": {"remoteAs": [], "bgpState": "Established", "connectionsEstablished": 1, "connectionsDropped": 0},
        "192.0.2.13": {"remoteAs": 64503, "bgpState": "Dreaming", "connectionsEstablished": 1, "connectionsDropped": 0},
        "192.0.2.14": {"remoteAs": 64504, "bgpState": "Idle", "connectionsEstablished": 0, "connectionsDropped": 0},
        "192.0.2.14": {"remoteAs": 64504, "bgpState": "Idle", "connectionsEstablished": 0, "connectionsDropped": 0} }"#;
    let listed = replies::parse_neighbors(reply).unwrap();
    let read: Vec<_> = listed.read.keys().map(ToString::to_string).collect();
    assert_eq!(read, ["192.0.2.11", "192.0.2.13"]);
    assert!(!listed.read[&address("192.0.2.13")].established());
    let unreadable: Vec<_> = listed.unreadable.keys().map(ToString::to_string).collect();
    assert_eq!(unreadable, ["192.0.2.12", "192.0.2.14"]);
}
