//! BMP version 3 messages: RFC 7854, Adj-RIB-Out (RFC 8671) and Loc-RIB (RFC 9069). Reads only.
//!
//! Stricter than RFC 7854 section 4 in one point: a message type we do not know is an error, not ignored, because
//! it may say something about routes.
use super::bgp::{self, Message as BgpMessage, Open, Update};
use super::{Malformed, Reader, WireError};
use filter_core::{Asn, Family};
use filter_lifecycle::route::{DownCause, Session, Table, Vrf};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Version, length and type (RFC 7854 section 4.1).
pub const COMMON_HEADER: usize = 6;
/// The per-peer header (RFC 7854 section 4.2).
pub const PEER_HEADER: usize = 42;
/// The longest message: one BGP message of the greatest length behind both headers. RFC 7854 has no limit, the
/// field would allow 4 GiB.
pub const MAX_MESSAGE: usize = COMMON_HEADER + PEER_HEADER + bgp::MAX_EXTENDED_MESSAGE;

/// One BMP message.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// Type 0: routes of a peer.
    RouteMonitoring(PeerHeader, Update<'a>),
    /// Type 1: the router's own counts.
    Statistics(PeerHeader, Statistics<'a>),
    /// Type 2: a session ended.
    PeerDown(PeerHeader, DownReason),
    /// Type 3: a session is established.
    PeerUp(PeerHeader, PeerUp),
    /// Type 4: who the router is.
    Initiation(Initiation<'a>),
    /// Type 5: the router ends the connection.
    Termination {
        /// The reason code (RFC 7854 section 4.5), if it gives one.
        reason: Option<u16>,
    },
    /// Type 6: copies of BGP messages, which say nothing that route monitoring does not.
    Mirroring,
}

/// Whose and which table a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHeader {
    /// What kind of peer.
    pub kind: PeerKind,
    /// The session.
    pub session: Session,
    /// The table; none for Adj-RIB-Out before export policy, which is not what the peer is told. Meaningless for
    /// [`PeerKind::LocRib`].
    pub table: Option<Table>,
    /// The peer's AS number.
    pub asn: Asn,
    /// Seconds and microseconds; both 0 if the router does not tell.
    pub timestamp: (u32, u32),
}

/// The peer type (RFC 7854 section 4.2, RFC 9069 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    /// A peer, in whichever routing instance the distinguisher names.
    Peer,
    /// The router's own best routes.
    LocRib,
}

/// What a Peer Up says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerUp {
    /// The router's port.
    pub local_port: u16,
    /// The neighbour's port.
    pub remote_port: u16,
    /// The router's OPEN.
    pub sent: Open,
    /// The neighbour's OPEN.
    pub received: Open,
}

/// Why a session ended (RFC 7854 section 4.9, RFC 9069 section 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DownReason {
    /// The router sent a NOTIFICATION.
    LocalNotification = 1,
    /// The router ended it without one.
    Local = 2,
    /// The neighbour sent a NOTIFICATION.
    RemoteNotification = 3,
    /// The neighbour ended it without one, or the connection was lost.
    Remote = 4,
    /// It is no longer monitored.
    Deconfigured = 5,
    /// A Loc-RIB instance ended.
    LocalSystem = 6,
}

impl DownReason {
    /// What it means for the routes.
    #[must_use]
    pub const fn cause(self) -> DownCause {
        match self {
            Self::LocalNotification | Self::RemoteNotification => DownCause::Notification,
            Self::Local | Self::Remote => DownCause::Lost,
            Self::Deconfigured | Self::LocalSystem => DownCause::Deconfigured,
        }
    }
}

/// What an Initiation says (RFC 7854 section 4.3). Not necessarily UTF-8; the last of a repeated field counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Initiation<'a> {
    /// sysDescr.
    pub description: &'a [u8],
    /// sysName.
    pub name: &'a [u8],
}

/// The counts of a Statistics Report that concern us; iterates over them.
#[derive(Clone, Copy, Debug)]
pub struct Statistics<'a>(Reader<'a>);

/// One count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistic {
    /// What is counted.
    pub gauge: Gauge,
    /// Of which family, or of all.
    pub family: Option<Family>,
    /// How many.
    pub routes: u64,
}

/// Which table is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    /// Types 7 and 9: Adj-RIBs-In.
    AdjIn,
    /// Types 8 and 10: Loc-RIB; FRR counts Adj-RIB-In post-policy there.
    LocRib,
    /// Types 15 and 17: Adj-RIBs-Out post-policy (RFC 8671 section 6.2).
    AdjOut,
}

