//! Answers to the control socket's requests, as types; JSON is made of them where they leave.
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use filter_core::packet::Mac;
use filter_core::{Class, Classes, Family, Mode, Prefix};
use filter_engine::peering::interface_classes;
use filter_engine::{Engine, Explanation, StationStatus};
use filter_lifecycle::json::{optional_text, text, texts};
use filter_lifecycle::route::PeerId;
use filter_lifecycle::{RecentlyValid, Side};
use serde::Serialize;
use serde_json::Value;

use super::feeding::Feeding;
use super::history::History;
use super::journal::Journal;
use super::keeper::{Keeper, Name};
use super::polled::{self, Polled};
use super::prefixes::{self, PrefixReport, RouteReport};
use super::recorded::Recording;
use super::routes::{Reach, RouteJournal};
use super::status::{Parts, Report};
use super::trials::Trials;
use crate::config::Config;
use crate::control::{MAX_NOTE, Reply, Request};
use crate::names;
use crate::records::describe;

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
    /// What keeps its classes from being in force all the same.
    missing: Option<String>,
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
    source_routes: Vec<RouteReport>,
    destination_routes: Vec<RouteReport>,
    source_left: Option<Left>,
    destination_left: Option<Left>,
    /// What covers an address and does not count, or only until its hold is over.
    source_odd: Option<PrefixReport>,
    destination_odd: Option<PrefixReport>,
    /// What would make it pass.
    remedy: Option<String>,
    story: Option<String>,
    missing: Option<String>,
    /// All valid prefixes that cover the source now, longest first.
    #[serde(serialize_with = "texts")]
    source_valid: Vec<Prefix>,
    /// The same of the destination.
    #[serde(serialize_with = "texts")]
    destination_valid: Vec<Prefix>,
    /// What covers the source whatever the routes are.
    #[serde(serialize_with = "optional_text")]
    source_always: Option<Prefix>,
    /// The same of the destination.
    #[serde(serialize_with = "optional_text")]
    destination_always: Option<Prefix>,
    /// How far the journal of routes should reach.
    journal: Reach,
}

/// From where a peer's frames come.
#[derive(Debug, Serialize)]
struct Macs<'a> {
    peer: &'a str,
    stations: Vec<StationStatus>,
    #[serde(serialize_with = "texts")]
    unknown_macs: Vec<Mac>,
}

/// What a peer's sources grew to counts.
#[derive(Debug, Serialize)]
struct GrowthAccepted<'a> {
    peer: &'a str,
    #[serde(serialize_with = "texts")]
    families: Vec<Family>,
}

/// A MAC is a peer's.
#[derive(Debug, Serialize)]
struct MacAccepted<'a> {
    peer: &'a str,
    #[serde(serialize_with = "text")]
    mac: Mac,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_kept: Option<String>,
}

/// A prefix that was valid within the last day.
#[derive(Debug, Serialize)]
struct Left {
    #[serde(serialize_with = "text")]
    prefix: Prefix,
    seconds_ago: u64,
}

impl From<RecentlyValid> for Left {
    fn from(RecentlyValid { prefix, ago }: RecentlyValid) -> Self {
        Self {
            prefix,
            seconds_ago: ago.as_secs(),
        }
    }
}

