//! Taking another specification in force without letting go of the wire: tables, counters and the program stay while
//! the feeds tell everything anew.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use filter_core::Mode;
use filter_lifecycle::Lifecycle;

use crate::fitted::Fitted;
use crate::place::Exports;
use crate::{Engine, EngineError};

/// A mode that an operator set against the specification.
#[derive(Clone, Copy, Debug)]
struct Override {
    specified: Mode,
    mode: Mode,
}

impl Engine {
    /// Takes another specification in force. The feeds, by their new numbers, are expected to tell everything anew;
    /// until then the tables in force stay, as after a restart. Modes an operator set stay for peers
    /// whose specified mode is the same. Take the notices first: their ids are the former specification's.
    ///
    /// # Errors
    /// What failed. Part of the new specification may be in force then: apply the former one again.
    pub fn apply(
        &mut self,
        now: Duration,
        fitted: Fitted,
        exports: Exports,
    ) -> Result<(), EngineError> {
        let overrides = self.overrides();
        let slots = self.reserve_slots(&Arc::clone(fitted.spec()))?;
        let former = std::mem::replace(&mut self.fitted, fitted);
        self.lifecycle = Lifecycle::new(Arc::clone(self.fitted.spec()));
        self.publisher.forget_pending();
        self.feeds_down.clear();
        self.take_slots(now, slots);
        let spec = self.fitted.spec();
        self.placer.renumber(|old| {
            let name = &former.spec().peer(old)?.name;
            let (id, _) = spec.peer_named(name)?;
            Some(id)
        });
        self.repeat(&overrides);
        self.look_up_devices(now)?;
        self.detach_others()?;
        self.publish_lists()?;
        self.give_back_slots()?;
        self.attach(now)?;
        self.placer.seed(exports);
        self.place_stations()?;
        self.follower.follow(self.devices.places());
        self.follower.again();
        Ok(())
    }

    /// By the peer's name.
    fn overrides(&self) -> BTreeMap<String, Override> {
        let mut overrides = BTreeMap::new();
        for (id, peer) in self.fitted.spec().peer_ids() {
            let mode = self.lifecycle.wanted_mode(id);
            if mode != peer.mode {
                let specified = peer.mode;
                overrides.insert(peer.name.clone(), Override { specified, mode });
            }
        }
        overrides
    }

    /// What an operator said at run time holds until the specification itself says something new.
    fn repeat(&mut self, overrides: &BTreeMap<String, Override>) {
        for (id, peer) in self.fitted.spec().peer_ids() {
            if let Some(former) = overrides.get(&peer.name)
                && former.specified == peer.mode
            {
                self.lifecycle.set_mode(id, former.mode);
            }
        }
    }

    /// Lets go of interfaces that are no longer specified.
    fn detach_others(&mut self) -> Result<(), EngineError> {
        let attached = self.filter.interfaces().map(|(name, _)| name.to_owned());
        let attached: Vec<String> = attached.collect();
        for name in attached {
            if self.fitted.spec().interface_named(&name).is_none() {
                self.filter.detach(&name)?;
            }
        }
        Ok(())
    }
}