/// The length of the message that starts with `pending`, or none while its header is not there yet.
///
/// # Errors
/// Another version than 3, or a length under the header's or over [`MAX_MESSAGE`].
pub fn frame(pending: &[u8]) -> Result<Option<usize>, WireError> {
    if pending.len() < COMMON_HEADER {
        // The version byte alone tells a stray connection from a router.
        return match pending.first() {
            Some(&version) if version != 3 => Err(wrong_version(Reader::new(pending), version)),
            _ => Ok(None),
        };
    }
    header(&mut Reader::new(pending)).map(|(length, _)| Some(length))
}

/// Reads one whole message.
///
/// # Errors
/// Whatever is wrong with it. Nothing of a message with an error is to be believed.
pub fn read(message: &[u8]) -> Result<Message<'_>, WireError> {
    let mut reader = Reader::new(message);
    let (length, kind) = header(&mut reader)?;
    let place = reader;
    let mut body = reader.take(length - COMMON_HEADER, "the BMP message")?;
    reader.end("the BMP message")?;
    let read = match kind {
        0 => Message::RouteMonitoring(PeerHeader::read(&mut body)?, update(&mut body)?),
        1 => Message::Statistics(PeerHeader::read(&mut body)?, Statistics::read(&mut body)?),
        2 => Message::PeerDown(PeerHeader::read(&mut body)?, peer_down(&mut body)?),
        3 => Message::PeerUp(PeerHeader::read(&mut body)?, peer_up(&mut body)?),
        4 => Message::Initiation(initiation(&mut body)?),
        5 => termination(&mut body)?,
        6 => {
            PeerHeader::read(&mut body)?;
            body.take(body.left(), "the mirrored messages")?;
            Message::Mirroring
        }
        _ => {
            return Err(place.error(Malformed::Value {
                what: "BMP message type",
                value: kind.into(),
            }));
        }
    };
    body.end("the BMP message")?;
    Ok(read)
}

fn wrong_version(place: Reader<'_>, version: u8) -> WireError {
    place.error(Malformed::Value {
        what: "BMP version",
        value: version.into(),
    })
}

/// Length and type.
fn header(reader: &mut Reader<'_>) -> Result<(usize, u8), WireError> {
    let start = *reader;
    let version = reader.u8("the BMP version")?;
    if version != 3 {
        return Err(wrong_version(start, version));
    }
    let place = *reader;
    let length = reader.u32("the BMP length")? as usize;
    if !(COMMON_HEADER..=MAX_MESSAGE).contains(&length) {
        let what = "a BMP message";
        return Err(place.error(Malformed::Length { what, length }));
    }
    Ok((length, reader.u8("the BMP message type")?))
}

impl PeerHeader {
    #[inline]
    fn read(body: &mut Reader<'_>) -> Result<Self, WireError> {
        let place = *body;
        let peer_type = body.u8("the peer type")?;
        let kind = match peer_type {
            0..=2 => PeerKind::Peer,
            3 => PeerKind::LocRib,
            other => {
                return Err(place.error(Malformed::Value {
                    what: "BMP peer type",
                    value: other.into(),
                }));
            }
        };
        let flags = body.u8("the peer flags")?;
        let distinguisher = body.u64("the peer distinguisher")?;
        let address = body.array::<16>("the peer address")?;
        let asn = Asn::new(body.u32("the peer AS number")?);
        body.u32("the peer BGP identifier")?;
        let timestamp = (body.u32("the timestamp")?, body.u32("the timestamp")?);
        // V, L and O (RFC 7854 section 4.2, RFC 8671 section 4). A, two-octet AS paths, is of no interest here.
        let address = if flags & 0x80 != 0 && kind == PeerKind::Peer {
            IpAddr::V6(Ipv6Addr::from(address))
        } else {
            let [.., a, b, c, d] = address;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        };
        let table = match (flags & 0x10 != 0, flags & 0x40 != 0) {
            (false, false) => Some(Table::AdjInPre),
            (false, true) => Some(Table::AdjInPost),
            (true, true) => Some(Table::AdjOut),
            (true, false) => None,
        };
        // RD Instance and Local Instance peers are never the global one's, whatever their distinguisher.
        let vrf = (matches!(peer_type, 1 | 2) || distinguisher != 0).then_some(Vrf(distinguisher));
        Ok(Self {
            kind,
            session: Session { address, vrf },
            table,
            asn,
            timestamp,
        })
    }
}

/// A BGP message inside this one.
#[inline]
fn bgp_message<'a>(body: &mut Reader<'a>) -> Result<(BgpMessage<'a>, Reader<'a>), WireError> {
    let place = *body;
    Ok((bgp::take(body, bgp::MAX_EXTENDED_MESSAGE)?, place))
}

fn wrong_message(place: Reader<'_>, what: &'static str) -> WireError {
    let value = place.bytes().get(bgp::HEADER - 1).copied();
    place.error(Malformed::Value {
        what,
        value: value.unwrap_or_default().into(),
    })
}

