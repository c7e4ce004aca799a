//! Where the program of an interface is attached, and how it moves from one hook to another. Never knows what a record says.
use super::Filter;
use crate::attach::{self, AttachMode, Attached, Fresh, Hook, HookKind};
use crate::clsact;
use crate::device::{Device, InterfaceSpec};
use crate::error::Error;
use crate::occupant::programs_at_tc;
use crate::pin::PinDir;

impl Filter {
    /// Attaches to an interface, after its record is in place. Taking over an earlier process's link counts
    /// as attaching.
    ///
    /// # Errors
    /// [`Error::UnknownInterface`], [`Error::NotEthernet`], [`Error::Busy`], [`Error::Attach`] and map errors.
    pub fn attach(&mut self, spec: &InterfaceSpec, mode: AttachMode) -> Result<Attached, Error> {
        let device = Device::find(&spec.name)?;
        self.record(&device, spec, mode)?;
        self.hook(&device, &spec.name, mode)
    }

    /// As [`Filter::attach`], to a device that may have another name by now, and that has these members if it is a bond:
    /// they lead to its record before a packet can come in on one.
    ///
    /// # Errors
    /// As [`Filter::attach`] and [`Filter::set_members`]; nothing is attached then.
    pub fn attach_to(
        &mut self,
        device: &Device,
        spec: &InterfaceSpec,
        members: &[u32],
        mode: AttachMode,
    ) -> Result<Attached, Error> {
        self.record(device, spec, mode)?;
        self.set_members(&spec.name, members)?;
        self.hook(device, &spec.name, mode)
    }

    /// Writes the record of an interface that is to be attached.
    fn record(
        &mut self,
        device: &Device,
        spec: &InterfaceSpec,
        mode: AttachMode,
    ) -> Result<(), Error> {
        device.check(mode)?;
        if !self.is_known(device, &spec.name)? {
            self.at_tc.remove(&spec.name);
            // A link pinned under this name would be that of a device renamed since, or of another namespace.
            self.pins
                .as_ref()
                .map_or(Ok(false), |pins| pins.detach(&spec.name))?;
        }
        self.set_interface(device.ifindex, spec)
    }

    fn hook(&mut self, device: &Device, name: &str, mode: AttachMode) -> Result<Attached, Error> {
        if let Some(held) = self.hooks.get(name).map(|hook| &hook.attached)
            && self.pins.is_none()
            && held.kind.is_tc()
            && is_at_tc(device, held.program)?
        {
            return Ok(held.clone()); // once more, it would be there twice
        }
        if self.take_over(device, name)? {
            self.count_at(device.ifindex, name, HookKind::Tc)?;
        }
        let was_at_tc = self.at_tc.contains(name);
        let hook = match attach::adopt(&mut self.hands(), device, name)? {
            Some(hook) => hook,
            None => {
                let kept = self
                    .attach_new(device, name, mode)
                    .and_then(|fresh| fresh.keep(device, name, self.pins.as_ref(), false));
                match kept {
                    Ok(hook) => hook,
                    Err(error) => {
                        self.count_as_before(device.ifindex, name, was_at_tc);
                        return Err(error);
                    }
                }
            }
        };
        self.count_at(device.ifindex, name, hook.attached.kind)?;
        self.hold(name, hook)
    }

