//! When what growth is measured against is to be kept for a restart: soon after it has another size, and else seldom. Never
//! knows a prefix.
use std::time::Duration;

use super::keeper::KEEP_EVERY;

/// What nothing froze is written no more often than this, unless what growth is measured against has another size.
pub(super) const KEEP_MEASURES_EVERY: Duration = Duration::from_secs(600);

/// Of each peer and family the power of two of what growth is measured against.
pub(super) type Steps = Vec<[Option<u32>; 2]>;

/// What the measures are to be asked about now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// They are kept if they are not what was kept.
    IfOther,
    /// They are kept.
    Now,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Measuring {
    next_look: Duration,
    next_keep: Duration,
    steps: Option<Steps>,
}

impl Measuring {
    /// Asks for the steps now and then. Those that are there first are an earlier process's, or none.
    pub(super) fn due(&mut self, now: Duration, steps: impl FnOnce() -> Steps) -> Due {
        if now < self.next_look {
            return Due::Nothing;
        }
        self.next_look = now + KEEP_EVERY;
        let Some(before) = self.steps.replace(steps()) else {
            self.next_keep = now + KEEP_MEASURES_EVERY;
            return Due::Nothing;
        };
        if self.steps.as_ref() != Some(&before) {
            self.next_keep = now + KEEP_MEASURES_EVERY;
            return Due::Now;
        }
        if now < self.next_keep {
            return Due::Nothing;
        }
        self.next_keep = now + KEEP_MEASURES_EVERY;
        Due::IfOther
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_size_is_kept_soon_and_anything_else_seldom() {
        let mut measuring = Measuring::default();
        let mut kept = Vec::new();
        for second in 0..2000 {
            let steps = match second {
                0..100 => vec![[None, None]],
                100..1000 => vec![[Some(40), None]],
                _ => vec![[Some(40), Some(3)]],
            };
            let due = measuring.due(Duration::from_secs(second), || steps);
            if due != Due::Nothing {
                kept.push((second, due));
            }
        }
        let expected = [
            (100, Due::Now),
            (700, Due::IfOther),
            (1000, Due::Now),
            (1600, Due::IfOther),
        ];
        assert_eq!(kept, expected);
    }
}
