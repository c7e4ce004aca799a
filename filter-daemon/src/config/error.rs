//! What can be wrong or odd in a configuration, each with file, line, key, value and what to do about it.
//! Only the sentences: what is checked stands in the parser and in [`super::check`].
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use filter_core::asn::AsnError;
use filter_core::layout::TooMany;
use filter_core::packet::MacError;
use filter_core::prefix::PrefixError;
use filter_core::{Family, Prefix};

use filter_feeds::shadow::Password;
use filter_lifecycle::route::VrfError;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The file's name, as the operator gave it.
    pub file: Arc<str>,
    /// Counted from 1; 0 is the file as a whole.
    pub line: usize,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// Where in the configuration something was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding<P> {
    /// The line.
    pub at: At,
    /// The section: `peer "icrc"`, `[router]`; empty outside of any.
    pub place: String,
    /// The key in it, if it is about one.
    pub key: Option<String>,
    /// The value as it is written, if it is about one and no secret.
    pub value: Option<String>,
    /// What was found.
    pub what: P,
}

impl<P: fmt::Display> fmt::Display for Finding<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.at)?;
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => write!(f, "`{key}` = {value}: ")?,
            (Some(key), None) => write!(f, "`{key}`: ")?,
            (None, Some(value)) => write!(f, "`{value}`: ")?,
            (None, None) => {}
        }
        self.what.fmt(f)
    }
}

/// Why a configuration is refused: the first thing that cannot be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Box<Finding<Problem>>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    pub(super) fn unreadable(file: &str, error: &std::io::Error) -> Self {
        Self::of_file(file, 0, Problem::Unreadable(error.to_string()))
    }

    pub(super) fn not_utf8(file: &str, error: &std::string::FromUtf8Error) -> Self {
        let readable = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + readable.iter().filter(|&&byte| byte == b'\n').count();
        Self::of_file(file, line, Problem::NotUtf8)
    }

    fn of_file(file: &str, line: usize, what: Problem) -> Self {
        Self(Box::new(Finding {
            at: At {
                file: file.into(),
                line,
            },
            place: String::new(),
            key: None,
            value: None,
            what,
        }))
    }
}

