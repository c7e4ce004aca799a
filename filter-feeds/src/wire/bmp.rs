//! BMP version 3 messages: RFC 7854, Adj-RIB-Out (RFC 8671) and Loc-RIB (RFC 9069). Reads only.
//!
//! What stands inside a message is read when it is asked for: as long as the length in the common header holds,
//! a message that cannot be read concerns the session it is about and no other, and one that concerns no session we
//! need is not read at all. Message types and statistics we do not know are no errors (RFC 7854 section 4).
use super::bgp::{self, Message as BgpMessage, Open, Update};
use super::{Malformed, Reader, WireError};
use filter_core::{Asn, Family};
use filter_lifecycle::route::{AdjRib, DownCause, Session, Vrf};
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
    RouteMonitoring(PeerHeader, Monitored<'a>),
    /// Type 1: the router's own counts.
    Statistics(PeerHeader, Statistics<'a>),
    /// Type 2: a session ended.
    PeerDown(PeerHeader, DownReason),
    /// Type 3: a session is established.
    PeerUp(PeerHeader, Established<'a>),
    /// Type 4: who the router is.
    Initiation(Initiation<'a>),
    /// Type 5: the router ends the connection.
    Termination {
        /// The reason code (RFC 7854 section 4.5), if it gives one.
        reason: Option<u16>,
    },
    /// Type 6: copies of BGP messages, which add nothing to route monitoring.
    Mirroring,
    /// A type we do not know, or a peer of a type we do not know.
    Unknown,
    /// Its per-peer header cannot be read, so its session is not known.
    Nameless(WireError),
}

/// The session and the Adj-RIB that a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHeader {
    /// What kind of peer.
    pub kind: PeerKind,
    /// The session.
    pub session: Session,
    /// The table; none for Adj-RIB-Out before export policy, which is not what the router advertises. Meaningless for
    /// [`PeerKind::LocRib`].
    pub rib: Option<AdjRib>,
    /// The peer's AS number.
    pub asn: Asn,
    /// Seconds and microseconds; both 0 if the router does not send them.
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

/// What a Peer Up holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerUp {
    /// The router's address; none if the router does not know it (RFC 7854 section 4.10).
    pub local_address: Option<IpAddr>,
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
pub enum DownReason {
    /// 1: the router sent a NOTIFICATION.
    LocalNotification,
    /// 2: the router ended it without one.
    Local,
    /// 3: the neighbour sent a NOTIFICATION.
    RemoteNotification,
    /// 4: the neighbour ended it without one, or the connection was lost.
    Remote,
    /// 5: it is no longer monitored.
    Deconfigured,
    /// 6: a Loc-RIB instance ended.
    LocalSystem,
    /// Anything else: it ended all the same.
    Unknown,
}

impl DownReason {
    /// What it means for the routes.
    #[must_use]
    pub const fn cause(self) -> DownCause {
        match self {
            Self::LocalNotification | Self::RemoteNotification => DownCause::Notification,
            Self::Local | Self::Remote | Self::Unknown => DownCause::Lost,
            Self::Deconfigured | Self::LocalSystem => DownCause::Deconfigured,
        }
    }

    /// From its code, if there is one. What follows it in the message adds nothing about the routes.
    const fn read(body: &Reader<'_>) -> Self {
        match *body.bytes() {
            [1, ..] => Self::LocalNotification,
            [2, ..] => Self::Local,
            [3, ..] => Self::RemoteNotification,
            [4, ..] => Self::Remote,
            [5, ..] => Self::Deconfigured,
            [6, ..] => Self::LocalSystem,
            _ => Self::Unknown,
        }
    }
}

/// The BGP message inside a route monitoring message, not yet read.
#[derive(Clone, Copy, Debug)]
pub struct Monitored<'a>(Reader<'a>);

impl<'a> Monitored<'a> {
    /// Reads it. None if it is another message than an UPDATE, which holds no routes. Also returns how many
    /// bytes follow it: some routers append TLVs, as version 4 of the protocol has them.
    ///
    /// # Errors
    /// What is wrong with it. Nothing of it is to be believed then.
    #[inline]
    pub fn update(self) -> Result<(Option<Update<'a>>, usize), WireError> {
        let mut body = self.0;
        let message = bgp::take(&mut body, bgp::MAX_EXTENDED_MESSAGE)?;
        let update = match message {
            BgpMessage::Update(update) => Some(update),
            _ => None,
        };
        Ok((update, body.left()))
    }
}

/// What a Peer Up holds, not yet read.
#[derive(Clone, Copy, Debug)]
pub struct Established<'a> {
    body: Reader<'a>,
    is_ipv6: bool,
}

impl Established<'_> {
    /// Reads it. Information fields behind the OPENs are passed over.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn up(self) -> Result<PeerUp, WireError> {
        let mut body = self.body;
        let address = address(body.array("the local address")?, self.is_ipv6);
        Ok(PeerUp {
            local_address: Some(address).filter(|address| !address.is_unspecified()),
            local_port: body.u16("the local port")?,
            remote_port: body.u16("the remote port")?,
            sent: open(&mut body)?,
            received: open(&mut body)?,
        })
    }
}

