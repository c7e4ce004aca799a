//! Routing instances (RFC 7854 section 4.2): an address in a VRF is another neighbour than the same address in the
//! global instance, whoever asks.
use filter_feeds::bmp::router::Memory;
use filter_lifecycle::route::{AdjRib, FeedId, Origin, PeerId, Route, RouteEvent, Session};
use filter_lifecycle::{Event, Missing, Side};

use super::world::{BMP_LISTENER, MINE, ONE, OUT, POLL, PRE, V4, World, prefix};
use tests::captures::{capture, fold, messages};

const P1: &str = "192.0.2.11";
const A: &str = "45.146.194.0/23";
const B: &str = "100.0.0.0/16";
const C: &str = "101.0.0.0/16";
const RED: &str = "64500:1";
const BLUE: &str = "192.0.2.1:2";

fn in_vrf(address: &str, vrf: &str) -> Session {
    Session {
        address: address.parse().unwrap(),
        vrf: (!vrf.is_empty()).then(|| vrf.parse().unwrap()),
    }
}

fn announce(world: &mut World, session: Session, rib: AdjRib, text: &str, hop: Option<&str>) {
    let next_hop = hop.map(|hop| hop.parse().unwrap());
    let route = Route {
        next_hop,
        ..Route::bare(prefix(text))
    };
    let origin = Origin::Session(session);
    world.tell(0, RouteEvent::Announce { origin, rib, route });
}

/// FRR's stream, with every peer of this type and distinguisher.
fn stream(peer_type: u8, distinguisher: u64) -> Vec<u8> {
    let whole = capture("frr-10.3/bmp.c2.0");
    let mut stream = Vec::new();
    for message in messages(&whole).0 {
        let mut message = message.to_vec();
        // All but Initiation and Termination have a per-peer header; Loc-RIB peers are none.
        if !matches!(message[5], 4 | 5) && message[6] != 3 {
            message[6] = peer_type;
            message[8..16].copy_from_slice(&distinguisher.to_be_bytes());
        }
        stream.extend(message);
    }
    stream
}

/// What P1's sources are after it, and how many sessions of no peer were reported.
fn received(stream: &[u8], vrf: &str) -> (usize, usize) {
    let one = ONE.replace("families = [\"ipv4\"]", vrf);
    let mut world = World::new(&[&one, BMP_LISTENER]);
    world.feed_up(0);
    let (folded, _) = fold(stream, Memory::default());
    assert!(folded.events.len() > 10, "{:?}", folded.events);
    for event in folded.events {
        world.tell(0, event);
    }
    let unknown = |event: &Event| match event {
        Event::UnknownSession(FeedId(0), session) => session.address.to_string() == P1,
        _ => false,
    };
    let unknown = world.news().iter().filter(|event| unknown(event)).count();
    (world.wanted(0, Side::Sources).len(), unknown)
}

#[test]
fn a_routers_other_instances_are_nobodys_unless_they_are_named() {
    let red = 0x0000_fbf4_0000_0001;
    let global = stream(0, 0);
    let (all, unknown) = received(&global, "");
    assert!(all >= 2 && unknown == 0, "{all} {unknown}");
    for (peer_type, distinguisher, name) in [
        (1, red, "\"64500:1\""),
        (2, 7, "7"),
        (1, 0, "0"), // of no distinguisher, and yet not the global one's
        (2, 0, "\"0x0\""),
        (0, red, "\"64500:1\""), // a type that says otherwise
    ] {
        let stream = stream(peer_type, distinguisher);
        let vrf = format!("route_distinguisher = {name}");
        assert_eq!(
            received(&stream, ""),
            (0, 1),
            "{peer_type} {distinguisher:#x}"
        );
        assert_eq!(received(&stream, &vrf), (all, 0), "{vrf}");
        assert_eq!(received(&global, &vrf), (0, 1), "{vrf}");
        assert_eq!(
            received(&stream, "route_distinguisher = \"64500:2\""),
            (0, 1),
            "{vrf}"
        );
    }
}

