//! rtnetlink messages of the neighbour table, both ways. Never does I/O, never panics on what the kernel sends.
use std::net::IpAddr;

use filter_core::packet::Mac;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};

use crate::netlink::{self, DUMP_INTERRUPTED};

/// A listing is already under way.
const EBUSY: i32 = -16;

/// What one message holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Where an address answers; nowhere if the kernel does not know.
    Entry {
        link: u32,
        address: IpAddr,
        mac: Option<Mac>,
    },
    /// The listing is of no use.
    Interrupted,
    /// The listing asked for with this number has ended.
    Done { sequence: u32 },
    /// Another listing is under way.
    Busy,
    /// The listing will not come.
    Refused(String),
}

/// Asks for the whole table, both families.
pub(super) fn list_request(sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    header.sequence_number = sequence;
    let ask = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(ask));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Reads a datagram of messages.
pub(super) fn parse(datagram: &[u8]) -> Result<Vec<News>, String> {
    let mut news = Vec::new();
    for message in netlink::messages(datagram) {
        read_message(message?, &mut news)?;
    }
    Ok(news)
}

fn read_message(bytes: &[u8], news: &mut Vec<News>) -> Result<(), String> {
    let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes);
    let message = message.map_err(|error| format!("unreadable message: {error}"))?;
    if message.header.flags & DUMP_INTERRUPTED != 0 {
        news.push(News::Interrupted);
    }
    let sequence = message.header.sequence_number;
    match message.payload {
        NetlinkPayload::Done(_) => news.push(News::Done { sequence }),
        NetlinkPayload::Error(error) => match error.code {
            None => {}
            Some(code) if code.get() == EBUSY => news.push(News::Busy),
            Some(_) => news.push(News::Refused(error.to_io().to_string())),
        },
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(entry)) => {
            let mac = has_mac(entry.header.state).then(|| mac(&entry)).flatten();
            news.extend(entry_of(&entry, mac));
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(entry)) => {
            news.extend(entry_of(&entry, None));
        }
        // Nothing else is sent to this group; new kinds of messages are no neighbours.
        _ => {}
    }
    Ok(())
}

/// Nothing for entries that are not of IPv4 or IPv6.
fn entry_of(entry: &NeighbourMessage, mac: Option<Mac>) -> Option<News> {
    let address = entry
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
            _ => None,
        })?;
    Some(News::Entry {
        link: entry.header.ifindex,
        address,
        mac,
    })
}

/// Does the kernel believe the MAC in such an entry? A failed entry may still carry its former one.
const fn has_mac(state: NeighbourState) -> bool {
    matches!(
        state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Noarp
            | NeighbourState::Permanent
    )
}

/// Six bytes; links with other addresses (tunnels) have no Ethernet neighbours.
fn mac(entry: &NeighbourMessage) -> Option<Mac> {
    entry
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                let bytes: [u8; 6] = bytes.as_slice().try_into().ok()?;
                Some(Mac::from_bytes(bytes))
            }
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(state: NeighbourState, sequence: u32) -> Vec<u8> {
        let mut entry = NeighbourMessage::default();
        entry.header.ifindex = 7;
        entry.header.state = state;
        entry.header.family = netlink_packet_route::AddressFamily::Inet6;
        let address = NeighbourAddress::Inet6("2001:db8::11".parse().unwrap());
        entry.attributes = vec![
            NeighbourAttribute::Destination(address),
            NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 0x11]),
        ];
        let mut header = NetlinkHeader::default();
        header.sequence_number = sequence;
        let inner = NetlinkPayload::from(RouteNetlinkMessage::NewNeighbour(entry));
        let mut message = NetlinkMessage::new(header, inner);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn news(mac: Option<Mac>) -> News {
        News::Entry {
            link: 7,
            address: "2001:db8::11".parse().unwrap(),
            mac,
        }
    }

    #[test]
    fn several_messages_in_one_datagram() {
        let mac = Mac::from_bytes([2, 0, 0, 0, 0, 0x11]);
        let mut bytes = datagram(NeighbourState::Stale, 0);
        bytes.extend(datagram(NeighbourState::Failed, 0));
        assert_eq!(parse(&bytes), Ok(vec![news(Some(mac)), news(None)]));
        assert_eq!(parse(&[]), Ok(Vec::new()));
    }

    #[test]
    fn cut_or_flipped_is_never_a_panic() {
        let bytes = datagram(NeighbourState::Reachable, 1);
        for cut in 1..bytes.len() {
            assert!(parse(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut flipped = bytes.clone();
        for at in 0..bytes.len() {
            for bits in 1..=255 {
                flipped[at] ^= bits;
                let _either = parse(&flipped);
                flipped[at] ^= bits;
            }
        }
    }
}
