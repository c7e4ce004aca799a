//! The messages that a speaker which never announces has to send: OPEN, KEEPALIVE, ROUTE-REFRESH, NOTIFICATION.
//! There is no writer of UPDATEs here, and must never be.
use super::{HEADER, Notification, afi};
use filter_core::{Asn, Family};
use std::net::Ipv4Addr;

/// What our OPEN says.
#[derive(Clone, Copy, Debug)]
pub struct OurOpen {
    /// Our AS number.
    pub asn: Asn,
    /// The hold time we propose, in seconds.
    pub hold_time: u16,
    /// Our BGP identifier.
    pub router_id: Ipv4Addr,
}

/// The capabilities of a listener: IPv4 and IPv6 unicast, four-octet AS numbers, route refresh and its enhanced
/// form, extended messages, receiving several paths, and graceful restart with time 0 and no family, without
/// which FRR sends no End-of-RIB.
#[must_use]
pub fn open(open: &OurOpen) -> Vec<u8> {
    let mut capabilities = Vec::with_capacity(64);
    let mut capability = |code: u8, value: &[u8]| {
        capabilities.extend([code, value.len() as u8]);
        capabilities.extend(value);
    };
    for family in Family::ALL {
        let [high, low] = afi(family).to_be_bytes();
        capability(1, &[high, low, 0, 1]);
    }
    capability(2, &[]);
    capability(6, &[]);
    capability(64, &[0, 0]);
    capability(65, &open.asn.get().to_be_bytes());
    capability(69, &[0, 1, 1, 1, 0, 2, 1, 1]);
    capability(70, &[]);

    let short_asn = u16::try_from(open.asn.get()).unwrap_or(23456); // AS_TRANS, RFC 6793 section 4.2.3
    let mut body = vec![4];
    body.extend(short_asn.to_be_bytes());
    body.extend(open.hold_time.to_be_bytes());
    body.extend(open.router_id.octets());
    body.extend([capabilities.len() as u8 + 2, 2, capabilities.len() as u8]);
    body.extend(&capabilities);
    message(1, &body)
}

/// A KEEPALIVE.
#[must_use]
pub fn keepalive() -> Vec<u8> {
    message(4, &[])
}

/// A request to send a family again (RFC 2918).
#[must_use]
pub fn route_refresh(family: Family) -> Vec<u8> {
    let [high, low] = afi(family).to_be_bytes();
    message(5, &[high, low, 0, 1])
}

/// A NOTIFICATION without data.
#[must_use]
pub fn notification(notification: Notification) -> Vec<u8> {
    message(3, &[notification.code, notification.subcode])
}

/// A header and a body of under 200 bytes.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0xff; 16];
    message.extend(((HEADER + body.len()) as u16).to_be_bytes());
    message.push(kind);
    message.extend(body);
    message
}
