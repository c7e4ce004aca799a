//! A set as the list of addresses at which membership flips. The only place that knows about address bits beyond
//! the 64th, and how their list lies in memory.
use super::{LINE_WORDS, Line};
use crate::set::Range;

/// Where membership flips among the keys (top 64 bits) of a window.
pub(super) struct Boundaries {
    /// Is the window's first key a member?
    pub flip: bool,
    /// The keys after it that are of another kind than the one before, ascending. /64s that are members in part
    /// are members nowhere here.
    pub short: Vec<u64>,
}

impl Boundaries {
    /// Those from the first to the last key.
    pub fn of(ranges: &[Range], (start, end): Keys) -> Self {
        let ranges = within(ranges, (start, end));
        let mut short = Vec::with_capacity(2 * ranges.len());
        for &(first, last) in ranges {
            let (mut from, mut to) = (key(first), key(last));
            let (cut_first, cut_last) = is_cut((first, last));
            if from == to && (cut_first || cut_last) {
                continue;
            }
            from += u64::from(cut_first);
            to -= u64::from(cut_last);
            if from <= to && from <= end && to >= start {
                short.push(from.max(start));
                short.extend(to.checked_add(1).filter(|&after| after <= end));
            }
        }
        let flip = short.first() == Some(&start);
        if flip {
            short.remove(0);
        }
        Self { flip, short }
    }

    /// Those of a part of the window, as `of` would find them.
    pub fn part(&self, (start, end): Keys) -> Part<'_> {
        let from = self.short.partition_point(|&boundary| boundary <= start);
        let to = self.short.partition_point(|&boundary| boundary <= end);
        Part {
            flip: self.flip ^ !from.is_multiple_of(2),
            short: &self.short[from..to],
        }
    }

    /// All of them.
    pub fn whole(&self) -> Part<'_> {
        Part {
            flip: self.flip,
            short: &self.short,
        }
    }
}

/// See [`Boundaries`].
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub flip: bool,
    pub short: &'a [u64],
}

/// First and last key of a window.
pub(super) type Keys = (u64, u64);

/// The ranges that have members among these keys.
pub(super) fn within(ranges: &[Range], (start, end): Keys) -> &[Range] {
    let from = ranges.partition_point(|range| key(range.1) < start);
    let to = ranges.partition_point(|range| key(range.0) <= end);
    &ranges[from..to.max(from)]
}

/// Whole addresses at which membership flips within /64s that are members in part, ascending.
pub(super) fn long_boundaries(ranges: &[Range]) -> Vec<u128> {
    let mut long = Vec::new();
    for &(first, last) in ranges {
        let (cut_first, cut_last) = is_cut((first, last));
        if key(first) == key(last) && (cut_first || cut_last) {
            long.push(first);
            long.extend(last.checked_add(1));
            continue;
        }
        if cut_first {
            long.extend([first, u128::from(key(first) + 1) << 64]);
        }
        if cut_last {
            long.extend([u128::from(key(last)) << 64, last + 1]);
        }
    }
    long
}

const fn key(bits: u128) -> u64 {
    (bits >> 64) as u64
}

/// Does the range begin, does it end within a /64?
pub(super) const fn is_cut((first, last): Range) -> (bool, bool) {
    (first as u64 != 0, last as u64 != u64::MAX)
}

/// One bit for each /64 that is a member in part: an address that does not find its own has nothing to search for.
fn filter(boundaries: &[u128]) -> u64 {
    // Each pair of them lies within one /64.
    let firsts = boundaries.iter().step_by(2);
    firsts.fold(0, |bits, &first| {
        bits | 1 << super::lookup::filter_bit(key(first))
    })
}

/// The boundaries within /64s, two words each, then their number and the filter, up to the end of a line.
pub(super) fn long_list(boundaries: &[u128]) -> Vec<Line> {
    if boundaries.is_empty() {
        return Vec::new();
    }
    let words = 2 * (boundaries.len() + 1);
    let mut lines = vec![Line::default(); words.div_ceil(LINE_WORDS)];
    let all = lines.as_flattened_mut();
    let start = all.len() - words;
    let pairs = boundaries.iter().map(|&b| [(b >> 64) as u64, b as u64]);
    for (cell, pair) in all[start..]
        .chunks_exact_mut(2)
        .zip(pairs.chain([[boundaries.len() as u64, filter(boundaries)]]))
    {
        cell.copy_from_slice(&pair);
    }
    lines
}
