//! Devices that change under the filter: each change with a stream of numbered good and spoofed packets and a receiver
//! that counts. No good packet is lost, and after a second at most no spoofed one passes, or status does not say that
//! the peer is enforced.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod adoption;
mod changes;
mod scene;
mod schema_3;
mod sessions;
mod status;
mod upgrade;
mod wire;
