//! Which lines of the arena are free. Best fit, with neighbours joined; sizes are rounded up so that what one
//! table gives back the next one of about its size can use, which bounds fragmentation to an eighth.
//! Never touches the lines themselves.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use filter_core::table::CHUNK_LINES;

use super::extent::Extent;

/// Free runs of lines, per chunk.
#[derive(Debug)]
pub(crate) struct FreeLines {
    /// Start → length, per chunk.
    runs: Vec<BTreeMap<u32, u32>>,
    /// (length, start), for best fit, per chunk.
    by_length: Vec<BTreeSet<(u32, u32)>>,
    free: usize,
    /// Adopted extents and how many records share them.
    shares: HashMap<Extent, u32>,
}

impl FreeLines {
    /// All lines of these chunks.
    pub(crate) fn new(chunks: usize) -> Self {
        let mut free = Self {
            runs: vec![BTreeMap::new(); chunks],
            by_length: vec![BTreeSet::new(); chunks],
            free: 0,
            shares: HashMap::new(),
        };
        for chunk in 0..chunks {
            free.insert(chunk as u16, 0, CHUNK_LINES as u32);
        }
        free
    }

    /// A free run of at least this many lines; the extent's length says how many it is.
    pub(crate) fn allocate(&mut self, lines: usize) -> Option<Extent> {
        let rounded = rounded(u32::try_from(lines).ok()?);
        // A set that only fits unrounded, at the very end of a chunk, still gets its place.
        self.cut(rounded).or_else(|| self.cut(lines as u32))
    }

    /// The same in a certain chunk.
    pub(crate) fn allocate_in(&mut self, chunk: u16, lines: usize) -> Option<Extent> {
        if lines == 0 {
            return Some(Extent {
                chunk,
                ..Extent::default()
            });
        }
        let rounded = rounded(u32::try_from(lines).ok()?);
        self.cut_in(chunk, rounded)
            .or_else(|| self.cut_in(chunk, lines as u32))
    }

    fn cut(&mut self, lines: u32) -> Option<Extent> {
        let fits = |of_chunk: &BTreeSet<(u32, u32)>| of_chunk.range((lines, 0)..).next().copied();
        let fitting = self
            .by_length
            .iter()
            .zip(0..)
            .filter_map(|(of_chunk, chunk)| Some((fits(of_chunk)?.0, chunk)));
        let (_, chunk) = fitting.min()?;
        self.cut_in(chunk, lines)
    }

    fn cut_in(&mut self, chunk: u16, lines: u32) -> Option<Extent> {
        let of_chunk = self.by_length.get(usize::from(chunk))?;
        let &(length, start) = of_chunk.range((lines, 0)..).next()?;
        self.remove(chunk, start, length);
        if length > lines {
            self.insert(chunk, start + lines, length - lines);
        }
        Some(Extent {
            chunk,
            line: start as u16,
            lines,
        })
    }

    /// Gives a run back.
    pub(crate) fn give(&mut self, extent: Extent) {
        if extent.lines == 0 {
            return;
        }
        let (mut start, mut length) = (u32::from(extent.line), extent.lines);
        let runs = &self.runs[usize::from(extent.chunk)];
        if let Some((&before, &len)) = runs
            .range(..start)
            .next_back()
            .filter(|&(&s, &len)| s + len == start)
        {
            self.remove(extent.chunk, before, len);
            start = before;
            length += len;
        }
        let runs = &self.runs[usize::from(extent.chunk)];
        if let Some(&len) = runs.get(&(u32::from(extent.line) + extent.lines)) {
            self.remove(extent.chunk, u32::from(extent.line) + extent.lines, len);
            length += len;
        }
        self.insert(extent.chunk, start, length);
    }

    /// Takes a certain run out of what is free; `false` if any of it is not free.
    pub(crate) fn take(&mut self, extent: Extent) -> bool {
        let (start, end) = (
            u32::from(extent.line),
            u32::from(extent.line) + extent.lines,
        );
        let Some(runs) = self.runs.get(usize::from(extent.chunk)) else {
            return false;
        };
        let Some((&run, &length)) = runs
            .range(..=start)
            .next_back()
            .filter(|&(&s, &len)| s + len >= end)
        else {
            return false;
        };
        self.remove(extent.chunk, run, length);
        if run < start {
            self.insert(extent.chunk, run, start - run);
        }
        if end < run + length {
            self.insert(extent.chunk, end, run + length - end);
        }
        true
    }

