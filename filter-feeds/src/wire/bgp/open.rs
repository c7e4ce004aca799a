//! The OPEN message (RFC 4271 section 4.2) and its capabilities (RFC 5492). Keeps what decides how routes are
//! encoded and how long they outlive the session; other capabilities are none of a filter's business.
use super::super::{Malformed, Reader, WireError};
use super::{PathIds, unicast};
use filter_core::{Asn, Family};
use std::net::Ipv4Addr;
use std::time::Duration;

/// An OPEN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// The speaker's AS number: that of the four-octet capability (RFC 6793) if there is one.
    pub asn: Asn,
    /// Seconds without a message after which the session is down; 0 for never.
    pub hold_time: u16,
    /// The BGP identifier.
    pub router_id: Ipv4Addr,
    /// What the speaker can do.
    pub capabilities: Capabilities,
}

/// What a speaker can do, as far as it matters here. Indexed by [`Family`] where it is per family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Unicast families it exchanges (RFC 4760). A speaker that lists none exchanges IPv4.
    pub multiprotocol: [bool; 2],
    /// Several paths per prefix (RFC 7911).
    pub add_path: [AddPath; 2],
    /// Graceful restart (RFC 4724).
    pub graceful_restart: Option<GracefulRestart>,
    /// Four-octet AS numbers (RFC 6793).
    pub four_octet_asn: Option<Asn>,
    /// Route refresh (RFC 2918).
    pub route_refresh: bool,
    /// BoRR and EoRR (RFC 7313).
    pub enhanced_route_refresh: bool,
    /// Messages up to 65535 bytes (RFC 8654).
    pub extended_message: bool,
}

/// The directions in which a speaker does ADD-PATH.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddPath {
    /// It can receive several paths.
    pub receive: bool,
    /// It would send several paths.
    pub send: bool,
}

/// The graceful restart capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracefulRestart {
    /// How long the others shall keep its routes.
    pub restart_time: Duration,
    /// It has just restarted (the R bit).
    pub restarted: bool,
    /// Families it keeps forwarding for; with none it only helps others to restart.
    pub families: [bool; 2],
}

impl Open {
    /// Reads the body of an OPEN.
    pub(super) fn read(body: &mut Reader<'_>) -> Result<Self, WireError> {
        let place = *body;
        let version = body.u8("the BGP version")?;
        if version != 4 {
            return Err(place.error(Malformed::Value {
                what: "BGP version",
                value: version.into(),
            }));
        }
        let short_asn = body.u16("the AS number")?;
        let hold_time = body.u16("the hold time")?;
        let router_id = Ipv4Addr::from_bits(body.u32("the BGP identifier")?);
        let capabilities = parameters(body)?;
        let asn = capabilities.four_octet_asn;
        Ok(Self {
            asn: asn.unwrap_or(Asn::new(short_asn.into())),
            hold_time,
            router_id,
            capabilities,
        })
    }

    /// In which families do this speaker's UPDATEs to `receiver` carry path identifiers (RFC 7911 section 4)?
    #[must_use]
    pub fn path_ids_to(&self, receiver: &Self) -> PathIds {
        let both = |family: Family| {
            let index = family as usize;
            self.capabilities.add_path[index].send && receiver.capabilities.add_path[index].receive
        };
        PathIds {
            ipv4: both(Family::Ipv4),
            ipv6: both(Family::Ipv6),
        }
    }
}

/// The optional parameters, in the format of RFC 4271 or of RFC 9072.
fn parameters(body: &mut Reader<'_>) -> Result<Capabilities, WireError> {
    let mut length = usize::from(body.u8("the optional parameters length")?);
    let extended = length == 255 && body.bytes().first() == Some(&255);
    if extended {
        body.u8("the extended parameters mark")?;
        length = body.u16("the optional parameters length")?.into();
    }
    let mut parameters = body.take(length, "the optional parameters")?;
    let mut capabilities = Capabilities::default();
    while !parameters.is_empty() {
        let place = parameters;
        let kind = parameters.u8("an optional parameter")?;
        let length = if extended {
            parameters.u16("an optional parameter's length")?.into()
        } else {
            parameters.u8("an optional parameter's length")?.into()
        };
        let mut value = parameters.take(length, "an optional parameter")?;
        if kind != 2 {
            return Err(place.error(Malformed::Value {
                what: "optional parameter",
                value: kind.into(),
            }));
        }
        while !value.is_empty() {
            capability(&mut value, &mut capabilities)?;
        }
    }
    Ok(capabilities)
}

/// One capability. Of one that is repeated the last counts, except where instances add up (RFC 5492 section 4).
fn capability(list: &mut Reader<'_>, capabilities: &mut Capabilities) -> Result<(), WireError> {
    let code = list.u8("a capability")?;
    let length = list.u8("a capability's length")?;
    let mut value = list.take(length.into(), "a capability")?;
    match code {
        1 => {
            let afi = value.u16("the multiprotocol family")?;
            value.u8("the multiprotocol reserved byte")?;
            let safi = value.u8("the multiprotocol subsequent family")?;
            if let Some(family) = unicast(afi, safi) {
                capabilities.multiprotocol[family as usize] = true;
            }
        }
        2 => capabilities.route_refresh = true,
        6 => capabilities.extended_message = true,
        64 => capabilities.graceful_restart = Some(graceful_restart(&mut value)?),
        65 => {
            let asn = value.u32("the four-octet AS number")?;
            capabilities.four_octet_asn = Some(Asn::new(asn));
        }
        69 => add_path(&mut value, &mut capabilities.add_path)?,
        70 => capabilities.enhanced_route_refresh = true,
        _ => return Ok(()),
    }
    value.end("a capability")
}

fn graceful_restart(value: &mut Reader<'_>) -> Result<GracefulRestart, WireError> {
    let head = value.u16("the restart flags and time")?;
    let mut families = [false; 2];
    while !value.is_empty() {
        let afi = value.u16("the restart family")?;
        let safi = value.u8("the restart subsequent family")?;
        value.u8("the restart family flags")?;
        if let Some(family) = unicast(afi, safi) {
            families[family as usize] = true;
        }
    }
    Ok(GracefulRestart {
        restart_time: Duration::from_secs((head & 0x0fff).into()),
        restarted: head & 0x8000 != 0,
        families,
    })
}

fn add_path(value: &mut Reader<'_>, families: &mut [AddPath; 2]) -> Result<(), WireError> {
    while !value.is_empty() {
        let afi = value.u16("the add-path family")?;
        let safi = value.u8("the add-path subsequent family")?;
        let direction = value.u8("the add-path direction")?;
        let Some(family) = unicast(afi, safi) else {
            continue;
        };
        // Other values are ignored (RFC 7911 section 4).
        if (1..=3).contains(&direction) {
            families[family as usize] = AddPath {
                receive: direction & 1 != 0,
                send: direction & 2 != 0,
            };
        }
    }
    Ok(())
}
