//! Answers to the control socket's requests, as types; JSON is made of them where they leave.
use std::net::IpAddr;
use std::time::Duration;

use filter_core::{Class, Classes, Mode, Prefix};
use filter_engine::peering::interface_classes;
use filter_engine::{Explanation, Switched};
use filter_lifecycle::Told;
use filter_lifecycle::json::{optional_text, text};
use filter_lifecycle::route::PeerId;
use serde::Serialize;
use serde_json::Value;

use super::Runtime;

use super::polled::{self, Polled};
use crate::config::Feed;
use crate::control::{MAX_NOTE, Reply, Request};
use crate::names;
use crate::records::describe;
use crate::state::StateFile;

/// `detach`: done.
#[derive(Debug, Serialize)]
struct Detached<'a> {
    detached: &'a str,
}

/// `observe` and `enforce`: what became of it.
#[derive(Debug, Serialize)]
struct ModeSet<'a> {
    peer: &'a str,
    #[serde(serialize_with = "text")]
    mode: Mode,
    state: &'static str,
    missing: Option<String>,
    /// Only of `enforce`: the sides that are known only from polls, and what that costs.
    polled: Vec<Polled>,
    /// Why it does not outlive a reboot.
    not_kept: Option<String>,
}

/// `observe` and `enforce` of an interface's own classes.
#[derive(Debug, Serialize)]
struct InterfaceModeSet<'a> {
    interface: &'a str,
    #[serde(serialize_with = "text")]
    mode: Mode,
    not_kept: Option<String>,
}

/// `observe --all` and `enforce --all`.
#[derive(Debug, Serialize)]
struct AllModeSet {
    #[serde(serialize_with = "text")]
    mode: Mode,
    not_kept: Option<String>,
}

/// `explain`: what would become of a packet.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    peer: &'a str,
    source: IpAddr,
    destination: IpAddr,
    reason: &'static str,
    violation: bool,
    action: &'static str,
    #[serde(serialize_with = "text")]
    mode: Mode,
    generation: u32,
    #[serde(serialize_with = "optional_text")]
    source_prefix: Option<Prefix>,
    #[serde(serialize_with = "optional_text")]
    destination_prefix: Option<Prefix>,
    source_told: Vec<ToldBy>,
    destination_told: Vec<ToldBy>,
    story: Option<String>,
    missing: Option<String>,
}

/// A route that makes an address valid.
#[derive(Debug, Serialize)]
struct ToldBy {
    #[serde(serialize_with = "text")]
    prefix: Prefix,
    feed: Option<&'static str>,
    session: Option<String>,
    seconds_ago: u64,
}

/// How long the loop waits for a command that writes the state file.
const LOCK: Duration = Duration::from_millis(100);

/// Only what the configuration enforces can be switched on.
pub(super) fn refuse_others(who: &str, configured: Classes, only: &[Class]) -> Result<(), String> {
    let other = only
        .iter()
        .find(|&&class| !configured.meets(Classes::of(class)));
    other.map_or(Ok(()), |class| {
        Err(format!(
            "the configuration of {who} does not enforce `{class}`: add it there, and reload"
        ))
    })
}

/// As it leaves. Only a value that is no JSON fails, and none of these types has one.
pub(super) fn value(answer: impl Serialize) -> Result<Value, String> {
    serde_json::to_value(answer).map_err(|error| error.to_string())
}

impl Runtime {
    pub(super) fn answer(&mut self, request: &Request) -> Reply {
        let answer = match request {
            Request::Status => value(self.status()),
            Request::About => value(self.about()),
            Request::Explain {
                peer,
                source,
                destination,
            } => self
                .peer_named(peer)
                .and_then(|id| self.explain(id, *source, *destination)),
            Request::SetMode { peer, mode, only } => self.set_mode_of(peer, *mode, only),
            Request::Try {
                peer,
                only,
                seconds,
            } => self
                .peer_named(peer)
                .and_then(|id| self.try_enforce(id, only, Duration::from_secs(*seconds))),
            Request::Acknowledge { peer, note } => self
                .peer_named(peer)
                .and_then(|_| self.acknowledge(peer, note)),
            Request::Confirm { peer } => self.peer_named(peer).and_then(|id| self.confirm(id)),
            Request::SetModeOfAll { mode } => {
                self.engine.permit_all(*mode);
                self.journal
                    .note("switched", &format!("the whole filter: {mode}"));
                value(AllModeSet {
                    mode: *mode,
                    not_kept: self.keep_switched(|switched, now| switched.all_off = now.all_off),
                })
            }
            Request::Reload => self.reload().and_then(value),
            Request::Events { after } => value(self.journal.after(*after)),
            Request::Violations { after } => value(self.journal.violations_after(*after)),
            Request::Detach { interface } => match self.engine.detach(interface) {
                Ok(()) => {
                    self.journal.note("detached", interface);
                    value(Detached {
                        detached: interface,
                    })
                }
                Err(error) => Err(error.to_string()),
            },
        };
        answer.map_or_else(Reply::Error, Reply::Ok)
    }