/// A peer or an interface, whose classes are switched.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holder<'a> {
    Peer(&'a str),
    Interface(&'a str),
}

/// The classes that an interface has for frames of no peer, beside malformed ones.
const OF_INTERFACES: Classes = Classes::LAN.with(Classes::UNKNOWN);

/// Only what the configuration enforces can be switched on.
pub(super) fn refuse_others(
    holder: Holder<'_>,
    configured: Classes,
    only: &[Class],
) -> Result<(), String> {
    let lacks = |class: &&Class| !configured.meets(Classes::of(**class));
    let Some(&class) = only.iter().find(lacks) else {
        return Ok(());
    };
    let is_of_interfaces = OF_INTERFACES.meets(Classes::of(class));
    Err(match holder {
        Holder::Peer(_) if is_of_interfaces => format!(
            "`{class}` is a class of an interface, for frames of no peer: name the interface instead; {INTERFACE_KEYS}"
        ),
        Holder::Peer(name) => format!(
            "the configuration of peer `{name}` does not enforce `{class}`: add it there, and reload"
        ),
        Holder::Interface(_) if !is_of_interfaces && class != Class::Malformed => {
            format!("`{class}` is a class of a peer: name the peer instead of its interface")
        }
        Holder::Interface(name) => format!(
            "the configuration of interface `{name}` does not enforce `{class}`: {INTERFACE_KEYS}"
        ),
    })
}

/// What makes an interface enforce its own classes.
const INTERFACE_KEYS: &str = "`lan_rules = \"enforce\"` of the interface enforces `lan`, `unknown_peer = \"enforce\"` enforces `unknown` and `malformed`";

/// Nothing is switched on where nothing is wanted.
fn refuse_nothing(name: &str, mode: Mode, configured: Classes) -> Result<(), String> {
    match mode == Mode::Enforce && configured == Classes::NONE {
        true => Err(format!(
            "the configuration of interface `{name}` enforces nothing of frames of no peer: {INTERFACE_KEYS}; set what is wanted, and reload"
        )),
        false => Ok(()),
    }
}

/// As it leaves. Only a value that is no JSON fails, and none of these types has one.
pub(super) fn value(answer: impl Serialize) -> Result<Value, String> {
    serde_json::to_value(answer).map_err(|error| error.to_string())
}

/// What an answer may look at and change.
pub(super) struct Answering<'a> {
    pub(super) now: Duration,
    pub(super) config: &'a Arc<Config>,
    pub(super) engine: &'a mut Engine,
    pub(super) journal: &'a mut Journal,
    pub(super) keeper: &'a Keeper,
    pub(super) feeding: &'a Feeding,
    pub(super) history: &'a History,
    pub(super) trials: &'a mut Trials,
    pub(super) routes: &'a RouteJournal,
    pub(super) recording: &'a Recording,
}

/// As it is sent.
pub(super) fn reply(answer: Result<impl Serialize, String>) -> Reply {
    answer.and_then(value).map_or_else(Reply::Error, Reply::Ok)
}

