//! The sentences of the peering policy, and which of them a reason breaks.
use filter_core::Reason;

/// What of the policy packets with this reason break; none if they break nothing, or if it is not known here.
pub(super) fn of(reason: &str) -> Option<&'static str> {
    let reason = Reason::from_name(reason).filter(|reason| reason.is_violation())?;
    Some(match reason {
        Reason::SourceBogon => {
            "Packets come from a prefix that you currently advertise to us; never from special-purpose space (BCP 38)."
        }
        Reason::SourceOurs => {
            "Packets come from a prefix that you currently advertise to us; never from our own space."
        }
        Reason::SourceUnannounced => {
            "Packets come from a prefix that you currently advertise to us (BCP 38)."
        }
        Reason::DestinationUnannounced => {
            "Packets go to a prefix that we currently advertise to you: do not point default, or static routes, at us."
        }
        Reason::BothUnannounced => {
            "Packets come from a prefix that you currently advertise to us, and go to a prefix that we currently advertise to you."
        }
        Reason::FamilyNotPeered => "Only the address families that we peer with are sent.",
        Reason::Malformed => "Packets are well formed.",
        Reason::UnknownPeer => "Packets come from the MAC address that is registered for you.",
        Reason::RouterAdvertisement => "No IPv6 router advertisements on the peering LAN.",
        Reason::Redirect => "No ICMP redirects on the peering LAN.",
        Reason::LanMulticast | Reason::NonIp => {
            "Only IPv4, IPv6 and ARP on the peering LAN; no link-layer and routing protocols but BGP."
        }
        _ => "The peering policy.",
    })
}
