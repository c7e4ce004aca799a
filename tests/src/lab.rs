//! The daemon in a laboratory: what the crate `lab` makes of namespaces, wires and routing daemons, with bcp38 itself
//! ([`Bcp38`]) beside the router and accounted traffic ([`Traffic`]) through it.

mod bcp38;
mod detach;
mod frr_scene;
pub mod traffic;

pub use bcp38::{Bcp38, Site, become_schema, without_routes};
pub use detach::detach_link;
pub use frr_scene::{FrrScene, Sections};
pub use lab::*;
pub use traffic::Traffic;
