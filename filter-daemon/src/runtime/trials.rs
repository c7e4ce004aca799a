//! `enforce --confirm-within`: until when each trial waits for being confirmed. The trial itself is the engine's; a daemon
//! that starts anew takes back what it finds, so nothing is kept here.
use std::collections::BTreeMap;
use std::time::Duration;

use filter_core::{Class, Mode};
use filter_engine::{Engine, TrialEnd};
use filter_lifecycle::json::text;
use filter_lifecycle::route::PeerId;
use serde::Serialize;
use serde_json::Value;

use super::answer::{Answering, Holder, refuse_others, value};
use super::keeper::Name;
use super::polled::{self, Polled};
use crate::config::Config;

/// The longest trial.
pub const MAX_TRIAL: Duration = Duration::from_secs(86_400);

/// By the peer's name: until when its trial waits.
#[derive(Debug, Default)]
pub(super) struct Trials(BTreeMap<String, Duration>);

impl Trials {
    fn due(&self, now: Duration) -> Vec<String> {
        let due = self.0.iter().filter(|(_, until)| **until <= now);
        due.map(|(name, _)| name.clone()).collect()
    }

    /// How long a peer's trial goes on; `None` once it was switched anew, with or without the daemon.
    pub(super) fn seconds_left(
        &self,
        now: Duration,
        engine: &Engine,
        id: PeerId,
        name: &str,
    ) -> Option<u64> {
        let until = self.0.get(name).filter(|_| engine.is_on_trial(id))?;
        Some(until.saturating_sub(now).as_secs())
    }

    /// Takes back what was not confirmed in time.
    pub(super) fn tend(&mut self, now: Duration, config: &Config, engine: &mut Engine) {
        for name in self.due(now) {
            self.0.remove(&name);
            if let Some((id, _)) = config.spec.peer_named(&name) {
                engine.end_trial(now, id, TrialEnd::NotConfirmed);
            }
        }
    }

    /// Takes back what was not confirmed before the daemon ends.
    pub(super) fn end_all(&mut self, now: Duration, config: &Config, engine: &mut Engine) {
        for name in std::mem::take(&mut self.0).into_keys() {
            if let Some((id, _)) = config.spec.peer_named(&name) {
                engine.end_trial(now, id, TrialEnd::Stopping);
            }
        }
    }
}

/// `enforce --confirm-within`: on, for now.
#[derive(Debug, Serialize)]
struct Begun<'a> {
    peer: &'a str,
    #[serde(serialize_with = "text")]
    mode: Mode,
    state: &'static str,
    missing: Option<String>,
    polled: Vec<Polled>,
    confirm_within_seconds: u64,
}

/// `confirm`: it stays.
#[derive(Debug, Serialize)]
struct Confirmed<'a> {
    confirmed: &'a str,
    /// Why it does not outlive a reboot.
    not_kept: Option<String>,
}

impl Answering<'_> {
    /// Switches classes of a peer on until the time is over.
    pub(super) fn try_enforce(
        &mut self,
        id: PeerId,
        only: &[Class],
        within: Duration,
    ) -> Result<Value, String> {
        if within.is_zero() || within > MAX_TRIAL {
            let most = MAX_TRIAL.as_secs();
            return Err(format!(
                "a trial of {} s: choose 1 to {most}",
                within.as_secs()
            ));
        }
        let peer = &self.config.spec.peers[id.0 as usize];
        let name = peer.name.clone();
        refuse_others(Holder::Peer(&name), peer.enforce, only)?;
        let status = self.engine.begin_trial(self.now, id, only);
        self.trials.0.insert(name.clone(), self.now + within);
        let seconds = within.as_secs();
        let text = format!("{name}: enforced for {seconds} s unless it is confirmed");
        self.journal.note_of("trial-begun", &name, &text);
        let every = |feed| self.feeding.polls_every(self.config, feed);
        value(Begun {
            peer: &name,
            mode: Mode::Enforce,
            state: status.state.name(),
            missing: status.missing.map(|missing| missing.to_string()),
            polled: polled::sides(self.config, &status.ribs, every),
            confirm_within_seconds: seconds,
        })
    }

    /// What is on trial stays.
    pub(super) fn confirm(&mut self, id: PeerId) -> Result<Value, String> {
        let name = self.config.spec.peers[id.0 as usize].name.clone();
        self.end_trial(&name);
        if !self.engine.confirm_trial(self.now, id) {
            return Err(format!("nothing of `{name}` waits for being confirmed"));
        }
        self.journal.note_of("trial-confirmed", &name, &name);
        let not_kept = self.keep_switched(Name::Peer(name.clone()));
        value(Confirmed {
            confirmed: &name,
            not_kept,
        })
    }

    /// The trial waits no more: the peer was confirmed, or switched anew.
    pub(super) fn end_trial(&mut self, name: &str) {
        self.trials.0.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_due_once_its_time_is_over() {
        let at = Duration::from_secs;
        let until = [("p1".to_owned(), at(10)), ("p2".to_owned(), at(20))];
        let trials = Trials(until.into());
        assert_eq!(trials.due(at(9)), [""; 0]);
        assert_eq!(trials.due(at(10)), ["p1"]);
        assert_eq!(trials.due(at(20)), ["p1", "p2"]);
    }
}
