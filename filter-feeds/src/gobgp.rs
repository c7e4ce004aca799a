//! GoBGP 3, asked with its client `gobgp -j` over gRPC. Slow for big tables (4 s for 100,000 routes).
//!
//! GoBGP lists what it would advertise to a peer even while that is down: the state comes first, and is read again
//! after the tables. What of a peer's routes was accepted is read from the global table, where each path names its
//! neighbour: `neighbor X accepted` lists the rejected ones as well, in 3.10 always and in 3.36 with `-j`.
pub(super) mod replies;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use filter_core::Family;

use self::replies::{
    ByNeighbour, Neighbor, error_in, parse_global, parse_neighbors, parse_rib, parse_version,
};
use super::Stop;
use super::child::Client;
use super::poll::{
    Listed, Lives, Neighbour as _, Notified, PollConfig, PollError, Polling, Reading, RibReading,
    Source, State, of_table,
};
use filter_lifecycle::route::{AdjRib, Route};

/// The major version whose JSON we know.
const MAJOR: u32 = 3;

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

impl GoBgp {
    /// Where the client finds the daemon.
    fn options(&self) -> Vec<OsString> {
        let Some(server) = self.server else {
            return Vec::new();
        };
        let (host, port) = (server.ip().to_string(), server.port().to_string());
        vec!["-u".into(), host.into(), "-p".into(), port.into()]
    }
}

impl Source for GoBgp {
    fn name(&self) -> String {
        match self.server {
            Some(server) => format!("gobgp {server}"),
            None => "gobgp".to_owned(),
        }
    }

    fn glance(&mut self, config: &PollConfig, stop: &Stop) -> Result<Lives, PollError> {
        let client = Client {
            program: &self.gobgp,
            options: self.options(),
            config,
            stop,
        };
        Ok(neighbors(&client)?.lives())
    }

    fn poll(&mut self, config: &PollConfig, stop: &Stop) -> Result<Reading, PollError> {
        let client = Client {
            program: &self.gobgp,
            options: self.options(),
            config,
            stop,
        };
        check_version(&client)?;
        let before = neighbors(&client)?;
        let mut ribs = BTreeMap::new();
        let mut global = Global::default();
        let up = before.read.iter();
        for (address, neighbor) in up.filter(|(_, neighbor)| neighbor.established()) {
            let readings = read_ribs(&client, *address, neighbor, &mut global)?;
            ribs.insert(*address, readings);
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

/// Asked without the options: the client refuses `-u … --version`.
fn check_version(client: &Client<'_>) -> Result<(), PollError> {
    let client = Client {
        options: Vec::new(),
        ..client.clone()
    };
    let output = client.run(&["--version"])?;
    let command = client.command(&["--version"]);
    let version = parse_version(&output.stdout)
        .map_err(|why| PollError::malformed(&command, output.with_complaint(why)))?;
    if version.major == MAJOR {
        return Ok(());
    }
    let answer = format!(
        "GoBGP {} writes JSON we do not know; use GoBGP {MAJOR}, or another feed",
        version.major
    );
    Err(PollError::Refused { command, answer })
}

fn neighbors(client: &Client<'_>) -> Result<Listed<Neighbor>, PollError> {
    let arguments = ["neighbor", "-j"];
    match ask(client, &arguments, parse_neighbors)? {
        Ok(neighbors) => Ok(neighbors),
        Err(answer) => Err(PollError::Refused {
            command: client.command(&arguments),
            answer,
        }),
    }
}

fn read_ribs(
    client: &Client<'_>,
    address: IpAddr,
    neighbor: &Neighbor,
    global: &mut Global,
) -> Result<Vec<RibReading>, PollError> {
    let mut readings = Vec::new();
    let Some(wanted) = client.config.sessions.ribs(address) else {
        return Ok(readings);
    };
    for family in neighbor.families() {
        for rib in wanted.iter() {
            let routes = match rib {
                AdjRib::InPrePolicy => read_rib(client, address, "adj-in", family),
                AdjRib::InPostPolicy => global.accepted(client, address, neighbor, family),
                AdjRib::OutPostPolicy => read_rib(client, address, "adj-out", family),
            };
            let routes = of_table(routes)?.and_then(|routes| routes);
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
    which: &str,
    family: Family,
) -> Result<Result<Vec<Route>, String>, PollError> {
    let text = address.to_string();
    let arguments = ["neighbor", &text, which, "-a", family.name(), "-j"];
    ask(client, &arguments, |reply| parse_rib(reply, family))
}

/// GoBGP's global table by neighbour, as far as it was read during this poll.
#[derive(Default)]
struct Global(BTreeMap<Family, Result<ByNeighbour, String>>);

impl Global {
    /// What was accepted of this neighbour's routes.
    fn accepted(
        &mut self,
        client: &Client<'_>,
        address: IpAddr,
        neighbor: &Neighbor,
        family: Family,
    ) -> Result<Result<Vec<Route>, String>, PollError> {
        if !neighbor.in_global_table() {
            return Ok(Err(format!(
                "GoBGP keeps what it accepted of {address}, a route-server client or in a VRF, out of its global \
                 table; use the pre-policy view, or BMP"
            )));
        }
        let read = match self.0.entry(family) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(unread) => {
                let arguments = ["global", "rib", "-a", family.name(), "-j"];
                let read = ask(client, &arguments, |reply| parse_global(reply, family))?;
                unread.insert(read)
            }
        };
        Ok(match read {
            Ok(routes) => routes.remove(&address).unwrap_or_else(|| Ok(Vec::new())),
            Err(answer) => Err(answer.clone()),
        })
    }
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
    let parsed = parse(&output.stdout)
        .map_err(|why| PollError::malformed(&command, output.with_complaint(why)))?;
    Ok(Ok(parsed))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A client that refuses its version with options, as GoBGP's does, and has no neighbours otherwise.
    #[test]
    fn the_version_is_asked_without_the_options() {
        let path = std::env::temp_dir().join(format!("bcp38-gobgp-{}", std::process::id()));
        let refused = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/fixtures/control/gobgp_version_with_server.txt"
        );
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in\n--version) echo gobgp version 3.36.0;;\n*--version) cat {refused} >&2;;\n'-u 127.0.0.1 -p 50051 neighbor -j') echo '[]';;\n*) echo unasked: $* >&2;;\nesac\n"
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let mut source = GoBgp {
            gobgp: path.clone(),
            server: Some("127.0.0.1:50051".parse().unwrap()),
            notified: Notified::default(),
        };
        let (config, stop) = (PollConfig::default(), Stop::default());
        let reading = source.poll(&config, &stop);
        let lives = source.glance(&config, &stop);
        // An old client, or another program: what it complains of is in the error.
        fs::write(&path, "#!/bin/sh\necho unknown flag >&2\n").unwrap();
        let error = source.poll(&config, &stop).unwrap_err();
        fs::remove_file(&path).unwrap();
        assert_eq!(reading.unwrap(), Reading::default());
        assert_eq!(lives.unwrap(), Lives::new());
        assert!(error.to_string().contains("unknown flag"), "{error}");
    }
}
