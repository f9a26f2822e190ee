//! From the field `on_missing` to what it means.

use http::StatusCode;

use crate::{config::file::Outcome, error::ConfigError, rule::OnMissing};

pub(super) fn on_missing(outcome: &Outcome) -> Result<OnMissing, ConfigError> {
    match outcome {
        Outcome::Word(word) if word == "share" => Ok(OnMissing::Share),
        Outcome::Word(word) if word == "skip" => Ok(OnMissing::Skip),
        Outcome::Word(word) => {
            let reason = "known are \"share\", \"skip\" and a status such as 401";
            Err(ConfigError::new("on_missing", format_args!("\"{word}\""), reason))
        }
        Outcome::Status(status) => {
            let refuse = || ConfigError::new("on_missing", status, "a rejection has a status from 400 to 599");
            rejection(*status).map(OnMissing::Reject).ok_or_else(refuse)
        }
    }
}

fn rejection(status: i64) -> Option<StatusCode> {
    let status = StatusCode::from_u16(u16::try_from(status).ok()?).ok()?;
    (status.is_client_error() || status.is_server_error()).then_some(status)
}
