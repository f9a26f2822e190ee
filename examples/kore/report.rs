//! The output of the quickstart: what it prints, and what was not as expected.

use std::{fmt::Debug, io::IsTerminal, process::ExitCode};

use crate::calls::{Answer, Row};

pub(crate) const MINUTE_MESSAGE: &str =
    "You've exceeded the per-minute rate limit. Please wait for sometime before retrying.";
pub(crate) const HOUR_MESSAGE: &str =
    "You've exceeded the hourly rate limit. Please wait for sometime before retrying.";

/// Prints, and remembers each difference from what was expected.
pub(crate) struct Report {
    in_colour: bool,
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { in_colour: std::io::stdout().is_terminal(), failures: Vec::new() }
    }

    pub(crate) fn heading(&self, text: &str) {
        println!("\n{}\n", self.painted(text, "1"));
    }

    pub(crate) fn columns(&self) {
        let columns = format!(
            "{:<23}  {:<15}  {:>10}  {:>6}  {:>11}  {:<9}  other route",
            "rule", "quotas", "admitted", "status", "Retry-After", "other key"
        );
        println!("{}", self.painted(&columns, "2"));
    }

    /// Prints one row of the table, and checks all that it claims.
    pub(crate) fn row(
        &mut self,
        row: &Row,
        quotas: &str,
        answers: &[Answer],
        other_key: &Answer,
        other_route: &Answer,
    ) {
        let (admitted, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.is_admitted());
        let failures = self.failures.len();
        self.expect(&format!("{}: admitted", row.rule), admitted.len(), row.per_minute);
        self.expect(&format!("{}: status of another key", row.rule), other_key.status, 200);
        for refusal in refused.iter().copied().chain([other_route]) {
            self.expect_refusal(row.rule, refusal, MINUTE_MESSAGE, 60);
        }
        let colour = if self.failures.len() == failures { "32" } else { "31" };

        let line = format!(
            "{quotas:<15}  {:>10}  {:>6}  {:>11}  {:<9}  {}",
            format!("{} of {}", admitted.len(), answers.len()),
            refused.first().map_or_else(|| "-".into(), |refusal| refusal.status.to_string()),
            refused.first().map_or_else(|| "-".into(), |refusal| refusal.wait()),
            other_key.outcome(),
            other_route.outcome(),
        );
        println!("{:<23}  {}", row.rule, self.painted(&line, colour));
    }

    pub(crate) fn line(&self, label: &str, text: &str) {
        println!("{}  {text}", self.painted(&format!("{label:<23}"), "2"));
    }

    pub(crate) fn space(&self) {
        println!();
    }

    pub(crate) fn expect_refusal(&mut self, what: &str, refusal: &Answer, message: &str, retry_after: u64) {
        self.expect(&format!("{what}: status"), refusal.status, 429);
        self.expect(&format!("{what}: message"), refusal.message.as_deref(), Some(message));
        self.expect(&format!("{what}: Retry-After"), refusal.retry_after, Some(retry_after));
    }

    pub(crate) fn expect<T: Copy + PartialEq + Debug>(&mut self, what: &str, found: T, expected: T) {
        if found != expected {
            self.failures.push(format!("{what}: {found:?}, expected {expected:?}"));
        }
    }

    /// Prints the failures, and returns what the program is to end with.
    pub(crate) fn conclude(&self) -> ExitCode {
        println!();
        if self.failures.is_empty() {
            println!("{}", self.painted("All as expected.", "32"));
            return ExitCode::SUCCESS;
        }
        for failure in &self.failures {
            println!("{}", self.painted(failure, "31"));
        }
        ExitCode::FAILURE
    }

    fn painted(&self, text: &str, style: &str) -> String {
        if self.in_colour { format!("\u{1b}[{style}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
