//! BIRD 2 and 3, asked over the control socket, after the command `restrict`: it can change nothing.
//!
//! What the peer advertises is the channel's import table, or accepted and filtered routes together where only
//! those are kept; what it accepted stands in its table; what we advertise is the export table, or the result of
//! the export filter. Other versions are refused, not guessed at.
pub(super) mod replies;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use filter_core::Family;

use self::replies::{
    Channel, Protocol, ReplyError, check_greeting, end_of_reply, parse_protocols, parse_routes,
    text,
};
use super::Stop;
use super::poll::{
    Counted, Listed, Lives, PollConfig, PollError, Polling, Reading, RibReading, SessionReading,
    Source, State, of_table,
};
use super::unix::Conversation;
use crate::printed::Printed;
use filter_lifecycle::route::{AdjRib, Route, Session};

/// Where Debian and upstream put the control socket.
pub const DEFAULT_SOCKET: &str = "/run/bird/bird.ctl";

/// Polls a BIRD.
#[derive(Clone, Debug)]
pub struct BirdConfig {
    /// The control socket.
    pub socket: PathBuf,
    /// When and what.
    pub poll: PollConfig,
}

/// A BIRD.
#[derive(Clone, Debug)]
pub struct Bird {
    socket: PathBuf,
    /// By protocol: since when it is up, and how often that changed.
    lives: BTreeMap<String, (String, u64)>,
}

impl Bird {
    /// The feed that polls this BIRD.
    #[must_use]
    pub fn feed(config: BirdConfig) -> Polling<Self> {
        let BirdConfig { socket, poll } = config;
        let lives = BTreeMap::new();
        Polling::new(Self { socket, lives }, poll)
    }

    /// Counts the lives of a protocol. A time turns into a date after a day; only a new time is a new life.
    fn life(&mut self, protocol: &Protocol) -> String {
        let fresh = || (protocol.since.clone(), 0);
        let (since, life) = self
            .lives
            .entry(protocol.name.clone())
            .or_insert_with(fresh);
        if *since != protocol.since {
            *life += u64::from(protocol.since.contains(':'));
            since.clone_from(&protocol.since);
        }
        format!("{} {life}", protocol.name)
    }

    fn reading(
        &mut self,
        config: &PollConfig,
        before: &[Protocol],
        after: Vec<Protocol>,
        mut ribs: BTreeMap<String, Vec<RibReading>>,
    ) -> Reading {
        let mut reading = Reading::default();
        for protocol in after {
            let life = self.life(&protocol);
            let Some(address) = protocol.address else {
                continue;
            };
            if config.sessions.ribs(address).is_none() {
                continue;
            }
            let settled = before.iter().any(|former| is_settled(former, &protocol));
            reading.unsettled |= !settled;
            let ribs = ribs
                .remove(&protocol.name)
                .filter(|_| settled && protocol.established);
            reading.add(SessionReading {
                session: Session::global(address),
                state: state(&protocol, life),
                ribs: ribs.unwrap_or_default(),
                counts: if protocol.established {
                    counts(&protocol)
                } else {
                    Vec::new()
                },
            });
        }
        reading
    }
}

impl Source for Bird {
    fn name(&self) -> String {
        format!("bird {}", self.socket.display())
    }

    fn glance(&mut self, config: &PollConfig, stop: &Stop) -> Result<Lives, PollError> {
        let mut control = Control(Conversation::connect(&self.socket, config, stop)?);
        control.hear("greeting", check_greeting)?;
        control.ask("restrict", |reply| replies::lines(reply).map(|_| ()))?;
        let (protocols, _) = control.protocols()?;
        let mut lives = Lives::new();
        for protocol in protocols.iter().filter(|protocol| protocol.established) {
            let life = self.life(protocol);
            if let Some(address) = protocol.address {
                *lives.entry(address).or_default() += &life;
            }
        }
        Ok(lives)
    }

    fn poll(&mut self, config: &PollConfig, stop: &Stop) -> Result<Reading, PollError> {
        let mut control = Control(Conversation::connect(&self.socket, config, stop)?);
        control.hear("greeting", check_greeting)?;
        control.ask("restrict", |reply| replies::lines(reply).map(|_| ()))?;
        let (before, _) = control.protocols()?;
        let mut ribs = BTreeMap::new();
        for protocol in before.iter().filter(|protocol| protocol.established) {
            if let Some(address) = protocol.address {
                ribs.insert(
                    protocol.name.clone(),
                    control.ribs(protocol, address, config)?,
                );
            }
        }
        let (after, unreadable) = control.protocols()?;
        let mut reading = self.reading(config, &before, after, ribs);
        let listed = Listed::<()> {
            unreadable,
            ..Listed::default()
        };
        reading.unreadable = listed.unreadable(config);
        reading.add_missing(config);
        Ok(reading)
    }
}

/// One command to a BIRD, outside of any feed.
pub(super) fn ask_once<T>(
    socket: &Path,
    config: &PollConfig,
    stop: &Stop,
    command: &str,
    parse: impl FnOnce(&[(u16, &str)]) -> Result<T, ReplyError>,
) -> Result<T, PollError> {
    let mut control = Control(Conversation::connect(socket, config, stop)?);
    control.hear("greeting", check_greeting)?;
    control.ask("restrict", |reply| replies::lines(reply).map(|_| ()))?;
    control.ask(command, |reply| parse(&replies::lines(reply)?))
}

