//! Which lines a set in pieces takes up besides its head: written in front of the head, so that a restarted loader
//! knows what is in use. The program never reads it.
//!
//! The first word holds how many extents follow (low half) and their checksum (high half); then come first line and
//! number of lines, 16 bits each, two extents to a word.
use filter_core::layout::record;
use filter_core::table::{LINE_WORDS, Line};

/// Lines for so many extents.
pub(super) const fn line_count(extents: usize) -> usize {
    (1 + extents.div_ceil(2)).div_ceil(LINE_WORDS)
}

/// The lines for these extents: (first line, number of lines).
pub(super) fn lines(extents: &[(u16, u16)]) -> Vec<Line> {
    let half = |&(line, lines): &(u16, u16)| u64::from(line) | u64::from(lines) << 16;
    let mut all = vec![Line::default(); line_count(extents.len())];
    let words = all.as_flattened_mut();
    for (word, pair) in words[1..].iter_mut().zip(extents.chunks(2)) {
        *word = half(&pair[0]) | pair.get(1).map_or(0, half) << 32;
    }
    words[0] = extents.len() as u64 | checksum(extents.len(), &words[1..]);
    all
}

/// The extents in these lines; `None` if they are damaged.
pub(super) fn read(lines: &[Line]) -> Option<Vec<(u16, u16)>> {
    let (first, words) = lines.as_flattened().split_first()?;
    let count = (first & 0xffff_ffff) as usize;
    if count.div_ceil(2) > words.len() || first & !0xffff_ffff != checksum(count, words) {
        return None;
    }
    let halves = words.iter().flat_map(|word| [*word, word >> 32]);
    let extents = halves.map(|half| (half as u16, (half >> 16) as u16));
    Some(extents.take(count).collect())
}

fn checksum(count: usize, words: &[u64]) -> u64 {
    record::checksum(&[record::checksum(words), count as u64]) & !0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_damage_is_seen() {
        for count in [0, 1, 2, 13, 14, 15, 16, 1024] {
            let extents: Vec<(u16, u16)> = (0..count).map(|i| (u16::MAX - i, i * 7)).collect();
            let mut written = lines(&extents);
            assert_eq!(written.len(), line_count(extents.len()));
            assert_eq!(read(&written), Some(extents));
            for bit in [0, 5, 31, 32, 64, 64 * 8 - 1] {
                written.as_flattened_mut()[bit / 64] ^= 1 << (bit % 64);
                assert_eq!(read(&written), None, "{count} {bit}");
                written.as_flattened_mut()[bit / 64] ^= 1 << (bit % 64);
            }
        }
        assert_eq!(read(&[]), None);
    }
}