/// The same address thrice, each on a VLAN of its own.
#[test]
fn one_address_in_several_instances_is_several_peers() {
    let peer = |name: &str, asn: &str, more: &str| {
        let named = ONE.replace("p1", name).replace("64501", asn);
        named.replace(
            "families = [\"ipv4\"]",
            &format!("families = [\"ipv4\"]\n{more}"),
        )
    };
    let red = peer(
        "red",
        "64501",
        &format!("vlan = 7\nroute_distinguisher = \"{RED}\""),
    )
    .replace("[\"192.0.2.11\"]", "[\"192.0.2.11\", \"192.0.2.21\"]");
    let blue = peer(
        "blue",
        "64502",
        &format!("vlan = 8\nroute_distinguisher = \"{BLUE}\""),
    );
    let global = peer("global", "64503", "");
    let mut world = World::new(&[&red, &blue, &global, BMP_LISTENER]);
    world.feed_up(0);
    let sessions = [RED, BLUE, ""].map(|vrf| in_vrf(P1, vrf));
    for (session, text) in sessions.into_iter().zip([A, B, C]) {
        announce(&mut world, session, PRE, text, Some(P1));
    }
    for (peer, text) in (0..).zip([A, B, C]) {
        world.sources(peer, &[text]);
    }
    // One of red's addresses is its own, and no other peer's.
    world.news();
    for (session, text) in sessions.into_iter().zip([A, B, C]) {
        announce(&mut world, session, PRE, text, Some("192.0.2.21"));
    }
    let hop = "192.0.2.21".parse().unwrap();
    assert_eq!(
        world.news(),
        [
            Event::NextHopRewritten(PeerId(1), hop, prefix(B)),
            Event::NextHopRewritten(PeerId(2), hop, prefix(C)),
        ]
    );
    // Nor does what becomes of one session concern the others.
    let cause = filter_lifecycle::route::DownCause::Notification;
    let session = sessions[0];
    world.tell(0, RouteEvent::SessionDown { session, cause });
    world.wait(121);
    world.sources(0, &[]);
    world.sources(1, &[B]);
    world.sources(2, &[C]);
}

#[test]
fn a_route_server_serves_who_is_in_its_instance() {
    let inside = ONE.replace(
        "families",
        &format!("route_distinguisher = \"{RED}\"\nfamilies"),
    );
    let outside = ONE
        .replace("p1", "p2")
        .replace("64501", "64502")
        .replace(".11", ".12");
    let server = format!(
        "[[route_server]]\nname = \"rs\"\nasn = 64511\ninterface = \"ixp0\"\naddresses = [\"192.0.2.250\"]\nroute_distinguisher = \"{RED}\""
    );
    let mut world = World::new(&[&inside, &outside, &server, BMP_LISTENER]);
    world.feed_up(0);
    let rs = in_vrf("192.0.2.250", RED);
    announce(&mut world, rs, PRE, A, Some(P1));
    announce(&mut world, rs, PRE, B, Some("192.0.2.12"));
    announce(&mut world, rs, OUT, "198.51.100.0/24", None);
    world.sources(0, &[A]);
    world.destinations(0, &["198.51.100.0/24"]);
    world.sources(1, &[]);
    world.destinations(1, &[]);
    announce(&mut world, in_vrf("192.0.2.250", ""), PRE, C, Some(P1));
    world.sources(0, &[A]);
}

/// Polls ask for the global instance only: they report nothing of a peer in a VRF, so its static prefixes do not wait for them.
#[test]
fn polls_are_not_of_a_vrf() {
    let by_hand = |vrf: &str| {
        let one = ONE.replace("families", &format!("{vrf}\nfamilies"));
        let mut world = World::new(&[&one, POLL, MINE]);
        world.feed_up(1);
        world.snapshot_of_peer(1, PRE, &[A]);
        world.snapshot_of_peer(1, OUT, &["198.51.100.0/24"]);
        world.feed_up(0);
        world
    };
    let mut world = by_hand("");
    world.lacks(0, Missing::NotReceived(Side::Sources, V4));
    world.snapshot(0, P1, PRE, V4, &[B]);
    world.sources(0, &[A, B]);
    world = by_hand("route_distinguisher = 7");
    world.snapshot(0, P1, PRE, V4, &[B]);
    world.sources(0, &[A]);
    world.enforcing(0);
}