    const fn hands(&mut self) -> attach::Hands<'_> {
        attach::Hands {
            ebpf: &mut self.ebpf,
            programs: self.programs,
            pins: self.pins.as_ref(),
        }
    }

    /// Attaches where nothing of ours is. Packets that pass are counted at tc before the program is there, if that is where
    /// it must go, so that none is missed.
    fn attach_new(
        &mut self,
        device: &Device,
        name: &str,
        mode: AttachMode,
    ) -> Result<Fresh, Error> {
        let is_tc = match mode {
            AttachMode::Tc => true,
            AttachMode::Auto => attach::prefers_tc(device).is_some(),
            AttachMode::Native | AttachMode::Generic => false,
        };
        if is_tc {
            self.count_at(device.ifindex, name, HookKind::Tc)?;
        }
        attach::attach_new(&mut self.hands(), device, mode)
    }

    /// From now on this is the hook; the one before it is given up, and so is a filter that an earlier process left.
    fn hold(&mut self, name: &str, hook: Hook) -> Result<Attached, Error> {
        let attached = hook.attached.clone();
        let former = self.hooks.remove(name);
        let hook = self.hooks.entry(name.to_owned()).or_insert(hook);
        let is_filter = hook.is_filter();
        if let Some(former) = former {
            let was_filter = former.is_filter();
            former.make_way(hook)?;
            match (&self.pins, was_filter) {
                (Some(pins), true) if !is_filter => pins.remove_filter(name)?,
                (Some(pins), false) if is_filter => pins.remove_link(name)?,
                _ => {} // there is none, or it was replaced
            }
        }
        if !is_filter && let Err(error) = self.remove_left_filter(attached.ifindex, name) {
            // The program is where it must be. When it is attached the next time, this is tried again.
            log::warn!("{error}");
        }
        Ok(attached)
    }

    /// Removes a filter from a device whose program is elsewhere: a process that ended left it.
    fn remove_left_filter(&self, ifindex: u32, name: &str) -> Result<(), Error> {
        let what = format!("cannot take a filter that was left off interface `{name}`");
        let pins = self.pins.as_ref().map(PinDir::path);
        let left = clsact::left_on(ifindex, pins).map_err(Error::os(&what))?;
        let removed = left.map_or(Ok(false), |program| clsact::remove_from(ifindex, program));
        removed.map(drop).map_err(Error::os(what))
    }

    /// Removes filters of ours that belong to no process any more, but from these interfaces. Where it cannot be told whether
    /// there is one, as without CAP_SYS_ADMIN, it stays.
    pub(super) fn remove_left_filters(&self, but: &[&str]) -> Result<(), Error> {
        let what = "cannot take off filters that were left";
        let pins = self.pins.as_ref().map(PinDir::path);
        let is_used = |ifindex| {
            let mut hooks = self.hooks.values();
            hooks.any(|hook| hook.attached.ifindex == ifindex)
        };
        let mut all = Ok(());
        for left in clsact::left(pins).map_err(Error::os(what))? {
            if but.contains(&left.device.as_str()) || is_used(left.ifindex) {
                continue;
            }
            let device = &left.device;
            match left.program {
                Ok(program) => {
                    log::warn!("a process that ended left a filter on `{device}`: it is removed");
                    all = all.and(clsact::remove_from(left.ifindex, program).map(drop));
                }
                Err(error) => {
                    log::warn!("cannot tell whether a filter was left on `{device}`: {error}");
                }
            }
        }
        all.map_err(Error::os(what))
    }

    /// Says at which hook packets that pass are counted.
    fn count_at(&mut self, ifindex: u32, name: &str, kind: HookKind) -> Result<(), Error> {
        let is_new = match kind.is_tc() {
            true => self.at_tc.insert(name.to_owned()),
            false => self.at_tc.remove(name),
        };
        match self.specs.get(&ifindex).cloned() {
            Some(spec) if is_new => self.set_interface(ifindex, &spec),
            _ => Ok(()),
        }
    }

    /// The program did not go where it was to go: packets are counted where they were.
    fn count_as_before(&mut self, ifindex: u32, name: &str, at_tc: bool) {
        let kind = match at_tc {
            true => HookKind::Tc,
            false => HookKind::XdpAdopted,
        };
        if let Err(error) = self.count_at(ifindex, name, kind) {
            log::warn!("packets of `{name}` may not be counted: {error}");
        }
    }

    /// Moves the program of an interface to another hook. It is on both for a moment, so that no packet goes by unjudged;
    /// between the two modes of XDP, of which a device has one at a time, it is at tc meanwhile. What passes is counted
    /// at the hook that the record names, what is dropped where it is dropped. Only an ICMP error's allowance is taken
    /// at both, so that as few as half of it may pass for that moment.
    /// If the device refuses, it stays where it is, and the refusal is returned.
    ///
    /// # Errors
    /// As [`Filter::attach`].
    pub fn attach_otherwise(
        &mut self,
        device: &Device,
        name: &str,
        mode: AttachMode,
    ) -> Result<Attached, Error> {
        let unknown = || Error::UnknownInterface(name.to_owned());
        let hook = self.hooks.get(name).ok_or_else(unknown)?;
        let (now, was_there) = (hook.attached.kind, hook.was_there);
        let to_xdp = match mode {
            AttachMode::Native | AttachMode::Generic => true,
            AttachMode::Auto => attach::prefers_tc(device).is_none(),
            AttachMode::Tc => false,
        };
        let fresh = match (now, mode) {
            (HookKind::Tc, AttachMode::Tc) => return Ok(hook.attached.clone()),
            // Never twice at tc: a packet would be counted twice.
            (HookKind::Tc, AttachMode::Auto) => {
                match attach::try_early(&mut self.hands(), device)? {
                    Ok(fresh) => fresh,
                    Err(why) => return Ok(self.stays_for(name, why)?.clone()),
                }
            }
            (HookKind::Tc, _) => attach::attach_new(&mut self.hands(), device, mode)?,
            (now, mode) if to_xdp => {
                return self.change_xdp(device, name, (now, mode), was_there);
            }
            _ => attach::attach_new(&mut self.hands(), device, mode)?,
        };
        self.settle(device, name, fresh, was_there)
    }

    /// Counts where the program has come to, keeps it there, and takes it off where it was; if it cannot be kept, all stays
    /// as it was.
    fn settle(
        &mut self,
        device: &Device,
        name: &str,
        fresh: Fresh,
        was_there: bool,
    ) -> Result<Attached, Error> {
        let was_at_tc = self.at_tc.contains(name);
        let kept = self
            .count_at(device.ifindex, name, fresh.kind())
            .and_then(|()| fresh.keep(device, name, self.pins.as_ref(), was_there));
        match kept {
            Ok(hook) => self.hold(name, hook),
            Err(error) => {
                self.count_as_before(device.ifindex, name, was_at_tc);
                Err(error)
            }
        }
    }

    /// It is where it was, for this reason.
    fn stays_for(&mut self, name: &str, why: String) -> Result<&Attached, Error> {
        let hook = self
            .hooks
            .get_mut(name)
            .ok_or_else(|| Error::UnknownInterface(name.to_owned()))?;
        hook.attached.why = why;
        Ok(&hook.attached)
    }

    /// From one mode of XDP to another, or to where `auto` finds it must go, by way of tc.
    fn change_xdp(
        &mut self,
        device: &Device,
        name: &str,
        (now, mode): (HookKind, AttachMode),
        was_there: bool,
    ) -> Result<Attached, Error> {
        self.make_room_in_xdp(device, name, was_there)?;
        let moved = match mode {
            AttachMode::Auto if attach::has_tcx() => {
                match attach::try_early(&mut self.hands(), device) {
                    Ok(Ok(fresh)) => Ok(fresh),
                    Ok(Err(why)) => return Ok(self.stays_for(name, why)?.clone()),
                    Err(error) => Err(error),
                }
            }
            mode => attach::attach_new(&mut self.hands(), device, mode),
        };
        match moved {
            Ok(fresh) => self.settle(device, name, fresh, was_there),
            Err(refused) => {
                let former = attach::attach_new(&mut self.hands(), device, other_xdp(now, mode));
                let back = former.and_then(|former| self.settle(device, name, former, was_there));
                if let Err(error) = back {
                    self.is_not_back(name, &error);
                }
                Err(refused)
            }
        }
    }

    /// The program could not go back to where in XDP it was.
    fn is_not_back(&mut self, name: &str, error: &Error) {
        match self.hooks.get_mut(name) {
            Some(hook) => {
                log::warn!("`{name}` is filtered at tc: xdp refuses the program by now: {error}");
                hook.attached.why = format!("xdp refuses it by now: {error}");
            }
            None => log::error!(
                "`{name}` is not filtered any more: xdp refuses the program by now, and this kernel has no tc for it: {error}"
            ),
        }
    }

    /// Moves the program from XDP to tc. On a kernel before 6.6 that is built without `clsact` it is nowhere for a moment; where
    /// something else keeps it from tc, it stays where it is.
    fn make_room_in_xdp(
        &mut self,
        device: &Device,
        name: &str,
        was_there: bool,
    ) -> Result<(), Error> {
        let meanwhile = "xdp is being changed".to_owned();
        match attach::attach_tc(&mut self.hands(), device, meanwhile) {
            Ok(fresh) => self.settle(device, name, fresh, was_there).map(drop),
            Err(error @ Error::NoClsact(_)) => {
                log::warn!("`{name}` is not filtered while xdp is being changed: {error}");
                if let Some(hook) = self.hooks.get(name) {
                    hook.take_off()?;
                }
                self.hooks.remove(name);
                self.pins
                    .as_ref()
                    .map_or(Ok(()), |pins| pins.remove_link(name))
            }
            Err(error) => Err(error),
        }
    }
}

fn is_at_tc(device: &Device, program: u32) -> Result<bool, Error> {
    let name = &device.name;
    let what = format!("cannot read which programs are at tc on interface `{name}`");
    let at_tc = programs_at_tc(device.ifindex).map_err(Error::os(what))?;
    Ok(at_tc.contains(&program))
}

/// Where in XDP a program is that cannot go where it is asked to: of one that was adopted, in the other of the two modes.
const fn other_xdp(now: HookKind, asked: AttachMode) -> AttachMode {
    match (now, asked) {
        (HookKind::XdpNative, _) | (HookKind::XdpAdopted, AttachMode::Generic) => {
            AttachMode::Native
        }
        _ => AttachMode::Generic,
    }
}
