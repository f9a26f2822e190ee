//! Finds the name that a misspelled one was meant to be.

use strsim::osa_distance;

/// The maximum length of a text that is compared, in bytes. Longer ones are no slips of the pen, and comparing takes
/// quadratic time.
const MAX_LENGTH: usize = 64;

/// Returns the name that `text` is a misspelling of, if there is one; the first of equals.
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = |name: &&str| distance(text, name) <= allowed_slips(text.len().min(name.len()));
    known.into_iter().filter(close).min_by_key(|name| distance(text, name))
}

/// Returns at most `most` of the names, most similar to `text` first.
pub(crate) fn ranked<'a>(text: &str, known: impl IntoIterator<Item = &'a str>, most: usize) -> Vec<&'a str> {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_by_cached_key(|name| distance(text, name));
    known.truncate(most);
    known
}

/// Returns the number of slips that a word of this length may have.
const fn allowed_slips(length: usize) -> usize {
    match length {
        0..=2 => 0,
        3..=5 => 1,
        6..=8 => 2,
        _ => 3,
    }
}

/// Counts the letters to change, add, leave out or swap. Case does not matter, and `-` is the same as `_`.
fn distance(text: &str, name: &str) -> usize {
    if text.len() > MAX_LENGTH || name.len() > MAX_LENGTH {
        return usize::MAX;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    osa_distance(&plain(text), &plain(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let known = ["quotas", "routes", "key", "per_route", "count_denied"];
        for (text, meant) in [
            ("quota", Some("quotas")),
            ("ruotes", Some("routes")),
            ("Key", Some("key")),
            ("per-route", Some("per_route")),
            ("countDenied", Some("count_denied")),
            ("burst", None),
            ("k", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, known), meant, "{text}");
        }
    }

    #[test]
    fn the_most_similar_names_come_first_and_only_so_many() {
        assert_eq!(ranked("bot", ["tables", "exports", "bots", "boat"], 2), ["bots", "boat"]);
        assert_eq!(ranked(&"x".repeat(1_000_000), ["b", "a"], 5), ["b", "a"], "a long text is like none");
    }
}
