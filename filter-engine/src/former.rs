//! From a version with another data-plane schema to this one. Its program goes on filtering an interface, by its own tables,
//! until ours know as much; then ours takes its place in one step. Never reads a table of it, and never keeps it for longer
//! than `stale_hold`: what is announced meanwhile is not in its tables.
use std::time::Duration;

use filter_core::{Classes, Mode};
use filter_lifecycle::TICK;
use filter_lifecycle::route::PeerId;
use filter_lifecycle::spec::InterfaceId;
use filter_loader::{FormerProgram, Target};

use crate::notice::Notice;
use crate::{Engine, lease};

/// How long the former programs may stay, and when to look again.
#[derive(Debug, Default)]
pub(crate) struct Formers {
    until: Option<Duration>,
    look_at: Duration,
}

impl Engine {
    /// Does a former version's program filter this interface still?
    pub(crate) fn is_left_to_former(&mut self, now: Duration, id: InterfaceId) -> bool {
        let former = self.former_on(id).filter(|(_, former)| !former.is_off);
        let Some((name, former)) = former else {
            return false;
        };
        let FormerProgram {
            program, schema, ..
        } = former;
        let stale_hold = self.fitted.spec().timers.stale_hold;
        self.formers.until.get_or_insert(now + stale_hold);
        let why = format!(
            "program {program} of a version with schema {schema} filters there until this one knows as much"
        );
        if let Err(error) = self.prepare(id) {
            self.notices.push(Notice::KernelFailed(error)); // once more when it is attached
        }
        if self.devices.is_left_to_former(id, why) {
            self.notices.push(Notice::FormerKept {
                interface: name,
                program,
                schema,
            });
        }
        true
    }

    fn former_on(&self, id: InterfaceId) -> Option<(String, FormerProgram)> {
        let name = &self.fitted.spec().interface(id)?.name;
        let ifindex = self.fitted.links().get(&id)?.ifindex;
        Some((name.clone(), self.filter.former(name, ifindex)?))
    }

    /// Puts our program in the place of a former version's, wherever our tables know as much. After publishing: what is
    /// granted is live then.
    pub(crate) fn replace_formers(&mut self, now: Duration) {
        let Some(until) = self.formers.until.filter(|_| now >= self.formers.look_at) else {
            return;
        };
        self.formers.look_at = now + TICK;
        let ids: Vec<InterfaceId> = self.fitted.links().keys().copied().collect();
        let (mut is_any_left, mut moved) = (false, false);
        for id in ids {
            let Some((interface, former)) = self.former_on(id) else {
                continue;
            };
            if !former.is_off && now < until && self.lacks_something(now, id) {
                is_any_left = true;
                continue;
            }
            match self.attach_here(now, id) {
                Ok(()) => {
                    moved = true;
                    self.notices.push(Notice::FormerReplaced { interface });
                }
                Err(_) => is_any_left = true, // said as the interface's refusal, and tried again
            }
        }
        if !is_any_left {
            self.formers.until = None;
        }
        if moved {
            self.say_where();
            self.placer.moved();
        }
    }

    /// An operator switched something: the former version is told too, and looked at before anything else is done.
    pub(crate) fn permit_former(&mut self, target: Target<'_>, classes: Classes) {
        if let Err(error) = self.filter.permit_former(target, classes) {
            self.notices.push(Notice::KernelFailed(error));
        }
        self.formers.look_at = Duration::ZERO;
    }

    /// Is there a peer on the interface of which feeds have not reported everything, or whose table is not live?
    fn lacks_something(&self, now: Duration, id: InterfaceId) -> bool {
        let mut peers = self.fitted.peers_on(id).into_iter();
        !self.placer.has_listed_neighbours() || peers.any(|peer| self.is_incomplete(now, peer))
    }

    fn is_incomplete(&self, now: Duration, id: PeerId) -> bool {
        if self.lifecycle.wanted_mode(id) != Mode::Enforce {
            return false;
        }
        let granted = self.lifecycle.granted(now, id).within(self.judged(id));
        let live = self.filter.wanted(self.slots.of(id));
        let is_live = live.is_ok_and(|live| granted.within(live.classes()) == granted);
        !is_live || lease::is_loading(now, id, &self.lifecycle)
    }
}