/// What cannot be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot read the configuration: {0}; give the path of a readable file")]
    Unreadable(String),
    /// Not text.
    #[error("not utf-8: save the file in that encoding")]
    NotUtf8,
    /// Not TOML.
    #[error("{0}: correct the toml syntax")]
    Syntax(String),
    /// An unknown key.
    #[error("unknown key: use one of {}, or remove it", names(.0))]
    UnknownKey(&'static [&'static str]),
    /// A key that has another name since.
    #[error("is called `{0}` now: rename it")]
    RenamedKey(&'static str),
    /// A key that must be there.
    #[error("missing: add it")]
    Missing,
    /// A value of another TOML type.
    #[error("{found} where {expected} belongs: write {}", written(expected))]
    Type {
        /// What belongs there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A text that is none of the choices.
    #[error("not one of the choices: write {}", names(.0))]
    Choice(&'static [&'static str]),
    /// A number out of range.
    #[error("out of range: give a number from {min} to {max}")]
    Range {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// Not a length of time.
    #[error(
        "not a length of time from {min} to {max}: write seconds, or a text like \"30s\", \"10m\", \"1h\""
    )]
    Duration {
        /// The shortest, with its unit.
        min: String,
        /// The longest, with its unit.
        max: String,
    },
    /// A key of former versions.
    #[error(
        "gone: a flood of spoofed packets tripped it, so it was the spoofer's own off switch; remove the key"
    )]
    BreakerIsGone,
    /// A list or a text without anything in it.
    #[error("empty: give at least one, or remove the key")]
    Empty,
    /// Not a usable name.
    #[error("not a name: give 1 to {max} bytes {of}")]
    Name {
        /// Longest, in bytes.
        max: usize,
        /// What it is made of.
        of: &'static str,
    },
    /// Not an AS number, or one no network can hold.
    #[error("{problem}{advice}", problem = .0, advice = asn_advice(.0))]
    Asn(#[from] AsnError),
    /// `1.10` without quotes.
    #[error("a decimal number where an as number belongs: write asdot in quotes, \"{0}\"")]
    AsnFloat(String),
    /// A peer or a route server in our own AS.
    #[error(
        "that is the router's own asn: peers are other networks; correct it, or remove this section"
    )]
    OwnAsn,
    /// Not a prefix.
    #[error("{0}")]
    Prefix(#[from] PrefixError),
    /// Everything, where that would switch the filter off.
    #[error("it covers every address, so no peer would have any left: give narrower prefixes")]
    DefaultRoute,
    /// Not a MAC.
    #[error("{0}")]
    Mac(#[from] MacError),
    /// A MAC no frame comes from.
    #[error("no frame is sent from a group or null address: give the station's own mac")]
    MacNotUnicast,
    /// Not an address.
    #[error("not an ip address: write 203.0.113.10 or 2001:db8::10")]
    Address,
    /// A peer with our MAC.
    #[error("that is our own mac on interface `{0}`: give the peer's")]
    OwnMac(String),
    /// An address no session has.
    #[error(
        "no session runs from such an address: give a unicast address of the router at the other end"
    )]
    AddressNotUnicast,
    /// Not an address and port.
    #[error("not an address and port: write 127.0.0.1:11019 or [::1]:11019")]
    Socket,
    /// A relative path where daemon and commands must agree.
    #[error("a relative path, and commands run in other directories: write it from `/`")]
    Relative,
    /// Not a password the kernel takes.
    #[error("not a password of 1 to {max} bytes: give one as long as that", max = Password::MAX)]
    Password,
    /// Not a VRF.
    #[error("{0}")]
    Vrf(#[from] VrfError),
    /// Lengths the family does not have.
    #[error(
        "not two {family} lengths from 0 to {max}: write the shorter and the longer, like [8, 24]",
        family = .0, max = .0.bits()
    )]
    Bounds(Family),
    /// More than the data plane's interface record holds.
    #[error("{0}")]
    TooMany(#[from] TooMany),
    /// More of something than can be numbered.
    #[error("there are {found}, but only {limit} fit: {advice}")]
    Limit {
        /// How many there are.
        found: usize,
        /// How many fit.
        limit: usize,
        /// What to do.
        advice: &'static str,
    },
    /// Two sections of one name.
    #[error("line {line} has the same {what}: give each its own")]
    Duplicate {
        /// What is the same.
        what: &'static str,
        /// Where the other one is.
        line: usize,
    },
    /// A peer with the name of an interface.
    #[error(
        "the interface in line {line} has the same name, and `bcp38 observe` and `bcp38 enforce` take the name of either: give the peer another one"
    )]
    InterfaceName {
        /// Where the interface is.
        line: usize,
    },
    /// Two peers of one AS.
    #[error(
        "{other} has it too: one as is one policy; describe its second connection in a `[[peer.attachment]]` there"
    )]
    SameAsn {
        /// Who else.
        other: String,
    },
    /// An address that names two things.
    #[error("{other} has it too: a session address belongs to one; remove it from the other")]
    SameAddress {
        /// Who else.
        other: String,
    },
    /// Two peers with the same station: their frames look alike.
    #[error(
        "{other} has the same on interface `{interface}` ({vlans}): their packets would look alike; give each its own `vlan` or its own `macs`"
    )]
    SameStation {
        /// Who else.
        other: String,
        /// The interface.
        interface: String,
        /// The VLAN, as text.
        vlans: String,
    },
    /// No such interface.
    #[error("no such interface in this file: {}", known(.0, "interface"))]
    UnknownInterface(Vec<String>),
    /// No such peer.
    #[error("no such peer in this file: {}", known(.0, "peer"))]
    UnknownPeer(Vec<String>),
    /// A session address of no peer and no route server.
    #[error(
        "no peer or route server has this session address in this vrf: add it to its `addresses`"
    )]
    UnknownSession,
    /// An inner tag without an outer one.
    #[error("an inner vlan needs an outer one: add `vlan`, or rename this key to `vlan`")]
    InnerWithoutOuter,
    /// What only an exchange has, on a port.
    #[error(
        "interface `{interface}` is of kind \"port\": {what} are on interfaces of kind \"lan\""
    )]
    OnPort {
        /// The interface.
        interface: String,
        /// What stands on such interfaces only, for the sentence.
        what: &'static str,
    },
    /// Keys of an attachment without its interface.
    #[error("it needs an interface: add `interface` beside it")]
    NoInterface,
    /// Peers and no interface, or the like.
    #[error("a filter needs one: add an `[[{0}]]` section")]
    NoSection(&'static str),
}

