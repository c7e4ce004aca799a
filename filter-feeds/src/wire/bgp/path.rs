//! Whom an AS_PATH begins with (RFC 4271 section 4.3), in two or four octets for each AS (RFC 6793).
use filter_core::Asn;
use filter_lifecycle::route::PathHead;

/// Types of segments.
const AS_SET: u8 = 1;
const AS_SEQUENCE: u8 = 2;

/// The head of an AS_PATH. Its AS numbers have two octets if it cannot be read with four; then AS4_PATH says what the last
/// of them are (RFC 6793 section 4.2.3).
pub(super) fn head(path: &[u8], four: Option<&[u8]>) -> PathHead {
    let whole = Segments {
        rest: path,
        octets: 4,
    };
    if whole.count().is_some() {
        return PathHead::of(whole.sequence());
    }
    let short = Segments {
        rest: path,
        octets: 2,
    };
    let Some(count) = short.count() else {
        return PathHead::default();
    };
    let four = four.map(|rest| Segments { rest, octets: 4 });
    let behind = four.and_then(|four| Some((four, count.checked_sub(four.count()?)?)));
    match behind {
        Some((four, ahead)) => PathHead::of(short.sequence().take(ahead).chain(four.sequence())),
        None => PathHead::of(short.sequence()),
    }
}

/// The segments of a path.
#[derive(Clone, Copy)]
struct Segments<'a> {
    rest: &'a [u8],
    octets: usize,
}

impl<'a> Segments<'a> {
    /// How many AS numbers the path counts, a set as one and confederations' as none; none if it cannot be read this way.
    fn count(mut self) -> Option<usize> {
        let mut count = 0;
        while !self.rest.is_empty() {
            let (kind, ases) = self.next()?;
            count += match kind {
                AS_SET => 1,
                AS_SEQUENCE => ases.len() / self.octets,
                3 | 4 => 0,
                _ => return None,
            };
        }
        Some(count)
    }

    /// The AS numbers before the first set.
    fn sequence(self) -> impl Iterator<Item = Asn> + use<'a> {
        let in_front = self.take_while(|(kind, _)| *kind != AS_SET);
        let sequences = in_front.filter(|(kind, _)| *kind == AS_SEQUENCE);
        let number = |asn: &[u8]| asn.iter().fold(0, |all, &byte| all << 8 | u32::from(byte));
        sequences.flat_map(move |(_, ases)| ases.chunks(self.octets).map(number).map(Asn::new))
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = (u8, &'a [u8]);

    /// The type of a segment, and its AS numbers.
    fn next(&mut self) -> Option<Self::Item> {
        let [kind, count, rest @ ..] = self.rest else {
            return None;
        };
        let (ases, rest) = rest.split_at_checked(usize::from(*count) * self.octets)?;
        self.rest = rest;
        Some((*kind, ases))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(kind: u8, octets: usize, ases: &[u32]) -> Vec<u8> {
        let ases_bytes = ases
            .iter()
            .flat_map(|asn| asn.to_be_bytes()[4 - octets..].to_vec());
        [kind, ases.len() as u8]
            .into_iter()
            .chain(ases_bytes)
            .collect()
    }

    fn of(ases: &[u32]) -> PathHead {
        PathHead::of(ases.iter().copied().map(Asn::new))
    }

    #[test]
    fn paths_begin_with_their_first_sequence() {
        for octets in [2, 4] {
            let plain = segment(2, octets, &[64501, 64501, 64502]);
            assert_eq!(head(&plain, None), of(&[64501, 64502]));
            let inside = [segment(3, octets, &[65001, 65002]), plain.clone()].concat();
            assert_eq!(head(&inside, None), of(&[64501, 64502]));
            let set = [plain, segment(1, octets, &[7, 8]), segment(2, octets, &[9])].concat();
            assert_eq!(head(&set, None), of(&[64501, 64502]));
        }
        assert_eq!(
            head(&segment(2, 4, &[4_200_000_002]), None),
            of(&[4_200_000_002])
        );
        for odd in [&[2][..], &[2, 1], &[2, 1, 7], &[9, 1, 0, 0, 0, 1], &[]] {
            assert_eq!(head(odd, None), of(&[]), "{odd:?}");
        }
    }

    #[test]
    fn four_octets_stand_in_a_path_of_their_own() {
        let trans = 23456;
        let short = segment(2, 2, &[64500, trans, 64502]);
        let four = segment(2, 4, &[4_200_000_002, 64502]);
        assert_eq!(
            head(&short, Some(&four)),
            of(&[64500, 4_200_000_002, 64502])
        );
        // A longer one is not believed.
        let longer = segment(2, 4, &[1, 2, 3, 4]);
        assert_eq!(head(&short, Some(&longer)), of(&[64500, trans, 64502]));
    }
}
