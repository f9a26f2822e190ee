//! From the field `on_missing` to what it means.

use http::StatusCode;

use crate::{config::file::OnMissingValue, error::ConfigError, rule::OnMissing};

pub(super) fn on_missing(outcome: &OnMissingValue) -> Result<OnMissing, ConfigError> {
    match outcome {
        OnMissingValue::Word(word) if word == "share" => Ok(OnMissing::Share),
        OnMissingValue::Word(word) if word == "skip" => Ok(OnMissing::Skip),
        OnMissingValue::Word(word) if word.parse::<u16>().is_ok() => {
            let reason = format!("a status has no quotes: write on_missing = {word}");
            Err(ConfigError::new("on_missing", format_args!("\"{word}\""), reason))
        }
        OnMissingValue::Word(word) => {
            let reason = "there is no such word: write \"share\", \"skip\" or a status such as 401";
            Err(ConfigError::new("on_missing", format_args!("\"{word}\""), reason))
        }
        OnMissingValue::Status(status) => {
            let refuse = || {
                ConfigError::new(
                    "on_missing",
                    status,
                    "a rejection has a status from 400 to 599: write one such as 401",
                )
            };
            rejection(*status).map(OnMissing::Reject).ok_or_else(refuse)
        }
    }
}

fn rejection(status: i64) -> Option<StatusCode> {
    let status = StatusCode::from_u16(u16::try_from(status).ok()?).ok()?;
    (status.is_client_error() || status.is_server_error()).then_some(status)
}