/// What is odd, but may be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Oddity {
    /// Private or documentation AS numbers.
    #[error("an as number for {0}: make sure that it is meant")]
    Asn(&'static str),
    /// A session from beyond the link.
    #[error(
        "not within the `lan` of interface `{0}`: its session would be judged like traffic; correct one of them unless the session is multihop"
    )]
    OutsideLan(String),
    /// A prefix with host bits.
    #[error("host bits are set: read as {0}; write that")]
    HostBits(Prefix),
    /// A peer nothing will ever be attributed to.
    #[error("no `macs` and no `addresses`: no packet can be attributed to it; add one of them")]
    NoStation,
    /// A peer of one family whose sessions are all of the other.
    #[error(
        "only {families}, but every session address is {sessions}: no session of its own family can be found; add its {families} address, or {sessions} to `families`"
    )]
    SessionsOfOtherFamily {
        /// The peer's.
        families: Family,
        /// Its addresses'.
        sessions: Family,
    },
    /// Twice in one list.
    #[error("it is there twice: remove one")]
    Twice,
    /// A prefix of a family the peer has not.
    #[error(
        "{0} is not in the peer's `families`, so it is never used: add it there, or remove the prefix"
    )]
    FamilyNotPeered(Family),
    /// Enforced without anything to go by.
    #[error(
        "no feed reports what this peer advertises: it will stay in `observe`; add a `[[feed]]`"
    )]
    NoFeed,
    /// Announcements scoped by communities that a feed leaves out.
    #[error(
        "frr does not list the communities of what it advertises to {0}, so that it counts for every member: add a `shadow` session for it"
    )]
    NoCommunities(IpAddr),
    /// The router has no prefixes.
    #[error("none: packets from our own addresses would not be named as such; add our prefixes")]
    NoPrefixes,
    /// A static route that admission will refuse.
    #[error(
        "it is {0}, so it will not be admitted: remove it, or put it into `extra_sources` if it is meant"
    )]
    Refused(String),
}

/// Something odd in a configuration, and where.
pub type Warning = Finding<Oddity>;

fn names(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

fn known(names: &[String], what: &str) -> String {
    if names.is_empty() {
        return format!("add an `[[{what}]]` section of this name");
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!(
        "use one of {}, or add an `[[{what}]]` section",
        quoted.join(", ")
    )
}

/// How a value of this type is written.
fn written(expected: &str) -> &str {
    match expected {
        "a text" => "it in quotes",
        "a list" => "it in [ ]",
        "one section" => "`[name]` or `{ key = value }`",
        "a list of sections" => "`[[name]]`",
        other => other,
    }
}

/// [`AsnError`] has advice for some values only.
fn asn_advice(error: &AsnError) -> &'static str {
    match error {
        AsnError::Reserved(23456, _) | AsnError::Syntax => "",
        _ => "; give the network's own number",
    }
}
