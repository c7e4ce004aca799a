//! The transition table: in which state one source of routes is, and what makes it change. A source is one
//! table of one family of one BGP session as one feed tells it. Pure and small, so that it can be read whole;
//! what follows from a state is decided elsewhere.

/// Where a source stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Never heard of since the daemon started.
    #[default]
    Unknown,
    /// Its routes are being told; nobody said yet that they are complete.
    Loading,
    /// Complete, by named evidence.
    Synced,
    /// Its session went down; its routes are kept for the hold time.
    Held,
    /// Its feed was lost while it was complete; its routes are the last known.
    Stale,
    /// Its session is down and the hold time over: it has no routes.
    Down,
}

/// What can happen to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cue {
    /// Its session came up, its feed (re)connected, or a route of it is told for the first time.
    Started,
    /// Its table is complete: End-of-RIB, a finished poll, or quiet after a mid-life start.
    Completed,
    /// Its session went down.
    SessionDown,
    /// Its feed was lost, or can no longer be believed.
    FeedLost,
    /// The hold time is over.
    HoldOver,
}

impl State {
    /// All of them, for tables and tests.
    pub const ALL: [Self; 6] = [
        Self::Unknown,
        Self::Loading,
        Self::Synced,
        Self::Held,
        Self::Stale,
        Self::Down,
    ];

    /// The state after a cue. Every pair is decided here and nowhere else.
    #[must_use]
    pub const fn after(self, cue: Cue) -> Self {
        match (self, cue) {
            (_, Cue::Started) => Self::Loading,
            (Self::Unknown | Self::Loading | Self::Synced | Self::Stale, Cue::Completed) => {
                Self::Synced
            }
            // A table that is completed while its session is down is told late: the session decides.
            (Self::Held | Self::Down, Cue::Completed) => self,
            (Self::Loading | Self::Synced | Self::Stale | Self::Held, Cue::SessionDown) => {
                Self::Held
            }
            (Self::Unknown | Self::Down, Cue::SessionDown) => Self::Down,
            // Feed lost never means peers lost: what was complete stays, as the last known.
            (Self::Synced | Self::Stale, Cue::FeedLost) => Self::Stale,
            // Half-told: never complete, so never to be enforced; its routes stay until told anew.
            (Self::Loading, Cue::FeedLost) => Self::Loading,
            (Self::Unknown | Self::Held | Self::Down, Cue::FeedLost) => self,
            (Self::Held, Cue::HoldOver) => Self::Down,
            (
                Self::Unknown | Self::Loading | Self::Synced | Self::Stale | Self::Down,
                Cue::HoldOver,
            ) => self,
        }
    }

    /// The name in status and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Loading => "loading",
            Self::Synced => "synced",
            Self::Held => "held",
            Self::Stale => "stale",
            Self::Down => "down",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_completion_leads_to_synced_and_only_session_loss_to_emptiness() {
        for state in State::ALL {
            for cue in [Cue::Started, Cue::SessionDown, Cue::FeedLost, Cue::HoldOver] {
                assert!(
                    state.after(cue) != State::Synced || state == State::Synced,
                    "{state} {cue:?}"
                );
            }
            assert!(state.after(Cue::FeedLost) != State::Down || state == State::Down);
            assert_eq!(state.after(Cue::Started), State::Loading);
        }
        assert_eq!(State::Loading.after(Cue::FeedLost), State::Loading);
        assert_eq!(
            State::Synced.after(Cue::SessionDown).after(Cue::HoldOver),
            State::Down
        );
    }
}
