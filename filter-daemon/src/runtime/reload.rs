//! Taking another configuration in force without letting go of the wire: tables, counters and the program stay
//! while the feeds tell everything anew. Never leaves half a configuration in force.
use std::sync::Arc;

use filter_engine::Fitted;
use serde::Serialize;

use super::{RunError, Runtime};
use crate::config::Config;

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
        let (config, warnings) = Config::load(&file).map_err(|error| error.to_string())?;
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

    /// Everything is told anew by the feeds; until then the tables in force stay, as after a restart.
    fn apply_config(&mut self, config: Arc<Config>) -> Result<(), RunError> {
        let fitted = Fitted::new(Arc::clone(&config.spec))?;
        self.stop_feeds.stop();
        for thread in self.feeds.drain(..).filter_map(|feed| feed.thread) {
            _ = thread.join(); // a feed that panicked has said so
        }
        while self.batches.try_recv().is_ok() {} // of feeds that are no more
        self.tell_notices(); // they are of the former configuration
        self.config = config;
        let exports = self.read_exports();
        self.engine.apply(self.now(), fitted, exports)?;
        self.start_feeds()
    }
}
