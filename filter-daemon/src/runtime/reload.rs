//! Taking another configuration in force without letting go of the wire: tables, counters and the program stay
//! while the feeds tell everything anew. Never leaves half a configuration in force.
use std::collections::BTreeMap;
use std::sync::Arc;

use filter_core::Mode;

use super::{RunError, Runtime, links};
use crate::config::Config;
use filter_lifecycle::Lifecycle;
use filter_lifecycle::policy::Withheld;
use filter_lifecycle::route::PeerId;

impl Runtime {
    /// Reads the configuration again. Anything wrong with it leaves the old one in force.
    pub(super) fn reload(&mut self) {
        let Some(file) = self.options.config_file.clone() else {
            return self
                .journal
                .note("reload-refused", "the daemon was started without a file");
        };
        let (config, warnings) = match Config::load(&file) {
            Ok(loaded) => loaded,
            Err(error) => return self.journal.note("reload-refused", &error.to_string()),
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
        let links = links(&config)?;
        self.stop_feeds.stop();
        for feed in self.feeds.drain(..) {
            _ = feed.join(); // a feed that panicked has said so
        }
        while self.batches.try_recv().is_ok() {} // of feeds that are no more
        let words = self.operators_words();
        let names: Vec<String> = self
            .config
            .spec
            .peers
            .iter()
            .map(|p| p.name.clone())
            .collect();
        self.lifecycle = Lifecycle::new(Arc::clone(&config.spec));
        self.withheld = Withheld::of(&config.spec);
        self.links = links;
        self.config = config;
        self.pending.clear();
        self.detach_others()?;
        self.publish_lists()?;
        self.register_peers()?;
        self.stations.renumber(|old| {
            let (id, _) = self.config.spec.peer_named(names.get(old.0 as usize)?)?;
            Some(id)
        });
        self.repeat(&words);
        self.attach()?;
        self.read_exports();
        self.place_stations()?;
        self.start_feeds()
    }

    /// Modes that an operator, or the breaker, set against the configuration, by the peer's name.
    fn operators_words(&self) -> BTreeMap<String, (Mode, Mode)> {
        let now = self.now();
        let word = |(id, peer): (PeerId, &filter_lifecycle::spec::Peer)| {
            let mode = if self.peers[id.0 as usize].tripped {
                Mode::Observe
            } else {
                self.lifecycle.status(now, id).mode
            };
            (mode != peer.mode).then(|| (peer.name.clone(), (peer.mode, mode)))
        };
        self.config.spec.peer_ids().filter_map(word).collect()
    }

    /// What an operator said at run time holds until the configuration itself says something new.
    fn repeat(&mut self, words: &BTreeMap<String, (Mode, Mode)>) {
        let config = Arc::clone(&self.config);
        for (id, peer) in config.spec.peer_ids() {
            if let Some(&(configured, mode)) = words.get(&peer.name)
                && configured == peer.mode
            {
                self.lifecycle.set_mode(id, mode);
            }
        }
    }

    /// Lets go of interfaces that are no longer configured.
    fn detach_others(&mut self) -> Result<(), RunError> {
        let attached = self.filter.interfaces().map(|(name, _)| name.to_owned());
        let attached: Vec<String> = attached.collect();
        for name in attached {
            if self.config.spec.interface_named(&name).is_none() {
                self.filter.detach(&name)?;
            }
        }
        Ok(())
    }
}
