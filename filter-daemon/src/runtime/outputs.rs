//! What monitoring gets while the daemon runs: the metrics' server and the sFlow exporter. On a reload everything that can
//! fail is tried before anything is changed. Never decides what is shown.
use std::net::SocketAddr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use filter_engine::Notice;

use super::RunError;
use crate::config::{self, Sflow};
use crate::control::{Pending, Reply, Request};
use crate::metrics::{self, Server};
use crate::sflow::Exporter;

/// How long a scrape waits for the run loop.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Both, as far as they are configured.
#[derive(Debug)]
pub(super) struct Outputs {
    requests: SyncSender<Pending>,
    metrics: Option<(SocketAddr, Server)>,
    sflow: Option<(Sflow, Exporter)>,
}

/// What another configuration changes; none where it changes nothing.
pub(super) struct Change {
    metrics: Option<Option<(SocketAddr, Server)>>,
    sflow: Option<Option<(Sflow, Exporter)>>,
}

impl Outputs {
    /// Nothing yet. Scrapes will ask the run loop through `requests`.
    pub(super) fn none(requests: SyncSender<Pending>) -> Self {
        Self {
            requests,
            metrics: None,
            sflow: None,
        }
    }

    /// Tries what is not as wanted yet.
    ///
    /// # Errors
    /// An address that is not free, a collector that cannot be reached.
    pub(super) fn prepare(&self, wanted: &config::Outputs) -> Result<Change, RunError> {
        let listens = self.metrics.as_ref().map(|(listen, _)| *listen);
        let metrics = (listens != wanted.metrics).then(|| {
            let start = |listen| -> Result<_, RunError> { Ok((listen, self.serve(listen)?)) };
            wanted.metrics.map(start).transpose()
        });
        let exports = self.sflow.as_ref().map(|(sflow, _)| sflow);
        let sflow = (exports != wanted.sflow.as_ref()).then(|| {
            let start =
                |sflow: &Sflow| -> Result<_, RunError> { Ok((sflow.clone(), exporter(sflow)?)) };
            wanted.sflow.as_ref().map(start).transpose()
        });
        Ok(Change {
            metrics: metrics.transpose()?,
            sflow: sflow.transpose()?,
        })
    }

    pub(super) fn change(&mut self, change: Change) {
        if let Some(metrics) = change.metrics {
            self.metrics = metrics;
        }
        if let Some(sflow) = change.sflow {
            self.sflow = sflow;
        }
    }

    /// Something happened.
    pub(super) fn notice(&mut self, now: Duration, notice: &Notice) {
        if let (Notice::Violation(violation), Some((_, exporter))) = (notice, &mut self.sflow) {
            exporter.violation(now, violation);
        }
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self, now: Duration) {
        if let Some((_, exporter)) = &mut self.sflow {
            exporter.flush(now);
        }
    }

    fn serve(&self, listen: SocketAddr) -> Result<Server, RunError> {
        let requests = self.requests.clone();
        let server = Server::start(listen, move || page(&requests));
        server.map_err(|source| RunError::Output {
            what: "metrics",
            address: listen,
            source,
        })
    }
}

fn exporter(sflow: &Sflow) -> Result<Exporter, RunError> {
    Exporter::new(sflow).map_err(|source| RunError::Output {
        what: "sflow",
        address: sflow.collector,
        source,
    })
}

/// The run loop's status, as metrics.
fn page(requests: &SyncSender<Pending>) -> Result<String, String> {
    let (reply, answer) = sync_channel(1);
    let request = Request::Status;
    let asked = requests.try_send(Pending { request, reply });
    let busy = || "the daemon is busy: try again".to_owned();
    asked.map_err(|_| busy())?;
    match answer.recv_timeout(ANSWER_WITHIN) {
        Ok(Reply::Ok(status)) => Ok(metrics::text(&status)),
        Ok(Reply::Error(why)) => Err(why),
        Err(_) => Err(busy()),
    }
}
