//! What BGP daemons get wrong in BMP, by name, and whether path identifiers stand before prefixes. Pure: no sockets,
//! no clock. Never guesses: what can be read in both ways is an error of its own.
use crate::wire::WireError;
use crate::wire::bgp::{PathIds, Update};
use crate::wire::bmp::{PeerHeader, PeerUp};
use filter_lifecycle::route::AdjRib;

/// Who speaks, as far as it makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// FRRouting, and its major version.
    Frr(u32),
    /// BIRD 3, whose BMP leaves out sessions (3.1.7) or aborts the daemon (3.3.2).
    Bird3,
    /// Anything else: BIRD 2 and GoBGP put whatever the operator configured into sysDescr.
    Other,
}

impl Daemon {
    /// From the sysDescr of its Initiation.
    #[must_use]
    pub fn from_description(description: &str) -> Self {
        if let Some(version) = description.strip_prefix("FRRouting ") {
            let major = version.split(|c: char| !c.is_ascii_digit()).next();
            // A version that we cannot read is an old one: then we do too much, not too little.
            return Self::Frr(major.and_then(|major| major.parse().ok()).unwrap_or(0));
        }
        if description.starts_with("BIRD 3") || description.starts_with("BIRD v3") {
            return Self::Bird3;
        }
        Self::Other
    }

    /// BIRD 3 by its Peer Up: no timestamp (any BIRD), and no local port although the router connected (only
    /// BIRD 3). A session that the neighbour opened looks the same from both.
    #[must_use]
    pub fn is_bird3(header: &PeerHeader, up: &PeerUp) -> bool {
        header.timestamp == (0, 0) && up.local_port == 0 && up.remote_port == 179
    }

    /// Loses routes of a session that comes up while the listener is connected, and heals when the listener
    /// reconnects (fixed in FRR 10).
    #[must_use]
    pub const fn needs_reconnect_after_up(self) -> bool {
        matches!(self, Self::Frr(0..=9))
    }

    /// May leave a view empty after a neighbour's graceful restart, and heals likewise. BIRD 2.19.2 does; it cannot
    /// be distinguished from others that do not, to which a reconnect does no harm.
    #[must_use]
    pub const fn needs_reconnect_after_restart(self) -> bool {
        !matches!(self, Self::Frr(10..))
    }

    /// Counts Adj-RIB-In post-policy where RFC 7854 has Loc-RIB (statistics type 8).
    #[must_use]
    pub const fn counts_post_policy(self) -> bool {
        matches!(self, Self::Frr(10..))
    }

    /// Without `soft-reconfiguration inbound` every announcement of this view arrives as a withdrawal
    /// (FRRouting/frr issue 10240).
    #[must_use]
    pub const fn may_hide_routes(self, rib: AdjRib) -> bool {
        matches!((self, rib), (Self::Frr(_), AdjRib::InPrePolicy))
    }

    /// What we expect before a table has shown it: FRR negotiates path identifiers and never sends them on.
    const fn expected(self) -> Option<bool> {
        match self {
            Self::Frr(_) => Some(false),
            _ => None,
        }
    }
}

/// Whether a session's tables carry the path identifiers that it negotiated, by [`AdjRib`]: BIRD's do, FRR's do not,
/// GoBGP's do before policy and not after. Learned from messages of this session that can be read in one way only, never
/// from another's: what one neighbour sends must not decide how another is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathIdModes([Option<bool>; 3]);

/// How one UPDATE is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Like this.
    As(PathIds),
    /// It can be read in both ways, and nothing shows which is right: it is not used.
    Undetermined,
    /// It holds a default route that may be a path identifier: not to be believed.
    DoubtfulDefault,
}

/// Why an UPDATE cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// In neither way.
    Malformed(WireError),
    /// Only in the other way than this table was read in so far. What was learned is forgotten.
    ModeChanged,
}

impl PathIdModes {
    /// What is known of a table: yes, no, or nothing yet.
    #[must_use]
    pub const fn of(&self, rib: AdjRib) -> Option<bool> {
        self.0[rib as usize]
    }

    /// How to read this UPDATE of a session that negotiated path identifiers in these families.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn reading(
        &mut self,
        daemon: Daemon,
        rib: AdjRib,
        negotiated: PathIds,
        update: &Update<'_>,
    ) -> Result<Reading, Unreadable> {
        if negotiated == PathIds::NONE {
            update.check(PathIds::NONE).map_err(Unreadable::Malformed)?;
            return Ok(Reading::As(PathIds::NONE));
        }
        let carried = match (update.check(negotiated), update.check(PathIds::NONE)) {
            (Err(error), Err(_)) => return Err(Unreadable::Malformed(error)),
            (Ok(()), Err(_)) => self.pin(rib, true)?,
            (Err(_), Ok(())) => self.pin(rib, false)?,
            (Ok(()), Ok(())) if !touches(update, negotiated) => false,
            (Ok(()), Ok(())) => match self.of(rib).or(daemon.expected()) {
                None => return Ok(Reading::Undetermined),
                Some(false) if has_default(update) => return Ok(Reading::DoubtfulDefault),
                Some(carried) => carried,
            },
        };
        Ok(Reading::As(if carried {
            negotiated
        } else {
            PathIds::NONE
        }))
    }

    fn pin(&mut self, rib: AdjRib, carried: bool) -> Result<bool, Unreadable> {
        let pin = &mut self.0[rib as usize];
        if *pin == Some(!carried) {
            *pin = None;
            return Err(Unreadable::ModeChanged);
        }
        *pin = Some(carried);
        Ok(carried)
    }
}

/// Does it hold prefixes of a family with negotiated path identifiers? Reads them as plain ones.
fn touches(update: &Update<'_>, negotiated: PathIds) -> bool {
    prefixes(update).any(|prefix| negotiated.of(prefix.family()))
}

fn has_default(update: &Update<'_>) -> bool {
    prefixes(update).any(|prefix| prefix.len() == 0)
}

/// Every prefix that comes or goes, read without path identifiers.
fn prefixes(update: &Update<'_>) -> impl Iterator<Item = filter_core::Prefix> {
    let withdrawn = update.withdrawn(PathIds::NONE).flatten();
    let announced = update.announced(PathIds::NONE).flatten();
    withdrawn
        .map(|nlri| nlri.prefix)
        .chain(announced.map(|announced| announced.nlri.prefix))
}
