//! The devices of the configured interfaces, live: which device each interface is, what its record must be, and whether
//! our program is on it, as the kernel says. Never attaches and never writes a record: that is the engine's.
use std::time::Duration;

use filter_core::Classes;
use filter_core::packet::Vlans;
use filter_lifecycle::devices::{Own, Program};
use filter_lifecycle::policy::DeviceFacts;
use filter_lifecycle::spec::{HookChoice, InterfaceId, Spec};
use filter_lifecycle::stations::Places;
use filter_loader::{Attached, ethtool, program_text, programs_at_tc};

use crate::links::{LinkError, Links};
use crate::peering;

/// How often the kernel is asked for what it does not announce: a program that comes or goes by a BPF link, a macvlan
/// device in another namespace.
const LOOK: Duration = Duration::from_secs(1);
/// Looking for those takes at most this part of the time.
const SHARE: u32 = 20;
/// After an error, and between tries to attach.
const RETRY: Duration = Duration::from_secs(1);

/// Where an interface's program is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// The device's index; none if there is no such device.
    pub(crate) ifindex: Option<u32>,
    /// Where our program sits on it.
    pub(crate) hook: Option<&'static str>,
    /// Why there, of the hooks there are.
    pub(crate) hook_why: Option<String>,
    /// Programs of others that see a packet first, at the same hook.
    pub(crate) ahead: Vec<String>,
    /// Is it there? None if that could not be read.
    pub(crate) attached: Option<bool>,
    /// Why it is not, or why it is there otherwise than as configured.
    pub(crate) why: Option<String>,
    /// What the device is called now, if it is not what the configuration calls it.
    pub(crate) renamed: Option<String>,
}

/// What there is to do about an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its device is there, and is, or has become, this.
    Facts(DeviceFacts),
    /// Its device is gone.
    Gone,
}

#[derive(Debug, Default)]
struct State {
    /// The device it is: by its name when it was found, by its index from then on.
    index: Option<u32>,
    own: Option<Own>,
    /// The one in XDP.
    program: Option<Program>,
    /// Those at tc ingress, in the order in which they run; none if the kernel does not say.
    at_tc: Option<Vec<u32>>,
    /// Our program, once it was attached.
    ours: Option<Ours>,
    /// Those at tc that run before ours.
    ahead: Vec<String>,
    /// Why it could not be attached, as the last try said.
    refused: Option<String>,
    /// A former version's program filters there: why that is so.
    former: Option<String>,
    /// Why it is attached otherwise than as configured.
    unlike: Option<String>,
    /// What of ours its record has no room for.
    left_out: Vec<String>,
    /// Tags distinguish its peers, or something on it has one.
    tags_matter: bool,
    /// The command that shows tags which its driver hides.
    hidden: Option<String>,
    /// That they are hidden from our program, by that command, was said.
    hidden_said: Option<String>,
    /// May the program be at tc, where hidden tags are seen?
    may_be_at_tc: bool,
    /// Not to be attached before.
    retry_at: Duration,
    /// An operator detached it: it is left alone until the specification is applied again.
    released: bool,
    /// That it is attached, or not, was said.
    said: Option<bool>,
}

/// Our program on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ours {
    program: u32,
    is_at_tc: bool,
    /// Why at this hook.
    why: String,
}

impl State {
    /// The name of the hook at which our program is now.
    fn hook(&self) -> Option<&'static str> {
        let ours = self.ours.as_ref()?;
        if ours.is_at_tc {
            return self.is_there()?.then_some(TC);
        }
        let program = self.program.filter(|on_it| on_it.id == ours.program)?;
        Some(program.hook.name())
    }

    /// Is our program where it was put? None if that cannot be read.
    fn is_there(&self) -> Option<bool> {
        let Some(ours) = &self.ours else {
            return Some(false);
        };
        match ours.is_at_tc {
            true => Some(self.at_tc.as_ref()?.contains(&ours.program)),
            false => Some(self.program.is_some_and(|on_it| on_it.id == ours.program)),
        }
    }

    /// The command that shows tags which the driver hides from our program, where it is or will be.
    fn hidden_from_us(&self) -> Option<&str> {
        let sees = match self.hook() {
            Some(hook) => hook == TC,
            None => self.may_be_at_tc,
        };
        self.hidden.as_deref().filter(|_| !sees)
    }

    /// Reads which programs are at tc ingress, and which of them run before ours.
    fn look_at_tc(&mut self) {
        let at_tc = self.index.and_then(|index| programs_at_tc(index).ok());
        if at_tc == self.at_tc {
            return;
        }
        let ours = self.ours.as_ref().map(|ours| ours.program);
        let all = at_tc.iter().flatten();
        let before = all.take_while(|&&each| Some(each) != ours);
        self.ahead = match self.ours {
            Some(Ours { is_at_tc: true, .. }) => before.map(|&each| program_text(each)).collect(),
            _ => Vec::new(),
        };
        self.at_tc = at_tc;
    }
}

