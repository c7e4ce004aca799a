//! Taking another configuration in force without letting go of the wire: tables, counters and the program stay
//! while the feeds send everything anew. Never leaves half a configuration in force.
use std::path::Path;
use std::sync::Arc;

use filter_engine::Fitted;
use filter_lifecycle::spec::Limits;
use serde::Serialize;

use super::feeding::Feeding;
use super::polled::PolledSides;
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
        let outputs = self
            .outputs
            .prepare(&config.outputs)
            .map_err(|error| error.to_string())?;
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
    /// refused before anything is touched. The lease is renewed between the steps: files and feeds that hang take a second
    /// each, and the shortest lease is five.
    fn apply_config(&mut self, config: Arc<Config>) -> Result<(), RunError> {
        unchangeable(&self.config, &config)?;
        let fitted = Fitted::new(Arc::clone(&config.spec))?;
        self.engine.check(&fitted)?;
        let taken: Vec<_> = self.config.feeds.iter().filter_map(Feed::listens).collect();
        let built = Feeding::build(&config, &taken)?;
        self.take_notices(); // they are of the former configuration
        let exports = self.read_exports_of(&config);
        self.engine.renew_lease(self.now());
        self.routes.end(self.now(), &self.config, &mut self.engine);
        let former = Arc::clone(self.engine.fitted().spec());
        let applied = self.engine.apply(self.now(), fitted, exports);
        if !Arc::ptr_eq(self.engine.fitted().spec(), &former) {
            self.routes.begin_anew();
        }
        applied?;
        self.config = config;
        self.polled_sides = PolledSides::default();
        self.engine.renew_lease(self.now());
        self.feeding.end();
        self.engine.renew_lease(self.now());
        self.feeding.start(&self.config, built);
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
    let mut both = fixed(former).into_iter().zip(fixed(new));
    let changed = both.find(|(old, new)| old.value != new.value);
    changed.map_or(Ok(()), |(old, new)| {
        Err(RunError::Unchangeable {
            key: old.key,
            old: old.value,
            new: new.value,
            advice: old.advice,
        })
    })
}

/// A key that only a start takes in force.
struct Fixed {
    key: &'static str,
    value: String,
    /// What takes another value in force.
    advice: &'static str,
}

fn fixed(config: &Config) -> [Fixed; 8] {
    const RESTART: &str = "restart the daemon";
    const ANEW: &str = "stop the daemon, run `bcp38 detach --all`, and start it again";
    let key = |advice| move |key, value| Fixed { key, value, advice };
    let (restart, anew) = (key(RESTART), key(ANEW));
    let path = |path: &Path| path.display().to_string();
    // Each limit is named, so that one more is not forgotten here.
    let Limits {
        max_peers,
        table_memory_mib,
        samples_per_second,
        icmp_errors_per_second,
    } = config.spec.limits;
    [
        restart("socket", path(&config.daemon.socket)),
        restart("state_file", path(&config.daemon.state_file)),
        restart("samples_per_second", samples_per_second.to_string()),
        restart("icmp_errors_per_second", icmp_errors_per_second.to_string()),
        anew("pin_dir", path(&config.daemon.pin_dir)),
        anew("max_peers", max_peers.to_string()),
        anew("table_memory_mib", table_memory_mib.to_string()),
        anew("asn", config.spec.router.asn.to_string()),
    ]
}
