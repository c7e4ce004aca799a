//! `[metrics]` and `[sflow]`: what the daemon sends or shows to monitoring. Off unless the section is there.
use std::fmt::{self, Formatter};
use std::net::{IpAddr, SocketAddr};

use super::error::{ConfigError, Problem};
use super::parse_feed::socket;
use super::section::{Item, Section};
use super::values::address;
use crate::metrics::DEFAULT_LISTEN;

/// Both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// `listen` of `[metrics]`: where Prometheus may scrape. With the section, default `127.0.0.1:9638`.
    pub metrics: Option<SocketAddr>,
    /// `[sflow]`.
    pub sflow: Option<Sflow>,
}

/// `[sflow]`: sampled drops as sFlow version 5 discarded-packet samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sflow {
    /// `collector`: where they go, UDP.
    pub collector: SocketAddr,
    /// `agent`: the address this router is known by. Default: the one that reaches the collector.
    pub agent: Option<IpAddr>,
}

const METRICS: &[&str] = &["listen"];
const SFLOW: &[&str] = &["collector", "agent"];

pub(super) fn outputs(top: &Section<'_>) -> Result<Outputs, ConfigError> {
    Ok(Outputs {
        metrics: top.optional("metrics", metrics)?,
        sflow: top.optional("sflow", sflow)?,
    })
}

fn metrics(item: &Item<'_>) -> Result<SocketAddr, ConfigError> {
    let section = item.section("[metrics]".to_owned(), METRICS)?;
    match section.optional("listen", socket)? {
        Some(listen) => Ok(listen),
        None => DEFAULT_LISTEN
            .parse()
            .map_err(|_| section.error(Some("listen"), Problem::Missing)),
    }
}

fn sflow(item: &Item<'_>) -> Result<Sflow, ConfigError> {
    let section = item.section("[sflow]".to_owned(), SFLOW)?;
    Ok(Sflow {
        collector: socket(&section.require("collector")?)?,
        agent: section.optional("agent", address)?,
    })
}

pub(super) fn write(outputs: &Outputs, f: &mut Formatter<'_>) -> fmt::Result {
    if let Some(listen) = outputs.metrics {
        writeln!(f, "\n[metrics]\nlisten = \"{listen}\"")?;
    }
    if let Some(Sflow { collector, agent }) = &outputs.sflow {
        writeln!(f, "\n[sflow]\ncollector = \"{collector}\"")?;
        if let Some(agent) = agent {
            writeln!(f, "agent = \"{agent}\"")?;
        }
    }
    Ok(())
}
