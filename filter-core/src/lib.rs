//! The policy of the BCP-38 peering filter, as pure functions over integers and byte arrays.
//!
//! Everything leads to [`judge`](verdict::judge): a frame and a policy in, a judgement out. What it needs of the two
//! are two traits, [`packet::Bytes`] (where the frame's bytes lie) and [`verdict::Policy`] (what the interface, the
//! peer and its sets say). So the XDP program, the daemon, `replay`, the tests and the fuzzers run this one function
//! and differ only in where bytes and sets lie.
//!
//! ```
//! use filter_core::layout::{Families, Interface, Known, Network, Rules, Station, Traits};
//! use filter_core::packet::Vlans;
//! use filter_core::set::{ExplainedSet, PrefixSet};
//! use filter_core::userspace::{self, Peer, Peering};
//! use filter_core::{Action, Address, Classes, Reason, frame};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A peer that announces one prefix to us and is announced one by us.
//! let peer = Peer {
//!     rules: Rules { families: Families::new(|_| true), known: Known::ALL },
//!     in_force: Classes::PEER,
//!     source: ExplainedSet::sources(&["45.146.194.0/23".parse()?], &PrefixSet::default(), &[]),
//!     destination: ExplainedSet::destinations(&["198.51.100.0/24".parse()?], &[], &[]),
//! };
//! // Its router on interface 4.
//! let (ours, theirs) = ("02:00:00:00:00:01".parse()?, "02:00:00:00:00:10".parse()?);
//! let mut peering = Peering { peers: vec![peer], ..Peering::default() };
//! peering.interfaces.insert(4, userspace::Interface {
//!     record: Interface::new(&[ours], Traits { has_untagged: true, ..Traits::default() })?,
//!     networks: [(Vlans::NONE, Network::default())].into(),
//!     in_force: Classes::NONE,
//! });
//! peering.stations.insert(Station { ifindex: 4, vlans: Vlans::NONE, mac: theirs }, 0);
//!
//! let spoofed = frame::packet("9.9.9.9".parse()?, "198.51.100.1".parse()?, 17, 64, &[0; 8]);
//! let spoofed = frame::ethernet(ours, theirs, 0x0800, &spoofed);
//! let judgement = peering.judge(4, spoofed.as_slice());
//! assert_eq!(judgement.verdict.reason, Reason::SourceUnannounced);
//! assert_eq!(judgement.action, Action::Drop);
//! # Ok(()) }
//! ```
//!
//! On the way: [`packet`] reads the headers, [`verdict`] goes through the rows of the policy until one matches and
//! gives a [`Reason`] and the [`Classes`] it breaks, and [`Action::of`] is the one match that turns those and what is in
//! force into pass or drop. Where a set has to be
//! fast it is a compiled [`table`], read over [`table::Words`]; [`layout`] is what the XDP program and the loader
//! agree on.
//!
//! With the `std` feature it also holds what prepares the policy: [`set`] makes sets of prefixes, [`bogon`] lists the
//! special-purpose registries, [`cover`] finds the prefix that explains a match, [`userspace`] judges packets without
//! a kernel.
//!
//! This crate never does I/O, and never knows a clock, a file, a BPF map or an async runtime.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

pub mod address;
pub mod asn;
pub mod classes;
pub mod layout;
pub mod packet;
pub mod prefix;
pub mod reason;
pub mod table;
pub mod verdict;

#[cfg(feature = "std")]
pub mod bogon;
#[cfg(feature = "std")]
pub mod cover;
#[cfg(feature = "std")]
pub mod frame;
#[cfg(feature = "std")]
pub mod set;
#[cfg(feature = "std")]
pub mod userspace;

pub use address::{Address, Family};
pub use asn::Asn;
pub use classes::{Class, Classes};
pub use prefix::Prefix;
pub use reason::{Action, LanRules, Mode, Reason};

/// The examples of the README, which are compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
