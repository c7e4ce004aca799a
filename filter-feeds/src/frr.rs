//! FRRouting, asked over bgpd's own vty socket (`bgpd.vty`), JSON only. Grammar of FRR 8.4 and 10.
//!
//! `received-routes` is what the peer advertises (needs `soft-reconfiguration inbound`), `routes` what of it was
//! accepted, `advertised-routes` what we advertise. The last one of a peer that is down is an empty object, so the
//! state of each session is read before and after its tables; what changed meanwhile is thrown away.
//! Never scrapes text, and never takes a reply without a table for an empty table.
pub(super) mod replies;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use filter_core::Family;
use serde::Deserialize;

use self::replies::{
    Expected, Neighbor, Neighbors, parse_advertised, parse_neighbors, parse_received, parse_routes,
};
use super::Stop;
use super::poll::{
    Lives, Neighbour as _, PollConfig, PollError, Polling, Reading, RibReading, Source, of_table,
};
use super::unix::Conversation;
use filter_lifecycle::route::{AdjRib, Route};

/// Where Debian and upstream put bgpd's vty socket.
pub const DEFAULT_SOCKET: &str = "/var/run/frr/bgpd.vty";

/// Polls bgpd.
#[derive(Clone, Debug)]
pub struct FrrConfig {
    /// The socket `bgpd.vty`; members of `frrvty` may use it.
    pub socket: PathBuf,
    /// When and what.
    pub poll: PollConfig,
}

/// A bgpd.
#[derive(Clone, Debug)]
pub struct Frr {
    socket: PathBuf,
}

impl Frr {
    /// The feed that polls this bgpd.
    #[must_use]
    pub fn feed(config: FrrConfig) -> Polling<Self> {
        let FrrConfig { socket, poll } = config;
        Polling::new(Self { socket }, poll)
    }
}

impl Source for Frr {
    fn name(&self) -> String {
        format!("frr {}", self.socket.display())
    }

    fn glance(&mut self, config: &PollConfig, stop: &Stop) -> Result<Lives, PollError> {
        let mut vty = Vty(Conversation::connect(&self.socket, config, stop)?);
        vty.ask("enable", |_| Ok(()))?;
        Ok(vty.neighbors()?.lives())
    }

    fn poll(&mut self, config: &PollConfig, stop: &Stop) -> Result<Reading, PollError> {
        let mut vty = Vty(Conversation::connect(&self.socket, config, stop)?);
        vty.ask("enable", |_| Ok(()))?;
        let before = vty.neighbors()?;
        let mut ribs = BTreeMap::new();
        for (address, neighbor) in &before.read {
            if neighbor.established() {
                ribs.insert(*address, vty.ribs(*address, neighbor, config)?);
            }
        }
        let after = vty.neighbors()?;
        Ok(after.join(&before, ribs, config, |_, neighbor| neighbor.state()))
    }
}

/// One command to a bgpd, outside of any feed.
pub(super) fn ask_once<T>(
    socket: &Path,
    config: &PollConfig,
    stop: &Stop,
    command: &str,
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<T, PollError> {
    let mut vty = Vty(Conversation::connect(socket, config, stop)?);
    vty.ask("enable", |_| Ok(()))?;
    vty.ask(command, parse)
}

/// The vty: `command NUL` there, `text NUL NUL NUL status` back.
struct Vty<'a>(Conversation<'a>);

impl Vty<'_> {
    fn ask<T>(
        &mut self,
        command: &str,
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, PollError> {
        self.0.say(command, 0)?;
        let reply = self.0.hear(command, end_of_reply)?;
        let (text, status) =
            split_status(&reply).map_err(|why| PollError::malformed(command, why))?;
        if status != 0 || is_warning(text) {
            return Err(PollError::Refused {
                command: command.to_owned(),
                answer: first_words(text),
            });
        }
        parse(text).map_err(|why| PollError::malformed(command, why))
    }

    fn neighbors(&mut self) -> Result<Neighbors, PollError> {
        self.ask("show bgp neighbors json", parse_neighbors)
    }

    fn ribs(
        &mut self,
        address: IpAddr,
        neighbor: &Neighbor,
        config: &PollConfig,
    ) -> Result<Vec<RibReading>, PollError> {
        let mut readings = Vec::new();
        let Some(wanted) = config.sessions.ribs(address) else {
            return Ok(readings);
        };
        for (family, expected) in neighbor.families() {
            for rib in wanted.iter() {
                let routes = self.rib(address, family, rib, expected)?;
                readings.push(RibReading {
                    rib,
                    family,
                    routes,
                });
            }
        }
        Ok(readings)
    }

    fn rib(
        &mut self,
        address: IpAddr,
        family: Family,
        rib: AdjRib,
        expected: Expected,
    ) -> Result<Result<Vec<Route>, String>, PollError> {
        let show =
            |what: &str| format!("show bgp {family} unicast neighbors {address} {what} json");
        let read = match rib {
            AdjRib::InPrePolicy if !expected.keeps_received => {
                return Ok(Err(format!(
                    "the router keeps no copy of what {address} advertises: configure `neighbor {address} \
                     soft-reconfiguration inbound`, or use the post-policy view"
                )));
            }
            AdjRib::InPrePolicy => self.ask(&show("received-routes"), |text| {
                parse_received(text, family, expected)
            }),
            AdjRib::InPostPolicy => self.ask(&show("routes"), |text| parse_routes(text, family)),
            AdjRib::OutPostPolicy => self.ask(&show("advertised-routes"), |text| {
                parse_advertised(text, family, expected)
            }),
        };
        of_table(read)
    }
}

/// Where the reply ends: three NULs and a status byte; text holds none.
fn end_of_reply(bytes: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    let unseen = bytes.get(from..)?;
    let nul = unseen.iter().position(|byte| *byte == 0)?;
    let end = from + nul + 4;
    (bytes.len() >= end).then_some(end)
}

fn split_status(reply: &[u8]) -> Result<(&[u8], u8), &'static str> {
    match reply.split_last_chunk::<4>() {
        Some((text, [0, 0, 0, status])) => Ok((text, *status)),
        _ => Err("it does not end in three NULs and a status"),
    }
}

fn is_warning(text: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Warned {
        #[serde(rename = "warning")]
        _warning: String,
    }
    // Warnings are short; a table is not read twice for this.
    text.len() < 1024 && serde_json::from_slice::<Warned>(text).is_ok()
}

fn first_words(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.trim().chars().take(200).collect()
}
