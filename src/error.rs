//! What can be wrong with a configuration.

use std::fmt;

/// A mistake in rules, quotas, keys or a file, found while the limiter is built.
///
/// It names the rule (if the mistake is inside one), the field, the offending value and the reason; for a file also the
/// line.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, key};
///
/// let error = RateLimiter::builder()
///     .rule(Rule::new("calls").every_request().level("account", key::header("x-account")).policy(Policy::per_minute(0)))
///     .build()
///     .unwrap_err();
///
/// assert_eq!(error.to_string(), r#"rule "calls": quota "minute": limit 0: a quota admits at least 1"#);
/// assert_eq!((error.rule(), error.field(), error.value()), (Some("calls"), "quota \"minute\": limit", "0"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    line: Option<usize>,
    rule: Option<Box<str>>,
    field: Box<str>,
    value: Box<str>,
    reason: Box<str>,
}

impl ConfigError {
    /// A mistake in `field`, which holds `value`. For extractors of your own that check themselves.
    #[must_use]
    pub fn new(field: impl Into<String>, value: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self {
            line: None,
            rule: None,
            field: field.into().into(),
            value: value.to_string().into(),
            reason: reason.into().into(),
        }
    }

    /// The name of the rule with the mistake, if it is inside one.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// The field that holds the mistake.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The value that was refused.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Why it was refused.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The line of the file, counted from 1, if the rules came from one.
    #[must_use]
    pub const fn line(&self) -> Option<usize> {
        self.line
    }

    pub(crate) fn in_rule(mut self, rule: &str) -> Self {
        self.rule.get_or_insert_with(|| rule.into());
        self
    }

    pub(crate) fn on_route(mut self, route: &str) -> Self {
        self.reason = format!("{} (route \"{route}\")", self.reason).into();
        self
    }

    #[cfg(feature = "config")]
    pub(crate) fn at_line(mut self, line: usize) -> Self {
        self.line.get_or_insert(line);
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(rule) = &self.rule {
            write!(f, "rule \"{rule}\": ")?;
        }
        match &*self.value {
            "" => write!(f, "{}: {}", self.field, self.reason),
            value => write!(f, "{} {value}: {}", self.field, self.reason),
        }
    }
}

/// A rule was named that the limiter does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no rule is named \"{name}\"")]
pub struct UnknownRule {
    name: Box<str>,
}

impl UnknownRule {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into() }
    }

    /// The name that was asked for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}
