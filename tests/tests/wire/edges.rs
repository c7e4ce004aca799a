//! The BGP and BMP reader: what it takes, what it refuses and says, at the edges of each limit.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::net::IpAddr;

use filter_core::{Family, Prefix};
use filter_feeds::updates::push_routes;
use filter_feeds::wire::bgp::{self, Message, Nlri, Open, PathIds, RefreshSubtype, Update};
use filter_feeds::wire::{Malformed, Reader, WireError};
use filter_lifecycle::route::{AdjRib, Community, Origin, RouteEvent, Session};
use tests::encoder::{self, attribute, message};

fn read(message: &[u8]) -> Result<Message<'_>, WireError> {
    bgp::take(&mut Reader::new(message), bgp::MAX_EXTENDED_MESSAGE)
}

fn update(message: &[u8]) -> Update<'_> {
    match read(message).unwrap() {
        Message::Update(update) => update,
        other => panic!("{other:?}"),
    }
}

fn refused(message: &[u8]) -> Malformed {
    match read(message) {
        Err(error) => error.kind,
        Ok(Message::Update(update)) => update.check(PathIds::NONE).unwrap_err().kind,
        Ok(other) => panic!("{other:?}"),
    }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

const ALL_PATHS: PathIds = PathIds {
    ipv4: true,
    ipv6: true,
};

#[test]
fn host_bits_are_cleared_and_next_hops_kept() {
    let next_hop = attribute(0x40, 3, &[192, 0, 2, 1]);
    let bytes = encoder::update(&[], &next_hop, &[25, 198, 51, 100, 0xff]);
    let announced: Vec<_> = update(&bytes)
        .announced(PathIds::NONE)
        .map(Result::unwrap)
        .collect();
    assert_eq!(announced.len(), 1);
    assert_eq!(announced[0].nlri.prefix, prefix("198.51.100.128/25"));
    assert_eq!(announced[0].next_hop, Some("192.0.2.1".parse().unwrap()));
}

#[test]
fn multiprotocol_next_hops_in_every_form() {
    let global = "2001:db8::1"
        .parse::<std::net::Ipv6Addr>()
        .unwrap()
        .octets();
    let link_local = "fe80::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let both = [global, link_local].concat();
    let v4: &[u8] = &[24, 198, 51, 100];
    let v6: &[u8] = &[32, 0x20, 0x01, 0x0d, 0xb8];
    for (afi, next_hop, nlri) in [
        (2, &global[..], v6),
        (2, &both, v6),
        (1, &global, v4), // RFC 8950
        (1, &both, v4),
        (1, &[192, 0, 2, 1], v4),
    ] {
        let mut value = vec![0, afi, 1, next_hop.len() as u8];
        value.extend(next_hop);
        value.push(0);
        value.extend(nlri);
        let bytes = encoder::update(&[], &attribute(0x80, 14, &value), &[]);
        let announced: Vec<_> = update(&bytes)
            .announced(PathIds::NONE)
            .map(Result::unwrap)
            .collect();
        let expected = if next_hop.len() == 4 {
            "192.0.2.1"
        } else {
            "2001:db8::1"
        };
        assert_eq!(
            announced[0].next_hop,
            Some(expected.parse::<IpAddr>().unwrap())
        );
        let expected = if afi == 1 {
            "198.51.100.0/24"
        } else {
            "2001:db8::/32"
        };
        assert_eq!(announced[0].nlri.prefix, prefix(expected));
    }
    // A neighbour without a global address: the link-local one is its next hop. IPv4-mapped is IPv4.
    let unspecified = [0; 16];
    let mapped = "::ffff:192.0.2.1".parse::<std::net::Ipv6Addr>().unwrap();
    for (next_hop, expected) in [
        ([unspecified, link_local].concat(), "fe80::1"),
        (mapped.octets().to_vec(), "192.0.2.1"),
    ] {
        let mut value = vec![0, 2, 1, next_hop.len() as u8];
        value.extend(&next_hop);
        value.push(0);
        value.extend(v6);
        let bytes = encoder::update(&[], &attribute(0x80, 14, &value), &[]);
        let announced = update(&bytes).announced(PathIds::NONE).next();
        assert_eq!(
            announced.unwrap().unwrap().next_hop,
            Some(expected.parse().unwrap())
        );
    }
    for (afi, length) in [(1, 0), (1, 5), (1, 24), (2, 4), (2, 15), (2, 33), (2, 48)] {
        let mut value = vec![0, afi, 1, length];
        value.extend(vec![0; usize::from(length) + 1]);
        let bytes = encoder::update(&[], &attribute(0x80, 14, &value), &[]);
        assert!(
            matches!(refused(&bytes), Malformed::Length { .. }),
            "{afi} {length}"
        );
    }
}

#[test]
fn lengths_beyond_the_family_are_errors_at_their_place() {
    let bytes = encoder::update(&[], &[], &[24, 198, 51, 100, 33, 1, 2, 3, 4, 5]);
    let error = update(&bytes).check(PathIds::NONE).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ipv4 prefix length 33 is over 32, at byte 27 of the message"
    );
    let bytes = encoder::update(&[24, 198, 51], &[], &[]);
    assert!(matches!(
        refused(&bytes),
        Malformed::Cut {
            needs: 3,
            left: 2,
            ..
        }
    ));
    let bytes = encoder::update(&[], &attribute(0x80, 15, &[0, 2, 1, 129]), &[]);
    assert_eq!(
        refused(&bytes),
        Malformed::PrefixLength {
            family: Family::Ipv6,
            length: 129
        }
    );
}

