//! From `[[feed]]` sections to feeds. Asks routers only for sessions and tables somebody's policy uses.
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Feed;
use super::bird::{Bird, BirdConfig};
use super::bmp::{BmpConfig, BmpFeed};
use super::frr::{Frr, FrrConfig};
use super::gobgp::{GoBgp, GoBgpConfig};
use super::mrt::{MrtConfig, MrtFeed};
use super::openbgpd::{OpenBgpd, OpenBgpdConfig};
use super::poll::{PollConfig, SessionSpec, Sessions, Tables, Trigger};
use super::shadow::{ShadowFeed, ShadowSession};
use super::static_::{StaticFeed, StaticPeer};
use crate::config::{self, Config};
use crate::route::{Session, Table};

/// Makes one feed; those that listen do so from here on, those that poll do so when `trigger` asks, too.
///
/// # Errors
/// What is wrong, for people: an address that cannot be listened on.
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
            max_routers,
        } => {
            let station = BmpConfig {
                max_routers: usize::from(*max_routers),
                ..BmpConfig::new(*listen)
            };
            Box::new(
                BmpFeed::new(&station)
                    .map_err(|error| format!("cannot listen on {listen}: {error}"))?,
            )
        }
        config::Feed::Mrt { path } => Box::new(MrtFeed::new(MrtConfig::new(path.clone()))),
        config::Feed::Frr { socket, interval } => Box::new(Frr::feed(FrrConfig {
            socket: socket.clone(),
            poll: poll(*interval),
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
                table: session.table,
                ..ShadowSession::new(
                    *listen,
                    session.address,
                    *asn,
                    Session::global(session.session),
                )
            };
            let shadows = sessions.iter().map(shadow).collect();
            Box::new(ShadowFeed::new(shadows).map_err(|error| error.to_string())?)
        }
    })
}

/// Every session the configuration names, with the tables its peers' views need.
fn sessions(config: &Config) -> Sessions {
    let mut wanted: BTreeMap<IpAddr, Tables> = BTreeMap::new();
    for peer in &config.peers {
        for &address in peer
            .attachments
            .iter()
            .flat_map(|attachment| &attachment.addresses)
        {
            wanted.insert(address, tables(&[peer.view]));
        }
    }
    let views: Vec<config::View> = config.peers.iter().map(|peer| peer.view).collect();
    for &address in config
        .route_servers
        .iter()
        .flat_map(|server| &server.addresses)
    {
        wanted.insert(address, tables(&views));
    }
    Sessions::Only(
        wanted
            .into_iter()
            .map(|(address, tables)| SessionSpec { address, tables })
            .collect(),
    )
}

fn tables(views: &[config::View]) -> Tables {
    let reads = |table| views.iter().any(|view| view.table() == table);
    Tables {
        adj_in_pre: reads(Table::AdjInPre),
        adj_in_post: reads(Table::AdjInPost),
        adj_out: true,
    }
}
