//! The daemon around the filter: configuration, RIB feeds, the per-peer lifecycle, the command line.
//!
//! A feed turns bytes into [`RouteEvent`](filter_lifecycle::route::RouteEvent)s and knows nothing else. The lifecycle
//! folds them into what is wanted per peer. Only the run loop talks to the loader. Nothing here decides a packet's
//! verdict: that is `filter-core`.

pub mod advise;
pub mod capture;
pub mod cli;
pub mod config;
pub mod control;
pub mod demo;
pub mod doctor;
pub mod feeds;
mod hourly;
pub mod init;
pub mod logging;
pub mod metrics;
mod names;
pub mod past;
pub mod pcapng;
pub mod records;
pub mod report;
pub mod runtime;
pub mod service;
pub mod sflow;
pub mod snapshot;
pub mod state;
mod when;
mod whole;