#[test]
fn path_identifiers_read_as_prefixes_do_not_pass() {
    let with_ids: &[u8] = &[0, 0, 0, 2, 24, 198, 51, 100];
    let bytes = encoder::update(&[], &[], with_ids);
    assert_eq!(refused(&bytes), Malformed::RepeatedDefault);
    let nlri: Vec<_> = update(&bytes)
        .announced(ALL_PATHS)
        .map(|route| route.unwrap().nlri)
        .collect();
    assert_eq!(
        nlri,
        [Nlri {
            path: 2,
            prefix: prefix("198.51.100.0/24")
        }]
    );
    // A default route alone is a default route; one per path is one per path.
    assert!(
        update(&encoder::update(&[], &[], &[0]))
            .check(PathIds::NONE)
            .is_ok()
    );
    let two = encoder::update(&[], &[], &[0, 0, 0, 1, 0, 0, 0, 0, 2, 0]);
    assert!(update(&two).check(ALL_PATHS).is_ok());
}

#[test]
fn repeated_attributes_are_treated_as_rfc_7606_has_it() {
    let unreach = attribute(0x80, 15, &[0, 2, 1, 0]);
    let bytes = encoder::update(&[], &[&unreach[..], &unreach].concat(), &[]);
    assert_eq!(refused(&bytes), Malformed::RepeatedAttribute(15));
    let first = attribute(0x40, 3, &[192, 0, 2, 1]);
    let second = attribute(0x40, 3, &[192, 0, 2, 2]);
    let bytes = encoder::update(&[], &[first, second].concat(), &[8, 9]);
    let update = update(&bytes);
    assert_eq!(update.repeated(), 1);
    let announced = update.announced(PathIds::NONE).next().unwrap().unwrap();
    assert_eq!(announced.next_hop, Some("192.0.2.1".parse().unwrap()));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a list of attributes")]
fn attributes_that_are_wrong_have_their_routes_withdrawn() {
    for (attribute, expected) in [
        (
            attribute(0xc0, 3, &[192, 0, 2, 1]),
            Malformed::AttributeFlags {
                attribute: 3,
                flags: 0xd0,
            },
        ),
        (
            attribute(0xc0, 16, &[0, 2, 0, 0, 0, 0, 0]),
            Malformed::Length {
                what: "the extended communities attribute",
                length: 7,
            },
        ),
        (
            attribute(0x40, 14, &[0, 1, 1, 4, 0, 0, 0, 0, 0]),
            Malformed::AttributeFlags {
                attribute: 14,
                flags: 0x50,
            },
        ),
        (
            attribute(0x40, 3, &[1, 2, 3]),
            Malformed::Cut {
                what: "the next hop",
                needs: 4,
                left: 3,
            },
        ),
        (
            attribute(0x40, 3, &[1, 2, 3, 4, 5]),
            Malformed::Excess {
                what: "the next hop",
                excess: 1,
            },
        ),
        (
            attribute(0xc0, 8, &[1, 2, 3]),
            Malformed::Length {
                what: "the communities attribute",
                length: 3,
            },
        ),
        (
            attribute(0xc0, 32, &[0; 8]),
            Malformed::Length {
                what: "the large communities attribute",
                length: 8,
            },
        ),
    ] {
        let bytes = encoder::update(&[8, 10], &attribute, &[24, 198, 51, 100]);
        let update = update(&bytes);
        assert_eq!(update.flaw().map(|flaw| flaw.kind), Some(expected));
        assert_eq!(update.end_of_rib(), None);
        let mut events = Vec::new();
        let origin = Origin::Session(Session::global("192.0.2.1".parse().unwrap()));
        push_routes(
            origin,
            AdjRib::InPrePolicy,
            (&update, PathIds::NONE),
            &mut events,
        )
        .unwrap();
        let withdrawn = |text| RouteEvent::Withdraw {
            origin,
            rib: AdjRib::InPrePolicy,
            prefix: prefix(text),
            path: 0,
        };
        assert_eq!(
            events,
            [withdrawn("10.0.0.0/8"), withdrawn("198.51.100.0/24")]
        );
    }
    // Behind an attribute that is cut may be more prefixes: without any, what it was about cannot be known.
    let cut = [0x40, 1, 9];
    let bytes = encoder::update(&[], &cut, &[8, 10]);
    assert!(update(&bytes).flaw().is_some());
    assert!(matches!(
        refused(&encoder::update(&[], &cut, &[])),
        Malformed::Cut { .. }
    ));
}

#[test]
fn communities_are_collected_from_both_attributes() {
    let standard = attribute(0xc0, 8, &[0, 0, 0xe2, 0x6d, 0xfb, 0xff, 0, 7]);
    let large = attribute(0xc0, 32, &[0, 0, 0xfb, 0xff, 0, 0, 0, 1, 0, 3, 0x44, 0xb8]);
    // rt:0:57965, rt:4200000000:7, and an origin, which scopes nothing.
    let extended = [
        &[0, 2, 0, 0, 0, 0, 0xe2, 0x6d][..],
        &[2, 2, 0xfa, 0x56, 0xea, 0, 0, 7],
        &[0, 3, 0, 1, 0, 0, 0, 1],
    ];
    let extended = attribute(0xc0, 16, &extended.concat());
    let bytes = encoder::update(&[], &[standard, extended, large].concat(), &[]);
    assert_eq!(
        update(&bytes).communities().as_deref(),
        Some(
            &[
                Community::Standard(0, 57965),
                Community::Standard(64511, 7),
                Community::RouteTarget(0, 57965),
                Community::RouteTarget(4_200_000_000, 7),
                Community::Large(64511, 1, 214_200)
            ][..]
        )
    );
    assert_eq!(update(&encoder::update(&[], &[], &[])).communities(), None);
}

#[test]
fn ends_of_ribs_and_foreign_families() {
    let end = |attributes: &[u8]| update(&encoder::update(&[], attributes, &[])).end_of_rib();
    assert_eq!(end(&[]), Some(Family::Ipv4));
    assert_eq!(end(&attribute(0x80, 15, &[0, 2, 1])), Some(Family::Ipv6));
    assert_eq!(end(&attribute(0x80, 15, &[0, 1, 1])), Some(Family::Ipv4));
    assert_eq!(end(&attribute(0x80, 15, &[0, 2, 1, 0])), None);
    assert_eq!(end(&attribute(0x80, 15, &[0, 1, 128])), None);
    assert_eq!(end(&attribute(0x40, 1, &[0])), None);
    assert_eq!(
        update(&encoder::update(&[8, 10], &[], &[])).end_of_rib(),
        None
    );
    // VPNv4 with a next hop of its own form, and EVPN: skipped, counted.
    for value in [
        &[
            0, 1, 128, 12, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1, 0, 1, 2, 3,
        ][..],
        &[0, 25, 70, 4, 1, 2, 3, 4, 0],
    ] {
        let bytes = encoder::update(&[], &attribute(0x80, 14, value), &[]);
        assert_eq!(update(&bytes).foreign(), 1);
        assert_eq!(update(&bytes).announced(PathIds::NONE).count(), 0);
    }
}

fn open_message(parameters: &[u8]) -> Vec<u8> {
    let mut body = vec![4, 0x5b, 0xa0, 0, 90, 192, 0, 2, 1];
    body.extend(parameters);
    message(1, &body)
}

fn open(parameters: &[u8]) -> Open {
    match read(&open_message(parameters)).unwrap() {
        Message::Open(open) => open,
        other => panic!("{other:?}"),
    }
}

#[test]
fn opens_with_capabilities_in_both_formats() {
    let capabilities: &[u8] = &[
        1, 4, 0, 2, 0, 1, 2, 0, 6, 0, 70, 0, 65, 4, 0xfa, 0x56, 0xea, 2, 64, 6, 0x80, 120, 0, 2, 1,
        0x80, 69, 8, 0, 1, 1, 3, 0, 2, 1, 2, 99, 1, 7,
    ];
    let mut classic = vec![capabilities.len() as u8 + 2, 2, capabilities.len() as u8];
    classic.extend(capabilities);
    let mut extended = vec![
        255,
        255,
        0,
        capabilities.len() as u8 + 3,
        2,
        0,
        capabilities.len() as u8,
    ];
    extended.extend(capabilities);
    for parameters in [classic, extended] {
        let open = open(&parameters);
        assert_eq!(open.asn.get(), 4_200_000_002);
        assert_eq!(open.capabilities.multiprotocol, [false, true]);
        let restart = open.capabilities.graceful_restart.unwrap();
        assert_eq!(
            (
                restart.restart_time.as_secs(),
                restart.restarted,
                restart.families
            ),
            (120, true, [false, true])
        );
        let [ipv4, ipv6] = open.capabilities.add_path;
        assert!(ipv4.send && ipv4.receive && ipv6.send && !ipv6.receive);
        assert_eq!(
            open.path_ids_to(&open),
            PathIds {
                ipv4: true,
                ipv6: false
            }
        );
    }
    assert_eq!(open(&[0]).asn.get(), 23456);
    // What routers accept: passed over, and counted.
    for (parameters, odd) in [
        (&[2, 1, 0][..], 1),                // authentication, which RFC 4271 took out
        (&[4, 2, 2, 65, 0], 1),             // an AS number without bytes
        (&[5, 2, 3, 2, 1, 0], 1),           // route refresh with a value
        (&[8, 2, 6, 64, 4, 0, 0, 0, 1], 1), // graceful restart cut in a family
        (&[6, 2, 0, 7, 2, 0, 0], 1),        // an unknown parameter
        (&[5, 2, 3, 69, 1, 0], 1),          // ADD-PATH cut in a family
        (&[7, 2, 5, 99, 3, 1, 2, 3], 0),    // an unassigned capability
    ] {
        assert_eq!(open(parameters).odd, odd, "{parameters:?}");
    }
    assert!(open(&[5, 2, 3, 2, 1, 0]).capabilities.route_refresh);
    let (sure, unclear) = (open(&[0]), open(&[4, 2, 2, 1, 0]));
    assert_eq!(sure.families_with(&sure), Some([true, false]));
    assert_eq!(sure.families_with(&unclear), None);
    let odd_add_path = open(&[5, 2, 3, 69, 1, 0]);
    assert_eq!(
        odd_add_path.path_ids_to(&sure),
        ALL_PATHS,
        "UPDATEs must show it"
    );
    for (parameters, _what) in [
        (&[2, 2, 1][..], "a parameter cut"),
        (&[0, 0], "bytes after the end"),
    ] {
        assert!(read(&open_message(parameters)).is_err(), "{parameters:?}");
    }
}

#[test]
fn lengths_at_their_edges() {
    let header = |length: u16, kind: u8| {
        let mut header = vec![0xff; 16];
        header.extend(length.to_be_bytes());
        header.push(kind);
        header
    };
    for (length, max, fits) in [
        (18, 4096, false),
        (19, 4096, true),
        (4096, 4096, true),
        (4097, 4096, false),
        (4097, 65535, true),
        (65535, 65535, true),
    ] {
        assert_eq!(
            bgp::frame(&header(length, 2), max).is_ok(),
            fits,
            "{length}"
        );
    }
    assert_eq!(bgp::frame(&header(19, 4)[..18], 4096), Ok(None));
    assert_eq!(
        bgp::frame(&[0; 19], 4096).unwrap_err().kind,
        Malformed::Marker
    );
    // OPEN stays at 4096 with extended messages (RFC 8654 section 4).
    let long_open = message(1, &vec![0; 4096]);
    assert!(matches!(
        refused(&long_open),
        Malformed::Length {
            what: "an OPEN message",
            ..
        }
    ));
    assert!(matches!(
        refused(&message(4, &[0])),
        Malformed::Excess { .. }
    ));
    assert!(matches!(
        refused(&message(6, &[])),
        Malformed::Value { value: 6, .. }
    ));
    assert!(matches!(refused(&message(3, &[6])), Malformed::Cut { .. }));
    // The longest UPDATE there can be: 65512 bytes of prefixes.
    let nlri = [8, 10].repeat(32756);
    let longest = encoder::update(&[], &[], &nlri);
    assert_eq!(longest.len(), bgp::MAX_EXTENDED_MESSAGE);
    assert_eq!(update(&longest).announced(PathIds::NONE).count(), 32756);
}

#[test]
fn route_refresh_in_all_its_meanings() {
    for (body, family, subtype) in [
        (
            &[0, 1, 0, 1][..],
            Some(Family::Ipv4),
            RefreshSubtype::Request,
        ),
        (&[0, 2, 1, 1], Some(Family::Ipv6), RefreshSubtype::Begin),
        (&[0, 2, 2, 1], Some(Family::Ipv6), RefreshSubtype::End),
        (
            &[0, 1, 9, 1],
            Some(Family::Ipv4),
            RefreshSubtype::Unknown(9),
        ),
        (&[0, 25, 0, 70, 1, 2], None, RefreshSubtype::Request),
    ] {
        let bytes = message(5, body);
        let Message::RouteRefresh(refresh) = read(&bytes).unwrap() else {
            panic!("{body:?}");
        };
        assert_eq!((refresh.family, refresh.subtype), (family, subtype));
    }
    assert!(matches!(
        refused(&message(5, &[0, 1, 1, 1, 0])),
        Malformed::Excess { .. }
    ));
}
