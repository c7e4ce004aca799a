//! The configuration (SPEC section 8) as types: whoever holds a [`Config`] holds one that makes sense.
//!
//! [`Config::parse`] is the only way in and refuses what cannot be right; what is merely odd comes back as
//! [`Warning`]s. Text, line numbers and unresolved names end here. Reads one file, never a device, never a feed.
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use filter_engine::peering::{interface_classes, peer_classes};
use filter_lifecycle::spec::{InterfaceId, Spec};

use crate::state::DEFAULT_STATE_FILE;

mod check;
pub(crate) mod duration;
mod effective;
mod error;
mod feed;
mod output;
mod parse;
mod parse_feed;
mod section;
mod values;

pub(crate) use effective::text as toml_string;
pub use error::{At, ConfigError, Problem, Warning};
pub use feed::{Feed, ShadowSession};
pub use output::{Outputs, Sflow};

/// The whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the filter is to enforce: `[router]`, `[[interface]]`, `[[peer]]`, `[[route_server]]`, `[timers]`,
    /// `[limits]`, and what each feed can carry.
    pub spec: Arc<Spec>,
    /// `[[feed]]`, by [`FeedId`](filter_lifecycle::route::FeedId).
    pub feeds: Vec<Feed>,
    /// `ixf` of an `[[interface]]`: the exchange's member export (IX-F JSON), whose MACs seed those of its peers.
    /// Kind `lan` only. Default: none.
    pub exports: BTreeMap<InterfaceId, PathBuf>,
    /// `[metrics]` and `[sflow]`.
    pub outputs: Outputs,
    /// `[daemon]`.
    pub daemon: Daemon,
}

/// `[daemon]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// `socket` the commands talk to the daemon through, an absolute path like the other two. Default
    /// `/run/bcp38/bcp38.sock`.
    pub socket: PathBuf,
    /// `pin_dir` on a BPF file system, where the filter outlives the daemon. Default `/sys/fs/bpf/bcp38`.
    pub pin_dir: PathBuf,
    /// `state_file`, where what operators switch at run time outlives a reboot. Default `/var/lib/bcp38/state.json`.
    pub state_file: PathBuf,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            socket: PathBuf::from(crate::control::DEFAULT_SOCKET),
            pin_dir: PathBuf::from("/sys/fs/bpf/bcp38"),
            state_file: PathBuf::from(DEFAULT_STATE_FILE),
        }
    }
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// The first thing in it that cannot be right, or why it cannot be read.
    pub fn load(path: &Path) -> Result<(Self, Vec<Warning>), ConfigError> {
        let name = path.display().to_string();
        match std::fs::read(path) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Self::parse(&text, &name),
                Err(error) => Err(ConfigError::not_utf8(&name, &error)),
            },
            Err(error) => Err(ConfigError::unreadable(&name, &error)),
        }
    }

    /// Does it want anything in force?
    #[must_use]
    pub fn wants_any(&self) -> bool {
        let peers = self.spec.peers.iter().map(peer_classes);
        let interfaces = self.spec.interfaces.iter().map(interface_classes);
        peers.chain(interfaces).any(|classes| !classes.is_empty())
    }

    /// Reads a configuration from text; `file_name` is for messages.
    ///
    /// # Errors
    /// The first thing in it that cannot be right.
    pub fn parse(text: &str, file_name: &str) -> Result<(Self, Vec<Warning>), ConfigError> {
        parse::config(text, file_name)
    }
}

/// One peer `p1` on one port: for tests to which no more matters.
#[cfg(test)]
pub(crate) const ONE_PEER: &str = r#"
[router]
asn = 64500
[[interface]]
name = "ixp0"
kind = "port"
[[peer]]
name = "p1"
asn = 64501
interface = "ixp0"
addresses = ["192.0.2.11"]
"#;

/// The effective configuration: TOML with every value, but for passwords only that they are set, and parses
/// back to the same one without them.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        effective::write(self, f)
    }
}
