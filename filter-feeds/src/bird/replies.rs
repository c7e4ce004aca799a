//! What BIRD 2 and 3 write on their control sockets, read into types. The grammar is pinned: a line that is not of
//! it is an error. Never does I/O.
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use filter_core::{Asn, Family};

use crate::printed::Printed;
use filter_lifecycle::route::DownCause;

mod routes;

pub(crate) use routes::parse_routes;

/// The major versions whose grammar this is. BIRD 3 writes `bgp_next_hop` for `BGP.next_hop`, names no destination
/// in an export table, and feeds exports in the background.
const MAJORS: [&str; 2] = ["2", "3"];

/// One line of a reply, its code repeated where BIRD left it out.
type Line<'a> = (u16, &'a str);

/// Where the reply ends: after the first line with a code and a blank. `from` remembers the first unseen line.
pub(crate) fn end_of_reply(bytes: &[u8], from: &mut usize) -> Option<usize> {
    while let Some(rest) = bytes.get(*from..) {
        let length = rest.iter().position(|byte| *byte == b'\n')? + 1;
        let line = rest.get(..length)?;
        *from += length;
        if line.len() > 4 && line[..4].iter().all(u8::is_ascii_digit) && line[4] == b' ' {
            return Some(*from);
        }
    }
    None
}

/// Splits a reply into lines. The error is BIRD's, if it refuses the command.
pub(crate) fn lines(text: &str) -> Result<Vec<Line<'_>>, ReplyError> {
    let malformed =
        |line: &str| ReplyError::Malformed(format!("unexpected line {}", Printed(line)));
    let mut lines = Vec::new();
    let mut code = None;
    let mut ended = false;
    for line in text.lines() {
        if ended {
            return Err(malformed(line));
        }
        if let Some(text) = line.strip_prefix(' ') {
            lines.push((code.ok_or_else(|| malformed(line))?, text));
            continue;
        }
        let (digits, text) = line.split_at_checked(4).ok_or_else(|| malformed(line))?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(malformed(line));
        }
        let number: u16 = digits.parse().map_err(|_| malformed(line))?;
        ended = text.starts_with(' ');
        let text = text
            .strip_prefix([' ', '-'])
            .ok_or_else(|| malformed(line))?;
        if number >= 8000 {
            return Err(ReplyError::Refused(text.trim().to_owned()));
        }
        code = Some(number);
        lines.push((number, text));
    }
    if ended {
        Ok(lines)
    } else {
        Err(ReplyError::Malformed("it has no end".to_owned()))
    }
}

/// Why a reply is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReplyError {
    /// Codes 8xxx and 9xxx: BIRD will not do it.
    Refused(String),
    /// Not the grammar.
    Malformed(String),
}

impl From<String> for ReplyError {
    fn from(why: String) -> Self {
        Self::Malformed(why)
    }
}

/// Bytes as text. Only descriptions may hold anything but ASCII, and those are not read.
pub(crate) fn text(reply: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(reply)
}

/// Is it a BIRD whose grammar we know?
pub(crate) fn check_greeting(reply: &str) -> Result<(), ReplyError> {
    let version = lines(reply)?
        .first()
        .filter(|(code, _)| *code == 1)
        .and_then(|(_, text)| text.strip_prefix("BIRD ")?.strip_suffix(" ready."));
    let Some(version) = version else {
        return Err(ReplyError::Malformed("no BIRD greets us".to_owned()));
    };
    if version
        .split('.')
        .next()
        .is_some_and(|major| MAJORS.contains(&major))
    {
        Ok(())
    } else {
        Err(ReplyError::Refused(format!(
            "BIRD {version} speaks a grammar we do not know; use BIRD 2 or 3, or another feed"
        )))
    }
}

/// One BGP protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) name: String,
    pub(crate) since: String,
    pub(crate) established: bool,
    /// The neighbour; a dynamic template has none.
    pub(crate) address: Option<IpAddr>,
    /// Ours.
    pub(crate) local: Option<IpAddr>,
    /// The kernel's VRF it is bound to, if not the default one.
    pub(crate) vrf: Option<String>,
    pub(crate) asn: Option<Asn>,
    pub(crate) restart_time: Option<Duration>,
    pub(crate) last_error: Option<String>,
    /// We offer ADD-PATH (the default is not to): its counts may be of paths, not of prefixes.
    pub(crate) add_path: bool,
    pub(crate) channels: Vec<Channel>,
}

/// One IP unicast channel of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Channel {
    pub(crate) family: Family,
    pub(crate) up: bool,
    /// What we advertise is still being worked out: BIRD 3 does that in the background.
    pub(crate) feeding: bool,
    pub(crate) table: String,
    pub(crate) counts: Option<ChannelCounts>,
}

