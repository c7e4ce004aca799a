//! GoBGP 3.10 by its client.
use filter_core::Family;

use super::{MARKS, P1_V4, address, fixture, flips_never_panic, route, torture, with};
use crate::feeds::gobgp::replies;

fn gobgp(name: &str) -> Vec<u8> {
    fixture("gobgp-3.10", name)
}

#[test]
fn gobgp_tables_are_complete() {
    let read = |name: &str, family| replies::parse_rib(&gobgp(name), family).unwrap();
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
    let neighbors = replies::parse_neighbors(&gobgp("neighbor_-j.txt")).unwrap();
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
    let down = replies::parse_neighbors(&gobgp("neighbor_-j.down.txt")).unwrap();
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
    let version = replies::parse_version(&gobgp("--version.txt")).unwrap();
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
            replies::parse_rib(text, family)
        });
    }
    flips_never_panic(&gobgp("neighbor_-j.txt"), |text| {
        replies::parse_neighbors(text).is_ok()
    });
}
