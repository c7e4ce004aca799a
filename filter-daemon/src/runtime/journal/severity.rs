//! How loud an event is: what pages somebody is a warning or worse. docs/operating.md lists the names.
use serde::Serialize;

use super::fields::Fields;

/// See the file's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    Info,
    Warning,
    Error,
}

/// Something that is wanted is not in force, or good packets may be dropped.
const ERRORS: [&str; 10] = [
    "breaker",
    "foreign-feed",
    "lease-ended",
    "no-record-alarm",
    "not-attached",
    "publish-failed",
    "reload-incomplete",
    "stations-failed",
    "tags-hidden",
    "trial-rolled-back",
];

/// Somebody has to look at it.
const WARNINGS: [&str; 23] = [
    "asn-mismatch",
    "count-mismatch",
    "coverage-exceeded",
    "default-pointing",
    "feed-disagreement",
    "feed-down",
    "first-as-differs",
    "former-kept",
    "ixf-refused",
    "left-out",
    "mac-contested",
    "mac-moved",
    "max-prefix-exceeded",
    "next-hop-rewritten",
    "not-as-configured",
    "not-for-us-alarm",
    "not-kept",
    "not-watched",
    "records-refused",
    "reload-refused",
    "senders-left-out",
    "shrink-refused",
    "state-unreadable",
];

/// Everything else that happens, but for `peer-state`, which is as loud as its state.
const INFOS: [&str; 26] = [
    "acknowledged",
    "attached",
    "coverage-cleared",
    "detached",
    "feed-up",
    "foreign-feed-over",
    "former-replaced",
    "growth-accepted",
    "mac-accepted",
    "mac-learned",
    "mac-seeded",
    "max-prefix-cleared",
    "mode-changed",
    "no-record-over",
    "not-for-us-over",
    "prefix-refused",
    "reloaded",
    "session-down",
    "session-up",
    "source-state",
    "stopping",
    "switched",
    "tags-seen",
    "trial-begun",
    "trial-confirmed",
    "unknown-session",
];

/// The names of all events.
pub(crate) fn event_names() -> impl Iterator<Item = &'static str> {
    let fixed = ERRORS.iter().chain(&WARNINGS).chain(&INFOS).copied();
    fixed.chain(["peer-state"])
}

impl Severity {
    pub(super) fn of(event: &str, fields: &Fields) -> Self {
        match fields {
            Fields::PeerState { state, missing, .. } => match (*state, missing) {
                ("degraded", _) => Self::Error,
                ("partly" | "holding", Some(_)) => Self::Warning,
                _ => Self::Info,
            },
            _ if ERRORS.contains(&event) => Self::Error,
            _ if WARNINGS.contains(&event) => Self::Warning,
            _ => Self::Info,
        }
    }

    pub(super) const fn level(self) -> log::Level {
        match self {
            Self::Info => log::Level::Info,
            Self::Warning => log::Level::Warn,
            Self::Error => log::Level::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../../docs/operating.md");

    #[test]
    fn what_pages_somebody_is_a_warning_or_worse() {
        let of = |event| Severity::of(event, &Fields::None {});
        assert!(INFOS.iter().all(|event| of(event) == Severity::Info));
        for event in ["breaker", "not-attached", "reload-refused", "feed-down"] {
            assert!(of(event) >= Severity::Warning, "{event}");
        }
        assert_eq!(of("reloaded"), Severity::Info);
        let state = |state, missing: Option<&str>| {
            let fields = Fields::PeerState {
                peer: None,
                state,
                missing: missing.map(str::to_owned),
            };
            Severity::of("peer-state", &fields)
        };
        assert_eq!(state("enforcing", None), Severity::Info);
        assert_eq!(state("partly", Some("a feed is lost")), Severity::Warning);
        assert_eq!(state("degraded", Some("a feed is lost")), Severity::Error);
    }

    #[test]
    fn every_event_of_the_lifecycle_has_its_name_here() {
        let source = include_str!("../../../../filter-lifecycle/src/lifecycle/event.rs");
        let arms = source.lines().filter_map(|line| {
            let (arm, name) = line.trim().split_once(" => \"")?;
            arm.starts_with("Self::")
                .then(|| name.trim_end_matches("\","))
        });
        let names: Vec<&str> = arms.collect();
        assert!(names.len() > 20, "{names:?}");
        for name in names {
            assert!(event_names().any(|it| it == name), "{name}");
        }
    }

    #[test]
    fn the_document_lists_every_warning_and_error() {
        for (event, severity) in ERRORS
            .iter()
            .map(|it| (it, "error"))
            .chain(WARNINGS.iter().map(|it| (it, "warning")))
        {
            let row = format!("| `{event}` | {severity} |");
            assert!(DOCUMENT.contains(&row), "docs/operating.md lacks `{row}`");
        }
    }
}
