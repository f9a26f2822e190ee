//! Checks the names that extractors look for: whether a request can carry them at all.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::error::ConfigError;

/// Refuses a name that is empty or has other characters than those that are `allowed`, with a name to write instead.
///
/// `kind` stands in front of the colon in a file, and `noun` describes the name in the error.
pub(super) fn check(kind: &str, name: &str, noun: &str, allowed: fn(char) -> bool) -> Result<(), ConfigError> {
    if !name.is_empty() && name.trim() == name && name.chars().all(allowed) {
        return Ok(());
    }
    Err(invalid_name(kind, name, noun, allowed))
}

/// Refuses a percent-encoded name as well: it is compared with decoded ones, and would never be found.
pub(super) fn check_decoded(kind: &str, name: &str, noun: &str, allowed: fn(char) -> bool) -> Result<(), ConfigError> {
    check(kind, name, noun, allowed)?;
    match percent_decode_str(name).decode_utf8_lossy() {
        Cow::Borrowed(_) => Ok(()),
        Cow::Owned(decoded) => {
            let reason = format!("names are compared decoded: write \"{kind}:{decoded}\"");
            Err(ConfigError::new("key", format_args!("\"{kind}:{name}\""), reason))
        }
    }
}

/// Returns the error about such a name.
pub(super) fn invalid_name(kind: &str, name: &str, noun: &str, allowed: fn(char) -> bool) -> ConfigError {
    let instead = suggestion(name, allowed).unwrap_or("NAME");
    let value = format!("\"{kind}:{name}\"");
    ConfigError::new("key", value, format!("not the name of {noun}: write \"{kind}:{instead}\""))
}

/// Returns the name without the characters around it, or behind an equals sign, if the rest is a name.
fn suggestion(name: &str, allowed: fn(char) -> bool) -> Option<&str> {
    let (name, _) = name.split_once('=').unwrap_or((name, ""));
    let inner = name.trim_matches(|letter: char| letter.is_whitespace() || !allowed(letter));
    (!inner.is_empty() && inner.chars().all(allowed)).then_some(inner)
}

/// Replaces the characters of a text that names may not have.
pub(crate) fn sanitize_name(text: &str) -> String {
    let allowed = |letter: char| letter.is_ascii_graphic() && !matches!(letter, '"' | '\\');
    let name: String = text.chars().map(|letter| if allowed(letter) { letter } else { '-' }).collect();
    if name.is_empty() { "key".to_owned() } else { name }
}

/// Returns true for the characters of a token (RFC 9110, section 5.6.2): the name of a cookie or of a header field.
pub(super) const fn is_token_char(letter: char) -> bool {
    letter.is_ascii_alphanumeric()
        || matches!(letter, '!' | '#' | '$' | '%' | '&' | '\'' | '*' | '+' | '-' | '.' | '^' | '_' | '`' | '|' | '~')
}

/// Returns true for the characters that the name of a query parameter in a rule may have. Others are possible if they
/// are encoded, but in a rule they mean a piece of a URI.
pub(super) fn is_query_char(letter: char) -> bool {
    !letter.is_control() && !matches!(letter, '?' | '&' | '=' | '#')
}

/// Returns true for the characters that the name of a path parameter in a rule may have. A colon and angle brackets are
/// possible, but are the syntax of other routers.
pub(super) fn is_template_char(letter: char) -> bool {
    !letter.is_control() && !matches!(letter, '{' | '}' | '*' | '/' | ':' | '<' | '>')
}