/// The `Routes:` line of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChannelCounts {
    pub(crate) imported: u64,
    /// Only there with `import keep filtered`.
    pub(crate) filtered: Option<u64>,
    pub(crate) exported: u64,
}

impl Protocol {
    /// By BIRD's sentence for it. What is not surely a NOTIFICATION may be a graceful restart.
    pub(crate) fn down_cause(&self) -> DownCause {
        let why = self.last_error.as_deref().unwrap_or_default();
        if why.starts_with("Received:") || why.starts_with("Automatic shutdown") {
            DownCause::Notification
        } else {
            DownCause::Lost
        }
    }
}

/// Reads `show protocols all`; protocols other than BGP are skipped. Also returns the neighbours of protocols that
/// cannot be read, and why.
pub(crate) fn parse_protocols(
    reply: &str,
) -> Result<(Vec<Protocol>, BTreeMap<IpAddr, String>), ReplyError> {
    let mut protocols = Protocols::default();
    let mut current: Option<ProtocolBuilder> = None;
    for (code, text) in lines(reply)? {
        match code {
            2002 | 0 => {}
            1002 => {
                protocols.finish(current.take());
                current = ProtocolBuilder::start(text)?;
            }
            1006 => {
                if let Some(builder) = &mut current
                    && let Err(ReplyError::Malformed(why) | ReplyError::Refused(why)) =
                        builder.line(text)
                {
                    builder.unreadable.get_or_insert(why);
                }
            }
            _ => return Err(ReplyError::Malformed(format!("unexpected code {code:04}"))),
        }
    }
    protocols.finish(current);
    forget_other_instances(&mut protocols.read);
    Ok((protocols.read, protocols.unreadable))
}

#[derive(Default)]
struct Protocols {
    read: Vec<Protocol>,
    unreadable: BTreeMap<IpAddr, String>,
}

impl Protocols {
    fn finish(&mut self, builder: Option<ProtocolBuilder>) {
        let Some(builder) = builder else { return };
        let protocol = builder.protocol;
        let no_state = || format!("protocol {} has no BGP state", protocol.name);
        let why = builder
            .unreadable
            .or_else(|| (!builder.has_state).then(no_state));
        match (why, protocol.address) {
            (None, _) => self.read.push(protocol),
            (Some(why), Some(address)) => drop(self.unreadable.insert(address, why)),
            // Without an address it belongs to no peer.
            (Some(_), None) => {}
        }
    }
}

/// BIRD's VRFs have no distinguisher, and most often an operator's only instance is one of them. Where several
/// protocols have the same neighbour in different ones, the default's counts, and without it none: their tables are
/// different neighbours'.
fn forget_other_instances(protocols: &mut Vec<Protocol>) {
    let mut vrfs: BTreeMap<IpAddr, BTreeSet<Option<String>>> = BTreeMap::new();
    for protocol in &*protocols {
        if let Some(address) = protocol.address {
            vrfs.entry(address)
                .or_default()
                .insert(protocol.vrf.clone());
        }
    }
    protocols.retain(|protocol| {
        let others = protocol.address.and_then(|address| vrfs.get(&address));
        protocol.vrf.is_none() || others.is_none_or(|vrfs| vrfs.len() == 1)
    });
}

/// Which list of capabilities a line stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Local,
    Neighbor,
    Other,
}

struct ProtocolBuilder {
    protocol: Protocol,
    has_state: bool,
    /// What of it cannot be read.
    unreadable: Option<String>,
    section: Section,
    /// Inside a channel that is neither `ipv4` nor `ipv6`.
    in_other_channel: bool,
}

impl ProtocolBuilder {
    /// `name proto table state since [info]`; nothing if it is not BGP.
    fn start(text: &str) -> Result<Option<Self>, ReplyError> {
        let mut columns = text.split_whitespace();
        let mut column = || columns.next().map(str::to_owned);
        let (Some(name), Some(kind), Some(_table), Some(_state), Some(mut since)) =
            (column(), column(), column(), column(), column())
        else {
            return Err(format!("unexpected line {}", Printed(text)).into());
        };
        if kind != "BGP" {
            return Ok(None);
        }
        // Some time formats have a space in them: a date and a time.
        if let Some(time) = column().filter(|word| word.starts_with(|c: char| c.is_ascii_digit())) {
            since.push_str(&time);
        }
        Ok(Some(Self {
            protocol: Protocol {
                name,
                since,
                established: false,
                address: None,
                local: None,
                vrf: None,
                asn: None,
                restart_time: None,
                last_error: None,
                add_path: false,
                channels: Vec::new(),
            },
            has_state: false,
            unreadable: None,
            section: Section::Other,
            in_other_channel: false,
        }))
    }

