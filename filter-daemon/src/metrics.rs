//! Metrics for Prometheus: what `status` says, as text. Off unless the configuration has `[metrics]`. `page` makes the text
//! and `server` answers scrapes; neither knows the engine: both see the status that the run loop gives.
mod page;
mod server;

pub use page::text;
pub use server::{MAX_CONNECTIONS, MAX_REQUEST, Server, TIMEOUT};

/// Where scrapes are answered, if `[metrics]` names no other place.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:9638";
