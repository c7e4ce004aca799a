//! What real daemons wrote (tests/fixtures/captures), read in full; and the same bytes cut or flipped anywhere: an
//! error or well-formed routes, never a panic, never a shorter table.
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use filter_core::{Asn, Family};

use super::poll::State;
use super::{bird, frr, gobgp, openbgpd};
use crate::route::{Community, Route, Table};

/// A recorded reply, without the line that names the command.
fn fixture(daemon: &str, name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/captures");
    let path = root.join(daemon).join("cli").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if !bytes.starts_with(b"###") {
        return bytes;
    }
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    bytes[end + 1..].to_vec()
}

fn frr(version: &str, what: &str) -> Vec<u8> {
    let family = if what.contains("2001_") {
        "ipv6"
    } else {
        "ipv4"
    };
    let name = format!("show_bgp_{family}_unicast_neighbors_{what}_json.txt");
    fixture(&format!("frr-{version}"), &name)
}

fn route(prefix: &str, next_hop: &str) -> Route {
    let next_hop = (!next_hop.is_empty()).then(|| next_hop.parse().unwrap());
    Route {
        next_hop,
        ..Route::bare(prefix.parse().unwrap())
    }
}

fn with(route: Route, communities: &[Community]) -> Route {
    Route {
        communities: Some(communities.into()),
        ..route
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const P1_V4: [&str; 3] = ["10.10.0.0/16", "198.51.100.0/24", "203.0.113.0/24"];

/// Cuts and flips; `read` gives the routes of a reply.
fn torture(bytes: &[u8], family: Family, read: impl Fn(&[u8]) -> Result<Vec<Route>, String>) {
    let whole = read(bytes).unwrap();
    let end = bytes.trim_ascii_end().len();
    for cut in 0..end {
        assert!(read(&bytes[..cut]).is_err(), "cut at {cut} went unnoticed");
    }
    let mut flipped = bytes.to_vec();
    for at in 0..bytes.len() {
        for bits in [0x01, 0x04, 0x20, 0x80, 0xff] {
            flipped[at] ^= bits;
            if let Ok(routes) = read(&flipped) {
                assert_eq!(routes.len(), whole.len(), "a flip at {at} lost routes");
                assert!(routes.iter().all(|route| route.prefix.family() == family));
            }
            flipped[at] ^= bits;
        }
    }
}

#[test]
fn frr_tables_are_complete() {
    for version in ["8.4.4", "10.3"] {
        let received = frr(version, "192.0.2.11_received-routes");
        let received = frr::replies::parse_received(&received, Family::Ipv4, 2).unwrap();
        assert_eq!(
            received,
            P1_V4.map(|prefix| route(prefix, "192.0.2.11")),
            "{version}"
        );
        let received = frr(version, "2001_db8_ff__11_received-routes");
        let received = frr::replies::parse_received(&received, Family::Ipv6, 1).unwrap();
        let expected = ["2001:db8:1::/48", "2001:db8:cafe::/48"];
        assert_eq!(
            received,
            expected.map(|prefix| route(prefix, "2001:db8:ff::11")),
            "{version}"
        );

        let accepted = frr(version, "192.0.2.11_routes");
        let accepted = frr::replies::parse_routes(&accepted, Family::Ipv4).unwrap();
        let expected = ["198.51.100.0/24", "203.0.113.0/24"];
        assert_eq!(
            accepted,
            expected.map(|prefix| route(prefix, "192.0.2.11")),
            "{version}"
        );
        let accepted = frr(version, "2001_db8_ff__11_routes");
        let accepted = frr::replies::parse_routes(&accepted, Family::Ipv6).unwrap();
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
            let sent = frr::replies::parse_advertised(&frr(version, what), family, 1).unwrap();
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
        let neighbors = frr::replies::parse_neighbors(&bytes).unwrap();
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
            .map(|count| (count.table, count.prefixes))
            .collect();
        assert_eq!(counts, [(Table::AdjInPost, 2), (Table::AdjOut, 2)]);
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
            1,
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
        let read = frr::replies::parse_advertised(text.as_bytes(), Family::Ipv4, counted);
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
            frr::replies::parse_received(text, Family::Ipv4, 2)
        });
        let sent = frr(version, "2001_db8_ff__12_advertised-routes");
        torture(&sent, Family::Ipv6, |text| {
            frr::replies::parse_advertised(text, Family::Ipv6, 1)
        });
        let accepted = frr(version, "2001_db8_ff__11_routes");
        torture(&accepted, Family::Ipv6, |text| {
            frr::replies::parse_routes(text, Family::Ipv6)
        });
        let neighbors = fixture(
            &format!("frr-{version}"),
            "show_bgp_neighbors_192.0.2.11_json.txt",
        );
        flips_never_panic(&neighbors, |text| {
            frr::replies::parse_neighbors(text).is_ok()
        });
    }
}

