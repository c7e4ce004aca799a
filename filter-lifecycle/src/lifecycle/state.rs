//! The transition table: in which state one source of routes is, and what makes it change. A source is one
//! table of one family of one BGP session as one feed reports it. Pure and small, so that it can be read whole;
//! what follows from a state is decided elsewhere.

/// Where a source stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Never heard of since the daemon started.
    #[default]
    Unknown,
    /// Its routes are being received, and there is no evidence yet that they are complete.
    Loading,
    /// Complete, by named evidence.
    Synced,
    /// Its session went down; its routes are kept for the hold time.
    Held,
    /// Its feed was lost while it was complete; its routes are the last known, until they are received again in full.
    Stale,
    /// Its session is down and the hold time over: none of its routes counts.
    Down,
}

/// What can happen to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cue {
    /// Its session came up, or something of it is received for the first time.
    Started,
    /// Its feed is connected again and sends everything from the start.
    FeedBack,
    /// Its table is complete: End-of-RIB, a finished poll, or quiet.
    Completed,
    /// Its session went down.
    SessionDown,
    /// Its session is up again, and its feed, which knows no sessions, has reported the table all the while.
    Resumed,
    /// Its feed was lost, or can no longer be believed.
    FeedLost,
    /// The same, while a table that was known before its session came up again was being received anew.
    KnownLost,
    /// The hold time is over.
    HoldOver,
}

impl Cue {
    /// All of them, for tables and tests.
    pub const ALL: [Self; 8] = [
        Self::Started,
        Self::FeedBack,
        Self::Completed,
        Self::SessionDown,
        Self::Resumed,
        Self::FeedLost,
        Self::KnownLost,
        Self::HoldOver,
    ];
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
        use State::{Down, Held, Loading, Stale, Synced, Unknown};
        match (self, cue) {
            // What is received again after a loss stays the last known, with what is new added, until it is complete:
            // a listener that reconnects must not end enforcement. `stale_hold` goes on from the loss.
            (Stale, Cue::Started) => Stale,
            (Unknown | Loading | Synced | Held | Down, Cue::Started) => Loading,
            // A feed that comes back without having said that it was lost was lost all the same.
            (Synced | Stale, Cue::FeedBack) => Stale,
            // The session may still be down: only a session that comes up ends a hold.
            (Unknown | Loading | Held | Down, Cue::FeedBack) => self,
            (Unknown | Loading | Synced | Stale, Cue::Completed) => Synced,
            // A table that is completed while its session is down comes late: the session decides.
            (Held | Down, Cue::Completed) => self,
            (Loading | Synced | Stale | Held, Cue::SessionDown) => Held,
            (Unknown | Down, Cue::SessionDown) => Down,
            (Held | Down, Cue::Resumed) => Synced,
            (Unknown | Loading | Synced | Stale, Cue::Resumed) => self,
            // Feed lost never means peers lost: what was complete stays, as the last known.
            (Synced | Stale, Cue::FeedLost | Cue::KnownLost) => Stale,
            // Half received, and never complete before: never to be enforced; its routes stay until received anew.
            (Loading, Cue::FeedLost) => Loading,
            // Half received after it was known: what was known stays, with what was received since.
            (Loading, Cue::KnownLost) => Stale,
            (Unknown | Held | Down, Cue::FeedLost | Cue::KnownLost) => self,
            (Held, Cue::HoldOver) => Down,
            (Unknown | Loading | Synced | Stale | Down, Cue::HoldOver) => self,
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
    fn only_evidence_leads_to_synced_and_only_session_loss_to_emptiness() {
        for state in State::ALL {
            for cue in Cue::ALL {
                let after = state.after(cue);
                let evidence = matches!(cue, Cue::Completed | Cue::Resumed);
                assert!(
                    after != State::Synced || state == State::Synced || evidence,
                    "{state} {cue:?}"
                );
                let session = matches!(cue, Cue::SessionDown | Cue::HoldOver);
                assert!(
                    after != State::Down || state == State::Down || session,
                    "{state} {cue:?}"
                );
                let idempotent = after.after(cue) == after;
                assert!(idempotent, "{state} {cue:?} twice");
            }
        }
        assert_eq!(
            State::Synced.after(Cue::SessionDown).after(Cue::HoldOver),
            State::Down
        );
    }

    /// `docs/lifecycle.md` shows the table that the code decides by: one row a state, one column a cue.
    #[test]
    fn the_documented_table_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/lifecycle.md");
        let doc = std::fs::read_to_string(path).unwrap();
        let mut expected = vec![header(), rule()];
        expected.extend(State::ALL.map(row));
        let table: Vec<&str> = doc
            .lines()
            .skip_while(|line| *line != expected[0])
            .take(expected.len())
            .collect();
        assert_eq!(table, expected, "write in {path}:\n{}", expected.join("\n"));
    }

    fn header() -> String {
        let cues = Cue::ALL.map(|cue| format!("{cue:?}"));
        format!("| state | {} |", cues.join(" | "))
    }

    fn rule() -> String {
        format!("|---|{}", "---|".repeat(Cue::ALL.len()))
    }

    fn row(state: State) -> String {
        let cell = |cue| match state.after(cue) {
            after if after == state => "·".to_owned(),
            after => format!("**{after}**"),
        };
        format!("| `{state}` | {} |", Cue::ALL.map(cell).join(" | "))
    }
}
