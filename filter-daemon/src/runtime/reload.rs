//! Taking another configuration in force without letting go of the wire: tables, counters and the program stay
//! while the feeds send everything anew. Never leaves half a configuration in force.
use std::path::Path;
use std::sync::Arc;

use filter_engine::Fitted;
use serde::Serialize;

use super::{READ_WITHIN, RunError, Runtime, bounded};
use crate::config::{Config, Warning};

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
        let former = Arc::clone(&self.config);
        let Err(error) = self.apply_config(Arc::new(config)) else {
            return Ok(Reloaded {
                reloaded: file.display().to_string(),
                warnings: warnings.iter().map(ToString::to_string).collect(),
            });
        };
        if let Err(error) = self.apply_config(former) {
            let text = format!("the former configuration cannot be had back either: {error}");
            self.journal.note("reload-incomplete", &text);
        }
        Err(error.to_string())
    }

    /// The feeds send everything anew; until then the tables in force stay, as after a restart.
    fn apply_config(&mut self, config: Arc<Config>) -> Result<(), RunError> {
        let fitted = Fitted::new(Arc::clone(&config.spec))?;
        self.end_feeds();
        self.tell_notices(); // they are of the former configuration
        self.config = config;
        let exports = self.read_exports();
        self.engine.apply(self.now(), fitted, exports)?;
        self.start_feeds()
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
