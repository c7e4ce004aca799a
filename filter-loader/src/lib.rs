//! Loads the BCP-38 peering filter into the kernel, feeds it and reads it. The only crate that talks to the
//! kernel's BPF; usable without the daemon, and without any async runtime.
//!
//! ```no_run
//! use filter_core::layout::{Families, Known, Rules};
//! use filter_core::{Classes, packet::Vlans};
//! use filter_core::set::{ExplainedSet, PrefixSet};
//! use filter_loader::{
//!     AttachMode, Filter, InterfaceSpec, LeaseEnd, Options, PeerTables, Station, Wanted,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut filter = Filter::load(&Options::default())?;
//! let peer = filter.add_peer("icrc")?;
//! let sources = ExplainedSet::sources(&["45.146.194.0/23".parse()?], &PrefixSet::default(), &[]);
//! let destinations = ExplainedSet::destinations(&["198.51.100.0/24".parse()?], &[], &[]);
//! filter.publish(peer, &PeerTables {
//!     rules: Rules { families: Families::new(|_| true), known: Known::ALL },
//!     generation: 1,
//!     sources: sources.addresses(),
//!     destinations: destinations.addresses(),
//! })?;
//! // Tables first, then the interface: nothing is ever judged by an empty table.
//! let mut interface = InterfaceSpec::of_device("ixp0")?;
//! interface.network_mut(Vlans::NONE).lan = vec!["203.0.113.0/24".parse()?];
//! let attached = filter.attach(&interface, AttachMode::Auto)?;
//! let mac = "02:00:00:00:00:10".parse()?;
//! filter.set_stations(peer, &[Station { ifindex: attached.ifindex, vlans: Vlans::default(), mac }])?;
//! // What breaks a class that is in force is dropped from here on, as long as the lease is renewed.
//! filter.set_wanted(peer, Wanted::new(Classes::BOGONS, LeaseEnd::Observe))?;
//! filter.lease().renew(std::time::Duration::from_secs(60))?;
//! for (reason, counter) in filter.counters(peer)?.nonzero() {
//!     println!("{reason}: {} passed, {} dropped", counter.passed.packets, counter.dropped.packets);
//! }
//! # Ok(()) }
//! ```
//!
//! Needs Linux 5.10 and CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (or root); multi-buffer frames need 5.18. Before 5.11
//! maps count against RLIMIT_MEMLOCK: raising that needs CAP_SYS_RESOURCE.
//! Never decides a verdict (`filter-core`), never knows a route, a session or a configuration file.

mod arena;
mod attach;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod bpf;
mod clock;
mod clsact;
mod device;
mod error;
pub mod ethtool;
mod filter;
mod former;
mod grace;
#[cfg(feature = "test-hooks")]
#[doc(hidden)]
pub mod hooks;
mod lease;
mod mapped;
mod netlink;
mod object;
mod occupant;
mod pin;
mod samples;
mod selftest;
mod senders;
mod slot;
mod stations;
mod stats;
mod switch;
pub mod sync;
mod tables;
mod testrun;
mod tries;
mod tun;

pub use attach::{AttachMode, Attached, HookKind};
pub use device::{Device, InterfaceSpec, NetworkSpec};
pub use error::Error;
pub use filter::{Filter, Followed, Heard, Met, Options, Ran, TEST_IFINDEX};
pub use filter_core::layout::{LeaseEnd, Station, Wanted};
pub use former::FormerProgram;
pub use lease::Lease;
pub use object::{Engine, SENDERS_PER_STATION, Shell};
pub use occupant::{Occupant, program_text, programs_at_tc};
pub use pin::{
    DEFAULT_PIN_DIR, detach_pinned, left_interfaces, pinned_interfaces, remove_unused_pins,
};
pub use samples::{Samples, age};
pub use selftest::{MAX_BOUNDARIES, MAX_SESSIONS, Sessions};
pub use slot::{Identity, PeerSlot};
pub use stats::{Counter, Counters, Fates};
pub use switch::{Named, Switch, Target};
pub use tables::{Memory, PeerTables};

/// The examples of the README, which are compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
