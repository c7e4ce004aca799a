//! When a peer may be enforced, and with which prefixes: the decisions of the peering filter as pure functions of
//! what feeds report, what devices are, and what operators want.
//!
//! [`spec`] is what an operator wants, [`route`] what a feed can report, [`Lifecycle`] folds the two; [`admission`] says
//! which announcements count, [`policy`] which blocks no peer can announce, [`stations`] from where each peer's frames
//! come. Pure: time is an argument. Never a socket, a file, a clock, a thread, or a configuration format.

pub mod admission;
pub mod devices;
#[cfg(feature = "serde")]
pub mod json;
mod lifecycle;
pub mod neighbour;
pub mod policy;
pub mod protocol;
pub mod route;
pub mod spec;
pub mod stations;
pub mod status;
pub mod violation;

pub use lifecycle::*;

/// The examples of the README, which are compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
