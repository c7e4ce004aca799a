//! GoBGP 3, asked with its client `gobgp -j` over gRPC. Slow for big tables (4 s for 100,000 routes).
//!
//! GoBGP lists what it would advertise to a peer even while that is down: the state comes first, and is read again
//! after the tables. What a peer's routes became under the import policy is only told by 3.36 and later; the client
//! of 3.10 ignores the global policy, so there that table is not read at all.
pub(super) mod replies;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use filter_core::Family;

use self::replies::{Neighbor, Version, error_in, parse_neighbors, parse_rib, parse_version};
use super::Stop;
use super::child::Client;
use super::poll::{
    Notified, PollConfig, PollError, Polling, Reading, SessionReading, Source, State, TableReading,
};
use crate::route::{Route, Session, Table};

/// The first version whose `accepted` respects the global import policy, as far as we know.
const ACCEPTED_SINCE: Version = Version {
    major: 3,
    minor: 36,
};

/// Polls a gobgpd.
#[derive(Clone, Debug)]
pub struct GoBgpConfig {
    /// The client: `gobgp`, or its path.
    pub gobgp: PathBuf,
    /// Where gobgpd's gRPC service listens, if not at the client's default of 127.0.0.1:50051.
    pub server: Option<SocketAddr>,
    /// When and what.
    pub poll: PollConfig,
}

/// A gobgpd.
#[derive(Clone, Debug)]
pub struct GoBgp {
    gobgp: PathBuf,
    server: Option<SocketAddr>,
    notified: Notified,
}

impl GoBgp {
    /// The feed that polls this gobgpd.
    #[must_use]
    pub fn feed(config: GoBgpConfig) -> Polling<Self> {
        let GoBgpConfig {
            gobgp,
            server,
            poll,
        } = config;
        let notified = Notified::default();
        Polling::new(
            Self {
                gobgp,
                server,
                notified,
            },
            poll,
        )
    }
}

impl Source for GoBgp {
    fn name(&self) -> String {
        match self.server {
            Some(server) => format!("gobgp {server}"),
            None => "gobgp".to_owned(),
        }
    }

    fn poll(&mut self, config: &PollConfig, stop: &Stop) -> Result<Reading, PollError> {
        let mut options = Vec::new();
        if let Some(server) = self.server {
            let (host, port) = (server.ip().to_string(), server.port().to_string());
            options.extend(["-u".into(), host.into(), "-p".into(), port.into()]);
        }
        let client = Client {
            program: &self.gobgp,
            options,
            config,
            stop,
        };
        let version = version(&client)?;
        let before = neighbors(&client)?;
        let mut tables = BTreeMap::new();
        for (address, neighbor) in before.iter().filter(|(_, neighbor)| neighbor.established()) {
            tables.insert(*address, read_tables(&client, *address, neighbor, version)?);
        }
        let after = neighbors(&client)?;
        let mut reading = Reading::default();
        for (address, neighbor) in after {
            let up = neighbor.established();
            let cause = self.notified.cause(address, up, neighbor.notifications());
            if config.sessions.tables(address).is_none() {
                continue;
            }
            let former = before.get(&address).map(Neighbor::life);
            let settled = former == Some(neighbor.life());
            reading.unsettled |= !settled;
            let tables = tables.remove(&address).filter(|_| settled && up);
            reading.sessions.push(SessionReading {
                session: Session::global(address),
                state: if up {
                    neighbor.up_state()
                } else {
                    State::Down(cause)
                },
                tables: tables.unwrap_or_default(),
                counts: if up { neighbor.counts() } else { Vec::new() },
            });
        }
        reading.add_missing(config);
        Ok(reading)
    }
}

fn version(client: &Client<'_>) -> Result<Version, PollError> {
    let output = client.run(&["--version"])?;
    let command = client.command(&["--version"]);
    let version =
        parse_version(&output.stdout).map_err(|why| PollError::malformed(&command, why))?;
    if version.major == ACCEPTED_SINCE.major {
        return Ok(version);
    }
    let answer = format!(
        "GoBGP {} writes JSON we do not know; use GoBGP 3, or another feed",
        version.major
    );
    Err(PollError::Refused { command, answer })
}

fn neighbors(client: &Client<'_>) -> Result<BTreeMap<IpAddr, Neighbor>, PollError> {
    let arguments = ["neighbor", "-j"];
    match ask(client, &arguments, parse_neighbors)? {
        Ok(neighbors) => Ok(neighbors),
        Err(answer) => Err(PollError::Refused {
            command: client.command(&arguments),
            answer,
        }),
    }
}

fn read_tables(
    client: &Client<'_>,
    address: IpAddr,
    neighbor: &Neighbor,
    version: Version,
) -> Result<Vec<TableReading>, PollError> {
    let mut readings = Vec::new();
    let Some(wanted) = client.config.sessions.tables(address) else {
        return Ok(readings);
    };
    for family in neighbor.families() {
        for table in wanted.iter() {
            let routes = read_table(client, address, table, family, version)?;
            readings.push(TableReading {
                table,
                family,
                routes,
            });
        }
    }
    Ok(readings)
}

fn read_table(
    client: &Client<'_>,
    address: IpAddr,
    table: Table,
    family: Family,
    version: Version,
) -> Result<Result<Vec<Route>, String>, PollError> {
    let which = match table {
        Table::AdjInPre => "adj-in",
        Table::AdjInPost if version < ACCEPTED_SINCE => {
            return Ok(Err(
                "this version of gobgp ignores the global import policy when asked what was \
                           accepted; use the pre-policy view, BMP, or GoBGP 3.36"
                    .to_owned(),
            ));
        }
        Table::AdjInPost => "accepted",
        Table::AdjOut => "adj-out",
    };
    let text = address.to_string();
    let arguments = ["neighbor", &text, which, "-a", family.name(), "-j"];
    ask(client, &arguments, |reply| parse_rib(reply, family))
}

/// The parsed reply, or what GoBGP has against the command.
fn ask<T>(
    client: &Client<'_>,
    arguments: &[&str],
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<Result<T, String>, PollError> {
    let output = client.run(arguments)?;
    let command = client.command(arguments);
    if output.stdout.is_empty() {
        return Err(PollError::Refused {
            command,
            answer: output.stderr,
        });
    }
    if let Some(answer) = error_in(&output.stdout) {
        return Ok(Err(answer));
    }
    let parsed = parse(&output.stdout).map_err(|why| PollError::malformed(&command, why))?;
    Ok(Ok(parsed))
}
