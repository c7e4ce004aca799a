//! Keeps what operators switch, and what limits froze, in the state file, for reboots. A disk that hangs costs the run loop [`KEEP_WITHIN`], no
//! more. Never decides what is switched.
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use filter_engine::Switched;
use filter_lifecycle::spec::Spec;

use super::bounded::{self, Started};
use crate::state::{StateError, StateFile};

/// How long the run loop waits for the state file to be read or written.
pub(super) const KEEP_WITHIN: Duration = Duration::from_secs(1);
/// What limits froze is written no more often than this: a peer that flaps must not make the daemon write all the time.
pub(super) const KEEP_EVERY: Duration = Duration::from_secs(10);
/// How long a write waits for a command that writes the file.
const LOCK: Duration = Duration::from_millis(100);

/// What was switched, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    All,
    Peer(String),
    Interface(String),
    /// MACs that operators accepted.
    Accepted,
    /// What limits froze, and measure growth against, of all peers.
    Limits,
}

/// What is switched now.
#[derive(Debug)]
struct Latest {
    switched: Switched,
    spec: Arc<Spec>,
    /// What was switched since the file was last written.
    names: BTreeSet<Name>,
}

/// The state file, and what belongs into it.
#[derive(Debug)]
pub(super) struct Keeper {
    file: StateFile,
    /// A write that hung and goes on later writes what is switched then, not what was when it began.
    latest: Arc<Mutex<Latest>>,
    /// Since when a write has not ended yet.
    writing: Arc<Writing>,
}

/// Since when a write goes on, and who waits for its end.
#[derive(Debug, Default)]
struct Writing {
    since: Mutex<Option<Instant>>,
    ended: Condvar,
}

impl Writing {
    /// Begins a write. One that goes on is waited for, but in all no longer than [`KEEP_WITHIN`].
    fn begin(self: &Arc<Self>) -> Option<WriteEnd> {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let left = since.map_or(Duration::ZERO, |at| {
            KEEP_WITHIN.saturating_sub(at.elapsed())
        });
        let waited = self
            .ended
            .wait_timeout_while(since, left, |since| since.is_some());
        let (mut since, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if since.is_some() {
            return None;
        }
        *since = Some(Instant::now());
        Some(WriteEnd(Arc::clone(self)))
    }

    fn is_going_on(&self) -> bool {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|at| at.elapsed() < KEEP_WITHIN)
    }
}

/// Ends when the write does, however that is.
struct WriteEnd(Arc<Writing>);

impl Drop for WriteEnd {
    fn drop(&mut self) {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.ended.notify_all();
    }
}

/// What limits froze, as it is to be kept: written soon after it changed, and not waited for.
#[derive(Debug, Default)]
pub(super) struct Freezes {
    changed: bool,
    tried_at: Option<Instant>,
    writing: Option<Started<Result<(), StateError>>>,
    /// Why nothing was kept last: that is reported once.
    failed: Option<String>,
}

impl Freezes {
    /// What limits froze is not what was kept any more.
    pub(super) const fn changed(&mut self) {
        self.changed = true;
    }

    /// Does something wait to be kept, or is it being written?
    pub(super) const fn wait(&self) -> bool {
        self.changed || self.writing.is_some()
    }

    /// Is it time to keep it?
    pub(super) fn are_due(&self, keeper: &Keeper) -> bool {
        let is_soon = self.tried_at.is_some_and(|at| at.elapsed() < KEEP_EVERY);
        self.changed && !is_soon && !keeper.writing.is_going_on()
    }

    /// Begins to keep what is frozen now.
    ///
    /// # Errors
    /// Why it cannot be kept; it is tried again later.
    pub(super) fn keep(
        &mut self,
        keeper: &Keeper,
        now: &Switched,
        spec: &Arc<Spec>,
    ) -> Result<(), String> {
        self.tried_at = Some(Instant::now());
        self.writing = Some(keeper.begin(Name::Limits, now, spec)?);
        self.changed = false;
        Ok(())
    }

    /// Why the write that has ended since the last call kept nothing, if it did not, and not for the same reason as before.
    pub(super) fn failure(&mut self, keeper: &Keeper) -> Option<String> {
        let result = self.writing.as_ref()?.result()?;
        self.writing = None;
        let failed = keeper.outcome("write", result).err();
        self.changed |= failed.is_some();
        let before = std::mem::replace(&mut self.failed, failed);
        self.failed
            .clone()
            .filter(|why| before.as_ref() != Some(why))
    }
}

