//! GoBGP 3.10 and 3.36 by their clients.
use std::collections::BTreeMap;

use filter_core::Family;

use super::{MARKS, P1_V4, address, fixture, flips_never_panic, route, torture, with};
use crate::gobgp::replies;
use crate::poll::Neighbour as _;

const VERSIONS: [(&str, u32); 2] = [("gobgp-3.10", 10), ("gobgp-3.36", 36)];

fn gobgp(name: &str) -> Vec<u8> {
    fixture("gobgp-3.10", name)
}

#[test]
fn gobgp_tables_are_complete() {
    for (daemon, _) in VERSIONS {
        tables_are_complete(daemon);
    }
}

fn tables_are_complete(daemon: &str) {
    let read = |name: &str, family| replies::parse_rib(&fixture(daemon, name), family).unwrap();
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

/// What was accepted stands in the global table, every path with whom it is from; our own routes are left out.
#[test]
fn gobgp_accepted_routes_are_complete() {
    for (daemon, _) in VERSIONS {
        let read = |family: Family| {
            let name = format!("global_rib_-a_{}_-j.txt", family.name());
            let all = replies::parse_global(&fixture(daemon, &name), family).unwrap();
            let whole = all.into_iter().map(|(of, routes)| (of, routes.unwrap()));
            whole.collect::<BTreeMap<_, _>>()
        };
        let (p1, p2) = (address("192.0.2.11"), address("192.0.2.12"));
        let v4 = read(Family::Ipv4);
        assert_eq!(v4.keys().collect::<Vec<_>>(), [&p1, &p2]);
        let marked = |prefix| with(route(prefix, "192.0.2.11"), &MARKS);
        assert_eq!(
            v4[&p1],
            P1_V4[1..]
                .iter()
                .map(|prefix| marked(prefix))
                .collect::<Vec<_>>()
        );
        let plain = |prefix| with(route(prefix, "192.0.2.12"), &[]);
        assert_eq!(v4[&p2], ["198.18.0.0/16", "203.0.113.0/24"].map(plain));
        let v6 = read(Family::Ipv6);
        let accepted = with(route("2001:db8:1::/48", "2001:db8:ff::11"), &[]);
        assert_eq!(v6[&address("2001:db8:ff::11")], [accepted]);
    }
    // With -j, 3.36 says that it accepted all of them.
    let said = fixture("gobgp-3.36", "neighbor_192.0.2.11_accepted_-a_ipv4_-j.txt");
    assert_eq!(replies::parse_rib(&said, Family::Ipv4).unwrap().len(), 3);
}

/// A path that cannot be read costs the routes of its own neighbour.
#[test]
fn a_path_in_the_global_table_that_cannot_be_read_costs_its_neighbour_alone() {
    for (daemon, _) in VERSIONS {
        let text = String::from_utf8(fixture(daemon, "global_rib_-a_ipv4_-j.txt")).unwrap();
        let (p1, p2) = (address("192.0.2.11"), address("192.0.2.12"));
        let right = replies::parse_global(text.as_bytes(), Family::Ipv4).unwrap();
        // A next hop that is none or missing, a list of communities that is none.
        for (from, to) in [
            ("\"nexthop\":\"192.0.2.12\"", "\"nexthop\":\"\""),
            ("\"nexthop\":\"192.0.2.12\"", "\"nexthop\":null"),
            ("\"nexthop\":\"192.0.2.12\"", "\"communities\":7"),
        ] {
            let odd = text.replacen(from, to, 1);
            assert_ne!(odd, text, "{daemon}: {from}");
            let read = replies::parse_global(odd.as_bytes(), Family::Ipv4).unwrap();
            assert!(read[&p2].is_err(), "{daemon}: {to}: {:?}", read[&p2]);
            assert_eq!(read[&p1], right[&p1], "{daemon}: {to}");
        }
        // A path of which not even the neighbour can be read may be any neighbour's.
        let anyones = text.replacen("\"neighbor-ip\":\"192.0.2.12\"", "\"neighbor-ip\":7", 1);
        assert!(replies::parse_global(anyones.as_bytes(), Family::Ipv4).is_err());
    }
}

#[test]
fn gobgp_tables_of_their_own_are_told_from_the_global_one() {
    let text = fixture("gobgp-3.36", "neighbor_-j.txt");
    let text = String::from_utf8(text).unwrap();
    let in_global = |text: &str| -> Vec<bool> {
        let all = replies::parse_neighbors(text.as_bytes()).unwrap().read;
        all.values()
            .map(replies::Neighbor::in_global_table)
            .collect()
    };
    assert_eq!(in_global(&text), [true; 4]);
    let client = text.replacen(
        "\"route_server\":{}",
        "\"route_server\":{\"route_server_client\":true}",
        1,
    );
    assert_eq!(
        in_global(&client).iter().filter(|global| !**global).count(),
        1
    );
    let vrf = text.replacen("\"conf\":{", "\"conf\":{\"vrf\":\"red\",", 2);
    assert_eq!(in_global(&vrf).iter().filter(|global| !**global).count(), 2);
}

#[test]
fn gobgp_neighbors_are_complete() {
    for (daemon, minor) in VERSIONS {
        let neighbors = replies::parse_neighbors(&fixture(daemon, "neighbor_-j.txt"))
            .unwrap()
            .read;
        let families: Vec<_> = neighbors
            .values()
            .map(replies::Neighbor::families)
            .collect();
        let (v4, v6) = (vec![Family::Ipv4], vec![Family::Ipv6]);
        assert_eq!(families, [v4.clone(), v4, v6.clone(), v6]);
        let version = replies::parse_version(&fixture(daemon, "--version.txt")).unwrap();
        assert_eq!((version.major, version.minor), (3, minor));
    }
    let neighbors = replies::parse_neighbors(&gobgp("neighbor_-j.txt"))
        .unwrap()
        .read;
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
    let down = replies::parse_neighbors(&gobgp("neighbor_-j.down.txt"))
        .unwrap()
        .read;
    let (before, after) = (
        &neighbors[&address("192.0.2.11")],
        &down[&address("192.0.2.11")],
    );
    assert!(!after.established() && before.life() != after.life());
    assert_eq!(after.notifications(), before.notifications() + 1);
    let error = replies::error_in(&gobgp("neighbor_192.0.2.11_adj-in_-a_ipv4_-j.down.txt"));
    assert_eq!(
        error.unwrap(),
        "neighbor 192.0.2.11's BGP session is not established"
    );
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
            replies::parse_rib(text, family)
        });
    }
    for (daemon, _) in VERSIONS {
        torture(
            &fixture(daemon, "global_rib_-a_ipv6_-j.txt"),
            Family::Ipv6,
            |text| {
                let all: Result<Vec<_>, _> = replies::parse_global(text, Family::Ipv6)?
                    .into_values()
                    .collect();
                Ok(all?.concat())
            },
        );
    }
    flips_never_panic(&gobgp("neighbor_-j.txt"), |text| {
        replies::parse_neighbors(text).is_ok()
    });
}
