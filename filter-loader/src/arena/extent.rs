//! Which lines of the arena. Never knows what they hold.

/// A run of lines in one chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Extent {
    pub(super) chunk: u16,
    pub(super) line: u16,
    pub(super) lines: u32,
}

impl Extent {
    /// So many lines from its start.
    pub(super) const fn first(self, lines: usize) -> Self {
        Self {
            lines: lines as u32,
            ..self
        }
    }

    /// What comes after so many lines.
    pub(super) const fn from(self, lines: usize) -> Self {
        Self {
            line: self.line.wrapping_add(lines as u16),
            lines: self.lines.saturating_sub(lines as u32),
            ..self
        }
    }
}
