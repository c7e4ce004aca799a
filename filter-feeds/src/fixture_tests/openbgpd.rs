//! OpenBGPD 7.7 and 8.8 by bgpctl.
use std::net::IpAddr;

use filter_core::Family;

use super::{P1_V4, address, fixture, flips_never_panic, route, torture, with};
use crate::openbgpd::replies;
use crate::poll::Neighbour as _;
use filter_lifecycle::route::{AdjRib, Route};

fn openbgpd_rib(version: &str, name: &str, neighbor: &str) -> Result<Vec<Route>, String> {
    let bytes = fixture(&format!("openbgpd-{version}"), name);
    let neighbor = address(neighbor);
    replies::parse_rib(&bytes, neighbor, neighbor_family(neighbor), false)
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
        let neighbors = replies::parse_neighbors(&bytes).unwrap().read;
        let neighbor = &neighbors[&address("192.0.2.11")];
        assert!(neighbor.established() && neighbors.len() == 1);
        assert_eq!(neighbor.families(), [Family::Ipv4]);
        let counts: Vec<_> = neighbor
            .counts()
            .iter()
            .map(|count| (count.rib, count.prefixes))
            .collect();
        assert_eq!(
            counts,
            [(AdjRib::InPrePolicy, 3), (AdjRib::OutPostPolicy, 2)]
        );
    }
}

#[test]
fn openbgpd_empty_and_failed() {
    let read = |text: &str, may_be_empty| {
        let neighbor = address("192.0.2.11");
        replies::parse_rib(text.as_bytes(), neighbor, Family::Ipv4, may_be_empty)
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
            replies::parse_rib(text, neighbor, Family::Ipv4, false)
        });
        let bytes = fixture(&daemon, "-j_show_neighbor_192.0.2.11.txt");
        flips_never_panic(&bytes, |text| replies::parse_neighbors(text).is_ok());
    }
}
