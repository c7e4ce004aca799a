//! Keeping the program where it belongs: each interface's record follows its device, the program is attached again where
//! it is not, and says so meanwhile. Never waits for a device, and never lets one that is missing keep another from
//! being protected.
use std::collections::BTreeMap;
use std::time::Duration;

use filter_core::{Classes, Reason};
use filter_lifecycle::devices::Hook;
use filter_lifecycle::route::PeerId;
use filter_lifecycle::spec::{HookChoice, InterfaceId};
use filter_loader::{
    AttachMode, Attached, Counters, Device, Error, HookKind, LeaseEnd, Occupant, Target, Wanted,
    program_text,
};

use crate::devices::{Change, TC};
use crate::notice::Notice;
use crate::wire::{Seen, Unrecorded};
use crate::{Engine, EngineError, peering};

impl Engine {
    /// The devices of a new specification, before anything is attached.
    pub(crate) fn look_up_devices(&mut self, now: Duration) -> Result<(), EngineError> {
        self.devices.reset(self.fitted.spec());
        let (mut changes, looked) = self.devices.work(now);
        for (id, name) in self.devices.missing() {
            if let Some((index, program)) = self.filter.left_on(&name) {
                self.devices.was(id, index, program);
            }
        }
        let (renamed, _) = self.devices.work(now); // an error shows again with the next look
        changes.extend(renamed);
        for (id, change) in changes {
            match change {
                Change::Facts(facts) => _ = self.fitted.set_facts(id, &facts),
                Change::Gone => _ = self.fitted.remove_link(id),
            }
        }
        self.follow_hidden_tags(now); // before anything can be in force that relies on tags
        self.watch_devices();
        Ok(looked?)
    }

    /// Attaches wherever there is a device. One that is not there yet, or that refuses now, keeps no other unprotected: that
    /// is said, and it is tried again.
    ///
    /// # Errors
    /// What will not change by itself: the device has no Ethernet header, or the filter has no room for the interface.
    pub(crate) fn attach(&mut self, now: Duration) -> Result<(), EngineError> {
        let ids: Vec<InterfaceId> = self.fitted.links().keys().copied().collect();
        let mut refused = Ok(());
        for id in ids {
            match self.attach_one(now, id) {
                Ok(())
                | Err(Error::UnknownInterface(_) | Error::Busy { .. } | Error::Attach { .. }) => {}
                Err(error) => refused = refused.and(Err(error.into())),
            }
        }
        self.say_where();
        refused
    }

    fn attach_one(&mut self, now: Duration, id: InterfaceId) -> Result<(), Error> {
        if self.is_left_to_former(now, id) {
            return Ok(()); // see `Engine::replace_formers`
        }
        self.attach_here(now, id)
    }