impl Keeper {
    pub(super) fn new(file: StateFile, spec: Arc<Spec>) -> Self {
        let latest = Latest {
            switched: Switched::default(),
            spec,
            names: BTreeSet::new(),
        };
        Self {
            file,
            latest: Arc::new(Mutex::new(latest)),
            writing: Arc::default(),
        }
    }

    /// What operators switched before the last reboot.
    ///
    /// # Errors
    /// Why it is not known.
    pub(super) fn read(&self) -> Result<Switched, String> {
        let file = self.file.clone();
        let read = bounded::within(KEEP_WITHIN, move || file.read());
        self.outcome("read", read)
    }

    /// Keeps what is switched now under this name. What commands wrote meanwhile under others stays; what the specification
    /// does not have any more goes.
    ///
    /// # Errors
    /// Why it does not outlive a reboot.
    pub(super) fn keep(&self, name: Name, now: &Switched, spec: &Arc<Spec>) -> Result<(), String> {
        let started = self.begin(name, now, spec)?;
        self.outcome("write", started.within(KEEP_WITHIN))
    }

    /// Begins to keep it.
    fn begin(
        &self,
        name: Name,
        now: &Switched,
        spec: &Arc<Spec>,
    ) -> Result<Started<Result<(), StateError>>, String> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = now.clone();
        if name != Name::Limits {
            // What waits to be written is newer than what the command knows of.
            now.take_limits(&mut latest.switched);
        }
        latest.switched = now;
        latest.spec = Arc::clone(spec);
        latest.names.insert(name);
        drop(latest);
        let Some(end) = self.writing.begin() else {
            let path = self.file.path().display();
            return Err(format!(
                "cannot write `{path}`: an earlier write still hangs; see whether its disk or server answers"
            ));
        };
        let (file, latest) = (self.file.clone(), Arc::clone(&self.latest));
        let write = move || {
            let _end = end;
            let change = |kept: &mut Switched| {
                let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
                latest.hand_over(kept);
            };
            file.change(LOCK, change).map(|_| ())
        };
        let started = bounded::start(write);
        started.map_err(|error| format!("cannot write `{}`: {error}", self.file.path().display()))
    }

    /// Is what growth is measured against, or freezes to, another than what was written last?
    pub(super) fn measures_otherwise(&self, now: &Switched) -> bool {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = &latest.switched;
        (&kept.measures, &kept.good_sources) != (&now.measures, &now.good_sources)
    }

    /// What became of the work, or why nothing did.
    fn outcome<T>(
        &self,
        what: &str,
        result: Result<Result<T, StateError>, bounded::Unfinished>,
    ) -> Result<T, String> {
        match result {
            Ok(done) => done.map_err(|error| error.to_string()),
            Err(error) => Err(format!(
                "cannot {what} `{}`: {error}",
                self.file.path().display()
            )),
        }
    }
}