/// What an Initiation holds (RFC 7854 section 4.3). Not necessarily UTF-8; the last of a repeated field counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Initiation<'a> {
    /// sysDescr.
    pub description: &'a [u8],
    /// sysName.
    pub name: &'a [u8],
}

/// The counts of a Statistics Report; iterates over them. None stands for one that does not concern us, or that is
/// not as its RFC has it.
#[derive(Clone, Copy, Debug)]
pub struct Statistics<'a>(Reader<'a>);

/// One count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistic {
    /// Which table is counted.
    pub gauge: Gauge,
    /// What of it.
    pub counted: Counted,
    /// How many.
    pub routes: u64,
}

/// What of a table is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// The routes of this family.
    Family(Family),
    /// The routes of a family that is not read.
    OtherFamily,
    /// The routes of every family the session exchanges, those that are not read included.
    Total,
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
        // The version byte alone distinguishes a router from a stray connection.
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
/// If its bytes are not one whole message: the stream cannot be followed any further.
pub fn read(message: &[u8]) -> Result<Message<'_>, WireError> {
    let mut reader = Reader::new(message);
    let (length, kind) = header(&mut reader)?;
    let mut body = reader.take(length - COMMON_HEADER, "the BMP message")?;
    reader.end("the BMP message")?;
    if !matches!(kind, 0..=3) {
        return Ok(match kind {
            4 => Message::Initiation(initiation(body)),
            5 => termination(body),
            6 => Message::Mirroring,
            _ => Message::Unknown,
        });
    }
    let about = match PeerHeader::read(&mut body) {
        Ok(Some(about)) => about,
        Ok(None) => return Ok(Message::Unknown),
        Err(error) => return Ok(Message::Nameless(error)),
    };
    Ok(match kind {
        0 => Message::RouteMonitoring(about, Monitored(body)),
        1 => Message::Statistics(about, Statistics::read(body)),
        2 => Message::PeerDown(about, DownReason::read(&body)),
        _ => {
            let is_ipv6 = about.session.address.is_ipv6();
            Message::PeerUp(about, Established { body, is_ipv6 })
        }
    })
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
    /// None for a type of peer we do not know.
    #[inline]
    fn read(body: &mut Reader<'_>) -> Result<Option<Self>, WireError> {
        let peer_type = body.u8("the peer type")?;
        let kind = match peer_type {
            0..=2 => PeerKind::Peer,
            3 => PeerKind::LocRib,
            _ => return Ok(None),
        };
        let flags = body.u8("the peer flags")?;
        let distinguisher = body.u64("the peer distinguisher")?;
        let address = body.array::<16>("the peer address")?;
        let asn = Asn::new(body.u32("the peer AS number")?);
        body.u32("the peer BGP identifier")?;
        let timestamp = (body.u32("the timestamp")?, body.u32("the timestamp")?);
        // V, L and O (RFC 7854 section 4.2, RFC 8671 section 4). A, two-octet AS paths, is of no interest here.
        let address = self::address(address, flags & 0x80 != 0 && kind == PeerKind::Peer);
        let rib = match (flags & 0x10 != 0, flags & 0x40 != 0) {
            (false, false) => Some(AdjRib::InPrePolicy),
            (false, true) => Some(AdjRib::InPostPolicy),
            (true, true) => Some(AdjRib::OutPostPolicy),
            (true, false) => None,
        };
        // RD Instance and Local Instance peers are never the global one's, whatever their distinguisher.
        let vrf = (matches!(peer_type, 1 | 2) || distinguisher != 0).then_some(Vrf(distinguisher));
        Ok(Some(Self {
            kind,
            session: Session::of(address, vrf),
            rib,
            asn,
            timestamp,
        }))
    }
}

