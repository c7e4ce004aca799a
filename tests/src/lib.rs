<<<<<<< HEAD
//! What the test files share: the cases and the worlds they happen in, the engines that judge them, the network
//! namespaces and wires of the tests that need a kernel, and [`lab`], routers and peers in namespaces of its own.
=======
//! What tests of more than one crate share: [`lab`] builds routers and peers in network namespaces of its own,
//! [`captures`] holds what daemons really sent, [`encoder`] says what they might.
>>>>>>> wire
//!
//! Never shipped, never holds policy of its own. Touches nothing of the machine's own network, starts nothing by a
//! service manager, and ends no process it did not start.

<<<<<<< HEAD
pub mod case;
pub mod engines;
pub mod frame;
pub mod kernel;
=======
pub mod captures;
pub mod encoder;
>>>>>>> wire
pub mod lab;
pub mod mutate;
pub mod netns;
pub mod rig;
pub mod wire;
pub mod world;

pub use kernel::require_kernel;
