//! What the kernel says of a TAP device, by rtnetlink: may its packets be super-frames? Reads only.
use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload, Nla};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoData, LinkAttribute, LinkInfo, LinkMessage};

use crate::netlink::ask;

/// `IFLA_TUN_VNET_HDR` of linux/if_link.h: the other end puts a `struct virtio_net_hdr` before each packet, which may say that
/// it is to be cut into segments.
const HAS_OFFLOAD_HEADER: u16 = 5;

/// Do packets come with a header that may call them super-frames? None if the kernel does not say, as of other devices.
pub(crate) fn has_offload_header(ifindex: u32) -> Option<bool> {
    let mut asked = LinkMessage::default();
    asked.header.index = ifindex;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(asked));
    request.header.flags = NLM_F_REQUEST;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    let answer = ask(&bytes).ok()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).ok()?;
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = answer.payload else {
        return None;
    };
    link.attributes.iter().find_map(offload_header)
}

fn offload_header(attribute: &LinkAttribute) -> Option<bool> {
    let LinkAttribute::LinkInfo(infos) = attribute else {
        return None;
    };
    let data = infos.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Tun(data)) => Some(data),
        _ => None,
    })?;
    let header = data.iter().find(|each| each.kind() == HAS_OFFLOAD_HEADER)?;
    let mut value = [0];
    (header.value_len() == value.len()).then(|| header.emit_value(&mut value))?;
    Some(value != [0])
}