/// The hook's name in status and messages.
pub(crate) const TC: &str = "tc";

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    links: Option<Links>,
    interfaces: Vec<State>,
    names: Vec<String>,
    /// The specification is new, or the subscription.
    fresh: bool,
    /// When to ask for what is not announced, or to open the subscription anew.
    look_at: Duration,
}

impl Devices {
    /// Another specification: its interfaces are looked up anew; what the former one knew of a device of the same name
    /// stays.
    pub(crate) fn reset(&mut self, spec: &Spec) {
        self.fresh = true;
        let names = std::mem::take(&mut self.names);
        let former = std::mem::take(&mut self.interfaces);
        let mut former: Vec<_> = names.into_iter().zip(former).collect();
        for interface in &spec.interfaces {
            let place = former.iter().position(|(name, _)| *name == interface.name);
            let mut state = place.map_or_else(State::default, |at| former.swap_remove(at).1);
            // Its facts are said again: what the specification adds to them may be other.
            (state.own, state.retry_at, state.released) = (None, Duration::ZERO, false);
            state.unlike = None;
            state.may_be_at_tc = matches!(interface.hook, HookChoice::Auto | HookChoice::Tc);
            state.tags_matter = peering::has_tags(spec, InterfaceId(self.names.len() as u16));
            self.names.push(interface.name.clone());
            self.interfaces.push(state);
        }
    }

    /// What has changed. An error is returned along with it; the subscription is opened anew later, and until then
    /// nothing is known to be attached.
    pub(crate) fn work(
        &mut self,
        now: Duration,
    ) -> (Vec<(InterfaceId, Change)>, Result<(), LinkError>) {
        match self.take_in(now) {
            Ok(true) => (self.compare(), Ok(())),
            Ok(false) => (Vec::new(), Ok(())),
            Err(error) => {
                self.links = None;
                self.look_at = now + RETRY;
                (Vec::new(), Err(error))
            }
        }
    }

    fn take_in(&mut self, now: Duration) -> Result<bool, LinkError> {
        let begin = std::time::Instant::now(); // what asking costs, not when it is due
        let is_due = now >= self.look_at;
        let links = match &mut self.links {
            Some(links) => links,
            None if is_due => {
                self.fresh = true;
                self.links.insert(Links::open()?)
            }
            None => return Ok(false),
        };
        if is_due {
            self.interfaces.iter_mut().for_each(State::look_at_tc);
            let indices: Vec<u32> = self
                .interfaces
                .iter()
                .filter_map(|each| each.index)
                .collect();
            links.look_at(&indices)?;
            links.look_at_filters()?;
        }
        let changed = links.work()?;
        if is_due {
            self.look_at = now + LOOK.max(SHARE * begin.elapsed());
        }
        Ok(changed | std::mem::take(&mut self.fresh))
    }

    fn compare(&mut self) -> Vec<(InterfaceId, Change)> {
        self.fresh = false;
        let Some(links) = &self.links else {
            return Vec::new();
        };
        let devices = links.devices();
        let mut changes = Vec::new();
        let interfaces = self.interfaces.iter_mut().zip(&self.names);
        for (id, (state, name)) in (0..).map(InterfaceId).zip(interfaces) {
            let held = state.index.filter(|&index| devices.get(index).is_some());
            let index = held.or_else(|| devices.named(name));
            let own = index.and_then(|index| devices.own(index));
            state.program = index
                .and_then(|index| devices.get(index))
                .and_then(|device| device.program);
            if (state.index, &state.own) == (index, &own) {
                continue;
            }
            if state.index != index {
                (state.ours, state.refused, state.retry_at) = (None, None, Duration::ZERO);
                (state.unlike, state.at_tc, state.former) = (None, None, None);
            }
            let was_there = state.index.is_some();
            (state.index, state.own) = (index, own);
            match (state.index, &state.own) {
                (Some(ifindex), Some(own)) => {
                    let facts = DeviceFacts {
                        ifindex,
                        macs: own.macs.clone(),
                        addresses: own.addresses.clone(),
                    };
                    changes.push((id, Change::Facts(facts)));
                }
                _ if was_there => changes.push((id, Change::Gone)),
                _ => {}
            }
        }
        changes
    }

