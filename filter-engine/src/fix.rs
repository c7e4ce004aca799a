//! Keeping the program where it belongs: each interface's record follows its device, the program is attached again where
//! it is not, and says so meanwhile. Never waits for a device, and never lets one that is missing keep another from
//! being protected.
use std::time::Duration;

use filter_lifecycle::spec::{InterfaceId, Xdp};
use filter_loader::{AttachMode, Error, LeaseEnd, Target, Wanted};

use crate::devices::Change;
use crate::notice::Notice;
use crate::{Engine, EngineError, peering};

impl Engine {
    /// The devices of a new specification, before anything is attached.
    pub(crate) fn look_up_devices(&mut self, now: Duration) -> Result<(), EngineError> {
        self.devices.reset(self.fitted.spec());
        let (changes, looked) = self.devices.work(now);
        looked?;
        for (id, change) in changes {
            match change {
                Change::Facts(facts) => _ = self.fitted.set_facts(id, &facts),
                Change::Gone => _ = self.fitted.remove_link(id),
            }
        }
        self.watch_devices();
        Ok(())
    }

    /// Attaches wherever there is a device. One that is not there yet is waited for; any other refusal is an error.
    pub(crate) fn attach(&mut self, now: Duration) -> Result<(), EngineError> {
        let ids: Vec<InterfaceId> = self.fitted.links().keys().copied().collect();
        for id in ids {
            match self.attach_one(now, id) {
                Ok(()) | Err(Error::UnknownInterface(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.say_where();
        Ok(())
    }

    fn attach_one(&mut self, now: Duration, id: InterfaceId) -> Result<(), Error> {
        let whole = self.fitted.spec();
        let (Some(interface), Some(link)) = (whole.interface(id), self.fitted.links().get(&id))
        else {
            return Ok(());
        };
        let mode = match interface.xdp {
            Xdp::Auto => AttachMode::Auto,
            Xdp::Native => AttachMode::Native,
            Xdp::Generic => AttachMode::Generic,
        };
        let Some(spec) = peering::interface_spec(whole, id, link) else {
            return Ok(());
        };
        let wanted = Wanted::new(peering::interface_classes(interface), LeaseEnd::Observe);
        if self.devices.is_stubborn(id) {
            // What was taken over is on a device of another namespace, or on none: it is of no use here.
            self.filter.detach(&spec.name)?;
        }
        let attached = self.filter.attach(&spec, mode).and_then(|_| {
            self.filter
                .set_wanted(Target::Interface(&spec.name), wanted)
        });
        let refused = attached.as_ref().err().map(ToString::to_string);
        self.devices.tried(now, id, refused);
        attached
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

    /// An interface's device has become another, or is otherwise than it was.
    fn relink(&mut self, id: InterfaceId, facts: &filter_lifecycle::policy::DeviceFacts) {
        if !self.fitted.set_facts(id, facts) {
            return;
        }
        if let Some(link) = self.fitted.links().get(&id)
            && self.devices.attachment(id).attached == Some(true)
            && let Some(spec) = peering::interface_spec(self.fitted.spec(), id, link)
            && let Err(error) = self.filter.set_interface(link.ifindex, &spec)
        {
            self.notices.push(Notice::KernelFailed(error));
        }
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
