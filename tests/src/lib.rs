//! What the test files share: the cases and the worlds they happen in, the engines that judge them, and the
//! network namespaces and wires of the tests that need a kernel. Never shipped, never holds policy of its own.

pub mod case;
pub mod engines;
pub mod frame;
pub mod kernel;
pub mod mutate;
pub mod netns;
pub mod rig;
pub mod wire;
pub mod world;

pub use kernel::require_kernel;
