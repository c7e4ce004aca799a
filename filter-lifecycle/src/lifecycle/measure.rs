//! What growth of a peer's sources is measured against, as it is kept across a restart. Times are counted from when it is
//! kept, so that no clock that jumps lengthens or shortens them; time without a daemon does not count.
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use filter_core::{Family, Prefix};

/// So much of a family's space counts as a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// The family.
    pub family: Family,
    /// How much, in units of 2^64 of left-aligned bits: 2^32 for each address of IPv4, one for each /64 of IPv6.
    pub covered: u64,
    /// When.
    pub counts: Counts,
}

/// When something counts as a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// It is covered, and will have stood for long enough in so long.
    In(Duration),
    /// It had stood, is covered no more, and is remembered for so long.
    For(Duration),
}

/// What is kept of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptCoverage {
    /// The last good sources of families that cover too much.
    pub frozen: Vec<Prefix>,
    /// The last good sources of the other families.
    pub good: Vec<Prefix>,
    /// What growth is measured against.
    pub measures: Vec<Measure>,
}

const IN: &str = "counts-in";
const FOR: &str = "counts-for";

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (how, time) = match self.counts {
            Counts::In(time) => (IN, time),
            Counts::For(time) => (FOR, time),
        };
        let seconds = time.as_secs();
        write!(f, "{} {} {how} {seconds}", self.family, self.covered)
    }
}

/// The text is no [`Measure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a family, what it covers, `{IN}` or `{FOR}`, and seconds")]
pub struct NoMeasure;

impl FromStr for Measure {
    type Err = NoMeasure;

    fn from_str(text: &str) -> Result<Self, NoMeasure> {
        let words: Vec<&str> = text.split(' ').collect();
        let &[family, covered, how, seconds] = words.as_slice() else {
            return Err(NoMeasure);
        };
        let named = Family::ALL.into_iter().find(|each| each.name() == family);
        let time = Duration::from_secs(seconds.parse().map_err(|_| NoMeasure)?);
        Ok(Self {
            family: named.ok_or(NoMeasure)?,
            covered: covered.parse().map_err(|_| NoMeasure)?,
            counts: match how {
                IN => Counts::In(time),
                FOR => Counts::For(time),
                _ => return Err(NoMeasure),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_is_written() {
        for text in [
            "ipv4 4294967296 counts-in 0",
            "ipv6 18446744073709551615 counts-for 86400",
        ] {
            assert_eq!(text.parse::<Measure>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "ipv4 1 counts-in",
            "ipv5 1 counts-in 0",
            "ipv4 -1 counts-in 0",
            "ipv4 1 counts 0",
            "ipv4 1 counts-in 0 0",
            "ipv4 1 counts-for 1.5",
        ] {
            assert_eq!(text.parse::<Measure>(), Err(NoMeasure), "{text}");
        }
    }
}
