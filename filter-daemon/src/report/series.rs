//! Counters over time: points for a chart, and the 95th percentile that traffic is priced by. Pure.
use std::collections::BTreeMap;

use serde::Serialize;

use crate::records::PeerHistory;

/// Traffic is averaged over five minutes, as transit is, in seconds.
pub const BUCKET: f64 = 300.0;
/// Points of a chart.
pub const MAX_POINTS: usize = 120;

/// What broke the policy within some time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// When it begins, seconds since 1970.
    pub from: f64,
    /// When it ends.
    pub to: f64,
    /// Packets by reason. What was counted between two records is shared out evenly, in whole packets: all points together
    /// have as many as were counted.
    pub packets: BTreeMap<String, u64>,
}

/// The violations of a history in at most [`MAX_POINTS`] points of equal length, no shorter than a minute.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a chart needs no more, and has few points"
)]
pub fn points(history: &PeerHistory) -> Vec<Point> {
    let (Some(first), Some(last)) = (history.steps.first(), history.steps.last()) else {
        return Vec::new();
    };
    let (from, span) = (first.from, last.to - first.from);
    if span <= 0.0 {
        return Vec::new();
    }
    let length = (span / MAX_POINTS as f64).max(60.0);
    let count = ((span / length).ceil() as usize).clamp(1, MAX_POINTS);
    let mut points: Vec<Point> = (0..count)
        .map(|index| Point {
            from: from + index as f64 * length,
            to: from + (index + 1) as f64 * length,
            packets: BTreeMap::new(),
        })
        .collect();
    let last_point = count - 1;
    for step in &history.steps {
        let broke = step.counts.0.iter();
        for (reason, count) in broke.filter(|(reason, _)| super::sentences::of(reason).is_some()) {
            let parts = spread(step.from - from, step.to - from, length);
            for (index, packets) in whole(&parts, count.packets()) {
                if let Some(point) = points.get_mut(index.min(last_point)) {
                    *point.packets.entry(reason.clone()).or_default() += packets;
                }
            }
        }
    }
    points
}

/// So many packets in these parts, in whole ones, with none lost or invented by rounding; parts without any are left out.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what rounding costs one part, the next one has"
)]
fn whole(parts: &[(usize, f64)], packets: u64) -> Vec<(usize, u64)> {
    let (mut sum, mut given) = (0.0, 0);
    let mut shares = Vec::with_capacity(parts.len());
    for (place, &(index, part)) in parts.iter().enumerate() {
        sum += part;
        let until = match place + 1 == parts.len() {
            true => packets,
            false => ((sum * packets as f64).round() as u64).clamp(given, packets),
        };
        shares.push((index, until - given));
        given = until;
    }
    shares.retain(|(_, share)| *share > 0);
    shares
}

/// Which buckets of a length the time from `begin` to `end` lies in, and which part of it in each.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "few buckets, none negative"
)]
fn spread(begin: f64, end: f64, length: f64) -> Vec<(usize, f64)> {
    let whole = end - begin;
    let first = (begin / length).max(0.0) as usize;
    if whole <= 0.0 {
        return vec![(first, 1.0)];
    }
    let last = (end / length).max(0.0) as usize;
    let part = |index: usize| {
        let from = (index as f64 * length).max(begin);
        let to = ((index + 1) as f64 * length).min(end);
        (index, (to - from) / whole)
    };
    (first..=last)
        .map(part)
        .filter(|(_, part)| *part > 0.0)
        .collect()
}

/// Bits a second of one reason: 95 % of the five-minute averages of the whole history are not above.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate needs no more, and there are few buckets"
)]
pub fn percentile_95(history: &PeerHistory, reason: &str) -> f64 {
    let (Some(first), Some(last)) = (history.steps.first(), history.steps.last()) else {
        return 0.0;
    };
    let span = last.to - first.from;
    if span <= 0.0 {
        return 0.0;
    }
    let count = ((span / BUCKET).ceil() as usize).max(1);
    let mut bytes = vec![0.0; count];
    for step in &history.steps {
        let Some(found) = step.counts.0.get(reason) else {
            continue;
        };
        for (index, part) in spread(step.from - first.from, step.to - first.from, BUCKET) {
            bytes[index.min(count - 1)] += part * found.bytes() as f64;
        }
    }
    bytes.sort_by(f64::total_cmp);
    let rank = (count as f64 * 0.95).ceil() as usize;
    let length = if count == 1 { span } else { BUCKET };
    bytes[rank.clamp(1, count) - 1] * 8.0 / length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{ByReason, Count};

    fn history(steps: &[(f64, u64)]) -> PeerHistory {
        let mut sum = 0;
        let moments = steps.iter().map(|&(time, packets)| {
            sum += packets;
            let count = Count::from([sum, 1000 * sum, 0, 0]);
            let counts = [
                ("source-bogon".to_owned(), count),
                ("permitted".to_owned(), count),
            ];
            (time, ByReason(counts.into()))
        });
        PeerHistory::of(moments.collect(), 0.0)
    }

    #[test]
    fn the_percentile_leaves_out_the_highest_twentieth() {
        // 100 five-minute steps: a constant 3,000 bytes, and in the last five much more.
        let steps: Vec<(f64, u64)> = (0..=100)
            .map(|index| (f64::from(index) * BUCKET, if index > 95 { 3000 } else { 3 }))
            .collect();
        let rate = percentile_95(&history(&steps), "source-bogon");
        assert!((rate - 3000.0 * 8.0 / BUCKET).abs() < 1e-6, "{rate}");
        let all: Vec<(f64, u64)> = (0..=100)
            .map(|index| (f64::from(index) * BUCKET, 30))
            .collect();
        let rate = percentile_95(&history(&all), "source-bogon");
        assert!((rate - 30_000.0 * 8.0 / BUCKET).abs() < 1e-6, "{rate}");
        assert!(percentile_95(&history(&all), "other").abs() < 1e-9);
        assert!(percentile_95(&PeerHistory::default(), "source-bogon").abs() < 1e-9);
    }

    #[test]
    fn points_hold_every_violation_and_nothing_else() {
        let history = history(&[(0.0, 0), (3600.0, 120), (7200.0, 60), (86_400.0, 0)]);
        let points = points(&history);
        assert!(
            points.len() <= MAX_POINTS && points.len() > 100,
            "{}",
            points.len()
        );
        let sum: u64 = points.iter().flat_map(|it| it.packets.values()).sum();
        assert_eq!(sum, 180, "none lost or invented by rounding");
        assert!(
            points
                .iter()
                .all(|it| !it.packets.contains_key("permitted"))
        );
        let early: u64 = points
            .iter()
            .take_while(|it| it.to <= 7200.0)
            .flat_map(|it| it.packets.values())
            .sum();
        assert_eq!(early, 180);
        assert_eq!(whole(&[(0, 0.3), (1, 0.3), (2, 0.4)], 1), [(1, 1)]);
        assert_eq!(whole(&[(0, 0.5), (1, 0.5)], 3), [(0, 2), (1, 1)]);
        assert!(super::points(&PeerHistory::default()).is_empty());
    }
}
