//! BGP-4 messages (RFC 4271) as far as a filter needs them. Reads; the few messages a passive speaker must send
//! are in [`mod@write`]. Never keeps session state and never decides what an error means for a session.
use super::{Malformed, Reader, WireError};
use filter_core::Family;

mod open;
mod path;
mod update;
pub mod write;

pub use open::{AddPath, Capabilities, GracefulRestart, Open};
pub use update::{Announced, Nlri, PathIds, Prefixes, Update};

/// Marker, length and type (RFC 4271 section 4.1).
pub const HEADER: usize = 19;
/// The longest message without, and the longest OPEN and KEEPALIVE with, extended messages (RFC 8654).
pub const MAX_MESSAGE: usize = 4096;
/// The longest message with extended messages (RFC 8654 section 3).
pub const MAX_EXTENDED_MESSAGE: usize = 65535;

/// One BGP message.
#[expect(
    clippy::large_enum_variant,
    reason = "an UPDATE is what most messages are, and is read without an allocation"
)]
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// Type 1.
    Open(Open),
    /// Type 2.
    Update(Update<'a>),
    /// Type 3.
    Notification(Notification),
    /// Type 4.
    Keepalive,
    /// Type 5 (RFC 2918, RFC 7313).
    RouteRefresh(RouteRefresh),
}

/// Why the other side ends the session (RFC 4271 section 4.5). The data is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
}

/// A ROUTE-REFRESH message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    /// The family it is about; none for families we do not read.
    pub family: Option<Family>,
    /// What it says.
    pub subtype: RefreshSubtype,
}

/// What a ROUTE-REFRESH says (RFC 7313 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshSubtype {
    /// Send everything again.
    Request,
    /// Beginning of a route refresh (BoRR).
    Begin,
    /// End of a route refresh (EoRR).
    End,
    /// Anything else, to be ignored (RFC 7313 section 5).
    Unknown(u8),
}

/// The length of the message that starts with `pending`, or none while its header is not there yet.
///
/// # Errors
/// [`Malformed::Marker`], or [`Malformed::Length`] for a length no message can have or over `max`.
pub fn frame(pending: &[u8], max: usize) -> Result<Option<usize>, WireError> {
    let mut reader = Reader::new(pending);
    if reader.left() < HEADER {
        return Ok(None);
    }
    header(&mut reader, max).map(|(length, _)| Some(length))
}

/// Takes one whole message off `reader`.
///
/// # Errors
/// Whatever is wrong with it. Nothing of a message with an error is to be believed.
#[inline]
pub fn take<'a>(reader: &mut Reader<'a>, max: usize) -> Result<Message<'a>, WireError> {
    let (length, kind) = header(reader, max)?;
    let kind_place = *reader;
    let mut body = reader.take(length - HEADER, "the BGP message")?;
    let message = match kind {
        1 if length > MAX_MESSAGE => {
            return Err(kind_place.error(Malformed::Length {
                what: "an OPEN message",
                length,
            }));
        }
        1 => Message::Open(Open::read(&mut body)?),
        2 => Message::Update(Update::read(&mut body)?),
        3 => Message::Notification(notification(&mut body)?),
        4 => Message::Keepalive,
        5 => Message::RouteRefresh(route_refresh(&mut body)?),
        _ => {
            return Err(kind_place.error(Malformed::Value {
                what: "BGP message type",
                value: kind.into(),
            }));
        }
    };
    body.end("the BGP message")?;
    Ok(message)
}

/// Length and type.
#[inline]
fn header(reader: &mut Reader<'_>, max: usize) -> Result<(usize, u8), WireError> {
    let start = *reader;
    if reader.array::<16>("the BGP marker")? != [0xff; 16] {
        return Err(start.error(Malformed::Marker));
    }
    let place = *reader;
    let length = usize::from(reader.u16("the BGP length")?);
    if !(HEADER..=max).contains(&length) {
        let what = "a BGP message";
        return Err(place.error(Malformed::Length { what, length }));
    }
    Ok((length, reader.u8("the BGP message type")?))
}

fn notification(body: &mut Reader<'_>) -> Result<Notification, WireError> {
    let notification = Notification {
        code: body.u8("the error code")?,
        subcode: body.u8("the error subcode")?,
    };
    body.take(body.left(), "the notification data")?;
    Ok(notification)
}

fn route_refresh(body: &mut Reader<'_>) -> Result<RouteRefresh, WireError> {
    let afi = body.u16("the address family")?;
    let subtype = match body.u8("the refresh subtype")? {
        0 => RefreshSubtype::Request,
        1 => RefreshSubtype::Begin,
        2 => RefreshSubtype::End,
        other => RefreshSubtype::Unknown(other),
    };
    let family = unicast(afi, body.u8("the subsequent address family")?);
    if !matches!(subtype, RefreshSubtype::Begin | RefreshSubtype::End) {
        // Outbound route filters (RFC 5291) may follow a request; a speaker that never announces has no use for them.
        body.take(body.left(), "the route filters")?;
    }
    Ok(RouteRefresh { family, subtype })
}

/// The family that these numbers stand for, if it is one we read: unicast forwarding.
pub(super) const fn unicast(afi: u16, safi: u8) -> Option<Family> {
    match (afi, safi) {
        (1, 1) => Some(Family::Ipv4),
        (2, 1) => Some(Family::Ipv6),
        _ => None,
    }
}

/// The address family number (RFC 4760 section 3).
const fn afi(family: Family) -> u16 {
    match family {
        Family::Ipv4 => 1,
        Family::Ipv6 => 2,
    }
}