impl Answering<'_> {
    /// The answer; none to a reload, which is the run loop's.
    pub(super) fn answer(mut self, request: &Request) -> Option<Reply> {
        let answer = match request {
            Request::Status => value(self.status()),
            Request::About => value(self.recording.about(self.now, self.config)),
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
                .peer_not_interface(peer)
                .and_then(|id| self.try_enforce(id, only, Duration::from_secs(*seconds))),
            Request::Confirm { peer } => self.peer_named(peer).and_then(|id| self.confirm(id)),
            Request::Acknowledge { peer, note } => self
                .peer_named(peer)
                .and_then(|_| self.acknowledge(peer, note)),
            Request::SetModeOfAll { mode } => self.set_mode_of_all(*mode),
            Request::Prefixes { peer, within } => self
                .peer_named(peer)
                .and_then(|id| value(prefixes::Prefixes::of(&self, id, *within))),
            Request::AcceptGrowth { peer } => {
                self.peer_named(peer).and_then(|id| self.accept_growth(id))
            }
            Request::Macs { peer } => self.peer_named(peer).and_then(|id| self.macs(id)),
            Request::AcceptMac { peer, mac } => self
                .peer_named(peer)
                .and_then(|id| self.accept_mac(id, *mac)),
            Request::Reload => return None,
            Request::Events { after } => value(self.journal.after(*after)),
            Request::Violations { after } => value(self.journal.violations_after(*after)),
            Request::Detach { interface } => self.detach(interface),
        };
        Some(reply(answer))
    }

    fn status(&self) -> Report {
        Report::of(Parts {
            now: self.now,
            config: self.config,
            engine: self.engine,
            feeding: self.feeding,
            history: self.history,
            trials: self.trials,
            routes: self.routes,
            recording: self.recording,
        })
    }

    fn detach(&mut self, interface: &str) -> Result<Value, String> {
        let detached = self.engine.detach(interface);
        detached.map_err(|error| error.to_string())?;
        self.journal.note("detached", interface);
        value(Detached {
            detached: interface,
        })
    }

    fn set_mode_of_all(&mut self, mode: Mode) -> Result<Value, String> {
        self.engine.permit_all(mode);
        let text = format!("the whole filter: {mode}");
        self.journal.note("switched", &text);
        let not_kept = self.keep_switched(Name::All);
        value(AllModeSet { mode, not_kept })
    }

    fn peer_named(&self, name: &str) -> Result<PeerId, String> {
        let found = self.config.spec.peer_named(name);
        found.map(|(id, _)| id).ok_or_else(|| {
            let peers = self.config.spec.peers.iter();
            names::unknown_peer(name, peers.map(|peer| peer.name.as_str()))
        })
    }

    /// As [`Answering::peer_named`], where an interface may be meant.
    fn peer_not_interface(&self, name: &str) -> Result<PeerId, String> {
        let is_interface = self.config.spec.interface_named(name).is_some();
        self.peer_named(name).map_err(|unknown| match is_interface {
            true => format!("`{name}` is an interface: only a peer is enforced for a time; leave `--confirm-within` out"),
            false => unknown,
        })
    }

    /// Notes that somebody answered for a peer.
    fn acknowledge(&mut self, peer: &str, note: &str) -> Result<Value, String> {
        if note.len() > MAX_NOTE {
            let length = note.len();
            return Err(format!("a note of {length} bytes: at most {MAX_NOTE}"));
        }
        if note.chars().any(char::is_control) {
            return Err(
                "a note with control characters: write it in one line of plain text".to_owned(),
            );
        }
        self.journal.acknowledged(peer, note);
        Ok(Value::Null)
    }

    fn macs(&self, id: PeerId) -> Result<Value, String> {
        let (stations, unknown_macs) = self.engine.macs(self.now, id);
        value(Macs {
            peer: &self.config.spec.peers[id.0 as usize].name,
            stations,
            unknown_macs,
        })
    }

    fn accept_growth(&mut self, id: PeerId) -> Result<Value, String> {
        let name = &self.config.spec.peers[id.0 as usize].name;
        let families = self.engine.accept_growth(id);
        if families.is_empty() {
            return Err(format!(
                "the sources of `{name}` cover no more than they may: nothing is to be accepted; `max_prefixes` is raised in the configuration"
            ));
        }
        value(GrowthAccepted {
            peer: name,
            families,
        })
    }

    fn accept_mac(&mut self, id: PeerId, mac: Mac) -> Result<Value, String> {
        let accepted = self.engine.accept_mac(id, mac);
        accepted.map_err(|error| error.to_string())?;
        let name = self.config.spec.peers[id.0 as usize].name.clone();
        let text = format!("{mac} is {name}'s");
        self.journal.note_of("mac-accepted", &name, &text);
        let not_kept = self.keep_switched(Name::Accepted);
        value(MacAccepted {
            peer: &name,
            mac,
            not_kept,
        })
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
        refuse_others(Holder::Peer(&name), peer.enforce, only)?;
        self.end_trial(&name);
        let status = self.engine.set_mode_only(self.now, id, mode, only);
        let not_kept = self.keep_switched(Name::Peer(name.clone()));
        let polled = match mode {
            Mode::Enforce => polled::sides(self.config, &status.ribs, |id| {
                self.feeding.polls_every(self.config, id)
            }),
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
        refuse_others(Holder::Interface(name), configured, only)?;
        refuse_nothing(name, mode, configured)?;
        let switched = self.engine.permit_interface(name, mode, only);
        switched.map_err(|error| error.to_string())?;
        self.journal
            .note("switched", &format!("interface {name}: {mode}"));
        let not_kept = self.keep_switched(Name::Interface(name.to_owned()));
        let lacks = (mode == Mode::Enforce).then(|| self.engine.interface_lacks(name));
        value(InterfaceModeSet {
            interface: name,
            mode,
            missing: lacks.flatten(),
            not_kept,
        })
    }

    /// Keeps what was switched for reboots. Returns why it could not be kept.
    pub(super) fn keep_switched(&mut self, name: Name) -> Option<String> {
        let now = self.engine.switched();
        let why = self.keeper.keep(name, now, &self.config.spec).err()?;
        self.journal.note("not-kept", &why);
        Some(why)
    }

    /// What would become of a packet with these addresses.
    fn explain(&self, id: PeerId, source: IpAddr, destination: IpAddr) -> Result<Value, String> {
        let explained = self.engine.explain(self.now, id, source, destination);
        let Explanation {
            judgement,
            mode,
            generation,
            source_prefix,
            destination_prefix,
            source_routes,
            destination_routes,
            source_odd,
            destination_odd,
            flow,
            missing,
        } = explained.map_err(|error| error.to_string())?;
        let story = flow.as_ref().map(|flow| describe(self.config, flow));
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
            source_routes: prefixes::routes(self.config, &source_routes),
            destination_routes: prefixes::routes(self.config, &destination_routes),
            source_left: flow
                .as_ref()
                .and_then(|flow| flow.source_left)
                .map(Left::from),
            destination_left: flow.and_then(|flow| flow.destination_left).map(Left::from),
            remedy: prefixes::remedy(
                judgement.verdict.reason,
                (source, source_odd.as_ref()),
                (destination, destination_odd.as_ref()),
            ),
            source_odd: source_odd.map(|it| PrefixReport::new(self.config, it)),
            destination_odd: destination_odd.map(|it| PrefixReport::new(self.config, it)),
            story,
            missing: missing.map(|missing| missing.to_string()),
            source_valid: self.engine.all_covering(id, Side::Sources, source),
            destination_valid: self
                .engine
                .all_covering(id, Side::Destinations, destination),
            source_always: self.engine.always_covering(id, Side::Sources, source),
            destination_always: self
                .engine
                .always_covering(id, Side::Destinations, destination),
            journal: self.routes.reach(id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_enforced_is_named_with_the_keys_that_mend_it() {
        let of =
            |holder, configured, class| refuse_others(holder, configured, &[class]).unwrap_err();
        let (p1, eth0) = (Holder::Peer("p1"), Holder::Interface("eth0"));
        assert_eq!(
            of(p1, Classes::SOURCES, Class::Bogons),
            "the configuration of peer `p1` does not enforce `bogons`: add it there, and reload"
        );
        let lan = of(p1, Classes::SOURCES, Class::Lan);
        assert!(
            lan.starts_with(
                "`lan` is a class of an interface, for frames of no peer: name the interface"
            ),
            "{lan}"
        );
        assert_eq!(
            of(eth0, Classes::LAN, Class::Sources),
            "`sources` is a class of a peer: name the peer instead of its interface"
        );
        let unknown = of(eth0, Classes::LAN, Class::Unknown);
        assert!(
            unknown.contains("`unknown_peer = \"enforce\"`"),
            "{unknown}"
        );
        assert_eq!(refuse_others(eth0, Classes::LAN, &[Class::Lan]), Ok(()));
    }

    #[test]
    fn an_interface_where_nothing_is_wanted_is_not_said_to_be_enforced() {
        let why = refuse_nothing("eth0", Mode::Enforce, Classes::NONE).unwrap_err();
        assert!(
            why.contains("`lan_rules = \"enforce\"`") && why.contains("`unknown_peer"),
            "{why}"
        );
        assert_eq!(refuse_nothing("eth0", Mode::Enforce, Classes::LAN), Ok(()));
        assert_eq!(refuse_nothing("eth0", Mode::Observe, Classes::NONE), Ok(()));
    }
}
