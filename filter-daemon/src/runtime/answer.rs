//! Answers to the control socket's requests.
use std::net::IpAddr;

use filter_core::Mode;
use filter_engine::Explanation;
use filter_lifecycle::Told;
use filter_lifecycle::route::PeerId;
use serde_json::{Value, json};

use super::Runtime;
use super::journal::describe;
use crate::config::Feed;
use crate::control::{Reply, Request};

impl Runtime {
    pub(super) fn answer(&mut self, request: &Request) -> Reply {
        let answer = match request {
            Request::Status => Ok(self.status()),
            Request::Explain {
                peer,
                source,
                destination,
            } => self
                .peer_named(peer)
                .and_then(|id| self.explain(id, *source, *destination)),
            Request::SetMode { peer, mode } => self.set_mode_of(peer, *mode),
            Request::SetModeOfAll { mode } => {
                self.engine.permit_all(*mode);
                self.journal
                    .note("switched", &format!("the whole filter: {mode}"));
                Ok(json!({ "mode": mode.name() }))
            }
            Request::Events { after } => Ok(Value::Array(self.journal.after(*after))),
            Request::Detach { interface } => match self.engine.detach(interface) {
                Ok(()) => {
                    self.journal.note("detached", interface);
                    Ok(json!({ "detached": interface }))
                }
                Err(error) => Err(error.to_string()),
            },
        };
        answer.map_or_else(Reply::Error, Reply::Ok)
    }

    fn peer_named(&self, name: &str) -> Result<PeerId, String> {
        let found = self.config.spec.peer_named(name);
        found
            .map(|(id, _)| id)
            .ok_or_else(|| format!("unknown peer `{name}`: see `bcp38 status` for the names"))
    }

    fn set_mode_of(&mut self, name: &str, mode: Mode) -> Result<Value, String> {
        match self.peer_named(name) {
            Ok(id) => Ok(self.set_mode(id, mode)),
            Err(_) if self.config.spec.interface_named(name).is_some() => {
                let switched = self.engine.permit_interface(name, mode);
                switched.map_err(|error| error.to_string())?;
                self.journal
                    .note("switched", &format!("interface {name}: {mode}"));
                Ok(json!({ "interface": name, "mode": mode.name() }))
            }
            Err(unknown) => Err(unknown),
        }
    }

    fn set_mode(&mut self, id: PeerId, mode: Mode) -> Value {
        let status = self.engine.set_mode(self.now(), id, mode);
        json!({
            "peer": self.config.spec.peers[id.0 as usize].name,
            "mode": mode.name(),
            "state": status.state.name(),
            "missing": status.missing.map(|missing| missing.to_string()),
        })
    }

    /// What would become of a packet with these addresses.
    fn explain(&self, id: PeerId, source: IpAddr, destination: IpAddr) -> Result<Value, String> {
        let explained = self.engine.explain(self.now(), id, source, destination);
        let Explanation {
            judgement,
            mode,
            generation,
            source_prefix,
            destination_prefix,
            source_routes,
            destination_routes,
            flow,
            missing,
        } = explained.map_err(|error| error.to_string())?;
        let story =
            flow.map(|flow| describe(&self.config, &flow.source_story, flow.destination_story));
        Ok(json!({
            "peer": self.config.spec.peers[id.0 as usize].name,
            "source": source.to_string(),
            "destination": destination.to_string(),
            "reason": judgement.verdict.reason.name(),
            "violation": judgement.action.is_violation(),
            "action": if judgement.action.is_drop() { "drop" } else { "pass" },
            "mode": mode.name(),
            "generation": generation,
            "source_prefix": source_prefix.map(|prefix| prefix.to_string()),
            "destination_prefix": destination_prefix.map(|prefix| prefix.to_string()),
            "source_told": self.told_values(&source_routes),
            "destination_told": self.told_values(&destination_routes),
            "story": story,
            "missing": missing.map(|missing| missing.to_string()),
        }))
    }

    fn told_values(&self, told: &[Told]) -> Vec<Value> {
        let value = |told: &Told| {
            json!({
                "prefix": told.prefix.to_string(),
                "feed": self.config.feeds.get(usize::from(told.feed.0)).map(Feed::kind),
                "session": told.session.map(|session| session.to_string()),
                "seconds_ago": told.age.as_secs(),
            })
        };
        told.iter().map(value).collect()
    }
}
