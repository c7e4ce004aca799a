//! Keeping the program where it belongs: each interface's record follows its device, the program is attached again where
//! it is not, and says so meanwhile. Never waits for a device, and never lets one that is missing keep another from
//! being protected.
use std::time::Duration;

use filter_core::Reason;
use filter_lifecycle::devices::Hook;
use filter_lifecycle::route::PeerId;
use filter_lifecycle::spec::{InterfaceId, Xdp};
use filter_loader::{
    AttachMode, Counters, Device, Error, LeaseEnd, Occupant, Target, Wanted, XdpKind,
};

use crate::devices::Change;
use crate::notice::Notice;
use crate::wire::Seen;
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
        self.follow_hidden_tags(); // before anything can be in force that relies on tags
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
        let attached = self.try_to_attach(id);
        let attached = attached.map_err(|error| self.name_occupant(id, error));
        let refused = attached.as_ref().err().map(ToString::to_string);
        self.devices.tried(now, id, refused);
        if attached.is_ok() {
            self.attach_as_configured(now, id);
            self.say_left_out(id);
        }
        attached
    }

    fn try_to_attach(&mut self, id: InterfaceId) -> Result<(), Error> {
        let whole = self.fitted.spec();
        let (Some(interface), Some(link)) = (whole.interface(id), self.fitted.links().get(&id))
        else {
            return Ok(());
        };
        let Some(spec) = peering::interface_spec(whole, id, link) else {
            return Ok(());
        };
        let mode = attach_mode(interface.xdp);
        let judged = self.devices.judged(id);
        let classes = peering::interface_classes(interface).within(judged);
        let wanted = Wanted::new(classes, LeaseEnd::Observe);
        if self.devices.is_stubborn(id) {
            // What was taken over is on a device of another namespace, or on none: it is of no use here.
            self.filter.detach(&spec.name)?;
        }
        let device = Device::at(link.ifindex, &spec.name)?;
        let is_new = !self.filter.knows_interface(&spec.name);
        let members = self.devices.members(id);
        self.filter.attach_to(&device, &spec, members, mode)?;
        let target = Target::Interface(&spec.name);
        if let Some(permit) = self.switched.interfaces.get(&spec.name)
            && is_new
        {
            self.filter.permit(target, permit.classes())?;
        }
        self.filter.set_wanted(target, wanted)
    }

    /// A program that an earlier process, or specification, attached in another mode than the configured one gets that mode,
    /// or it is said why not.
    fn attach_as_configured(&mut self, now: Duration, id: InterfaceId) {
        let hook = self.devices.program(id).map(|program| program.hook);
        let (Some(interface), Some(link)) = (
            self.fitted.spec().interface(id),
            self.fitted.links().get(&id),
        ) else {
            return;
        };
        let former = match (interface.xdp, hook) {
            (Xdp::Native, Some(Hook::XdpGeneric)) => AttachMode::Generic,
            (Xdp::Generic, Some(Hook::XdpNative)) => AttachMode::Native,
            _ => return,
        };
        let (name, mode) = (interface.name.clone(), attach_mode(interface.xdp));
        let moved = Device::at(link.ifindex, &name)
            .and_then(|device| self.filter.attach_otherwise(&device, &name, mode, former));
        self.devices.tried(now, id, None);
        if let Err(error) = moved {
            let why = format!(
                "the configuration asks for xdp = \"{}\": {error}",
                mode.name()
            );
            self.devices.is_unlike(id, why.clone());
            self.notices.push(Notice::NotAsConfigured {
                interface: name,
                why,
            });
        }
    }

    /// Says which program keeps ours from a device, as far as the kernel tells.
    fn name_occupant(&self, id: InterfaceId, error: Error) -> Error {
        let program = self.devices.program(id);
        let link = self.fitted.links().get(&id);
        match (error, program.zip(link)) {
            (Error::Busy { name, .. }, Some((program, link))) => {
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
            self.follow_hidden_tags();
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

    /// Where tags are hidden only `malformed` is wanted, for every peer; as soon as they are seen again, everything is.
    fn follow_hidden_tags(&mut self) {
        for id in self.devices.look_for_hidden_tags() {
            for peer in self.fitted.peers_on(id) {
                self.publisher.again(peer);
            }
            let Some(interface) = self.fitted.spec().interface(id) else {
                continue;
            };
            let name = interface.name.clone();
            let classes = peering::interface_classes(interface).within(self.devices.judged(id));
            let wanted = Wanted::new(classes, LeaseEnd::Observe);
            if self.filter.knows_interface(&name)
                && let Err(error) = self.filter.set_wanted(Target::Interface(&name), wanted)
            {
                self.notices.push(Notice::KernelFailed(error));
            }
            let command = self.devices.hidden_tags(id).map(str::to_owned);
            self.notices.push(Notice::TagsHidden {
                interface: name,
                command,
            });
        }
    }

    /// What the data plane counted on each interface, read only where it is of use.
    fn watch_wire(&mut self, now: Duration) {
        let mut changes = Vec::new();
        if let Ok(frames) = self.filter.unrecorded() {
            changes.extend(self.wire.look_at_unrecorded(now, frames));
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

    fn say_where(&mut self) {
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

const fn attach_mode(xdp: Xdp) -> AttachMode {
    match xdp {
        Xdp::Auto => AttachMode::Auto,
        Xdp::Native => AttachMode::Native,
        Xdp::Generic => AttachMode::Generic,
    }
}

const fn kind(hook: Hook) -> Option<XdpKind> {
    match hook {
        Hook::XdpNative => Some(XdpKind::Native),
        Hook::XdpGeneric => Some(XdpKind::Generic),
        Hook::XdpOffload => None,
    }
}
