//! The bars of `docs/performance.md`, each measured beside its baseline in one run: `cargo xtask bench`.
//! Figures move with the machine; ratios within one run are what counts. Never a part of the product.
pub mod against;
pub mod cores;
pub mod dpdk;
pub mod feed;
pub mod floods;
pub mod forwarding;
pub mod lookup;
pub mod measure;
pub mod report;
pub mod updates;
pub mod whole;
pub mod wire;
pub mod world;
