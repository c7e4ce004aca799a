//! Taking another configuration in force without letting go of the wire: tables, counters and the program stay
//! while the feeds tell everything anew. Never leaves half a configuration in force.
use std::path::Path;
use std::sync::Arc;

use filter_engine::Fitted;

use super::{READ_WITHIN, RunError, Runtime, bounded};
use crate::config::{Config, Warning};

impl Runtime {
    /// Reads the configuration again. Anything wrong with it leaves the old one in force.
    pub(super) fn reload(&mut self) {
        let Some(file) = self.options.config_file.clone() else {
            return self
                .journal
                .note("reload-refused", "the daemon was started without a file");
        };
        let (config, warnings) = match read(&file) {
            Ok(loaded) => loaded,
            Err(why) => return self.journal.note("reload-refused", &why),
        };
        for warning in warnings {
            log::warn!("{warning}");
        }
        let former = Arc::clone(&self.config);
        let Err(error) = self.apply_config(Arc::new(config)) else {
            return self.journal.note("reloaded", &file.display().to_string());
        };
        self.journal.note("reload-refused", &error.to_string());
        if let Err(error) = self.apply_config(former) {
            let text = format!("the former configuration cannot be had back either: {error}");
            self.journal.note("reload-incomplete", &text);
        }
    }

    /// Everything is told anew by the feeds; until then the tables in force stay, as after a restart.
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
