//! `enforce --confirm-within`: what was switched on for a time goes back to what it was unless somebody confirms it. Kept in a
//! file of its own, so that a daemon that starts anew takes back what was not confirmed.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use filter_core::{Class, Mode};
use filter_engine::{Engine, Permit};
use filter_lifecycle::json::text;
use filter_lifecycle::route::PeerId;
use serde::Serialize;
use serde_json::Value;

use super::answer::{Answering, refuse_others, value};
use super::journal::Journal;
use super::keeper::Name;
use super::polled::{self, Polled};
use super::{READ_WITHIN, bounded};
use crate::config::Config;

/// The longest trial.
pub const MAX_TRIAL: Duration = Duration::from_secs(86_400);

/// One peer's.
#[derive(Clone, Debug)]
struct Trial {
    until: Duration,
    before: Permit,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Trials {
    path: PathBuf,
    running: BTreeMap<String, Trial>,
}

impl Trials {
    /// None run. The file is beside the state file.
    pub(super) fn new(state_file: &Path) -> Self {
        Self {
            path: state_file.with_extension("trials.json"),
            running: BTreeMap::new(),
        }
    }

    /// What an earlier daemon left: what each peer is to go back to.
    fn left(&self) -> Result<BTreeMap<String, Permit>, String> {
        let path = self.path.clone();
        let read = bounded::within(READ_WITHIN, move || fs::read(path));
        let failed = |why: &dyn std::fmt::Display| {
            format!("`{}`: {why}; look at what is enforced", self.path.display())
        };
        match read {
            Ok(Ok(bytes)) => serde_json::from_slice(&bytes).map_err(|error| failed(&error)),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Ok(Err(error)) => Err(failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }

    fn begin(&mut self, name: &str, trial: Trial) -> Result<(), String> {
        let former = self.running.insert(name.to_owned(), trial);
        let written = self.write();
        if written.is_err() {
            match former {
                Some(former) => _ = self.running.insert(name.to_owned(), former),
                None => _ = self.running.remove(name),
            }
        }
        written
    }

    fn end(&mut self, name: &str) -> Option<Trial> {
        let trial = self.running.remove(name)?;
        if let Err(why) = self.write() {
            log::warn!("{why}");
        }
        Some(trial)
    }

    fn due(&self, now: Duration) -> Vec<String> {
        let due = self.running.iter().filter(|(_, trial)| trial.until <= now);
        due.map(|(name, _)| name.clone()).collect()
    }

    /// How long a peer's trial goes on.
    pub(super) fn seconds_left(&self, now: Duration, name: &str) -> Option<u64> {
        let trial = self.running.get(name)?;
        Some(trial.until.saturating_sub(now).as_secs())
    }

    fn write(&self) -> Result<(), String> {
        let permits = self.running.iter();
        let permits: BTreeMap<&str, &Permit> = permits
            .map(|(name, trial)| (name.as_str(), &trial.before))
            .collect();
        let bytes = serde_json::to_vec_pretty(&permits).map_err(|error| error.to_string())?;
        let (path, is_empty) = (self.path.clone(), permits.is_empty());
        let written = bounded::within(READ_WITHIN, move || replace(&path, &bytes, is_empty));
        let why = match written {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Err(format!("cannot write `{}`: {why}", self.path.display()))
    }
}

/// Written whole; removed when there is nothing in it.
fn replace(path: &Path, bytes: &[u8], is_empty: bool) -> io::Result<()> {
    if is_empty {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let temporary = path.with_extension("new");
    let mut file = fs::File::create(&temporary)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
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
        refuse_others(&format!("peer `{name}`"), peer.enforce, only)?;
        let configured = Permit {
            mode: peer.mode,
            only: Vec::new(),
            specified: None,
        };
        let known = self.trials.running.get(&name).map(|it| it.before.clone());
        let before = known.or_else(|| self.engine.switched().peers.get(&name).cloned());
        let trial = Trial {
            until: self.now + within,
            before: before.unwrap_or(configured),
        };
        let begun = self.trials.begin(&name, trial);
        begun.map_err(|why| format!("`{name}` stays as it is: {why}"))?;
        self.trials.mark(self.config, self.engine);
        let status = self.engine.set_mode_only(self.now, id, Mode::Enforce, only);
        let seconds = within.as_secs();
        let text = format!("{name}: enforced for {seconds} s unless it is confirmed");
        self.journal.note("trial-begun", &text);
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
        if self.trials.end(&name).is_none() {
            return Err(format!("nothing of `{name}` waits for being confirmed"));
        }
        self.trials.mark(self.config, self.engine);
        self.journal.note("trial-confirmed", &name);
        let not_kept = self.keep_switched(Name::Peer(name.clone()));
        value(Confirmed {
            confirmed: &name,
            not_kept,
        })
    }

    /// An operator switched the peer anew: that is what counts.
    pub(super) fn end_trial(&mut self, name: &str) {
        if self.trials.end(name).is_some() {
            self.trials.mark(self.config, self.engine);
        }
    }
}

/// What taking back a trial may touch.
pub(super) struct Hands<'a> {
    pub(super) now: Duration,
    pub(super) config: &'a Config,
    pub(super) engine: &'a mut Engine,
    pub(super) journal: &'a mut Journal,
}

impl Trials {
    /// Takes back what was not confirmed in time.
    pub(super) fn tend(&mut self, mut hands: Hands<'_>) {
        for name in self.due(hands.now) {
            self.roll_back(&name, "it was not confirmed in time", &mut hands);
        }
    }

    /// Takes back what was not confirmed before the daemon ends.
    pub(super) fn end_all(&mut self, mut hands: Hands<'_>) {
        let names: Vec<String> = self.running.keys().cloned().collect();
        for name in names {
            self.roll_back(&name, "the daemon stops", &mut hands);
        }
    }

    /// Takes back what an earlier daemon left on trial.
    pub(super) fn take_back(&mut self, mut hands: Hands<'_>) {
        let left = match self.left() {
            Ok(left) => left,
            Err(why) => return hands.journal.note("trial-unreadable", &why),
        };
        for (name, before) in left {
            let until = Duration::ZERO;
            self.running.insert(name.clone(), Trial { until, before });
            self.roll_back(
                &name,
                "the daemon ended before it was confirmed",
                &mut hands,
            );
        }
    }

    fn roll_back(&mut self, name: &str, why: &str, hands: &mut Hands<'_>) {
        let Some(Trial { before, .. }) = self.end(name) else {
            return;
        };
        self.mark(hands.config, hands.engine);
        let Some((id, _)) = hands.config.spec.peer_named(name) else {
            return;
        };
        let Permit { mode, only, .. } = before;
        hands.engine.set_mode_only(hands.now, id, mode, &only);
        let text = format!("{name}: {mode} again, because {why}");
        hands.journal.note("trial-rolled-back", &text);
    }

    /// Until a trial is confirmed, the lease's end observes, whatever `on_lease_end` says.
    pub(super) fn mark(&self, config: &Config, engine: &mut Engine) {
        let names = self.running.keys();
        let ids = names.filter_map(|name| config.spec.peer_named(name).map(|(id, _)| id));
        let ids: BTreeSet<PeerId> = ids.collect();
        engine.set_on_trial(ids);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_trial_is_kept_in_its_file_until_it_ends() {
        let directory = std::env::temp_dir().join(format!("bcp38-trials-{}", std::process::id()));
        let state_file = directory.join("state.json");
        let mut trials = Trials::new(&state_file);
        assert_eq!(trials.left(), Ok(BTreeMap::new()));
        let trial = |seconds| Trial {
            until: Duration::from_secs(seconds),
            before: Permit::observe(),
        };
        trials.begin("p1", trial(10)).unwrap();
        trials.begin("p2", trial(20)).unwrap();
        let at = Duration::from_secs;
        assert_eq!(trials.due(at(9)), [""; 0]);
        assert_eq!(trials.due(at(10)), ["p1"]);
        assert_eq!(trials.seconds_left(at(9), "p2"), Some(11));
        let left = Trials::new(&state_file).left().unwrap();
        assert_eq!(left.keys().collect::<Vec<_>>(), ["p1", "p2"]);
        assert_eq!(left["p1"], Permit::observe());
        assert!(trials.end("p1").is_some() && trials.end("p1").is_none());
        assert!(trials.end("p2").is_some());
        assert!(!trials.path.exists(), "nothing is on trial");
        fs::write(&trials.path, "{").unwrap();
        assert!(trials.left().is_err());
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_trial_that_cannot_be_kept_does_not_begin() {
        let mut trials = Trials::new(Path::new("/proc/nowhere/state.json"));
        let trial = Trial {
            until: Duration::ZERO,
            before: Permit::observe(),
        };
        assert!(trials.begin("p1", trial).is_err());
        assert_eq!(trials.seconds_left(Duration::ZERO, "p1"), None);
    }
}