/// For replies that hold no routes.
fn flips_never_panic(bytes: &[u8], read: impl Fn(&[u8]) -> bool) {
    assert!(read(bytes));
    for cut in 0..bytes.trim_ascii_end().len() {
        assert!(!read(&bytes[..cut]), "cut at {cut} went unnoticed");
    }
    let mut flipped = bytes.to_vec();
    for at in 0..bytes.len() {
        for bits in [0x01, 0x20, 0xff] {
            flipped[at] ^= bits;
            read(&flipped);
            flipped[at] ^= bits;
        }
    }
}

fn bird(name: &str) -> Vec<u8> {
    fixture("bird-2.0.12", name)
}

fn bird_routes(bytes: &[u8], family: Family) -> Result<Vec<Route>, String> {
    bird::replies::parse_routes(&bird::replies::text(bytes), family)
        .map_err(|error| format!("{error:?}"))
}

/// What P1 marks its IPv4 routes with in these captures.
const MARKS: [Community; 2] = [Community::Standard(64501, 7), Community::Large(64501, 7, 8)];

#[test]
fn bird_tables_are_complete() {
    let read = |name: &str, family| {
        let mut routes = bird_routes(&bird(name), family).unwrap();
        routes.sort();
        routes
    };
    let marked = |prefix| with(route(prefix, "192.0.2.11"), &MARKS);
    let received = read(
        "socket_show_route_all_import_table_p1_4.ipv4.txt",
        Family::Ipv4,
    );
    assert_eq!(received, P1_V4.map(marked));
    let accepted = read(
        "socket_show_route_all_protocol_p1_4_table_master4.txt",
        Family::Ipv4,
    );
    assert_eq!(
        accepted,
        [marked("198.51.100.0/24"), marked("203.0.113.0/24")]
    );
    let filtered = read(
        "socket_show_route_all_filtered_protocol_p1_4_table_master4.txt",
        Family::Ipv4,
    );
    assert_eq!(filtered, [marked("10.10.0.0/16")]);
    let own = |prefix| with(route(prefix, ""), &[]);
    for name in ["export_table_p1_4.ipv4", "export_p1_4.ipv4"] {
        let sent = read(&format!("socket_show_route_all_{name}.txt"), Family::Ipv4);
        assert_eq!(sent, [own("100.64.0.0/24"), own("100.64.1.0/24")]);
    }
    let received = read(
        "socket_show_route_all_import_table_p1_6.ipv6.txt",
        Family::Ipv6,
    );
    let v6 = |prefix| with(route(prefix, "2001:db8:ff::11"), &[]);
    assert_eq!(received, [v6("2001:db8:1::/48"), v6("2001:db8:cafe::/48")]);
    let all = read("socket_show_route_all_table_master4.txt", Family::Ipv4);
    let shared: Vec<_> = all
        .iter()
        .filter(|route| route.prefix == P1_V4[2].parse().unwrap())
        .collect();
    let next_hops: Vec<_> = shared
        .iter()
        .map(|route| (route.path, route.next_hop.unwrap()))
        .collect();
    assert_eq!(
        next_hops,
        [(0, address("192.0.2.11")), (1, address("192.0.2.12"))]
    );
}