    /// As [`Engine::attach_one`], whatever a version before left there.
    pub(crate) fn attach_here(&mut self, now: Duration, id: InterfaceId) -> Result<(), Error> {
        let attached = self
            .try_to_attach(id)
            .map_err(|error| self.name_occupant(id, error));
        match attached {
            Ok(Some(attached)) => {
                self.is_attached_at(now, id, &attached);
                self.attach_as_configured(now, id);
                self.say_left_out(id);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => {
                self.devices.tried(now, id, Err(error.to_string()));
                Err(error)
            }
        }
    }

    /// Notes where the program is, and why there.
    fn is_attached_at(&mut self, now: Duration, id: InterfaceId, attached: &Attached) {
        if self
            .devices
            .attachment(id)
            .hook
            .is_none_or(|hook| (hook == TC) != attached.kind.is_tc())
        {
            self.test_again();
        }
        let is_tc = attached.kind.is_tc();
        let why = self
            .why_auto(id, is_tc, attached.program)
            .unwrap_or_else(|| attached.why.clone());
        self.devices.tried(now, id, Ok((attached, why)));
    }

    /// The program at a hook that was in use nowhere is asked about every table that is live.
    fn test_again(&mut self) {
        for peer in (0..self.fitted.spec().peers.len() as u32).map(PeerId) {
            self.publisher.again(peer);
        }
    }

    /// What of the device, and not of its driver, has `auto` take tc.
    fn why_auto(&self, id: InterfaceId, is_tc: bool, ours: u32) -> Option<String> {
        if !is_tc || self.hook_of(id) != Some(HookChoice::Auto) {
            return None;
        }
        let foreign = self.devices.foreign(id);
        if let Some(program) = foreign.filter(|program| program.id != ours) {
            let (text, mode) = (program_text(program.id), program.hook.name());
            return Some(format!("{text} is on the device, attached at {mode}"));
        }
        let hidden = "in xdp the tags that the driver takes out of frames are not seen";
        self.devices.hides_tags(id).then(|| hidden.to_owned())
    }

    fn hook_of(&self, id: InterfaceId) -> Option<HookChoice> {
        let interface = self.fitted.spec().interface(id)?;
        Some(interface.hook)
    }

    /// At which hook to attach: as configured, but with `auto` where tags are seen.
    fn attach_mode(&self, id: InterfaceId) -> AttachMode {
        match self.hook_of(id).unwrap_or_default() {
            HookChoice::Auto if self.devices.hides_tags(id) => AttachMode::Tc,
            choice => mode_of(choice),
        }
    }

    fn try_to_attach(&mut self, id: InterfaceId) -> Result<Option<Attached>, Error> {
        let whole = self.fitted.spec();
        let Some(link) = self.fitted.links().get(&id) else {
            return Ok(None);
        };
        let Some(spec) = peering::interface_spec(whole, id, link) else {
            return Ok(None);
        };
        let mode = self.attach_mode(id);
        if self.devices.is_stubborn(id) {
            // What was taken over is on a device of another namespace, or on none: it is of no use here.
            self.filter.detach(&spec.name)?;
        }
        let device = Device::at(link.ifindex, &spec.name)?;
        let is_new = !self.filter.knows_interface(&spec.name);
        let members = self.devices.members(id);
        let attached = self.filter.attach_to(&device, &spec, members, mode)?;
        let judged = match attached.kind.is_tc() {
            true => Classes::ALL,
            false => self.devices.judged(id),
        };
        self.want_on(id, &spec.name, is_new, judged)?;
        Ok(Some(attached))
    }

    /// Writes all that the program is to know of an interface, before it is there.
    ///
    /// # Errors
    /// What the loader says.
    pub(crate) fn prepare(&mut self, id: InterfaceId) -> Result<(), Error> {
        let whole = self.fitted.spec();
        let Some(link) = self.fitted.links().get(&id) else {
            return Ok(());
        };
        let Some(spec) = peering::interface_spec(whole, id, link) else {
            return Ok(());
        };
        let is_new = !self.filter.knows_interface(&spec.name);
        self.filter.set_interface(link.ifindex, &spec)?;
        self.filter
            .set_members(&spec.name, self.devices.members(id))?;
        self.want_on(id, &spec.name, is_new, self.devices.judged(id))
    }

    /// Switches an interface as it is configured, and if it is new as operators permit.
    fn want_on(
        &self,
        id: InterfaceId,
        name: &str,
        is_new: bool,
        judged: Classes,
    ) -> Result<(), Error> {
        let target = Target::Interface(name);
        // Of an interface that is new, only what a version before was told to leave alone is forbidden.
        let is_off = self.filter.allowed(target)?.is_empty();
        if let Some(permit) = self.switched.interfaces.get(name)
            && is_new
            && !is_off
        {
            self.filter.permit(target, permit.classes())?;
        }
        let classes = self.interface_granted(id).within(judged);
        let wanted = Wanted::new(classes, LeaseEnd::Observe);
        self.filter.set_wanted(target, wanted)
    }

    /// A program that an earlier process, or specification, attached at another hook than the configured one goes there, or
    /// it is said why not.
    fn attach_as_configured(&mut self, now: Duration, id: InterfaceId) {
        let at = self.devices.attachment(id).hook;
        let (Some(interface), Some(link), Some(at)) = (
            self.fitted.spec().interface(id),
            self.fitted.links().get(&id),
            at,
        ) else {
            return;
        };
        let (name, configured) = (interface.name.clone(), interface.hook);
        let Ok(device) = Device::at(link.ifindex, &name) else {
            return; // gone again: followed when it is back
        };
        let mode = self.attach_mode(id);
        let is_right = match mode {
            AttachMode::Auto => at == device.auto_hook(),
            mode => at == mode.name(),
        };
        if is_right {
            let by_device = match configured {
                HookChoice::Auto => device.auto_hook_because(),
                _ => "as configured".to_owned(),
            };
            let why = self.why_auto(id, at == TC, 0).unwrap_or(by_device);
            self.devices.is_there_because(id, why);
            return;
        }
        // Of an occupied or refused hook `auto` has said so already.
        if configured == HookChoice::Auto && at == TC && !self.is_adopted(&name) {
            return;
        }
        match self.filter.attach_otherwise(&device, &name, mode) {
            Ok(attached) => self.is_attached_at(now, id, &attached),
            Err(error) => {
                let attached = self.filter.interfaces().find(|(each, _)| *each == name);
                if let Some(attached) = attached.map(|(_, attached)| attached.clone()) {
                    self.is_attached_at(now, id, &attached);
                }
                let error = self.name_occupant(id, error);
                let why = format!(
                    "the configuration asks for hook = \"{}\": {error}",
                    configured.name()
                );
                self.devices.is_unlike(id, why.clone());
                self.notices.push(Notice::NotAsConfigured {
                    interface: name,
                    why,
                });
            }
        }
    }

    fn is_adopted(&self, name: &str) -> bool {
        let mut attached = self.filter.interfaces();
        attached.any(|(each, attached)| each == name && attached.adopted)
    }

    /// Says which program keeps ours from a device, as far as the kernel shows it.
    fn name_occupant(&self, id: InterfaceId, error: Error) -> Error {
        let program = self.devices.program(id);
        let link = self.fitted.links().get(&id);
        match (error, program.zip(link)) {
            (
                Error::Busy {
                    name,
                    occupant: None,
                },
                Some((program, link)),
            ) => {
                let kind = kind(program.hook);
                let occupant = Occupant::find(link.ifindex, program.id, kind);
                Error::Busy {
                    name,
                    occupant: Some(occupant),
                }
            }
            (error, _) => error,
        }
    }

    /// Follows what became of the devices, and brings the program back where it is not.
    pub(crate) fn follow_devices(&mut self, now: Duration) {
        let was_open = self.devices.links().is_some();
        let (changes, worked) = self.devices.work(now);
        if let Err(error) = worked {
            self.notices.push(Notice::DevicesLost(error));
        }
        if !was_open {
            self.watch_devices();
        }
        let mut moved = !changes.is_empty();
        for (id, change) in changes {
            match change {
                Change::Facts(facts) => self.relink(id, &facts),
                Change::Gone => _ = self.fitted.remove_link(id),
            }
        }
        if self.wire.is_due(now) {
            self.follow_hidden_tags(now);
            self.watch_wire(now);
        }
        // Before it is put right: what was not filtered meanwhile is to be known.
        self.say_where();
        for id in self.devices.unattached(now) {
            // A refusal is part of what is said of the interface, and it is tried again.
            moved |= self.attach_one(now, id).is_ok();
        }
        self.say_where();
        if moved {
            self.placer.moved();
            self.follower.follow(self.devices.places());
        }
    }

    /// Names MACs and addresses of ours that the interface's record has no room for.
    fn say_left_out(&mut self, id: InterfaceId) {
        let spec = self.fitted.spec();
        let (Some(interface), Some(link)) = (spec.interface(id), self.fitted.links().get(&id))
        else {
            return;
        };
        let left_out = peering::left_out(spec, id, link);
        let interface = interface.name.clone();
        if self.devices.is_left_out(id, &left_out) {
            self.notices.push(Notice::LeftOut {
                interface,
                left_out,
            });
        }
    }

    /// Where tags are hidden only `malformed` is wanted, for every peer; as soon as they are seen again, everything is. With
    /// `auto` the program goes where they are seen.
    fn follow_hidden_tags(&mut self, now: Duration) {
        for id in self.devices.look_for_hidden_tags() {
            self.attach_as_configured(now, id);
            for peer in self.fitted.peers_on(id) {
                self.publisher.again(peer);
            }
            let Some(interface) = self.fitted.spec().interface(id) else {
                continue;
            };
            let name = interface.name.clone();
            self.switch_interface(id);
            if let Some(command) = self.devices.news_of_hidden_tags(id) {
                self.notices.push(Notice::TagsHidden {
                    interface: name,
                    command,
                });
            }
        }
    }

    /// What the data plane counted on each interface, read only where it is of use.
    fn watch_wire(&mut self, now: Duration) {
        let mut changes = Vec::new();
        if let Ok(frames) = self.unrecorded() {
            let devices = frames.by_device.keys();
            let named = devices.map(|&device| (device, self.interface_name(device)));
            let named = named.map(|(device, name)| (device, name.map(str::to_owned)));
            let named: BTreeMap<u32, Option<String>> = named.collect();
            let interface = |device| named.get(&device).cloned().flatten();
            changes.extend(self.wire.look_at_unrecorded(now, frames, interface));
        }
        let spec = self.fitted.spec();
        for (id, interface) in spec.interface_ids() {
            let (name, attached) = (&interface.name, self.devices.attachment(id).attached);
            let attached = attached == Some(true);
            if self.wire.wants(now, name, attached) {
                let seen = self.seen_on(id);
                changes.extend(self.wire.look(now, name, attached, seen));
            }
        }
        for change in changes {
            self.notices.push(Notice::Alarm {
                interface: change.interface,
                reason: change.reason,
                begins: change.begins,
            });
        }
    }

    fn unrecorded(&self) -> Result<Unrecorded, Error> {
        // In this order a frame that comes in between seems to be of no other device.
        let all = self.filter.unrecorded()?;
        Ok(Unrecorded {
            all,
            by_device: self.filter.unrecorded_by_device()?,
        })
    }

    /// Frames of no peer, and those of peers that are on this interface alone. None if a counter cannot be read.
    fn seen_on(&self, id: InterfaceId) -> Option<Seen> {
        let spec = self.fitted.spec();
        let of_none = self.filter.interface_counters(&spec.interface(id)?.name);
        let mut seen = Seen::default();
        let mut add = |counters: &Counters| {
            seen.all += counters.total().packets();
            seen.not_for_us += counters.packets(Reason::NotForUs);
        };
        add(&of_none.ok()?);
        let (here, also_elsewhere): (Vec<PeerId>, Vec<PeerId>) =
            self.fitted.peers_on(id).into_iter().partition(|&peer| {
                let mut attachments = spec.peers[peer.0 as usize].attachments.iter();
                attachments.all(|each| each.interface == id)
            });
        for peer in here {
            add(&self.filter.counters(self.slots.of(peer)).ok()?);
        }
        seen.is_partial = !also_elsewhere.is_empty();
        Some(seen)
    }

    /// An interface's device has become another, or is otherwise than it was.
    fn relink(&mut self, id: InterfaceId, facts: &filter_lifecycle::policy::DeviceFacts) {
        let is_new = self.fitted.set_facts(id, facts);
        if let Some(interface) = self.fitted.spec().interface(id)
            && self.devices.attachment(id).attached == Some(true)
            && let Err(error) = self
                .filter
                .set_members(&interface.name, self.devices.members(id))
        {
            self.notices.push(Notice::KernelFailed(error));
        }
        if !is_new {
            return;
        }
        if let Some(link) = self.fitted.links().get(&id)
            && self.devices.attachment(id).attached == Some(true)
            && let Some(spec) = peering::interface_spec(self.fitted.spec(), id, link)
            && let Err(error) = self.filter.set_interface(link.ifindex, &spec)
        {
            self.notices.push(Notice::KernelFailed(error));
        }
        self.say_left_out(id);
        // Our own addresses are valid destinations.
        for peer in self.fitted.peers_on(id) {
            self.publisher.again(peer);
        }
    }

    fn watch_devices(&mut self) {
        if let Some(links) = self.devices.links()
            && let Err(source) = self.follower.watch(links)
        {
            let what = "epoll";
            let error = crate::LinkError::Socket { what, source };
            self.notices.push(Notice::DevicesLost(error)); // looked at once a second all the same
        }
    }

    pub(crate) fn say_where(&mut self) {
        for (id, attachment) in self.devices.news() {
            let Some(interface) = self.fitted.spec().interface(id) else {
                continue;
            };
            let interface = interface.name.clone();
            self.notices.push(match attachment.hook {
                Some(hook) => Notice::Attached { interface, hook },
                None => Notice::Detached {
                    interface,
                    why: attachment.why.unwrap_or_default(),
                },
            });
        }
    }

    /// The interface of this index, by name.
    pub(crate) fn interface_name(&self, ifindex: u32) -> Option<&str> {
        let of_device = self.devices.interface(ifindex);
        let interface = of_device.and_then(|id| self.fitted.spec().interface(id));
        let name = interface.map(|interface| interface.name.as_str());
        name.or_else(|| self.fitted.interface_name(ifindex))
    }
}

pub(crate) const fn mode_of(choice: HookChoice) -> AttachMode {
    match choice {
        HookChoice::Auto => AttachMode::Auto,
        HookChoice::XdpNative => AttachMode::Native,
        HookChoice::XdpGeneric => AttachMode::Generic,
        HookChoice::Tc => AttachMode::Tc,
    }
}

const fn kind(hook: Hook) -> Option<HookKind> {
    match hook {
        Hook::XdpNative => Some(HookKind::XdpNative),
        Hook::XdpGeneric => Some(HookKind::XdpGeneric),
        Hook::XdpOffload => None,
    }
}
