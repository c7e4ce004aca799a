//! What the test files share: the cases and the worlds they happen in, the engines that judge them, the network
//! namespaces and wires of the tests that need a kernel, [`lab`], routers and peers in namespaces of its own,
//! [`captures`], what daemons really sent, and [`encoder`], what they might.
//!
//! Never shipped, never holds policy of its own. Touches nothing of the machine's own network, starts nothing by a
//! service manager, and ends no process it did not start.

pub mod captures;
pub mod case;
pub mod encoder;
pub mod engines;
pub mod fleet;
pub mod frame;
pub mod kernel;
pub mod lab;
pub mod mutate;
pub mod netns;
pub mod rig;
pub mod tap;
pub mod world;

pub use ::lab::wire;
pub use kernel::require_kernel;
