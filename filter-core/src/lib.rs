//! The policy of the BCP-38 peering filter, as pure functions over integers and byte arrays.
//!
//! One packet's way through: [`packet`] reads the headers, [`verdict::decide`] walks the rows of the
//! policy and names a [`Reason`], [`Reason::action`] turns it into pass or drop. The XDP program, the
//! daemon, `replay`, the tests and the fuzzers all run these same functions; they differ only in how they
//! implement [`packet::Bytes`] (where the frame lies) and [`verdict::Policy`] (where the sets lie).
//! Where a set has to be fast it is a compiled [`table`], read over [`table::Words`].
//!
//! With the `std` feature it also holds what prepares the policy: [`set`] compiles routes into ranges,
//! [`bogon`] lists the special-purpose registries, [`cover`] finds the prefix that explains a match,
//! [`userspace`] judges packets without a kernel.
//!
//! This crate never does I/O, and never knows a clock, a file, a BPF map or an async runtime.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

pub mod address;
pub mod asn;
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
pub use prefix::Prefix;
pub use reason::{Action, Mode, NonIp, Reason};