    /// Where an interface's program is.
    pub(crate) fn attachment(&self, id: InterfaceId) -> Attachment {
        let Some(state) = self.interfaces.get(usize::from(id.0)) else {
            return Attachment::default();
        };
        if self.links.is_none() {
            return Attachment {
                why: Some("the kernel's devices cannot be read".to_owned()),
                ..Attachment::default()
            };
        }
        if let Some(why) = &state.former {
            return Attachment {
                ifindex: state.index,
                why: Some(why.clone()),
                renamed: self.other_name(id),
                ..Attachment::default()
            };
        }
        let hook = state.hook();
        let is_tc = matches!(state.ours, Some(Ours { is_at_tc: true, .. }));
        let attached = match state.index {
            Some(_) => state.is_there(),
            None => Some(false),
        };
        let why = match (state.index, hook, state.program) {
            (_, Some(_), _) => None,
            (None, None, _) => Some("there is no such device".to_owned()),
            (Some(_), None, _) if attached.is_none() => {
                Some("the programs at tc cannot be read".to_owned())
            }
            (Some(_), None, _) if is_tc => Some("our program is not at tc any more".to_owned()),
            (Some(_), None, Some(other)) => Some(format!("program {} is on it", other.id)),
            (Some(_), None, None) => Some("no program is on it".to_owned()),
        };
        let released = state.released.then(|| "an operator detached it".to_owned());
        let refused = released
            .or_else(|| state.refused.clone())
            .filter(|_| why.is_some());
        let unlike = state.unlike.clone().filter(|_| hook.is_some());
        let hook_why = state.ours.as_ref().map(|ours| ours.why.clone());
        Attachment {
            ifindex: state.index,
            hook,
            hook_why: hook_why.filter(|_| hook.is_some()),
            ahead: match hook {
                Some(TC) => state.ahead.clone(),
                _ => Vec::new(),
            },
            attached,
            why: refused.or(why).or(unlike),
            renamed: self.other_name(id),
        }
    }

    /// What an interface's device is called, if the configuration calls it otherwise.
    fn other_name(&self, id: InterfaceId) -> Option<String> {
        let state = self.interfaces.get(usize::from(id.0))?;
        let device = self.links.as_ref()?.devices().get(state.index?)?;
        let name = self.names.get(usize::from(id.0))?;
        (device.name != *name).then(|| device.name.clone())
    }

    /// Asks the drivers again whether they hide tags. Returns interfaces of which that has changed.
    pub(crate) fn look_for_hidden_tags(&mut self) -> Vec<InterfaceId> {
        let Some(devices) = self.links.as_ref().map(Links::devices) else {
            return Vec::new();
        };
        let mut changed = Vec::new();
        for (id, state) in (0..).map(InterfaceId).zip(&mut self.interfaces) {
            let own = state.own.as_ref();
            let tagged =
                own.is_some_and(|own| own.places.values().any(|&tags| tags != Vlans::NONE));
            let matters = state.tags_matter || tagged;
            let members = own.map_or(&[][..], |own| own.members.as_slice());
            let asked = state.index.filter(|_| matters && members.is_empty());
            let hidden = asked
                .iter()
                .chain(members.iter().filter(|_| matters))
                .find_map(|&index| {
                    let device = devices.get(index)?;
                    let other = device.lower.and_then(|lower| devices.get(lower));
                    ethtool::hidden_tags(&device.name, other.map(|other| other.name.as_str()))
                });
            if state.hidden != hidden {
                state.hidden = hidden;
                changed.push(id);
            }
        }
        changed
    }

    /// The command that shows tags which the interface's driver hides from our program, if it does and tags matter there.
    /// At tc they are seen.
    pub(crate) fn hidden_tags(&self, id: InterfaceId) -> Option<&str> {
        let state = self.interfaces.get(usize::from(id.0))?;
        state.hidden_from_us()
    }

