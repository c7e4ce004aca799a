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
    /// Optional parameters and capabilities that are not as their RFC has them. The router took the OPEN
    /// nevertheless, so they are passed over, and counted here.
    pub odd: u16,
}

/// What a speaker can do, as far as it matters here. Indexed by [`Family`] where it is per family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Unicast families it exchanges (RFC 4760). A speaker that lists none exchanges IPv4.
    pub multiprotocol: [bool; 2],
    /// It lists other families as well.
    pub foreign: bool,
    /// A multiprotocol capability could not be read: only the router knows which families it exchanges.
    pub families_unclear: bool,
    /// Several paths per prefix (RFC 7911).
    pub add_path: [AddPath; 2],
    /// An ADD-PATH capability could not be read to its end: only UPDATEs show whether they carry path identifiers.
    pub add_path_unclear: bool,
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
    /// Reads the body of an OPEN, as tolerantly as routers do: what decides neither about routes nor about the
    /// fields behind it may be odd.
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
        let (capabilities, odd) = parameters(body)?;
        let asn = capabilities.four_octet_asn;
        Ok(Self {
            asn: asn.unwrap_or(Asn::new(short_asn.into())),
            hold_time,
            router_id,
            capabilities,
            odd,
        })
    }

    /// The unicast families that a session between these two exchanges, by [`Family`]; none if that is unclear.
    #[must_use]
    pub fn families_with(&self, other: &Self) -> Option<[bool; 2]> {
        let [ours, theirs] = [self, other].map(|open| open.capabilities.families());
        let (ours, theirs) = (ours?, theirs?);
        Some(Family::ALL.map(|family| ours[family as usize] && theirs[family as usize]))
    }

    /// May a session between these two exchange other families than IPv4 and IPv6 unicast?
    #[must_use]
    pub const fn has_foreign_with(&self, other: &Self) -> bool {
        self.capabilities.foreign && other.capabilities.foreign
    }

    /// In which families may this speaker's UPDATEs to `receiver` carry path identifiers (RFC 7911 section 4)?
    #[must_use]
    pub fn path_ids_to(&self, receiver: &Self) -> PathIds {
        let unclear = self.capabilities.add_path_unclear || receiver.capabilities.add_path_unclear;
        let both = |family: Family| {
            let index = family as usize;
            unclear
                || self.capabilities.add_path[index].send
                    && receiver.capabilities.add_path[index].receive
        };
        PathIds {
            ipv4: both(Family::Ipv4),
            ipv6: both(Family::Ipv6),
        }
    }
}

impl Capabilities {
    /// The unicast families listed; IPv4 if none is (RFC 4760 section 8), and nothing if that is unclear.
    const fn families(&self) -> Option<[bool; 2]> {
        match self.multiprotocol {
            _ if self.families_unclear => None,
            [false, false] if !self.foreign => Some([true, false]),
            listed => Some(listed),
        }
    }
}

/// The optional parameters, in the format of RFC 4271 or of RFC 9072, and how much of them is odd.
fn parameters(body: &mut Reader<'_>) -> Result<(Capabilities, u16), WireError> {
    let mut length = usize::from(body.u8("the optional parameters length")?);
    let extended = length == 255 && body.bytes().first() == Some(&255);
    if extended {
        body.u8("the extended parameters mark")?;
        length = body.u16("the optional parameters length")?.into();
    }
    let mut parameters = body.take(length, "the optional parameters")?;
    let mut capabilities = Capabilities::default();
    let mut odd = 0u16;
    while !parameters.is_empty() {
        let kind = parameters.u8("an optional parameter")?;
        let length = if extended {
            parameters.u16("an optional parameter's length")?.into()
        } else {
            parameters.u8("an optional parameter's length")?.into()
        };
        let mut value = parameters.take(length, "an optional parameter")?;
        if kind != 2 {
            odd = odd.saturating_add(1);
            continue;
        }
        while !value.is_empty() {
            let is_odd = capability(&mut value, &mut capabilities)?;
            odd = odd.saturating_add(is_odd.into());
        }
    }
    Ok((capabilities, odd))
}

/// One capability. Of one that is repeated the last counts, except where instances add up (RFC 5492 section 4).
/// Returns whether it is not as its RFC has it; what could be read of it counts.
fn capability(list: &mut Reader<'_>, capabilities: &mut Capabilities) -> Result<bool, WireError> {
    let code = list.u8("a capability")?;
    let length = list.u8("a capability's length")?;
    let value = list.take(length.into(), "a capability")?;
    let is_empty = value.is_empty();
    Ok(match code {
        1 => multiprotocol(value, capabilities),
        2 => {
            capabilities.route_refresh = true;
            !is_empty
        }
        6 => {
            capabilities.extended_message = true;
            !is_empty
        }
        64 => graceful_restart(value, capabilities),
        65 => match *value.bytes() {
            [a, b, c, d, ref rest @ ..] => {
                let asn = u32::from_be_bytes([a, b, c, d]);
                capabilities.four_octet_asn = Some(Asn::new(asn));
                !rest.is_empty()
            }
            _ => true,
        },
        69 => add_path(value, capabilities),
        70 => {
            capabilities.enhanced_route_refresh = true;
            !is_empty
        }
        _ => false,
    })
}

fn multiprotocol(value: Reader<'_>, capabilities: &mut Capabilities) -> bool {
    let [high, low, _, safi] = *value.bytes() else {
        capabilities.families_unclear = true;
        return true;
    };
    match unicast(u16::from_be_bytes([high, low]), safi) {
        Some(family) => capabilities.multiprotocol[family as usize] = true,
        None => capabilities.foreign = true,
    }
    false
}

fn graceful_restart(value: Reader<'_>, capabilities: &mut Capabilities) -> bool {
    let [high, low, ref list @ ..] = *value.bytes() else {
        return true;
    };
    let head = u16::from_be_bytes([high, low]);
    let mut families = [false; 2];
    let (entries, rest) = list.as_chunks::<4>();
    for &[high, low, safi, _flags] in entries {
        if let Some(family) = unicast(u16::from_be_bytes([high, low]), safi) {
            families[family as usize] = true;
        }
    }
    capabilities.graceful_restart = Some(GracefulRestart {
        restart_time: Duration::from_secs((head & 0x0fff).into()),
        restarted: head & 0x8000 != 0,
        families,
    });
    !rest.is_empty()
}

fn add_path(value: Reader<'_>, capabilities: &mut Capabilities) -> bool {
    let (entries, rest) = value.bytes().as_chunks::<4>();
    for &[high, low, safi, direction] in entries {
        let Some(family) = unicast(u16::from_be_bytes([high, low]), safi) else {
            continue;
        };
        // Other values are ignored (RFC 7911 section 4).
        if (1..=3).contains(&direction) {
            capabilities.add_path[family as usize] = AddPath {
                receive: direction & 1 != 0,
                send: direction & 2 != 0,
            };
        }
    }
    capabilities.add_path_unclear |= !rest.is_empty();
    !rest.is_empty()
}
