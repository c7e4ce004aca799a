//! Every route monitoring message of every recorded stream, read by us, by `bgpkit-parser` and by netgauze: the same
//! prefixes come and go, with the same path identifiers. Where the others are known to be wrong, it says so.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use bgpkit_parser::bmp::messages::BmpMessageBody;
use bgpkit_parser::models::{Asn, BgpMessage as KitMessage, ElemType};
use bgpkit_parser::{Elementor, parse_bmp_msg};
use bytes::{Bytes, BytesMut};
use filter_core::Prefix;
use filter_feeds::bmp::router::Router;
use filter_lifecycle::route::RouteEvent;
use netgauze_bgp_pkt::BgpMessage as GauzeMessage;
use netgauze_bgp_pkt::path_attribute::{MpReach, MpUnreach, PathAttributeValue};
use netgauze_bgp_pkt::update::BgpUpdateMessage;
use netgauze_bmp_pkt::BmpMessage;
use netgauze_bmp_pkt::codec::BmpCodec;
use netgauze_bmp_pkt::v3::BmpMessageValue;
use tests::captures::{capture, captures, messages};
use tokio_util::codec::Decoder;

/// A prefix that comes (true) or goes, and its path identifier.
type Said = Vec<(bool, Prefix, u32)>;

fn by_us(events: &[RouteEvent]) -> Said {
    let mut said: Said = events
        .iter()
        .filter_map(|event| match event {
            RouteEvent::Announce { route, .. } => Some((true, route.prefix, route.path)),
            RouteEvent::Withdraw { prefix, path, .. } => Some((false, *prefix, *path)),
            _ => None,
        })
        .collect();
    said.sort_unstable();
    said
}

/// What `bgpkit-parser` says; none if it is not route monitoring.
fn by_bgpkit(message: &[u8]) -> Option<Said> {
    let parsed = parse_bmp_msg(&mut Bytes::copy_from_slice(message)).unwrap();
    let BmpMessageBody::RouteMonitoring(monitoring) = parsed.message_body else {
        return None;
    };
    let KitMessage::Update(update) = monitoring.bgp_message else {
        panic!("no UPDATE in route monitoring");
    };
    let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let elements = Elementor::bgp_update_to_elems(update, 0.0, &nobody, &Asn::new_32bit(0));
    let mut said: Said = elements
        .into_iter()
        .map(|element| {
            let path = element.prefix.path_id.unwrap_or_default();
            let prefix = Prefix::from(element.prefix.prefix);
            (element.elem_type == ElemType::ANNOUNCE, prefix, path)
        })
        .collect();
    said.sort_unstable();
    Some(said)
}

/// What netgauze says; its error if it cannot read the message.
fn by_netgauze(codec: &mut BmpCodec, message: &[u8]) -> Result<Option<Said>, String> {
    let mut bytes = BytesMut::from(message);
    let decoded = codec
        .decode(&mut bytes)
        .map_err(|error| format!("{error:?}"))?;
    let Some(BmpMessage::V3(BmpMessageValue::RouteMonitoring(monitoring))) = decoded else {
        return Ok(None);
    };
    let GauzeMessage::Update(update) = monitoring.update_message() else {
        panic!("no UPDATE in route monitoring");
    };
    Ok(Some(netgauze_update(update)))
}

fn netgauze_update(update: &BgpUpdateMessage) -> Said {
    let mut said = Said::new();
    let mut add = |comes: bool, prefix: String, path: Option<u32>| {
        said.push((comes, prefix.parse().unwrap(), path.unwrap_or_default()));
    };
    for route in update.withdraw_routes() {
        add(false, route.network().to_string(), route.path_id());
    }
    for route in update.nlri() {
        add(true, route.network().to_string(), route.path_id());
    }
    for attribute in update.path_attributes() {
        match attribute.value() {
            PathAttributeValue::MpReach(MpReach::Ipv6Unicast { nlri, .. }) => {
                for route in nlri {
                    add(true, route.network().to_string(), route.path_id());
                }
            }
            PathAttributeValue::MpUnreach(MpUnreach::Ipv6Unicast { nlri }) => {
                for route in nlri {
                    add(false, route.network().to_string(), route.path_id());
                }
            }
            PathAttributeValue::MpReach(_) | PathAttributeValue::MpUnreach(_) => {
                panic!("another family");
            }
            _ => {}
        }
    }
    said.sort_unstable();
    said
}

#[test]
fn three_parsers_say_the_same() {
    let now = Instant::now();
    let (mut compared, mut unread) = (0, Vec::new());
    for name in captures() {
        let stream = capture(&name);
        let mut router = Router::new(now);
        let mut codec = BmpCodec::default();
        for message in messages(&stream).0 {
            let mut events = Vec::new();
            let left_out = router.counts.total();
            if router
                .message(message, now, &mut events, &mut |_| true)
                .is_err()
            {
                break;
            }
            let ours = by_us(&events);
            let netgauze = by_netgauze(&mut codec, message);
            // Those of Loc-RIB and pseudo-peers are not ours to read.
            if router.counts.total() != left_out {
                continue;
            }
            let Some(bgpkit) = by_bgpkit(message) else {
                continue;
            };
            assert_eq!(ours, bgpkit, "{name}: bgpkit-parser on {message:02x?}");
            match netgauze {
                Ok(Some(netgauze)) if netgauze != ours => unread.push(name.clone()),
                Ok(_) => {}
                Err(_) => unread.push(name.clone()),
            }
            compared += 1;
        }
    }
    println!(
        "{compared} compared, {} of them misread by netgauze",
        unread.len()
    );
    assert!(compared > 800, "{compared}");
    // netgauze takes path identifiers as negotiated, which FRR and GoBGP (after policy) do not send.
    let known =
        |name: &String| name.starts_with("addpath-frr") || name.starts_with("addpath-gobgp");
    assert_eq!(unread.iter().find(|name| !known(name)), None);
}
