//! A set as the list of addresses at which membership flips. The only place that knows about address bits beyond
//! the 64th, and how their list lies in memory.
use super::{LINE_WORDS, Line};
use crate::set::Ranges;

/// Where membership flips.
pub(super) struct Boundaries {
    /// Is the lowest address a member?
    pub flip: bool,
    /// Between /64s: the lowest top halves of the other kind, ascending, without zero. /64s that are members in
    /// part are members nowhere here.
    pub short: Vec<u64>,
    /// Within the /64s that are members in part: whole addresses, ascending.
    pub long: Vec<u128>,
}

impl Boundaries {
    pub fn of(ranges: &Ranges) -> Self {
        let (mut short, mut long) = (Vec::with_capacity(2 * ranges.as_slice().len()), Vec::new());
        for &(first, last) in ranges.as_slice() {
            let (mut from, mut to) = ((first >> 64) as u64, (last >> 64) as u64);
            let (cut_first, cut_last) = (first as u64 != 0, last as u64 != u64::MAX);
            if from == to && (cut_first || cut_last) {
                long.push(first);
                long.extend(last.checked_add(1));
                continue;
            }
            if cut_first {
                from += 1;
                long.extend([first, u128::from(from) << 64]);
            }
            if cut_last {
                long.extend([u128::from(to) << 64, last + 1]);
                to -= 1;
            }
            if from <= to {
                short.push(from);
                short.extend(to.checked_add(1));
            }
        }
        let flip = short.first() == Some(&0);
        if flip {
            short.remove(0);
        }
        Self { flip, short, long }
    }
}

/// The boundaries within /64s, then their number, two words each, up to the end of a line.
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
        .zip(pairs.chain([[boundaries.len() as u64, 0]]))
    {
        cell.copy_from_slice(&pair);
    }
    lines
}
