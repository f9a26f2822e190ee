//! A quota as it is written.

use std::{borrow::Cow, str::FromStr};

use crate::{
    error::ConfigError,
    policy::{
        Quota,
        window::{NoWindow, parse_window},
    },
};

const EXAMPLES: &str = "write \"60/minute\" or \"500/5m\"";

/// The parts of a text such as `60/minute`, `500 per 5m` or `burst=10/second`.
#[derive(Clone, Copy, Debug)]
struct Written<'a> {
    name: Option<&'a str>,
    limit: &'a str,
    window: &'a str,
}

impl FromStr for Quota {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let refuse = |reason: &str| ConfigError::new("quota", format_args!("\"{text}\""), reason);
        let written = Written::read(text).map_err(|reason| refuse(&reason))?;
        let quota = written.quota().map_err(|reason| refuse(&reason))?;
        quota.validate().map_err(|error| refuse(error.reason()))?;
        Ok(quota)
    }
}

impl<'a> Written<'a> {
    /// Takes a text apart, or says what to write in its place.
    fn read(text: &'a str) -> Result<Self, String> {
        let (name, amount) =
            text.split_once('=').map_or((None, text), |(name, amount)| (Some(name.trim_ascii()), amount));
        let parts = amount.split_once('/').or_else(|| amount.split_once(" per "));
        let (limit, window) = parts.ok_or_else(|| without_window(amount.trim_ascii()))?;
        if are_quotas(text) {
            return Err(several(text));
        }
        Ok(Self { name, limit: limit.trim_ascii(), window: window.trim_ascii() })
    }

    /// The quota, or what to write in its place. Its numbers may still be out of their range.
    fn quota(self) -> Result<Quota, String> {
        let limit = self.number().ok_or_else(|| self.without_limit())?;
        let window = parse_window(self.window).map_err(|no_window| self.instead(no_window))?;
        Ok(self.named(Quota::new(limit, window)))
    }

    /// Whether it is a quota that a limiter takes.
    fn is_good(self) -> bool {
        let quota = self.number().zip(parse_window(self.window).ok()).map(|(limit, window)| Quota::new(limit, window));
        quota.is_some_and(|quota| self.named(quota).validate().is_ok())
    }

    fn named(self, quota: Quota) -> Quota {
        match self.name {
            Some(name) => quota.named(Cow::Owned(name.to_owned())),
            None => quota,
        }
    }

    fn number(self) -> Option<u32> {
        let is_number = self.limit.bytes().all(|byte| byte.is_ascii_digit());
        self.limit.parse().ok().filter(|_| is_number)
    }

    fn without_limit(self) -> String {
        let why = "the limit is a whole number in digits, from 1 to 4294967295";
        let amount = self.limit.split(' ').next().unwrap_or_default().trim_start_matches('+');
        let digits: String = amount.chars().filter(|letter| !matches!(letter, '_' | '\'')).collect();
        let meant = Written { limit: &digits, ..self };
        if meant.is_good() { format!("{why}: write {}", meant.quoted()) } else { format!("{why}: {EXAMPLES}") }
    }

    /// What to write in the place of a window that is none.
    fn instead(self, NoWindow { why, guesses }: NoWindow) -> String {
        let guesses = guesses.iter().map(|window| Written { window, ..self });
        let good: Vec<String> = guesses.filter(|guess| guess.is_good()).map(Written::quoted).collect();
        match &*good {
            [] => format!("{why}: {EXAMPLES}"),
            good => format!("{why}: write {}", good.join(" or ")),
        }
    }

    fn quoted(self) -> String {
        let (name, equals) = self.name.map_or(("", ""), |name| (name, "="));
        format!("\"{name}{equals}{}/{}\"", self.limit, self.window)
    }
}

/// Whether it is several quotas, such as a policy is made of.
fn are_quotas(text: &str) -> bool {
    let mut quotas = text.split([',', ';']).filter(|quota| !quota.trim_ascii().is_empty());
    quotas.clone().count() > 1 && quotas.all(|quota| Written::read(quota).is_ok_and(Written::is_good))
}

fn several(text: &str) -> String {
    let quotas: Vec<&str> = text.split([',', ';']).map(str::trim_ascii).filter(|quota| !quota.is_empty()).collect();
    let (texts, policy) = (quotas.join("\", \""), quotas.join(", "));
    format!("these are several quotas: write a text for each, [\"{texts}\"], or as a policy \"{policy}\"")
}

fn without_window(amount: &str) -> String {
    let digits = amount.len() - amount.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let (limit, rest) = amount.split_at(digits);
    let rest = rest.trim_ascii();
    let written = Written { name: None, limit, window: if rest.is_empty() { "minute" } else { rest } };
    if written.is_good() {
        return format!("there is no / between limit and window: write {}", written.quoted());
    }
    format!("a quota is a limit and a window with / between them: {EXAMPLES}")
}
