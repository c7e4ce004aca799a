//! No valve opens at a peer's wish: `docs/spec.md` section 5, its table of events, row by row. What the lifecycle produces
//! judges numbered packets, good and spoofed. `docs/lifecycle.md` names each test; never looks inside.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod breaker;
mod churn;
mod complete;
mod holds;
mod hostile;
mod judge;
mod limits;
mod mass;
mod members;
mod recent;
mod rows;
mod stations;
#[path = "../lifecycle/world.rs"]
#[allow(dead_code, reason = "the other test uses the rest")]
mod world;