    /// That command, if it is another than was said last: none if tags are seen again.
    pub(crate) fn news_of_hidden_tags(&mut self, id: InterfaceId) -> Option<Option<String>> {
        let state = self.interfaces.get_mut(usize::from(id.0))?;
        let now = state.hidden_from_us().map(str::to_owned);
        let is_new = state.hidden_said != now;
        state.hidden_said.clone_from(&now);
        is_new.then_some(now)
    }

    /// Does the interface's driver hide tags that matter from XDP?
    pub(crate) fn hides_tags(&self, id: InterfaceId) -> bool {
        let state = self.interfaces.get(usize::from(id.0));
        state.is_some_and(|state| state.hidden.is_some())
    }

    /// This has no room in the interface's record. Returns whether that is new.
    pub(crate) fn is_left_out(&mut self, id: InterfaceId, left_out: &[String]) -> bool {
        let Some(state) = self.interfaces.get_mut(usize::from(id.0)) else {
            return false;
        };
        let is_new = state.left_out != left_out;
        state.left_out = left_out.to_vec();
        is_new
    }

    /// What of ours an interface's record has no room for.
    pub(crate) fn left_out(&self, id: InterfaceId) -> &[String] {
        let state = self.interfaces.get(usize::from(id.0));
        state.map_or(&[], |state| state.left_out.as_slice())
    }

    /// The classes that can be judged by what the program sees on an interface.
    pub(crate) fn judged(&self, id: InterfaceId) -> Classes {
        match self.hidden_tags(id) {
            Some(_) => Classes::MALFORMED,
            None => Classes::ALL,
        }
    }

    /// The program in XDP on an interface's device, ours or not.
    pub(crate) fn program(&self, id: InterfaceId) -> Option<Program> {
        self.interfaces.get(usize::from(id.0))?.program
    }

    /// The members of an interface that is a bond: the program runs with their indices.
    pub(crate) fn members(&self, id: InterfaceId) -> &[u32] {
        let state = self.interfaces.get(usize::from(id.0));
        let own = state.and_then(|state| state.own.as_ref());
        own.map_or(&[], |own| own.members.as_slice())
    }

    /// Is a program in XDP on an interface's device that is not ours?
    pub(crate) fn foreign(&self, id: InterfaceId) -> Option<Program> {
        let state = self.interfaces.get(usize::from(id.0))?;
        let ours = state.ours.as_ref().map(|ours| ours.program);
        state.program.filter(|program| Some(program.id) != ours)
    }

    /// Interfaces without a device of their name.
    pub(crate) fn missing(&self) -> Vec<(InterfaceId, String)> {
        let each = (0..)
            .map(InterfaceId)
            .zip(&self.interfaces)
            .zip(&self.names);
        each.filter(|((_, state), _)| state.index.is_none())
            .map(|((id, _), name)| (id, name.clone()))
            .collect()
    }

    /// An earlier process attached this program to the interface when its device had this index. If it is still there, the
    /// device was renamed since, and is the interface as before.
    pub(crate) fn was(&mut self, id: InterfaceId, index: u32, program: u32) {
        let devices = self.links.as_ref().map(Links::devices);
        let device = devices.and_then(|devices| devices.get(index));
        let in_xdp = device.and_then(|device| device.program);
        let mut on_it = in_xdp
            .map(|in_xdp| in_xdp.id)
            .into_iter()
            .chain(programs_at_tc(index).into_iter().flatten());
        if on_it.any(|on_it| on_it == program)
            && let Some(state) = self.interfaces.get_mut(usize::from(id.0))
        {
            state.index = Some(index);
            self.fresh = true;
        }
    }

    /// Our program is where it must be, for this reason.
    pub(crate) fn is_there_because(&mut self, id: InterfaceId, why: String) {
        let state = self.interfaces.get_mut(usize::from(id.0));
        if let Some(ours) = state.and_then(|state| state.ours.as_mut()) {
            ours.why = why;
        }
    }

    /// It is attached, but not as configured.
    pub(crate) fn is_unlike(&mut self, id: InterfaceId, why: String) {
        if let Some(state) = self.interfaces.get_mut(usize::from(id.0)) {
            state.unlike = Some(why);
        }
    }

