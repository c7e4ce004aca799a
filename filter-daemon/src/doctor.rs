//! What keeps the filter from doing what is wanted, or may surprise an operator: each with why it matters and the command
//! that mends it. `status` looks at the daemon's answer, `plan` at the configuration, `host` at the machine. Pure but for
//! `host`, and changes nothing anywhere.
use serde::Serialize;

pub mod host;
pub mod plan;
pub mod status;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Something will surprise somebody.
    Warning,
    /// Something that is wanted does not work.
    Problem,
}

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check found it: one of [`CHECKS`].
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The peer, interface or feed; none if it is about all of them.
    pub subject: Option<String>,
    /// What was found.
    pub what: String,
    /// Why it matters.
    pub why: &'static str,
    /// The command, or the change of the configuration, that mends it.
    pub fix: Option<String>,
    /// Does it keep a class that is wanted from being in force?
    pub keeps_out_of_force: bool,
}

impl Finding {
    /// Of a check, as a warning.
    #[must_use]
    pub fn new(check: &'static str, what: impl Into<String>, why: &'static str) -> Self {
        Self {
            check,
            severity: Severity::Warning,
            subject: None,
            what: what.into(),
            why,
            fix: None,
            keeps_out_of_force: false,
        }
    }

    /// About this peer, interface or feed.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// What mends it.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Only worth knowing.
    #[must_use]
    pub const fn note(mut self) -> Self {
        self.severity = Severity::Note;
        self
    }

    /// Something that is wanted does not work; with `keeps_out`, a wanted class is out of force by it.
    #[must_use]
    pub const fn problem(mut self, keeps_out: bool) -> Self {
        self.severity = Severity::Problem;
        self.keeps_out_of_force = keeps_out;
        self
    }
}

/// Every check, as docs/operating.md lists them.
pub const CHECKS: [&str; 28] = [
    "daemon",
    "version",
    "switched-off",
    "lease",
    "records",
    "lost",
    "attached",
    "hook",
    "left-out",
    "alarm",
    "no-frame",
    "class",
    "publish",
    "feed",
    "feed-skipped",
    "pre-policy",
    "limits",
    "stations",
    "bypass",
    "only-polls",
    "bmp-open",
    "families",
    "max-prefixes",
    "communities",
    "neighbour",
    "device",
    "kernel",
    "clock",
];

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../docs/operating.md");

    #[test]
    fn the_document_lists_every_check() {
        for check in CHECKS {
            let row = format!("| `{check}` | ");
            assert!(DOCUMENT.contains(&row), "docs/operating.md lacks `{row}`");
        }
    }
}
