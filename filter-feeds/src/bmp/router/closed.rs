//! Why a router's connection is closed. The router connects again.
use std::time::Duration;

use crate::wire::WireError;

/// Why a connection is closed. The router will connect again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Closed {
    /// Bytes that are not BMP.
    #[error("malformed BMP: {0}; the connection is closed for the router to start over")]
    Malformed(#[from] WireError),
    /// RFC 7854 section 4.3 has an Initiation come first.
    #[error("the first BMP message is no initiation; check what connects to the listener")]
    NoInitiation,
    /// The router said goodbye.
    #[error("the router ended the connection (termination reason {})", reason.map_or_else(|| "none".into(), |reason| reason.to_string()))]
    Terminated {
        /// RFC 7854 section 4.5.
        reason: Option<u16>,
    },
    /// BIRD 3, which leaves out sessions that were up before it connected (docs/feeds.md).
    #[error(
        "BIRD 3 leaves sessions out of its BMP stream; feed from its control socket (kind = \"bird\") instead"
    )]
    Bird3,
    /// Nothing came for longer than the idle limit.
    #[error(
        "the router sent nothing for {} s, longer than its idle limit; its tables are kept as the last known",
        .0.as_secs()
    )]
    Idle(Duration),
    /// A known bug of the router that a new connection heals.
    #[error("{0}; the connection is closed so that the router sends everything again")]
    Heal(&'static str),
}
