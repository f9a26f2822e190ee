//! What can be wrong with a configuration.

use std::{fmt, sync::Arc};

use crate::error::{nearest::ranked, visible::Visible};

/// So many names are told to who asked for another.
const MOST_TOLD: usize = 5;

/// A mistake in rules, quotas, keys or a file, found while the limiter is built.
///
/// It names the rule (if the mistake is inside one), the field, the offending value and the reason; for a file also the
/// line. Printed it is one line, whatever the texts in it hold: what would not be seen is shown by its number.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, key};
///
/// let error = RateLimiter::builder()
///     .rule(Rule::new("calls").every_request().key(key::header("x-account")).policy(Policy::per_minute(0)))
///     .build()
///     .unwrap_err();
///
/// assert_eq!(error.to_string(), r#"rule "calls": quota "minute": limit 0: a quota admits at least 1: write 1 or more"#);
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

    /// The same mistake, where it is written in another way.
    #[cfg(feature = "config")]
    pub(crate) fn in_field(mut self, field: &str, value: &str) -> Self {
        (self.field, self.value) = (field.into(), value.into());
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
            write!(f, "rule \"{}\": ", Visible::new(rule))?;
        }
        write!(f, "{}", Visible::new(&self.field))?;
        if !self.value.is_empty() {
            write!(f, " {}", Visible::new(&self.value))?;
        }
        write!(f, ": {}", Visible::sentence(&self.reason))
    }
}

/// A rule was named that the limiter does not have.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule};
///
/// let rule = |name| Rule::new(name).no_requests().policy(Policy::per_minute(60));
/// let limiter = RateLimiter::builder().rule(rule("exports")).rule(rule("bots")).build()?;
///
/// let error = limiter.rule("bot").unwrap_err();
/// assert_eq!(error.to_string(), r#"no rule is named "bot": the rules are "bots", "exports""#);
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct UnknownRule {
    name: Box<str>,
    known: Arc<[Box<str>]>,
}

impl UnknownRule {
    pub(crate) fn new(name: &str, known: &Arc<[Box<str>]>) -> Self {
        Self { name: name.into(), known: Arc::clone(known) }
    }

    /// The name that was asked for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which rules there are, those first whose names are most like the one that was asked for.
    pub(crate) fn rules(&self) -> String {
        let told = ranked(&self.name, self.known.iter().map(|name| &**name), MOST_TOLD);
        let names: Vec<String> = told.iter().map(|name| format!("\"{}\"", Visible::new(name))).collect();
        match self.known.len() - told.len() {
            0 => format!("the rules are {}", names.join(", ")),
            others => format!("the rules are {} and {others} more", names.join(", ")),
        }
    }
}

impl fmt::Display for UnknownRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no rule is named \"{}\": {}", Visible::new(&self.name), self.rules())
    }
}