/// One life, and its exports were complete before they were read.
fn is_settled(former: &Protocol, now: &Protocol) -> bool {
    former.name == now.name
        && former.since == now.since
        && former.established == now.established
        && !former.channels.iter().any(|channel| channel.feeding)
}

fn state(protocol: &Protocol, life: String) -> State {
    if !protocol.established {
        return State::Down(protocol.down_cause());
    }
    State::Up {
        asn: protocol.asn,
        restart_time: protocol.restart_time,
        families: Some(Family::ALL.map(|family| {
            let mut channels = protocol.channels.iter();
            channels.any(|channel| channel.up && channel.family == family)
        })),
        local: protocol.local,
        life,
    }
}

/// A channel counts what it imported and exported, and with `import keep filtered` what it did not import.
fn counts(protocol: &Protocol) -> Vec<Counted> {
    let mut counted = Vec::new();
    if protocol.add_path {
        return counted;
    }
    for channel in protocol.channels.iter().filter(|channel| channel.up) {
        let Some(counts) = channel.counts else {
            continue;
        };
        let pre = counts.filtered.map(|filtered| counts.imported + filtered);
        for (rib, prefixes) in [
            (AdjRib::InPrePolicy, pre),
            (AdjRib::InPostPolicy, Some(counts.imported)),
            (AdjRib::OutPostPolicy, Some(counts.exported)),
        ] {
            let family = Some(channel.family);
            counted.extend(prefixes.map(|prefixes| Counted {
                rib,
                family,
                prefixes,
            }));
        }
    }
    counted
}

/// The control socket: lines there, lines with codes back.
struct Control<'a>(Conversation<'a>);

impl Control<'_> {
    fn hear<T>(
        &mut self,
        command: &str,
        parse: impl FnOnce(&str) -> Result<T, ReplyError>,
    ) -> Result<T, PollError> {
        let mut from = 0;
        let reply = self
            .0
            .hear(command, |bytes, _| end_of_reply(bytes, &mut from))?;
        parse(&text(&reply)).map_err(|error| match error {
            ReplyError::Malformed(why) => PollError::malformed(command, why),
            ReplyError::Refused(answer) => PollError::Refused {
                command: command.to_owned(),
                answer,
            },
        })
    }

    fn ask<T>(
        &mut self,
        command: &str,
        parse: impl FnOnce(&str) -> Result<T, ReplyError>,
    ) -> Result<T, PollError> {
        self.0.say(command, b'\n')?;
        self.hear(command, parse)
    }

    fn protocols(&mut self) -> Result<(Vec<Protocol>, BTreeMap<IpAddr, String>), PollError> {
        self.ask("show protocols all", parse_protocols)
    }

    fn ribs(
        &mut self,
        protocol: &Protocol,
        address: IpAddr,
        config: &PollConfig,
    ) -> Result<Vec<RibReading>, PollError> {
        let mut readings = Vec::new();
        let Some(wanted) = config.sessions.ribs(address) else {
            return Ok(readings);
        };
        for channel in protocol.channels.iter().filter(|channel| channel.up) {
            for rib in wanted.iter() {
                let family = channel.family;
                let routes = of_table(self.rib(protocol, channel, rib))?;
                let routes = routes.and_then(|routes| routes);
                readings.push(RibReading {
                    rib,
                    family,
                    routes,
                });
            }
        }
        Ok(readings)
    }

    /// Tries the ways to a table, best first; the answer to the last one counts.
    fn rib(
        &mut self,
        protocol: &Protocol,
        channel: &Channel,
        rib: AdjRib,
    ) -> Result<Result<Vec<Route>, String>, PollError> {
        let family = channel.family;
        let name = symbol(&protocol.name)?;
        let in_table = format!("protocol {name} table {}", symbol(&channel.table)?);
        match rib {
            AdjRib::InPostPolicy => self.routes(&in_table, channel),
            AdjRib::OutPostPolicy => {
                let sent = self.routes(&format!("export table {name}.{family}"), channel)?;
                if sent.is_ok() {
                    return Ok(sent);
                }
                self.routes(&format!("export {name}.{family}"), channel)
            }
            AdjRib::InPrePolicy => {
                let received = self.routes(&format!("import table {name}.{family}"), channel)?;
                if received.is_ok() {
                    return Ok(received);
                }
                if channel
                    .counts
                    .is_none_or(|counts| counts.filtered.is_none())
                {
                    return Ok(Err(format!(
                        "BIRD keeps no copy of what {name} advertises: configure `import table on` or \
                         `import keep filtered on` in its {family} channel, or use the post-policy view"
                    )));
                }
                let accepted = self.routes(&in_table, channel)?;
                let filtered = self.routes(&format!("filtered {in_table}"), channel)?;
                Ok(accepted.and_then(|mut all| {
                    all.extend(filtered?);
                    Ok(all)
                }))
            }
        }
    }

    /// The routes `which` names, or what BIRD has against it.
    fn routes(
        &mut self,
        which: &str,
        channel: &Channel,
    ) -> Result<Result<Vec<Route>, String>, PollError> {
        let command = format!("show route all {which}");
        of_table(self.ask(&command, |reply| parse_routes(reply, channel.family)))
    }
}

/// A name as a command takes it.
fn symbol(name: &str) -> Result<String, PollError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.is_empty() && name.chars().all(plain) {
        return Ok(name.to_owned());
    }
    if name.is_empty() || name.contains(['\'', ' ', '\n']) {
        return Err(PollError::malformed(
            "show protocols all",
            format!("no symbol: {}", Printed(name)),
        ));
    }
    Ok(format!("'{name}'"))
}