    fn line(&mut self, text: &str) -> Result<(), ReplyError> {
        let indent = text.len() - text.trim_start().len();
        let text = text.trim();
        if indent == 4 {
            self.section = match text {
                "Local capabilities" => Section::Local,
                "Neighbor capabilities" => Section::Neighbor,
                _ => Section::Other,
            };
        }
        if indent == 2
            && let Some(name) = text.strip_prefix("Channel ")
        {
            self.start_channel(name);
            return Ok(());
        }
        if indent == 6 && text == "ADD-PATH" && self.section == Section::Local {
            self.protocol.add_path = true;
        }
        let Some((key, value)) = text.split_once(':') else {
            return Ok(());
        };
        let value = value.trim();
        match (indent, key) {
            (2, "BGP state") => self.state(value),
            (2, "VRF") => {
                self.protocol.vrf = (value != "default").then(|| value.to_owned());
                Ok(())
            }
            (4, _) if self.in_channel() => self.channel_line(key, value),
            (4, "Neighbor address") => self.address(value),
            (4, "Source address") => {
                self.protocol.local = value.parse().ok(); // a link-local one carries its interface
                Ok(())
            }
            (4, "Neighbor AS") => {
                let asn = value
                    .parse()
                    .map_err(|_| format!("neighbor AS {}", Printed(value)))?;
                self.protocol.asn = Some(asn);
                Ok(())
            }
            (4, "Last error") => {
                self.protocol.last_error = Some(value.to_owned());
                Ok(())
            }
            (8, "Restart time") if self.section == Section::Neighbor => {
                let seconds = value
                    .parse()
                    .map_err(|_| format!("restart time {}", Printed(value)))?;
                self.protocol.restart_time = Some(Duration::from_secs(seconds));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn in_channel(&self) -> bool {
        self.in_other_channel || !self.protocol.channels.is_empty()
    }

    fn start_channel(&mut self, name: &str) {
        let family = Family::ALL.into_iter().find(|family| family.name() == name);
        self.in_other_channel = family.is_none();
        if let Some(family) = family {
            self.protocol.channels.push(Channel {
                family,
                up: false,
                feeding: false,
                table: String::new(),
                counts: None,
            });
        }
    }

    fn state(&mut self, value: &str) -> Result<(), ReplyError> {
        self.has_state = true;
        self.protocol.established = match value {
            "Established" => true,
            "Idle" | "Connect" | "Active" | "OpenSent" | "OpenConfirm" | "Close" | "Down"
            | "Passive" => false,
            _ => return Err(format!("unknown BGP state {}", Printed(value)).into()),
        };
        Ok(())
    }

    fn address(&mut self, value: &str) -> Result<(), ReplyError> {
        // A link-local neighbour carries its interface: no peer could be found by that.
        if value.contains('%') {
            return Ok(());
        }
        let address = value
            .parse()
            .map_err(|_| format!("neighbor address {}", Printed(value)))?;
        self.protocol.address = Some(address);
        Ok(())
    }

    fn channel_line(&mut self, key: &str, value: &str) -> Result<(), ReplyError> {
        let channel = self.protocol.channels.last_mut();
        let Some(channel) = channel.filter(|_| !self.in_other_channel) else {
            return Ok(());
        };
        match key {
            "State" => channel.up = value == "UP",
            "Export state" => channel.feeding = !["UP", "READY", "DOWN"].contains(&value),
            "Table" => value.clone_into(&mut channel.table),
            "Routes" => channel.counts = Some(counts(value)?),
            _ => {}
        }
        Ok(())
    }
}

/// `2 imported, 1 filtered, 2 exported, 2 preferred`
fn counts(value: &str) -> Result<ChannelCounts, ReplyError> {
    let unreadable =
        || ReplyError::Malformed(format!("unreadable route counts {}", Printed(value)));
    let (mut imported, mut filtered, mut exported) = (None, None, None);
    for part in value.split(", ") {
        let (number, what) = part.split_once(' ').ok_or_else(unreadable)?;
        let number: u64 = number.parse().map_err(|_| unreadable())?;
        match what {
            "imported" => imported = Some(number),
            "filtered" => filtered = Some(number),
            "exported" => exported = Some(number),
            "preferred" => {}
            _ => return Err(unreadable()),
        }
    }
    Ok(ChannelCounts {
        imported: imported.ok_or_else(unreadable)?,
        filtered,
        exported: exported.ok_or_else(unreadable)?,
    })
}