    /// Interfaces whose device is there without our program, and whose next try is due.
    pub(crate) fn unattached(&self, now: Duration) -> Vec<InterfaceId> {
        let ids = (0..self.interfaces.len() as u16).map(InterfaceId);
        let is_due = |id: &InterfaceId| {
            let state = &self.interfaces[usize::from(id.0)];
            state.index.is_some()
                && !state.released
                && now >= state.retry_at
                && self.attachment(*id).attached == Some(false)
        };
        ids.filter(is_due).collect()
    }

    /// Attaching was tried. If it went well, our program is where it says, for the reason it says.
    pub(crate) fn tried(
        &mut self,
        now: Duration,
        id: InterfaceId,
        tried: Result<(&Attached, String), String>,
    ) {
        let Some(state) = self.interfaces.get_mut(usize::from(id.0)) else {
            return;
        };
        state.retry_at = now + RETRY;
        state.former = None;
        let (attached, why) = match tried {
            Ok(tried) => tried,
            Err(why) => {
                state.refused = Some(why);
                return;
            }
        };
        state.refused = None;
        state.ours = Some(Ours {
            program: attached.program,
            is_at_tc: attached.kind.is_tc(),
            why,
        });
        state.at_tc = None;
        state.look_at_tc();
        if let (Some(index), Some(links)) = (state.index, &mut self.links) {
            // An error shows again with the next look, which opens the subscription anew.
            _ = links.look_at(&[index]).and_then(|()| links.work());
            let device = links.devices().get(index);
            state.program = device.and_then(|device| device.program);
        }
    }

    /// It is left to the program of a former version. Is that new?
    pub(crate) fn is_left_to_former(&mut self, id: InterfaceId, why: String) -> bool {
        let state = self.interfaces.get_mut(usize::from(id.0));
        state.is_some_and(|state| state.former.replace(why).is_none())
    }

    /// An operator detached it.
    pub(crate) fn release(&mut self, name: &str) {
        let mut interfaces = self.interfaces.iter_mut().zip(&self.names);
        if let Some((state, _)) = interfaces.find(|(_, each)| *each == name) {
            (state.released, state.program, state.said) = (true, None, Some(false));
            (state.ours, state.former) = (None, None);
        }
    }

    /// Attaching was tried before and left the device without our program.
    pub(crate) fn is_stubborn(&self, id: InterfaceId) -> bool {
        let state = self.interfaces.get(usize::from(id.0));
        state.is_some_and(|state| {
            let is_gone = state.is_there() == Some(false) && state.program.is_none();
            let was_tried = state.retry_at > Duration::ZERO && state.former.is_none();
            was_tried && state.refused.is_none() && is_gone
        })
    }

    /// Interfaces that are attached now and were not when that was said last, or the other way round.
    pub(crate) fn news(&mut self) -> Vec<(InterfaceId, Attachment)> {
        let ids = (0..self.interfaces.len() as u16).map(InterfaceId);
        let now: Vec<_> = ids.map(|id| (id, self.attachment(id))).collect();
        let is_new = |(id, attachment): &(InterfaceId, Attachment)| {
            let said = &mut self.interfaces[usize::from(id.0)].said;
            let attached = attachment.attached;
            attached.is_some() && std::mem::replace(said, attached.or(*said)) != attached
        };
        now.into_iter().filter(is_new).collect()
    }

    /// Where the neighbours of each device are: at the interface it is stacked on.
    pub(crate) fn places(&self) -> Places {
        let mut places = Places::new();
        for state in &self.interfaces {
            let (Some(index), Some(own)) = (state.index, &state.own) else {
                continue;
            };
            for (&device, &vlans) in &own.places {
                places.insert(device, (index, vlans));
            }
        }
        places
    }

    /// The device of this index is which interface?
    pub(crate) fn interface(&self, ifindex: u32) -> Option<InterfaceId> {
        let place = self.interfaces.iter().position(|each| {
            let own = each.own.as_ref();
            let is_member = own.is_some_and(|own| own.members.contains(&ifindex));
            each.index == Some(ifindex) || is_member
        })?;
        Some(InterfaceId(place as u16))
    }

    /// The subscription, to wait for.
    pub(crate) const fn links(&self) -> Option<&Links> {
        self.links.as_ref()
    }

    pub(crate) const fn look_at(&self) -> Duration {
        self.look_at
    }
}

#[cfg(test)]
mod tests;
