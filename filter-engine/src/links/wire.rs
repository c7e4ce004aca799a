//! rtnetlink messages of links, addresses and unicast filters, both ways. Never does I/O, never panics on what the
//! kernel sends; what cannot be read of one device does not affect others.
use std::net::IpAddr;

use filter_core::packet::Mac;
use filter_lifecycle::devices::{Device, DeviceKind, Hook, Program};
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage, LinkXdp, Prop, XdpAttached,
};
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::{self, DUMP_INTERRUPTED};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Every device.
    Links,
    /// One device.
    Link(u32),
    /// Every address.
    Addresses,
    /// Every device's unicast filter.
    Filters,
}

impl Request {
    pub(super) fn bytes(self, sequence: u32) -> Vec<u8> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        header.sequence_number = sequence;
        let ask = match self {
            Self::Links => RouteNetlinkMessage::GetLink(LinkMessage::default()),
            Self::Link(index) => {
                header.flags = NLM_F_REQUEST;
                let mut message = LinkMessage::default();
                message.header.index = index;
                RouteNetlinkMessage::GetLink(message)
            }
            Self::Addresses => RouteNetlinkMessage::GetAddress(AddressMessage::default()),
            Self::Filters => {
                let mut message = NeighbourMessage::default();
                message.header.family = AddressFamily::Bridge;
                RouteNetlinkMessage::GetNeighbour(message)
            }
        };
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(ask));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }
}

/// What one message holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A device is there, and how it is.
    Device(u32, Device),
    /// A device is gone, or in another namespace.
    DeviceGone(u32),
    /// An address is a device's.
    Address {
        index: u32,
        address: IpAddr,
        length: u8,
    },
    /// An address is not a device's any more.
    AddressGone { index: u32, address: IpAddr },
    /// A MAC in a device's filter.
    Filter(u32, Mac),
    /// The listing is of no use.
    Interrupted,
    /// The listing asked for with this number has ended.
    Done(u32),
    /// What was asked with this number will not come.
    Refused(u32, String),
}

/// Reads a datagram of messages.
pub(super) fn parse(datagram: &[u8]) -> Result<Vec<News>, String> {
    let mut news = Vec::new();
    for message in netlink::messages(datagram) {
        read_message(message?, &mut news);
    }
    Ok(news)
}

fn read_message(bytes: &[u8], news: &mut Vec<News>) {
    // A device that this library cannot read is of an unknown kind: it is not followed.
    let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes) else {
        return;
    };
    if message.header.flags & DUMP_INTERRUPTED != 0 {
        news.push(News::Interrupted);
    }
    let sequence = message.header.sequence_number;
    match message.payload {
        NetlinkPayload::Done(_) => news.push(News::Done(sequence)),
        NetlinkPayload::Error(error) if error.code.is_some() => {
            news.push(News::Refused(sequence, error.to_io().to_string()));
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
            news.extend(device(&link));
        }
        // A port that leaves a bridge is announced likewise, as one of the bridge's family.
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link))
            if link.header.interface_family == AddressFamily::Unspec =>
        {
            news.push(News::DeviceGone(link.header.index));
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)) => {
            news.extend(own_address(&message).map(|address| News::Address {
                index: message.header.index,
                address,
                length: message.header.prefix_len,
            }));
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(message)) => {
            news.extend(own_address(&message).map(|address| News::AddressGone {
                index: message.header.index,
                address,
            }));
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(entry)) => {
            news.extend(filter(&entry));
        }
        _ => {}
    }
}

