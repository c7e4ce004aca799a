//! Who a session belongs to, by the configuration's addresses, and which members a route server's routes, and ours to
//! it, concern. Pure; never sees a route's prefix.
use std::collections::HashMap;
use std::net::IpAddr;

use filter_core::Asn;

use crate::route::{Community, PeerId, Session, Vrf};
use crate::spec::{InterfaceId, Reach, RouteServer, Spec};

/// What a session address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// A peer's session.
    Peer(PeerId),
    /// A route server's, by its place in the configuration.
    RouteServer(usize),
}

/// The owners of sessions and the members of LANs, by address and VRF.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    owners: HashMap<Session, Owner>,
    members: HashMap<(InterfaceId, Session), PeerId>,
    by_interface: HashMap<(InterfaceId, Option<Vrf>), Vec<PeerId>>,
}

impl Directory {
    /// From the configuration.
    #[must_use]
    pub fn new(spec: &Spec) -> Self {
        let mut directory = Self::default();
        for (id, peer) in spec.peer_ids() {
            for attachment in &peer.attachments {
                let lan = (attachment.interface, attachment.vrf);
                let members = directory.by_interface.entry(lan).or_default();
                if members.last() != Some(&id) {
                    members.push(id);
                }
                for session in attachment.sessions() {
                    directory.owners.insert(session, Owner::Peer(id));
                    directory
                        .members
                        .insert((attachment.interface, session), id);
                }
            }
        }
        for (index, server) in spec.route_servers.iter().enumerate() {
            for session in server.sessions() {
                directory.owners.insert(session, Owner::RouteServer(index));
            }
        }
        directory
    }

    /// Who this session belongs to.
    #[must_use]
    pub fn owner(&self, session: Session) -> Option<Owner> {
        self.owners.get(&session).copied()
    }

    /// The peer a route server's route with this next hop leads to.
    #[must_use]
    pub fn member(&self, server: &RouteServer, next_hop: IpAddr) -> Option<PeerId> {
        let session = Session::of(next_hop, server.vrf);
        self.members.get(&(server.interface, session)).copied()
    }

    /// Every peer on the route server's LAN and in its VRF.
    #[must_use]
    pub fn members(&self, server: &RouteServer) -> &[PeerId] {
        self.by_interface
            .get(&(server.interface, server.vrf))
            .map_or(&[], Vec::as_slice)
    }

    /// The members that an announcement of ours to the route server reaches.
    #[must_use]
    pub fn served(
        &self,
        spec: &Spec,
        server: &RouteServer,
        communities: Option<&[Community]>,
    ) -> Vec<PeerId> {
        let members = self.members(server).iter().copied();
        members
            .filter(|id| reaches(server, spec.peers[id.0 as usize].asn, communities))
            .collect()
    }
}

/// Does the route server hand our announcement on to this member?
fn reaches(server: &RouteServer, member: Asn, communities: Option<&[Community]>) -> bool {
    match &server.our_routes_reach {
        Reach::All => true,
        Reach::None => false,
        Reach::Listed(asns) => asns.contains(&member),
        Reach::Communities => scope(server.asn, member, communities.unwrap_or(&[])),
    }
}

/// The scheme most route servers share (Euro-IX): `0:member` not to the member, `rs:member` to the member,
/// `0:rs` to no other, `rs:rs` to all; as route targets (`rt:0:member`) the same; as large communities (RFC 8092)
/// `rs:0:member`, `rs:1:member`, `rs:0:0`, `rs:1:0`. What names the member wins over what names everybody; without any the announcement reaches all.
fn scope(server: Asn, member: Asn, communities: &[Community]) -> bool {
    let (rs, member) = (server.get(), member.get());
    let (mut to_all, mut to_nobody, mut to_member, mut not_to_member) =
        (false, false, false, false);
    let mut pair = |high: u32, low: u32| {
        not_to_member |= high == 0 && low == member;
        to_member |= high == rs && low == member;
        to_nobody |= high == 0 && low == rs;
        to_all |= high == rs && low == rs;
    };
    for &community in communities {
        match community {
            Community::Standard(high, low) => pair(high.into(), low.into()),
            Community::RouteTarget(high, low) => pair(high, low),
            // The number of the action stands between: as if the pair were `0:…` or `rs:…`; 0 names everybody.
            Community::Large(server, 0, target) if server == rs => {
                pair(0, if target == 0 { rs } else { target });
            }
            Community::Large(server, 1, target) if server == rs => {
                pair(rs, if target == 0 { rs } else { target });
            }
            Community::Large(..) => {}
        }
    }
    if not_to_member {
        return false;
    }
    to_member || to_all || !to_nobody
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_schemes_scope_an_announcement() {
        let (rs, member) = (Asn::new(64511), Asn::new(64501));
        let cases: &[(&[Community], bool)] = &[
            (&[], true),
            (&[Community::Standard(0, 64501)], false),
            (&[Community::Standard(0, 64502)], true),
            (&[Community::Standard(0, 64511)], false),
            (
                &[
                    Community::Standard(0, 64511),
                    Community::Standard(64511, 64501),
                ],
                true,
            ),
            (
                &[
                    Community::Standard(0, 64511),
                    Community::Standard(64511, 64502),
                ],
                false,
            ),
            (&[Community::Standard(64511, 64511)], true),
            (
                &[
                    Community::Standard(64511, 64511),
                    Community::Standard(0, 64501),
                ],
                false,
            ),
            (&[Community::RouteTarget(0, 64501)], false),
            (&[Community::RouteTarget(0, 64502)], true),
            (&[Community::RouteTarget(0, 64511)], false),
            (
                &[
                    Community::RouteTarget(0, 64511),
                    Community::RouteTarget(64511, 64501),
                ],
                true,
            ),
            (&[Community::Large(64511, 0, 64501)], false),
            (&[Community::Large(64511, 0, 0)], false),
            (
                &[
                    Community::Large(64511, 0, 0),
                    Community::Large(64511, 1, 64501),
                ],
                true,
            ),
            (&[Community::Large(64510, 0, 0)], true),
            (
                &[Community::Standard(0, 64511), Community::Large(64511, 1, 0)],
                true,
            ),
            (
                &[
                    Community::Large(64511, 1, 0),
                    Community::Large(64511, 0, 64501),
                ],
                false,
            ),
            (
                &[
                    Community::Large(64511, 0, 0),
                    Community::Large(64511, 1, 64502),
                ],
                false,
            ),
        ];
        for (communities, expected) in cases {
            assert_eq!(scope(rs, member, communities), *expected, "{communities:?}");
        }
    }

    #[test]
    fn four_octet_members_are_named_by_large_communities_only() {
        let (rs, member) = (Asn::new(64511), Asn::new(4_200_000_002));
        assert!(!scope(
            rs,
            member,
            &[Community::Large(64511, 0, 4_200_000_002)]
        ));
        assert!(scope(rs, member, &[Community::Standard(0, 59_906)]));
        let only = [
            Community::Standard(0, 64511),
            Community::Large(64511, 1, 4_200_000_002),
        ];
        assert!(scope(rs, member, &only));
        // A route server with a four-octet number of its own.
        let rs = Asn::new(4_200_000_000);
        assert!(!scope(rs, member, &[Community::Large(4_200_000_000, 0, 0)]));
    }
}