/// An address of a per-peer header or a Peer Up: IPv4 in its last four bytes.
fn address(bytes: [u8; 16], is_ipv6: bool) -> IpAddr {
    if is_ipv6 {
        return IpAddr::V6(Ipv6Addr::from(bytes));
    }
    let [.., a, b, c, d] = bytes;
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

fn open(body: &mut Reader<'_>) -> Result<Open, WireError> {
    let place = *body;
    match bgp::take(body, bgp::MAX_EXTENDED_MESSAGE)? {
        BgpMessage::Open(open) => Ok(open),
        _ => {
            let value = place.bytes().get(bgp::HEADER - 1).copied();
            Err(place.error(Malformed::Value {
                what: "peer up with BGP message type",
                value: value.unwrap_or_default().into(),
            }))
        }
    }
}

fn initiation(body: Reader<'_>) -> Initiation<'_> {
    let mut initiation = Initiation::default();
    for (kind, value) in information(body) {
        match kind {
            1 => initiation.description = value.bytes(),
            2 => initiation.name = value.bytes(),
            _ => {}
        }
    }
    initiation
}

fn termination<'a>(body: Reader<'a>) -> Message<'a> {
    let reason = information(body).find_map(|(kind, value)| match *value.bytes() {
        [high, low] if kind == 1 => Some(u16::from_be_bytes([high, low])),
        _ => None,
    });
    Message::Termination { reason }
}

/// Information TLVs (RFC 7854 section 4.4), up to the end or to one that is cut.
fn information<'a>(mut body: Reader<'a>) -> impl Iterator<Item = (u16, Reader<'a>)> {
    std::iter::from_fn(move || {
        let kind = body.u16("an information type").ok()?;
        let length = body.u16("an information length").ok()?;
        let value = body.take(length.into(), "an information field").ok()?;
        Some((kind, value))
    })
}

impl<'a> Statistics<'a> {
    /// The number of fields is not believed: they go as far as they go.
    fn read(mut body: Reader<'a>) -> Self {
        let counted = body.u32("the number of statistics");
        Self(counted.map_or(Reader::new(&[]), |_| body))
    }
}

impl Iterator for Statistics<'_> {
    type Item = Option<Statistic>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Ok((kind, value)) = field(&mut self.0) else {
            self.0 = Reader::new(&[]);
            return Some(None);
        };
        Some(statistic(kind, value).unwrap_or_default())
    }
}

fn field<'a>(list: &mut Reader<'a>) -> Result<(u16, Reader<'a>), WireError> {
    let kind = list.u16("a statistic's type")?;
    let length = list.u16("a statistic's length")?;
    Ok((kind, list.take(length.into(), "a statistic")?))
}

/// One count; none if it counts something else.
fn statistic(kind: u16, mut value: Reader<'_>) -> Result<Option<Statistic>, WireError> {
    let (gauge, per_family) = match kind {
        7 => (Gauge::AdjIn, false),
        8 => (Gauge::LocRib, false),
        9 => (Gauge::AdjIn, true),
        10 => (Gauge::LocRib, true),
        15 => (Gauge::AdjOut, false),
        17 => (Gauge::AdjOut, true),
        _ => return Ok(None),
    };
    let counted = if per_family {
        let afi = value.u16("a statistic's family")?;
        let safi = value.u8("a statistic's subsequent family")?;
        match bgp::unicast(afi, safi) {
            Some(family) => Counted::Family(family),
            None => Counted::OtherFamily,
        }
    } else {
        Counted::Total
    };
    let routes = value.u64("a statistic's value")?;
    value.end("a statistic's value")?;
    Ok(Some(Statistic {
        gauge,
        counted,
        routes,
    }))
}
