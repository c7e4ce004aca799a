//! What became of a peer's valid prefix, as it is kept and read again. Never decides what is valid.
use serde::{Deserialize, Serialize};

/// What [`RouteRecord::how`] says where the daemon, or its configuration, ended.
pub const ENDED: &str = "ended";

/// One change of the valid prefixes of one side of a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteRecord {
    /// Counts up while the daemon follows one configuration.
    pub number: u64,
    /// When, seconds since 1970.
    pub time: f64,
    /// When the daemon began to follow this configuration, with no route yet: microseconds since 1970.
    pub began: u64,
    /// The peer.
    pub peer: String,
    /// `sources` or `destinations`.
    pub side: String,
    /// Counts the changes of this side of this peer since `began`, from 1: where one is missing, a record was lost.
    pub change: u64,
    /// `announced`, `withdrawn`, `vanished`, `left` or `revived`; `many` stands for all from `since` on. [`ENDED`] is no change:
    /// until then there were `change` of them.
    pub how: String,
    /// Which prefix; none of many.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub prefix: Option<String>,
    /// The kind of the feed that reported it; none if time did it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub feed: Option<String>,
    /// Of which session.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session: Option<String>,
    /// Of many: when the first was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<f64>,
    /// Of many: how many.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub count: Option<u64>,
}
