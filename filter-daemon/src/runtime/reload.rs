//! Taking another configuration in force without letting go of the wire: tables, counters and the program stay
//! while the feeds send everything anew. Never leaves half a configuration in force.
use std::path::Path;
use std::sync::Arc;

use filter_engine::Fitted;
use serde::Serialize;

use super::{READ_WITHIN, RunError, Runtime, bounded};
use crate::config::{Config, Feed, Warning};

/// `reload`: what is in force now.
#[derive(Debug, Serialize)]
pub(super) struct Reloaded {
    /// The file.
    reloaded: String,
    /// What is odd in it.
    warnings: Vec<String>,
}

impl Runtime {
    /// Reads the configuration again. Anything wrong with it leaves the old one in force, and is the answer.
    pub(super) fn reload(&mut self) -> Result<Reloaded, String> {
        self.manager.reloading();
        let answer = self.read_again();
        self.manager.ready();
        match &answer {
            Ok(reloaded) => self.journal.note("reloaded", &reloaded.reloaded),
            Err(why) => self.journal.note("reload-refused", why),
        }
        answer
    }

    fn read_again(&mut self) -> Result<Reloaded, String> {
        let file = self.options.config_file.clone();
        let file = file.ok_or("the daemon was started without a file")?;
        let (config, warnings) = read(&file)?;
        for warning in &warnings {
            log::warn!("{warning}");
        }
        let outputs = self.outputs.prepare(&config.outputs);
        let outputs = outputs.map_err(|error| error.to_string())?;
        let former = Arc::clone(&self.config);
        let Err(error) = self.apply_config(Arc::new(config)) else {
            self.outputs.change(outputs);
            return Ok(Reloaded {
                reloaded: file.display().to_string(),
                warnings: warnings.iter().map(ToString::to_string).collect(),
            });
        };
        let untouched = Arc::ptr_eq(self.engine.fitted().spec(), &former.spec);
        if untouched && Arc::ptr_eq(&self.config, &former) {
            return Err(error.to_string());
        }
        if let Err(error) = self.apply_config(former) {
            let text = format!("the former configuration cannot be had back either: {error}");
            self.journal.note("reload-incomplete", &text);
        }
        Err(error.to_string())
    }

    /// The feeds send everything anew; until then the tables in force stay, as after a restart. What can be refused is
    /// refused before anything is touched.
    fn apply_config(&mut self, config: Arc<Config>) -> Result<(), RunError> {
        unchangeable(&self.config, &config)?;
        let fitted = Fitted::new(Arc::clone(&config.spec))?;
        self.engine.check(&fitted)?;
        let taken = self.config.feeds.iter().filter_map(Feed::listens).collect();
        let built = self.build_feeds(&config, &taken)?;
        self.tell_notices(); // they are of the former configuration
        let exports = self.read_exports_of(&config);
        self.engine.apply(self.now(), fitted, exports)?;
        self.config = config;
        self.end_feeds();
        self.start_feeds(built);
        Ok(())
    }
}

/// The run loop waits for no file that hangs.
fn read(file: &Path) -> Result<(Config, Vec<Warning>), String> {
    let path = file.to_owned();
    match bounded::within(READ_WITHIN, move || Config::load(&path)) {
        Ok(loaded) => loaded.map_err(|error| error.to_string()),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

/// What the maps were made for, and where the daemon's own things are, stays until the daemon is started anew.
fn unchangeable(former: &Config, new: &Config) -> Result<(), RunError> {
    let path = |path: &std::path::Path| path.display().to_string();
    let (old_daemon, daemon) = (&former.daemon, &new.daemon);
    let (old_limits, limits) = (&former.spec.limits, &new.spec.limits);
    let (old_asn, asn) = (former.spec.router.asn, new.spec.router.asn);
    let samples = [old_limits, limits].map(|each| each.samples_per_second.to_string());
    let restart = "restart the daemon";
    let anew = "stop the daemon, run `bcp38 detach` for each interface, and start it again";
    let keys = [
        (
            "socket",
            path(&old_daemon.socket),
            path(&daemon.socket),
            restart,
        ),
        (
            "pin_dir",
            path(&old_daemon.pin_dir),
            path(&daemon.pin_dir),
            anew,
        ),
        (
            "state_file",
            path(&old_daemon.state_file),
            path(&daemon.state_file),
            restart,
        ),
        (
            "max_peers",
            old_limits.max_peers.to_string(),
            limits.max_peers.to_string(),
            anew,
        ),
        (
            "table_memory_mib",
            old_limits.table_memory_mib.to_string(),
            limits.table_memory_mib.to_string(),
            anew,
        ),
        (
            "samples_per_second",
            samples[0].clone(),
            samples[1].clone(),
            restart,
        ),
        ("asn", old_asn.to_string(), asn.to_string(), anew),
    ];
    let changed = keys.into_iter().find(|(_, old, new, _)| old != new);
    changed.map_or(Ok(()), |(key, old, new, advice)| {
        Err(RunError::Unchangeable {
            key,
            old,
            new,
            advice,
        })
    })
}
