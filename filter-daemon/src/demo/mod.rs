//! `bcp38 demo`.
pub mod net;
pub mod router;
