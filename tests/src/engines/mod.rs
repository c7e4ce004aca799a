//! The engines that judge the cases, behind one trait: a naive oracle, the policy in user space, and the XDP
//! programs in the kernel. What they have in common is how they count; never how they decide.

mod kernel;
mod oracle;
mod userspace;

use std::collections::BTreeMap;
use std::fmt;

use filter_core::{Mode, Reason};
use filter_loader::Counters;

use crate::world::{Modes, World};

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
    /// Changes what violations meet; counters stay.
    fn set_modes(&mut self, modes: Modes);
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

/// What `docs/spec.md` says of a reason's fate, written down a second time.
#[must_use]
pub fn is_dropped(world: &World, modes: Modes, peer: Option<&str>, reason: Reason) -> bool {
    let violation = match reason.name() {
        "malformed" | "unknown-peer" | "family-not-peered" => true,
        "source-bogon" | "source-ours" => true,
        "non-ip" => world.non_ip_violates,
        name => name.ends_with("-unannounced"),
    };
    let mode = if peer.is_some() {
        modes.peers
    } else {
        modes.unknown
    };
    violation && mode == Mode::Enforce
}
