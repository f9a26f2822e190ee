//! What somebody may have meant.

use strsim::osa_distance;

/// Texts longer than this are no slip of the pen, and comparing them would take long.
const LONGEST: usize = 64;

/// The name that `text` is a slip of the pen for, if there is one: of equals the first.
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = |name: &&str| distance(text, name) <= slips(text.len().min(name.len()));
    known.into_iter().filter(close).min_by_key(|name| distance(text, name))
}

/// At most so many of the names, those first that are most like `text`.
pub(crate) fn ranked<'a>(text: &str, known: impl IntoIterator<Item = &'a str>, most: usize) -> Vec<&'a str> {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_by_cached_key(|name| distance(text, name));
    known.truncate(most);
    known
}

/// How many slips may be in a word as long as this.
const fn slips(length: usize) -> usize {
    match length {
        0..=2 => 0,
        3..=5 => 1,
        6..=8 => 2,
        _ => 3,
    }
}

/// How many letters are to be changed, added, left out or swapped; the case does not matter, nor - in place of _.
fn distance(text: &str, name: &str) -> usize {
    if text.len() > LONGEST || name.len() > LONGEST {
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
    fn the_names_most_alike_come_first_and_only_so_many() {
        assert_eq!(ranked("bot", ["tables", "exports", "bots", "boat"], 2), ["bots", "boat"]);
        assert_eq!(ranked(&"x".repeat(1_000_000), ["b", "a"], 5), ["b", "a"], "a long text is like none");
    }
}
