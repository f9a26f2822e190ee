//! The meaning of values that a file writes as strings: words and durations.

use std::time::Duration;

use toml::Spanned;

use crate::{
    config::source_map::SourceMap,
    error::{ConfigError, nearest},
    policy::parse_window,
};

/// Returns the meaning of one of these words.
pub(super) fn word<T>(
    field: &str,
    text: &Spanned<String>,
    words: &[(&str, T)],
    lines: SourceMap<'_>,
) -> Result<T, ConfigError>
where
    T: Copy,
{
    let found = words.iter().find(|(word, _)| word == text.get_ref());
    let unknown = || {
        let known = words.iter().map(|(word, _)| *word);
        let reason = match nearest(text.get_ref(), known.clone()) {
            Some(meant) => format!("unknown value: write \"{meant}\""),
            None => format!("unknown value: write {}", alternatives(known)),
        };
        ConfigError::new(field, format_args!("\"{}\"", text.get_ref()), reason)
    };
    lines.locate(text, found.map(|(_, meaning)| *meaning).ok_or_else(unknown))
}

/// Returns the duration that a text such as `50ms` describes.
pub(super) fn duration(field: &str, text: &Spanned<String>, lines: SourceMap<'_>) -> Result<Duration, ConfigError> {
    let refuse = |reason: String| ConfigError::new(field, format_args!("\"{}\"", text.get_ref()), reason);
    let parsed = match text.get_ref().trim() {
        "" => Err(refuse("a duration is a number and a unit: write \"50ms\" or \"2s\"".to_owned())),
        trimmed => parse_window(trimmed).map_err(|invalid| {
            let guess = invalid.guesses.iter().find(|guess| parse_window(guess).is_ok());
            let guess = guess.map_or("\"50ms\" or \"2s\"".to_owned(), |guess| format!("\"{guess}\""));
            refuse(format!("{}: write {guess}", invalid.why))
        }),
    };
    lines.locate(text, parsed)
}

/// Returns words as a list in a sentence: `"a", "b" or "c"`.
fn alternatives<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
    match &*quoted {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        all => all.concat(),
    }
}
