//! From `[[feed]]` sections to feeds. Asks routers only for the sessions and tables that a peer or route server uses.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::config::{self, Config};
use filter_feeds::Feed;
use filter_feeds::bird::{Bird, BirdConfig};
use filter_feeds::bmp::{BmpConfig, BmpFeed};
use filter_feeds::frr::{Frr, FrrConfig};
use filter_feeds::gobgp::{GoBgp, GoBgpConfig};
use filter_feeds::mrt::{MrtConfig, MrtFeed};
use filter_feeds::openbgpd::{OpenBgpd, OpenBgpdConfig};
use filter_feeds::poll::{AdjRibs, PollConfig, SessionSpec, Sessions};
use filter_feeds::shadow::{ShadowFeed, ShadowSession};
use filter_feeds::static_::{StaticFeed, StaticPeer};
use filter_feeds::trigger::Trigger;
use filter_lifecycle::route::{AdjRib, Session, Vrf};
use filter_lifecycle::spec;

/// Makes one feed; those that listen do so from here on, those that poll do so when `trigger` asks, too.
///
/// # Errors
/// What is wrong, for people: an address that cannot be listened on.
#[expect(clippy::too_many_lines, reason = "one arm for each kind of feed")]
pub fn build(
    config: &Config,
    feed: &config::Feed,
    trigger: &Trigger,
) -> Result<Box<dyn Feed>, String> {
    let poll = |interval| PollConfig {
        interval,
        sessions: sessions(config),
        trigger: trigger.clone(),
        ..PollConfig::default()
    };
    Ok(match feed {
        config::Feed::Static {
            peer,
            advertised_by_peer,
            advertised_to_peer,
        } => Box::new(StaticFeed::new(vec![StaticPeer {
            peer: *peer,
            advertised_by_peer: advertised_by_peer.clone(),
            advertised_to_peer: advertised_to_peer.clone(),
        }])),
        config::Feed::Bmp {
            listen,
            allow,
            max_routers,
            idle,
            password,
        } => {
            let listener = BmpConfig {
                allow: allow.clone(),
                max_routers: usize::from(*max_routers),
                idle: *idle,
                password: password.clone(),
                instances: Some(instances(config)),
                ..BmpConfig::new(*listen)
            };
            Box::new(
                BmpFeed::new(&listener)
                    .map_err(|error| format!("cannot listen on {listen}: {error}"))?,
            )
        }
        config::Feed::Mrt { path, rib } => Box::new(MrtFeed::new(MrtConfig {
            rib: *rib,
            ..MrtConfig::new(path.clone())
        })),
        config::Feed::Frr { socket, interval } => Box::new(Frr::feed(FrrConfig {
            socket: socket.clone(),
            poll: PollConfig {
                sessions: leave_scopes_to_shadows(config, sessions(config)),
                ..poll(*interval)
            },
        })),
        config::Feed::Bird { socket, interval } => Box::new(Bird::feed(BirdConfig {
            socket: socket.clone(),
            poll: poll(*interval),
        })),
        config::Feed::OpenBgpd {
            command,
            socket,
            interval,
        } => Box::new(OpenBgpd::feed(OpenBgpdConfig {
            bgpctl: command.clone(),
            socket: socket.clone(),
            poll: poll(*interval),
        })),
        config::Feed::GoBgp {
            command,
            server,
            interval,
        } => Box::new(GoBgp::feed(GoBgpConfig {
            gobgp: command.clone(),
            server: *server,
            poll: poll(*interval),
        })),
        config::Feed::Shadow {
            listen,
            asn,
            sessions,
        } => {
            let shadow = |session: &config::ShadowSession| ShadowSession {
                router_as: Some(config.spec.router.asn),
                rib: session.rib,
                password: session.password.clone(),
                ..ShadowSession::new(*listen, session.address, *asn, session.mirrors())
            };
            let shadows = sessions.iter().map(shadow).collect();
            Box::new(ShadowFeed::new(shadows).map_err(|error| error.to_string())?)
        }
    })
}