    /// Takes an adopted run, which several records may share.
    pub(crate) fn take_shared(&mut self, extent: Extent) {
        let shares = self.shares.entry(extent).or_insert(0);
        *shares += 1;
        if *shares == 1 {
            self.take(extent);
        }
    }

    /// One record less shares an adopted run; `true` if it was the last.
    pub(crate) fn last_share(&mut self, extent: Extent) -> bool {
        let Some(shares) = self.shares.get_mut(&extent) else {
            return true;
        };
        *shares -= 1;
        if *shares > 0 {
            return false;
        }
        self.shares.remove(&extent);
        true
    }

    /// How many lines are free.
    pub(crate) fn lines(&self) -> usize {
        self.free
    }

    /// The longest free run.
    pub(crate) fn largest(&self) -> usize {
        let longest = self.by_length.iter().filter_map(BTreeSet::last);
        longest.max().map_or(0, |&(length, _)| length as usize)
    }

    fn insert(&mut self, chunk: u16, start: u32, length: u32) {
        self.runs[usize::from(chunk)].insert(start, length);
        self.by_length[usize::from(chunk)].insert((length, start));
        self.free += length as usize;
    }

    fn remove(&mut self, chunk: u16, start: u32, length: u32) {
        self.runs[usize::from(chunk)].remove(&start);
        self.by_length[usize::from(chunk)].remove(&(length, start));
        self.free -= length as usize;
    }
}

/// The longest run that is rounded up to: what a record's 16 bits can count.
const MAX_RUN: u32 = u16::MAX as u32;

/// Up to sixteen lines as they are; beyond, steps of an eighth of the largest power of two below.
fn rounded(lines: u32) -> u32 {
    if lines <= 16 {
        return lines;
    }
    let step = 1 << (lines.ilog2() - 3);
    (lines.div_ceil(step) * step).min(MAX_RUN.max(lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow_by_at_most_an_eighth() {
        for lines in 1..10_000 {
            let rounded = rounded(lines);
            assert!(
                rounded >= lines && (rounded - lines) * 8 <= lines,
                "{lines} {rounded}"
            );
        }
    }

    #[test]
    fn everything_given_back_is_one_piece_again() {
        let mut free = FreeLines::new(2);
        assert!(free.take(Extent {
            chunk: 0,
            line: 0,
            lines: 1
        }));
        assert!(!free.take(Extent {
            chunk: 0,
            line: 0,
            lines: 1
        }));
        let mut held = Vec::new();
        while let Some(extent) = free.allocate(1 + held.len() * 7 % 900) {
            held.push(extent);
        }
        let mut order: Vec<usize> = (0..held.len()).collect();
        order.sort_by_key(|i| i * 7919 % held.len());
        order.into_iter().for_each(|i| free.give(held[i]));
        assert_eq!(free.lines(), 2 * CHUNK_LINES - 1);
        assert_eq!(free.largest(), CHUNK_LINES);
    }

    #[test]
    fn extents_never_overlap() {
        let mut free = FreeLines::new(1);
        let mut used = vec![false; CHUNK_LINES];
        let mut held: Vec<Extent> = Vec::new();
        for step in 0..20_000_u64 {
            let random = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
            if random % 3 == 0 && !held.is_empty() {
                let extent = held.swap_remove(random as usize % held.len());
                let run =
                    usize::from(extent.line)..usize::from(extent.line) + extent.lines as usize;
                used[run].fill(false);
                free.give(extent);
            } else if let Some(extent) = free.allocate(1 + random as usize % 300) {
                let run =
                    usize::from(extent.line)..usize::from(extent.line) + extent.lines as usize;
                assert!(used[run.clone()].iter().all(|used| !used));
                used[run].fill(true);
                held.push(extent);
            }
        }
        assert_eq!(free.lines(), used.iter().filter(|used| !**used).count());
    }
}
