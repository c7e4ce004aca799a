//! Lengths of time as people write them: `30`, `"30s"`, `"500ms"`, `"10m"`, `"1h"`, `"1d"`.
//! Never a point in time.
use std::time::Duration;

/// The longest that means anything here: a year.
pub(super) const MAX: Duration = Duration::from_secs(366 * 86_400);

/// Units, longest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a number and a unit; `None` if it is something else or over [`MAX`].
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let (_, milliseconds) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let duration = Duration::from_millis(number.checked_mul(milliseconds)?);
    (duration <= MAX).then_some(duration)
}

/// The shortest text that [`parse`] reads as this; parts of a millisecond are dropped.
pub(crate) fn print(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = |unit: &&(&str, u64)| milliseconds != 0 && milliseconds.is_multiple_of(unit.1);
    match UNITS.iter().find(fits) {
        Some((name, unit)) => format!("{}{name}", milliseconds / unit),
        None => "0s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for text in ["0s", "1ms", "1500ms", "30s", "90s", "10m", "36h", "7d"] {
            assert_eq!(print(parse(text).unwrap()), text);
        }
        assert_eq!(print(parse("120s").unwrap()), "2m");
    }

    #[test]
    fn nothing_else_is_a_length_of_time() {
        for text in [
            "",
            "s",
            "30",
            "-1s",
            "+1s",
            "1.5s",
            "1 s",
            "1S",
            "1w",
            "367d",
            "99999999999999999999s",
            "18446744073709551615d",
            "1é",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