/// The routing instances that peers and route servers are in: routes of others are not read.
fn instances(config: &Config) -> BTreeSet<Option<Vrf>> {
    let peers = config.spec.peers.iter();
    let attachments = peers.flat_map(|peer| &peer.attachments);
    let of_peers = attachments.map(|attachment| attachment.vrf);
    let of_servers = config.spec.route_servers.iter().map(|server| server.vrf);
    of_peers.chain(of_servers).collect()
}

/// FRR does not list the communities of what it advertises. Where they decide whom an announcement reaches and a
/// shadow session has them, its report without them would make the announcement reach every member.
fn leave_scopes_to_shadows(config: &Config, sessions: Sessions) -> Sessions {
    let Sessions::Only(mut specs) = sessions else {
        return sessions;
    };
    let servers = config.spec.route_servers.iter();
    let scoped = servers.filter(|server| server.our_routes_reach == spec::Reach::Communities);
    for session in scoped.flat_map(spec::RouteServer::sessions) {
        if session.vrf.is_none() && config.spec.has_shadow(session, AdjRib::OutPostPolicy) {
            let spec = specs
                .iter_mut()
                .filter(|spec| spec.address == session.address);
            spec.for_each(|spec| spec.ribs.out_post_policy = false);
        }
    }
    Sessions::Only(specs)
}

/// Every session of the global instance that the configuration names, with the tables its peers' views need: no
/// poll reports another instance's.
fn sessions(config: &Config) -> Sessions {
    let mut wanted: BTreeMap<IpAddr, AdjRibs> = BTreeMap::new();
    let global = |session: &Session| session.vrf.is_none();
    for peer in &config.spec.peers {
        let own = peer
            .attachments
            .iter()
            .flat_map(spec::Attachment::sessions)
            .filter(global);
        wanted.extend(own.map(|session| (session.address, ribs(&[peer.view]))));
    }
    let views: Vec<spec::View> = config.spec.peers.iter().map(|peer| peer.view).collect();
    let servers = config
        .spec
        .route_servers
        .iter()
        .flat_map(spec::RouteServer::sessions)
        .filter(global);
    wanted.extend(servers.map(|session| (session.address, ribs(&views))));
    Sessions::Only(
        wanted
            .into_iter()
            .map(|(address, ribs)| SessionSpec { address, ribs })
            .collect(),
    )
}

fn ribs(views: &[spec::View]) -> AdjRibs {
    let reads = |rib| views.iter().any(|view| view.rib() == rib);
    AdjRibs {
        in_pre_policy: reads(AdjRib::InPrePolicy),
        in_post_policy: reads(AdjRib::InPostPolicy),
        out_post_policy: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
[router]
asn = 64500
prefixes = ["198.51.100.0/24"]
[[interface]]
name = "ixp0"
kind = "lan"
lan = ["192.0.2.0/24"]
[[peer]]
name = "p1"
asn = 64501
interface = "ixp0"
addresses = ["192.0.2.11"]
[[route_server]]
name = "rs1"
asn = 64511
interface = "ixp0"
addresses = ["192.0.2.250", "192.0.2.251"]
our_routes_reach = "communities"
[[feed]]
kind = "shadow"
listen = "127.0.0.1:1790"
asn = 64999
sessions = [{ address = "127.0.3.250", session = "192.0.2.250" }, { address = "127.0.3.11", session = "192.0.2.11" }]
"#;

    #[test]
    fn what_a_shadow_tells_with_communities_is_not_asked_without() {
        let out_post_policy = |text: &str| {
            let (config, _) = Config::parse(text, "test").unwrap();
            let sessions = leave_scopes_to_shadows(&config, sessions(&config));
            ["192.0.2.11", "192.0.2.250", "192.0.2.251"].map(|address| {
                let ribs = sessions.ribs(address.parse().unwrap()).unwrap();
                assert!(ribs.in_pre_policy && !ribs.in_post_policy);
                ribs.out_post_policy
            })
        };
        assert_eq!(out_post_policy(CONFIG), [true, false, true]);
        assert_eq!(
            out_post_policy(&CONFIG.replace("communities", "all")),
            [true; 3]
        );
    }
}
