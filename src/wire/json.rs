//! Texts in JSON.

use std::fmt::Write;

/// The text as a JSON string (RFC 8259, section 7): only what has to be is escaped.
pub(super) fn string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for char in text.chars() {
        escape(char, &mut json);
    }
    json.push('"');
    json
}

fn escape(char: char, json: &mut String) {
    match char {
        '"' => json.push_str("\\\""),
        '\\' => json.push_str("\\\\"),
        '\u{8}' => json.push_str("\\b"),
        '\t' => json.push_str("\\t"),
        '\n' => json.push_str("\\n"),
        '\u{c}' => json.push_str("\\f"),
        '\r' => json.push_str("\\r"),
        // Writing to a String does not fail.
        '\0'..'\u{20}' => drop(write!(json, "\\u{:04x}", u32::from(char))),
        _ => json.push(char),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_character_is_written_as_serde_json_has_it() {
        for char in '\0'..=char::MAX {
            let text = char.to_string();
            assert_eq!(string(&text), serde_json::to_string(&text).unwrap());
        }
    }

    proptest! {
        #[test]
        fn every_text_is_read_back_as_it_was(text: String) {
            prop_assert_eq!(serde_json::from_str::<String>(&string(&text)).unwrap(), text);
        }
    }
}
