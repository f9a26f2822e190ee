//! The sentence a refused caller reads.

use std::time::Duration;

use crate::{
    error::{ConfigError, nearest},
    policy::Quota,
};

/// A text with places for what is known of the exhausted quota.
#[derive(Clone, Debug)]
pub(crate) struct MessageTemplate {
    pieces: Vec<Segment>,
}

#[derive(Clone, Debug)]
enum Segment {
    Text(String),
    Rule,
    Level,
    Quota,
    Limit,
    Window,
    RetryAfter,
}

/// What a message may speak of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageContext<'a> {
    pub(crate) rule: &'a str,
    pub(crate) level: &'a str,
    pub(crate) quota: &'a Quota,
    pub(crate) retry_after: Duration,
}

impl MessageContext<'_> {
    /// The text of the template, or the usual one.
    pub(crate) fn message(&self, template: Option<&MessageTemplate>) -> String {
        template.map_or_else(|| default_message(self.quota), |template| template.render(self))
    }
}

fn default_message(quota: &Quota) -> String {
    format!("You've exceeded the {} rate limit. Please wait for sometime before retrying.", quota.adjective())
}

/// The text for a request that does not carry the key of a rule which insists on it.
pub(crate) fn missing_key(level: &str) -> String {
    format!("The request does not carry the {level} by which it is limited.")
}

/// A wait in whole seconds: rounded up, and never 0, which would invite an immediate retry.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    let seconds = wait.as_secs();
    if wait.subsec_nanos() > 0 { seconds.saturating_add(1) } else { seconds.max(1) }
}

impl MessageTemplate {
    /// Reads a text with `{rule}`, `{level}`, `{quota}`, `{limit}`, `{window}` and `{retry_after}`; `{{` is a brace.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let refuse = |reason: String| ConfigError::new("message", format_args!("{text:?}"), reason);
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            pieces.push(Segment::Text(before.to_owned()));
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                pieces.push(Segment::Text(from[..1].to_owned()));
                rest = after;
                continue;
            }
            let place = from.strip_prefix('{').and_then(|from| from.split_once('}'));
            let (name, after) = place.ok_or_else(|| {
                refuse("a brace stands alone: write {{ or }} for one that is part of the text".to_owned())
            })?;
            pieces.push(Segment::named(name).ok_or_else(|| refuse(unknown(name)))?);
            rest = after;
        }
        pieces.push(Segment::Text(rest.to_owned()));
        Ok(Self { pieces })
    }

    /// Whether the text is the same for every denial by one quota.
    pub(crate) fn is_fixed(&self) -> bool {
        !self.pieces.iter().any(|piece| matches!(piece, Segment::RetryAfter))
    }

    pub(crate) fn render(&self, occasion: &MessageContext<'_>) -> String {
        self.pieces.iter().map(|piece| piece.render(occasion)).collect()
    }
}

const KNOWN: [&str; 6] = ["rule", "level", "quota", "limit", "window", "retry_after"];

/// What is said of a place that nothing is known for.
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
            "retry_after" => Self::RetryAfter,
            _ => return None,
        })
    }

    fn render(&self, occasion: &MessageContext<'_>) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Rule => occasion.rule.to_owned(),
            Self::Level => occasion.level.to_owned(),
            Self::Quota => occasion.quota.name().into_owned(),
            Self::Limit => occasion.quota.limit().to_string(),
            Self::Window => humantime::format_duration(occasion.quota.window()).to_string(),
            Self::RetryAfter => whole_seconds(occasion.retry_after).to_string(),
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
    fn a_template_says_what_is_known() {
        let quota = Quota::per_hour(1800);
        let occasion =
            MessageContext { rule: "bots", level: "bot", quota: &quota, retry_after: Duration::from_millis(1001) };
        let template =
            MessageTemplate::parse("{{{rule}/{level}}}: {limit} per {window} ({quota}), wait {retry_after} s").unwrap();
        assert_eq!(template.render(&occasion), "{bots/bot}: 1800 per 1h (hour), wait 2 s");
    }

    #[test]
    fn an_unknown_place_is_refused() {
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