impl Latest {
    fn hand_over(&mut self, kept: &mut Switched) {
        let Self {
            switched,
            spec,
            names,
        } = self;
        for name in std::mem::take(names) {
            match name {
                Name::All => kept.all_off = switched.all_off,
                Name::Peer(name) => match switched.peers.get(&name) {
                    Some(permit) => kept.set_peer(&name, permit.clone()),
                    None => _ = kept.peers.remove(&name),
                },
                Name::Interface(name) => match switched.interfaces.get(&name) {
                    Some(permit) => kept.set_interface(&name, permit.clone()),
                    None => _ = kept.interfaces.remove(&name),
                },
                Name::Accepted => kept.accepted.clone_from(&switched.accepted),
                Name::Limits => kept.take_limits(&mut switched.clone()),
            }
        }
        kept.peers.retain(|name, _| spec.peer_named(name).is_some());
        kept.accepted
            .retain(|name, _| spec.peer_named(name).is_some());
        for frozen in [&mut kept.frozen, &mut kept.too_wide, &mut kept.good_sources] {
            frozen.retain(|name, _| spec.peer_named(name).is_some());
        }
        kept.measures
            .retain(|name, _| spec.peer_named(name).is_some());
        let interfaces = &mut kept.interfaces;
        interfaces.retain(|name, _| spec.interface_named(name).is_some());
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::PathBuf;
    use std::sync::PoisonError;
    use std::time::Instant;

    use filter_engine::Permit;
    use nix::sys::stat::Mode;

    use super::*;
    use crate::config::{Config, ONE_PEER};

    const SOON: Duration = Duration::from_secs(20);

    fn directory(name: &str) -> PathBuf {
        let name = format!("bcp38-keeper-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    fn keeper(directory: &std::path::Path) -> (Keeper, Arc<Spec>) {
        let (config, _) = Config::parse(ONE_PEER, "test").unwrap();
        let file = StateFile::new(&directory.join("state.json"));
        (Keeper::new(file, Arc::clone(&config.spec)), config.spec)
    }

    fn observed(names: &[&str]) -> Switched {
        let mut switched = Switched::default();
        for name in names {
            switched.set_peer(name, Permit::observe());
        }
        switched
    }

    #[test]
    fn others_of_the_file_stay_and_who_is_not_configured_goes() {
        let _alone = bounded::ALONE
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let directory = directory("others");
        let (keeper, spec) = keeper(&directory);
        let file = StateFile::new(&directory.join("state.json"));
        let by_command = |kept: &mut Switched| {
            kept.set_interface("ixp0", Permit::observe());
            kept.set_peer("gone", Permit::observe());
        };
        file.change(SOON, by_command).unwrap();
        keeper
            .keep(Name::Peer("p1".to_owned()), &observed(&["p1"]), &spec)
            .unwrap();
        let kept = keeper.read().unwrap();
        assert_eq!(kept.peers.keys().collect::<Vec<_>>(), ["p1"]);
        assert_eq!(kept.interfaces.keys().collect::<Vec<_>>(), ["ixp0"]);
        keeper
            .keep(Name::Peer("p1".to_owned()), &observed(&[]), &spec)
            .unwrap();
        assert!(keeper.read().unwrap().peers.is_empty());
        fs::remove_dir_all(directory).unwrap();
    }

    /// A peer that flaps over its limit: one write at once, one later, none of them waited for; and what an operator switches
    /// meanwhile is kept.
    #[test]
    fn what_limits_froze_is_written_seldom_and_not_waited_for() {
        let _alone = bounded::ALONE
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let directory = directory("frozen");
        let (keeper, spec) = keeper(&directory);
        let mut freezes = Freezes::default();
        assert!(!freezes.are_due(&keeper));
        let mut writes = 0;
        for round in 0..1000 {
            freezes.changed();
            if freezes.are_due(&keeper) {
                let mut now = observed(&[]);
                let good = vec![format!("10.{}.0.0/16", round % 256).parse().unwrap()];
                now.frozen.insert("p1".to_owned(), good);
                now.too_wide.clone_from(&now.frozen);
                freezes.keep(&keeper, &now, &spec).unwrap();
                writes += 1;
            }
        }
        assert_eq!((writes, freezes.wait()), (1, true));
        keeper
            .keep(Name::Peer("p1".to_owned()), &observed(&["p1"]), &spec)
            .unwrap();
        assert_eq!(freezes.failure(&keeper), None);
        let kept = keeper.read().unwrap();
        let frozen = [("p1".to_owned(), vec!["10.0.0.0/16".parse().unwrap()])];
        assert_eq!(kept.frozen, frozen.into());
        assert_eq!(kept.too_wide, kept.frozen);
        assert!(kept.peers.contains_key("p1"));
        freezes.tried_at = freezes.tried_at.and_then(|at| at.checked_sub(KEEP_EVERY));
        assert!(freezes.are_due(&keeper));
        fs::remove_dir_all(directory).unwrap();
    }

    /// A FIFO without a writer: whoever opens it to read waits, as on a disk that hangs.
    #[test]
    fn a_file_that_hangs_costs_its_time_and_what_was_switched_last_is_written_later() {
        let _alone = bounded::ALONE
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let directory = directory("hangs");
        let (keeper, spec) = keeper(&directory);
        let path = directory.join("state.json");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        let begin = Instant::now();
        let name = Name::Peer("p1".to_owned());
        let why = keeper
            .keep(name.clone(), &observed(&[]), &spec)
            .unwrap_err();
        assert!(why.contains("no answer within 1 s"), "{why}");
        assert!(begin.elapsed() >= KEEP_WITHIN && begin.elapsed() < SOON);
        let why = keeper.keep(name, &observed(&["p1"]), &spec).unwrap_err();
        assert!(why.contains("an earlier write still hangs"), "{why}");
        assert!(
            begin.elapsed() < 2 * KEEP_WITHIN,
            "it is not waited for twice"
        );
        drop(File::options().write(true).open(&path).unwrap());
        // It was no state file of ours, so it is replaced.
        let end = Instant::now() + SOON;
        while !fs::metadata(&path).unwrap().is_file() {
            assert!(Instant::now() < end, "the write that hung never went on");
            std::thread::yield_now();
        }
        let kept = keeper.read().unwrap();
        assert_eq!(kept.peers.keys().collect::<Vec<_>>(), ["p1"]);
        fs::remove_dir_all(directory).unwrap();
    }
}
