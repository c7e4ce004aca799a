//! What an operator may have meant by a name that is not configured. Pure.

/// Longest name that is compared, in characters: the configuration has none that is longer than a line.
const MAX_COMPARED: usize = 64;

/// The advice for an unknown peer: the nearest name, if one is near, else where the names are.
pub(crate) fn unknown_peer<'a>(name: &str, peers: impl Iterator<Item = &'a str>) -> String {
    let shown = shown(name);
    match nearest(name, peers) {
        Some(near) => format!(
            "unknown peer `{shown}`: did you mean `{near}`? see `bcp38 status` for the names"
        ),
        None => format!("unknown peer `{shown}`: see `bcp38 status` for the names"),
    }
}

/// One of these names; else the nearest, if one is near, or all of them.
pub(crate) fn one_of(
    what: &str,
    name: &str,
    all: impl Iterator<Item = &'static str>,
) -> Result<String, String> {
    let mut all: Vec<&str> = all.collect();
    all.sort_unstable();
    if all.contains(&name) {
        return Ok(name.to_owned());
    }
    let shown = shown(name);
    Err(match nearest(name, all.iter().copied()) {
        Some(near) => format!("unknown {what} `{shown}`: did you mean `{near}`?"),
        None => format!("unknown {what} `{shown}`: there are {}", all.join(", ")),
    })
}

/// As far as it is worth showing.
fn shown(name: &str) -> String {
    let letters = name.chars().take(MAX_COMPARED);
    letters.flat_map(char::escape_debug).collect()
}

/// The candidate that takes the fewest edits, if those are at most a third of its letters, or one that begins alike.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let near = candidates.filter_map(|candidate| {
        let lower = candidate.to_lowercase();
        let edits = distance(&name, &lower);
        let is_start = !name.is_empty() && lower.starts_with(&name);
        (is_start || edits * 3 <= lower.chars().count().max(3)).then_some((edits, candidate))
    });
    near.min().map(|(_, candidate)| candidate)
}

/// Letters to insert, remove or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(MAX_COMPARED).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (line, left) in a.chars().take(MAX_COMPARED).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, &right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let peers = ["icrc", "example-net", "as64501"];
        let near = |name| nearest(name, peers.into_iter());
        assert_eq!(near("icrcs"), Some("icrc"));
        assert_eq!(near("ICRC"), Some("icrc"));
        assert_eq!(near("exmaple-net"), Some("example-net"));
        assert_eq!(near("example"), Some("example-net"));
        assert_eq!(near("as64502"), Some("as64501"));
        assert_eq!(near("cloudflare"), None);
        assert_eq!(near(""), None);
        let error = unknown_peer("icr\u{1b}c", peers.into_iter());
        assert!(
            error.contains("did you mean `icrc`") && !error.contains('\u{1b}'),
            "{error}"
        );
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
