//! OpenBGPD, asked with `bgpctl -j`: its control socket speaks a binary form of its own. A `restricted` socket
//! is enough. Grammar of OpenBGPD 7.7 and 8.8.
//!
//! bgpctl prints an empty object for an empty table, and for a table of a peer that is down or unknown: an empty
//! one counts only while the session is established and the router's own counters are zero.
pub(super) mod replies;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use filter_core::Family;

use self::replies::{Neighbor, parse_neighbors, parse_rib};
use super::Stop;
use super::child::Client;
use super::poll::{
    Listed, Lives, Neighbour as _, Notified, PollConfig, PollError, Polling, Reading, RibReading,
    Source, State, of_table,
};
use filter_lifecycle::route::{AdjRib, Route};

/// Polls an OpenBGPD.
#[derive(Clone, Debug)]
pub struct OpenBgpdConfig {
    /// The client: `bgpctl`, or its path.
    pub bgpctl: PathBuf,
    /// The control socket, if it is not the client's default.
    pub socket: Option<PathBuf>,
    /// When and what.
    pub poll: PollConfig,
}

/// An OpenBGPD.
#[derive(Clone, Debug)]
pub struct OpenBgpd {
    bgpctl: PathBuf,
    socket: Option<PathBuf>,
    notified: Notified,
}

impl OpenBgpd {
    /// The feed that polls this OpenBGPD.
    #[must_use]
    pub fn feed(config: OpenBgpdConfig) -> Polling<Self> {
        let OpenBgpdConfig {
            bgpctl,
            socket,
            poll,
        } = config;
        let notified = Notified::default();
        Polling::new(
            Self {
                bgpctl,
                socket,
                notified,
            },
            poll,
        )
    }
}

impl OpenBgpd {
    /// JSON, and where the client finds the daemon.
    fn options(&self) -> Vec<OsString> {
        let mut options: Vec<OsString> = vec!["-j".into()];
        if let Some(socket) = &self.socket {
            options.extend(["-s".into(), socket.into()]);
        }
        options
    }
}

impl Source for OpenBgpd {
    fn name(&self) -> String {
        match &self.socket {
            Some(socket) => format!("openbgpd {}", socket.display()),
            None => "openbgpd".to_owned(),
        }
    }

    fn glance(&mut self, config: &PollConfig, stop: &Stop) -> Result<Lives, PollError> {
        let client = Client {
            program: &self.bgpctl,
            options: self.options(),
            config,
            stop,
        };
        Ok(neighbors(&client)?.lives())
    }

    fn poll(&mut self, config: &PollConfig, stop: &Stop) -> Result<Reading, PollError> {
        let client = Client {
            program: &self.bgpctl,
            options: self.options(),
            config,
            stop,
        };
        let before = neighbors(&client)?;
        let mut ribs = BTreeMap::new();
        let up = before.read.iter();
        for (address, neighbor) in up.filter(|(_, neighbor)| neighbor.established()) {
            ribs.insert(*address, read_ribs(&client, *address, neighbor)?);
        }
        let notified = &mut self.notified;
        let state = |address, neighbor: &Neighbor| {
            let up = neighbor.established();
            let cause = notified.cause(address, up, neighbor.notifications());
            if up {
                neighbor.up_state()
            } else {
                State::Down(cause)
            }
        };
        Ok(neighbors(&client)?.join(&before, ribs, config, state))
    }
}

fn neighbors(client: &Client<'_>) -> Result<Listed<Neighbor>, PollError> {
    ask(client, &["show", "neighbor"], parse_neighbors)
}

fn read_ribs(
    client: &Client<'_>,
    address: IpAddr,
    neighbor: &Neighbor,
) -> Result<Vec<RibReading>, PollError> {
    let mut readings = Vec::new();
    let Some(wanted) = client.config.sessions.ribs(address) else {
        return Ok(readings);
    };
    for rib in wanted.iter() {
        for family in neighbor.families() {
            let routes = of_table(read_rib(client, address, rib, family, neighbor))?;
            readings.push(RibReading {
                rib,
                family,
                routes,
            });
        }
    }
    Ok(readings)
}

fn read_rib(
    client: &Client<'_>,
    address: IpAddr,
    rib: AdjRib,
    family: Family,
    neighbor: &Neighbor,
) -> Result<Vec<Route>, PollError> {
    let text = address.to_string();
    let inet = match family {
        Family::Ipv4 => "inet",
        Family::Ipv6 => "inet6",
    };
    let mut arguments = vec!["show", "rib", inet, "detail"];
    match rib {
        AdjRib::InPrePolicy => arguments.push("in"),
        AdjRib::InPostPolicy => {}
        AdjRib::OutPostPolicy => arguments.push("out"),
    }
    arguments.extend(["neighbor", &text]);
    let may_be_empty = neighbor.may_be_empty(rib);
    ask(client, &arguments, |reply| {
        parse_rib(reply, address, family, may_be_empty)
    })
}

fn ask<T>(
    client: &Client<'_>,
    arguments: &[&str],
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<T, PollError> {
    let output = client.run(arguments)?;
    let command = client.command(arguments);
    if output.stdout.is_empty() {
        return Err(PollError::Refused {
            command,
            answer: output.stderr,
        });
    }
    parse(&output.stdout).map_err(|why| PollError::malformed(&command, output.with_complaint(why)))
}
