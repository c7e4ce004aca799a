//! BIRD 2 and 3 over their control sockets.
use std::time::Duration;

use filter_core::Family;

use super::{MARKS, P1_V4, address, control, fixture, flips_never_panic, route, torture, with};
use crate::bird::replies;
use filter_lifecycle::route::{Community, DownCause, Route};

const BIRD_2: &str = "bird-2.0.12";
const BIRD_3: &str = "bird-3.1.8";

fn bird(name: &str) -> Vec<u8> {
    fixture(BIRD_2, name)
}

fn bird_routes(bytes: &[u8], family: Family) -> Result<Vec<Route>, String> {
    replies::parse_routes(&replies::text(bytes), family).map_err(|error| format!("{error:?}"))
}

#[test]
fn bird_tables_are_complete() {
    tables_are_complete(BIRD_2, "");
    // BIRD 3 keeps what it sends, not what it sends it from.
    tables_are_complete(BIRD_3, "192.0.2.1");
}

fn tables_are_complete(daemon: &str, sent_next_hop: &str) {
    let read = |name: &str, family| {
        let mut routes = bird_routes(&fixture(daemon, name), family).unwrap();
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
    for (name, next_hop) in [
        ("export_table_p1_4.ipv4", sent_next_hop),
        ("export_p1_4.ipv4", ""),
    ] {
        let own = |prefix| Route {
            // What it is sent from has no AS yet.
            path_head: route(prefix, next_hop)
                .path_head
                .filter(|_| !next_hop.is_empty()),
            ..with(route(prefix, next_hop), &[])
        };
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
    for daemon in [BIRD_2, BIRD_3] {
        protocols_are_complete(daemon);
    }
    let down = fixture(BIRD_3, "socket_show_protocols_all.down.txt");
    let down = replies::parse_protocols(&replies::text(&down)).unwrap().0;
    let up: Vec<_> = down.iter().map(|all| all.established).collect();
    assert_eq!(up, [false, true, true, true]);
    assert_eq!(down[0].down_cause(), DownCause::Lost, "connection refused");
}

/// BIRD 3 lists a session while it still works out what to advertise to it.
#[test]
fn bird_3_that_still_feeds_is_noticed() {
    let reply = fixture(BIRD_3, "socket_show_protocols_all.txt");
    let reply = replies::text(&reply);
    let feeding = |reply: &str| {
        let protocols = replies::parse_protocols(reply).unwrap().0;
        let channels = protocols.iter().flat_map(|all| &all.channels);
        channels.filter(|channel| channel.feeding).count()
    };
    assert_eq!(feeding(&reply), 0);
    let busy = reply.replacen("Export state:   READY", "Export state:   FEEDING", 2);
    assert_eq!(feeding(&busy), 2);
    assert_eq!(
        feeding(&replies::text(&bird("socket_show_protocols_all.txt"))),
        0
    );
}

fn protocols_are_complete(daemon: &str) {
    let reply = fixture(daemon, "socket_show_protocols_all.txt");
    let protocols = replies::parse_protocols(&replies::text(&reply)).unwrap().0;
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
    for daemon in [BIRD_2, BIRD_3] {
        let reply = fixture(daemon, "socket_show_route_all_export_table_own4.ipv4.txt");
        let refused =
            replies::ReplyError::Refused("No export table in channel own4.ipv4".to_owned());
        assert_eq!(
            replies::parse_routes(&replies::text(&reply), Family::Ipv4),
            Err(refused)
        );
        let greeting = fixture(daemon, "socket_greeting.txt");
        replies::check_greeting(&replies::text(&greeting)).unwrap();
    }
    for other in [
        "0001 BIRD 4.0.0 ready.\n",
        "0001 BIRD 1.6.8 ready.\n",
        "0001 BIRD ready.\n",
        "0000 \n",
        "",
    ] {
        assert!(replies::check_greeting(other).is_err(), "{other}");
    }
}

#[test]
fn bird_cut_or_flipped() {
    for daemon in [BIRD_2, BIRD_3] {
        for (name, family) in [
            ("import_table_p1_4.ipv4", Family::Ipv4),
            ("export_table_p1_6.ipv6", Family::Ipv6),
            ("protocol_p1_6_table_master6", Family::Ipv6),
        ] {
            let bytes = fixture(daemon, &format!("socket_show_route_all_{name}.txt"));
            torture(&bytes, family, |bytes| bird_routes(bytes, family));
        }
        let protocols = fixture(daemon, "socket_show_protocols_all.txt");
        let read = |bytes: &[u8]| replies::parse_protocols(&replies::text(bytes)).is_ok();
        flips_never_panic(&protocols, read);
    }
}

/// FRR always offers ADD-PATH to others; only what this BIRD offers makes its counts those of paths.
#[test]
fn bird_offers_add_path() {
    let reply = bird("socket_show_protocols_all.addpath.txt");
    let protocols = replies::parse_protocols(&replies::text(&reply)).unwrap().0;
    let offers: Vec<_> = protocols
        .iter()
        .map(|all| (all.name.as_str(), all.add_path))
        .collect();
    assert_eq!(offers, [("r4", true), ("r6", false)]);
}

/// As BIRD 2.0.12 lists protocols of several VRFs; which of the same neighbour count.
#[test]
fn neighbours_of_several_vrfs_are_not_mixed() {
    let counted = |protocols: &[(&str, &str, &str)]| {
        let mut reply =
            "2002-Name       Proto      Table      State  Since         Info\n".to_owned();
        for (name, vrf, address) in protocols {
            let vrf = if vrf.is_empty() {
                String::new()
            } else {
                format!("  VRF:            {vrf}\n ")
            };
            reply += &format!(
                "1002-{name}          BGP        ---        start  18:13:55.573  Idle          \n\
                 1006-{vrf}  BGP state:          Idle\n\
                 \x20    Neighbor address: {address}\n     Neighbor AS:      2\n \n"
            );
        }
        reply += "0000 \n";
        let read = replies::parse_protocols(&reply).unwrap().0;
        let names: Vec<String> = read.into_iter().map(|protocol| protocol.name).collect();
        names.join(" ")
    };
    let (one, two) = ("10.0.0.2", "10.0.0.3");
    for (protocols, expected) in [
        (&[("a", "", one), ("b", "default", two)][..], "a b"),
        (&[("a", "red", one), ("b", "red", two)], "a b"),
        (&[("a", "red", one), ("b", "red", one)], "a b"),
        (&[("a", "red", one), ("b", "", one)], "b"),
        (&[("a", "red", one), ("b", "default", one)], "b"),
        (
            &[("a", "red", one), ("b", "blue", one), ("c", "blue", two)],
            "c",
        ),
        (&[("a", "", one), ("b", "", one)], "a b"),
    ] {
        assert_eq!(counted(protocols), expected, "{protocols:?}");
    }
}

/// From 35 standard, 17 large or 28 extended communities on BIRD wraps the list into lines of their own.
#[test]
fn bird_wraps_long_lists_of_communities() {
    let reply = control("bird_reply_60_communities.txt");
    let routes = bird_routes(&reply, Family::Ipv4).unwrap();
    let [plain, marked] = &routes[..] else {
        panic!("{routes:?}");
    };
    assert_eq!(plain.communities.as_deref(), Some(&[][..]));
    let all: Vec<_> = (10_000..10_060)
        .map(|low| Community::Standard(65000, low))
        .collect();
    assert_eq!(marked.communities.as_deref(), Some(&all[..]));
    assert_eq!(marked.prefix, "60.1.0.0/16".parse().unwrap());
    torture(&reply, Family::Ipv4, |bytes| {
        bird_routes(bytes, Family::Ipv4)
    });
}

/// Large and extended ones likewise; targets that name an AS scope a route server, other kinds are passed over.
#[test]
fn bird_wraps_large_and_extended_communities() {
    let head = "1007-60.1.0.0/16          unicast [p1 14:51:59.345] * (100) [AS64502i]\n \tvia 10.0.0.2 on v0\n";
    let reply = format!(
        "{head}1012-\tBGP.ext_community: (rt, 0, 64501) (ro, 1, 2)\n \t\t(rt, 64511, 64502) (generic, 0x43ffdead, 0xbeef0001)\n \t\t(rt, 10.0.0.1, 7)\n \tBGP.large_community: (4200000000, 0, 7)\n \t\t(4200000000, 1, 8)\n \tBGP.as_path: 64502\n \t\t64503 64504\n0000 \n"
    );
    let routes = bird_routes(reply.as_bytes(), Family::Ipv4).unwrap();
    assert_eq!(
        routes[0].communities.as_deref(),
        Some(
            &[
                Community::RouteTarget(0, 64501),
                Community::RouteTarget(64511, 64502),
                Community::Large(4_200_000_000, 0, 7),
                Community::Large(4_200_000_000, 1, 8),
            ][..]
        )
    );
    for bad in ["(rt, 0)", "(tr, 0, 1)", "1, 2, 3)"] {
        let reply = format!("{head}1012-\tBGP.ext_community: {bad}\n0000 \n");
        assert!(
            bird_routes(reply.as_bytes(), Family::Ipv4).is_err(),
            "{bad}"
        );
    }
    let nothing = format!("{head}\t\t(1,2)\n0000 \n");
    assert!(bird_routes(nothing.as_bytes(), Family::Ipv4).is_err());
}
