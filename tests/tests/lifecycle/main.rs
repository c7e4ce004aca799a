//! When a peer may be enforced, and with which tables: SPEC section 5 and FEEDS section 5 as tests, a naive model,
//! the seeds, and the recorded streams. Never looks inside: everything is asserted through the public interface.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod admission;
mod classes;
mod doubts;
mod feeds;
mod identity;
mod liar;
mod limits;
mod model;
mod polls;
mod replay;
mod route_servers;
mod said;
mod scale;
mod seeds;
mod several;
mod spec;
mod vrfs;
mod world;
