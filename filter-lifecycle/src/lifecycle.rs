//! When a peer may be enforced, and with which tables: the product's conscience.
//!
//! [`Lifecycle`] (`whole`) joins the parts; each part has fields of its own, and is given what it may touch:
//!
//! | part | knows |
//! |---|---|
//! | `facts`, with [`directory`] and `kind` | what the specification has: who owns a session, whom a route concerns |
//! | `feeds` | which feed is connected, which session is up, which ended together (`ends`) |
//! | `sources` | each *source*, that is one Adj-RIB of one family of one session as one feed reports it: its state (`state`), its routes (`routes`) and those of its former sessions (`former`), what speaks against it (`doubt`), whether it is quiet (`pace`) |
//! | `wanted` | each peer's prefixes: who holds them (`ledger`), what is refused (`refused`), what freezes them (`limits`, `portion`, `coverage`), when they leave (`holds`), what left lately (`recent`), or vanished (`breaker`) |
//! | `grants` | which sides are known, and so which classes may be in force; the reasons come from `evidence` |
//! | `pending`, `outbox` | which peers have to be looked at; events that wait to be taken |
//!
//! `fold` is how a [`RouteEvent`](crate::route::RouteEvent), and the time that passes, change them. Announcements
//! count at once, withdrawals after `withdraw_hold`; a lost feed never empties a table.
//!
//! Pure: time is an argument, nothing is read or written. Never publishes: [`Lifecycle::take_dirty`] names the peers
//! whose tables changed; [`Lifecycle::sources`], [`Lifecycle::destinations`], [`Lifecycle::known`] and
//! [`Lifecycle::granted`] are what to publish.
//!
//! Memory: a route costs 40 bytes in its source, in hash tables that are between 44 and 88 % full, and its prefix 40
//! in the ledger of each peer it concerns, in trees whose nodes are at least half full: 137 MB for 1.06 million routes
//! of one peer, 136 bytes a route. A withdrawal costs 40 bytes more for its hold and 36 for [`LAST_WORDS`]. Tables do
//! not give memory back.
use std::time::Duration;

use crate::route::{Origin, Session};

mod address_set;
mod breaker;
mod changes;
mod coverage;
pub mod directory;
mod doubt;
mod ends;
mod event;
mod evidence;
mod facts;
mod feeds;
mod fold;
mod former;
mod grants;
mod holds;
mod key;
mod kind;
mod ledger;
mod limits;
mod listing;
mod measure;
mod missing;
mod outbox;
mod pace;
mod peer;
mod pending;
mod portion;
mod received;
mod recent;
mod reconcile;
mod refused;
mod routes;
mod side;
mod source;
mod sources;
mod state;
mod status;
mod wanted;
mod whole;

pub use crate::admission::Refusal;
pub use breaker::{
    BREAKER_DAY, BREAKER_HOLD, BREAKER_LATE, BREAKER_TRIPS, BREAKER_WINDOW, Departed, MAX_VANISHED,
};
pub use changes::{
    CHANGES_PER_SECOND, Changed, How, MAX_CHANGES, MAX_WAITING_CHANGES, RouteChange,
};
pub use coverage::{COVERAGE_PERCENT, JUMP_MEMORY, JUMP_PART, JUMP_STANDS, JUMP_TIMES};
pub use directory::{Directory, Owner};
pub use doubt::{Doubt, SHRINK_MIN, SHRINK_PATIENCE, SHRINK_PERCENT};
pub use ends::{MASS_PEERS, TOGETHER};
pub use event::Event;
pub use feeds::MAX_SESSIONS;
pub use fold::FOREIGN_PEERS;
pub use former::{MAX_FORMER, REVIVAL};
pub use grants::ClassStatus;
pub use limits::Coverage;
pub use listing::{ListedPrefix, Listing, MAX_LISTED, MAX_LISTED_ROUTES, Standing};
pub use measure::{Counts, KeptCoverage, Measure, NoMeasure};
pub use missing::{Missing, PeerState};
pub use outbox::{MAX_EVENTS, MAX_NEXT_HOPS, MAX_UNKNOWN};
pub use pace::{BUSY_CHANGES, QUIET, QUIET_PERCENT};
pub use recent::{MAX_RECENT, RECENT, RecentlyValid};
pub use reconcile::{MAX_DIFFERENCES, MAX_EXAMPLES};
pub use refused::{MAX_REFUSED_EVENTS, MAX_REFUSED_LISTED, REFUSED_PERIOD};
pub use routes::{LAST_WORDS, MAX_LAST_WORDS, MAX_ROUTES};
pub use side::Side;
pub use source::{BUSY, MAX_LEFT, MID_LIFE, SETTLE, SourceKey};
pub use sources::MAX_SOURCES;

pub use state::{Cue, State};
pub use status::{ListedRoute, PeerStatus, RefusedPrefix, SourceStatus};
pub use wanted::MAX_EXPIRED;
pub use whole::Lifecycle;

/// How often [`Lifecycle::tick`] wants to be called: no hold ends later than two of these after its time, unless
/// more than [`MAX_EXPIRED`] do at once.
pub const TICK: Duration = Duration::from_millis(250);
/// What was known from a session before it came up with another AS than the configured one stays this long.
pub const STRANGER_HOLD: Duration = Duration::from_secs(24 * 3600);

const fn session_of(origin: Origin) -> Option<Session> {
    match origin {
        Origin::Session(session) => Some(session),
        Origin::Peer(_) => None,
    }
}
