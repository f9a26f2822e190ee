//! The sentence that a refused caller reads.

use std::time::Duration;

use crate::{
    error::{ConfigError, nearest},
    policy::Quota,
};

/// A text with placeholders for the exhausted quota and its wait.
#[derive(Clone, Debug)]
pub(crate) struct MessageTemplate {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug)]
enum Segment {
    Text(String),
    Rule,
    Level,
    Quota,
    Limit,
    Window,
    Unit,
    Cost,
    RetryAfter,
}

/// The values of the placeholders.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageContext<'a> {
    pub(crate) rule: &'a str,
    pub(crate) level: &'a str,
    pub(crate) quota: &'a Quota,
    pub(crate) unit: &'a str,
    pub(crate) cost: u64,
    pub(crate) retry_after: Duration,
}

impl MessageContext<'_> {
    /// Returns the sentence about a request that costs more than is ever admitted: waiting does not help.
    fn never_possible(&self) -> String {
        let (cost, unit, limit, adverb) = (self.cost, self.unit, self.quota.limit(), self.quota.per());
        format!("This request costs {cost} {unit}; at most {limit} are admitted {adverb}.")
    }

    /// Renders the template, or the default message.
    pub(crate) fn message(&self, template: Option<&MessageTemplate>) -> String {
        match template {
            _ if self.cost > self.quota.limit() => self.never_possible(),
            Some(template) => template.render(self),
            None => default_message(self.quota),
        }
    }
}

fn default_message(quota: &Quota) -> String {
    format!("You've exceeded the {} rate limit. Please wait for sometime before retrying.", quota.adjective())
}

/// Returns the message for a request that a rule rejects because it does not carry the key.
pub(crate) fn missing_key(level: &str) -> String {
    format!("The request does not carry the {level} by which it is limited.")
}

/// Returns a wait in whole seconds: rounded up, and never 0, which would invite an immediate retry.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    let seconds = wait.as_secs();
    if wait.subsec_nanos() > 0 { seconds.saturating_add(1) } else { seconds.max(1) }
}

impl MessageTemplate {
    /// Parses a text with `{rule}`, `{level}`, `{quota}`, `{limit}`, `{window}`, `{unit}`, `{cost}` and `{retry_after}`; `{{` and `}}` are braces.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let refuse = |reason: String| ConfigError::new("message", format_args!("{text:?}"), reason);
        let mut segments = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            segments.push(Segment::Text(before.to_owned()));
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                segments.push(Segment::Text(from[..1].to_owned()));
                rest = after;
                continue;
            }
            let placeholder = from.strip_prefix('{').and_then(|from| from.split_once('}'));
            let (name, after) = placeholder.ok_or_else(|| {
                refuse("a brace stands alone: write {{ or }} for one that is part of the text".to_owned())
            })?;
            segments.push(Segment::named(name).ok_or_else(|| refuse(unknown(name)))?);
            rest = after;
        }
        segments.push(Segment::Text(rest.to_owned()));
        Ok(Self { segments })
    }

    /// Returns `true` if the text is the same for every denial by one quota.
    pub(crate) fn is_fixed(&self) -> bool {
        !self.segments.iter().any(|segment| matches!(segment, Segment::RetryAfter | Segment::Cost))
    }

    pub(crate) fn render(&self, context: &MessageContext<'_>) -> String {
        self.segments.iter().map(|segment| segment.render(context)).collect()
    }
}

const KNOWN: [&str; 8] = ["rule", "level", "quota", "limit", "window", "unit", "cost", "retry_after"];

/// Returns the reason for refusing an unknown placeholder.
fn unknown(name: &str) -> String {
    let meant = match nearest(name.trim(), KNOWN) {
        Some(known) => format!("{{{known}}}"),
        None => format!("one of {{{}}}", KNOWN.join("}, {")),
    };
    format!("{{{name}}} is unknown: write {meant}, or {{{{{name}}}}} for the braces themselves")
}

impl Segment {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "rule" => Self::Rule,
            "level" => Self::Level,
            "quota" => Self::Quota,
            "limit" => Self::Limit,
            "window" => Self::Window,
            "unit" => Self::Unit,
            "cost" => Self::Cost,
            "retry_after" => Self::RetryAfter,
            _ => return None,
        })
    }

    fn render(&self, context: &MessageContext<'_>) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Rule => context.rule.to_owned(),
            Self::Level => context.level.to_owned(),
            Self::Quota => context.quota.name().into_owned(),
            Self::Limit => context.quota.limit().to_string(),
            Self::Window => humantime::format_duration(context.quota.window()).to_string(),
            Self::Unit => context.unit.to_owned(),
            Self::Cost => context.cost.to_string(),
            Self::RetryAfter => whole_seconds(context.retry_after).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_texts_are_word_for_word() {
        let text = |quota: &str| default_message(&quota.parse().unwrap());
        assert_eq!(
            text("60/minute"),
            "You've exceeded the per-minute rate limit. Please wait for sometime before retrying."
        );
        assert_eq!(
            text("1800/hour"),
            "You've exceeded the hourly rate limit. Please wait for sometime before retrying."
        );
        assert_eq!(
            text("5/second"),
            "You've exceeded the per-second rate limit. Please wait for sometime before retrying."
        );
        assert_eq!(text("9/day"), "You've exceeded the daily rate limit. Please wait for sometime before retrying.");
        assert_eq!(text("9/5m"), "You've exceeded the 5-minute rate limit. Please wait for sometime before retrying.");
    }

    #[test]
    fn a_template_fills_in_its_placeholders() {
        let quota = Quota::per_hour(1800);
        let retry_after = Duration::from_millis(1001);
        let context =
            MessageContext { rule: "bots", level: "bot", quota: &quota, unit: "points", cost: 5, retry_after };
        let text = "{{{rule}/{level}}}: {cost} of {limit} {unit} per {window} ({quota}), wait {retry_after} s";
        let template = MessageTemplate::parse(text).unwrap();
        assert_eq!(template.render(&context), "{bots/bot}: 5 of 1800 points per 1h (hour), wait 2 s");
    }

    #[test]
    fn a_cost_above_the_limit_is_told_as_such_whatever_the_template_is() {
        let template = MessageTemplate::parse("wait {retry_after} s").unwrap();
        for (quota, text) in [("20000/minute", "per minute"), ("20000/5m", "per 5m")] {
            let quota = quota.parse().unwrap();
            let context = MessageContext {
                rule: "tokens",
                level: "user",
                quota: &quota,
                unit: "tokens",
                cost: 20_001,
                retry_after: Duration::ZERO,
            };
            let text = format!("This request costs 20001 tokens; at most 20000 are admitted {text}.");
            assert_eq!(context.message(Some(&template)), text);
            assert_eq!(context.message(None), text);
        }
    }

    #[test]
    fn an_unknown_placeholder_is_refused() {
        for (text, reason) in [("{key}", "{key} is unknown"), ("a { b", "stands alone"), ("a } b", "stands alone")] {
            let error = MessageTemplate::parse(text).unwrap_err();
            assert!(error.reason().contains(reason), "{error}");
        }
    }

    #[test]
    fn a_wait_is_rounded_up_and_never_0() {
        let seconds = |nanos| whole_seconds(Duration::from_nanos(nanos));
        assert_eq!([0, 1, 999_000_000, 1_000_000_000, 1_000_000_001].map(seconds), [1, 1, 1, 1, 2]);
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
    }
}