/// The local one: of a point-to-point address the other is the peer's.
fn own_address(message: &AddressMessage) -> Option<IpAddr> {
    let attributes = || message.attributes.iter();
    let local = attributes().find_map(|each| match each {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        attributes().find_map(|each| match each {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

/// A device's own list, not what a bridge has learned or a VXLAN device sends elsewhere.
fn filter(entry: &NeighbourMessage) -> Option<News> {
    let is_remote = |each: &NeighbourAttribute| matches!(each, NeighbourAttribute::Destination(_));
    if entry.header.family != AddressFamily::Bridge
        || entry.header.state != NeighbourState::Permanent
        || !entry.header.flags.contains(NeighbourFlags::Own)
        || entry.attributes.iter().any(is_remote)
    {
        return None;
    }
    let mac = entry.attributes.iter().find_map(|each| match each {
        NeighbourAttribute::LinkLayerAddress(bytes) => mac(bytes),
        _ => None,
    })?;
    (!mac.is_group()).then_some(News::Filter(entry.header.ifindex, mac))
}

fn device(link: &LinkMessage) -> Option<News> {
    if link.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let mut device = Device::default();
    let (mut kind, mut vlan, mut elsewhere) = (None, None, false);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => device.name.clone_from(name),
            LinkAttribute::PropList(props) => {
                let names = props.iter().filter_map(|prop| match prop {
                    Prop::AltIfName(name) => Some(name.clone()),
                    _ => None,
                });
                device.altnames = names.collect();
            }
            LinkAttribute::Address(bytes) => device.mac = mac(bytes),
            LinkAttribute::Link(lower) => device.lower = Some(*lower),
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::Controller(master) => device.master = Some(*master).filter(|&m| m != 0),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(of) => kind = Some(of.clone()),
                        LinkInfo::Data(InfoData::Vlan(data)) => vlan = vlan_id(data),
                        _ => {}
                    }
                }
            }
            LinkAttribute::Xdp(xdp) => device.program = program(xdp),
            _ => {}
        }
    }
    if elsewhere {
        device.lower = None; // an index of another namespace
    }
    device.kind = match (kind, vlan) {
        (Some(InfoKind::Vlan), Some(id)) => DeviceKind::Vlan(id),
        (Some(InfoKind::MacVlan | InfoKind::MacVtap | InfoKind::IpVlan), _) => DeviceKind::Stacked,
        (Some(InfoKind::Bond), _) => DeviceKind::Bond,
        (Some(InfoKind::Bridge), _) => DeviceKind::Bridge,
        (Some(InfoKind::Other(name)), _) if name == "team" => DeviceKind::Bond,
        _ => DeviceKind::Other,
    };
    Some(News::Device(link.header.index, device))
}

fn vlan_id(data: &[InfoVlan]) -> Option<u16> {
    data.iter().find_map(|each| match each {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    })
}

/// The program that sees frames first.
fn program(xdp: &[LinkXdp]) -> Option<Program> {
    let find = |is_it: &dyn Fn(&LinkXdp) -> Option<u32>| xdp.iter().find_map(is_it);
    let native = find(&|each| match each {
        LinkXdp::DrvProgId(id) => Some(*id),
        _ => None,
    });
    let generic = find(&|each| match each {
        LinkXdp::SkbProgId(id) => Some(*id),
        _ => None,
    });
    let offload = find(&|each| match each {
        LinkXdp::HwProgId(id) => Some(*id),
        _ => None,
    });
    let any = find(&|each| match each {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    });
    let mode = xdp.iter().find_map(|each| match each {
        LinkXdp::Attached(mode) => Some(*mode),
        _ => None,
    });
    let at = |hook| move |id| Program { id, hook };
    let named = native
        .map(at(Hook::XdpNative))
        .or(generic.map(at(Hook::XdpGeneric)))
        .or(offload.map(at(Hook::XdpOffload)));
    named.or_else(|| match mode? {
        XdpAttached::Driver => any.map(at(Hook::XdpNative)),
        XdpAttached::SocketBuffer => any.map(at(Hook::XdpGeneric)),
        XdpAttached::Hardware => any.map(at(Hook::XdpOffload)),
        _ => None,
    })
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    let bytes: [u8; 6] = bytes.try_into().ok()?;
    Some(Mac::from_bytes(bytes))
}
