//! The engines that judge the cases, behind one trait: a naive oracle, the policy in user space, and the XDP
//! programs in the kernel. What they have in common is how they count; never how they decide.

mod kernel;
mod oracle;
mod userspace;

use std::collections::BTreeMap;
use std::fmt;

use filter_core::{Classes, Reason};
use filter_loader::Counters;

use crate::case::{self, Case};
use crate::world::World;

pub use kernel::Kernel;
pub use oracle::Oracle;
pub use userspace::Userspace;

/// Something that judges frames and keeps counters.
pub trait Engine {
    /// What to call it when it disagrees.
    fn name(&self) -> String;
    /// The shortest frame it can be given, in bytes.
    fn shortest(&self) -> usize {
        0
    }
    /// Can it be given this frame?
    fn takes(&self, frame: &[u8]) -> bool {
        frame.len() >= self.shortest()
    }
    /// Puts these classes in force, for every peer and the interface; counters stay.
    fn set_in_force(&mut self, classes: Classes);
    /// Judges one frame; was it dropped?
    fn drops(&mut self, frame: &[u8]) -> bool;
    /// Everything counted since it was made.
    fn tally(&self) -> Tally;
}

/// All counters of an interface (under `None`) and of its peers.
#[derive(Clone, PartialEq, Eq)]
pub struct Tally(pub BTreeMap<Option<&'static str>, Counters>);

impl Tally {
    /// All zero.
    #[must_use]
    pub fn of(world: &World) -> Self {
        let peers = world.peers.iter().map(|peer| Some(peer.name));
        Self(
            peers
                .chain([None])
                .map(|who| (who, Counters::default()))
                .collect(),
        )
    }

    /// Counts one packet.
    ///
    /// # Panics
    /// If there is no such peer.
    pub fn count(
        &mut self,
        who: Option<&'static str>,
        reason: Reason,
        dropped: bool,
        frame: &[u8],
    ) {
        let counters = self.0.get_mut(&who).expect("a peer of this world");
        counters.count(reason, dropped, frame.len() as u64);
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self
            .0
            .iter()
            .map(|(who, counters)| (who.unwrap_or("-"), counters));
        f.debug_map()
            .entries(all.filter(|(_, counters)| **counters != Counters::default()))
            .finish()
    }
}

/// What a packet breaks, by the names of `docs/spec.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// The classes.
    pub classes: Vec<&'static str>,
    /// The only family that is held against it; any family's if `None`.
    pub family: Option<&'static str>,
}

/// The last column of the table of rows in `docs/spec.md`, written down a second time. `sides` are those of `sources` and
/// `destinations` that the packet itself was found to break.
#[must_use]
pub fn breaks(
    world: &World,
    reason: Reason,
    family: &'static str,
    sides: &[&'static str],
) -> Broken {
    let any = |classes: &[&'static str]| Broken {
        classes: classes.to_vec(),
        family: None,
    };
    match reason.name() {
        "malformed" => any(&["malformed", "sources", "destinations"]),
        "family-not-peered" => any(&["families", "sources", "destinations"]),
        "non-ip" | "router-advertisement" | "redirect" | "lan-multicast" if world.passes_lan => {
            any(&[])
        }
        "non-ip" | "router-advertisement" | "redirect" | "lan-multicast" => any(&["lan"]),
        "unknown-peer" => any(&["unknown"]),
        "source-bogon" | "source-ours" => Broken {
            classes: [&["bogons"], sides].concat(),
            family: Some(family),
        },
        "both-unannounced" | "source-unannounced" | "destination-unannounced" => Broken {
            classes: sides.to_vec(),
            family: Some(family),
        },
        _ => any(&[]),
    }
}

/// Is a packet that breaks this dropped, where these classes are in force?
#[must_use]
pub fn is_dropped(in_force: Classes, peer: Option<&str>, broken: &Broken) -> bool {
    let mut in_force = in_force.iter();
    in_force.any(|(class, family)| {
        let of_interface = matches!(class.name(), "lan" | "unknown");
        let counts = of_interface || peer.is_some() || class.name() == "malformed";
        let same = |family: filter_core::Family| {
            broken.family.is_none_or(|broken| broken == family.name())
        };
        counts && broken.classes.contains(&class.name()) && family.is_none_or(same)
    })
}

/// Nothing in force, each class of each family alone, and everything.
#[must_use]
pub fn switches() -> Vec<Classes> {
    let single = |(class, family): (filter_core::Class, Option<filter_core::Family>)| {
        Classes::of_family(class, family.unwrap_or(filter_core::Family::Ipv4))
    };
    let mut all = vec![Classes::NONE];
    all.extend(Classes::ALL.iter().map(single));
    all.push(Classes::ALL);
    all
}

/// After each case everything counted so far must be what the file says, nothing more and nothing elsewhere.
///
/// # Panics
/// If the engine says otherwise.
pub fn every_case_under_every_switch(world: &'static World, engine: &mut dyn Engine) {
    every_case_under(&switches(), world, engine);
}

/// As [`every_case_under_every_switch`], under these.
///
/// # Panics
/// If the engine says otherwise.
pub fn every_case_under(switches: &[Classes], world: &'static World, engine: &mut dyn Engine) {
    let mut expected = engine.tally();
    let oracle = Oracle::new(world);
    let cases = case::of(world);
    for &in_force in switches {
        engine.set_in_force(in_force);
        for case in &cases {
            if engine.takes(&case.frame) {
                let broken = oracle.verdict(&case.frame).broken;
                let dropped = is_dropped(in_force, case.peer, &broken);
                check(engine, in_force, case, dropped, &mut expected);
            }
        }
    }
}

fn check(
    engine: &mut dyn Engine,
    in_force: Classes,
    case: &Case,
    dropped: bool,
    expected: &mut Tally,
) {
    let Case {
        world,
        name,
        peer,
        frame,
        reason,
        ..
    } = case;
    expected.count(*peer, *reason, dropped, frame);
    let about = format!("{}, {}: {name} ({in_force})", engine.name(), world.name);
    assert_eq!(engine.drops(frame), dropped, "{about}: dropped");
    assert_eq!(engine.tally(), *expected, "{about}: counters");
}
