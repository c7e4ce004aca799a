//! The head of an AS_PATH as routing daemons print it: who announces a route. Pure.
use filter_core::Asn;
use filter_lifecycle::route::PathHead;

/// `64501 64501 {64502 64503}`, asplain or asdot. Confederations' parts, `(65001 65002)`, are not part of it; a set, and
/// whatever is no AS number, ends it.
pub(crate) fn head(text: &str) -> PathHead {
    let mut in_confederation = false;
    let mut sequence = Vec::new();
    for word in text.split_whitespace() {
        in_confederation |= word.starts_with(['(', '[']);
        if in_confederation {
            in_confederation = !word.ends_with([')', ']']);
            continue;
        }
        let Ok(asn) = word.parse::<Asn>() else {
            break;
        };
        sequence.push(asn);
    }
    PathHead::of(sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_as_daemons_print_them() {
        let of = |ases: &[u32]| PathHead::of(ases.iter().copied().map(Asn::new));
        for (text, ases) in [
            ("", &[][..]),
            ("64501", &[64501]),
            ("64501 64501 64502 64503", &[64501, 64502, 64503]),
            ("1.10 64502", &[65546, 64502]),
            ("64501 {64502 64503}", &[64501]),
            ("{64502,64503} 64501", &[]),
            ("(65001 65002) 64501", &[64501]),
            ("(65001) [65002 65003] 64501", &[64501]),
            ("64501 i", &[64501]),
        ] {
            assert_eq!(head(text), of(ases), "{text:?}");
        }
    }
}
