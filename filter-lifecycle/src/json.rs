//! How status is written where types have no `Serialize` of their own: by their names in text, times in whole seconds.
//! Formats nothing that is not asked for by a field's attribute.
use std::fmt::Display;
use std::time::Duration;

use serde::Serializer;

/// As it is displayed.
///
/// # Errors
/// The serializer's.
pub fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// As it is displayed, or null.
///
/// # Errors
/// The serializer's.
pub fn optional_text<T: Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// A list, each as it is displayed.
///
/// # Errors
/// The serializer's.
pub fn texts<T: Display, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(ToString::to_string))
}

/// Whole seconds.
///
/// # Errors
/// The serializer's.
pub fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_secs())
}

/// Whole seconds, or null.
///
/// # Errors
/// The serializer's.
pub fn optional_seconds<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.serialize_u64(time.as_secs()),
        None => serializer.serialize_none(),
    }
}
