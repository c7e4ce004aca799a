//! What tests of more than one crate share: [`lab`] builds routers and peers in network namespaces of its own,
//! [`captures`] holds what daemons really sent, [`encoder`] says what they might.
//!
//! Nothing here touches the machine's own network, starts anything by a service manager, or ends a process it did
//! not start.
#![expect(
    clippy::unwrap_used,
    reason = "a lab that cannot be built ends the test: the panic is the report"
)]

pub mod captures;
pub mod encoder;
pub mod lab;
