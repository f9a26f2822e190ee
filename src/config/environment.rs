//! The environment variables that a file names.

use std::{
    env::{self, VarError},
    fmt,
    sync::Arc,
};

use crate::error::ConfigError;

/// The environment, whose variables a file may name as `$NAME`.
#[derive(Clone)]
pub(super) struct Environment(Arc<Read>);

type Read = dyn Fn(&str) -> Result<String, VarError> + Send + Sync;

impl Environment {
    pub(super) fn new(read: impl Fn(&str) -> Result<String, VarError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Returns the text itself, or the value of the variable that it names; `None` if that is not set.
    pub(super) fn resolve(&self, field: &str, text: &str) -> Result<Option<String>, ConfigError> {
        let Some(name) = text.strip_prefix('$') else { return Ok(Some(text.to_owned())) };
        let refuse = |reason: String| Err(ConfigError::new(field, format_args!("\"{text}\""), reason));
        if !is_variable(name) {
            let bare: String = name.chars().filter(|letter| !matches!(letter, '{' | '}')).collect();
            let meant = if is_variable(&bare) { &bare } else { "REDIS_URL" };
            return refuse(format!("the whole string is the name of an environment variable: write \"${meant}\""));
        }
        match (self.0)(name) {
            Ok(value) if value.trim().is_empty() => {
                refuse(format!("the environment variable {name} is empty: write its value, or unset it"))
            }
            Ok(value) => Ok(Some(value)),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => {
                refuse(format!("the environment variable {name} is not valid Unicode: write its value in UTF-8"))
            }
        }
    }

    /// Returns the text itself, or the value of the variable that it names, which has to be set.
    pub(super) fn require(&self, field: &str, text: &str) -> Result<String, ConfigError> {
        self.resolve(field, text)?.ok_or_else(|| not_set(field, text, ""))
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self::new(|name| env::var(name))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

/// Returns the error about a variable that is not set. `advice` is what to do besides setting it.
pub(super) fn not_set(field: &str, text: &str, advice: &str) -> ConfigError {
    let name = text.trim_start_matches('$');
    let reason = format!("the environment variable {name} is not set: write it into the environment{advice}");
    ConfigError::new(field, format_args!("\"{text}\""), reason)
}

fn is_variable(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_letter) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment::new(|name| match name {
            "REDIS_URL" => Ok("redis://:secret@host".to_owned()),
            "EMPTY" => Ok(" ".to_owned()),
            "ODD" => Err(VarError::NotUnicode("secret".into())),
            _ => Err(VarError::NotPresent),
        })
    }

    #[test]
    fn a_text_is_itself_and_a_variable_its_value() {
        let resolve = |text| environment().resolve("url", text).unwrap();
        assert_eq!(resolve("redis://host").as_deref(), Some("redis://host"));
        assert_eq!(resolve("redis://host/$x").as_deref(), Some("redis://host/$x"));
        assert_eq!(resolve("$REDIS_URL").as_deref(), Some("redis://:secret@host"));
        assert_eq!(resolve("$OTHER"), None);
    }

    #[test]
    fn a_variable_that_cannot_be_read_is_a_mistake_without_its_value() {
        for (text, reason) in [
            ("$", "write \"$REDIS_URL\""),
            ("${OTHER}", "write \"$OTHER\""),
            ("$1", "write \"$REDIS_URL\""),
            ("$EMPTY", "EMPTY is empty"),
            ("$ODD", "not valid Unicode"),
            ("$OTHER", "OTHER is not set"),
        ] {
            let error = environment().require("url", text).unwrap_err();
            assert!(error.reason().contains(reason) && !error.to_string().contains("secret"), "{error}");
        }
    }
}
