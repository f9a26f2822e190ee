//! The names that extractors look for: whether a request can carry them at all.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::error::ConfigError;

/// Refuses a name that is empty or has other letters than those that are `allowed`, and says what to write.
///
/// `kind` is what stands in front of the colon in a file, and `noun` says what the name is of.
pub(super) fn check(kind: &str, name: &str, noun: &str, allowed: fn(char) -> bool) -> Result<(), ConfigError> {
    if !name.is_empty() && name.trim() == name && name.chars().all(allowed) {
        return Ok(());
    }
    Err(invalid_name(kind, name, noun, allowed))
}

/// The same for a name that is compared with decoded ones, and so is not found if it is written as it is encoded.
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

/// The mistake in such a name.
pub(super) fn invalid_name(kind: &str, name: &str, noun: &str, allowed: fn(char) -> bool) -> ConfigError {
    let instead = suggestion(name, allowed).unwrap_or("NAME");
    let value = format!("\"{kind}:{name}\"");
    ConfigError::new("key", value, format!("not the name of {noun}: write \"{kind}:{instead}\""))
}

/// What is left of a name without what stands around it, or behind an equals sign, if that is a name.
fn suggestion(name: &str, allowed: fn(char) -> bool) -> Option<&str> {
    let (name, _) = name.split_once('=').unwrap_or((name, ""));
    let inner = name.trim_matches(|letter: char| letter.is_whitespace() || !allowed(letter));
    (!inner.is_empty() && inner.chars().all(allowed)).then_some(inner)
}

/// Makes a name of a text that may have letters that no name has.
pub(crate) fn sanitize_name(text: &str) -> String {
    let allowed = |letter: char| letter.is_ascii_graphic() && !matches!(letter, '"' | '\\');
    let name: String = text.chars().map(|letter| if allowed(letter) { letter } else { '-' }).collect();
    if name.is_empty() { "key".to_owned() } else { name }
}

/// Whether a token has such letters (RFC 9110, section 5.6.2): the name of a cookie or of a header field.
pub(super) const fn is_token_char(letter: char) -> bool {
    letter.is_ascii_alphanumeric()
        || matches!(letter, '!' | '#' | '$' | '%' | '&' | '\'' | '*' | '+' | '-' | '.' | '^' | '_' | '`' | '|' | '~')
}

/// Whether a query parameter has such letters in its name. Others are possible if they are encoded, but who writes
/// them in a rule means a piece of a URI.
pub(super) fn is_query_char(letter: char) -> bool {
    !letter.is_control() && !matches!(letter, '?' | '&' | '=' | '#')
}

/// Whether a parameter of a template has such letters in its name. A colon or angle brackets are possible, but are how
/// other routers write parameters.
pub(super) fn is_template_char(letter: char) -> bool {
    !letter.is_control() && !matches!(letter, '{' | '}' | '*' | '/' | ':' | '<' | '>')
}
