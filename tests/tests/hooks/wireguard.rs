//! Keys and peers of WireGuard devices, by generic netlink, as wg(8) sets them: a guest has no such tool. Never makes a device.
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkDeserializable, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_packet_generic::GenlMessage;
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute,
    WireguardCmd, WireguardMessage, WireguardPeer, WireguardPeerAttribute,
};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};

/// Longer than what the kernel says of a family.
const BUFFER: usize = 1 << 14;
const LISTENS: u16 = 51820;

/// One end of a tunnel.
#[derive(Clone, Copy)]
pub struct End {
    /// Every byte of its private key.
    private: u8,
    /// The public key of that, in hexadecimal digits.
    public: &'static str,
    /// Its address below the tunnel.
    pub below: Ipv4Addr,
}

pub const ROUTER: End = End {
    private: 1,
    public: "a4e09292b651c278b9772c569f5fa9bb13d906b46ab68c9df9dc2b4409f8a209",
    below: Ipv4Addr::new(10, 9, 9, 1),
};
pub const PEER: End = End {
    private: 2,
    public: "ce8d3ad1ccb633ec7b70c17814a5c76ecd029685050d344745ba05870e587d59",
    below: Ipv4Addr::new(10, 9, 9, 2),
};

/// Makes a device of this thread's namespace one end of a tunnel to the other, which may send from any address: what is left
/// for the filter to drop, since WireGuard itself drops packets from other addresses than those allowed.
pub fn join(device: &str, own: End, other: End) {
    let anywhere = WireguardAllowedIp(vec![
        WireguardAllowedIpAttr::Family(WireguardAddressFamily::Ipv4),
        WireguardAllowedIpAttr::IpAddr(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        WireguardAllowedIpAttr::Cidr(0),
    ]);
    let peer = WireguardPeer(vec![
        WireguardPeerAttribute::PublicKey(key(other.public)),
        WireguardPeerAttribute::Endpoint(SocketAddr::from((other.below, LISTENS))),
        WireguardPeerAttribute::AllowedIps(vec![anywhere]),
    ]);
    let mut message = GenlMessage::from_payload(WireguardMessage {
        cmd: WireguardCmd::SetDevice,
        attributes: vec![
            WireguardAttribute::IfName(device.to_owned()),
            WireguardAttribute::PrivateKey([own.private; WireguardAttribute::WG_KEY_LEN]),
            WireguardAttribute::ListenPort(LISTENS),
            WireguardAttribute::Peers(vec![peer]),
        ],
    });
    message.set_resolved_family_id(family("wireguard"));
    match ask(NetlinkMessage::from(message), NLM_F_ACK) {
        NetlinkPayload::Error(answer) => assert_eq!(answer.code, None, "{}", answer.to_io()),
        other => panic!("{other:?}"),
    }
}

/// The number the kernel gave a generic netlink family.
fn family(name: &str) -> u16 {
    let asked = GenlMessage::from_payload(GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName(name.to_owned())],
    });
    let NetlinkPayload::InnerMessage(answer) = ask(NetlinkMessage::from(asked), 0) else {
        panic!("generic netlink has no family {name}");
    };
    let number = answer
        .payload
        .nlas
        .iter()
        .find_map(|attribute| match attribute {
            GenlCtrlAttrs::FamilyId(number) => Some(*number),
            _ => None,
        });
    number.unwrap()
}

/// Sends a request. The first message of the answer.
fn ask<T>(mut request: NetlinkMessage<T>, flags: u16) -> NetlinkPayload<T>
where
    T: NetlinkSerializable + NetlinkDeserializable + Debug,
{
    let (kind, protocol) = (SockType::Raw, SockProtocol::NetlinkGeneric);
    let kernel = socket(
        AddressFamily::Netlink,
        kind,
        SockFlag::SOCK_CLOEXEC,
        protocol,
    )
    .unwrap();
    bind(kernel.as_raw_fd(), &NetlinkAddr::new(0, 0)).unwrap();
    request.header.flags = NLM_F_REQUEST | flags;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    send(kernel.as_raw_fd(), &bytes, MsgFlags::empty()).unwrap();
    let mut answer = [0; BUFFER];
    let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::empty()).unwrap();
    NetlinkMessage::deserialize(&answer[..length])
        .unwrap()
        .payload
}

fn key(text: &str) -> [u8; WireguardAttribute::WG_KEY_LEN] {
    let digits = text.as_bytes().chunks_exact(2);
    let bytes = digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap());
    bytes.collect::<Vec<u8>>().try_into().unwrap()
}