#[inline]
fn update<'a>(body: &mut Reader<'a>) -> Result<Update<'a>, WireError> {
    match bgp_message(body)? {
        (BgpMessage::Update(update), _) => Ok(update),
        (_, place) => Err(wrong_message(
            place,
            "route monitoring with BGP message type",
        )),
    }
}

fn open(body: &mut Reader<'_>) -> Result<Open, WireError> {
    match bgp_message(body)? {
        (BgpMessage::Open(open), _) => Ok(open),
        (_, place) => Err(wrong_message(place, "peer up with BGP message type")),
    }
}

fn peer_up(body: &mut Reader<'_>) -> Result<PeerUp, WireError> {
    body.array::<16>("the local address")?;
    let up = PeerUp {
        local_port: body.u16("the local port")?,
        remote_port: body.u16("the remote port")?,
        sent: open(body)?,
        received: open(body)?,
    };
    information(body, |_, _| Ok(()))?;
    Ok(up)
}

fn peer_down(body: &mut Reader<'_>) -> Result<DownReason, WireError> {
    let place = *body;
    let reason = match body.u8("the peer down reason")? {
        1 => DownReason::LocalNotification,
        2 => DownReason::Local,
        3 => DownReason::RemoteNotification,
        4 => DownReason::Remote,
        5 => DownReason::Deconfigured,
        6 => DownReason::LocalSystem,
        other => {
            return Err(place.error(Malformed::Value {
                what: "peer down reason",
                value: other.into(),
            }));
        }
    };
    match reason {
        DownReason::LocalNotification | DownReason::RemoteNotification => {
            if let (BgpMessage::Notification(_), _) = bgp_message(body)? {
            } else {
                return Err(wrong_message(place, "peer down with BGP message type"));
            }
        }
        DownReason::Local => drop(body.u16("the FSM event")?),
        DownReason::LocalSystem => information(body, |_, _| Ok(()))?,
        DownReason::Remote | DownReason::Deconfigured => {}
    }
    Ok(reason)
}

fn initiation<'a>(body: &mut Reader<'a>) -> Result<Initiation<'a>, WireError> {
    let mut initiation = Initiation::default();
    information(body, |kind, value| {
        match kind {
            1 => initiation.description = value.bytes(),
            2 => initiation.name = value.bytes(),
            _ => {}
        }
        Ok(())
    })?;
    Ok(initiation)
}

fn termination<'a>(body: &mut Reader<'a>) -> Result<Message<'a>, WireError> {
    let mut reason = None;
    information(body, |kind, mut value| {
        if kind == 1 {
            reason = Some(value.u16("the termination reason")?);
            value.end("the termination reason")?;
        }
        Ok(())
    })?;
    Ok(Message::Termination { reason })
}

/// Information TLVs up to the end (RFC 7854 section 4.4).
fn information<'a>(
    body: &mut Reader<'a>,
    mut each: impl FnMut(u16, Reader<'a>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    while !body.is_empty() {
        let kind = body.u16("an information type")?;
        let length = body.u16("an information length")?;
        each(kind, body.take(length.into(), "an information field")?)?;
    }
    Ok(())
}

impl<'a> Statistics<'a> {
    /// Looks at every field once, so that iterating cannot fail.
    fn read(body: &mut Reader<'a>) -> Result<Self, WireError> {
        let count = body.u32("the number of statistics")?;
        let list = *body;
        for _ in 0..count {
            statistic(body)?;
        }
        body.end("the statistics")?;
        Ok(Self(list))
    }
}

impl Iterator for Statistics<'_> {
    type Item = Statistic;

    fn next(&mut self) -> Option<Statistic> {
        while !self.0.is_empty() {
            // Read once before without an error.
            if let Some(statistic) = statistic(&mut self.0).ok()? {
                return Some(statistic);
            }
        }
        None
    }
}

/// One field; none if it counts something else.
fn statistic(list: &mut Reader<'_>) -> Result<Option<Statistic>, WireError> {
    let kind = list.u16("a statistic's type")?;
    let length = list.u16("a statistic's length")?;
    let mut value = list.take(length.into(), "a statistic")?;
    let (gauge, per_family) = match kind {
        7 => (Gauge::AdjIn, false),
        8 => (Gauge::LocRib, false),
        9 => (Gauge::AdjIn, true),
        10 => (Gauge::LocRib, true),
        15 => (Gauge::AdjOut, false),
        17 => (Gauge::AdjOut, true),
        _ => return Ok(None),
    };
    let family = if per_family {
        let afi = value.u16("a statistic's family")?;
        let safi = value.u8("a statistic's subsequent family")?;
        Some(bgp::unicast(afi, safi))
    } else {
        None
    };
    let routes = value.u64("a statistic's value")?;
    value.end("a statistic's value")?;
    Ok(match family {
        Some(None) => None,
        family => Some(Statistic {
            gauge,
            family: family.flatten(),
            routes,
        }),
    })
}
