//! Times as operators write and read them: local, with their offset, or so long ago. Never a time zone of our own: the
//! host's.
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::config::duration;

/// Now, in seconds since 1970.
pub(crate) fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

/// A time, local, with milliseconds and its offset.
pub(crate) fn local(seconds: f64) -> String {
    shown(seconds, &TimeZone::system(), "%Y-%m-%d %H:%M:%S%.3f%:z")
}

/// A time of today, local.
pub(crate) fn clock(seconds: f64) -> String {
    shown(seconds, &TimeZone::system(), "%H:%M:%S")
}

fn shown(seconds: f64, zone: &TimeZone, format: &str) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "seconds of this era fit, and others are cut to the ends"
    )]
    let microseconds = (seconds * 1e6) as i64;
    match Timestamp::from_microsecond(microseconds) {
        Ok(time) => time.to_zoned(zone.clone()).strftime(format).to_string(),
        Err(_) => format!("{seconds:.3}"),
    }
}

/// Reads `10m`, `2h`, `7d` (so long ago), or a time: `2026-11-20T03:12`, `2026-11-20`, `03:12` (today), local unless an
/// offset or `Z` follows. In seconds since 1970.
pub(crate) fn parse(text: &str) -> Result<f64, String> {
    parse_at(text, &Zoned::now())
}

fn parse_at(text: &str, now: &Zoned) -> Result<f64, String> {
    if let Some(ago) = duration::parse(text) {
        return Ok(seconds(now.timestamp()) - ago.as_secs_f64());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(seconds(time));
    }
    let civil = text
        .parse::<DateTime>()
        .ok()
        .or_else(|| Some(text.parse::<Date>().ok()?.to_datetime(Time::midnight())))
        .or_else(|| Some(now.date().to_datetime(text.parse::<Time>().ok()?)));
    let zoned = civil.and_then(|civil| civil.to_zoned(now.time_zone().clone()).ok()).ok_or_else(|| {
        "write how long ago (`10m`, `2h`, `7d`) or a time (`2026-11-20T03:12`, `03:12`, with an offset if it is not local)"
            .to_owned()
    })?;
    Ok(seconds(zoned.timestamp()))
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of this era fit")]
fn seconds(time: Timestamp) -> f64 {
    time.as_microsecond() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_local_with_their_offset() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let text = shown(1_790_000_000.25, &zone, "%Y-%m-%d %H:%M:%S%.3f%:z");
        assert_eq!(text, "2026-09-21 16:13:20.250+02:00");
        assert_eq!(shown(f64::MAX, &zone, "%Y"), format!("{:.3}", f64::MAX));
    }

    #[test]
    fn what_operators_write_is_read() {
        let now: Zoned = "2026-11-20T12:00:00+02:00[+02:00]".parse().unwrap();
        let at = |text: &str| parse_at(text, &now);
        let noon = seconds(now.timestamp());
        assert_eq!(at("2h"), Ok(noon - 7200.0));
        assert_eq!(at("2026-11-20T03:12"), Ok(noon - 31_680.0));
        assert_eq!(at("2026-11-20 03:12:00"), Ok(noon - 31_680.0));
        assert_eq!(at("03:12"), Ok(noon - 31_680.0));
        assert_eq!(at("2026-11-20"), Ok(noon - 43_200.0));
        assert_eq!(at("2026-11-20T10:00:00Z"), Ok(noon));
        for text in ["", "yesterday", "2026-13-01", "25:00", "-1h"] {
            assert!(at(text).is_err(), "{text}");
        }
    }
}