#[test]
fn bird_protocols_are_complete() {
    let reply = bird("socket_show_protocols_all.txt");
    let protocols = bird::replies::parse_protocols(&bird::replies::text(&reply)).unwrap();
    let found: Vec<_> = protocols
        .iter()
        .map(|all| {
            (
                all.name.as_str(),
                all.established,
                all.address.unwrap().to_string(),
                all.asn.unwrap().get(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("p1_4", true, "192.0.2.11".to_owned(), 64501),
            ("p2_4", true, "192.0.2.12".to_owned(), 4_200_000_002),
            ("p1_6", true, "2001:db8:ff::11".to_owned(), 64501),
            ("p2_6", true, "2001:db8:ff::12".to_owned(), 4_200_000_002),
        ]
    );
    let [channel] = &protocols[0].channels[..] else {
        panic!("{:?}", protocols[0]);
    };
    assert_eq!(
        (channel.family, channel.up, channel.table.as_str()),
        (Family::Ipv4, true, "master4")
    );
    let counts = channel.counts.unwrap();
    assert_eq!(
        (counts.imported, counts.filtered, counts.exported),
        (2, Some(1), 2)
    );
    let restart_times: Vec<_> = protocols.iter().map(|all| all.restart_time).collect();
    assert_eq!(
        restart_times,
        [Some(Duration::from_secs(60)), None, None, None]
    );
}

#[test]
fn bird_says_no() {
    let reply = bird("socket_show_route_all_export_table_own4.ipv4.txt");
    let refused =
        bird::replies::ReplyError::Refused("No export table in channel own4.ipv4".to_owned());
    assert_eq!(
        bird::replies::parse_routes(&bird::replies::text(&reply), Family::Ipv4),
        Err(refused)
    );
    let greeting = bird("socket_greeting.txt");
    bird::replies::check_greeting(&bird::replies::text(&greeting)).unwrap();
    for other in [
        "0001 BIRD 3.1.7 ready.\n",
        "0001 BIRD 1.6.8 ready.\n",
        "0001 BIRD ready.\n",
        "0000 \n",
        "",
    ] {
        assert!(bird::replies::check_greeting(other).is_err(), "{other}");
    }
}

#[test]
fn bird_cut_or_flipped() {
    for (name, family) in [
        (
            "socket_show_route_all_import_table_p1_4.ipv4.txt",
            Family::Ipv4,
        ),
        (
            "socket_show_route_all_export_table_p1_6.ipv6.txt",
            Family::Ipv6,
        ),
        (
            "socket_show_route_all_protocol_p1_6_table_master6.txt",
            Family::Ipv6,
        ),
    ] {
        let bytes = bird(name);
        let whole = bird_routes(&bytes, family).unwrap();
        for cut in 0..bytes.trim_ascii_end().len() {
            assert!(
                bird_routes(&bytes[..cut], family).is_err(),
                "{name} cut at {cut}"
            );
        }
        let mut flipped = bytes.clone();
        for at in 0..bytes.len() {
            for bits in [0x01, 0x04, 0x20, 0x80, 0xff] {
                flipped[at] ^= bits;
                if let Ok(routes) = bird_routes(&flipped, family) {
                    assert_eq!(
                        routes.len(),
                        whole.len(),
                        "{name}: a flip at {at} lost routes"
                    );
                }
                flipped[at] ^= bits;
            }
        }
    }
    let protocols = bird("socket_show_protocols_all.txt");
    let read = |bytes: &[u8]| bird::replies::parse_protocols(&bird::replies::text(bytes)).is_ok();
    flips_never_panic(&protocols, read);
}

fn openbgpd_rib(version: &str, name: &str, neighbor: &str) -> Result<Vec<Route>, String> {
    let bytes = fixture(&format!("openbgpd-{version}"), name);
    let neighbor = address(neighbor);
    openbgpd::replies::parse_rib(&bytes, neighbor, neighbor_family(neighbor), false)
}

fn neighbor_family(neighbor: IpAddr) -> Family {
    if neighbor.is_ipv4() {
        Family::Ipv4
    } else {
        Family::Ipv6
    }
}

#[test]
fn openbgpd_tables_are_complete() {
    for version in ["7.7", "8.8"] {
        let received = openbgpd_rib(
            version,
            "-j_show_rib_in_neighbor_192.0.2.11.txt",
            "192.0.2.11",
        )
        .unwrap();
        let p1 = |prefix| with(route(prefix, "192.0.2.11"), &[]);
        assert_eq!(received, P1_V4.map(p1));
        let accepted =
            openbgpd_rib(version, "-j_show_rib_neighbor_192.0.2.11.txt", "192.0.2.11").unwrap();
        assert_eq!(accepted, [p1("198.51.100.0/24"), p1("203.0.113.0/24")]);
        let sent = openbgpd_rib(
            version,
            "-j_show_rib_out_neighbor_192.0.2.12.txt",
            "192.0.2.12",
        )
        .unwrap();
        assert_eq!(sent, [with(route("100.64.0.0/24", "192.0.2.1"), &[])]);
        let name = "-j_show_rib_out_neighbor_2001_db8_ff__11.txt";
        let sent = openbgpd_rib(version, name, "2001:db8:ff::11").unwrap();
        let own = |prefix| with(route(prefix, "2001:db8:ff::1"), &[]);
        assert_eq!(sent, [own("2001:db8:a::/48"), own("2001:db8:b::/48")]);
        // Another neighbour's table is not taken for this one's.
        assert!(openbgpd_rib(version, name, "2001:db8:ff::12").is_err());

        let bytes = fixture(
            &format!("openbgpd-{version}"),
            "-j_show_neighbor_192.0.2.11.txt",
        );
        let neighbors = openbgpd::replies::parse_neighbors(&bytes).unwrap();
        let neighbor = &neighbors[&address("192.0.2.11")];
        assert!(neighbor.established() && neighbors.len() == 1);
        assert_eq!(neighbor.families(), [Family::Ipv4]);
        let counts: Vec<_> = neighbor
            .counts()
            .iter()
            .map(|count| (count.table, count.prefixes))
            .collect();
        assert_eq!(counts, [(Table::AdjInPre, 3), (Table::AdjOut, 2)]);
    }
}

#[test]
fn openbgpd_empty_and_failed() {
    let read = |text: &str, may_be_empty| {
        let neighbor = address("192.0.2.11");
        openbgpd::replies::parse_rib(text.as_bytes(), neighbor, Family::Ipv4, may_be_empty)
    };
    assert_eq!(read("{\n\n}\n", true), Ok(Vec::new()));
    assert!(read("{\n\n}\n", false).is_err());
    let failed = r#"{"status": "FAILED", "error": "no such neighbor"}"#;
    assert_eq!(read(failed, true), Err("no such neighbor".to_owned()));
    assert!(read(r#"{"ribs": []}"#, true).is_err());
}

#[test]
fn openbgpd_cut_or_flipped() {
    for version in ["7.7", "8.8"] {
        let daemon = format!("openbgpd-{version}");
        let bytes = fixture(&daemon, "-j_show_rib_in_neighbor_192.0.2.11.txt");
        let neighbor = address("192.0.2.11");
        torture(&bytes, Family::Ipv4, |text| {
            openbgpd::replies::parse_rib(text, neighbor, Family::Ipv4, false)
        });
        let bytes = fixture(&daemon, "-j_show_neighbor_192.0.2.11.txt");
        flips_never_panic(&bytes, |text| {
            openbgpd::replies::parse_neighbors(text).is_ok()
        });
    }
}

fn gobgp(name: &str) -> Vec<u8> {
    fixture("gobgp-3.10", name)
}

#[test]
fn gobgp_tables_are_complete() {
    let read = |name: &str, family| gobgp::replies::parse_rib(&gobgp(name), family).unwrap();
    let received = read("neighbor_192.0.2.11_adj-in_-a_ipv4_-j.txt", Family::Ipv4);
    assert_eq!(
        received,
        P1_V4.map(|prefix| with(route(prefix, "192.0.2.11"), &MARKS))
    );
    let received = read(
        "neighbor_2001_db8_ff__11_adj-in_-a_ipv6_-j.txt",
        Family::Ipv6,
    );
    let v6 = |prefix| with(route(prefix, "2001:db8:ff::11"), &[]);
    assert_eq!(received, [v6("2001:db8:1::/48"), v6("2001:db8:cafe::/48")]);
    let sent = read("neighbor_192.0.2.12_adj-out_-a_ipv4_-j.txt", Family::Ipv4);
    assert_eq!(sent, [with(route("100.64.0.0/24", "192.0.2.1"), &[])]);
    let sent = read(
        "neighbor_2001_db8_ff__11_adj-out_-a_ipv6_-j.txt",
        Family::Ipv6,
    );
    let own = |prefix| with(route(prefix, "2001:db8:ff::1"), &[]);
    assert_eq!(sent, [own("2001:db8:a::/48"), own("2001:db8:b::/48")]);
}

#[test]
fn gobgp_neighbors_are_complete() {
    let neighbors = gobgp::replies::parse_neighbors(&gobgp("neighbor_-j.txt")).unwrap();
    let found: Vec<_> = neighbors
        .iter()
        .map(|(address, all)| (address.to_string(), all.established(), all.families()))
        .collect();
    assert_eq!(
        found,
        [
            ("192.0.2.11".to_owned(), true, vec![Family::Ipv4]),
            ("192.0.2.12".to_owned(), true, vec![Family::Ipv4]),
            ("2001:db8:ff::11".to_owned(), true, vec![Family::Ipv6]),
            ("2001:db8:ff::12".to_owned(), true, vec![Family::Ipv6]),
        ]
    );
    assert_eq!(neighbors[&address("192.0.2.11")].counts()[0].prefixes, 3);
    let down = gobgp::replies::parse_neighbors(&gobgp("neighbor_-j.down.txt")).unwrap();
    let (before, after) = (
        &neighbors[&address("192.0.2.11")],
        &down[&address("192.0.2.11")],
    );
    assert!(!after.established() && before.life() != after.life());
    assert_eq!(after.notifications(), before.notifications() + 1);
    let error = gobgp::replies::error_in(&gobgp("neighbor_192.0.2.11_adj-in_-a_ipv4_-j.down.txt"));
    assert_eq!(
        error.unwrap(),
        "neighbor 192.0.2.11's BGP session is not established"
    );
    let version = gobgp::replies::parse_version(&gobgp("--version.txt")).unwrap();
    assert_eq!((version.major, version.minor), (3, 10));
}

#[test]
fn gobgp_cut_or_flipped() {
    for (name, family) in [
        ("neighbor_192.0.2.11_adj-in_-a_ipv4_-j.txt", Family::Ipv4),
        (
            "neighbor_2001_db8_ff__11_adj-in_-a_ipv6_-j.txt",
            Family::Ipv6,
        ),
        ("neighbor_192.0.2.11_adj-out_-a_ipv4_-j.txt", Family::Ipv4),
    ] {
        torture(&gobgp(name), family, |text| {
            gobgp::replies::parse_rib(text, family)
        });
    }
    flips_never_panic(&gobgp("neighbor_-j.txt"), |text| {
        gobgp::replies::parse_neighbors(text).is_ok()
    });
}