    fn peer_named(&self, name: &str) -> Result<PeerId, String> {
        let found = self.config.spec.peer_named(name);
        found.map(|(id, _)| id).ok_or_else(|| {
            let peers = self.config.spec.peers.iter();
            names::unknown_peer(name, peers.map(|peer| peer.name.as_str()))
        })
    }

    /// Notes that somebody answered for a peer.
    fn acknowledge(&mut self, peer: &str, note: &str) -> Result<Value, String> {
        if note.len() > MAX_NOTE {
            let length = note.len();
            return Err(format!("a note of {length} bytes: at most {MAX_NOTE}"));
        }
        self.journal.acknowledged(peer, note);
        Ok(Value::Null)
    }

    fn set_mode_of(&mut self, name: &str, mode: Mode, only: &[Class]) -> Result<Value, String> {
        match self.peer_named(name) {
            Ok(id) => self.set_mode(id, mode, only),
            Err(_) if self.config.spec.interface_named(name).is_some() => {
                self.set_interface_mode(name, mode, only)
            }
            Err(unknown) => Err(unknown),
        }
    }

    fn set_mode(&mut self, id: PeerId, mode: Mode, only: &[Class]) -> Result<Value, String> {
        let peer = &self.config.spec.peers[id.0 as usize];
        let name = peer.name.clone();
        refuse_others(&format!("peer `{name}`"), peer.enforce, only)?;
        self.end_trial(&name);
        let status = self.engine.set_mode_only(self.now(), id, mode, only);
        let not_kept = self.keep_peer(&name);
        let polled = match mode {
            Mode::Enforce => polled::sides(&self.config, &status.ribs),
            Mode::Observe => Vec::new(),
        };
        value(ModeSet {
            polled,
            peer: &name,
            mode,
            state: status.state.name(),
            missing: status.missing.map(|missing| missing.to_string()),
            not_kept,
        })
    }

    fn set_interface_mode(
        &mut self,
        name: &str,
        mode: Mode,
        only: &[Class],
    ) -> Result<Value, String> {
        let interface = self.config.spec.interface_named(name);
        let configured = interface.map_or(Classes::NONE, |(_, each)| interface_classes(each));
        refuse_others(&format!("interface `{name}`"), configured, only)?;
        let switched = self.engine.permit_interface(name, mode, only);
        switched.map_err(|error| error.to_string())?;
        self.journal
            .note("switched", &format!("interface {name}: {mode}"));
        let not_kept = self.keep_switched(|kept, now| match now.interfaces.get(name) {
            Some(permit) => kept.set_interface(name, permit.clone()),
            None => _ = kept.interfaces.remove(name),
        });
        value(InterfaceModeSet {
            interface: name,
            mode,
            not_kept,
        })
    }

    /// Keeps what was switched of a peer for reboots. Returns why it could not be kept.
    pub(super) fn keep_peer(&mut self, name: &str) -> Option<String> {
        self.keep_switched(|kept, now| match now.peers.get(name) {
            Some(permit) => kept.set_peer(name, permit.clone()),
            None => _ = kept.peers.remove(name),
        })
    }

    /// Keeps what was switched for reboots. What commands wrote meanwhile stays; what is not configured any more goes.
    /// Returns why it could not be kept.
    fn keep_switched(&mut self, change: impl FnOnce(&mut Switched, &Switched)) -> Option<String> {
        let now = self.engine.switched();
        let spec = &self.config.spec;
        let file = StateFile::new(&self.config.daemon.state_file);
        let kept = file.change(LOCK, |kept| {
            change(kept, now);
            kept.peers.retain(|name, _| spec.peer_named(name).is_some());
            let interfaces = &mut kept.interfaces;
            interfaces.retain(|name, _| spec.interface_named(name).is_some());
        });
        let why = kept.err()?.to_string();
        self.journal.note("not-kept", &why);
        Some(why)
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
        value(Explained {
            peer: &self.config.spec.peers[id.0 as usize].name,
            source,
            destination,
            reason: judgement.verdict.reason.name(),
            violation: judgement.action.is_violation(),
            action: if judgement.action.is_drop() {
                "drop"
            } else {
                "pass"
            },
            mode,
            generation,
            source_prefix,
            destination_prefix,
            source_told: self.told_by(&source_routes),
            destination_told: self.told_by(&destination_routes),
            story,
            missing: missing.map(|missing| missing.to_string()),
        })
    }

    fn told_by(&self, told: &[Told]) -> Vec<ToldBy> {
        let by = |told: &Told| {
            let feed = self.config.feeds.get(usize::from(told.feed.0));
            ToldBy {
                prefix: told.prefix,
                feed: feed.map(Feed::kind),
                session: told.session.map(|session| session.to_string()),
                seconds_ago: told.age.as_secs(),
            }
        };
        told.iter().map(by).collect()
    }
}
